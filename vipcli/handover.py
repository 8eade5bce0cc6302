"""A command handed to the process that serves: its words, folder, environment and streams."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from vipcli import __version__, state
from vipcli.errors import VipcliError

SOCKET = "ask.sock"

_LENGTH = struct.Struct("!I")
_MOST = 16_000_000


@dataclass(frozen=True)
class Command:
    """What a person typed, and where."""

    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]
    streams: list[int]
    """Standard input, output and error, as descriptors of this process."""


def hand_over(arguments: list[str]) -> int | None:
    """Let the process that serves carry out a command, and return its exit code; None if there is none."""
    try:
        path = state.runtime() / SOCKET
    except VipcliError:
        return None
    if not path.exists():
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
            umask = os.umask(0)
            os.umask(umask)
            message = json.dumps(
                [__version__, sys.prefix, arguments, str(Path.cwd()), umask, dict(os.environ)]
            ).encode()
            socket.send_fds(connection, [_LENGTH.pack(len(message))], [0, 1, 2])
            connection.sendall(message)
            pid = _number(connection)
        except ConnectionRefusedError:
            # A server that was killed left its socket behind.
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None
        if not pid:
            return None
        return _wait(connection, pid)


def _wait(connection: socket.socket, pid: int) -> int:
    def pass_on(number: int, frame: FrameType | None) -> None:
        os.kill(pid, number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = _number(connection)
    if code is None:
        sys.stderr.write("error: The server was ended in the middle of this. Ask again.\n")
        return 1
    return code


def receive(connection: socket.socket) -> Command:
    """In the process that serves: the command that comes in."""
    head, streams, _, _ = socket.recv_fds(connection, _LENGTH.size, 3)
    (length,) = _LENGTH.unpack(head)
    if length > _MOST or len(streams) != 3:
        raise OSError("no command came")
    version, prefix, arguments, folder, umask, environment = json.loads(_exactly(connection, length))
    if (version, prefix) != (__version__, sys.prefix):
        raise OSError("a command of another installation came")
    return Command(arguments, folder, umask, environment, streams)


def tell_pid(connection: socket.socket) -> None:
    """Say that the command is being carried out, and by whom."""
    connection.sendall(_LENGTH.pack(os.getpid()))


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
