"""Models of a published shape with random weights, to measure speed without a download."""

from __future__ import annotations

from typing import Any

from vipcli.asking.interface import Setup
from vipcli.checkpoints.catalog import KnownCheckpoint, model_config
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine import compat, failures
from vipcli.engine.compat import quick_imports
from vipcli.engine.devices import check_attention, choose_device, choose_dtype, refuse_oversized, weight_bits
from vipcli.engine.loading import attention_of, model_class, quantization_config
from vipcli.errors import UsageError

with quick_imports():
    import torch


def random_model(known: KnownCheckpoint, setup: Setup) -> Any:
    """A model of the class and shape of a known checkpoint, with random weights."""
    device = choose_device(setup.device)
    if device is None:
        raise UsageError(
            "Random weights can be on one device only.", "Choose another {device} (now: spread)."
        )
    dtype = choose_dtype(setup, device)
    check_attention(setup.attention, device)
    dtype = torch.bfloat16 if isinstance(dtype, str) else dtype
    checkpoint = Checkpoint(known.hub_name, known.family)
    needed = known.memory(weight_bits(setup, dtype))
    refuse_oversized(checkpoint, device, needed, known.memory, "take a smaller checkpoint")
    model = _empty_model(checkpoint, known, setup)
    if setup.quantize != "none":
        compat.replace_linear_layers(model, quantization_config(setup, dtype))
    try:
        _fill(model, device, dtype)
    except (RuntimeError, MemoryError) as error:
        if failures.is_out_of_memory(error):
            raise failures.too_large_error(checkpoint, device) from error
        raise
    model.tie_weights()
    compat.drop_unused_vision_layers(model)
    return model.eval()


def _empty_model(checkpoint: Checkpoint, known: KnownCheckpoint, setup: Setup) -> Any:
    """A model whose weights take no memory yet."""
    from accelerate import init_empty_weights

    factory = model_class(checkpoint)
    config = factory.config_class(**model_config(known))
    compat.set_attention_implementation(config, attention_of(setup))
    with init_empty_weights(include_buffers=False):
        return factory(config)


def _fill(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Fill the weights layer by layer, so that quantized ones never need the memory of unquantized ones."""
    numbers = 0.02 * torch.randn(2**20, device=device, dtype=dtype)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            repeats = -(-weight.numel() // numbers.numel())
            values = numbers.repeat(repeats)[: weight.numel()].view(weight.shape)
            setattr(module, name, compat.filled_weight(weight, values, device))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, buffer.to(device))
