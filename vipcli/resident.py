"""The process that holds a model: `python -m vipcli.resident`, told on standard input what to hold.

It answers on a socket in the runtime folder, and on a port where one is asked for; it says a line of JSON on
standard output once it listens, or why it cannot; and it ends with the process that began it, or when idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel

from vipcli import __version__, checkpoints
from vipcli.answers import Setup
from vipcli.desk import Desk
from vipcli.errors import VipcliError
from vipcli.server import Door, Limits, Service

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Orders(BaseModel):
    """What to hold, and for whom."""

    model: str
    revision: str | None
    offline: bool
    setup: dict[str, Any]
    socket: str
    host: str | None
    """Where to listen beside the socket; None for nowhere."""
    port: int
    token: str
    keep_alive: float | None
    """Seconds without a request after which it ends; None for never."""
    together: int
    waiting: int
    max_pixels: int


def main() -> None:
    """Hold the model until it is no longer needed."""
    orders = Orders.model_validate_json(sys.stdin.readline())
    # Whoever began it decides when it ends; Ctrl-C in their terminal is for them.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        sockets, address = _listen(orders)
        from vipcli.engine import LocalModel

        checkpoint = checkpoints.find(orders.model, revision=orders.revision, offline=orders.offline)
        model = LocalModel(checkpoint, Setup(**orders.setup), resident=True)
    except VipcliError as error:
        _say({"error": str(error), "code": error.exit_code})
        os._exit(1)
    desk = Desk(model, most_waiting=orders.waiting, most_together=orders.together)
    held = {
        "version": __version__,
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "folder": str(checkpoint.folder),
        "setup": orders.setup,
        "device": model.facts.device,
        "pid": os.getpid(),
        "address": address,
    }
    door = None
    if orders.host is not None:
        names = _LOCAL_NAMES if orders.host in ("127.0.0.1", "localhost", "::1") else frozenset[str]()
        door = Door(orders.token, names)
    service = Service(desk, checkpoint, held, Limits(pixels=orders.max_pixels))
    server = uvicorn.Server(
        uvicorn.Config(
            service.app(door),
            log_config=None,
            lifespan="off",
            ws="none",
            http="h11",
            timeout_graceful_shutdown=5,
        )
    )
    _say(held)
    asyncio.run(_serve(server, sockets, desk, orders.keep_alive))
    os._exit(0)


def _listen(orders: Orders) -> tuple[list[socket.socket], str | None]:
    """The sockets to answer on, and the port's address."""
    path = Path(orders.socket)
    path.unlink(missing_ok=True)
    private = socket.socket(socket.AF_UNIX)
    try:
        private.bind(str(path))
    except OSError as error:
        raise VipcliError(f"{str(path)!r} cannot be listened on: {error.strerror or error}.") from None
    path.chmod(0o600)
    found = [private]
    address = None
    if orders.host is not None:
        family = socket.AF_INET6 if ":" in orders.host else socket.AF_INET
        open_to = socket.socket(family)
        open_to.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            open_to.bind((orders.host, orders.port))
        except OSError as error:
            raise VipcliError(
                f"Port {orders.port} of {orders.host} cannot be listened on: {error.strerror or error}. "
                "Name another with --port."
            ) from None
        found.append(open_to)
        host = f"[{orders.host}]" if ":" in orders.host else orders.host
        address = f"http://{host}:{open_to.getsockname()[1]}/v1"
    for one in found:
        one.listen(256)
    return found, address


async def _serve(
    server: uvicorn.Server, sockets: list[socket.socket], desk: Desk, keep_alive: float | None
) -> None:
    watching = asyncio.create_task(_watch(server, desk, keep_alive, os.getppid()))
    await server.serve(sockets)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


async def _watch(server: uvicorn.Server, desk: Desk, keep_alive: float | None, parent: int) -> None:
    """End it when nobody has asked for so long, or when the process that began it is gone."""
    while True:
        await asyncio.sleep(0.5)
        idle = desk.idle_since
        if idle is None:
            continue
        if os.getppid() != parent or (keep_alive is not None and time.monotonic() - idle > keep_alive):
            server.should_exit = True
            return


def _say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
