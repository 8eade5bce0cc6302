"""All items of a batch, in order: from folders, lists and globs, tasks, annotations, standard input."""

from __future__ import annotations

import glob
import io
import json
import os
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vipcli.batch.items import Item, Job, Orders, fill, item_of, locate, public_name
from vipcli.batch.task_files import ENDINGS as TASKS
from vipcli.batch.task_files import parsed, tasks_in, tasks_of
from vipcli.errors import UsageError
from vipcli.files import is_folder, path_exists, quote, read_failure, reading, reading_parts, source_exists

if TYPE_CHECKING:
    from vipcli.annotations.reading import Annotated

PHOTOS = "photos"
"""The form of a folder that holds pictures to ask about, and no annotations."""

_LISTS = (".txt", ".lst", ".list")
_ANNOTATIONS = (".json", ".yaml", ".yml", ".xml")


def gather(sources: Sequence[str], orders: Orders, stdin: io.BufferedIOBase | None = None) -> Job:
    """All that the sources name: files, folders, globs, addresses, or `-` for a list on standard input."""
    if not sources:
        raise UsageError("Name a folder, pictures, a file of tasks or of annotations, or - for a list.")
    return _joined([_job(source, orders, stdin) for source in _kept(sources, orders)])


def _joined(jobs: Sequence[Job]) -> Job:
    totals = [job.total for job in jobs]
    return Job(
        # Addressed by the jobs themselves, so that none begins before the one ahead is over.
        chain.from_iterable(job.items for job in jobs),
        None if None in totals else sum(total for total in totals if total is not None),
        tuple(dict.fromkeys(column for job in jobs for column in job.columns)),
        tuple(note for job in jobs for note in job.notes),
    )


def _kept(names: Sequence[str], orders: Orders) -> Sequence[str]:
    """The names without those folders that are left out, which a shell may have found for `photos/*`."""
    if not (left_out := _left_out(orders)):
        return names
    kept = [name for name in names if not (path_exists(Path(name)) and os.path.realpath(name) in left_out)]
    if not kept:
        raise UsageError(
            f"The batch writes to {quote(names[0])}, so it cannot read there. Name another folder."
        )
    return kept


def _left_out(orders: Orders) -> frozenset[str]:
    with reading("The current folder"):
        return frozenset(os.path.realpath(folder) for folder in orders.leave_out)


def _job(source: str, orders: Orders, stdin: io.BufferedIOBase | None) -> Job:
    if source == "-":
        return _listed(_standard_input(stdin), orders)
    if "://" in source:
        return Job([item_of(source, orders)], 1)
    return _at(source, orders) if source_exists(source) else _globbed(source, orders)


def _at(source: str, orders: Orders) -> Job:
    path = Path(source)
    if is_folder(path):
        return _folder(path, orders)
    ending = path.suffix.lower()
    if ending in TASKS and _form(path, orders) is None:
        return tasks_in(path, orders)
    if ending in TASKS or ending in _ANNOTATIONS:
        return _annotated(path, orders)
    if ending in _LISTS:
        return _list(path, orders)
    return Job([item_of(source, orders)], 1)


# Folders, globs and lists


def _globbed(pattern: str, orders: Orders) -> Job:
    magic = glob.has_magic(pattern)
    found = sorted(glob.glob(pattern, recursive=True)) if magic else []  # noqa: PTH207 - from any root
    if not found:
        raise UsageError(f"There is no file or folder {quote(pattern)}. Check the path.")
    return _joined([_at(name, orders) for name in _kept(found, orders)])


def _folder(folder: Path, orders: Orders) -> Job:
    if (form := _form(folder, orders)) is not None and form != PHOTOS:
        job = _annotated(folder, orders)
        if orders.form is not None:
            return job
        read = f"{quote(folder)} is read as annotations ({form})."
        return replace(job, notes=(f"The folder {read} --form photos asks about the pictures in it.",))
    with reading(f"The folder {quote(folder)}"), os.scandir(folder):
        # Only folders within it may be unreadable without ending everything.
        pass
    # Names only, so that millions of them take no memory.
    total = sum(1 for _ in _pictures(folder, orders))
    if not total:
        raise UsageError(f"There are no pictures in {quote(folder)}. Name a folder that holds some.")
    return Job(
        (
            item_of(path, orders) if fault is None else Item(path, fault=fault)
            for path, fault in _pictures(folder, orders)
        ),
        total,
    )


def _pictures(folder: Path, orders: Orders) -> Iterator[tuple[str, str | None]]:
    """The pictures in a folder and the folders in it, by name, hidden ones left out.

    Among them are the folders that cannot be read, each with why.
    """
    from vipcli.pictures.images import ENDINGS
    from vipcli.pictures.videos import ENDINGS as VIDEOS

    endings = (*ENDINGS, *VIDEOS) if orders.videos else ENDINGS
    return _walk(str(folder), endings, _left_out(orders))


