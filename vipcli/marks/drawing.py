"""Draw marks with the geometry that the checkpoints were trained on.

Pictures are RGB, uint8, height × width × 3. Drawing returns a new picture and changes only the pixels under
a mark. OpenCV's own strokes are centered on the path, have round ends, and are a pixel too wide, so every
outline here is filled as a shape of its exact extent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.errors import MarkError
from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.colors import parse_color
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
    TypedMark,
)
from vipcli.marks.styles import Style

if TYPE_CHECKING:
    from vipcli.pictures.images import Pixels

# OpenCV takes sub-pixel coordinates as integers with this many fraction bits.
_SHIFT = 4
_ONE = 1 << _SHIFT
# A stencil is blended in square blocks of this side, small enough to skip what lies inside an outline.
_BLOCK = 32
# A joint that turns less than this is mitered if its segments are long enough; a sharper one is rounded.
_GENTLE = math.radians(45)
_WING = math.radians(60)


def draw(image: Pixels, marks: Sequence[Mark], styles: Sequence[Style]) -> Pixels:
    """A copy of `image` with the marks painted on it in order."""
    canvas = image.copy()
    for mark, style in zip(marks, styles, strict=True):
        _paint(canvas, mark, style)
    return canvas


def extent(mark: Mark, style: Style, width: int, height: int) -> Bounds:
    """The bounding box of a mark as drawn, including parts beyond the picture."""
    x1, y1, x2, y2 = _drawn_bounds(mark, style, width, height)
    match mark:
        case PointMark():
            reach_x, reach_y = style.radii
        case BoxMark() | EllipseMark() | MaskMark():
            reach_x = reach_y = 0.0
        case _:
            reach_x = reach_y = style.stroke / 2
    return x1 - reach_x, y1 - reach_y, x2 + reach_x, y2 + reach_y


def paints(mark: Mark, style: Style, width: int, height: int) -> bool:
    """Whether any part of a mark as drawn lies on a picture of this size."""
    if isinstance(mark, BoxMark):
        return True
    stencil = _stencil(mark, style, width, height)
    return stencil is not None and bool(stencil.cover[: height - stencil.top].any())


def trace(mask: NDArray[np.bool_]) -> tuple[Polygon, ...]:
    """Outline the true parts of a mask and their holes; filling the outlines gives the same mask."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    return tuple(tuple((float(x), float(y)) for x, y in outline[:, 0]) for outline in outlines)


def mark_from_array(
    array: Any, kind: str = "mask", color: str | None = None, picture: int | None = None
) -> TypedMark:
    """Mark what is true, or not zero, in an array of the picture's height and width."""
    mask = np.asarray(array)
    if mask.ndim == 0 or mask.dtype == object:
        raise MarkError(
            f"{type(array).__name__} is not a mark.",
            "Give a mark's value, its text such as 'box 40,60,200,220', or a mask as an array.",
        )
    if mask.ndim != 2:
        raise MarkError(
            f"An array of shape {mask.shape} is not a mask.",
            "Give height × width, the same as the picture's.",
        )
    if not mask.any():
        raise MarkError("The mask marks nothing: it is zero everywhere.")
    height, width = mask.shape
    return TypedMark(
        kind,
        f"array of {width} × {height}",
        polygons=trace(mask != 0),
        size=(width, height),
        color=None if color is None else parse_color(color),
        picture=picture,
    )


def unite(polygons: Sequence[Polygon]) -> tuple[Polygon, ...]:
    """The outlines, to the pixel, of the union of polygons."""
    parts = [np.rint(np.asarray(polygon)).astype(np.int64) for polygon in polygons]
    least, most = np.min([p.min(0) for p in parts], 0), np.max([p.max(0) for p in parts], 0)
    width, height = (int(side) + 1 for side in most - least)
    canvas = np.zeros((height, width), np.uint8)
    for part in parts:
        cv2.fillPoly(canvas, [(part - least).astype(np.int32)], 1)
    left, top = (int(edge) for edge in least)
    return tuple(tuple((x + left, y + top) for x, y in outline) for outline in trace(canvas > 0))


def _paint(canvas: Pixels, mark: Mark, style: Style) -> None:
    blend = _blending(mark.color.rgb, style.alpha)
    if isinstance(mark, BoxMark):
        for area in _sides(mark, style.stroke, canvas):
            area[:] = cv2.transform(area.copy(), blend)
        return
    stencil = _stencil(mark, style, canvas.shape[1], canvas.shape[0])
    if stencil is not None:
        _blend(canvas, stencil, blend)


def _blending(rgb: tuple[int, int, int], alpha: int) -> NDArray[np.float32]:
    """The matrix that blends a pixel with a color; OpenCV rounds its result once."""
    below, above = (255 - alpha) / 255, alpha / 255
    return np.array(
        [[below * (row == column) for column in range(3)] + [rgb[row] * above] for row in range(3)],
        np.float32,
    )


