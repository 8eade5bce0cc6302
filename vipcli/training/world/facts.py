"""Everything the bundled model knows about: kinds, colors, textures, sizes, places, and facts about them.

The model card describes this world in words; keep the two in agreement.
"""

from __future__ import annotations

from typing import Literal

from vipcli.marks.colors import RGB

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
# Without I and O, which look like 1 and 0.
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

# The center of each color's range. Scenes vary around it without reaching another color.
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
# Color names that are hard to tell apart once they are drawn half transparent.
_SIMILAR_COLORS: tuple[tuple[str, ...], ...] = (
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

# Kinds too thin to be anything but plain, and kinds with room for stripes and dots when large.
THIN = ("cross", "crescent", "key", "chair")
BROAD = (*(shape for shape in SHAPES if shape not in THIN), "fish", "cup", "apple", "cloud")

# A thing's longer side as a share of the picture's longer side. The gap keeps the two sizes distinct.
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

INPUT_SIZE = 192
"""Side of the square picture that the model receives, in pixels."""

PLACES = (
    ("top left", "top", "top right"),
    ("left", "middle", "right"),
    ("bottom left", "bottom", "bottom right"),
)
# A center this close to the border between two places, as a share of the side, belongs to neither.
BORDER_MARGIN = 0.04
# A thing counts as the nearest only if its distance is less than this share of the next one's distance.
NEAREST_RATIO = 0.7


def similar_colors(first: str, second: str) -> bool:
    """Whether someone could take one of the color names for the other."""
    return first == second or any(first in group and second in group for group in _SIMILAR_COLORS)


def category(kind: str) -> Category:
    if kind in NUMBERS:
        return "number"
    if kind in LETTERS:
        return "letter"
    return "shape" if kind in SHAPES else "object"


def noun(kind: str) -> str:
    """`circle`, `letter A`, `number 7`."""
    group = category(kind)
    return f"{group} {kind}" if group in ("number", "letter") else kind


def article(word: str) -> str:
    """`a` or `an`, whichever goes before the word."""
    return "an" if word[0] in "aeiou" else "a"
