"""Rows on their way into a file: each safe on the disk once it is written, and known again by a later run."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import secrets
import stat
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Protocol

from vipcli.errors import OutputError, UsageError, first_line
from vipcli.files import write_failure

# Left alone, a cell of a megabyte would be written, and refused when it is read again.
csv.field_size_limit(2**31 - 1)

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

    def encode(self, row: Row) -> bytes: ...

    def decode(self, record: bytes) -> Row:
        """What tells a row from others: its id, identity and error at least. ValueError where it is none."""

    def is_torn(self, record: bytes) -> bool:
        """Whether a broken-off run may have left this of a row."""

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        """The records that the lines of a file make; the last may be torn."""


class JsonLines:
    """One object a line."""

    head = b""

    def encode(self, row: Row) -> bytes:
        text = json.dumps(row, ensure_ascii=False, allow_nan=False)
        # A file's name may hold what no text can.
        return text.encode(errors="backslashreplace") + b"\n"

    def decode(self, record: bytes) -> Row:
        if not record.endswith(b"\n"):
            raise ValueError("its end is missing")
        try:
            return _checked(json.loads(record.decode()))
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def is_torn(self, record: bytes) -> bool:
        rest = _remains(record)
        if b"\n" in rest or rest[: len(_OPENING)] != _OPENING[: len(rest)]:
            return False
        try:
            told = json.loads(rest.decode())
        except RecursionError:
            return False
        except ValueError:
            return True
        # A whole object is somebody else's line, unless nothing but the end of the line is missing.
        return _is_row(told)

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        return iter(file)


_OPENING = b'{"id": '


class Table:
    """One row a line, or several lines where a cell holds some: CSV and TSV, all cells in quotes."""

    def __init__(self, delimiter: str, columns: Sequence[str]) -> None:
        self._delimiter = delimiter
        self._extra = _titles(columns)
        self._columns = [*_COLUMNS, *self._extra.values()]
        self.head = self._line(self._columns)
        begun = rb'"[^"]*(?:""[^"]*)*'
        done = rb'(?:%b"%b)*' % (begun, re.escape(delimiter.encode()))
        self._within_a_cell = re.compile(done + begun)
        self._cut_short = re.compile(rb'%b(?:%b"?)?' % (done, begun))

    def encode(self, row: Row) -> bytes:
        return self._line(flat(row, self._extra).values())

    def decode(self, record: bytes) -> Row:
        if not record.endswith(b"\n"):
            raise ValueError("its end is missing")
        try:
            (cells,) = csv.reader([record.decode()], delimiter=self._delimiter, strict=True)
        except csv.Error as error:
            raise ValueError("its quotes do not fit together") from error
        if len(cells) != len(self._columns):
            raise ValueError("it has not as many cells as there are columns")
        row = dict(zip(self._columns, cells, strict=True))
        return _checked({**row, "error": row["error"] or None})

    def is_torn(self, record: bytes) -> bool:
        return self._cut_short.fullmatch(_remains(record)) is not None

    def records(self, file: Iterable[bytes]) -> Iterator[bytes]:
        lines: list[bytes] = []
        for line in file:
            told = b'"' + line if lines else line
            lines.append(line)
            # A line with a quote too many fits nowhere. Were it taken for the beginning of a cell, all
            # rows after it would be taken for the rest of that.
            if not self._within_a_cell.fullmatch(told):
                yield b"".join(lines)
                lines.clear()
        if lines:
            yield b"".join(lines)

    def _line(self, values: Iterable[Any]) -> bytes:
        text = io.StringIO()
        # A carriage return alone would not be put in quotes, and ends a row for most who read it.
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow([_cell(value) for value in values])
        return text.getvalue().encode()


_KEY = re.compile("[0-9a-f]{32}")


def _is_row(told: Any) -> bool:
    return (
        isinstance(told, dict)
        and isinstance(told.get("id"), str)
        and isinstance(told.get("error", False), str | None)
        and isinstance(told.get(IDENTITY), str)
        and _KEY.fullmatch(told[IDENTITY]) is not None
    )


def _checked(told: Any) -> Row:
    if not _is_row(told):
        raise ValueError("it is no row")
    row: Row = told
    return row


def _remains(record: bytes) -> bytes:
    """The record without the zeros that a disk leaves where the power went out."""
    rest = record.rstrip(b"\0\n\r ")
    return rest if not rest or b"\0" in record[len(rest) :] else record


def flat(row: Row, extra: Mapping[str, str]) -> dict[str, Any]:
    """A row as one value a column; `extra` are the names of what was carried through, and their columns'."""
    values = {name: read(row) for name, read in _COLUMNS.items()}
    return values | {title: row["extra"].get(name) for name, title in extra.items()}


