"""What a batch asks about: one item a row, and what holds for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from vipcli.files import path_exists
from vipcli.marks.kinds import TypedMark
from vipcli.marks.regions import Region, Wanted

_WORDS = re.compile(r"\{(label|id|file)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """One row to come: its pictures, what is marked on them and what is asked."""

    id: str
    images: tuple[str, ...] = ()
    """Paths or addresses; several together make one question."""
    question: str | None = None
    regions: tuple[Region, ...] = ()
    """The annotated regions to mark, before the typed ones."""
    typed: tuple[TypedMark, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else was told of it, to be carried to its row."""
    fault: str | None = None
    """Why nothing can be asked."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What holds for all items."""

    question: str | None = None
    """With `{label}`, `{id}` and `{file}` where theirs belong; a row's own question comes first."""
    typed: tuple[TypedMark, ...] = ()
    """Marks on every picture, after those of its own."""
    images: Path | None = None
    """Where pictures are that a file names."""
    form: str | None = None
    """Of annotations, or PHOTOS; None where the files tell."""
    joint: bool = False
    """Whether all of a picture's regions are asked about at once."""
    wanted: Wanted = field(default_factory=Wanted)
    videos: bool = False
    """Whether a folder's videos are asked about, too."""
    leave_out: tuple[Path, ...] = ()
    """Folders that are not walked into: those that the batch writes to."""


@dataclass(frozen=True, slots=True)
class Job:
    """All items of a batch."""

    items: Iterable[Item]
    total: int | None
    """How many; None where that shows at their end only."""
    columns: tuple[str, ...] = ()
    """The names in their `extra`, as far as they are known before."""
    notes: tuple[str, ...] = ()
    """How a source was understood that could have been meant otherwise."""


def item_of(image: str, orders: Orders) -> Item:
    return fill(Item(public_name(image), (image,), orders.question, typed=orders.typed))


def public_name(image: str) -> str:
    """What a picture is called in rows and questions: an address without its password."""
    if "://" not in image:
        return image
    from vipcli.pictures.images import without_password

    return without_password(image)


def fill(item: Item) -> Item:
    """The item with its own words in its question."""
    if item.question is None:
        return item
    labels = list(dict.fromkeys(region.label for region in item.regions if region.label))
    words = {
        "label": " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels),
        "id": item.id,
        "file": _file_name(item.images[0]) if item.images else "",
    }
    missing = "{label}" in item.question and not labels
    fault = "The question speaks of a {label}, but nothing has one here." if missing else None
    return replace(
        item,
        question=_WORDS.sub(lambda word: words[word[1]], item.question),
        fault=item.fault or fault,
    )


def _file_name(image: str) -> str:
    _, is_address, rest = image.partition("://")
    if not is_address:
        return Path(image).name
    _, _, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return PurePosixPath(path).name


def locate(name: str, orders: Orders, folder: Path | None) -> str:
    """Where a picture is that a file names: in the folder for pictures, else beside the file, else here."""
    if "://" in name or Path(name).is_absolute():
        return name
    if orders.images is not None:
        return str(orders.images / name)
    if (
        folder is not None
        and folder != Path()
        and (path_exists(folder / name) or not path_exists(Path(name)))
    ):
        return str(folder / name)
    return name
