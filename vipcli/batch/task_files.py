"""Files of tasks: a picture, its marks and a question in each row, as JSON lines or a table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vipcli.batch.items import Item, Job, Orders, fill, locate
from vipcli.errors import MarkError, UsageError, VipcliError, first_line
from vipcli.files import path_exists, quote, reading, reading_parts
from vipcli.marks.kinds import BY_KIND, TypedMark, check_kind, number_text, parse_mark, parse_named_mark

_TABLES = {".csv": ",", ".tsv": "\t"}
ENDINGS = (".jsonl", ".ndjson", *_TABLES)
"""How the names of such files end."""
# What a row may say by itself; all else is carried through.
_OWN = frozenset({"image", "images", "question", "marks", "id", *BY_KIND})


def tasks_in(path: Path, orders: Orders) -> Job:
    """The tasks of a file, counted, with the names of what else they say."""
    subject = f"The file {quote(path)}"
    if (delimiter := _TABLES.get(path.suffix.lower())) is not None:
        with reading(subject):
            return _rows_of_table(path, delimiter, orders)
    columns: dict[str, None] = {}
    total = 0
    for line in reading_parts(_lines(path), subject):
        if line.strip():
            total += 1
            row = _json_row(line)
            columns |= dict.fromkeys(row) if isinstance(row, dict) else {}
    job = tasks_of(reading_parts(_lines(path), subject), path.parent, quote(path), orders)
    return Job(job.items, total, tuple(name for name in columns if name not in _OWN))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def tasks_of(lines: Iterable[bytes], folder: Path | None, shown: str, orders: Orders) -> Job:
    """The tasks that stand in lines of JSON, as they come."""

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
        row = parsed(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f" ({first_line(error)})"
    return row if isinstance(row, dict) else ""


_DEEPEST = 100


def parsed(text: str) -> Any:
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
        raise UsageError(f"The table {quote(path)} cannot be read ({first_line(error)}).") from error
    columns = tuple(rows[0]) if rows else ()
    if "image" not in columns:
        named = ", ".join(str(name)[:20] for name in columns[:6]) or "nothing"
        raise UsageError(f"The table {quote(path)} has no column named image. Its first line names {named}.")

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
    item = Item(id, extra=extra)
    try:
        item = replace(item, images=tuple(locate(name, orders, folder) for name in _named(row)))
        question = row.get("question", orders.question)
        if question is not None and not isinstance(question, str):
            raise UsageError("Its question is no text.")
        item = replace(item, question=question)
        typed = tuple(_beside(mark, folder) for mark in _marks(row))
        item = replace(item, typed=(*typed, *orders.typed))
        # What {file} and {label} stand for is for questions asked of all.
        return item if "question" in row else fill(item)
    except VipcliError as error:
        return replace(item, fault=str(error))


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
            yield parse_named_mark(str(told))
    for kind in BY_KIND:
        for place in _places(row.get(kind, ())):
            yield _mark(kind, place)


def _several(told: Any) -> Iterable[Any]:
    if not isinstance(told, str):
        return told if isinstance(told, list | tuple) else [told]
    if told.lstrip().startswith(("[", "{")):
        try:
            return _several(parsed(told))
        except (ValueError, RecursionError) as error:
            raise MarkError(f"Its marks cannot be read ({first_line(error)}).") from error
    return [part for part in told.split("|") if part.strip()]


def _places(told: Any) -> Iterable[Any]:
    """One mark or several: a list of numbers is one."""
    numbers = isinstance(told, list) and told and all(isinstance(one, int | float) for one in told)
    return [told] if numbers else _several(told)


def _mark(kind: str, place: Any) -> TypedMark:
    check_kind(kind)
    if isinstance(place, list):
        place = " ".join(number_text(number) for number in place)
    if not isinstance(place, str):
        raise MarkError(f"The {kind} of a row is a text such as '40,60,200,220:red', or a list of numbers.")
    return parse_mark(kind, place)


def _beside(mark: TypedMark, folder: Path | None) -> TypedMark:
    """The mark, its file found beside the tasks."""
    if mark.file is None or folder is None or not path_exists(folder / mark.file):
        return mark
    return replace(mark, file=str(folder / mark.file))
