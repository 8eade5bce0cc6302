"""Draw scenes: things laid out on a background, some of them marked, with a description of what is there.

All randomness comes from one `random.Random`, so a seed determines a scene.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from vipcli.geometry import XY, Bounds
from vipcli.marks.colors import RGB
from vipcli.pictures.images import Pixels
from vipcli.training.drawing.backgrounds import background, degrade, foreign_picture
from vipcli.training.drawing.marking import DrawnMark, mark_up
from vipcli.training.drawing.painting import paint, shade_of
from vipcli.training.world.facts import (
    BROAD,
    COLORS,
    LARGE,
    LETTERS,
    NUMBERS,
    OBJECTS,
    SHAPES,
    SMALL,
    TEXTURES,
    THIN,
    Texture,
)
from vipcli.training.world.scene import Scene, Thing

MIN_SIDE, MAX_SIDE = 128, 2000
"""Limits of a picture's longer side, in pixels."""
MAX_ASPECT = 3.0
"""Limit of the longer side over the shorter one."""

_HOLLOW_CHANCE = 0.1

# Minimum distance between the colors of a thing and of the background, in RGB steps.
_MIN_CONTRAST = 85


# Weights of shapes, numbers, letters and objects, in several sorts of scene. Scenes of numbers alone are
# frequent, since questions of arithmetic need two marked numbers.
_CATEGORY_WEIGHTS = (
    (30, 20, 20, 30),
    (30, 20, 20, 30),
    (100, 0, 0, 0),
    (0, 100, 0, 0),
    (0, 100, 0, 0),
    (0, 0, 100, 0),
    (0, 0, 0, 100),
    (0, 0, 0, 100),
)


@dataclass(frozen=True, slots=True)
class DrawnScene:
    """A scene with its picture, without marks and with them."""

    scene: Scene
    plain: Pixels
    marked: Pixels
    marks: tuple[DrawnMark, ...]


@dataclass(frozen=True, slots=True)
class SceneMixture:
    """The distribution that scenes are drawn from; each stage of training may use its own."""

    marks: tuple[int, ...] = (1, 4, 5, 4)
    """Weights of scenes with no mark, one, two …"""
    things: tuple[int, ...] = (1, 2, 3, 3, 3, 2, 2, 1, 1)
    """Weights of scenes with one thing, two …"""
    foreign: float = 0.06
    """Share of foreign pictures."""
    jitter: float = 0.5
    """Share of scenes with jittered marks instead of the default style."""
    sizes: tuple[tuple[int, int, int], ...] = ((192, 448, 70), (448, 800, 18), (128, 192, 6), (800, 2000, 6))
    """Ranges of the longer side, each as from, to, weight."""
    categories: tuple[tuple[int, int, int, int], ...] = _CATEGORY_WEIGHTS
    """Weights of shapes, numbers, letters and objects, for each sort of scene."""
    repeats: float = 0.0
    """Chance that a thing repeats the kind, or the color, of an earlier one."""
    extent: tuple[float, float] | None = None
    """Range of a thing's longer side, as a share of the picture's; None for the world's own two."""


DEFAULT_MIXTURE = SceneMixture()


def draw_scene(rng: random.Random, mixture: SceneMixture = DEFAULT_MIXTURE) -> DrawnScene:
    """Draw a scene from the mixture."""
    width, height = _size(rng, mixture)
    if rng.random() < mixture.foreign:
        scene = Scene(width, height, (), foreign=True)
        plain = degrade(foreign_picture(width, height, rng), rng)
    else:
        canvas, background_colors = background(width, height, rng)
        things = _lay_out(canvas, background_colors, rng, mixture)
        scene = Scene(width, height, things)
        plain = degrade(canvas, rng)
    count = rng.choices(range(len(mixture.marks)), mixture.marks)[0]
    # Marks on things smaller than in training are as small.
    finer = 1.0 if mixture.extent is None else SMALL[0] / mixture.extent[0]
    marks, marked = mark_up(plain, scene, count, rng, mixture.jitter, finer)
    return DrawnScene(replace(scene, marks=tuple(mark.placed for mark in marks)), plain, marked, marks)


def _size(rng: random.Random, mixture: SceneMixture) -> tuple[int, int]:
    low, high, _ = rng.choices(mixture.sizes, [weight for _, _, weight in mixture.sizes])[0]
    longer = rng.randint(low, high)
    aspect = _aspect(rng)
    shorter = max(round(longer * min(aspect, 1 / aspect)), 43)
    return (longer, shorter) if aspect >= 1 else (shorter, longer)


