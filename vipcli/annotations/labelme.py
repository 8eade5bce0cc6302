"""labelme: a JSON file for each image, with shapes, and flags of theirs and its own."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from vipcli.annotations.annotated import Annotated, Gathered, missing, read_each
from vipcli.annotations.folders import Images, files_below, id_of
from vipcli.annotations.parsing import read_json, unread
from vipcli.annotations.tracing import outlines
from vipcli.annotations.values import DamageError, corners, numbers, score, told, word
from vipcli.errors import ImageError
from vipcli.geometry import XY, Polygon
from vipcli.marks.regions import Region

_SHAPES = ("rectangle", "circle", "polygon", "line", "linestrip", "point", "points", "mask")


def fits(content: object) -> bool:
    """Whether JSON has shapes as labelme has them."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(source: Path, images: Path | None, content: Any = None) -> Iterator[Annotated]:
    """The image of a file, whose content may be known, or the images of the files below a folder."""
    if source.is_dir():
        return read_each(files_below(source, ".json"), lambda file: _image(file, None, images, source))
    return _image(source, content, images, source.parent)


def gather(file: Path, content: Mapping[str, Any]) -> Gathered:
    """The regions of a file's shapes."""
    gathered = Gathered(file)
    for place, shape in enumerate(content["shapes"], 1):
        with gathered.sparing(f"Shape {place}"):
            if not isinstance(shape, dict):
                raise DamageError("it is no object")
            flags, group = _flags(shape.get("flags")), word(shape.get("group_id"))
            for region in _regions(shape, str(place)):
                gathered.add(region, flags=flags, group_id=group)
    gathered.regions = _grouped(gathered.regions, gathered.told)
    return gathered


def _image(file: Path, content: Any, images: Path | None, base: Path) -> Iterator[Annotated]:
    content = read_json(file) if content is None else content
    if not fits(content):
        raise unread(file, "has no `shapes` as labelme has them.")
    name = content.get("imagePath")
    try:
        path = Images(images or file.parent).beside(file, name)
    except DamageError as why:
        yield missing(name, "", file, why)
        return
    flags = _flags(content.get("flags"))
    id = id_of(path, file, images or base)
    yield from gather(file, content).items(str(path), id, {"flags": flags} if flags else None)


def _flags(flags: object) -> list[str]:
    """The names of the flags that are set."""
    if not isinstance(flags, dict):
        return []
    return [name for flag, value in islice(flags.items(), 100) if value is True and (name := word(flag))]


def _grouped(regions: Iterable[Region], facts: Mapping[str, Mapping[str, Any]]) -> list[Region]:
    """Outlines of one label in one group are parts of one thing, as of a car behind a post."""
    groups: dict[object, list[Region]] = {}
    for region in regions:
        group = facts.get(region.id, {}).get("group_id")
        key = (group, region.label) if group and region.polygons else region.id
        groups.setdefault(key, []).append(region)
    return [
        replace(parts[0], polygons=tuple(polygon for part in parts for polygon in part.polygons))
        for parts in groups.values()
    ]


def _regions(shape: Mapping[str, Any], id: str) -> Iterator[Region]:
    label, sure = word(shape.get("label")), score(shape.get("score"))
    kind, points = shape.get("shape_type") or "polygon", _points(shape.get("points"))
    if kind == "points" and len(points) > 1:
        for part, point in enumerate(points, 1):
            yield Region("point", (point,), (), None, label, f"{id}.{part}", sure)
    else:
        yield Region(*_place(kind, points, shape.get("mask")), None, label, id, sure)


def _place(kind: object, points: Polygon, mask: object) -> tuple[str, Polygon, tuple[Polygon, ...]]:
    """The kind of mark that a shape becomes, its points and its outlines."""
    match kind:
        case "rectangle" if len(points) in (2, 4):
            return "box", corners(points), ()
        case "circle" if len(points) == 2:
            (x, y), rim = points[0], math.dist(*points)
            return "ellipse", ((x - rim, y - rim), (x + rim, y + rim)), ()
        case "polygon" | "oriented_rectangle" if len(points) > 2:
            return "contour", (), (points,)
        case "line" | "linestrip" if len(set(points)) > 1:
            return "scribble", points, ()
        case "point" | "points" if len(points) == 1:
            return "point", points, ()
        case "mask" if points:
            return "mask", (), _masked(mask, points[0])
        case str() if kind in _SHAPES:
            raise DamageError(f"its points do not make a {kind}")
        case _:
            raise DamageError(f"its type is {told(kind)}, which is not known")


def _points(values: object) -> Polygon:
    if not isinstance(values, list):
        raise DamageError("it has no list of points")
    points = [tuple(numbers(point)) for point in values]
    if any(len(point) != 2 for point in points):
        raise DamageError("one of its points is not two numbers")
    return tuple((x, y) for x, y in points)


def _masked(data: object, corner: XY) -> tuple[Polygon, ...]:
    """The outlines of a small mask image within the file, laid with its corner there."""
    from vipcli.pictures.images import read_picture

    if not isinstance(data, str):
        raise DamageError("its mask image is missing")
    try:
        pixels = read_picture(base64.b64decode(data), "The mask").pixels
    except (ValueError, ImageError) as error:
        raise DamageError("its mask image is damaged") from error
    # labelme writes 1 for white.
    polygons = outlines(pixels.max(axis=2) > 0, *corner)
    if not polygons:
        raise DamageError("its mask image marks nothing")
    return polygons
