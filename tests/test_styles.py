"""How strong and large marks are drawn: the fixed style, and what training varied."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import assert_plain
from vipcli.errors import USAGE_ERROR, UsageError
from vipcli.marks.colors import named_color
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
from vipcli.marks.styles import Style, relative_size, styles_for

RED = named_color("red")
POLYGON = ((10.0, 10.0), (60.0, 12.0), (40.0, 70.0))
MARKS: tuple[Mark, ...] = (
    BoxMark(RED, 10, 20, 60, 70),
    EllipseMark(RED, 10, 20, 60, 70),
    TriangleMark(RED, 10, 20, 60, 70),
    PointMark(RED, 30, 40),
    ArrowMark(RED, (30, 40)),
    ArrowMark(RED, (30, 40), (60, 70)),
    ScribbleMark(RED, POLYGON),
    ContourMark(RED, (POLYGON,)),
    MaskMark(RED, (POLYGON,)),
)
STROKED = [mark for mark in MARKS if mark.kind not in ("point", "mask", "contour")]
SIZES = [
    (1, 1),
    (50, 40),
    (100, 100),
    (223, 1),
    (224, 224),
    (336, 336),
    (336, 20),
    (640, 480),
    (200, 600),
    (1000, 500),
    (1920, 1080),
    (4000, 3000),
    (20_000, 100),
]
SEEDS = range(400)

of_any_kind = pytest.mark.parametrize("mark", MARKS, ids=lambda mark: mark.kind)
at_any_size = pytest.mark.parametrize(("width", "height"), SIZES)


def style_of(mark: Mark, width: int, height: int, **settings: float | int | None) -> Style:
    (style,) = styles_for([mark], width, height, **settings)  # type: ignore[arg-type]
    return style


def differing(one: Style, other: Style) -> set[str]:
    return {field.name for field in fields(Style) if getattr(one, field.name) != getattr(other, field.name)}


def angles(mark: TriangleMark, style: Style) -> list[float]:
    """The three angles of a triangle in degrees, by the cosine rule."""
    width, height = mark.x2 - mark.x1, mark.y2 - mark.y1
    corners = [(x * width, y * height) for x, y in style.corners]
    degrees = []
    for corner, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
        opposite = math.dist(corners[second], corners[third])
        near, far = math.dist(corners[corner], corners[second]), math.dist(corners[corner], corners[third])
        cosine = (near**2 + far**2 - opposite**2) / (2 * near * far)
        degrees.append(math.degrees(math.acos(min(max(cosine, -1), 1))))
    return degrees


# Fixed


@at_any_size
def test_sizes_are_relative_to_the_long_side(width: int, height: int) -> None:
    assert relative_size(width, height) == relative_size(height, width) == max(width, height) / 336


@at_any_size
@pytest.mark.parametrize("mark", STROKED, ids=lambda mark: mark.kind)
def test_the_fixed_stroke(mark: Mark, width: int, height: int) -> None:
    style = style_of(mark, width, height)
    assert style.stroke == max(int(3 * max(width, height) / 336), 1)
    assert style.alpha == 128


@pytest.mark.parametrize(
    ("side", "stroke", "contour", "radius"),
    [
        (1, 1, 3, 1),
        (42, 1, 3, 1),
        (100, 1, 3, 2),
        (223, 1, 3, 5),
        (224, 2, 3, 5),
        (336, 3, 3, 8),
        (448, 4, 3, 10),
        (560, 5, 5, 13),
        (1000, 8, 7, 23),
        (1920, 17, 17, 45),
        (4000, 35, 35, 95),
    ],
)
def test_fixed_sizes_by_hand(side: int, stroke: int, contour: int, radius: int) -> None:
    for width, height in ((side, 1), (side, side), (1, side)):
        assert style_of(BoxMark(RED, 0, 0, 1, 1), width, height).stroke == stroke
        assert style_of(ContourMark(RED, (POLYGON,)), width, height).stroke == contour
        assert style_of(PointMark(RED, 0, 0), width, height).radii == (radius, radius)
        assert style_of(MaskMark(RED, (POLYGON,)), width, height).stroke == 0


@at_any_size
@of_any_kind
def test_the_fixed_style_is_the_same_every_time(mark: Mark, width: int, height: int) -> None:
    assert style_of(mark, width, height) == style_of(mark, width, height)
    assert style_of(mark, width, height) == style_of(mark, height, width)


@at_any_size
def test_the_fixed_arrow(width: int, height: int) -> None:
    size = max(width, height) / 336
    style = style_of(ArrowMark(RED, (0, 0)), width, height)
    assert 25 * size <= style.length <= 50 * size
    assert 0.2 <= style.head <= 0.5
    assert style.head_sizes[0] == int(6 * size)
    assert style.angle is None
    assert style.bend == (0, 0)
    assert not style.open_head


def test_the_fixed_ellipse_fills_its_rectangle() -> None:
    assert style_of(EllipseMark(RED, 0, 0, 9, 9), 336, 336).scale == 1


frames = st.tuples(*[st.floats(0.01, 1000)] * 2)


@given(frames, st.none() | st.integers(0, 10**6))
def test_no_angle_of_a_triangle_is_over_150_degrees(frame: tuple[float, float], seed: int | None) -> None:
    mark = TriangleMark(RED, 0, 0, *frame)
    style = style_of(mark, 336, 336, jitter=seed)
    assert all(0 <= place <= 1 for corner in style.corners for place in corner)
    assert max(angles(mark, style)) <= 150.001


@pytest.mark.parametrize("frame", [(0, 0, 1000, 1), (0, 0, 1, 1000), (0, 0, 1_000_000, 0.001)])
def test_even_a_very_flat_triangle_is_chosen_at_once(frame: tuple[float, ...]) -> None:
    mark = TriangleMark(RED, *frame)
    for seed in range(50):
        assert max(angles(mark, style_of(mark, 1000, 1000, jitter=seed))) <= 150.001


# Jittered


@of_any_kind
def test_a_seed_repeats_itself(mark: Mark) -> None:
    for seed in (0, 1, 2**63, -5):
        assert style_of(mark, 640, 480, jitter=seed) == style_of(mark, 640, 480, jitter=seed)
    several = [styles_for(MARKS, 640, 480, jitter=3) for _ in range(2)]
    assert several[0] == several[1]


@of_any_kind
def test_another_seed_gives_another_style(mark: Mark) -> None:
    assert len({style_of(mark, 640, 480, jitter=seed) for seed in range(50)}) > 25


def test_marks_of_one_run_differ_from_each_other() -> None:
    styles = styles_for([BoxMark(RED, 0, 0, 9, 9)] * 50, 640, 480, jitter=0)
    assert len(set(styles)) > 25


def test_jitter_leaves_the_global_generator_alone() -> None:
    random.seed(1)
    before = random.getstate()
    styles_for(MARKS, 640, 480, jitter=0)
    assert random.getstate() == before


@pytest.mark.parametrize(("width", "height"), [(50, 50), (336, 336), (640, 480), (200, 600), (1920, 1080)])
@pytest.mark.parametrize(
    ("mark", "low", "high"),
    [
        (BoxMark(RED, 0, 0, 9, 9), 2, 8),
        (EllipseMark(RED, 0, 0, 9, 9), 2, 8),
        (TriangleMark(RED, 0, 0, 9, 9), 2, 8),
        (ArrowMark(RED, (0, 0)), 1, 6),
        (ScribbleMark(RED, POLYGON), 2, 12),
        (PointMark(RED, 0, 0), 0, 0),
        (MaskMark(RED, (POLYGON,)), 0, 0),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_jittered_strokes_and_alphas(mark: Mark, low: int, high: int, width: int, height: int) -> None:
    size = max(width, height) / 336
    styles = [style_of(mark, width, height, jitter=seed) for seed in SEEDS]
    strokes = {style.stroke for style in styles}
    least = 1 if high else 0
    assert min(strokes) >= max(int(low * size), least)
    assert max(strokes) <= max(int(high * size), least)
    if size == 1:
        assert strokes == set(range(low, high + 1))
    alphas = {style.alpha for style in styles}
    faintest, strongest = (48, 128) if mark.kind == "mask" else (96, 255)
    assert faintest <= min(alphas) < faintest + 8
    assert strongest - 8 < max(alphas) <= strongest


def quantiles(values: Sequence[float]) -> tuple[float, ...]:
    """The smallest, the three quartiles and the largest."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return tuple(ordered[round(last * share)] for share in (0, 0.25, 0.5, 0.75, 1))


