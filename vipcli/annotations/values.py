"""Validate the numbers, points and labels in annotation files, and describe bad values in messages."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vipcli.geometry import XY, Polygon
from vipcli.marks.kinds import LIMIT


class DamageError(Exception):
    """Why an entry in a file cannot be used, as a clause that ends a sentence."""


def quoted(name: object) -> str:
    """A name as messages quote it: on one line, shortened if long."""
    text = repr(str(name))
    return text if len(text) <= 60 else f"{text[:20]}…{text[-39:]}"


def one_line(value: object) -> str:
    """A label or id as one line of at most 200 printable characters; empty if not a string or number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = " ".join(str(value).split())[:200]
    # An integer with thousands of digits.
    except ValueError:
        return ""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def number(value: object) -> float:
    """Convert a value from JSON, XML or plain text to a finite number, not too large for a coordinate."""
    try:
        result = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise DamageError(f"it has {describe(value)} where a number belongs")
    if abs(result) > LIMIT:
        raise DamageError(f"its coordinate {describe(value)} is far outside any picture")
    return result


def numbers(values: object) -> list[float]:
    """Convert a JSON list to numbers."""
    if not isinstance(values, list):
        raise DamageError(f"it has {describe(values)} where a list of numbers belongs")
    return [number(value) for value in values]


def score(value: object) -> float | None:
    """A detector's confidence; None if the file has none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # The comparison is false for NaN, too.
    return float(value) if abs(value) <= LIMIT else None


def polygon(coordinates: Sequence[float]) -> Polygon:
    """An outline from alternating x and y coordinates."""
    if len(coordinates) % 2:
        raise DamageError("one of its points has only one coordinate")
    if len(coordinates) < 6:
        raise DamageError("its outline has fewer than three points")
    return tuple(zip(coordinates[::2], coordinates[1::2], strict=True))


def corners(points: Iterable[XY]) -> tuple[XY, XY]:
    """The top left and bottom right corners of the bounding box of points."""
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys)), (max(xs), max(ys))


def describe(value: object) -> str:
    """A value from a file as messages describe it, whatever its type and size."""
    match value:
        case str():
            return quoted(value)
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case int() | float():
            # Formatting an integer with thousands of digits would fail.
            return "a huge number" if abs(value) >= 1e20 else f"{value:g}"
        case list():
            return "a list"
        case _:
            return "an object"
