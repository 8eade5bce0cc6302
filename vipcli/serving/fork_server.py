"""What `vipcli serve` runs: it starts the process that holds the model, and runs `vipcli ask` commands.

Importing the modules that a question needs takes longer than a short answer. This process imports them
once, and runs each `ask` in a fork of itself with the streams, the folder and the environment of the
forwarded command. It has one thread and no torch, so it is safe to fork.
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

from vipcli.errors import FAILED, INTERRUPTED, ModelError
from vipcli.serving import handoff, protocol, runtime


class ForkServer:
    """A server: the process that holds the model, and the socket that accepts commands."""

    def __init__(self, config: dict[str, Any], run: Callable[[], int], warm: Callable[[], None]) -> None:
        self._config = config
        self._run = run
        """Runs the command line and returns its exit code."""
        self._warm = warm
        """Imports what commands need."""
        self._folder = runtime.runtime_folder()
        self._stopping = False

    def run(self, ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until stopped; `ready` gets the description of the server once it listens."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            # While the model loads, these signals must also end the process that loads it.
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, signal.default_int_handler)
        with self._only_server(), self._model_process() as process:
            self._warm()
            _import_for_questions()
            info = _read_info(process)
            with self._listener() as listener:
                ready(info)
                self._accept_commands(listener, process)

    @contextlib.contextmanager
    def _only_server(self) -> Iterator[None]:
        with runtime.server_lock(self._config["model"]) as lock:
            self._lock = lock
            yield

    @contextlib.contextmanager
    def _model_process(self) -> Iterator[subprocess.Popen[bytes]]:
        # Without -P, a file in the current folder could replace a module. In a session of its own,
        # the process does not get the terminal's Ctrl-C.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vipcli.serving.model_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        try:
            config = {**self._config, "parent": os.getpid()}
            process.stdin.write(json.dumps(config).encode() + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            Path(self._config["socket"]).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _listener(self) -> Iterator[socket.socket]:
        path = self._folder / handoff.SOCKET
        with runtime.unix_listener(path) as listener:
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)

    def _accept_commands(self, listener: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """Run commands until the model's process ends or this one is stopped."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._stop)
        forks: set[int] = set()
        while not self._stopping:
            # A signal that arrives between the check and the wait must not be missed for long.
            readable, _, _ = select.select([listener], [], [], 0.2)
            forks = {pid for pid in forks if os.waitpid(pid, os.WNOHANG) == (0, 0)}
            if process.poll() is not None:
                break
            if listener in readable:
                # A connection that fails must not end the commands of others.
                with contextlib.suppress(OSError):
                    forks.add(self._fork(listener))
        if process.poll() not in (None, 0, -signal.SIGTERM):
            raise ModelError(
                f"The model process ended unexpectedly ({process.returncode}). "
                "Start it again with vipcli serve."
            )

    def _fork(self, listener: socket.socket) -> int:
        """Run the next command in a fork, and return its process id."""
        connection, _ = listener.accept()
        with connection:
            pid = os.fork()
            if pid == 0:
                listener.close()
                self._lock.close()
                _run_command(connection, self._run)
            return pid

    def _stop(self, number: int, frame: Any) -> None:
        self._stopping = True


def _read_info(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Read the description that the model process sends once it listens, or raise the error it sends."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise ModelError("The model process ended while starting.")
    info: dict[str, Any] = json.loads(line)
    if "error" in info:
        raise protocol.unpack_error(info)
    return info


def _run_command(connection: socket.socket, run: Callable[[], int]) -> None:
    """In a fork: run the forwarded command, and exit."""
    try:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # If this fails, the process that sent the command runs it.
        with contextlib.suppress(Exception):
            _apply_context(handoff.receive(connection))
            _use_streams(handoff.accept(connection))
            _run_connected(connection, run)
    finally:
        os._exit(0)


def _run_connected(connection: socket.socket, run: Callable[[], int]) -> None:
    threading.Thread(target=_exit_with_client, args=(connection,), daemon=True).start()
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
            handoff.send_exit_code(connection, code)


def _exit_with_client(connection: socket.socket) -> None:
    """End this process if the one that sent the command ends first."""
    with contextlib.suppress(OSError):
        if not connection.recv(1):
            os.kill(os.getpid(), signal.SIGTERM)


def _apply_context(command: handoff.ForwardedCommand) -> None:
    if "huggingface_hub" in sys.modules and _hub_settings(command.environment) != _hub_settings(os.environ):
        raise OSError("huggingface_hub has already read other settings")
    os.chdir(command.folder)
    os.umask(command.umask)
    os.environ.clear()
    os.environ.update(command.environment)
    sys.argv = ["vipcli", *command.arguments]


def _use_streams(streams: list[int]) -> None:
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)
        os.close(descriptor)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = _output_stream(1)
    sys.stderr = _output_stream(2)


def _hub_settings(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith("HF_") or name in ("HOME", "XDG_CACHE_HOME")
    }


def _output_stream(number: int) -> io.TextIOWrapper:
    binary = open(number, "wb", buffering=0 if number == 2 else -1, closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(
        binary, encoding="utf-8", line_buffering=os.isatty(number), write_through=number == 2
    )


def _import_for_questions() -> None:
    """Import what a question about a picture needs, except torch and the hub's library."""
    import http.client  # noqa: F401
    import queue  # noqa: F401
    import uuid  # noqa: F401

    import cv2
    import pydantic  # noqa: F401
    from PIL import Image

    # OpenCV's threads do not exist in a fork, which would wait for them forever.
    cv2.setNumThreads(1)
    Image.init()
