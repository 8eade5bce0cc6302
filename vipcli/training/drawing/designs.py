"""How shapes and objects are drawn: several designs of each.

A design function may use any units, with y pointing down; `design` mirrors the result at random and scales
it to [-1, 1].
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Role = Literal["body", "shade", "tint", "ink", "paper"]

Points: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float]
Path: TypeAlias = Sequence[Point] | Points
# A part before scaling: its points, its role and, for a line, its width.
Draft: TypeAlias = tuple[Path, Role, float]
Design: TypeAlias = Callable[[random.Random], list[Draft]]


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a design. The whole design fits in [-1, 1]², with x to the right and y down."""

    points: Points
    role: Role
    closed: bool = True
    """Whether it is a filled polygon rather than a line of `width`."""
    width: float = 0.0
    """Width of the line, in the units of the points; 0 for a filled polygon."""


def design(kind: str, rng: random.Random) -> tuple[Part, ...]:
    """A random design of a shape or object, its parts ordered from back to front."""
    return _scale_to_unit(rng.choice(DESIGNS[kind])(rng), mirrored=rng.random() < 0.5)


def silhouette(parts: Iterable[Part]) -> tuple[Points, ...]:
    """Polygons that together cover the thing, without small details, which lie on larger parts."""
    covering: list[Points] = []
    for part in parts:
        if not part.closed:
            covering.extend(_thicken(part.points, max(part.width, _MIN_WIDTH)))
        elif part.role == "body" or _area(part.points) > _DETAIL_AREA:
            covering.append(part.points)
    return tuple(covering)


# Minimum width of a line in a silhouette, as no line is painted thinner than a pixel.
_MIN_WIDTH = 0.05
# A filled part is a detail if the upright rectangle around it has less than this area.
_DETAIL_AREA = 0.03


def _area(points: Points) -> float:
    width, height = points.max(axis=0) - points.min(axis=0)
    return float(width * height)


def _thicken(points: Points, width: float) -> list[Points]:
    """A rectangle for each segment of a line, slightly longer so that the bends have no gaps."""
    path: list[Point] = [(float(x), float(y)) for x, y in points]
    return [np.array(_bar(a, b, width, width / 2)) for a, b in pairwise(path) if a != b]


def _scale_to_unit(drafts: list[Draft], *, mirrored: bool) -> tuple[Part, ...]:
    """Center the parts and scale them so that the longer side of the design runs from -1 to 1."""
    arrays = [np.asarray(path, dtype=np.float64) for path, _, _ in drafts]
    every = np.concatenate(arrays)
    low, high = every.min(axis=0), every.max(axis=0)
    for array, (_, _, width) in zip(arrays, drafts, strict=True):
        if width:
            low = np.minimum(low, array.min(axis=0) - width / 2)
            high = np.maximum(high, array.max(axis=0) + width / 2)
    scale = 2 / float((high - low).max())
    every = (every - (low + high) / 2) * np.array((-scale if mirrored else scale, scale))
    parts: list[Part] = []
    start = 0
    for array, (_, role, width) in zip(arrays, drafts, strict=True):
        end = start + len(array)
        parts.append(Part(every[start:end], role, not width, width * scale))
        start = end
    return tuple(parts)


# --- Building blocks. Angles are in degrees, clockwise from the right, as y points down. ---

_TURNS = np.linspace(0, 2 * math.pi, 28, endpoint=False)
_UNIT = np.column_stack((np.cos(_TURNS), np.sin(_TURNS)))
_RAYS = np.linspace(0, 2 * math.pi, 56, endpoint=False)
_RAY = np.column_stack((np.cos(_RAYS), np.sin(_RAYS)))
_STEPS = np.arange(5)[:, None] / 5
# Weights of four consecutive points in the Catmull-Rom curve between the middle two.
_SPLINE = np.hstack(
    (
        (-_STEPS + 2 * _STEPS**2 - _STEPS**3) / 2,
        (2 - 5 * _STEPS**2 + 3 * _STEPS**3) / 2,
        (_STEPS + 4 * _STEPS**2 - 3 * _STEPS**3) / 2,
        (_STEPS**3 - _STEPS**2) / 2,
    )
)


def _fill(path: Path, role: Role = "body") -> Draft:
    return path, role, 0.0


def _line(path: Path, width: float, role: Role = "ink") -> Draft:
    return path, role, width


def _pick_role(rng: random.Random, *roles: Role) -> Role:
    return rng.choice(roles)


def _box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _oval(x: float, y: float, across: float, down: float | None = None) -> Points:
    return _UNIT * (across, across if down is None else down) + (x, y)


def _arc(
    x: float, y: float, across: float, down: float, start: float, end: float, count: int = 12
) -> list[Point]:
    first, step = math.radians(start), math.radians(end - start) / (count - 1)
    return [
        (x + across * math.cos(first + i * step), y + down * math.sin(first + i * step)) for i in range(count)
    ]


def _band(
    x: float,
    y: float,
    across: float,
    down: float,
    thickness: float,
    start: float,
    end: float,
    count: int = 12,
) -> list[Point]:
    """An arc with a thickness, measured inward."""
    inner = _arc(x, y, across - thickness, down - thickness, end, start, count)
    return _arc(x, y, across, down, start, end, count) + inner


def _bar(a: Point, b: Point, width: float, extension: float = 0.0) -> list[Point]:
    """A rectangle along the line from a to b."""
    along = (b[0] - a[0], b[1] - a[1])
    length = math.hypot(*along)
    x, y = along[0] / length, along[1] / length
    side_x, side_y, end_x, end_y = -y * width / 2, x * width / 2, x * extension, y * extension
    return [
        (a[0] - end_x + side_x, a[1] - end_y + side_y),
        (b[0] + end_x + side_x, b[1] + end_y + side_y),
        (b[0] + end_x - side_x, b[1] + end_y - side_y),
        (a[0] - end_x - side_x, a[1] - end_y - side_y),
    ]


def _rounded(left: float, top: float, right: float, bottom: float, radius: float) -> list[Point]:
    near, far, up, down = left + radius, right - radius, top + radius, bottom - radius
    return (
        _arc(near, up, radius, radius, 180, 270, 5)
        + _arc(far, up, radius, radius, 270, 360, 5)
        + _arc(far, down, radius, radius, 0, 90, 5)
        + _arc(near, down, radius, radius, 90, 180, 5)
    )


def _regular(corners: int, start: float) -> list[Point]:
    return _arc(0, 0, 1, 1, start, start + 360 * (corners - 1) / corners, corners)


def _zigzag(points: int, outer: float, inner: float, start: float = -90) -> list[Point]:
    """A star's outline."""
    step = math.pi / points
    first = math.radians(start)
    radii = (outer, inner)
    return [
        (radii[i % 2] * math.cos(first + i * step), radii[i % 2] * math.sin(first + i * step))
        for i in range(2 * points)
    ]


