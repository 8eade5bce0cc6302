"""The eight kinds of mark: as typed, as placed on a picture, and as named in questions.

Placed coordinates are float pixels of the upright picture, x to the right, y down; a picture `width` wide
spans 0 to `width`. Typed coordinates may mix pixels and percentages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vipcli.errors import ColorError, MarkError
from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.colors import TRAINED, Color, named_color, parse_color

# The largest coordinate: far beyond any picture, and small enough for exact drawing arithmetic.
# For percentages, a hundredth of it.
LIMIT = 1_000_000


@dataclass(frozen=True, slots=True)
class Mark:
    """A mark placed on a picture."""

    color: Color

    kind: ClassVar[str]
    noun: ClassVar[str]
    relation: ClassVar[str]

    @property
    def name(self) -> str:
        """Its name in a question: `red rectangle`."""
        return f"{self.color.name} {self.noun}"

    @property
    def phrase(self) -> str:
        """How training questions referred to it: `within the red rectangle`."""
        return f"{self.relation} the {self.name}"

    @property
    def points(self) -> tuple[XY, ...]:
        """The points that define it."""
        raise NotImplementedError

    @property
    def bounds(self) -> Bounds:
        """The bounding box of its defining points."""
        xs, ys = zip(*self.points, strict=True)
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True, slots=True)
class _RectangleMark(Mark):
    """A mark defined by a rectangle, x1 < x2 and y1 < y2."""

    x1: float
    y1: float
    x2: float
    y2: float

    @property
    def points(self) -> tuple[XY, ...]:
        return (self.x1, self.y1), (self.x2, self.y2)


@dataclass(frozen=True, slots=True)
class BoxMark(_RectangleMark):
    """The outline of a rectangle, its stroke on and inside the edge."""

    kind = "box"
    noun = "rectangle"
    relation = "within"


@dataclass(frozen=True, slots=True)
class EllipseMark(_RectangleMark):
    """The outline of an ellipse that fills the rectangle."""

    kind = "ellipse"
    noun = "ellipse"
    relation = "within"


@dataclass(frozen=True, slots=True)
class TriangleMark(_RectangleMark):
    """The outline of a triangle inside the rectangle."""

    kind = "triangle"
    noun = "triangle"
    relation = "with"


@dataclass(frozen=True, slots=True)
class PointMark(Mark):
    """A filled disc."""

    x: float
    y: float

    kind = "point"
    noun = "point"
    relation = "at"

    @property
    def points(self) -> tuple[XY, ...]:
        return ((self.x, self.y),)


@dataclass(frozen=True, slots=True)
class ArrowMark(Mark):
    """An arrow to `tip`, from `tail` or, without a tail, from where there is room."""

    tip: XY
    tail: XY | None = None
    span: float | None = None
    """The shorter side of the region it points at, in pixels; None where no region is known."""

    kind = "arrow"
    noun = "arrow"
    relation = "pointed to by"

    @property
    def points(self) -> tuple[XY, ...]:
        return (self.tip,) if self.tail is None else (self.tail, self.tip)


@dataclass(frozen=True, slots=True)
class ScribbleMark(Mark):
    """A smooth stroke through two or more points."""

    path: tuple[XY, ...]

    kind = "scribble"
    noun = "scribble"
    relation = "with"

    @property
    def points(self) -> tuple[XY, ...]:
        return self.path


@dataclass(frozen=True, slots=True)
class _PolygonMark(Mark):
    """A mark defined by polygons; a polygon inside another is a hole."""

    polygons: tuple[Polygon, ...]

    @property
    def points(self) -> tuple[XY, ...]:
        return tuple(point for polygon in self.polygons for point in polygon)


@dataclass(frozen=True, slots=True)
class ContourMark(_PolygonMark):
    """The outline of polygons."""

    kind = "contour"
    noun = "mask contour"
    relation = "with"


@dataclass(frozen=True, slots=True)
class MaskMark(_PolygonMark):
    """Filled polygons."""

    kind = "mask"
    noun = "mask"
    relation = "with"


KINDS: tuple[type[Mark], ...] = (
    BoxMark,
    EllipseMark,
    TriangleMark,
    PointMark,
    ArrowMark,
    ScribbleMark,
    ContourMark,
    MaskMark,
)
BY_KIND = {kind.kind: kind for kind in KINDS}

_FORMS = {
    "box": "x1,y1,x2,y2",
    "ellipse": "x1,y1,x2,y2",
    "triangle": "x1,y1,x2,y2",
    "point": "x,y",
    "arrow": "x,y of the tip, or x1,y1,x2,y2 from tail to tip",
    "scribble": "two or more points: x,y x,y …",
    "contour": "three or more points (x,y x,y …), a box (x1,y1,x2,y2) or a mask image",
    "mask": "a mask image, three or more points (x,y x,y …) or a box (x1,y1,x2,y2)",
}
_FROM_FILE = ("contour", "mask")


@dataclass(frozen=True, slots=True)
class Length:
    """A typed coordinate: pixels, or a percentage of the picture's side."""

    value: float
    percent: bool = False

    def on(self, side: int) -> float:
        """This length in pixels, for a picture whose side has `side` pixels."""
        return self.value * side / 100 if self.percent else self.value


