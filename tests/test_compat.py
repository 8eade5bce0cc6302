"""The private or fragile parts of other libraries that the engine relies on are as `compat` expects."""

from __future__ import annotations

import inspect
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlavaOnevisionConfig, VipLlavaConfig
from transformers.cache_utils import DynamicCache
from transformers.generation.configuration_utils import GenerationConfig

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.checkpoints.lookup import Checkpoint, find, weight_shapes
from vipcli.engine import compat
from vipcli.engine.loading import model_class

MAKERS = [make_vipllava, make_llava, make_interleave, make_onevision]


def build(checkpoint: Checkpoint, **options: Any) -> Any:
    """The model of a checkpoint, as transformers loads it."""
    return model_class(checkpoint).from_pretrained(checkpoint.folder, **options).eval()


def run(code: str) -> str:
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100
    )
    return process.stdout.strip()


# --------------------------------------------------------------------------- imports


def test_transformers_finds_its_models_in_a_plain_package() -> None:
    code = (
        "from vipcli.engine.compat import quick_imports\n"
        "with quick_imports():\n"
        "    import sys, transformers\n"
        "    from transformers.models.vipllava.modeling_vipllava import VipLlavaModel\n"
        "package = sys.modules['transformers.models']\n"
        "print(type(package).__name__, VipLlavaModel is transformers.VipLlavaModel)"
    )
    assert run(code) == "module True"


def test_without_quick_imports_the_models_package_scans_their_sources() -> None:
    # If this fails, transformers no longer does the work that `quick_imports` avoids.
    code = "import sys, transformers.models.llava; print(type(sys.modules['transformers.models']).__name__)"
    assert run(code) == "_LazyModule"


def test_bitsandbytes_has_the_logger_and_the_import_that_are_silenced() -> None:
    from bitsandbytes.backends.cpu import ops

    source = inspect.getsource(ops)
    assert logging.getLogger("bitsandbytes.backends.cpu.ops") is ops.logger
    assert "from kernels import get_kernel" in source


# --------------------------------------------------------------------------- configurations


def test_the_attention_implementation_can_be_read_and_set(tiny: Path) -> None:
    checkpoint = find(str(tiny))
    assert compat.attention_implementation(build(checkpoint, attn_implementation="eager")) == "eager"
    config = model_class(checkpoint).config_class.from_pretrained(checkpoint.folder)
    compat.set_attention_implementation(config, "eager")
    model = model_class(checkpoint)(config)
    assert compat.attention_implementation(model) == "eager"
    assert model.model.language_model.config._attn_implementation == "eager"


def test_saved_picture_tokens_are_read_as_ids() -> None:
    assert compat.image_token_ids(VipLlavaConfig(image_token_index=7)) == (7,)
    assert compat.image_token_ids(LlavaOnevisionConfig(image_token_index=7, video_token_index=8)) == (7, 8)


def test_vision_layers_are_set_under_the_name_that_the_class_reads(tiny: Path) -> None:
    config = VipLlavaConfig.from_pretrained(tiny)
    compat.set_vision_layers(config, (-2, 1))
    config.vision_config.hidden_size = 32
    model = model_class(find(str(tiny)))(config)
    assert model.model.multi_modal_projector.linear_1.in_features == 2 * 32


@pytest.mark.parametrize("make", MAKERS)
def test_the_vision_tower_has_the_layers_that_are_dropped(make: Any, tmp_path: Path) -> None:
    model = build(find(str(make(tmp_path / "tiny"))))
    layers = model.model.vision_tower.encoder.layers
    count = len(layers)
    compat.drop_unused_vision_layers(model)
    assert 0 < len(layers) <= count == model.config.vision_config.num_hidden_layers


# --------------------------------------------------------------------------- loading


def test_accelerate_records_where_it_put_a_model(tiny: Path) -> None:
    from accelerate import dispatch_model

    model = build(find(str(tiny)))
    assert compat.device_map(model) == {}
    dispatch_model(model, {"": "cpu"}, force_hooks=True)
    assert {str(torch.device(device)) for device in compat.device_map(model).values()} == {"cpu"}


def test_quantized_models_say_so(tiny: Path) -> None:
    from transformers.utils.quantization_config import BitsAndBytesConfig

    checkpoint = find(str(tiny))
    assert not compat.is_quantized(build(checkpoint))
    with compat.without_hub_kernels():
        quantization = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["lm_head"])
        assert compat.is_quantized(build(checkpoint, quantization_config=quantization))


@pytest.mark.parametrize("make", MAKERS)
def test_every_weight_has_the_same_name_in_files_and_models(make: Any, tmp_path: Path) -> None:
    checkpoint = find(str(make(tmp_path / "tiny")))
    assert checkpoint.folder is not None
    factory = model_class(checkpoint)
    config = factory.config_class.from_pretrained(checkpoint.folder)
    stored = {
        compat.weight_name(name): tuple(shape) for name, shape in weight_shapes(checkpoint.folder).items()
    }
    assert stored == compat.expected_shapes(factory, config)


