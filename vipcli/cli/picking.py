"""Marks given without coordinates: let the person draw them, and print the command that repeats it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from vipcli.cli.mark_arguments import MarkArguments
from vipcli.cli.options import as_option
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.asking.records import Answer
    from vipcli.asking.values import MarkedInput
    from vipcli.chat.conversation import Conversation
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.marks.kinds import TypedMark, UnplacedMark
    from vipcli.picking.browser import BrowserPicker
    from vipcli.picking.canvas import Canvas, PlacedMarks

Task = Literal["ask", "draw", "mark"]
Place = Literal["browser", "terminal"]


@dataclass(frozen=True, slots=True)
class PickRequest:
    """What a command wants to know from the person at the picture."""

    task: Task
    question: str | None = None
    asks: bool = False
    """Whether a question may be typed along with the marks."""
    quiet: bool = False
    on_shown: Callable[[], None] = lambda: None
    """Called once the picture is on the screen."""
    check: Callable[[MarkedInput], None] = lambda marked: None
    """Raises an error that drawing could not mend, so that nothing is drawn in vain."""


@dataclass(frozen=True, slots=True)
class Picked:
    """The pictures with their marks, however these came about."""

    marked: MarkedInput
    question: str | None
    command: str | None = None
    """The command that repeats what was drawn; None if nothing was."""
    page: BrowserPicker | None = None
    """The page that waits for the answer."""

    def on_text(self, text: str) -> None:
        """Show a piece of the answer in the page."""
        if self.page is not None:
            self.page.text(text)

    def also_to(self, on_text: Callable[[str], None]) -> Callable[[str], None]:
        """Show each piece of the answer in the page, and pass it on."""

        def both(text: str) -> None:
            on_text(text)
            self.on_text(text)

        return both

    def on_answer(self, answer: Answer) -> None:
        """Show the whole answer in the page."""
        if self.page is not None:
            from vipcli.asking.records import doubts

            self.page.answer(answer.text, [note.spelled(as_option) for note in doubts(answer)])


def why_nobody_draws(settings: Settings, environment: Mapping[str, str] = os.environ) -> str | None:
    """Why no picture is opened, as the end of a sentence; None if somebody may be there to draw."""
    if settings.no_input:
        return "--no-input is given"
    if environment.get("CI"):
        return "this runs in continuous integration (CI is set)"
    if not output.is_terminal(sys.stderr):
        return "standard error is not a terminal"
    return None


def choose_place(settings: Settings, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Where a person can draw; None where nobody can."""
    if why_nobody_draws(settings, environment) is not None:
        return None
    if settings.pick == "browser":
        return "browser"
    from vipcli.picking.browser import can_open_browser

    if settings.pick == "auto" and can_open_browser(environment):
        return "browser"
    from vipcli.picking.terminal_picker import can_pick_in_terminal

    if can_pick_in_terminal():
        return "terminal"
    if settings.pick == "terminal":
        raise UsageError("This terminal cannot show a picture to draw on.", "Use {pick=browser}.")
    return None


@contextmanager
def picking(
    arguments: MarkArguments,
    sources: Sequence[str],
    settings: Settings,
    request: PickRequest,
    *,
    frames: int | None = None,
    checkpoint: Checkpoint | None = None,
) -> Iterator[Picked]:
    """Load the pictures and draw the marks on them; those without coordinates are placed by the person."""
    from vipcli.asking.load_marked import load
    from vipcli.asking.pipeline import mark
    from vipcli.asking.values import Drawing

    drawing = Drawing.of(settings)
    place = choose_place(settings) if arguments.has_unplaced else None
    pictures, video = load(sources, frames=frames, max_pixels=settings.max_pixels)
    if place is None:
        typed = arguments.all_typed(_why_not_drawn(settings))
        yield Picked(mark(pictures, typed, drawing, video=video), request.question)
        return
    from vipcli.picking.canvas import Canvas

    request.check(mark(pictures, (), drawing, video=video))
    canvas = Canvas(pictures, arguments.slots, drawing, video=video, checkpoint=checkpoint, fit=settings.fit)
    with _picker(place, canvas, request) as (placed, page):
        typed_question = placed.question if request.question is None else None
        command = arguments.command_with(placed.by_slot, placed.others, typed_question)
        if not request.quiet:
            output.note("This command repeats it without the mouse:")
            output.info(command)
        yield Picked(canvas.draw(placed.marks), request.question or placed.question, command, page)


def _why_not_drawn(settings: Settings) -> str:
    """A sentence on why a mark cannot be drawn with the mouse here."""
    reason = why_nobody_draws(settings)
    if reason is None:
        reason = "there is neither a browser, nor a terminal on standard input"
    return f" It cannot be drawn with the mouse, since {reason}."


def pick_one(
    chat: Conversation, mark: UnplacedMark, settings: Settings, *, quiet: bool
) -> Sequence[TypedMark]:
    """Let the person draw a mark during a conversation; they may draw more than one."""
    place = choose_place(settings)
    if place is None:
        return MarkArguments((mark,)).all_typed(_why_not_drawn(settings))
    from vipcli.picking.canvas import Canvas, PickingCancelled

    subject = chat.subject
    canvas = Canvas(
        subject.pictures,
        [*subject.typed, mark],
        chat.settings.drawing,
        video=subject.video,
        checkpoint=chat.checkpoint,
        fit=chat.settings.fit,
    )
    try:
        with _picker(place, canvas, PickRequest("mark", quiet=quiet)) as (placed, _):
            return placed.marks[len(subject.typed) :]
    except PickingCancelled:
        return ()


@contextmanager
def _picker(
    place: Place, canvas: Canvas, request: PickRequest
) -> Iterator[tuple[PlacedMarks, BrowserPicker | None]]:
    """Let the person draw, in the browser or in the terminal."""
    from vipcli.picking.canvas import PickingCancelled

    picker = _in_browser if place == "browser" else _in_terminal
    try:
        with picker(canvas, request) as placed:
            yield placed
    except PickingCancelled:
        if not request.quiet:
            output.note("You left without drawing, so nothing is done.")
        raise


@contextmanager
def _in_browser(canvas: Canvas, request: PickRequest) -> Iterator[tuple[PlacedMarks, BrowserPicker | None]]:
    from vipcli.picking.browser import BrowserPicker, forwarding_hint, open_page

    with BrowserPicker(
        canvas,
        task=request.task,
        question=request.question,
        asks=request.asks,
        spelling=as_option,
    ) as page:
        opened = open_page(page.url)
        if not (opened and request.quiet):
            output.note(f"Draw in the browser: {page.url}")
        if not opened and (hint := forwarding_hint(page.url, os.environ)) is not None:
            output.note(f"To reach it from another machine: {hint}")
        with _calling(request.on_shown, page.shown):
            placed = page.wait()
        yield placed, page


@contextmanager
def _calling(function: Callable[[], None], event: threading.Event) -> Iterator[None]:
    """Call a function once an event happens, unless this ends before."""
    ended = False

    def wait() -> None:
        event.wait()
        if not ended:
            function()

    thread = threading.Thread(target=wait, name="vipcli-shown", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended = True
        event.set()


@contextmanager
def _in_terminal(canvas: Canvas, request: PickRequest) -> Iterator[tuple[PlacedMarks, BrowserPicker | None]]:
    from vipcli.picking.terminal_picker import pick_in_terminal

    yield (
        pick_in_terminal(
            canvas,
            question=request.question,
            asks=request.asks,
            on_shown=request.on_shown,
            spelling=as_option,
        ),
        None,
    )
