"""Styles of marks: the fixed style, and random styles from the ranges of training.

Sizes are relative to the long side of the picture: a stroke of 3 means 3 pixels where that side is 336.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from vipcli.errors import UsageError
from vipcli.geometry import XY
from vipcli.marks.kinds import ArrowMark, EllipseMark, Mark, PointMark, TriangleMark

ANCHOR = 336
"""The long side that sizes refer to, and the input size of the ViP-LLaVA checkpoints."""

STROKE = 3.0
RADIUS = 8.0
ALPHA = 128
ARROW_LENGTH = 40.0
SHORTEST_ARROW, LONGEST_ARROW = 25.0, 50.0
ARROW_SHARE = 0.8
"""A jittered arrow's length lies between this share of its region's shorter side and LONGEST_ARROW."""
SMALLEST_HEAD = 6

# Smallest and largest stroke of each kind in training; a mask has none.
STROKES = {
    "box": (2, 8),
    "ellipse": (2, 8),
    "triangle": (2, 8),
    "arrow": (1, 6),
    "scribble": (2, 12),
    # Training rounded an even stroke up to the next odd number, so strokes were 3 to 5.
    "contour": (2, 4),
}
RADII = (5, 20)
ALPHAS = (96, 255)
MASK_ALPHAS = (48, 128)
LARGEST_ANGLE = math.radians(150)
# The fallback for a triangle in a very flat rectangle: no angle exceeds 90°.
RIGHT_ANGLED = ((0.0, 0.0), (1.0, 1.0), (0.0, 1.0))
_TRIES = 100


@dataclass(frozen=True, slots=True)
class Style:
    """How a mark is drawn. Sizes are pixels of the picture; `stroke` is 0 for a filled mark."""

    stroke: int
    alpha: int = ALPHA
    scale: float = 1.0
    """Ellipse: its size relative to its rectangle."""
    radii: XY = (0.0, 0.0)
    """Point: half axes."""
    corners: tuple[XY, XY, XY] = ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0))
    """Triangle: its corners, as fractions of the rectangle's sides."""
    length: float = 0.0
    """Arrow given only by its tip: its length."""
    angle: float | None = None
    """Arrow given only by its tip: the direction of its shaft; None takes the side with the most room."""
    head: float = 0.35
    """Arrow: the head's share of the whole length."""
    head_sizes: XY = (0.0, 0.0)
    """Arrow: the smallest and largest head."""
    open_head: bool = False
    bend: XY = (0.0, 0.0)
    """Arrow: how far the middle of its shaft is off the straight line."""


def relative_size(width: int, height: int) -> float:
    """The long side of a picture relative to ANCHOR."""
    return max(width, height) / ANCHOR


def fixed_style(mark: Mark, size: float, *, width: float | None = None, alpha: int | None = None) -> Style:
    """The default style of a mark on a picture of that relative size."""
    style = Style(
        stroke=_stroke(mark, _pixels(STROKE if width is None else width, size)),
        alpha=ALPHA if alpha is None else alpha,
    )
    match mark:
        case TriangleMark():
            return style if _has_trained_angles(mark, style.corners) else replace(style, corners=RIGHT_ANGLED)
        case PointMark():
            radius = _pixels(RADIUS, size)
            return replace(style, radii=(radius, radius))
        case ArrowMark():
            return replace(style, length=ARROW_LENGTH * size, head_sizes=_head_sizes(size))
        case _:
            return style


def jittered_style(
    mark: Mark, size: float, rng: random.Random, *, width: float | None = None, alpha: int | None = None
) -> Style:
    """A random style from the ranges of training; `width` and `alpha` override its stroke and alpha."""
    # Draw everything in the same order whatever is overridden, so that an override leaves the rest as it was.
    drawn_alpha = rng.randint(*(MASK_ALPHAS if mark.kind == "mask" else ALPHAS))
    low, high = STROKES.get(mark.kind, (0, 0))
    drawn_stroke = max(rng.randint(int(low * size), int(high * size)), 1)
    if mark.kind == "contour":
        drawn_stroke |= 1
    style = Style(
        stroke=_stroke(mark, drawn_stroke if width is None else _pixels(width, size)),
        alpha=drawn_alpha if alpha is None else alpha,
    )
    match mark:
        case EllipseMark():
            return replace(style, scale=rng.uniform(1, 1.5))
        case TriangleMark():
            return replace(style, corners=_corners(mark, rng))
        case PointMark():
            return replace(style, radii=_radii(size, rng))
        case ArrowMark():
            return _jittered_arrow(mark, style, size, rng)
        case _:
            return style


