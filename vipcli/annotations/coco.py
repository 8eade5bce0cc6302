"""COCO: data sets of many images in one JSON file, and result lists from detectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import AnnotatedImage, RegionCollector, missing_image
from vipcli.annotations.folders import ImageFinder, files_below, parent_of
from vipcli.annotations.parsing import read_json, unreadable
from vipcli.annotations.tracing import merge_overlapping, outlines_of_run_lengths
from vipcli.annotations.values import DamageError, numbers, one_line, polygon, quoted, score
from vipcli.errors import AnnotationError
from vipcli.geometry import Polygon
from vipcli.marks.regions import Region


def recognizes(content: object) -> bool:
    """Check whether JSON content is a COCO data set or result list."""
    match content:
        case {"images": list(), "annotations": list()}:
            return True
        case [{"image_id": _, "bbox": _}, *_] | [{"image_id": _, "segmentation": _}, *_]:
            return True
        case _:
            return False


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[AnnotatedImage]:
    """Read the images listed in a COCO file, or in the only COCO file of a folder.

    `content` is the JSON of the file if it is already parsed.
    """
    if source.is_dir():
        source, content = _only_file(source)
    elif content is None:
        content = read_json(source)
    finder = ImageFinder(images) if images is not None else _images_near(source)
    if isinstance(content, list):
        return _read_results(source, content, finder)
    if not recognizes(content):
        raise unreadable(source, "has no COCO `images` and `annotations`.")
    return _read_data_set(source, content, finder)


def _only_file(folder: Path) -> tuple[Path, Any]:
    match list(islice(_coco_files(folder), 2)):
        case [only]:
            return only
        case []:
            problem = "no COCO file"
        case _:
            problem = "more than one COCO file"
    raise AnnotationError(f"The folder {quoted(folder)} holds {problem}.", "Name the file itself.")


def _coco_files(folder: Path) -> Iterator[tuple[Path, Any]]:
    for file in files_below(folder, ".json"):
        with suppress(AnnotationError):
            content = read_json(file)
            if recognizes(content):
                yield file, content


def _images_near(file: Path) -> ImageFinder:
    folder = file.parent
    # annotations/instances_val2017.json goes with val2017/.
    split = re.sub(r"\W", "", file.stem.rpartition("_")[2])
    return ImageFinder(
        folder, folder / "images", parent_of(folder) / "images", parent_of(folder) / (split or "images")
    )


def _read_data_set(file: Path, content: Mapping[str, Any], images: ImageFinder) -> Iterator[AnnotatedImage]:
    labels = _labels(content.get("categories"))
    by_image: dict[str | int, list[Any]] = {}
    orphans = 0
    for entry in content["annotations"]:
        key = _as_key(entry.get("image_id")) if isinstance(entry, dict) else None
        if key is None:
            orphans += 1
        else:
            by_image.setdefault(key, []).append(entry)
    for image in content["images"]:
        key = _as_key(image.get("id")) if isinstance(image, dict) else None
        if key is None:
            orphans += 1
        elif entries := by_image.pop(key, None):
            name, id = image.get("file_name"), one_line(key)
            try:
                path = images.by_name(name)
            except DamageError as error:
                yield missing_image(name, id, file, error)
            else:
                yield from _regions(file, entries, labels).to_images(str(path), id)
    orphans += sum(map(len, by_image.values()))
    if orphans:
        count = "1 entry belongs" if orphans == 1 else f"{orphans} entries belong"
        yield AnnotatedImage("", fault=f"In {quoted(file)}, {count} to no listed image.")


def _as_key(value: object) -> str | int | None:
    """An id as a dictionary key (7.0 becomes 7); None if it is not an id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _labels(categories: object) -> dict[str | int, str]:
    return {
        key: one_line(category.get("name"))
        for category in (categories if isinstance(categories, list) else ())
        if isinstance(category, dict) and (key := _as_key(category.get("id"))) is not None
    }


def _regions(
    file: Path, entries: Sequence[Mapping[str, Any]], labels: Mapping[str | int, str]
) -> RegionCollector:
    collector = RegionCollector(file)
    for position, entry in enumerate(entries, 1):
        id = one_line(entry.get("id")) or str(position)
        category = _as_key(entry.get("category_id"))
        label = "" if category is None else labels.get(category, one_line(category))
        with collector.skipping_damage(f"Annotation {quoted(id)}"):
            collector.add(_region(entry, id, label), iscrowd=entry.get("iscrowd") == 1)
    return collector


def _region(entry: Mapping[str, Any], id: str, label: str) -> Region:
    polygons = _outlines(entry.get("segmentation"))
    confidence = score(entry.get("score"))
    bbox = entry.get("bbox")
    if bbox in (None, []):
        if not polygons:
            raise DamageError("it has neither a bbox nor a segmentation")
        return Region("contour", (), polygons, None, label, id, confidence)
    sides = numbers(bbox)
    if len(sides) != 4:
        raise DamageError("its bbox is not four numbers")
    x, y, width, height = sides
    if width < 0 or height < 0:
        raise DamageError("its bbox has a negative width or height")
    return Region("box", ((x, y), (x + width, y + height)), polygons, None, label, id, confidence)


def _outlines(segmentation: object) -> tuple[Polygon, ...]:
    match segmentation:
        case None | []:
            return ()
        case {"size": size, "counts": counts}:
            return outlines_of_run_lengths(size, counts)
        case [list(), *_]:
            return merge_overlapping(tuple(polygon(numbers(part)) for part in segmentation if part))
        case list():
            return (polygon(numbers(segmentation)),)
        case _:
            raise DamageError("its segmentation is neither polygons nor run lengths")


def _read_results(file: Path, content: Sequence[Any], images: ImageFinder) -> Iterator[AnnotatedImage]:
    """Read a detector's results: a list of regions that name their images."""
    by_image: dict[str | int, list[Mapping[str, Any]]] = {}
    for entry in content:
        if isinstance(entry, dict):
            name = entry.get("file_name")
            key = name if isinstance(name, str) and name.strip() else _as_key(entry.get("image_id"))
            by_image.setdefault("" if key is None else key, []).append(entry)
    stems = _stems_by_number(images.stems())
    paths = {key: _find_image(key, stems, images) for key in by_image}
    if not any(isinstance(path, Path) for path in paths.values()):
        raise AnnotationError(
            f"None of the images named by the results in {quoted(file)} was found.",
            "Name their folder with {images}, or give the COCO file that lists the images.",
        )
    for key, path in paths.items():
        if isinstance(path, DamageError):
            yield missing_image(key, one_line(key), file, path)
        else:
            yield from _regions(file, by_image[key], {}).to_images(str(path), one_line(key))


def _stems_by_number(stems: Iterable[str]) -> dict[str | int, str]:
    """Image names by the number in them, as in `000000000139` or `COCO_val2014_000000000139`."""
    return {
        int(match[1]): stem for stem in stems if (match := re.fullmatch(r"(?:COCO_\w+_)?([0-9]{1,18})", stem))
    }


def _find_image(key: str | int, stems: Mapping[str | int, str], images: ImageFinder) -> Path | DamageError:
    """The image of a result, or the reason why it was not found."""
    with suppress(DamageError):
        return images.by_name(key)
    try:
        return images.by_stem(stems.get(key, str(key)))
    except DamageError as error:
        return error
