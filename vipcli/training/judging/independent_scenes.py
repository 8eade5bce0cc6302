"""Test pictures with questions, drawn independently of the training code, from the model card alone.

Nothing is imported from `vipcli.training`; only the marks are drawn by vipcli itself, as for a user.
"""

from __future__ import annotations

import colorsys
import importlib.util
import io
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from vipcli.geometry import XY
from vipcli.marks.colors import TRAINED, Color, named_color
from vipcli.marks.drawing import draw
from vipcli.marks.kinds import (
    BY_KIND,
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
from vipcli.marks.styles import Style, styles_for

Pixels = NDArray[np.uint8]
RGB = tuple[int, int, int]

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
SHAPES = [
    *("circle", "oval", "square", "rectangle", "triangle", "pentagon", "hexagon"),
    *("star", "heart", "cross", "diamond", "crescent"),
]
OBJECTS = [
    *("house", "tree", "car", "boat", "fish", "cup", "flower", "sun"),
    *("cloud", "key", "umbrella", "clock", "book", "apple", "chair", "bird"),
]
DIGITS, LETTERS = [*"0123456789"], [*"ABCDEFGHJKLMNPQRSTUVWXYZ"]
CATEGORY: dict[str, str] = {
    name: category
    for category, names in {"shape": SHAPES, "object": OBJECTS, "number": DIGITS, "letter": LETTERS}.items()
    for name in names
}
CHARACTERS = ("letter", "number")
CORNERS = {"circle": 0, "oval": 0, "triangle": 3, "square": 4, "rectangle": 4, "diamond": 4}
CORNERS |= {"pentagon": 5, "hexagon": 6}
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
TEXTURES = ("plain", "striped", "dotted", "outlined")
OTHER_MARK_COLORS = (
    *("green", "pink", "brown", "white", "black", "gray"),
    *("navy", "teal", "maroon", "violet", "turquoise"),
)
THIN = ("cross", "crescent", "key", "chair")
BROAD = (*(name for name in SHAPES if name not in THIN), "fish", "cup", "apple", "cloud")
BACKGROUNDS = ("flat", "flat", "graded", "noisy", "grid", "lines", "checks", "clouds", "specks")
# Kinds that could be called by one another's names; no question depends on the difference.
LOOKALIKES = ({"square", "rectangle", "diamond"}, {"circle", "oval"})
POOLS = {
    "textured": [*SHAPES, *OBJECTS],
    "letter": LETTERS,
    "vowel": [*(name for name in LETTERS if name != "Y"), *"AEU" * 6],
    "number": DIGITS,
    "glyph": [*DIGITS, *LETTERS],
    "cornered": [*CORNERS],
    "creature": [*ALIVE, *ALIVE, *(name for name in OBJECTS if name != "apple")],
    "tool": [*USES],
    "nothing": ["nothing"],
}
ASKED_OF_ALL = ("what", "color", "texture", "size", "category", "place", "description")
SINGLE_WORD = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class IndependentScene:
    """A picture with a question about it, and the only right answer."""

    picture: Pixels
    """RGB, with marks."""
    plain: Pixels
    """The same without marks."""
    question: str
    answer: str
    family: str
    kinds: tuple[str, ...]
    """Kinds of the marks that the question names."""


# ---------------------------------------------------------------- drawing things

PAINTS = {"brown": (104, 66, 36), "green": (52, 128, 48), "dark": (38, 36, 42), "light": (244, 242, 232)}
PAINTS |= {"roof": (92, 62, 54), "glass": (206, 226, 238), "beak": (222, 142, 38)}

# Designs of each kind of thing. Semicolons separate the parts of a design, from back to front. A part is a
# paint and then figures, separated by commas; "-" before a figure cuts it out. The paint `main` is the color
# and texture of the thing itself; `detail` is dark or light, whichever contrasts. The figures are:
#     rect LEFT TOP RIGHT BOTTOM [RADIUS]
#     oval LEFT TOP RIGHT BOTTOM
#     pie LEFT TOP RIGHT BOTTOM START END
#     arc LEFT TOP RIGHT BOTTOM START END WIDTH
#     poly X Y X Y …
#     line WIDTH X Y X Y …
# START and END are degrees; all else is in hundredths of the canvas's side without its margin.
DESIGNS = {
    "circle": ("main oval 0 0 100 100",),
    "oval": ("main oval 0 20 100 80", "main oval 22 0 78 100", "main oval 0 26 100 74"),
    "square": ("main rect 5 5 95 95",),
    "rectangle": ("main rect 0 20 100 80", "main rect 24 0 76 100", "main rect 0 27 100 73"),
    "triangle": ("main poly 50 6 100 94 0 94", "main poly 38 6 100 94 0 94", "main poly 50 0 86 98 14 98"),
    "pentagon": ("main poly 50 0 98 35 79 90 21 90 2 35",),
    "hexagon": ("main poly 50 0 93 25 93 75 50 100 7 75 7 25", "main poly 0 50 25 7 75 7 100 50 75 93 25 93"),
    "star": (
        "main poly 50 0 63.5 31 98 35 72 57 79 90 50 73 21 90 28 57 2 35 36.5 31",
        "main poly 50 0 61 35 98 35 68 56 79 90 50 69 21 90 32 56 2 35 39 35",
    ),
    "heart": ("main oval 2 5 53 55, oval 47 5 98 55, poly 5 41 50 30 95 41 50 97",),
    "cross": ("main rect 34 0 66 100, rect 0 34 100 66", "main rect 31 0 69 100, rect 0 31 100 69"),
    "diamond": ("main poly 50 0 92 50 50 100 8 50", "main poly 50 0 82 50 50 100 18 50"),
    "crescent": ("main oval 0 0 100 100, -oval 30 2 114 86", "main oval 0 0 100 100, -oval 34 8 118 92"),
    "house": (
        "main rect 12 40 88 100; roof poly 0 44 50 4 100 44; detail rect 20 60 42 100, rect 56 56 78 76",
        "main rect 70 8 84 40, poly 0 50 50 2 100 50, rect 8 49 92 98;"
        "detail rect 40 62 60 98, rect 16 58 31 73, rect 69 58 84 73",
    ),
    "tree": (
        "brown rect 43 55 57 100; main oval 5 25 55 72, oval 45 25 95 72, oval 20 0 80 60",
        "brown rect 43 75 57 100; main poly 50 0 74 40 26 40, poly 50 22 83 62 17 62, poly 50 44 92 84 8 84",
    ),
    "car": (
        "main poly 18 50 30 24 68 24 84 50, rect 0 46 100 72 8; glass poly 28 47 35 30 47 30 47 47,"
        "poly 53 47 53 30 64 30 74 47; dark oval 12 59 36 83, oval 64 59 88 83; light oval 20 67 28 75,"
        "oval 72 67 80 75",
        "main poly 8 50 10 20 70 20 84 50, rect 0 46 100 72 8; glass rect 16 27 40 46,"
        "poly 46 46 46 27 66 27 75 46;"
        "dark oval 12 59 36 83, oval 64 59 88 83; light oval 20 67 28 75, oval 72 67 80 75",
    ),
    "boat": (
        "brown rect 48 0 52 74; main poly 56 6 56 64 94 64; main poly 45 16 45 64 14 64;"
        "main poly 0 72 100 72 82 98 20 98",
        "dark rect 50 12 62 40; light rect 28 36 72 55; dark oval 34 41 42 49, oval 46 41 54 49,"
        "oval 58 41 66 49;"
        "main poly 0 48 12 54 100 54 84 90 16 90",
    ),
    "fish": (
        "main poly 66 50 100 20 92 50 100 80, oval 0 24 78 76; detail oval 14 38 23 47,"
        "arc 12 26 36 74 -60 60 3",
        "main poly 30 32 50 10 62 34, poly 35 70 52 88 58 66, poly 66 50 100 24 100 76, oval 0 24 78 76;"
        "detail oval 14 38 23 47, arc 12 26 36 74 -60 60 3",
    ),
    "cup": (
        "main oval 55 28 100 78, -oval 66 39 89 67, rect 6 10 74 96 9; detail rect 6 10 74 16",
        "main oval 62 26 98 62, -oval 70 34 90 54, pie 4 -30 78 80 0 180, oval 6 76 84 90",
    ),
    "flower": (
        "green rect 47 45 53 100, poly 50 94 74 66 70 88, poly 50 90 26 66 30 86; main oval 56 17 82 43,"
        "oval 47 33 73 59, oval 27 33 53 59, oval 18 17 44 43, oval 27 1 53 27, oval 47 1 73 27;"
        "detail oval 40 20 60 40",
        "green rect 47 45 53 100, poly 50 94 74 66 70 88, poly 50 90 26 66 30 86;"
        "main oval 24 16 76 60, poly 24 40 22 2 38 20 50 0 62 20 78 2 76 40",
    ),
    "sun": (
        "main oval 25 25 75 75; main line 6 84 50 97 50, line 6 74 74 83 83, line 6 50 84 50 97,"
        "line 6 26 74 17 83,"
        "line 6 16 50 3 50, line 6 26 26 17 17, line 6 50 16 50 3, line 6 74 26 83 17",
        "main oval 24 24 76 76, poly 100 50 82 40 82 60, poly 85 85 80 66 66 80, poly 50 100 40 82 60 82,"
        "poly 15 85 34 80 20 66, poly 0 50 18 40 18 60, poly 15 15 20 34 34 20, poly 50 0 40 18 60 18,"
        "poly 85 15 66 20 80 34",
    ),
    "cloud": (
        "main oval 28 18 70 62, oval 0 42 36 78, oval 62 40 100 78, oval 48 27 84 66, rect 17 50 82 78",
        "main oval 18 20 58 62, oval 0 42 36 78, oval 62 40 100 78, oval 48 30 84 66, rect 17 50 82 78",
    ),
    "key": (
        "main oval 0 30 40 70, -oval 11 41 29 59, rect 38 45 100 55, rect 72 50 80 70, rect 90 50 98 74",
        "main rect 0 30 40 70 10, -oval 11 41 29 59, rect 38 45 100 55, rect 74 50 82 72, rect 90 50 98 72",
    ),
    "umbrella": (
        "dark rect 48 2 52 90, arc 30 78 52 100 0 180 4;"
        "main pie 0 6 100 100 180 360, -oval 0 43 25 60, -oval 25 43 50 60, -oval 50 43 75 60,"
        "-oval 75 43 100 60",
        "brown rect 48 2 53 90, rect 44 86 57 100 3;"
        "main pie 0 6 100 100 180 360, -oval 0 45 33 60, -oval 33 45 67 60, -oval 67 45 100 60",
    ),
    "clock": (
        "dark oval 0 0 100 100; main oval 6 6 94 94; detail line 6 50 50 36 36, line 4 50 50 50 17,"
        "line 4 50 11 50 15, line 4 50 89 50 85, line 4 11 50 15 50, line 4 89 50 85 50",
        "dark line 9 20 95 32 80, line 9 80 95 68 80, pie 6 0 38 34 135 315, pie 62 0 94 34 225 405,"
        "oval 6 6 94 94;"
        "main oval 11 11 89 89; detail line 6 50 50 62 66, line 4 50 50 78 50, line 4 50 16 50 20,"
        "line 4 50 84 50 80",
    ),
    "book": (
        "main rect 12 0 84 100 5; light rect 17 88 84 96; detail rect 33 16 70 22, rect 33 30 70 36,"
        "rect 22 0 25 88",
        "light poly 50 32 24 20 4 24 4 84 24 84 50 96 76 84 96 84 96 24 76 20;"
        "main poly 48 24 24 12 0 16 0 74 24 72 48 84; main poly 52 24 76 12 100 16 100 74 76 72 52 84;"
        "detail line 2 12 32 36 38, line 2 12 44 36 50, line 2 88 32 64 38, line 2 88 44 64 50",
    ),
    "apple": (
        "main oval 4 24 62 90, oval 38 24 96 90, oval 20 50 54 100, oval 46 50 80 100;"
        "brown line 5 50 34 50 20 45 6; green poly 52 20 62 6 80 4 70 17",
        "main oval 4 24 62 90, oval 38 24 96 90, oval 20 50 80 98; brown line 5 50 34 50 20 57 6",
    ),
    "chair": (
        "main poly 14 0 25 0 33 52 88 52 88 63 24 63, poly 26 60 36 60 26 100 16 100,"
        "poly 76 60 86 60 92 100 82 100",
        "main rect 20 0 28 55, rect 72 0 80 55, rect 20 4 80 16, rect 20 26 80 36,"
        "poly 20 50 80 50 92 64 8 64,"
        "rect 10 63 18 100, rect 82 63 90 100, rect 30 63 36 88, rect 64 63 70 88",
    ),
    "bird": (
        "beak poly 2 33 18 24 18 40; brown line 3 46 74 44 98 36 98, line 3 58 74 57 98 49 98;"
        "main oval 13 14 47 48, oval 20 32 86 82, poly 72 50 100 36 98 56 76 68;"
        "detail oval 22 24 29 31, arc 36 32 78 66 10 150 4",
        "beak poly 2 33 18 24 18 40; brown line 3 46 74 44 98 36 98, line 3 58 74 57 98 49 98;"
        "main oval 13 14 47 48, oval 20 32 86 82, poly 70 50 100 66 90 78 64 70;"
        "detail oval 22 24 29 31, pie 38 30 76 70 0 150",
    ),
}
FACES = (
    "DejaVuSans",
    "DejaVuSans-Oblique",
    "DejaVuSerif",
    "DejaVuSansMono",
    "STIXGeneral",
    "cmr10",
    "cmss10",
)
BOLD_FACES = ("DejaVuSans-Bold", "DejaVuSerif-Bold", "DejaVuSansMono-Bold", "STIXGeneralBol", "cmb10")
# Handwriting of each character: strokes through points on a grid of 5 × 7, as column and row.
HANDWRITING = """
0:20,10,01,05,16,36,45,41,30,20 1:02,20,26 2:01,10,30,41,42,06,46 3:00,40,22,33,44,45,36,16,05
4:36,30,04,44 5:40,00,03,33,44,45,36,06 6:40,20,02,05,16,36,45,44,33,03 7:00,40,16
8:23,02,01,10,30,41,42,23,04,05,16,36,45,44,23 9:42,33,13,02,01,10,30,41,42,44,36,16 A:06,20,46|14,34
B:03,00,30,41,42,33,03|33,44,45,36,06,03 C:41,30,10,01,05,16,36,45 D:06,00,20,31,42,44,35,26,06
E:40,00,06,46|03,33 F:40,00,06|03,33 G:41,30,10,01,05,16,36,45,43,23 H:00,06|40,46|03,43
J:40,45,36,16,05,04 K:00,06|40,03,46 L:00,06,46 M:06,00,24,40,46 N:06,00,46,40 P:06,00,30,41,42,33,03
Q:20,10,01,05,16,36,45,41,30,20|34,47 R:06,00,30,41,42,33,03|23,46 S:41,30,10,01,02,13,33,44,45,36,16,05
T:00,40|20,26 U:00,05,16,36,45,40 V:00,26,40 W:00,16,22,36,40 X:00,46|40,06 Y:00,23,40|23,26
Z:00,40,06,46
"""
STROKES = dict(entry.split(":") for entry in HANDWRITING.split())
ROUND = "023689CGJQSU"


class ThingCanvas:
    """A large square canvas on which a thing is drawn part by part, with a margin around it."""

    def __init__(self, side: int, color: RGB, texture: str, background: RGB, rng: random.Random) -> None:
        self.side, self.color, self.texture, self.rng = side, color, texture, rng
        self.image = Image.new("RGBA", (side, side))
        self.shape = Image.new("L", (side, side))
        self.thick = rng.uniform(0.032, 0.046) * side
        self.tone = _pattern_tone(color, background, rng)
        self.pattern = self._pattern() if texture in ("striped", "dotted") else None

    def draw(self, design: str) -> None:
        """Draw a design."""
        detail = PAINTS["dark" if sum(self.color) > 330 else "light"]
        for part in design.split(";"):
            paint, figures = part.strip().split(" ", 1)
            color = self.color if paint == "main" else PAINTS.get(paint, detail)
            self.lay(self.mask(figures), color, self.pattern if paint == "main" else None)

    def mask(self, figures: str) -> Image.Image:
        """The area of these figures on the canvas."""
        mask = Image.new("L", (self.side, self.side))
        pen, unit = ImageDraw.Draw(mask), 0.0072 * self.side
        for figure in figures.split(","):
            name, *words = figure.split()
            numbers, fill = [float(word) for word in words], 0 if name[0] == "-" else 255
            width = numbers.pop(0) * unit if name == "line" else 0.0
            length = len(numbers) if name in ("line", "poly") else 4
            place = [0.14 * self.side + unit * number for number in numbers[:length]]
            points, rest = list(zip(place[::2], place[1::2], strict=True)), numbers[length:]
            match name.lstrip("-"):
                case "rect":
                    pen.rounded_rectangle(place, (rest or [0])[0] * unit, fill=fill)
                case "oval":
                    pen.ellipse(place, fill=fill)
                case "pie":
                    pen.pieslice(place, rest[0], rest[1], fill=fill)
                case "arc":
                    pen.arc(place, rest[0], rest[1], fill=fill, width=round(rest[2] * unit))
                case "poly":
                    pen.polygon(points, fill=fill)
                case _:
                    pen.line(points, fill=fill, width=round(width))
                    for x, y in points:
                        pen.ellipse((x - width / 2, y - width / 2, x + width / 2, y + width / 2), fill=fill)
        return mask

    def lay(self, mask: Image.Image, color: RGB, pattern: Image.Image | None = None) -> None:
        """Draw a part on top; for an outlined thing, only its outline in the thing's color."""
        self.shape.paste(255, mask=mask)
        if self.texture == "outlined":
            # Farther inside than the line's width, a blurred mask keeps over 84% of its value.
            blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(self.thick)))
            self.image.paste((*self.color, 0), mask=mask)
            color, mask = (
                self.color,
                Image.fromarray(np.where(blurred < 214, np.asarray(mask), 0).astype(np.uint8)),
            )
        self.image.paste((*color, 255), mask=mask)
        if pattern is not None:
            self.image.paste((*self.tone, 255), mask=ImageChops.darker(mask, pattern))

    def _pattern(self) -> Image.Image:
        step, figures = self.rng.uniform(17, 23), list[str]()
        for row in range(-4, 11):
            y = step * row
            if self.texture == "striped":
                figures.append(f"rect -100 {y} 200 {y + step * 0.42}")
                continue
            xs = [step * (column + row % 2 / 2) for column in range(-4, 11)]
            figures += [f"oval {x} {y} {x + step / 2} {y + step / 2}" for x in xs]
        turn = self.rng.choice((0, 45, 90, 135)) if self.texture == "striped" else 0
        return self.mask(",".join(figures)).rotate(turn)

    def write(self, name: str) -> None:
        """Draw a letter or digit, in a typeface or handwritten."""
        if self.rng.random() < 0.2:
            self.texture, width = "plain", self.rng.uniform(9, 15)
            for stroke in STROKES[name].split("|"):
                points = [(20 + int(step[0]) * 15.0, 5 + int(step[1]) * 15.0) for step in stroke.split(",")]
                points = [(x + self.rng.gauss(0, 1), y + self.rng.gauss(0, 1)) for x, y in points]
                points = _cut_corners(points) if name in ROUND else points
                self.draw(f"main line {width} " + " ".join(f"{x} {y}" for x, y in points))
            return
        bold = self.texture == "outlined" or self.rng.random() < 0.5
        face = typefaces() / f"{self.rng.choice(BOLD_FACES if bold else FACES)}.ttf"
        mask, middle = Image.new("L", (self.side, self.side)), self.side / 2
        font = ImageFont.truetype(face, self.side * 0.8)
        ImageDraw.Draw(mask).text((middle, middle), name, fill=255, font=font, anchor="mm")
        self.thick = 0.022 * self.side
        self.lay(mask, self.color)