def _rotate(path: Path, degrees: float, x: float = 0.0, y: float = 0.0) -> Points:
    """The path rotated around the origin and then moved by (x, y)."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: Points = np.asarray(path, dtype=np.float64) @ np.array(((cosine, sine), (-sine, cosine)))
    turned += (x, y)
    return turned


def _rotate_all(drafts: list[Draft], degrees: float) -> list[Draft]:
    return [(_rotate(path, degrees), role, width) for path, role, width in drafts]


def _curve(path: Path) -> Points:
    """A smooth closed curve through the points; a point given twice becomes a corner."""
    knots = np.asarray(path, dtype=np.float64)
    around = np.concatenate((knots[-1:], knots, knots[:2]))
    quads = np.stack((around[:-3], around[1:-2], around[2:-1], around[3:]))
    # Skip the segment between the two copies of a corner, where the curve would make a small loop.
    apart = (quads[1] != quads[2]).any(axis=1)
    curve = np.tensordot(_SPLINE, quads[:, apart], axes=(1, 0))
    return curve.transpose(1, 0, 2).reshape(-1, 2)


def _blob(circles: Sequence[tuple[float, float, float]]) -> Points:
    """The outline of overlapping circles around the origin, as seen from there."""
    discs = np.array(circles)
    along = _RAY @ discs[:, :2].T
    inside = along**2 - (discs[:, :2] ** 2).sum(axis=1) + discs[:, 2] ** 2
    reach = np.where(inside > 0, along + np.sqrt(np.maximum(inside, 0)), 0).max(axis=1)
    outline: Points = _RAY * reach[:, None]
    return outline


def _leaf(x: float, y: float, length: float, width: float, degrees: float) -> Points:
    """A leaf that grows from its stalk at (x, y)."""
    path = [(0.0, 0.0), (length * 0.3, -width * 0.42), (length * 0.65, -width * 0.38), (length, 0.0)]
    path += [(length * 0.65, width * 0.38), (length * 0.3, width * 0.42)]
    return _rotate(path, degrees, x, y)


# --- Shapes ---


def _circle(_: random.Random) -> list[Draft]:
    return [_fill(_UNIT)]


def _ellipse(rng: random.Random) -> list[Draft]:
    ratio = rng.uniform(1.45, 2.0)
    return [_fill(_oval(0, 0, ratio, 1) if rng.random() < 0.5 else _oval(0, 0, 1, ratio))]


def _square(_: random.Random) -> list[Draft]:
    return [_fill(_box(-1, -1, 1, 1))]


def _rectangle(rng: random.Random) -> list[Draft]:
    ratio = rng.uniform(1.4, 2.2)
    return [_fill(_box(-ratio, -1, ratio, 1) if rng.random() < 0.5 else _box(-1, -ratio, 1, ratio))]


def _triangle(rng: random.Random) -> list[Draft]:
    skew = 0.0 if rng.random() < 0.6 else rng.uniform(0, 0.4)
    return [_fill([(skew, -rng.uniform(0.7, 1.2)), (1, 1), (-1, 1)])]


def _pentagon(_: random.Random) -> list[Draft]:
    return [_fill(_regular(5, -90))]


def _hexagon(rng: random.Random) -> list[Draft]:
    return [_fill(_regular(6, rng.choice((0, 30))))]


def _star(rng: random.Random) -> list[Draft]:
    return [_fill(_zigzag(5, 1, rng.uniform(0.36, 0.54)))]


def _formula_heart(rng: random.Random) -> list[Draft]:
    sine, cosine = np.sin(_RAYS[::2]), np.cos(_RAYS[::2])
    across = rng.uniform(0.9, 1.12) * 16 * sine**3
    down = -13 * cosine + 5 * np.cos(2 * _RAYS[::2]) + 2 * np.cos(3 * _RAYS[::2]) + np.cos(4 * _RAYS[::2])
    return [_fill(np.column_stack((across, down)))]


def _lobed_heart(rng: random.Random) -> list[Draft]:
    """Two round lobes with straight sides down to the tip."""
    lobe, low = 0.54, rng.uniform(1.0, 1.3)
    left = _arc(-0.46, 0, lobe, lobe, 150, 328, 10)
    right = _arc(0.46, 0, lobe, lobe, 212, 390, 10)
    return [_fill([*left, *right, (0.0, low)])]


def _cross(rng: random.Random) -> list[Draft]:
    arm = rng.uniform(0.15, 0.36)
    corner = [(-arm, -1.0), (arm, -1.0), (arm, -arm), (1.0, -arm), (1.0, arm), (arm, arm)]
    return [_fill([*corner, (arm, 1.0), (-arm, 1.0), (-arm, arm), (-1.0, arm), (-1.0, -arm), (-arm, -arm)])]


def _diamond(rng: random.Random) -> list[Draft]:
    half = rng.uniform(0.55, 1.0)
    return [_fill([(0, -1), (half, 0), (0, 1), (-half, 0)])]


def _crescent(rng: random.Random) -> list[Draft]:
    """An outer arc from horn to horn, and back along the arc of a second circle, the inner edge."""
    horn = rng.uniform(42, 78)
    edge = 1 - rng.uniform(0.45, 0.75)
    cosine = math.cos(math.radians(horn))
    center = (1 - edge**2) / (2 * (cosine + edge))
    inner = math.degrees(math.atan2(math.sin(math.radians(horn)), cosine - center))
    back = _arc(center, 0, center + edge, center + edge, 360 - inner, inner, 20)
    moon = _arc(0, 0, 1, 1, horn, 360 - horn, 26) + back
    angle = rng.uniform(-45, 45) if rng.random() < 0.75 else rng.uniform(0, 360)
    return [_fill(_rotate(moon, angle))]


# --- Houses ---


def _pane(x: float, y: float, half: float, rng: random.Random, role: Role | None = None) -> list[Draft]:
    """A square window, some with bars."""
    parts = [
        _fill(_box(x - half, y - half, x + half, y + half), role or _pick_role(rng, "paper", "ink", "tint"))
    ]
    if parts[0][1] != "ink" and rng.random() < 0.5:
        parts.append(_line([(x - half, y), (x + half, y)], half * 0.25))
        parts.append(_line([(x, y - half), (x, y + half)], half * 0.25))
    return parts


def _gabled_house(rng: random.Random) -> list[Draft]:
    half, tall, roof = rng.uniform(0.7, 0.85), rng.uniform(1.0, 1.25), rng.uniform(0.55, 0.75)
    over, door = rng.uniform(0.06, 0.2), rng.uniform(0.14, 0.18)
    at = rng.choice((0.0, -half * 0.45))
    parts = [_fill(_box(-half, 0, half, tall))]
    parts.append(_fill([(-half - over, 0), (0, -roof), (half + over, 0)], _pick_role(rng, "body", "shade")))
    if parts[1][1] == "body":
        parts.append(_line([(-half - over, 0), (half + over, 0)], 0.06, _pick_role(rng, "ink", "shade")))
    parts.append(
        _fill(_box(at - door, tall * 0.45, at + door, tall), _pick_role(rng, "ink", "shade", "paper"))
    )
    if at:
        return parts + _pane(half * 0.42, tall * 0.48, rng.uniform(0.15, 0.2), rng)
    return parts + _pane(0, -roof * 0.33, 0.11, rng) if rng.random() < 0.5 else parts


def _bungalow(rng: random.Random) -> list[Draft]:
    tall, roof, inset = rng.uniform(0.66, 0.8), rng.uniform(0.3, 0.38), rng.uniform(0.2, 0.4)
    chimney = rng.uniform(0.35, 0.5)
    parts = [_fill(_box(chimney, -roof - 0.2, chimney + 0.18, -0.1), _pick_role(rng, "body", "shade"))]
    parts.append(_fill(_box(-0.9, 0, 0.9, tall)))
    parts.append(
        _fill(
            [(-1, 0), (-1 + inset, -roof), (1 - inset, -roof), (1, 0)],
            _pick_role(rng, "shade", "body", "body"),
        )
    )
    if parts[2][1] == "body":
        parts.append(_line([(-1, 0), (1, 0)], 0.06))
    role = _pick_role(rng, "ink", "paper")
    parts.append(_fill(_box(-0.13, tall * 0.28, 0.13, tall), role))
    parts += _pane(-0.52, tall * 0.48, 0.13, rng, role)
    return parts + _pane(0.52, tall * 0.48, 0.13, rng, role)


def _tall_house(rng: random.Random) -> list[Draft]:
    half, roof, inset = rng.uniform(0.55, 0.68), rng.uniform(0.35, 0.5), rng.uniform(0.18, 0.3)
    parts = [_fill(_box(-half, 0, half, 1.5))]
    top = [(-half - 0.1, 0.0), (-half + inset, -roof), (half - inset, -roof), (half + 0.1, 0.0)]
    parts.append(_fill(top, "shade"))
    role = _pick_role(rng, "ink", "paper")
    for x in (-half * 0.48, half * 0.48):
        parts += _pane(x, 0.4, 0.14, rng, role)
    parts.append(_fill(_box(-0.15, 0.9, 0.15, 1.5), _pick_role(rng, role, "shade")))
    return parts


def _home_sign(rng: random.Random) -> list[Draft]:
    """Walls and roof as a single shape, as on a home button."""
    half, roof, over = rng.uniform(0.65, 0.78), rng.uniform(0.75, 0.95), rng.uniform(0.15, 0.3)
    left, right = (
        [(-half, 0.9), (-half, 0.0), (-half - over, 0.0)],
        [(half + over, 0.0), (half, 0.0), (half, 0.9)],
    )
    parts = [_fill([*left, (0.0, -roof), *right])]
    if rng.random() < 0.6:
        parts.insert(0, _fill(_box(0.38, -roof * 0.9, 0.6, 0), _pick_role(rng, "body", "shade")))
    door = rng.uniform(0.16, 0.22)
    parts.append(_fill(_box(-door, 0.3, door, 0.9), _pick_role(rng, "paper", "ink")))
    return parts


# --- Trees ---


def _trunk(top: float, bottom: float, half: float, rng: random.Random) -> Draft:
    foot = half * rng.uniform(1.0, 1.5)
    return _fill(
        [(-half, top), (half, top), (foot, bottom), (-foot, bottom)], _pick_role(rng, "ink", "shade")
    )


def _round_tree(rng: random.Random) -> list[Draft]:
    tall = rng.uniform(0.9, 1.2)
    parts = [
        _trunk(0, tall + rng.uniform(0.4, 0.75), rng.uniform(0.11, 0.17), rng),
        _fill(_oval(0, 0, 0.9, tall)),
    ]
    if rng.random() < 0.3:
        parts.append(_line([(0, tall), (0, tall * 0.25)], 0.09, parts[0][1]))
        parts.append(_line([(0, tall * 0.7), (0.3, tall * 0.4)], 0.07, parts[0][1]))
    return parts


def _stacked_tree(rng: random.Random) -> list[Draft]:
    """A conifer of two to four tiers, in one outline."""
    tiers, foot = rng.choice((2, 3, 3, 4)), rng.uniform(0.6, 0.8)
    step, slim = 1.7 / tiers, rng.uniform(0.4, 0.62)
    parts = [_trunk(0.6, rng.uniform(0.95, 1.15), rng.uniform(0.09, 0.13), rng)]
    right: list[Point] = []
    for tier in range(tiers):
        reach, low = foot * (0.5 + 0.5 * (tier + 1) / tiers), -1 + step * (tier + 1)
        right += [(reach, low), (reach * slim, low)]
    outline = [(0.0, -1.0), *right[:-1], *[(-x, y) for x, y in reversed(right[:-1])]]
    return [*parts, _fill(outline)]


def _bushy_tree(rng: random.Random) -> list[Draft]:
    count = rng.choice((5, 6, 7))
    start = rng.uniform(0, 2 * math.pi)
    circles = []
    for i in range(count):
        angle = start + 2 * math.pi * i / count
        circles.append((0.5 * math.cos(angle), 0.46 * math.sin(angle), rng.uniform(0.4, 0.5)))
    return [_trunk(0.2, rng.uniform(1.4, 1.7), rng.uniform(0.11, 0.17), rng), _fill(_blob(circles))]


def _clover_tree(rng: random.Random) -> list[Draft]:
    """Two low blobs and a high one."""
    size, apart = rng.uniform(0.5, 0.56), rng.uniform(0.42, 0.5)
    circles = [(-apart, 0.2, size), (apart, 0.2, size), (0, -0.45, rng.uniform(0.52, 0.62)), (0, 0.2, 0.5)]
    return [_trunk(0.2, rng.uniform(1.2, 1.5), rng.uniform(0.11, 0.16), rng), _fill(_blob(circles))]


def _pointed_tree(rng: random.Random) -> list[Draft]:
    """A conifer of a single triangle."""
    half, bare = rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.5)
    trunk = _trunk(0.4, 0.5 + bare, rng.uniform(0.1, 0.14), rng)
    return [trunk, _fill([(0, -1.1), (half, 0.5), (-half, 0.5)])]


# --- Cars, facing right ---


def _wheels(at: Sequence[float], y: float, radius: float, rng: random.Random) -> list[Draft]:
    parts = [_fill(_oval(x, y, radius), "ink") for x in at]
    if rng.random() < 0.65:
        hub = _pick_role(rng, "paper", "tint")
        parts += [_fill(_oval(x, y, radius * 0.42), hub) for x in at]
    return parts


def _sedan(rng: random.Random) -> list[Draft]:
    roof, belt = rng.uniform(-0.56, -0.46), rng.uniform(-0.12, -0.04)
    back, front = rng.uniform(-0.42, -0.32), rng.uniform(0.18, 0.28)
    rear, nose = back - rng.uniform(0.12, 0.25), front + rng.uniform(0.26, 0.36)
    outline = [(-0.97, belt), (rear, belt - 0.03), (back, roof), (front, roof), (nose, belt - 0.02)]
    parts = [_fill([*outline, (0.9, belt + 0.07), (1, belt + 0.18), (1, 0.32), (-1, 0.32), (-1, belt + 0.1)])]
    glass, middle = _pick_role(rng, "paper", "tint", "ink"), (back + front) / 2
    top, low = roof + 0.09, belt - 0.03
    parts.append(
        _fill([(rear + 0.13, low), (back + 0.05, top), (middle - 0.04, top), (middle - 0.04, low)], glass)
    )
    parts.append(
        _fill([(middle + 0.04, low), (middle + 0.04, top), (front - 0.04, top), (nose - 0.14, low)], glass)
    )
    return parts + _wheels((-0.55, 0.57), 0.32, rng.uniform(0.19, 0.23), rng)


def _van(rng: random.Random) -> list[Draft]:
    roof, belt = rng.uniform(-0.75, -0.6), rng.uniform(-0.2, -0.12)
    front = rng.uniform(0.55, 0.72)
    outline = _arc(-0.88, roof + 0.12, 0.12, 0.12, 180, 270, 5)
    parts = [_fill([*outline, (front, roof), (0.95, belt), (1.0, 0.1), (1.0, 0.35), (-1.0, 0.35)])]
    glass = _pick_role(rng, "paper", "tint", "ink")
    top = roof + 0.13
    parts.append(_fill([(front - 0.2, top), (front - 0.02, top), (0.84, belt), (front - 0.2, belt)], glass))
    for i in range(rng.choice((1, 2))):
        right = front - 0.3 - 0.5 * i
        parts.append(_fill(_box(right - 0.4, top, right, belt), glass))
    return parts + _wheels((-0.55, 0.55), 0.35, rng.uniform(0.18, 0.22), rng)


def _beetle(rng: random.Random) -> list[Draft]:
    """A car with a round roof over a long round body."""
    high, half = rng.uniform(0.62, 0.74), rng.uniform(0.56, 0.64)
    nose = [*_arc(0.62, 0.28, 0.38, 0.36, 290, 360, 6), (0.98, 0.36), (-0.98, 0.36)]
    parts = [_fill([*_arc(-0.55, 0.28, 0.45, 0.4, 180, 250, 6), *nose])]
    parts.insert(
        0, _fill([*_arc(-0.06, 0.1, half, high, 180, 360, 14), (half - 0.06, 0.3), (-half - 0.06, 0.3)])
    )
    glass = _pick_role(rng, "paper", "tint", "ink")
    inner, up = half - 0.21, high - 0.32
    parts.append(_fill([*_arc(-0.11, -0.1, inner, up, 180, 270, 7), (-0.11, -0.1)], glass))
    parts.append(_fill([*_arc(-0.01, -0.1, inner, up, 270, 360, 7), (-0.01, -0.1)], glass))
    return parts + _wheels((-0.55, 0.57), 0.32, rng.uniform(0.17, 0.2), rng)


def _toy_car(rng: random.Random) -> list[Draft]:
    """A rounded box with a smaller one on top."""
    left, right = rng.uniform(-0.65, -0.5), rng.uniform(0.35, 0.55)
    lean, roof = rng.uniform(0.05, 0.2), rng.uniform(-0.6, -0.48)
    parts = [_fill([(left, 0.1), (left + lean, roof), (right - lean, roof), (right, 0.1)])]
    parts.append(_fill(_rounded(-1, -0.14, 1, 0.36, 0.12)))
    glass = _pick_role(rng, "paper", "ink", "tint")
    top, inset = roof + 0.1, lean * 0.85 + 0.07
    middle = (left + right) / 2
    parts.append(
        _fill(
            [(left + 0.11, -0.12), (left + inset, top), (middle - 0.04, top), (middle - 0.04, -0.12)], glass
        )
    )
    parts.append(
        _fill(
            [(middle + 0.04, -0.12), (middle + 0.04, top), (right - inset, top), (right - 0.11, -0.12)], glass
        )
    )
    if rng.random() < 0.5:
        parts.append(_fill(_oval(0.9, 0.02, 0.07), "paper"))
    return parts + _wheels((-0.55, 0.55), 0.36, rng.uniform(0.18, 0.22), rng)


# --- Boats ---


def _hull(half: float, deck: float, keel: float, rng: random.Random) -> Path:
    """A hull seen from the side: straight or round."""
    if rng.random() < 0.4:
        return _arc(0, deck, half, keel - deck, 0, 180, 14)
    slant = rng.uniform(0.2, 0.4)
    return [(-half, deck), (half, deck), (half - slant, keel), (-half + slant * rng.uniform(0.6, 1), keel)]


def _sloop(rng: random.Random) -> list[Draft]:
    """A sailing boat with a sail on either side of the mast."""
    deck, top, mast = 0.45, rng.uniform(-1.1, -0.85), rng.uniform(-0.15, 0.05)
    front: Role = _pick_role(rng, "body", "tint", "body")
    parts = [_line([(mast, deck), (mast, top - 0.05)], 0.07)]
    parts.append(_fill([(mast + 0.09, top), (mast + rng.uniform(0.7, 0.85), 0.26), (mast + 0.09, 0.26)]))
    parts.append(
        _fill([(mast - 0.09, top + 0.25), (mast - 0.09, 0.26), (mast - rng.uniform(0.5, 0.65), 0.26)], front)
    )
    parts.append(_fill(_hull(rng.uniform(0.85, 1), deck, rng.uniform(0.85, 1), rng)))
    return parts


def _dinghy(rng: random.Random) -> list[Draft]:
    """A sailing boat with one sail, straight or blown round."""
    deck, top = 0.45, rng.uniform(-0.9, -0.7)
    reach = rng.uniform(0.8, 0.95)
    parts = [_line([(-0.3, deck), (-0.3, top - 0.08)], 0.08)]
    if rng.random() < 0.5:
        parts.append(_fill([(-0.26, top), (-0.26 + reach, 0.3), (-0.26, 0.3)]))
    else:
        sail = _arc(-0.26, 0.3, reach, 0.3 - top, 270, 360, 8)
        parts.append(_fill([*sail, (-0.26, 0.3)]))
    parts.append(_fill(_hull(0.95, deck, rng.uniform(0.95, 1.1), rng)))
    return parts


def _steamer(rng: random.Random) -> list[Draft]:
    deck, keel = 0.1, rng.uniform(0.6, 0.75)
    slant, cabin = rng.uniform(0.2, 0.3), rng.uniform(-0.4, -0.3)
    stripe = _pick_role(rng, "paper", "ink")
    parts: list[Draft] = []
    for x in rng.choice(((-0.1,), (-0.3, 0.12))):
        top = cabin - rng.uniform(0.4, 0.5)
        parts.append(_fill(_box(x - 0.13, top, x + 0.13, cabin), _pick_role(rng, "shade", "body")))
        parts.append(_fill(_box(x - 0.13, top + 0.1, x + 0.13, top + 0.22), stripe))
    parts.append(_fill(_box(-0.6, cabin, 0.45, deck), _pick_role(rng, "body", "tint")))
    parts.append(_fill([(-1, deck), (1.05, deck - rng.uniform(0, 0.12)), (1 - slant, keel), (-0.8, keel)]))
    role = _pick_role(rng, "paper", "ink")
    parts += [_fill(_oval(x, cabin * 0.4, 0.09), role) for x in (-0.4, -0.07, 0.26)]
    return parts


def _rowing_boat(rng: random.Random) -> list[Draft]:
    """A wide hull with a small flag, and perhaps a stripe."""
    keel, mast = rng.uniform(0.6, 0.75), rng.uniform(-0.3, 0.1)
    high = rng.uniform(-0.75, -0.6)
    parts = [_line([(mast, 0.1), (mast, high)], 0.07)]
    parts.append(_fill([(mast + 0.03, high), (mast + 0.6, high + 0.2), (mast + 0.03, high + 0.4)]))
    hull = [(-1.0, -0.02), (-0.6, 0.08), (0.6, 0.08), (1.0, -0.02)]
    parts.append(_fill([*hull, *_arc(0, 0.08, 0.85, keel - 0.08, 20, 160, 10)]))
    if rng.random() < 0.5:
        parts.append(_line([(-0.8, 0.26), (0.8, 0.26)], 0.06, _pick_role(rng, "shade", "paper", "tint")))
    return parts


# --- Fish, facing right ---


def _eye(x: float, y: float, size: float, rng: random.Random) -> list[Draft]:
    if rng.random() < 0.5:
        return [_fill(_oval(x, y, size), "ink")]
    return [_fill(_oval(x, y, size * 1.25), "paper"), _fill(_oval(x, y, size * 0.65), "ink")]


def _lens_fish(rng: random.Random) -> list[Draft]:
    """An oval with a triangle for its tail."""
    high, tail = rng.uniform(0.4, 0.52), rng.uniform(0.32, 0.45)
    role = _pick_role(rng, "body", "body", "shade")
    parts = [_fill([(-0.45, 0), (-1, -tail), (-1 + rng.uniform(0, 0.15), 0), (-1, tail)], role)]
    parts.append(_fill(_oval(0.15, 0, 0.78, high)))
    if rng.random() < 0.6:
        parts.append(
            _line(_arc(0.15, 0, 0.25, high * 0.75, -60, 60, 7), 0.05, _pick_role(rng, "shade", "ink"))
        )
    if rng.random() < 0.5:
        parts.append(_fill([(0.15, 0.05), (-0.2, 0.2), (-0.15, -0.05)], "shade"))
    return parts + _eye(0.6, -high * 0.28, 0.075, rng)


def _round_fish(rng: random.Random) -> list[Draft]:
    """A curved outline that narrows towards a forked tail, with fins above and below."""
    high, fork = rng.uniform(0.45, 0.6), rng.uniform(0.35, 0.5)
    body = [(0.95, 0.02), (0.65, -high * 0.75), (0.15, -high), (-0.35, -high * 0.55), (-0.62, -0.1)]
    tail = [(-1.0, -fork), (-1.0, -fork), (-0.82, 0.0), (-1.0, fork), (-1.0, fork)]
    low = [(-0.62, 0.1), (-0.35, high * 0.55), (0.15, high), (0.65, high * 0.75)]
    fin: Role = _pick_role(rng, "shade", "body")
    parts = [_fill([(0.35, -high * 0.8), (-0.15, -high - 0.22), (-0.3, -high * 0.5)], fin)]
    parts.append(_fill([(0.2, high * 0.8), (-0.1, high + 0.18), (-0.2, high * 0.6)], fin))
    parts.append(_fill(_curve(body + tail + low)))
    return parts + _eye(0.6, -high * 0.25, 0.075, rng)


def _slender_fish(rng: random.Random) -> list[Draft]:
    """A slender body that narrows before the tail, with a line for the gills."""
    high, end = rng.uniform(0.32, 0.42), rng.uniform(0.25, 0.38)
    upper = [(0.98, 0.0), (0.6, -high * 0.75), (0.15, -high), (-0.3, -high * 0.72), (-0.68, -0.07)]
    tail = [(-1.0, -end), (-1.0, -end), (-0.9, 0.0), (-1.0, end), (-1.0, end)]
    parts = [_fill(_curve([*upper, *tail, *[(x, -y) for x, y in reversed(upper)]]))]
    gill = [(0.42, -high * 0.7), (0.35, 0.0), (0.42, high * 0.7)]
    parts.append(_line(gill, 0.05, _pick_role(rng, "ink", "shade", "paper")))
    if rng.random() < 0.5:
        parts.append(_line([(-0.05, -high * 0.5), (-0.12, 0.0), (-0.05, high * 0.5)], 0.05, parts[1][1]))
    return parts + _eye(0.66, -high * 0.22, 0.065, rng)


def _angel_fish(rng: random.Random) -> list[Draft]:
    """A high body with long fins."""
    high = rng.uniform(0.6, 0.7)
    body = [
        (0.9, 0.05),
        (0.5, -0.35),
        (0.1, -high),
        (-0.35, -0.3),
        (-0.5, 0.0),
        (-0.35, 0.3),
        (0.1, high),
        (0.5, 0.4),
    ]
    parts = [_fill([(-0.4, 0), (-0.95, -0.42), (-0.85, 0), (-0.95, 0.42)], _pick_role(rng, "body", "shade"))]
    parts.append(_fill([(0.3, -0.4), (-0.25, -high - 0.25), (-0.3, -0.3)], "shade"))
    parts.append(_fill([(0.3, 0.4), (-0.25, high + 0.25), (-0.3, 0.3)], "shade"))
    parts.append(_fill(_curve(body)))
    return parts + _eye(0.55, -0.1, 0.075, rng)


# --- Cups, the handle on the right ---


def _steam(top: float, bottom: float, at: Sequence[float]) -> list[Draft]:
    third = (bottom - top) / 3
    return [
        _line([(x, bottom), (x + 0.07, bottom - third), (x - 0.07, top + third), (x, top)], 0.07, "ink")
        for x in at
    ]


def _mug(rng: random.Random) -> list[Draft]:
    half, tall, taper = rng.uniform(0.6, 0.75), rng.uniform(0.75, 0.95), rng.uniform(0, 0.1)
    thickness, reach = rng.uniform(0.13, 0.18), rng.uniform(0.36, 0.46)
    parts = [_fill(_band(half - 0.05, 0, reach, tall * rng.uniform(0.5, 0.62), thickness, -95, 95, 10))]
    foot, low = half - taper - 0.12, tall - 0.12
    base = _arc(foot, low, 0.12, 0.12, 0, 90, 4) + _arc(-foot, low, 0.12, 0.12, 90, 180, 4)
    parts.append(_fill([(-half, -tall), (half, -tall), *base]))
    extra = rng.random()
    if extra < 0.3:
        parts.append(_fill(_oval(0, -tall, half, 0.17), _pick_role(rng, "ink", "shade", "tint")))
    elif extra < 0.65:
        parts += _steam(-tall - 0.6, -tall - 0.12, (-half * 0.4, half * 0.4))
    return parts


def _tea_cup(rng: random.Random) -> list[Draft]:
    """A bowl with a small handle, on a saucer."""
    deep, half = rng.uniform(0.65, 0.8), rng.uniform(0.65, 0.75)
    parts = [_fill(_band(half - 0.08, 0.24, 0.34, 0.27, 0.12, -110, 110, 9))]
    parts.append(_fill(_oval(0, deep + 0.05, 0.95, 0.1), _pick_role(rng, "shade", "body", "tint")))
    parts.append(
        _fill([(-0.25, deep - 0.1), (0.25, deep - 0.1), (0.32, deep + 0.04), (-0.32, deep + 0.04)], "shade")
    )
    bowl = _arc(0, 0, half, deep, 0, 180, 14)
    parts.append(_fill([(-half, -0.08), (half, -0.08), *bowl]))
    if rng.random() < 0.5:
        parts.append(_fill(_oval(0, -0.08, half, 0.09), _pick_role(rng, "ink", "tint")))
    if rng.random() < 0.4:
        parts += _steam(-0.75, -0.28, (-0.2, 0.2))
    return parts


def _straight_cup(rng: random.Random) -> list[Draft]:
    """A straight cup with a square handle and lines of steam."""
    half, tall = rng.uniform(0.5, 0.6), rng.uniform(0.6, 0.75)
    out, up = half + rng.uniform(0.28, 0.36), tall * 0.55
    handle = [(half - 0.05, -up), (out, -up), (out, up), (half - 0.05, up), (half - 0.05, up - 0.14)]
    parts = [_fill([*handle, (out - 0.14, up - 0.14), (out - 0.14, -up + 0.14), (half - 0.05, -up + 0.14)])]
    parts.append(_fill(_box(-half, -tall, half, tall)))
    if rng.random() < 0.4:
        low = rng.uniform(-0.5, 0.3) * tall
        parts.append(_fill(_box(-half, low, half, low + 0.2), _pick_role(rng, "shade", "paper", "tint")))
    if rng.random() < 0.65:
        at = rng.choice(((-0.2, 0.2), (-0.32, 0.0, 0.32)))
        parts += _steam(-tall - rng.uniform(0.45, 0.6), -tall - 0.12, at)
    return parts


# --- Flowers ---


def _stem(top: float, rng: random.Random) -> list[Draft]:
    """A stem from under the blossom, with a leaf or two."""
    low = top + rng.uniform(0.9, 1.4)
    role: Role = _pick_role(rng, "ink", "shade")
    parts = [_line([(0, top), (0, low)], rng.uniform(0.11, 0.15), role)]
    at, size = top + (low - top) * rng.uniform(0.7, 0.9), rng.uniform(0.5, 0.7)
    parts.append(_fill(_leaf(0, at, size, 0.3, -rng.uniform(25, 50)), role))
    if rng.random() < 0.5:
        parts.append(_fill(_leaf(0, at, size, 0.3, 180 + rng.uniform(25, 50)), role))
    return parts


def _petals(count: int, petal: Points, role: Role = "body") -> list[Draft]:
    start = -90.0
    return [_fill(_rotate(petal, start + 360 * i / count), role) for i in range(count)]


def _blossom(rng: random.Random) -> list[Draft]:
    """Round petals around a center."""
    count = rng.choice((5, 5, 6, 6, 7, 8))
    size = 0.62 * math.sin(math.pi / count) * rng.uniform(1.0, 1.2)
    parts = _stem(0.5, rng) if rng.random() < 0.7 else []
    parts += _petals(count, _oval(0.6, 0, max(size, 0.34), size))
    parts.append(_fill(_oval(0, 0, 0.36), "body"))
    parts.append(_fill(_oval(0, 0, rng.uniform(0.24, 0.32)), _pick_role(rng, "paper", "ink", "ink", "shade")))
    return parts


def _daisy(rng: random.Random) -> list[Draft]:
    """Long narrow petals, with gaps between them."""
    count = rng.choice((7, 8, 8))
    petal = _oval(0.62, 0, 0.4, rng.uniform(0.19, 0.23))
    parts = _stem(0.5, rng) if rng.random() < 0.8 else []
    parts += _petals(count, petal)
    parts.append(_fill(_oval(0, 0, rng.uniform(0.26, 0.32)), _pick_role(rng, "paper", "ink", "shade")))
    return parts


def _tulip(rng: random.Random) -> list[Draft]:
    half, high, dip = rng.uniform(0.55, 0.68), rng.uniform(0.65, 0.8), rng.uniform(0.25, 0.4)
    points = [(half, -high), (half * 0.45, -high + dip), (0.0, -high - 0.05), (-half * 0.45, -high + dip)]
    cup = _arc(0, -0.05, half, 0.6, 0, 180, 12)
    parts = _stem(0.4, rng)
    parts.append(_fill([*cup, (-half, -high), *reversed(points[1:]), (half, -high)]))
    if rng.random() < 0.4:
        middle = _curve([(0, -high), (half * 0.34, -0.2), (0, 0.35), (-half * 0.34, -0.2)])
        parts.append(_fill(middle, _pick_role(rng, "tint", "shade")))
    return parts


def _scalloped_flower(rng: random.Random) -> list[Draft]:
    """Petals in one wavy outline."""
    count, wave = rng.choice((6, 7, 8)), rng.uniform(0.12, 0.17)
    reach = 0.8 + wave * np.cos(count * (_RAYS + math.pi / 2))
    parts = _stem(0.6, rng) if rng.random() < 0.7 else []
    parts.append(_fill(_RAY * reach[:, None]))
    parts.append(_fill(_oval(0, 0, rng.uniform(0.26, 0.36)), _pick_role(rng, "paper", "ink", "shade")))
    return parts


# --- Suns ---


def _pointed_sun(rng: random.Random) -> list[Draft]:
    """A disc with triangles around it."""
    count, disc = rng.choice((8, 8, 10, 12)), rng.uniform(0.52, 0.6)
    gap = disc + rng.uniform(0.04, 0.12)
    half = gap * math.sin(math.pi / count) * rng.uniform(0.6, 0.85)
    ray = np.array(((gap, -half), (1.0, 0.0), (gap, half)))
    return [*_petals(count, ray, _pick_role(rng, "body", "body", "shade")), _fill(_oval(0, 0, disc))]


def _lined_sun(rng: random.Random) -> list[Draft]:
    """A disc with strokes around it; in some, every second stroke is shorter."""
    count, disc = rng.choice((8, 8, 10, 12)), rng.uniform(0.46, 0.58)
    gap, width = disc + rng.uniform(0.1, 0.16), rng.uniform(0.09, 0.15)
    short = rng.choice((0.0, 0.0, 0.12))
    rays = []
    for i in range(count):
        ray = _box(gap, -width / 2, 1 - short * (i % 2), width / 2)
        rays.append(_fill(_rotate(ray, 360 * i / count - 90)))
    return [*rays, _fill(_oval(0, 0, disc))]


def _jagged_sun(rng: random.Random) -> list[Draft]:
    """A disc on a polygon of many points."""
    count, disc = rng.choice((8, 10, 12)), rng.uniform(0.64, 0.68)
    rays = _zigzag(count, 1, disc + rng.uniform(0.02, 0.06))
    return [_fill(rays, _pick_role(rng, "tint", "shade")), _fill(_oval(0, 0, disc))]


def _joined_sun(rng: random.Random) -> list[Draft]:
    """Rays joined to the disc in one color, with a ring that shows where the disc ends."""
    count, disc = rng.choice((8, 10, 12)), rng.uniform(0.5, 0.56)
    parts = [_fill(_zigzag(count, 1, disc + 0.1)), _fill(_oval(0, 0, disc + 0.1))]
    return [
        *parts,
        _line([*_arc(0, 0, disc, disc, 0, 360, 25)], 0.06, _pick_role(rng, "ink", "shade", "paper")),
    ]


# --- Clouds ---


def _flat_cloud(rng: random.Random) -> list[Draft]:
    """Bumps on a flat base."""
    small, big, other = rng.uniform(0.3, 0.36), rng.uniform(0.46, 0.56), rng.uniform(0.32, 0.42)
    circles = [
        (-0.62, 0.36 - small, small),
        (-0.1, -0.15, big),
        (0.36, -0.02, other),
        (0.68, 0.36 - small, small),
    ]
    outline = _blob([*circles, (0, 0.05, 0.4)])
    x, y = outline[:, 0], outline[:, 1]
    under = (y > 0) & (x > -0.62) & (x < 0.68)
    return [_fill(np.column_stack((x, np.where(under, 0.36, y))))]


def _bumpy_cloud(rng: random.Random) -> list[Draft]:
    """Bumps all around."""
    upper = [(-0.3, -0.2, rng.uniform(0.36, 0.44)), (0.25, -0.22, rng.uniform(0.34, 0.46))]
    sides = [(-0.62, 0.06, rng.uniform(0.3, 0.36)), (0.62, 0.06, rng.uniform(0.3, 0.38))]
    lower = [(-0.28, 0.2, rng.uniform(0.28, 0.34)), (0.26, 0.2, rng.uniform(0.28, 0.34))]
    return [_fill(_blob([*upper, *sides, *lower, (0, 0, 0.35)]))]


def _arched_cloud(rng: random.Random) -> list[Draft]:
    """A flat base with round ends, under one high arch and a lower one."""
    thickness, high = rng.uniform(0.26, 0.32), rng.uniform(0.42, 0.52)
    at = rng.uniform(0.05, 0.25)
    left = _arc(-0.72, 0.4 - thickness, thickness, thickness, 90, 265, 8)
    low = _arc(-0.34, 0.0, 0.34, 0.34, 205, 290, 6)
    arch = _arc(at, -0.1, high, high, 220, 355, 10)
    right = _arc(0.74, 0.4 - thickness, thickness, thickness, -80, 90, 8)
    return [_fill(left + low + arch + right)]


def _shaded_cloud(rng: random.Random) -> list[Draft]:
    """A cloud before a smaller one, or with a lighter patch."""
    front = _flat_cloud(rng)
    if rng.random() < 0.5:
        return [_fill(_oval(0.42, -0.2, 0.4, 0.34), "tint"), *front]
    return [*front, _line(_arc(-0.1, -0.12, 0.32, 0.32, 190, 270, 7), 0.07, "tint")]


# --- Keys, drawn with the bow on the left ---


def _teeth(right: float, half: float, rng: random.Random) -> list[Draft]:
    count, width = rng.choice((2, 2, 3)), rng.uniform(0.1, 0.14)
    parts: list[Draft] = []
    for i in range(count):
        x = right - i * width * rng.uniform(1.7, 1.9)
        parts.append(_fill(_box(x - width, 0, x, half + rng.uniform(0.18, 0.28))))
    return parts


def _at_any_angle(drafts: list[Draft], rng: random.Random) -> list[Draft]:
    return _rotate_all(drafts, rng.choice((0, 0, 90, 270, 45, 45, -45, rng.uniform(-60, 60))))


def _ring_key(rng: random.Random) -> list[Draft]:
    """A ring for the bow, with a true hole."""
    bow, half = rng.uniform(0.38, 0.46), rng.uniform(0.075, 0.1)
    ring = _band(-1 + bow, 0, bow, bow * rng.uniform(0.9, 1.0), bow * rng.uniform(0.38, 0.5), 0, 360, 26)
    parts = [_fill(ring), _fill(_box(-1 + 1.75 * bow, -half, 1, half))]
    return _at_any_angle(parts + _teeth(1, half, rng), rng)


def _plate_key(rng: random.Random) -> list[Draft]:
    """A solid bow, round or with corners, with a small hole."""
    bow, half = rng.uniform(0.36, 0.44), rng.uniform(0.08, 0.11)
    shape: Path = rng.choice((_oval(-1 + bow, 0, bow), _rounded(-1, -bow, -1 + 2 * bow, bow, 0.14)))
    parts = [_fill(shape), _fill(_box(-1 + 1.75 * bow, -half, 1, half)), *_teeth(1, half, rng)]
    hole = rng.uniform(0.13, 0.17)
    parts.append(_fill(_oval(-1 + bow * rng.uniform(0.7, 1), 0, hole), _pick_role(rng, "ink", "paper")))
    return _at_any_angle(parts, rng)


def _old_key(rng: random.Random) -> list[Draft]:
    """Three loops for the bow, and a bit with a notch."""
    loop, half = rng.uniform(0.2, 0.23), rng.uniform(0.065, 0.085)
    parts = [
        _fill(_band(x, y, loop, loop, loop * 0.5, turn, turn + 360, 18))
        for x, y, turn in ((-0.8, 0.0, 0), (-0.5, -0.22, 90), (-0.5, 0.22, -90))
    ]
    parts.append(_fill(_box(-0.66, -half, 1, half)))
    parts.append(_fill(_box(-0.3, -half - 0.06, -0.2, half + 0.06)))
    deep, notch = half + rng.uniform(0.24, 0.3), rng.uniform(0.1, 0.16)
    bit = [(0.56, 0.0), (0.94, 0.0), (0.94, deep), (0.81, deep), (0.81, deep - notch), (0.69, deep - notch)]
    parts.append(_fill([*bit, (0.69, deep), (0.56, deep)]))
    return _at_any_angle(parts, rng)


# --- Umbrellas ---


def _handle(top: float, rng: random.Random) -> list[Draft]:
    """The stick with its hook."""
    low, hook = rng.uniform(0.72, 0.9), rng.uniform(0.13, 0.18)
    hooked = _arc(hook, low, hook, hook, 180, -10, 8)
    return [_line([(0.0, top), *hooked], rng.uniform(0.08, 0.11), "ink")]


def _canopy(high: float, scallops: int, deep: float) -> list[Point]:
    """A half-dome on a row of arches."""
    width = 2 / scallops
    edge: list[Point] = []
    for i in range(scallops):
        edge += _arc(1 - width * (i + 0.5), 0, width / 2, deep, 0, -180, 6)
    return _arc(0, 0, 1, high, 180, 360, 16) + edge


def _scalloped_umbrella(rng: random.Random) -> list[Draft]:
    high = rng.uniform(0.85, 1.0)
    canopy = _canopy(high, rng.choice((3, 4, 5)), rng.uniform(0.1, 0.18))
    parts = [*_handle(-high - rng.uniform(0.05, 0.14), rng), _fill(canopy)]
    return _rotate_all(parts, rng.choice((0, 0, 0, 25)))


def _ribbed_umbrella(rng: random.Random) -> list[Draft]:
    """A canopy with ribs from its top to its edge, or with its outer panels shaded."""
    high, deep = rng.uniform(0.85, 1.0), rng.uniform(0.1, 0.18)
    canopy = _canopy(high, 3, deep)
    parts = [*_handle(-high - 0.1, rng), _fill(canopy)]
    if rng.random() < 0.4:
        ribs = _arc(0, 0, 0.333, high, 180, 360, 9)
        parts.append(_fill([*ribs, *_arc(0, 0, 0.333, deep, 0, -180, 6)], _pick_role(rng, "shade", "tint")))
    else:
        role: Role = _pick_role(rng, "ink", "shade", "paper")
        parts.append(_line(_arc(0, 0, 0.333, high, 180, 270, 6), 0.05, role))
        parts.append(_line(_arc(0, 0, 0.333, high, 270, 360, 6), 0.05, role))
    return _rotate_all(parts, rng.choice((0, 0, 0, 20)))


def _plain_umbrella(rng: random.Random) -> list[Draft]:
    """A half-disc, or a pointed canopy with curved-in sides, on a straight base."""
    high = rng.uniform(0.75, 0.95)
    if rng.random() < 0.6:
        dome = _arc(0, 0, 1, high, 180, 360, 18)
    else:
        dome = [(-1.0, 0.0), (-0.8, -high * 0.42), (-0.42, -high * 0.78), (0.0, -high)]
        dome += [(-x, y) for x, y in reversed(dome[:-1])]
    return [*_handle(-high - rng.uniform(0.06, 0.14), rng), _fill(dome)]


# --- Clocks ---


def _hands(reach: float, rng: random.Random, role: Role = "ink") -> list[Draft]:
    """A short and a long hand that stand well apart."""
    hour = rng.uniform(0, 360)
    minute = hour + rng.uniform(60, 300)
    width = rng.uniform(0.1, 0.16)
    parts: list[Draft] = []
    for angle, length in ((hour, 0.55), (minute, 0.85)):
        turn = math.radians(angle)
        end = (reach * length * math.cos(turn), reach * length * math.sin(turn))
        parts.append(_line([(0, 0), end], width, role))
    return [*parts, _fill(_oval(0, 0, width * 0.9), role)]


def _ticks(reach: float, count: int) -> list[Draft]:
    parts: list[Draft] = []
    for i in range(count):
        x, y = math.cos(2 * math.pi * i / count), math.sin(2 * math.pi * i / count)
        parts.append(_line([(x * reach * 0.85, y * reach * 0.85), (x * reach, y * reach)], 0.07))
    return parts


def _round_clock(rng: random.Random) -> list[Draft]:
    """A face with or without a rim."""
    rim: Role | None = rng.choice(("ink", "shade", None))
    reach = 0.86
    parts: list[Draft] = [_fill(_UNIT, rim)] if rim else []
    parts.append(_fill(_oval(0, 0, reach if rim else 1)))
    return parts + _ticks(0.8, rng.choice((4, 4, 12, 12))) + _hands(0.72, rng)


def _square_clock(rng: random.Random) -> list[Draft]:
    corner = rng.uniform(0.05, 0.35)
    parts = [_fill(_rounded(-1, -1, 1, 1, corner))]
    if rng.random() < 0.5:
        parts.append(_line([*_arc(0, 0, 0.84, 0.84, 0, 360, 25)], 0.07, _pick_role(rng, "ink", "shade")))
    return parts + _ticks(0.74, rng.choice((4, 4, 12))) + _hands(0.68, rng)


def _alarm_clock(rng: random.Random) -> list[Draft]:
    """A round face with two bells on top and two feet."""
    bell, apart = rng.uniform(0.3, 0.36), rng.uniform(34, 42)
    role: Role = _pick_role(rng, "body", "shade", "ink")
    parts: list[Draft] = []
    for side in (-1, 1):
        dome = [(x, y - 1.06) for x, y in _arc(0, 0, bell, bell, 180, 360, 9)]
        parts.append(_fill(_rotate(dome, side * apart), role))
        parts.append(_line([(side * 0.55, 0.75), (side * 0.8, 1.1)], 0.16))
    rim: Role | None = rng.choice(("ink", "shade", None))
    if rim:
        parts.append(_fill(_UNIT, rim))
    parts.append(_fill(_oval(0, 0, 0.87 if rim else 1)))
    return parts + (_ticks(0.8, 4) if rng.random() < 0.7 else []) + _hands(0.75, rng)


def _bare_clock(rng: random.Random) -> list[Draft]:
    """A face with bold hands and no ticks, sometimes with a ring."""
    parts = [_fill(_UNIT)]
    if rng.random() < 0.6:
        parts.append(_line(_arc(0, 0, 0.94, 0.94, 0, 360, 27), 0.1, "ink"))
    return parts + _hands(0.85, rng, _pick_role(rng, "ink", "ink", "paper"))


# --- Books ---


def _open_book(rng: random.Random) -> list[Draft]:
    """Two pages that curve down to the middle, on a darker cover."""
    tall, sag, bend = rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.2), rng.uniform(0.08, 0.16)
    top = [(0.0, -tall + sag), (0.25, -tall - bend * 0.5), (0.55, -tall - bend * 0.6), (0.95, -tall)]
    page = [*top, *[(x, y + 2 * tall - sag * 0.5) for x, y in reversed(top)]]
    low = tall * 1 - sag * 0.2
    parts = [_fill(_box(-1.04, -tall + 0.08, 1.04, low + 0.04), _pick_role(rng, "shade", "ink"))]
    parts += [_fill(page), _fill([(-x, y) for x, y in page])]
    parts.append(_line([(0, -tall + sag), (0, tall + sag * 0.5)], 0.06))
    if rng.random() < 0.7:
        role: Role = _pick_role(rng, "ink", "paper", "shade")
        for y in (-0.5, -0.1, 0.3)[: rng.choice((2, 3))]:
            for side in (-1, 1):
                parts.append(_line([(side * 0.24, y * tall), (side * 0.76, y * tall - 0.02)], 0.06, role))
    return parts


def _spread_book(rng: random.Random) -> list[Draft]:
    """An open book seen from its outside: two slanted halves with the edges of the pages below."""
    tall, slant = rng.uniform(0.55, 0.7), rng.uniform(0.12, 0.25)
    right = [(0.0, -tall + slant), (1.0, -tall), (1.0, tall), (0.0, tall + slant)]
    parts = [_fill(right), _fill([(-x, y) for x, y in right])]
    edge = 0.1
    for side in (-1, 1):
        parts.append(_line([(side * 0.02, tall + slant - edge), (side * 0.98, tall - edge)], 0.07, "paper"))
    parts.append(_line([(0, -tall + slant), (0, tall + slant)], 0.07))
    return parts


def _slanted_book(rng: random.Random) -> list[Draft]:
    """A closed book lying or leaning, with its pages visible below the cover."""
    lean, thickness, tall = rng.uniform(0.2, 0.4), rng.uniform(0.16, 0.24), rng.uniform(0.75, 1.0)
    left, right = -0.7, 0.7
    top, low = -tall, tall * 0.55
    cover = [(left + lean, top), (right + lean, top), (right, low), (left, low)]
    parts = [_fill([(left, low), (right, low), (right, low + thickness), (left, low + thickness)], "paper")]
    parts.append(
        _fill(
            [(right + lean, top), (right + lean, top + thickness), (right, low + thickness), (right, low)],
            "paper",
        )
    )
    parts.append(
        _fill([(left, low - 0.02), (right, low - 0.02), (right, low + 0.05), (left, low + 0.05)], "shade")
    )
    parts.append(_fill(cover))
    parts.append(
        _line(
            [(left, low + thickness), (right, low + thickness), (right + lean, top + thickness)],
            0.08,
            "shade",
        )
    )
    parts.append(
        _fill(
            [(left + lean, top), (left + lean + 0.17, top), (left + 0.17, low), (left, low + thickness)],
            "shade",
        )
    )
    if rng.random() < 0.6:
        y = top * 0.45
        x = (left + right) / 2 + lean * 0.65
        parts.append(_line([(x - 0.28, y), (x + 0.42, y)], 0.1, _pick_role(rng, "paper", "ink", "tint")))
    return parts


def _upright_book(rng: random.Random) -> list[Draft]:
    """The front of a closed book with a darker spine, a title, and its pages at the lower edge."""
    half, spine = rng.uniform(0.68, 0.78), rng.uniform(0.16, 0.24)
    parts = [_fill(_rounded(-half, -1, half, 1, 0.1))]
    parts.append(_fill(_box(-half, -0.93, -half + spine, 0.93), "shade"))
    if rng.random() < 0.75:
        parts.append(_fill(_box(-half + 0.1, 0.7, half, 0.88), "paper"))
        parts.append(_line([(-half + 0.1, 0.79), (half, 0.79)], 0.03, "shade"))
    role: Role = _pick_role(rng, "paper", "ink", "tint")
    middle = spine / 2
    if rng.random() < 0.5:
        parts.append(_fill(_box(middle - 0.35, -0.65, middle + 0.35, -0.3), role))
    else:
        parts.append(_line([(middle - 0.36, -0.55), (middle + 0.36, -0.55)], 0.11, role))
        parts.append(_line([(middle - 0.22, -0.28), (middle + 0.22, -0.28)], 0.11, role))
    return _rotate_all(parts, rng.choice((0, 0, 0, 12)))


# --- Apples ---


def _fruit(rng: random.Random) -> Points:
    """An apple's outline: a dip at the top, a small one below, the widest part above the middle."""
    wide, slim, dip = rng.uniform(0.9, 1.0), rng.uniform(0.5, 0.6), rng.uniform(0.24, 0.34)
    right = [(0.0, -0.8 + dip), (0.22, -0.78), (0.55, -0.8), (wide - 0.1, -0.52), (wide, -0.05)]
    right += [(wide * 0.85, 0.45), (slim, 0.82), (0.25, 0.93)]
    left = [(-x, y) for x, y in reversed(right[1:])]
    return _curve([*right, (0.0, 0.86), *left])


