"""Marks on a large photo: vipcli against a Pillow layer and a composite of the whole picture for each mark.

The first baseline takes and returns an RGB array, as vipcli does, so it converts the picture for every mark.
The second keeps the picture in RGBA between marks.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw

from tests import painters
from tests.benchmarks.compare import Comparison
from vipcli.geometry import XY, Polygon
from vipcli.marks.colors import TRAINED, Color, named_color
from vipcli.marks.drawing import draw
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
)
from vipcli.marks.styles import Style, styles_for

WIDTH, HEIGHT = 3840, 2160
KINDS = 8
OURS = 200
# One mark of each kind: the time of a composite hardly depends on the mark.
BASELINE = KINDS
WANTED_A_SECOND = 1_000
WANTED_RATIO = 100


def comparisons() -> list[Comparison]:
    """Translucent marks of all kinds and sizes, drawn by vipcli and by both baselines."""
    photo = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    in_rgba = Image.fromarray(photo).convert("RGBA")
    marks = seeded_marks(OURS)
    styles = styles_for(marks, WIDTH, HEIGHT)
    few = list(zip(marks, styles, strict=True))[:BASELINE]

    def ours() -> None:
        draw(photo, marks, styles)

    def from_array_to_array() -> None:
        image = photo
        for mark, style in few:
            below = Image.fromarray(image).convert("RGBA")
            image = np.asarray(_on_a_layer(below, mark, style).convert("RGB"))

    def all_in_rgba() -> None:
        image = in_rgba
        for mark, style in few:
            image = _on_a_layer(image, mark, style)

    pace = f"{WANTED_A_SECOND:,} marks a second on {WIDTH} × {HEIGHT}"
    arrays = Comparison(
        name="marks",
        baseline_name="a Pillow layer for each mark",
        ours_name="one draw() call",
        baseline=from_array_to_array,
        ours=ours,
        target=f"{pace}, {WANTED_RATIO} × the baseline",
        least_ratio=WANTED_RATIO,
        most_seconds=1 / WANTED_A_SECOND,
        unit="mark",
        baseline_units=BASELINE,
        ours_units=OURS,
    )
    in_one_mode = replace(
        arrays,
        name="marks-rgba",
        baseline_name="the same, always in RGBA",
        baseline=all_in_rgba,
        target=pace,
        least_ratio=None,
    )
    return [arrays, in_one_mode]


def _on_a_layer(below: Image.Image, mark: Mark, style: Style) -> Image.Image:
    layer = Image.new("RGBA", below.size)
    ink = (*mark.color.rgb, style.alpha)
    pen = ImageDraw.Draw(layer)
    if isinstance(mark, ContourMark):
        # The brush that training uses would take the baseline seconds.
        for polygon in mark.polygons:
            pen.line([*polygon, polygon[0]], fill=ink, width=style.stroke, joint="curve")
    else:
        painters.paint(pen, mark, style, ink)
    return Image.alpha_composite(below, layer)


def seeded_marks(count: int) -> list[Mark]:
    """Marks of all eight kinds in turn, up to a third of the picture's side."""
    rng = random.Random(0)
    return [_mark(index % KINDS, named_color(rng.choice(list(TRAINED))), rng) for index in range(count)]


def _mark(kind: int, color: Color, rng: random.Random) -> Mark:
    wide, high = (side / 3 * rng.uniform(0.02, 1) for side in (WIDTH, HEIGHT))
    x, y = rng.uniform(0, WIDTH - wide), rng.uniform(0, HEIGHT - high)

    def inside() -> XY:
        return x + rng.random() * wide, y + rng.random() * high

    match kind:
        case 0 | 1 | 2:
            return (BoxMark, EllipseMark, TriangleMark)[kind](color, x, y, x + wide, y + high)
        case 3:
            return PointMark(color, *inside())
        case 4:
            return ArrowMark(color, inside(), inside())
        case 5:
            return ScribbleMark(color, tuple(inside() for _ in range(4)))
        case 6:
            return ContourMark(color, (_blob(x, y, wide, high, rng),))
        case _:
            return MaskMark(color, (_blob(x, y, wide, high, rng),))


def _blob(x: float, y: float, wide: float, high: float, rng: random.Random) -> Polygon:
    """An irregular outline within a rectangle, like that of a traced object."""
    count = rng.randint(8, 60)
    points = []
    for step in range(count):
        turn, far = 2 * math.pi * step / count, rng.uniform(0.7, 1)
        points.append((x + wide / 2 * (1 + far * math.cos(turn)), y + high / 2 * (1 + far * math.sin(turn))))
    return tuple(points)