def _sides(box: BoxMark, stroke: int, canvas: Pixels) -> Iterator[Pixels]:
    """The four sides of a rectangle's outline, which do not overlap."""
    height, width = canvas.shape[:2]
    left, top = max(int(box.x1), 0), max(int(box.y1), 0)
    right, bottom = min(math.floor(box.x2) + 1, width), min(math.floor(box.y2) + 1, height)
    if left >= right or top >= bottom:
        return
    upper, inner_left = min(top + stroke, bottom), min(left + stroke, right)
    lower, inner_right = max(bottom - stroke, upper), max(right - stroke, inner_left)
    for area in (
        canvas[top:upper, left:right],
        canvas[lower:bottom, left:right],
        canvas[upper:lower, left:inner_left],
        canvas[upper:lower, inner_right:right],
    ):
        if area.size:
            yield area


@dataclass(frozen=True, slots=True)
class _Stencil:
    """The pixels that a mark covers: non-zero in `cover`, whose corner lies at (left, top) of the picture.

    It is a whole number of blocks high, so it may extend below the picture.
    """

    cover: Pixels
    left: int
    top: int

    @classmethod
    def around(cls, bounds: Bounds, margin: float, width: int, height: int) -> _Stencil | None:
        x1, y1, x2, y2 = bounds
        left, top = max(math.floor(x1 - margin), 0), max(math.floor(y1 - margin), 0)
        right, bottom = min(math.ceil(x2 + margin) + 1, width), min(math.ceil(y2 + margin) + 1, height)
        if left >= right or top >= bottom:
            return None
        height = math.ceil((bottom - top) / _BLOCK) * _BLOCK
        return cls(np.zeros((height, right - left), np.uint8), left, top)

    def _local(self, points: Sequence[XY] | NDArray[np.float64]) -> NDArray[np.int32]:
        return np.rint((np.asarray(points) - (self.left, self.top)) * _ONE).astype(np.int32)

    def fill(self, polygons: Sequence[Polygon]) -> None:
        """Fill polygons; a polygon inside another is a hole."""
        # OpenCV paints the array's edge even for a polygon wholly outside it, so add a border and cut it off.
        wider = cv2.copyMakeBorder(self.cover, 1, 1, 1, 1, cv2.BORDER_CONSTANT)
        cv2.fillPoly(wider, [self._local(polygon) + _ONE for polygon in polygons], 255, shift=_SHIFT)
        self.cover[:] = wider[1:-1, 1:-1]

    def ellipse(self, center: XY, radii: XY, value: int = 255) -> None:
        x, y = self._local([center])[0]
        axes = (round(radii[0] * _ONE), round(radii[1] * _ONE))
        cv2.ellipse(self.cover, (int(x), int(y)), axes, 0, 0, 360, value, cv2.FILLED, shift=_SHIFT)

    def stroke(self, path: Sequence[XY] | NDArray[np.float64], stroke: int, *, closed: bool = False) -> None:
        """Stroke a path, with square ends and rounded corners."""
        points = np.asarray(path, dtype=np.float64)
        points = np.vstack([points, points[:1]]) if closed else points
        points = points[np.concatenate([[True], np.any(np.diff(points, axis=0), axis=1)])]
        # A filled shape covers the pixels on its border too, half a pixel on each side.
        reach = (stroke - 1) / 2
        steps = np.diff(points, axis=0)
        lengths = np.hypot(*steps.T)
        normals = np.stack([-steps[:, 1], steps[:, 0]], axis=1) / lengths[:, None]
        starts, ends, sharp = _miter(normals, lengths, reach)
        if stroke == 2:
            # Both sides of a diagonal would round to the same pixels, which would halve the stroke.
            across, down = np.abs(normals.T)
            diagonal = np.isclose(across, down, atol=0.02)
            starts[diagonal] *= math.sqrt(2)
            ends[diagonal] *= math.sqrt(2)
        quads = np.stack(
            [
                points[:-1] + starts * reach,
                points[1:] + ends * reach,
                points[1:] - ends * reach,
                points[:-1] - starts * reach,
            ],
            axis=1,
        )
        for quad in self._local(quads):
            cv2.fillConvexPoly(self.cover, quad, 255, shift=_SHIFT)
        for x, y in self._local(points[:-1] if closed else points[1:-1][sharp]):
            cv2.circle(self.cover, (int(x), int(y)), round(reach * _ONE), 255, cv2.FILLED, shift=_SHIFT)

    def outline(self, polygons: Sequence[Polygon], stroke: int) -> None:
        """Thicken thin outlines with a square brush, as training drew contours."""
        # Lines just outside the picture are thickened into it.
        reach = stroke // 2
        lines = cv2.copyMakeBorder(self.cover, reach, reach, reach, reach, cv2.BORDER_CONSTANT)
        shifted = [self._local(polygon) + reach * _ONE for polygon in polygons]
        cv2.polylines(lines, shifted, True, 255, shift=_SHIFT)
        thick = cv2.dilate(lines, np.ones((stroke, stroke), np.uint8))
        height, width = self.cover.shape
        self.cover[:] = thick[reach : reach + height, reach : reach + width]


