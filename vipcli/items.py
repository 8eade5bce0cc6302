"""What a batch asks about, in order: pictures of folders and lists, rows of task files, annotated regions."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
import re
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path, PurePosixPath
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
    kept = [name for name in names if not (_exists(Path(name)) and os.path.realpath(name) in left_out)]
    if not kept:
        raise UsageError(
            f"The batch writes to {_shown(names[0])}, so it cannot read there. Name another folder."
        )
    return kept


def _left_out(orders: Orders) -> frozenset[str]:
    with _in_words("The current folder"):
        return frozenset(os.path.realpath(folder) for folder in orders.leave_out)


def _job(source: str, orders: Orders, stdin: io.BufferedIOBase | None) -> Job:
    if source == "-":
        return _listed(_standard_input(stdin), orders)
    if "://" in source:
        return Job([_plain(source, orders)], 1)
    return _at(source, orders) if _is_there(source) else _globbed(source, orders)


def _at(source: str, orders: Orders) -> Job:
    path = Path(source)
    if _is_folder(path):
        return _folder(path, orders)
    ending = path.suffix.lower()
    if ending in _TASKS and _form(path, orders) is None:
        return _tasks(path, orders)
    if ending in _TASKS or ending in _ANNOTATIONS:
        return _annotated(path, orders)
    if ending in _LISTS:
        return _list(path, orders)
    return Job([_plain(source, orders)], 1)


def _plain(image: str, orders: Orders) -> Item:
    return _filled(Item(_public(image), (image,), orders.question, typed=orders.typed))


def _public(image: str) -> str:
    """What a picture is called in rows and questions: an address without its password."""
    if "://" not in image:
        return image
    from vipcli.images import without_password

    return without_password(image)


def _filled(item: Item) -> Item:
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


# --------------------------------------------------------------------------- what a disk may answer


@contextmanager
def _in_words(subject: str) -> Iterator[None]:
    """Turn what a disk or a strange name can do into a sentence."""
    try:
        yield
    except OSError as error:
        raise UsageError(_unread(subject, error)) from error


def _unread(subject: str, error: OSError) -> str:
    return f"{subject} cannot be read: {error.strerror or error}."


def _shown(name: object) -> str:
    """How a message names a file or folder: on one line, and not endlessly."""
    text = repr(str(name))
    return text if len(text) <= 120 else f"{text[:40]}…{text[-79:]}"


def _is_there(source: str) -> bool:
    try:
        return Path(source).exists()
    except OSError as error:
        # A pattern may be longer than any name.
        if glob.has_magic(source):
            return False
        raise UsageError(_unread(f"The path {_shown(source)}", error)) from error


def _exists(path: Path) -> bool:
    """Whether there is a file or folder; none where the name is impossible."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_folder(one: Path | os.DirEntry[str]) -> bool:
    try:
        return one.is_dir()
    # A link to itself is none, and whoever opens it will hear so.
    except OSError:
        return False


# --------------------------------------------------------------------------- folders, globs and lists


def _globbed(pattern: str, orders: Orders) -> Job:
    magic = glob.has_magic(pattern)
    found = sorted(glob.glob(pattern, recursive=True)) if magic else []  # noqa: PTH207 - from any root
    if not found:
        raise UsageError(f"There is no file or folder {_shown(pattern)}. Check the path.")
    return _joined([_at(name, orders) for name in _kept(found, orders)])


def _folder(folder: Path, orders: Orders) -> Job:
    if (form := _form(folder, orders)) is not None and form != PHOTOS:
        job = _annotated(folder, orders)
        if orders.form is not None:
            return job
        read = f"{_shown(folder)} is read as annotations ({form})."
        return replace(job, notes=(f"The folder {read} --form photos asks about the pictures in it.",))
    with _in_words(f"The folder {_shown(folder)}"), os.scandir(folder):
        # Only folders within it may be unreadable without ending everything.
        pass
    # Names only, so that millions of them take no memory.
    total = sum(1 for _ in _pictures(folder, orders))
    if not total:
        raise UsageError(f"There are no pictures in {_shown(folder)}. Name a folder that holds some.")
    return Job(
        (
            _plain(path, orders) if fault is None else Item(path, fault=fault)
            for path, fault in _pictures(folder, orders)
        ),
        total,
    )


def _pictures(folder: Path, orders: Orders) -> Iterator[tuple[str, str | None]]:
    """The pictures in a folder and the folders in it, by name, hidden ones left out.

    Among them are the folders that cannot be read, each with why.
    """
    from vipcli.images import ENDINGS
    from vipcli.videos import ENDINGS as VIDEOS

    endings = (*ENDINGS, *VIDEOS) if orders.videos else ENDINGS
    return _walk(str(folder), endings, _left_out(orders))


