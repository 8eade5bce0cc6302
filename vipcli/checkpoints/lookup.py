"""Find a checkpoint's folder by name, and read its settings. Does not import torch."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vipcli
from vipcli.checkpoints import hub_cache
from vipcli.checkpoints.catalog import (
    BUNDLED,
    BY_HUB_NAME,
    BYTES_PER_WEIGHT,
    FAMILIES,
    KNOWN,
    VIPLLAVA,
    WORKING_MEMORY,
    Family,
    family_of,
)
from vipcli.checkpoints.prompt_forms import HUMAN, LLAVA_FORM, VICUNA, PromptForm, TemplateForm
from vipcli.errors import ModelError, UsageError, first_line
from vipcli.geometry import Fit, FitChoice

OnFetch = Callable[[str, int], None]
"""Called before a download begins, with the checkpoint's name on the hub and the bytes to download."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_PROCESSORS = {
    "tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.json"),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
}
"""What a checkpoint needs besides its weights, and the files that may contain each."""
# The mean color of CLIP's training pictures: the padding color of checkpoints that specify none.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's settings: from its files, or from its family while it is not downloaded."""

    name: str
    family: Family = VIPLLAVA
    folder: Path | None = None
    revision: str | None = None
    input_size: int = VIPLLAVA.input_size
    image_mean: tuple[float, float, float] = _CLIP_MEAN
    template: TemplateForm | None = None
    vision_layers: tuple[int, ...] | None = None
    max_tiled_side: int | None = None
    """The longest side, in pixels, that the tiles of a picture can cover; None if there are no tiles."""

    @property
    def family_is_guess(self) -> bool:
        """Whether the family is a guess: the checkpoint is neither downloaded nor in the catalog."""
        return self.folder is None and self.name not in BY_HUB_NAME

    @property
    def padding(self) -> tuple[int, int, int]:
        """The RGB color that pictures are padded with, as in training."""
        red, green, blue = (int(255 * mean) for mean in self.image_mean)
        return red, green, blue

    def needs_unknown_template(self, prompt: str) -> bool:
        """Whether a prompt form needs the chat template of a checkpoint that is not downloaded yet."""
        return self.folder is None and (self.family.form if prompt == "auto" else prompt) == "template"

    def form(self, name: str = "auto") -> PromptForm:
        """Return the prompt form of that name, or the one that the family was trained with."""
        match self.family.form if name == "auto" else name:
            case "human":
                return HUMAN
            case "vicuna":
                return VICUNA
            case "llava":
                return LLAVA_FORM
            case _:
                if self.folder is None:
                    raise UsageError(
                        f"{self.name} is not downloaded yet, so its chat template is not known.",
                        "Download it, or use {prompt=human} or {prompt=vicuna}.",
                    )
                if self.template is None:
                    raise UsageError(
                        f"The checkpoint {self.name} has no chat template.",
                        "Use {prompt=human} or {prompt=vicuna}.",
                    )
                return self.template

    def fit(self, choice: FitChoice = "auto") -> Fit:
        """Return the chosen way to make a picture square, or the one this family was trained with."""
        return self.family.fit if choice == "auto" else choice


def find(
    name: str, *, revision: str | None = None, offline: bool = False, on_fetch: OnFetch | None = None
) -> Checkpoint:
    """Find a checkpoint by name, and download it if needed."""
    local = _local_folder(name)
    if local is not None:
        if revision is not None:
            raise UsageError(
                f"Only checkpoints on the hub have revisions, but {name} is a folder.",
                "Leave out {revision}.",
            )
        return _read(name, local)
    hub = hub_name(name)
    if offline:
        return _read(hub, hub_cache.fetch(hub, revision, offline=True), hub=True)
    cached = peek(hub, revision=revision)
    try:
        files = hub_cache.download_sizes(hub, revision)
    except ModelError:
        if cached.folder is None:
            raise
        # The cached checkpoint will do while the hub cannot be reached.
        return cached
    size = sum(files.values())
    # Nothing is left to download: the hub may have pointed to a newer revision that is cached already.
    if not size and (cached := peek(hub, revision=revision)).folder is not None:
        return cached
    _check_runnable(hub, revision, files)
    return _download(hub, revision, size, on_fetch)


def _download(hub: str, revision: str | None, size: int, on_fetch: OnFetch | None) -> Checkpoint:
    hub_cache.remove_stale_downloads(hub)
    hub_cache.check_disk_space(hub, size)
    if size and on_fetch is not None:
        on_fetch(hub, size)
    folder = hub_cache.fetch(hub, revision, show_progress=on_fetch is not None)
    hub_cache.remove_stale_downloads(hub)
    return _read(hub, folder, hub=True)


def _check_runnable(hub: str, revision: str | None, files: Iterable[str]) -> None:
    """Refuse a checkpoint that vipcli cannot run, before gigabytes are downloaded."""
    if "config.json" not in files:
        raise ModelError(f"{hub} is not a checkpoint: it has no config.json.")
    _require_family(hub, _config(hub_cache.fetch_config(hub, revision)))
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(
            f"{hub} has no safetensors on the hub, and vipcli loads no other weights: "
            "pickled ones can run code."
        )