def _aspect(rng: random.Random) -> float:
    """Width over height: from 1:3 to 3:1, often one that cameras use."""
    aspect = rng.choice((1.0, 4 / 3, 3 / 2, 16 / 9, MAX_ASPECT ** rng.random(), MAX_ASPECT ** rng.random()))
    return aspect if rng.random() < 0.6 else 1 / aspect


def _lay_out(
    canvas: Pixels, background_colors: tuple[RGB, ...], rng: random.Random, mixture: SceneMixture
) -> tuple[Thing, ...]:
    """Paint things onto the canvas, as many as find room."""
    height, width = canvas.shape[:2]
    shades = {color: shade_of(color, rng) for color in COLORS}
    usable = [
        color
        for color, shade in shades.items()
        if all(_contrasts(shade, other) for other in background_colors)
    ]
    kinds = _kinds(rng, mixture)
    count = rng.choices(range(1, len(mixture.things) + 1), mixture.things)[0]
    things: list[Thing] = []
    for index in range(count):
        large, extent = _extent(count, width, height, rng, mixture)
        center = _find_room(width, height, extent, [thing.bounds for thing in things], rng)
        if center is None:
            continue
        kind = _repeat([thing.kind for thing in things], rng, mixture) or kinds[index]
        color = _repeat([thing.color for thing in things], rng, mixture) or rng.choice(usable)
        texture = _texture(kind, large, rng)
        shade = shades[color] if rng.random() < 0.5 else shade_of(color, rng)
        # No question asks about the texture of letters, but some are hollow.
        hollow = kind in NUMBERS + LETTERS and rng.random() < _HOLLOW_CHANCE
        outline = paint(canvas, kind, shade, "outlined" if hollow else texture, center, extent, rng)
        xs = [x for polygon in outline for x, _ in polygon]
        ys = [y for polygon in outline for _, y in polygon]
        bounds = max(min(xs), 0.0), max(min(ys), 0.0), min(max(xs), width), min(max(ys), height)
        things.append(Thing(kind, color, texture, large, bounds, outline))
    return tuple(things)


def _extent(
    count: int, width: int, height: int, rng: random.Random, mixture: SceneMixture
) -> tuple[bool, float]:
    """Whether a thing is large, and its longer side in pixels; in crowded scenes fewer are large."""
    longer = max(width, height)
    if mixture.extent is not None:
        return False, rng.uniform(*mixture.extent) * longer
    large = rng.random() < (0.6 if count < 4 else 0.35 if count < 10 else 0.2)
    extent = rng.uniform(*(LARGE if large else SMALL)) * longer
    if extent > 0.92 * min(width, height):
        return False, rng.uniform(*SMALL) * longer
    return large, extent


def _repeat(earlier: list[str], rng: random.Random, mixture: SceneMixture) -> str | None:
    return rng.choice(earlier) if earlier and mixture.repeats and rng.random() < mixture.repeats else None


def _texture(kind: str, large: bool, rng: random.Random) -> Texture:
    if kind in NUMBERS or kind in LETTERS or kind in THIN:
        return "plain"
    weights = (30, 30, 30, 20) if large and kind in BROAD else (40, 0, 0, 20)
    return rng.choices(TEXTURES, weights)[0]


def _kinds(rng: random.Random, mixture: SceneMixture) -> list[str]:
    """The kinds of a scene's things, sometimes with repeats, so that every comparison comes up."""
    groups = (SHAPES, NUMBERS, LETTERS, OBJECTS)
    weights = rng.choice(mixture.categories)
    kinds = [rng.choice(rng.choices(groups, weights)[0]) for _ in mixture.things]
    if rng.random() < 0.35:
        kinds[rng.randrange(1, len(kinds))] = kinds[0]
        kinds[rng.randrange(1, 4)] = kinds[0]
    return kinds


def _find_room(
    width: int, height: int, extent: float, occupied: list[Bounds], rng: random.Random
) -> XY | None:
    """A center where the thing fits; now and then it may touch another thing or be cut by the edge."""
    half = extent / 2
    overhang = 0.25 * extent if rng.random() < 0.07 else 0.0
    overlap = 0.12 * extent if rng.random() < 0.08 else -0.04 * extent
    for _ in range(25):
        x = _between(half - overhang, width - half + overhang, rng)
        y = _between(half - overhang, height - half + overhang, rng)
        if all(
            x + half - overlap <= x1
            or x - half + overlap >= x2
            or y + half - overlap <= y1
            or y - half + overlap >= y2
            for x1, y1, x2, y2 in occupied
        ):
            return x, y
    return None


def _between(low: float, high: float, rng: random.Random) -> float:
    return rng.uniform(low, high) if low < high else (low + high) / 2


def _contrasts(first: RGB, second: RGB) -> bool:
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) > _MIN_CONTRAST**2