def _walk(folder: str, endings: tuple[str, ...], closed: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    try:
        # A link to a folder is followed, but never in a circle.
        real = os.path.realpath(folder)
        if real in closed:
            return
        with os.scandir(folder) as entries:
            found = sorted((entry.name, is_folder(entry)) for entry in entries if entry.name[0] != ".")
    except OSError as error:
        yield folder, read_failure(f"The folder {quote(folder)}", error)
        return
    for name, leads_on in found:
        path = os.path.join(folder, name)  # noqa: PTH118 - for each of millions
        if leads_on:
            yield from _walk(path, endings, closed | {real})
        elif name.lower().endswith(endings):
            yield path, None


def _standard_input(stdin: io.BufferedIOBase | None) -> io.BufferedIOBase:
    if stdin is None and sys.stdin is not None:
        stdin = cast(io.BufferedIOBase, sys.stdin.buffer)
    if stdin is None or stdin.isatty():
        raise UsageError("Nothing is piped in. `-` reads a list: find . -name '*.jpg' | vipcli batch - …")
    return stdin


def _listed(stream: io.BufferedIOBase, orders: Orders) -> Job:
    """Paths on lines, or between zero bytes as `find -print0` writes them; or tasks, a JSON object a line."""
    with reading("Standard input"):
        # Waits for the first piece, which tells what it is, and for no more.
        head = stream.read1(_PIECE).removeprefix(BOM_UTF8)
    if _begins_tasks(head):
        lines = reading_parts(_split(head, stream, b"\n"), "Standard input")
        return tasks_of(lines, None, "standard input", orders)
    # Whoever makes the list may still be at it.
    return Job(_named_in(reading_parts(_split_list(head, stream), "Standard input"), orders, None), None)


def _list(path: Path, orders: Orders) -> Job:
    """The pictures that a file names, or the tasks in it, in the forms that standard input has."""
    with reading(f"The file {quote(path)}"), path.open("rb") as file:
        head = file.read1(_PIECE).removeprefix(BOM_UTF8)
        if not _begins_tasks(head):
            items = list(_named_in(_split_list(head, file), orders, path.parent))
            return Job(items, len(items))
    return tasks_in(path, orders)


def _begins_tasks(head: bytes) -> bool:
    return head.lstrip().startswith(b"{")


def _named_in(names: Iterable[bytes], orders: Orders, folder: Path | None) -> Iterator[Item]:
    return (item_of(locate(os.fsdecode(name), orders, folder), orders) for name in names if name.strip())


_PIECE = 2**16


def _split_list(head: bytes, stream: io.BufferedIOBase) -> Iterator[bytes]:
    return _split(head, stream, b"\0" if b"\0" in head else b"\n")


def _split(head: bytes, stream: io.BufferedIOBase, between: bytes) -> Iterator[bytes]:
    """The parts of a stream as they come; `head` is what was read of it."""
    rest, more = head, bool(head)
    while more:
        *whole, rest = rest.split(between)
        yield from (part.removesuffix(b"\r") if between == b"\n" else part for part in whole)
        more = bool(piece := stream.read1(_PIECE))
        rest += piece
    if rest:
        yield rest


# Annotations


def _form(path: Path, orders: Orders) -> str | None:
    """What kind of annotations a file or folder holds; None for none."""
    if orders.form is not None:
        return orders.form
    from vipcli.annotations.reading import form_of

    form = form_of(path)
    # Pictures of masks are pictures, too, unless others are named to go with them.
    return None if form == "masks" and orders.images is None else form


def _annotated(path: Path, orders: Orders) -> Job:
    from vipcli.annotations.reading import read

    if orders.form == PHOTOS:
        raise UsageError(f"The source {quote(path)} is not a folder of photos. Leave out --form.")
    # The whole file is in memory by then, beside which its regions are few.
    items = [item for one in read(path, orders.images, orders.form) for item in _asked_of(one, orders)]
    columns = dict.fromkeys(name for item in items for name in item.extra)
    return Job(items, len(items), tuple(columns))


def _carried(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a file tells beside its regions, as far as a row can hold it."""
    try:
        return dict(parsed(json.dumps(extra)))
    except (ValueError, TypeError, RecursionError):
        return {}


def _asked_of(one: Annotated, orders: Orders) -> Iterator[Item]:
    name = one.id or public_name(one.image)
    question = one.question if one.question is not None and orders.question is None else orders.question
    images = (one.image,) if one.image else ()
    whole = Item(name, images, question, typed=orders.typed, extra=_carried(one.extra), fault=one.fault)
    if one.fault is not None:
        yield whole
        return
    regions = tuple(region for region in one.regions if orders.wanted.takes(region))
    if question is not None:
        # In benchmarks, `<obj>` stands where a region is spoken of.
        for number, region in enumerate(regions, 1):
            question = question.replace(f"<{region.label.strip('<>')}>", f"{{{number}}}")
        whole = replace(whole, question=question)
    if not one.regions:
        if one.question is not None:
            yield fill(whole)
        return
    together = [regions] if orders.joint or one.question is not None else [(region,) for region in regions]
    for number, some in enumerate(together, 1):
        if some:
            part = name if len(some) > 1 or orders.joint else f"{name}#{some[0].id or number}"
            yield fill(replace(whole, id=part, regions=some))
