"""Task files: a picture, its marks and a question per row, as JSON lines or as a table."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from vipcli.asking.choices import parse_choices
from vipcli.batch.items import Item, ItemOptions, ItemStream, fill_placeholders, locate_image
from vipcli.errors import MarkError, Message, UsageError, VipcliError, first_line
from vipcli.files import path_exists, quote, reading, reading_parts
from vipcli.marks.kinds import BY_KIND, TypedMark, check_kind, format_number, parse_mark, parse_named_mark

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".jsonl", ".ndjson", *_DELIMITERS)

_KNOWN_FIELDS = frozenset({"image", "images", "question", "choices", "marks", "id", *BY_KIND})
"""The fields of a task that have a meaning here; all others are copied to its row."""
_MAX_DEPTH = 100
"""JSON with deeper nesting could be read, but not written as part of a row."""


def read_task_file(path: Path, options: ItemOptions) -> ItemStream:
    """The tasks in a file, their number, and the names of their extra fields."""
    subject = f"The file {quote(path)}"
    if (delimiter := _DELIMITERS.get(path.suffix.lower())) is not None:
        with reading(subject):
            return _read_table(path, delimiter, options)
    columns: dict[str, None] = {}
    total = 0
    for line in reading_parts(_lines(path), subject):
        if line.strip():
            total += 1
            row = _parse_line(line)
            columns |= dict.fromkeys(row) if isinstance(row, dict) else {}
    stream = read_task_lines(reading_parts(_lines(path), subject), path.parent, quote(path), options)
    return ItemStream(stream.items, total, tuple(name for name in columns if name not in _KNOWN_FIELDS))


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file


def read_task_lines(
    lines: Iterable[bytes], folder: Path | None, source: str, options: ItemOptions
) -> ItemStream:
    """The tasks in lines of JSON; `folder` is where the file is, and `source` is its name in messages."""

    def items() -> Iterator[Item]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            row = _parse_line(line)
            if isinstance(row, dict):
                yield _make_item(row, str(number), folder, options)
            else:
                fault = Message(f"Line {number} of {source} is not a JSON object{row}.")
                yield Item(str(number), fault=fault)

    return ItemStream(items(), None)


def _parse_line(line: bytes) -> dict[str, Any] | str:
    """The JSON object on a line; otherwise the error in parentheses, or an empty string for other JSON."""
    try:
        row = parse_json(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        return f" ({first_line(error)})"
    return row if isinstance(row, dict) else ""


def parse_json(text: str) -> Any:
    """Parse JSON; numbers that JSON cannot express (NaN, infinities) become null.

    ValueError if it is nested too deeply to be written again within a row.
    """
    value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    layer = [value]
    for _ in range(_MAX_DEPTH):
        layer = [child for parent in layer for child in _children(parent)]
        if not layer:
            return value
    raise ValueError("it is nested too deeply")


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _read_table(path: Path, delimiter: str, options: ItemOptions) -> ItemStream:
    # Read it all now, so that a misplaced quote is found before the batch begins and not in the middle.
    try:
        text = path.read_text(encoding="utf-8-sig")
        # By default, the csv module refuses cells of more than 128 KiB.
        csv.field_size_limit(2**31 - 1)
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(f"The table {quote(path)} cannot be read ({first_line(error)}).") from error
    columns = tuple(rows[0]) if rows else ()
    if "image" not in columns:
        names = ", ".join(str(name)[:20] for name in columns[:6]) or "nothing"
        raise UsageError(f"The table {quote(path)} has no column named image; its first line names {names}.")

    def items() -> Iterator[Item]:
        for number, row in enumerate(rows, 1):
            if None in row or None in row.values():
                fault = Message(f"Row {number} does not have one cell per column.")
                yield Item(str(number), fault=fault)
                continue
            values = {name: cell for name, cell in row.items() if cell or name not in _KNOWN_FIELDS}
            yield _make_item(values, str(number), path.parent, options)

    return ItemStream(
        items(), len(rows), tuple(name for name in columns if name and name not in _KNOWN_FIELDS)
    )


def _make_item(row: Mapping[str, Any], number: str, folder: Path | None, options: ItemOptions) -> Item:
    # Tools that cannot leave a cell empty write null.
    row = {name: value for name, value in row.items() if value is not None or name not in _KNOWN_FIELDS}
    # A lone surrogate such as "\ud800" cannot be written to a file or a terminal.
    id = str(row.get("id", number)).encode(errors="replace").decode()
    extra = {name: value for name, value in row.items() if name not in _KNOWN_FIELDS}
    # Each step keeps what is known so far, so that a faulty task still has its pictures and question.
    item = Item(id, extra=extra)
    try:
        item = replace(item, images=tuple(locate_image(name, options, folder) for name in _image_names(row)))
        question = row.get("question", options.question)
        if question is not None and not isinstance(question, str):
            raise UsageError("The question of this task is not a string.")
        item = replace(item, question=question, choices=_choices(row.get("choices", ())))
        marks = tuple(_locate_mask(mark, folder) for mark in _parse_marks(row))
        item = replace(item, marks=(*marks, *options.marks))
        # A task's own question is taken literally; placeholders are for the question shared by all.
        return item if "question" in row else fill_placeholders(item)
    except VipcliError as error:
        return replace(item, fault=error.message)


def _image_names(row: Mapping[str, Any]) -> list[str]:
    value = row.get("images", row.get("image"))
    names = [value] if isinstance(value, str) else value
    if not names or not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise UsageError("The task names no picture.", "Give it an image: a path or a URL.")
    return names


def _choices(value: Any) -> tuple[str, ...]:
    """The choices of a task: a list of strings, or a string as on the command line or of JSON."""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.lstrip().startswith("[") else parse_choices(value)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"The choices of this task cannot be read ({first_line(error)}).") from error
    if not isinstance(value, list | tuple) or not all(isinstance(choice, str) for choice in value):
        raise UsageError("The choices of this task are not a list of strings.")
    return tuple(value)


def _parse_marks(row: Mapping[str, Any]) -> Iterator[TypedMark]:
    """The marks of a row: `"marks": ["box 40,60,200,220:red"]`, or `"box": "40,60,200,220:red"`."""
    for entry in _as_list(row.get("marks", ())):
        if isinstance(entry, Mapping):
            for kind, position in entry.items():
                yield _parse_position(str(kind), position)
        else:
            yield parse_named_mark(str(entry))
    for kind in BY_KIND:
        for position in _positions(row.get(kind, ())):
            yield _parse_position(kind, position)


def _as_list(value: Any) -> Iterable[Any]:
    """Split a value into entries: a list, a string of JSON, or a string separated by `|`."""
    if not isinstance(value, str):
        return value if isinstance(value, list | tuple) else [value]
    if value.lstrip().startswith(("[", "{")):
        try:
            return _as_list(parse_json(value))
        except (ValueError, RecursionError) as error:
            raise MarkError(f"The marks of the task cannot be read ({first_line(error)}).") from error
    return [part for part in value.split("|") if part.strip()]


def _positions(value: Any) -> Iterable[Any]:
    """The positions of one or several marks; a list of numbers is one position."""
    is_single = isinstance(value, list) and value and all(isinstance(part, int | float) for part in value)
    return [value] if is_single else _as_list(value)


def _parse_position(kind: str, position: Any) -> TypedMark:
    check_kind(kind)
    if isinstance(position, list):
        position = " ".join(format_number(number) for number in position)
    if not isinstance(position, str):
        raise MarkError(f"A {kind} must be text such as '40,60,200,220:red', or a list of numbers.")
    return parse_mark(kind, position)


def _locate_mask(mark: TypedMark, folder: Path | None) -> TypedMark:
    """The mark with its mask image taken from the folder of the task file, if it is there."""
    if mark.file is None or folder is None or not path_exists(folder / mark.file):
        return mark
    return replace(mark, file=str(folder / mark.file))
