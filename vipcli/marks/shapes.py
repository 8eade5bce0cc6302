"""Marks for the Python API: `Box(40, 60, 200, 220, color="red")`.

Coordinates are pixels of the upright picture, or percentages as text (`"25%"`). Each function gives the same
mark as the command line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vipcli.marks.kinds import TypedMark, format_number, parse_mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

Coordinate = float | str
Place = tuple[Coordinate, Coordinate]


def Box(  # noqa: N802 - reads as a class, like its kind of mark
    x1: Coordinate,
    y1: Coordinate,
    x2: Coordinate,
    y2: Coordinate,
    *,
    color: str | None = None,
    picture: int | None = None,
) -> TypedMark:
    """A rectangle."""
    return _mark("box", [(x1, y1, x2, y2)], color, picture)


def Ellipse(  # noqa: N802
    x1: Coordinate,
    y1: Coordinate,
    x2: Coordinate,
    y2: Coordinate,
    *,
    color: str | None = None,
    picture: int | None = None,
) -> TypedMark:
    """An ellipse that fills the rectangle."""
    return _mark("ellipse", [(x1, y1, x2, y2)], color, picture)


def Triangle(  # noqa: N802
    x1: Coordinate,
    y1: Coordinate,
    x2: Coordinate,
    y2: Coordinate,
    *,
    color: str | None = None,
    picture: int | None = None,
) -> TypedMark:
    """A triangle inside the rectangle."""
    return _mark("triangle", [(x1, y1, x2, y2)], color, picture)


def Point(  # noqa: N802
    x: Coordinate, y: Coordinate, *, color: str | None = None, picture: int | None = None
) -> TypedMark:
    """A filled point."""
    return _mark("point", [(x, y)], color, picture)


def Arrow(  # noqa: N802
    *coordinates: Coordinate, color: str | None = None, picture: int | None = None
) -> TypedMark:
    """An arrow to a tip (`x, y`), or from a tail to a tip (`x1, y1, x2, y2`)."""
    return _mark("arrow", [coordinates], color, picture)


def Scribble(  # noqa: N802
    points: Iterable[Place], *, color: str | None = None, picture: int | None = None
) -> TypedMark:
    """A stroke through two or more points."""
    return _mark("scribble", points, color, picture)


def Contour(  # noqa: N802
    region: str | NDArray[Any] | Sequence[Place], *, color: str | None = None, picture: int | None = None
) -> TypedMark:
    """The outline of a mask image (its path), of a mask array, or of points."""
    return _region("contour", region, color, picture)


def Mask(  # noqa: N802
    region: str | NDArray[Any] | Sequence[Place], *, color: str | None = None, picture: int | None = None
) -> TypedMark:
    """A filled mask image (its path), mask array, or polygon of points."""
    return _region("mask", region, color, picture)


def _region(
    kind: str, region: str | NDArray[Any] | Sequence[Place], color: str | None, picture: int | None
) -> TypedMark:
    if isinstance(region, str):
        return parse_mark(kind, _text(region, color, picture))
    if isinstance(region, list | tuple):
        return _mark(kind, region, color, picture)
    from vipcli.marks.drawing import mark_from_array

    return mark_from_array(region, kind, color, picture)


def _mark(
    kind: str, points: Iterable[Sequence[Coordinate]], color: str | None, picture: int | None
) -> TypedMark:
    place = " ".join(",".join(_coordinate(value) for value in point) for point in points)
    return parse_mark(kind, _text(place, color, picture))


def _text(place: str, color: str | None, picture: int | None) -> str:
    return ("" if picture is None else f"{picture}:") + place + ("" if color is None else f":{color}")


def _coordinate(value: Coordinate) -> str:
    return value if isinstance(value, str) else format_number(value)