@dataclass(frozen=True, slots=True)
class TypedMark:
    """A mark as typed, before it is placed on a picture of known size."""

    kind: str
    text: str
    coordinates: tuple[Length, ...] = ()
    file: str | None = None
    polygons: tuple[Polygon, ...] = ()
    """Contour or mask from an annotation or array: its outlines in pixels. One inside another is a hole."""
    color: Color | None = None
    picture: int | None = None
    """Which of several pictures it is for, from 1; None for the only one, or all frames of a video."""
    size: tuple[int, int] | None = None
    """Of a mask that came as an array: the width and height of the picture it is for."""
    span: float | None = None
    """Arrow at an annotated region: the shorter side of the region in pixels."""

    def place(
        self, width: int, height: int, color: Color, trace: Callable[[str], tuple[Polygon, ...]]
    ) -> Mark:
        """The mark on a picture of this size; `trace` turns a mask image into polygons."""
        if self.file is not None:
            return _polygon_kind(self.kind)(color, trace(self.file))
        if self.size not in (None, (width, height)):
            raise MarkError(
                f"The mask is an {self.text}, but the picture is {width} × {height}.",
                "Give a mask of the picture's size.",
            )
        if self.polygons:
            return _polygon_kind(self.kind)(color, self.polygons)
        xs = [length.on(width) for length in self.coordinates[::2]]
        ys = [length.on(height) for length in self.coordinates[1::2]]
        points = tuple(zip(xs, ys, strict=True))
        match self.kind:
            case "box" | "ellipse" | "triangle":
                return _rectangle_kind(self.kind)(color, *self._frame(points))
            case "point":
                return PointMark(color, *points[0])
            case "arrow":
                return self._arrow(color, points)
            case "scribble":
                return self._scribble(color, points)
            case _:
                polygon = points if len(points) > 2 else _corners(self._frame(points))
                return _polygon_kind(self.kind)(color, (polygon,))

    def _frame(self, points: Sequence[XY]) -> Bounds:
        (xa, ya), (xb, yb) = points
        if xa == xb or ya == yb:
            raise MarkError(
                f"The {self.kind} {_short(self.text)} encloses nothing: its corners share a coordinate."
            )
        return min(xa, xb), min(ya, yb), max(xa, xb), max(ya, yb)

    def _arrow(self, color: Color, points: Sequence[XY]) -> ArrowMark:
        if len(points) == 1:
            return ArrowMark(color, points[0], span=self.span)
        tail, tip = points
        if tail == tip:
            raise MarkError(
                f"The arrow {_short(self.text)} starts where it ends.",
                "Give its tip alone, or move its tail.",
            )
        return ArrowMark(color, tip, tail)

    def _scribble(self, color: Color, points: Polygon) -> ScribbleMark:
        if len(set(points)) == 1:
            raise MarkError(f"The scribble {_short(self.text)} goes nowhere: its points are all the same.")
        return ScribbleMark(color, points)


@dataclass(frozen=True, slots=True)
class UnplacedMark:
    """A mark that a person has yet to place with the mouse."""

    kind: str
    color: Color | None = None
    picture: int | None = None


