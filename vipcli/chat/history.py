"""Conversations that are saved automatically, so that the last one can be resumed."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from pathlib import Path

from vipcli.files import private_folder, replace_file, state_folder

_MAX_CONVERSATIONS = 50
_PICTURES = "pictures"
_DAY = 24 * 60 * 60


def new_conversation() -> Path:
    """Choose a file for a new conversation, and delete the oldest ones if there are too many."""
    for old in _conversations()[: -_MAX_CONVERSATIONS + 1]:
        old.unlink(missing_ok=True)
    _delete_unused_pictures()
    return _chats_folder() / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}.json"


def last_conversation() -> Path | None:
    """The most recently saved conversation; None if there is none."""
    return next(reversed(_conversations()), None)


def save(path: Path, text: str) -> None:
    """Write a conversation to its file."""
    replace_file(path, text.encode())


def keep_picture(name: str, content: bytes) -> Path:
    """Write a picture that came without a file to one, so that its conversation can be resumed."""
    plain = re.sub(r"[^\w.-]+", "-", Path(name).name)
    path = private_folder(_chats_folder() / _PICTURES) / (
        f"{Path(plain).stem[:40]}-{hashlib.sha256(content).hexdigest()[:16]}{Path(plain).suffix[:10].lower()}"
    )
    replace_file(path, content)
    return path


def discard_picture(path: Path) -> None:
    """Delete a picture that was kept, unless it belongs to another conversation too."""
    _delete_unused([path])


def _delete_unused_pictures() -> None:
    """Delete pictures of conversations that are gone; a new one may not have been asked about yet."""
    folder = _chats_folder() / _PICTURES
    _delete_unused([file for file in folder.glob("*") if time.time() - file.stat().st_mtime > _DAY])


def _delete_unused(pictures: list[Path]) -> None:
    if not pictures:
        return
    texts = [conversation.read_text(encoding="utf-8", errors="replace") for conversation in _conversations()]
    for file in pictures:
        if not any(file.name in text for text in texts):
            file.unlink(missing_ok=True)


def _chats_folder() -> Path:
    return private_folder(state_folder() / "chats")


def _conversations() -> list[Path]:
    """All saved conversations, the newest last."""
    files = [(file.stat().st_mtime, file) for file in _chats_folder().glob("*.json")]
    return [file for _, file in sorted(files)]
