"""The part of a marked picture that a window shows, at the window's resolution."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vipcli.geometry import XY
from vipcli.marks.styles import ANCHOR, STROKE
from vipcli.picking.terminal_view import View
from vipcli.pictures.images import Pixels

BACKGROUND = (24, 24, 24)
"""What surrounds a picture that does not fill the window."""
_FULL_STROKE = 0.3
"""A mark that covers this share of a dot is shown at full strength, so that thin strokes survive."""
_STRONGEST = 2.0
"""How much stronger than it is drawn a mark is shown where its stroke is thinner than a dot."""

Dots = tuple[int, int]
"""How many dots a cell has, across and downward: 1 × 2 for half blocks."""


class Levels:
    """A picture at its full size and at halves of it, each computed once, when it is needed."""

    def __init__(self, pixels: Pixels) -> None:
        self._levels = [pixels]

    def near(self, scale: float) -> tuple[Pixels, int]:
        """The picture reduced by a power of two that leaves two pixels or more for each `scale` pixels."""
        number = 0
        while 2 ** (number + 2) <= scale and min(self._level(number).shape[:2]) >= 4:
            number += 1
        return self._level(number), 2**number

    def _level(self, number: int) -> Pixels:
        while number >= len(self._levels):
            larger = self._levels[-1]
            height, width = larger.shape[0] // 2, larger.shape[1] // 2
            # An odd last row or column is left out, so that blocks of pixels stay aligned.
            even = larger[: height * 2, : width * 2]
            self._levels.append(
                np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
            )
        return self._levels[number]


@dataclass(frozen=True, slots=True)
class _Part:
    """A rectangle of dots, and what it shows of the picture."""

    left: int
    top: int
    right: int
    bottom: int
    box: tuple[float, float, float, float]

    @property
    def size(self) -> tuple[int, int]:
        return self.right - self.left, self.bottom - self.top


def compose(picture: Levels, marked: Levels | None, view: View, dots: Dots) -> Pixels:
    """The window's dots, with the marks on the picture; `marked` is None where there are none."""
    frame: Pixels = np.empty((view.rows * dots[1], view.columns * dots[0], 3), np.uint8)
    frame[:] = BACKGROUND
    part = _shown_part(view, dots)
    if part is None:
        return frame
    scale = min(view.step / dots[0], view.row_step / dots[1])
    before, box = _cut(*picture.near(scale), part.box)
    target = frame[part.top : part.bottom, part.left : part.right]
    target[:] = _scaled(before, part.size, box)
    if marked is not None:
        after, _ = _cut(*marked.near(scale), part.box)
        # A stroke of the usual width has this many dots.
        stroke = max(view.width, view.height) / ANCHOR * STROKE / scale
        _lay_marks(target, before, after, box, strength=min(max(1 / stroke, 1), _STRONGEST))
    return frame


def _shown_part(view: View, dots: Dots) -> _Part | None:
    left, right, x1, x2 = _shown_side(view.left, view.step / dots[0], view.width, view.columns * dots[0])
    top, bottom, y1, y2 = _shown_side(view.top, view.row_step / dots[1], view.height, view.rows * dots[1])
    return _Part(left, top, right, bottom, (x1, y1, x2, y2)) if left < right and top < bottom else None


def _shown_side(start: float, step: float, side: int, count: int) -> tuple[int, int, float, float]:
    """The first and last dot that shows the picture along one side, and what they show."""
    first = max(round(-start / step), 0)
    last = min(max(round((side - start) / step), first + 1), count)
    return first, last, max(start, 0.0), min(start + last * step, float(side))


def _cut(
    level: Pixels, factor: int, box: tuple[float, float, float, float]
) -> tuple[Pixels, tuple[float, float, float, float]]:
    """The pixels around a box of the picture, and the box within them."""
    height, width = level.shape[:2]
    x1, y1, x2, y2 = (value / factor for value in box)
    x2, y2 = min(x2, width), min(y2, height)
    x1, y1 = min(x1, x2 - 0.5), min(y1, y2 - 0.5)
    left, top = max(int(x1) - 1, 0), max(int(y1) - 1, 0)
    part = level[top : int(y2) + 2, left : int(x2) + 2]
    return part, (max(x1 - left, 0), max(y1 - top, 0), x2 - left, y2 - top)


def _scaled(
    pixels: NDArray[np.uint8], size: tuple[int, int], box: tuple[float, float, float, float]
) -> Pixels:
    """Pixels at another size: averaged where they become smaller, as blocks where they become larger."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image.resize(size, Image.Resampling.BOX, box=box))


def _lay_marks(
    target: Pixels,
    before: Pixels,
    after: Pixels,
    box: tuple[float, float, float, float],
    strength: float,
) -> None:
    """Lay what the marks change over the part of the picture that is shown."""
    changed = np.any(before != after, axis=2)
    if not changed.any():
        return
    rgba = np.dstack([after, np.where(changed, 255, 0).astype(np.uint8)])
    scaled = _scaled(rgba, (target.shape[1], target.shape[0]), box)
    share = scaled[..., 3:].astype(np.float32) / 255
    # What covers whole dots, such as the inside of a mask, stays as transparent as it is.
    cover = np.minimum(share / _FULL_STROKE, 1) * np.where(share < 1, strength, 1)
    change = cover * (scaled[..., :3].astype(np.float32) - target)
    target[:] = np.clip(np.rint(target + change), 0, 255).astype(np.uint8)


def paint_lines(
    frame: Pixels, view: View, dots: Dots, lines: list[list[XY]], rgb: tuple[int, int, int]
) -> None:
    """Draw lines of the picture's coordinates onto a frame."""
    thickness = max(round(dots[0] / 4), 1)
    for line in lines:
        cells = [view.cell(x, y) for x, y in line]
        # A dot's own middle is what OpenCV calls its coordinate.
        points = [(column * dots[0] - 0.5, row * dots[1] - 0.5) for column, row in cells]
        array = np.clip(np.rint(np.array(points)), -30_000, 30_000).astype(np.int32)
        cv2.polylines(frame, [array], False, rgb, thickness)


def paint_crosshair(frame: Pixels, view: View, dots: Dots, x: int, y: int) -> None:
    """Draw a cross around a pixel, each arm in black or white, whichever stands out."""
    column, row = view.cell(x + 0.5, y + 0.5)
    middle_x, middle_y = int(column * dots[0]), int(row * dots[1])
    thickness, hole, reach = max(dots[0] // 4, 1), max(dots[0] // 2, 1), 3 * dots[0] + 1
    across = slice(max(middle_x - thickness // 2, 0), middle_x - thickness // 2 + thickness)
    down = slice(max(middle_y - thickness // 2, 0), middle_y - thickness // 2 + thickness)
    for before, after in ((-reach + 1, -hole + 1), (hole, reach)):
        for arm in (
            frame[down, max(middle_x + before, 0) : max(middle_x + after, 0)],
            frame[max(middle_y + before, 0) : max(middle_y + after, 0), across],
        ):
            if arm.size:
                arm[:] = 0 if arm.mean() > 128 else 255
