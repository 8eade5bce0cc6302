"""Which part of a picture a terminal shows, and which pixels lie under a cell.

Coordinates of the picture are pixels, those of the terminal are cells, both from the upper left corner; a
pixel or cell covers its coordinate to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from vipcli.geometry import XY

_FINEST = 1 / 8
"""At the highest zoom, a cell is this share of a pixel."""
_MARGIN = 2
"""The cells between the crosshair and the edge of the window, beyond which the picture scrolls."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A place on a picture: a pixel, and the pixels around it that the pointer covers.

    A pointer that reports cells cannot tell the pixels of one cell apart. What has corners covers the
    cells of both corners wholly, so that a drag from the first cell to the last marks the whole picture; a
    point, a tip or a path takes the pixel in the middle of the cell.
    """

    x: int
    y: int
    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def pixel(cls, x: int, y: int) -> Spot:
        """A single pixel."""
        return cls(x, y, x, y, x, y)


@dataclass(frozen=True, slots=True)
class View:
    """A part of a picture in a window of cells."""

    width: int
    height: int
    columns: int
    rows: int
    aspect: float
    """How high a cell is, relative to its width."""
    step: float
    """Pixels that a cell covers across."""
    left: float = 0
    top: float = 0
    """The place on the picture at the window's corner; negative where the picture is smaller."""

    @classmethod
    def whole(cls, width: int, height: int, columns: int, rows: int, aspect: float) -> View:
        """All of a picture, as large as it fits."""
        view = cls(width, height, columns, rows, aspect, step=1)
        return replace(view, step=view._whole_step)._settled()

    @property
    def row_step(self) -> float:
        """Pixels that a cell covers downward."""
        return self.step * self.aspect

    @property
    def zoom(self) -> float:
        """How much larger the picture is than when it is shown whole."""
        return self._whole_step / self.step

    def zoomed(self, direction: int, column: float, row: float) -> View:
        """One step closer (1) or back (-1); what is at this place of the window stays there."""
        steps = _steps(self._whole_step)
        nearest = min(range(len(steps)), key=lambda index: abs(math.log(steps[index] / self.step)))
        step = steps[min(max(nearest + direction, 0), len(steps) - 1)]
        x, y = self.left + column * self.step, self.top + row * self.row_step
        return replace(self, step=step, left=x - column * step, top=y - row * step * self.aspect)._settled()

    def scrolled(self, columns: float, rows: float) -> View:
        """The part that many cells to the right and below."""
        return replace(
            self, left=self.left + columns * self.step, top=self.top + rows * self.row_step
        )._settled()

    def containing(self, x: int, y: int) -> View:
        """This view, scrolled as little as needed to show a pixel away from its edge."""
        column, row = self.cell(x + 0.5, y + 0.5)
        return self.scrolled(_overrun(column, self.columns), _overrun(row, self.rows))

    def resized(self, columns: int, rows: int, aspect: float) -> View:
        """The same part in a window of another size, at the same zoom."""
        x, y = self.left + self.columns * self.step / 2, self.top + self.rows * self.row_step / 2
        zoom, view = self.zoom, View.whole(self.width, self.height, columns, rows, aspect)
        while view.zoom < zoom * 0.99 and (closer := view.zoomed(1, 0, 0)).step < view.step:
            view = closer
        return replace(view, left=x - columns * view.step / 2, top=y - rows * view.row_step / 2)._settled()

    def cell(self, x: float, y: float) -> XY:
        """Where in the window a place of the picture is, in cells."""
        return (x - self.left) / self.step, (y - self.top) / self.row_step

    def spot(self, left: float, top: float, right: float, bottom: float) -> Spot:
        """The pixels under a part of the window, given in cells."""
        x, x1, x2 = _pixels(self.left + left * self.step, self.left + right * self.step, self.width)
        y, y1, y2 = _pixels(self.top + top * self.row_step, self.top + bottom * self.row_step, self.height)
        return Spot(x, y, x1, y1, x2, y2)

    @property
    def _whole_step(self) -> float:
        """The pixels that a cell covers across when the picture is shown whole."""
        return max(self.width / self.columns, self.height / (self.rows * self.aspect))

    def _settled(self) -> View:
        """The same, with no more space around the picture than needed, and moved by whole cells."""
        return replace(
            self,
            left=_settle(self.left, self.width, self.columns, self.step),
            top=_settle(self.top, self.height, self.rows, self.row_step),
        )


def _steps(whole: float) -> list[float]:
    """The pixels per cell at each zoom: in steps of the root of 2 down to 1, then halved."""
    steps = [whole]
    while steps[-1] > 1.5:
        steps.append(max(steps[-1] / math.sqrt(2), 1.0))
    finer = [2.0**-power for power in range(4)]
    return [*steps, *(step for step in finer if step < steps[-1] * 0.9 and step >= _FINEST)]


def _settle(start: float, side: int, cells: int, step: float) -> float:
    spare = cells - side / step
    # Rounding errors must not move a picture that fits exactly.
    if spare > -1e-6:
        return -math.floor(spare / 2 + 1e-6) * step
    last = math.ceil(-spare - 1e-6)
    return min(max(round(start / step), 0), last) * step


def _pixels(low: float, high: float, side: int) -> tuple[int, int, int]:
    """The pixel in the middle, and the first and last whose middle lies between."""
    middle = math.floor((low + high) / 2)
    first, last = math.ceil(low - 0.5), math.ceil(high - 0.5) - 1
    if last < first:
        first = last = middle
    within = [min(max(pixel, 0), side - 1) for pixel in (middle, first, last)]
    return within[0], within[1], within[2]


def _overrun(cell: float, cells: int) -> int:
    """How many cells to scroll so that a cell is off the edge of the window."""
    margin = min(_MARGIN, (cells - 1) // 2)
    if cell < margin:
        return math.floor(cell) - margin
    return max(math.floor(cell) - (cells - 1 - margin), 0)