def _walk(folder: str, endings: tuple[str, ...], closed: frozenset[str]) -> Iterator[tuple[str, str | None]]:
    try:
        # A link to a folder is followed, but never in a circle.
        real = os.path.realpath(folder)
        if real in closed:
            return
        with os.scandir(folder) as entries:
            found = sorted((entry.name, _is_folder(entry)) for entry in entries if entry.name[0] != ".")
    except OSError as error:
        yield folder, _unread(f"The folder {_shown(folder)}", error)
        return
    for name, is_folder in found:
        path = os.path.join(folder, name)  # noqa: PTH118 - for each of millions
        if is_folder:
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
    with _in_words("Standard input"):
        # Waits for the first piece, which tells what it is, and for no more.
        head = stream.read1(_PIECE).removeprefix(BOM_UTF8)
    if _begins_tasks(head):
        lines = _told(_split(head, stream, b"\n"), "Standard input")
        return _rows_of_json(lines, None, "standard input", orders)
    # Whoever makes the list may still be at it.
    return Job(_named_in(_told(_split_list(head, stream), "Standard input"), orders, None), None)


def _list(path: Path, orders: Orders) -> Job:
    """The pictures that a file names, or the tasks in it, in the forms that standard input has."""
    with _in_words(f"The file {_shown(path)}"), path.open("rb") as file:
        head = file.read1(_PIECE).removeprefix(BOM_UTF8)
        if not _begins_tasks(head):
            items = list(_named_in(_split_list(head, file), orders, path.parent))
            return Job(items, len(items))
    return _tasks(path, orders)


def _begins_tasks(head: bytes) -> bool:
    return head.lstrip().startswith(b"{")


def _named_in(names: Iterable[bytes], orders: Orders, folder: Path | None) -> Iterator[Item]:
    return (_plain(_found(os.fsdecode(name), orders, folder), orders) for name in names if name.strip())


def _told(parts: Iterable[bytes], subject: str) -> Iterator[bytes]:
    """The parts as they come, and a sentence where they cannot be read any longer."""
    with _in_words(subject):
        yield from parts


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


def _found(name: str, orders: Orders, folder: Path | None) -> str:
    """Where a picture is that a file names: in the folder for pictures, else beside the file, else here."""
    if "://" in name or Path(name).is_absolute():
        return name
    if orders.images is not None:
        return str(orders.images / name)
    if folder is not None and folder != Path() and (_exists(folder / name) or not _exists(Path(name))):
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
        raise UsageError(f"The source {_shown(path)} is not a folder of photos. Leave out --form.")
    # The whole file is in memory by then, beside which its regions are few.
    items = [item for one in read(path, orders.images, orders.form) for item in _asked_of(one, orders)]
    columns = dict.fromkeys(name for item in items for name in item.extra)
    return Job(items, len(items), tuple(columns))


def _carried(extra: Mapping[str, Any]) -> dict[str, Any]:
    """What a file tells beside its regions, as far as a row can hold it."""
    try:
        return dict(_parsed(json.dumps(extra)))
    except (ValueError, TypeError, RecursionError):
        return {}


def _asked_of(one: Annotated, orders: Orders) -> Iterator[Item]:
    name = one.id or _public(one.image)
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
            yield _filled(whole)
        return
    together = [regions] if orders.joint or one.question is not None else [(region,) for region in regions]
    for number, some in enumerate(together, 1):
        if some:
            part = name if len(some) > 1 or orders.joint else f"{name}#{some[0].id or number}"
            yield _filled(replace(whole, id=part, regions=some))


# --------------------------------------------------------------------------- tasks


def _tasks(path: Path, orders: Orders) -> Job:
    subject = f"The file {_shown(path)}"
    if (delimiter := _TABLES.get(path.suffix.lower())) is not None:
        with _in_words(subject):
            return _rows_of_table(path, delimiter, orders)
    columns: dict[str, None] = {}
    total = 0
    for line in _told(_lines(path), subject):
        if line.strip():
            total += 1
            row = _json_row(line)
            columns |= dict.fromkeys(row) if isinstance(row, dict) else {}
    job = _rows_of_json(_told(_lines(path), subject), path.parent, _shown(path), orders)
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
        row = _parsed(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f" ({first_line(error)})"
    return row if isinstance(row, dict) else ""


_DEEPEST = 100


def _parsed(text: str) -> Any:
    """What JSON says, with null for numbers that it may not hold: NaN and the infinities."""
    value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    layer = [value]
    # What can just be read can no longer be written within a row.
    for _ in range(_DEEPEST):
        layer = [part for one in layer for part in _within(one)]
        if not layer:
            return value
    raise ValueError("it is nested too deeply")


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _within(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _rows_of_table(path: Path, delimiter: str, orders: Orders) -> Job:
    # Read at once: a table that opens and closes its quotes wrongly must not end a batch half way.
    try:
        text = path.read_text(encoding="utf-8-sig")
        # Left alone, a cell of a megabyte would be refused.
        csv.field_size_limit(2**31 - 1)
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"The table {_shown(path)} cannot be read ({first_line(error)}).") from error
    columns = tuple(rows[0]) if rows else ()
    if "image" not in columns:
        raise UsageError(
            f"The table {_shown(path)} has no column named image. Its first line must name the columns."
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
    # Tools that have no empty cell write null into it.
    row = {name: value for name, value in row.items() if value is not None or name not in _OWN}
    # Half a letter of two, as "\ud800", is no text that a file or a terminal takes.
    id = str(row.get("id", number)).encode(errors="replace").decode()
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
            return _several(_parsed(told))
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
    if mark.file is None or folder is None or not _exists(folder / mark.file):
        return mark
    return replace(mark, file=str(folder / mark.file))
