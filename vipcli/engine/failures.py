"""Errors of torch and transformers, in sentences that name what is wrong with a checkpoint or a machine."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vipcli.checkpoints.hub_cache import repair_advice
from vipcli.checkpoints.lookup import Checkpoint, damaged_config, weight_shapes
from vipcli.engine import compat
from vipcli.engine.compat import quick_imports
from vipcli.errors import ModelError, OutOfMemoryError, first_line

with quick_imports():
    import torch

CONFIGURATION = "configuration"
TOKENIZER = "tokenizer or image processor"
WEIGHTS = "weights"


def model_devices(model: Any) -> str:
    """The device of a model, or all of them."""
    devices = dict.fromkeys(
        str(torch.device(device)) for device in compat.device_map(model).values() if device != "disk"
    )
    return ", ".join(devices) if len(devices) > 1 else str(model.device)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error means that memory ran out."""
    # Only CUDA has an error class of its own for this.
    phrases = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        phrase in str(error).lower() for phrase in phrases
    )


def answering_error(name: str, model: Any, error: Exception, save_memory: str) -> ModelError:
    """The error for a model that failed while answering; `save_memory` is advice for a lack of memory."""
    if is_out_of_memory(error):
        return OutOfMemoryError(
            f"{model_devices(model)} ran out of memory while answering.",
            f"{save_memory}, or try another {{device}}.",
        )
    is_about_dtype = re.search("dtype|scalar type|half|bfloat16|float16", str(error), re.IGNORECASE)
    return ModelError(
        f"The checkpoint {name} failed while answering ({first_line(error)}).",
        "Another {dtype} may help." if is_about_dtype else None,
    )


def too_large_error(checkpoint: Checkpoint, device: torch.device | None) -> ModelError:
    """The error for a model that did not fit into memory, although it seemed to."""
    return ModelError(
        f"The checkpoint {checkpoint.name} does not fit into the memory of {device or 'this machine'}.",
        "Try {quantize=4bit}, or another {device}.",
    )


def loading_error(checkpoint: Checkpoint, part: str, error: Exception) -> ModelError:
    """The error for a checkpoint of which a part cannot be read: its configuration, weights and so on."""
    assert checkpoint.folder is not None
    if (damaged := damaged_config(checkpoint.folder)) is not None:
        reason = f"{damaged.name} cannot be read"
    else:
        reason = _missing_file(checkpoint.folder, part, error) or _reason(error)
    return ModelError(
        f"The checkpoint {checkpoint.name} cannot be loaded: its {part} cannot be read ({reason}). "
        "It may be damaged.",
        _repair(checkpoint),
    )


def _reason(error: Exception) -> str:
    if (message := compat.validation_message(error)) is not None:
        return first_line(ValueError(message))
    if isinstance(error, KeyError | TypeError | AttributeError):
        # Such an error speaks of the reader's code, not of the file.
        return f"an entry is missing or of the wrong kind: {type(error).__name__}: {first_line(error)}"
    return first_line(error)


def _missing_file(folder: Path, part: str, error: Exception) -> str | None:
    """Which file or entry for the tokenizer or image processor is missing; None if none is."""
    if part != TOKENIZER:
        return None
    if not (folder / "tokenizer.json").exists():
        return f"there is no tokenizer.json: {first_line(error)}"
    if (folder / "preprocessor_config.json").exists():
        return None
    content = json.loads((folder / "processor_config.json").read_text(encoding="utf-8"))
    if "image_processor" in content:
        return None
    return "there is no preprocessor_config.json, and processor_config.json has no image_processor"


def check_shapes(checkpoint: Checkpoint, config: Any, expected: dict[str, tuple[int, ...]]) -> None:
    """Refuse weights whose shapes are not the expected ones, those that config.json implies."""
    assert checkpoint.folder is not None
    # Weights that were stored quantized are packed into other shapes.
    if getattr(config, "quantization_config", None) is not None:
        return
    mismatches = [
        (name, tuple(shape), wanted)
        for name, shape in weight_shapes(checkpoint.folder).items()
        if (wanted := expected.get(compat.weight_name(name))) is not None and tuple(shape) != wanted
    ]
    if not mismatches:
        return
    name, shape, wanted = mismatches[0]
    count = f" (1 of {len(mismatches)} such weights)" if len(mismatches) > 1 else ""
    raise ModelError(
        f"The weights of the checkpoint {checkpoint.name} do not fit its config.json: {name} has the shape "
        f"{_size(shape)}, but config.json implies {_size(wanted)}{count}.",
        _repair(checkpoint),
    )


def check_completeness(checkpoint: Checkpoint, config: Any, missing: set[str], unexpected: set[str]) -> None:
    """Refuse files without some of the weights, or with more layers than config.json implies."""
    if missing:
        raise ModelError(
            f"The checkpoint {checkpoint.name} lacks {len(missing)} of the weights that its config.json "
            f"implies, {min(missing)} among them.",
            _repair(checkpoint),
        )
    layers = [
        int(match[1])
        for name in unexpected
        if (match := re.search(r"language_model\.(?:.+\.)?layers\.(\d+)\.", name))
    ]
    expected = config.get_text_config().num_hidden_layers
    # Other unexpected weights are harmless: some files hold tables in each layer that newer versions compute.
    if layers and max(layers) >= expected:
        raise ModelError(
            f"The weights of the checkpoint {checkpoint.name} do not fit its config.json: they have "
            f"{max(layers) + 1} layers in the language model, but config.json implies {expected}.",
            _repair(checkpoint),
        )


def _size(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _repair(checkpoint: Checkpoint) -> str:
    assert checkpoint.folder is not None
    return repair_advice(checkpoint.folder)
