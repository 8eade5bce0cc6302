"""What a batch asks about: one item per row, and the options that apply to all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from vipcli.errors import Message
from vipcli.files import path_exists
from vipcli.marks.kinds import TypedMark
from vipcli.marks.regions import Region, RegionFilter

_PLACEHOLDER = re.compile(r"\{(label|id|file)\}")


@dataclass(frozen=True, slots=True)
class Item:
    """The pictures, marks and question that become one row."""

    id: str
    images: tuple[str, ...] = ()
    """Paths or URLs; several belong to one question."""
    question: str | None = None
    regions: tuple[Region, ...] = ()
    """Annotated regions, drawn before `marks`."""
    marks: tuple[TypedMark, ...] = ()
    choices: tuple[str, ...] = ()
    """The answers to choose from, if the item has its own."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of the source, copied to the row."""
    fault: Message | None = None
    """Why this item cannot be asked about."""


@dataclass(frozen=True, slots=True)
class ItemOptions:
    """Options that apply to every item."""

    question: str | None = None
    """May contain `{label}`, `{id}` and `{file}`; a task's own question takes precedence."""
    marks: tuple[TypedMark, ...] = ()
    """Drawn on every picture, after the item's own marks."""
    image_folder: Path | None = None
    """The folder of the pictures named in a task or annotation file."""
    form: str | None = None
    """Format of the annotations, or PHOTOS; None to detect it."""
    joint: bool = False
    """Whether to ask about all regions of a picture at once."""
    region_filter: RegionFilter = field(default_factory=RegionFilter)
    include_videos: bool = False
    """Whether to ask about the videos in a folder too."""
    excluded_folders: tuple[Path, ...] = ()
    """Folders to skip, because the batch writes to them."""


@dataclass(frozen=True, slots=True)
class ItemStream:
    """The items of a batch, produced as they are needed."""

    items: Iterable[Item]
    total: int | None
    """None if the number is unknown until the last item has been produced."""
    columns: tuple[str, ...] = ()
    """The keys of the items' `extra`, as far as they are known in advance."""
    notes: tuple[Message, ...] = ()
    """How an ambiguous source was interpreted."""

    def first(self, count: int) -> ItemStream:
        """Only the first items."""
        total = count if self.total is None else min(self.total, count)
        return replace(self, items=islice(self.items, count), total=total)


def item_for(image: str, options: ItemOptions) -> Item:
    """The item that asks about one picture."""
    return fill_placeholders(Item(public_name(image), (image,), options.question, marks=options.marks))


def public_name(image: str) -> str:
    """The name of a picture in rows and questions: a URL without its password."""
    if "://" not in image:
        return image
    from vipcli.pictures.images import without_password

    return without_password(image)


def fill_placeholders(item: Item) -> Item:
    """The item with `{label}`, `{id}` and `{file}` in its question replaced."""
    if item.question is None:
        return item
    labels = list(dict.fromkeys(region.label for region in item.regions if region.label))
    values = {
        "label": " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels),
        "id": item.id,
        "file": _file_name(item.images[0]) if item.images else "",
    }
    fault = None
    if "{label}" in item.question and not labels:
        fault = Message("The question contains {label}, but no region of this item has a label.")
    return replace(
        item,
        question=_PLACEHOLDER.sub(lambda match: values[match[1]], item.question),
        fault=item.fault or fault,
    )


def _file_name(image: str) -> str:
    _, is_url, rest = image.partition("://")
    if not is_url:
        return Path(image).name
    _, _, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    return PurePosixPath(path).name


def locate_image(name: str, options: ItemOptions, folder: Path | None) -> str:
    """The path of a picture that is named in a file in `folder`.

    It is looked up in the image folder if there is one, or else in the folder of the file, or else in the
    current folder.
    """
    if "://" in name or Path(name).is_absolute():
        return name
    if options.image_folder is not None:
        return str(options.image_folder / name)
    if (
        folder is not None
        and folder != Path()
        and (path_exists(folder / name) or not path_exists(Path(name)))
    ):
        return str(folder / name)
    return name