Slot = TypedMark | UnplacedMark
"""A mark that was asked for: with coordinates, or to be placed by hand."""


def _rectangle_kind(kind: str) -> type[_RectangleMark]:
    return {"box": BoxMark, "ellipse": EllipseMark, "triangle": TriangleMark}[kind]


def _polygon_kind(kind: str) -> type[_PolygonMark]:
    return {"contour": ContourMark, "mask": MaskMark}[kind]


def _corners(frame: Bounds) -> Polygon:
    x1, y1, x2, y2 = frame
    return (x1, y1), (x2, y1), (x2, y2), (x1, y2)


# `\d++` is possessive (it never backtracks), so that a long row of digits takes linear time.
_NUMBER = re.compile(r"([+-]?(?:\d++\.?\d*|\.\d+))(%?)", re.ASCII)
_SEPARATOR = re.compile(r"[\s,;]+")
_PICTURE = re.compile(r"\s*(\d{1,4}):(?=.*\S)", re.ASCII)
_WITHOUT_PLACE = re.compile(r"\s*(?:(\d{1,4}):)?\s*(?::(.*\S))?\s*", re.ASCII)


def parse_mark(kind: str, text: str) -> TypedMark:
    """Parse the text of a mark: coordinates or a mask image, then an optional `:color`.

    With several pictures, the number of a picture and a colon may come first.
    """
    picture, rest = _split_picture(text)
    place, color = _split_color(kind, rest)
    coordinates = _coordinates(place)
    if coordinates is None:
        if kind in _FROM_FILE and place and not _looks_like_numbers(place):
            return TypedMark(kind, text, file=place, color=color, picture=picture)
        raise MarkError(
            f"Cannot read the {kind} {_short(text)}.", f"It takes {_FORMS[kind]}, in pixels or percent."
        )
    if not _right_count(kind, len(coordinates)):
        count = "1 number" if len(coordinates) == 1 else f"{len(coordinates)} numbers"
        raise MarkError(f"The {kind} {_short(text)} has {count}.", f"It takes {_FORMS[kind]}.")
    return TypedMark(kind, text, coordinates, color=color, picture=picture)


def parse_unplaced(kind: str, text: str) -> UnplacedMark | None:
    """Parse the text of a mark that has no coordinates, such as `:red` or `2:`; None if it has any."""
    match = _WITHOUT_PLACE.fullmatch(text)
    if match is None:
        return None
    picture, color = match.groups()
    return UnplacedMark(
        kind,
        color=None if color is None else parse_color(color),
        picture=None if picture is None else int(picture),
    )


def parse_named_mark(text: str) -> TypedMark:
    """Parse a mark that begins with its kind: `box 40,60,200,220:red`."""
    kind, _, place = text.strip().partition(" ")
    return parse_mark(check_kind(kind), place)


def check_kind(kind: str) -> str:
    """Return the kind if it exists, or raise an error that lists the kinds."""
    if kind not in BY_KIND:
        raise MarkError(f"There is no mark named {kind[:40]!r}.", f"The kinds are {', '.join(BY_KIND)}.")
    return kind


def format_number(value: Any) -> str:
    """A coordinate as text."""
    if not hasattr(value, "__float__") or isinstance(value, bool):
        raise MarkError("A mark's numbers must be numbers.")
    # Without an exponent, which typed marks do not allow.
    return f"{float(value):.10f}".rstrip("0").rstrip(".")


def _split_picture(text: str) -> tuple[int | None, str]:
    match = _PICTURE.match(text)
    return (None, text) if match is None else (int(match[1]), text[match.end() :])


def _split_color(kind: str, text: str) -> tuple[str, Color | None]:
    place, colon, tail = text.rpartition(":")
    if not colon:
        return text.strip(), None
    try:
        return place.strip(), parse_color(tail)
    except ColorError:
        # A file name may contain a colon.
        if kind in _FROM_FILE and re.search(r"[./\\]", tail):
            return text.strip(), None
        raise


