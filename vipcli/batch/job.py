"""Run a batch: answer the items that have no row yet, and count each row once it is on disk."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Container, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vipcli.asking.interface import BatchAnswerer
from vipcli.batch.answering import (
    ResultWindows,
    RowBuilder,
    RowSink,
    Tally,
    answer_windows,
    row_without_answer,
    write_results,
)
from vipcli.batch.coco_output import load_coco, write_coco_answers
from vipcli.batch.items import ItemStream
from vipcli.batch.parquet import write_parquet
from vipcli.batch.prefetch import EarlierRows, prepared_windows
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.batch.row_file import RowFile, already_has_rows_error
from vipcli.batch.row_formats import row_format_for
from vipcli.batch.rows import IDENTITY, Row
from vipcli.errors import Message, OutputError, UsageError, VipcliError

Stop = Callable[[], bool]
"""Whether to end early, after the rows in progress."""
Backend = Callable[[ItemStream, EarlierRows, Stop], ResultWindows]
"""Where items are prepared and answered: in this process, or on a cluster."""


class BatchEvents:
    """Hooks for a front end to show the progress of a batch. By default, they do nothing."""

    def running(self, total: int | None) -> AbstractContextManager[Stop]:
        """A context manager around the whole run; it yields a function that can stop the run early."""
        return nullcontext(lambda: False)

    def rows_written(self, rows: Sequence[Row], tally: Tally) -> None:
        """New rows are on disk; the tally includes them."""

    def note(self, message: Message) -> None:
        """Something worth knowing that is not an error."""


def local_backend(config: BatchConfig, load: Callable[[], BatchAnswerer]) -> Backend:
    """Run in this process, with a model that is loaded when the first question is ready."""

    def results(stream: ItemStream, earlier: EarlierRows, stop: Stop) -> ResultWindows:
        windows = prepared_windows(stream.items, ItemPreparer(config), config, earlier, stop)
        return answer_windows(windows, RowBuilder(load, config))

    return results


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a batch ended."""

    tally: Tally
    stopped: bool
    outdated: int = 0
    """Rows whose items are no longer part of the batch."""

    @property
    def record(self) -> dict[str, Any]:
        """The counts, as JSON for scripts."""
        return {
            "answered": self.tally.answered,
            "failed": self.tally.failed,
            "kept": self.tally.reused,
            "errors": self.tally.errors,
            "outdated": self.outdated,
            "stopped": self.stopped,
        }


@dataclass(frozen=True, slots=True)
class RowTarget:
    """The row file, and the files made from it at the end."""

    path: Path
    resume: bool = False
    retry_failed: bool = False
    is_complete: bool = True
    """Whether the batch covers all items, not only the first few, so that any other rows are outdated."""
    coco: tuple[Path, Path] | None = None
    """A COCO file, and the path of the copy with answers."""
    fields: tuple[str, ...] = ()
    """The fields of the answers that get a column of a table."""

    @property
    def row_path(self) -> Path:
        """The file that rows are appended to; Parquet is made from JSON lines at the end."""
        return self.path.with_name(f"{self.path.name}.jsonl") if self._is_parquet else self.path

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() == ".parquet"

    def check(self) -> None:
        """Catch mistakes that would otherwise end the batch after all the work."""
        row_format_for(self.row_path, ())
        _require_folder(self.path)
        if not self.resume and any(_has_content(path) for path in (self.path, self.row_path)):
            raise already_has_rows_error(repr(str(self.path)))
        if self._is_parquet:
            self._check_parquet()
        if self.coco is not None:
            self._check_coco(*self.coco)

    def _check_parquet(self) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise UsageError(
                "Parquet files need pyarrow.", "Use .jsonl or .csv, or run pip install 'vipcli[parquet]'."
            )
        if self.path.exists() and not self.row_path.exists():
            raise UsageError(
                f"The file {str(self.path)!r} cannot be resumed, because {self.row_path.name!r} is missing.",
                "Choose another file.",
            )

    def _check_coco(self, source: Path, target: Path) -> None:
        load_coco(source)
        _require_folder(target)
        advice = "Choose another file for {coco_out}."
        if any(path.resolve() == target.resolve() for path in (source, self.path, self.row_path)):
            raise UsageError(f"The file {str(target)!r} is used by the batch itself.", advice)
        if target.exists() and not self.resume:
            raise UsageError(f"The file {str(target)!r} already exists.", advice)

    def finish(self, file: RowFile, extra_columns: Sequence[str]) -> None:
        """Write the files that are made from the rows."""
        if self._is_parquet:
            write_parquet((row for _, row in file.rows()), extra_columns, self.path, self.fields)
        if self.coco is not None:
            write_coco_answers(*self.coco, (row for _, row in file.rows()))