def _stalk(rng: random.Random, *, leaf: bool = True) -> list[Draft]:
    lean, top = rng.uniform(0.02, 0.2), rng.uniform(-1.15, -1.0)
    role: Role = _pick_role(rng, "ink", "ink", "shade")
    parts = [_line([(0, -0.5), (lean * 0.3, -0.75), (lean, top)], rng.uniform(0.1, 0.13), "ink")]
    if leaf:
        size = rng.uniform(0.5, 0.65)
        parts.append(_fill(_leaf(lean * 0.4 + 0.04, -0.78, size, size * 0.62, -rng.uniform(18, 42)), role))
    return parts


def _whole_apple(rng: random.Random) -> list[Draft]:
    return [_fill(_fruit(rng)), *_stalk(rng)]


def _shiny_apple(rng: random.Random) -> list[Draft]:
    light = _rotate(_oval(0, 0, 0.1, 0.26), 25, -0.55, -0.25)
    return [
        _fill(_fruit(rng)),
        _fill(light, _pick_role(rng, "paper", "tint")),
        *_stalk(rng, leaf=rng.random() < 0.8),
    ]


def _bitten_apple(rng: random.Random) -> list[Draft]:
    """An apple with a round bite taken out of its side."""
    fruit = _fruit(rng)
    bite, size = np.array((rng.uniform(0.95, 1.05), rng.uniform(-0.15, 0.15))), rng.uniform(0.36, 0.46)
    away = fruit - bite
    gone = np.flatnonzero((away**2).sum(axis=1) < size**2)
    first, last = away[gone[0]], away[gone[-1]]
    start, end = math.degrees(math.atan2(first[1], first[0])), math.degrees(math.atan2(last[1], last[0]))
    # The outline runs clockwise, down the right side; the bite is followed through the inside of the apple.
    edge = _arc(float(bite[0]), float(bite[1]), size, size, start % 360, end % 360, 10)
    return [_fill(np.concatenate((fruit[: gone[0]], edge, fruit[gone[-1] + 1 :]))), *_stalk(rng)]


