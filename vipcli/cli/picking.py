"""Marks given without coordinates: let the person draw them, and print the command that repeats it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
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


def choose_place(settings: Settings, environment: Mapping[str, str] = os.environ) -> Place | None:
    """Where a person can draw; None where nobody is there to do so."""
    if settings.no_input or environment.get("CI") or not output.is_terminal(sys.stderr):
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
    from vipcli.asking.load_marked import load, load_marked
    from vipcli.asking.values import Drawing

    drawing = Drawing.of(settings)
    place = choose_place(settings) if arguments.has_unplaced else None
    if place is None:
        marked = load_marked(sources, arguments.typed, drawing, frames=frames, max_pixels=settings.max_pixels)
        yield Picked(marked, request.question)
        return
    from vipcli.picking.canvas import Canvas

    pictures, video = load(sources, frames=frames, max_pixels=settings.max_pixels)
    canvas = Canvas(pictures, arguments.slots, drawing, video=video, checkpoint=checkpoint, fit=settings.fit)
    with _picker(place, canvas, request) as (placed, page):
        typed_question = placed.question if request.question is None else None
        command = arguments.command_with(placed.by_slot, placed.others, typed_question)
        if not request.quiet:
            output.note("This command repeats it without the mouse:")
            output.info(command)
        yield Picked(canvas.draw(placed.marks), request.question or placed.question, command, page)


def pick_one(
    chat: Conversation, mark: UnplacedMark, settings: Settings, *, quiet: bool
) -> Sequence[TypedMark]:
    """Let the person draw a mark during a conversation; they may draw more than one."""
    place = choose_place(settings)
    if place is None:
        return MarkArguments((mark,)).typed
    from vipcli.picking.canvas import Canvas

    subject = chat.subject
    canvas = Canvas(
        subject.pictures,
        [*subject.typed, mark],
        chat.settings.drawing,
        video=subject.video,
        checkpoint=chat.checkpoint,
        fit=chat.settings.fit,
    )
    with _picker(place, canvas, PickRequest("mark", quiet=quiet)) as (placed, _):
        return placed.marks[len(subject.typed) :]


def _picker(
    place: Place, canvas: Canvas, request: PickRequest
) -> AbstractContextManager[tuple[PlacedMarks, BrowserPicker | None]]:
    return _in_browser(canvas, request) if place == "browser" else _in_terminal(canvas, request)


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
