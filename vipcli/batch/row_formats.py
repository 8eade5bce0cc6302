"""Encode rows as JSON lines, CSV or TSV, decode them, and recognize a row that was cut off."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from vipcli.batch.rows import COLUMNS, IDENTITY, Row, cell_text, extra_column_titles, field_columns, flatten
from vipcli.errors import UsageError

# By default, the csv module writes cells of more than 128 KiB, but refuses to read them.
csv.field_size_limit(2**31 - 1)

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

_FIRST_KEY = b'{"id": '
_IDENTITY_VALUE = re.compile("[0-9a-f]{32}")


class RowFormat(Protocol):
    """How rows are written to a file. A *record* is the bytes of one row."""

    header: bytes
    """The bytes that the file begins with."""

    def encode(self, row: Row) -> bytes: ...

    def decode(self, record: bytes) -> Row:
        """Parse a record into a row with at least id, identity and error; ValueError if it is not one."""

    def is_torn(self, record: bytes) -> bool:
        """Whether a record could be the beginning of a row whose writing was interrupted."""

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """Group the lines of a file into records; the last may be torn."""


class JsonLinesFormat:
    """One object per line."""

    header = b""

    def encode(self, row: Row) -> bytes:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        # A file name may contain bytes that are not UTF-8.
        return text.encode(errors="backslashreplace") + b"\n"

    def decode(self, record: bytes) -> Row:
        _require_line_end(record)
        try:
            return _require_row(json.loads(record.decode()))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def is_torn(self, record: bytes) -> bool:
        content = strip_zeros(record)
        if b"\n" in content or content[: len(_FIRST_KEY)] != _FIRST_KEY[: len(content)]:
            return False
        try:
            value = json.loads(content.decode())
        except RecursionError:
            return False
        except ValueError:
            return True
        # A complete object is a row that lacks only its newline, unless vipcli did not write it.
        return _is_row(value)

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        return iter(file)


class TableFormat:
    """CSV or TSV with all cells in quotes; a row takes several lines if a cell contains line breaks."""

    def __init__(self, delimiter: str, extra_columns: Sequence[str], fields: Sequence[str] = ()) -> None:
        self._delimiter = delimiter
        self._fields = fields
        self._extra_titles = extra_column_titles(extra_columns, fields)
        self._columns = [*COLUMNS, *field_columns(fields), *self._extra_titles.values()]
        self.header = self._encode_cells(self._columns)
        open_cell = rb'"[^"]*(?:""[^"]*)*'
        full_cells = rb'(?:%b"%b)*' % (open_cell, re.escape(delimiter.encode()))
        self._ends_in_open_cell = re.compile(full_cells + open_cell)
        self._is_beginning_of_row = re.compile(rb'%b(?:%b"?)?' % (full_cells, open_cell))

    def encode(self, row: Row) -> bytes:
        return self._encode_cells(flatten(row, self._extra_titles, self._fields).values())

    def decode(self, record: bytes) -> Row:
        _require_line_end(record)
        try:
            (cells,) = csv.reader([record.decode()], delimiter=self._delimiter, strict=True)
        except csv.Error as error:
            raise ValueError("its quotes do not match") from error
        if len(cells) != len(self._columns):
            raise ValueError("it does not have one cell per column")
        row = dict(zip(self._columns, cells, strict=True))
        return _require_row({**row, "error": row["error"] or None})

    def is_torn(self, record: bytes) -> bool:
        return self._is_beginning_of_row.fullmatch(strip_zeros(record)) is not None

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        lines: list[bytes] = []
        for line in file:
            # A later line continues a cell, so it is matched as if the cell began there.
            content = b'"' + line if lines else line
            lines.append(line)
            # A record ends with any line that does not end in an open cell, even if its quotes do not match.
            # If a stray quote were taken for the beginning of a cell, it would swallow all later rows.
            if not self._ends_in_open_cell.fullmatch(content):
                yield b"".join(lines)
                lines.clear()
        if lines:
            yield b"".join(lines)

    def _encode_cells(self, values: Iterable[Any]) -> bytes:
        text = io.StringIO()
        # Quote all cells: the csv module leaves a lone carriage return unquoted, and most readers take it
        # for the end of a row.
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([cell_text(value) for value in values])
        return text.getvalue().encode()


def row_format_for(path: Path, extra_columns: Sequence[str], fields: Sequence[str] = ()) -> RowFormat:
    """The format for a file name; tables have a column for each extra field, and for these of the answers."""
    match path.suffix.lower():
        case ".jsonl" | ".ndjson" | ".json":
            return JsonLinesFormat()
        case ".csv":
            return TableFormat(",", extra_columns, fields)
        case ".tsv":
            return TableFormat("\t", extra_columns, fields)
        case _:
            raise UsageError(
                f"The file name {str(path)!r} has no supported ending.",
                f"Use one of {', '.join(SUFFIXES)}.",
            )


def strip_zeros(record: bytes) -> bytes:
    """The record without trailing zero bytes, which a power failure may leave in a file."""
    content = record.rstrip(b"\0\n\r ")
    return content if not content or b"\0" in record[len(content) :] else record


def _require_line_end(record: bytes) -> None:
    if not record.endswith(b"\n"):
        raise ValueError("the line is incomplete")


def _is_row(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("id"), str)
        and isinstance(value.get("error", False), str | None)
        and isinstance(value.get(IDENTITY), str)
        and _IDENTITY_VALUE.fullmatch(value[IDENTITY]) is not None
    )


def _require_row(value: Any) -> Row:
    if not _is_row(value):
        raise ValueError("it is not a row")
    row: Row = value
    return row