@pytest.mark.parametrize(
    ("side", "expected"), [(336, (3, 3, 3, 5, 5)), (640, (3, 5, 5, 7, 7)), (3000, (17, 21, 27, 31, 35))]
)
def test_a_thousand_contours(side: int, expected: tuple[int, ...]) -> None:
    # Upstream's brush reaches half of a stroke of 2 to 4 to either side of the line.
    mark = ContourMark(RED, (POLYGON,))
    styles = [style_of(mark, side, side, jitter=seed) for seed in range(1000)]
    strokes = [style.stroke for style in styles]
    assert quantiles(strokes) == expected
    assert all(stroke % 2 for stroke in strokes)
    assert min(style.alpha for style in styles) == 96 and max(style.alpha for style in styles) == 255


@pytest.mark.parametrize("side", [336, 640, 3000])
@pytest.mark.parametrize("span", [5.0, 62.5, 300.0], ids=["small", "equal", "large"])
def test_a_thousand_arrows_at_regions(side: int, span: float) -> None:
    size = side / 336
    mark = ArrowMark(RED, (0, 0), span=span * size)
    lengths = [style_of(mark, side, side, jitter=seed).length / size for seed in range(1000)]
    least, most = sorted((0.8 * span, 50.0))
    expected = [least + (most - least) * share for share in (0, 0.25, 0.5, 0.75, 1)]
    assert quantiles(lengths) == pytest.approx(expected, abs=(most - least) * 0.05 + 1e-9)
    assert min(lengths) >= least - 1e-9 and max(lengths) <= most + 1e-9


