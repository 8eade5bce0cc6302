"""A checkpoint into memory: on which device, in which precision, and whether it fits."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vipcli.asking.interface import Setup
from vipcli.checkpoints.catalog import KnownCheckpoint, model_config
from vipcli.checkpoints.hub_cache import format_size, repair_advice
from vipcli.checkpoints.lookup import Checkpoint, damaged_config, memory_needed
from vipcli.engine.fast_imports import quick_imports
from vipcli.engine.inputs import Inputs, inputs_for
from vipcli.errors import ModelError, OutOfMemoryError, UsageError, first_line

with quick_imports():
    import torch
    from transformers.utils import logging as transformers_logging

# A bar for each file that is read says nothing that the line "loading" does not.
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()

_BITS = {"4bit": 4, "4bit-fp4": 4, "8bit": 8}
# What keeps 16 bits when the rest is quantized: little of the whole, and much of what is seen.
_KEPT = [r".*vision_tower", r".*multi_modal_projector", "lm_head"]
_ATTENTION = {"auto": None, "sdpa": "sdpa", "eager": "eager", "flash": "flash_attention_2"}


def load(checkpoint: Checkpoint, setup: Setup) -> tuple[Inputs, Any]:
    """What reads requests for a checkpoint, and the model itself."""
    device = _device(setup.device)
    dtype = _dtype(setup, device)
    _insist_on_attention(setup.attention, device)
    _insist_on_room(checkpoint, setup, device, dtype)
    config = _config(checkpoint)
    return _inputs(checkpoint, config), _model(checkpoint, config, setup, device, dtype)


def where(model: Any) -> str:
    """The device that a model is on, or all of them."""
    spread = getattr(model, "hf_device_map", {})
    places = dict.fromkeys(str(torch.device(place)) for place in spread.values() if place != "disk")
    return ", ".join(places) if len(places) > 1 else str(model.device)


def compiles(model: Any) -> bool:
    """Whether a model that stays in memory should have the steps of its answers compiled."""
    # transformers does so on NVIDIA GPUs, never with few bits, and flash attention takes no fixed lengths.
    flash = model.config._attn_implementation == _ATTENTION["flash"]
    return model.device.type == "cuda" and not getattr(model, "is_quantized", False) and not flash


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what an error comes down to."""
    # Only CUDA has an error of its own for this.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error).lower() for word in words
    )


def stumbled(name: str, model: Any, error: Exception, smaller: str) -> ModelError:
    """What to say of a model that failed while answering; `smaller` is what takes less memory."""
    if is_out_of_memory(error):
        return OutOfMemoryError(
            f"{where(model)} ran out of memory while answering. {smaller}, or try another --device."
        )
    about_dtype = re.search("dtype|scalar type|half|bfloat16|float16", str(error), re.IGNORECASE)
    advice = " Another --dtype may help." if about_dtype else ""
    return ModelError(f"The checkpoint {name} failed while answering ({first_line(error)}).{advice}")


def random_model(known: KnownCheckpoint, setup: Setup) -> Any:
    """The true class in the true shape, with weights that mean nothing: for measuring without a download."""
    from accelerate import init_empty_weights

    device = _device(setup.device)
    if device is None:
        raise UsageError("Random weights go to one device. Choose another --device (now: spread).")
    dtype = _dtype(setup, device)
    _insist_on_attention(setup.attention, device)
    dtype = torch.bfloat16 if isinstance(dtype, str) else dtype
    checkpoint = Checkpoint(known.hub_name, known.family)
    need = known.memory(_bits(setup, dtype))
    _refuse_without_room(checkpoint, device, need, known.memory, "take a smaller checkpoint")
    model_class = _class(checkpoint)
    config = model_class.config_class(**model_config(known))
    config._attn_implementation = _ATTENTION[setup.attention]
    with init_empty_weights(include_buffers=False):
        model = model_class(config)
    if setup.quantize != "none":
        _quantize_empty(model, setup, dtype)
    try:
        _fill(model, device, dtype)
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise _too_large(checkpoint, device) from error
        raise
    model.tie_weights()
    _drop_unused_layers(model)
    return model.eval()


