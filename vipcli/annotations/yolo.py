"""YOLO: a text for each image, a row a thing, in shares of the picture's sides; settings name the classes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import Annotated, Gathered, missing, read_each
from vipcli.annotations.folders import Images, around, files_below, full, id_of
from vipcli.annotations.parsing import MOST_NAMES, SAMPLED, read_text, read_yaml
from vipcli.annotations.values import DamageError, number, polygon, shown, word
from vipcli.errors import AnnotationError, ImageError
from vipcli.geometry import XY, Polygon
from vipcli.marks.regions import Region

_SETTINGS = (".yaml", ".yml")
_CLASSES = ("classes.txt", "obj.names")
_NOT_LABELS = ("readme.txt", "train.txt", "val.txt", "test.txt")


def fits(file: Path) -> bool:
    """Whether settings name classes, or a text is rows of a class and four or more coordinates."""
    if file.suffix.lower() in _SETTINGS:
        return isinstance(read_yaml(file).get("names"), list | dict)
    rows = [line.split() for line in read_text(file).splitlines() if line.strip()]
    return bool(rows) and all(
        len(row) >= 5 and all(re.fullmatch(r"[-+.\de]+", value) for value in row) for row in rows[:SAMPLED]
    )


def fits_folder(folder: Path) -> bool:
    """Whether a folder holds labels, or settings that name their classes."""
    return _data_yaml(folder) is not None or any(map(_fits, _label_files(folder)[:SAMPLED]))


def read(source: Path, images: Path | None) -> Iterator[Annotated]:
    """The image of a label file, or the images of those below a folder or listed by a data.yaml."""
    base = source if source.is_dir() else source.parent
    config = source if source.suffix.lower() in _SETTINGS else _data_yaml(base)
    settings = read_yaml(config) if config is not None else {}
    if source.is_file() and source != config:
        files = [source]
    else:
        # What lies in folders around does not belong to a folder of labels.
        listed = _listed_labels(base, settings) if config is not None and config.parent == base else []
        files = listed or _label_files(base)
    if not files:
        raise AnnotationError(f"There are no label files (.txt) for {shown(source)}. Name their folder.")
    classes = _Classes(settings)
    return read_each(files, lambda file: _image(file, base, images, classes))


def _fits(file: Path) -> bool:
    try:
        return fits(file)
    except AnnotationError:
        return False


def _data_yaml(folder: Path) -> Path | None:
    """The file that names the classes of a folder of labels, in it or in the folders around it."""
    for place in around(folder) if _is_labels(folder) else [folder]:
        for file in sorted([*place.glob("*.yaml"), *place.glob("*.yml")]):
            if _fits(file):
                return file
    return None


def _is_labels(folder: Path) -> bool:
    return "labels" in full(folder).parts[-2:]


def _label_files(folder: Path) -> list[Path]:
    """The label files below a folder: those in folders called labels, or else its own."""
    files = [file for file in files_below(folder, ".txt") if file.name not in _CLASSES]
    if _is_labels(folder):
        return files
    inner = [file for file in files if "labels" in file.relative_to(folder).parts[:-1]]
    return inner or [file for file in files if file.parent == folder and file.name.lower() not in _NOT_LABELS]


def _listed_labels(base: Path, settings: Mapping[str, Any]) -> list[Path]:
    """The label files of the parts that a data.yaml lists, each part a folder of images below it."""
    files: dict[Path, None] = {}
    for split in ("train", "val", "valid", "test"):
        listed = settings.get(split)
        for name in listed if isinstance(listed, list) else [listed]:
            folder = _part(base, settings.get("path"), name)
            if folder is not None:
                labels = _swapped(folder, "images", "labels")
                files |= dict.fromkeys(_label_files(labels if labels.is_dir() else folder))
    return list(files)


def _part(base: Path, root: object, name: object) -> Path | None:
    """A folder of images as data.yaml names it, if it lies below; exports put a `../` before it in vain."""
    if not isinstance(name, str) or not name:
        return None
    start = Path(root if isinstance(root, str) else "")
    plain = re.sub(r"^(\.\./)+", "", name)
    for way in (start / name, Path(start.name, name), Path(name), Path(plain)):
        with suppress(OSError, ValueError, RuntimeError):
            folder = Path(os.path.normpath(base / way))
            if folder.is_dir() and folder.resolve().is_relative_to(base.resolve()):
                return folder
    return None


def _swapped(folder: Path, one: str, other: str) -> Path:
    """A folder's path with the last part that is called one thing called the other."""
    parts = list(folder.parts)
    if one not in parts:
        return folder
    parts[-1 - parts[::-1].index(one)] = other
    return Path(*parts)