def _round_apple(rng: random.Random) -> list[Draft]:
    """Two overlapping ovals, which leave a dip above and below."""
    across, down, apart = rng.uniform(0.58, 0.66), rng.uniform(0.78, 0.88), rng.uniform(0.32, 0.4)
    lobes = [_fill(_rotate(_oval(0, 0, across, down), side * 8, side * apart, 0.1)) for side in (-1, 1)]
    return lobes + _stalk(rng)


# --- Chairs ---


def _side_chair(rng: random.Random) -> list[Draft]:
    """A chair from the side: the back runs down into the rear leg."""
    thickness, seat, lean = rng.uniform(0.14, 0.2), rng.uniform(0.05, 0.2), rng.uniform(0, 0.15)
    deep = rng.uniform(0.55, 0.65)
    parts = [_fill(_bar((-deep + thickness / 2 - lean, -1), (-deep + thickness / 2, seat), thickness))]
    parts.append(_fill(_box(-deep, seat - 0.05, -deep + thickness, 1)))
    parts.append(_fill(_box(deep - thickness, seat, deep, 1)))
    parts.append(_fill(_box(-deep, seat - thickness / 2, deep + 0.06, seat + thickness * 0.7)))
    if rng.random() < 0.4:
        parts.append(
            _fill(
                _box(-deep + thickness, seat - thickness / 2 - 0.12, deep + 0.04, seat - thickness / 2),
                "shade",
            )
        )
    if rng.random() < 0.3:
        parts.append(_fill(_box(-deep, 0.62, deep, 0.7), "shade"))
    return parts


