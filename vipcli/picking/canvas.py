"""Pictures that a person marks by hand, drawn as the model will see them.

A front end (the page, the terminal) collects marks in the same text as the command line, and asks the
canvas to draw them. A picture too large to show whole is reduced by an integer factor: a block of `factor` ×
`factor` pixels becomes one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vipcli.asking import pipeline
from vipcli.asking.questions import fill_in
from vipcli.asking.values import DEFAULT_DRAWING, Drawing, MarkedInput, MarkedPicture
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import MarkError, Message
from vipcli.geometry import FitChoice
from vipcli.marks.colors import named_color
from vipcli.marks.drawing import extent, trace
from vipcli.marks.kinds import Slot, TypedMark, clip_to_picture
from vipcli.pictures.fitting import model_view
from vipcli.pictures.images import Picture, Pixels, load_mask
from vipcli.pictures.videos import Video

MAX_SHOWN_PIXELS = 4_000_000
"""Larger pictures are reduced at first; the part that is on the screen can be shown in full."""
MAX_SHOWN_SIDE = 16_000
"""The longest side that browsers decode in every format."""
_TILE = 512


@dataclass(frozen=True, slots=True)
class PictureRegion:
    """Part of a picture, in its pixels, and the factor to reduce it by."""

    left: int
    top: int
    right: int
    bottom: int
    factor: int = 1

    @property
    def shape(self) -> tuple[int, int]:
        """Its height and width once it is reduced."""
        return (
            math.ceil((self.bottom - self.top) / self.factor),
            math.ceil((self.right - self.left) / self.factor),
        )

    def cut(self, pixels: Pixels) -> Pixels:
        """This part of an array of the picture's size."""
        return pixels[self.top : self.bottom, self.left : self.right]

    def of(self, pixels: Pixels) -> Pixels:
        """This part of an array of the picture's size, reduced."""
        part = self.cut(pixels)
        return part if self.factor == 1 else np.asarray(Image.fromarray(part).reduce(self.factor))

    def tiles(self) -> Iterator[PictureRegion]:
        """This part in pieces, each a whole number of blocks wide and high except at the edges."""
        side = math.ceil(_TILE / self.factor) * self.factor
        for top in range(self.top, self.bottom, side):
            for left in range(self.left, self.right, side):
                right, bottom = min(left + side, self.right), min(top + side, self.bottom)
                yield PictureRegion(left, top, right, bottom, self.factor)


@dataclass(frozen=True, slots=True, eq=False)
class Overlay:
    """What the marks change on a picture: opaque where they do, transparent elsewhere."""

    region: PictureRegion
    rgba: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PlacedMarks:
    """What a person drew, and perhaps asked."""

    by_slot: tuple[TypedMark | None, ...]
    """For each slot, its mark; None if it was left empty."""
    others: tuple[TypedMark, ...] = ()
    """Marks beyond those that were asked for."""
    question: str | None = None

    @property
    def marks(self) -> tuple[TypedMark, ...]:
        """All marks, in the order that numbers them."""
        return (*(mark for mark in self.by_slot if mark is not None), *self.others)


class PickingCancelled(KeyboardInterrupt):
    """The person left without placing the marks."""


