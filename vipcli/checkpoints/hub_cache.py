"""The Hugging Face cache: list, download and remove checkpoints. Does not import torch."""

from __future__ import annotations

import errno
import logging
import math
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vipcli.errors import ModelError, first_line

# The only weights are safetensors; everything else is text.
_FILE_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt"]
_PARTIAL = ".incomplete"
_STALE_AFTER = 60.0
"""Seconds without a write after which a download counts as stopped."""

T = TypeVar("T")


class NotCachedError(ModelError):
    """A checkpoint that is not in the cache and cannot be downloaded."""


@dataclass(frozen=True, slots=True)
class CachedCheckpoint:
    """A checkpoint in the cache."""

    name: str
    size: int
    """Bytes on disk, without partial downloads."""
    folder: Path


def cache_folder() -> Path:
    """Return the folder of the cache."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch(
    name: str, revision: str | None = None, *, offline: bool = False, show_progress: bool = False
) -> Path:
    """Download a checkpoint's missing files, and return its folder."""
    from huggingface_hub import snapshot_download

    def download() -> Path:
        with _default_interrupt():
            folder = snapshot_download(
                name,
                revision=revision,
                allow_patterns=_FILE_PATTERNS,
                local_files_only=offline,
                tqdm_class=_progress_bar(shown=show_progress),
            )
        return Path(folder)

    return _explain_failure(name, revision, offline, download)


def fetch_config(name: str, revision: str | None = None) -> Path:
    """Download a checkpoint's config.json alone, and return its path."""
    from huggingface_hub import hf_hub_download

    def download() -> Path:
        return Path(
            hf_hub_download(name, "config.json", revision=revision, tqdm_class=_progress_bar(shown=False))
        )

    return _explain_failure(name, revision, False, download)


def download_sizes(name: str, revision: str | None = None) -> dict[str, int]:
    """Return a checkpoint's files on the hub, with the bytes still to download for each."""
    from huggingface_hub import errors, snapshot_download

    def look_up() -> dict[str, int]:
        try:
            files = snapshot_download(
                name,
                revision=revision,
                allow_patterns=_FILE_PATTERNS,
                dry_run=True,
                tqdm_class=_progress_bar(shown=False),
            )
        except errors.DryRunError as error:
            # This error wraps the hub's own response.
            if isinstance(error.__cause__, errors.HfHubHTTPError):
                raise error.__cause__ from None
            raise errors.LocalEntryNotFoundError(str(error)) from None
        return {file.filename: file.file_size or 0 if file.will_download else 0 for file in files}

    return _explain_failure(name, revision, False, look_up)


def _progress_bar(*, shown: bool) -> Any:
    """Return the hub's progress bar; even if shown, it appears only in a terminal."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # None disables it outside of a terminal.
            super().__init__(*args, **{**kwargs, "disable": None if shown else True})  # type: ignore[no-untyped-call]

    return Bar


def remove_stale_downloads(name: str) -> None:
    """Delete partial files of stopped downloads, unless one is still being written.

    Newer versions of the library never resume them. Older versions do, and name them differently.
    """
    from filelock import FileLock, Timeout

    repository = cache_folder() / f"models--{name.replace('/', '--')}"
    for partial in repository.glob(f"blobs/*.*{_PARTIAL}"):
        # The library holds this lock while it writes, on file systems that have locks.
        lock = cache_folder() / ".locks" / repository.name / f"{partial.name.split('.')[0]}.lock"
        try:
            if time.time() - partial.stat().st_mtime > _STALE_AFTER:
                lock.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(lock, timeout=0):
                    partial.unlink()
        # A file that cannot be deleted does no harm but take up space.
        except (OSError, Timeout):
            continue


def repair_advice(checkpoint: Path) -> str:
    """Say how to repair a damaged checkpoint; one in the cache must be removed first."""
    repository = checkpoint.absolute().parents[1]
    if checkpoint.absolute().parent.name == "snapshots" and repository.name.startswith("models--"):
        name = repository.name.removeprefix("models--").replace("--", "/")
        return f"Remove it with vipcli models rm {name}, then download it again."
    return "Download it again."


def check_disk_space(name: str, needed: int) -> None:
    """Refuse a download that the disk has no space for."""
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ModelError(
            f"{name} needs {format_size(needed)} more disk space, but {folder} has only {format_size(free)}.",
            "Free some space, or set HF_HOME to a folder on another disk.",
        )


def cached_checkpoints() -> list[CachedCheckpoint]:
    """List the checkpoints in the cache, by name."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    checkpoints = (
        CachedCheckpoint(repository.repo_id, _size(repository.repo_path), repository.repo_path)
        for repository in repositories
        if repository.repo_type == "model"
    )
    return sorted(checkpoints, key=lambda checkpoint: checkpoint.name)


