"""Marks on pictures, pixel by pixel, against the trained geometry and Pillow, which training drew with."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray
from PIL import Image

from tests import painters
from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.colors import NAMED, TRAINED, Color, named_color
from vipcli.marks.drawing import arrow_shape, draw, trace
from vipcli.marks.kinds import (
    BY_KIND,
    LIMIT,
    ArrowMark,
    BoxMark,
    ContourMark,
    EllipseMark,
    Mark,
    MaskMark,
    PointMark,
    ScribbleMark,
    TriangleMark,
    clip_to_picture,
    parse_mark,
)
from vipcli.marks.styles import Style, relative_size, styles_for

Pixels = NDArray[np.uint8]
Stencil = NDArray[np.bool_]

RED, BLUE = named_color("red"), named_color("blue")
SIZES = [(336, 336), (640, 480), (200, 600), (1920, 1080), (50, 50)]
GOLDEN = Path(__file__).with_name("golden")

at_every_size = pytest.mark.parametrize(("width", "height"), SIZES, ids=lambda side: str(side))


def noise(width: int, height: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def solid(stroke: int = 0, **style: object) -> Style:
    return Style(stroke=stroke, alpha=255, **style)  # type: ignore[arg-type]


def painted(mark: Mark, style: Style, width: int, height: int) -> Stencil:
    """The pixels that a mark paints on a picture of this size."""
    black = np.zeros((height, width, 3), np.uint8)
    white = replace(mark, color=Color("white", (255, 255, 255)))
    seen: Stencil = draw(black, [white], [replace(style, alpha=255)])[..., 0] == 255
    return seen


def lit(*areas: tuple[slice, slice], width: int, height: int) -> Stencil:
    """A stencil of these rows and columns."""
    stencil = np.zeros((height, width), np.bool_)
    for rows, columns in areas:
        stencil[rows, columns] = True
    return stencil


def farthest(one: Stencil, other: Stencil) -> float:
    """How far from any pixel of `other` a pixel of `one` lies."""
    if not one.any():
        return 0.0
    if not other.any():
        return math.inf
    rows, columns = (np.flatnonzero((one | other).any(axis=axis)) for axis in (1, 0))
    where = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return float(distances(other[where])[one[where]].max())


def distances(stencil: Stencil) -> NDArray[np.float32]:
    """How far each pixel lies from the stencil."""
    far = cv2.distanceTransform((~stencil).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return far.astype(np.float32)


def overlap(one: Stencil, other: Stencil) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def assert_alike(ours: Stencil, theirs: Stencil, *, least: float, most: float = 1.5) -> None:
    """They overlap by `least`, and no pixel of either is more than `most` pixels from the other."""
    assert overlap(ours, theirs) >= least
    assert farthest(ours, theirs) <= most
    assert farthest(theirs, ours) <= most


def least_overlap(stroke: int) -> float:
    """What two strokes share at least when each side of one may be half a pixel off."""
    # Pillow shifts a stroke of even width by a pixel, to a side that depends on the line's direction,
    # and draws slanted ones up to a fifth too thin: so thin strokes share less.
    return 0.9 if stroke >= 20 else (stroke - 1) / (stroke + 1)


def corners(x1: float, y1: float, x2: float, y2: float) -> Polygon:
    return (x1, y1), (x2, y1), (x2, y2), (x1, y2)


def whole_point(rng: random.Random, width: int, height: int) -> XY:
    return float(rng.randrange(width)), float(rng.randrange(height))


def whole_frame(rng: random.Random, width: int, height: int, least: int) -> Bounds:
    """A rectangle of whole pixels inside the picture, at least so wide and high."""
    x1, y1 = rng.randrange(width - least), rng.randrange(height - least)
    return (
        float(x1),
        float(y1),
        float(rng.randrange(x1 + least, width)),
        float(rng.randrange(y1 + least, height)),
    )


# Rectangles


@pytest.mark.parametrize("stroke", [1, 2, 3, 4, 8])
def test_a_rectangle_lies_on_and_inside_its_box(stroke: int) -> None:
    seen = painted(BoxMark(RED, 10, 20, 50, 40), solid(stroke), 80, 60)
    expected = lit((slice(20, 41), slice(10, 51)), width=80, height=60)
    expected[20 + stroke : 41 - stroke, 10 + stroke : 51 - stroke] = False
    assert np.array_equal(seen, expected)


@at_every_size
@pytest.mark.parametrize("jitter", [None, 0, 1, 2])
def test_rectangles_are_painted_as_in_training(width: int, height: int, jitter: int | None) -> None:
    rng = random.Random(width)
    for _ in range(10):
        mark = BoxMark(RED, *whole_frame(rng, width, height, 30))
        (style,) = styles_for([mark], width, height, jitter=jitter)
        style = replace(style, stroke=min(style.stroke, 30))
        assert np.array_equal(
            painted(mark, style, width, height), painters.stencil(mark, style, width, height)
        )


@pytest.mark.parametrize(
    ("frame", "rows", "columns"),
    [
        ((10.9, 20.9, 50.9, 40.9), (20, 41), (10, 51)),
        ((0, 0, 80, 60), (0, 60), (0, 80)),
        ((-5, -5, 30.5, 20.5), (0, 21), (0, 31)),
        ((60, 50, 100, 100), (50, 60), (60, 80)),
        ((-1e6, -1e6, 1e6, 1e6), (0, 60), (0, 80)),
        ((79.5, 59.5, 80, 60), (59, 60), (79, 80)),
        ((0, 0, 0.2, 0.2), (0, 1), (0, 1)),
    ],
)
def test_a_rectangle_keeps_its_sides_at_the_pictures_edge(
    frame: Bounds, rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    seen = painted(BoxMark(RED, *frame), solid(3), 80, 60)
    expected = lit((slice(*rows), slice(*columns)), width=80, height=60)
    expected[rows[0] + 3 : max(rows[1] - 3, 0), columns[0] + 3 : max(columns[1] - 3, 0)] = False
    assert np.array_equal(seen, expected)


@given(st.integers(0, 9), st.integers(0, 9), st.integers(1, 12))
def test_a_box_smaller_than_its_strokes_is_filled(wide: int, high: int, stroke: int) -> None:
    assume(min(wide, high) + 1 <= 2 * stroke)
    seen = painted(BoxMark(RED, 5, 6, 5 + wide, 6 + high), solid(stroke), 30, 30)
    assert np.array_equal(seen, lit((slice(6, 7 + high), slice(5, 6 + wide)), width=30, height=30))


# Ellipses and points


@at_every_size
@pytest.mark.parametrize("stroke", [4, 6, 9, 20, 45])
def test_ellipses_are_painted_as_in_training(width: int, height: int, stroke: int) -> None:
    rng = random.Random(stroke)
    for _ in range(6):
        mark = EllipseMark(RED, *whole_frame(rng, width, height, 20))
        style = solid(stroke)
        ours, theirs = painted(mark, style, width, height), painters.stencil(mark, style, width, height)
        assert_alike(ours, theirs, least=0.8 if stroke < 8 else 0.9)


@pytest.mark.parametrize("stroke", [1, 2, 3, 4, 8])
def test_an_ellipse_touches_the_sides_of_its_rectangle(stroke: int) -> None:
    seen = painted(EllipseMark(RED, 10, 20, 90, 60), solid(stroke), 110, 90)
    rows, columns = seen[:, 50].nonzero()[0], seen[40].nonzero()[0]
    assert rows.tolist() == [*range(20, 20 + stroke), *range(61 - stroke, 61)]
    assert columns.tolist() == [*range(10, 10 + stroke), *range(91 - stroke, 91)]
    assert not seen[:20].any() and not seen[61:].any()
    assert not seen[:, :10].any() and not seen[:, 91:].any()
    assert not seen[20:26, 10:22].any(), "a corner of the rectangle was painted"


@pytest.mark.parametrize("scale", [1, 1.25, 1.5])
def test_an_ellipse_grows_about_its_center(scale: float) -> None:
    seen = painted(EllipseMark(RED, 80, 90, 120, 130), solid(3, scale=scale), 200, 220)
    reach = round(20 * scale)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    assert (rows.min(), rows.max()) == (110 - reach, 110 + reach)
    assert (columns.min(), columns.max()) == (100 - reach, 100 + reach)
    assert not seen[110, 100]


def test_an_ellipse_smaller_than_its_strokes_is_filled() -> None:
    mark = EllipseMark(RED, 10, 10, 20, 30)
    filled = painted(mark, solid(5), 40, 40)
    assert filled[20, 10:21].all() and filled[10:31, 15].all()
    assert np.array_equal(filled, painted(mark, solid(50), 40, 40))


@at_every_size
def test_points_are_painted_as_in_training(width: int, height: int) -> None:
    rng = random.Random(width)
    for seed in range(20):
        mark = PointMark(RED, *whole_point(rng, width, height))
        (style,) = styles_for([mark], width, height, jitter=seed)
        style = replace(style, radii=(round(style.radii[0]) + 4, round(style.radii[1]) + 4))
        assert_alike(
            painted(mark, style, width, height), painters.stencil(mark, style, width, height), least=0.9
        )


@pytest.mark.parametrize("radius", [1, 2, 3, 8, 20, 91])
def test_a_point_is_a_disc(radius: int) -> None:
    side = 4 * radius + 1
    seen = painted(PointMark(RED, 2 * radius, 2 * radius), solid(radii=(radius, radius)), side, side)
    rows, columns = np.mgrid[:side, :side] - 2 * radius
    away = np.hypot(rows, columns)
    assert seen[away <= radius - 0.65].all()
    assert not seen[away > radius + 0.65].any()
    assert overlap(seen, seen[::-1]) > 0.8 and overlap(seen, seen[:, ::-1]) > 0.8


def test_a_stretched_point() -> None:
    seen = painted(PointMark(RED, 50, 40), solid(radii=(40, 10)), 100, 80)
    assert seen[40, 10:91].all() and seen[30:51, 50].all()
    assert seen.sum() == pytest.approx(math.pi * 40.5 * 10.5, rel=0.03)


# Strokes


@pytest.mark.parametrize("stroke", range(1, 14))
@pytest.mark.parametrize("offset", [0, 0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9])
def test_straight_strokes_have_the_width_asked_for(stroke: int, offset: float) -> None:
    across = painted(ScribbleMark(RED, ((20, 30 + offset), (80, 30 + offset))), solid(stroke), 100, 60)
    down = painted(ScribbleMark(RED, ((30 + offset, 20), (30 + offset, 80))), solid(stroke), 60, 100)
    # Their ends are cut straight, at the very pixels named.
    assert across.sum(axis=0).tolist() == [0] * 20 + [stroke] * 61 + [0] * 19
    assert down.sum(axis=1).tolist() == [0] * 20 + [stroke] * 61 + [0] * 19
    assert across[:, 50].nonzero()[0].mean() == pytest.approx(30 + offset, abs=0.76)


@pytest.mark.parametrize("stroke", [2, 3, 4, 5, 8, 12, 34])
def test_slanted_strokes_are_as_thick(stroke: int) -> None:
    for degrees in range(0, 180, 5):
        turn = math.radians(degrees)
        end = (150 + 120 * math.cos(turn), 150 + 120 * math.sin(turn))
        seen = painted(ScribbleMark(RED, ((150, 150), end)), solid(stroke), 300, 300)
        assert seen.sum() == pytest.approx(120 * stroke, rel=0.45 if stroke < 4 else 0.15), degrees


@pytest.mark.parametrize("stroke", [4, 8, 13, 40])
@pytest.mark.parametrize("degrees", range(7, 360, 29))
def test_ends_of_slanted_strokes_are_cut_straight(stroke: int, degrees: int) -> None:
    turn = math.radians(degrees)
    along, aside = (math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))
    start, end = (150.0, 150.0), (150 + 100 * along[0], 150 + 100 * along[1])
    seen = painted(ScribbleMark(RED, (start, end)), solid(stroke), 300, 300)
    rows, columns = np.mgrid[:300, :300]
    ahead = (columns - end[0]) * along[0] + (rows - end[1]) * along[1]
    beside = np.abs((columns - end[0]) * aside[0] + (rows - end[1]) * aside[1])
    assert not seen[ahead > 1].any()
    assert seen[(ahead < -1) & (ahead > -90) & (beside < stroke / 2 - 1)].all()
    assert not seen[beside > stroke / 2 + 1].any()


@at_every_size
@pytest.mark.parametrize("stroke", [4, 5, 8, 12, 20, 34])
def test_triangles_are_painted_as_in_training(width: int, height: int, stroke: int) -> None:
    rng = random.Random(stroke)
    compared = 0
    while compared < 5:
        points = [whole_point(rng, width, height) for _ in range(3)]
        x1, y1 = min(x for x, _ in points), min(y for _, y in points)
        x2, y2 = max(x for x, _ in points), max(y for _, y in points)
        # Small sharp ones are all corner, and Pillow rounds a corner's disc differently.
        if min(x2 - x1, y2 - y1) < min(stroke, 10) or any(
            math.dist(*pair) < stroke for pair in pairwise(points)
        ):
            continue
        compared += 1
        mark = TriangleMark(RED, x1, y1, x2, y2)
        style = solid(stroke, corners=tuple(((x - x1) / (x2 - x1), (y - y1) / (y2 - y1)) for x, y in points))
        ours, theirs = painted(mark, style, width, height), painters.stencil(mark, style, width, height)
        assert_alike(ours, theirs, least=least_overlap(stroke), most=2.3)


def test_a_triangle_is_an_outline() -> None:
    mark = TriangleMark(RED, 20, 20, 120, 100)
    (style,) = styles_for([mark], 336, 336)
    seen = painted(mark, style, 336, 336)
    assert seen[20, 70] and seen[100, 20] and seen[100, 120] and seen[100, 70]
    assert not seen[70, 70] and not seen[30, 25] and not seen[30, 115]
    # Half of its stroke lies outside of the corners.
    rows, columns = seen.nonzero()
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (19, 101, 19, 121)


@at_every_size
@pytest.mark.parametrize("seed", range(8))
def test_arrows_are_painted_as_in_training(width: int, height: int, seed: int) -> None:
    rng = random.Random(seed)
    tip, tail = whole_point(rng, width, height), whole_point(rng, width, height)
    for mark in (ArrowMark(RED, tip), ArrowMark(RED, tip, tail)):
        (style,) = styles_for([mark], width, height, jitter=seed)
        if mark.tail is None and width == 50:
            style = replace(style, length=25.0)
        for stroke in (4, 7, 12, 20)[: 2 if width == 50 else 4]:
            solidly = replace(style, stroke=stroke)
            ours = painted(mark, solidly, width, height)
            theirs = painters.stencil(mark, solidly, width, height)
            assert_alike(ours, theirs, least=least_overlap(stroke), most=2)


def test_a_default_arrow_by_hand() -> None:
    mark = ArrowMark(RED, (100, 100))
    (style,) = styles_for([mark], 336, 336)
    shaft, head = arrow_shape(mark, style, 336, 336)
    # 40 long, 14 of them the head, towards the far corner.
    assert shaft[0] == (100, 100)
    assert shaft[-1] == pytest.approx((100 + 26 / math.sqrt(2), 100 + 26 / math.sqrt(2)))
    assert len(shaft) == 2
    assert head[1] == (100, 100)
    for wing, turn in ((head[0], 105), (head[2], -15)):
        angle = math.radians(turn)
        assert wing == pytest.approx((100 + 14 * math.cos(angle), 100 + 14 * math.sin(angle)))
    seen = painted(mark, style, 336, 336)
    assert seen[100, 100] and seen[106, 106] and seen[118, 118]
    assert not seen[96:98, 96:98].any() and not seen[121:, 121:].any()


def test_an_arrow_from_its_tail_to_its_tip() -> None:
    mark = ArrowMark(RED, (100, 50), (20, 50))
    (style,) = styles_for([mark], 336, 336)
    seen = painted(mark, style, 336, 336)
    assert seen[49:52, 20:101].all()
    assert not seen[:, :20].any() and not seen[:, 103:].any()
    # The head is wide where the wings are: 25 long, so 12.5 back and 21.7 to each side.
    assert seen[30:71, 89].all() and not seen[:27, 89].any() and not seen[75:, 89].any()
    assert not seen[45, 60]


@pytest.mark.parametrize(("length", "head"), [(4, 6), (40, 40 * 0.35 / 0.65), (300, 25)])
def test_a_head_keeps_to_its_sizes(length: float, head: float) -> None:
    mark = ArrowMark(RED, (10, 100), (10 + length, 100))
    (style,) = styles_for([mark], 336, 336)
    _, (wing, tip, _) = arrow_shape(mark, style, 336, 336)
    assert math.dist(wing, tip) == pytest.approx(head)


def test_an_open_head_is_not_filled() -> None:
    mark = ArrowMark(RED, (50, 50), (150, 50))
    style = solid(3, head_sizes=(40, 40))
    closed = painted(mark, style, 200, 100)
    opened = painted(mark, replace(style, open_head=True), 200, 100)
    assert closed[58, 60] and not opened[58, 60]
    assert opened[49:52, 51:151].all()


def test_a_bent_arrow_leaves_the_straight_line() -> None:
    mark = ArrowMark(RED, (50, 50), (150, 50))
    bent = painted(mark, solid(3, bend=(0, 10)), 200, 100)
    assert bent[60, 100] and bent[50, 150] and not bent[50, 100]


@given(st.sampled_from([(336, 336), (640, 480), (200, 600), (1920, 1080), (100, 70)]), st.data())
def test_a_default_arrow_stays_inside(size: tuple[int, int], data: st.DataObject) -> None:
    width, height = size
    length = 40 * relative_size(width, height)
    # Its length from two edges, and as far from the others as its wings reach back.
    near = length / 8
    tip = (
        data.draw(
            st.floats(near, max(width - length, width / 2)) | st.floats(min(length, width / 2), width - near)
        ),
        data.draw(
            st.floats(near, max(height - length, height / 2))
            | st.floats(min(length, height / 2), height - near)
        ),
    )
    mark = ArrowMark(RED, tip)
    (style,) = styles_for([mark], width, height)
    shaft, head = arrow_shape(mark, style, width, height)
    assert all(0 <= x <= width and 0 <= y <= height for x, y in (*shaft, *head))


@pytest.mark.parametrize("tip", [(450, 10), (20, 5), (880, 19)])
def test_a_default_arrow_keeps_its_tail_on_a_strip_of_a_picture(tip: XY) -> None:
    mark = ArrowMark(RED, tip)
    (style,) = styles_for([mark], 900, 20)
    shaft, _ = arrow_shape(mark, style, 900, 20)
    assert all(0 <= x <= 900 and 0 <= y <= 20 for x, y in shaft)


@pytest.mark.parametrize("tip", [(0, 0), (336, 0), (0, 336), (336, 336), (168, 168), (0, 168), (168, 336)])
def test_a_default_arrow_is_seen_from_any_edge(tip: XY) -> None:
    mark = ArrowMark(RED, tip)
    (style,) = styles_for([mark], 336, 336)
    shaft, _ = arrow_shape(mark, style, 336, 336)
    assert all(0 <= x <= 336 and 0 <= y <= 336 for x, y in shaft)
    assert painted(mark, style, 336, 336).sum() > 75


@pytest.mark.parametrize("stroke", [4, 6, 9, 20])
@pytest.mark.parametrize(
    "path",
    [
        ((20, 30), (250, 200)),
        ((20, 100), (100, 40), (180, 160), (280, 100)),
        ((40, 150), (150, 40), (260, 150), (150, 260)),
        ((150, 20), (150, 150), (150, 280)),
    ],
)
def test_scribbles_are_painted_as_in_training(path: tuple[XY, ...], stroke: int) -> None:
    mark = ScribbleMark(RED, path)
    ours = painted(mark, solid(stroke), 300, 300)
    theirs = painters.stencil(mark, solid(stroke), 300, 300)
    assert_alike(ours, theirs, least=least_overlap(stroke), most=2.3)


@pytest.mark.parametrize("seed", range(25))
def test_a_wild_scribble_follows_its_curve(seed: int) -> None:
    rng = random.Random(seed)
    path = tuple((rng.uniform(30, 270), rng.uniform(30, 270)) for _ in range(rng.randint(3, 9)))
    stroke = rng.randint(1, 30)
    seen = painted(ScribbleMark(RED, path), solid(stroke), 300, 300)
    line = painters.curve(path, 0.4)
    middle = np.zeros((300, 300), np.bool_)
    for x, y in line:
        if 0 <= x < 299.5 and 0 <= y < 299.5:
            middle[round(y), round(x)] = True
    assert farthest(seen, middle) <= stroke / 2 + 1.3
    if stroke >= 3:
        assert seen[middle].mean() > 0.99
    # Away from its two ends it is as wide as it should be.
    inner = middle.copy()
    for end in (line[0], line[-1]):
        rows, columns = np.mgrid[:300, :300]
        inner &= np.hypot(columns - end[0], rows - end[1]) > stroke / 2 + 2
    assert seen[distances(inner) < stroke / 2 - 2].all()


@pytest.mark.parametrize("xs", [(100, 102, 200), (50, 60, 61, 250), (20, 20, 90, 91, 92), (5, 250, 251, 252)])
def test_a_scribble_of_uneven_steps_does_not_turn_back(xs: tuple[int, ...]) -> None:
    seen = painted(ScribbleMark(RED, tuple((x, 50) for x in xs)), solid(3), 300, 100)
    columns = np.flatnonzero(seen.any(axis=0))
    assert (columns.min(), columns.max()) == (xs[0], xs[-1])
    assert len(columns) == xs[-1] - xs[0] + 1


def test_a_scribble_passes_through_its_points() -> None:
    path = ((20, 30), (90, 100), (40, 160), (180, 170), (150, 20))
    seen = painted(ScribbleMark(RED, path), solid(3), 200, 200)
    assert all(seen[y, x] for x, y in path)


@pytest.mark.parametrize(
    "path",
    [
        ((50, 50), (50, 50), (90, 50)),
        ((50, 50), (50, 50), (50, 50), (90, 90), (90, 90)),
        ((50, 50), (90, 50), (50, 50)),
        ((50, 50), (50.001, 50.001)),
        ((50, 50), (50 + 1e-12, 50)),
        ((50, 50), (50, 50)),
    ],
)
def test_repeated_points_do_no_harm(path: tuple[XY, ...]) -> None:
    seen = painted(ScribbleMark(RED, path), solid(5), 140, 140)
    assert farthest(seen, lit((slice(50, 91), slice(50, 91)), width=140, height=140)) <= 15


# Outlines and masks


@pytest.mark.parametrize("stroke", [1, 3, 5, 15])
@pytest.mark.parametrize(("width", "height"), [(336, 336), (200, 600), (50, 50)])
def test_contours_are_painted_as_in_training(stroke: int, width: int, height: int) -> None:
    rng = random.Random(stroke)
    for _ in range(6):
        polygon = tuple(whole_point(rng, width, height) for _ in range(rng.randint(3, 7)))
        mark = ContourMark(RED, (polygon,))
        ours = painted(mark, solid(stroke), width, height)
        theirs = painters.stencil(mark, solid(stroke), width, height)
        # Both step a slanted line by whole pixels, and may step a pixel apart.
        assert_alike(ours, theirs, least=0.75 if stroke == 1 else 0.9)


@pytest.mark.parametrize("stroke", [1, 3, 5, 9])
@pytest.mark.parametrize("frame", [(10, 20, 60, 50), (0, 0, 80, 70), (-1, -2, 81, 71), (30, 30, 31, 31)])
def test_upright_contours_are_painted_exactly(stroke: int, frame: Bounds) -> None:
    mark = ContourMark(RED, (corners(*frame),))
    ours = painted(mark, solid(stroke), 80, 70)
    assert np.array_equal(ours, painters.stencil(mark, solid(stroke), 80, 70))


def test_a_contour_has_every_polygon() -> None:
    mark = ContourMark(RED, (corners(10, 10, 30, 30), corners(50, 50, 60, 60), corners(15, 15, 25, 25)))
    seen = painted(mark, solid(1), 80, 80)
    assert seen[10, 10:31].all() and seen[50:61, 60].all() and seen[15, 15:26].all()
    assert not seen[20, 20] and not seen[55, 55]


@at_every_size
def test_upright_masks_are_painted_exactly(width: int, height: int) -> None:
    rng = random.Random(height)
    for _ in range(10):
        frame = whole_frame(rng, width, height, 1)
        mark = MaskMark(RED, (corners(*frame),))
        seen = painted(mark, solid(), width, height)
        x1, y1, x2, y2 = map(int, frame)
        assert np.array_equal(seen, lit((slice(y1, y2 + 1), slice(x1, x2 + 1)), width=width, height=height))
        assert np.array_equal(seen, painters.stencil(mark, solid(), width, height))


@at_every_size
def test_masks_are_painted_as_in_training(width: int, height: int) -> None:
    rng = random.Random(width)
    for _ in range(10):
        count = rng.randint(3, 12)
        center = (width / 2, height / 2)
        polygon = tuple(
            (
                round(center[0] + rng.uniform(0.4, 0.9) * center[0] * math.cos(2 * math.pi * turn / count)),
                round(center[1] + rng.uniform(0.4, 0.9) * center[1] * math.sin(2 * math.pi * turn / count)),
            )
            for turn in range(count)
        )
        mark = MaskMark(RED, (polygon,))
        # Ours covers every pixel on the polygon's border, Pillow those of its upper left half.
        assert_alike(
            painted(mark, solid(), width, height),
            painters.stencil(mark, solid(), width, height),
            least=0.85 if width == 50 else 0.95,
            most=2,
        )


def test_a_polygon_inside_another_is_a_hole() -> None:
    mark = MaskMark(RED, (corners(10, 10, 60, 60), corners(20, 20, 50, 50), corners(30, 30, 40, 40)))
    seen = painted(mark, solid(), 80, 80)
    assert seen[15, 15] and seen[35, 35]
    assert not seen[25, 25] and not seen[70, 70]


masks = st_numpy.arrays(np.bool_, st_numpy.array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(masks)
def test_a_traced_mask_fills_the_same_pixels(mask: Stencil) -> None:
    polygons = trace(mask)
    assert (polygons == ()) == (not mask.any())
    if polygons:
        seen = painted(MaskMark(RED, polygons), solid(), mask.shape[1], mask.shape[0])
        assert np.array_equal(seen, mask)


@pytest.mark.parametrize(
    "rows",
    [
        ["#"],
        ["###"],
        ["#", "#"],
        ["#.#", ".#.", "#.#"],
        ["###", "#.#", "###"],
        ["#####", "#...#", "#.#.#", "#...#", "#####"],
        ["#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"],
        [".....", "..#..", "....."],
        ["#...#", ".....", "#...#"],
        ["##..", "##..", "..##", "..##"],
        [".#.", "#.#", ".#."],
        ["#.#.#.#.#", ".#.#.#.#."],
    ],
)
def test_tracing_by_hand(rows: list[str]) -> None:
    mask = np.array([[pixel == "#" for pixel in row] for row in rows])
    seen = painted(MaskMark(RED, trace(mask)), solid(), mask.shape[1], mask.shape[0])
    assert np.array_equal(seen, mask)


@pytest.mark.parametrize("seed", range(10))
def test_a_large_mask_is_traced_exactly(seed: int) -> None:
    blurred = cv2.GaussianBlur(np.random.default_rng(seed).random((300, 400)), (0, 0), 5)
    mask = blurred > np.median(blurred)
    assert np.array_equal(painted(MaskMark(RED, trace(mask)), solid(), 400, 300), mask)
    assert not trace(np.zeros((300, 400), np.bool_))
    assert trace(np.asfortranarray(mask)) == trace(mask) == trace(mask.copy()[::1])


# Blending

ONE_OF_EACH: tuple[Mark, ...] = (
    BoxMark(RED, 12, 15, 60, 70),
    EllipseMark(BLUE, 70, 10, 140, 50),
    TriangleMark(named_color("gold"), 80, 60, 150, 110),
    PointMark(named_color("purple"), 30, 95),
    ArrowMark(named_color("lime"), (100, 85)),
    ArrowMark(named_color("lime"), (160, 20), (130, 100)),
    ScribbleMark(named_color("aqua"), ((20, 20), (140, 100), (20, 100), (140, 20))),
    ContourMark(named_color("orange"), (((10, 60), (70, 80), (40, 110)),)),
    MaskMark(named_color("fuchsia"), (((90, 20), (150, 60), (100, 100)),)),
)
EACH_KIND = pytest.mark.parametrize("mark", ONE_OF_EACH, ids=lambda mark: mark.kind)


@EACH_KIND
@pytest.mark.parametrize("alpha", [0, 1, 48, 96, 127, 128, 200, 254, 255])
def test_a_mark_is_blended_once_as_pillow_does(mark: Mark, alpha: int) -> None:
    image = noise(170, 120)
    (style,) = styles_for([mark], 500, 500, jitter=4)
    style = replace(style, alpha=alpha)
    seen = painted(mark, style, 170, 120)
    after = draw(image, [mark], [style])
    assert np.array_equal(after, painters.composite(image, seen, mark.color.rgb, alpha))
    if alpha == 255:
        assert (after[seen] == mark.color.rgb).all()
    if alpha == 0:
        assert np.array_equal(after, image)


@pytest.mark.parametrize("alpha", [*range(0, 256, 7), 96, 128, 255])
def test_every_value_blends_as_in_pillow(alpha: int) -> None:
    image = np.arange(256, dtype=np.uint8)[None, :, None].repeat(3, axis=2)
    everywhere = np.ones((1, 256), np.bool_)
    for rgb in [*NAMED.values(), (1, 77, 254), (13, 101, 199)]:
        mark = MaskMark(Color("red", rgb), (corners(0, 0, 256, 0),))
        after = draw(image, [mark], [Style(0, alpha)])
        assert np.array_equal(after, painters.composite(image, everywhere, rgb, alpha))


def test_marks_blend_in_order_and_each_over_the_last() -> None:
    image = noise(170, 120)
    marks = (
        MaskMark(RED, (corners(10, 10, 90, 90),)),
        BoxMark(BLUE, 50, 50, 140, 100),
        PointMark(named_color("gold"), 60, 60),
    )
    styles = styles_for(marks, 170, 120, stroke=30)
    both = draw(image, marks, styles)
    one_by_one = image
    by_pillow = image
    for mark, style in zip(marks, styles, strict=True):
        one_by_one = draw(one_by_one, [mark], [style])
        by_pillow = painters.composite(by_pillow, painted(mark, style, 170, 120), mark.color.rgb, style.alpha)
    assert np.array_equal(both, one_by_one)
    assert np.array_equal(both, by_pillow)
    assert not np.array_equal(both, draw(image, marks[::-1], styles[::-1]))


@pytest.mark.parametrize(
    ("mark", "style"),
    [
        (ScribbleMark(RED, ((10, 10), (90, 90), (90, 10), (10, 90))), Style(12)),
        (ScribbleMark(RED, ((10, 50), (90, 50), (10, 50))), Style(9)),
        (BoxMark(RED, 20, 20, 30, 25), Style(20)),
        (EllipseMark(RED, 20, 20, 40, 35), Style(15)),
        (TriangleMark(RED, 20, 20, 50, 30), Style(14)),
        (ArrowMark(RED, (20, 20), (80, 80)), Style(15, head_sizes=(30, 30))),
        (ArrowMark(RED, (20, 20), (80, 80)), Style(15, head_sizes=(30, 30), open_head=True, bend=(9, -9))),
        (ContourMark(RED, (corners(20, 20, 30, 30), corners(25, 25, 40, 40))), Style(9)),
        (MaskMark(RED, (corners(20, 20, 60, 60), corners(60, 60, 80, 80))), Style(0)),
    ],
)
def test_a_mark_never_adds_to_itself(mark: Mark, style: Style) -> None:
    image = np.full((100, 100, 3), 90, np.uint8)
    after = draw(image, [mark], [style])
    found = {tuple(pixel) for pixel in after.reshape(-1, 3).tolist()}
    # (90 · 127 + 255 · 128) / 255 and 90 · 127 / 255, rounded.
    assert found == {(90, 90, 90), (173, 45, 45)}


# Pictures


@EACH_KIND
def test_the_picture_given_is_not_changed(mark: Mark) -> None:
    image = noise(170, 120)
    before = image.copy()
    after = draw(image, [mark], styles_for([mark], 170, 120))
    assert np.array_equal(image, before)
    assert not np.array_equal(after, before)
    assert not np.shares_memory(after, image)
    assert after.shape == image.shape and after.dtype == np.uint8 and after.flags.c_contiguous


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda image: image[::-1],
        lambda image: image[:, ::-1],
        lambda image: image[..., ::-1],
        lambda image: image.repeat(2, axis=0)[::2],
        lambda image: image.repeat(3, axis=1)[:, ::3],
        lambda image: np.broadcast_to(image[:1, :1], image.shape),
        lambda image: image.transpose(1, 0, 2),
    ],
)
def test_any_layout_in_memory_will_do(view: Callable[[Pixels], Pixels]) -> None:
    image = view(noise(170, 120))
    image.flags.writeable = False
    height, width = image.shape[:2]
    styles = styles_for(ONE_OF_EACH, width, height)
    after = draw(image, ONE_OF_EACH, styles)
    assert np.array_equal(after, draw(np.ascontiguousarray(image), ONE_OF_EACH, styles))
    assert after.flags.writeable


def test_no_marks_give_a_copy() -> None:
    image = noise(30, 20)
    after = draw(image, [], [])
    assert np.array_equal(after, image) and after is not image


def test_every_mark_needs_a_style() -> None:
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        draw(noise(30, 20), ONE_OF_EACH, [])


@at_every_size
@pytest.mark.parametrize("jitter", [None, 0, 1, 2, 3])
def test_pixels_away_from_a_mark_are_untouched(width: int, height: int, jitter: int | None) -> None:
    image = noise(width, height)
    scaled = [_scaled(mark, width / 170, height / 120) for mark in ONE_OF_EACH]
    for mark, style in zip(scaled, styles_for(scaled, width, height, jitter=jitter), strict=True):
        after = draw(image, [mark], [style])
        x1, y1, x2, y2 = _reach(mark, style, width, height)
        away = np.ones((height, width), np.bool_)
        away[max(math.floor(y1), 0) : math.ceil(y2) + 1, max(math.floor(x1), 0) : math.ceil(x2) + 1] = False
        assert np.array_equal(after[away], image[away]), mark.kind
        assert not np.array_equal(after, image), mark.kind


def _scaled(mark: Mark, across: float, down: float) -> Mark:
    """The same mark on a picture so many times as wide and high."""

    def point(xy: XY) -> XY:
        return xy[0] * across, xy[1] * down

    match mark:
        case BoxMark() | EllipseMark() | TriangleMark():
            return type(mark)(mark.color, *point((mark.x1, mark.y1)), *point((mark.x2, mark.y2)))
        case PointMark():
            return PointMark(mark.color, *point((mark.x, mark.y)))
        case ArrowMark():
            return ArrowMark(mark.color, point(mark.tip), mark.tail and point(mark.tail))
        case ScribbleMark():
            return ScribbleMark(mark.color, tuple(map(point, mark.path)))
        case ContourMark() | MaskMark():
            return type(mark)(mark.color, tuple(tuple(map(point, one)) for one in mark.polygons))
    raise AssertionError(mark.kind)


def _reach(mark: Mark, style: Style, width: int, height: int) -> Bounds:
    """A rectangle that holds all that a mark paints, with half a pixel to spare."""
    points: Sequence[XY] = mark.points
    grow_x = grow_y = style.stroke / 2 + 1
    match mark:
        case EllipseMark():
            grow_x = (mark.x2 - mark.x1) * (style.scale - 1) / 2 + 1
            grow_y = (mark.y2 - mark.y1) * (style.scale - 1) / 2 + 1
        case PointMark():
            grow_x, grow_y = style.radii[0] + 1, style.radii[1] + 1
        case ArrowMark():
            shaft, head = arrow_shape(mark, style, width, height)
            points = [*shaft, *head]
        case ScribbleMark():
            points = painters.curve(mark.path, 1)
    xs, ys = zip(*points, strict=True)
    return min(xs) - grow_x, min(ys) - grow_y, max(xs) + grow_x, max(ys) + grow_y


near = st.integers(-60 * 16, 120 * 16).map(lambda sixteenths: sixteenths / 16)
anywhere = st.one_of(near, st.floats(-60, 120), st.sampled_from([-1e6, 1e6]))


@st.composite
def any_marks(draw: st.DrawFn, numbers: st.SearchStrategy[float] = anywhere) -> Mark:
    points = st.tuples(numbers, numbers)
    kind = draw(
        st.sampled_from(
            [BoxMark, EllipseMark, TriangleMark, PointMark, ArrowMark, ScribbleMark, ContourMark, MaskMark]
        )
    )
    if kind in (BoxMark, EllipseMark, TriangleMark):
        (xa, ya), (xb, yb) = draw(points), draw(points)
        return kind(RED, min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    if kind is PointMark:
        return PointMark(RED, *draw(points))
    if kind is ArrowMark:
        return ArrowMark(RED, draw(points), draw(st.none() | points))
    if kind is ScribbleMark:
        return ScribbleMark(RED, tuple(draw(st.lists(points, min_size=2, max_size=4))))
    polygons = st.lists(st.lists(points, min_size=1, max_size=5).map(tuple), min_size=1, max_size=3)
    mark: Mark = kind(RED, tuple(draw(polygons)))
    return mark


@given(
    st.lists(any_marks(), max_size=3),
    st.integers(1, 70),
    st.integers(1, 70),
    st.none() | st.integers(0, 1000),
    st.none() | st.sampled_from([1.0, 50.0, 336.0]),
)
def test_any_marks_can_be_drawn_on_any_picture(
    marks: list[Mark], width: int, height: int, jitter: int | None, stroke: float | None
) -> None:
    image = np.full((height, width, 3), 90, np.uint8)
    styles = styles_for(marks, width, height, jitter=jitter, stroke=stroke, alpha=255)
    after = draw(image, marks, styles)
    assert after.shape == image.shape
    assert {tuple(pixel) for pixel in after.reshape(-1, 3).tolist()} <= {(90, 90, 90), (255, 0, 0)}


# Left to itself, OpenCV paints a column at the edge for these.
@example(MaskMark(RED, (((116.5, 52), (33, 90.5), (47.5, -4.5), (106.5, 1.5), (18.25, 21.5)),)), 19, 67, 0)
@example(MaskMark(RED, (((100, 26.5), (80.5, -9), (-45, 85.25)),)), 1, 42, 0)
@example(MaskMark(RED, (((0, 0), (-20.5, 9)),)), 6, 24, 0)
@given(any_marks(near), st.integers(1, 70), st.integers(1, 70), st.integers(0, 9))
def test_a_mark_over_the_edge_is_cut_off_there(mark: Mark, width: int, height: int, jitter: int) -> None:
    assume(not isinstance(mark, BoxMark))  # it keeps its sides within the picture
    (style,) = styles_for([mark], 100, 100, jitter=jitter)
    part = painted(mark, style, width, height)
    whole = painted(_moved(mark, 100, 100), style, 300, 300)
    seen = np.zeros_like(whole)
    seen[100 : 100 + height, 100 : 100 + width] = part
    # OpenCV may step a line that crosses the edge by a pixel more or less.
    assert farthest(seen, whole) <= 2.3
    whole[:103] = whole[97 + height :] = whole[:, :103] = whole[:, 97 + width :] = False
    assert farthest(whole, seen) <= 2.3


def _moved(mark: Mark, right: float, down: float) -> Mark:
    def point(xy: XY) -> XY:
        return xy[0] + right, xy[1] + down

    match mark:
        case EllipseMark() | TriangleMark():
            return type(mark)(mark.color, *point((mark.x1, mark.y1)), *point((mark.x2, mark.y2)))
        case PointMark():
            return PointMark(mark.color, *point((mark.x, mark.y)))
        case ArrowMark():
            return ArrowMark(mark.color, point(mark.tip), mark.tail and point(mark.tail))
        case ScribbleMark():
            return ScribbleMark(mark.color, tuple(map(point, mark.path)))
        case ContourMark() | MaskMark():
            return type(mark)(mark.color, tuple(tuple(map(point, one)) for one in mark.polygons))
    raise AssertionError(mark.kind)


@pytest.mark.parametrize("jitter", [None, 0, 1])
def test_a_picture_of_one_pixel(jitter: int | None) -> None:
    image = np.full((1, 1, 3), 90, np.uint8)
    for mark in (
        BoxMark(RED, 0, 0, 1, 1),
        EllipseMark(RED, 0, 0, 1, 1),
        TriangleMark(RED, 0, 0, 1, 1),
        PointMark(RED, 0, 0),
        ArrowMark(RED, (0, 0)),
        ArrowMark(RED, (0, 0), (1, 1)),
        ScribbleMark(RED, ((0, 0), (1, 1))),
        ContourMark(RED, (corners(0, 0, 1, 1),)),
        MaskMark(RED, (corners(0, 0, 1, 1),)),
    ):
        (style,) = styles_for([mark], 1, 1, jitter=jitter, alpha=255)
        after = draw(image, [mark], [style])
        # Those two may pass the one pixel by.
        if not isinstance(mark, EllipseMark | TriangleMark):
            assert after.tolist() == [[[255, 0, 0]]], mark


@pytest.mark.parametrize(
    "mark",
    [
        BoxMark(RED, -50, -50, -10, -10),
        BoxMark(RED, 200, 10, 300, 40),
        EllipseMark(RED, 300, 300, 400, 400),
        TriangleMark(RED, -90, 10, -30, 40),
        PointMark(RED, 50, -90),
        ArrowMark(RED, (400, 400), (300, 300)),
        ScribbleMark(RED, ((-50, 10), (-20, 90))),
        ContourMark(RED, (corners(200, 200, 300, 300),)),
        MaskMark(RED, (corners(-90, 0, -20, 90),)),
    ],
)
def test_a_mark_wholly_outside_paints_nothing(mark: Mark) -> None:
    image = noise(100, 80)
    assert np.array_equal(draw(image, [mark], styles_for([mark], 100, 80)), image)


@pytest.mark.parametrize(("width", "height"), [(300, 200), (20_000, 30)])
@pytest.mark.parametrize("far", [f"{LIMIT}", f"{LIMIT // 100}%"])
@pytest.mark.parametrize("kind", BY_KIND)
def test_the_farthest_marks_that_can_be_typed(kind: str, far: str, width: int, height: int) -> None:
    text = "50%,50%" if kind == "point" else f"-{far},-{far},{far},{far}"
    mark = parse_mark(kind, text).place(width, height, RED, lambda file: ())
    if kind == "arrow":
        mark = ArrowMark(RED, (9, 9), mark.points[0])
    image = np.zeros((height, width, 3), np.uint8)
    for jitter in (None, 0, 1):
        after = draw(image, [mark], styles_for([mark], width, height, jitter=jitter))
        assert after.any() == (kind in ("box", "point", "arrow", "scribble", "mask")) or kind == "triangle"


def test_a_clipped_rectangle_is_drawn_as_it_would_be_unclipped() -> None:
    image = noise(100, 80)
    for frame in ((-20, 10, 50, 60), (20, -5, 150, 200), (-9, -9, 999, 999)):
        mark = BoxMark(RED, *frame)
        inside, clipped = clip_to_picture(mark, 100, 80)
        styles = styles_for([mark], 100, 80)
        assert clipped
        assert np.array_equal(draw(image, [mark], styles), draw(image, [inside], styles))


def test_the_whole_picture_can_be_marked_in_percent() -> None:
    for mark in (
        BoxMark(RED, 0, 0, 336, 336),
        EllipseMark(RED, 0, 0, 336, 336),
        TriangleMark(RED, 0, 0, 336, 336),
        ContourMark(RED, (corners(0, 0, 336, 336),)),
        MaskMark(RED, (corners(0, 0, 336, 336),)),
    ):
        seen = painted(mark, styles_for([mark], 336, 336)[0], 336, 336)
        for edge in (seen[:, 0], seen[:, -1], seen[-1]):
            assert edge.any(), f"a side of the {mark.kind} is missing"


# Whole pictures


def gradient(width: int, height: int) -> Pixels:
    across = np.linspace(40, 220, width)[None, :].repeat(height, axis=0)
    down = np.linspace(200, 60, height)[:, None].repeat(width, axis=1)
    return np.stack([across, down, (across + down) / 2], axis=-1).astype(np.uint8)


def showcase() -> tuple[Mark, ...]:
    """All eight kinds side by side on a picture of 320 × 160."""
    leaf = ((20, 110), (40, 90), (62, 98), (70, 120), (48, 145), (28, 138))
    heart = ((180, 110), (200, 95), (220, 112), (205, 148), (184, 140))
    hole = ((194, 112), (206, 112), (206, 128), (194, 128))
    shapes: list[Mark] = [
        BoxMark(RED, 12, 14, 66, 64),
        EllipseMark(RED, 92, 14, 148, 64),
        TriangleMark(RED, 172, 14, 228, 64),
        PointMark(RED, 280, 38),
        ContourMark(RED, (leaf,)),
        ScribbleMark(RED, ((92, 140), (105, 95), (128, 145), (150, 100))),
        MaskMark(RED, (heart, hole)),
        ArrowMark(RED, (258, 100)),
    ]
    return tuple(
        replace(shape, color=named_color(name)) for shape, name in zip(shapes, TRAINED, strict=False)
    )


@pytest.mark.parametrize(("name", "jitter"), [("fixed", None), ("jittered", 9)])
def test_golden_pictures(name: str, jitter: int | None) -> None:
    """Whole pictures stay exactly as they are.

    After a wanted change, `RENEW_GOLDEN=1 pytest tests/test_drawing.py -k golden` renews them. Look at them.
    """
    marks = showcase()
    seen = draw(gradient(320, 160), marks, styles_for(marks, 320, 160, jitter=jitter))
    path = GOLDEN / f"marks-{name}.png"
    if os.environ.get("RENEW_GOLDEN"):
        Image.fromarray(seen).save(path, optimize=True)
    assert np.array_equal(seen, np.asarray(Image.open(path)))
