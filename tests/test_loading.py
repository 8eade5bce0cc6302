"""Loading: precisions, devices, memory, and checkpoints that are damaged or contradict themselves."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.asking.interface import Request, Sampling, Setup
from vipcli.checkpoints.lookup import Checkpoint, find
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine import compat, devices, failures, loading
from vipcli.engine.local import LocalModel
from vipcli.errors import ModelError, UsageError

QUANTIZED = ("4bit", "4bit-fp4", "8bit")


@pytest.fixture(scope="module")
def bundled() -> Checkpoint:
    return find("bundled")


def _request(checkpoint: Checkpoint, tokens: int = 4) -> Request:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    prompt = checkpoint.form().build([Turn("What is this?")])
    return Request(prompt, (image,), sampling=Sampling(max_new_tokens=tokens))


def _scores(model: LocalModel, request: Request) -> torch.Tensor:
    """The scores of the next token after a whole question."""
    inputs = {
        name: value.to(model._model.dtype) if value.is_floating_point() else value
        for name, value in model._input_builder([request]).items()
    }
    with torch.inference_mode():
        scores: torch.Tensor = model._model(**inputs).logits[0, -1]
    return scores.float()


@pytest.mark.parametrize("quantize", QUANTIZED)
def test_quantizing_hardly_changes_the_answers_of_the_bundled_model(
    bundled: Checkpoint, quantize: str
) -> None:
    request = _request(bundled)
    exact = LocalModel(bundled, Setup(dtype="bfloat16"))
    small = LocalModel(bundled, Setup(quantize=quantize))
    assert small.facts.quantize == quantize
    assert small.answer(request).text == exact.answer(request).text
    reference, scores = _scores(exact, request), _scores(small, request)
    assert torch.nn.functional.cosine_similarity(reference, scores, dim=0) > 0.98
    assert int(scores.argmax()) == int(reference.argmax())


def _quantized_parts(model: Any) -> set[str]:
    """The parts of a model that have quantized weights."""
    return {
        name.split(".layers.")[0].split("encoder")[0].rstrip(".")
        for name, weight in model.named_parameters()
        if weight.dtype in (torch.uint8, torch.int8)
    }


@pytest.mark.parametrize("quantize", QUANTIZED)
def test_the_vision_tower_is_quantized_only_on_request(bundled: Checkpoint, quantize: str) -> None:
    text_only = LocalModel(bundled, Setup(quantize=quantize))._model
    assert _quantized_parts(text_only) == {"model.language_model"}
    everything = LocalModel(bundled, Setup(quantize=quantize, quantize_all=True))._model
    assert {"model.language_model", "model.vision_tower"} <= _quantized_parts(everything)
    assert everything.get_memory_footprint() < text_only.get_memory_footprint()
    assert everything.lm_head.weight.is_floating_point()


@pytest.mark.parametrize("make", [make_vipllava, make_llava, make_interleave, make_onevision])
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_every_family_runs_quantized(make: Any, quantize: str, tmp_path: Path) -> None:
    checkpoint = find(str(make(tmp_path / "tiny", hidden=64)))
    model = LocalModel(checkpoint, Setup(quantize=quantize))
    assert len(model.answer(_request_for(checkpoint)).token_ids) == 4
    assert _quantized_parts(model._model) == {"model.language_model"}


def _request_for(checkpoint: Checkpoint) -> Request:
    image = np.zeros((60, 90, 3), np.uint8)
    return Request(checkpoint.form().build([Turn("What?")]), (image,), sampling=Sampling(max_new_tokens=4))


def test_libraries_print_nothing() -> None:
    # In a process of its own, where they are imported anew.
    picture = Path(__file__).parent.parent / "samples" / "shapes.png"
    program = """if True:
        import sys
        from vipcli.cli.app import main

        picture, *quantized = sys.argv[1:]
        for quantize in quantized:
            sys.argv = ["vipcli", "ask", picture, "What?", "--quantize", quantize, "--quiet"]
            assert main() == 0
    """
    process = subprocess.run(
        [sys.executable, "-c", program, picture, *QUANTIZED],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert process.stderr == ""
    assert process.stdout.count("\n") == len(QUANTIZED)


def test_spread_uses_the_cpu_where_there_is_no_gpu(bundled: Checkpoint) -> None:
    model = LocalModel(bundled, Setup(device="spread"))
    assert model.facts.device == "cpu"
    assert model.answer(_request(bundled)).token_ids


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_attention_implementation_is_as_set(bundled: Checkpoint, attention: str) -> None:
    model = LocalModel(bundled, Setup(attention=attention))
    assert compat.attention_implementation(model._model) == attention


@pytest.mark.parametrize(
    ("setup", "error", "message"),
    [
        (
            Setup(quantize="8bit", dtype="float32"),
            UsageError,
            "8-bit weights are computed in float16, not in float32",
        ),
        (Setup(attention="flash"), ModelError, "Flash attention runs on NVIDIA GPUs only"),
        (Setup(device="cuda:7"), ModelError, "no cuda device"),
    ],
)
def test_impossible_setups_are_refused_before_anything_is_loaded(
    bundled: Checkpoint, setup: Setup, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Checkpoint) -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(loading, "_load_config", fail)
    with pytest.raises(error, match=message):
        LocalModel(bundled, setup)


def test_missing_bitsandbytes_is_named(bundled: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else find_spec(name, *rest),
    )
    with pytest.raises(
        ModelError,
        match=r"need the package bitsandbytes\. .*pip install bitsandbytes \(now: quantize=\"4bit\"\)",
    ):
        LocalModel(bundled, Setup(quantize="4bit"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets the free memory of the machine in megabytes."""

    def set_free(megabytes: float) -> None:
        monkeypatch.setattr(devices, "free_memory", lambda _: int(megabytes * 1e6))

    yield set_free