def typefaces() -> Path:
    """The folder of matplotlib's typefaces."""
    spec = importlib.util.find_spec("matplotlib")
    assert spec is not None and spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"


def _cut_corners(points: list[XY]) -> list[XY]:
    """The line with its corners cut twice."""
    for _ in range(2):
        cut = [
            (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share)
            for a, b in pairwise(points)
            for share in (0.25, 0.75)
        ]
        points = [points[0], *cut, points[-1]]
    return points


def _pattern_tone(color: RGB, background: RGB, rng: random.Random) -> RGB:
    """The color of stripes and dots: lighter, darker or white, and unlike the background if possible."""
    light = sum(color) / 3
    tones = [_mix(color, (255, 255, 255), 0.55), (250, 250, 250)] if light < 180 else []
    tones += [_mix(color, (0, 0, 0), 0.45)] if light > 70 else []
    return rng.choice([tone for tone in tones if math.dist(tone, background) > 70] or tones)


def _mix(first: RGB, second: RGB, share: float) -> RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


# ---------------------------------------------------------------- laying out a picture


@dataclass
class PlacedThing:
    """A thing of the card's world with its place in the picture; `nothing` is a place that is kept empty."""

    name: str
    color: str
    texture: str
    size: str
    image: Image.Image
    shape: NDArray[np.bool_]
    left: int = 0
    top: int = 0

    @property
    def category(self) -> str:
        return CATEGORY.get(self.name, "nothing")

    @property
    def noun(self) -> str:
        """Its name as it follows an adjective: `circle`, `letter A`."""
        return f"{self.category} {self.name}" if self.category in CHARACTERS else self.name

    @property
    def center(self) -> XY:
        return self.left + self.shape.shape[1] / 2, self.top + self.shape.shape[0] / 2

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + self.shape.shape[1], self.top + self.shape.shape[0]

    @classmethod
    def create(
        cls, name: str, color: str, texture: str, size: str, longer: int, background: RGB, rng: random.Random
    ) -> PlacedThing:
        """Draw a thing at its size for a picture with that longer side."""
        target = round(longer * rng.uniform(*((0.153, 0.177) if size == "small" else (0.23, 0.34))))
        light = rng.uniform(0.94, 1.02)
        red, green, blue = (min(round(part * light) + rng.randint(0, 6), 255) for part in COLORS[color])
        canvas, category = (
            ThingCanvas(round(4 * target / 0.72), (red, green, blue), texture, background, rng),
            CATEGORY.get(name),
        )
        if category in CHARACTERS:
            canvas.write(name)
        else:
            canvas.draw(rng.choice(DESIGNS.get(name, DESIGNS["circle"])))
        layers = [canvas.image, canvas.shape]
        if category not in CHARACTERS and name != "clock" and rng.random() < 0.5:
            layers = [layer.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for layer in layers]
        lean = rng.choice((0, rng.uniform(-1, 1))) * {"object": 5, "shape": 14}.get(category or "", 12)
        layers = [layer.rotate(lean, Image.Resampling.BICUBIC) for layer in layers]
        crop = layers[1].getbbox() or (0, 0, 1, 1)
        wide, tall = crop[2] - crop[0], crop[3] - crop[1]
        fitted = (round(target * wide / max(wide, tall)), round(target * tall / max(wide, tall)))
        image, shape = (layer.resize(fitted, Image.Resampling.BOX, crop) for layer in layers)
        return cls(name, color, texture, size, image, np.asarray(shape) > 127)


