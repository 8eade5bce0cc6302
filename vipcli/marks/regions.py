"""Annotated regions of pictures: which to ask about, and the marks that draw them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from vipcli.errors import MarkError
from vipcli.geometry import XY, Bounds, Polygon
from vipcli.marks.colors import Color
from vipcli.marks.kinds import Length, TypedMark, check_kind

Trace = Callable[[str], tuple[Polygon, ...]]
"""Turns the name of a mask image into the outlines of its white parts."""

_RECTANGLE_KINDS = ("box", "ellipse", "triangle")
_POLYGON_KINDS = ("contour", "mask")

# How many scan lines to lay over a region: enough to find its area to a fraction of a percent. The second
# limit is on how often they may cross its outlines.
_FEWEST_LINES, _MOST_LINES = 64, 1024
_MOST_CROSSINGS = 2_000_000
# Where less than this share of a run continues on the next line, a stroke would leave the region.
_MIN_OVERLAP = 0.5
# How far a scribble swings toward the sides of its region, tried in order; 0 follows the middle.
_SWINGS = (0.6, 0.4, 0.2, 0.0)
_TURNS = 6
_LONGEST_TEXT = 60


@dataclass(frozen=True, slots=True)
class Region:
    """An annotated part of a picture, in pixels of the upright picture, x to the right, y down."""

    kind: str
    """The kind of mark it is drawn as by default, a key of `kinds.BY_KIND`."""
    points: tuple[XY, ...] = ()
    """Two corners of a box, ellipse or triangle; an arrow's tail and tip, or tip alone; a scribble's path."""
    polygons: tuple[Polygon, ...] = ()
    """Its outlines; one inside another is a hole. A box may have outlines too."""
    file: str | None = None
    """A mask image, white where the region is."""
    label: str = ""
    id: str = ""
    score: float | None = None

    @property
    def bounds(self) -> Bounds | None:
        """Its bounding box; None for a mask image."""
        points = self.points or [point for polygon in self.polygons for point in polygon]
        return bounds_of(points) if points else None

    @property
    def size(self) -> float | None:
        """The area in pixels of its outlines, or else of its bounds; None for a mask image."""
        if self.polygons:
            return sum(run.length for run in _runs(self.polygons)) * _line_spacing(self.polygons)
        bounds = self.bounds
        if bounds is None:
            return None
        x1, y1, x2, y2 = bounds
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True, slots=True)
class RegionFilter:
    """Which regions to ask about.

    A region without a score passes any limit on scores. A mask image passes any limit on sizes, because its
    size is not known yet.
    """

    labels: tuple[str, ...] = ()
    min_size: float | None = None
    max_size: float | None = None
    min_score: float | None = None

    def accepts(self, region: Region) -> bool:
        """Whether a region passes."""
        return self._accepts_label(region) and self._accepts_score(region) and self._accepts_size(region)

    def _accepts_label(self, region: Region) -> bool:
        return not self.labels or region.label.casefold() in {label.casefold() for label in self.labels}

    def _accepts_score(self, region: Region) -> bool:
        return self.min_score is None or region.score is None or region.score >= self.min_score

    def _accepts_size(self, region: Region) -> bool:
        if self.min_size is None and self.max_size is None:
            return True
        size = region.size
        if size is None:
            return True
        return (self.min_size is None or size >= self.min_size) and (
            self.max_size is None or size <= self.max_size
        )


def mark_for(
    region: Region, kind: str | None = None, color: Color | None = None, *, trace: Trace | None = None
) -> TypedMark:
    """The mark that draws a region, as its own kind or as another.

    If the region is a mask image, any kind but contour and mask needs `trace`.
    """
    kind = check_kind(region.kind if kind is None else kind)
    if region.file is not None:
        if kind in _POLYGON_KINDS:
            return TypedMark(kind, region.file, file=region.file, color=color)
        region = _trace_mask(region, region.file, trace)
    if region.bounds is None:
        raise MarkError(f"{_describe(region)} has no place on the picture.", "Leave it out.")
    if kind in _POLYGON_KINDS:
        polygons = _outlines(region)
        return TypedMark(kind, _text(*polygons), polygons=polygons, color=color)
    points = region.points if kind == region.kind and region.points else ()
    x1, y1, x2, y2 = region.bounds
    span = min(x2 - x1, y2 - y1) if kind == "arrow" and not points else None
    if kind in _RECTANGLE_KINDS:
        points = _corners_of(region)
    elif not points:
        points = _scribble(region) if kind == "scribble" else (_inner_point(region),)
    numbers = tuple(Length(number) for point in points for number in point)
    text = ",".join(map(_number, points[0] + points[1])) if kind in _RECTANGLE_KINDS else _text(points)
    return TypedMark(kind, text, numbers, color=color, span=span)


def _trace_mask(region: Region, file: str, trace: Trace | None) -> Region:
    polygons = trace(file) if trace else ()
    if not polygons:
        raise MarkError(
            f"{_describe(region)} is a mask image, which is drawn as a mask or a contour.",
            "Add {as=mask}.",
        )
    return Region("mask", polygons=polygons, label=region.label, id=region.id, score=region.score)


def _describe(region: Region) -> str:
    for what, name in (("region", region.id), ("region", region.label)):
        if name:
            return f"The {what} {name[:60]!r}"
    return "A region"


# Frames and outlines


def bounds_of(points: Iterable[XY]) -> Bounds:
    """The bounding box of points."""
    xs, ys = zip(*points, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _frame(region: Region) -> Bounds:
    """The bounds of a region, at least a pixel wide and high where they are not a single point.

    A thin thing, like a rope or a distant line of text, can still be framed; a single point gives no size for
    a frame.
    """
    bounds = region.bounds
    assert bounds is not None
    x1, y1, x2, y2 = bounds
    if x1 == x2 and y1 == y2:
        raise MarkError(
            f"{_describe(region)} at {_number(x1)},{_number(y1)} is a single point, too small for a frame.",
            "Mark it with {as=point} or {as=arrow}.",
        )
    if x1 == x2:
        x1, x2 = x1 - 0.5, x2 + 0.5
    if y1 == y2:
        y1, y2 = y1 - 0.5, y2 + 0.5
    return x1, y1, x2, y2


def _corners_of(region: Region) -> tuple[XY, XY]:
    x1, y1, x2, y2 = _frame(region)
    return (x1, y1), (x2, y2)


def _outlines(region: Region) -> tuple[Polygon, ...]:
    """The outlines of a region, or else those of its shape."""
    if region.polygons:
        return region.polygons
    x1, y1, x2, y2 = _frame(region)
    match region.kind:
        case "ellipse":
            angles = [math.tau * step / 64 for step in range(64)]
            radius_x, radius_y = (x2 - x1) / 2, (y2 - y1) / 2
            return (
                tuple(
                    (x1 + radius_x * (1 + math.cos(angle)), y1 + radius_y * (1 + math.sin(angle)))
                    for angle in angles
                ),
            )
        case "triangle":
            return (((x1, y2), ((x1 + x2) / 2, y1), (x2, y2)),)
        case _:
            return (((x1, y1), (x2, y1), (x2, y2), (x1, y2)),)


# Inside a region


@dataclass(frozen=True, slots=True)
class _Run:
    """A part of a scan line that lies inside a region."""

    line: int
    y: float
    x1: float
    x2: float

    @property
    def length(self) -> float:
        return self.x2 - self.x1

    @property
    def middle(self) -> XY:
        return (self.x1 + self.x2) / 2, self.y


def _line_count(polygons: Sequence[Polygon]) -> int:
    """How many scan lines to lay over polygons: about one per pixel, within limits."""
    _, top, _, bottom = bounds_of(point for polygon in polygons for point in polygon)
    edges = sum(map(len, polygons))
    return min(max(math.ceil(bottom - top), _FEWEST_LINES), _MOST_LINES, max(_MOST_CROSSINGS // edges, 4))


def _line_spacing(polygons: Sequence[Polygon]) -> float:
    _, top, _, bottom = bounds_of(point for polygon in polygons for point in polygon)
    return (bottom - top) / _line_count(polygons)


def _runs(polygons: Sequence[Polygon]) -> list[_Run]:
    """The runs inside polygons, by the even-odd rule, along evenly spaced scan lines."""
    import numpy as np

    top, step, lines = (
        bounds_of(point for polygon in polygons for point in polygon)[1],
        _line_spacing(polygons),
        _line_count(polygons),
    )
    if step == 0:
        return []
    starts = np.array([point for polygon in polygons for point in polygon], dtype=np.float64)
    ends = np.array([point for polygon in polygons for point in (*polygon[1:], polygon[0])], dtype=np.float64)
    # Each edge includes one of its ends and excludes the other, so that no corner is crossed twice.
    first, last = (
        np.ceil((side[:, 1] - top) / step - 0.5).astype(np.int64).clip(0, lines) for side in (starts, ends)
    )
    low, counts = np.minimum(first, last), np.abs(last - first)
    edge = np.repeat(np.arange(len(starts)), counts)
    line = low[edge] + np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    y = top + (line + 0.5) * step
    (x1, y1), (x2, y2) = starts[edge].T, ends[edge].T
    x = x1 + (y - y1) * (x2 - x1) / (y2 - y1)
    order = np.lexsort((x, line))
    line, x, y = line[order], x[order], y[order]
    columns = (line[::2], y[::2], x[::2], x[1::2])
    return [_Run(*values) for values in zip(*(column.tolist() for column in columns), strict=True)]


def _inner_point(region: Region) -> XY:
    """A point inside a region: its center of mass if that lies inside, else the middle of its widest part."""
    if not region.polygons and region.kind in ("point", "arrow", "scribble"):
        # A path is a line, so its middle is one of its points.
        return region.points[-1] if region.kind == "arrow" else region.points[len(region.points) // 2]
    if not region.polygons:
        bounds = region.bounds
        assert bounds is not None
        x1, y1, x2, y2 = bounds
        return (x1 + x2) / 2, (y1 + y2) / 2
    runs = [run for run in _runs(region.polygons) if run.length > 0]
    if not runs:
        return region.polygons[0][len(region.polygons[0]) // 2]
    total = sum(run.length for run in runs)
    x = sum(run.length * run.middle[0] for run in runs) / total
    y = sum(run.length * run.y for run in runs) / total
    nearest = min(abs(run.y - y) for run in runs)
    for run in runs:
        if abs(run.y - y) == nearest and run.x1 < x < run.x2:
            return x, run.y
    # The longest run itself may lie at the very edge, so take the middle of the band around it.
    band = _band(runs)
    return band[len(band) // 2].middle


def _scribble(region: Region) -> tuple[XY, ...]:
    """A zigzag inside a region, as a hand would scribble on it."""
    band = _band([run for run in _runs(_outlines(region)) if run.length > 0])
    if len(band) < 2:
        x1, y1, x2, y2 = _frame(region)
        return ((x1, y1), (x2, y2))
    for swing in _SWINGS:
        path = _zigzag(band, swing)
        if _stays_inside(path, band):
            return path
    return tuple(run.middle for run in band)


def _band(runs: Sequence[_Run]) -> list[_Run]:
    """Connected runs on consecutive lines, around the longest of all."""
    if not runs:
        return []
    by_line: dict[int, list[_Run]] = {}
    for run in runs:
        by_line.setdefault(run.line, []).append(run)
    longest = max(runs, key=lambda run: run.length)
    return [*reversed(_connected_runs(longest, by_line, -1)), longest, *_connected_runs(longest, by_line, 1)]


def _connected_runs(run: _Run, by_line: dict[int, list[_Run]], direction: int) -> list[_Run]:
    connected: list[_Run] = []
    while neighbors := by_line.get(run.line + direction):
        best = max(neighbors, key=lambda other: _overlap(run, other))
        if _overlap(run, best) < _MIN_OVERLAP * max(run.length, best.length):
            break
        connected.append(best)
        run = best
    return connected


def _overlap(run: _Run, other: _Run) -> float:
    return min(run.x2, other.x2) - max(run.x1, other.x1)


def _zigzag(band: Sequence[_Run], swing: float) -> tuple[XY, ...]:
    """A path down a band that alternates between its sides and keeps away from its ends."""
    margin = len(band) // 8
    inner = band[margin : len(band) - margin]
    turns = min(_TURNS, len(inner))
    path = []
    for turn in range(turns):
        run = inner[round(turn * (len(inner) - 1) / (turns - 1))] if turns > 1 else inner[0]
        side = -1 if turn % 2 == 0 else 1
        path.append((run.middle[0] + side * swing * run.length / 2, run.y))
    return tuple(path)


def _stays_inside(path: Sequence[XY], band: Sequence[_Run]) -> bool:
    if len(path) < 2:
        return False
    for (xa, ya), (xb, yb) in pairwise(path):
        for run in band:
            if ya <= run.y <= yb and not run.x1 < xa + (xb - xa) * (run.y - ya) / (yb - ya) < run.x2:
                return False
    return True


# Text


def _number(value: float) -> str:
    """A coordinate as a person would type it."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _text(*paths: Sequence[XY]) -> str:
    """Points as a person would type them, abbreviated if long."""
    words: list[str] = []
    for x, y in paths[0]:
        word = f"{_number(x)},{_number(y)}"
        if sum(map(len, words)) + len(words) + len(word) > _LONGEST_TEXT - 2:
            return " ".join([*words, "…"])
        words.append(word)
    return " ".join([*words, "…"] if len(paths) > 1 else words)