def region_ids(row: Row) -> list[str]:
    """The ids of the regions that a row is about, of whatever form it was read."""
    if isinstance(row.get("regions"), list):
        return [region["id"] for region in row["regions"]]
    return [id for id in str(row.get("region", "")).split(", ") if id]


def _titles(names: Sequence[str]) -> dict[str, str]:
    """What the columns of what was carried through are called: no two alike, nor any like our own."""
    taken = {*_COLUMNS, *names}
    titles: dict[str, str] = {}
    for name in names:
        title = name
        if name in _COLUMNS:
            while title in taken:
                title = f"task_{title}"
        titles[name] = title
    return titles


def _cell(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A file's name may hold what no text can.
    return text.encode(errors="backslashreplace").decode()


class RowFile:
    """A file that one process adds rows to."""

    def __init__(self, path: Path, form: Form, *, resume: bool) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        """Where it really lies: a file that has several names still has one writer."""
        self._shown = repr(str(path))
        self._form = form
        try:
            self.path = Path(os.path.realpath(path))
            # The lock would make the folder, whose name may just be mistyped.
            self.path.parent.stat()
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"Another batch is writing {self._shown}. Wait for its end, or name another file."
            ) from None
        except (OSError, ValueError) as error:
            raise self._unwritten(error) from error
        try:
            self._file = self._opened(resume=resume)
        except BaseException:
            self._unlock()
            raise
        try:
            self._end = self._mended()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _opened(self, *, resume: bool) -> io.FileIO:
        try:
            is_new = not self.path.exists()
            if not (resume or is_new) and self.path.stat().st_size:
                raise UsageError(
                    f"The file {self._shown} holds rows already. Go on with --resume, or name another file."
                )
            # Without a buffer: what the disk did not take would be written once more when it is closed.
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._unwritten(error) from error
        if is_new:
            _sync_folder(self.path.parent)
        return file

    def _mended(self) -> int:
        """Take away what a broken-off run left of its last row, and return where the next begins."""
        end = self._end_of_rows()
        try:
            if end != self.path.stat().st_size:
                self._file.truncate(end)
            if not end:
                self._write(self._form.head)
        except OSError as error:
            raise self._unwritten(error) from error
        return end or len(self._form.head)

    def _end_of_rows(self) -> int:
        """Where the last whole row ends; after it may stand what is left of another, and nothing else."""
        end, fault = 0, ""
        for at, record in self._records():
            fault = fault or self._fault(at, record)
            if not fault:
                end += len(record)
            elif not self._is_torn(at, record):
                raise self._foreign(end, fault)
        return end

    def _fault(self, at: int, record: bytes) -> str:
        """What is wrong with a record, if anything."""
        if at < len(self._form.head):
            return "" if record == self._form.head else "other columns"
        try:
            self._form.decode(record)
        except ValueError as error:
            return first_line(error)
        return ""

    def _is_torn(self, at: int, record: bytes) -> bool:
        if at < len(self._form.head) and self._form.head.startswith(_remains(record)):
            return True
        return at >= len(self._form.head) and self._form.is_torn(record)

    def _records(self) -> Iterator[tuple[int, bytes]]:
        at = 0
        try:
            # Not by the file that is written: what is read ahead there would outlive a change.
            with self.path.open("rb") as file:
                for record in self._form.records(file):
                    yield at, record
                    at += len(record)
        except OSError as error:
            raise OutputError(f"The file {self._shown} cannot be read: {error.strerror}.") from error

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows that are there, and where each begins."""
        for at, record in self._records():
            if at >= len(self._form.head):
                yield at, self._row(at, record)

    def _row(self, at: int, record: bytes) -> Row:
        try:
            return self._form.decode(record)
        except ValueError as error:
            raise self._foreign(at, first_line(error)) from error

    def append(self, rows: Sequence[Row]) -> list[int]:
        """Write rows to the end and see them to the disk; return where each begins."""
        records = [self._form.encode(row) for row in rows]
        places, end = [], self._end
        for record in records:
            places.append(end)
            end += len(record)
        try:
            self._write(b"".join(records))
        except OSError as error:
            # What went half way is taken back, so that the file ends with a whole row.
            with suppress(OSError):
                self._file.truncate(self._end)
            raise self._unwritten(error) from error
        self._end = end
        return places

    def _write(self, data: bytes) -> None:
        _write_all(self._file, data)
        os.fsync(self._file.fileno())

    def arrange(self, places: array[int]) -> int:
        """Put the rows that begin there into this order, and return how many others there were.

        Those others go to a file beside this one, for what was paid for is not thrown away.
        """
        wanted = set(places)
        count, others = 0, array("q")
        for at, record in self._records():
            if at >= len(self._form.head):
                count += 1
                if at not in wanted and not self._row(at, record)["error"]:
                    others.append(at)
        if count == len(places) and all(a < b for a, b in pairwise(places)):
            return 0
        try:
            with _temporary(self.path) as temporary:
                with temporary.open("xb") as file:
                    file.write(self._form.head)
                    file.writelines(self._picked(places))
                    _sync(file)
                with self._set_aside(others, temporary):
                    _put(temporary, self.path)
            self._file.close()
            self._file = self.path.open("a+b", buffering=0)
            self._end = self.path.stat().st_size
        except OSError as error:
            raise self._unwritten(error) from error
        return len(others)

    def _picked(self, places: Iterable[int]) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for place in places:
                file.seek(place)
                yield next(self._form.records(file))

    @contextmanager
    def _set_aside(self, places: array[int], instead: Path) -> Iterator[None]:
        """Add rows to those that are outdated; they are taken back unless `instead` leaves its place."""
        if not places:
            yield
            return
        outdated = self.path.with_name(f"{self.path.name}.outdated")
        with outdated.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                for record in self._picked(places):
                    _write_all(file, record)
                os.fsync(file.fileno())
                _sync_folder(outdated.parent)
                yield
            except BaseException:
                # Otherwise they would be set aside once more when this is tried again.
                if instead.exists():
                    with suppress(OSError):
                        file.truncate(size)
                raise

    def close(self) -> None:
        """Let go of the file; nobody else could write it before."""
        try:
            self._file.close()
        finally:
            self._unlock()

    def _unlock(self) -> None:
        # Taken away first: whoever waits for it then finds that it is gone, and makes another.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def _unwritten(self, error: OSError | ValueError) -> OutputError:
        return _unwritten(error, self._shown, self.path)

    def _foreign(self, at: int, fault: str) -> UsageError:
        if at == 0:
            return UsageError(
                f"The file {self._shown} holds something else than rows of these columns. Name another file."
            )
        return UsageError(
            f"The file {self._shown} holds something at byte {at:,} that no batch wrote ({fault}). "
            "Name another file."
        )


def _unwritten(error: OSError | ValueError, shown: str, path: Path) -> OutputError:
    why = write_failure(error, f"the file {shown}", path)
    return OutputError(why[:1].upper() + why[1:])


def _write_all(file: io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    # A disk that is nearly full takes a part, and tells what is wrong the next time.
    while left:
        left = left[file.write(left) :]


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """The name of a file beside the target, which is gone if it comes to nothing."""
    temporary = target.with_name(f".vipcli-{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def _put(temporary: Path, target: Path) -> None:
    """Let a complete file take the target's place for good."""
    if target.exists():
        temporary.chmod(stat.S_IMODE(target.stat().st_mode))
    temporary.replace(target)
    _sync_folder(target.parent)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """See to the disk which files a folder holds."""
    # Not all file systems can, nor may every folder be read.
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


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

    extra = _titles(columns)
    names = [*_COLUMNS, *map(_cell, extra.values())]
    schema = pyarrow.schema([(name, _NUMBERS.get(name, "string")) for name in names])
    place = Path(os.path.realpath(target))
    try:
        with _temporary(place) as temporary:
            with temporary.open("xb") as file:
                with parquet.ParquetWriter(file, schema) as writer:
                    for some in _chunks(rows, 10_000):
                        made = [dict(zip(names, _parquet_cells(row, extra), strict=True)) for row in some]
                        writer.write_table(pyarrow.Table.from_pylist(made, schema))
                _sync(file)
            _put(temporary, place)
    except OSError as error:
        raise _unwritten(error, repr(str(target)), place) from error


def _parquet_cells(row: Row, extra: Mapping[str, str]) -> list[Any]:
    return [
        value if name in _NUMBERS or value is None else _cell(value)
        for name, value in flat(row, extra).items()
    ]


def _chunks(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
