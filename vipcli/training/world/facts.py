"""All that the bundled model knows of: things, colours, textures, sizes, places, and what is true of them.

The model card describes this world in words; the two must say the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from vipcli.geometry import Bounds, Polygon
from vipcli.marks.colors import RGB
from vipcli.marks.kinds import Mark

Category = Literal["shape", "number", "letter", "object"]
Texture = Literal["plain", "striped", "dotted", "outlined"]

SHAPES = (
    "circle",
    "oval",
    "square",
    "rectangle",
    "triangle",
    "pentagon",
    "hexagon",
    "star",
    "heart",
    "cross",
    "diamond",
    "crescent",
)
NUMBERS = tuple("0123456789")
# Without I and O, which are 1 and 0 to the eye.
LETTERS = tuple("ABCDEFGHJKLMNPQRSTUVWXYZ")
OBJECTS = (
    "house",
    "tree",
    "car",
    "boat",
    "fish",
    "cup",
    "flower",
    "sun",
    "cloud",
    "key",
    "umbrella",
    "clock",
    "book",
    "apple",
    "chair",
    "bird",
)
KINDS = SHAPES + NUMBERS + LETTERS + OBJECTS

# The middle of each colour; scenes vary around it without reaching a neighbour.
COLORS: dict[str, RGB] = {
    "red": (214, 32, 32),
    "orange": (244, 130, 22),
    "yellow": (246, 218, 40),
    "green": (40, 150, 54),
    "turquoise": (52, 200, 190),
    "blue": (36, 74, 205),
    "purple": (128, 44, 168),
    "pink": (246, 140, 190),
    "brown": (122, 72, 34),
    "black": (26, 26, 28),
    "white": (246, 246, 246),
    "gray": (136, 136, 138),
}
# Colour names for what looks much the same once it is drawn half transparent.
_ALIKE: tuple[tuple[str, ...], ...] = (
    ("red", "orange", "crimson", "maroon", "brown", "coral", "salmon"),
    ("orange", "coral", "salmon", "gold", "tan", "brown"),
    ("yellow", "gold", "orange"),
    ("yellow", "gold", "beige", "tan", "olive"),
    ("brown", "maroon", "olive", "tan"),
    ("lime", "green", "olive"),
    ("green", "teal", "turquoise"),
    ("aqua", "turquoise", "teal"),
    ("blue", "navy", "indigo", "purple"),
    ("fuchsia", "purple", "violet", "pink", "indigo"),
    ("fuchsia", "pink", "crimson", "coral", "salmon"),
    ("purple", "maroon"),
    ("white", "beige", "silver"),
    ("gray", "silver"),
    ("black", "navy", "indigo"),
    ("lime", "teal"),
    ("white", "gray", "pink"),
    ("black", "gray", "maroon"),
)
TEXTURES: tuple[Texture, ...] = ("plain", "striped", "dotted", "outlined")

# Too thin to be anything but plain; and what has room for stripes and dots, where it is large.
THIN = ("cross", "crescent", "key", "chair")
BROAD = (*(shape for shape in SHAPES if shape not in THIN), "fish", "cup", "apple", "cloud")

# A thing's longer side over the picture's longer side. The gap between the two keeps sizes plain to see.
SMALL = (0.15, 0.18)
LARGE = (0.225, 0.36)

CORNERS = {
    "circle": 0,
    "oval": 0,
    "triangle": 3,
    "square": 4,
    "rectangle": 4,
    "diamond": 4,
    "pentagon": 5,
    "hexagon": 6,
}
ALIVE = ("tree", "fish", "flower", "bird")
USES = {
    "house": "living in",
    "car": "driving",
    "boat": "sailing",
    "cup": "drinking",
    "key": "opening locks",
    "umbrella": "keeping dry",
    "clock": "telling the time",
    "book": "reading",
    "apple": "eating",
    "chair": "sitting",
}
VOWELS = ("A", "E", "U")

INPUT = 192
"""The side of the square that the model sees."""

PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
# A centre nearer than this share of a side to the border between two places is in neither for certain.
VAGUE = 0.04
# How far off the nearest thing may be, beside the next, to be nearest for certain.
NEARER = 0.7


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing in a scene. Coordinates are pixels of the picture, as a mark's are."""

    kind: str
    color: str
    texture: Texture
    large: bool
    bounds: Bounds
    """The smallest upright rectangle around what of it is inside the picture."""
    outline: tuple[Polygon, ...]
    """Its silhouette."""

    @property
    def category(self) -> Category:
        return category(self.kind)

    @property
    def centre(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.bounds
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def noun(self) -> str:
        """`circle`, `letter A`, `number 7`."""
        return noun(self.kind)


@dataclass(frozen=True, slots=True)
class Pointed:
    """A mark in a scene, and the number of the thing that it points out; None where it points at nothing."""

    mark: Mark
    target: int | None


@dataclass(frozen=True, slots=True)
class Scene:
    """What is in a picture. `things` is empty, and `foreign` set, for a picture that is not of this world."""

    width: int
    height: int
    things: tuple[Thing, ...]
    pointed: tuple[Pointed, ...] = ()
    foreign: bool = False

    def place(self, thing: Thing) -> str | None:
        """Which ninth of the picture the thing is in; None where that is not certain."""
        x, y = thing.centre
        column, row = _third(x / self.width), _third(y / self.height)
        return None if column is None or row is None else PLACES[row][column]

    def nearest(self, thing: Thing) -> int | None:
        """The number of the thing nearest to one; None where that is not certain."""
        near = sorted(
            (math.dist(thing.centre, other.centre), number)
            for number, other in enumerate(self.things)
            if other is not thing
        )
        if not near or (len(near) > 1 and near[0][0] >= NEARER * near[1][0]):
            return None
        return near[0][1]


def alike(one: str, other: str) -> bool:
    """Whether somebody could take the one colour name for the other."""
    return one == other or any(one in group and other in group for group in _ALIKE)


def category(kind: str) -> Category:
    if kind in NUMBERS:
        return "number"
    if kind in LETTERS:
        return "letter"
    return "shape" if kind in SHAPES else "object"


def noun(kind: str) -> str:
    found = category(kind)
    return f"{found} {kind}" if found in ("number", "letter") else kind


def article(words: Sequence[str] | str) -> str:
    """`a` or `an`, for what follows it."""
    first = words if isinstance(words, str) else words[0]
    return "an" if first[0] in "aeiou" else "a"


def _third(share: float) -> int | None:
    for border in (1 / 3, 2 / 3):
        if abs(share - border) < VAGUE:
            return None
    return int(share * 3) if 0 <= share < 1 else None
