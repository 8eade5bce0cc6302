"""Cut pictures to what is marked on them, so that the model sees small things large.

A cut is a square where the picture has room for one, since every way to fit a picture keeps all of a square.
Marks are drawn on the cut as on a picture of its size, so their strokes are as wide as in training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vipcli.asking.values import Cut, Drawing, MarkedInput, MarkedPicture
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import Message, UsageError
from vipcli.geometry import Bounds, Fit, ZoomChoice
from vipcli.marks.drawing import draw
from vipcli.marks.kinds import ArrowMark, Mark, PointMark, move
from vipcli.marks.styles import ANCHOR, styles_for
from vipcli.pictures.fitting import enlarge, scale

DEFAULT_MARGIN = 1.5
"""The room left on each side of what is marked, as a share of its size."""
SMALL = 0.1
"""`auto` cuts the picture where the longer side of something marked is less than this share of the input."""
SPOT = 0.05
"""What a point or an arrow marks counts as this large, as a share of the picture's long side."""
LEAST_SIDE = 16
"""The least side of a cut in pixels: fewer show nothing."""
_MOST_NAMED = 3
"""A note names this many marks, and counts more."""


def check_zoom(choice: ZoomChoice, checkpoint: Checkpoint, *, video: bool) -> None:
    """Refuse a cut beside the whole picture where the model takes one picture, or a video."""
    family = checkpoint.family
    if choice != "pair":
        return
    if video:
        raise UsageError(
            "A video cannot be combined with a cut of it.", "Use {zoom=on} to cut all of its frames."
        )
    if not family.multiple_images and not checkpoint.family_is_guess:
        raise UsageError(
            f"{family.name} was trained on one picture per question, so it takes no cut beside the whole.",
            "Use {zoom=on}, or a model that was trained on several: llava-interleave or llava-onevision.",
        )


def zoom_in(marked: MarkedInput, choice: ZoomChoice, checkpoint: Checkpoint, fit: Fit) -> MarkedInput:
    """Cut the pictures to their marks; the frames of a video are all cut to the same part."""
    if choice == "off":
        return marked
    # The frames of a video stay one video only if they are cut alike.
    groups = [marked.pictures] if marked.video else [(picture,) for picture in marked.pictures]
    pictures: list[MarkedPicture] = []
    notes: list[Message] = []
    for number, group in enumerate(groups, 1):
        cut = _cut(group, choice, checkpoint, fit, tiled=len(marked.pictures) == 1)
        if choice == "pair" or cut is None:
            pictures += group
        if cut is not None:
            pictures += [_draw(picture, cut, marked.drawing) for picture in group]
        notes += _notes(group, cut, choice, "" if len(groups) == 1 else f" {number}", marked)
    return replace(marked, pictures=tuple(pictures), notes=(*marked.notes, *notes))


def input_scale(checkpoint: Checkpoint, fit: Fit, width: int, height: int, *, tiled: bool) -> float:
    """Pixels of the model's input per pixel of a picture, tiles included if the model takes any."""
    size = checkpoint.input_size
    if checkpoint.max_tiled_side is not None and tiled and fit != "stretch":
        # Tiles show a single picture at a higher resolution, but never beyond its own size.
        size = max(size, min(checkpoint.max_tiled_side, width, height))
    return scale(fit, width, height, size)


def marked_share(picture: MarkedPicture, checkpoint: Checkpoint, fit: Fit, *, tiled: bool) -> float | None:
    """The longer side of the smallest thing marked, as a share of the model's input; None if unknown."""
    sizes = [_longer(mark) for mark in picture.marks.values() if _longer(mark)]
    if not sizes:
        return None
    size = picture.picture.width, picture.picture.height
    return min(sizes) * input_scale(checkpoint, fit, *size, tiled=tiled) / checkpoint.input_size


