"""Marks on scenes, placed as loosely as a hand would place them, and drawn by the tool's own drawing."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vipcli.geometry import Bounds, Polygon
from vipcli.marks.colors import TRAINED, Color, named
from vipcli.marks.drawing import arrow_shape, draw
from vipcli.marks.kinds import KINDS, Arrow, Box, Contour, Ellipse, Mark, Mask, Point, Scribble, Triangle
from vipcli.marks.styles import Style, fixed_style, jittered_style, relative_size
from vipcli.pictures.images import Pixels
from vipcli.training.world.facts import INPUT, Pointed, Scene, Thing, alike

OTHERS = ("green", "pink", "brown", "white", "black", "gray", "navy", "teal", "maroon", "violet", "turquoise")
MARK_COLORS = (*TRAINED, *OTHERS)

# A stroke must change its pixels by this much, of 255, to count as visible; what covers an area, by less.
_VISIBLE_STROKE, _VISIBLE_AREA = 42, 32
# This share of them, and so many of those looked at.
_MOSTLY, _FEWEST = 0.75, 12
_MOST_HIDDEN = 0.33
# In pixels of the model's input: a triangle's least height, what a scribble must bend by and reach, the
# length of an arrow and of its head. Below that nobody could say of which kind a mark is.
_TRIANGLE_HEIGHT = 14.0
_SCRIBBLE_SIDES = 8.0, 18.0
_ARROW_LENGTHS = 18.0, 6.0
# A contour that fills so much of the box around it could be taken for a box or an ellipse; for a triangle, if
# three corners are left of it at this share of its length.
_LIKE_A_BOX, _LIKE_AN_ELLIPSE = 0.86, (0.74, 0.83)
_LIKE_A_TRIANGLE = 0.06
_TRIES = 6
# How often a kind is tried: more often, where more of it has to be left out.
_OFTEN = [{Contour: 2.6, Triangle: 1.8, Scribble: 1.6}.get(kind, 1.0) for kind in KINDS]
# How often marks go to things of one category first, so that there are numbers to add and shapes to compare.
_LIKE_WITH_LIKE = 0.5


@dataclass(frozen=True, slots=True)
class Layer:
    """A mark that was drawn: what it points to, and which pixels it changed."""

    pointed: Pointed
    changed: NDArray[np.bool_]
    """Every `step`-th pixel in both directions."""
    step: int
    aim: tuple[float, float]
    """The middle of what it points to, as far as the mark itself tells: an arrow's tip, a frame's centre."""


def mark_up(
    image: Pixels, scene: Scene, count: int, rng: random.Random, jitter: float
) -> tuple[tuple[Layer, ...], Pixels]:
    """The picture with up to `count` marks on it, each on a thing of its own as far as there are enough."""
    layers: list[Layer] = []
    numbers = list(range(len(scene.things)))
    rng.shuffle(numbers)
    if numbers and rng.random() < _LIKE_WITH_LIKE:
        first = scene.things[numbers[-1]].category
        numbers.sort(key=lambda number: scene.things[number].category == first)
    jittered = rng.random() < jitter
    same_kind = rng.choice(KINDS) if rng.random() < 0.3 else None
    for _ in range(count):
        if scene.foreign or rng.random() < 0.025:
            target, bounds = None, _empty(scene, rng)
        else:
            target = numbers.pop() if numbers else None
            bounds = scene.things[target].bounds if target is not None else None
        if bounds is None:
            continue
        thing = None if target is None else scene.things[target]
        for _ in range(_TRIES):
            kind = same_kind or rng.choices(KINDS, _OFTEN)[0]
            mark = _placed(kind, _color(kind, layers, thing, rng), bounds, thing, scene, rng)
            if isinstance(mark, Contour) and count > 1 and _like_another_kind(mark):
                continue
            layer = _layer(image, mark, target, scene, rng, jittered)
            if layer is not None:
                layers.append(layer[0])
                image = layer[1]
                break
    return tuple(layers), image


def _layer(
    image: Pixels, mark: Mark, target: int | None, scene: Scene, rng: random.Random, jittered: bool
) -> tuple[Layer, Pixels] | None:
    """The mark drawn, or nothing where it could not be seen."""
    size = relative_size(scene.width, scene.height)
    style = jittered_style(mark, size, rng) if jittered else fixed_style(mark, size)
    if not _tells_its_kind(mark, style, scene):
        return None
    marked = draw(image, [mark], [style])
    step = max(max(scene.width, scene.height) // 200, 1)
    red, green, blue = cv2.split(cv2.absdiff(marked[::step, ::step], image[::step, ::step]))
    change = cv2.max(cv2.max(red, green), blue)
    changed = change > 8
    cover = draw(np.zeros_like(image), [replace(mark, color=named("white"))], [style])[::step, ::step, 0] > 0
    # Strokes thinner than a pixel of the model's input arrive there fainter than they are drawn.
    width = style.stroke * INPUT / max(scene.width, scene.height) if style.stroke else 1.0
    least = _VISIBLE_AREA if isinstance(mark, Mask | Point) else _VISIBLE_STROKE
    visible = int(np.count_nonzero(change * min(width, 1.0) > least))
    if visible < max(_FEWEST, _MOSTLY * np.count_nonzero(cover)):
        return None
    if target is not None and _hides(changed, scene.things[target], step, style.alpha):
        return None
    if isinstance(mark, Arrow):
        aim = mark.tip
    elif isinstance(mark, Point):
        aim = (mark.x, mark.y)
    else:
        x1, y1, x2, y2 = mark.bounds
        aim = (x1 + x2) / 2, (y1 + y2) / 2
    return Layer(Pointed(mark, target), changed, step, aim), marked


def _tells_its_kind(mark: Mark, style: Style, scene: Scene) -> bool:
    """Whether a mark is large enough, where the model sees it, to be told from those of other kinds."""
    scale = INPUT / max(scene.width, scene.height)
    match mark:
        case Triangle():
            (x1, y1), (x2, y2) = mark.bounds[:2], mark.bounds[2:]
            corners = np.array(style.corners) * (x2 - x1, y2 - y1) * scale
            sides = np.hypot(*(corners - np.roll(corners, 1, axis=0)).T)
            area = cv2.contourArea(corners.astype(np.float32))
            return bool(2 * area / sides.max() >= _TRIANGLE_HEIGHT)
        case Scribble():
            _, sizes, _ = cv2.minAreaRect(np.array(mark.path, np.float32) * scale)
            bend, reach = sorted(sizes)
            return bend >= _SCRIBBLE_SIDES[0] and reach >= _SCRIBBLE_SIDES[1]
        case Arrow():
            shaft, head = arrow_shape(mark, style, scene.width, scene.height)
            length, wing = math.dist(shaft[0], shaft[-1]), math.dist(head[0], head[1])
            return length * scale >= _ARROW_LENGTHS[0] and wing * scale >= _ARROW_LENGTHS[1]
        case _:
            return True


def _like_another_kind(contour: Contour) -> bool:
    """Whether a contour, around something square or round, looks like a box, an ellipse or a triangle."""
    points = np.concatenate([np.array(polygon, np.float32) for polygon in contour.polygons])
    area = sum(cv2.contourArea(np.array(polygon, np.float32)) for polygon in contour.polygons)
    _, (width, height), _ = cv2.minAreaRect(points)
    filled = area / max(width * height, 1.0)
    hull = cv2.convexHull(points)
    three_cornered = len(cv2.approxPolyDP(hull, _LIKE_A_TRIANGLE * cv2.arcLength(hull, True), True)) == 3
    low, high = _LIKE_AN_ELLIPSE
    full = area > 0.97 * cv2.contourArea(hull)
    return full and (filled > _LIKE_A_BOX or low < filled < high or three_cornered)


def _hides(changed: NDArray[np.bool_], thing: Thing, step: int, alpha: int) -> bool:
    """Whether so much of the thing is painted over that nobody could say what it is."""
    silhouette = np.zeros(changed.shape, np.uint8)
    for polygon in thing.outline:
        cv2.fillPoly(silhouette, [np.round(np.array(polygon) / step).astype(np.int32)], (1,))
    area = max(int(np.count_nonzero(silhouette)), 1)
    covered = np.count_nonzero(changed & (silhouette > 0)) / area
    return bool(covered * (alpha / 255) ** 2 > _MOST_HIDDEN)


def _color(kind: type[Mark], layers: list[Layer], thing: Thing | None, rng: random.Random) -> Color:
    """A colour unlike that of any mark of the same kind, and of the thing it goes to."""
    used = [layer.pointed.mark.color.name for layer in layers if isinstance(layer.pointed.mark, kind)]
    if thing is not None:
        used.append(thing.color)
    pool = list(TRAINED) if rng.random() < 0.82 else list(OTHERS)
    free = [name for name in pool if not any(alike(name, other) for other in used)]
    return named(rng.choice(free or list(TRAINED)))


def _empty(scene: Scene, rng: random.Random) -> Bounds | None:
    """A rectangle with nothing in it and nothing near."""
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


def _placed(
    kind: type[Mark], color: Color, bounds: Bounds, thing: Thing | None, scene: Scene, rng: random.Random
) -> Mark:
    if kind is Box:
        return Box(color, *_loose(bounds, scene, rng, -0.02, 0.2))
    if kind is Ellipse:
        return Ellipse(color, *_loose(bounds, scene, rng, 0.04, 0.28))
    if kind is Triangle:
        return Triangle(color, *_loose(bounds, scene, rng, -0.05, 0.25))
    if kind is Point:
        return Point(color, *_on(bounds, thing, rng))
    if kind is Arrow:
        return _arrow(color, _on(bounds, thing, rng), scene, rng)
    if kind is Scribble:
        return Scribble(color, _strokes(bounds, rng))
    polygons = _silhouette(bounds, thing, rng)
    return Contour(color, polygons) if kind is Contour else Mask(color, polygons)


def _loose(bounds: Bounds, scene: Scene, rng: random.Random, low: float, high: float) -> Bounds:
    """The rectangle with each side moved by its own share, kept inside the picture."""
    x1, y1, x2, y2 = bounds
    # Around something flat a hand still leaves room, so shares are of the longer side too.
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


def _on(bounds: Bounds, thing: Thing | None, rng: random.Random) -> tuple[float, float]:
    """A spot near the middle, on the thing itself where it can be found."""
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


def _arrow(color: Color, tip: tuple[float, float], scene: Scene, rng: random.Random) -> Arrow:
    if rng.random() < 0.5:
        return Arrow(color, tip)
    reach = rng.uniform(28, 70) * relative_size(scene.width, scene.height)
    for _ in range(8):
        angle = rng.uniform(0, 2 * math.pi)
        tail = tip[0] + reach * math.cos(angle), tip[1] + reach * math.sin(angle)
        if 0 <= tail[0] <= scene.width and 0 <= tail[1] <= scene.height:
            return Arrow(color, tip, tail)
    return Arrow(color, tip)


def _strokes(bounds: Bounds, rng: random.Random) -> Polygon:
    """A few points through the region, to and fro or anyhow."""
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


def _silhouette(bounds: Bounds, thing: Thing | None, rng: random.Random) -> tuple[Polygon, ...]:
    """The thing's outline as a segmentation would give it, a little too large, or a rough frame."""
    x1, y1, x2, y2 = bounds
    middle = (x1 + x2) / 2, (y1 + y2) / 2
    # What covers a thing exactly could not be told from a thing of the mixed colour.
    grown = 1.0 if thing is None else rng.uniform(1.04, 1.16)
    if thing is None or rng.random() < 0.15:
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    else:
        hull = np.concatenate([np.array(polygon, np.float32) for polygon in thing.outline])
        simple = len(thing.outline) == 1 and rng.random() >= 0.4
        points = (hull if simple else cv2.convexHull(hull)[:, 0]).tolist()
    return (
        tuple((middle[0] + (x - middle[0]) * grown, middle[1] + (y - middle[1]) * grown) for x, y in points),
    )
