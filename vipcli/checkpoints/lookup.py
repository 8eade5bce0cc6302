"""From a checkpoint's name to its folder, and what the files there say. No torch."""

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
    BYTES,
    FAMILIES,
    KNOWN,
    VIPLLAVA,
    WORKING,
    Family,
    family_of,
)
from vipcli.checkpoints.prompt_forms import HUMAN, LLAVA_FORM, VICUNA, PromptForm, TemplateForm
from vipcli.errors import ModelError, UsageError, first_line
from vipcli.geometry import Fit, FitChoice

OnFetch = Callable[[str, int], None]
"""Hears of a download before it begins: the hub's name and how many bytes."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_READERS = {
    "tokenizer": ("tokenizer.json", "tokenizer.model", "vocab.json"),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
}
"""What a checkpoint needs beside its weights, and the files that each can be in."""
# The mean colour of CLIP's training pictures, which padding takes where a checkpoint names no other.
_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the files of a checkpoint say; without a folder, what its family says."""

    name: str
    family: Family = VIPLLAVA
    folder: Path | None = None
    revision: str | None = None
    input_size: int = VIPLLAVA.input_size
    image_mean: tuple[float, float, float] = _CLIP_MEAN
    template: TemplateForm | None = None
    vision_layers: tuple[int, ...] | None = None
    max_tiled_side: int | None = None
    """The longest side that tiles can show of a single picture, where the family cuts it into tiles."""

    @property
    def assumed(self) -> bool:
        """Whether nothing is known of it, and ViP-LLaVA is only taken for likely."""
        return self.folder is None and self.name not in BY_HUB_NAME

    @property
    def padding(self) -> tuple[int, int, int]:
        """The colour that a picture is padded with, as in training."""
        red, green, blue = (int(255 * mean) for mean in self.image_mean)
        return red, green, blue

    def lacks_template(self, prompt: str) -> bool:
        """Whether it must be fetched before that prompt form, its own chat template, is known."""
        return self.folder is None and (self.family.form if prompt == "auto" else prompt) == "template"

    def form(self, name: str = "auto") -> PromptForm:
        """The prompt form of that name, or the one this family was published with."""
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
                        f"The checkpoint {self.name} is not here yet, so its chat template is not known. "
                        "Ask without --dry-run to fetch it, or use --prompt human or vicuna."
                    )
                if self.template is None:
                    raise UsageError(
                        f"The checkpoint {self.name} has no chat template. Use --prompt human or vicuna."
                    )
                return self.template

    def fit(self, choice: FitChoice = "auto") -> Fit:
        """Return the chosen way to make a picture square, or the one this family was trained with."""
        return self.family.fit if choice == "auto" else choice


def find(
    name: str, *, revision: str | None = None, offline: bool = False, on_fetch: OnFetch | None = None
) -> Checkpoint:
    """The checkpoint of that name, downloaded if need be."""
    local = _local_folder(name)
    if local is not None:
        if revision is not None:
            raise UsageError(f"--revision goes with a hub name, and {name} is a folder. Leave it out.")
        return _read(name, local)
    hub = hub_name(name)
    if offline:
        return _read(hub, hub_cache.fetch(hub, revision, offline=True), hub=True)
    here = peek(hub, revision=revision)
    try:
        files = hub_cache.missing(hub, revision)
    except ModelError:
        if here.folder is None:
            raise
        # What is here serves where the hub is out of reach.
        return here
    wanted = sum(files.values())
    if not wanted and (here := peek(hub, revision=revision)).folder is not None:
        return here
    _insist_on_use(hub, revision, files)
    hub_cache.sweep(hub)
    hub_cache.check_disk_space(hub, wanted)
    if wanted and on_fetch is not None:
        on_fetch(hub, wanted)
    folder = hub_cache.fetch(hub, revision, bars=on_fetch is not None)
    hub_cache.sweep(hub)
    return _read(hub, folder, hub=True)


