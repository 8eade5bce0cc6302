"""The private or fragile parts of transformers, accelerate, bitsandbytes and torch that the engine relies on.

They were checked with torch 2.13.0, transformers 5.17.0, 5.23.0 and 5.24.0, accelerate 1.10.0 and 1.15.0, and
bitsandbytes 0.50.0 and 0.50.2. `tests/test_compat.py` checks them again, and fails on an upgrade that changes
one.

This module imports neither torch nor transformers itself, since it also speeds up their import.
"""

from __future__ import annotations

import copy
import gc
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# --------------------------------------------------------------------------- imports

_MODELS = "transformers.models"


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import torch and transformers inside this context in three quarters of the time."""
    # Spinning threads starve each other on a busy machine; torch reads this when it is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _replace_models_package()
    # These imports create no garbage, and searching for it takes a sixth of their time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.freeze()
            gc.enable()


def _replace_models_package() -> None:
    """Put a plain package in place of `transformers.models`.

    When transformers is imported, it scans the sources of all models for the names that they export. Its
    package of models then scans all of them again, only to offer those names in a second place, where nothing
    looks for them. A plain package finds the modules just as well.
    """
    library = importlib.util.find_spec("transformers")
    if library is None or library.origin is None or _MODELS in sys.modules:
        return
    spec = ModuleSpec(_MODELS, None, is_package=True)
    spec.submodule_search_locations = [str(Path(library.origin).with_name("models"))]
    sys.modules[_MODELS] = importlib.util.module_from_spec(spec)


@contextmanager
def without_hub_kernels() -> Iterator[None]:
    """Import bitsandbytes inside this context.

    On a CPU it would download compiled code with the package `kernels` where that is installed, and would log
    an error where it is not.
    """
    log = logging.getLogger("bitsandbytes.backends.cpu.ops")
    level, was_imported = log.level, "kernels" in sys.modules
    log.setLevel(logging.CRITICAL)
    if not was_imported:
        sys.modules["kernels"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not was_imported:
            del sys.modules["kernels"]
        log.setLevel(level)


# --------------------------------------------------------------------------- configurations

_VISION_LAYERS = ("vision_feature_layer", "vision_feature_layers")


def attention_implementation(model: Any) -> str | None:
    """The attention implementation in use: transformers offers a way to set it, none to read it."""
    name = model.config._attn_implementation
    return None if name is None else str(name)


def set_attention_implementation(config: Any, name: str | None) -> None:
    """Choose the attention of a model that is built from its configuration; None chooses automatically.

    Only `from_pretrained` takes it as an argument.
    """
    config._attn_implementation = name


def image_token_ids(config: Any) -> tuple[int, ...]:
    """The token ids that stand for pictures and videos.

    Saved configurations call them `image_token_index` and `video_token_index`, which every class maps to the
    names here. Only LLaVA-OneVision has videos.
    """
    return tuple(
        int(getattr(config, name))
        for name in ("image_token_id", "video_token_id")
        if getattr(config, name, None) is not None
    )


def set_vision_layers(config: Any, layers: Sequence[int]) -> None:
    """Select the vision layers that features are taken from, under each name that the configuration knows.

    ViP-LLaVA's is `vision_feature_layers` in old versions and files, and `vision_feature_layer` in new ones.
    """
    for name in _VISION_LAYERS:
        if hasattr(config, name):
            setattr(config, name, tuple(layers))


def drop_unused_vision_layers(model: Any) -> None:
    """Remove the layers of the vision tower above the last one that features are taken from.

    The tower runs all of its layers, whatever is taken from them.
    """
    config, layers = model.config, model.model.vision_tower.encoder.layers
    names = [name for name in _VISION_LAYERS if getattr(config, name, None) is not None]
    used = 0
    for name in names:
        chosen = getattr(config, name)
        is_list = isinstance(chosen, list | tuple)
        # Negative numbers count from the end, which is about to move.
        absolute = [
            layer if layer >= 0 else len(layers) + 1 + layer for layer in (chosen if is_list else [chosen])
        ]
        setattr(config, name, absolute if is_list else absolute[0])
        used = max(used, *absolute)
    if names:
        del layers[used:]


# --------------------------------------------------------------------------- loading


def device_map(model: Any) -> dict[str, Any]:
    """Where accelerate put each part of a model; empty if the model was not dispatched."""
    return dict(getattr(model, "hf_device_map", {}))


def is_quantized(model: Any) -> bool:
    """Whether a model has quantized weights; only `from_pretrained` sets the attribute."""
    return bool(getattr(model, "is_quantized", False))


def weight_name(name: str) -> str:
    """A weight's name in a form that is the same for files and for models.

    transformers renames the weights of these families when it loads and saves them. For example,
    `language_model.model.norm` in files is `model.language_model.norm` in models.
    """
    parts = [part for part in name.split(".") if part not in ("model", "vision_model")]
    return ".".join(parts[parts.index("lm_head") :] if "lm_head" in parts else parts)


def expected_shapes(model_class: Any, config: Any) -> dict[str, tuple[int, ...]]:
    """The shape that a configuration gives each weight, by `weight_name`."""
    import torch

    with torch.device("meta"):
        model = model_class(config)
    return {weight_name(name): tuple(weight.shape) for name, weight in model.state_dict().items()}


def validation_message(error: Exception) -> str | None:
    """What is wrong with a configuration; None for other errors.

    The message of such an error starts with the name of the validator, and its cause says what is wrong.
    """
    from huggingface_hub.errors import StrictDataclassError

    if not isinstance(error, StrictDataclassError) or error.__cause__ is None:
        return None
    return str(error.__cause__)


def replace_linear_layers(model: Any, quantization: Any) -> None:
    """Replace the linear layers of a model that has no weights yet with quantized ones.

    The only public way to do this is `from_pretrained`, which needs files.
    """
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear

    replace_with_bnb_linear(
        model, modules_to_not_convert=quantization.llm_int8_skip_modules, quantization_config=quantization
    )


def filled_weight(empty: Any, values: Any, device: Any) -> Any:
    """A weight of the same kind as an empty one, with these values, on a device."""
    import torch

    kind = type(empty)
    if kind is torch.nn.Parameter:
        return kind(values, requires_grad=False)
    # bitsandbytes quantizes a weight of its own classes when it moves to the device, with settings that are
    # attributes of the weight.
    return kind(values.cpu(), **{**empty.__dict__, "requires_grad": False}).to(device)


# --------------------------------------------------------------------------- generation


def use_static_cache(model: Any, generation: Any, length: int) -> None:
    """Generate with a key-value cache of this length, whose steps transformers compiles on a GPU."""
    generation.cache_implementation = "static"
    generation.max_cache_len = length
    # Otherwise transformers would use the longest cache that the model ever had.
    model._previous_max_cache_length = length


def cache_length(cache: Any) -> int:
    """The number of tokens in a key-value cache."""
    return int(cache.get_seq_length())


def cache_bytes(cache: Any) -> int:
    """How much memory a key-value cache takes."""
    return sum(int(tensor.nbytes) for layer in cache.layers for tensor in (layer.keys, layer.values))


def select_rows(cache: Any, rows: Any) -> Any:
    """A key-value cache with these rows of another, some perhaps several times; the other stays as it is.

    The methods of a layer replace its tensors, and never write into them.
    """
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected


def shorten_cache(cache: Any, length: int) -> None:
    """Cut a key-value cache down to its first `length` tokens.

    Given a negative number, `crop` removes that many tokens.
    """
    cache.crop(length - cache_length(cache))


def onevision_token_counts(config: Any, sizes: Any, is_tiled: Sequence[bool]) -> list[int]:
    """The number of tokens that LLaVA-OneVision's class packs the features of each picture into.

    `sizes` are heights and widths. `pack_image_features` needs only its object's `config`.
    """
    import torch
    from transformers.models.llava_onevision.modeling_llava_onevision import (
        LlavaOnevisionModel,
        image_size_to_num_patches,
    )

    grid, side = config.image_grid_pinpoints, config.vision_config.image_size
    patches = (side // config.vision_config.patch_size) ** 2
    features = [
        torch.zeros(image_size_to_num_patches(size, grid, side) if tiled else 1, patches, 1)
        for size, tiled in zip(sizes, is_tiled, strict=True)
    ]
    _, counts = LlavaOnevisionModel.pack_image_features(
        SimpleNamespace(config=config),
        features,
        sizes,
        image_newline=torch.zeros(1),
        vision_aspect_ratio=config.vision_aspect_ratio,
    )
    return [int(count) for count in counts]
