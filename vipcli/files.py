"""Files written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from vipcli.errors import OutputError


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