def test_contours_have_odd_strokes_of_at_least_three() -> None:
    mark = ContourMark(RED, (POLYGON,))
    sizes = itertools.product((1, 50, 100, 300, 336, 700, 1920), (None, *range(20)))
    strokes = {style_of(mark, side, side, jitter=seed).stroke for side, seed in sizes}
    assert all(stroke % 2 for stroke in strokes)
    assert min(strokes) == 3


def test_jittered_ellipses() -> None:
    scales = [style_of(EllipseMark(RED, 0, 0, 9, 9), 336, 336, jitter=seed).scale for seed in SEEDS]
    assert 1 <= min(scales) < 1.05
    assert 1.45 < max(scales) <= 1.5


@pytest.mark.parametrize("side", [336, 1920])
def test_jittered_points(side: int) -> None:
    size = side / 336
    radii = [style_of(PointMark(RED, 0, 0), side, side, jitter=seed).radii for seed in SEEDS]
    plain = [math.sqrt(across * down) for across, down in radii]
    assert int(5 * size) <= min(plain) + 1e-9 and min(plain) < 6 * size
    assert 19 * size < max(plain) and max(plain) <= int(20 * size) + 1e-9
    ratios = [across / down for across, down in radii]
    assert 0.25 <= min(ratios) < 0.3 and 3.3 < max(ratios) <= 4
    assert 0.4 < sum(ratio == 1 for ratio in ratios) / len(ratios) < 0.6