def _quantize_empty(model: Any, setup: Setup, dtype: torch.dtype) -> None:
    """Put linear layers of few bits in the place of those that hold nothing yet."""
    quantizing = _quantizing(setup, dtype)
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    replace_with_bnb_linear(
        model, modules_to_not_convert=quantizing.llm_int8_skip_modules, quantization_config=quantizing
    )


def _fill(model: Any, device: torch.device, dtype: torch.dtype) -> None:
    """Give every empty weight numbers, one layer after another, so that no whole copy is needed."""
    some = 0.02 * torch.randn(2**20, device=device, dtype=dtype)
    for module in model.modules():
        for name, weight in list(module.named_parameters(recurse=False)):
            count = -(-weight.numel() // some.numel())
            numbers = some.repeat(count)[: weight.numel()].view(weight.shape)
            # Those of few bits are made small on their way to the device.
            kind, options = type(weight), {**weight.__dict__, "requires_grad": False}
            small = kind is not torch.nn.Parameter
            filled = kind(
                numbers.cpu() if small else numbers, **(options if small else {"requires_grad": False})
            )
            setattr(module, name, filled.to(device) if small else filled)
        for name, buffer in list(module.named_buffers(recurse=False)):
            module._buffers[name] = buffer.to(device)


# --------------------------------------------------------------------------- devices and precisions


def _device(name: str) -> torch.device | None:
    """The device of that name; None for all that there are."""
    if name == "spread":
        return None
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if has[kind])
    kind, _, number = name.partition(":")
    if not has[kind]:
        raise ModelError(
            f"This machine has no {kind} device that torch can use. Choose another --device (now: {name})."
        )
    if number and int(number) >= torch.cuda.device_count():
        raise ModelError(
            f"This machine has no {name}: its GPUs are cuda:0 to cuda:{torch.cuda.device_count() - 1}."
        )
    return torch.device(name)


def on_processor(device: str) -> bool:
    """Whether what is asked for would run on this machine's processor."""
    found = _device(device)
    return found is not None and found.type == "cpu"


def _dtype(setup: Setup, device: torch.device | None) -> torch.dtype | str:
    if setup.quantize != "none":
        return _dtype_beside(setup, device)
    if setup.dtype != "auto":
        return _named(setup.dtype)
    # A GPU runs the checkpoint's own precision; a processor is exact, and mostly faster, at 32 bits.
    exact = not torch.cuda.is_available() if device is None else device.type == "cpu"
    return torch.float32 if exact else "auto"


def _dtype_beside(setup: Setup, device: torch.device | None) -> torch.dtype:
    """The precision of what is not quantized, and that the rest is reckoned in."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f"--quantize {setup.quantize} needs bitsandbytes: pip install bitsandbytes.")
    if device is not None and device.type == "mps":
        raise ModelError(
            "4 and 8 bits run on NVIDIA GPUs and on the CPU. Choose --quantize none, or another --device."
        )
    if setup.quantize == "8bit":
        if setup.dtype not in ("auto", "float16"):
            raise UsageError(f"8 bits go with float16, not with {setup.dtype}. Choose --dtype auto.")
        return torch.float16
    if setup.dtype != "auto":
        return _named(setup.dtype)
    old = device is not None and device.type == "cuda" and not torch.cuda.is_bf16_supported()
    return torch.float16 if old else torch.bfloat16


def _named(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def _insist_on_attention(name: str, device: torch.device | None) -> None:
    if name != "flash":
        return
    if device is not None and device.type != "cuda":
        raise ModelError(
            "Flash attention runs on NVIDIA GPUs alone. Choose another --attention (now: flash)."
        )
    if importlib.util.find_spec("flash_attn") is None:
        raise ModelError("--attention flash needs the package flash-attn: pip install flash-attn.")


# --------------------------------------------------------------------------- room


def _bits(setup: Setup, dtype: torch.dtype | str) -> int:
    """How many bits the language model's weights have."""
    own = 16 if isinstance(dtype, str) else 8 * dtype.itemsize
    return _BITS.get(setup.quantize, own)


