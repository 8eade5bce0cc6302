"""The row file: rows are synced to the disk as they are written, and a later run can resume from them."""

from __future__ import annotations

import io
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

from vipcli.batch import durable
from vipcli.batch.row_formats import RowFormat, strip_zeros
from vipcli.batch.rows import Row
from vipcli.errors import OutputError, UsageError, first_line


class RowFile:
    """A file that one process at a time appends rows to.

    An *offset* is where a row begins, in bytes.
    """

    def __init__(self, path: Path, format: RowFormat, *, resume: bool) -> None:
        from filelock import FileLock, Timeout

        self.path = path
        """The file itself, with links resolved: all names of a file share one lock."""
        self._name = repr(str(path))
        self._format = format
        try:
            self.path = Path(os.path.realpath(path))
            # FileLock would create a missing folder, whose name may be a typo.
            self.path.parent.stat()
            self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
            self._lock.acquire()
        except Timeout:
            raise UsageError(
                f"Another batch is writing to {self._name}.",
                "Wait until it has finished, or choose another file.",
            ) from None
        except (OSError, ValueError) as error:
            raise self._write_error(error) from error
        try:
            self._file = self._open(resume=resume)
        except BaseException:
            self._release_lock()
            raise
        try:
            self._end = self._repair()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and release its lock."""
        try:
            self._file.close()
        finally:
            self._release_lock()

    def _release_lock(self) -> None:
        # Delete the lock file before releasing it: a process that has it open then finds that it is gone.
        with suppress(OSError):
            Path(self._lock.lock_file).unlink()
        self._lock.release()

    def _open(self, *, resume: bool) -> io.FileIO:
        try:
            is_new = not self.path.exists()
            if not (resume or is_new) and self.path.stat().st_size:
                raise already_has_rows_error(self._name)
            # Unbuffered: a buffer that could not be written would be written again on close.
            file = self.path.open("a+b", buffering=0)
        except OSError as error:
            raise self._write_error(error) from error
        if is_new:
            durable.sync_folder(self.path.parent)
        return file

    # ---------------------------------------------------------------------- repair

    def _repair(self) -> int:
        """Cut off the torn row of an interrupted run, and return where the next row begins."""
        end = self._end_of_rows()
        try:
            if end != self.path.stat().st_size:
                self._file.truncate(end)
            if not end:
                self._write(self._format.header)
        except OSError as error:
            raise self._write_error(error) from error
        return end or len(self._format.header)

    def _end_of_rows(self) -> int:
        """Where the last whole row ends; nothing but one torn row may follow it."""
        end, fault = 0, ""
        for offset, record in self._records():
            fault = fault or self._record_fault(offset, record)
            if not fault:
                end += len(record)
            elif not self._is_torn(offset, record):
                raise self._foreign_content_error(end, fault)
        return end

    def _record_fault(self, offset: int, record: bytes) -> str:
        """Why a record is neither the header nor a row; empty if it is one."""
        if offset < len(self._format.header):
            return "" if record == self._format.header else "the columns differ"
        try:
            self._format.decode(record)
        except ValueError as error:
            return first_line(error)
        return ""

    def _is_torn(self, offset: int, record: bytes) -> bool:
        if offset >= len(self._format.header):
            return self._format.is_torn(record)
        return self._format.header.startswith(strip_zeros(record))

    def _foreign_content_error(self, offset: int, fault: str) -> UsageError:
        if offset == 0:
            fact = f"The file {self._name} does not contain rows with these columns."
        else:
            fact = f"The file {self._name} contains something other than a row at byte {offset:,} ({fault})."
        return UsageError(fact, "Choose another file.")

    # ---------------------------------------------------------------------- reading

    def rows(self) -> Iterator[tuple[int, Row]]:
        """The rows in the file, with their offsets."""
        for offset, record in self._row_records():
            yield offset, self._decode(offset, record)

    def _row_records(self) -> Iterator[tuple[int, bytes]]:
        for offset, record in self._records():
            if offset >= len(self._format.header):
                yield offset, record

    def _records(self) -> Iterator[tuple[int, bytes]]:
        """The header and the rows, with their offsets."""
        offset = 0
        try:
            # Use a separate handle, whose read buffer cannot go stale when the other one writes.
            with self.path.open("rb") as file:
                for record in self._format.records(file):
                    yield offset, record
                    offset += len(record)
        except OSError as error:
            raise OutputError(f"The file {self._name} cannot be read: {error.strerror}.") from error

    def _records_at(self, offsets: Iterable[int]) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            for offset in offsets:
                file.seek(offset)
                yield next(self._format.records(file))

    def _decode(self, offset: int, record: bytes) -> Row:
        try:
            return self._format.decode(record)
        except ValueError as error:
            raise self._foreign_content_error(offset, first_line(error)) from error

    # ---------------------------------------------------------------------- writing

    def append(self, rows: Sequence[Row]) -> list[int]:
        """Append rows, sync them to the disk, and return their offsets."""
        records = [self._format.encode(row) for row in rows]
        offsets, end = [], self._end
        for record in records:
            offsets.append(end)
            end += len(record)
        try:
            self._write(b"".join(records))
        except OSError as error:
            # Remove the partial write, so that the file ends with a whole row.
            with suppress(OSError):
                self._file.truncate(self._end)
            raise self._write_error(error) from error
        self._end = end
        return offsets

    def _write(self, data: bytes) -> None:
        durable.write_all(self._file, data)
        os.fsync(self._file.fileno())

    def reorder(self, offsets: array[int]) -> int:
        """Rewrite the file with only the rows at `offsets`, in that order.

        Other rows with an answer move to a file that ends in `.outdated`, because they may have been
        expensive. Returns their number.
        """
        wanted = set(offsets)
        count, outdated = 0, array("q")
        for offset, record in self._row_records():
            count += 1
            if offset not in wanted and not self._decode(offset, record)["error"]:
                outdated.append(offset)
        if count == len(offsets) and all(a < b for a, b in pairwise(offsets)):
            return 0
        try:
            with durable.temporary_beside(self.path) as temporary:
                with temporary.open("xb") as file:
                    file.write(self._format.header)
                    file.writelines(self._records_at(offsets))
                    durable.sync(file)
                with self._moved_to_outdated(outdated, temporary):
                    durable.replace_durably(temporary, self.path)
            self._file.close()
            self._file = self.path.open("a+b", buffering=0)
            self._end = self.path.stat().st_size
        except OSError as error:
            raise self._write_error(error) from error
        return len(outdated)

    @contextmanager
    def _moved_to_outdated(self, offsets: array[int], replacement: Path) -> Iterator[None]:
        """Append rows to the `.outdated` file; undo that if the block fails to rename `replacement`."""
        if not offsets:
            yield
            return
        target = self.path.with_name(f"{self.path.name}.outdated")
        with target.open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                for record in self._records_at(offsets):
                    durable.write_all(file, record)
                os.fsync(file.fileno())
                durable.sync_folder(target.parent)
                yield
            except BaseException:
                # The next attempt would append them a second time.
                if replacement.exists():
                    with suppress(OSError):
                        file.truncate(size)
                raise

    def _write_error(self, error: OSError | ValueError) -> OutputError:
        return durable.write_error(error, self._name, self.path)


def already_has_rows_error(name: str) -> UsageError:
    """The error for a file that must not be overwritten."""
    return UsageError(
        f"The file {name} already contains rows.", "Continue it with {resume}, or choose another file."
    )
