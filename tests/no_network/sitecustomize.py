"""Keeps Python from reaching other machines: in the tests, and in every Python process that they start.

Python imports a module of this name at start-up. `tests/conftest.py` puts this folder on PYTHONPATH, which
`python -P` reads as well. `python -I` does not: for it, and for libraries with sockets of their own,
conftest.py names a proxy that nothing listens to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname")
_LOCAL = ("localhost", "127.0.0.1", "::1", "")


def forbid_network(error: Callable[[str], BaseException]) -> None:
    """Raise an error wherever Python would reach another machine, or look up its address."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not event.startswith("socket."):
            return
        if event in _LOOKUPS:
            host = arguments[0]
        elif event in _SENDS and isinstance(arguments[1], tuple):
            # The addresses of Unix sockets are no tuples.
            host = arguments[1][0]
        else:
            return
        if isinstance(host, bytes):
            host = host.decode(errors="replace")
        if isinstance(host, str) and not _is_this_machine(host):
            raise error(f"the tests may not reach {host!r}")

    sys.addaudithook(hook)


def _is_this_machine(host: str) -> bool:
    if host in _LOCAL:
        return True
    import socket

    if host == socket.gethostname():
        return True
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except OSError:
        return False
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            # Only an address of this machine can be bound.
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def _unreachable(message: str) -> OSError:
    import errno

    return OSError(errno.ENETUNREACH, message)


if __name__ == "sitecustomize":
    forbid_network(_unreachable)
