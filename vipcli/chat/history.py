"""Conversations that are saved automatically, so that the last one can be resumed."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from vipcli.files import private_folder, replace_file, state_folder

_MAX_CONVERSATIONS = 50


def new_conversation() -> Path:
    """Choose a file for a new conversation, and delete the oldest ones if there are too many."""
    for old in _conversations()[: -_MAX_CONVERSATIONS + 1]:
        old.unlink(missing_ok=True)
    return _chats_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.json"


def last_conversation() -> Path | None:
    """The most recently saved conversation; None if there is none."""
    return next(reversed(_conversations()), None)


def save(path: Path, text: str) -> None:
    """Write a conversation to its file."""
    replace_file(path, text.encode())


def _chats_folder() -> Path:
    return private_folder(state_folder() / "chats")


def _conversations() -> list[Path]:
    """All saved conversations, the newest last."""
    files = [(file.stat().st_mtime, file) for file in _chats_folder().glob("*.json")]
    return [file for _, file in sorted(files)]
