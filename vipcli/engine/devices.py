"""The device and precision to run a checkpoint with, and whether it fits there."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

from vipcli.asking.interface import Setup
from vipcli.checkpoints.hub_cache import format_size
from vipcli.checkpoints.lookup import Checkpoint, memory_needed
from vipcli.engine.compat import quick_imports
from vipcli.errors import ModelError, UsageError
from vipcli.memory import available_memory

with quick_imports():
    import torch

_QUANTIZED_BITS = {"4bit": 4, "4bit-fp4": 4, "8bit": 8}


def choose_device(name: str) -> torch.device | None:
    """The device for a setting; None to spread the model over all of them."""
    if name == "spread":
        return None
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if available[kind])
    kind, _, number = name.partition(":")
    if not available[kind]:
        raise ModelError(
            f"This machine has no {kind} device that torch can use.",
            f"Choose another {{device}} (now: {name}).",
        )
    count = torch.cuda.device_count()
    if number and int(number) >= count:
        raise ModelError(f"This machine has no {name}: its GPUs are cuda:0 to cuda:{count - 1}.")
    return torch.device(name)


def runs_on_cpu(name: str) -> bool:
    """Whether this device setting chooses the CPU."""
    device = choose_device(name)
    return device is not None and device.type == "cpu"


def choose_dtype(setup: Setup, device: torch.device | None) -> torch.dtype | str:
    """The data type of the weights that are not quantized; "auto" for the checkpoint's own."""
    if setup.quantize != "none":
        return _dtype_beside_quantized(setup, device)
    if setup.dtype != "auto":
        return _dtype(setup.dtype)
    # A CPU is exact and usually faster in 32 bits.
    on_cpu = not torch.cuda.is_available() if device is None else device.type == "cpu"
    return torch.float32 if on_cpu else "auto"


def _dtype_beside_quantized(setup: Setup, device: torch.device | None) -> torch.dtype:
    """The data type of the weights that are not quantized, and of all computations."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            "Quantized weights need the package bitsandbytes.",
            f"Install it with pip install bitsandbytes (now: {{quantize={setup.quantize}}}).",
        )
    if device is not None and device.type == "mps":
        raise ModelError(
            "Quantized weights run on NVIDIA GPUs and on the CPU only.",
            "Choose {quantize=none}, or another {device}.",
        )
    if setup.quantize == "8bit":
        if setup.dtype not in ("auto", "float16"):
            raise UsageError(
                f"8-bit weights are computed in float16, not in {setup.dtype}.", "Choose {dtype=auto}."
            )
        return torch.float16
    if setup.dtype != "auto":
        return _dtype(setup.dtype)
    lacks_bfloat16 = device is not None and device.type == "cuda" and not torch.cuda.is_bf16_supported()
    return torch.float16 if lacks_bfloat16 else torch.bfloat16


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def check_attention(name: str, device: torch.device | None) -> None:
    """Refuse flash attention where it cannot run."""
    if name != "flash":
        return
    if device is not None and device.type != "cuda":
        raise ModelError(
            "Flash attention runs on NVIDIA GPUs only.", "Choose another {attention} (now: flash)."
        )
    if importlib.util.find_spec("flash_attn") is None:
        raise ModelError(
            "Flash attention needs the package flash-attn.",
            "Install it with pip install flash-attn, or choose another {attention}.",
        )


def weight_bits(setup: Setup, dtype: torch.dtype | str) -> int:
    """The bits of each weight of the language model; published checkpoints have 16."""
    unquantized = 16 if isinstance(dtype, str) else 8 * dtype.itemsize
    return _QUANTIZED_BITS.get(setup.quantize, unquantized)


def check_memory(
    checkpoint: Checkpoint, setup: Setup, device: torch.device | None, dtype: torch.dtype | str
) -> None:
    """Refuse a checkpoint that does not fit, instead of swapping for hours."""
    if device is None:
        return
    assert checkpoint.folder is not None
    folder = checkpoint.folder
    item_size = 2 if isinstance(dtype, str) else dtype.itemsize
    needed = memory_needed(folder, weight_bits(setup, dtype), item_size, everything=setup.quantize_all)
    refuse_oversized(checkpoint, device, needed, lambda bits: memory_needed(folder, bits))


def refuse_oversized(
    checkpoint: Checkpoint,
    device: torch.device,
    needed: int,
    needed_at: Callable[[int], int],
    otherwise: str = "take a smaller checkpoint, or {device=spread}",
) -> None:
    """Raise an error if a device has too little memory; advise the most precise weights that would fit.

    `needed_at` takes the number of bits per weight and returns the bytes of memory needed.
    """
    free = free_memory(device)
    if free is None or needed <= free:
        return
    settings = {"{dtype=bfloat16}": 16, "{quantize=8bit}": 8, "{quantize=4bit}": 4}
    fitting = ((setting, size) for setting, bits in settings.items() if (size := needed_at(bits)) <= free)
    setting, size = next(fitting, (None, 0))
    advice = (
        f"{setting} takes {format_size(size)}." if setting else f"4 bits would not fit either: {otherwise}."
    )
    raise ModelError(
        f"{checkpoint.name} needs {format_size(needed)} of memory in this precision, but {device} has "
        f"{format_size(free)} free.",
        advice,
    )


def free_memory(device: torch.device) -> int | None:
    """The free bytes of a device; None if unknown."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