def peek(name: str, *, revision: str | None = None) -> Checkpoint:
    """Return what is known of a checkpoint without downloading anything."""
    local = _local_folder(name)
    if local is not None:
        return _read(name, local)
    hub = hub_name(name)
    try:
        return _read(hub, hub_cache.fetch(hub, revision, offline=True), hub=True)
    except (hub_cache.NotCachedError, IncompleteError):
        known = BY_HUB_NAME.get(hub)
        family = VIPLLAVA if known is None else known.family
        return Checkpoint(hub, family, input_size=family.input_size)


def is_local(name: str) -> bool:
    """Whether a name means a local folder, such as the bundled model's, and not a checkpoint on the hub."""
    return name == BUNDLED or (bool(name) and Path(name).expanduser().is_dir())


class IncompleteError(ModelError):
    """A checkpoint's folder that lacks files, as a stopped download leaves it."""


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """Return the shapes of all weights in a checkpoint's folder, without reading the weights."""
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as weights:
                shapes |= {name: weights.get_slice(name).get_shape() for name in weights.offset_keys()}
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{file} cannot be read ({first_line(error)}).", hub_cache.repair_advice(folder)
            ) from None
    return shapes


def stamp(checkpoint: Checkpoint) -> str:
    """Return a hash of the names, sizes and times of a checkpoint's files, to notice changes."""
    assert checkpoint.folder is not None
    digest = hashlib.blake2b(str(checkpoint.folder.resolve()).encode(errors="backslashreplace"))
    for file in sorted(checkpoint.folder.iterdir()):
        status = file.stat()
        digest.update(f"{file.name} {status.st_size} {status.st_mtime_ns}".encode(errors="backslashreplace"))
    return digest.hexdigest()


_LOADED_SUFFIXES = (".json", ".safetensors", ".model", ".txt", ".jinja")
_SAMPLE_COUNT, _SAMPLE_SIZE = 64, 2**12


