"""The process that holds a model: `python -m vipcli.serving.model_process`, configured on standard input.

It answers on a socket in the runtime folder, and on a port if one is configured. On standard output it
writes one line of JSON: its description once it listens, or the error that kept it from starting. It ends
with the process that started it, or when it has been idle for too long.
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
from typing import Any, TextIO

import uvicorn
from pydantic import BaseModel
from starlette.types import ASGIApp

from vipcli import __version__
from vipcli.asking.interface import BatchAnswerer, Setup
from vipcli.checkpoints import lookup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import VipcliError
from vipcli.serving import protocol, runtime
from vipcli.serving.control import LOCAL_HOSTS
from vipcli.serving.http_app import AccessRules, ModelService, RequestLimits
from vipcli.serving.scheduler import Scheduler

_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What a client on this machine sends in its Host header."""


class ProcessConfig(BaseModel):
    """The model to load, and how to serve it."""

    parent: int
    """The id of the process that started this one, which may end before this one can look it up."""
    model: str
    revision: str | None
    offline: bool
    setup: dict[str, Any]
    socket: str
    host: str | None
    """The address of the port; None for no port."""
    port: int
    token: str
    keep_alive: float | None
    """Seconds without a request after which to end; None for never."""
    together: int
    waiting: int
    max_pixels: int


def main() -> None:
    """Load the model and serve it until it is no longer needed."""
    config = ProcessConfig.model_validate_json(sys.stdin.readline())
    started = threading.Event()
    threading.Thread(target=_end_with_parent, args=(config.parent, started), daemon=True).start()
    parent = _stream_to_parent()
    with contextlib.ExitStack() as stack:
        try:
            port, address = _open_port(config)
            checkpoint, model, device = _load(config)
            sockets = [stack.enter_context(runtime.unix_listener(Path(config.socket))), *port]
        except VipcliError as error:
            print(json.dumps(protocol.pack_error(error)), file=parent, flush=True)
            os._exit(1)
        scheduler = Scheduler(model, max_waiting=config.waiting, max_batch=config.together)
        info = _describe(config, checkpoint, device, address)
        service = ModelService(scheduler, checkpoint, info, RequestLimits(pixels=config.max_pixels))
        started.set()
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(info), file=parent, flush=True)
        asyncio.run(_serve(_http_server(service.app(_access_rules(config))), sockets, scheduler, config))
    os._exit(0)


def _stream_to_parent() -> TextIO:
    """Reserve standard output for this module; what libraries print goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return stream


def _end_with_parent(parent: int, started: threading.Event) -> None:
    """While the model loads: end if the process that started this one has ended."""
    while not started.wait(0.5):
        if os.getppid() != parent:
            os._exit(1)


def _open_port(config: ProcessConfig) -> tuple[list[socket.socket], str | None]:
    """Open the configured port, if any, and return its URL. Done first, so that a busy port fails early."""
    host, port = config.host, config.port
    if host is None:
        return [], None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise VipcliError(
            f"Cannot listen on port {port} of {host}: {error.strerror or error}.",
            "Choose another {port} or {host}.",
        ) from None
    url_host = f"[{host}]" if ":" in host else host
    return [listener], f"http://{url_host}:{listener.getsockname()[1]}/v1"


def _load(config: ProcessConfig) -> tuple[Checkpoint, BatchAnswerer, str]:
    """The checkpoint, the loaded model and the device that it is on."""
    from vipcli.engine.local import LocalModel

    checkpoint = lookup.find(config.model, revision=config.revision, offline=config.offline)
    model = LocalModel(checkpoint, Setup(**config.setup), resident=True)
    return checkpoint, model, model.facts.device


def _describe(
    config: ProcessConfig, checkpoint: Checkpoint, device: str, address: str | None
) -> dict[str, Any]:
    return {
        "version": __version__,
        "model": checkpoint.name,
        "revision": checkpoint.revision,
        "stamp": lookup.stamp(checkpoint),
        "setup": config.setup,
        "device": device,
        "pid": os.getpid(),
        "address": address,
    }


def _access_rules(config: ProcessConfig) -> AccessRules | None:
    """Who can use the port; None if there is no port."""
    if config.host is None:
        return None
    names = _LOCAL_NAMES if config.host in LOCAL_HOSTS else frozenset[str]()
    return AccessRules(config.token, names)


def _http_server(app: ASGIApp) -> uvicorn.Server:
    return uvicorn.Server(
        uvicorn.Config(
            app, log_config=None, lifespan="off", ws="none", http="h11", timeout_graceful_shutdown=5
        )
    )


async def _serve(
    server: uvicorn.Server, sockets: list[socket.socket], scheduler: Scheduler, config: ProcessConfig
) -> None:
    watcher = asyncio.create_task(_stop_when_idle(server, scheduler, config))
    await server.serve(sockets)
    watcher.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watcher


async def _stop_when_idle(server: uvicorn.Server, scheduler: Scheduler, config: ProcessConfig) -> None:
    """End the server once it has been idle for too long, or once its parent has ended."""
    while True:
        await asyncio.sleep(0.5)
        idle_since = scheduler.idle_since
        if idle_since is None:
            continue
        idle = time.monotonic() - idle_since
        if os.getppid() != config.parent or (config.keep_alive is not None and idle > config.keep_alive):
            server.should_exit = True
            return


if __name__ == "__main__":
    main()