def _stencil(mark: Mark, style: Style, width: int, height: int) -> _Stencil | None:
    def around(bounds: Bounds, margin: float = style.stroke) -> _Stencil | None:
        return _Stencil.around(bounds, margin, width, height)

    match mark:
        case EllipseMark():
            return _ellipse(mark, style, around(_scale_bounds(mark.bounds, style.scale)))
        case TriangleMark():
            if stencil := around(mark.bounds):
                stencil.stroke(_triangle(mark, style), style.stroke, closed=True)
            return stencil
        case PointMark():
            if stencil := around(mark.bounds, max(style.radii)):
                stencil.ellipse((mark.x, mark.y), style.radii)
            return stencil
        case ArrowMark():
            shaft, head = arrow_shape(mark, style, width, height)
            if stencil := around(_bounds([*shaft, *head])):
                # Training left the lines of an arrow unjoined, so an open head is notched at its tip.
                for line in (*pairwise(shaft), *(pairwise(head) if style.open_head else ())):
                    stencil.stroke(line, style.stroke)
                if not style.open_head:
                    stencil.fill([head])
            return stencil
        case ScribbleMark():
            path = _smooth(mark.path)
            if stencil := around(_bounds(path)):
                stencil.stroke(path, style.stroke)
            return stencil
        case ContourMark():
            if stencil := around(mark.bounds):
                stencil.outline(mark.polygons, style.stroke)
            return stencil
        case MaskMark():
            if stencil := around(mark.bounds):
                stencil.fill(mark.polygons)
            return stencil
        case _:
            raise TypeError(f"no drawing for {mark.kind}")


def _drawn_bounds(mark: Mark, style: Style, width: int, height: int) -> Bounds:
    """The bounds of the path that a mark is drawn along, without its stroke."""
    match mark:
        case EllipseMark():
            return _scale_bounds(mark.bounds, style.scale)
        case TriangleMark():
            return _bounds(_triangle(mark, style))
        case ArrowMark():
            shaft, head = arrow_shape(mark, style, width, height)
            return _bounds([*shaft, *head])
        case ScribbleMark():
            return _bounds(_smooth(mark.path))
        case _:
            return mark.bounds


def _ellipse(mark: EllipseMark, style: Style, stencil: _Stencil | None) -> _Stencil | None:
    if stencil is None:
        return None
    x1, y1, x2, y2 = _scale_bounds(mark.bounds, style.scale)
    center, radii = ((x1 + x2) / 2, (y1 + y2) / 2), ((x2 - x1) / 2, (y2 - y1) / 2)
    stencil.ellipse(center, radii)
    inner = (radii[0] - style.stroke, radii[1] - style.stroke)
    if min(inner) > 0:
        stencil.ellipse(center, inner, value=0)
    return stencil


def _scale_bounds(bounds: Bounds, scale: float) -> Bounds:
    x1, y1, x2, y2 = bounds
    more_x, more_y = (x2 - x1) * (scale - 1) / 2, (y2 - y1) * (scale - 1) / 2
    return x1 - more_x, y1 - more_y, x2 + more_x, y2 + more_y


def _triangle(mark: TriangleMark, style: Style) -> list[XY]:
    return [(mark.x1 + x * (mark.x2 - mark.x1), mark.y1 + y * (mark.y2 - mark.y1)) for x, y in style.corners]


def arrow_shape(mark: ArrowMark, style: Style, width: int, height: int) -> tuple[list[XY], Polygon]:
    """The shaft from the tip back to the tail, and the head: wing, tip, wing."""
    (x, y), (low, high) = mark.tip, style.head_sizes
    if mark.tail is None:
        head = max(style.head * style.length, low)
        reach = style.length - head
        angle = _roomiest_angle(mark.tip, reach, width, height) if style.angle is None else style.angle
        tail = (x + reach * math.cos(angle), y + reach * math.sin(angle))
    else:
        tail = mark.tail
        angle = math.atan2(tail[1] - y, tail[0] - x)
        head = min(max(style.head / (1 - style.head) * math.dist(tail, mark.tip), low), high)
    wings = [
        (x + head * math.cos(angle + turn), y + head * math.sin(angle + turn)) for turn in (_WING, -_WING)
    ]
    middle = ((x + tail[0]) / 2 + style.bend[0], (y + tail[1]) / 2 + style.bend[1])
    shaft = [mark.tip, middle, tail] if any(style.bend) else [mark.tip, tail]
    return shaft, (wings[0], mark.tip, wings[1])