def fingerprint(checkpoint: Checkpoint) -> str:
    """Return a hash of a checkpoint's content, the same wherever its folder is.

    Only samples of large files are read, since different weights differ nearly everywhere.
    """
    assert checkpoint.folder is not None
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(checkpoint.folder.iterdir()):
        if path.is_file() and path.suffix in _LOADED_SUFFIXES:
            size = path.stat().st_size
            digest.update(f"{path.name} {size} ".encode(errors="backslashreplace"))
            with path.open("rb") as file:
                if size <= _SAMPLE_COUNT * _SAMPLE_SIZE:
                    digest.update(file.read())
                    continue
                for sample in range(_SAMPLE_COUNT):
                    file.seek((size - _SAMPLE_SIZE) * sample // (_SAMPLE_COUNT - 1))
                    digest.update(file.read(_SAMPLE_SIZE))
    return digest.hexdigest()


def memory_needed(folder: Path, bits: int, unquantized_bytes: int = 2, *, everything: bool = False) -> int:
    """Return the bytes of memory needed with the language model's matrices at `bits` per weight.

    All other weights take `unquantized_bytes` each. With `everything`, the vision tower is quantized too.
    """
    matrices = rest = 0
    for name, shape in weight_shapes(folder).items():
        quantized = len(shape) == 2 and ".layers." in name and ("language_model" in name or everything)
        if quantized:
            matrices += math.prod(shape)
        else:
            rest += math.prod(shape)
    weights = int(matrices * BYTES_PER_WEIGHT[bits] + rest * unquantized_bytes)
    return weights + min(WORKING_MEMORY, weights)


def _local_folder(name: str) -> Path | None:
    if not name.strip():
        raise UsageError("The checkpoint's name is empty.", "vipcli models list shows the known ones.")
    if name == BUNDLED:
        return Path(vipcli.__file__).with_name("bundled")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(
            f"{name} is a file, not a checkpoint.", "Give {model} a checkpoint's folder or a name on the hub."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no checkpoint folder at {name}.")
    return None


def hub_name(name: str) -> str:
    """Return a checkpoint's name on the hub: the full name for a short one, any other unchanged."""
    if name == BUNDLED:
        raise UsageError("The bundled model comes with vipcli: there is nothing to download or remove.")
    if name in KNOWN:
        return KNOWN[name].hub_name
    if _HUB_NAME.fullmatch(name):
        return name
    close = difflib.get_close_matches(name, [BUNDLED, *KNOWN], n=1)
    advice = f"Did you mean {close[0]}?" if close else "vipcli models list shows the known ones."
    raise ModelError(f"There is no checkpoint called {name!r}.", advice)


def _read(name: str, folder: Path, *, hub: bool = False) -> Checkpoint:
    config = _config(folder / "config.json")
    family = _require_family(name, config)
    _check_config_parts(name, folder, config)
    _check_safetensors(name, folder)
    _check_processors(name, folder)
    image_settings = _image_settings(folder)
    return Checkpoint(
        name,
        family,
        folder,
        revision=folder.name if hub else None,
        input_size=_input_size(config, family),
        image_mean=_image_mean(image_settings),
        template=_template(folder),
        vision_layers=_vision_layers(config),
        max_tiled_side=_max_tiled_side(image_settings),
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise IncompleteError(f"{path.parent} is not a checkpoint: it has no {path.name}.")
    return _json(path)


def _require_family(name: str, config: dict[str, Any]) -> Family:
    family = family_of(config)
    if family is None:
        kind = config.get("model_type")
        raise ModelError(
            f"The checkpoint {name} {'names no family' if kind is None else f'is of the family {kind!r}'}. "
            f"vipcli runs {', '.join(family.name for family in FAMILIES)}."
        )
    stored = config.get("quantization_config")
    if isinstance(stored, dict) and stored.get("quant_method") != "bitsandbytes":
        method = stored.get("quant_method", "an unnamed method")
        raise ModelError(
            f"The checkpoint {name} was quantized with {method}, which vipcli does not run.",
            "Use the 16-bit checkpoint, with {quantize} if memory is short.",
        )
    return family


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    # Too many nested brackets raise RecursionError.
    except (OSError, ValueError, RecursionError):
        raise ModelError(f"{path} cannot be read.", hub_cache.repair_advice(path.parent)) from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not contain a JSON object.", hub_cache.repair_advice(path.parent))
    return content


_SETTINGS_FILES = frozenset(
    {
        *("config.json", "generation_config.json", "processor_config.json", "preprocessor_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "chat_template.json", "model.safetensors.index.json"),
    }
)


def damaged_config(folder: Path) -> Path | None:
    """Return a checkpoint's first unreadable settings file, if any."""
    for path in sorted(path for path in folder.glob("*.json") if path.name in _SETTINGS_FILES):
        try:
            _json(path)
        except ModelError:
            return path
    return None


def _check_config_parts(name: str, folder: Path, config: dict[str, Any]) -> None:
    """Refuse a config that lacks a part: the defaults of transformers are for a model of many gigabytes."""
    for part in ("text_config", "vision_config"):
        if not isinstance(config.get(part), dict) or not config[part]:
            raise ModelError(
                f"The checkpoint {name} cannot be used: its config.json lacks {part}.",
                hub_cache.repair_advice(folder),
            )


def _check_processors(name: str, folder: Path) -> None:
    """Refuse a checkpoint without its tokenizer or image processor."""
    for processor, files in _PROCESSORS.items():
        if not any((folder / file).exists() for file in files):
            raise IncompleteError(
                f"The checkpoint {name} lacks its {processor}: {folder} holds no {' and no '.join(files)}."
            )


def _check_safetensors(name: str, folder: Path) -> None:
    shards = _json(folder / "model.safetensors.index.json").get("weight_map")
    if isinstance(shards, dict):
        files = {str(file) for file in shards.values()}
        if missing := sorted(file for file in files if not (folder / file).exists()):
            raise IncompleteError(
                f"The checkpoint {name} lacks {len(missing)} of its {len(files)} weight files, "
                f"including {missing[0]}.",
                "Download it again.",
            )
        return
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        raise ModelError(
            f"The checkpoint {name} has only pickled weights, which can run code.",
            "Convert it to safetensors.",
        )
    raise IncompleteError(f"The checkpoint {name} has no weights: {folder} holds no .safetensors file.")


def _image_settings(folder: Path) -> dict[str, Any]:
    nested = _json(folder / "processor_config.json").get("image_processor")
    return nested if isinstance(nested, dict) else _json(folder / "preprocessor_config.json")


def _image_mean(settings: dict[str, Any]) -> tuple[float, float, float]:
    match settings.get("image_mean"):
        case [float(red), float(green), float(blue)]:
            return red, green, blue
        case _:
            return _CLIP_MEAN


def _input_size(config: dict[str, Any], family: Family) -> int:
    vision = config.get("vision_config")
    size = vision.get("image_size") if isinstance(vision, dict) else None
    return size if isinstance(size, int) else family.input_size


def _vision_layers(config: dict[str, Any]) -> tuple[int, ...] | None:
    """Return the vision layers that features are taken from, under either name that transformers uses."""
    layers = config.get("vision_feature_layers", config.get("vision_feature_layer"))
    return tuple(layers) if isinstance(layers, list) else None


def _max_tiled_side(settings: dict[str, Any]) -> int | None:
    grid = settings.get("image_grid_pinpoints")
    sides = (
        [side for pair in grid if isinstance(pair, list) for side in pair] if isinstance(grid, list) else []
    )
    return max((side for side in sides if isinstance(side, int)), default=None)


def _template(folder: Path) -> TemplateForm | None:
    settings = _json(folder / "tokenizer_config.json")
    text: Any
    try:
        text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        text = _json(folder / "chat_template.json").get("chat_template") or settings.get("chat_template")
    if not isinstance(text, str):
        return None
    tokens = {
        key: _token(settings[key])
        for key in ("bos_token", "eos_token", "pad_token", "unk_token")
        if settings.get(key)
    }
    return TemplateForm(text, tokens)


def _token(value: Any) -> str:
    return str(value.get("content", "") if isinstance(value, dict) else value)