def run_to_file(stream: ItemStream, target: RowTarget, backend: Backend, events: BatchEvents) -> Outcome:
    """Answer the items that have no row in the file yet."""
    format = row_format_for(target.row_path, stream.columns, target.fields)
    with RowFile(target.row_path, format, resume=target.resume) as file:
        earlier, earlier_errors = _load_earlier_rows(file, retry_failed=target.retry_failed)
        try:
            outcome = run(stream, file, backend, events, earlier, earlier_errors)
        except VipcliError:
            if any(True for _ in file.rows()):
                advice = "After solving this problem, continue with {resume}:"
                events.note(Message("The rows so far are saved.", advice))
            elif not target.resume:
                # An empty file would get in the way of the next attempt.
                file.path.unlink(missing_ok=True)
            raise
        if outcome.stopped:
            return outcome
        outdated = file.reorder(outcome.tally.offsets) if target.resume and target.is_complete else 0
        target.finish(file, stream.columns)
        return replace(outcome, outdated=outdated)


def _load_earlier_rows(file: RowFile, *, retry_failed: bool) -> tuple[EarlierRows, set[int]]:
    """The rows that can be reused, and the offsets of those among them that are errors."""
    errors: list[tuple[int, str, str]] = []

    def rows() -> Iterator[tuple[int, str, str]]:
        for offset, row in file.rows():
            entry = offset, str(row[IDENTITY]), str(row["id"])
            if row["error"] is None:
                yield entry
            else:
                errors.append(entry)
        # Errors come last, so that an item that failed first and was answered later gets its answer.
        if not retry_failed:
            yield from errors

    earlier = EarlierRows(rows())
    return earlier, set() if retry_failed else {offset for offset, *_ in errors}


def run(
    stream: ItemStream,
    sink: RowSink,
    backend: Backend,
    events: BatchEvents,
    earlier: EarlierRows | None = None,
    earlier_errors: Container[int] = frozenset(),
) -> Outcome:
    """Answer items and write their rows to a sink."""
    tally = Tally()
    guard = _FailureGuard(tally)

    def report(rows: Sequence[Row]) -> None:
        events.rows_written(rows, tally)
        guard.check(rows)

    with events.running(stream.total) as stop:
        with closing(backend(stream, earlier or EarlierRows(()), stop)) as results:
            write_results(results, sink, tally, report, earlier_errors)
        stopped = stop()
        if not tally.items and not stopped:
            raise _no_items_error()
        return Outcome(tally, stopped)


class _FailureGuard:
    """Ends a batch in which all of the first items fail with the same error."""

    _MIN_ITEMS = 64

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._errors: set[str | None] = set()
        self._seen = 0

    def check(self, rows: Sequence[Row]) -> None:
        """Look at further rows; raise if the batch is hopeless."""
        if self._seen < self._MIN_ITEMS:
            self._errors |= {row["error"] for row in rows}
            self._seen += len(rows)
        has_answers = self._tally.items > self._tally.errors
        if self._seen >= self._MIN_ITEMS and len(self._errors) == 1 and not has_answers:
            raise UsageError(f"All {self._seen} items so far fail with the same error: {self._errors.pop()}")


def dry_run(stream: ItemStream, config: BatchConfig) -> Generator[Row]:
    """What would be asked about each item, or why nothing can be asked."""
    is_empty = True
    with closing(prepared_windows(stream.items, ItemPreparer(config), config)) as windows:
        for window in windows:
            for prepared in window:
                is_empty = False
                yield row_without_answer(prepared, config.spelling)
    if is_empty:
        raise _no_items_error()


def _no_items_error() -> UsageError:
    return UsageError(
        "There is nothing to ask about.",
        "Check the sources, and {label}, {min_size}, {max_size} and {min_score} if you use them.",
    )


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _require_folder(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise OutputError(f"There is no folder {str(path.parent)!r}.", "Create it, or name another.")