def test_errors_of_a_configuration_have_the_message_as_their_cause() -> None:
    with pytest.raises(Exception) as caught:
        VipLlavaConfig(text_config={"model_type": "llama", "hidden_size": 256, "num_attention_heads": 5})
    message = compat.validation_message(caught.value)
    assert message == "The hidden size (256) is not a multiple of the number of attention heads (5)."
    assert compat.validation_message(ValueError("another")) is None


@pytest.mark.parametrize("bits", [4, 8])
def test_empty_linear_layers_are_replaced_and_filled(bits: int) -> None:
    from accelerate import init_empty_weights
    from transformers.utils.quantization_config import BitsAndBytesConfig

    with compat.without_hub_kernels():
        quantization = BitsAndBytesConfig(
            load_in_4bit=bits == 4, load_in_8bit=bits == 8, llm_int8_skip_modules=["last"]
        )
        with init_empty_weights():
            model = torch.nn.ModuleDict({"first": torch.nn.Linear(64, 64), "last": torch.nn.Linear(64, 64)})
        compat.replace_linear_layers(model, quantization)
    values, device = torch.randn(64, 64), torch.device("cpu")
    quantized = compat.filled_weight(model["first"].weight, values, device)
    assert quantized.dtype is (torch.uint8 if bits == 4 else torch.int8)
    plain = compat.filled_weight(model["last"].weight, values, device)
    assert torch.equal(plain, values) and not plain.requires_grad


# --------------------------------------------------------------------------- generation


def test_a_static_cache_has_the_length_that_is_set(tiny: Path) -> None:
    model = build(find(str(tiny)))
    inputs = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    for length in (64, 32):
        config = GenerationConfig(max_new_tokens=4, return_dict_in_generate=True, do_sample=False)
        compat.use_static_cache(model, config, length)
        output = model.generate(**inputs, generation_config=config)
        assert output.past_key_values.layers[0].keys.shape[-2] == length


def test_a_cache_is_shortened_from_its_end() -> None:
    cache = DynamicCache()
    keys = torch.arange(5.0).view(1, 1, 5, 1)
    cache.update(keys, keys, 0)
    assert compat.cache_length(cache) == 5
    compat.shorten_cache(cache, 5)
    assert compat.cache_length(cache) == 5
    compat.shorten_cache(cache, 3)
    assert compat.cache_length(cache) == 3
    assert cache.layers[0].keys.flatten().tolist() == [0, 1, 2]


def test_a_model_keeps_no_keys_of_the_last_token_that_it_wrote(tiny: Path) -> None:
    model = build(find(str(tiny)))
    config = GenerationConfig(max_new_tokens=4, return_dict_in_generate=True, do_sample=False)
    output = model.generate(torch.tensor([[5, 6, 7]]), generation_config=config)
    assert compat.cache_length(output.past_key_values) == output.sequences.shape[1] - 1


def test_tokens_of_a_onevision_picture_are_counted_without_a_model() -> None:
    config = LlavaOnevisionConfig(image_grid_pinpoints=[[28, 28], [28, 56], [56, 28], [56, 56]])
    config.vision_config.image_size, config.vision_config.patch_size = 28, 14
    sizes = torch.tensor([[28, 28], [60, 60], [60, 60]])
    # The whole picture, its tiles with line ends, and one square with its end.
    assert compat.onevision_token_counts(config, sizes, [True, True, False]) == [4 + 6, 4 + 20, 5]


def test_the_method_that_counts_them_needs_only_the_configuration() -> None:
    from transformers.models.llava_onevision.modeling_llava_onevision import LlavaOnevisionModel

    used = inspect.getsource(LlavaOnevisionModel.pack_image_features).split("self.")[1:]
    assert all(text.startswith("config.") for text in used)


def test_rows_of_a_cache_are_selected_without_changing_it() -> None:
    cache = DynamicCache()
    keys = torch.arange(4.0).view(2, 1, 2, 1)
    cache.update(keys, -keys, 0)
    selected = compat.select_rows(cache, torch.tensor([1, 0, 1]))
    assert selected.layers[0].keys.flatten().tolist() == [2, 3, 0, 1, 2, 3]
    more = torch.full((3, 1, 1, 1), 9.0)
    selected.update(more, more, 0)
    assert compat.cache_length(selected) == 3
    assert compat.cache_length(cache) == 2
    assert cache.layers[0].keys.flatten().tolist() == [0, 1, 2, 3]
    assert compat.cache_bytes(cache) == 2 * 4 * 4