def _front_chair(rng: random.Random) -> list[Draft]:
    """A chair from the front: a back with a panel or with slats, a seat and two legs."""
    half, thickness, seat = rng.uniform(0.5, 0.6), rng.uniform(0.13, 0.17), rng.uniform(0.05, 0.2)
    if rng.random() < 0.5:
        parts = [_fill(_rounded(-half, -1, half, seat - 0.2, 0.15))]
        parts += [_fill(_box(x - 0.07, seat - 0.25, x + 0.07, seat)) for x in (-half * 0.6, half * 0.6)]
    else:
        parts = [
            _fill(_box(x - thickness / 2, -1, x + thickness / 2, seat))
            for x in (-half + thickness / 2, half - thickness / 2)
        ]
        for y in (-0.96, -0.52):
            parts.append(_fill(_box(-half, y, half, y + rng.uniform(0.18, 0.26))))
    parts += [_fill(_box(x - thickness / 2, seat, x + thickness / 2, 1)) for x in (-half, half)]
    seat_part = [
        (-half, seat - 0.1),
        (half, seat - 0.1),
        (half + 0.15, seat + 0.15),
        (-half - 0.15, seat + 0.15),
    ]
    return [*parts, _fill(seat_part, _pick_role(rng, "body", "shade"))]


def _corner_chair(rng: random.Random) -> list[Draft]:
    """A chair seen at an angle: four legs, a slanted seat and a back."""
    thickness, seat = rng.uniform(0.12, 0.16), rng.uniform(0.08, 0.18)
    half, shift = rng.uniform(0.45, 0.52), rng.uniform(0.22, 0.32)
    legs = [(-half, seat, 0.72), (half - thickness, seat, 0.72)]
    parts = [_fill(_box(x, top, x + thickness, low), "shade") for x, top, low in legs]
    for x in (-half - shift, half - shift - thickness):
        parts.append(_fill(_box(x, seat + 0.25, x + thickness, 1)))
    seat_part = [(-half, seat), (half, seat), (half - shift, seat + 0.32), (-half - shift, seat + 0.32)]
    parts.append(_fill(_rounded(-half, -1, half, seat - 0.18, 0.1)))
    parts += [_fill(_box(x, seat - 0.3, x + thickness, seat + 0.04)) for x in (-half, half - thickness)]
    return [*parts, _fill(seat_part)]


