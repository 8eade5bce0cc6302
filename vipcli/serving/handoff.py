"""A command handed to the process that serves: its words, folder, environment and streams."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from vipcli import __version__
from vipcli.errors import FAILED, INTERRUPTED, VipcliError
from vipcli.serving import runtime

SOCKET = "ask.sock"

_LENGTH = struct.Struct("!I")
_MOST = 16_000_000
_SECONDS_TO_BEGIN = 5.0


@dataclass(frozen=True)
class Command:
    """What a person typed, and where."""

    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]


def hand_over(arguments: list[str]) -> int | None:
    """Let the process that serves carry out a command, and return its exit code; None if there is none."""
    try:
        # A stream that is closed cannot be handed over.
        for number in (0, 1, 2):
            os.fstat(number)
        path = runtime.runtime() / SOCKET
    except (OSError, VipcliError):
        return None
    if not path.exists():
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        # One that is stopped, or of another kind, must not be waited for.
        connection.settimeout(_SECONDS_TO_BEGIN)
        try:
            connection.connect(str(path))
            umask = os.umask(0)
            os.umask(umask)
            message = json.dumps(
                [__version__, sys.prefix, arguments, str(Path.cwd()), umask, dict(os.environ)]
            ).encode()
            connection.sendall(_LENGTH.pack(len(message)) + message)
            pid = _number(connection)
            if pid:
                # Not sooner: what is on its way to a process that never takes it stays open.
                socket.send_fds(connection, [b"\0"], [0, 1, 2])
        except ConnectionRefusedError:
            # A server that was killed left its socket behind.
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None
        if not pid:
            return None
        connection.settimeout(None)
        return _wait(connection, pid)


def _wait(connection: socket.socket, pid: int) -> int:
    """Pass on what is sent to this process, and wait until the other one ends."""
    passed: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        passed.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def pause(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            # Here it goes on.
            os.kill(pid, signal.SIGCONT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    signal.signal(signal.SIGTSTP, pause)
    code = _number(connection)
    if code is not None:
        # Ctrl-C ended what writes to our pipe, too, and the other process may have seen the pipe's end first.
        return INTERRUPTED if signal.SIGINT in passed else code
    if passed:
        signal.signal(passed[-1], signal.SIG_DFL)
        os.kill(os.getpid(), passed[-1])
    sys.stderr.write("error: The server was ended in the middle of this. Ask again.\n")
    return FAILED


def receive(connection: socket.socket) -> Command:
    """In the process that serves: the command that comes in."""
    length = _number(connection)
    if length is None or length > _MOST:
        raise OSError("no command came")
    version, prefix, arguments, folder, umask, environment = json.loads(_exactly(connection, length))
    if (version, prefix) != (__version__, sys.prefix):
        raise OSError("a command of another installation came")
    return Command(arguments, folder, umask, environment)


def accept(connection: socket.socket) -> list[int]:
    """Say that the command is carried out, and by whom; take its standard input, output and error."""
    connection.sendall(_LENGTH.pack(os.getpid()))
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    if len(streams) != 3:
        raise OSError("no streams came")
    return streams


def tell_code(connection: socket.socket, code: int) -> None:
    """Say how the command ended."""
    connection.sendall(_LENGTH.pack(code))


def _number(connection: socket.socket) -> int | None:
    data = _exactly(connection, _LENGTH.size)
    return _LENGTH.unpack(data)[0] if len(data) == _LENGTH.size else None


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length and (piece := connection.recv(length - len(found))):
        found += piece
    return found