def _roomiest_angle(tip: XY, reach: float, width: int, height: int) -> float:
    """Diagonally toward the farthest corner, or straight at it where the picture is too narrow for that."""
    x, y = tip
    step_x, step_y = 1 if x <= width / 2 else -1, 1 if y <= height / 2 else -1
    slant = reach * math.sqrt(0.5)
    if 0 <= x + step_x * slant <= width and 0 <= y + step_y * slant <= height:
        return math.atan2(step_y, step_x)
    return math.atan2((height if step_y > 0 else 0) - y, (width if step_x > 0 else 0) - x)


def _bounds(points: Sequence[XY] | NDArray[np.float64]) -> Bounds:
    array = np.asarray(points)
    (x1, y1), (x2, y2) = array.min(axis=0), array.max(axis=0)
    return float(x1), float(y1), float(x2), float(y2)


def _miter(
    normals: NDArray[np.float64], lengths: NDArray[np.float64], reach: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """The normals at the start and end of each segment, shared at gentle turns, and which turns are sharp."""
    before, after = normals[:-1], normals[1:]
    cosine = (before * after).sum(axis=1)
    # A miter shortens a segment's inner edge by this multiple of `reach`. An edge cut past its
    # middle would fold over.
    cut = np.tan(np.arccos(np.clip(cosine, -1, 1)) / 2)
    sharp = (cut > math.tan(_GENTLE / 2)) | (2 * cut * reach > np.minimum(lengths[:-1], lengths[1:]))
    # The sum of two unit normals, over one plus the cosine of their turn, is the corner of the miter.
    shared = (before + after) / np.where(sharp, 1, 1 + cosine)[:, None]
    starts, ends = normals.copy(), normals.copy()
    starts[1:][~sharp] = shared[~sharp]
    ends[:-1][~sharp] = shared[~sharp]
    return starts, ends, sharp


def _smooth(path: Sequence[XY]) -> NDArray[np.float64]:
    """A smooth curve through every point: cubic Béziers with shared tangents."""
    points: NDArray[np.float64] = np.array(path, dtype=np.float64)
    points = points[np.concatenate([[True], np.any(np.diff(points, axis=0), axis=1)])]
    if len(points) < 3:
        return points
    # Tangents by distance along the path, since points set by hand are spaced unevenly and would cause loops.
    spans = np.hypot(*np.diff(points, axis=0).T)
    tangents = np.gradient(points, np.concatenate([[0], np.cumsum(spans)]), axis=0)
    start, end, third = points[:-1, None], points[1:, None], spans[:, None, None] / 3
    leave, arrive = start + tangents[:-1, None] * third, end - tangents[1:, None] * third
    # With steps in proportion to the root of a span's length, the curve looks smooth at any size.
    t = np.linspace(0, 1, max(int(math.sqrt(spans.max())), 4), endpoint=False)[None, :, None]
    curve = (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * leave + 3 * (1 - t) * t**2 * arrive + t**3 * end
    smooth: NDArray[np.float64] = np.vstack([curve.reshape(-1, 2), points[-1:]])
    return smooth


def _blend(canvas: Pixels, stencil: _Stencil, blend: NDArray[np.float32]) -> None:
    """Blend once under the stencil, skipping the empty inside of an outline."""
    below = canvas[stencil.top :, stencil.left :]
    for rows, columns in _painted_blocks(stencil.cover):
        area = below[rows, columns]
        cover = stencil.cover[rows, columns][: len(area)]
        # Copied first, since OpenCV is much faster on contiguous pixels.
        cv2.copyTo(cv2.transform(area.copy(), blend), cover, area)


def _painted_blocks(cover: Pixels) -> Iterator[tuple[slice, slice]]:
    """The blocks that a stencil paints, as runs of neighbors."""
    width = cover.shape[1]
    strips = cover.reshape(-1, _BLOCK, width).max(axis=1)
    blocks = np.maximum.reduceat(strips, np.arange(0, width, _BLOCK), axis=1)
    edged = np.zeros((len(blocks), blocks.shape[1] + 2), np.bool_)
    edged[:, 1:-1] = blocks
    # In each row of blocks, starts and ends of runs alternate.
    rows, columns = (edged[:, 1:] != edged[:, :-1]).nonzero()
    tops, lefts, rights = rows[::2] * _BLOCK, columns[::2] * _BLOCK, columns[1::2] * _BLOCK
    for top, left, right in zip(tops.tolist(), lefts.tolist(), rights.tolist(), strict=True):
        yield slice(top, top + _BLOCK), slice(left, min(right, width))
