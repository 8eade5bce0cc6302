"""`vipcli chat`: a conversation about a picture."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.opening import OpenedConversation, open_conversation
from vipcli.cli.picking import pick_one
from vipcli.cli.shared import build_model
from vipcli.config import Settings
from vipcli.errors import Message, UsageError, VipcliError
from vipcli.marks.kinds import BY_KIND
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.asking.interface import Halted, OnText
    from vipcli.chat.conversation import Conversation
    from vipcli.marks.kinds import TypedMark, UnplacedMark
    from vipcli.pictures.images import Pixels


def as_chat_command(name: str, value: str | None) -> str:
    """Spell a setting as the command that changes it in a conversation."""
    from vipcli.chat.session import SETTINGS

    if name in BY_KIND:
        return f"/{name} {value}"
    if name == "zoom":
        return f"/zoom {value or 'on'}"
    if name not in SETTINGS:
        # All other settings can be changed only when starting the conversation.
        return options.as_option(name, value)
    return f"/set {name} {'VALUE' if value is None else value}"


class TerminalChatOutput:
    """Answers on standard output, everything else on standard error."""

    def __init__(self, settings: Settings, *, quiet: bool, interactive: bool) -> None:
        self._settings = settings
        self._quiet = quiet
        self._interactive = interactive
        """Whether Ctrl-C stops an answer instead of the program."""

    def note(self, message: Message | str) -> None:
        if not self._quiet:
            output.note(message.spelled(as_chat_command) if isinstance(message, Message) else message)

    def info(self, text: str) -> None:
        output.info(text)

    def error(self, error: VipcliError) -> None:
        output.error(error.message.spelled(as_chat_command))

    @contextmanager
    def answer(self) -> Iterator[tuple[OnText, Halted | None]]:
        with output.answer_line() as on_text:
            if not self._interactive:
                yield on_text, None
                return
            with _catch_ctrl_c() as pressed:
                yield on_text, pressed

    def show_picture(self, pixels: Pixels) -> None:
        output.show_picture(pixels)

    def place(self, chat: Conversation, mark: UnplacedMark) -> Sequence[TypedMark]:
        settings = self._settings if self._interactive else replace(self._settings, no_input=True)
        return pick_one(chat, mark, settings, quiet=self._quiet)


@contextmanager
def _catch_ctrl_c() -> Iterator[Halted]:
    """Yield a function that tells whether Ctrl-C was pressed; a second Ctrl-C interrupts as usual."""
    pressed = False

    def press(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    previous = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, previous)


def chat(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="A file or an http(s) URL; with --resume, replaces the last picture."
        ),
    ] = None,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the last conversation.")] = False,
    marks: options.Marks,
    images: options.MoreImages = None,
    frames: options.Frames = None,
    settings: Annotated[
        Settings,
        options.MODEL_OPTIONS,
        options.SERVER_OPTIONS,
        options.ANSWER_OPTIONS,
        options.FIT_OPTIONS,
        options.STYLE_OPTIONS,
        options.PICK_OPTIONS,
    ],
    quiet: options.Quiet = False,
) -> None:
    """Talk about a picture, drawing marks as you go; /help lists the commands.

    vipcli chat photo.jpg --box 40,60,200,220
    vipcli chat --resume
    """
    if image == "-":
        raise UsageError("Standard input is used for questions. Name a picture file or a URL.")
    opened = open_conversation(image, images, marks, settings, frames, resume=resume, quiet=quiet)
    _converse(build_model(opened.settings, quiet=quiet, resident=True), opened, quiet=quiet)


def _converse(model: Model, opened: OpenedConversation, *, quiet: bool) -> None:
    """Run the conversation at a prompt in a terminal, or else line by line from standard input."""
    from vipcli.chat.conversation import Conversation
    from vipcli.chat.session import ChatSession
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    if sys.stdin is None:
        raise UsageError("Questions are read from standard input, but it is closed.")
    interactive = sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())
    session = ChatSession(
        Conversation(model.answerer, model.checkpoint, opened.subject, opened.chat_settings),
        model.answerer,
        TerminalChatOutput(model.settings, quiet=quiet, interactive=interactive),
        max_pixels=model.settings.max_pixels or DEFAULT_MAX_PIXELS,
    )
    if opened.saved is not None:
        session.resume(opened.saved)
    if interactive:
        session.run_interactively(_prompt_lines(model.checkpoint.name, quiet=quiet))
    else:
        session.run(sys.stdin)


def _prompt_lines(model_name: str, *, quiet: bool) -> Iterator[str]:
    """The lines typed at the prompt."""
    from vipcli.chat.prompt_line import lines
    from vipcli.files import state_folder

    if not quiet:
        output.note(f"The model is {model_name}. /help lists the commands, Ctrl-D quits.")
    try:
        history: Path | None = state_folder() / "typed"
    except VipcliError as error:
        history = None
        output.note(f"The input history is not saved: {error}")
    return lines(history)


chat_command = command(options.expand_groups(chat), marks=True)