def _cut(
    pictures: Sequence[MarkedPicture], choice: ZoomChoice, checkpoint: Checkpoint, fit: Fit, *, tiled: bool
) -> Cut | None:
    """The part of these pictures that holds all their marks; None for the whole."""
    width, height = pictures[0].picture.width, pictures[0].picture.height
    # The frames of a video share most marks.
    marks = list(dict.fromkeys(mark for picture in pictures for mark in picture.marks.values()))
    if not marks:
        return None
    if choice == "auto":
        shares = [marked_share(picture, checkpoint, fit, tiled=tiled) for picture in pictures]
        if not any(share is not None and share < SMALL for share in shares):
            return None
    margin = DEFAULT_MARGIN if isinstance(choice, str) else choice
    x1, y1, x2, y2 = _around(_region(mark, width, height) for mark in marks)
    room = margin * ((x2 - x1) + (y2 - y1)) / 2
    side = max(math.ceil(max(x2 - x1, y2 - y1) + 2 * room), LEAST_SIDE)
    across, down = min(side, width), min(side, height)
    if (across, down) == (width, height):
        return None
    left = min(max(round((x1 + x2 - across) / 2), 0), width - across)
    top = min(max(round((y1 + y2 - down) / 2), 0), height - down)
    # A stroke is a whole number of pixels, so on a cut of few it would not be as wide as in training.
    enlarged = max(checkpoint.input_size, ANCHOR) / max(across, down)
    return Cut(left, top, left + across, top + down, max(enlarged, 1.0))


def _longer(mark: Mark) -> float:
    """The longer side of what a mark marks; 0 where that is not known."""
    if isinstance(mark, PointMark):
        return 0
    if isinstance(mark, ArrowMark):
        return mark.span or 0
    x1, y1, x2, y2 = mark.bounds
    return max(x2 - x1, y2 - y1)


def _region(mark: Mark, width: int, height: int) -> Bounds:
    """What a mark marks, as far as it is on the picture: of a point or an arrow, what is around its tip."""
    if isinstance(mark, PointMark | ArrowMark):
        x, y = mark.tip if isinstance(mark, ArrowMark) else (mark.x, mark.y)
        reach = (_longer(mark) or SPOT * max(width, height)) / 2
        return x - reach, y - reach, x + reach, y + reach
    x1, y1, x2, y2 = mark.bounds
    return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)


def _around(regions: Iterable[Bounds]) -> Bounds:
    lefts, tops, rights, bottoms = zip(*regions, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def _draw(picture: MarkedPicture, cut: Cut, drawing: Drawing) -> MarkedPicture:
    """The cut of a picture, with its marks as on a picture of that size."""
    pixels = picture.picture.pixels[cut.top : cut.bottom, cut.left : cut.right]
    if cut.scale > 1:
        pixels = enlarge(pixels, cut.scale)
    height, width = pixels.shape[:2]
    marks = [move(mark, cut.left, cut.top, cut.scale) for mark in picture.marks.values()]
    styles = styles_for(
        marks, width, height, stroke=drawing.width, alpha=drawing.alpha, jitter=drawing.jitter
    )
    return replace(
        picture,
        styles=dict(zip(picture.marks, styles, strict=True)),
        pixels=draw(pixels, marks, styles),
        cut=cut,
    )


def _notes(
    pictures: Sequence[MarkedPicture], cut: Cut | None, choice: ZoomChoice, number: str, marked: MarkedInput
) -> Iterator[Message]:
    """Say what is cut, or why nothing is although it was asked for."""
    names = list(dict.fromkeys(mark.name for picture in pictures for mark in picture.marks.values()))
    around = " and ".join(f"the {name}" for name in names) if len(names) <= _MOST_NAMED else "the marks"
    what = "each frame" if marked.video else f"picture{number}" if number else "the picture"
    if cut is not None:
        whole, (width, height) = pictures[0].picture, cut.size
        sees = "also sees" if choice == "pair" else "sees only"
        yield Message(
            f"The model {sees} the part of {what} around {around}: {width} × {height} of {whole.width} × "
            f"{whole.height} pixels, from {cut.left},{cut.top} to {cut.right},{cut.bottom}."
        )
    elif names and choice != "auto":
        yield Message(f"With the margin around {around}, {what} is shown whole.")
    elif not marked.typed and choice != "auto":
        yield Message("There are no marks to cut the picture to, so it is shown whole.")