@pytest.mark.parametrize(
    ("megabytes", "advice"),
    [
        (70, 'dtype="bfloat16" takes 49'),
        (45, 'quantize="8bit" takes'),
        (1, "4 bits would not fit either: take a smaller checkpoint"),
    ],
)
def test_too_little_memory_is_refused_with_advice_on_what_fits(
    bundled: Checkpoint, free: Any, megabytes: float, advice: str
) -> None:
    free(megabytes)
    with pytest.raises(
        ModelError, match=f"bundled needs 98.* of memory in this precision, but cpu has .* free. {advice}"
    ):
        LocalModel(bundled)


def test_a_checkpoint_that_fits_is_loaded(bundled: Checkpoint, free: Any) -> None:
    free(50)
    assert LocalModel(bundled, Setup(dtype="bfloat16")).facts.dtype == "bfloat16"


@pytest.mark.parametrize("make", [make_vipllava, make_llava, make_interleave, make_onevision])
def test_dropping_unused_vision_layers_changes_no_score(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find(str(make(tmp_path / "tiny")))
    short = LocalModel(checkpoint)
    monkeypatch.setattr(compat, "drop_unused_vision_layers", lambda _: None)
    whole = LocalModel(checkpoint)
    counts = [len(model._model.model.vision_tower.encoder.layers) for model in (short, whole)]
    # ViP-LLaVA and LLaVA-1.5 do not use the last layer.
    assert counts[1] - counts[0] == (1 if make in (make_vipllava, make_llava) else 0)
    request = _request_for(checkpoint)
    assert torch.equal(_scores(short, request), _scores(whole, request))


def test_scores_are_computed_for_the_last_token_only(bundled: Checkpoint) -> None:
    model = LocalModel(bundled)
    lengths: list[int] = []
    model._model.lm_head.register_forward_hook(lambda _, inputs, __: lengths.append(inputs[0].shape[1]))
    model.answer(_request(bundled))
    assert set(lengths) == {1}


def test_the_cpu_uses_float32_even_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.choose_dtype(Setup(), torch.device("cpu")) is torch.float32
    assert devices.choose_dtype(Setup(), torch.device("cuda")) == "auto"
    assert devices.choose_dtype(Setup(), None) == "auto"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyError("added_tokens"), "an entry is missing or of the wrong kind: KeyError: 'added_tokens'"),
        (ValueError("no such thing:"), r"cannot be read \(no such thing\)\. It may be damaged"),
    ],
)
def test_errors_of_libraries_are_put_in_a_sentence(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loading, "input_builder", fail)
    with pytest.raises(ModelError, match=message):
        LocalModel(find(str(tiny)))


