"""`vipcli serve`: a model that stays in memory."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from vipcli import config
from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.shared import model_of
from vipcli.config import Settings
from vipcli.errors import FAILED, UsageError
from vipcli.terminal import output

SERVER = "Server"


def serve(
    *,
    settings: Annotated[Settings, options.MODEL_OPTIONS, options.PIXEL_OPTIONS],
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="End when nobody has asked for so long: 10m, 2h.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            help="Also answer OpenAI's chat-completions form on this port; 0 for any that is free.",
            rich_help_panel=SERVER,
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Where that port is open (default: 127.0.0.1, this machine alone).",
            rich_help_panel=SERVER,
            show_default=False,
        ),
    ] = "127.0.0.1",
    together: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=1024,
            help="Most requests to answer side by side.",
            rich_help_panel=SERVER,
        ),
    ] = 8,
    waiting: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            max=100_000,
            help="Most requests of the port that may wait; more are turned away.",
            rich_help_panel=SERVER,
        ),
    ] = 64,
    status: Annotated[
        bool, typer.Option("--status", help="Describe the running server.", rich_help_panel=SERVER)
    ] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop the running server.", rich_help_panel=SERVER)
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Keep a model in memory, so that questions and conversations need not load it.

    vipcli serve --model vip-llava-7b --keep-alive 30m
    vipcli serve --port 8000
    """
    from vipcli.serving import control

    if stop:
        model_held = control.stop()
        output.note("No server runs." if model_held is None else f"The server of {model_held} is ended.")
        return
    if status:
        if not _show_status(as_json=json):
            raise typer.Exit(FAILED)
        return
    if port is None and host != "127.0.0.1":
        raise UsageError("--host says where a port is open. Name it with --port.")
    orders = control.Orders(
        keep_alive=None
        if keep_alive is None
        else config.checked(config.read_span, keep_alive, "--keep-alive"),
        host=None if port is None else host,
        port=port or 0,
        together=together,
        waiting=waiting,
    )
    model = model_of(settings, quiet=quiet)
    checkpoint = model.checkpoint

    def ready(held: dict[str, Any]) -> None:
        if json:
            output.say_json(held)
        else:
            for text in control.welcome(held, orders, quiet=quiet):
                output.note(text)

    if not quiet and not json:
        output.note(f"Loading {checkpoint.name} …")
    from vipcli.cli.app import main, warm

    control.serve(checkpoint, model.setup, model.settings, orders, ready, run=main, warm=warm)


def _show_status(*, as_json: bool) -> bool:
    """Describe the server, and say whether there is one that answers."""
    from vipcli.serving import control

    held = control.running()
    if as_json:
        output.say_json(None if held is None else asdict(held))
    elif held is not None:
        port = "" if held.address is None else f", {held.address}"
        output.say(f"{held.model} on {held.device}, process {held.pid}, {held.waiting} waiting{port}")
    elif model := control.beginning():
        output.note(f"The server of {model} does not answer. It may still be loading.")
    else:
        output.note("No server runs.")
    return held is not None


serve_command = command(options.expanded(serve))
