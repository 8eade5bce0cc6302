"""The Hugging Face cache: what is kept there, fetching into it and taking out of it. No torch."""

from __future__ import annotations

import errno
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vipcli.errors import ModelError, first_line

# Weights only as safetensors; everything else is text.
WANTED = ["*.json", "*.safetensors", "*.jinja", "*.model", "merges.txt"]

T = TypeVar("T")


class NotHereError(ModelError):
    """A checkpoint of the hub that is neither in the cache nor within reach."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint in the cache."""

    name: str
    size: int
    """Bytes on the disk, those of an unfinished download too."""
    folder: Path


def folder() -> Path:
    """Where the cache is."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def fetch(name: str, revision: str | None = None, *, offline: bool = False) -> Path:
    """The folder of a checkpoint of the hub, downloaded as far as it is not here yet."""
    from huggingface_hub import snapshot_download

    return _reach(
        name,
        revision,
        offline,
        lambda: Path(
            snapshot_download(name, revision=revision, allow_patterns=WANTED, local_files_only=offline)
        ),
    )


def missing(name: str, revision: str | None = None) -> int:
    """How many bytes of a checkpoint are still to be fetched."""
    from huggingface_hub import errors, snapshot_download

    def ask() -> int:
        try:
            files = snapshot_download(
                name, revision=revision, allow_patterns=WANTED, dry_run=True, tqdm_class=_silent()
            )
        except errors.DryRunError as error:
            # What the hub said is wrapped up in it.
            if isinstance(error.__cause__, errors.HfHubHTTPError):
                raise error.__cause__ from None
            raise errors.LocalEntryNotFoundError(str(error)) from None
        return sum(file.file_size or 0 for file in files if file.will_download)

    return _reach(name, revision, False, ask)


def _silent() -> Any:
    """A bar that is not shown, for what takes no time."""
    from huggingface_hub.utils.tqdm import tqdm

    class Silent(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]

    return Silent


def insist_on_room(name: str, wanted: int) -> None:
    """Refuse to begin a download that the disk cannot hold."""
    place = folder()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if wanted > free:
        raise ModelError(
            f"{name} needs {readable(wanted)} more on the disk, and {place} has {readable(free)} left. "
            "Make room, or point HF_HOME to another disk."
        )


def kept() -> list[Kept]:
    """The checkpoints in the cache, by name."""
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        found = scan_cache_dir()
    except CacheNotFound:
        return []
    repositories = (one for one in found.repos if one.repo_type == "model")
    return sorted(
        (Kept(one.repo_id, _size(one.repo_path), one.repo_path) for one in repositories),
        key=lambda one: one.name,
    )


def remove(name: str) -> int:
    """Take a checkpoint out of the cache, and return how many bytes that frees."""
    for one in kept():
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
    return sum(file.lstat().st_size for file in repository.rglob("*") if not file.is_dir())


def readable(size: float) -> str:
    """`14.1 GB`, as disks and downloads are counted."""
    power = min(int(math.log(size, 1000)), 4) if size >= 1 else 0
    amount, unit = size / 1000**power, ("bytes", "kB", "MB", "GB", "TB")[power]
    return f"{amount:.0f} {unit}" if amount >= 100 or power == 0 else f"{amount:.1f} {unit}"


def _reach(name: str, revision: str | None, offline: bool, action: Callable[[], T]) -> T:
    """Do what may need the hub, and say in plain words why it failed."""
    from huggingface_hub import errors

    try:
        return action()
    except errors.GatedRepoError:
        reason = "asks for consent: accept its terms on its page, then set HF_TOKEN"
    except errors.RepositoryNotFoundError:
        reason = "is not on the hub, or is private: check its name, or set HF_TOKEN"
    except errors.RevisionNotFoundError:
        reason = f"has no revision {revision!r}"
    except errors.LocalEntryNotFoundError:
        advice = ": leave out --offline to fetch it" if offline else ", and the hub cannot be reached"
        raise NotHereError(f"The checkpoint {name} is not in the cache{advice}.") from None
    except errors.HFValidationError:
        reason = "has a name that no checkpoint of the hub can have"
    except errors.HfHubHTTPError as error:
        reason = f"cannot be fetched ({first_line(error)}): try again later"
    except OSError as error:
        full = error.errno == errno.ENOSPC
        reason = (
            "does not fit on the disk: make room or point HF_HOME elsewhere"
            if full
            else f"cannot be stored ({first_line(error)})"
        )
    # The hub's library is built on one HTTP library or another, whose errors share no name.
    except Exception as error:
        reason = f"cannot be fetched ({first_line(error)}): try again later"
    raise ModelError(f"The checkpoint {name} {reason}.") from None