def _armchair(rng: random.Random) -> list[Draft]:
    """A soft chair from the front, with arms and short feet."""
    arm, half = rng.uniform(0.26, 0.32), rng.uniform(0.6, 0.68)
    parts = [_fill(_box(x - 0.08, 0.6, x + 0.08, 0.98), "ink") for x in (-0.68, 0.68)]
    parts.append(_fill(_rounded(-half, -rng.uniform(0.8, 0.95), half, 0.6, rng.uniform(0.2, 0.35))))
    parts.append(_fill(_box(-0.8, 0.3, 0.8, 0.78), "shade"))
    parts.append(_fill(_rounded(-half, 0.08, half, 0.38, 0.1), _pick_role(rng, "tint", "shade")))
    top = rng.uniform(-0.25, -0.1)
    for x in (-0.95, 0.95 - arm):
        parts.append(_fill(_rounded(x, top, x + arm, 0.8, arm / 2 - 0.01)))
    return parts


# --- Birds, facing right ---


def _legs(at: Sequence[float], top: float, bottom: float, width: float) -> list[Draft]:
    return [_line([(x, top), (x, bottom), (x + 0.13, bottom)], width) for x in at]


def _standing_bird(rng: random.Random) -> list[Draft]:
    """A bird from the side, on two legs, with head and tail in one outline."""
    tail, deep = rng.uniform(-0.1, 0.15), rng.uniform(0.42, 0.52)
    body = [(0.86, -0.4), (0.75, -0.66), (0.5, -0.75), (0.27, -0.6), (0.1, -0.32), (-0.3, -0.12)]
    rear = [(-1.0, tail - 0.12), (-1.0, tail - 0.12), (-0.95, tail + 0.1), (-0.95, tail + 0.1)]
    belly = [(-0.45, deep * 0.6), (0.0, deep), (0.45, deep * 0.65), (0.75, 0.0)]
    parts = _legs((-0.05, 0.2), deep * 0.8, deep + rng.uniform(0.3, 0.42), 0.06)
    parts.append(_fill([(0.78, -0.6), (1.14, -0.42), (0.8, -0.33)], "ink"))
    parts.append(_fill(_curve(body + rear + belly)))
    wing = [(0.3, -0.05), (0.15, 0.22), (-0.2, 0.28), (-0.62, 0.12), (-0.62, 0.12), (-0.15, -0.12)]
    parts.append(_fill(_curve(wing), _pick_role(rng, "shade", "shade", "tint")))
    return parts + _eye(0.58, -0.5, 0.06, rng)


