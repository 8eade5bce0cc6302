"""Write files so that their content survives a crash or a power failure."""

from __future__ import annotations

import io
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from vipcli.errors import OutputError
from vipcli.files import write_failure


def write_all(file: io.FileIO, data: bytes) -> None:
    """Write all data to an unbuffered file."""
    remaining = memoryview(data)
    # A nearly full disk accepts a part, and raises only at the next write.
    while remaining:
        remaining = remaining[file.write(remaining) :]


def sync(file: IO[bytes]) -> None:
    """Flush a file to the disk."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, so that a new or renamed file survives a crash."""
    # Not all file systems support it, and the folder may be unreadable.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def temporary_beside(target: Path) -> Iterator[Path]:
    """A path in the target's folder; the file is removed after an exception."""
    temporary = target.with_name(f".vipcli-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def replace_durably(temporary: Path, target: Path) -> None:
    """Rename a complete, synced file to the target, keeping the permissions of the target."""
    if target.exists():
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    temporary.replace(target)
    sync_folder(target.parent)


def write_error(error: OSError | ValueError, name: str, path: Path) -> OutputError:
    """The error for a file that could not be written; messages call it `name`."""
    sentence = write_failure(error, f"the file {name}", path)
    return OutputError(sentence[:1].upper() + sentence[1:])
