"""The runtime folder of a server: its lock and its sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vipcli.errors import ModelError, OutputError, first_line
from vipcli.files import private_folder

_LOCK = "serve.lock"


def runtime_folder() -> Path:
    """The folder of the server's lock and sockets, which only this user can open."""
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        # Where a system has no such folder, platformdirs warns and names another private one.
        warnings.simplefilter("ignore")
        try:
            path = platformdirs.user_runtime_path("vipcli", appauthor=False)
        except OSError as error:
            raise OutputError(
                f"There is no private folder for the server's socket: {first_line(error)}."
            ) from None
    status = private_folder(path).stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise OutputError(
            f"The folder {str(path)!r} is open to other users. Make it private with chmod 700, or delete it."
        )
    return path


@contextmanager
def server_lock(model: str) -> Iterator[TextIO]:
    """Hold the lock that only one server can have; its file names the process and the model."""
    import fcntl

    with (runtime_folder() / _LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(
                "A server is already running.",
                "vipcli serve {status} describes it, and vipcli serve {stop} stops it.",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {model}")
        file.flush()
        try:
            yield file
        finally:
            file.truncate(0)


def lock_holder() -> tuple[int, str] | None:
    """The process that holds the server's lock, perhaps still loading, and its model."""
    import fcntl

    try:
        with (runtime_folder() / _LOCK).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid, _, model = file.read().partition(" ")
                return (int(pid), model) if pid.isdecimal() else None
    except FileNotFoundError:
        pass
    return None


@contextmanager
def unix_listener(path: Path) -> Iterator[socket.socket]:
    """A listening socket at that path, which appears there only once it accepts connections."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        try:
            listener.bind(str(unfinished))
            unfinished.chmod(0o600)
            listener.listen(256)
            unfinished.replace(path)
        except OSError as error:
            raise OutputError(f"Cannot listen on the socket {str(path)!r}: {first_line(error)}.") from None
        yield listener
