"""`vipcli serve`: a model that stays in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipcli import config
from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.shared import build_model
from vipcli.config import Settings
from vipcli.errors import FAILED, UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.serving.control import ServerOptions

SERVER = "Server"

KeepAliveOption = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Stop after this long without a request: 10m, 2h.", rich_help_panel=SERVER
    ),
]
PortOption = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=0,
        max=65535,
        help="Also serve OpenAI chat completions on this port; 0 for any free port.",
        rich_help_panel=SERVER,
    ),
]
HostOption = Annotated[
    str,
    typer.Option(
        metavar="ADDRESS",
        help="Address of that port (default: 127.0.0.1, this machine only).",
        rich_help_panel=SERVER,
        show_default=False,
    ),
]
TogetherOption = Annotated[
    int,
    typer.Option(
        metavar="N", min=1, max=1024, help="Maximum number of requests in one batch.", rich_help_panel=SERVER
    ),
]
WaitingOption = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        max=100_000,
        help="Maximum number of requests to the port that can wait; more are refused.",
        rich_help_panel=SERVER,
    ),
]
StatusOption = Annotated[
    bool, typer.Option("--status", help="Describe the running server.", rich_help_panel=SERVER)
]
StopOption = Annotated[bool, typer.Option("--stop", help="Stop the running server.", rich_help_panel=SERVER)]


def serve(
    *,
    settings: Annotated[Settings, options.MODEL_OPTIONS, options.PIXEL_OPTIONS],
    keep_alive: KeepAliveOption = None,
    port: PortOption = None,
    host: HostOption = "127.0.0.1",
    together: TogetherOption = 8,
    waiting: WaitingOption = 64,
    status: StatusOption = False,
    stop: StopOption = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Keep a model in memory, so that questions and conversations need not load it.

    vipcli serve --model vip-llava-7b --keep-alive 30m
    vipcli serve --port 8000
    """
    from vipcli.serving import control

    if stop:
        _stop()
    elif status:
        if not _show_status(as_json=json):
            raise typer.Exit(FAILED)
    else:
        if port is None and host != "127.0.0.1":
            raise UsageError("--host sets the address of a port. Set the port with --port.")
        server_options = control.ServerOptions(
            keep_alive=None
            if keep_alive is None
            else config.parse_value(config.parse_duration, keep_alive, "--keep-alive"),
            host=None if port is None else host,
            port=port or 0,
            together=together,
            waiting=waiting,
        )
        _serve(settings, server_options, as_json=json, quiet=quiet)


def _stop() -> None:
    from vipcli.serving import control

    model = control.stop()
    output.note("No server is running." if model is None else f"The server with {model} has stopped.")


def _serve(settings: Settings, server_options: ServerOptions, *, as_json: bool, quiet: bool) -> None:
    """Load the model and serve it until stopped."""
    from vipcli.cli.app import main, warm
    from vipcli.serving import control

    model = build_model(settings, quiet=quiet)
    checkpoint = model.checkpoint

    def ready(info: dict[str, Any]) -> None:
        if as_json:
            output.write_json(info)
        else:
            for text in _announcements(info, server_options, quiet=quiet):
                output.note(text)

    if not quiet and not as_json:
        output.note(f"Loading {checkpoint.name} …")
    control.serve(checkpoint, model.setup, model.settings, server_options, ready, run=main, warm=warm)


def _announcements(info: dict[str, Any], server_options: ServerOptions, *, quiet: bool) -> Iterator[str]:
    """What to show once the server is listening; with `quiet`, only what cannot be found elsewhere."""
    from vipcli.serving.control import LOCAL_HOSTS, TOKEN_VARIABLE

    if not quiet:
        loaded = f"{info['model']} is in memory on {info['device']}."
        yield f"{loaded} vipcli ask and chat use it; Ctrl-C stops it."
    if info["address"] is not None and not (quiet and os.environ.get(TOKEN_VARIABLE)):
        yield f"It serves OpenAI chat completions at {info['address']} with the token {info['token']}"
    if server_options.host not in (None, *LOCAL_HOSTS):
        yield (
            f"Warning: other machines can reach {server_options.host}, and the connection is not encrypted. "
            "Anyone who has the token can use the model."
        )


def _show_status(*, as_json: bool) -> bool:
    """Describe the running server, and return whether there is one that responds."""
    from vipcli.serving import client, control

    info = client.find_server()
    if as_json:
        output.write_json(None if info is None else asdict(info))
    elif info is not None:
        port = "" if info.address is None else f", {info.address}"
        output.write(f"{info.model} on {info.device}, process {info.pid}, {info.waiting} waiting{port}")
    elif model := control.loading_model():
        output.note(f"The server with {model} does not answer. It may still be loading.")
    else:
        output.note("No server is running.")
    return info is not None


serve_command = command(options.expand_groups(serve))
