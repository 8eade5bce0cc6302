"""`vipcli chat`: a conversation about a picture."""

from __future__ import annotations

import sys
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.shared import load_marks, model_of, notes
from vipcli.config import Settings
from vipcli.errors import ConversationError, UsageError, VipcliError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.chat.archive import Kept
    from vipcli.chat.conversation import Manner, Scene
    from vipcli.chat.session import Talk
    from vipcli.marks.kinds import TypedMark


def chat(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="A file or an http(s) address; with --resume, in place of the last."
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
    ],
    quiet: options.Quiet = False,
) -> None:
    """Talk about a picture, drawing marks as you go; /help in it lists what can be done.

    vipcli chat photo.jpg --box 40,60,200,220
    vipcli chat --resume
    """
    if not resume and image is None:
        raise UsageError("Name a picture to talk about, or take up the last conversation with --resume.")
    if image == "-":
        raise UsageError("Standard input is for what you say. Name a picture's file or address.")
    scene = None
    if image is not None:
        scene = _scene([image, *(images or [])], marks, settings, frames, quiet=quiet)
    elif images or marks or frames:
        raise UsageError(
            "Marks and frames go with a picture. Name it, or draw in the conversation: /box and so on."
        )
    saved = None
    if resume:
        settings, saved = _resumed(settings, scene)
        scene = saved.scene
    assert scene is not None
    manner = _manner(settings) if saved is None else saved.manner
    _converse(model_of(settings, quiet=quiet, resident=True), scene, manner, saved, quiet=quiet)


def _scene(
    sources: list[str],
    marks: list[TypedMark],
    settings: Settings,
    frames: int | None,
    *,
    quiet: bool,
) -> Scene:
    from vipcli.chat.conversation import Scene

    marked = load_marks(sources, marks, settings, frames)
    notes(marked.notes, quiet=quiet)
    return Scene(tuple(shown.picture for shown in marked.pictures), marked.typed, marked.video)


def _manner(settings: Settings) -> Manner:
    from vipcli.chat.conversation import manner_of

    return manner_of({entry.name: getattr(settings, entry.name) for entry in fields(settings)})


def _resumed(settings: Settings, scene: Scene | None) -> tuple[Settings, Kept]:
    """The last conversation, with its own settings where no option gives others."""
    from vipcli.chat import archive, history
    from vipcli.chat.conversation import manner_of
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    saved = archive.read(history.last_conversation(), max_pixels=settings.max_pixels or DEFAULT_MAX_PIXELS)
    if scene is None and saved.gone:
        raise ConversationError(f"{saved.gone} Or name another: vipcli chat PICTURE --resume.")
    if "model" not in settings.given:
        settings = replace(settings, model=saved.model, revision=saved.revision)
    given = {name: getattr(settings, name) for name in settings.given}
    manner = manner_of({**asdict(saved.manner), **given})
    return settings, replace(saved, manner=manner, scene=scene or saved.scene)


def _converse(model: Model, scene: Scene, manner: Manner, saved: Kept | None, *, quiet: bool) -> None:
    """Take turns: at a prompt in a terminal, else line by line from standard input."""
    from vipcli.chat.conversation import Conversation
    from vipcli.chat.session import Talk
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    if sys.stdin is None:
        raise UsageError("Standard input is closed, and what you say comes from there.")
    terminal = sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())
    talk = Talk(
        Conversation(model.answerer, model.checkpoint, scene, manner),
        model.answerer,
        max_pixels=model.settings.max_pixels or DEFAULT_MAX_PIXELS,
        quiet=quiet,
        halting=terminal,
    )
    if saved is not None:
        talk.take_up(saved)
    if terminal:
        _at_a_prompt(talk, model.checkpoint.name, quiet=quiet)
        return
    for line in sys.stdin:
        talk.line(line)
        if talk.over:
            return


def _at_a_prompt(talk: Talk, name: str, *, quiet: bool) -> None:
    from vipcli.chat.prompt_line import lines
    from vipcli.chat.session import as_typed_here
    from vipcli.files import state_folder

    if not quiet:
        output.note(f"{name} listens. /help lists what it can do beside answering, Ctrl-D leaves.")
    try:
        typed: Path | None = state_folder() / "typed"
    except VipcliError as error:
        typed = None
        output.note(f"What is typed is not remembered: {error}")
    for line in lines(typed):
        try:
            talk.line(line)
        except VipcliError as error:
            output.fail(error.message.spelled(as_typed_here))
        except KeyboardInterrupt:
            output.note("Stopped.")
        if talk.over:
            return


chat_command = command(options.expanded(chat), marks=True)
