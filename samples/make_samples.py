"""Draw the sample pictures, and write their mask, annotations, labels and tasks, and the sheet of marks.

python samples/make_samples.py [FOLDER]

Pictures and annotations come from the same coordinates, in pixels of the upright picture, x right, y down.
"""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageFilter, ImageFont

HERE = Path(__file__).parent
SEED = 336
# Pictures are drawn this many times larger and then reduced, for smooth edges.
SCALE = 4

XY = tuple[float, float]
Shape = Sequence[XY]
Frame = tuple[float, float, float, float]


# Shapes: the vertices of a closed outline, in order


def at(text: str) -> Shape:
    """Parse points as vipcli does: `x,y x,y …`."""
    pairs = (pair.split(",") for pair in text.split())
    return [(float(x), float(y)) for x, y in pairs]


def ellipse(x: float, y: float, rx: float, ry: float | None = None) -> Shape:
    """An ellipse with these semi-axes, or a circle if there is only one."""
    ry = rx if ry is None else ry
    angles = [math.tau * step / 40 for step in range(40)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def rectangle(x1: float, y1: float, x2: float, y2: float, radius: float = 0) -> Shape:
    """An upright rectangle with corners of this radius."""
    return rounded([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], radius)


def rounded(corners: Shape, radius: float) -> Shape:
    """The same shape with rounded corners."""
    if not radius:
        return corners
    shape = []
    befores, afters = [corners[-1], *corners[:-1]], [*corners[1:], corners[0]]
    for before, corner, after in zip(befores, corners, afters, strict=True):
        start, end = _towards(corner, before, radius), _towards(corner, after, radius)
        for step in range(7):
            t = step / 6
            weights = ((1 - t) ** 2, 2 * t * (1 - t), t**2)
            shape.append(_mix((start, corner, end), weights))
    return shape


def smooth(points: Shape) -> Shape:
    """A smooth closed curve through the points."""
    shape = []
    count = len(points)
    for index in range(count):
        before, start, end, after = (points[(index + step) % count] for step in (-1, 0, 1, 2))
        for step in range(8):
            t = step / 8
            weights = (
                (-(t**3) + 2 * t**2 - t) / 2,
                (3 * t**3 - 5 * t**2 + 2) / 2,
                (-3 * t**3 + 4 * t**2 + t) / 2,
                (t**3 - t**2) / 2,
            )
            shape.append(_mix((before, start, end, after), weights))
    return shape


def bend(points: Shape) -> Shape:
    """A smooth open curve through the points."""
    loop = smooth([*points, *reversed(points[1:-1])])
    return loop[: 8 * (len(points) - 1) + 1]


def line(width: float, *points: XY) -> Shape:
    """The outline of a thick line along the points, with round ends."""
    left, right = [], []
    for index, (x, y) in enumerate(points):
        (xa, ya), (xb, yb) = points[max(index - 1, 0)], points[min(index + 1, len(points) - 1)]
        length = math.hypot(xb - xa, yb - ya)
        dx, dy = (xb - xa) / length * width / 2, (yb - ya) / length * width / 2
        left.append((x + dy, y - dx))
        right.append((x - dy, y + dx))
    return [*left, *_cap(left[-1], right[-1]), *reversed(right), *_cap(right[0], left[0])]


def star(x: float, y: float, radius: float, turn: float = 0) -> Shape:
    """A five-pointed star."""
    angles = [turn + math.tau * (step / 10 - 0.25) for step in range(10)]
    radii = [radius, 0.45 * radius] * 5
    return [
        (x + reach * math.cos(angle), y + reach * math.sin(angle))
        for reach, angle in zip(radii, angles, strict=True)
    ]


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float) -> Shape:
    """An elliptical arc; angles are in degrees, 0 to the right and 90 down."""
    angles = [math.radians(start + (end - start) * step / 16) for step in range(17)]
    return [(x + rx * math.cos(angle), y + ry * math.sin(angle)) for angle in angles]


def regular(corners: int) -> Shape:
    """A regular polygon around (0, 0) with a radius of 50 and one corner at the top."""
    angles = [math.tau * (step / corners - 0.25) for step in range(corners)]
    return [(50 * math.cos(angle), 50 * math.sin(angle)) for angle in angles]


def translated(shape: Shape, x: float, y: float) -> Shape:
    """The shape, translated."""
    return [(px + x, py + y) for px, py in shape]


def bounds(shapes: Iterable[Shape]) -> Frame:
    """The bounding box of all the shapes."""
    xs, ys = zip(*(point for shape in shapes for point in shape), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _towards(start: XY, end: XY, reach: float) -> XY:
    share = min(reach / math.dist(start, end), 0.5)
    return _mix((start, end), (1 - share, share))


def _mix(points: Sequence[XY], weights: Sequence[float]) -> XY:
    x = sum(weight * point[0] for weight, point in zip(weights, points, strict=True))
    y = sum(weight * point[1] for weight, point in zip(weights, points, strict=True))
    return x, y


def _cap(start: XY, end: XY) -> Shape:
    """A semicircle from one side of a line to the other."""
    (x, y), radius = _mix((start, end), (0.5, 0.5)), math.dist(start, end) / 2
    angle = math.atan2(start[1] - y, start[0] - x)
    angles = [angle + math.pi * step / 8 for step in range(1, 8)]
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]


# Scenes


@dataclass
class SampleObject:
    """An annotated object: its name and the shapes that it consists of."""

    name: str
    shapes: list[Shape] = field(default_factory=list)