def remove(name: str) -> int:
    """Remove a checkpoint from the cache, and return how many bytes that frees."""
    for checkpoint in cached_checkpoints():
        if checkpoint.name == name:
            try:
                shutil.rmtree(checkpoint.folder)
            except OSError as error:
                raise ModelError(
                    f"{name} cannot be removed from {checkpoint.folder}: {error.strerror or error}."
                ) from None
            return checkpoint.size
    raise ModelError(f"{name} is not in the cache ({cache_folder()}), so there is nothing to remove.")


def _size(repository: Path) -> int:
    # Snapshots only link to the files in blobs.
    files = (file for file in repository.rglob("*") if not file.is_dir() and file.suffix != _PARTIAL)
    return sum(file.lstat().st_size for file in files)


def format_size(size: float) -> str:
    """Write a size for people: `14.1 GB`, in powers of 1000."""
    power = min(int(math.log(size, 1000)), 4) if size >= 1 else 0
    amount, unit = size / 1000**power, ("bytes", "kB", "MB", "GB", "TB")[power]
    return f"{amount:.0f} {unit}" if amount >= 100 or power == 0 else f"{amount:.1f} {unit}"


def _explain_failure(name: str, revision: str | None, offline: bool, action: Callable[[], T]) -> T:
    """Run an action that may need the hub, and turn its errors into a ModelError in plain words."""
    from huggingface_hub import constants, errors

    try:
        with _quiet_library():
            return action()
    except errors.LocalEntryNotFoundError:
        raise _not_cached(name, offline) from None
    except errors.RevisionNotFoundError:
        problem, advice = f"has no revision {revision or constants.DEFAULT_REVISION!r}", None
    except errors.HFValidationError:
        problem, advice = "cannot be found: it is not a valid name for the hub", None
    except errors.HfHubHTTPError as error:
        problem, advice = _explain_refusal(error)
    except OSError as error:
        problem = f"cannot be stored in {cache_folder()} ({error.strerror or first_line(error)})"
        advice = None
        if error.errno == errno.ENOSPC:
            problem, advice = (
                "does not fit on the disk",
                "Free some space, or set HF_HOME to a folder on another disk.",
            )
    # The hub's library uses one of two HTTP libraries, whose errors have no common class.
    except Exception as error:
        problem, advice = f"cannot be downloaded ({first_line(error)})", "Try again later."
    raise ModelError(f"The checkpoint {name} {problem}.", advice) from None


def _explain_refusal(error: Any) -> tuple[str, str]:
    """Return what the hub refused, and what to do about it."""
    from huggingface_hub import errors

    status = getattr(error.response, "status_code", None)
    match error:
        case errors.GatedRepoError():
            return "is gated", "Accept its terms on its hub page, then set HF_TOKEN."
        case errors.RepositoryNotFoundError() if status == 404:
            return "is not on the hub, or you have no access to it", "Check its name."
        case errors.RepositoryNotFoundError():
            return "is not on the hub, or is private", "Check its name, or set HF_TOKEN."
    if status in (401, 403):
        return "is gated, or HF_TOKEN is wrong or expired", "Check its hub page and HF_TOKEN."
    return f"cannot be downloaded ({first_line(error)})", "Try again later."


def _not_cached(name: str, offline: bool) -> NotCachedError:
    from huggingface_hub import constants

    reason, advice = "the hub cannot be reached", None
    if offline:
        reason, advice = "offline mode is on", "To download it, turn off {offline}."
    elif constants.HF_HUB_OFFLINE:
        reason, advice = "HF_HUB_OFFLINE is set", "Unset it to download the checkpoint."
    return NotCachedError(f"The checkpoint {name} is not in the cache, and {reason}.", advice)


@contextmanager
def _default_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the process at once; the library would first finish every file in progress."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextmanager
def _quiet_library() -> Iterator[None]:
    """Hide the log messages of the hub's library, which repeat our own errors and notes."""
    log = logging.getLogger("huggingface_hub")
    previous = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(previous)