def styles_for(
    marks: Sequence[Mark],
    width: int,
    height: int,
    *,
    stroke: float | None = None,
    alpha: int | None = None,
    jitter: int | None = None,
) -> list[Style]:
    """A style for each mark on a picture of this size; `jitter` seeds random styles."""
    if stroke is not None and not 0 < stroke <= ANCHOR:
        raise UsageError(f"The width {stroke:g} is not between 0 and {ANCHOR}.")
    if alpha is not None and not 0 <= alpha <= 255:
        raise UsageError(f"The alpha {alpha} is not between 0 (invisible) and 255 (solid).")
    size = relative_size(width, height)
    if jitter is None:
        return [fixed_style(mark, size, width=stroke, alpha=alpha) for mark in marks]
    rng = random.Random(jitter)
    return [jittered_style(mark, size, rng, width=stroke, alpha=alpha) for mark in marks]


def _pixels(at_anchor: float, size: float) -> int:
    return max(int(at_anchor * size), 1)


def _stroke(mark: Mark, stroke: int) -> int:
    if mark.kind not in STROKES:
        return 0
    # A contour's square brush needs a middle pixel, so its side is odd; an even stroke is rounded down.
    return max((stroke - 1) | 1, 3) if mark.kind == "contour" else stroke


def _head_sizes(size: float) -> XY:
    return int(SMALLEST_HEAD * size), LONGEST_ARROW * size / 2


def _radii(size: float, rng: random.Random) -> XY:
    radius = max(rng.randint(int(RADII[0] * size), int(RADII[1] * size)), 1)
    stretch = rng.choice((1.0, rng.uniform(0.5, 2)))
    return radius * stretch, radius / stretch


def _jittered_arrow(mark: ArrowMark, style: Style, size: float, rng: random.Random) -> Style:
    shortest = SHORTEST_ARROW * size if mark.span is None else ARROW_SHARE * mark.span
    wobble = int(size)
    bend = (rng.uniform(-5, 5) * wobble, rng.uniform(-5, 5) * wobble)
    return replace(
        style,
        # For a large region, `shortest` can exceed the longest arrow; uniform() takes its ends in any order.
        length=rng.uniform(shortest, LONGEST_ARROW * size),
        angle=rng.uniform(0, 2 * math.pi),
        head=rng.uniform(0.2, 0.5),
        head_sizes=_head_sizes(size),
        open_head=rng.random() < 0.5,
        bend=rng.choice((bend, (0.0, 0.0))),
    )


def _corners(mark: TriangleMark, rng: random.Random) -> tuple[XY, XY, XY]:
    for _ in range(_TRIES):
        corners = (rng.random(), rng.random()), (rng.random(), rng.random()), (rng.random(), rng.random())
        if _has_trained_angles(mark, corners):
            return corners
    return RIGHT_ANGLED


def _has_trained_angles(mark: TriangleMark, corners: Sequence[XY]) -> bool:
    """Whether no angle of a triangle with these corners exceeds LARGEST_ANGLE, the limit in training."""
    points = [(x * (mark.x2 - mark.x1), y * (mark.y2 - mark.y1)) for x, y in corners]
    for index, (x, y) in enumerate(points):
        (xa, ya), (xb, yb) = points[index - 1], points[index - 2]
        turn = abs(math.atan2(ya - y, xa - x) - math.atan2(yb - y, xb - x))
        if min(turn, 2 * math.pi - turn) > LARGEST_ANGLE:
            return False
    return True