class SampleScene:
    """A picture being drawn, and the objects in it."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.things: list[SampleObject] = []
        self._large = Image.new("RGB", (width * SCALE, height * SCALE), "white")

    def thing(self, name: str) -> SampleObject:
        """Add an object; shapes filled with `of` belong to it."""
        self.things.append(SampleObject(name))
        return self.things[-1]

    def fill(
        self,
        shape: Shape,
        color: str,
        below: str | None = None,
        *,
        of: SampleObject | None = None,
        alpha: float = 1,
        blur: float = 0,
        within: Shape | None = None,
    ) -> None:
        """Fill a shape with a color, or with a vertical gradient to the color `below`.

        `blur` softens its edge, and `within` clips it to another shape.
        """
        if of is not None:
            of.shapes.append(shape)
        area = self._area(shape, 3 * blur)
        if area[0] >= area[2] or area[1] >= area[3]:
            return
        stencil = self._stencil(shape, area, alpha)
        if blur:
            stencil = stencil.filter(ImageFilter.GaussianBlur(blur * SCALE))
        if within is not None:
            stencil = ImageChops.multiply(stencil, self._stencil(within, area))
        paint = Image.new("RGB", stencil.size, color)
        if below is not None:
            shade = Image.linear_gradient("L").resize(stencil.size, Image.Resampling.BILINEAR)
            paint = Image.composite(Image.new("RGB", stencil.size, below), paint, shade)
        self._large.paste(paint, area, stencil)

    def write(self, x: float, y: float, text: str, size: float, color: str) -> None:
        """Write text centered at a point."""
        font = ImageFont.load_default(size * SCALE)
        ImageDraw.Draw(self._large).text((x * SCALE, y * SCALE), text, color, font, anchor="mm")

    def picture(self) -> Image.Image:
        """The picture at its final size."""
        return self._large.reduce(SCALE)

    def mask(self, thing: SampleObject) -> Image.Image:
        """The mask of an object, white on black."""
        large = Image.new("L", self._large.size)
        paint = ImageDraw.Draw(large)
        for shape in thing.shapes:
            paint.polygon([(x * SCALE, y * SCALE) for x, y in shape], 255)
        return large.reduce(SCALE).point(lambda cover: 255 * (cover > 128))

    def _area(self, shape: Shape, margin: float) -> tuple[int, int, int, int]:
        xs, ys = zip(*shape, strict=True)
        return (
            max(math.floor((min(xs) - margin) * SCALE), 0),
            max(math.floor((min(ys) - margin) * SCALE), 0),
            min(math.ceil((max(xs) + margin) * SCALE) + 1, self._large.width),
            min(math.ceil((max(ys) + margin) * SCALE) + 1, self._large.height),
        )

    def _stencil(self, shape: Shape, area: tuple[int, int, int, int], alpha: float = 1) -> Image.Image:
        left, top, right, bottom = area
        stencil = Image.new("L", (right - left, bottom - top))
        local = [(x * SCALE - left, y * SCALE - top) for x, y in shape]
        ImageDraw.Draw(stencil).polygon(local, round(255 * alpha))
        return stencil


def street(rng: random.Random) -> SampleScene:
    """A house, a tree, two people and a car on a sunny day."""
    scene = SampleScene(640, 480)
    scene.fill(rectangle(0, 0, 640, 350), "#7fc1ec", "#fdf1da")
    sun = scene.thing("sun")
    scene.fill(ellipse(566, 72, 66), "#fff0a8", alpha=0.9, blur=16)
    scene.fill(ellipse(566, 72, 33), "#ffd84f", "#ffc02e", of=sun)
    for x, y, size in ((330, 62, 1.0), (60, 58, 0.75), (452, 128, 0.55)):
        _cloud(scene, x, y, size)
    scene.fill(smooth(at("-60,300 120,262 330,300 520,256 720,300 720,420 -60,420")), "#b9d8b0")
    scene.fill(smooth(at("-60,336 180,300 420,318 600,286 720,330 720,420 -60,420")), "#95c38c")
    scene.fill(rectangle(0, 334, 640, 360), "#79b566", "#6aa658")
    scene.fill(rectangle(0, 352, 640, 394), "#d9d2c6", "#c3bbad")
    for x in range(-20, 680, 62):
        scene.fill(line(1.2, (x + 8, 352), (x - 8, 394)), "#a79f91", alpha=0.7)
    scene.fill(rectangle(0, 392, 640, 399), "#a9a296", "#8b857b")
    scene.fill(rectangle(0, 398, 640, 480), "#646973", "#4b4f59")
    for x in range(-30, 660, 92):
        scene.fill(rectangle(x, 471, x + 50, 475, 2), "#e9e4d4", alpha=0.85)
    _house(scene, rng)
    _tree(scene, rng)
    _person(scene, 448, 156, hand=(491, 220), coat="#2f5f9e", hair="#4a3222", below="#3b3f4c")
    _child_with_balloon(scene)
    _car(scene)
    return scene


def _cloud(scene: SampleScene, x: float, y: float, size: float) -> None:
    for dx, dy, radius in ((-34, 6, 17), (-12, -5, 24), (16, -1, 20), (38, 8, 14)):
        scene.fill(ellipse(x + dx * size, y + dy * size, radius * size), "#ffffff", alpha=0.92)
    scene.fill(rectangle(x - 50 * size, y + 4 * size, x + 51 * size, y + 22 * size, 9 * size), "#ffffff")


def _house(scene: SampleScene, rng: random.Random) -> None:
    house = scene.thing("house")
    for dx, dy, radius in ((8, -28, 8), (18, -48, 10), (34, -70, 13)):
        scene.fill(ellipse(208 + dx, 112 + dy, radius), "#ffffff", alpha=0.55, blur=3)
    scene.fill(rectangle(198, 104, 222, 170), "#a7533f", "#8d4333", of=house)
    scene.fill(rectangle(194, 100, 226, 109, 2), "#7c3a2d", of=house)
    scene.fill(rectangle(70, 200, 264, 354), "#f9e7c4", "#eed3a2", of=house)
    roof = at("50,212 98,126 236,126 284,212")
    scene.fill(rectangle(70, 212, 264, 222), "#8a6a4a", alpha=0.35)
    scene.fill(roof, "#d2684a", "#b44a33", of=house)
    for row in range(1, 6):
        y = 126 + row * 86 / 6
        for x in range(46 + 8 * (row % 2), 290, 16):
            scene.fill(line(1.4, (x, y), (x + 5, y + 2.5), (x + 11, y)), "#8e3524", alpha=0.45, within=roof)
    scene.fill(rectangle(46, 208, 288, 215, 3), "#8e3d2b", of=house)
    scene.fill(rectangle(143, 266, 191, 354, 4), "#fffaf0")
    scene.fill(rectangle(148, 271, 186, 354, 3), "#3c7a80", "#2f636a")
    scene.fill(rectangle(155, 279, 179, 304, 3), "#bfe4ee", "#8cc4d8")
    scene.fill(ellipse(180, 318, 2.6), "#f3cf62")
    scene.fill(rectangle(138, 350, 196, 358, 2), "#b8ae9f", of=house)
    for x in (86, 206):
        scene.fill(rectangle(x, 232, x + 44, 284, 2), "#fffaf0")
        glass = rectangle(x + 4, 236, x + 40, 280)
        scene.fill(glass, "#8cc6e2", "#cfeaf3")
        scene.fill(
            [(x + 8, 280), (x + 28, 236), (x + 38, 236), (x + 18, 280)], "#ffffff", alpha=0.35, within=glass
        )
        scene.fill(rectangle(x + 20.5, 236, x + 23.5, 280), "#fffaf0")
        scene.fill(rectangle(x + 4, 256, x + 40, 259), "#fffaf0")
        scene.fill(rectangle(x - 3, 284, x + 47, 294, 2), "#8b5a3c", "#744a30")
        for petal in range(9):
            spot = (x + 1 + petal * 5.2, 283 + rng.uniform(-2.5, 1.5))
            scene.fill(ellipse(*spot, 4), "#5f9d4c")
            scene.fill(ellipse(spot[0], spot[1] - 2, 2.6), rng.choice(("#e8546b", "#f6a5c0", "#fff3c4")))


def _tree(scene: SampleScene, rng: random.Random) -> None:
    tree = scene.thing("tree")
    scene.fill(ellipse(352, 362, 46, 6), "#5a5348", alpha=0.35, blur=3)
    trunk = at("337,362 344,300 338,262 346,258 352,276 360,256 366,260 360,300 366,362")
    scene.fill(rounded(trunk, 4), "#8a5f3f", "#6d4a31", of=tree)
    crown = [
        (x, y, radius)
        for radius, centres in (
            (46, "352,200"),
            (34, "318,226 386,226"),
            (29, "334,250 370,250 322,192 380,190"),
        )
        for x, y in at(centres)
    ]
    for x, y, radius in crown:
        scene.fill(ellipse(x, y, radius), "#4a9450", "#3d8246", of=tree)
    for x, y, radius in crown:
        light = ellipse(x - 5, y - 6, radius * 0.72)
        scene.fill(light, "#68b35f", alpha=0.55, blur=4, within=ellipse(x, y, radius))
    for _ in range(90):
        x, y, radius = rng.choice(crown)
        angle, reach = rng.uniform(0, math.tau), radius * 0.85 * math.sqrt(rng.random())
        leaf = ellipse(x + reach * math.cos(angle), y + reach * math.sin(angle), rng.uniform(2.2, 4), 2)
        scene.fill(leaf, rng.choice(("#86c974", "#357a40", "#9bd486")), alpha=0.55)


def _person(
    scene: SampleScene,
    x: float,
    height: float,
    *,
    hand: XY,
    coat: str,
    hair: str,
    below: str,
    skirt: bool = False,
) -> None:
    """A person on the sidewalk holding out a hand; `below` is the color of the skirt or trousers."""
    person = scene.thing("person")
    unit = height / 100

    def on(dx: float, dy: float) -> XY:
        """A point on the person, as if 100 tall, relative to the top of the head."""
        return x + dx * unit, 384 + (dy - 100) * unit

    skin = "#e9b48f"
    scene.fill(ellipse(x, 384, 20 * unit, 3 * unit), "#4d473d", alpha=0.35, blur=2)
    for side in (-1, 1):
        color = skin if skirt else below
        scene.fill(line(8 * unit, on(4.5 * side, 58), on(5 * side, 94)), color, of=person)
        scene.fill(line(6 * unit, on(5 * side, 97), on(9 * side, 97)), "#33302f", of=person)
    scene.fill(line(6.5 * unit, on(-11, 28), on(-15, 44), on(-13, 58)), coat, of=person)
    scene.fill(ellipse(*on(-13, 60.5), 3.2 * unit), skin, of=person)
    scene.fill(rectangle(*on(-3, 16), *on(3, 26)), skin, of=person)
    scene.fill(rounded([on(-13, 24), on(13, 24), on(11, 62), on(-11, 62)], 6 * unit), coat, of=person)
    if skirt:
        scene.fill(rounded([on(-10, 50), on(10, 50), on(17, 76), on(-17, 76)], 3 * unit), below, of=person)
    elbow = (hand[0] - 5 * unit, hand[1] + 15 * unit)
    scene.fill(line(6.5 * unit, on(11, 28), elbow, hand), coat, of=person)
    scene.fill(ellipse(*hand, 3.4 * unit), skin, of=person)
    scene.fill(ellipse(*on(0, 8.5), 9.2 * unit, 9.5 * unit), hair, of=person)
    scene.fill(ellipse(*on(1, 11), 7.4 * unit, 8.4 * unit), skin, of=person)
    scene.fill(ellipse(*on(-1, 4), 8 * unit, 4.6 * unit), hair, of=person)
    for dx in (-1.5, 4.5):
        scene.fill(ellipse(*on(dx, 11), 0.9 * unit), "#3a2a22")
    scene.fill(line(0.9 * unit, on(0, 15), on(1.6, 16), on(3.4, 15)), "#a65c4c")


def _child_with_balloon(scene: SampleScene) -> None:
    hand = (545, 300)
    balloon = scene.thing("balloon")
    scene.fill(line(1, hand, (548, 280), (552, 262), (552, 246)), "#6b6660")
    scene.fill(
        smooth(at("552,185 573,193 576,216 552,244 528,216 531,193")), "#f2608a", "#d93a6d", of=balloon
    )
    scene.fill(at("552,241 557,249 547,249"), "#c22f60", of=balloon)
    scene.fill(ellipse(543, 202, 5, 8), "#ffffff", alpha=0.6, blur=2)
    _person(scene, 520, 98, hand=hand, coat="#f4a83d", hair="#7b4a25", below="#3f8f8b", skirt=True)


def _car(scene: SampleScene) -> None:
    car = scene.thing("car")
    scene.fill(ellipse(180, 460, 118, 8), "#22252b", alpha=0.6, blur=4)
    corners = at("72,450 70,414 118,404 148,366 226,366 258,404 290,416 292,450")
    body = rounded(corners, 14)
    scene.fill(body, "#f7c948", "#e0a526", of=car)
    scene.fill(rectangle(70, 436, 294, 452, 4), "#b98320", within=body)
    scene.fill(rounded(at("130,403 153,373 184,373 184,403"), 5), "#5d7f93", "#a9cbd9")
    scene.fill(rounded(at("191,403 191,373 222,373 246,403"), 5), "#5d7f93", "#a9cbd9")
    scene.fill(line(1.2, (187.5, 374), (187.5, 436)), "#a97a1c")
    scene.fill(line(1.4, (92, 414), (180, 411), (282, 417)), "#fde8a4")
    scene.fill(line(3, (196, 415), (206, 415)), "#8f6615")
    scene.fill(ellipse(285, 425, 6, 5), "#fff6d3", of=car)
    scene.fill(rectangle(69, 416, 78, 428, 2), "#d2452f", of=car)
    scene.fill(rectangle(66, 440, 90, 450, 4), "#7d8791", of=car)
    scene.fill(rectangle(276, 440, 297, 450, 4), "#7d8791", of=car)
    for x in (118, 246):
        scene.fill(ellipse(x, 447, 24), "#3d3220", within=body)
        scene.fill(ellipse(x, 448, 20), "#2a2c31", of=car)
        scene.fill(ellipse(x, 448, 11), "#c9ced4")
        scene.fill(ellipse(x, 448, 3.5), "#6e757d")


def fruit(rng: random.Random) -> SampleScene:
    """A book, a cup, an apple, a pear and a banana on a table."""
    scene = SampleScene(900, 400)
    scene.fill(rectangle(0, 0, 900, 260), "#cfe0dc", "#e6efe9")
    for beam in ("80,0 280,0 410,250 210,250", "330,0 530,0 660,250 460,250"):
        scene.fill(at(beam), "#ffffff", alpha=0.35, blur=6)
    table = rectangle(0, 246, 900, 400)
    scene.fill(table, "#d69a60", "#b47441")
    for step in range(-6, 7):
        scene.fill(
            line(1.4, (450 + step * 96, 246), (450 + step * 190, 400)), "#8c5429", alpha=0.5, within=table
        )
    for _ in range(70):
        x, y, long = rng.uniform(-40, 900), rng.uniform(252, 398), rng.uniform(30, 110)
        color = rng.choice(("#a56835", "#e6b27c"))
        scene.fill(line(1, (x, y), (x + long, y + rng.uniform(-2, 2))), color, alpha=0.35)
    scene.fill(rectangle(0, 243, 900, 249), "#e9b680", "#c98f58")
    _book(scene)
    _cup(scene)
    _apple(scene)
    _pear(scene)
    _banana(scene)
    return scene


def _shadow(scene: SampleScene, x: float, y: float, across: float) -> None:
    scene.fill(ellipse(x, y, across, across * 0.16), "#5a3212", alpha=0.5, blur=6)


def _book(scene: SampleScene) -> None:
    book = scene.thing("book")
    scene.fill(at("56,322 176,330 214,346 70,344"), "#5a3212", alpha=0.5, blur=6)
    scene.fill(rounded(at("58,116 182,108 188,322 62,336"), 5), "#2c4a78", "#223a61", of=book)
    scene.fill(at("182,108 192,114 197,316 188,322"), "#f3ead6", "#dccfb2", of=book)
    scene.fill(at("58,116 72,115 76,334 62,336"), "#1b2f50", alpha=0.8)
    scene.fill(rounded(at("86,138 170,133 171,176 87,181"), 3), "#f1d9a0")
    scene.write(128, 157, "TALES", 21, "#2c3a55")
    scene.fill(star(130, 248, 34, turn=0.05), "#f1c75b", "#e0a83c")
    scene.fill(line(2, (88, 300), (172, 292)), "#f1d9a0")


def _cup(scene: SampleScene) -> None:
    cup = scene.thing("cup")
    _shadow(scene, 312, 338, 84)
    scene.fill(ellipse(306, 330, 76, 16), "#f7f7f3", "#c9d3d8", of=cup)
    scene.fill(ellipse(306, 328, 50, 9), "#aebbc2", alpha=0.7, blur=2)
    handle = at("352,250 376,246 388,262 378,286 348,296")
    scene.fill(line(11, *bend(handle)), "#5aa3ba", "#3f8299", of=cup)
    body = rounded(at("252,222 360,222 346,326 266,326"), 16)
    scene.fill(body, "#6fb7cc", "#438aa2", of=cup)
    scene.fill(ellipse(282, 272, 9, 44), "#ffffff", alpha=0.45, blur=7, within=body)
    scene.fill(ellipse(350, 275, 14, 60), "#21566a", alpha=0.4, blur=9, within=body)
    for x in (278, 306, 334):
        scene.fill(ellipse(x, 276, 6.5), "#f6f2df", alpha=0.9)
    scene.fill(ellipse(306, 224, 54, 11), "#8fcbdc", of=cup)
    scene.fill(ellipse(306, 225, 47, 8), "#55301d", "#7a4a2d")
    for x in (294, 316):
        steam = [(x, 208), (x + 4, 192), (x - 4, 174), (x + 3, 156), (x - 2, 142)]
        scene.fill(line(5, *bend(steam)), "#ffffff", alpha=0.6, blur=3)


def _apple(scene: SampleScene) -> None:
    apple = scene.thing("apple")
    _shadow(scene, 482, 344, 66)
    body = smooth(
        at("472,236 500,226 530,244 538,286 518,330 490,346 472,341 454,346 426,330 406,286 414,244 444,226")
    )
    scene.fill(body, "#e2483d", "#b3242c", of=apple)
    scene.fill(ellipse(446, 266, 22, 30), "#ff9a7a", alpha=0.75, blur=11, within=body)
    scene.fill(ellipse(522, 306, 26, 50), "#7d1220", alpha=0.45, blur=13, within=body)
    scene.fill(ellipse(472, 236, 26, 8), "#7d1c1c", alpha=0.6, blur=4, within=body)
    scene.fill(line(6, *bend(at("472,238 473,222 482,204"))), "#6b4426", of=apple)
    scene.fill(smooth(at("478,218 498,198 528,198 508,218")), "#77b255", "#4f8c3c", of=apple)
    scene.fill(line(1.2, (482, 216), (500, 208), (520, 200)), "#3c6d2c", alpha=0.7)


def _pear(scene: SampleScene) -> None:
    pear = scene.thing("pear")
    _shadow(scene, 634, 346, 62)
    body = smooth(
        at("622,176 640,184 650,222 676,262 684,306 658,344 622,350 586,344 560,306 568,262 594,222 604,184")
    )
    scene.fill(body, "#cddc62", "#8fae36", of=pear)
    scene.fill(ellipse(598, 278, 18, 40), "#f5f8b8", alpha=0.75, blur=12, within=body)
    scene.fill(ellipse(674, 306, 24, 56), "#577321", alpha=0.5, blur=13, within=body)
    for x, y in at("630,250 642,290 618,318 650,322 632,222 606,246 660,276 628,334"):
        scene.fill(ellipse(x, y, 1.5), "#6f8a2b", alpha=0.7)
    scene.fill(line(6, *bend(at("622,182 624,166 634,150"))), "#6b4426", of=pear)


def _banana(scene: SampleScene) -> None:
    banana = scene.thing("banana")
    scene.fill(ellipse(786, 344, 84, 12), "#5a3212", alpha=0.5, blur=6)
    inner, outer = (
        "724,236 732,244 744,282 778,304 822,300 856,282",
        "866,289 838,328 786,346 738,330 714,290 716,242",
    )
    body = smooth(at(f"{inner} {outer}"))
    scene.fill(body, "#ffe066", "#efb92d", of=banana)
    ridge = bend(at("722,252 730,298 764,324 812,320 862,290"))
    scene.fill(line(2.4, *ridge), "#c98d17", alpha=0.7, within=body)
    scene.fill(ellipse(790, 342, 66, 12), "#c4860f", alpha=0.5, blur=7, within=body)
    scene.fill(line(5, *bend(at("726,276 746,306 786,316"))), "#fff6bd", alpha=0.7, blur=3, within=body)
    scene.fill(rounded(at("715,226 727,224 733,246 716,248"), 3), "#7a5a1c", of=banana)
    scene.fill(ellipse(865, 288, 5, 6), "#5d4415", of=banana)
    for x, y in at("756,326 800,333 826,318"):
        scene.fill(ellipse(x, y, 3.4, 2), "#9a6a14", alpha=0.6)


def harbour(rng: random.Random) -> SampleScene:
    """A lighthouse, boats, a buoy and gulls at dusk."""
    scene = SampleScene(480, 640)
    scene.fill(rectangle(0, 0, 480, 200), "#3f6ea3", "#d9a0a2")
    scene.fill(rectangle(0, 199, 480, 336), "#d9a0a2", "#ffd49a")
    sun = scene.thing("sun")
    scene.fill(ellipse(268, 266, 84), "#ffe9b0", alpha=0.8, blur=22)
    scene.fill(ellipse(268, 266, 30), "#fff6d6", "#ff9d4d", of=sun)
    for middle, y, long in ((330, 120, 90), (60, 170, 80), (196, 190, 70), (60, 60, 60)):
        scene.fill(line(9, (middle - long / 2, y), (middle + long / 2, y - 3)), "#ffffff", alpha=0.45, blur=5)
    scene.fill(smooth(at("-80,330 60,318 170,326 300,300 420,316 560,300 560,380 -80,380")), "#8d83a3")
    scene.fill(rectangle(0, 335, 480, 430), "#ecb98f", "#8f9dab")
    scene.fill(rectangle(0, 429, 480, 640), "#8f9dab", "#1f4f73")
    for _ in range(190):
        depth = 300 * rng.random() ** 1.4
        x, y, long = rng.uniform(-30, 500), 340 + depth, 9 + depth / 9
        color = rng.choice(("#ffe3bd", "#35607f", "#ffffff"))
        scene.fill(line(0.65 + depth / 200, (x, y), (x + long, y)), color, alpha=0.3)
    for step in range(26):
        x, y, across = 268 + rng.uniform(-8, 8), 342 + step * 7, rng.uniform(12, 34)
        scene.fill(line(2.2, (x - across, y), (x + across, y)), "#fff0c4", alpha=0.55)
    _lighthouse(scene)
    _sailing_boat(scene)
    _buoy(scene)
    _rowing_boat(scene)
    for x, y, size in ((196, 96, 1.0), (258, 146, 0.75), (92, 126, 0.6)):
        _gull(scene, x, y, size)
    return scene


def _lighthouse(scene: SampleScene) -> None:
    scene.fill(at("378,118 480,60 480,176"), "#fff6cf", alpha=0.45, blur=5)
    rock = smooth(at("262,436 300,396 344,378 410,374 470,392 520,440 400,456"))
    scene.fill(translated(rock, 0, 10), "#1d3c52", alpha=0.5, blur=5)
    scene.fill(rock, "#7c7482", "#4c4958")
    scene.fill(smooth(at("300,402 340,384 380,386 350,404")), "#a59cab", alpha=0.7, within=rock)
    lighthouse = scene.thing("lighthouse")
    tower = at("352,142 400,142 412,388 340,388")
    scene.fill(tower, "#fbf4ea", of=lighthouse)
    for y in (176, 250, 324):
        scene.fill(rectangle(330, y, 420, y + 37), "#d8453c", within=tower)
    scene.fill(at("388,142 400,142 412,388 392,388"), "#40304a", alpha=0.3)
    scene.fill(at("352,142 360,142 352,388 340,388"), "#ffffff", alpha=0.35)
    scene.fill(rectangle(344, 134, 408, 145, 3), "#4a4657", of=lighthouse)
    scene.fill(rectangle(359, 102, 393, 135, 2), "#ffe79a", "#ffc64d", of=lighthouse)
    for x in (359, 370, 382, 393):
        scene.fill(line(2, (x, 103), (x, 135)), "#4a4657", of=lighthouse)
    scene.fill(rounded(at("352,104 376,76 400,104"), 3), "#b7332f", of=lighthouse)
    scene.fill(line(2.4, (376, 64), (376, 82)), "#4a4657", of=lighthouse)
    scene.fill(rectangle(367, 352, 385, 388, 8), "#5a4636")
    for y in (206, 282):
        scene.fill(rectangle(371, y, 381, y + 18, 5), "#54627a")


def _sailing_boat(scene: SampleScene) -> None:
    hull = rounded(at("64,424 226,416 202,456 90,456"), 7)
    scene.fill(at("92,460 202,460 160,560 128,560"), "#fdf6ea", alpha=0.25, blur=5)
    boat = scene.thing("boat")
    scene.fill(line(4, (146, 222), (146, 426)), "#6d4b33", of=boat)
    main = [
        (152, 232),
        *bend(at("152,232 190,318 212,402")),
        *bend(at("212,402 182,408 152,404")),
    ]
    scene.fill(main, "#fffaf0", "#f0d9c0", of=boat)
    scene.fill([(140, 246), *bend(at("140,246 104,330 80,404")), (140, 408)], "#f3a65f", "#df7f45", of=boat)
    for y in (290, 346):
        scene.fill(line(1, (152, y), (240, y + 8)), "#c9a98c", alpha=0.8, within=main)
    scene.fill(at("146,216 176,224 146,233"), "#d8453c", of=boat)
    scene.fill(hull, "#2f6377", "#1d4355", of=boat)
    scene.fill(rectangle(60, 428, 230, 433), "#fbf4ea", within=hull)
    scene.fill(line(2, (84, 458), (146, 460), (210, 458)), "#ffffff", alpha=0.7)


def _buoy(scene: SampleScene) -> None:
    buoy = scene.thing("buoy")
    scene.fill(ellipse(72, 574, 40, 7), "#14384f", alpha=0.5, blur=3)
    scene.fill(line(3, (72, 486), (72, 506)), "#4a4657", of=buoy)
    scene.fill(ellipse(72, 484, 6), "#ffe27a", of=buoy)
    body = rounded(at("60,504 84,504 96,562 48,562"), 4)
    scene.fill(body, "#e2503f", "#b83229", of=buoy)
    scene.fill(rectangle(40, 524, 104, 542), "#fdf6ea", "#e6d9c9", within=body)
    scene.fill(ellipse(72, 566, 32, 10), "#b83229", "#86221e", of=buoy)
    scene.fill(line(2, (40, 575), (72, 579), (106, 575)), "#ffffff", alpha=0.7)


def _rowing_boat(scene: SampleScene) -> None:
    scene.fill(ellipse(316, 596, 118, 12), "#123248", alpha=0.5, blur=5)
    boat = scene.thing("boat")
    hull = smooth(at("200,530 224,538 316,548 408,536 436,524 420,574 376,596 262,598 218,576"))
    scene.fill(hull, "#a76a3e", "#6f4226", of=boat)
    scene.fill(smooth(at("214,536 316,546 424,532 408,544 316,562 228,548")), "#5a3620")
    for y in (566, 580):
        scene.fill(
            line(1.6, *bend([(206, y - 10), (316, y + 4), (430, y - 14)])), "#4f2e1a", alpha=0.6, within=hull
        )
    for x in (270, 350):
        scene.fill(rounded([(x, 546), (x + 26, 546), (x + 22, 557), (x + 4, 557)], 2), "#c98f58", "#a76a3e")
    oar = at("282,540 330,572 384,610")
    scene.fill(line(4, *oar), "#e0b07a", of=boat)
    scene.fill(smooth(at("376,598 404,612 412,626 388,618")), "#e0b07a", "#c08a52", of=boat)


def _gull(scene: SampleScene, x: float, y: float, size: float) -> None:
    bird = scene.thing("bird")
    wings = at("-34,-8 -20,-16 -6,-6 0,0 6,-7 20,-18 36,-12")
    upper = [(x + dx * size, y + dy * size) for dx, dy in wings]
    lower = [(x + dx * size * 0.96, y + (dy + 6 - abs(dx) / 9) * size) for dx, dy in reversed(wings)]
    scene.fill([*bend(upper), *bend(lower)], "#fdfbf6", "#d5d9e2", of=bird)
    scene.fill(ellipse(x, y + 3 * size, 6 * size, 5 * size), "#fdfbf6", of=bird)
    for tip in (upper[0], upper[-1]):
        scene.fill(ellipse(*tip, 3 * size, 2 * size), "#3b3f4c", of=bird)
    scene.fill(
        [(x - 2 * size, y + 6 * size), (x + 2 * size, y + 6 * size), (x, y + 11 * size)], "#f0a13a", of=bird
    )


def shapes(rng: random.Random) -> SampleScene:
    """Nine simple objects in rows: a scene of the kind that the bundled model was trained on."""
    scene = SampleScene(336, 336)
    scene.fill(rectangle(0, 0, 336, 336), "#f7f1e4", "#eae1d0")
    for row, names in enumerate(_ROWS):
        for column, name in enumerate(names.split()):
            x, y = 60 + 108 * column + rng.uniform(-6, 6), 60 + 108 * row + rng.uniform(-6, 6)
            _draw_shape(scene, name, x, y)
    return scene


def _draw_shape(scene: SampleScene, name: str, x: float, y: float) -> None:
    thing = scene.thing("digit" if name.isdigit() else "letter" if len(name) == 1 else name)
    for shape in _OUTLINES[name]:
        scene.fill(translated(shape, x, y), _COLORS[name], of=thing)
    for shape in _STRIPES.get(name, ()):
        scene.fill(translated(shape, x, y), "#ffffff", within=translated(_OUTLINES[name][0], x, y))
    for shape in _DETAILS.get(name, ()):
        scene.fill(translated(shape, x, y), "#f7f1e4")


_ROWS = ("circle A star", "7 square house", "heart 4 fish")
_COLORS = {
    "circle": "#d62020",
    "A": "#244acd",
    "star": "#f48216",
    "7": "#28963c",
    "square": "#802ca8",
    "house": "#7a4822",
    "heart": "#f28cbe",
    "4": "#1a1a1c",
    "fish": "#34b4ac",
}
# Centered at (0, 0).
_OUTLINES: dict[str, Sequence[Shape]] = {
    "circle": [ellipse(0, 0, 38)],
    "A": [line(8, (-17, 21), (0, -21)), line(8, (0, -21), (17, 21)), line(7, (-10, 8), (10, 8))],
    "star": [star(0, 3, 41)],
    "7": [line(13, (-26, -32), (24, -32)), line(13, (24, -32), (-8, 32))],
    "square": [rectangle(-36, -36, 36, 36)],
    "house": [rectangle(-30, -6, 30, 36), at("-39,-4 0,-38 39,-4")],
    "heart": [smooth(at("0,-13 10,-22 22,-17 23,-3 12,12 0,24 -12,12 -23,-3 -22,-17 -10,-22"))],
    "4": [line(8, (7, 21), (7, -20)), line(8, (7, -20), (-16, 8)), line(8, (-16, 8), (18, 8))],
    "fish": [ellipse(-7, 0, 32, 20), at("18,0 39,-20 39,20")],
}
_STRIPES = {"square": [rectangle(-33, y, 33, y + 7) for y in (-27, -12, 3, 18)]}
_DETAILS = {"house": [rectangle(-8, 12, 8, 36)], "fish": [ellipse(-24, -5, 4)]}


# Simple scenes: a few objects each, of the kinds and colors that the bundled model was trained on

OWN, INK, PAPER, WOOD, LEAF = "", "#26262a", "#fbfaf5", "#7a4822", "#3f8f3a"
# The parts of an object: a color (OWN is the object's own) and a shape, within about -50 to 50 both ways.
# Stripes and dots are drawn on the first part.
Parts = Sequence[tuple[str, Shape]]


def _strokes(*lines: Shape, width: float = 15) -> Parts:
    """Lines with round ends; each segment is a shape of its own, so that corners are round, too."""
    return [(OWN, line(width, start, end)) for points in lines for start, end in pairwise(points)]


def _curves(*lines: Shape, width: float = 15) -> Parts:
    return [(OWN, line(width, *points)) for points in lines]


def _ring(x: float, y: float, across: float, down: float, width: float = 15) -> Parts:
    # In two halves: a closed line would have a gap where it meets itself.
    return _curves(arc(x, y, across, down, 0, 180), arc(x, y, across, down, 180, 360), width=width)


_CHARACTERS: dict[str, Parts] = {
    "2": [*_curves(arc(0, -19, 28, 27, 185, 395)), *_strokes(at("22.9,-3.5 -29,46 31,46"))],
    "3": _curves(arc(0, -24, 25, 22, 200, 450), arc(0, 22, 29, 24, 270, 515)),
    "4": _strokes(at("16,46 16,-46 -32,20 34,20")),
    "5": [*_strokes(at("26,-46 -20,-46 -24,-4")), *_curves(arc(-2, 16, 29, 30, 223, 500))],
    "7": _strokes(at("-32,-46 32,-46 -8,46")),
    "8": [*_ring(0, -24, 23, 21), *_ring(0, 22, 29, 24)],
    "A": _strokes(at("-36,46 0,-46 36,46"), at("-22,16 22,16")),
    "E": _strokes(at("28,-46 -26,-46 -26,46 28,46"), at("-26,0 20,0")),
    "K": _strokes(at("-26,-46 -26,46"), at("28,-46 -26,10"), at("-6,-10 30,46")),
    "M": _strokes(at("-38,46 -38,-46 0,8 38,-46 38,46")),
    "S": _curves(arc(0, -24, 27, 23, 330, 90), arc(0, 22, 29, 24, 270, 510)),
    "T": _strokes(at("-34,-46 34,-46"), at("0,-46 0,46")),
}
_HEART = [
    *arc(-25, -17, 25, 27, 160, 360),
    *arc(25, -17, 25, 27, 180, 380),
    (0, 50),
]
_FIGURES: dict[str, Parts] = {
    "circle": [(OWN, ellipse(0, 0, 50))],
    "square": [(OWN, rectangle(-50, -50, 50, 50))],
    "hexagon": [(OWN, regular(6))],
    "star": [(OWN, star(0, 0, 50))],
    "heart": [(OWN, _HEART)],
    "cross": [
        (OWN, at("-16,-50 16,-50 16,-16 50,-16 50,16 16,16 16,50 -16,50 -16,16 -50,16 -50,-16 -16,-16"))
    ],
    "diamond": [(OWN, at("0,-50 36,0 0,50 -36,0"))],
    "crescent": [(OWN, [*arc(0, 0, 50, 50, 60, 300), *arc(22, 0, 43.5, 43.5, 275, 85)])],
    "house": [
        (OWN, at("-38,50 -38,-2 -52,-2 0,-48 52,-2 38,-2 38,50")),
        (PAPER, rectangle(-10, 16, 10, 50)),
    ],
    "tree": [
        (WOOD, at("-7,10 7,10 10,60 -10,60")),
        (OWN, smooth(at("0,-50 26,-42 38,-14 34,14 12,26 -12,26 -34,14 -38,-14 -26,-42"))),
    ],
    "car": [
        (OWN, rounded(at("-50,16 -50,-6 -30,-10 -18,-30 16,-30 32,-8 50,-2 50,16"), 4)),
        (PAPER, at("-22,-10 -13,-24 -3,-24 -3,-10")),
        (PAPER, at("3,-10 3,-24 13,-24 23,-10")),
        (INK, ellipse(-27, 17, 11)),
        (INK, ellipse(28, 17, 11)),
        (PAPER, ellipse(-27, 17, 4.5)),
        (PAPER, ellipse(28, 17, 4.5)),
    ],
    "boat": [
        (OWN, at("-2,-52 40,16 -2,16")),
        (OWN, at("-9,-38 -9,16 -36,16")),
        (WOOD, rectangle(-7.5, -56, -3.5, 26)),
        (OWN, at("-48,24 50,24 34,50 -34,50")),
    ],
    "fish": [
        (OWN, ellipse(10, 0, 40, 25)),
        (OWN, at("-22,0 -50,-26 -44,0 -50,26")),
        (PAPER, ellipse(33, -7, 5)),
        (INK, ellipse(34, -7, 2.6)),
    ],
    "cup": [
        (OWN, rounded(at("-42,-40 26,-40 20,40 -36,40"), 8)),
        *_curves(arc(22, -4, 24, 20, 280, 440), width=9),
    ],
    "flower": [
        (LEAF, line(6, (0, 0), (0, 62))),
        (LEAF, smooth(at("1,54 12,36 32,32 22,48"))),
        *((OWN, line(16, (0, -12), (0.6 * x, 0.6 * y - 12))) for x, y in regular(8)),
        ("#f6da28", ellipse(0, -12, 12)),
    ],
    "sun": [
        (OWN, ellipse(0, 0, 28)),
        *((OWN, line(7, (0.74 * x, 0.74 * y), (x, y))) for x, y in regular(10)),
    ],
    "cloud": [
        (OWN, rectangle(-48, 0, 48, 30, 14)),
        (OWN, ellipse(-24, -4, 20)),
        (OWN, ellipse(6, -12, 26)),
        (OWN, ellipse(30, 2, 17)),
    ],
    "key": [
        *_ring(-30, 0, 17, 17, width=9),
        (OWN, rectangle(-14, -5, 50, 5)),
        (OWN, rectangle(27, 4, 34, 19)),
        (OWN, rectangle(42, 4, 50, 22)),
    ],
    "umbrella": [
        (INK, rectangle(-2.5, -50, 2.5, 38)),
        *((INK, shape) for _, shape in _curves(arc(10, 36, 10, 10, 180, 0), width=5)),
        (
            OWN,
            [
                *arc(0, 2, 50, 44, 180, 360),
                *arc(33.3, 2, 16.7, 9, 360, 180),
                *arc(0, 2, 16.7, 9, 360, 180),
                *arc(-33.3, 2, 16.7, 9, 360, 180),
            ],
        ),
    ],
    "clock": [
        (INK, ellipse(0, 0, 50)),
        (OWN, ellipse(0, 0, 44)),
        *((INK, ellipse(0.7 * x, 0.7 * y, 2.6)) for x, y in regular(12)),
        (INK, line(5, (0, 0), (0, -28))),
        (INK, line(5, (0, 0), (18, 10))),
    ],
    "book": [
        (OWN, rectangle(-38, -50, 38, 50, 5)),
        (INK, rectangle(-30, -50, -26, 50)),
        (PAPER, rectangle(-14, -30, 26, -12)),
        (PAPER, rectangle(-26, 36, 38, 44)),
    ],
    "apple": [
        (WOOD, line(6, (0, -26), (7, -52))),
        (OWN, smooth(at("0,-28 24,-36 46,-22 48,6 32,38 12,48 0,45 -12,48 -32,38 -48,6 -46,-22 -24,-36"))),
        (LEAF, smooth(at("6,-40 20,-56 40,-56 26,-42"))),
    ],
    "chair": [
        (OWN, rectangle(-30, -50, -18, 50)),
        (OWN, rectangle(20, 4, 32, 50)),
        (OWN, rectangle(-30, -4, 36, 10)),
    ],
    "bird": [
        (INK, line(4, (-4, 30), (-4, 50), (6, 50))),
        (INK, line(4, (8, 30), (8, 50), (18, 50))),
        ("#f48216", at("40,-30 56,-20 40,-14")),
        (OWN, smooth(at("44,-22 36,-38 22,-40 10,-26 -16,-10 -50,-12 -48,0 -24,22 4,32 30,22 42,-2"))),
        (PAPER, smooth(at("10,-2 4,14 -16,16 -34,2 -12,-4"))),
        (INK, ellipse(27, -26, 3.4)),
    ],
}
SHADES = {
    "red": "#d62020",
    "orange": "#f48216",
    "yellow": "#f6da28",
    "green": "#289636",
    "turquoise": "#34c8be",
    "blue": "#244acd",
    "purple": "#802ca8",
    "pink": "#f68cbe",
    "black": "#1a1a1c",
    "white": "#f6f6f6",
    "gray": "#88888a",
}


@dataclass(frozen=True)
class SceneDescription:
    """The description of a simple scene: its size, background colors from top to bottom, and objects."""

    width: int
    height: int
    ground: tuple[str, ...]
    things: tuple[str, ...]
    """For each object: color, optionally `striped` or `dotted`, name, center, and longer side."""


DESCRIPTIONS: dict[str, SceneDescription] = {
    "toys.png": SceneDescription(
        336,
        336,
        ("#f1ebdd",),
        (
            "green circle 70,72 96",
            "blue hexagon 196,56 80",
            "purple striped diamond 288,98 104",
            "turquoise star 74,206 92",
            "yellow dotted square 190,178 92",
            "black cross 70,298 56",
            "pink heart 286,270 84",
        ),
    ),
    "garden.png": SceneDescription(
        420,
        300,
        ("#dfeaf0",),
        (
            "orange sun 62,58 96",
            "gray cloud 196,54 100",
            "red house 84,212 130",
            "green tree 216,192 140",
            "purple flower 336,214 120",
            "blue bird 336,72 100",
        ),
    ),
    "desk.png": SceneDescription(
        400,
        300,
        ("#eadfce",),
        (
            "blue book 64,82 108",
            "white clock 196,78 100",
            "black key 330,72 100",
            "turquoise cup 72,222 100",
            "green apple 198,216 100",
            "purple chair 328,214 112",
        ),
    ),
    "numbers.png": SceneDescription(
        360,
        240,
        ("#f4f0e6",),
        (
            "green 3 62,66 92",
            "turquoise 8 180,66 96",
            "blue 5 298,66 92",
            "black 4 62,178 92",
            "purple 7 182,180 92",
            "pink 2 298,178 92",
        ),
    ),
    "letters.png": SceneDescription(
        280,
        400,
        ("#202b38",),
        (
            "yellow A 72,76 104",
            "white K 206,78 104",
            "turquoise E 72,202 104",
            "green S 208,204 104",
            "pink T 74,328 104",
            "white M 206,328 104",
        ),
    ),
    "shore.jpg": SceneDescription(
        420,
        280,
        ("#f1ead0",),
        (
            "yellow umbrella 68,76 108",
            "blue boat 208,76 112",
            "purple fish 76,208 106",
            "green car 212,214 108",
            "pink crescent 348,136 104",
        ),
    ),
}


def draw_described(description: SceneDescription) -> SampleScene:
    """Draw a simple scene from its description."""
    scene = SampleScene(description.width, description.height)
    scene.fill(rectangle(0, 0, description.width, description.height), *description.ground)
    for words in description.things:
        color, *texture, name, middle, size = words.split()
        parts = _fit_parts((_FIGURES | _CHARACTERS)[name], at(middle)[0], float(size))
        thing = scene.thing(_noun(name))
        for shade, shape in parts:
            # Parts inside another, such as windows, are not outlines of the object.
            is_detail = any(_is_inside(bounds([shape]), bounds([other])) for other in thing.shapes)
            scene.fill(shape, shade or SHADES[color], of=None if is_detail else thing)
        for shape in _texture(*texture, size=float(size), middle=at(middle)[0]):
            scene.fill(shape, PAPER, within=parts[0][1])
    return scene


def _noun(name: str) -> str:
    return f"number {name}" if name.isdigit() else f"letter {name}" if len(name) == 1 else name


def _fit_parts(parts: Parts, middle: XY, size: float) -> Parts:
    """The parts centered at `middle`, scaled so that their longer side is `size`."""
    x1, y1, x2, y2 = bounds(shape for _, shape in parts)
    scale = size / max(x2 - x1, y2 - y1)
    dx, dy = middle[0] - scale * (x1 + x2) / 2, middle[1] - scale * (y1 + y2) / 2
    return [(shade, [(x * scale + dx, y * scale + dy) for x, y in shape]) for shade, shape in parts]


def _is_inside(inner: Frame, outer: Frame) -> bool:
    return inner[0] > outer[0] and inner[1] > outer[1] and inner[2] < outer[2] and inner[3] < outer[3]


def _texture(texture: str = "", *, size: float, middle: XY) -> list[Shape]:
    """Stripes or dots over a square of this size."""
    steps = [size * (step / 5 - 0.4) for step in range(5)]
    patterns: dict[str, list[Shape]] = {
        "striped": [rectangle(-size, y - size / 28, size, y + size / 28) for y in steps],
        "dotted": [ellipse(x, y, size / 16) for x in steps for y in steps],
    }
    return [translated(shape, *middle) for shape in patterns.get(texture, [])]


# Tasks: questions about objects in the simple scenes, as a person would write them in a task file


@dataclass(frozen=True)
class SampleTask:
    """A question and its expected answer; each of `marks` is a kind of mark, an object and a color."""

    id: str
    picture: str
    marks: tuple[tuple[str, str, str], ...]
    question: str
    expected: str


TASKS = (
    SampleTask("number", "numbers.png", (("arrow", "number 8", "blue"),), "Which number is {1}?", "8"),
    SampleTask(
        "sum",
        "numbers.png",
        (("box", "number 3", "red"), ("ellipse", "number 4", "blue")),
        "What do the numbers {1} and {2} add up to?",
        "7",
    ),
    SampleTask("letter", "letters.png", (("box", "letter K", "lime"),), "Which letter is {1}?", "K"),
    SampleTask("house", "garden.png", (("contour", "house", "blue"),), "What is {1}?", "a house"),
    SampleTask(
        "cup", "desk.png", (("scribble", "cup", "red"),), "What is the thing {1} used for?", "drinking"
    ),
    SampleTask("fish", "shore.jpg", (("point", "fish", "lime"),), "Is the thing {1} alive?", "yes"),
    SampleTask(
        "order",
        "toys.png",
        (("triangle", "star", "fuchsia"), ("box", "circle", "blue")),
        "Is the thing {1} above the thing {2}?",
        "no",
    ),
    SampleTask(
        "corners",
        "toys.png",
        (("mask", "hexagon", "orange"),),
        "How many corners does the thing {1} have?",
        "6",
    ),
)


def tasks(scenes: dict[str, SampleScene]) -> list[dict[str, Any]]:
    """The rows of the task file; marks are written in each of the supported ways."""
    rows = []
    for task in TASKS:
        by_name = {thing.name: thing for thing in scenes[task.picture].things}
        marks = [(kind, f"{_mark_value(kind, by_name[thing])}:{color}") for kind, thing, color in task.marks]
        rows.append(
            {
                "id": task.id,
                "image": f"images/{task.picture}",
                **(dict(marks) if len(marks) == 1 else {"marks": [" ".join(mark) for mark in marks]}),
                "question": task.question,
                "expected": task.expected,
            }
        )
    return rows


def _mark_value(kind: str, thing: SampleObject) -> str:
    """The value of a mark on an object, in whole pixels as if marked by hand."""
    x1, y1, x2, y2 = bounds(thing.shapes)
    x, y, across, down = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
    corners: dict[str, Shape] = {
        "box": [(x1 - 6, y1 - 6), (x2 + 6, y2 + 6)],
        "ellipse": [(x1 - 0.2 * across, y1 - 0.15 * down), (x2 + 0.2 * across, y2 + 0.15 * down)],
        "triangle": [(x1 - 0.22 * across, y1 - 0.45 * down), (x2 + 0.22 * across, y2 + 4)],
        "point": [(x, y)],
        "arrow": [(x - 0.9 * across, y - 0.15 * down), (x - 0.2 * across, y)],
        "scribble": [
            (x1 + share * across, y + swing * down)
            for share, swing in ((0.15, -0.1), (0.3, 0.25), (0.4, -0.25), (0.55, 0.25), (0.65, -0.2))
        ],
    }
    if kind in ("contour", "mask"):
        corners[kind] = thing.shapes[0]
    between = "," if kind in ("box", "ellipse", "triangle", "arrow") else " "
    return between.join(f"{x:.0f},{y:.0f}" for x, y in corners[kind])


# Files

SCENES: dict[str, Callable[[random.Random], SampleScene]] = {
    "street.jpg": street,
    "fruit.png": fruit,
    "harbour.jpg": harbour,
    "shapes.png": shapes,
}
# Stored on its side with an EXIF orientation, as phones store photos.
SIDEWAYS = "harbour.jpg"
QUARTER_TURN = 6


def save(picture: Image.Image, path: Path) -> None:
    """Save a picture as a small file without color subsampling."""
    if path.suffix == ".png":
        picture.save(path, optimize=True)
        return
    exif = Image.Exif()
    if path.name == SIDEWAYS:
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif[ExifTags.Base.Orientation] = QUARTER_TURN
    picture.save(path, quality=88, subsampling=0, optimize=True, exif=exif)


def annotate(scenes: dict[str, SampleScene], digits: int | None = 1) -> dict[str, list[dict[str, Any]]]:
    """The COCO annotations of all objects in all scenes; in whole pixels if `digits` is None."""
    names = sorted({thing.name for scene in scenes.values() for thing in scene.things})
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (file_name, scene) in enumerate(scenes.items(), 1):
        images.append({"id": image_id, "file_name": file_name, "width": scene.width, "height": scene.height})
        for thing in scene.things:
            x1, y1, x2, y2 = _frame(scene, thing, digits)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": names.index(thing.name) + 1,
                    "bbox": [x1, y1, round(x2 - x1, digits), round(y2 - y1, digits)],
                    "area": int(np.count_nonzero(np.asarray(scene.mask(thing)))),
                    "iscrowd": 0,
                    "segmentation": [
                        [round(value, digits) for point in shape for value in point] for shape in thing.shapes
                    ],
                }
            )
    categories = [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    return {"images": images, "categories": categories, "annotations": annotations}


def _frame(scene: SampleScene, thing: SampleObject, digits: int | None) -> Frame:
    x1, y1, x2, y2 = bounds(thing.shapes)
    return (
        round(max(x1, 0), digits),
        round(max(y1, 0), digits),
        round(min(x2, scene.width), digits),
        round(min(y2, scene.height), digits),
    )


def as_yolo(coco: dict[str, list[dict[str, Any]]]) -> dict[str, str]:
    """Convert COCO boxes to YOLO files: the labels of each picture, and the class names."""
    files = {}
    for image in coco["images"]:
        lines = []
        for annotation in coco["annotations"]:
            if annotation["image_id"] == image["id"]:
                x, y, across, down = annotation["bbox"]
                middle = (x + across / 2) / image["width"], (y + down / 2) / image["height"]
                fractions = *middle, across / image["width"], down / image["height"]
                lines.append(
                    " ".join([str(annotation["category_id"] - 1), *(f"{value:.6f}" for value in fractions)])
                )
        files[f"labels/{Path(image['file_name']).stem}.txt"] = "\n".join(lines) + "\n"
    names = "".join(f"  {entry['id'] - 1}: {entry['name']}\n" for entry in coco["categories"])
    return {**files, "data.yaml": f"path: .\ntrain: images\nval: images\nnames:\n{names}"}


def as_json(sections: dict[str, list[dict[str, Any]]]) -> str:
    """JSON with one entry per line."""
    blocks = []
    for name, entries in sections.items():
        lines = ",\n".join(json.dumps(entry) for entry in entries)
        blocks.append(f'"{name}": [\n{lines}\n]')
    return "{" + ",\n".join(blocks) + "}\n"


def marks_sheet(
    pictures: dict[str, Image.Image], rows: Iterable[dict[str, str]], folder: Path
) -> Image.Image:
    """Close-ups of the first row of each kind of mark, drawn by vipcli and captioned with the option."""
    first_rows: dict[str, dict[str, str]] = {}
    for row in rows:
        first_rows.setdefault(row["option"], row)
    width, height, gap, caption, columns = 288, 216, 16, 56, 4
    rows_of_cells = math.ceil(len(first_rows) / columns)
    size = (columns * (width + gap) + gap, rows_of_cells * (height + caption) + gap)
    sheet = Image.new("RGB", size, "white")
    paint = ImageDraw.Draw(sheet)
    for index, row in enumerate(first_rows.values()):
        close_up, phrase = _close_up(pictures[row["picture"]], row, folder, width, height)
        left, top = gap + index % columns * (width + gap), gap + index // columns * (height + caption)
        sheet.paste(close_up, (left, top))
        middle = left + width / 2
        paint.text(
            (middle, top + height + 17), row["option"], "#1f2430", ImageFont.load_default(20), anchor="mm"
        )
        paint.text((middle, top + height + 39), phrase, "#6b7280", ImageFont.load_default(15), anchor="mm")
    return sheet


def _close_up(
    picture: Image.Image, row: dict[str, str], folder: Path, width: int, height: int
) -> tuple[Image.Image, str]:
    """The marked picture cropped around its mark, and the phrase that refers to the mark."""
    from vipcli.asking import pipeline
    from vipcli.marks.kinds import parse_mark
    from vipcli.pictures.images import Picture

    kind, value = row["option"].removeprefix("--"), row["value"]
    typed = parse_mark(kind, value)
    if typed.file is not None:
        typed = parse_mark(kind, str(folder / value))
    marked = pipeline.mark([Picture(np.asarray(picture), row["picture"], "")], [typed])
    x1, y1, x2, y2 = marked.marks[0].bounds
    left = min(max(round((x1 + x2 - width) / 2), 0), picture.width - width)
    top = min(max(round((y1 + y2 - height) / 2), 0), picture.height - height)
    close_up = Image.fromarray(marked.pixels).crop((left, top, left + width, top + height))
    return close_up, marked.marks[0].phrase


def make(folder: Path) -> None:
    """Write all generated samples to a folder."""
    scenes = {name: draw(random.Random(SEED)) for name, draw in SCENES.items()}
    pictures = {name: scene.picture() for name, scene in scenes.items()}
    for name, picture in pictures.items():
        save(picture, folder / name)
    car = next(thing for thing in scenes["street.jpg"].things if thing.name == "car")
    save(scenes["street.jpg"].mask(car), folder / "street-car-mask.png")
    (folder / "annotations.json").write_text(as_json(annotate(scenes)), encoding="utf-8")
    with (HERE / "marks.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    save(marks_sheet(pictures, rows, folder), folder / "marks.png")
    make_scenes(folder / "scenes")


def make_scenes(folder: Path) -> None:
    """Write the simple scenes, their annotations in both formats, and the tasks for `vipcli batch`."""
    scenes = {name: draw_described(description) for name, description in DESCRIPTIONS.items()}
    for inner in ("images", "labels"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        save(scene.picture(), folder / "images" / name)
    coco = annotate(scenes, None)
    lines = "".join(f"{json.dumps(row)}\n" for row in tasks(scenes))
    files = {**as_yolo(coco), "annotations.json": as_json(coco), "tasks.jsonl": lines}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    target.mkdir(parents=True, exist_ok=True)
    make(target)
