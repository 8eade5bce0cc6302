"""What a batch asks about, in order: pictures of folders and lists, rows of task files, annotated regions."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from vipcli.errors import MarkError, UsageError, VipcliError, first_line
from vipcli.marks import BY_KIND, TypedMark, parse_mark
from vipcli.regions import Region, Wanted

if TYPE_CHECKING:
    from vipcli.annotations import Annotated

PHOTOS = "photos"
"""The form of a folder that holds pictures to ask about, and no annotations."""

_TABLES = {".csv": ",", ".tsv": "\t"}
_TASKS = (".jsonl", ".ndjson", *_TABLES)
_LISTS = (".txt", ".lst", ".list")
_ANNOTATIONS = (".json", ".yaml", ".yml", ".xml")
_WORDS = re.compile(r"\{(label|id|file)\}")
# What a row of tasks may say by itself; all else is carried through.
_OWN = frozenset({"image", "images", "question", "marks", "id", *BY_KIND})


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


@dataclass(frozen=True, slots=True)
class Job:
    """All items of a batch."""

    items: Iterable[Item]
    total: int | None
    """How many; None where that shows at their end only."""
    columns: tuple[str, ...] = ()
    """The names in their `extra`, as far as they are known before."""


def gather(sources: Sequence[str], orders: Orders, stdin: io.BufferedIOBase | None = None) -> Job:
    """All that the sources name: files, folders, globs, addresses, or `-` for a list on standard input."""
    if not sources:
        raise UsageError("Name a folder, pictures, a file of tasks or of annotations, or - for a list.")
    jobs = [_job(source, orders, stdin) for source in sources]
    totals = [job.total for job in jobs]
    return Job(
        # Addressed by the jobs themselves, so that none begins before the one ahead is over.
        chain.from_iterable(job.items for job in jobs),
        None if None in totals else sum(total for total in totals if total is not None),
        tuple(dict.fromkeys(column for job in jobs for column in job.columns)),
    )


def _job(source: str, orders: Orders, stdin: io.BufferedIOBase | None) -> Job:
    if source == "-":
        return _listed(_standard_input(stdin), orders)
    if "://" in source:
        return Job([_plain(source, orders)], 1)
    path = Path(source)
    if not path.exists():
        return _globbed(source, orders)
    if path.is_dir():
        return _folder(path, orders)
    ending = path.suffix.lower()
    if ending in _TASKS and _form(path, orders) is None:
        return _tasks(path, orders)
    if ending in _TASKS or ending in _ANNOTATIONS:
        return _annotated(path, orders)
    if ending in _LISTS:
        with path.open("rb") as file:
            return _listed(file, orders, path.parent)
    return Job([_plain(source, orders)], 1)


def _plain(image: str, orders: Orders, id: str | None = None) -> Item:
    item = Item(image if id is None else id, (image,), orders.question, typed=orders.typed)
    return _filled(item)


def _filled(item: Item) -> Item:
    """The item with its own words in its question."""
    if item.question is None:
        return item
    labels = list(dict.fromkeys(region.label for region in item.regions if region.label))
    words = {
        "label": " and ".join([", ".join(labels[:-1]), labels[-1]] if len(labels) > 1 else labels),
        "id": item.id,
        "file": Path(item.images[0]).name if item.images else "",
    }
    missing = "{label}" in item.question and not labels
    fault = "The question speaks of a {label}, but nothing has one here." if missing else None
    return replace(
        item,
        question=_WORDS.sub(lambda word: words[word[1]], item.question),
        fault=item.fault or fault,
    )


# --------------------------------------------------------------------------- folders, globs and lists


def _globbed(pattern: str, orders: Orders) -> Job:
    magic = glob.has_magic(pattern)
    found = sorted(glob.glob(pattern, recursive=True)) if magic else []  # noqa: PTH207 - from any root
    if not found:
        raise UsageError(f"There is no file or folder {pattern!r}. Check the path.")
    return gather(found, orders)


def _folder(folder: Path, orders: Orders) -> Job:
    if (form := _form(folder, orders)) is not None and form != PHOTOS:
        return _annotated(folder, orders)
    # Names only, so that millions of them take no memory.
    total = sum(1 for _ in _pictures(folder, orders.videos))
    if not total:
        raise UsageError(f"There are no pictures in {str(folder)!r}. Name a folder that holds some.")
    return Job((_plain(path, orders) for path in _pictures(folder, orders.videos)), total)


def _pictures(folder: Path, videos: bool) -> Iterator[str]:
    """The pictures in a folder and the folders in it, by name, hidden ones left out."""
    from vipcli.images import ENDINGS
    from vipcli.videos import ENDINGS as VIDEOS

    endings = (*ENDINGS, *VIDEOS) if videos else ENDINGS
    return _walk(str(folder), endings, frozenset())


def _walk(folder: str, endings: tuple[str, ...], above: frozenset[str]) -> Iterator[str]:
    # A link to a folder is followed, but never in a circle.
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir()) for entry in entries if entry.name[0] != ".")
    except OSError as error:
        raise UsageError(f"The folder {folder!r} cannot be read: {error.strerror or error}.") from error
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118 - for each of millions
        if is_folder:
            yield from _walk(path, endings, above | {real})
        elif name.lower().endswith(endings):
            yield path


def _standard_input(stdin: io.BufferedIOBase | None) -> io.BufferedIOBase:
    if stdin is None and sys.stdin is not None:
        stdin = cast(io.BufferedIOBase, sys.stdin.buffer)
    if stdin is None or stdin.isatty():
        raise UsageError("Nothing is piped in. `-` reads a list: find . -name '*.jpg' | vipcli batch - …")
    return stdin


def _listed(stream: io.BufferedIOBase, orders: Orders, folder: Path | None = None) -> Job:
    """Paths on lines, or between zero bytes as `find -print0` writes them; or tasks, a JSON object a line."""
    # What is there, without waiting for more.
    head = stream.read1(_PIECE)
    between = b"\0" if b"\0" in head else b"\n"
    named = _split(head, stream, between)
    if head.lstrip().startswith(b"{"):
        return _rows_of_json(named, None, "standard input", orders)
    found = (_plain(_found(os.fsdecode(name), orders, folder), orders) for name in named if name.strip())
    if folder is None:
        # Whoever makes the list may still be at it.
        return Job(found, None)
    known = list(found)
    return Job(known, len(known))


_PIECE = 2**16


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


def _found(name: str, orders: Orders, folder: Path | None) -> str:
    """Where a picture is that a file names: in the folder for pictures, else beside the file, else here."""
    if "://" in name or Path(name).is_absolute():
        return name
    if orders.images is not None:
        return str(orders.images / name)
    if folder is not None and folder != Path() and ((folder / name).exists() or not Path(name).exists()):
        return str(folder / name)
    return name


# --------------------------------------------------------------------------- annotations


def _form(path: Path, orders: Orders) -> str | None:
    """What kind of annotations a file or folder holds; None for none."""
    if orders.form is not None:
        return orders.form
    from vipcli.annotations import form_of

    form = form_of(path)
    # Pictures of masks are pictures, too, unless others are named to go with them.
    return None if form == "masks" and orders.images is None else form


def _annotated(path: Path, orders: Orders) -> Job:
    from vipcli.annotations import read

    if orders.form == PHOTOS:
        raise UsageError(f"The source {str(path)!r} is not a folder of photos. Leave out --form.")
    # The whole file is in memory by then, beside which its regions are few.
    items = [item for one in read(path, orders.images, orders.form) for item in _asked_of(one, orders)]
    columns = dict.fromkeys(name for item in items for name in item.extra)
    return Job(items, len(items), tuple(columns))


def _asked_of(one: Annotated, orders: Orders) -> Iterator[Item]:
    name = one.id or one.image
    question = one.question if one.question is not None and orders.question is None else orders.question
    images = (one.image,) if one.image else ()
    whole = Item(name, images, question, typed=orders.typed, extra=one.extra, fault=one.fault)
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
            yield _filled(whole)
        return
    together = [regions] if orders.joint or one.question is not None else [(region,) for region in regions]
    for number, some in enumerate(together, 1):
        if some:
            part = name if len(some) > 1 or orders.joint else f"{name}#{some[0].id or number}"
            yield _filled(replace(whole, id=part, regions=some))


# --------------------------------------------------------------------------- tasks


def _tasks(path: Path, orders: Orders) -> Job:
    try:
        if (delimiter := _TABLES.get(path.suffix.lower())) is not None:
            return _rows_of_table(path, delimiter, orders)
        columns: dict[str, None] = {}
        total = 0
        with path.open("rb") as file:
            for line in file:
                if line.strip():
                    total += 1
                    row = _json_row(line)
                    columns |= dict.fromkeys(row) if isinstance(row, dict) else {}
        job = _rows_of_json(_lines(path), path.parent, repr(str(path)), orders)
    except OSError as error:
        raise UsageError(f"The file {str(path)!r} cannot be read: {error.strerror or error}.") from error
    return Job(job.items, total, tuple(name for name in columns if name not in _OWN))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def _rows_of_json(lines: Iterable[bytes], folder: Path | None, shown: str, orders: Orders) -> Job:
    def items() -> Iterator[Item]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = _json_row(line)
            if isinstance(row, dict):
                yield _task(row, str(number), folder, orders)
            else:
                yield Item(str(number), fault=f"Line {number} of {shown} is no JSON object{row}.")

    return Job(items(), None)


def _json_row(line: bytes) -> dict[str, Any] | str:
    """The object on a line, or what is wrong with it."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f" ({first_line(error)})"
    return row if isinstance(row, dict) else ""


