"""COCO: data sets of many images in one JSON file, and lists of what a detector found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import Annotated, Gathered, missing
from vipcli.annotations.folders import Images, above, files_below
from vipcli.annotations.parsing import read_json, unread
from vipcli.annotations.tracing import outlines_of_runs, united
from vipcli.annotations.values import DamageError, numbers, polygon, score, shown, word
from vipcli.errors import AnnotationError
from vipcli.geometry import Polygon
from vipcli.marks.regions import Region


def fits(content: object) -> bool:
    """Whether JSON is a data set as COCO has it, or a list of results."""
    match content:
        case {"images": list(), "annotations": list()}:
            return True
        case [{"image_id": _, "bbox": _}, *_] | [{"image_id": _, "segmentation": _}, *_]:
            return True
        case _:
            return False


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[Annotated]:
    """The images of a file, whose content may be known, or of the only such file in a folder."""
    if source.is_dir():
        source, content = _only_file(source)
    elif content is None:
        content = read_json(source)
    found = Images(images) if images is not None else _images_near(source)
    if isinstance(content, list):
        return _results(source, content, found)
    if not fits(content):
        raise unread(source, "has no `images` and `annotations` as COCO has them.")
    return _data_set(source, content, found)


def _only_file(folder: Path) -> tuple[Path, Any]:
    match list(islice(_fitting_files(folder), 2)):
        case [one]:
            return one
        case found:
            what = f"{'more than one' if found else 'no'} file of that form. Name the file itself."
            raise AnnotationError(f"The folder {shown(folder)} holds {what}")


def _fitting_files(folder: Path) -> Iterator[tuple[Path, Any]]:
    for file in files_below(folder, ".json"):
        with suppress(AnnotationError):
            content = read_json(file)
            if fits(content):
                yield file, content


def _images_near(file: Path) -> Images:
    beside = file.parent
    # annotations/instances_val2017.json goes with val2017/.
    split = re.sub(r"\W", "", file.stem.rpartition("_")[2])
    return Images(beside, beside / "images", above(beside) / "images", above(beside) / (split or "images"))


def _data_set(file: Path, content: Mapping[str, Any], images: Images) -> Iterator[Annotated]:
    labels = _labels(content.get("categories"))
    by_image: dict[str | int, list[Any]] = {}
    lost = 0
    for entry in content["annotations"]:
        key = _key(entry.get("image_id")) if isinstance(entry, dict) else None
        if key is None:
            lost += 1
        else:
            by_image.setdefault(key, []).append(entry)
    for image in content["images"]:
        key = _key(image.get("id")) if isinstance(image, dict) else None
        if key is None:
            lost += 1
        elif entries := by_image.pop(key, None):
            name, id = image.get("file_name"), word(key)
            try:
                path = images.named(name)
            except DamageError as why:
                yield missing(name, id, file, why)
            else:
                yield from _regions(file, entries, labels).items(str(path), id)
    lost += sum(map(len, by_image.values()))
    if lost:
        what = "1 entry belongs" if lost == 1 else f"{lost} entries belong"
        yield Annotated("", fault=f"In {shown(file)}, {what} to no image that it lists.")


def _key(value: object) -> str | int | None:
    """An id as a key: 7 and 7.0 are the same, and what is no id is None."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _labels(categories: object) -> dict[str | int, str]:
    return {
        key: word(category.get("name"))
        for category in (categories if isinstance(categories, list) else ())
        if isinstance(category, dict) and (key := _key(category.get("id"))) is not None
    }


def _regions(file: Path, entries: Sequence[Mapping[str, Any]], labels: Mapping[str | int, str]) -> Gathered:
    gathered = Gathered(file)
    for place, entry in enumerate(entries, 1):
        id = word(entry.get("id")) or str(place)
        category = _key(entry.get("category_id"))
        label = "" if category is None else labels.get(category, word(category))
        with gathered.sparing(f"Annotation {shown(id)}"):
            gathered.add(_region(entry, id, label), iscrowd=entry.get("iscrowd") == 1)
    return gathered


def _region(entry: Mapping[str, Any], id: str, label: str) -> Region:
    polygons = _segments(entry.get("segmentation"))
    sure = score(entry.get("score"))
    bbox = entry.get("bbox")
    if bbox in (None, []):
        if not polygons:
            raise DamageError("it has neither a bbox nor a segmentation")
        return Region("contour", (), polygons, None, label, id, sure)
    sides = numbers(bbox)
    if len(sides) != 4:
        raise DamageError("its bbox is not four numbers")
    x, y, width, height = sides
    if width < 0 or height < 0:
        raise DamageError("its bbox has a negative side")
    return Region("box", ((x, y), (x + width, y + height)), polygons, None, label, id, sure)


def _segments(segmentation: object) -> tuple[Polygon, ...]:
    match segmentation:
        case None | []:
            return ()
        case {"size": size, "counts": counts}:
            return outlines_of_runs(size, counts)
        case [list(), *_]:
            return united(tuple(polygon(numbers(part)) for part in segmentation if part))
        case list():
            return (polygon(numbers(segmentation)),)
        case _:
            raise DamageError("its segmentation is neither polygons nor run lengths")


def _results(file: Path, content: Sequence[Any], images: Images) -> Iterator[Annotated]:
    """What a detector found: a list of boxes that name their images at best."""
    by_image: dict[str | int, list[Mapping[str, Any]]] = {}
    for entry in content:
        if isinstance(entry, dict):
            name = entry.get("file_name")
            key = name if isinstance(name, str) and name.strip() else _key(entry.get("image_id"))
            by_image.setdefault("" if key is None else key, []).append(entry)
    stems = _numbered(images.stems())
    paths = {key: _image_of(key, stems, images) for key in by_image}
    if not any(isinstance(path, Path) for path in paths.values()):
        raise AnnotationError(
            f"The file {shown(file)} is a list of results, none of which names an image that is there. "
            "Name their folder with --images, or give the COCO file that lists the images."
        )
    for key, path in paths.items():
        if isinstance(path, DamageError):
            yield missing(key, word(key), file, path)
        else:
            yield from _regions(file, by_image[key], {}).items(str(path), word(key))


def _numbered(stems: Iterable[str]) -> dict[str | int, str]:
    """Names of images by their number: `000000000139`, `COCO_val2014_000000000139`."""
    return {
        int(found[1]): stem for stem in stems if (found := re.fullmatch(r"(?:COCO_\w+_)?([0-9]{1,18})", stem))
    }


def _image_of(key: str | int, stems: Mapping[str | int, str], images: Images) -> Path | DamageError:
    """The image of a result, or why there is none."""
    with suppress(DamageError):
        return images.named(key)
    try:
        return images.of_stem(stems.get(key, str(key)))
    except DamageError as why:
        return why
