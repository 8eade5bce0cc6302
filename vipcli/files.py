"""Atomic writing of files, private folders, and messages for errors of the file system."""

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


def replace_file(target: Path, data: bytes, label: str | None = None) -> None:
    """Write a file atomically; `label` names it in errors."""
    try:
        # Write to the target of a symbolic link, so that the link stays.
        _replace(Path(os.path.realpath(target)), data)
    except (OSError, ValueError) as error:
        raise OutputError(write_failure(error, label or repr(str(target)), target)) from error


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


def write_failure(error: OSError | ValueError, label: str, target: Path) -> str:
    """A sentence on why the file could not be written."""
    match getattr(error, "errno", None):
        case errno.ENOENT | errno.ENOTDIR:
            return f"There is no folder {str(target.parent)!r}. Create it, or choose another."
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"{label} is not writable. Check its permissions and those of its folder."
        case errno.ENOSPC | errno.EDQUOT:
            return f"The disk is full, so {label} was not written. Free some space, or choose another place."
        case None:
            return f"{label} cannot be the name of a file."
        case _:
            return f"{label} cannot be written: {getattr(error, 'strerror', error)}."


def private_folder(path: Path) -> Path:
    """Create a folder that only this user can read, unless it exists."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise OutputError(f"The folder {str(path)!r} cannot be created: {reason}.") from None
    return path


@contextmanager
def reading(subject: str) -> Iterator[None]:
    """Turn a failure to read `subject` into a usage error."""
    try:
        yield
    except OSError as error:
        raise UsageError(read_failure(subject, error)) from error


def read_failure(subject: str, error: OSError) -> str:
    """A sentence on why `subject` could not be read."""
    return f"{subject} cannot be read: {error.strerror or error}."


def quote(name: object) -> str:
    """The name of a file or folder for a message: quoted, on one line, shortened if very long."""
    text = repr(str(name))
    return text if len(text) <= 120 else f"{text[:40]}…{text[-79:]}"


def source_exists(source: str) -> bool:
    """Whether there is a file or folder of this name; False for a pattern too long to be a name."""
    try:
        return Path(source).exists()
    except OSError as error:
        if glob.has_magic(source):
            return False
        raise UsageError(read_failure(f"The path {quote(source)}", error)) from error


def path_exists(path: Path) -> bool:
    """Whether the file or folder exists; False for names that the file system rejects."""
    try:
        return path.exists()
    except OSError:
        return False


def is_folder(entry: Path | os.DirEntry[str]) -> bool:
    """Whether the entry is a folder; False for a link to itself, where asking fails."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def reading_parts(parts: Iterable[bytes], subject: str) -> Iterator[bytes]:
    """Yield the parts; turn a failure to read them into a usage error."""
    with reading(subject):
        yield from parts


def state_folder() -> Path:
    """The folder for files that vipcli saves between runs."""
    import platformdirs

    return private_folder(platformdirs.user_state_path("vipcli", appauthor=False))