@pytest.mark.parametrize("side", [50, 336, 1920])
def test_jittered_arrows(side: int) -> None:
    size = side / 336
    styles = [style_of(ArrowMark(RED, (0, 0)), side, side, jitter=seed) for seed in SEEDS]
    assert 25 * size <= min(style.length for style in styles) < 26 * size
    assert 49 * size < max(style.length for style in styles) <= 50 * size
    assert 0.2 <= min(style.head for style in styles) < 0.21
    assert 0.49 < max(style.head for style in styles) <= 0.5
    assert {style.head_sizes[0] for style in styles} == {int(6 * size)}
    turns = sorted(style.angle for style in styles if style.angle is not None)
    assert len(turns) == len(styles)
    assert turns[0] >= 0 and turns[-1] <= 2 * math.pi
    assert max(after - before for before, after in itertools.pairwise(turns)) < 0.15
    assert 0.4 < sum(style.open_head for style in styles) / len(styles) < 0.6
    bent = [style.bend for style in styles if style.bend != (0, 0)]
    assert all(abs(off) <= 5 * int(size) for bend in bent for off in bend)
    if side >= 336:
        assert 0.4 < len(bent) / len(styles) < 0.6


def test_jittered_triangles_vary() -> None:
    mark = TriangleMark(RED, 0, 0, 90, 60)
    styles = [style_of(mark, 336, 336, jitter=seed) for seed in SEEDS]
    assert len({style.corners for style in styles}) == len(styles)
    assert max(max(angles(mark, style)) for style in styles) > 140


# What a person fixes


@of_any_kind
@pytest.mark.parametrize("seed", [None, 0, 7, 99])
def test_width_and_alpha_fix_only_what_they_name(mark: Mark, seed: int | None) -> None:
    free = style_of(mark, 1000, 500, jitter=seed)
    wide = style_of(mark, 1000, 500, jitter=seed, stroke=20)
    faint = style_of(mark, 1000, 500, jitter=seed, alpha=1)
    both = style_of(mark, 1000, 500, jitter=seed, stroke=20, alpha=1)
    assert differing(free, wide) == (set() if mark.kind in ("point", "mask") else {"stroke"})
    assert differing(free, faint) == {"alpha"}
    assert (both.stroke, both.alpha) == (wide.stroke, 1)


@of_any_kind
def test_fixing_one_thing_leaves_later_marks_as_they_were(mark: Mark) -> None:
    marks = [mark, *MARKS]
    free = styles_for(marks, 640, 480, jitter=5)
    fixed = styles_for(marks, 640, 480, jitter=5, alpha=200, stroke=4)
    for one, other in zip(free, fixed, strict=True):
        assert differing(one, other) <= {"stroke", "alpha"}
        assert other.alpha == 200


@pytest.mark.parametrize(
    ("width_option", "side", "stroke"),
    [(3, 336, 3), (2.5, 672, 5), (0.1, 336, 1), (336, 336, 336), (3, 4000, 35)],
)
def test_a_width_option_is_relative_too(width_option: float, side: int, stroke: int) -> None:
    assert style_of(BoxMark(RED, 0, 0, 9, 9), side, side, stroke=width_option).stroke == stroke
    assert style_of(BoxMark(RED, 0, 0, 9, 9), side, side, stroke=width_option, jitter=1).stroke == stroke


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_any_alpha_may_be_asked_for(alpha: int) -> None:
    for mark in MARKS:
        assert style_of(mark, 100, 100, alpha=alpha).alpha == alpha


@pytest.mark.parametrize(
    ("settings", "naming"),
    [
        ({"stroke": 0}, "width 0"),
        ({"stroke": -3}, "width -3"),
        ({"stroke": 336.5}, "width 336.5"),
        ({"stroke": 1e300}, "width 1e+300"),
        ({"stroke": math.nan}, "width nan"),
        ({"stroke": math.inf}, "width inf"),
        ({"alpha": -1}, "alpha -1"),
        ({"alpha": 256}, "alpha 256"),
        ({"alpha": 10**9}, "alpha 1000000000"),
        ({"stroke": 3, "alpha": 256, "jitter": 1}, "alpha 256"),
    ],
)
def test_bad_styles(settings: dict[str, float], naming: str) -> None:
    with pytest.raises(UsageError) as caught:
        styles_for(MARKS, 100, 100, **settings)  # type: ignore[arg-type]
    assert caught.value.exit_code == USAGE_ERROR
    assert_plain(caught.value, naming)


def test_no_marks_need_no_styles() -> None:
    assert styles_for([], 100, 100) == styles_for([], 100, 100, jitter=1) == []
