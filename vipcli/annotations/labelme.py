"""labelme: a JSON file for each image, with shapes, and with flags for shapes and image."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import AnnotatedImage, RegionCollector, missing_image, read_each
from vipcli.annotations.folders import ImageFinder, files_below, id_of
from vipcli.annotations.parsing import read_json, unreadable
from vipcli.annotations.tracing import outlines
from vipcli.annotations.values import DamageError, corners, describe, numbers, one_line, score
from vipcli.errors import ImageError
from vipcli.geometry import XY, Polygon
from vipcli.marks.regions import Region

_SHAPES = ("rectangle", "circle", "polygon", "line", "linestrip", "point", "points", "mask")


def recognizes(content: object) -> bool:
    """Check whether JSON content has labelme shapes."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[AnnotatedImage]:
    """Read the image of a file, or of all files below a folder; `content` is the file's JSON, if parsed."""
    if source.is_dir():
        return read_each(files_below(source, ".json"), lambda file: _read_image(file, None, images, source))
    return _read_image(source, content, images, source.parent)


def collect_regions(file: Path, content: Mapping[str, Any]) -> RegionCollector:
    """The regions of a file's shapes."""
    collector = RegionCollector(file)
    for position, shape in enumerate(content["shapes"], 1):
        with collector.skipping_damage(f"Shape {position}"):
            if not isinstance(shape, dict):
                raise DamageError("it is not an object")
            flags, group = _set_flags(shape.get("flags")), one_line(shape.get("group_id"))
            for region in _regions(shape, str(position)):
                collector.add(region, flags=flags, group_id=group)
    collector.regions = _merge_groups(collector.regions, collector.details)
    return collector


def _read_image(file: Path, content: Any, images: Path | None, base: Path) -> Iterator[AnnotatedImage]:
    content = read_json(file) if content is None else content
    if not recognizes(content):
        raise unreadable(file, "has no labelme `shapes`.")
    name = content.get("imagePath")
    try:
        path = ImageFinder(images or file.parent).for_file(file, name)
    except DamageError as error:
        yield missing_image(name, "", file, error)
        return
    flags = _set_flags(content.get("flags"))
    id = id_of(path, file, images or base)
    yield from collect_regions(file, content).to_images(str(path), id, {"flags": flags} if flags else None)


def _set_flags(flags: object) -> list[str]:
    """The names of the flags that are set."""
    if not isinstance(flags, dict):
        return []
    return [name for flag, value in islice(flags.items(), 100) if value is True and (name := one_line(flag))]


def _merge_groups(regions: Iterable[Region], details: Mapping[str, Mapping[str, Any]]) -> list[Region]:
    """Merge outlines with the same label and group: the parts of one object, such as a car behind a post."""
    groups: dict[object, list[Region]] = {}
    for region in regions:
        group = details.get(region.id, {}).get("group_id")
        key = (group, region.label) if group and region.polygons else region.id
        groups.setdefault(key, []).append(region)
    return [
        replace(parts[0], polygons=tuple(polygon for part in parts for polygon in part.polygons))
        for parts in groups.values()
    ]


def _regions(shape: Mapping[str, Any], id: str) -> Iterator[Region]:
    label, confidence = one_line(shape.get("label")), score(shape.get("score"))
    kind, points = shape.get("shape_type") or "polygon", _points(shape.get("points"))
    if kind == "points" and len(points) > 1:
        for part, point in enumerate(points, 1):
            yield Region("point", (point,), (), None, label, f"{id}.{part}", confidence)
    else:
        yield Region(*_geometry(kind, points, shape.get("mask")), None, label, id, confidence)


def _geometry(kind: object, points: Polygon, mask: object) -> tuple[str, Polygon, tuple[Polygon, ...]]:
    """The kind of mark for a shape, its points and its outlines."""
    match kind:
        case "rectangle" if len(points) in (2, 4):
            return "box", corners(points), ()
        case "circle" if len(points) == 2:
            (x, y), radius = points[0], math.dist(*points)
            return "ellipse", ((x - radius, y - radius), (x + radius, y + radius)), ()
        case "polygon" | "oriented_rectangle" if len(points) > 2:
            return "contour", (), (points,)
        case "line" | "linestrip" if len(set(points)) > 1:
            return "scribble", points, ()
        case "point" | "points" if len(points) == 1:
            return "point", points, ()
        case "mask" if points:
            return "mask", (), _outlines_of_mask(mask, points[0])
        case str() if kind in _SHAPES:
            raise DamageError(f"its points do not form a {kind}")
        case _:
            raise DamageError(f"its type {describe(kind)} is unknown")


def _points(values: object) -> Polygon:
    if not isinstance(values, list):
        raise DamageError("it has no list of points")
    points = [tuple(numbers(point)) for point in values]
    if any(len(point) != 2 for point in points):
        raise DamageError("one of its points is not two numbers")
    return tuple((x, y) for x, y in points)


def _outlines_of_mask(data: object, corner: XY) -> tuple[Polygon, ...]:
    """The outlines of an embedded mask image whose top left corner is at `corner`."""
    from vipcli.pictures.images import read_picture

    if not isinstance(data, str):
        raise DamageError("its mask image is missing")
    try:
        pixels = read_picture(base64.b64decode(data), "The mask").pixels
    except (ValueError, ImageError) as error:
        raise DamageError("its mask image is damaged") from error
    # In labelme's masks, 1 is white.
    polygons = outlines(pixels.max(axis=2) > 0, *corner)
    if not polygons:
        raise DamageError("its mask image is empty")
    return polygons
