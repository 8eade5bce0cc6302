"""What a person has placed so far: the slots that are filled, further marks, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vipcli.errors import MarkError, Message
from vipcli.marks.colors import Color
from vipcli.marks.kinds import TypedMark, UnplacedMark, assign_colors
from vipcli.picking.canvas import Canvas, PlacedMarks
from vipcli.picking.mark_text import Pixel, placed_mark


@dataclass(frozen=True, slots=True)
class NextMark:
    """The mark that is drawn next: for a slot, or beyond those that were asked for."""

    kind: str
    slot: int | None = None
    color: Color | None = None
    picture: int | None = None


_State = tuple[tuple[int | None, TypedMark], ...]
"""The marks in the order in which they were placed, each with its slot."""


class Placing:
    """Marks that are placed one after the other, with undo and redo."""

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = canvas
        self._history: list[_State] = [()]
        self._position = 0
        self._chosen: str | None = None
        self.last_kind = "box"
        """The kind of the mark that was placed last, and of the next one if nothing else was asked for."""

    @property
    def placed(self) -> PlacedMarks:
        """The marks by slot, and the others."""
        filled = dict(self._state)
        by_slot = tuple(
            slot if isinstance(slot, TypedMark) else filled.get(index)
            for index, slot in enumerate(self._canvas.slots)
        )
        return PlacedMarks(by_slot, tuple(mark for slot, mark in self._state if slot is None))

    @property
    def next(self) -> NextMark:
        """The mark that is drawn next: the first empty slot, unless another kind was chosen."""
        for index, slot in self._empty():
            if self._chosen in (None, slot.kind):
                return NextMark(slot.kind, index, slot.color, slot.picture)
        return NextMark(self._chosen or self.last_kind)

    @property
    def next_number(self) -> int:
        """The number that the next mark will have."""
        return self._with_next()[1] + 1

    @property
    def next_color(self) -> Color:
        """The color that the next mark will have."""
        marks, position = self._with_next()
        return assign_colors(marks)[position]

    def missing(self) -> list[UnplacedMark]:
        """The slots that are still empty."""
        return [slot for _, slot in self._empty()]

    def choose(self, kind: str) -> None:
        """Draw a mark of this kind next: in the first empty slot for it, or beyond the slots."""
        self._chosen = kind

    def add(self, points: Sequence[Pixel], picture: int) -> tuple[Message, ...]:
        """Place the next mark on a picture, and return the notes that it causes; raises MarkError."""
        target = self.next
        if target.picture is not None and target.picture != picture + 1:
            unit = "frame" if self._canvas.video else "picture"
            raise MarkError(f"The {target.kind} belongs on {unit} {target.picture}.")
        several = self._canvas.video is not None or len(self._canvas.pictures) > 1
        mark = placed_mark(target.kind, points, target.color, picture + 1 if several else None)
        marks = self.placed.marks
        before = self._canvas.notes(marks) if marks else ()
        self._change((*self._state, (target.slot, mark)))
        try:
            notes = self._canvas.notes(self.placed.marks)
        except MarkError:
            self._position -= 1
            del self._history[self._position + 1 :]
            raise
        self.last_kind, self._chosen = target.kind, None
        return tuple(note for note in notes if note not in before)

    def remove_last(self) -> bool:
        """Remove the mark that was placed last; False if there is none."""
        if not self._state:
            return False
        self._change(self._state[:-1])
        return True

    def undo(self) -> bool:
        """Go back by one step; False if there is none."""
        if self._position == 0:
            return False
        self._position -= 1
        return True

    def redo(self) -> bool:
        """Take back an undo; False if there is none."""
        if self._position == len(self._history) - 1:
            return False
        self._position += 1
        return True

    @property
    def _state(self) -> _State:
        return self._history[self._position]

    def _change(self, state: _State) -> None:
        del self._history[self._position + 1 :]
        self._history.append(state)
        self._position += 1

    def _empty(self) -> list[tuple[int, UnplacedMark]]:
        filled = dict(self._state)
        return [
            (index, slot)
            for index, slot in enumerate(self._canvas.slots)
            if isinstance(slot, UnplacedMark) and index not in filled
        ]

    def _with_next(self) -> tuple[list[TypedMark], int]:
        """All marks with one for the next among them, and its position."""
        target, placed = self.next, self.placed
        mark = TypedMark(target.kind, "", color=target.color)
        if target.slot is None:
            return [*placed.marks, mark], len(placed.marks)
        before = [mark for mark in placed.by_slot[: target.slot] if mark is not None]
        after = [mark for mark in placed.by_slot[target.slot + 1 :] if mark is not None]
        return [*before, mark, *after, *placed.others], len(before)
