"""YOLO: a text file for each image, an object per row in fractions of its size; class names in YAML."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import AnnotatedImage, RegionCollector, missing_image, read_each
from vipcli.annotations.folders import ImageFinder, absolute, files_below, id_of, nearby_folders
from vipcli.annotations.parsing import MAX_NAMES_BYTES, SAMPLE_SIZE, read_text, read_yaml
from vipcli.annotations.values import DamageError, number, one_line, polygon, quoted
from vipcli.errors import AnnotationError, ImageError
from vipcli.geometry import XY, Polygon
from vipcli.marks.regions import Region

_SETTINGS = (".yaml", ".yml")
_CLASSES = ("classes.txt", "obj.names")
_NOT_LABELS = ("readme.txt", "train.txt", "val.txt", "test.txt")


def recognizes(file: Path) -> bool:
    """Check whether a YAML file names classes, or a text file has rows of a class and four coordinates."""
    if file.suffix.lower() in _SETTINGS:
        return isinstance(read_yaml(file).get("names"), list | dict)
    rows = [line.split() for line in read_text(file).splitlines() if line.strip()]
    return bool(rows) and all(
        len(row) >= 5 and all(re.fullmatch(r"[-+.\de]+", value) for value in row)
        for row in rows[:SAMPLE_SIZE]
    )


def recognizes_folder(folder: Path) -> bool:
    """Check whether a folder holds label files, or a YAML file that names their classes."""
    return _data_yaml(folder) is not None or any(map(_is_yolo, _label_files(folder)[:SAMPLE_SIZE]))


def read(source: Path, images: Path | None) -> Iterator[AnnotatedImage]:
    """Read the image of a label file, or of all label files below a folder or listed in a data.yaml."""
    base = source if source.is_dir() else source.parent
    config = source if source.suffix.lower() in _SETTINGS else _data_yaml(base)
    settings = read_yaml(config) if config is not None else {}
    if source.is_file() and source != config:
        files = [source]
    else:
        # A data.yaml in a parent folder lists splits that a single label folder does not contain.
        listed = _labels_of_splits(base, settings) if config is not None and config.parent == base else []
        files = listed or _label_files(base)
    if not files:
        raise AnnotationError(f"There are no label files (.txt) for {quoted(source)}.", "Name their folder.")
    classes = _ClassNames(settings)
    return read_each(files, lambda file: _read_image(file, base, images, classes))


def _is_yolo(file: Path) -> bool:
    try:
        return recognizes(file)
    except AnnotationError:
        return False


def _data_yaml(folder: Path) -> Path | None:
    """The YAML file that names the classes, in a folder or, for a label folder, also in the two above it."""
    for nearby in nearby_folders(folder) if _is_label_folder(folder) else [folder]:
        for file in sorted([*nearby.glob("*.yaml"), *nearby.glob("*.yml")]):
            if _is_yolo(file):
                return file
    return None


def _is_label_folder(folder: Path) -> bool:
    return "labels" in absolute(folder).parts[-2:]


def _label_files(folder: Path) -> list[Path]:
    """The label files below a folder: those in folders named `labels`, or else those directly in it."""
    files = [file for file in files_below(folder, ".txt") if file.name not in _CLASSES]
    if _is_label_folder(folder):
        return files
    inner = [file for file in files if "labels" in file.relative_to(folder).parts[:-1]]
    return inner or [file for file in files if file.parent == folder and file.name.lower() not in _NOT_LABELS]


def _labels_of_splits(base: Path, settings: Mapping[str, Any]) -> list[Path]:
    """The label files of the splits that a data.yaml lists, each split an image folder below it."""
    files: dict[Path, None] = {}
    for split in ("train", "val", "valid", "test"):
        listed = settings.get(split)
        for name in listed if isinstance(listed, list) else [listed]:
            folder = _split_folder(base, settings.get("path"), name)
            if folder is not None:
                labels = _replace_folder(folder, "images", "labels")
                files |= dict.fromkeys(_label_files(labels if labels.is_dir() else folder))
    return list(files)


def _split_folder(base: Path, root: object, name: object) -> Path | None:
    """The image folder of a split, if it is below the data.yaml; some exporters prepend a stray `../`."""
    if not isinstance(name, str) or not name:
        return None
    start = Path(root if isinstance(root, str) else "")
    without_parents = re.sub(r"^(\.\./)+", "", name)
    for path in (start / name, Path(start.name, name), Path(name), Path(without_parents)):
        with suppress(OSError, ValueError, RuntimeError):
            folder = Path(os.path.normpath(base / path))
            if folder.is_dir() and folder.resolve().is_relative_to(base.resolve()):
                return folder
    return None


def _replace_folder(folder: Path, old: str, new: str) -> Path:
    """A path with the last component named `old` renamed to `new`."""
    parts = list(folder.parts)
    if old not in parts:
        return folder
    parts[-1 - parts[::-1].index(old)] = new
    return Path(*parts)


class _ClassNames:
    """The names of the classes, and how many numbers in a row are key points."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        names = settings.get("names")
        self._names = _names_by_number(names) if isinstance(names, list | dict) else None
        self._names_near = cache(_names_near)
        self.key_points = 0
        match settings.get("kpt_shape"):
            case [str() as count, ("2" | "3") as values] if re.fullmatch(r"\d{1,4}", count):
                self.key_points = int(count) * int(values)

    def name(self, key: str, file: Path) -> str:
        """The name of a class: from data.yaml, or a classes.txt near the file, or else its number."""
        names = self._names_near(file.parent) if self._names is None else self._names
        return names.get(key, key)