def _flying_bird(rng: random.Random) -> list[Draft]:
    """A bird from the side with its wings up."""
    high, back = rng.uniform(0.75, 0.95), rng.uniform(0.1, 0.5)
    body = [(0.88, -0.14), (0.66, -0.3), (0.4, -0.22), (0.0, -0.14), (-0.55, -0.04)]
    rear = [(-1.0, -0.22), (-1.0, -0.22), (-0.92, 0.02), (-1.0, 0.22), (-1.0, 0.22)]
    belly = [(-0.5, 0.16), (0.0, 0.27), (0.45, 0.2), (0.76, 0.04)]
    near = [(0.42, -0.05), (0.36, -high * 0.5), (-back, -high), (-back, -high)]
    near += [(-0.36, -high * 0.55), (-0.34, 0.0), (0.05, 0.08)]
    far = [(x + 0.3, y * 0.9) for x, y in near]
    parts = [_fill(_curve(far), "shade"), _fill([(0.8, -0.25), (1.1, -0.1), (0.8, -0.04)], "ink")]
    parts += [_fill(_curve(body + rear + belly)), _fill(_curve(near))]
    return parts + _eye(0.66, -0.14, 0.05, rng)


def _soaring_bird(rng: random.Random) -> list[Draft]:
    """A bird seen from in front, with wings spread up to either side, a head and a tail."""
    high, low = rng.uniform(0.5, 0.7), rng.uniform(0.35, 0.5)
    wing = [
        (0.05, -0.1),
        (0.35, -0.25),
        (0.65, -high),
        (1.0, -high - 0.05),
        (1.0, -high - 0.05),
        (0.8, -0.05),
        (0.45, 0.28),
    ]
    parts = [_fill(_curve([*wing, (0.05, 0.3)]))]
    parts.append(_fill(_curve([(-x, y) for x, y in [*wing, (0.05, 0.3)]])))
    parts.append(
        _fill([(-0.1, 0.2), (0.1, 0.2), (0.26, low + 0.35), (0, low + 0.24), (-0.26, low + 0.35)], "shade")
    )
    parts.append(_fill(_oval(0, 0.1, 0.2, 0.42)))
    parts.append(_fill(_oval(0.03, -0.36, 0.18)))
    parts.append(_fill([(0.16, -0.45), (0.42, -0.34), (0.16, -0.27)], "ink"))
    return [*parts, _fill(_oval(0.08, -0.4, 0.045), "ink")]