def _insist_on_use(hub: str, revision: str | None, files: Iterable[str]) -> None:
    """Refuse what could not be run once it is here, all gigabytes of it."""
    if "config.json" not in files:
        raise ModelError(f"{hub} is not a checkpoint: it has no config.json.")
    _family(hub, _config(hub_cache.settings(hub, revision)))
    if not any(file.endswith(".safetensors") for file in files):
        raise ModelError(
            f"{hub} has no safetensors on the hub, and vipcli loads no other weights: "
            "pickled ones can run code."
        )


def peek(name: str, *, revision: str | None = None) -> Checkpoint:
    """What is known of a checkpoint without downloading anything."""
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
    """Whether a name leads to a folder, the bundled model's or another, and not to the hub."""
    return name == BUNDLED or (bool(name) and Path(name).expanduser().is_dir())


class IncompleteError(ModelError):
    """A checkpoint's folder that lacks some of its files, as a download that was stopped leaves it."""


def weight_shapes(folder: Path) -> dict[str, list[int]]:
    """The shapes of all weights in a checkpoint's folder, read without them."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, list[int]] = {}
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="numpy") as weights:
                found |= {name: weights.get_slice(name).get_shape() for name in weights.offset_keys()}
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"{file} cannot be read ({first_line(error)}). {hub_cache.repair_advice(folder)}"
            ) from None
    return found


def stamp(checkpoint: Checkpoint) -> str:
    """What tells a checkpoint's files, as they are now, from any others."""
    assert checkpoint.folder is not None
    found = hashlib.blake2b(str(checkpoint.folder.resolve()).encode(errors="backslashreplace"))
    for file in sorted(checkpoint.folder.iterdir()):
        told = file.stat()
        found.update(f"{file.name} {told.st_size} {told.st_mtime_ns}".encode(errors="backslashreplace"))
    return found.hexdigest()


_LOADED = (".json", ".safetensors", ".model", ".txt", ".jinja")
_SAMPLES, _SAMPLE = 64, 2**12


