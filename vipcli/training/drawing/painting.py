"""Paint things onto a canvas: filled, striped, dotted or as an outline, each with its own rendering style.

Canvases are RGB uint8, height × width × 3, and painted in place; coordinates are (x, y) in pixels.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.geometry import XY, Polygon
from vipcli.marks.colors import RGB
from vipcli.pictures.images import Pixels
from vipcli.training.drawing.designs import Part, Role, design, silhouette
from vipcli.training.drawing.glyphs import glyph
from vipcli.training.world.facts import COLORS, Texture, category

Points = NDArray[np.float64]

# How far each kind may lean, in degrees. A square on its corner would be a diamond.
_MAX_LEAN = {"square": 12, "diamond": 12, "circle": 180, "oval": 25, "number": 14, "letter": 14}
# Kinds that would turn into one another when stretched.
_NEVER_STRETCHED = ("circle", "oval", "square", "rectangle", "diamond")
_SHIFT = 4
_DARK, _LIGHT = 40, 235


@dataclass(frozen=True, slots=True)
class _Brush:
    """The rendering style of a thing."""

    smooth: bool
    edge: RGB | None
    """Color of the line around it, if it has one."""
    line: int
    """Width of that line, in pixels."""


def shade_of(color: str, rng: random.Random) -> RGB:
    """A shade that anyone would call by this color name."""
    red, green, blue = COLORS[color]
    light = rng.gauss(0, 9)
    spread = 5 if color in ("black", "white", "gray") else 9
    values = [part + light + rng.gauss(0, spread) for part in (red, green, blue)]
    if color in ("black", "white", "gray"):
        middle = sum(values) / 3
        values = [middle + (value - middle) * 0.3 for value in values]
    return _rgb(values)


def paint(
    canvas: Pixels,
    kind: str,
    color: RGB,
    texture: Texture,
    center: XY,
    extent: float,
    rng: random.Random,
) -> tuple[Polygon, ...]:
    """Paint a thing whose longer side is `extent` pixels, and return its silhouette."""
    group = category(kind)
    parts: tuple[Part, ...] = ()
    if group in ("number", "letter"):
        bodies = [list(glyph(kind, rng))]
        solid: Sequence[Points] = bodies[0]
    else:
        parts = design(kind, rng)
        bodies = [[part.points] for part in parts if part.role == "body"]
        solid = silhouette(parts)
    stretch = 1.0 if kind in _NEVER_STRETCHED else rng.uniform(0.92, 1.08)
    place = _Placement(_lean(kind, group, rng), stretch, solid, center, extent)
    brush = _Brush(
        smooth=rng.random() < 0.75,
        edge=_edge_color(color, rng) if rng.random() < 0.25 and group in ("shape", "object") else None,
        line=max(round(extent * rng.uniform(0.02, 0.045)), 1),
    )
    if parts:
        _paint_parts(
            canvas,
            [(part, place(part.points)) for part in parts],
            _colors_by_role(kind, color, texture, rng),
            texture,
            extent,
            brush,
            rng,
        )
    elif texture == "outlined":
        stroke = max(round(extent * rng.uniform(0.03, 0.06)), 1)
        _outline(canvas, [place(points) for points in bodies[0]], color, stroke, brush)
    else:
        _fill(canvas, [place(points) for points in bodies[0]], color, brush)
    return tuple(tuple((float(x), float(y)) for x, y in place(points)) for points in solid)


def _lean(kind: str, group: str, rng: random.Random) -> float:
    most = _MAX_LEAN.get(kind, _MAX_LEAN.get(group, 15))
    return math.radians(rng.uniform(-most, most)) if rng.random() < 0.7 else 0.0


class _Placement:
    """Map design coordinates to canvas coordinates: lean, stretch slightly, scale to the extent."""

    def __init__(
        self,
        lean: float,
        stretch: float,
        solid: Sequence[Points],
        center: XY,
        extent: float,
    ) -> None:
        turn = np.array([[math.cos(lean), math.sin(lean)], [-math.sin(lean), math.cos(lean)]])
        self._matrix = np.array([[stretch, 0], [0, 1 / stretch]]) @ turn
        everything = np.concatenate(list(solid)) @ self._matrix
        low, high = everything.min(0), everything.max(0)
        self._scale = extent / (high - low).max()
        self._offset = np.array(center) - (low + high) / 2 * self._scale

    def __call__(self, points: Points) -> Points:
        placed: Points = points @ self._matrix * self._scale + self._offset
        return placed


def _paint_parts(
    canvas: Pixels,
    placed: Sequence[tuple[Part, Points]],
    role_colors: Mapping[Role, RGB],
    texture: Texture,
    extent: float,
    brush: _Brush,
    rng: random.Random,
) -> None:
    outlined = texture == "outlined"
    stroke = max(round(extent * rng.uniform(0.045, 0.08)), 1)
    pattern = _pattern(role_colors["body"], texture, extent, rng)
    if outlined:
        bodies = [points for part, points in placed if part.role == "body" and not part.width]
        _outline(canvas, _merge_outlines(bodies), role_colors["body"], stroke, brush)
    for part, points in placed:
        ink = role_colors[part.role]
        if not part.closed or part.width:
            width = max(round(part.width * extent / 2), 1)
            _stroke(canvas, points, ink, width if not outlined else min(width, stroke), part.closed, brush)
        elif outlined:
            if part.role != "body":
                _outline(canvas, [points], ink, max(stroke // 2, 1), brush)
        elif part.role == "body" and pattern is not None:
            pattern.fill(canvas, points)
            # Without an outline, white stripes would blend into a pale background.
            _outline(canvas, [points], brush.edge or pattern.color, brush.line, brush)
        else:
            _fill(canvas, [points], ink, brush)
            if brush.edge:
                _outline(canvas, [points], brush.edge, brush.line, brush)


def _merge_outlines(bodies: Sequence[Points]) -> list[Points]:
    """The outlines of overlapping bodies, merged."""
    if len(bodies) < 2:
        return list(bodies)
    everything = np.concatenate(bodies)
    corner = np.floor(everything.min(0)) - 1
    width, height = (np.ceil(everything.max(0)) - corner + 2).astype(int).tolist()
    # Twice the canvas resolution, so that the outlines stay smooth.
    mask = np.zeros((2 * height, 2 * width), np.uint8)
    for points in bodies:
        cv2.fillPoly(mask, [_to_fixed_point((points - corner) * 2)], (255,), cv2.LINE_8, _SHIFT)
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    smooth = [cv2.approxPolyDP(contour, 1.0, True)[:, 0] for contour in contours]
    return [points / 2 + corner for points in smooth if len(points) > 2]


@dataclass(frozen=True, slots=True)
class _Pattern:
    """Stripes or dots on a color."""

    color: RGB
    second: RGB
    dotted: bool
    period: float
    share: float
    angle: float

    def fill(self, canvas: Pixels, points: Points) -> None:
        height, width = canvas.shape[:2]
        x1, y1 = (max(math.floor(low), 0) for low in points.min(0))
        x2, y2 = min(math.ceil(points[:, 0].max()) + 1, width), min(math.ceil(points[:, 1].max()) + 1, height)
        if x1 >= x2 or y1 >= y2:
            return
        mask = np.zeros((y2 - y1, x2 - x1), np.uint8)
        cv2.fillPoly(mask, [_to_fixed_point(points - (x1, y1))], (255,), cv2.LINE_8, _SHIFT)
        ys, xs = np.mgrid[0 : y2 - y1, 0 : x2 - x1].astype(np.float32)
        along = (xs * math.cos(self.angle) + ys * math.sin(self.angle)) / self.period
        if self.dotted:
            across = (ys * math.cos(self.angle) - xs * math.sin(self.angle)) / self.period
            apart = (along % 1 - 0.5) ** 2 + (across % 1 - 0.5) ** 2
            second = apart < self.share
        else:
            second = along % 1 < self.share
        region = canvas[y1:y2, x1:x2]
        region[mask > 0] = self.color
        region[(mask > 0) & second] = self.second


def _pattern(color: RGB, texture: Texture, extent: float, rng: random.Random) -> _Pattern | None:
    if texture not in ("striped", "dotted"):
        return None
    second = _pattern_color(color, rng)
    dotted = texture == "dotted"
    return _Pattern(
        color,
        second,
        dotted,
        period=max(extent * rng.uniform(0.18, 0.27), 4),
        share=rng.uniform(0.06, 0.1) if dotted else rng.uniform(0.35, 0.48),
        angle=rng.choice((0, math.pi / 2, math.pi / 4, -math.pi / 4, rng.uniform(0, math.pi))),
    )


def _pattern_color(color: RGB, rng: random.Random) -> RGB:
    """The color of stripes and dots: darker on a pale color, otherwise paler or white."""
    if sum(color) > 600:
        return _mix(color, 60, rng.uniform(0.45, 0.65))
    if rng.random() < 0.5:
        return 250, 250, 250
    darker = sum(color) > 400 and rng.random() < 0.5
    return _mix(color, 0, 0.55) if darker else _mix(color, 255, 0.6)


def _colors_by_role(kind: str, color: RGB, texture: Texture, rng: random.Random) -> dict[Role, RGB]:
    """The color of each part of a thing, by role."""
    if texture == "outlined":
        return {"body": color, "shade": color, "tint": color, "ink": color, "paper": (250, 250, 245)}
    return {
        "body": color,
        "shade": _mix(color, _DARK if sum(color) > 160 else 90, 0.4),
        "tint": _mix(color, 255 if sum(color) < 600 else 150, 0.45),
        "ink": _detail_color(kind, color, rng),
        "paper": (250, 250, 245),
    }


# Natural colors of small parts, used whatever the color of the whole.
_WOOD: tuple[RGB, ...] = ((120, 75, 40), (95, 60, 35), (140, 95, 60))
_LEAF: tuple[RGB, ...] = ((50, 130, 50), (80, 150, 60), (40, 100, 45))
_NATURAL_COLORS = {
    "tree": _WOOD,
    "flower": _LEAF,
    "apple": (*_WOOD, *_LEAF),
    "boat": _WOOD,
    "umbrella": _WOOD,
    "bird": ((240, 150, 30), (230, 120, 20)),
}


def _detail_color(kind: str, color: RGB, rng: random.Random) -> RGB:
    """The color of small details: natural, or dark, or light if the thing itself is dark."""
    natural = [ink for ink in _NATURAL_COLORS.get(kind, ()) if math.dist(ink, color) > 90]
    if natural and rng.random() < 0.5:
        return rng.choice(natural)
    if sum(color) < 300:
        return rng.choice(((235, 235, 235), (200, 205, 210)))
    return rng.choice(((30, 30, 32), (60, 45, 35), (40, 45, 60)))


def _edge_color(color: RGB, rng: random.Random) -> RGB:
    return _mix(color, 0, rng.uniform(0.5, 0.9)) if sum(color) > 160 else _mix(color, 255, 0.5)


def _fill(canvas: Pixels, polygons: Sequence[Points], color: RGB, brush: _Brush) -> None:
    kind = cv2.LINE_AA if brush.smooth else cv2.LINE_8
    cv2.fillPoly(canvas, [_to_fixed_point(points) for points in polygons], color, kind, _SHIFT)


def _outline(canvas: Pixels, polygons: Sequence[Points], color: RGB, width: int, brush: _Brush) -> None:
    for points in polygons:
        _stroke(canvas, points, color, width, True, brush)


def _stroke(canvas: Pixels, points: Points, color: RGB, width: int, closed: bool, brush: _Brush) -> None:
    kind = cv2.LINE_AA if brush.smooth else cv2.LINE_8
    cv2.polylines(canvas, [_to_fixed_point(points)], closed, color, width, kind, _SHIFT)


def _to_fixed_point(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _SHIFT)).astype(np.int32)


def _mix(color: RGB, other: int, share: float) -> RGB:
    return _rgb([part * (1 - share) + other * share for part in color])


def _rgb(values: Sequence[float]) -> RGB:
    red, green, blue = (round(min(max(value, 0), 255)) for value in values)
    return red, green, blue
