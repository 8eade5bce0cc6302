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

from vipcli import remote, state
from vipcli.answers import Setup
from vipcli.checkpoints import Checkpoint
from vipcli.errors import ModelError
from vipcli.remote import Held

TOKEN = "VIPCLI_TOKEN"
_SECONDS_TO_END = 15


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
    settings: dict[str, Any],
    orders: Orders,
    ready: Callable[[dict[str, Any]], None],
) -> None:
    """Hold a model and answer until it is over; `ready` is told once it listens."""
    from vipcli.front import Front
    from vipcli.images import DEFAULT_MAX_PIXELS

    token = os.environ.get(TOKEN) or secrets.token_urlsafe(32)
    told = {
        **asdict(orders),
        "model": settings["model"],
        "revision": settings["revision"],
        "offline": True,
        "setup": asdict(setup),
        "socket": str(state.runtime() / remote.SOCKET),
        "token": token,
        "max_pixels": settings["max_pixels"] or min(DEFAULT_MAX_PIXELS, 50_000_000),
    }
    Front(told).run(lambda held: ready({**held, "token": token if orders.host else None}))


def welcome(held: dict[str, Any], orders: Orders) -> Iterator[str]:
    """What to tell a person once it listens."""
    yield f"{held['model']} is in memory on {held['device']}. vipcli ask and chat use it; Ctrl-C ends it."
    if held["address"] is not None:
        yield f"It answers OpenAI's chat-completions form at {held['address']} with the token {held['token']}"
    if orders.host not in (None, "127.0.0.1", "localhost", "::1"):
        yield (
            f"Warning: other machines can reach {orders.host}, and what is sent there is not encrypted. "
            "Whoever has the token can ask."
        )


def running() -> Held | None:
    """The server that runs, if one does."""
    return remote.running()


def begin(checkpoint: Checkpoint, setup: Setup, settings: dict[str, Any], keep_alive: float) -> Held | None:
    """Begin a server in the background and wait until it listens; None if another was quicker."""
    command = [sys.executable, "-m", "vipcli", "serve", "--json", "--keep-alive", f"{keep_alive:.0f}s"]
    chosen = {"model": settings["model"], "revision": settings["revision"], **asdict(setup)}
    for name, value in chosen.items():
        if value is True:
            command.append(f"--{name.replace('_', '-')}")
        elif value not in (None, False):
            command += [f"--{name.replace('_', '-')}", str(value)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdout is not None and process.stderr is not None
    with process.stdout, process.stderr:
        if process.stdout.readline():
            return running()
        told = process.stderr.read().strip().removeprefix("error: ")
    held = running()
    if held is None:
        raise ModelError(told or "The server ended before it had begun. Ask without --keep-alive.")
    return held


def stop() -> Held | None:
    """End the server that runs, and tell which it was."""
    held = running()
    if held is None:
        return None
    with contextlib.suppress(ProcessLookupError):
        os.kill(held.pid, signal.SIGTERM)
    until = time.monotonic() + _SECONDS_TO_END
    while running() is not None:
        if time.monotonic() > until:
            raise ModelError(f"The server, process {held.pid}, does not end. kill -9 {held.pid} ends it.")
        time.sleep(0.05)
    return held
