"""Conversations that are saved as they go, so that they can be resumed."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from vipcli.errors import ConversationError
from vipcli.files import private_folder, replace_file, state_folder

_MOST_CONVERSATIONS = 50


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
    return private_folder(state_folder() / "chats")


def _conversations() -> list[Path]:
    """All that are kept, the newest last."""
    found = [(file.stat().st_mtime, file) for file in _chats().glob("*.json")]
    return [file for _, file in sorted(found)]
