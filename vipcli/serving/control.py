"""Start and stop a server, in the foreground or the background. Does not import torch."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.config import Settings
from vipcli.errors import ModelError, UsageError
from vipcli.files import state_folder
from vipcli.serving import client, runtime
from vipcli.serving.client import ServerInfo

TOKEN_VARIABLE = "VIPCLI_TOKEN"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
MIN_REMOTE_TOKEN_LENGTH = 16
"""The minimum length of a token on a port that other machines can reach."""
_MAX_PIXELS = 50_000_000
"""The default limit for all pictures in a request together."""
_SECONDS_TO_STOP = 20


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """How to serve."""

    keep_alive: float | None = None
    """Seconds without a request after which the server stops; None for never."""
    host: str | None = None
    """The address of its port; None for no port."""
    port: int = 0
    together: int = 8
    """The maximum number of requests in one batch."""
    waiting: int = 64
    """The maximum number of requests to the port that can wait."""


def serve(
    checkpoint: Checkpoint,
    setup: Setup,
    settings: Settings,
    options: ServerOptions,
    ready: Callable[[dict[str, Any]], None],
    *,
    run: Callable[[], int],
    warm: Callable[[], None],
) -> None:
    """Hold a model and answer until stopped; `ready` gets the server's description once it listens.

    `run` runs the command line for forwarded commands, and `warm` imports what they need.
    """
    if os.name != "posix":
        raise UsageError("vipcli serve runs on Linux and macOS only. Here, each command loads its own model.")
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS
    from vipcli.serving.fork_server import ForkServer

    token = _token(options.host)
    config = {
        **asdict(options),
        "model": settings.model,
        "revision": settings.revision,
        "offline": True,
        "setup": asdict(setup),
        "socket": str(runtime.runtime_folder() / client.SOCKET),
        "token": token,
        "max_pixels": settings.max_pixels or min(DEFAULT_MAX_PIXELS, _MAX_PIXELS),
    }
    shown_token = token if options.host else None
    ForkServer(config, run, warm).run(lambda info: ready({**info, "token": shown_token}))


def _token(host: str | None) -> str:
    """The token from the environment, or else a random one."""
    token = os.environ.get(TOKEN_VARIABLE)
    if host is None or not token:
        return secrets.token_urlsafe(32)
    if not re.fullmatch(r"[!-~]+", token):
        raise UsageError(
            f"{TOKEN_VARIABLE} cannot be sent in a header. Use ASCII letters, digits and punctuation only."
        )
    if host not in LOCAL_HOSTS and len(token) < MIN_REMOTE_TOKEN_LENGTH:
        raise UsageError(
            f"{TOKEN_VARIABLE} has {len(token)} characters, which other machines could guess. "
            f"Use at least {MIN_REMOTE_TOKEN_LENGTH}, or unset it to get a random token."
        )
    return token


def start(checkpoint: Checkpoint, setup: Setup, settings: Settings, keep_alive: float) -> ServerInfo:
    """Start a server in the background and wait until it, or one that started first, is listening."""
    values = {
        "json": True,
        "keep_alive": f"{keep_alive}s",
        "model": settings.model,
        "revision": settings.revision,
        **asdict(setup),
    }
    # Without -P, a file in the current folder could replace a module.
    command = [sys.executable, "-P", "-m", "vipcli", "serve", *_arguments(values)]
    with (state_folder() / "serve.log").open("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True
        )
        while (info := client.find_server()) is None:
            if process.poll() is not None and runtime.lock_holder() is None:
                log.seek(0)
                reason = log.read().strip().rpartition("\n")[2].removeprefix("error: ")
                if reason:
                    raise ModelError(reason)
                raise ModelError("The server stopped while starting.", "Ask without {keep_alive}.")
            time.sleep(0.05)
    return info


def _arguments(values: dict[str, Any]) -> list[str]:
    """Convert settings to command-line arguments, leaving out None and False."""
    arguments = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(option)
        elif value not in (None, False):
            arguments += [option, str(value)]
    return arguments


def loading_model() -> str | None:
    """The model of a server that has the lock, though it may not listen yet."""
    holder = runtime.lock_holder()
    return None if holder is None else holder[1]


def stop() -> str | None:
    """Stop the server, even while it loads, and return the name of its model; None if there is none."""
    holder = runtime.lock_holder()
    if holder is None:
        return None
    pid, model = holder
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _SECONDS_TO_STOP
    while runtime.lock_holder() is not None:
        if time.monotonic() > deadline:
            raise ModelError(f"The server, process {pid}, has not stopped. Run kill -9 {pid} to end it.")
        time.sleep(0.05)
    return model