def _rows_of_table(path: Path, delimiter: str, orders: Orders) -> Job:
    # Read at once: a table that opens and closes its quotes wrongly must not end a batch half way.
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Left alone, a cell of a megabyte would be refused.
        csv.field_size_limit(2**31 - 1)
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"The table {str(path)!r} cannot be read ({first_line(error)}).") from error
    columns = tuple(rows[0]) if rows else ()
    if "image" not in columns:
        raise UsageError(
            f"The table {str(path)!r} has no column named image. Its first line must name the columns."
        )

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                yield Item(str(number), fault=f"Row {number} has not as many cells as there are columns.")
                continue
            told = {name: cell for name, cell in row.items() if cell or name not in _OWN}
            yield _task(told, str(number), path.parent, orders)

    return Job(items(), len(rows), tuple(name for name in columns if name and name not in _OWN))


def _task(row: Mapping[str, Any], number: str, folder: Path | None, orders: Orders) -> Item:
    id = str(row.get("id", number))
    extra = {name: value for name, value in row.items() if name not in _OWN}
    try:
        images = tuple(_found(name, orders, folder) for name in _named(row))
        question = row.get("question", orders.question)
        if question is not None and not isinstance(question, str):
            raise UsageError("Its question is no text.")
        typed = tuple(_beside(mark, folder) for mark in _marks(row))
        item = Item(id, images, question, typed=(*typed, *orders.typed), extra=extra)
        # What {file} and {label} stand for is for questions asked of all.
        return item if "question" in row else _filled(item)
    except VipcliError as error:
        return Item(id, fault=str(error), extra=extra)


