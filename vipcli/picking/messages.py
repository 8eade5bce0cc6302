"""What a page asks for while marks are placed, answered from a canvas; over HTTP or in a notebook."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Literal, TypeGuard

from vipcli.asking.values import MarkedInput
from vipcli.errors import MarkError, Spelling, UsageError, VipcliError, as_argument
from vipcli.marks.colors import TRAINED, Color
from vipcli.marks.kinds import Slot, TypedMark, UnplacedMark, check_kind, parse_mark
from vipcli.marks.styles import STROKE
from vipcli.picking.canvas import Canvas, Overlay, PictureRegion, PlacedMarks
from vipcli.picking.mark_text import color_text
from vipcli.pictures import images
from vipcli.pictures.images import Pixels

Task = Literal["ask", "draw", "mark", "chat", "notebook"]
Message = Mapping[str, Any]
Reply = dict[str, Any]

MAX_MARKS = 1000
MAX_PIXELS = 16_000_000
"""The most that a page is sent of a picture at once: more than the largest screens show."""
_MAX_KEPT = 16


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
        self._encoding = threading.Lock()
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
            # What was drawn before, by drawn_mark.
            "marks": [],
            "colors": [{"name": name, "rgb": Color(name, rgb).hex} for name, rgb in TRAINED.items()],
            "model": None if canvas.checkpoint is None else canvas.checkpoint.name,
            "viewSize": None if canvas.checkpoint is None else canvas.checkpoint.input_size,
            "defaultStroke": STROKE if canvas.drawing.width is None else canvas.drawing.width,
        }

    def picture(self, message: Message) -> bytes:
        """A picture without marks, reduced if it is large."""
        index = self._index(message)
        with self._encoding:
            if index not in self._encoded:
                if len(self._encoded) == _MAX_KEPT:
                    del self._encoded[next(iter(self._encoded))]
                whole = self._canvas.whole(index).of(self._canvas.pictures[index].pixels)
                self._encoded[index] = encode(whole)
            return self._encoded[index]

    def region(self, message: Message) -> bytes:
        """Part of a picture with its marks."""
        index = self._index(message)
        region = self._region(message, index)
        return encode(region.of(self._canvas.draw(self.marks(message)).pictures[index].pixels))

    def preview(self, message: Message) -> Reply:
        """What the marks are called, what there is to say about them, and what they change on a picture."""
        index = self._index(message)
        marks: list[TypedMark] = []
        try:
            for mark, slot in self._sent_marks(message):
                marks.append(self._mark(mark, slot))
        except VipcliError as error:
            return {"error": error.message.spelled(self._spelling), "mark": len(marks)}
        drawn = self._canvas.draw(marks)
        overlay = self._canvas.overlay(index, marks)
        return {
            "marks": _names(drawn),
            "notes": [note.spelled(self._spelling) for note in self._canvas.notes(marks)],
            "overlay": None if overlay is None else _overlay(overlay),
        }

    def view(self, message: Message) -> bytes:
        """A marked picture as the model sees it."""
        view = self._canvas.model_view(self._index(message), self.marks(message))
        if view is None:
            raise UsageError("No model will see this picture.")
        return encode(view)

    def done(self, message: Message) -> Reply:
        """Take the marks, and perhaps a question; the command goes on with them."""
        page = _text(_fields(message), "page")
        try:
            slots = [slot for _, slot in self._sent_marks(message)]
            marks = self.marks(message)
            question = self._asked(message)
            self._canvas.check_question(question or self._question, marks)
            self._placed(self._by_slot(marks, slots, question), page)
        except VipcliError as error:
            return {"error": error.message.spelled(self._spelling)}
        return {}

    def leave(self, message: Message) -> Reply:
        self._left()
        return {}

    def _by_slot(
        self, marks: Sequence[TypedMark], slots: Sequence[int | None], question: str | None
    ) -> PlacedMarks:
        filled = {slot: mark for slot, mark in zip(slots, marks, strict=True) if slot is not None}
        for slot, wanted in enumerate(self._canvas.slots):
            if isinstance(wanted, TypedMark) and slot not in filled:
                raise MarkError(f"The {wanted.kind} {wanted.text!r} was given, but is missing.")
        return PlacedMarks(
            tuple(filled.get(slot) for slot in range(len(self._canvas.slots))),
            tuple(marks[len(filled) :]),
            question,
        )

    def _asked(self, message: Message) -> str | None:
        question = _text(message, "question")
        return question if self._asks and question and question.strip() else None

    def _index(self, message: Message) -> int:
        index = _fields(message).get("picture")
        if not _is_whole(index) or not 0 <= index < len(self._canvas.pictures):
            raise UsageError("There is no such picture.")
        return index

    def _region(self, message: Message, index: int) -> PictureRegion:
        names = ("left", "top", "right", "bottom", "factor")
        numbers = [message.get(name) for name in names]
        if not all(map(_is_whole, numbers)):
            raise UsageError("A part of a picture is given by whole numbers.")
        region = PictureRegion(*numbers)  # type: ignore[arg-type]
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
        return [self._mark(mark, slot) for mark, slot in self._sent_marks(message)]

    def _sent_marks(self, message: Message) -> list[tuple[Message, int | None]]:
        """The marks of a message, unread, and the slot that each is for."""
        sent = message.get("marks")
        if not isinstance(sent, list) or len(sent) > MAX_MARKS:
            raise UsageError(f"The marks must be a list of at most {MAX_MARKS}.")
        slots = [_fields(mark).get("slot") for mark in sent]
        _check_order(slots, len(self._canvas.slots))
        return list(zip(sent, slots, strict=True))

    def _mark(self, mark: Message, slot: int | None) -> TypedMark:
        """Read a mark; raises MarkError if it cannot be drawn."""
        wanted = None if slot is None else self._canvas.slots[slot]
        kind, text = _text(mark, "kind"), _text(mark, "text")
        if wanted is not None and kind != wanted.kind:
            raise MarkError(f"The kind of this mark must be {wanted.kind}.")
        if isinstance(wanted, TypedMark) and text is None:
            return wanted
        if isinstance(wanted, TypedMark):
            raise MarkError(f"The {wanted.kind} {wanted.text!r} stays as it was given.")
        if kind is None or text is None:
            raise MarkError("A mark needs a kind and its coordinates.")
        typed = parse_mark(check_kind(kind), " ".join(text.split()))
        if typed.file is not None:
            # What the page sends must not make this program read files.
            raise MarkError(f"A {kind} that is drawn is given by its points.")
        if wanted is not None:
            typed = _in_slot(typed, wanted)
        self._canvas.check(typed)
        return typed


def drawn_mark(number: int, mark: TypedMark) -> Reply:
    """A mark in whole pixels as the page keeps those that were drawn in it; `number` tells them apart."""
    values = [int(length.value) for length in mark.coordinates]
    return {
        "id": f"earlier {number}",
        "slot": None,
        "kind": mark.kind,
        "points": list(zip(values[::2], values[1::2], strict=True)),
        "color": None if mark.color is None else color_text(mark.color),
        "colorName": mark.color.name if mark.color else None,
        "frame": mark.picture,
    }


def encode(pixels: Pixels) -> bytes:
    """Pixels, perhaps with transparency, as a lossless picture that browsers show."""
    # Without this, Pillow would import the plugins for all its formats.
    from PIL import WebPImagePlugin  # noqa: F401

    return images.encode(pixels, "WEBP")


def _names(drawn: MarkedInput) -> list[Reply]:
    return [
        {
            "number": number,
            "kind": mark.kind,
            "phrase": mark.phrase,
            "color": mark.color.hex,
            "colorName": mark.color.name,
            "pictures": [n for n, picture in enumerate(drawn.pictures, 1) if number in picture.marks],
        }
        for number, mark in enumerate(drawn.marks, 1)
    ]


def _overlay(overlay: Overlay) -> Reply:
    return {**asdict(overlay.region), "image": base64.b64encode(encode(overlay.rgba)).decode()}


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
    return replace(typed, color=slot.color, text=f"{typed.text}:{color_text(slot.color)}")


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
    # Half of a character, which JavaScript allows, cannot be written anywhere.
    return value if value is None else value.encode(errors="replace").decode()


def _is_whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
