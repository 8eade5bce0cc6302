"""Where a running server is found: its folder, its lock and its sockets."""

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


def runtime() -> Path:
    """Where a running server is found: a folder that nobody else can look into."""
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        # Where a system names no such folder, another that is as private does as well.
        warnings.simplefilter("ignore")
        try:
            path = platformdirs.user_runtime_path("vipcli", appauthor=False)
        except OSError as error:
            raise OutputError(
                f"There is no private folder for a server's socket: {first_line(error)}."
            ) from None
    found = private_folder(path).stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OutputError(f"{str(path)!r} is open to others. Take it away, or make it private: chmod 700.")
    return path


@contextmanager
def server_lock(model: str) -> Iterator[TextIO]:
    """Be the one server, from its beginning to its end; the file tells who it is."""
    import fcntl

    with (runtime() / _LOCK).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ModelError(
                "A server runs already. vipcli serve --status tells of it, and --stop ends it."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {model}")
        file.flush()
        try:
            yield file
        finally:
            file.truncate(0)


def beginning_server() -> tuple[int, str] | None:
    """The process of the server that runs or is about to, and its model."""
    import fcntl

    try:
        with (runtime() / _LOCK).open(encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                pid, _, model = file.read().partition(" ")
                return (int(pid), model) if pid.isdecimal() else None
    except FileNotFoundError:
        pass
    return None


@contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A socket of that name, found there once it listens and no sooner."""
    aside = path.with_name(f"{path.name}.new")
    aside.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as door:
        try:
            door.bind(str(aside))
            aside.chmod(0o600)
            door.listen(256)
            aside.replace(path)
        except OSError as error:
            raise OutputError(f"{str(path)!r} cannot be listened on: {first_line(error)}.") from None
        yield door