def _insist_on_room(
    checkpoint: Checkpoint, setup: Setup, device: torch.device | None, dtype: torch.dtype | str
) -> None:
    """Refuse what cannot fit, ahead of hours of swapping."""
    if device is None:
        return
    own = 2 if isinstance(dtype, str) else dtype.itemsize
    assert checkpoint.folder is not None
    folder = checkpoint.folder
    need = memory_needed(folder, _bits(setup, dtype), own, everything=setup.quantize_all)
    _refuse_without_room(checkpoint, device, need, lambda bits: memory_needed(folder, bits))


def _refuse_without_room(
    checkpoint: Checkpoint,
    device: torch.device,
    need: int,
    smaller: Callable[[int], int],
    otherwise: str = "take a smaller checkpoint, or --device spread",
) -> None:
    """Say what would fit where this does not; `smaller` is what fewer bits take."""
    free = _free(device)
    if free is None or need <= free:
        return
    options = {"--dtype bfloat16": 16, "--quantize 8bit": 8, "--quantize 4bit": 4}
    fits = {option: size for option, bits in options.items() if (size := smaller(bits)) <= free}
    advice = f"Nor would 4 bits fit: {otherwise}."
    if fits:
        option, size = next(iter(fits.items()))
        advice = f"{option} takes {format_size(size)}."
    raise ModelError(
        f"{checkpoint.name} takes {format_size(need)} like this, and {device} has {format_size(free)} free. "
        f"{advice}"
    )


def _free(device: torch.device) -> int | None:
    """Bytes that a device has left; None where it does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123 - not a file on a disk
            told = dict(line.split(":", 1) for line in file)
        return int(told["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return None


# --------------------------------------------------------------------------- reading the files


def _inputs(checkpoint: Checkpoint, config: Any) -> Inputs:
    try:
        return inputs_for(checkpoint, config)
    # Damaged files make these readers fail in any way.
    except Exception as error:
        raise _broken(checkpoint, "its tokenizer or image processor", error) from error


def _class(checkpoint: Checkpoint) -> Any:
    family = checkpoint.family
    with quick_imports():
        return getattr(importlib.import_module(family.module), family.class_name)


def _config(checkpoint: Checkpoint) -> Any:
    """The checkpoint's configuration, its vision layers kept whichever version of transformers wrote it."""
    try:
        config = _class(checkpoint).config_class.from_pretrained(checkpoint.folder, local_files_only=True)
    # Damaged files make these readers fail in any way.
    except Exception as error:
        raise _broken(checkpoint, "its configuration", error) from error
    if checkpoint.vision_layers is not None:
        # Older versions know this name alone, newer ones take it for their own.
        config.vision_feature_layers = checkpoint.vision_layers
    return config


def _model(
    checkpoint: Checkpoint,
    config: Any,
    setup: Setup,
    device: torch.device | None,
    dtype: torch.dtype | str,
) -> Any:
    quantized = setup.quantize != "none"
    try:
        model, loading = _class(checkpoint).from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            quantization_config=_quantizing(setup, dtype) if quantized else None,
            attn_implementation=_ATTENTION[setup.attention],
            device_map=_map(device, quantized),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    # Damaged files make these readers fail in any way.
    except Exception as error:
        if is_out_of_memory(error):
            raise _too_large(checkpoint, device) from error
        if (misfit := _misfit(checkpoint, config)) is not None:
            raise ModelError(f"The checkpoint {checkpoint.name} cannot be loaded: {misfit}") from error
        raise _broken(checkpoint, "its weights", error) from error
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"The checkpoint {checkpoint.name} lacks {len(missing)} of its weights, {missing[0]} among them. "
            f"{_mending(checkpoint)}"
        )
    _drop_unused_layers(model)
    return model.eval()


