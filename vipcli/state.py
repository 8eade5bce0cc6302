"""What is kept between runs without being asked for: the running conversation and what was typed."""

from __future__ import annotations

import os
import time
from pathlib import Path

from vipcli.errors import ConversationError, OutputError, first_line
from vipcli.files import replace_file

_MOST_CONVERSATIONS = 50


def folder() -> Path:
    """Where it is kept, made if need be, for this person's eyes alone."""
    import platformdirs

    path = platformdirs.user_state_path("vipcli", appauthor=False)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be made: {first_line(error)}.") from None
    return path


def runtime() -> Path:
    """Where a running server is found: a folder that nobody else can look into."""
    import warnings

    import platformdirs

    with warnings.catch_warnings():
        # Where a system names no such folder, another that is as private does as well.
        warnings.simplefilter("ignore")
        path = platformdirs.user_runtime_path("vipcli", appauthor=False)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.stat()
    except OSError as error:
        raise OutputError(f"{str(path)!r} cannot be made: {first_line(error)}.") from None
    if found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise OutputError(f"{str(path)!r} is open to others. Take it away, or make it private: chmod 700.")
    return path


def new_conversation() -> Path:
    """A file for a conversation that begins; the oldest of many leave."""
    kept = _conversations()
    for old in kept[: -_MOST_CONVERSATIONS + 1]:
        old.unlink(missing_ok=True)
    return _chats() / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.json"


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
    path = folder() / "chats"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def _conversations() -> list[Path]:
    """All that are kept, the newest last."""
    found = [(file.stat().st_mtime, file) for file in _chats().glob("*.json")]
    return [file for _, file in sorted(found)]
