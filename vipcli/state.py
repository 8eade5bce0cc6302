"""What is kept between runs without being asked for: the running conversation and what was typed."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from vipcli.errors import ConversationError, ModelError, OutputError, first_line
from vipcli.files import private_folder, replace_file

_MOST_CONVERSATIONS = 50
_LOCK = "serve.lock"


def folder() -> Path:
    """Where it is kept, made if need be, for this person's eyes alone."""
    import platformdirs

    return private_folder(platformdirs.user_state_path("vipcli", appauthor=False))


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


def new_conversation() -> Path:
    """A file for a conversation that begins; the oldest of many leave."""
    kept = _conversations()
    for old in kept[: -_MOST_CONVERSATIONS + 1]:
        old.unlink(missing_ok=True)
    return _chats() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.json"


def last_conversation() -> Path:
    """The conversation that was written to last."""
    kept = _conversations()
    if not kept:
        raise ConversationError("There is no conversation to take up. Begin one: vipcli chat PICTURE.")
    return kept[-1]


def keep(path: Path, text: str) -> None:
    """Write a conversation down."""
    replace_file(path, text.encode())


def _chats() -> Path:
    return private_folder(folder() / "chats")


def _conversations() -> list[Path]:
    """All that are kept, the newest last."""
    found = [(file.stat().st_mtime, file) for file in _chats().glob("*.json")]
    return [file for _, file in sorted(found)]
