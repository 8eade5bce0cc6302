"""Who is at the other end of a connection on this machine."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

# What Linux knows about connections, and how an address of IPv4 begins there.
_TABLES = (("/proc/net/tcp", ""), ("/proc/net/tcp6", "0000000000000000FFFF0000"))
_NOBODY = -1


def is_ours(connection: socket.socket) -> bool:
    """Whether the other end of a connection belongs to this user or to root, as far as the system tells."""
    try:
        user = _user_of(connection.getpeername(), connection.getsockname())
        # If the other end is gone by now, who it was is no longer known.
        connection.getpeername()
    except OSError:
        return False
    return user is None or user in (0, os.getuid())


def _user_of(end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """The user who owns one end of a connection between two addresses; None if that is unknown."""
    for table, prefix in _TABLES:
        addresses = [prefix + _as_in_table(*address) for address in (end, other)]
        with suppress(FileNotFoundError, PermissionError), Path(table).open(encoding="ascii") as lines:
            for line in lines:
                if addresses[0] in line and (fields := line.split())[1:3] == addresses:
                    # A socket that its program has closed has no inode, and is listed as if it were root's.
                    return int(fields[7]) if fields[9] != "0" else _NOBODY
    return None


def _as_in_table(address: str, port: int) -> str:
    return f"{int.from_bytes(socket.inet_aton(address), sys.byteorder):08X}:{port:04X}"
