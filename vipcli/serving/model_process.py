"""The process that holds a model: `python -m vipcli.serving.model_process`, told on its standard input which.

It answers on a socket in the runtime folder, and on a port where one is asked for; it says a line of JSON on
standard output once it listens, or why it cannot; and it ends with the process that began it, or when idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import BaseModel

from vipcli import __version__
from vipcli.asking.interface import Setup
from vipcli.checkpoints import lookup
from vipcli.errors import VipcliError
from vipcli.serving import runtime
from vipcli.serving.http_app import Door, Limits, Service
from vipcli.serving.scheduler import Desk

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Orders(BaseModel):
    """What to hold, and for whom."""

    parent: int
    """The process that began this one, which may be gone before this one first looks for it."""
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
    loading = threading.Event()
    threading.Thread(target=_end_with_parent, args=(orders.parent, loading), daemon=True).start()
    # What libraries print is none of what is told to the process that began this one.
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with contextlib.ExitStack() as stack:
        try:
            opened, address = _opened(orders)
            from vipcli.engine.local import LocalModel

            checkpoint = lookup.find(orders.model, revision=orders.revision, offline=orders.offline)
            model = LocalModel(checkpoint, Setup(**orders.setup), resident=True)
            sockets = [stack.enter_context(runtime.listening(Path(orders.socket))), *opened]
        except VipcliError as error:
            print(json.dumps({"error": str(error), "code": error.exit_code}), file=told, flush=True)
            os._exit(1)
        desk = Desk(model, most_waiting=orders.waiting, most_together=orders.together)
        held = {
            "version": __version__,
            "model": checkpoint.name,
            "revision": checkpoint.revision,
            "stamp": lookup.stamp(checkpoint),
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
        loading.set()
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(held), file=told, flush=True)
        asyncio.run(_serve(server, sockets, desk, orders))
    os._exit(0)


def _end_with_parent(parent: int, over: threading.Event) -> None:
    """While a model loads: end if the process that began this one has ended."""
    while not over.wait(0.5):
        if os.getppid() != parent:
            os._exit(1)


def _opened(orders: Orders) -> tuple[list[socket.socket], str | None]:
    """The port, if one is asked for, and its address; it is taken before a model is loaded in vain."""
    if orders.host is None:
        return [], None
    try:
        door = socket.create_server((orders.host, orders.port), family=_family(orders.host), backlog=256)
    except OSError as error:
        raise VipcliError(
            f"Port {orders.port} of {orders.host} cannot be listened on: {error.strerror or error}. "
            "Name another with --port or --host."
        ) from None
    host = f"[{orders.host}]" if ":" in orders.host else orders.host
    return [door], f"http://{host}:{door.getsockname()[1]}/v1"


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


async def _serve(server: uvicorn.Server, sockets: list[socket.socket], desk: Desk, orders: Orders) -> None:
    watching = asyncio.create_task(_watch(server, desk, orders.keep_alive, orders.parent))
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


if __name__ == "__main__":
    main()
