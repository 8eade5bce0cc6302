"""A mark in progress: where it has been set, and how it looks so far."""

from __future__ import annotations

import math
from itertools import pairwise

from vipcli.geometry import XY
from vipcli.picking.mark_text import OUTLINES, PATHS, RECTANGLES, Pixel
from vipcli.picking.paths import simplify
from vipcli.picking.terminal_view import Spot

_WING = math.radians(30)


class Sketch:
    """A mark that is being drawn.

    A mark with corners takes two spots, an arrow its tail and its tip or its tip alone, a path as many as
    it likes.
    """

    def __init__(self, kind: str, start: Spot) -> None:
        self.kind = kind
        self.spots = [start]
        self.by_hand = False
        """Whether some of a path was drawn with the mouse, so that it has more points than it needs."""

    def add(self, spot: Spot) -> None:
        """Set one more spot."""
        if spot != self.spots[-1]:
            self.spots.append(spot)

    def points(self, tolerance: float = 0) -> list[Pixel]:
        """The points of the mark as it is; a path that was drawn by hand is simplified."""
        if self.kind in RECTANGLES:
            left, top, right, bottom = self._frame(self.spots)
            return [(left, top), (right, bottom)]
        points = [(spot.x, spot.y) for spot in self.spots]
        if self.kind not in PATHS or not self.by_hand:
            return points
        simple = simplify(points, tolerance, closed=self.kind in OUTLINES)
        return [(int(x), int(y)) for x, y in simple]

    def lines(self, end: Spot | None) -> list[list[XY]]:
        """Its outline on the picture, if it ended at this spot."""
        spots = self.spots if end is None else [*self.spots, end]
        middles = [(spot.x + 0.5, spot.y + 0.5) for spot in spots]
        match self.kind:
            case "box":
                left, top, right, bottom = self._edges(spots)
                corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
                return [corners]
            case "ellipse":
                return [_ellipse(*self._edges(spots))]
            case "triangle":
                left, top, right, bottom = self._edges(spots)
                return [
                    [((left + right) / 2, top), (right, bottom), (left, bottom), ((left + right) / 2, top)]
                ]
            case "arrow":
                return _arrow(middles[0], middles[-1])
            case "contour" | "mask":
                return [[*middles, middles[0]]]
            case _:
                return [middles]

    def size(self, end: Spot | None) -> tuple[int, int]:
        """Its width and height in pixels, if it ended at this spot."""
        left, top, right, bottom = self._frame(self.spots if end is None else [*self.spots, end])
        return right - left + 1, bottom - top + 1

    def _frame(self, spots: list[Spot]) -> tuple[int, int, int, int]:
        return (
            min(spot.left for spot in spots),
            min(spot.top for spot in spots),
            max(spot.right for spot in spots),
            max(spot.bottom for spot in spots),
        )

    def _edges(self, spots: list[Spot]) -> tuple[float, float, float, float]:
        left, top, right, bottom = self._frame(spots)
        return left, top, right + 1, bottom + 1


def _ellipse(left: float, top: float, right: float, bottom: float) -> list[XY]:
    angles = [math.tau * step / 64 for step in range(65)]
    x, y, across, down = (left + right) / 2, (top + bottom) / 2, (right - left) / 2, (bottom - top) / 2
    return [(x + across * math.cos(angle), y + down * math.sin(angle)) for angle in angles]


def _arrow(tail: XY, tip: XY) -> list[list[XY]]:
    angle, head = math.atan2(tail[1] - tip[1], tail[0] - tip[0]), math.dist(tail, tip) / 4
    wings = [
        (tip[0] + head * math.cos(angle + turn), tip[1] + head * math.sin(angle + turn))
        for turn in (_WING, -_WING)
    ]
    return [list(line) for line in pairwise([tail, tip, *wings[:1]])] + [[tip, wings[1]]]