def _named(row: Mapping[str, Any]) -> list[str]:
    found = row.get("images", row.get("image"))
    names = [found] if isinstance(found, str) else found
    if not names or not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError("It names no picture. Each row needs an image: its path or address.")
    return names


def _marks(row: Mapping[str, Any]) -> Iterator[TypedMark]:
    """The marks of a row: `"marks": ["box 40,60,200,220:red"]`, or `"box": "40,60,200,220:red"`."""
    for told in _several(row.get("marks", ())):
        if isinstance(told, Mapping):
            for kind, place in told.items():
                yield _mark(str(kind), place)
        else:
            kind, _, place = str(told).strip().partition(" ")
            yield _mark(kind, place)
    for kind in BY_KIND:
        for place in _places(row.get(kind, ())):
            yield _mark(kind, place)


def _several(told: Any) -> Iterable[Any]:
    if not isinstance(told, str):
        return told if isinstance(told, list | tuple) else [told]
    if told.lstrip().startswith(("[", "{")):
        try:
            return _several(json.loads(told))
        except (ValueError, RecursionError) as error:
            raise MarkError(f"Its marks cannot be read ({first_line(error)}).") from error
    return [part for part in told.split("|") if part.strip()]


def _places(told: Any) -> Iterable[Any]:
    """One mark or several: a list of numbers is one."""
    numbers = isinstance(told, list) and told and all(isinstance(one, int | float) for one in told)
    return [told] if numbers else _several(told)


def _mark(kind: str, place: Any) -> TypedMark:
    if kind not in BY_KIND:
        raise MarkError(f"There is no mark named {kind[:40]!r}. There are {', '.join(BY_KIND)}.")
    if isinstance(place, list):
        place = " ".join(_number(one) for one in place)
    if not isinstance(place, str):
        raise MarkError(f"The {kind} of a row is a text such as '40,60,200,220:red', or a list of numbers.")
    return parse_mark(kind, place)


def _number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise MarkError("A mark's numbers must be numbers.")
    # Without an exponent, which marks do not take.
    return f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def _beside(mark: TypedMark, folder: Path | None) -> TypedMark:
    """The mark, its file found beside the tasks."""
    if mark.file is None or folder is None or not (folder / mark.file).exists():
        return mark
    return replace(mark, file=str(folder / mark.file))
