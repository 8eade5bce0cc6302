"""Files of annotations turned into regions: COCO, labelme, YOLO, Pascal VOC, mask images and ViP-Bench.

What a file says is never trusted: no name leads out of the folder of images, and whatever is damaged
is left out and told of in one sentence, while all the rest is read.

supervision reads most of these forms too, but one damaged entry ends it, ids and scores are lost, outlines
become masks, and a class number of 1e3000000 keeps it busy for minutes. The tests compare with it.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from vipcli.errors import AnnotationError, ImageError
from vipcli.marks import LIMIT, XY, Polygon
from vipcli.regions import Region

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

FORMS = ("coco", "labelme", "yolo", "voc", "masks", "vip-bench")

_LARGEST = 2**31
"""No file of annotations has more bytes; its values would not fit into memory either."""
_LARGEST_FOR_ONE = 2**26
"""Nor does the file of a single image."""
_LARGEST_YAML = 2**20
"""YAML takes seconds for a mebibyte, and so much names thousands of classes."""
_SAMPLED = 20
"""So many files of a folder are looked into, to see what it holds."""
_META, _QUESTIONS = "vip-bench-meta-data.json", "questions.jsonl"
_SHAPES = ("rectangle", "circle", "polygon", "line", "linestrip", "point", "points", "mask")
_VOC_FLAGS = ("difficult", "truncated", "occluded")
_NOT_LABELS = ("readme.txt", "train.txt", "val.txt", "test.txt")


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image and what a file tells of it."""

    image: str
    """The path of its file, below the folder of images; if it has a fault, perhaps only its name."""
    regions: tuple[Region, ...] = ()
    id: str = ""
    """Of the image in the file, else its name below the folder."""
    question: str | None = None
    """Of a file that asks, too. `<obj>`, `<obj1>` … in it stand for the regions with those labels."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else the file tells of the image, to be carried to its answers."""
    fault: str | None = None
    """Why there is nothing to ask about, or what was left out: one sentence."""


class _DamageError(Exception):
    """Why something in a file cannot be used, as the end of a sentence."""


def form_of(source: Path) -> str | None:
    """What kind of annotations a file or folder holds, by its content; None for none, as with photos."""
    try:
        return _form_of_folder(source) if source.is_dir() else _form_of_file(source)
    except (AnnotationError, _DamageError, OSError, ValueError):
        return None


def read(source: Path, images: Path | None = None, form: str | None = None) -> Iterator[Annotated]:
    """The annotated images of a file or folder, in its order; images without regions are passed over.

    Without `images` they are looked for where each form has them: beside the file, or in a folder next to it.
    Damaged regions are left out of their image, which a second item with a `fault` follows.
    """
    with _in_plain_words(source):
        found = _found(source, images, form)

    def items() -> Iterator[Annotated]:
        with _in_plain_words(source):
            yield from found

    return items()


@contextmanager
def _in_plain_words(source: Path) -> Iterator[None]:
    """Turn what a disk, a strange name or a hostile file can still do into a sentence."""
    try:
        yield
    except OSError as error:
        raise AnnotationError(
            f"The path {_shown(source)} cannot be read: {error.strerror or error}."
        ) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise AnnotationError(f"The path {_shown(source)} cannot be read. Export it again.") from error


def _found(source: Path, images: Path | None, form: str | None) -> Iterator[Annotated]:
    if not source.exists():
        raise AnnotationError(f"There is no file or folder {_shown(source)}. Check the path.")
    if images is not None and not images.is_dir():
        raise AnnotationError(f"The path {_shown(images)} is not a folder. Name the folder of the images.")
    if form is not None and form not in FORMS:
        raise AnnotationError(
            f"There is no form {_shown(form)} of annotations. There are {', '.join(FORMS)}."
        )
    # A large file of JSON is not read twice.
    if source.is_file() and source.suffix.lower() in (".json", ".jsonl") and form in (None, *_OF_JSON):
        content = _json(source)
        if (form := form or _form_of_json(content)) is None:
            raise _unknown(source)
        return _OF_JSON[form](source, content, images)
    form = form or form_of(source) or ("masks" if images is not None and source.is_dir() else None)
    if form is None:
        raise _unknown(source)
    return _READERS[form](source, images)


def _unknown(source: Path) -> AnnotationError:
    return AnnotationError(
        f"The path {_shown(source)} holds no annotations that can be read. "
        "COCO, labelme, YOLO, Pascal VOC and ViP-Bench can."
    )


# What a source is


def _form_of_file(file: Path) -> str | None:
    match file.suffix.lower():
        case ".json":
            return _form_of_json(_json(file))
        case ".jsonl":
            return _form_of_json(list(islice(_json_lines(_bytes(file)), 1)))
        case ".xml":
            return "voc" if _xml(file).tag == "annotation" else None
        case ".yaml" | ".yml":
            return "yolo" if isinstance(_yaml(file).get("names"), list | dict) else None
        case ".txt":
            return "yolo" if _is_label_file(file) else None
        case _:
            return None


def _form_of_json(content: Any) -> str | None:
    match content:
        case {"images": list(), "annotations": list()}:
            return "coco"
        case {"shapes": list()}:
            return "labelme"
        case [{"image_id": _, "bbox": _}, *_] | [{"image_id": _, "segmentation": _}, *_]:
            return "coco"
        case [{"question_id": _, "image": _, "text": _}, *_]:
            return "vip-bench"
        case dict() if any(
            isinstance(entry, dict) and {"image", "question"} <= entry.keys()
            for entry in islice(content.values(), _SAMPLED)
        ):
            return "vip-bench"
        case _:
            return None


def _form_of_folder(folder: Path) -> str | None:
    if (folder / _META).is_file() or (folder / _QUESTIONS).is_file():
        return "vip-bench"
    if _data_yaml(folder) is not None or any(
        _holds(file, "yolo") for file in islice(_label_files(folder), _SAMPLED)
    ):
        return "yolo"
    for ending in (".xml", ".json"):
        for file in islice(_with_ending(folder, ending), _SAMPLED):
            with suppress(AnnotationError):
                if form := _form_of_file(file):
                    return form
    return "masks" if _holds_masks(folder) else None


