"""Annotated regions: their bounds and sizes, which are wanted, and the marks that draw them."""

from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import assert_plain
from vipcli.errors import MarkError
from vipcli.geometry import XY, Polygon
from vipcli.marks.colors import named_color
from vipcli.marks.drawing import trace
from vipcli.marks.kinds import BY_KIND, Mark, PointMark, parse_mark
from vipcli.marks.regions import Region, RegionFilter, mark_for

RED = named_color("red")

SQUARE = ((10.0, 10.0), (50.0, 10.0), (50.0, 50.0), (10.0, 50.0))
HOLE = ((20.0, 20.0), (40.0, 20.0), (40.0, 40.0), (20.0, 40.0))
C = ((0.0, 0.0), (60, 0), (60, 12), (12, 12), (12, 70), (60, 70), (60, 90), (0, 90))
T = ((0.0, 0.0), (100, 0), (100, 20), (60, 20), (60, 100), (40, 100), (40, 20), (0, 20))
CRESCENT = tuple(
    [(100 * math.cos(a), 100 * math.sin(a)) for a in np.linspace(-1.9, 1.9, 40)]
    + [(30 + 85 * math.cos(a), 85 * math.sin(a)) for a in np.linspace(1.9, -1.9, 40)]
)
DIAGONAL = ((0.0, 0.0), (8, 0), (208, 200), (200, 200))
SHAPES: dict[str, tuple[Polygon, ...]] = {
    "square": (SQUARE,),
    "ring": (SQUARE, HOLE),
    "C": (C,),
    "T": (T,),
    "crescent": (CRESCENT,),
    "diagonal": (DIAGONAL,),
    "two parts": (SQUARE, ((100, 100), (130, 100), (130, 190))),
    "sliver": (((0, 0), (300, 1), (300, 1.5), (0, 0.5)),),
    "small": (((5, 5), (5.4, 5), (5.2, 5.4)),),
}


def inside(point: XY, polygons: tuple[Polygon, ...]) -> bool:
    """By the even-odd rule: a ray to the right crosses the outlines an odd number of times."""
    x, y = point
    crossings = 0
    for polygon in polygons:
        for (xa, ya), (xb, yb) in pairwise((*polygon, polygon[0])):
            if (ya > y) != (yb > y) and x < xa + (y - ya) * (xb - xa) / (yb - ya):
                crossings += 1
    return crossings % 2 == 1


def place(region: Region, kind: str | None = None, **more: object) -> Mark:
    def no_files(file: str) -> tuple[Polygon, ...]:
        raise AssertionError(f"no mask image was named, yet {file!r} was opened")

    mark = mark_for(region, kind, **more)  # type: ignore[arg-type]
    return mark.place(640, 480, RED, no_files)


# Bounds and sizes


@pytest.mark.parametrize(
    ("region", "bounds", "size"),
    [
        (Region("box", ((40, 60), (200, 220))), (40, 60, 200, 220), 160 * 160),
        (Region("point", ((7, 8),)), (7, 8, 7, 8), 0),
        (Region("scribble", ((9, 1), (2, 5), (4, 3))), (2, 1, 9, 5), 28),
        (Region("contour", polygons=(SQUARE,)), (10, 10, 50, 50), 1600),
        (Region("mask", polygons=(SQUARE, HOLE)), (10, 10, 50, 50), 1200),
        (Region("box", ((0, 0), (60, 60)), (SQUARE, HOLE)), (0, 0, 60, 60), 1200),
        (Region("contour", polygons=(C,)), (0, 0, 60, 90), 60 * 12 + 12 * 58 + 60 * 20),
        (Region("contour", polygons=(((5, 5), (9, 5), (7, 5)),)), (5, 5, 9, 5), 0),
        (Region("mask", file="a.png"), None, None),
    ],
)
def test_bounds_and_sizes(region: Region, bounds: object, size: float | None) -> None:
    assert region.bounds == bounds
    assert region.size == (None if size is None else pytest.approx(size, rel=0.02))


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=3, max_size=3, unique=True))
def test_the_size_of_a_triangle(points: list[tuple[int, int]]) -> None:
    (xa, ya), (xb, yb), (xc, yc) = points
    area = abs((xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)) / 2
    assert Region("contour", polygons=(tuple(points),)).size == pytest.approx(area, rel=0.01, abs=2)


def test_a_polygon_of_very_many_points_is_measured_in_a_moment() -> None:
    jagged = tuple((float(n), float(n % 2 * 900_000)) for n in range(200_000))
    assert Region("contour", polygons=(jagged,)).size is not None


# What is wanted

CAT = Region("box", ((0, 0), (10, 10)), label="Cat", score=0.5)


