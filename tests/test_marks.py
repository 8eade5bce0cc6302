"""Marks as people type them: read, placed on a picture, colored, clipped to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.plain import assert_plain
from vipcli.errors import USAGE_ERROR, ColorError, MarkError
from vipcli.geometry import XY, Polygon
from vipcli.marks.colors import ALIASES, NAMED, TRAINED, named_color, parse_color
from vipcli.marks.kinds import (
    BY_KIND,
    KINDS,
    LIMIT,
    ArrowMark,
    BoxMark,
    ContourMark,
    EllipseMark,
    Length,
    Mark,
    MaskMark,
    PointMark,
    ScribbleMark,
    TriangleMark,
    TypedMark,
    assign_colors,
    clip_to_picture,
    parse_mark,
)

RED = named_color("red")
FRAMED = ("box", "ellipse", "triangle")
FROM_FILE = ("contour", "mask")
COUNTS = {
    "box": [4],
    "ellipse": [4],
    "triangle": [4],
    "point": [2],
    "arrow": [2, 4],
    "scribble": [4, 6, 20],
    "contour": [4, 6, 20],
    "mask": [4, 6, 20],
}

kinds = st.sampled_from(list(BY_KIND))
sides = st.integers(1, 20_000)
separators = st.text(" ,;\t\n\u00a0", min_size=1, max_size=3)
numbers = st.decimals(-LIMIT, LIMIT, allow_nan=False, allow_infinity=False, places=3)
lengths = st.one_of(
    st.tuples(numbers, st.just(False)), st.tuples(numbers.map(lambda number: number / 100), st.just(True))
)
# Mostly text that nearly is a mark.
WORDS = ["1", "20", "3.5", "100%", "-1", ".5", "nan", "1e3", ":", "red", "#0f0"]
texts = st.one_of(
    st.text(max_size=60),
    st.text("0123456789.,;%+-: #\\/\n", max_size=40),
    st.lists(st.sampled_from(WORDS)).map(",".join),
)


def no_files(file: str) -> tuple[Polygon, ...]:
    raise AssertionError(f"no mask image was named, yet {file!r} was opened")


def place(kind: str, text: str, width: int = 640, height: int = 480) -> Mark:
    return parse_mark(kind, text).place(width, height, RED, no_files)


@st.composite
def typed_coordinates(draw: st.DrawFn, kind: str) -> tuple[str, list[Length]]:
    """A right number of coordinates, as text and as what they mean."""
    chosen = [draw(lengths) for _ in range(draw(st.sampled_from(COUNTS[kind])))]
    words = [f"{number:f}{'%' * percent}" for number, percent in chosen]
    text = words[0] + "".join(draw(separators) + word for word in words[1:])
    return text, [Length(float(number), percent) for number, percent in chosen]


def test_the_eight_kinds() -> None:
    assert [kind.kind for kind in KINDS] == list(COUNTS)
    assert list(BY_KIND.values()) == list(KINDS)


@pytest.mark.parametrize(
    ("mark", "phrase"),
    [
        (BoxMark(RED, 1, 2, 3, 4), "within the red rectangle"),
        (EllipseMark(named_color("blue"), 1, 2, 3, 4), "within the blue ellipse"),
        (TriangleMark(RED, 1, 2, 3, 4), "with the red triangle"),
        (ScribbleMark(RED, ((1, 2), (3, 4))), "with the red scribble"),
        (ContourMark(RED, (((1, 2), (3, 4), (5, 2)),)), "with the red mask contour"),
        (MaskMark(RED, (((1, 2), (3, 4), (5, 2)),)), "with the red mask"),
        (PointMark(RED, 1, 2), "at the red point"),
        (ArrowMark(parse_color("cyan"), (1, 2)), "pointed to by the aqua arrow"),
    ],
)
def test_a_question_refers_to_it_as_in_training(mark: Mark, phrase: str) -> None:
    assert mark.phrase == phrase
    assert phrase.endswith(mark.name)


@pytest.mark.parametrize(
    ("mark", "bounds"),
    [
        (BoxMark(RED, 1, 2, 3, 4), (1, 2, 3, 4)),
        (PointMark(RED, 1.5, 2), (1.5, 2, 1.5, 2)),
        (ArrowMark(RED, (9, 2)), (9, 2, 9, 2)),
        (ArrowMark(RED, (9, 2), (1, 8)), (1, 2, 9, 8)),
        (ScribbleMark(RED, ((5, 5), (1, 9), (7, 2))), (1, 2, 7, 9)),
        (MaskMark(RED, (((1, 1), (4, 1), (4, 4)), ((7, 7), (9, 7), (9, 8)))), (1, 1, 9, 8)),
    ],
)
def test_bounds(mark: Mark, bounds: tuple[float, ...]) -> None:
    assert mark.bounds == bounds


# Reading


@pytest.mark.parametrize(
    ("kind", "text", "mark"),
    [
        ("box", "40,60,200,220", BoxMark(RED, 40, 60, 200, 220)),
        ("box", "200,220,40,60", BoxMark(RED, 40, 60, 200, 220)),
        ("box", "200,60,40,220", BoxMark(RED, 40, 60, 200, 220)),
        ("ellipse", "0,0,100%,100%", EllipseMark(RED, 0, 0, 640, 480)),
        ("ellipse", "25%,50,75%,25%", EllipseMark(RED, 160, 50, 480, 120)),
        ("triangle", " 1 2 3 4 ", TriangleMark(RED, 1, 2, 3, 4)),
        ("triangle", "1, 2; 3\t4", TriangleMark(RED, 1, 2, 3, 4)),
        ("point", "50%,50%", PointMark(RED, 320, 240)),
        ("point", "+1.5,.5", PointMark(RED, 1.5, 0.5)),
        ("point", "1.,0012", PointMark(RED, 1, 12)),
        ("arrow", "10,20", ArrowMark(RED, (10, 20))),
        ("arrow", "1,2,10,20", ArrowMark(RED, (10, 20), (1, 2))),
        ("scribble", "1,2 3,4", ScribbleMark(RED, ((1, 2), (3, 4)))),
        ("scribble", "1,2 3,4 5,6", ScribbleMark(RED, ((1, 2), (3, 4), (5, 6)))),
        ("contour", "1,2 9,4 5,6", ContourMark(RED, (((1, 2), (9, 4), (5, 6)),))),
        ("contour", "1,2,9,4", ContourMark(RED, (((1, 2), (9, 2), (9, 4), (1, 4)),))),
        ("mask", "9,4,1,2", MaskMark(RED, (((1, 2), (9, 2), (9, 4), (1, 4)),))),
        ("mask", "0,0 50%,0 50%,50% 0,50%", MaskMark(RED, (((0, 0), (320, 0), (320, 240), (0, 240)),))),
    ],
)
def test_what_coordinates_mean(kind: str, text: str, mark: Mark) -> None:
    assert place(kind, text) == mark


@given(st.data(), kinds)
def test_coordinates_are_read_exactly(data: st.DataObject, kind: str) -> None:
    text, meant = data.draw(typed_coordinates(kind))
    color = data.draw(st.none() | st.sampled_from([*NAMED, *ALIASES, "#fff", "#12ab34"]))
    typed = parse_mark(kind, text if color is None else f"{text}:{color}")
    assert typed.kind == kind
    assert typed.coordinates == tuple(meant)
    assert typed.color == (None if color is None else parse_color(color))
    assert typed.file is None


@given(st.data(), kinds, sides, sides)
def test_pixels_stay_and_percentages_become_pixels(
    data: st.DataObject, kind: str, width: int, height: int
) -> None:
    text, meant = data.draw(typed_coordinates(kind))
    xs = [length.value * width / 100 if length.percent else length.value for length in meant[::2]]
    ys = [length.value * height / 100 if length.percent else length.value for length in meant[1::2]]
    if len(xs) == 2:
        assume(xs[0] != xs[1] and ys[0] != ys[1])
    mark = place(kind, text, width, height)
    assert mark.kind == kind
    assert mark.color == RED
    assert mark.bounds == (min(xs), min(ys), max(xs), max(ys))


@given(st.integers(0, LIMIT), st.integers(1, 20_000))
def test_a_percentage_is_of_its_own_side(hundredths: int, width: int) -> None:
    typed = f"{Decimal(hundredths) / 100}%"
    mark = place("point", f"{typed},{typed}", width, 2 * width)
    assert isinstance(mark, PointMark)
    assert mark.x == pytest.approx(hundredths * width / 10_000)
    assert mark.y == pytest.approx(2 * mark.x)


@given(kinds, texts)
def test_any_text_is_a_mark_or_a_plain_error(kind: str, text: str) -> None:
    try:
        typed = parse_mark(kind, text)
    except (MarkError, ColorError) as error:
        assert_plain(error)
    else:
        assert (typed.file is None) == (len(typed.coordinates) in range(2, 1000, 2))
        assert typed.file is None or kind in FROM_FILE
        assert all(abs(length.value) <= LIMIT for length in typed.coordinates)


@given(kinds, texts, sides, sides)
def test_any_mark_can_be_placed_or_not_plainly(kind: str, text: str, width: int, height: int) -> None:
    try:
        mark = parse_mark(kind, text).place(width, height, RED, lambda file: (((1, 1), (5, 1), (5, 5)),))
        inside, clipped = clip_to_picture(mark, width, height)
    except (MarkError, ColorError) as error:
        assert_plain(error)
    else:
        assert type(inside) is type(mark)
        assert inside == mark or clipped


@pytest.mark.parametrize("kind", FROM_FILE)
@pytest.mark.parametrize(
    ("text", "file", "color"),
    [
        ("cat.png", "cat.png", None),
        ("cat", "cat", None),
        ("  cat.png ", "cat.png", None),
        ("cat.png:aqua", "cat.png", "aqua"),
        ("cat.png : Aqua ", "cat.png", "aqua"),
        ("cat:aqua", "cat", "aqua"),
        ("cat.png:#f80", "cat.png", "#ff8800"),
        (r"C:\masks\cat.png", r"C:\masks\cat.png", None),
        (r"C:\masks\cat.png:gold", r"C:\masks\cat.png", "gold"),
        ("C:cat.png", "C:cat.png", None),
        ("C:/masks/cat", "C:/masks/cat", None),
        (r"C:\masks\cat", r"C:\masks\cat", None),
        ("dir:x/cat.png", "dir:x/cat.png", None),
        ("dir:x/cat.png:aqua", "dir:x/cat.png", "aqua"),
        ("https://example.org/cat.png", "https://example.org/cat.png", None),
        ("http://localhost:8000/cat.png:red", "http://localhost:8000/cat.png", "red"),
        ("with space, and comma.png", "with space, and comma.png", None),
        ("1,2,3.png", "1,2,3.png", None),
        ("image 4.png:red", "image 4.png", "red"),
        ("-", None, None),
        ("..:red", None, None),
        ("貓.png:red", "貓.png", "red"),
        ("\udcff.png", "\udcff.png", None),
    ],
)
def test_names_of_mask_images(kind: str, text: str, file: str | None, color: str | None) -> None:
    if file is None:
        with pytest.raises(MarkError):
            parse_mark(kind, text)
        return
    typed = parse_mark(kind, text)
    assert typed.file == file
    assert typed.coordinates == ()
    assert typed.color == (parse_color(color) if color else None)


def test_a_mask_image_becomes_its_polygons() -> None:
    polygons = (((1.0, 1.0), (4.0, 1.0), (4.0, 4.0)), ((9.0, 9.0),))
    asked = []

    def trace(file: str) -> tuple[Polygon, ...]:
        asked.append(file)
        return polygons

    assert parse_mark("mask", "a.png").place(9, 9, RED, trace) == MaskMark(RED, polygons)
    assert parse_mark("contour", "b.png:blue").place(9, 9, RED, trace) == ContourMark(RED, polygons)
    assert asked == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("kind", "text", "naming"),
    [
        ("box", "", ["box", "x1,y1,x2,y2"]),
        ("box", "   ", ["box", "x1,y1,x2,y2"]),
        ("box", "1,2,3", ["3 numbers", "x1,y1,x2,y2"]),
        ("box", "1,2,3,4,5", ["5 numbers"]),
        ("box", "1,2,3,x", ["box '1,2,3,x'", "pixels or percent"]),
        ("box", "cat.png", ["box 'cat.png'"]),
        ("box", "nan,1,2,3", ["'nan,1,2,3'"]),
        ("box", "inf,1,2,3", ["'inf,1,2,3'"]),
        ("box", "-inf,1,2,3", ["'-inf,1,2,3'"]),
        ("box", "1e3,1,2,3", ["'1e3,1,2,3'"]),
        ("box", "0x10,1,2,3", ["'0x10,1,2,3'"]),
        ("box", "1_0,1,2,3", ["'1_0,1,2,3'"]),
        ("box", "١,٢,٣,٤", ["'١,٢,٣,٤'"]),
        ("box", "１,２,３,４", ["'１,２,３,４'"]),
        ("box", "1,2,3,4 %", ["'1,2,3,4 %'"]),
        ("box", "1,2,3,4%%", ["'1,2,3,4%%'"]),
        ("box", "1,2,3,--4", ["'1,2,3,--4'"]),
        ("box", "1,2,3,.", ["'1,2,3,.'"]),
        ("box", "1,2,3,4,", ["'1,2,3,4,'"]),
        ("box", ",1,2,3,4", ["',1,2,3,4'"]),
        ("box", "(1,2,3,4)", ["'(1,2,3,4)'"]),
        ("box", f"0,0,5,{LIMIT + 1}", [str(LIMIT + 1)]),
        ("box", f"0,0,5,{LIMIT // 100 + 1}%", [f"{LIMIT // 100 + 1}%"]),
        ("box", "0,0,5," + "9" * 400, ["'0,0,5,999"]),
        ("box", "1,2,3,4\x00", [r"\x00"]),
        ("box", "\U0010ffff" * 100, ["'\\U0010ffff"]),
        ("point", "1", ["point", "has 1 number.", "x,y"]),
        ("point", "1,2,3,4", ["4 numbers"]),
        ("arrow", "1,2,3", ["arrow", "3 numbers", "tip"]),
        ("scribble", "1,2", ["scribble", "2 numbers", "two or more points"]),
        ("scribble", "1,2,3,4,5", ["5 numbers"]),
        ("contour", "1,2", ["contour", "2 numbers", "mask image"]),
        ("mask", "1,2,3", ["mask", "3 numbers", "mask image"]),
        ("mask", "", ["mask", "mask image"]),
        ("mask", ":red", ["mask", "mask image"]),
        ("mask", "1,2,-,4", ["'1,2,-,4'"]),
        ("mask", "١,٢,٣,٤", ["'١,٢,٣,٤'"]),
        ("triangle", "5,5,5,9", ["triangle '5,5,5,9'", "encloses nothing"]),
        ("box", "5,5,9,5", ["box '5,5,9,5'", "encloses nothing"]),
        ("ellipse", "50%,1,320,9", ["ellipse '50%,1,320,9'", "encloses nothing"]),
        ("mask", "5,5,5,5", ["mask '5,5,5,5'", "encloses nothing"]),
        ("contour", "5,5,5,9", ["contour '5,5,5,9'", "encloses nothing"]),
        ("box", ",".join(["5." + "0" * 300] * 4), ["box '5.0000", "encloses nothing"]),
        ("arrow", "5,5,5,5", ["arrow '5,5,5,5'", "starts where it ends"]),
        ("arrow", ",".join(["5." + "0" * 300] * 4), ["arrow '5.0000", "starts where it ends"]),
        ("scribble", "5,5 5,5 5,5", ["scribble '5,5 5,5 5,5'", "goes nowhere"]),
    ],
)
def test_bad_marks(kind: str, text: str, naming: list[str]) -> None:
    with pytest.raises(MarkError) as caught:
        place(kind, text)
    assert caught.value.exit_code == USAGE_ERROR
    assert_plain(caught.value, *naming)


@pytest.mark.parametrize(
    ("kind", "text", "naming"),
    [
        ("box", "1,2,3,4:", "''"),
        ("box", "1,2,3,4:rde", "'rde'"),
        ("box", "1,2,3,4:red:blu", "'blu'"),
        ("box", "1:2:3:4", "'4'"),
        ("box", r"1,2,3,4:C:\x.png", r"x.png"),
        ("mask", "cat.png:rde", "Did you mean red?"),
        ("mask", "cat.png:#ff", "'#ff'"),
        ("contour", r"C:\masks\cat.png:rde", "'rde'"),
    ],
)
def test_bad_colors_after_a_colon(kind: str, text: str, naming: str) -> None:
    with pytest.raises(ColorError) as caught:
        parse_mark(kind, text)
    assert caught.value.exit_code == USAGE_ERROR
    assert_plain(caught.value, naming)


# Colors


def typed(*asked: tuple[str, str | None]) -> list[TypedMark]:
    return [TypedMark(kind, "", color=parse_color(color) if color else None) for kind, color in asked]


def names(*asked: tuple[str, str | None]) -> list[str]:
    return [color.name for color in assign_colors(typed(*asked))]


def test_marks_take_the_trained_colors_in_order() -> None:
    assert names(*[("box", None)] * 9) == list(TRAINED)
    assert names(("box", None), ("arrow", None), ("mask", None)) == ["red", "lime", "blue"]
    assert names() == []


def test_a_color_that_was_asked_for_is_left_to_that_mark() -> None:
    assert names(("box", None), ("box", "red")) == ["lime", "red"]
    assert names(("box", None), ("point", "red"), ("box", "lime")) == ["blue", "red", "lime"]
    assert names(("box", "#fe0000"), ("box", None)) == ["red", "lime"]


def test_another_kind_shares_a_color_before_the_same_kind_does() -> None:
    every_box = [("box", name) for name in TRAINED]
    assert names(*every_box, ("arrow", None), ("arrow", None))[9:] == ["red", "lime"]
    assert names(*every_box, ("arrow", "red"), ("arrow", None))[9:] == ["red", "lime"]


def test_beyond_nine_of_a_kind_colors_come_round_again() -> None:
    assert names(*[("box", None)] * 20) == [*TRAINED, *TRAINED, "red", "lime"]


@given(st.lists(st.tuples(kinds, st.none() | st.sampled_from([*NAMED, "#123456"])), max_size=40))
def test_colors_are_distinct_while_they_can_be(asked: list[tuple[str, str | None]]) -> None:
    colors = assign_colors(typed(*asked))
    free = [index for index, (_, color) in enumerate(asked) if color is None]
    for (_, color), got in zip(asked, colors, strict=True):
        if color is not None:
            assert got == parse_color(color)
    explicit = {parse_color(color).name for _, color in asked if color}
    given_out = [colors[index].name for index in free]
    assert all(name in TRAINED for name in given_out)
    unclaimed = len(TRAINED.keys() - explicit)
    assert len(set(given_out[:unclaimed])) == len(given_out[:unclaimed])
    assert not explicit & set(given_out[:unclaimed])
    for kind in BY_KIND:
        own = [colors[index].name for index in free if asked[index][0] == kind]
        claimed = {parse_color(color).name for other, color in asked if color and other == kind}
        first = own[: len(TRAINED.keys() - claimed)]
        assert len(set(first)) == len(first)
        assert not claimed & set(first)


# On the picture

coordinates = st.one_of(st.integers(-40, 140), st.floats(-40, 140, allow_nan=False))
points = st.tuples(coordinates, coordinates)


@st.composite
def placed_marks(draw: st.DrawFn) -> Mark:
    kind = draw(kinds)
    if kind in FRAMED:
        (xa, ya), (xb, yb) = draw(points), draw(points)
        assume(xa != xb and ya != yb)
        shape: Callable[..., Mark] = BY_KIND[kind]
        return shape(RED, min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb))
    if kind == "point":
        return PointMark(RED, *draw(points))
    if kind == "arrow":
        return ArrowMark(RED, draw(points), draw(st.none() | points))
    if kind == "scribble":
        return ScribbleMark(RED, tuple(draw(st.lists(points, min_size=2, max_size=5))))
    polygon = st.lists(points, min_size=3, max_size=6).map(tuple)
    outlined: Callable[..., Mark] = BY_KIND[kind]
    return outlined(RED, tuple(draw(st.lists(polygon, min_size=1, max_size=2))))


def within(point: XY, width: int, height: int) -> bool:
    return 0 <= point[0] <= width and 0 <= point[1] <= height


@given(placed_marks(), st.integers(1, 120), st.integers(1, 120))
def test_what_is_kept_lies_inside_or_is_called_clipped(mark: Mark, width: int, height: int) -> None:
    try:
        inside, clipped = clip_to_picture(mark, width, height)
    except MarkError as error:
        assert_plain(error, mark.kind, f"{width} × {height}")
        assert not all(within(point, width, height) for point in mark.points)
        return
    assert clipped == (not all(within(point, width, height) for point in mark.points))
    if isinstance(inside, BoxMark):
        assert all(within(point, width, height) for point in inside.points)
        assert inside.x1 < inside.x2 and inside.y1 < inside.y2
    else:
        assert inside == mark
    if isinstance(mark, PointMark):
        assert not clipped
    if isinstance(mark, ArrowMark):
        assert within(mark.tip, width, height)


@pytest.mark.parametrize(
    ("mark", "inside", "clipped"),
    [
        (BoxMark(RED, 0, 0, 100, 50), BoxMark(RED, 0, 0, 100, 50), False),
        (BoxMark(RED, -5, 10, 20, 20), BoxMark(RED, 0, 10, 20, 20), True),
        (BoxMark(RED, -5, -5, 500, 500), BoxMark(RED, 0, 0, 100, 50), True),
        (BoxMark(RED, 99.5, 49.5, 200, 200), BoxMark(RED, 99.5, 49.5, 100, 50), True),
        (EllipseMark(RED, -5, 10, 20, 20), EllipseMark(RED, -5, 10, 20, 20), True),
        (TriangleMark(RED, 80, 40, 101, 45), TriangleMark(RED, 80, 40, 101, 45), True),
        (PointMark(RED, 0, 0), PointMark(RED, 0, 0), False),
        (PointMark(RED, 100, 50), PointMark(RED, 100, 50), False),
        (ArrowMark(RED, (100, 0)), ArrowMark(RED, (100, 0)), False),
        (ArrowMark(RED, (5, 5), (-9, 5)), ArrowMark(RED, (5, 5), (-9, 5)), True),
        (ScribbleMark(RED, ((0, 0), (0, 50))), ScribbleMark(RED, ((0, 0), (0, 50))), False),
        (ScribbleMark(RED, ((-1, 9), (50, 9))), ScribbleMark(RED, ((-1, 9), (50, 9))), True),
    ],
)
def test_marks_at_and_over_the_edge(mark: Mark, inside: Mark, clipped: bool) -> None:
    assert clip_to_picture(mark, 100, 50) == (inside, clipped)


@pytest.mark.parametrize(
    ("mark", "naming"),
    [
        (BoxMark(RED, 100, 0, 120, 20), ["box at 100,0,120,20"]),
        (BoxMark(RED, -20, 0, 0, 20), ["box at -20,0,0,20"]),
        (EllipseMark(RED, 0, 50, 20, 60), ["ellipse"]),
        (TriangleMark(RED, 300, 300, 400, 400), ["triangle at 300,300,400,400"]),
        (PointMark(RED, 100.5, 20), ["point at 100.5,20 lies"]),
        (PointMark(RED, -0.001, 0), ["point"]),
        (ArrowMark(RED, (50, 51), (50, 20)), ["arrow at 50,51 lies"]),
        (ScribbleMark(RED, ((101, 0), (101, 50))), ["scribble"]),
        (ContourMark(RED, (((0, 60), (9, 60), (9, 90)),)), ["contour"]),
        (MaskMark(RED, (((-9, 0), (-1, 0), (-5, 9)),)), ["mask"]),
    ],
)
def test_marks_wholly_outside(mark: Mark, naming: list[str]) -> None:
    with pytest.raises(MarkError) as caught:
        clip_to_picture(mark, 100, 50)
    assert caught.value.exit_code == USAGE_ERROR
    assert_plain(caught.value, *naming, "outside the picture", "100 × 50 pixels")


@pytest.mark.parametrize(
    "mark", [BoxMark(RED, 1, 2, 3, 4), PointMark(RED, 1, 2), MaskMark(RED, (((1, 2),),))]
)
def test_marks_are_values(mark: Mark) -> None:
    with pytest.raises(AttributeError):
        mark.color = named_color("blue")  # type: ignore[misc]
    assert mark == replace(mark) and hash(mark) == hash(replace(mark))
    assert mark != replace(mark, color=named_color("blue"))


@pytest.mark.parametrize(
    ("kind", "text", "picture", "left"),
    [
        ("box", "2:40,60,200,220", 2, 4),
        ("box", "2:40,60,200,220:red", 2, 4),
        ("point", " 12: 4,5", 12, 2),
        ("point", "4,5:red", None, 2),
        ("mask", "3:cat.png", 3, 0),
    ],
)
def test_a_mark_may_name_its_picture(kind: str, text: str, picture: int | None, left: int) -> None:
    typed = parse_mark(kind, text)
    assert typed.picture == picture
    assert len(typed.coordinates) == left
    assert typed.text == text


@pytest.mark.parametrize("text", ["2:", "2: ", "12345:1,2", "-1:1,2", "2:3:4,5"])
def test_what_names_no_picture(text: str) -> None:
    with pytest.raises((MarkError, ColorError)):
        parse_mark("point", text)
