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
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from vipcli.errors import FAILED, INTERRUPTED, USED_WRONGLY, ModelError, UsageError
from vipcli.serving import handoff, runtime

_ENDED = '{"error": "The process that was to hold the model ended at once.", "code": 1}'


class Front:
    """One server: its process with the model, and the socket that commands come in by."""

    def __init__(self, orders: dict[str, Any], run: Callable[[], int], warm: Callable[[], None]) -> None:
        self._orders = orders
        self._run = run
        """Runs the command line and returns its exit code."""
        self._warm = warm
        """Imports what commands need."""
        self._folder = runtime.runtime()
        self._over = False

    def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until told to end; `ready` is called with what the model's process says of itself."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            # Whoever ends this while the model loads ends what loads it, too.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        with self._alone(), self._resident() as resident:
            self._warm()
            _import_what_questions_need()
            assert resident.stdout is not None
            told = json.loads(resident.stdout.readline() or _ENDED)
            if "error" in told:
                raise (UsageError if told["code"] == USED_WRONGLY else ModelError)(told["error"])
            with self._listening() as door:
                ready(told)
                self._welcome(door, resident)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with runtime.server_lock(self._orders["model"]) as lock:
            self._lock = lock
            yield

    @contextlib.contextmanager
    def _resident(self) -> Iterator[subprocess.Popen[bytes]]:
        # Without -P, a file in this folder could stand in for a module; and Ctrl-C here is not for it.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vipcli.serving.model_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            orders = {**self._orders, "parent": os.getpid()}
            process.stdin.write(json.dumps(orders).encode() + b"\n")
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
        path = self._folder / handoff.SOCKET
        with runtime.listening(path) as door:
            try:
                yield door
            finally:
                path.unlink(missing_ok=True)

    def _welcome(self, door: socket.socket, resident: subprocess.Popen[bytes]) -> None:
        """Let commands in until the model's process ends, or until this one is told to."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._end)
        forks: set[int] = set()
        while not self._over:
            # Between the look at the flag and the wait, a signal could come; so the wait is never long.
            found, _, _ = select.select([door], [], [], 0.2)
            forks = {pid for pid in forks if os.waitpid(pid, os.WNOHANG) == (0, 0)}
            if resident.poll() is not None:
                break
            if door not in found:
                continue
            # One that cannot be let in must not end what the others have.
            with contextlib.suppress(OSError):
                command, _ = door.accept()
                with command:
                    pid = os.fork()
                    if pid == 0:
                        door.close()
                        self._lock.close()
                        _carry_out(command, self._run)
                    forks.add(pid)
        if resident.poll() not in (None, 0, -signal.SIGTERM):
            raise ModelError(
                f"The process that held the model was ended ({resident.returncode}). "
                "Begin it again: vipcli serve."
            )

    def _end(self, number: int, frame: Any) -> None:
        self._over = True


def _carry_out(connection: socket.socket, run: Callable[[], int]) -> None:
    """In a fork: become the command that came in, and leave with its exit code."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Where this fails, the command is carried out where it came from.
        with contextlib.suppress(Exception):
            _become(handoff.receive(connection))
            _speak_through(handoff.accept(connection))
            _run(connection, run)
    finally:
        os._exit(0)


def _run(connection: socket.socket, run: Callable[[], int]) -> None:
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    code = FAILED
    try:
        code = run()
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        with contextlib.suppress(OSError):
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        with contextlib.suppress(OSError):
            handoff.tell_code(connection, code)


def _end_with(connection: socket.socket) -> None:
    """End this process if the one that handed over its command ends first."""
    with contextlib.suppress(OSError):
        if not connection.recv(1):
            os.kill(os.getpid(), signal.SIGTERM)


def _become(command: handoff.Command) -> None:
    if "huggingface_hub" in sys.modules and _hub_settings(command.environment) != _hub_settings(os.environ):
        raise OSError("the hub's library has read other settings already")
    os.chdir(command.folder)
    os.umask(command.umask)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.argv = ["vipcli", *command.arguments]


def _speak_through(streams: list[int]) -> None:
    for target, given in enumerate(streams):
        os.dup2(given, target)
        os.close(given)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)


def _hub_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("HF_") or name in ("HOME", "XDG_CACHE_HOME")
    }


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

    # A fork has one thread, and would wait for ever for those that were left behind.
    cv2.setNumThreads(1)
    Image.init()
