"""Place marks on scenes as loosely as a person would, and draw them with vipcli's own drawing code."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.colors import TRAINED, Color, named_color
from vipcli.marks.drawing import arrow_shape, draw
from vipcli.marks.kinds import (
    KINDS,
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
from vipcli.marks.styles import Style, fixed_style, jittered_style, relative_size
from vipcli.pictures.images import Pixels
from vipcli.training.world.facts import INPUT_SIZE, similar_colors
from vipcli.training.world.scene import Scene, SceneMark, Thing

EXTRA_MARK_COLORS = (
    "green",
    "pink",
    "brown",
    "white",
    "black",
    "gray",
    "navy",
    "teal",
    "maroon",
    "violet",
    "turquoise",
)
MARK_COLORS = (*TRAINED, *EXTRA_MARK_COLORS)

# A pixel counts as visible if the mark changes it by more than this, of 255. The first number is for strokes,
# the second for marks that cover an area.
_MIN_STROKE_CHANGE, _MIN_AREA_CHANGE = 42, 32
# At least this share of a mark's sampled pixels must be visible, and at least this many of them.
_MIN_VISIBLE_SHARE, _MIN_VISIBLE_PIXELS = 0.75, 12
_MAX_HIDDEN_SHARE = 0.33
# Minimum sizes in pixels of the model's input, below which the kind of a mark is hard to see: the height of
# a triangle, the shorter and longer side of a scribble, the length of an arrow and of its head.
_TRIANGLE_HEIGHT = 14.0
_SCRIBBLE_SIDES = 8.0, 18.0
_ARROW_LENGTHS = 18.0, 6.0
# Shares of its bounding box that a contour fills when it looks like a box or an ellipse. It looks like a
# triangle if three corners are left after simplifying it by this share of its length.
_LIKE_A_BOX, _LIKE_AN_ELLIPSE = 0.86, (0.74, 0.83)
_LIKE_A_TRIANGLE = 0.06
_TRIES = 6
# Weights for choosing the kind of a mark: higher for kinds that are rejected more often.
_KIND_WEIGHTS = [{ContourMark: 2.6, TriangleMark: 1.8, ScribbleMark: 1.6}.get(kind, 1.0) for kind in KINDS]
# How often marks prefer things of one category, so that there are numbers to add and shapes to compare.
_SAME_CATEGORY_FIRST = 0.5


@dataclass(frozen=True, slots=True)
class DrawnMark:
    """A mark that has been drawn: what it marks, and which pixels it changed."""

    placed: SceneMark
    changed: NDArray[np.bool_]
    """Whether each sampled pixel changed: every `step`-th one in both directions."""
    step: int
    aim: XY
    """The spot that the mark itself indicates: an arrow's tip, a frame's center."""


def mark_up(
    image: Pixels, scene: Scene, count: int, rng: random.Random, jitter: float, finer: float = 1.0
) -> tuple[tuple[DrawnMark, ...], Pixels]:
    """Draw up to `count` marks, each on a different thing as long as there are enough.

    They may be `finer` times smaller than what is recognized at the model's input size.
    """
    drawn: list[DrawnMark] = []
    free = list(range(len(scene.things)))
    rng.shuffle(free)
    if free and rng.random() < _SAME_CATEGORY_FIRST:
        first = scene.things[free[-1]].category
        free.sort(key=lambda index: scene.things[index].category == first)
    jittered = rng.random() < jitter
    same_kind = rng.choice(KINDS) if rng.random() < 0.3 else None
    for _ in range(count):
        if scene.foreign or rng.random() < 0.025:
            target, bounds = None, _empty_region(scene, rng)
        else:
            target = free.pop() if free else None
            bounds = scene.things[target].bounds if target is not None else None
        if bounds is None:
            continue
        thing = None if target is None else scene.things[target]
        for _ in range(_TRIES):
            kind = same_kind or rng.choices(KINDS, _KIND_WEIGHTS)[0]
            mark = _place(kind, _choose_color(kind, drawn, thing, rng), bounds, thing, scene, rng)
            if isinstance(mark, ContourMark) and count > 1 and resembles_other_kind(mark):
                continue
            result = _draw_if_clear(image, mark, target, scene, rng, jittered, finer)
            if result is not None:
                drawn.append(result[0])
                image = result[1]
                break
    return tuple(drawn), image


def _draw_if_clear(
    image: Pixels,
    mark: Mark,
    target: int | None,
    scene: Scene,
    rng: random.Random,
    jittered: bool,
    finer: float,
) -> tuple[DrawnMark, Pixels] | None:
    """Draw the mark; None if it would be hard to see or would hide its target."""
    size = relative_size(scene.width, scene.height)
    style = jittered_style(mark, size, rng) if jittered else fixed_style(mark, size)
    if not _is_recognizable(mark, style, scene, finer):
        return None
    marked = draw(image, [mark], [style])
    step = max(max(scene.width, scene.height) // 200, 1)
    red, green, blue = cv2.split(cv2.absdiff(marked[::step, ::step], image[::step, ::step]))
    change = cv2.max(cv2.max(red, green), blue)
    changed = change > 8
    cover = (
        draw(np.zeros_like(image), [replace(mark, color=named_color("white"))], [style])[::step, ::step, 0]
        > 0
    )
    # Strokes thinner than a pixel of the model's input become fainter when the picture is scaled down.
    width = style.stroke * INPUT_SIZE / max(scene.width, scene.height) if style.stroke else 1.0
    threshold = _MIN_AREA_CHANGE if isinstance(mark, MaskMark | PointMark) else _MIN_STROKE_CHANGE
    visible = int(np.count_nonzero(change * min(width, 1.0) > threshold))
    if visible < max(_MIN_VISIBLE_PIXELS, _MIN_VISIBLE_SHARE * np.count_nonzero(cover)):
        return None
    if target is not None and _hides(changed, scene.things[target], step, style.alpha):
        return None
    return DrawnMark(SceneMark(mark, target), changed, step, _aim(mark)), marked


def _aim(mark: Mark) -> XY:
    if isinstance(mark, ArrowMark):
        return mark.tip
    if isinstance(mark, PointMark):
        return mark.x, mark.y
    x1, y1, x2, y2 = mark.bounds
    return (x1 + x2) / 2, (y1 + y2) / 2


def _is_recognizable(mark: Mark, style: Style, scene: Scene, finer: float) -> bool:
    """Whether the kind of a mark can be recognized at `finer` times the model's input size."""
    scale = finer * INPUT_SIZE / max(scene.width, scene.height)
    match mark:
        case TriangleMark():
            (x1, y1), (x2, y2) = mark.bounds[:2], mark.bounds[2:]
            corners = np.array(style.corners) * (x2 - x1, y2 - y1) * scale
            sides = np.hypot(*(corners - np.roll(corners, 1, axis=0)).T)
            area = cv2.contourArea(corners.astype(np.float32))
            return bool(2 * area / sides.max() >= _TRIANGLE_HEIGHT)
        case ScribbleMark():
            _, sizes, _ = cv2.minAreaRect(np.array(mark.path, np.float32) * scale)
            shorter, longer = sorted(sizes)
            return shorter >= _SCRIBBLE_SIDES[0] and longer >= _SCRIBBLE_SIDES[1]
        case ArrowMark():
            shaft, head = arrow_shape(mark, style, scene.width, scene.height)
            length, wing = math.dist(shaft[0], shaft[-1]), math.dist(head[0], head[1])
            return length * scale >= _ARROW_LENGTHS[0] and wing * scale >= _ARROW_LENGTHS[1]
        case _:
            return True