def noun_phrase(name: str) -> str:
    """The answer for a thing of this name: `a circle`, `an apple`, `the letter A`."""
    category = CATEGORY.get(name)
    if category in CHARACTERS:
        return f"the {category} {name}"
    return _article(name) if category else name


def _article(words: str) -> str:
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def _place(
    things: list[PlacedThing], asked: int, width: int, height: int, rng: random.Random
) -> list[PlacedThing]:
    """Place the things apart. Those asked about are whole; others may be cut by the edge, or left out."""
    placed = list[PlacedThing]()
    gap, cut = rng.choice((0.03, 0.03, 0.03, 0.0)) * max(width, height), rng.random() < 0.15
    for index, thing in enumerate(things):
        tall, wide = thing.shape.shape
        over = 0.15 if cut and index >= asked else -0.02
        for _ in range(60):
            thing.left = round(rng.uniform(-over * wide, width - wide + over * wide))
            thing.top = round(rng.uniform(-over * tall, height - tall + over * tall))
            if not any(_overlap(thing.bounds, other.bounds, gap) for other in placed):
                placed.append(thing)
                break
        else:
            if index < asked:
                return []
    return placed


def _overlap(first: Sequence[float], second: Sequence[float], gap: float = 0.0) -> float:
    """The area of the intersection of two rectangles, the first one widened by a gap."""
    wide = min(first[2] + gap, second[2]) - max(first[0] - gap, second[0])
    tall = min(first[3] + gap, second[3]) - max(first[1] - gap, second[1])
    return max(wide, 0.0) * max(tall, 0.0)


