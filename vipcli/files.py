"""Files written whole or not at all, folders, and sentences for what a disk answers."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vipcli.errors import OutputError, UsageError, first_line


def replace_file(target: Path, data: bytes, shown: str | None = None) -> None:
    """Put a file in place in one step, so that nobody ever finds half of it; `shown` names it in messages."""
    try:
        # A link stays a link: what it points to is written.
        _replace(Path(os.path.realpath(target)), data)
    except (OSError, ValueError) as error:
        raise OutputError(why_unwritten(error, shown or repr(str(target)), target)) from error


def _replace(target: Path, data: bytes) -> None:
    temporary = target.with_name(f".vipcli-{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            if target.exists():
                temporary.chmod(stat.S_IMODE(target.stat().st_mode))
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def why_unwritten(error: OSError | ValueError, shown: str, target: Path) -> str:
    """Why a file was not written, in a sentence."""
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENOTDIR:
            return f"There is no folder {str(target.parent)!r}. Make it, or name another."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{shown} may not be written. Check the permissions of it and its folder."
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full, so {shown} was not written. Make room, or name another place."
        case None:
            return f"{shown} cannot be the name of a file."
        case _:
            return f"{shown} cannot be written: {getattr(error, 'strerror', error)}."


def private_folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise OutputError(f"The folder {str(path)!r} cannot be made: {reason}.") from None
    return path


@contextmanager
def in_words(subject: str) -> Iterator[None]:
    """Turn what a disk or a strange name can do into a sentence."""
    try:
        yield
    except OSError as error:
        raise UsageError(unread(subject, error)) from error


def unread(subject: str, error: OSError) -> str:
    return f"{subject} cannot be read: {error.strerror or error}."


def in_quotes(name: object) -> str:
    """How a message names a file or folder: on one line, and not endlessly."""
    text = repr(str(name))
    return text if len(text) <= 120 else f"{text[:40]}…{text[-79:]}"


def is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except OSError as error:
        # A pattern may be longer than any name.
        if glob.has_magic(source):
            return False
        raise UsageError(unread(f"The path {in_quotes(source)}", error)) from error


def exists(path: Path) -> bool:
    """Whether there is a file or folder; none where the name is impossible."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(one: Path | os.DirEntry[str]) -> bool:
    try:
        return one.is_dir()
    # A link to itself is none, and whoever opens it will hear so.
    except OSError:
        return False


def told_of(parts: Iterable[bytes], subject: str) -> Iterator[bytes]:
    """The parts as they come, and a sentence where they cannot be read any longer."""
    with in_words(subject):
        yield from parts


def state_folder() -> Path:
    """The folder for what is saved between runs, which only this user can read; created if missing."""
    import platformdirs

    return private_folder(platformdirs.user_state_path("vipcli", appauthor=False))