def fingerprint(checkpoint: Checkpoint) -> str:
    """What tells a checkpoint's content from any other's, wherever it lies.

    Of large files, samples must do: other weights differ nearly everywhere.
    """
    assert checkpoint.folder is not None
    found = hashlib.blake2b(digest_size=16)
    for path in sorted(checkpoint.folder.iterdir()):
        if path.is_file() and path.suffix in _LOADED:
            size = path.stat().st_size
            found.update(f"{path.name} {size} ".encode(errors="backslashreplace"))
            with path.open("rb") as file:
                if size <= _SAMPLES * _SAMPLE:
                    found.update(file.read())
                    continue
                for sample in range(_SAMPLES):
                    file.seek((size - _SAMPLE) * sample // (_SAMPLES - 1))
                    found.update(file.read(_SAMPLE))
    return found.hexdigest()


def memory_needed(folder: Path, bits: int, own: int = 2, *, everything: bool = False) -> int:
    """Bytes that answering takes with the language model's matrices at so many bits, the rest at `own` bytes.

    With `everything`, the matrices of the vision tower are as small.
    """
    matrices = rest = 0
    for name, shape in weight_shapes(folder).items():
        in_layer = len(shape) == 2 and ".layers." in name and ("language_model" in name or everything)
        if in_layer:
            matrices += math.prod(shape)
        else:
            rest += math.prod(shape)
    weights = int(matrices * BYTES[bits] + rest * own)
    return weights + min(WORKING, weights)


def _local_folder(name: str) -> Path | None:
    if not name.strip():
        raise UsageError("The checkpoint's name is empty. vipcli models list shows those that are known.")
    if name == BUNDLED:
        return Path(vipcli.__file__).with_name("bundled")
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{name} is a file. --model takes a checkpoint's folder or a hub name.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no checkpoint folder at {name}.")
    return None


def hub_name(name: str) -> str:
    """The hub's name for a short name; a hub name as it is."""
    if name == BUNDLED:
        raise UsageError("The bundled model comes with vipcli: there is nothing to fetch or remove.")
    if name in KNOWN:
        return KNOWN[name].hub_name
    if _HUB_NAME.fullmatch(name):
        return name
    close = difflib.get_close_matches(name, [BUNDLED, *KNOWN], n=1)
    hint = f"Did you mean {close[0]}?" if close else "vipcli models list shows those that are known."
    raise ModelError(f"There is no checkpoint called {name!r}. {hint}")


def _read(name: str, folder: Path, *, hub: bool = False) -> Checkpoint:
    config = _config(folder / "config.json")
    family = _family(name, config)
    _insist_on_parts(name, folder, config)
    _insist_on_safetensors(name, folder)
    _insist_on_readers(name, folder)
    images = _image_settings(folder)
    return Checkpoint(
        name,
        family,
        folder,
        revision=folder.name if hub else None,
        input_size=_input_size(config, family),
        image_mean=_image_mean(images),
        template=_template(folder),
        vision_layers=_vision_layers(config),
        max_tiled_side=_max_tiled_side(images),
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise IncompleteError(f"{path.parent} is not a checkpoint: it has no {path.name}.")
    return _json(path)


def _family(name: str, config: dict[str, Any]) -> Family:
    family = family_of(config)
    if family is None:
        kind = config.get("model_type")
        raise ModelError(
            f"The checkpoint {name} {'names no family' if kind is None else f'is of the family {kind!r}'}. "
            f"vipcli runs {', '.join(family.name for family in FAMILIES)}."
        )
    stored = config.get("quantization_config")
    if isinstance(stored, dict) and stored.get("quant_method") != "bitsandbytes":
        method = stored.get("quant_method", "other means")
        raise ModelError(
            f"The checkpoint {name} was stored with fewer bits by {method}, which vipcli does not run. "
            "Take the 16-bit checkpoint, with --quantize where memory is short."
        )
    return family


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    # Brackets within brackets without end are too deep for it.
    except (OSError, ValueError, RecursionError):
        raise ModelError(f"{path} cannot be read. {hub_cache.repair_advice(path.parent)}") from None
    if not isinstance(content, dict):
        raise ModelError(f"{path} does not hold what it should. {hub_cache.repair_advice(path.parent)}")
    return content


def damaged_config(folder: Path) -> Path | None:
    """The first of a checkpoint's settings that cannot be read."""
    for path in sorted(folder.glob("*.json")):
        try:
            _json(path)
        except ModelError:
            return path
    return None


def _insist_on_parts(name: str, folder: Path, config: dict[str, Any]) -> None:
    """Refuse what transformers would fill up with the settings of a model of many gigabytes."""
    for part in ("text_config", "vision_config"):
        if not isinstance(config.get(part), dict) or not config[part]:
            raise ModelError(
                f"The checkpoint {name} cannot be used: its config.json lacks {part}. "
                f"{hub_cache.repair_advice(folder)}"
            )


def _insist_on_readers(name: str, folder: Path) -> None:
    """Refuse a checkpoint without what reads words and pictures for it."""
    for what, files in _READERS.items():
        if not any((folder / file).exists() for file in files):
            raise IncompleteError(
                f"The checkpoint {name} lacks its {what}: {folder} holds no {' and no '.join(files)}."
            )


def _insist_on_safetensors(name: str, folder: Path) -> None:
    shards = _json(folder / "model.safetensors.index.json").get("weight_map")
    if isinstance(shards, dict):
        files = {str(file) for file in shards.values()}
        if lost := sorted(file for file in files if not (folder / file).exists()):
            raise IncompleteError(
                f"The checkpoint {name} lacks {len(lost)} of its {len(files)} files of weights, "
                f"{lost[0]} among them. Fetch it again."
            )
        return
    if any(folder.glob("*.safetensors")):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.pth")):
        raise ModelError(
            f"The checkpoint {name} has pickled weights only, which can run code. Convert it to safetensors."
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
    """The vision layers that features are taken from, by whichever name transformers wrote them."""
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
