"""What `vipcli serve` runs: a process that holds the model, and quick answers to `vipcli ask`.

The modules that a question needs take longer to import than a short answer takes. Here they are imported
once, and each `ask` is carried out in a fork of this process, with the streams, the folder and the
environment of the command that came in. This process has one thread and no torch, so it is safe to fork.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vipcli import handover, state
from vipcli.errors import INTERRUPTED, ModelError

_ENDED = '{"error": "The process that was to hold the model ended at once."}'


class Front:
    """One server: its process with the model, and the socket that commands come in by."""

    def __init__(self, orders: dict[str, Any]) -> None:
        self._orders = orders
        self._folder = state.runtime()
        self._over = False

    def run(self, ready: Any) -> None:
        """Serve until told to end; `ready` is called with what the model's process says of itself."""
        with self._alone(), self._resident() as resident:
            _import_what_questions_need()
            told = json.loads(
                resident.stdout.readline() or b'{"error": "The model\'s process ended at once."}'
            )
            if "error" in told:
                raise ModelError(told["error"])
            with self._listening() as door:
                ready(told)
                self._welcome(door, resident)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        lock = FileLock(self._folder / "serve.lock", blocking=False)
        try:
            with lock:
                yield
        except Timeout:
            raise ModelError(
                "A server runs already. vipcli serve --stop ends it, --status tells of it."
            ) from None

    @contextlib.contextmanager
    def _resident(self) -> Iterator[Any]:
        process = subprocess.Popen(
            [sys.executable, "-m", "vipcli.resident"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(self._orders).encode() + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            Path(self._orders["socket"]).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[socket.socket]:
        path = self._folder / handover.SOCKET
        path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(path))
            path.chmod(0o600)
            door.listen(128)
            try:
                yield door
            finally:
                path.unlink(missing_ok=True)

    def _welcome(self, door: socket.socket, resident: Any) -> None:
        """Let commands in until the model's process ends, or until this one is told to."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._end)
        # Those that were forked leave nothing to be waited for.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        while not self._over:
            # Between the look at the flag and the wait, a signal could come; so the wait is never long.
            found, _, _ = select.select([door, resident.stdout], [], [], 0.5)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG) != (0, 0):
                    pass
            if resident.stdout in found or resident.poll() is not None:
                return
            if door in found:
                command, _ = door.accept()
                with command:
                    if os.fork() == 0:
                        _carry_out(command, door)

    def _end(self, number: int, frame: Any) -> None:
        self._over = True


def _carry_out(connection: socket.socket, door: socket.socket) -> None:
    """In a fork: become the command that came in, and leave with its exit code."""
    code = 1
    try:
        door.close()
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        command = handover.receive(connection)
        _become(command)
        handover.tell_pid(connection)
        from vipcli.cli import main

        code = main()
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        with contextlib.suppress(OSError):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        with contextlib.suppress(OSError):
            handover.tell_code(connection, code)
        os._exit(0)


def _become(command: handover.Command) -> None:
    for target, given in enumerate(command.streams):
        os.dup2(given, target)
        os.close(given)
    os.chdir(command.folder)
    os.umask(command.umask)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.argv = ["vipcli", *command.arguments]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)


def _stream(number: int) -> io.TextIOWrapper:
    binary = open(number, "wb", buffering=0 if number == 2 else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary, encoding="utf-8", line_buffering=os.isatty(number), write_through=number == 2
    )


def _import_what_questions_need() -> None:
    """All that a question about a picture imports, but for torch and the hub."""
    import http.client  # noqa: F401
    import queue  # noqa: F401
    import uuid  # noqa: F401

    import cv2
    import pydantic  # noqa: F401
    from PIL import Image

    import vipcli.asking
    import vipcli.checkpoints
    import vipcli.cli
    import vipcli.drawing
    import vipcli.images
    import vipcli.remote
    import vipcli.videos
    import vipcli.wire  # noqa: F401

    # A fork has one thread, and would wait for ever for those that were left behind.
    cv2.setNumThreads(1)
    Image.init()