def _two_tones(rng: random.Random) -> tuple[RGB, RGB]:
    """A pale, strong or dark color for a background, and another tone of it."""
    saturation, value = rng.choice(
        (
            (rng.uniform(0.02, 0.22), rng.uniform(0.84, 0.98)),
            (rng.uniform(0.4, 0.85), rng.uniform(0.45, 0.85)),
            (rng.uniform(0.05, 0.6), rng.uniform(0.08, 0.28)),
        )
    )
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(rng.random(), saturation, value))
    other = (0, 0, 0) if red + green + blue > 330 else (255, 255, 255)
    return (red, green, blue), _mix((red, green, blue), other, rng.uniform(0.06, 0.14))


def _background(style: str, colors: tuple[RGB, RGB], width: int, height: int, rng: random.Random) -> Pixels:
    """A background in two colors, mixed according to its style."""
    gen, longer = np.random.default_rng(rng.getrandbits(64)), max(width, height)
    y, x = np.mgrid[0:height, 0:width] / longer
    step, turn = rng.uniform(0.03, 0.09), rng.uniform(0, 2 * math.pi)
    slope, share = x * math.cos(turn) + y * math.sin(turn), np.zeros((height, width))
    match style:
        case "graded":
            share = (slope - slope.min()) / np.ptp(slope)
        case "noisy":
            share = gen.normal(0, 0.5, share.shape)
        case "grid":
            share = np.where(np.minimum(x % step, y % step) < step * 0.08 + 1 / longer, 1, 0)
        case "lines":
            share = np.where(slope % step < step * 0.15 + 1 / longer, 1, 0)
        case "checks":
            share = (x // step + y // step) % 2
        case "specks":
            share = np.where(gen.random(share.shape) < 0.03, 1, 0)
        case "clouds":
            coarse = Image.fromarray(gen.integers(0, 256, (6, 6)).astype(np.uint8))
            share = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)) / 255
        case "waves":
            share = 0.5 + 0.5 * np.sin(slope / step * 3 + 2 * np.sin(9 * x))
        case "bands":
            share = slope // (2 * step) % 3 / 2
        case _:
            pass
    first, second = (np.array(color, float) for color in colors)
    mixed: Pixels = np.clip(first + (second - first) * share[..., None], 0, 255).astype(np.uint8)
    return mixed


