"""List the items of a batch, in a stable order, from folders, globs, lists, tasks and annotations."""

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

from vipcli.batch import task_files
from vipcli.batch.items import (
    Item,
    ItemOptions,
    ItemStream,
    fill_placeholders,
    item_for,
    locate_image,
    public_name,
)
from vipcli.errors import Message, UsageError
from vipcli.files import is_folder, path_exists, quote, read_failure, reading, reading_parts, source_exists

if TYPE_CHECKING:
    from vipcli.annotations.reading import AnnotatedImage

PHOTOS = "photos"
"""The name of the format of a folder of pictures without annotations."""

_LIST_SUFFIXES = (".txt", ".lst", ".list")
_ANNOTATION_SUFFIXES = (".json", ".yaml", ".yml", ".xml")
_CHUNK = 2**16


def gather(
    sources: Sequence[str], options: ItemOptions, stdin: io.BufferedIOBase | None = None
) -> ItemStream:
    """The items of all sources: files, folders, globs, URLs, or `-` for standard input."""
    if not sources:
        raise UsageError(
            "There is no source.",
            "Name a folder, pictures, a file of tasks or annotations, or - for a list on standard input.",
        )
    return _concatenate([_from_source(source, options, stdin) for source in _drop_excluded(sources, options)])


def _concatenate(streams: Sequence[ItemStream]) -> ItemStream:
    totals = [stream.total for stream in streams]
    return ItemStream(
        chain.from_iterable(stream.items for stream in streams),
        None if None in totals else sum(total for total in totals if total is not None),
        tuple(dict.fromkeys(column for stream in streams for column in stream.columns)),
        tuple(note for stream in streams for note in stream.notes),
    )


def _drop_excluded(names: Sequence[str], options: ItemOptions) -> Sequence[str]:
    """The names without excluded folders, which a shell may have listed for `photos/*`."""
    if not (excluded := _excluded_paths(options)):
        return names
    remaining = [
        name for name in names if not (path_exists(Path(name)) and os.path.realpath(name) in excluded)
    ]
    if not remaining:
        raise UsageError(
            f"The batch writes to {quote(names[0])}, so it cannot read from there.",
            "Name another folder.",
        )
    return remaining


def _excluded_paths(options: ItemOptions) -> frozenset[str]:
    with reading("The current folder"):
        return frozenset(os.path.realpath(folder) for folder in options.excluded_folders)


def _from_source(source: str, options: ItemOptions, stdin: io.BufferedIOBase | None) -> ItemStream:
    if source == "-":
        return _from_standard_input(_open_standard_input(stdin), options)
    if "://" in source:
        return ItemStream([item_for(source, options)], 1)
    return _from_path(source, options) if source_exists(source) else _from_glob(source, options)


def _from_path(source: str, options: ItemOptions) -> ItemStream:
    path = Path(source)
    if is_folder(path):
        return _from_folder(path, options)
    suffix = path.suffix.lower()
    if suffix in task_files.SUFFIXES and _annotation_form(path, options) is None:
        return task_files.read_task_file(path, options)
    if suffix in task_files.SUFFIXES or suffix in _ANNOTATION_SUFFIXES:
        return _from_annotations(path, options)
    if suffix in _LIST_SUFFIXES:
        return _from_list_file(path, options)
    return ItemStream([item_for(source, options)], 1)


# --------------------------------------------------------------------------- folders and globs


def _from_glob(pattern: str, options: ItemOptions) -> ItemStream:
    magic = glob.has_magic(pattern)
    # Path.glob takes no absolute patterns.
    paths = sorted(glob.glob(pattern, recursive=True)) if magic else []  # noqa: PTH207
    if not paths:
        raise UsageError(f"There is no file or folder {quote(pattern)}.", "Check the path.")
    return _concatenate([_from_path(path, options) for path in _drop_excluded(paths, options)])


def _from_folder(folder: Path, options: ItemOptions) -> ItemStream:
    if (form := _annotation_form(folder, options)) is not None and form != PHOTOS:
        stream = _from_annotations(folder, options)
        if options.form is not None:
            return stream
        note = Message(
            f"The folder {quote(folder)} is read as annotations ({form}).",
            "To ask about the pictures in it instead, use {form=photos}.",
        )
        return replace(stream, notes=(note,))
    with reading(f"The folder {quote(folder)}"), os.scandir(folder):
        # An unreadable folder is an error here, but only a faulty item if it lies within this one.
        pass
    # Walk twice, once to count: a list of millions of names would take a lot of memory.
    total = sum(1 for _ in _pictures(folder, options))
    if not total:
        raise UsageError(f"There are no pictures in {quote(folder)}.", "Name a folder that contains some.")
    return ItemStream(
        (
            item_for(path, options) if fault is None else Item(path, fault=fault)
            for path, fault in _pictures(folder, options)
        ),
        total,
    )


def _pictures(folder: Path, options: ItemOptions) -> Iterator[tuple[str, Message | None]]:
    """The paths of all pictures below a folder, sorted by name, without hidden ones.

    A folder that cannot be read is among them, with the reason.
    """
    from vipcli.pictures.images import ENDINGS as IMAGE_SUFFIXES
    from vipcli.pictures.videos import ENDINGS as VIDEO_SUFFIXES

    suffixes = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) if options.include_videos else IMAGE_SUFFIXES
    return _walk(str(folder), suffixes, _excluded_paths(options))