class Canvas:
    """Pictures, or the frames of a video, and the marks that are wanted on them."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        slots: Sequence[Slot] = (),
        drawing: Drawing = DEFAULT_DRAWING,
        *,
        video: Video | None = None,
        checkpoint: Checkpoint | None = None,
        fit: FitChoice = "auto",
    ) -> None:
        self.pictures = tuple(pictures)
        self.slots = tuple(slots)
        for slot in self.slots:
            _check_picture(slot, len(self.pictures), "frame" if video else "picture")
        self.video = video
        self.checkpoint = checkpoint
        """The checkpoint that will see the pictures; None where no model does."""
        self.drawing = drawing
        self._fit: FitChoice = fit
        self._lock = threading.Lock()
        self._drawn: MarkedInput | None = None
        self._traced: dict[TypedMark, TypedMark] = {}

    def draw(self, marks: Sequence[TypedMark]) -> MarkedInput:
        """Draw marks on the pictures; raises MarkError if one cannot be drawn."""
        typed = tuple(marks)
        # The page asks for several things about the same marks, from several threads.
        with self._lock:
            if self._drawn is None or self._drawn.typed != typed:
                # Large pictures are large in memory too.
                self._drawn = None
                traced = [self._trace(mark) for mark in typed]
                marked = pipeline.mark(self.pictures, traced, self.drawing, video=self.video)
                self._drawn = replace(marked, typed=typed)
            return self._drawn

    def check(self, mark: TypedMark) -> None:
        """Raise MarkError if a mark cannot be drawn; does not draw it."""
        if mark.file is not None:
            return
        for index in pipeline.picture_indices(mark, len(self.pictures), self.video):
            size = self.pictures[index].width, self.pictures[index].height
            clip_to_picture(mark.place(*size, named_color("red"), lambda _: ()), *size)

    def check_question(self, question: str | None, marks: Sequence[TypedMark]) -> None:
        """Raise PromptError if a question mentions a mark that there is not."""
        fill_in(question or "", self.draw(marks).marks)

    def notes(self, marks: Sequence[TypedMark]) -> tuple[Message, ...]:
        """The warnings about these marks that the command line gives."""
        marked = self.draw(marks)
        if self.checkpoint is None:
            return marked.notes
        fit = self.checkpoint.fit(self._fit)
        return (*marked.notes, *pipeline.model_notes(marked, self.checkpoint, fit))

    def whole(self, index: int) -> PictureRegion:
        """All of a picture, reduced if it is too large to show."""
        picture = self.pictures[index]
        size = picture.width * picture.height
        factor = max(
            math.ceil(math.sqrt(size / MAX_SHOWN_PIXELS)),
            math.ceil(max(picture.width, picture.height) / MAX_SHOWN_SIDE),
        )
        return PictureRegion(0, 0, picture.width, picture.height, factor)

    def overlay(self, index: int, marks: Sequence[TypedMark]) -> Overlay | None:
        """What these marks change on a picture that is shown whole; None if they change nothing."""
        marked = self.draw(marks).pictures[index]
        region = self._changed_region(index, marked)
        if region is None:
            return None
        return Overlay(region, _difference(region, marked.picture.pixels, marked.pixels))

    def model_view(self, index: int, marks: Sequence[TypedMark]) -> Pixels | None:
        """A marked picture at the model's input size; None where no model sees it."""
        if self.checkpoint is None:
            return None
        pixels = self.draw(marks).pictures[index].pixels
        return model_view(
            pixels, self.checkpoint.fit(self._fit), self.checkpoint.input_size, self.checkpoint.padding
        )

    def _trace(self, mark: TypedMark) -> TypedMark:
        """A mark with the outlines of its mask image, if it has one, which is read only once."""
        if mark.file is None:
            return mark
        if mark not in self._traced:
            first = pipeline.picture_indices(mark, len(self.pictures), self.video)[0]
            picture = self.pictures[first]
            outlines = trace(load_mask(mark.file, picture.width, picture.height))
            self._traced[mark] = replace(mark, file=None, polygons=outlines)
        return self._traced[mark]

    def _changed_region(self, index: int, marked: MarkedPicture) -> PictureRegion | None:
        """The part of a picture that its marks can change, aligned with the blocks of its reduction."""
        width, height = marked.picture.width, marked.picture.height
        extents = [
            extent(mark, marked.styles[number], width, height) for number, mark in marked.marks.items()
        ]
        if not extents:
            return None
        factor = self.whole(index).factor
        # A stroke may cover a pixel more than its extent says.
        lefts, tops, rights, bottoms = zip(*extents, strict=True)
        left, top = (max(math.floor(min(low) - 2), 0) // factor * factor for low in (lefts, tops))
        right = min(math.ceil((max(rights) + 3) / factor) * factor, width)
        bottom = min(math.ceil((max(bottoms) + 3) / factor) * factor, height)
        return PictureRegion(left, top, right, bottom, factor) if left < right and top < bottom else None


def _difference(region: PictureRegion, before: Pixels, after: Pixels) -> NDArray[np.uint8]:
    """Part of a picture after a change, reduced: opaque where it differs from before."""
    rgba = np.zeros((*region.shape, 4), np.uint8)
    # Most of a large picture stays as it was, and to compare is much quicker than to reduce.
    for tile in region.tiles():
        if np.array_equal(tile.cut(before), tile.cut(after)):
            continue
        old, new = tile.of(before), tile.of(after)
        top, left = (tile.top - region.top) // tile.factor, (tile.left - region.left) // tile.factor
        height, width = tile.shape
        place = rgba[top : top + height, left : left + width]
        place[..., :3] = new
        place[..., 3] = np.where((old != new).any(axis=2), 255, 0)
    return rgba


def _check_picture(slot: Slot, count: int, unit: str) -> None:
    """Raise MarkError if a mark is asked for on a picture that does not exist."""
    if slot.picture is not None and not 1 <= slot.picture <= count:
        there = f"is only one {unit}" if count == 1 else f"are only {count} {unit}s"
        raise MarkError(f"A {slot.kind} was asked for on {unit} {slot.picture}, but there {there}.")