def _foreign_picture(width: int, height: int, rng: random.Random) -> Pixels:
    """A picture that shows nothing of the card's world."""
    colors = [_two_tones(rng)[0] for _ in range(5)]
    style = rng.choice(("noisy", "clouds", "waves", "bands", "lines", "scribbles", "hills", "lights"))
    background = _background(
        "flat" if style == "lines" else style, (colors[0], colors[1]), width, height, rng
    )
    image, longer = Image.fromarray(background), max(width, height)
    pen = ImageDraw.Draw(image)
    spots = [(rng.uniform(0, width), rng.uniform(0, height)) for _ in range(60)]
    for index, (color, (x, y)) in enumerate(zip(colors[1:] * 8, spots, strict=False)):
        r = longer * rng.uniform(0.02, 0.08)
        match style:
            case "lines":
                pen.line([(x, y), spots[-index]], color, max(longer // 150, 1))
            case "scribbles":
                pen.line(_cut_corners(spots[index : index + 5]), color, max(longer // 120, 1))
            case "lights":
                pen.ellipse((x - r, y - r, x + r, y + r), color)
            case "hills" if index < 4:
                level = height * (0.4 + 0.15 * index)
                ridge = [
                    (a, level + 0.06 * height * math.sin((4 + index) * a / longer + x)) for a in range(width)
                ]
                pen.polygon([*ridge, (width, height), (0, height)], color)
    return np.array(image.filter(ImageFilter.GaussianBlur(longer / 35)) if style == "lights" else image)


def _degrade(picture: Pixels, rng: random.Random) -> Pixels:
    """Degrade a picture at random: blur, noise, brightness, JPEG."""
    image = Image.fromarray(picture)
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.GaussianBlur(max(image.size) / 1000))
    if rng.random() < 0.2:
        noise = np.random.default_rng(rng.getrandbits(64)).normal(0, 4, picture.shape)
        light = np.asarray(image) * rng.uniform(0.9, 1.06) + noise
        image = Image.fromarray(np.clip(light, 0, 255).astype(np.uint8))
    if rng.random() < 0.4:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=rng.randint(65, 95))
        image = Image.open(file)
    return np.array(image)


# ---------------------------------------------------------------- marks


def _mark(kind: str, color: Color, thing: PlacedThing, size: XY, rng: random.Random) -> Mark:
    """A mark of this kind on a thing, as loosely placed as by hand."""
    (x, y), (x1, y1, x2, y2) = thing.center, thing.bounds
    wide, tall, turn = x2 - x1, y2 - y1, rng.uniform(0, 2 * math.pi)
    match kind:
        case "box" | "ellipse" | "triangle":
            low, high = {"box": (0.0, 0.22), "ellipse": (0.12, 0.32), "triangle": (0.25, 0.6)}[kind]
            more = [rng.uniform(low, high) * max(wide, tall) for _ in range(4)]
            left, top = max(x1 - more[0], 1), max(y1 - more[1] * (1.6 if kind == "triangle" else 1), 1)
            right, bottom = min(x2 + more[2], size[0] - 2), min(y2 + more[3] * 0.8, size[1] - 2)
            return {"box": BoxMark, "ellipse": EllipseMark, "triangle": TriangleMark}[kind](
                color, left, top, right, bottom
            )
        case "point":
            return PointMark(
                color, *_nearest_point(thing, x + rng.gauss(0, 0.09) * wide, y + rng.gauss(0, 0.09) * tall)
            )
        case "arrow":
            out, reach = rng.uniform(0, 0.42), rng.uniform(0.1, 0.2) * max(size)
            tip = _nearest_point(thing, x + out * wide * math.cos(turn), y + out * tall * math.sin(turn))
            return ArrowMark(color, tip, (tip[0] + reach * math.cos(turn), tip[1] + reach * math.sin(turn)))
        case "scribble":
            path, count, flat = list[XY](), rng.randint(4, 7), rng.random() < 0.5
            for index in range(count):
                along, off = (index / (count - 1) - 0.5) * 0.8, rng.uniform(0.12, 0.38) * (-1) ** index
                path.append((x + (along if flat else off) * wide, y + (off if flat else along) * tall))
            return ScribbleMark(color, tuple(path))
        case _:
            return (ContourMark if kind == "contour" else MaskMark)(color, (_rough_outline(thing, rng),))


def _nearest_point(thing: PlacedThing, x: float, y: float) -> XY:
    """The point of a thing that is nearest to (x, y)."""
    rows, columns = thing.shape.nonzero()
    best = int(np.argmin((columns + thing.left - x) ** 2 + (rows + thing.top - y) ** 2))
    return float(columns[best] + thing.left), float(rows[best] + thing.top)


def _rough_outline(thing: PlacedThing, rng: random.Random) -> tuple[XY, ...]:
    """A rough outline of a thing as seen from its center, slightly enlarged as in the card."""
    (x, y), (rows, columns) = thing.center, thing.shape.nonzero()
    down, right = rows + thing.top - y, columns + thing.left - x
    reach = np.full(36, 0.12 * max(thing.shape.shape))
    np.maximum.at(reach, (np.arctan2(down, right) * 18 / math.pi).astype(int) % 36, np.hypot(right, down))
    turns = [math.radians(10 * index + 5) for index in range(36)]
    radii = reach * rng.uniform(1.04, 1.14) * [rng.uniform(0.98, 1.03) for _ in turns]
    return tuple(
        (x + float(r) * math.cos(t), y + float(r) * math.sin(t)) for r, t in zip(radii, turns, strict=True)
    )


def _usable_mark_kinds(things: list[PlacedThing]) -> list[str]:
    """The kinds of mark whose names could not mean one of these things instead."""
    names = {thing.name for thing in things}
    taken = {"box": "rectangle", "ellipse": "oval", "triangle": "triangle"}
    return [kind for kind in BY_KIND if taken.get(kind) not in names]


@dataclass
class IndependentPicture:
    """A picture with its things, and marks on the first of them."""

    plain: Pixels
    things: list[PlacedThing]
    marks: list[Mark] = field(default_factory=list)
    styles: list[Style] = field(default_factory=list)
    covers: list[NDArray[np.bool_]] = field(default_factory=list)

    def add_mark(self, target: PlacedThing, color_matters: bool, rng: random.Random) -> bool:
        """Add a clear and unambiguous mark to a thing; False if none was found."""
        height, width = self.plain.shape[:2]
        for _ in range(25):
            color = named_color(rng.choice([*TRAINED] if rng.random() < 0.8 else OTHER_MARK_COLORS))
            mark = _mark(rng.choice(_usable_mark_kinds(self.things)), color, target, (width, height), rng)
            jitter = rng.choice((None, rng.getrandbits(32)))
            style = styles_for([mark], width, height, jitter=jitter)[0]
            # The card warns about strokes under two pixels at 192 × 192, so no jittered style may have them;
            # the default style is used as it is.
            thin = jitter is not None and 0 < style.stroke < max(width, height) / 96
            # Under a strong mask, a thing's color cannot be recognized.
            strong = mark.kind == "mask" and color_matters and style.alpha > 90
            if not thin and not strong and self._fits(mark, style, target):
                self.marks.append(mark)
                self.styles.append(style)
                return True
        return False

    def _fits(self, mark: Mark, style: Style, target: PlacedThing) -> bool:
        """Whether a mark is clearly visible, hides no thing, and marks only this one."""
        height, width = self.plain.shape[:2]
        size = max(height, width) / 336
        if not all(_contrasts(mark.color, other.color) for other in self.marks):
            return False
        if target.color in COLORS and math.dist(mark.color.rgb, COLORS[target.color]) < 90:
            return False
        if (
            isinstance(mark, ArrowMark)
            and mark.tail
            and not (0 < mark.tail[0] < width and 0 < mark.tail[1] < height)
        ):
            return False
        change = np.abs(draw(self.plain, [mark], [style]).astype(int) - self.plain).max(axis=2)
        covered = change > 0
        if covered.sum() < 60 * size**2 or change[covered].mean() < (35 if mark.kind == "mask" else 60):
            return False
        # As the card says: three quarters of a mark contrast clearly with the pixels underneath.
        plainly = change[covered] > (32 if mark.kind in ("mask", "point") else 42)
        if plainly.mean() < 0.75:
            return False
        if not _is_recognizable(mark.kind, covered, max(height, width) / 192):
            return False
        if mark.kind != "mask" and _covered_share(covered, target) > (0.25 if style.alpha > 160 else 0.45):
            return False
        (rows, columns), (x, y) = covered.nonzero(), target.center
        bounds = (columns.min(), rows.min(), columns.max(), rows.max())
        if mark.kind == "triangle" and not (bounds[0] < x < bounds[2] and bounds[1] < y < bounds[3]):
            return False
        for other in self.things:
            framed = 0.0 if mark.kind == "arrow" else _overlap(bounds, other.bounds) / other.shape.size
            if other is not target and (framed > 0.12 or _covered_share(covered, other) > 0.03):
                return False
        if any((covered & cover).sum() > 0.1 * min(covered.sum(), cover.sum()) for cover in self.covers):
            return False
        self.covers.append(covered)
        return True


def _is_recognizable(kind: str, covered: NDArray[np.bool_], size: float) -> bool:
    """Whether a mark has the minimum size in the card, and does not look like another kind."""
    hull = cv2.convexHull(np.argwhere(covered)[:, ::-1].astype(np.int32))
    area, (_, sides, _) = cv2.contourArea(hull), cv2.minAreaRect(hull)
    short, long = sorted(sides)
    match kind:
        case "triangle":
            return area * 2 > 15 * size * long
        case "scribble":
            return short > 9 * size and long > 19 * size
        case "arrow":
            return long > 19 * size
        case "contour":
            full = area / max(short * long, 1)
            return full < 0.765 or 0.805 < full < 0.88
        case _:
            return True


def _contrasts(first: Color, second: Color) -> bool:
    return math.dist(first.rgb, second.rgb) > 150


def _covered_share(covered: NDArray[np.bool_], thing: PlacedThing) -> float:
    """The share of a thing that is covered."""
    (x1, y1, x2, y2), (height, width) = thing.bounds, covered.shape
    shape = thing.shape[max(-y1, 0) : height - y1, max(-x1, 0) : width - x1]
    return float((covered[max(y1, 0) : y2, max(x1, 0) : x2] & shape).sum() / max(shape.sum(), 1))


# ---------------------------------------------------------------- questions

INFORMAL_REFERENCES = {
    "box": ("in the {c} box", "inside the {c} frame", "with the {c} box around it"),
    "ellipse": ("in the {c} oval", "inside the {c} ellipse", "circled in {c}"),
    "triangle": ("inside the {c} triangle", "marked with the {c} triangle"),
    "point": ("under the {c} dot", "with the {c} dot on it"),
    "arrow": ("the {c} arrow points at", "at the tip of the {c} arrow"),
    "scribble": ("under the {c} scribble", "scribbled over in {c}"),
    "contour": ("inside the {c} contour", "that the {c} contour follows"),
    "mask": ("under the {c} mask", "covered by the {c} mask"),
}
# For each family: which things it asks about, and templates in which {a} and {b} are the marked things.
FAMILIES: dict[str, tuple[list[str], list[str]]] = {
    family.strip(): (needs.split(), [wording.strip() for wording in wordings.split(" / ")])
    for family, needs, wordings in (
        row.split("|")
        for row in """\
what | any | What is {a}? / Please name {a}. / What would you call {a}?
color | any | What colour is {a}? / Which colour does {a} have? / Tell me the colour of {a}.
texture | textured | What is the texture of {a}? / Is {a} plain, striped, dotted or outlined?
size | any | Is {a} small or large? / What size is {a}, small or large?
is-what | any | Is {a} {x}? / Would you say that {a} is {x}? / {a} is {x}, right?
is-color | any | Is {a} {x}? / Is the colour of {a} {x}? / Would you say {a} is {x}?
is-texture | textured | Is {a} {x}? / Does {a} look {x}?
is-size | any | Is {a} {x}? / Is it true that {a} is {x}?
category | any | Is {a} a shape, a number, a letter or an object? / Shape, number, letter or object: {a}?
choose-what | any | Is {a} {x} or {y}? / Which is it, {x} or {y}: {a}?
choose-color | any | Is {a} {x} or {y}? / What is the colour of {a}, {x} or {y}?
letter | letter | Which letter is {a}? / What letter do you see: {a}? / Read me {a}.
number | number | Which number is {a}? / What number do you read, looking at {a}? / Read me {a}.
read | glyph | Which character is {a}? / Read {a}. / What does {a} say?
corners | cornered | How many corners does {a} have? / Count the corners of {a}.
alive | creature | Is {a} alive? / Is {a} a living thing?
use | tool | What is {a} used for? / What is {a} good for? / What do people use {a} for?
is-use | tool | Is {a} used for {x}? / Do people use {a} for {x}?
vowel | vowel | Is {a} a vowel or a consonant? / Vowel or consonant: what is {a}?
parity | number | Is {a} odd or even? / Even or odd: what is {a}?
sum | number number | What is {a} plus {b}? / Add {a} and {b}. / What do {a} and {b} add up to?
difference | number number | What is the difference between {a} and {b}? / How far apart are {a} and {b}?
larger-number | number number | Which is larger, {a} or {b}? / Which is the higher one, {a} or {b}?
smaller-number | number number | Which is smaller, {a} or {b}? / Which is the lower one, {a} or {b}?
is-larger-number | number number | Is {a} larger than {b}? / Is {a} greater than {b}?
plus-one | number | What is {a} plus one? / Which number comes right after {a}? / Add one to {a}.
where | any any | Seen from {b}, where is {a}? / Is {a} left of, right of, above or below {b}?
left-of | any any | Is {a} to the left of {b}? / Is {a} further left than {b}?
right-of | any any | Is {a} to the right of {b}? / Is {a} further right than {b}?
above | any any | Is {a} above {b}? / Is {a} higher up than {b}?
below | any any | Is {a} below {b}? / Is {a} further down than {b}?
same-color | any any | Do {a} and {b} have the same colour? / Is {a} of the same colour as {b}?
same-kind | any any | Is {a} the same kind of thing as {b}? / Are {a} and {b} of the same kind?
bigger | any any | Which is bigger, {a} or {b}? / Which one is larger in the picture: {a} or {b}?
which-color | any any | Which is {x}, {a} or {b}? / Which of the two is the {x} one: {a} or {b}?
nearest | any | What is nearest to {a}? / Which thing lies closest to {a}?
place | any | Where in the picture is {a}? / In which part of the picture is {a}?
description | any | Describe {a}. / Please give me a description of {a}. / Tell me about {a}.
nothing | nothing | What is {a}? / What do you see: {a}?
count-things | | How many things are in the picture? / Count the things in this picture.
count-color | | How many {x} things are there? / Count the {x} things.
count-kind | | How many {x} are in the picture? / How many {x} do you see?
count-category | | How many {x} are there in the picture? / Count the {x}.
has-kind | | Is there {x} in the picture? / Do you see {x} here?
has-color | | Is there {x} thing in the picture? / Do you see {x} thing here?
color-of | | What colour is {x}? / Which colour does {x} have?
kind-of | | What is the {x} thing? / What is the thing that is {x}?
picture | | What is in the picture? / What do you see in this picture? / What does the picture show?
absent | | {x}
foreign | | {x}""".splitlines()
    )
}
NUMBERS = [family for family, (needs, _) in FAMILIES.items() if "number" in needs]
NOUNS = {family: ["number", "digit"] for family in NUMBERS}
NOUNS |= {"letter": ["letter"], "vowel": ["letter"], "read": ["character"], "corners": ["shape"]}
SENTENCES = ("description", "picture", "absent", "foreign")
ValuesAndAnswer = tuple[dict[str, str], str]


def _yes(truth: bool) -> str:
    return "yes" if truth else "no"


def _could_be_called(first: str, second: str) -> bool:
    """Whether one thing could be called by the other's name."""
    return first == second or any(first in group and second in group for group in LOOKALIKES)


def _other_name(rng: random.Random, names: Sequence[str]) -> str:
    """A name that fits none of these, often of the same category."""
    pool = [name for name in CATEGORY if not any(_could_be_called(name, present) for present in names)]
    near = [name for name in pool if CATEGORY[name] == CATEGORY[names[0]]]
    return rng.choice(near if near and rng.random() < 0.6 else pool)


def _answer(family: str, things: list[PlacedThing], size: XY, rng: random.Random) -> ValuesAndAnswer | None:
    """Values for the template's other blanks, and the answer; None if the card leaves it open."""
    a, b, coin = things[0], things[min(1, len(things) - 1)], rng.random() < 0.5
    facts = {
        "what": noun_phrase(a.name),
        "nothing": "nothing",
        "color": a.color,
        "texture": a.texture,
        "size": a.size,
    }
    facts |= {
        "category": a.category,
        "letter": a.name,
        "number": a.name,
        "read": a.name,
        "use": USES.get(a.name, ""),
    }
    facts |= {"corners": str(CORNERS.get(a.name)), "alive": _yes(a.name in ALIVE)}
    facts |= {"vowel": "vowel" if a.name in "AEU" else "consonant"}
    if family in facts:
        return {}, facts[family]
    if family in NUMBERS:
        return _sum(family, int(a.name), int(b.name) if b.name in DIGITS else 0)
    match family.split("-"):
        case ["is" | "choose" as form, what]:
            options = {"color": list(COLORS), "texture": list(TEXTURES), "size": ["small", "large"]}
            options |= {"use": list(USES.values()), "what": [noun_phrase(_other_name(rng, [a.name]))]}
            true = facts[what]
            other = rng.choice([option for option in options[what] if option != true])
            x, y = (true, other) if coin else (other, true)
            return {"x": x, "y": y}, true if form == "choose" else _yes(coin)
        case ["same", what]:
            if what == "kind" and a.name != b.name and _could_be_called(a.name, b.name):
                return None
            return {}, _yes(a.name == b.name if what == "kind" else a.color == b.color)
        case ["bigger"]:
            return ({}, noun_phrase((a if a.size == "large" else b).name)) if a.name != b.name else None
        case ["which", "color"]:
            if a.color == b.color or a.name == b.name:
                return None
            return {"x": (a if coin else b).color}, noun_phrase((a if coin else b).name)
        case ["picture"] | ["count" | "has" | "kind" | "color", *_]:
            return _whole(family, things, max(size), rng)
        case _:
            return _relation(family, things, size, rng)


def _sum(family: str, first: int, second: int) -> ValuesAndAnswer | None:
    answers = {"sum": str(first + second), "plus-one": str(first + 1), "parity": ("even", "odd")[first % 2]}
    if family not in answers and first == second:
        return None
    answers |= {"difference": str(abs(first - second)), "larger-number": str(max(first, second))}
    answers |= {"smaller-number": str(min(first, second)), "is-larger-number": _yes(first > second)}
    return {}, answers[family]


def _relation(family: str, things: list[PlacedThing], size: XY, rng: random.Random) -> ValuesAndAnswer | None:
    """Answer questions about where things are."""
    a, b, longer = things[0], things[min(1, len(things) - 1)], max(size)
    dx, dy = a.center[0] - b.center[0], a.center[1] - b.center[1]
    match family:
        case "left-of" | "right-of":
            return None if abs(dx) < 0.12 * longer else ({}, _yes((dx < 0) == (family == "left-of")))
        case "above" | "below":
            return None if abs(dy) < 0.12 * longer else ({}, _yes((dy < 0) == (family == "above")))
        case "where":
            if max(abs(dx), abs(dy)) < max(0.12 * longer, 1.6 * min(abs(dx), abs(dy))):
                return None
            across, down = "left" if dx < 0 else "right", "above" if dy < 0 else "below"
            return {}, across if abs(dx) > abs(dy) else down
        case "nearest":
            others = sorted(things[1:], key=lambda thing: math.dist(thing.center, a.center))
            ways = [math.dist(thing.center, a.center) for thing in others]
            return ({}, noun_phrase(others[0].name)) if len(ways) > 1 and ways[0] < 0.7 * ways[1] else None
        case _:
            borders = [
                (where, side * part / 3)
                for where, side in zip(a.center, size, strict=True)
                for part in (1, 2)
            ]
            if any(abs(where - border) < 0.04 * longer for where, border in borders):
                return None
            x, y = (where / side for where, side in zip(a.center, size, strict=True))
            ninth = (
                f"{('top', '', 'bottom')[int(3 * y)]} {('left', '', 'right')[int(3 * x)]}".strip() or "middle"
            )
            if family == "place":
                return {}, ninth
            texture = [a.texture] if a.texture != "plain" and a.category not in CHARACTERS else []
            at = "at" if ninth in ("top", "bottom", "left", "right") else "in"
            return {}, f"A {' '.join([a.size, a.color, *texture, a.noun])} {at} the {ninth} of the picture."


def _whole(
    family: str, things: list[PlacedThing], longer: float, rng: random.Random
) -> ValuesAndAnswer | None:
    """Answer questions about the whole picture."""
    names, colors, coin = [t.name for t in things], [t.color for t in things], rng.random() < 0.5
    color = rng.choice(colors if coin or family == "kind-of" else list(COLORS))
    name = rng.choice(names) if family != "has-kind" or coin else _other_name(rng, names)
    category = rng.choice(("shape", "number", "letter"))
    noun = f"{CATEGORY[name]} {name}" if CATEGORY[name] in CHARACTERS else name
    odd = any(name != other and _could_be_called(name, other) for other in names)
    match family:
        case "count-things":
            return {}, str(len(things))
        case "count-color":
            return {"x": color}, str(colors.count(color))
        case "count-category":
            return {"x": category + "s"}, str(sum(thing.category == category for thing in things))
        case "count-kind":
            plural = name + ("es" if name == "cross" else "s")
            return (
                None
                if odd or CATEGORY[name] in CHARACTERS or name == "fish"
                else ({"x": plural}, str(names.count(name)))
            )
        case "has-color":
            return {"x": _article(color)}, _yes(color in colors)
        case "has-kind":
            return None if odd else ({"x": _article(noun)}, _yes(name in names))
        case "kind-of":
            return (
                ({"x": color}, noun_phrase(names[colors.index(color)])) if colors.count(color) == 1 else None
            )
        case "color-of":
            unique = names.count(name) == 1 and not odd
            return ({"x": f"the {noun}"}, colors[names.index(name)]) if unique else None
        case _:
            row = sorted(things, key=lambda thing: thing.center[0])
            if len(row) > 3 or any(
                right.center[0] - left.center[0] < 0.12 * longer for left, right in pairwise(row)
            ):
                return None
            *parts, last = [_article(f"{thing.color} {thing.noun}") for thing in row]
            text = f"{', '.join(parts)} and {last}." if parts else f"{last}."
            return {}, text[0].upper() + text[1:]


def _refer(mark: Mark, noun: str, marks: list[Mark], rng: random.Random) -> str:
    """Refer to a thing by its mark: with the mark's phrase, informally, or with as little as is enough."""
    if rng.random() < 0.6:
        return f"the {noun} {mark.phrase}"
    if len(marks) == 1 and rng.random() < 0.3:
        return f"the marked {noun}"
    if [other.kind for other in marks].count(mark.kind) == 1 and rng.random() < 0.4:
        return f"the {noun} {mark.relation} the {mark.noun}"
    return f"the {noun} {rng.choice(INFORMAL_REFERENCES[mark.kind]).format(c=mark.color.name)}"


def _question(family: str, values: dict[str, str], rng: random.Random) -> str:
    """A question of this family, now and then in lower case or with the instruction appended."""
    text: str = rng.choice(FAMILIES[family][1]).format(**values)
    text = text[0].upper() + text[1:]
    text = text.replace("colour", "color") if rng.random() < 0.5 else text
    if rng.random() < 0.08 and not any(name in text.split() for name in LETTERS):
        text = text.lower().rstrip("?.")
    return text + SINGLE_WORD if rng.random() < 0.1 and family not in SENTENCES else text


def _absent(picture: IndependentPicture, rng: random.Random) -> tuple[str, str, tuple[str, ...]] | None:
    """A question about an absent mark."""
    mark = _mark(
        rng.choice(_usable_mark_kinds(picture.things)),
        named_color(rng.choice([*TRAINED])),
        picture.things[0],
        (999, 999),
        rng,
    )
    if not all(_contrasts(mark.color, other.color) for other in picture.marks):
        return None
    noun, roll = rng.choice(("thing", "object", "item")), rng.random()
    reference, name = f"the {noun} {mark.phrase}", mark.name
    if roll < 0.2 and not picture.marks:
        reference, name = f"the marked {noun}", "mark"
    elif roll < 0.35 and mark.kind not in [other.kind for other in picture.marks]:
        reference, name = f"the {noun} {mark.relation} the {mark.noun}", mark.noun
    question = _question(rng.choice(ASKED_OF_ALL), {"a": reference}, rng)
    return question, f"There is no {name} in the picture.", (mark.kind,)


# ---------------------------------------------------------------- pictures with questions


def _things(family: str, backgrounds: tuple[RGB, RGB], longer: int, rng: random.Random) -> list[PlacedThing]:
    """Things for a question of this family, those asked about first, in colors that stand out."""
    needs = FAMILIES[family][0]
    fewest = {"nearest": 3, "nothing": 2}.get(family, max(len(needs), 1))
    count = min(
        max(fewest, rng.choice((1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9))), 3 if family == "picture" else 9
    )
    colors = [
        name
        for name, rgb in COLORS.items()
        if min(math.dist(rgb, background) for background in backgrounds) > 115
    ]
    colors = rng.sample(colors, min(len(colors), 4)) if family.startswith("count") else colors
    sizes, things = rng.sample(("small", "large"), 2), list[PlacedThing]()
    same = rng.random() < 0.5
    for index in range(count):
        pool = POOLS.get(needs[index] if index < len(needs) else "any")
        name = rng.choice(pool or rng.choices((SHAPES, OBJECTS, DIGITS, LETTERS), (4, 4, 2, 2))[0])
        if (family == "count-kind" or (family == "same-kind" and index == 1)) and things and same:
            name = things[0].name
        color = things[0].color if family == "same-color" and index == 1 and same else rng.choice(colors)
        size = sizes[index] if family == "bigger" and index < 2 else rng.choice(("small", "small", "large"))
        if name in (*THIN, "nothing"):
            texture = "plain"
        elif size == "large" and name in BROAD:
            texture = rng.choice(TEXTURES)
        else:
            texture = rng.choice(("plain", "plain", "outlined"))
        things.append(PlacedThing.create(name, color, texture, size, longer, backgrounds[0], rng))
    return things


def _picture_size(rng: random.Random) -> tuple[int, int]:
    longer = rng.choice((140, 1200)) if rng.random() < 0.06 else round(200 * 4 ** rng.random())
    shorter = round(longer / rng.choice((1, 1, 1.25, 4 / 3, 1.5, 16 / 9, rng.uniform(1.8, 2.9))))
    return (longer, shorter) if rng.random() < 0.65 else (shorter, longer)


def _generate(family: str, rng: random.Random) -> IndependentScene | None:
    """Try to make a picture and a question of this family."""
    size = _picture_size(rng)
    foreign, backgrounds, asked = family == "foreign", _two_tones(rng), len(FAMILIES[family][0])
    things = _things("nothing" if foreign else family, backgrounds, max(size), rng)
    things = things[:1] if foreign else things
    if not all(max(thing.shape.shape) < 0.9 * min(size) for thing in things):
        return None
    arranged = _arrange(family, things, asked, size, rng)
    if arranged is None:
        return None
    placed, (values, answer) = arranged
    canvas = Image.fromarray(_background(rng.choice(BACKGROUNDS), backgrounds, *size, rng))
    for thing in placed:
        if thing.category != "nothing":
            canvas.paste(thing.image, (thing.left, thing.top), thing.image)
    plain = _degrade(_foreign_picture(*size, rng) if foreign else np.array(canvas), rng)
    picture, template = IndependentPicture(plain, placed), family
    if foreign:
        template = rng.choice((*ASKED_OF_ALL, "count-things", "picture"))
        asked = len(FAMILIES[template][0])
    if not _add_marks(picture, family, asked, rng):
        return None
    kinds = tuple(mark.kind for mark in picture.marks[:asked])
    if family == "absent":
        absent = _absent(picture, rng)
        if absent is None:
            return None
        question, answer, kinds = absent
    else:
        noun = rng.choice(NOUNS.get(family, ["thing", "thing", "object", "item"]))
        for blank, mark in zip("ab", picture.marks[:asked], strict=False):
            values[blank] = _refer(mark, noun, picture.marks, rng)
        question = _question(template, values, rng)
    marked = draw(plain, picture.marks, picture.styles)
    return IndependentScene(marked, plain, question, answer, family, kinds)


def _arrange(
    family: str, things: list[PlacedThing], asked: int, size: tuple[int, int], rng: random.Random
) -> tuple[list[PlacedThing], ValuesAndAnswer] | None:
    """Place the things so that the question has an answer."""
    for _ in range(8):
        placed = _place(things, max(asked, 1), *size, rng)
        if not placed:
            continue
        if family == "foreign":
            return placed, ({}, "I can't tell.")
        visible = [thing for thing in placed if thing.category != "nothing"]
        answer = _answer(family, placed if asked else visible, size, rng)
        if answer is not None:
            return placed, answer
    return None


def _add_marks(picture: IndependentPicture, family: str, asked: int, rng: random.Random) -> bool:
    """Mark the things asked about, and maybe others; False if one asked about cannot be marked."""
    more = rng.choice((0, 0, 1, 2) if asked else (0, 0, 1, 2, 3)) if family != "foreign" else 0
    color_matters = "color" in family or family in (*SENTENCES, "kind-of")
    for index, thing in enumerate(picture.things[: min(asked + more, 3)]):
        if not picture.add_mark(thing, color_matters, rng) and index < asked:
            return False
    return True


def independent_scenes(seed: int, count: int) -> Iterator[IndependentScene]:
    """Generate `count` pictures with a question each, from all families in turn; the seed determines them."""
    rng, queue = random.Random(seed), list[str]()
    for _ in range(count):
        queue = queue or rng.sample([*FAMILIES], len(FAMILIES))
        family, scene = queue.pop(), None
        while scene is None:
            scene = _generate(family, rng)
        yield scene
