"""A command handed over to a running server: its arguments, folder, environment and streams."""

from __future__ import annotations

import contextlib
import json
import os
import re
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

MARKS = ("box", "ellipse", "triangle", "point", "arrow", "scribble", "contour", "mask")
"""The options that open a picture to draw on if no coordinates follow."""
_PLACE = re.compile(r"[-+\d.,;:%\s]*\d[-+\d.,;%\s]*(?::[^\s:]\S*)?", re.ASCII)
_FILE = re.compile(r"(?!\d+:(?::|$))[^-:\s]\S*", re.ASCII)
"""Not the number of a picture, alone or with a color."""
_NUMBER = struct.Struct("!I")
_MAX_BYTES = 16_000_000
_SECONDS_TO_CONNECT = 5.0


@dataclass(frozen=True)
class ForwardedCommand:
    """A command as it was typed, and where."""

    arguments: list[str]
    folder: str
    umask: int
    environment: dict[str, str]


def hand_over(arguments: list[str]) -> int | None:
    """Let a running server run a command, and return its exit code; None if no server accepts it."""
    if _needs_hand(arguments):
        # Drawing takes this process's terminal and display.
        return None
    try:
        # A closed stream cannot be handed over.
        for number in (0, 1, 2):
            os.fstat(number)
        path = runtime.runtime_folder() / SOCKET
    except (OSError, VipcliError):
        return None
    if not path.exists():
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        # A suspended server, or another program on this socket, might never answer.
        connection.settimeout(_SECONDS_TO_CONNECT)
        try:
            connection.connect(str(path))
            pid = _forward(connection, arguments)
        except ConnectionRefusedError:
            # A server that was killed leaves its socket behind.
            path.unlink(missing_ok=True)
            return None
        except OSError:
            return None
        if not pid:
            return None
        connection.settimeout(None)
        return _wait(connection, pid)


def _needs_hand(arguments: list[str]) -> bool:
    """Whether a mark may lack coordinates; if it does not after all, that costs a little time, no more."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name.startswith("--") and name[2:] in MARKS:
            text = value if equals else following
            may_be_file = name[2:] in ("contour", "mask")
            if not (_PLACE.fullmatch(text) or (may_be_file and _FILE.fullmatch(text))):
                return True
    return False


def _forward(connection: socket.socket, arguments: list[str]) -> int | None:
    """Send the command, then the streams; return the id of the process that runs it, None if refused."""
    umask = os.umask(0)
    os.umask(umask)
    fields = [__version__, sys.prefix, arguments, str(Path.cwd()), umask, dict(os.environ)]
    message = json.dumps(fields).encode()
    connection.sendall(_NUMBER.pack(len(message)) + message)
    pid = _receive_number(connection)
    if pid:
        # Send the streams only now: if the process never accepted them, they would stay open.
        socket.send_fds(connection, [b"\0"], [0, 1, 2])
    return pid


def _wait(connection: socket.socket, pid: int) -> int:
    """Forward signals to the process that runs the command, and return its exit code once it ends."""
    forwarded: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        forwarded.append(number)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def suspend(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            # This process continues here.
            os.kill(pid, signal.SIGCONT)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, forward)
    signal.signal(signal.SIGTSTP, suspend)
    code = _receive_number(connection)
    if code is not None:
        # Ctrl-C also ends the program piped into this one, and the server may notice that first.
        return INTERRUPTED if signal.SIGINT in forwarded else code
    if forwarded:
        signal.signal(forwarded[-1], signal.SIG_DFL)
        os.kill(os.getpid(), forwarded[-1])
    # The modules that show errors are not loaded in this process.
    sys.stderr.write("error: The server stopped before the answer was complete. Ask again.\n")
    return FAILED


def receive(connection: socket.socket) -> ForwardedCommand:
    """In the server: read the command that a connection sends."""
    length = _receive_number(connection)
    if length is None or length > _MAX_BYTES:
        raise OSError("no command received")
    fields = json.loads(_receive_exactly(connection, length))
    version, prefix, arguments, folder, umask, environment = fields
    if (version, prefix) != (__version__, sys.prefix):
        raise OSError("the command comes from another installation")
    return ForwardedCommand(arguments, folder, umask, environment)


def accept(connection: socket.socket) -> list[int]:
    """Accept the command in this process, and receive its standard input, output and error."""
    connection.sendall(_NUMBER.pack(os.getpid()))
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    if len(streams) != 3:
        raise OSError("no streams received")
    return streams


def send_exit_code(connection: socket.socket, code: int) -> None:
    """Send the exit code of the command."""
    connection.sendall(_NUMBER.pack(code))


def _receive_number(connection: socket.socket) -> int | None:
    data = _receive_exactly(connection, _NUMBER.size)
    return _NUMBER.unpack(data)[0] if len(data) == _NUMBER.size else None


def _receive_exactly(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length and (piece := connection.recv(length - len(received))):
        received += piece
    return received
