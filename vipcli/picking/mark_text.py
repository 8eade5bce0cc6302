"""The text of a mark that was placed by hand, as one would type it on the command line."""

from __future__ import annotations

from collections.abc import Sequence

from vipcli.errors import MarkError
from vipcli.marks.colors import NAMED, Color
from vipcli.marks.kinds import TypedMark, parse_mark

Pixel = tuple[int, int]
"""A pixel of a picture, by its column and row from 0."""

PATHS = ("scribble", "contour", "mask")
"""The kinds that are drawn along a path."""
RECTANGLES = ("box", "ellipse", "triangle")
"""The kinds that fill a rectangle."""
OUTLINES = ("contour", "mask")
"""The kinds whose path is closed."""


def mark_text(
    kind: str, points: Sequence[Pixel], color: Color | None = None, picture: int | None = None
) -> str:
    """The text of a mark through these points: `2:412,208,502,390:red`."""
    pairs = [f"{x},{y}" for x, y in points]
    place = (" " if kind in PATHS else ",").join(pairs)
    return (
        ("" if picture is None else f"{picture}:")
        + place
        + ("" if color is None else f":{color_text(color)}")
    )


def placed_mark(
    kind: str, points: Sequence[Pixel], color: Color | None = None, picture: int | None = None
) -> TypedMark:
    """The mark through these points; raises MarkError if they are too few."""
    if kind in OUTLINES and len(points) < 3:
        # Two points would be read as the corners of a box.
        raise MarkError(f"A {kind} goes around something, so it takes three points or more.")
    if kind == "scribble" and len(points) < 2:
        raise MarkError("A scribble takes two points or more.")
    return parse_mark(kind, mark_text(kind, points, color, picture))


def as_arguments(mark: TypedMark) -> list[str]:
    """A mark as the command line takes it."""
    option = f"--{mark.kind}"
    # Joined, since the first coordinate may be negative, which looks like an option.
    return [f"{option}={mark.text}"] if mark.text.startswith("-") else [option, mark.text]


def color_text(color: Color) -> str:
    """A color as the command line takes it."""
    return color.name if NAMED.get(color.name) == color.rgb else color.hex
