"""Pictures without what is marked on them."""

from __future__ import annotations

from collections.abc import Sequence

from vipcli.geometry import Bounds
from vipcli.marks.drawing import extent
from vipcli.marks.kinds import ArrowMark, ContourMark, EllipseMark, Mark, MaskMark, PointMark
from vipcli.marks.styles import Style
from vipcli.pictures.images import Pixels

_REACH = 0.1
"""How far what a point or an arrow's tip marks is taken to reach, as a share of the picture's longer side."""


def covered(pixels: Pixels, marks: Sequence[Mark], styles: Sequence[Style]) -> Pixels:
    """A copy of a picture in which all that the marks mark is black.

    A box or a triangle marks its rectangle, a scribble the rectangle around it, an ellipse, a contour or a
    mask its inside, and a point or an arrow what is around the point or the tip.
    """
    copy = pixels.copy()
    for mark, style in zip(marks, styles, strict=True):
        _cover(copy, mark, style)
    return copy


def _cover(pixels: Pixels, mark: Mark, style: Style) -> None:
    import cv2
    import numpy as np

    height, width = pixels.shape[:2]
    black = (0, 0, 0)
    match mark:
        case ContourMark() | MaskMark():
            outlines = [np.rint(polygon).astype(np.int32) for polygon in mark.polygons]
            cv2.fillPoly(pixels, outlines, black)
        case EllipseMark():
            x1, y1, x2, y2 = extent(mark, style, width, height)
            middle, axes = ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - x1, y2 - y1)
            cv2.ellipse(pixels, (middle, axes, 0), black, -1)
        case PointMark() | ArrowMark():
            _blacken(pixels, _around(mark.tip if isinstance(mark, ArrowMark) else (mark.x, mark.y), pixels))
        case _:
            _blacken(pixels, extent(mark, style, width, height))


def _around(place: tuple[float, float], pixels: Pixels) -> Bounds:
    reach = _REACH * max(pixels.shape[:2])
    x, y = place
    return x - reach, y - reach, x + reach, y + reach


def _blacken(pixels: Pixels, bounds: Bounds) -> None:
    height, width = pixels.shape[:2]
    left, top = (max(int(edge), 0) for edge in bounds[:2])
    right, bottom = min(round(bounds[2]) + 1, width), min(round(bounds[3]) + 1, height)
    pixels[top : max(bottom, top), left : max(right, left)] = 0
