"""Placing marks in a terminal, which shows the picture, with the mouse or with keys."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace

from vipcli.errors import PromptError, Spelling, as_argument
from vipcli.picking.canvas import Canvas, PickingCancelled, PlacedMarks
from vipcli.picking.terminal_blocks import HalfBlocks, shows_all_colors
from vipcli.picking.terminal_drawing import TerminalDrawing
from vipcli.picking.terminal_events import KeyPressed, MouseMoved, TerminalEvent, TerminalReply
from vipcli.picking.terminal_graphics import (
    ASK_GRAPHICS,
    FORGET_IMAGES,
    Display,
    KittyImages,
    SixelImages,
    graphics_in,
    may_show_pictures,
)
from vipcli.picking.terminal_line import InputLine
from vipcli.picking.terminal_screen import (
    ASK_CELL_SIZE,
    ASK_PIXEL_MOUSE,
    PIXEL_MOUSE,
    Screen,
    TerminalClosedError,
    WindowSize,
)
from vipcli.picking.terminal_status import HELP, facts, fit, instruction, kind_of_digit, missing_note, sides
from vipcli.picking.terminal_view import Spot
from vipcli.terminal.output import is_terminal

_SMALLEST = (12, 4)
"""The columns and rows below which there is no room for a picture."""
_USUAL_ASPECT = 2.0
_ASPECTS = (1.2, 3.2)
"""What a terminal says about its cells is believed if they are no flatter and no taller than this."""

_STATUS, _ERROR, _PLAIN = "\x1b[0;38;5;253;48;5;236m", "\x1b[0;1;38;5;216;48;5;236m", "\x1b[0m"
_CLEAR, _SHOW_CURSOR, _HIDE_CURSOR = "\x1b[0m\x1b[2J", "\x1b[?25h", "\x1b[?25l"

_HINTS = ("? keys  Enter accepts  Esc leaves", "? keys  Enter accepts", "? keys")
_ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
_LETTERS = {"h": "left", "j": "down", "k": "up", "l": "right"}
_ENTER = ("c-m", "c-j")
_LEAVING = ("c-c", "c-d", "c-\\")


def can_pick_in_terminal() -> bool:
    """Whether standard input and standard error are a terminal that can show a picture."""
    return os.name == "posix" and sys.stdin is not None and sys.stdin.isatty() and is_terminal(sys.stderr)


def pick_in_terminal(
    canvas: Canvas,
    *,
    question: str | None,
    asks: bool,
    on_shown: Callable[[], None] | None = None,
    spelling: Spelling = as_argument,
) -> PlacedMarks:
    """Have a person place marks in the terminal; raises PickingCancelled if they leave.

    The picture goes to standard error, since standard output may be a pipe. With `asks`, the person may type
    a question afterwards, unless there is one. `on_shown` is called once the picture is on the screen.
    """
    drawing = TerminalDrawing(canvas, spelling)
    # A mark that was typed and cannot be drawn is an error before the screen is taken.
    canvas.draw(drawing.placing.placed.marks)
    try:
        with Screen() as screen:
            return _TerminalPicker(canvas, drawing, screen, question, asks, spelling).run(on_shown)
    except TerminalClosedError:
        raise PickingCancelled from None


class _TerminalPicker:
    """One time of placing marks: shows what there is, and does what keys and mouse say."""

    def __init__(
        self,
        canvas: Canvas,
        drawing: TerminalDrawing,
        screen: Screen,
        question: str | None,
        asks: bool,
        spelling: Spelling,
    ) -> None:
        self._spelling = spelling
        self._canvas = canvas
        self._drawing = drawing
        self._screen = screen
        self._question = question
        self._asks = asks and question is None
        self._blocks = HalfBlocks(shows_all_colors())
        self._display: Display = self._blocks
        self._graphics: type[KittyImages] | type[SixelImages] | None = None
        self._window = WindowSize(0, 0)
        self._asked_cell: tuple[float, float] | None = None
        self._pixel_mouse = False
        self._pan: tuple[float, float] | None = None
        self._line = InputLine()
        self._is_asking = False
        self._help: int | None = None
        """The first line of the help that is shown; None while the picture is."""
        self._was_warned = False
        self._shown_status: list[str] = []

    def run(self, on_shown: Callable[[], None] | None) -> PlacedMarks:
        """Show the picture until the marks are accepted."""
        self._screen.write(ASK_CELL_SIZE + ASK_PIXEL_MOUSE + (ASK_GRAPHICS if may_show_pictures() else ""))
        while True:
            self._show()
            if on_shown is not None:
                on_shown()
                on_shown = None
            for event in self._screen.events():
                if self._handle(event) and self._is_answerable():
                    return replace(self._drawing.placing.placed, question=self._typed_question)

    @property
    def _typed_question(self) -> str | None:
        return self._question or self._line.text.strip() or None

    def _is_answerable(self) -> bool:
        """Whether the question mentions only marks that there are; if not, it says so."""
        try:
            self._canvas.check_question(self._typed_question, self._drawing.placing.placed.marks)
        except PromptError as error:
            self._is_asking = False
            self._drawing.note, self._drawing.is_error = error.message.spelled(self._spelling), True
            return False
        return True

    # What is shown

    def _show(self) -> None:
        cleared = self._fit_window()
        if self._is_too_small:
            text = fit("Too small a window.", self._window.columns)
            self._screen.show(f"{_CLEAR}\x1b[H{text}")
            return
        if self._help is not None:
            self._screen.show(_CLEAR + self._help_text(self._help))
            return
        picture = self._display.text(self._drawing.frame(self._display.dots))
        self._screen.show((_CLEAR if cleared else "") + picture + self._status_text())

    def _fit_window(self) -> bool:
        """Take over the size of the window; whether it changed, so that the screen must be cleared."""
        window = self._screen.size()
        if window == self._window:
            return False
        if self._window.columns:
            # Another typeface may have come with another size.
            self._screen.write(ASK_CELL_SIZE)
        self._window = window
        self._start_over()
        return True

    def _start_over(self) -> None:
        """Lay the window out anew and write all of it."""
        if not self._is_too_small:
            self._drawing.resize(self._window.columns, self._picture_rows, self._aspect)
            if self._graphics is not None and self._cell is not None:
                self._display = self._graphics(self._window.columns, self._picture_rows, self._cell)
        self._display.forget()
        self._shown_status = []

    @property
    def _is_too_small(self) -> bool:
        return self._window.columns < _SMALLEST[0] or self._window.rows < _SMALLEST[1]

    @property
    def _picture_rows(self) -> int:
        return self._window.rows - (2 if self._window.rows >= 8 else 1)

    @property
    def _cell(self) -> tuple[float, float] | None:
        """The size of a cell in the terminal's pixels, where it is known."""
        return self._asked_cell or self._window.cell

    @property
    def _aspect(self) -> float:
        if self._cell is None or not _ASPECTS[0] <= self._cell[1] / self._cell[0] <= _ASPECTS[1]:
            return _USUAL_ASPECT
        return self._cell[1] / self._cell[0]

    def _status_text(self) -> str:
        """The rows below the picture, where they changed."""
        rows = self._question_rows() if self._is_asking else self._status_rows()
        parts = []
        for position, row in enumerate(rows):
            if self._shown_status[position : position + 1] != [row]:
                parts.append(f"\x1b[{self._picture_rows + position + 1};1H{row}{_PLAIN}")
        self._shown_status = rows
        if self._is_asking:
            label, columns = self._label, self._window.columns
            column = len(label) + self._line.shown(columns - len(label))[1] + 1
            return "".join([*parts, f"\x1b[{self._window.rows};{column}H{_SHOW_CURSOR}"])
        return "".join([*parts, _HIDE_CURSOR])

    def _status_rows(self) -> list[str]:
        drawing, columns = self._drawing, self._window.columns
        todo = instruction(drawing, self._canvas)
        found = "  ".join(facts(drawing, self._canvas))
        style = _ERROR if drawing.is_error else _STATUS
        if self._window.rows - self._picture_rows == 1:
            return [(style if drawing.note else _STATUS) + sides(drawing.note or todo, [found], columns)]
        # A note that is too long for one line takes both.
        if len(drawing.note) > columns:
            return [style + fit(line, columns) for line in _wrapped(drawing.note, columns)]
        swatch = f"{_STATUS}{self._blocks.ink(*drawing.placing.next_color.rgb)}■{_STATUS} "
        first = swatch + sides(todo, [self._question or ""], columns - 2)
        second = _STATUS + sides(found, _HINTS, columns)
        return [first, style + fit(drawing.note, columns) if drawing.note else second]

    @property
    def _label(self) -> str:
        return "Question (Enter for the default): " if self._window.columns >= 60 else "Question: "

    def _question_rows(self) -> list[str]:
        columns = self._window.columns
        text = fit(self._label + self._line.shown(columns - len(self._label))[0], columns)
        hint = sides("{1}, {2} … are the marks.", ["Esc goes back to them", "Esc: back"], columns)
        rows = [_STATUS + hint, _STATUS + text]
        return rows[-(self._window.rows - self._picture_rows) :]

    def _help_text(self, start: int) -> str:
        rows = self._window.rows - 1
        lines = HELP[start : start + rows]
        more = start + rows < len(HELP)
        hint = "Any key: more" if more else "Any key: back to the picture"
        shown = [*lines, *[""] * (rows - len(lines)), f"{_STATUS}{fit(hint, self._window.columns)}{_PLAIN}"]
        return "".join(
            f"\x1b[{row};1H{text if text.startswith(_STATUS) else fit(text, self._window.columns)}"
            for row, text in enumerate(shown, 1)
        )

    # What is done

    def _handle(self, event: TerminalEvent) -> bool:
        """Do what an event says; whether the marks are accepted."""
        match event:
            case TerminalReply():
                self._take_reply(event.text)
            case MouseMoved():
                if self._help is None and not self._is_asking and not self._is_too_small:
                    self._mouse(event)
            case KeyPressed():
                return self._key(event)
        return False

    def _key(self, key: KeyPressed) -> bool:
        self._drawing.note, self._drawing.is_error = "", False
        was_warned, self._was_warned = self._was_warned, False
        if key.name in _LEAVING:
            raise PickingCancelled
        if self._help is not None:
            self._turn_help()
        elif self._is_asking:
            return self._question_key(key)
        elif key.name == "escape" and self._drawing.sketch is not None:
            self._drawing.abandon()
        elif key.name in ("escape", "q"):
            raise PickingCancelled
        elif key.name in _ENTER:
            return self._enter(was_warned)
        elif not self._is_too_small:
            self._picture_key(key.name)
        return False

    def _enter(self, was_warned: bool) -> bool:
        """Finish the mark in progress, or else accept the marks."""
        if self._drawing.sketch is not None:
            self._drawing.finish()
            return False
        note = missing_note(self._drawing)
        if note and not was_warned:
            self._drawing.note, self._was_warned = note, True
            return False
        self._is_asking = self._asks
        return not self._asks

    def _question_key(self, key: KeyPressed) -> bool:
        if key.name in _ENTER:
            return True
        if key.name == "escape":
            self._is_asking = False
        else:
            self._line.key(key)
        return False

    def _picture_key(self, name: str) -> None:
        drawing = self._drawing
        plain = name.removeprefix("s-")
        if plain in _ARROWS:
            drawing.move(*_ARROWS[plain], unit="cell" if plain == name else "pixel")
        elif name in _LETTERS:
            drawing.move(*_ARROWS[_LETTERS[name]], unit="pixel")
        elif name in tuple("12345678"):
            drawing.choose(kind_of_digit(name))
        elif name == "?":
            self._help = 0
        else:
            actions: dict[str, Callable[[], None]] = {
                " ": drawing.set,
                "+": lambda: drawing.zoom(1),
                "=": lambda: drawing.zoom(1),
                "-": lambda: drawing.zoom(-1),
                "0": drawing.show_all,
                "u": drawing.undo,
                "c-z": drawing.undo,
                "c-y": drawing.redo,
                "x": drawing.remove_last,
                "delete": drawing.remove_last,
                "c-h": drawing.remove_last,
                "pagedown": lambda: drawing.turn(1),
                ">": lambda: drawing.turn(1),
                "pageup": lambda: drawing.turn(-1),
                "<": lambda: drawing.turn(-1),
            }
            actions.get(name, lambda: None)()

    def _turn_help(self) -> None:
        """Show more of the help, or the picture again."""
        assert self._help is not None
        following = self._help + self._window.rows - 1
        self._help = following if following < len(HELP) else None
        if self._help is None:
            self._start_over()

    def _mouse(self, mouse: MouseMoved) -> None:
        across, down = self._cell if self._pixel_mouse and self._cell else (1.0, 1.0)
        column, row = mouse.x / across, mouse.y / down
        if mouse.action in ("closer", "farther"):
            self._drawing.zoom(1 if mouse.action == "closer" else -1, (column, row))
            return
        if mouse.button != 0:
            self._move_picture(mouse.action, column, row)
            return
        if mouse.action == "press" and row >= self._picture_rows:
            return
        if mouse.action == "press":
            self._drawing.note, self._drawing.is_error, self._was_warned = "", False, False
        spot = self._spot(column, row, 1 / across, 1 / down)
        {"press": self._drawing.press, "drag": self._drawing.drag, "release": self._drawing.release}[
            mouse.action
        ](spot)

    def _spot(self, column: float, row: float, width: float, height: float) -> Spot:
        view = self._drawing.view
        column, row = min(column, view.columns - width), min(row, view.rows - height)
        return view.spot(column, row, column + width, row + height)

    def _move_picture(self, action: str, column: float, row: float) -> None:
        """Drag the picture with a button other than the left one."""
        if action == "drag" and self._pan is not None:
            self._drawing.scroll(self._pan[0] - column, self._pan[1] - row)
        self._pan = None if action == "release" else (column, row)

    def _take_reply(self, text: str) -> None:
        if match := re.fullmatch(r"\x1b\[6;(\d+);(\d+)t", text):
            height, width = int(match[1]), int(match[2])
            if width and height and self._asked_cell != (width, height):
                self._asked_cell = width, height
                self._start_over()
        elif (graphics := graphics_in(text)) and self._graphics is None and self._cell is not None:
            # What was shown until now are half blocks.
            self._graphics = graphics
            self._screen.last_words = FORGET_IMAGES if graphics is KittyImages else ""
            self._screen.write(_CLEAR)
            self._start_over()
        elif match := re.fullmatch(r"\x1b\[\?1016;(\d)\$y", text):
            if match[1] == "2" and self._cell is not None:
                # The reply to the second question comes between reports in cells and those in pixels.
                self._screen.write(PIXEL_MOUSE + ASK_PIXEL_MOUSE)
            self._pixel_mouse = match[1] == "1"


def _wrapped(text: str, columns: int) -> tuple[str, str]:
    """A text in two lines, cut between words where possible."""
    cut = text.rfind(" ", 0, columns + 1)
    return (text[:columns], text[columns:]) if cut < 1 else (text[:cut], text[cut + 1 :])