def _coordinates(text: str) -> tuple[Length, ...] | None:
    lengths = []
    for word in _SEPARATOR.split(text.strip()):
        match = _NUMBER.fullmatch(word)
        if match is None:
            return None
        value, percent = float(match[1]), match[2] == "%"
        if abs(value) > (LIMIT / 100 if percent else LIMIT):
            return None
        lengths.append(Length(value, percent))
    return tuple(lengths)


def _looks_like_numbers(text: str) -> bool:
    return re.fullmatch(r"[\d\s.,;%+-]*", text) is not None


def _right_count(kind: str, count: int) -> bool:
    match kind:
        case "box" | "ellipse" | "triangle":
            return count == 4
        case "point":
            return count == 2
        case "arrow":
            return count in (2, 4)
        case _:
            return count >= 4 and count % 2 == 0


def _short(text: str) -> str:
    quoted = repr(text)
    return quoted if len(quoted) <= 60 else quoted[:59] + "…"


def assign_colors(typed: Sequence[TypedMark]) -> list[Color]:
    """A color for each mark: its own, or else a trained color that no other mark has."""
    taken = [(mark.kind, mark.color.name) for mark in typed if mark.color]
    colors = []
    for mark in typed:
        color = mark.color
        if color is None:
            color = named_color(_free_color(mark.kind, taken))
            taken.append((mark.kind, color.name))
        colors.append(color)
    return colors


def _free_color(kind: str, taken: Iterable[tuple[str, str]]) -> str:
    used = {name for _, name in taken}
    used_by_kind = [name for other, name in taken if other == kind]
    free = [name for name in TRAINED if name not in used]
    return free[0] if free else min(TRAINED, key=used_by_kind.count)


def clip_to_picture(mark: Mark, width: int, height: int) -> tuple[Mark, bool]:
    """The mark clipped to the picture, and whether any of it lay outside."""
    x1, y1, x2, y2 = _target_bounds(mark)
    if not (_overlaps(x1, x2, width) and _overlaps(y1, y2, height)):
        target = (x1, y1) if (x1, y1) == (x2, y2) else (x1, y1, x2, y2)
        raise MarkError(
            f"The {mark.kind} at {_numbers(target)} lies outside the picture, "
            f"which is {width} × {height} pixels."
        )
    x1, y1, x2, y2 = mark.bounds
    if x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height:
        return mark, False
    if isinstance(mark, BoxMark):
        # A box keeps its sides visible at the edge; other outlines run off the picture.
        mark = replace(mark, x1=max(x1, 0), y1=max(y1, 0), x2=min(x2, width), y2=min(y2, height))
    return mark, True


def move(mark: Mark, left: float, top: float, scale: float) -> Mark:
    """The mark on a part of its picture that begins at (left, top) and is enlarged by `scale`."""

    def place(point: XY) -> XY:
        # A coordinate without a fraction is the center of a pixel.
        x, y = ((value + 0.5 - start) * scale - 0.5 for value, start in zip(point, (left, top), strict=True))
        return x, y

    match mark:
        case _RectangleMark():
            (x1, y1), (x2, y2) = map(place, mark.points)
            return replace(mark, x1=x1, y1=y1, x2=x2, y2=y2)
        case PointMark():
            x, y = place((mark.x, mark.y))
            return replace(mark, x=x, y=y)
        case ArrowMark():
            tail = None if mark.tail is None else place(mark.tail)
            span = None if mark.span is None else mark.span * scale
            return replace(mark, tip=place(mark.tip), tail=tail, span=span)
        case ScribbleMark():
            return replace(mark, path=tuple(map(place, mark.path)))
        case _PolygonMark():
            return replace(mark, polygons=tuple(tuple(map(place, polygon)) for polygon in mark.polygons))
        case _:
            raise TypeError(f"no place for {mark.kind}")


def _overlaps(low: float, high: float, side: int) -> bool:
    # An extent of zero may lie on the edge of the picture; any other must overlap it.
    return 0 <= low <= side if low == high else low < side and high > 0


def _target_bounds(mark: Mark) -> Bounds:
    return (*mark.tip, *mark.tip) if isinstance(mark, ArrowMark) else mark.bounds


def _numbers(values: Iterable[float]) -> str:
    return ",".join(f"{value:g}" for value in values)
