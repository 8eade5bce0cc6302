"""What a page asks for while marks are placed, answered from a canvas; over HTTP or in a notebook."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vipcli.errors import MarkError, Spelling, UsageError, VipcliError, as_argument
from vipcli.marks.colors import NAMED, TRAINED, Color
from vipcli.marks.kinds import Slot, TypedMark, UnplacedMark, check_kind, parse_mark
from vipcli.marks.styles import STROKE
from vipcli.picking.canvas import Canvas, PlacedMarks, Region

Task = Literal["ask", "draw", "mark", "chat"]
Message = Mapping[str, Any]
Reply = dict[str, Any]

MAX_MARKS = 1000
MAX_PIXELS = 16_000_000
"""The most that a page is sent of a picture at once: more than the largest screens show."""


class PickingMessages:
    """Answers what a page asks for: pictures, marks drawn on them, and what to do with them."""

    def __init__(
        self,
        canvas: Canvas,
        task: Task,
        *,
        placed: Callable[[PlacedMarks, str | None], None],
        left: Callable[[], None],
        question: str | None = None,
        asks: bool = False,
        spelling: Spelling = as_argument,
    ) -> None:
        self._canvas = canvas
        self._task = task
        self._placed = placed
        """Called with the marks, and the name of the page that sent them."""
        self._left = left
        self._question = question
        self._asks = asks
        self._spelling = spelling
        self._encoded: dict[int, bytes] = {}

    @property
    def handlers(self) -> dict[str, Callable[[Any], Reply | bytes]]:
        """What answers each message, by its name."""
        return {
            "start": self.start,
            "picture": self.picture,
            "region": self.region,
            "preview": self.preview,
            "view": self.view,
            "done": self.done,
            "leave": self.leave,
        }

    def start(self, message: Message) -> Reply:
        canvas = self._canvas
        return {
            "task": self._task,
            "question": self._question,
            "asks": self._asks,
            "pictures": [
                {
                    "name": picture.name,
                    "width": picture.width,
                    "height": picture.height,
                    "factor": canvas.whole(index).factor,
                }
                for index, picture in enumerate(canvas.pictures)
            ],
            "video": canvas.video is not None,
            "slots": [_slot(slot) for slot in canvas.slots],
            "colors": [{"name": name, "rgb": Color(name, rgb).hex} for name, rgb in TRAINED.items()],
            "model": None if canvas.checkpoint is None else canvas.checkpoint.name,
            "viewSize": None if canvas.checkpoint is None else canvas.checkpoint.input_size,
            "defaultStroke": STROKE if canvas.drawing.width is None else canvas.drawing.width,
        }

    def picture(self, message: Message) -> bytes:
        """A picture without marks, as large as it is shown whole."""
        index = self._index(message)
        if index not in self._encoded:
            pixels = self._canvas.whole(index).of(self._canvas.pictures[index].pixels)
            self._encoded[index] = encode(pixels)
        return self._encoded[index]

    def region(self, message: Message) -> bytes:
        """Part of a picture with its marks."""
        index = self._index(message)
        marks = self.marks(message)
        region = self._region(message, index)
        return encode(region.of(self._canvas.draw(marks).pictures[index].pixels))

    def preview(self, message: Message) -> Reply:
        """What the marks are called, what there is to say about them, and what they change on a picture."""
        index = self._index(message)
        try:
            marks = self.marks(message)
            overlay = self._canvas.overlay(index, marks)
            drawn = self._canvas.draw(marks)
            notes = [note.spelled(self._spelling) for note in self._canvas.notes(marks)]
        except VipcliError as error:
            return {
                "error": error.message.spelled(self._spelling),
                "mark": getattr(error, "mark_index", None),
            }
        return {
            "marks": [
                {
                    "number": number,
                    "kind": mark.kind,
                    "phrase": mark.phrase,
                    "color": mark.color.hex,
                    "colorName": mark.color.name,
                    "pictures": [n for n, picture in enumerate(drawn.pictures, 1) if number in picture.marks],
                }
                for number, mark in enumerate(drawn.marks, 1)
            ],
            "notes": notes,
            "overlay": None
            if overlay is None
            else {
                "left": overlay.region.left,
                "top": overlay.region.top,
                "right": overlay.region.right,
                "bottom": overlay.region.bottom,
                "factor": overlay.region.factor,
                "image": base64.b64encode(encode(overlay.rgba)).decode(),
            },
        }

    def view(self, message: Message) -> bytes:
        """A marked picture as the model sees it."""
        view = self._canvas.model_view(self._index(message), self.marks(message))
        if view is None:
            raise UsageError("No model will see this picture.")
        return encode(view)

    def done(self, message: Message) -> Reply:
        """Take the marks, and perhaps a question; the command goes on with them."""
        try:
            marks = self.marks(message)
            self._canvas.draw(marks)
            slots = [mark["slot"] for mark in message["marks"]]
            by_slot: list[TypedMark | None] = [None] * len(self._canvas.slots)
            others = []
            for slot, mark in zip(slots, marks, strict=True):
                if slot is None:
                    others.append(mark)
                else:
                    by_slot[slot] = mark
            placed = PlacedMarks(tuple(by_slot), tuple(others), self._asked(message))
            self._placed(placed, _text(message, "page"))
        except VipcliError as error:
            return {"error": error.message.spelled(self._spelling)}
        return {}

    def leave(self, message: Message) -> Reply:
        self._left()
        return {}

    def _asked(self, message: Message) -> str | None:
        question = _text(message, "question")
        return question if self._asks and question and question.strip() else None

    def _index(self, message: Message) -> int:
        index = _fields(message).get("picture")
        if not _is_whole(index) or not 0 <= index < len(self._canvas.pictures):
            raise UsageError("There is no such picture.")
        return index

    def _region(self, message: Message, index: int) -> Region:
        names = ("left", "top", "right", "bottom", "factor")
        numbers = [message.get(name) for name in names]
        if not all(map(_is_whole, numbers)):
            raise UsageError("A part of a picture is given by whole numbers.")
        region = Region(*numbers)  # type: ignore[arg-type]
        picture = self._canvas.pictures[index]
        inside = (
            0 <= region.left < region.right <= picture.width
            and 0 <= region.top < region.bottom <= picture.height
        )
        if not inside or not 1 <= region.factor <= max(picture.width, picture.height):
            raise UsageError("There is no such part of the picture.")
        if (region.right - region.left) * (region.bottom - region.top) > MAX_PIXELS * region.factor**2:
            raise UsageError("This part is too large to be shown at once.")
        return region

    def marks(self, message: Message) -> list[TypedMark]:
        """The marks that a message holds, all of which can be drawn."""
        sent = _fields(message).get("marks")
        if not isinstance(sent, list) or len(sent) > MAX_MARKS:
            raise UsageError(f"The marks must be a list of at most {MAX_MARKS}.")
        slots = [mark.get("slot") if isinstance(mark, Mapping) else None for mark in sent]
        _check_order(slots, len(self._canvas.slots))
        marks = []
        for index, (mark, slot) in enumerate(zip(sent, slots, strict=True)):
            try:
                typed = self._mark(mark, None if slot is None else self._canvas.slots[slot])
                self._canvas.check(typed)
                marks.append(typed)
            except UsageError as error:
                error.mark_index = index  # type: ignore[attr-defined]
                raise
        return marks

    def _mark(self, mark: Any, slot: Slot | None) -> TypedMark:
        kind, text = _text(_fields(mark), "kind"), _text(mark, "text")
        if slot is not None and kind != slot.kind:
            raise MarkError(f"A {slot.kind} is wanted here, not a {kind}.")
        if isinstance(slot, TypedMark):
            if text is not None:
                raise MarkError(f"The {slot.kind} {slot.text!r} stays as it was given.")
            return slot
        if kind is None or text is None:
            raise MarkError("A mark needs a kind and its coordinates.")
        typed = parse_mark(check_kind(kind), " ".join(text.split()))
        if typed.file is not None:
            raise MarkError(f"A {kind} that is drawn is given by its points.")
        return typed if slot is None else _in_slot(typed, slot)


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels, perhaps with transparency, as a lossless picture that browsers show."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", lossless=True, method=0, quality=0)
    return buffer.getvalue()


def _slot(slot: Slot) -> Reply:
    return {
        "kind": slot.kind,
        "text": slot.text if isinstance(slot, TypedMark) else None,
        "color": slot.color.hex if slot.color else None,
        "colorName": slot.color.name if slot.color else None,
        "picture": slot.picture,
    }


def _in_slot(typed: TypedMark, slot: UnplacedMark) -> TypedMark:
    """A mark with the picture and color that were asked for."""
    if slot.picture is not None and typed.picture != slot.picture:
        raise MarkError(f"This {slot.kind} belongs on picture {slot.picture}.")
    if slot.color is None or typed.color is not None:
        return typed
    color = slot.color.name if slot.color.rgb == NAMED.get(slot.color.name) else slot.color.hex
    return replace(typed, color=slot.color, text=f"{typed.text}:{color}")


def _check_order(slots: Sequence[Any], count: int) -> None:
    """Slots come once each, in order, and before all other marks."""
    filled = [slot for slot in slots if slot is not None]
    if not all(_is_whole(slot) and 0 <= slot < count for slot in filled):
        raise UsageError("There is no such place for a mark.")
    if slots[: len(filled)] != sorted(set(filled)):
        raise UsageError("The marks are not in order.")


def _fields(message: Any) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise UsageError("A message must be an object.")
    return message


def _text(message: Mapping[str, Any], name: str) -> str | None:
    value = message.get(name)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"The {name} must be text.")
    return value


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