class _Classes:
    """The names of YOLO's classes, and how many of a row's numbers are key points."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        names = settings.get("names")
        self._names = _numbered(names) if isinstance(names, list | dict) else None
        self._near = cache(_names_near)
        self.key_points = 0
        match settings.get("kpt_shape"):
            case [str() as count, str() as each] if re.fullmatch(r"\d{1,4}", count) and each in ("2", "3"):
                self.key_points = int(count) * int(each)

    def name(self, key: str, file: Path) -> str:
        """What a class is called: by data.yaml, else by a classes.txt near the file, else its number."""
        names = self._near(file.parent) if self._names is None else self._names
        return names.get(key, key)


def _names_near(folder: Path) -> dict[str, str]:
    for file in (place / name for place in around(folder) for name in _CLASSES):
        if file.is_file():
            return _numbered(read_text(file, MOST_NAMES).splitlines())
    return {}


def _numbered(names: Mapping[object, object] | Sequence[object]) -> dict[str, str]:
    """The names of classes by their numbers."""
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names)
    return {str(key): word(name) for key, name in pairs}


def _image(file: Path, base: Path, images: Path | None, classes: _Classes) -> Iterator[Annotated]:
    from vipcli.pictures.images import size_of

    rows = [(place, row.split()) for place, row in enumerate(read_text(file).splitlines(), 1) if row.strip()]
    if not rows:
        return
    try:
        path = _images(file, base, images).of_stem(file.stem)
    except DamageError as why:
        yield missing(file.stem, "", file, why)
        return
    id = id_of(path, file, images or base)
    try:
        size = size_of(str(path))
    except ImageError as error:
        yield Annotated(str(path), (), id, fault=str(error))
        return
    gathered = Gathered(file)
    for place, row in rows:
        with gathered.sparing(f"Line {place}"):
            gathered.add(_region(row, str(place), size, file, classes))
    yield from gathered.items(str(path), id)


def _images(file: Path, base: Path, images: Path | None) -> Images:
    """Where the image of a label file may be: labels/train/a.txt goes with images/train/a.jpg."""
    near = file.parent
    if images is None:
        # Within a folder called labels, its name is in no path that starts there.
        swapped = (_swapped(place, "labels", "images") for place in (near, full(near)))
        # Some keep the pictures beside the folder of labels.
        above = [full(near).parent] if full(near).name == "labels" else []
        return Images(*swapped, near, *above)
    below = near.relative_to(base) if near.is_relative_to(base) else Path()
    # What lies between the folder called labels and the file has its like among the images.
    parts = full(near).parts
    inner = parts[len(parts) - parts[::-1].index("labels") :] if "labels" in parts else ()
    return Images(
        images / _swapped(below, "labels", "images"), images / below, images.joinpath(*inner), images
    )


def _region(row: Sequence[str], id: str, size: tuple[int, int], file: Path, classes: _Classes) -> Region:
    """A row: a class, then a box or an outline in shares of the picture's sides, then perhaps a score."""
    key = number(row[0])
    if key < 0 or key != int(key):
        raise DamageError(f"its class {shown(row[0])} is not a whole number")
    label = classes.name(str(int(key)), file)
    if classes.key_points and len(row) >= 5 + classes.key_points:
        row = [*row[:5], *row[5 + classes.key_points :]]
    values = [number(value) for value in row[1:]]
    if len(values) < 4:
        raise DamageError("it has fewer than four coordinates")
    outlined = len(values) > 5
    # A lone last number is how sure a model was, or the number of a track.
    last = values.pop() if len(values) % 2 else None
    score = last if last is not None and 0 <= last <= 1 else None
    if outlined:
        return Region("contour", (), (_on(size, polygon(values)),), None, label, id, score)
    x, y, width, height = values
    if width < 0 or height < 0:
        raise DamageError("its box has a negative side")
    corners = ((x - width / 2, y - height / 2), (x + width / 2, y + height / 2))
    return Region("box", _on(size, corners), (), None, label, id, score)


def _on(size: tuple[int, int], points: Iterable[XY]) -> Polygon:
    width, height = size
    return tuple((number(x * width), number(y * height)) for x, y in points)
