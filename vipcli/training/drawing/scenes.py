"""Scenes: things laid out on a ground, some of them marked, as a picture and as what is true of it.

Everything comes from one random.Random, so a seed is a scene.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from vipcli.geometry import Bounds
from vipcli.marks.colors import RGB
from vipcli.pictures.images import Pixels
from vipcli.training.drawing.backgrounds import background, foreign, weather
from vipcli.training.drawing.marking import Layer, mark_up
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
    Scene,
    Texture,
    Thing,
)

SHORTEST, LONGEST = 128, 2000
FLATTEST = 3.0

_HOLLOW = 0.1

# How far a thing's colour must be from the ground's, in RGB steps, to be seen for certain.
_CONTRAST = 85


# How often things are shapes, numbers, letters and objects. Numbers alone come up often: what can be asked of
# them needs two of them, marked.
_MIXES = (
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
class Drawn:
    """A scene with its picture, before marks and with them."""

    scene: Scene
    plain: Pixels
    marked: Pixels
    layers: tuple[Layer, ...]


@dataclass(frozen=True, slots=True)
class Mixture:
    """What scenes are drawn from; stages of training dwell on different parts of the world."""

    marks: tuple[int, ...] = (1, 4, 5, 4)
    """How often a scene holds no mark, one, two …"""
    things: tuple[int, ...] = (1, 2, 3, 3, 3, 2, 2, 1, 1)
    """How often it holds one thing, two …"""
    foreign: float = 0.06
    jitter: float = 0.5
    """How often marks take the jittered style instead of the default one."""
    sizes: tuple[tuple[int, int, int], ...] = ((192, 448, 70), (448, 800, 18), (128, 192, 6), (800, 2000, 6))
    """Longer sides: from, to, and how often."""
    categories: tuple[tuple[int, int, int, int], ...] = _MIXES
    """How often things are shapes, numbers, letters and objects, in one sort of scene and another."""
    repeats: float = 0.0
    """How often a thing takes the kind, and how often the colour, of one that is there already."""


WORLD = Mixture()


def draw_scene(rng: random.Random, mixture: Mixture = WORLD) -> Drawn:
    """One scene of the mixture, drawn."""
    width, height = _size(rng, mixture)
    if rng.random() < mixture.foreign:
        scene = Scene(width, height, (), foreign=True)
        plain = weather(foreign(width, height, rng), rng)
    else:
        canvas, grounds = background(width, height, rng)
        things = _lay_out(canvas, grounds, rng, mixture)
        scene = Scene(width, height, things)
        plain = weather(canvas, rng)
    count = rng.choices(range(len(mixture.marks)), mixture.marks)[0]
    layers, marked = mark_up(plain, scene, count, rng, mixture.jitter)
    return Drawn(replace(scene, pointed=tuple(layer.pointed for layer in layers)), plain, marked, layers)


def _size(rng: random.Random, mixture: Mixture) -> tuple[int, int]:
    low, high, _ = rng.choices(mixture.sizes, [often for _, _, often in mixture.sizes])[0]
    longer = rng.randint(low, high)
    shape = _shape(rng)
    shorter = max(round(longer * min(shape, 1 / shape)), 43)
    return (longer, shorter) if shape >= 1 else (shorter, longer)


def _shape(rng: random.Random) -> float:
    """Width over height: often one that cameras give, from 1:3 to 3:1."""
    shape = rng.choice((1.0, 4 / 3, 3 / 2, 16 / 9, FLATTEST ** rng.random(), FLATTEST ** rng.random()))
    return shape if rng.random() < 0.6 else 1 / shape


def _lay_out(
    canvas: Pixels, grounds: tuple[RGB, ...], rng: random.Random, mixture: Mixture
) -> tuple[Thing, ...]:
    height, width = canvas.shape[:2]
    longer = max(width, height)
    colors = {color: shade_of(color, rng) for color in COLORS}
    usable = [color for color, shade in colors.items() if all(_apart(shade, ground) for ground in grounds)]
    kinds = _kinds(rng, mixture)
    wanted = rng.choices(range(1, len(mixture.things) + 1), mixture.things)[0]
    things: list[Thing] = []
    taken: list[Bounds] = []
    for number in range(wanted):
        large = rng.random() < (0.6 if wanted < 4 else 0.35 if wanted < 10 else 0.2)
        extent = rng.uniform(*(LARGE if large else SMALL)) * longer
        if extent > 0.92 * min(width, height):
            large, extent = False, rng.uniform(*SMALL) * longer
        centre = _room(width, height, extent, taken, rng)
        if centre is None:
            continue
        kind = _repeated([thing.kind for thing in things], rng, mixture) or kinds[number]
        color = _repeated([thing.color for thing in things], rng, mixture) or rng.choice(usable)
        texture = _texture(kind, large, rng)
        shade = colors[color] if rng.random() < 0.5 else shade_of(color, rng)
        # Nobody is asked about the texture of letters, but some are written in outline all the same.
        hollow = kind in NUMBERS + LETTERS and rng.random() < _HOLLOW
        outline = paint(canvas, kind, shade, "outlined" if hollow else texture, centre, extent, rng)
        xs = [x for polygon in outline for x, _ in polygon]
        ys = [y for polygon in outline for _, y in polygon]
        bounds = max(min(xs), 0.0), max(min(ys), 0.0), min(max(xs), width), min(max(ys), height)
        things.append(Thing(kind, color, texture, large, bounds, outline))
        taken.append(bounds)
    return tuple(things)


def _repeated(there: list[str], rng: random.Random, mixture: Mixture) -> str | None:
    return rng.choice(there) if there and mixture.repeats and rng.random() < mixture.repeats else None


def _texture(kind: str, large: bool, rng: random.Random) -> Texture:
    if kind in NUMBERS or kind in LETTERS:
        return "plain"
    if kind in THIN:
        return "plain"
    often = (30, 30, 30, 20) if large and kind in BROAD else (40, 0, 0, 20)
    return rng.choices(TEXTURES, often)[0]


def _kinds(rng: random.Random, mixture: Mixture) -> list[str]:
    """What the things will be: a mixed lot, or mostly of one sort, so that every comparison comes up."""
    groups = (SHAPES, NUMBERS, LETTERS, OBJECTS)
    weights = rng.choice(mixture.categories)
    kinds = [rng.choice(rng.choices(groups, weights)[0]) for _ in mixture.things]
    if rng.random() < 0.35:
        kinds[rng.randrange(1, len(kinds))] = kinds[0]
        kinds[rng.randrange(1, 4)] = kinds[0]
    return kinds


def _room(
    width: int, height: int, extent: float, taken: list[Bounds], rng: random.Random
) -> tuple[float, float] | None:
    """A centre where the thing fits; now and then one where it touches another or the edge cuts it."""
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
            for x1, y1, x2, y2 in taken
        ):
            return x, y
    return None


def _between(low: float, high: float, rng: random.Random) -> float:
    return rng.uniform(low, high) if low < high else (low + high) / 2


def _apart(one: RGB, other: RGB) -> bool:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) > _CONTRAST**2