def _names_near(folder: Path) -> dict[str, str]:
    for file in (nearby / name for nearby in nearby_folders(folder) for name in _CLASSES):
        if file.is_file():
            return _names_by_number(read_text(file, MAX_NAMES_BYTES).splitlines())
    return {}


def _names_by_number(names: Mapping[object, object] | Sequence[object]) -> dict[str, str]:
    """Class names by number, from a list or mapping."""
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {str(key): one_line(name) for key, name in pairs}


def _read_image(
    file: Path, base: Path, images: Path | None, classes: _ClassNames
) -> Iterator[AnnotatedImage]:
    from vipcli.pictures.images import size_of

    rows = [
        (position, row.split()) for position, row in enumerate(read_text(file).splitlines(), 1) if row.strip()
    ]
    if not rows:
        return
    try:
        path = _image_finder(file, base, images).by_stem(file.stem)
    except DamageError as error:
        yield missing_image(file.stem, "", file, error)
        return
    id = id_of(path, file, images or base)
    try:
        size = size_of(str(path))
    except ImageError as error:
        yield AnnotatedImage(str(path), (), id, fault=str(error))
        return
    collector = RegionCollector(file)
    for position, row in rows:
        with collector.skipping_damage(f"Line {position}"):
            collector.add(_region(row, str(position), size, file, classes))
    yield from collector.to_images(str(path), id)


def _image_finder(file: Path, base: Path, images: Path | None) -> ImageFinder:
    """Look where the image of a label file may be: images/train/a.jpg for labels/train/a.txt."""
    folder = file.parent
    if images is None:
        # From inside a folder named `labels`, a relative path lacks that name, so use the absolute one too.
        beside_labels = (_replace_folder(path, "labels", "images") for path in (folder, absolute(folder)))
        # Some data sets keep the pictures beside the label folder.
        above = [absolute(folder).parent] if absolute(folder).name == "labels" else []
        return ImageFinder(*beside_labels, folder, *above)
    below = folder.relative_to(base) if folder.is_relative_to(base) else Path()
    # The subfolders of `labels` are mirrored in the image folder.
    parts = absolute(folder).parts
    inner = parts[len(parts) - parts[::-1].index("labels") :] if "labels" in parts else ()
    return ImageFinder(
        images / _replace_folder(below, "labels", "images"), images / below, images.joinpath(*inner), images
    )


def _region(row: Sequence[str], id: str, size: tuple[int, int], file: Path, classes: _ClassNames) -> Region:
    """Read a row: a class, a box or outline in fractions of the picture's size, and perhaps a score."""
    class_number = number(row[0])
    if class_number < 0 or class_number != int(class_number):
        raise DamageError(f"its class {quoted(row[0])} is not a whole number from 0")
    label = classes.name(str(int(class_number)), file)
    if classes.key_points and len(row) >= 5 + classes.key_points:
        row = [*row[:5], *row[5 + classes.key_points :]]
    values = [number(value) for value in row[1:]]
    if len(values) < 4:
        raise DamageError("it has fewer than four coordinates")
    is_outline = len(values) > 5
    # A number after the last pair is a score or a track id.
    last = values.pop() if len(values) % 2 else None
    score = last if last is not None and 0 <= last <= 1 else None
    if is_outline:
        return Region("contour", (), (_to_pixels(size, polygon(values)),), None, label, id, score)
    x, y, width, height = values
    if width < 0 or height < 0:
        raise DamageError("its box has a negative width or height")
    corners = ((x - width / 2, y - height / 2), (x + width / 2, y + height / 2))
    return Region("box", _to_pixels(size, corners), (), None, label, id, score)


def _to_pixels(size: tuple[int, int], points: Iterable[XY]) -> Polygon:
    width, height = size
    return tuple((number(x * width), number(y * height)) for x, y in points)
