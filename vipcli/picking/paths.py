"""Freehand paths, reduced to the few points that a mark needs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vipcli.geometry import XY

MOST_POINTS = 64
"""A path with more points than this is hard to read, and its text hard to type again."""


def simplify(
    path: Sequence[XY], tolerance: float, *, closed: bool = False, most: int = MOST_POINTS
) -> tuple[XY, ...]:
    """The few points of a path from which it is never farther than `tolerance`.

    If these are more than `most`, the tolerance grows. This is the method of Ramer, Douglas and Peucker: the
    point farthest from a straight line is kept, and the two halves are looked at in turn.
    """
    points = [point for position, point in enumerate(path) if position == 0 or point != path[position - 1]]
    if closed and len(points) > 1 and points[0] != points[-1]:
        points.append(points[0])
    if len(points) < 3:
        return tuple(points)
    array = np.array(points, dtype=np.float64)
    kept = _kept(array, tolerance)
    while len(kept) - closed > most:
        tolerance = max(tolerance * 1.5, 0.5)
        kept = _kept(array, tolerance)
    chosen = [points[position] for position in kept]
    return tuple(chosen[:-1] if closed and len(chosen) > 1 else chosen)


def _kept(points: NDArray[np.float64], tolerance: float) -> list[int]:
    """The positions of the points that are kept, in order."""
    kept = {0, len(points) - 1}
    waiting = [(0, len(points) - 1)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distances = _distances(points[first + 1 : last], points[first], points[last])
        farthest = int(distances.argmax())
        if distances[farthest] > tolerance:
            middle = first + 1 + farthest
            kept.add(middle)
            waiting += [(first, middle), (middle, last)]
    return sorted(kept)


def _distances(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far points are from a line between two points, which may be the same."""
    along = end - start
    length = float(along @ along)
    share = np.clip((points - start) @ along / length, 0, 1) if length else np.zeros(len(points))
    away = points - start - share[:, None] * along
    distances: NDArray[np.float64] = np.hypot(away[:, 0], away[:, 1])
    return distances