# Parts of a weight's name that depend on the version that wrote it.
_PREFIXES = frozenset({"model", "language_model", "vision_model"})


def _misfit(checkpoint: Checkpoint, config: Any) -> str | None:
    """A sentence on the first weight whose shape is not what config.json says, if there is one."""
    from safetensors import safe_open

    try:
        with torch.device("meta"):
            model = _class(checkpoint)(config)
        expected = {_bare_name(name): list(weight.shape) for name, weight in model.state_dict().items()}
        assert checkpoint.folder is not None
        for file in sorted(checkpoint.folder.glob("*.safetensors")):
            with safe_open(file, "pt") as weights:
                for name in weights.keys():  # noqa: SIM118 - it is no dictionary
                    stored, wanted = weights.get_slice(name).get_shape(), expected.get(_bare_name(name))
                    if wanted is not None and stored != wanted:
                        return (
                            f"its weights do not fit its config.json. {name} is {_shape(stored)} in the "
                            f"weights, but {_shape(wanted)} by config.json. {_mending(checkpoint)}"
                        )
    # This only explains another error, so its own failures say nothing.
    except Exception:
        return None
    return None


def _bare_name(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _PREFIXES)


def _shape(sizes: Sequence[int]) -> str:
    return " × ".join(map(str, sizes))


def _drop_unused_layers(model: Any) -> None:
    """Take off the layers of the vision tower above the last one that features are taken from."""
    config, layers = model.config, model.model.vision_tower.encoder.layers
    names = [
        name
        for name in ("vision_feature_layer", "vision_feature_layers")
        if getattr(config, name, None) is not None
    ]
    used = 0
    for name in names:
        chosen = getattr(config, name)
        # Counted from the end, they would mean others once the end has moved.
        several = isinstance(chosen, list | tuple)
        counted = [one if one >= 0 else len(layers) + 1 + one for one in (chosen if several else [chosen])]
        setattr(config, name, counted if several else counted[0])
        used = max(used, *counted)
    if names:
        del layers[used:]


def _map(device: torch.device | None, quantized: bool) -> Any:
    if device is None:
        return "auto"
    # Straight onto a GPU, without a whole copy in memory first.
    return {"": device} if quantized or device.type != "cpu" else None


def _quantizing(setup: Setup, dtype: torch.dtype | str) -> Any:
    from transformers.utils.quantization_config import BitsAndBytesConfig

    with _no_foreign_code():
        importlib.import_module("bitsandbytes")
    kept = ["lm_head"] if setup.quantize_all else _KEPT
    if setup.quantize == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="fp4" if setup.quantize == "4bit-fp4" else "nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


@contextmanager
def _no_foreign_code() -> Iterator[None]:
    """bitsandbytes would fetch compiled code from the hub if it could; here it cannot, and says nothing."""
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, there = log.level, "kernels" in sys.modules
    log.setLevel(logging.CRITICAL)
    if not there:
        sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not there:
            del sys.modules["kernels"]
        log.setLevel(level)


def _too_large(checkpoint: Checkpoint, device: torch.device | None) -> ModelError:
    return ModelError(
        f"The checkpoint {checkpoint.name} does not fit into the memory of {device or 'this machine'}. "
        "Try --quantize 4bit, or another --device."
    )


def _broken(checkpoint: Checkpoint, part: str, error: Exception) -> ModelError:
    assert checkpoint.folder is not None
    why = first_line(error)
    if (unreadable := damaged_config(checkpoint.folder)) is not None:
        why = f"{unreadable.name} cannot be read"
    elif isinstance(error, KeyError | TypeError | AttributeError):
        # What such an error says is for whoever wrote the reader.
        why = "something in it is missing, or of another kind than it should be"
    return ModelError(
        f"The checkpoint {checkpoint.name} cannot be loaded: {part} did not read ({why}). "
        f"It may be damaged. {_mending(checkpoint)}"
    )


def _mending(checkpoint: Checkpoint) -> str:
    assert checkpoint.folder is not None
    return repair_advice(checkpoint.folder)
