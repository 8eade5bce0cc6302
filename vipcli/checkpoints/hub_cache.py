"""The Hugging Face cache: what is kept there, fetching into it and taking out of it. No torch."""

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

# Weights only as safetensors; everything else is text.
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt"]
_UNFINISHED = ".incomplete"
# Seconds in which a download that goes on has written something.
_QUIET = 60.0

T = TypeVar("T")


class NotCachedError(ModelError):
    """A checkpoint of the hub that is neither in the cache nor within reach."""


@dataclass(frozen=True, slots=True)
class CachedCheckpoint:
    """A checkpoint in the cache."""

    name: str
    size: int
    """Bytes on the disk, without what a download that was stopped left of a single file."""
    folder: Path


def folder() -> Path:
    """Where the cache is."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch(name: str, revision: str | None = None, *, offline: bool = False, bars: bool = False) -> Path:
    """The folder of a checkpoint of the hub, downloaded as far as it is not here yet.

    With `bars`, a terminal shows how far that is.
    """
    from huggingface_hub import snapshot_download

    def ask() -> Path:
        with _ended_at_once():
            folder = snapshot_download(
                name,
                revision=revision,
                allow_patterns=WANTED,
                local_files_only=offline,
                tqdm_class=_bar(shown=bars),
            )
        return Path(folder)

    return _reach(name, revision, offline, ask)


def settings(name: str, revision: str | None = None) -> Path:
    """A checkpoint's config.json alone, downloaded if it is not here yet."""
    from huggingface_hub import hf_hub_download

    def ask() -> Path:
        return Path(hf_hub_download(name, "config.json", revision=revision, tqdm_class=_bar(shown=False)))

    return _reach(name, revision, False, ask)


def missing(name: str, revision: str | None = None) -> dict[str, int]:
    """The files of a checkpoint on the hub, and how many bytes of each are still to be fetched."""
    from huggingface_hub import errors, snapshot_download

    def ask() -> dict[str, int]:
        try:
            files = snapshot_download(
                name,
                revision=revision,
                allow_patterns=WANTED,
                dry_run=True,
                tqdm_class=_bar(shown=False),
            )
        except errors.DryRunError as error:
            # What the hub said is wrapped up in it.
            if isinstance(error.__cause__, errors.HfHubHTTPError):
                raise error.__cause__ from None
            raise errors.LocalEntryNotFoundError(str(error)) from None
        return {file.filename: file.file_size or 0 if file.will_download else 0 for file in files}

    return _reach(name, revision, False, ask)


def _bar(*, shown: bool) -> Any:
    """The hub's bars: on a terminal where something is really fetched, else none."""
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            # None leaves it to the terminal.
            super().__init__(*args, **{**kwargs, "disable": None if shown else True})  # type: ignore[no-untyped-call]

    return Bar


def sweep(name: str) -> None:
    """Take away what downloads that were stopped left of single files, but for what is still written.

    Of the library's newer versions, none goes on with it; the older ones', which do, are named otherwise.
    """
    from filelock import FileLock, Timeout

    repository = folder() / f"models--{name.replace('/', '--')}"
    for left in repository.glob(f"blobs/*.*{_UNFINISHED}"):
        # The library holds this lock as long as it writes to the file, where the disk has locks at all.
        lock = folder() / ".locks" / repository.name / f"{left.name.split('.')[0]}.lock"
        try:
            if time.time() - left.stat().st_mtime > _QUIET:
                lock.parent.mkdir(parents=True, exist_ok=True)
                with FileLock(lock, timeout=0):
                    left.unlink()
        # What cannot be taken away does no harm beyond the room that it takes.
        except (OSError, Timeout):
            continue


def repair_advice(checkpoint: Path) -> str:
    """What to do about a checkpoint's folder that is damaged: in the cache, it must go to be fetched anew."""
    repository = checkpoint.absolute().parents[1]
    if checkpoint.absolute().parent.name == "snapshots" and repository.name.startswith("models--"):
        name = repository.name.removeprefix("models--").replace("--", "/")
        return f"Take it away with vipcli models rm {name}, then fetch it again."
    return "Fetch it again."