def resembles_other_kind(contour: ContourMark) -> bool:
    """Whether a contour looks like a box, an ellipse or a triangle."""
    points = np.concatenate([np.array(polygon, np.float32) for polygon in contour.polygons])
    area = sum(cv2.contourArea(np.array(polygon, np.float32)) for polygon in contour.polygons)
    _, (width, height), _ = cv2.minAreaRect(points)
    filled = area / max(width * height, 1.0)
    hull = cv2.convexHull(points)
    has_three_corners = len(cv2.approxPolyDP(hull, _LIKE_A_TRIANGLE * cv2.arcLength(hull, True), True)) == 3
    low, high = _LIKE_AN_ELLIPSE
    convex = area > 0.97 * cv2.contourArea(hull)
    return convex and (filled > _LIKE_A_BOX or low < filled < high or has_three_corners)


def _hides(changed: NDArray[np.bool_], thing: Thing, step: int, alpha: int) -> bool:
    """Whether too much of the thing is painted over to recognize it."""
    silhouette = np.zeros(changed.shape, np.uint8)
    for polygon in thing.outline:
        cv2.fillPoly(silhouette, [np.round(np.array(polygon) / step).astype(np.int32)], (1,))
    area = max(int(np.count_nonzero(silhouette)), 1)
    covered = np.count_nonzero(changed & (silhouette > 0)) / area
    return bool(covered * (alpha / 255) ** 2 > _MAX_HIDDEN_SHARE)


def _choose_color(kind: type[Mark], drawn: list[DrawnMark], thing: Thing | None, rng: random.Random) -> Color:
    """A color that differs from other marks of the same kind and from the marked thing."""
    used = [other.placed.mark.color.name for other in drawn if isinstance(other.placed.mark, kind)]
    if thing is not None:
        used.append(thing.color)
    pool = list(TRAINED) if rng.random() < 0.82 else list(EXTRA_MARK_COLORS)
    distinct = [name for name in pool if not any(similar_colors(name, other) for other in used)]
    return named_color(rng.choice(distinct or list(TRAINED)))


def _empty_region(scene: Scene, rng: random.Random) -> Bounds | None:
    """A rectangle with no thing in it or near it; None if there is hardly room for one."""
    longer = max(scene.width, scene.height)
    for _ in range(12):
        w, h = (min(rng.uniform(0.1, 0.22) * longer, side * 0.6) for side in (scene.width, scene.height))
        x, y = rng.uniform(0, scene.width - w), rng.uniform(0, scene.height - h)
        gap = 0.08 * longer
        if all(
            x - gap >= x2 or x + w + gap <= x1 or y - gap >= y2 or y + h + gap <= y1
            for x1, y1, x2, y2 in (thing.bounds for thing in scene.things)
        ):
            return x, y, x + w, y + h
    return None


