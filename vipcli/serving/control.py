"""Beginning a server, finding it, ending it. No torch."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.config import Settings
from vipcli.errors import ModelError, UsageError
from vipcli.files import state_folder
from vipcli.serving import client, runtime
from vipcli.serving.client import Held

TOKEN = "VIPCLI_TOKEN"
_SECONDS_TO_END = 20


@dataclass(frozen=True, slots=True)
class Orders:
    """How to serve."""

    keep_alive: float | None = None
    """Seconds without a request after which it ends."""
    host: str | None = None
    """Where its port is open; None for no port."""
    port: int = 0
    together: int = 8
    waiting: int = 64


def serve(
    checkpoint: Checkpoint,
    setup: Setup,
    settings: Settings,
    orders: Orders,
    ready: Callable[[dict[str, Any]], None],
    *,
    run: Callable[[], int],
    warm: Callable[[], None],
) -> None:
    """Hold a model and answer until it is over; `ready` is called once it listens.

    `run` is the command line, for commands that are handed over, and `warm` imports what they need.
    """
    if os.name != "posix":
        raise UsageError("vipcli serve runs on Linux and macOS. Here, each command loads its model itself.")
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS
    from vipcli.serving.fork_server import Front

    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    told = {
        **asdict(orders),
        "model": settings.model,
        "revision": settings.revision,
        "offline": True,
        "setup": asdict(setup),
        "socket": str(runtime.runtime() / client.SOCKET),
        "token": token,
        "max_pixels": settings.max_pixels or min(DEFAULT_MAX_PIXELS, 50_000_000),
    }
    Front(told, run, warm).run(lambda held: ready({**held, "token": token if orders.host else None}))


def welcome(held: dict[str, Any], orders: Orders, *, quiet: bool) -> Iterator[str]:
    """What to tell a person once it listens; quietly, only what there is no other way to know."""
    if not quiet:
        yield f"{held['model']} is in memory on {held['device']}. vipcli ask and chat use it; Ctrl-C ends it."
    if held["address"] is not None and not (quiet and os.environ.get(TOKEN)):
        yield f"It answers OpenAI's chat-completions form at {held['address']} with the token {held['token']}"
    if orders.host not in (None, "127.0.0.1", "localhost", "::1"):
        yield (
            f"Warning: other machines can reach {orders.host}, and what is sent there is not encrypted. "
            "Whoever has the token can ask."
        )


def running() -> Held | None:
    """The server that runs, if one does."""
    return client.running()


def begin(checkpoint: Checkpoint, setup: Setup, settings: Settings, keep_alive: float) -> Held:
    """Begin a server in the background and wait until one listens: this, or one that was quicker."""
    # Without -P, a file in this folder could stand in for a module.
    command = [sys.executable, "-P", "-m", "vipcli", "serve", "--json", "--keep-alive", f"{keep_alive}s"]
    chosen = {"model": settings.model, "revision": settings.revision, **asdict(setup)}
    for name, value in chosen.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            command += [f"--{name.replace('_', '-')}", str(value)]
    log = state_folder() / "serve.log"
    with log.open("w+", encoding="utf-8", errors="replace") as told:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=told, start_new_session=True
        )
        while (held := running()) is None:
            if process.poll() is not None and runtime.beginning_server() is None:
                told.seek(0)
                why = told.read().strip().rpartition("\n")[2].removeprefix("error: ")
                raise ModelError(why or "The server ended before it had begun. Ask without --keep-alive.")
            time.sleep(0.05)
    return held


def beginning() -> str | None:
    """What is being loaded by a server that does not listen yet."""
    found = runtime.beginning_server()
    return None if found is None else found[1]


def stop() -> str | None:
    """End the server that runs or is about to, and tell what it held."""
    found = runtime.beginning_server()
    if found is None:
        return None
    pid, model = found
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + _SECONDS_TO_END
    while runtime.beginning_server() is not None:
        if time.monotonic() > until:
            raise ModelError(f"The server, process {pid}, does not end. kill -9 {pid} ends it.")
        time.sleep(0.05)
    return model