@pytest.mark.parametrize(
    ("wanted", "region", "taken"),
    [
        (RegionFilter(), CAT, True),
        (RegionFilter(labels=("cAT", "dog")), CAT, True),
        (RegionFilter(labels=("dog",)), CAT, False),
        (RegionFilter(labels=("straße",)), Region("point", ((1, 1),), label="STRASSE"), True),
        (RegionFilter(labels=("cat",)), Region("point", ((1, 1),)), False),
        (RegionFilter(min_size=100), CAT, True),
        (RegionFilter(min_size=101), CAT, False),
        (RegionFilter(max_size=100), CAT, True),
        (RegionFilter(max_size=99), CAT, False),
        (RegionFilter(min_size=5000, max_size=9), Region("mask", file="a.png"), True),
        (RegionFilter(min_score=0.5), CAT, True),
        (RegionFilter(min_score=0.51), CAT, False),
        (RegionFilter(min_score=0.9), Region("box", ((0, 0), (1, 1))), True),
    ],
)
def test_which_regions_are_wanted(wanted: RegionFilter, region: Region, taken: bool) -> None:
    assert wanted.accepts(region) is taken


# Marks


@pytest.mark.parametrize(
    ("region", "text"),
    [
        (Region("box", ((40, 60), (200, 220))), "40,60,200,220"),
        (Region("ellipse", ((40.126, 60), (200.5, 220))), "40.13,60,200.5,220"),
        (Region("triangle", ((-0.001, 0), (1_000_000, 220))), "0,0,1000000,220"),
        (Region("point", ((7.25, 8),)), "7.25,8"),
        (Region("arrow", ((7, 8),)), "7,8"),
        (Region("arrow", ((1, 2), (7, 8))), "1,2 7,8"),
        (Region("scribble", ((7, 8), (9, 10), (11, 12))), "7,8 9,10 11,12"),
        (Region("contour", polygons=(SQUARE,)), "10,10 50,10 50,50 10,50"),
        (Region("mask", polygons=(SQUARE, HOLE)), "10,10 50,10 50,50 10,50 …"),
        (Region("mask", file="masks/a.png"), "masks/a.png"),
    ],
)
def test_a_region_is_the_mark_that_its_text_says(region: Region, text: str) -> None:
    mark = mark_for(region, color=RED)
    assert (mark.kind, mark.text, mark.color) == (region.kind, text, RED)
    if text.endswith("…") or region.file:
        assert (mark.polygons, mark.file) == (region.polygons, region.file)
    elif "." not in text and "-0" not in repr(region):
        assert place(region) == parse_mark(region.kind, text).place(640, 480, RED, trace=lambda _: ())


def test_many_points_are_not_all_shown() -> None:
    mark = mark_for(Region("contour", polygons=(CRESCENT,)))
    assert len(mark.text) <= 60 and mark.text.endswith(" …")
    assert mark.polygons == (CRESCENT,)


def test_a_color_is_kept() -> None:
    assert mark_for(CAT, "mask", named_color("blue")).color == named_color("blue")


@pytest.mark.parametrize("kind", ["box", "ellipse", "triangle"])
@pytest.mark.parametrize("shape", SHAPES)
def test_frames_go_around(kind: str, shape: str) -> None:
    region = Region("contour", polygons=SHAPES[shape])
    assert place(region, kind).bounds == region.bounds


@pytest.mark.parametrize("kind", ["contour", "mask"])
def test_outlines_of_a_box_are_its_corners(kind: str) -> None:
    mark = place(Region("box", ((1, 2), (5, 9))), kind)
    assert mark.points == ((1, 2), (5, 2), (5, 9), (1, 9))


def test_outlines_of_a_box_are_its_own_where_it_has_some() -> None:
    region = Region("box", ((0, 0), (60, 60)), (SQUARE, HOLE))
    assert place(region).bounds == (0, 0, 60, 60)
    assert mark_for(region, "mask").polygons == (SQUARE, HOLE)


def test_the_outline_of_an_ellipse_is_round() -> None:
    mark = place(Region("ellipse", ((0, 0), (40, 20))), "mask")
    assert mark.bounds == pytest.approx((0, 0, 40, 20))
    assert Region("mask", polygons=(mark.points,)).size == pytest.approx(math.pi * 200, rel=0.01)


@pytest.mark.parametrize("kind", ["point", "arrow"])
@pytest.mark.parametrize("shape", SHAPES)
def test_points_and_tips_lie_inside(kind: str, shape: str) -> None:
    (point,) = place(Region("contour", polygons=SHAPES[shape]), kind).points
    assert inside(point, SHAPES[shape])


def test_a_point_is_the_center_where_that_lies_inside() -> None:
    (point,) = place(Region("contour", polygons=(SQUARE,)), "point").points
    assert point == pytest.approx((30, 30), abs=1)
    assert place(Region("ellipse", ((0, 0), (40, 20))), "point") == PointMark(RED, 20, 10)


@pytest.mark.parametrize(("shape", "point"), [("ring", (30, 15)), ("C", (30, 6)), ("two parts", (30, 30))])
def test_a_point_keeps_away_from_the_edge(shape: str, point: XY) -> None:
    (placed,) = place(Region("contour", polygons=SHAPES[shape]), "point").points
    assert placed == pytest.approx(point, abs=5)


@pytest.mark.parametrize("shape", SHAPES)
def test_scribbles_stay_inside(shape: str) -> None:
    path = place(Region("contour", polygons=SHAPES[shape]), "scribble").points
    assert len(path) > 1
    for (xa, ya), (xb, yb) in pairwise(path):
        for share in np.linspace(0, 1, 21):
            assert inside((xa + share * (xb - xa), ya + share * (yb - ya)), SHAPES[shape])