def _place(
    kind: type[Mark], color: Color, bounds: Bounds, thing: Thing | None, scene: Scene, rng: random.Random
) -> Mark:
    if kind is BoxMark:
        return BoxMark(color, *_loosen(bounds, scene, rng, -0.02, 0.2))
    if kind is EllipseMark:
        return EllipseMark(color, *_loosen(bounds, scene, rng, 0.04, 0.28))
    if kind is TriangleMark:
        return TriangleMark(color, *_loosen(bounds, scene, rng, -0.05, 0.25))
    if kind is PointMark:
        return PointMark(color, *_spot_on(bounds, thing, rng))
    if kind is ArrowMark:
        return _arrow(color, _spot_on(bounds, thing, rng), scene, rng)
    if kind is ScribbleMark:
        return ScribbleMark(color, _scribble_path(bounds, rng))
    polygons = _outline_polygons(bounds, thing, rng)
    return ContourMark(color, polygons) if kind is ContourMark else MaskMark(color, polygons)


def _loosen(bounds: Bounds, scene: Scene, rng: random.Random, low: float, high: float) -> Bounds:
    """The rectangle with each side moved at random, kept inside the picture."""
    x1, y1, x2, y2 = bounds
    # People leave room around flat things too, so the shorter side counts as at least half the longer one.
    side = 0.5 * max(x2 - x1, y2 - y1)
    w, h = max(x2 - x1, side), max(y2 - y1, side)
    most = rng.uniform(max(low, 0), high)
    left, right, up, down = (rng.uniform(low, most) for _ in range(4))
    return (
        max(x1 - left * w, 0),
        max(y1 - up * h, 0),
        min(x2 + right * w, scene.width),
        min(y2 + down * h, scene.height),
    )


def _spot_on(bounds: Bounds, thing: Thing | None, rng: random.Random) -> XY:
    """A spot near the middle, usually on the thing itself."""
    x1, y1, x2, y2 = bounds
    for _ in range(8):
        x = (x1 + x2) / 2 + rng.uniform(-0.25, 0.25) * (x2 - x1)
        y = (y1 + y2) / 2 + rng.uniform(-0.25, 0.25) * (y2 - y1)
        if thing is None or rng.random() < 0.3 or _inside(thing, x, y):
            break
    return x, y


def _inside(thing: Thing, x: float, y: float) -> bool:
    return any(
        cv2.pointPolygonTest(np.array(polygon, np.float32), (x, y), False) >= 0 for polygon in thing.outline
    )


def _arrow(color: Color, tip: XY, scene: Scene, rng: random.Random) -> ArrowMark:
    if rng.random() < 0.5:
        return ArrowMark(color, tip)
    reach = rng.uniform(28, 70) * relative_size(scene.width, scene.height)
    for _ in range(8):
        angle = rng.uniform(0, 2 * math.pi)
        tail = tip[0] + reach * math.cos(angle), tip[1] + reach * math.sin(angle)
        if 0 <= tail[0] <= scene.width and 0 <= tail[1] <= scene.height:
            return ArrowMark(color, tip, tail)
    return ArrowMark(color, tip)


def _scribble_path(bounds: Bounds, rng: random.Random) -> Polygon:
    """A scribble through the region: at random, or across it from left to right."""
    x1, y1, x2, y2 = bounds
    count = rng.randint(2, 6)
    if rng.random() < 0.5:
        return tuple((rng.uniform(x1, x2), rng.uniform(y1, y2)) for _ in range(max(count, 3)))
    points = []
    for number in range(count):
        share = (number + 0.5) / count
        wobble = rng.uniform(0.1, 0.9) if count > 2 else rng.uniform(0.3, 0.7)
        points.append((x1 + share * (x2 - x1), y1 + wobble * (y2 - y1)))
    return tuple(points)


def _outline_polygons(bounds: Bounds, thing: Thing | None, rng: random.Random) -> tuple[Polygon, ...]:
    """The thing's silhouette as a segmentation would give it, slightly enlarged, or a frame around it."""
    x1, y1, x2, y2 = bounds
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    # A mask that covers a thing exactly would look like a thing of the blended color.
    enlargement = 1.0 if thing is None else rng.uniform(1.04, 1.16)
    if thing is None or rng.random() < 0.15:
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    else:
        hull = np.concatenate([np.array(polygon, np.float32) for polygon in thing.outline])
        use_outline = len(thing.outline) == 1 and rng.random() >= 0.4
        points = (hull if use_outline else cv2.convexHull(hull)[:, 0]).tolist()
    return (
        tuple(
            (middle[0] + (x - middle[0]) * enlargement, middle[1] + (y - middle[1]) * enlargement)
            for x, y in points
        ),
    )
