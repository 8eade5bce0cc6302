"""Rows on their way into a file: each safe on the disk once it is written, and known again by a later run."""

from __future__ import annotations

import csv
import io
import json
import os
import secrets
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol

from vipcli.errors import OutputError, UsageError, first_line
from vipcli.files import why_unwritten

Row = Mapping[str, Any]

IDENTITY = "identity"
"""Of a row: what was asked of what, by whom; the same wherever it lies."""
ENDINGS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")

# The columns of a table, in order, and where their values stand in a row.
_COLUMNS: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row["id"],
    "image": lambda row: row["image"],
    "region": lambda row: ", ".join(region["id"] for region in row["regions"]),
    "label": lambda row: ", ".join(region["label"] for region in row["regions"]),
    "question": lambda row: row["question"],
    "answer": lambda row: row["answer"],
    "ended": lambda row: row.get("ended"),
    "probability": lambda row: row.get("probability"),
    "error": lambda row: row["error"],
    "width": lambda row: _of_image(row, "width"),
    "height": lambda row: _of_image(row, "height"),
    "sha256": lambda row: _of_image(row, "sha256"),
    "marks": lambda row: row.get("marks"),
    "notes": lambda row: row.get("notes"),
    "prompt": lambda row: row.get("prompt"),
    "tokens": lambda row: row.get("tokens"),
    "model": lambda row: row.get("model"),
    "sampling": lambda row: row.get("sampling"),
    "versions": lambda row: row.get("versions"),
    IDENTITY: lambda row: row[IDENTITY],
}
_NUMBERS = {"probability": "float64", "width": "int64", "height": "int64"}
"""The columns that hold numbers, by the names of their kinds."""


def _of_image(row: Row, what: str) -> Any:
    images = row.get("images") or [{}]
    return images[0].get(what)


class Form(Protocol):
    """How rows stand in a file."""

    head: bytes
    """What stands before the first."""

    def begins(self, record: bytes) -> bool:
        """Whether a file of ours may begin with the record, be it whole or torn."""

    def is_whole(self, record: bytes) -> bool:
        """Whether nothing of the record is missing."""

    def encode(self, row: Row) -> bytes: ...

    def decode(self, record: bytes) -> Row:
        """What tells a row from others: its id, identity and error at least. ValueError where it is none."""

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """The records that the lines of a file make; the last may be torn."""


_OPENING = b'{"id": '


class JsonLines:
    """One object a line."""

    head = b""

    def is_whole(self, record: bytes) -> bool:
        return record.endswith(b"\n")

    def begins(self, record: bytes) -> bool:
        if not self.is_whole(record):
            return record[: len(_OPENING)] == _OPENING[: len(record)]
        try:
            self.decode(record)
        except (ValueError, RecursionError):
            return False
        return True

    def encode(self, row: Row) -> bytes:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        # A file's name may hold what no text can.
        return text.encode(errors="backslashreplace") + b"\n"

    def decode(self, record: bytes) -> Row:
        row = json.loads(record)
        if not isinstance(row, dict) or not isinstance(row.get(IDENTITY), str):
            raise ValueError("it is no row")
        return row

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        yield from file


class Table:
    """One row a line, or several lines where a cell holds some: CSV and TSV."""

    def __init__(self, delimiter: str, columns: Sequence[str]) -> None:
        self._delimiter = delimiter
        self._extra = {name: _title(name) for name in columns}
        self._titles = [*_COLUMNS, *self._extra.values()]
        self.head = self._line(self._titles)

    def is_whole(self, record: bytes) -> bool:
        # Within a cell that holds lines, the quotes so far are uneven.
        return record.endswith(b"\n") and record.count(b'"') % 2 == 0

    def begins(self, record: bytes) -> bool:
        return record == self.head if self.is_whole(record) else self.head.startswith(record)

    def encode(self, row: Row) -> bytes:
        return self._line([_cell(value) for value in flat(row, self._extra).values()])

    def decode(self, record: bytes) -> Row:
        (cells,) = csv.reader([record.decode()], delimiter=self._delimiter, strict=True)
        row = dict(zip(self._titles, cells, strict=True))
        if not row[IDENTITY]:
            raise ValueError("it is no row")
        return {**row, "error": row["error"] or None}

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        record = b""
        for line in file:
            record += line
            if self.is_whole(record):
                yield record
                record = b""
        if record:
            yield record

    def _line(self, cells: Iterable[Any]) -> bytes:
        text = io.StringIO()
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerow(cells)
        return text.getvalue().encode(errors="backslashreplace")


def flat(row: Row, extra: Mapping[str, str]) -> dict[str, Any]:
    """A row as one value a column; `extra` are the names of what was carried through, and their columns'."""
    values = {name: read(row) for name, read in _COLUMNS.items()}
    return values | {title: row["extra"].get(name) for name, title in extra.items()}


def region_ids(row: Row) -> list[str]:
    """The ids of the regions that a row is about, of whatever form it was read."""
    if isinstance(row.get("regions"), list):
        return [region["id"] for region in row["regions"]]
    return [id for id in str(row.get("region", "")).split(", ") if id]