def test_a_scribble_goes_to_and_fro() -> None:
    path = place(Region("box", ((100, 100), (200, 160))), "scribble").points
    steps = [b[0] - a[0] for a, b in pairwise(path)]
    assert len(path) == 6
    assert all(one * other < 0 for one, other in pairwise(steps))
    assert all(100 < x < 200 and 100 < y < 160 for x, y in path)


blobs = st.lists(
    st.tuples(st.integers(0, 19), st.integers(0, 14), st.integers(1, 9), st.integers(1, 9), st.booleans()),
    min_size=1,
    max_size=6,
)


@given(blobs, st.sampled_from(list(BY_KIND)))
def test_traced_masks_become_every_kind(parts: list[tuple[int, int, int, int, bool]], kind: str) -> None:
    mask = np.zeros((30, 40), np.bool_)
    for x, y, width, height, white in parts:
        mask[y : y + height, x : x + width] = white
    region = Region("mask", polygons=trace(mask))
    if not mask.any():
        return
    try:
        mark = place(region, kind)
    except MarkError as error:
        assert mask.sum() == 1
        assert_plain(error)
        return
    ys, xs = np.nonzero(mask)
    assert xs.min() - 1 < mark.bounds[0] and mark.bounds[2] < xs.max() + 1
    assert ys.min() - 1 < mark.bounds[1] and mark.bounds[3] < ys.max() + 1


@pytest.mark.parametrize(
    ("region", "kind", "bounds"),
    [
        (Region("box", ((5, 7), (90, 7))), None, (5, 6.5, 90, 7.5)),
        (Region("scribble", ((5, 7), (5, 70))), "ellipse", (4.5, 7, 5.5, 70)),
        (Region("box", ((5, 7), (90, 7))), "mask", (5, 6.5, 90, 7.5)),
        (Region("box", ((5, 7), (90, 7))), "scribble", None),
        (Region("scribble", ((5, 7), (5, 70))), "point", (5, 70, 5, 70)),
        (Region("arrow", ((1, 2), (7, 8))), "point", (7, 8, 7, 8)),
        (Region("point", ((7, 8),)), "arrow", (7, 8, 7, 8)),
        (Region("box", ((5, 7), (5, 7))), "point", (5, 7, 5, 7)),
    ],
)
def test_thin_regions(region: Region, kind: str | None, bounds: object) -> None:
    mark = place(region, kind)
    assert bounds is None or mark.bounds == bounds


@pytest.mark.parametrize(
    ("region", "kind", "naming"),
    [
        (Region("point", ((7, 8),), id="12"), "box", ["'12'", "7,8", 'as="point"']),
        (Region("box", ((7, 8), (7, 8)), label="cat"), None, ["'cat'", "single point"]),
        (Region("point", ((7, 8),)), "ellipse", ["A region", 'as="arrow"']),
        (Region("point", ((7, 8),)), "scribble", ["single point"]),
        (Region("point", ((7, 8),)), "mask", ["single point"]),
        (Region("mask", file="a.png", id="a.png"), "box", ["'a.png'", 'as="mask"']),
        (Region("box"), None, ["no place"]),
        (Region("box", ((1, 2), (3, 4))), "circle", ["'circle'", "ellipse"]),
        (Region("box", ((7, 8), (7, 8)), label="\x1b[2J\n" * 40), None, ["\\x1b"]),
    ],
)
def test_regions_that_cannot_be_drawn_so(region: Region, kind: str | None, naming: list[str]) -> None:
    with pytest.raises(MarkError) as caught:
        mark_for(region, kind)
    assert_plain(caught.value, *naming)


def test_mask_images_are_traced_for_other_kinds() -> None:
    asked = []

    def traced(file: str) -> tuple[Polygon, ...]:
        asked.append(file)
        return (SQUARE, HOLE)

    region = Region("mask", file="a.png")
    assert mark_for(region, "contour", trace=traced).file == "a.png"
    assert asked == []
    assert place(region, "box", trace=traced).bounds == (10, 10, 50, 50)
    assert inside(place(region, "point", trace=traced).points[0], (SQUARE, HOLE))
    assert asked == ["a.png", "a.png"]


def test_regions_are_values() -> None:
    with pytest.raises(AttributeError):
        CAT.label = "dog"  # type: ignore[misc]
    assert hash(CAT) == hash(Region("box", ((0, 0), (10, 10)), label="Cat", score=0.5))


def test_nothing_heavy_is_imported() -> None:
    modules = "vipcli.marks.regions, vipcli.annotations.reading"
    code = f"import sys, {modules}; print({{'numpy', 'cv2', 'PIL'}} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def test_an_arrow_knows_the_size_of_the_region_it_points_at() -> None:
    assert mark_for(Region("box", ((10, 10), (50, 30))), "arrow").span == 20
    # An annotated arrow has its own length, and a box needs none.
    assert mark_for(Region("arrow", ((10, 10), (50, 30)))).span is None
    assert mark_for(Region("box", ((10, 10), (50, 30)))).span is None
