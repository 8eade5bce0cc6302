"""Numbers, points and words out of files, which may hold anything in their place, and how that is told."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from vipcli.geometry import XY, Polygon
from vipcli.marks.kinds import LIMIT


class DamageError(Exception):
    """Why something in a file cannot be used, as the end of a sentence."""


def shown(name: object) -> str:
    """How a message names a file or what stands in one: on one line, and not endlessly."""
    text = repr(str(name))
    return text if len(text) <= 60 else f"{text[:20]}…{text[-39:]}"


def word(value: object) -> str:
    """A label or an id on one line, without what would play tricks on a terminal."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        text = " ".join(str(value).split())[:200]
    # Whole numbers of thousands of digits.
    except ValueError:
        return ""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def number(value: object) -> float:
    """A number as JSON, XML and plain text have it."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise DamageError(f"it has {told(value)} where a number belongs")
    if abs(found) > LIMIT:
        raise DamageError(f"its {told(value)} lies far outside any picture")
    return found


def numbers(values: object) -> list[float]:
    """A list of numbers as JSON has it."""
    if not isinstance(values, list):
        raise DamageError(f"it has {told(values)} where a list of numbers belongs")
    return [number(value) for value in values]


def score(value: object) -> float | None:
    """How sure a model was; None where a file does not say."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # What is not a number is not within it, either.
    return float(value) if abs(value) <= LIMIT else None


def polygon(coordinates: Sequence[float]) -> Polygon:
    """An outline, from x and y in turn."""
    if len(coordinates) % 2:
        raise DamageError("one of its points has only one coordinate")
    if len(coordinates) < 6:
        raise DamageError("its outline has fewer than three points")
    return tuple(zip(coordinates[::2], coordinates[1::2], strict=True))


def corners(points: Iterable[XY]) -> tuple[XY, XY]:
    """The first and last corner of the upright rectangle around points."""
    xs, ys = zip(*points, strict=True)
    return (min(xs), min(ys)), (max(xs), max(ys))


def told(value: object) -> str:
    """How a message names a value out of a file, which may be anything and of any size."""
    match value:
        case str():
            return shown(value)
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
