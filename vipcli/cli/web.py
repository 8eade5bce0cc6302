"""`vipcli web`: a conversation in the browser."""

from __future__ import annotations

import os
import shlex
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.opening import OpenedConversation, open_conversation
from vipcli.cli.shared import build_model
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.chat.conversation import ChatSettings, Subject
    from vipcli.picking.conversation import WebConversation
    from vipcli.picking.server import LocalServer


def web(
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="A file or an http(s) URL; with --resume, replaces the last picture."
        ),
    ] = None,
    *,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the last conversation.")] = False,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port of this machine (default: any free one)."),
    ] = 0,
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
    """Talk about a picture in the browser, with the picture and its marks beside the conversation.

    vipcli web photo.jpg
    vipcli web --resume --port 8123
    """
    if image == "-":
        raise UsageError("Name a picture file or a URL. The page takes other pictures too.")
    opened = open_conversation(image, images, marks, settings, frames, resume=resume, quiet=quiet)
    model = build_model(opened.settings, quiet=quiet, resident=True)
    conversation = _conversation(model, opened)
    server = _server(conversation, port)
    ended = threading.Event()
    server.start()
    try:
        _announce(server.url, opened.settings, quiet=quiet)
        # Until Ctrl-C, which some systems notice only in between.
        while not ended.wait(1):
            pass
    finally:
        conversation.close()
        server.close()


def _conversation(model: Model, opened: OpenedConversation) -> WebConversation:
    from vipcli.chat.conversation import Conversation
    from vipcli.chat.session import ChatSession
    from vipcli.picking.conversation import DeferredAnswerer, PageOutput, WebConversation
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    answerer = DeferredAnswerer(lambda: model.answerer)
    page_output = PageOutput(options.as_option)
    max_pixels = model.settings.max_pixels or DEFAULT_MAX_PIXELS
    chat = Conversation(answerer, model.checkpoint, opened.subject, opened.chat_settings)
    session = ChatSession(chat, answerer, page_output, max_pixels=max_pixels)
    if opened.saved is not None:
        session.resume(opened.saved)
        for text in page_output.drain():
            output.info(text)
    return WebConversation(
        session,
        page_output,
        describe_command=lambda subject, question, chat_settings: _command(
            subject, question, chat_settings, model.settings.model
        ),
        shown=model.preload,
        max_pixels=max_pixels,
        spelling=options.as_option,
    )


def _server(conversation: WebConversation, port: int) -> LocalServer:
    from vipcli.picking.browser import PAGE
    from vipcli.picking.server import LocalServer

    return LocalServer(
        conversation.handlers, PAGE, uploads=conversation.uploads, spelling=options.as_option, port=port
    )


def _announce(url: str, settings: Settings, *, quiet: bool) -> None:
    from vipcli.picking.browser import can_open_browser, forwarding_hint, open_page

    allowed = not settings.no_input and not os.environ.get("CI") and output.is_terminal(sys.stderr)
    opened = allowed and can_open_browser(os.environ) and open_page(url)
    output.info(url)
    if not opened and (hint := forwarding_hint(url, os.environ)) is not None:
        output.note(f"To reach it from another machine: {hint}")
    if not quiet:
        output.note("Ctrl-C ends it. vipcli chat --resume goes on with the conversation in the terminal.")


def _command(subject: Subject, question: str | None, chat_settings: ChatSettings, model: str) -> str:
    """The command that asks this question about these pictures and marks, with the settings that matter."""
    from vipcli.chat.conversation import ChatSettings
    from vipcli.picking.mark_text import as_arguments

    if subject.video is not None:
        sources, frames = [subject.video.source], ["--frames", str(len(subject.video.chosen))]
    else:
        sources, frames = [picture.name for picture in subject.pictures], []
    words = ["vipcli", "ask", sources[0], *([] if question is None else [question])]
    for source in sources[1:]:
        words += ["--image", source]
    for mark in subject.typed:
        words += as_arguments(mark)
    usual = asdict(ChatSettings())
    given = {name: value for name, value in asdict(chat_settings).items() if value != usual[name]}
    if model != Settings().model:
        given["model"] = model
    for name, value in given.items():
        words += [options.option_name(name), str(value)]
    return shlex.join([*words, *frames])


web_command = command(options.expand_groups(web), marks=True)