def check_disk_space(name: str, wanted: int) -> None:
    """Refuse to begin a download that the disk cannot hold."""
    place = folder()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise ModelError(
            f"{name} needs {format_size(wanted)} more on the disk, and {place} has {format_size(free)} left. "
            "Make room, or point HF_HOME to another disk."
        )


def cached_checkpoints() -> list[CachedCheckpoint]:
    """The checkpoints in the cache, by name."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return []
    repositories = (one for one in found.repos if one.repo_type == "model")
    return sorted(
        (CachedCheckpoint(one.repo_id, _size(one.repo_path), one.repo_path) for one in repositories),
        key=lambda one: one.name,
    )


def remove(name: str) -> int:
    """Take a checkpoint out of the cache, and return how many bytes that frees."""
    for one in cached_checkpoints():
        if one.name == name:
            try:
                shutil.rmtree(one.folder)
            except OSError as error:
                raise ModelError(
                    f"{name} cannot be removed from {one.folder}: {error.strerror or error}."
                ) from None
            return one.size
    raise ModelError(f"{name} is not in the cache ({folder()}), so there is nothing to remove.")


def _size(repository: Path) -> int:
    # Snapshots are links to what lies in blobs.
    files = (file for file in repository.rglob("*") if not file.is_dir() and file.suffix != _UNFINISHED)
    return sum(file.lstat().st_size for file in files)


def format_size(size: float) -> str:
    """`14.1 GB`, as disks and downloads are counted."""
    power = min(int(math.log(size, 1000)), 4) if size >= 1 else 0
    amount, unit = size / 1000**power, ("bytes", "kB", "MB", "GB", "TB")[power]
    return f"{amount:.0f} {unit}" if amount >= 100 or power == 0 else f"{amount:.1f} {unit}"


def _reach(name: str, revision: str | None, offline: bool, action: Callable[[], T]) -> T:
    """Do what may need the hub, and say in plain words why it failed."""
    from huggingface_hub import constants, errors

    try:
        with _in_silence():
            return action()
    except errors.GatedRepoError:
        reason = "asks for consent: accept its terms on its page, then set HF_TOKEN"
    except errors.RepositoryNotFoundError as error:
        reason = "is not on the hub, or is private: check its name, or set HF_TOKEN"
        if _status(error) == 404:
            reason = "is not on the hub, at least not for you: check its name"
    except errors.RevisionNotFoundError:
        reason = f"has no revision {revision or constants.DEFAULT_REVISION!r}"
    except errors.LocalEntryNotFoundError:
        why = "and the hub cannot be reached"
        if offline:
            why = "and offline is on: fetch it with --no-offline"
        elif constants.HF_HUB_OFFLINE:
            why = "and HF_HUB_OFFLINE is set: unset it to fetch it"
        raise NotCachedError(f"The checkpoint {name} is not in the cache, {why}.") from None
    except errors.HFValidationError:
        reason = "has a name that no checkpoint of the hub can have"
    except errors.HfHubHTTPError as error:
        reason = f"cannot be fetched ({first_line(error)}): try again later"
        if _status(error) in (401, 403):
            reason = "asks for consent, or HF_TOKEN is wrong or expired: look at its page and at HF_TOKEN"
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = (
            "does not fit on the disk: make room or point HF_HOME elsewhere"
            if full
            else f"cannot be stored in {folder()} ({error.strerror or first_line(error)})"
        )
    # The hub's library is built on one HTTP library or another, whose errors share no name.
    except Exception as error:
        reason = f"cannot be fetched ({first_line(error)}): try again later"
    raise ModelError(f"The checkpoint {name} {reason}.") from None


def _status(error: Any) -> int | None:
    """The number that the hub answered with."""
    return getattr(error.response, "status_code", None)


@contextmanager
def _ended_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process: the library would first fetch to its end every file that it has begun."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _in_silence() -> Iterator[None]:
    """What the hub's library would say by the way is either told by us or of no use."""
    log = logging.getLogger("huggingface_hub")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
