"""Load a checkpoint into memory."""

from __future__ import annotations

import importlib
from typing import Any

from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine import compat, failures
from vipcli.engine.compat import quick_imports
from vipcli.engine.devices import check_attention, check_memory, choose_device, choose_dtype
from vipcli.engine.inputs import InputBuilder, input_builder

with quick_imports():
    import torch
    from transformers.utils import logging as transformers_logging

# The line "Loading …" is enough.
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()

# Quantizing these saves little memory and costs much of what the model sees.
_UNQUANTIZED = [r".*vision_tower", r".*multi_modal_projector", "lm_head"]
_ATTENTION = {"auto": None, "sdpa": "sdpa", "eager": "eager", "flash": "flash_attention_2"}


def load(checkpoint: Checkpoint, setup: Setup) -> tuple[InputBuilder, Any]:
    """The input builder of a checkpoint, and its model."""
    device = choose_device(setup.device)
    dtype = choose_dtype(setup, device)
    check_attention(setup.attention, device)
    check_memory(checkpoint, setup, device, dtype)
    config = _load_config(checkpoint)
    return _load_input_builder(checkpoint, config), _load_model(checkpoint, config, setup, device, dtype)


def can_compile(model: Any) -> bool:
    """Whether transformers compiles the steps of a model with a static cache."""
    # It does so on NVIDIA GPUs, never with quantized weights; flash attention takes no static cache.
    flash = compat.attention_implementation(model) == _ATTENTION["flash"]
    return model.device.type == "cuda" and not compat.is_quantized(model) and not flash


def attention_of(setup: Setup) -> str | None:
    """transformers' name of an attention implementation; None for its own choice."""
    return _ATTENTION[setup.attention]


def attention_used(model: Any) -> str | None:
    """The setting for the attention implementation that a model uses; None if no setting chooses it."""
    used = compat.attention_implementation(model)
    return next((name for name, implementation in _ATTENTION.items() if implementation == used), None)


def model_class(checkpoint: Checkpoint) -> Any:
    """The transformers class of a checkpoint."""
    family = checkpoint.family
    with quick_imports():
        return getattr(importlib.import_module(family.module), family.class_name)


def _load_input_builder(checkpoint: Checkpoint, config: Any) -> InputBuilder:
    try:
        return input_builder(checkpoint, config)
    # Damaged files raise errors of any class.
    except Exception as error:
        raise failures.loading_error(checkpoint, failures.TOKENIZER, error) from error


def _load_config(checkpoint: Checkpoint) -> Any:
    try:
        config = model_class(checkpoint).config_class.from_pretrained(
            checkpoint.folder, local_files_only=True
        )
    # Damaged files raise errors of any class.
    except Exception as error:
        raise failures.loading_error(checkpoint, failures.CONFIGURATION, error) from error
    if checkpoint.vision_layers is not None:
        compat.set_vision_layers(config, checkpoint.vision_layers)
    return config


def _load_model(
    checkpoint: Checkpoint,
    config: Any,
    setup: Setup,
    device: torch.device | None,
    dtype: torch.dtype | str,
) -> Any:
    quantized = setup.quantize != "none"
    if quantized:
        # transformers does not compare the shapes of weights that it quantizes.
        _check_shapes(checkpoint, config)
    try:
        model, result = model_class(checkpoint).from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            quantization_config=quantization_config(setup, dtype) if quantized else None,
            attn_implementation=attention_of(setup),
            device_map=_device_map(device, quantized),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    # Damaged files raise errors of any class.
    except Exception as error:
        if failures.is_out_of_memory(error):
            raise failures.too_large_error(checkpoint, device) from error
        _check_shapes(checkpoint, config)
        raise failures.loading_error(checkpoint, failures.WEIGHTS, error) from error
    failures.check_completeness(checkpoint, config, result["missing_keys"], result["unexpected_keys"])
    compat.drop_unused_vision_layers(model)
    return model.eval()


def _check_shapes(checkpoint: Checkpoint, config: Any) -> None:
    """Refuse weights that do not have the shapes of the configuration."""
    try:
        expected = compat.expected_shapes(model_class(checkpoint), config)
    # An unusable configuration raises errors of any class.
    except Exception as error:
        raise failures.loading_error(checkpoint, failures.CONFIGURATION, error) from error
    failures.check_shapes(checkpoint, config, expected)


def _device_map(device: torch.device | None, quantized: bool) -> Any:
    if device is None:
        return "auto"
    # Load directly onto a GPU, without a whole copy in the computer's memory.
    return {"": device} if quantized or device.type != "cpu" else None


def quantization_config(setup: Setup, dtype: torch.dtype | str) -> Any:
    """The quantization that a setup asks for, as transformers takes it."""
    from transformers.utils.quantization_config import BitsAndBytesConfig

    with compat.without_hub_kernels():
        importlib.import_module("bitsandbytes")
    unquantized = ["lm_head"] if setup.quantize_all else _UNQUANTIZED
    if setup.quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=unquantized)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4" if setup.quantize == "4bit-fp4" else "nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=unquantized,
    )