def _walk(
    folder: str, suffixes: tuple[str, ...], excluded: frozenset[str]
) -> Iterator[tuple[str, Message | None]]:
    try:
        # A link to a folder is followed, unless it leads back to a folder above it.
        real = os.path.realpath(folder)
        if real in excluded:
            return
        with os.scandir(folder) as entries:
            names = sorted((entry.name, is_folder(entry)) for entry in entries if entry.name[0] != ".")
    except OSError as error:
        yield folder, Message(read_failure(f"The folder {quote(folder)}", error))
        return
    for name, is_subfolder in names:
        path = os.path.join(folder, name)  # noqa: PTH118 - much faster than Path, for millions of files
        if is_subfolder:
            yield from _walk(path, suffixes, excluded | {real})
        elif name.lower().endswith(suffixes):
            yield path, None


# --------------------------------------------------------------------------- lists


def _open_standard_input(stdin: io.BufferedIOBase | None) -> io.BufferedIOBase:
    if stdin is None and sys.stdin is not None:
        stdin = cast(io.BufferedIOBase, sys.stdin.buffer)
    if stdin is None or stdin.isatty():
        raise UsageError(
            "The source - reads a list from standard input, but nothing is piped to it.",
            "Example: find . -name '*.jpg' | vipcli batch - …",
        )
    return stdin


def _from_standard_input(stream: io.BufferedIOBase, options: ItemOptions) -> ItemStream:
    """Tasks as JSON lines, or paths with newlines or zero bytes (`find -print0`) between them."""
    subject = "Standard input"
    with reading(subject):
        # One chunk shows what the list contains. More would wait for a program that is still writing.
        head = stream.read1(_CHUNK).removeprefix(BOM_UTF8)
    if _contains_tasks(head):
        lines = reading_parts(_split(head, stream, b"\n"), subject)
        return task_files.read_task_lines(lines, None, "standard input", options)
    return ItemStream(
        _items_from_names(reading_parts(_split_names(head, stream), subject), options, None), None
    )


def _from_list_file(path: Path, options: ItemOptions) -> ItemStream:
    """The pictures or tasks listed in a file, in the same formats as on standard input."""
    with reading(f"The file {quote(path)}"), path.open("rb") as file:
        head = file.read1(_CHUNK).removeprefix(BOM_UTF8)
        if not _contains_tasks(head):
            items = list(_items_from_names(_split_names(head, file), options, path.parent))
            return ItemStream(items, len(items))
    return task_files.read_task_file(path, options)


def _contains_tasks(head: bytes) -> bool:
    return head.lstrip().startswith(b"{")


def _items_from_names(names: Iterable[bytes], options: ItemOptions, folder: Path | None) -> Iterator[Item]:
    return (
        item_for(locate_image(os.fsdecode(name), options, folder), options) for name in names if name.strip()
    )


def _split_names(head: bytes, stream: io.BufferedIOBase) -> Iterator[bytes]:
    return _split(head, stream, b"\0" if b"\0" in head else b"\n")


def _split(head: bytes, stream: io.BufferedIOBase, separator: bytes) -> Iterator[bytes]:
    """The parts of a stream as they arrive; `head` is what has already been read."""
    rest, more = head, bool(head)
    while more:
        *parts, rest = rest.split(separator)
        yield from (part.removesuffix(b"\r") if separator == b"\n" else part for part in parts)
        more = bool(chunk := stream.read1(_CHUNK))
        rest += chunk
    if rest:
        yield rest


# --------------------------------------------------------------------------- annotations


def _annotation_form(path: Path, options: ItemOptions) -> str | None:
    """The format of the annotations in a file or folder; None if there are none."""
    if options.form is not None:
        return options.form
    from vipcli.annotations.reading import form_of

    form = form_of(path)
    # A folder of masks could also be a folder of pictures, unless it is known where their pictures are.
    return None if form == "masks" and options.image_folder is None else form


def _from_annotations(path: Path, options: ItemOptions) -> ItemStream:
    from vipcli.annotations.reading import read

    if options.form == PHOTOS:
        raise UsageError(
            f"The source {quote(path)} is not a folder of photos.", "Use another {form}, or leave it out."
        )
    # A list is fine: the annotations are in memory anyway, and are larger.
    items = [
        item
        for annotated in read(path, options.image_folder, options.form)
        for item in items_of(annotated, options)
    ]
    columns = dict.fromkeys(name for item in items for name in item.extra)
    return ItemStream(items, len(items), tuple(columns))


def items_of(annotated: AnnotatedImage, options: ItemOptions) -> Iterator[Item]:
    """The items of an annotated image: one per region, or one for all regions together."""
    name = annotated.id or public_name(annotated.image)
    question = options.question if options.question is not None else annotated.question
    images = (annotated.image,) if annotated.image else ()
    fault = None if annotated.fault is None else Message(annotated.fault)
    whole = Item(name, images, question, marks=options.marks, extra=_json_safe(annotated.extra), fault=fault)
    if fault is not None:
        yield whole
        return
    regions = tuple(region for region in annotated.regions if options.region_filter.accepts(region))
    if question is not None:
        # Benchmarks write `<obj>` where they mean the region with that label.
        for number, region in enumerate(regions, 1):
            question = question.replace(f"<{region.label.strip('<>')}>", f"{{{number}}}")
        whole = replace(whole, question=question)
    if not annotated.regions:
        if annotated.question is not None:
            yield fill_placeholders(whole)
        return
    joint = options.joint or annotated.question is not None
    groups = [regions] if joint else [(region,) for region in regions]
    for number, group in enumerate(groups, 1):
        if group:
            id = name if len(group) > 1 or options.joint else f"{name}#{group[0].id or number}"
            yield fill_placeholders(replace(whole, id=id, regions=group))


def _json_safe(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Extra fields in the form that a row can contain; empty if that is impossible."""
    try:
        return dict(task_files.parse_json(json.dumps(extra)))
    except (ValueError, TypeError, RecursionError):
        return {}