def _is_label_file(file: Path) -> bool:
    """Whether a text is rows of a class and four or more coordinates, as YOLO has them."""
    rows = [line.split() for line in _text(file).splitlines() if line.strip()]
    return bool(rows) and all(
        len(row) >= 5 and all(re.fullmatch(r"[-+.\de]+", word) for word in row) for row in rows[:_SAMPLED]
    )


def _holds_masks(folder: Path) -> bool:
    """Whether the first pictures in a folder are black and white."""
    found = islice(chain.from_iterable(_pictures(place) for place in (folder, *_folders(folder))), 3)
    pictures = list(found)
    return bool(pictures) and all(map(_is_black_and_white, pictures))


def _is_black_and_white(file: Path) -> bool:
    from vipcli.images import load_picture

    try:
        pixels = load_picture(str(file)).pixels
    except ImageError:
        return False
    grey = (pixels[..., :1] == pixels).all()
    # The edges of a mask may be smoothed.
    return bool(grey) and float(((pixels > 32) & (pixels < 223)).mean()) < 0.02


# Files and folders


def _shown(name: object) -> str:
    """How a message names a file or what stands in one: on one line, and not endlessly."""
    shown = repr(str(name))
    return shown if len(shown) <= 60 else f"{shown[:20]}…{shown[-39:]}"


def _told(value: object) -> str:
    """How a message names a value out of a file, which may be anything and of any size."""
    match value:
        case str():
            return _shown(value)
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            # Whole numbers of thousands of digits cannot even be written.
            return "a huge number" if abs(value) >= 1e20 else f"{value:g}"
        case list():
            return "a list"
        case _:
            return "an object"


def _bytes(file: Path, most: int = _LARGEST) -> bytes:
    try:
        if file.is_dir():
            raise AnnotationError(f"The file {_shown(file)} is a folder. Name a file of annotations in it.")
        if not file.is_file():
            raise AnnotationError(f"There is no file {_shown(file)}. Check the path.")
        if file.stat().st_size > most:
            raise AnnotationError(
                f"The file {_shown(file)} is larger than {most >> 20} MiB. Split it into several files."
            )
        return file.read_bytes()
    except OSError as error:
        raise AnnotationError(
            f"The file {_shown(file)} cannot be read: {error.strerror or error}."
        ) from error


