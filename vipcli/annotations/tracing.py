"""Trace the outlines of masks stored in annotation files, as small images or run lengths."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from vipcli.annotations.values import DamageError, numbers
from vipcli.geometry import Bounds, Polygon
from vipcli.marks.regions import bounds_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_PARTS = 1000
"""How many parts of one region are checked for overlaps; real objects have far fewer."""
_MAX_EDGES = 2_000_000
"""The limit on edges between pixels inside and outside a mask. A few kilobytes of PNG noise have hundreds of
times as many, and their outlines would exhaust memory."""


def outlines(mask: NDArray[np.bool_], left: float, top: float) -> tuple[Polygon, ...]:
    """The outlines of a mask whose top left pixel is at (left, top)."""
    from vipcli.marks.drawing import trace

    if (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum() > _MAX_EDGES:
        raise DamageError("its mask is too noisy to outline")
    return tuple(tuple((x + left, y + top) for x, y in outline) for outline in trace(mask))


def merge_overlapping(parts: tuple[Polygon, ...]) -> tuple[Polygon, ...]:
    """Merge the overlapping parts of a region, so that its outlines do not cross.

    Drawn as they are, overlaps would become holes.
    """
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    boxes = [bounds_of(part) for part in parts]
    if not any(_overlap(first, second) for first, second in combinations(boxes[:_MAX_PARTS], 2)):
        return parts
    x1, y1, x2, y2 = bounds_of([point for part in parts for point in part])
    if (x2 - x1 + 2) * (y2 - y1 + 2) > DEFAULT_MAX_PIXELS:
        raise DamageError("its outlines are larger than the largest picture")
    from vipcli.marks.drawing import unite

    return unite(parts)


def _overlap(a: Bounds, b: Bounds) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def outlines_of_run_lengths(size: object, counts: object) -> tuple[Polygon, ...]:
    """The outlines of a mask given as COCO run lengths, column by column.

    pycocotools decodes such masks too, but does not expose the lengths, which must be validated before a mask
    is allocated. The tests compare against it.
    """
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    sides = numbers(size)
    if len(sides) != 2 or any(side < 1 or side != int(side) for side in sides):
        raise DamageError("the size of its run-length mask is not two whole numbers")
    height, width = map(int, sides)
    if width * height > DEFAULT_MAX_PIXELS:
        raise DamageError(f"its run-length mask is {width} × {height} pixels, which is too many")
    lengths = _lengths(counts)
    if min(lengths, default=-1) < 0 or sum(lengths) != width * height:
        raise DamageError(f"its run lengths do not add up to {width} × {height} pixels")
    return _outlines_of_lengths(lengths, height)


def _outlines_of_lengths(lengths: Sequence[int], height: int) -> tuple[Polygon, ...]:
    import numpy as np

    ends = np.cumsum(lengths)
    white = 2 * np.flatnonzero(lengths[1::2]) + 1
    if not len(white):
        raise DamageError("its run-length mask is empty")
    # Decode only the columns that contain some of the mask.
    left, right = int(ends[white[0] - 1]) // height, -(-int(ends[white[-1]]) // height)
    lengths_within = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    mask = np.repeat(np.arange(len(ends)) % 2 == 1, lengths_within).reshape(-1, height).T
    return outlines(mask, left, 0)


def _lengths(counts: object) -> list[int]:
    match counts:
        case str():
            return _decode_lengths(counts)
        case list() if all(type(count) is int for count in counts):
            return counts
        case list():
            raise DamageError("its run lengths are not whole numbers")
        case _:
            raise DamageError("its run lengths are neither a list nor a string")


def _decode_lengths(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    Each character has five bits. From the fourth on, each length is relative to the one two before it.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise DamageError("its run lengths are damaged")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise DamageError("its run lengths are truncated")
    return lengths
