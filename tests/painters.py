"""Reference drawing of marks as in ViP-LLaVA's training: Pillow without anti-aliasing, each on its own layer.

Pillow truncates coordinates, so they are rounded to whole pixels first: tests compare shapes, not rounding.
Lines are drawn segment by segment, as in that training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vipcli.geometry import XY
from vipcli.marks.kinds import (
    ArrowMark,
    BoxMark,
    ContourMark,
    EllipseMark,
    Mark,
    MaskMark,
    PointMark,
    ScribbleMark,
    TriangleMark,
)
from vipcli.marks.styles import Style

Pixels = NDArray[np.uint8]
Stencil = NDArray[np.bool_]


def stencil(mark: Mark, style: Style, width: int, height: int) -> Stencil:
    """The pixels that a mark covers."""
    layer = Image.new("L", (width, height))
    paint(ImageDraw.Draw(layer), mark, style, 255)
    return np.asarray(layer) > 0


def composite(image: Pixels, painted: Stencil, rgb: tuple[int, int, int], alpha: int) -> Pixels:
    """Blend a color over the painted pixels with Pillow."""
    layer = np.zeros((*painted.shape, 4), np.uint8)
    layer[painted] = (*rgb, alpha)
    below = Image.fromarray(image).convert("RGBA")
    return np.asarray(Image.alpha_composite(below, Image.fromarray(layer)).convert("RGB"))


def paint(pen: ImageDraw.ImageDraw, mark: Mark, style: Style, ink: Any) -> None:
    """Draw a mark with a pen, in the color `ink`."""
    match mark:
        case BoxMark():
            pen.rectangle(_rounded(mark.points), outline=ink, width=style.stroke)
        case EllipseMark():
            pen.ellipse(_rounded(_scaled_frame(mark, style.scale)), outline=ink, width=style.stroke)
        case TriangleMark():
            first, second, third = _rounded(_corners(mark, style))
            # Continue past the first corner, so that it is joined like the others.
            pen.line([first, second, third, first, second], fill=ink, width=style.stroke, joint="curve")
        case PointMark():
            across, down = style.radii
            frame = [(mark.x - across, mark.y - down), (mark.x + across, mark.y + down)]
            pen.ellipse(_rounded(frame), fill=ink, outline=ink)
        case ArrowMark():
            _arrow(pen, mark, style, ink)
        case ScribbleMark():
            _segments(pen, curve(mark.path, 8), style.stroke, ink)
        case ContourMark():
            reach = (style.stroke - 1) // 2
            for polygon in mark.polygons:
                for across in range(-reach, reach + 1):
                    for down in range(-reach, reach + 1):
                        pen.polygon([(x + across, y + down) for x, y in _rounded(polygon)], outline=ink)
        case MaskMark():
            for polygon in mark.polygons:
                pen.polygon(_rounded(polygon), fill=ink)


def curve(path: Sequence[XY], spacing: float) -> list[XY]:
    """A smooth line through every point of a path, as points about `spacing` pixels apart."""
    if len(path) == 2:
        return list(path)
    # The slope at a point is that of the parabola through it and its neighbors, parametrized by distance.
    spans = list(pairwise(path))
    lengths = [math.dist(start, end) for start, end in spans]
    straight = [
        ((xb - xa) / length, (yb - ya) / length)
        for ((xa, ya), (xb, yb)), length in zip(spans, lengths, strict=True)
    ]
    slopes = [straight[0]]
    for (xa, ya), (xb, yb), before, after in zip(straight, straight[1:], lengths, lengths[1:], strict=False):
        share = after / (before + after)
        slopes.append((xa * share + xb * (1 - share), ya * share + yb * (1 - share)))
    slopes.append(straight[-1])
    points = []
    for index, (start, end) in enumerate(pairwise(path)):
        length = math.dist(start, end)
        steps = max(round(length / spacing), 2)
        for step in range(steps):
            t = step / steps
            # The four cubic Hermite polynomials.
            at_start, leave = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t
            at_end, arrive = 3 * t**2 - 2 * t**3, t**3 - t**2
            x, y = (
                at_start * a + leave * length * m + at_end * b + arrive * length * n
                for a, m, b, n in zip(start, slopes[index], end, slopes[index + 1], strict=True)
            )
            points.append((x, y))
    return [*points, path[-1]]


def _arrow(pen: ImageDraw.ImageDraw, mark: ArrowMark, style: Style, ink: Any) -> None:
    smallest, largest = style.head_sizes
    if mark.tail is None:
        assert style.angle is not None, "an arrow without a tail needs an angle"
        head = max(style.head * style.length, smallest)
        tail = _toward(mark.tip, style.angle, style.length - head)
        angle = style.angle
    else:
        tail = mark.tail
        angle = math.atan2(tail[1] - mark.tip[1], tail[0] - mark.tip[0])
        # The head's share refers to the whole arrow, of which the shaft is only the rest.
        head = math.dist(tail, mark.tip) * style.head / (1 - style.head)
        head = min(max(head, smallest), largest)
    middle = [(mark.tip[axis] + tail[axis]) / 2 + style.bend[axis] for axis in (0, 1)]
    shaft = [mark.tip, (middle[0], middle[1]), tail] if any(style.bend) else [mark.tip, tail]
    wings = [_toward(mark.tip, angle + math.radians(turn), head) for turn in (60, -60)]
    _segments(pen, shaft, style.stroke, ink)
    if style.open_head:
        _segments(pen, [wings[0], mark.tip, wings[1]], style.stroke, ink)
    else:
        pen.polygon(_rounded([wings[0], mark.tip, wings[1]]), fill=ink)


def _segments(pen: ImageDraw.ImageDraw, path: Sequence[XY], stroke: int, ink: Any) -> None:
    for start, end in pairwise(_rounded(path)):
        pen.line([start, end], fill=ink, width=stroke)


def _toward(start: XY, angle: float, distance: float) -> XY:
    return start[0] + distance * math.cos(angle), start[1] + distance * math.sin(angle)


def _corners(mark: TriangleMark, style: Style) -> list[XY]:
    wide, high = mark.x2 - mark.x1, mark.y2 - mark.y1
    return [(mark.x1 + across * wide, mark.y1 + down * high) for across, down in style.corners]


def _scaled_frame(mark: EllipseMark, scale: float) -> list[XY]:
    x, y = (mark.x1 + mark.x2) / 2, (mark.y1 + mark.y2) / 2
    across, down = (mark.x2 - mark.x1) / 2 * scale, (mark.y2 - mark.y1) / 2 * scale
    return [(x - across, y - down), (x + across, y + down)]


def _rounded(points: Iterable[XY]) -> list[tuple[int, int]]:
    return [(math.floor(x + 0.5), math.floor(y + 0.5)) for x, y in points]
