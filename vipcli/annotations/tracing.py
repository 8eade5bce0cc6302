"""Outlines of masks that stand in files: as small images, or as run lengths."""

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

_MOST_PARTS = 1000
"""So many parts of one region are looked at for whether they overlap; no thing is in more pieces."""
_MOST_EDGES = 2_000_000
"""Between pixels within a mask and others. Noise has hundreds of times as many, in a few kilobytes of PNG,
and its outlines would fill any memory."""


def outlines(mask: NDArray[np.bool_], left: float, top: float) -> tuple[Polygon, ...]:
    """The outlines of what is true in a mask whose first pixel lies there."""
    from vipcli.marks.drawing import trace

    if (mask[1:] != mask[:-1]).sum() + (mask[:, 1:] != mask[:, :-1]).sum() > _MOST_EDGES:
        raise DamageError("its mask is too ragged to have an outline")
    return tuple(tuple((x + left, y + top) for x, y in outline) for outline in trace(mask))


def united(parts: tuple[Polygon, ...]) -> tuple[Polygon, ...]:
    """The parts of one region as outlines that do not cross: where parts overlap, they add up.

    Drawn as they are, they would leave a hole there.
    """
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    frames = [bounds_of(part) for part in parts]
    if not any(_overlap(one, other) for one, other in combinations(frames[:_MOST_PARTS], 2)):
        return parts
    x1, y1, x2, y2 = bounds_of([point for part in parts for point in part])
    if (x2 - x1 + 2) * (y2 - y1 + 2) > DEFAULT_MAX_PIXELS:
        raise DamageError("its outlines are larger than any picture")
    from vipcli.marks.drawing import unite

    return unite(parts)


def _overlap(one: Bounds, other: Bounds) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def outlines_of_runs(size: object, counts: object) -> tuple[Polygon, ...]:
    """The outlines of a mask given by COCO's run lengths, which go down its columns.

    pycocotools makes such masks too, but never tells the lengths, which must be sound before anything is
    made of them; and with them at hand, the mask is a line of numpy. The tests compare with it.
    """
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    sides = numbers(size)
    if len(sides) != 2 or any(side < 1 or side != int(side) for side in sides):
        raise DamageError("the size of its run lengths is not two whole numbers")
    height, width = map(int, sides)
    if width * height > DEFAULT_MAX_PIXELS:
        raise DamageError(f"its run lengths are for {width} × {height} pixels, which is too many")
    lengths = _lengths(counts)
    if min(lengths, default=-1) < 0 or sum(lengths) != width * height:
        raise DamageError(f"its run lengths do not fill {width} × {height} pixels")
    return _outlines_of_lengths(lengths, height)


def _outlines_of_lengths(lengths: Sequence[int], height: int) -> tuple[Polygon, ...]:
    import numpy as np

    ends = np.cumsum(lengths)
    white = 2 * np.flatnonzero(lengths[1::2]) + 1
    if not len(white):
        raise DamageError("its run lengths mark nothing")
    # Only the columns that have some white are laid out.
    left, right = int(ends[white[0] - 1]) // height, -(-int(ends[white[-1]]) // height)
    within = np.diff(ends.clip(left * height, right * height), prepend=left * height)
    mask = np.repeat(np.arange(len(ends)) % 2 == 1, within).reshape(-1, height).T
    return outlines(mask, left, 0)


def _lengths(counts: object) -> list[int]:
    match counts:
        case str():
            return _unpacked(counts)
        case list() if all(type(count) is int for count in counts):
            return counts
        case list():
            raise DamageError("its run lengths are not whole numbers")
        case _:
            raise DamageError("its run lengths are neither a list nor a text")


def _unpacked(text: str) -> list[int]:
    """Run lengths from COCO's text for them: five bits a letter, each length less that of two before."""
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
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
        raise DamageError("its run lengths are cut off")
    return lengths