def _chick(rng: random.Random) -> list[Draft]:
    """A round body with a round head on it."""
    wide, head = rng.uniform(0.6, 0.7), rng.uniform(0.34, 0.4)
    parts = _legs((-0.15, 0.12), 0.6, 1.0, 0.07) if rng.random() < 0.7 else []
    at = rng.uniform(0.3, 0.42)
    parts.append(
        _fill([(at + head * 0.85, -0.64), (at + head + 0.27, -0.48), (at + head * 0.85, -0.36)], "ink")
    )
    parts.append(_fill([(-wide + 0.1, 0.0), (-wide - 0.32, -rng.uniform(0.15, 0.4)), (-wide + 0.3, 0.5)]))
    parts.append(_fill(_oval(0, 0.2, wide, 0.52)))
    parts.append(_fill(_oval(at, -0.45, head)))
    wing = [*_arc(-0.1, 0.15, 0.36, 0.3, 0, 180, 9), (-0.55, 0.05)]
    parts.append(_fill(wing, _pick_role(rng, "shade", "tint", "shade")))
    return parts + _eye(at + 0.1, -0.52, 0.06, rng)


DESIGNS: dict[str, tuple[Design, ...]] = {
    "circle": (_circle,),
    "oval": (_ellipse,),
    "square": (_square,),
    "rectangle": (_rectangle,),
    "triangle": (_triangle,),
    "pentagon": (_pentagon,),
    "hexagon": (_hexagon,),
    "star": (_star,),
    "heart": (_formula_heart, _lobed_heart),
    "cross": (_cross,),
    "diamond": (_diamond,),
    "crescent": (_crescent,),
    "house": (_gabled_house, _bungalow, _tall_house, _home_sign),
    "tree": (_round_tree, _stacked_tree, _bushy_tree, _clover_tree, _pointed_tree),
    "car": (_sedan, _van, _beetle, _toy_car),
    "boat": (_sloop, _dinghy, _steamer, _rowing_boat),
    "fish": (_lens_fish, _round_fish, _slender_fish, _angel_fish),
    "cup": (_mug, _tea_cup, _straight_cup),
    "flower": (_blossom, _daisy, _tulip, _scalloped_flower),
    "sun": (_pointed_sun, _lined_sun, _jagged_sun, _joined_sun),
    "cloud": (_flat_cloud, _bumpy_cloud, _arched_cloud, _shaded_cloud),
    "key": (_ring_key, _plate_key, _old_key),
    "umbrella": (_scalloped_umbrella, _ribbed_umbrella, _plain_umbrella),
    "clock": (_round_clock, _square_clock, _alarm_clock, _bare_clock),
    "book": (_open_book, _spread_book, _slanted_book, _upright_book),
    "apple": (_whole_apple, _shiny_apple, _bitten_apple, _round_apple),
    "chair": (_side_chair, _front_chair, _corner_chair, _armchair),
    "bird": (_standing_bird, _flying_bird, _soaring_bird, _chick),
}