def _text(file: Path, most: int = _LARGEST_FOR_ONE) -> str:
    try:
        return _bytes(file, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AnnotationError(f"The file {_shown(file)} is not text in UTF-8. Save it as that.") from error


def _json(file: Path) -> Any:
    """The content of a JSON file; of JSON lines, a list with None for each that is damaged."""
    data = _bytes(file)
    if not data.strip():
        raise AnnotationError(f"The file {_shown(file)} is empty. Export the annotations again.")
    return list(_json_lines(data)) if file.suffix.lower() == ".jsonl" else _parsed(data, file)


def _json_lines(data: bytes) -> Iterator[Any]:
    for line in data.removeprefix(b"\xef\xbb\xbf").splitlines():
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def _parsed(data: bytes, file: Path) -> Any:
    try:
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise AnnotationError(
            f"The file {_shown(file)} is not whole JSON (line {error.lineno}). Export it again."
        ) from error
    except UnicodeDecodeError as error:
        raise AnnotationError(f"The file {_shown(file)} is not text in UTF-8. Save it as that.") from error
    # Deep nesting, and numbers of thousands of digits.
    except (ValueError, RecursionError, MemoryError) as error:
        raise AnnotationError(
            f"The file {_shown(file)} is JSON that cannot be read. Export it again."
        ) from error


def _xml(file: Path) -> Element:
    from defusedxml.ElementTree import ParseError, fromstring

    try:
        root: Element = fromstring(_bytes(file, _LARGEST_FOR_ONE))
    # Entities are refused with a ValueError, unknown encodings with a LookupError.
    except (ParseError, ValueError, LookupError) as error:
        raise AnnotationError(
            f"The file {_shown(file)} is not whole and harmless XML. Export it again."
        ) from error
    return root


def _yaml(file: Path) -> dict[str, Any]:
    import yaml

    try:
        # All values stay text: nothing is computed, merged or made from what the file says.
        content = yaml.load(_text(file, _LARGEST_YAML), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AnnotationError(f"The file {_shown(file)} is not YAML that can be read. Check it.") from error
    return content if isinstance(content, dict) else {}


def _files(folder: Path, *endings: str) -> list[Path]:
    """The files in a folder whose names end so, by name, hidden ones left out."""
    # There may be millions of others.
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(endings) and entry.name[0] != "." and entry.is_file()
        )
    return [folder / name for name in names]


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder, by name, without links, which may lead round in circles."""
    with os.scandir(folder) as entries:
        names = sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
        )
    return [folder / name for name in names]


def _with_ending(folder: Path, ending: str) -> Iterator[Path]:
    """The files in a folder, then those in the folders in it."""
    yield from _files(folder, ending)
    for inner in _folders(folder):
        yield from _with_ending(inner, ending)


def _pictures(folder: Path) -> list[Path]:
    from vipcli.images import ENDINGS

    return _files(folder, *ENDINGS)


def _above(folder: Path) -> Path:
    """The folder that a folder is in."""
    return folder.parent if folder.name not in ("", "..") else folder.absolute().parent


class _Images:
    """Finds images by what files call them, in the first of some folders and never outside it."""

    def __init__(self, *folders: Path) -> None:
        self._folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
        self._shown = _shown(folders[0])
        self._outside = False

    def named(self, *names: object) -> Path:
        """The image of a path as a file gives it, or several paths, else the one of that bare name."""
        words = [name.replace("\\", "/") for name in names if isinstance(name, str) and name.strip()]
        if not words:
            raise _DamageError("no image file is named")
        found = self._first([*words, PurePosixPath(words[-1]).name])
        if found is not None:
            return found
        if self._outside:
            raise _DamageError(f"the image {_shown(words[-1])} lies outside the folder {self._shown}")
        raise _DamageError(f"there is no image {_shown(words[-1])} in the folder {self._shown}")

    def of_stem(self, stem: str) -> Path:
        """The image whose name is this, whatever its ending."""
        from vipcli.images import ENDINGS

        found = self._first(stem + ending for low in ENDINGS for ending in (low, low.upper()))
        if found is None:
            raise _DamageError(f"there is no image for {_shown(stem)} in the folder {self._shown}")
        return found

    def stems(self) -> dict[str, Path]:
        """The images by their names without endings; those of earlier folders come first."""
        files = [file for folder in reversed(self._folders) for file in reversed(_pictures(folder))]
        return {file.stem: file for file in files}

    def _first(self, ways: Iterable[str]) -> Path | None:
        self._outside = False
        for way in ways:
            for folder in self._folders:
                path = Path(os.path.normpath(folder / way))
                try:
                    if not path.is_file():
                        continue
                    if path.resolve().is_relative_to(folder.resolve()):
                        below = os.path.relpath(path, folder)
                        return path if below.startswith("..") else folder / below
                # Of names too long, and of links in a circle.
                except (OSError, RuntimeError):
                    continue
                self._outside = True
        return None


def _id_of(image: Path, *folders: Path) -> str:
    """An image's name below a folder."""
    for folder in folders:
        if image.is_relative_to(folder):
            return _word(image.relative_to(folder).as_posix())
    return _word(image.name)


# Values


def _number(value: object) -> float:
    """A number as JSON, YAML, XML and plain text have it."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise _DamageError(f"it has {_told(value)} where a number belongs")
    if abs(number) > LIMIT:
        raise _DamageError(f"its {_told(value)} lies far outside any picture")
    return number


def _numbers(values: object) -> list[float]:
    if not isinstance(values, list | tuple):
        raise _DamageError(f"it has {_told(values)} where a list of numbers belongs")
    return [_number(value) for value in values]


def _pairs(numbers: Sequence[float]) -> Polygon:
    if len(numbers) % 2:
        raise _DamageError("one of its points has only one coordinate")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _polygon(numbers: Sequence[float]) -> Polygon:
    points = _pairs(numbers)
    if len(points) < 3:
        raise _DamageError("its outline has fewer than three points")
    return points


def _box(x1: float, y1: float, x2: float, y2: float) -> tuple[XY, XY]:
    return (min(x1, x2), min(y1, y2)), (max(x1, x2), max(y1, y2))


def _word(value: object) -> str:
    """A label or an id on one line, without what would play tricks on a terminal."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = " ".join(str(value).split())[:200]
    # Whole numbers of thousands of digits.
    except ValueError:
        return ""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def _score(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        score = float(value)
    except OverflowError:
        return None
    return score if math.isfinite(score) else None


class _Gathered:
    """The regions of one image, and the first of those that were damaged."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.regions: list[Region] = []
        self.told: dict[str, dict[str, Any]] = {}
        self._left_out: list[str] = []

    @contextmanager
    def sparing(self, what: str) -> Iterator[None]:
        """Read an entry in here; if it is damaged, that is noted and nothing else happens."""
        try:
            yield
        except _DamageError as why:
            self._left_out.append(f"{what} in {_shown(self._file)} is left out: {why}.")

    def tell(self, id: str, **facts: Any) -> None:
        """Note what else is known of a region, as far as it is anything."""
        if known := {name: fact for name, fact in facts.items() if fact}:
            self.told[id] = known

    def items(self, image: str, id: str, extra: Mapping[str, Any] | None = None) -> Iterator[Annotated]:
        """The image with its regions, and another with its fault."""
        told = {**(extra or {}), **({"regions": self.told} if self.told else {})}
        if self.regions:
            yield Annotated(image, tuple(self.regions), id, extra=told)
        if self._left_out:
            fault, others = self._left_out[0], len(self._left_out) - 1
            if others:
                fault = f"{fault[:-1]}, and {others} more likewise."
            yield Annotated(image, (), id, extra=extra or {}, fault=fault)


def _missing(name: object, id: str, file: Path, why: object) -> Annotated:
    word = _word(name) or _word(file.stem)
    return Annotated(word, (), id or word, fault=f"In {_shown(file)}, {why}.")


def _read_files(
    files: Iterable[Path], read_one: Callable[[Path], Iterator[Annotated]]
) -> Iterator[Annotated]:
    """The images of many files, of which one may be damaged."""
    for file in files:
        try:
            yield from read_one(file)
        except AnnotationError as error:
            yield Annotated("", (), _word(file.name), fault=str(error))


def _entries(content: Mapping[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    return found if isinstance(found, list) else []


# JSON


def _one_file_of(folder: Path, form: str) -> Path:
    """The file in a folder that holds all its annotations."""
    files = [file for file in _with_ending(folder, ".json") if _holds(file, form)]
    if len(files) != 1:
        count = "no" if not files else "more than one"
        raise AnnotationError(
            f"The folder {_shown(folder)} holds {count} file of that form. Name the file itself."
        )
    return files[0]


def _holds(file: Path, form: str) -> bool:
    try:
        return _form_of_file(file) == form
    except AnnotationError:
        return False


# COCO


def _coco(source: Path, images: Path | None) -> Iterator[Annotated]:
    file = _one_file_of(source, "coco") if source.is_dir() else source
    return _coco_of(file, _json(file), images)


def _coco_of(file: Path, content: Any, images: Path | None) -> Iterator[Annotated]:
    found = _images_of_coco(file, images)
    if isinstance(content, list):
        return _results_of_coco(file, content, found)
    if _form_of_json(content) != "coco":
        raise AnnotationError(f"The file {_shown(file)} has no `images` and `annotations` as COCO has them.")
    return _dataset_of_coco(file, content, found)


def _images_of_coco(file: Path, images: Path | None) -> _Images:
    if images is not None:
        return _Images(images)
    beside = file.parent
    # annotations/instances_val2017.json goes with val2017/.
    split = re.sub(r"\W", "", file.stem.rpartition("_")[2])
    above = _above(beside)
    return _Images(beside, beside / "images", above / "images", above / (split or "images"))


def _key(value: object) -> str | int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _dataset_of_coco(file: Path, content: Mapping[str, Any], images: _Images) -> Iterator[Annotated]:
    labels = _labels_of_coco(content)
    by_image: dict[str | int, list[Any]] = {}
    lost = 0
    for entry in _entries(content, "annotations"):
        key = _key(entry.get("image_id")) if isinstance(entry, dict) else None
        if key is None:
            lost += 1
        else:
            by_image.setdefault(key, []).append(entry)
    for image in _entries(content, "images"):
        key = _key(image.get("id")) if isinstance(image, dict) else None
        if key is None:
            lost += 1
        elif entries := by_image.pop(key, None):
            yield from _image_of_coco(file, image, entries, labels, images)
    lost += sum(map(len, by_image.values()))
    if lost:
        what = "1 entry belongs" if lost == 1 else f"{lost} entries belong"
        yield Annotated("", fault=f"In {_shown(file)}, {what} to no image that it lists.")


def _labels_of_coco(content: Mapping[str, Any]) -> dict[str | int, str]:
    return {
        key: _word(category.get("name"))
        for category in _entries(content, "categories")
        if isinstance(category, dict) and (key := _key(category.get("id"))) is not None
    }


def _image_of_coco(
    file: Path,
    image: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    labels: Mapping[str | int, str],
    images: _Images,
) -> Iterator[Annotated]:
    id, name = _word(_key(image["id"])), image.get("file_name")
    try:
        path = images.named(name)
    except _DamageError as why:
        yield _missing(name, id, file, why)
        return
    yield from _regions_of_coco(file, entries, labels).items(str(path), id)


def _regions_of_coco(
    file: Path, entries: Sequence[Mapping[str, Any]], labels: Mapping[str | int, str]
) -> _Gathered:
    gathered = _Gathered(file)
    for number, entry in enumerate(entries, 1):
        id = _word(entry.get("id")) or str(number)
        category = _key(entry.get("category_id"))
        label = "" if category is None else labels.get(category, _word(category))
        with gathered.sparing(f"Annotation {_shown(id)}"):
            gathered.regions.append(_region_of_coco(entry, id, label))
            gathered.tell(id, iscrowd=entry.get("iscrowd") == 1)
    return gathered


def _region_of_coco(entry: Mapping[str, Any], id: str, label: str) -> Region:
    polygons = _segments(entry.get("segmentation"))
    score = _score(entry.get("score"))
    bbox = entry.get("bbox")
    if bbox in (None, []):
        if not polygons:
            raise _DamageError("it has neither a bbox nor a segmentation")
        return Region("contour", (), polygons, None, label, id, score)
    numbers = _numbers(bbox)
    if len(numbers) != 4:
        raise _DamageError("its bbox is not four numbers")
    x, y, width, height = numbers
    if width < 0 or height < 0:
        raise _DamageError("its bbox has a negative side")
    return Region("box", ((x, y), (x + width, y + height)), polygons, None, label, id, score)


def _segments(segmentation: object) -> tuple[Polygon, ...]:
    match segmentation:
        case None | []:
            return ()
        case {"size": size, "counts": counts}:
            return _outlines_of_runs(size, counts)
        case [list() | tuple(), *_]:
            return tuple(_polygon(_numbers(polygon)) for polygon in segmentation if polygon)
        case list():
            return (_polygon(_numbers(segmentation)),)
        case _:
            raise _DamageError("its segmentation is neither polygons nor run lengths")


def _outlines_of_runs(size: object, counts: object) -> tuple[Polygon, ...]:
    """The outlines of a mask given by run lengths, which go down its columns.

    pycocotools makes such masks too, but never tells the lengths, which must be sound before anything is
    made of them; and with them at hand, the mask is a line of numpy. The tests compare with it.
    """
    from vipcli.images import DEFAULT_MAX_PIXELS

    sides = _numbers(size)
    if len(sides) != 2 or any(side < 1 or side != int(side) for side in sides):
        raise _DamageError("the size of its run lengths is not two whole numbers")
    height, width = map(int, sides)
    if width * height > DEFAULT_MAX_PIXELS:
        raise _DamageError(f"its run lengths are for {width} × {height} pixels, which is too many")
    lengths = _run_lengths(counts)
    if min(lengths, default=-1) < 0 or sum(lengths) != width * height:
        raise _DamageError(f"its run lengths do not fill {width} × {height} pixels")
    if not any(lengths[1::2]):
        raise _DamageError("its run lengths mark nothing")
    return _traced_runs(lengths, height)


def _traced_runs(lengths: Sequence[int], height: int) -> tuple[Polygon, ...]:
    """The outlines of run lengths that are sound, traced on those columns alone that have some white."""
    import numpy as np

    from vipcli.drawing import trace

    ends = np.cumsum(lengths)
    white = [number for number in range(1, len(lengths), 2) if lengths[number]]
    left, right = int(ends[white[0] - 1]) // height, -(-int(ends[white[-1]]) // height)
    within = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    mask = np.repeat(np.arange(len(ends)) % 2 == 1, within).reshape(-1, height).T
    return tuple(tuple((x + left, y) for x, y in polygon) for polygon in trace(mask))


def _run_lengths(counts: object) -> list[int]:
    if isinstance(counts, list):
        if all(type(count) is int for count in counts):
            return counts
        raise _DamageError("its run lengths are not whole numbers")
    if isinstance(counts, str):
        return _unpacked(counts)
    raise _DamageError("its run lengths are neither a list nor a text")


def _unpacked(text: str) -> list[int]:
    """Run lengths from COCO's text for them: five bits a letter, each length less that of two before."""
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise _DamageError("its run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise _DamageError("its run lengths are cut off")
    return lengths


def _results_of_coco(file: Path, content: Sequence[Any], images: _Images) -> Iterator[Annotated]:
    """What a detector found: a list of boxes that name their images at best."""
    by_image: dict[Any, list[Mapping[str, Any]]] = {}
    for entry in content:
        if isinstance(entry, dict):
            key = _word(entry.get("file_name")) or _key(entry.get("image_id"))
            by_image.setdefault(key, []).append(entry)
    numbers = _numbered(images.stems())
    paths: dict[Any, Path | _DamageError] = {}
    for key in by_image:
        try:
            paths[key] = _image_of_result(key, numbers, images)
        except _DamageError as why:
            paths[key] = why
    if not any(isinstance(path, Path) for path in paths.values()):
        raise AnnotationError(
            f"The file {_shown(file)} is a list of results, none of which names an image that is there. "
            "Name their folder with --images, or give the COCO file that lists the images."
        )
    return _items_of_results(file, by_image, paths)


def _items_of_results(
    file: Path, by_image: Mapping[Any, Sequence[Mapping[str, Any]]], paths: Mapping[Any, Path | _DamageError]
) -> Iterator[Annotated]:
    for key, entries in by_image.items():
        path = paths[key]
        if isinstance(path, _DamageError):
            yield _missing(key, _word(key), file, path)
        else:
            yield from _regions_of_coco(file, entries, {}).items(str(path), _word(key))


def _numbered(stems: Iterable[str]) -> dict[int, str]:
    """Names of images by their number: `000000000139`, `COCO_val2014_000000000139`."""
    return {
        int(found[1]): stem for stem in stems if (found := re.fullmatch(r"(?:COCO_\w+_)?([0-9]{1,18})", stem))
    }


def _image_of_result(key: object, numbers: Mapping[int, str], images: _Images) -> Path:
    if isinstance(key, int):
        return images.of_stem(numbers.get(key, _word(key)))
    try:
        return images.named(key)
    except _DamageError:
        return images.of_stem(_word(key))


# labelme


def _labelme(source: Path, images: Path | None) -> Iterator[Annotated]:
    if source.is_dir():
        return _read_files(
            _with_ending(source, ".json"), lambda file: _labelme_of(file, _json(file), images, source)
        )
    return _labelme_of(source, _json(source), images)


def _labelme_of(
    file: Path, content: Any, images: Path | None, base: Path | None = None
) -> Iterator[Annotated]:
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise AnnotationError(f"The file {_shown(file)} has no `shapes` as labelme has them.")
    return _image_of_labelme(file, content, images, images or base or file.parent)


def _image_of_labelme(
    file: Path, content: Mapping[str, Any], images: Path | None, base: Path
) -> Iterator[Annotated]:
    gathered = _shapes(file, content)
    flags = _flags(content.get("flags"))
    found = _Images(images or file.parent)
    name = content.get("imagePath")
    try:
        path = _image_beside(file, name, found)
    except _DamageError as why:
        yield _missing(name, "", file, why)
        return
    yield from gathered.items(str(path), _id_of(path, base), {"flags": flags} if flags else None)


def _image_beside(file: Path, name: object, images: _Images) -> Path:
    """The image of a file that is for one: by its name as seen from the file or a folder, else the file's."""
    if not isinstance(name, str) or not name.strip():
        return images.of_stem(file.stem)
    # `../images/a.jpg` leads from the file, and is fine if it ends below the folder of images.
    seen = os.path.normpath(file.parent.absolute() / name.replace("\\", "/"))
    try:
        return images.named(seen, name)
    except _DamageError:
        bare = PurePosixPath(name).name
        if PurePosixPath(bare).suffix:
            raise
        return images.of_stem(bare)


def _shapes(file: Path, content: Mapping[str, Any]) -> _Gathered:
    gathered = _Gathered(file)
    for number, shape in enumerate(_entries(content, "shapes"), 1):
        with gathered.sparing(f"Shape {number}"):
            if not isinstance(shape, dict):
                raise _DamageError("it is no object")
            gathered.regions.extend(_regions_of_shape(shape, str(number)))
            flags, group = _flags(shape.get("flags")), _word(shape.get("group_id"))
            gathered.tell(str(number), flags=flags, group_id=group)
    gathered.regions = _grouped(gathered.regions, gathered.told)
    return gathered


def _flags(flags: object) -> list[str]:
    """The names of the flags that are set."""
    if not isinstance(flags, dict):
        return []
    return [word for name, value in islice(flags.items(), 100) if value is True and (word := _word(name))]


def _grouped(regions: Iterable[Region], told: Mapping[str, Mapping[str, Any]]) -> list[Region]:
    """Outlines of one label in one group are parts of one thing, as of a car behind a post."""
    groups: dict[tuple[str, str], int] = {}
    whole: list[Region] = []
    for region in regions:
        group = told.get(region.id, {}).get("group_id")
        if group is None or not region.polygons:
            whole.append(region)
        elif (at := groups.get((group, region.label))) is None:
            groups[group, region.label] = len(whole)
            whole.append(region)
        else:
            whole[at] = replace(whole[at], polygons=whole[at].polygons + region.polygons)
    return whole


def _regions_of_shape(shape: Mapping[str, Any], id: str) -> list[Region]:
    label, score = _word(shape.get("label")), _score(shape.get("score"))
    points = _points(shape.get("points"))
    match shape.get("shape_type") or "polygon":
        case "rectangle" if len(points) in (2, 4):
            xs, ys = zip(*points, strict=True)
            corners = _box(min(xs), min(ys), max(xs), max(ys))
            return [Region("box", corners, (), None, label, id, score)]
        case "circle" if len(points) == 2:
            (x, y), rim = points[0], math.dist(*points)
            corners = (x - rim, y - rim), (x + rim, y + rim)
            return [Region("ellipse", corners, (), None, label, id, score)]
        case "polygon" | "oriented_rectangle" if len(points) > 2:
            return [Region("contour", (), (points,), None, label, id, score)]
        case "line" | "linestrip" if len(set(points)) > 1:
            return [Region("scribble", points, (), None, label, id, score)]
        case "point" | "points" if len(points) == 1:
            return [Region("point", points, (), None, label, id, score)]
        case "points" if points:
            return [
                Region("point", (point,), (), None, label, f"{id}.{part}", score)
                for part, point in enumerate(points, 1)
            ]
        case "mask" if points:
            return [Region("mask", (), _masked(shape.get("mask"), points[0]), None, label, id, score)]
        case str() as kind if kind in _SHAPES:
            raise _DamageError(f"its points do not make a {kind}")
        case kind:
            raise _DamageError(f"its type is {_told(kind)}, which is not known")


def _points(values: object) -> Polygon:
    if not isinstance(values, list):
        raise _DamageError("it has no list of points")
    numbers = [_numbers(point) for point in values]
    if any(len(pair) != 2 for pair in numbers):
        raise _DamageError("one of its points is not two numbers")
    return tuple((x, y) for x, y in numbers)


def _masked(data: object, corner: XY) -> tuple[Polygon, ...]:
    """The outlines of a small mask image within the file, laid with its corner there."""
    from vipcli.drawing import trace
    from vipcli.images import read_picture

    if not isinstance(data, str):
        raise _DamageError("its mask image is missing")
    try:
        pixels = read_picture(base64.b64decode(data), "The mask").pixels
    except (ValueError, ImageError) as error:
        raise _DamageError("its mask image is damaged") from error
    left, top = corner
    polygons = trace(pixels[..., 0] > 127)
    if not polygons:
        raise _DamageError("its mask image marks nothing")
    return tuple(tuple((x + left, y + top) for x, y in polygon) for polygon in polygons)


# YOLO


def _yolo(source: Path, images: Path | None) -> Iterator[Annotated]:
    base = source if source.is_dir() else source.parent
    config = source if source.suffix.lower() in (".yaml", ".yml") else _data_yaml(base)
    settings = _yaml(config) if config is not None else {}
    if source.is_file() and source != config:
        files = [source]
    else:
        # What lies in folders around does not belong to a folder of labels.
        listed = _listed_labels(base, settings) if config is not None and config.parent == base else []
        files = listed or list(_label_files(base))
    if not files:
        raise AnnotationError(f"There are no label files (.txt) for {_shown(source)}. Name their folder.")
    classes = _Classes(settings)
    return _read_files(files, lambda file: _image_of_yolo(file, base, images, classes))


def _data_yaml(folder: Path) -> Path | None:
    """The file that names the classes of a folder of labels, in it or in the folders around it."""
    around = [folder, *(above for above in islice(folder.absolute().parents, 2) if _is_labels(folder))]
    for place in around:
        for file in sorted([*place.glob("*.yaml"), *place.glob("*.yml")]):
            if _holds(file, "yolo"):
                return file
    return None


def _is_labels(folder: Path) -> bool:
    return "labels" in folder.absolute().parts[-2:]


def _label_files(folder: Path) -> Iterator[Path]:
    """The label files below a folder: those in folders called labels, or else its own."""
    files = [file for file in _with_ending(folder, ".txt") if file.name != "classes.txt"]
    inner = [file for file in files if _is_labels(folder) or "labels" in file.relative_to(folder).parts[:-1]]
    own = [file for file in files if file.parent == folder and file.name.lower() not in _NOT_LABELS]
    yield from inner or own


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
    root = root if isinstance(root, str) else ""
    plain = re.sub(r"^(\.\./)+", "", name)
    for way in (Path(root) / name, Path(Path(root).name) / name, Path(name), Path(plain)):
        try:
            folder = Path(os.path.normpath(base / way))
            if folder.is_dir() and folder.resolve().is_relative_to(base.resolve()):
                return folder
        except (OSError, ValueError, RuntimeError):
            continue
    return None


def _swapped(folder: Path, one: str, other: str) -> Path:
    """A folder's path with the last part that is called one thing called the other."""
    parts = list(folder.parts)
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == one:
            parts[at] = other
            return Path(*parts)
    return folder


class _Classes:
    """The names of YOLO's classes, and how many of a row's numbers are key points."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        names = settings.get("names")
        self._names: dict[str, str] | None = None
        if isinstance(names, list):
            self._names = {str(number): _word(name) for number, name in enumerate(names)}
        elif isinstance(names, dict):
            self._names = {str(number): _word(name) for number, name in names.items()}
        self._beside: dict[Path, dict[str, str]] = {}
        self.key_points = 0
        match settings.get("kpt_shape"):
            case [str() as count, str() as each] if re.fullmatch(r"\d{1,4}", count) and each in ("2", "3"):
                self.key_points = int(count) * int(each)

    def name(self, number: int, file: Path) -> str:
        """What a class is called: by data.yaml, else by a classes.txt near the file, else its number."""
        names = self._names if self._names is not None else self._near(file.parent)
        return names.get(str(number), str(number))

    def _near(self, folder: Path) -> dict[str, str]:
        if folder not in self._beside:
            names: dict[str, str] = {}
            for place in (folder, *islice(folder.absolute().parents, 2)):
                found = [place / name for name in ("classes.txt", "obj.names") if (place / name).is_file()]
                if found:
                    lines = _text(found[0]).splitlines()
                    names = {str(number): _word(line) for number, line in enumerate(lines)}
                    break
            self._beside[folder] = names
        return self._beside[folder]


def _image_of_yolo(file: Path, base: Path, images: Path | None, classes: _Classes) -> Iterator[Annotated]:
    rows = [(number, row.split()) for number, row in enumerate(_text(file).splitlines(), 1) if row.strip()]
    if not rows:
        return
    from vipcli.images import size_of

    found = _images_of_yolo(file, base, images)
    try:
        path = found.of_stem(file.stem)
        size = size_of(str(path))
    except _DamageError as why:
        yield _missing(file.stem, "", file, why)
        return
    except ImageError as error:
        yield Annotated(str(path), (), _id_of(path, images or base), fault=str(error))
        return
    gathered = _Gathered(file)
    for number, row in rows:
        with gathered.sparing(f"Line {number}"):
            gathered.regions.append(_region_of_yolo(row, str(number), size, file, classes))
    yield from gathered.items(str(path), _id_of(path, images or base))


def _images_of_yolo(file: Path, base: Path, images: Path | None) -> _Images:
    """Where the image of a label file may be: labels/train/a.txt goes with images/train/a.jpg."""
    if images is None:
        near = file.parent
        places = (near, near.absolute()) if base.name == "" else (near,)
        return _Images(*(_swapped(place, "labels", "images") for place in places), near)
    below = file.parent.relative_to(base) if file.parent.is_relative_to(base) else Path()
    # What lies between the folder called labels and the file has its like among the images.
    *_, inner = re.split(r"(?:^|/)labels(?:/|$)", file.parent.absolute().as_posix())
    inner = inner if not inner.startswith("/") else ""
    return _Images(images / _swapped(below, "labels", "images"), images / below, images / inner, images)


def _region_of_yolo(
    row: Sequence[str], id: str, size: tuple[int, int], file: Path, classes: _Classes
) -> Region:
    """A row: a class, then a box or an outline in shares of the picture's sides, then perhaps a score."""
    number = _number(row[0])
    if number < 0 or number != int(number):
        raise _DamageError(f"its class {_shown(row[0])} is not a whole number")
    label = classes.name(int(number), file)
    if classes.key_points and len(row) >= 5 + classes.key_points:
        row = [*row[:5], *row[5 + classes.key_points :]]
    values = [_number(value) for value in row[1:]]
    if len(values) < 4:
        raise _DamageError("it has fewer than four coordinates")
    outlined = len(values) > 5
    # A lone last number is how sure a model was, or the number of a track.
    last = values.pop() if len(values) % 2 else None
    score = last if last is not None and 0 <= last <= 1 else None
    if outlined:
        return Region("contour", (), (_on(size, _polygon(values)),), None, label, id, score)
    x, y, width, height = values
    if width < 0 or height < 0:
        raise _DamageError("its box has a negative side")
    corners = ((x - width / 2, y - height / 2), (x + width / 2, y + height / 2))
    start, end = _on(size, corners)
    return Region("box", (start, end), (), None, label, id, score)


def _on(size: tuple[int, int], points: Iterable[XY]) -> Polygon:
    width, height = size
    placed = tuple((x * width, y * height) for x, y in points)
    for point in placed:
        for value in point:
            _number(value)
    return placed


# Pascal VOC


def _voc(source: Path, images: Path | None) -> Iterator[Annotated]:
    if source.is_dir():
        return _read_files(
            _with_ending(source, ".xml"), lambda file: _image_of_voc(file, _xml(file), images, source)
        )
    return _image_of_voc(source, _xml(source), images, source.parent)


def _image_of_voc(file: Path, root: Element, images: Path | None, base: Path) -> Iterator[Annotated]:
    if root.tag != "annotation":
        raise AnnotationError(f"The file {_shown(file)} has no `annotation` as Pascal VOC has it.")
    return _items_of_voc(file, root, images, base)


def _items_of_voc(file: Path, root: Element, images: Path | None, base: Path) -> Iterator[Annotated]:
    gathered = _Gathered(file)
    for number, thing in enumerate(root.iterfind("object"), 1):
        with gathered.sparing(f"Object {number}"):
            gathered.regions.append(_region_of_voc(thing, str(number)))
            gathered.tell(
                str(number), **{name: thing.findtext(name, "").strip() == "1" for name in _VOC_FLAGS}
            )
    near, above = file.parent, _above(file.parent)
    found = _Images(images) if images else _Images(near, above / "JPEGImages", above / "images")
    name = root.findtext("filename", "").strip()
    try:
        path = _image_beside(file, name, found)
    except _DamageError as why:
        yield _missing(name, "", file, why)
        return
    yield from gathered.items(str(path), _id_of(path, images or base))


def _region_of_voc(thing: Element, id: str) -> Region:
    label = _word(thing.findtext("name", ""))
    polygons = tuple(
        _polygon([_number(leaf.text) for leaf in polygon.iter() if re.fullmatch(r"[xy]\d*", leaf.tag)])
        for polygon in thing.iterfind("polygon")
    )
    box = thing.find("bndbox")
    if box is None:
        if not polygons:
            raise _DamageError("it has neither a bndbox nor a polygon")
        return Region("contour", (), polygons, None, label, id)
    # The first pixel is 1 in the devkit's own files and 0 in those of most programs since, and no file
    # says which: a pixel matters little to a mark, so the numbers are taken as they are.
    numbers = [_number(box.findtext(name)) for name in ("xmin", "ymin", "xmax", "ymax")]
    return Region("box", _box(*numbers), polygons, None, label, id)


# Mask images


def _masks(source: Path, images: Path | None) -> Iterator[Annotated]:
    if not source.is_dir():
        raise AnnotationError(
            f"The path {_shown(source)} is one file. Name the folder that holds the mask images."
        )
    if images is None:
        raise AnnotationError(
            f"The folder {_shown(source)} holds masks alone. Name the folder of their pictures with --images."
        )
    if source.resolve() == images.resolve():
        raise AnnotationError(
            f"Masks and pictures cannot be told apart in one folder, {_shown(source)}. Separate them."
        )
    return _items_of_masks(source, images)


def _items_of_masks(source: Path, images: Path) -> Iterator[Annotated]:
    found = _Images(images)
    stems = found.stems()
    by_image: dict[str, list[Region]] = {}
    strays: list[Path] = []
    for file in chain(_pictures(source), *map(_pictures, _folders(source))):
        stem, rest = _split(file, source, stems)
        if stem is None:
            strays.append(file)
        else:
            id = _word(file.relative_to(source).as_posix())
            by_image.setdefault(stem, []).append(Region("mask", file=str(file), label=rest, id=id))
    for stem in sorted(by_image):
        try:
            path = found.named(stems[stem].name)
        except _DamageError as why:
            yield _missing(stem, "", source, why)
        else:
            yield Annotated(str(path), tuple(by_image[stem]), _id_of(path, images))
    for file in strays:
        name = _word(file.relative_to(source).as_posix())
        yield Annotated(name, (), name, fault=f"No image has the name of the mask {_shown(file)}.")


def _split(file: Path, source: Path, stems: Container[str]) -> tuple[str | None, str]:
    """The name of the image that a mask is for, and what else the mask's own name says."""
    if file.parent != source:
        name = file.parent.name
        return (name if name in stems else None), _rest(file.stem.removeprefix(name))
    for end in (len(file.stem), *(found.start() for found in reversed([*re.finditer(r"[ _.-]", file.stem)]))):
        if file.stem[:end] in stems:
            return file.stem[:end], _rest(file.stem[end:])
    return None, ""


def _rest(text: str) -> str:
    """A label from the rest of a mask's name; a number is none, nor is that it is a mask."""
    words = [word for word in re.split(r"[ _.-]+", text) if word]
    return _word(" ".join(word for word in words if not word.isdigit() and word.lower() != "mask"))


# ViP-Bench


def _vip_bench(source: Path, images: Path | None) -> Iterator[Annotated]:
    file = source
    if source.is_dir():
        # The plain pictures are to be marked here; those of the parts `bbox` and `human` have their marks.
        file = next((source / name for name in (_META, _QUESTIONS) if (source / name).is_file()), source)
    return _vip_bench_of(file, _json(file), images)


def _vip_bench_of(file: Path, content: Any, images: Path | None) -> Iterator[Annotated]:
    match content:
        case dict():
            return _items_of_meta(file, content, _Images(images or file.parent / "source_image"))
        case list() if any(isinstance(line, dict) for line in content):
            return _items_of_questions(file, content, _Images(images or file.parent / "images"))
        case _:
            raise AnnotationError(f"The file {_shown(file)} has no questions as ViP-Bench has them.")


def _items_of_questions(
    file: Path, lines: Sequence[Mapping[str, Any] | None], images: _Images
) -> Iterator[Annotated]:
    """Pictures that are marked already, with questions that speak of their marks."""
    answers = _meta_near(file)
    for number, line in enumerate(lines, 1):
        if not isinstance(line, dict):
            yield Annotated(
                "", (), f"line {number}", fault=f"Line {number} of {_shown(file)} is no question."
            )
            continue
        own = _word(line.get("question_id"))
        # The benchmark's judge knows question 0 as v1_0.
        id = own if own.startswith("v1_") else f"v1_{own or number}"
        extra = {"category": _word(line.get("category")), **_facts(answers.get(id))}
        try:
            question, path = _question(line.get("text")), images.named(line.get("image"))
        except _DamageError as why:
            yield replace(_missing(line.get("image"), id, file, why), extra=_known_facts(extra))
            continue
        yield Annotated(str(path), (), id, question, _known_facts(extra))


def _meta_near(file: Path) -> Mapping[str, Any]:
    for place in (file.parent, file.absolute().parent.parent):
        if (place / _META).is_file():
            try:
                content = _json(place / _META)
            except AnnotationError:
                continue
            return content if isinstance(content, dict) else {}
    return {}


def _facts(entry: object) -> dict[str, Any]:
    if not isinstance(entry, dict):
        return {}
    answer, capability = entry.get("answer"), entry.get("capability")
    return {
        "answer": answer if isinstance(answer, str) else "",
        "capability": [_word(one) for one in capability] if isinstance(capability, list) else [],
    }


def _known_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: fact for name, fact in facts.items() if fact}


def _question(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise _DamageError("a question is missing")
    return text.strip()


def _items_of_meta(file: Path, content: Mapping[str, Any], images: _Images) -> Iterator[Annotated]:
    """Plain pictures, each with a labelme file of what `<obj>`, `<obj1>` … in the questions are."""
    for id, entry in content.items():
        id = _word(id)
        if not isinstance(entry, dict):
            yield _missing("", id, file, f"the entry {_shown(id)} is no object")
            continue
        name = entry.get("image_source") or entry.get("image")
        facts = _known_facts(_facts(entry))
        try:
            question, path = _question(entry.get("question")), images.named(name)
            regions = _objects(path, question)
        except (_DamageError, AnnotationError) as why:
            fault = _missing(name, id, file, str(why).rstrip("."))
            yield replace(fault, extra=facts)
            continue
        yield Annotated(str(path), regions, id, question, facts)


def _objects(image: Path, question: str) -> tuple[Region, ...]:
    """The regions that a question speaks of, in its order."""
    names = list(dict.fromkeys(re.findall(r"<(obj\d{0,4})>", question)))
    if not names:
        return ()
    file = image.with_suffix(".json")
    shapes = _json(file)
    if not isinstance(shapes, dict):
        raise _DamageError(f"{_shown(file)} has no shapes")
    by_label: dict[str, Region] = {}
    for region in _shapes(file, shapes).regions:
        by_label.setdefault(region.label, region)
    lost = [name for name in names if name not in by_label]
    if lost:
        raise _DamageError(f"{_shown(file)} does not say where <{lost[0]}> is")
    return tuple(by_label[name] for name in names)


_OF_JSON: dict[str, Callable[[Path, Any, Path | None], Iterator[Annotated]]] = {
    "coco": _coco_of,
    "labelme": _labelme_of,
    "vip-bench": _vip_bench_of,
}
_READERS: dict[str, Callable[[Path, Path | None], Iterator[Annotated]]] = {
    "coco": _coco,
    "labelme": _labelme,
    "yolo": _yolo,
    "voc": _voc,
    "masks": _masks,
    "vip-bench": _vip_bench,
}