def _title(name: str) -> str:
    """What a column of a task's own is called: another name where an answer has one of the kind."""
    return f"task_{name}" if name in _COLUMNS else name


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class RowFile:
    """A file that one process adds rows to."""

    def __init__(self, path: Path, form: Form, *, resume: bool) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        self._form = form
        self._lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
        try:
            # The lock would make the folder, whose name may just be mistyped.
            path.parent.stat()
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"Another batch is writing {str(path)!r}. Wait for its end, or name another file."
            ) from None
        except (OSError, ValueError) as error:
            raise self._unwritten(error) from error
        try:
            if not resume and path.exists() and path.stat().st_size:
                raise UsageError(
                    f"The file {str(path)!r} holds rows already. Go on with --resume, or name another file."
                )
            self._file: IO[bytes] = path.open("r+b" if path.exists() else "x+b")
        except OSError as error:
            self._unlock()
            raise self._unwritten(error) from error
        except BaseException:
            self._unlock()
            raise
        try:
            self._end = self._mended()
        except OSError as error:
            self.close()
            raise self._unwritten(error) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _mended(self) -> int:
        """Take away what a broken-off run left of its last row, and return where the next begins."""
        end = whole = 0
        for record in self._form.records(self._file):
            if end == 0 and not self._form.begins(record):
                raise UsageError(
                    f"The file {str(self.path)!r} holds something else than rows of these columns. "
                    "Name another file."
                )
            end += len(record)
            if self._form.is_whole(record) and not _is_blank(record):
                whole = end
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole and self._form.head:
            self._file.write(self._form.head)
            self._file.flush()
            whole = len(self._form.head)
        return whole

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows that are there, and where each begins."""
        self._file.seek(0)
        at = 0
        for record in self._form.records(self._file):
            if at or not self._form.head:
                try:
                    yield at, self._form.decode(record)
                except (ValueError, KeyError, RecursionError, csv.Error) as error:
                    raise UsageError(
                        f"The file {str(self.path)!r} holds something at byte {at:,} that no batch wrote "
                        f"({first_line(error)}). Name another file."
                    ) from error
            at += len(record)
        self._file.seek(self._end)

    def append(self, rows: Sequence[Row]) -> list[int]:
        """Write rows to the end and see them to the disk; return where each begins."""
        records = [self._form.encode(row) for row in rows]
        places, end = [], self._end
        for record in records:
            places.append(end)
            end += len(record)
        try:
            self._file.write(b"".join(records))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            # What went half way is taken back, so that the file ends with a whole row.
            with suppress(OSError):
                self._file.truncate(self._end)
            raise self._unwritten(error) from error
        self._end = end
        return places

    def arrange(self, places: array[int]) -> int:
        """Put the rows that begin there into this order, and return how many others there were.

        Those others go to a file beside this one, for what was paid for is not thrown away.
        """
        wanted = set(places)
        self._file.seek(0)
        at, others = 0, []
        lengths: dict[int, int] = {}
        for record in self._form.records(self._file):
            if at or not self._form.head:
                lengths[at] = len(record)
                if at not in wanted and not self._form.decode(record)["error"]:
                    others.append(record)
            at += len(record)
        if len(lengths) == len(places) and all(a < b for a, b in pairwise(places)):
            self._file.seek(self._end)
            return 0
        temporary = self.path.with_name(f".vipcli-{secrets.token_hex(8)}.tmp")
        try:
            if others:
                with self.path.with_name(f"{self.path.name}.outdated").open("ab") as kept:
                    kept.write(b"".join(others))
                    os.fsync(kept.fileno())
            with temporary.open("xb") as file:
                file.write(self._form.head)
                for place in places:
                    self._file.seek(place)
                    file.write(self._file.read(lengths[place]))
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(self.path.stat().st_mode & 0o777)
            temporary.replace(os.path.realpath(self.path))
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise self._unwritten(error) from error
        self._file.close()
        self._file = self.path.open("r+b")
        self._end = self._file.seek(0, os.SEEK_END)
        return len(others)

    def close(self) -> None:
        """Let go of the file; nobody else could write it before."""
        self._file.close()
        self._unlock()

    def _unlock(self) -> None:
        # Taken away first: whoever waits for it then finds that it is gone, and makes another.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def _unwritten(self, error: OSError | ValueError) -> OutputError:
        return OutputError(why_unwritten(error, repr(str(self.path)), self.path))


def _is_blank(record: bytes) -> bool:
    """Whether it is what a disk leaves of a row where the power went out."""
    return not record.strip(b"\0\n\r ")


def form_for(path: Path, columns: Sequence[str]) -> Form:
    """How rows stand in a file of that name; `columns` are the names of what is carried through."""
    match path.suffix.lower():
        case ".jsonl" | ".ndjson" | ".json":
            return JsonLines()
        case ".csv":
            return Table(",", columns)
        case ".tsv":
            return Table("\t", columns)
        case _:
            raise UsageError(
                f"The name {str(path)!r} does not say which kind of rows to write. "
                f"Let it end in {', '.join(ENDINGS)}."
            )


def write_parquet(rows: Iterable[Row], columns: Sequence[str], target: Path) -> None:
    """Write rows as a Parquet file, all of it or nothing."""
    import pyarrow
    from pyarrow import parquet

    extra = {name: _title(name) for name in columns}
    schema = pyarrow.schema([(name, _NUMBERS.get(name, "string")) for name in (*_COLUMNS, *extra.values())])
    temporary = target.with_name(f".vipcli-{secrets.token_hex(8)}.tmp")
    try:
        with parquet.ParquetWriter(temporary, schema) as writer:
            for some in _chunks(rows, 10_000):
                made = [
                    {
                        name: value if name in _NUMBERS or value is None else _cell(value)
                        for name, value in flat(row, extra).items()
                    }
                    for row in some
                ]
                writer.write_table(pyarrow.Table.from_pylist(made, schema))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(os.path.realpath(target))
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise OutputError(why_unwritten(error, repr(str(target)), target)) from error


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