def _changed(source: Checkpoint | Path, folder: Path, file: str, **values: Any) -> Path:
    """A copy of a checkpoint with other values in one of its JSON files; None removes an entry.

    An entry of a part is named as in `text_config__vocab_size`.
    """
    origin = source.folder if isinstance(source, Checkpoint) else source
    assert origin is not None
    shutil.copytree(origin, folder)
    content = json.loads((folder / file).read_text())
    for name, value in values.items():
        *parts, key = name.split("__")
        entry = content[parts[0]] if parts else content
        if value is None:
            del entry[key]
        else:
            entry[key] = value
    (folder / file).write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(
    ("values", "name", "shape", "implied"),
    [
        ({"text_config__vocab_size": 2000}, "language_model.lm_head.weight", "1024 × 256", "2000 × 256"),
        ({"text_config__hidden_size": 512}, "language_model.lm_head.weight", "1024 × 256", "1024 × 512"),
        (
            {"vision_config__image_size": 224},
            "vision_tower.embeddings.position_embedding.weight",
            "145 × 384",
            "197 × 384",
        ),
        (
            {"vision_feature_layer": [-1, -2]},
            "multi_modal_projector.linear_1.weight",
            "256 × 1152",
            "256 × 768",
        ),
    ],
)
@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_weights_that_do_not_fit_the_configuration_are_named(
    bundled: Checkpoint,
    tmp_path: Path,
    values: dict[str, Any],
    name: str,
    shape: str,
    implied: str,
    quantize: str,
) -> None:
    folder = _changed(bundled, tmp_path / "changed", "config.json", **values)
    with pytest.raises(ModelError) as caught:
        LocalModel(find(str(folder)), Setup(quantize=quantize))
    assert (
        f"The weights of the checkpoint {folder} do not fit its config.json: {name} has the shape {shape}, "
        f"but config.json implies {implied}"
    ) in str(caught.value)
    assert "answers.json" not in str(caught.value)


@pytest.mark.parametrize("quantize", ["none", "4bit"])
def test_layers_that_the_configuration_leaves_out_are_refused(
    bundled: Checkpoint, tmp_path: Path, quantize: str
) -> None:
    values = {"text_config__num_hidden_layers": 2}
    folder = _changed(bundled, tmp_path / "changed", "config.json", **values)
    message = r"they have 4 layers in the language model, but config\.json implies 2\."
    with pytest.raises(ModelError, match=message):
        LocalModel(find(str(folder)), Setup(quantize=quantize))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"text_config__num_attention_heads": 5},
            "(The hidden size (256) is not a multiple of the number of attention heads (5))",
        ),
        (
            {"text_config__intermediate_size": "many"},
            "(Field 'intermediate_size' expected int, got str (value: 'many'))",
        ),
        (
            {"projector_hidden_act": "unheard-of"},
            "(an entry is missing or of the wrong kind: KeyError: 'unheard-of')",
        ),
        (
            {"text_config__num_hidden_layers": 6},
            "lacks 18 of the weights that its config.json implies, model.language_model.layers.4.",
        ),
    ],
)
def test_an_unusable_configuration_is_explained(
    bundled: Checkpoint, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    folder = _changed(bundled, tmp_path / "changed", "config.json", **values)
    with pytest.raises(ModelError) as caught:
        LocalModel(find(str(folder)))
    assert message in str(caught.value)


def test_a_file_that_is_not_valid_is_named(bundled: Checkpoint, tmp_path: Path) -> None:
    assert bundled.folder is not None
    folder = tmp_path / "broken"
    shutil.copytree(bundled.folder, folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"cannot be read \(tokenizer\.json cannot be read\)"):
        LocalModel(find(str(folder)))


def test_a_missing_image_processor_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = _changed(tiny, tmp_path / "changed", "processor_config.json", image_processor=None)
    message = r"there is no preprocessor_config\.json, and processor_config\.json has no image_processor"
    with pytest.raises(ModelError, match=message):
        LocalModel(find(str(folder)))


def test_a_missing_tokenizer_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(tiny, folder)
    (folder / "tokenizer.json").rename(folder / "tokenizer.model")
    with pytest.raises(ModelError, match=r"cannot be read \(there is no tokenizer\.json: "):
        LocalModel(find(str(folder)))


def test_tables_in_each_layer_of_old_files_are_ignored(bundled: Checkpoint) -> None:
    config = loading._load_config(bundled)
    failures.check_completeness(
        bundled, config, set(), {"model.language_model.layers.3.self_attn.rotary_emb.inv_freq"}
    )
