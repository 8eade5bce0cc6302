"""What `vipcli batch` prints: rows, notes, progress, and a summary."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from vipcli.batch.answering import Tally
from vipcli.batch.job import BatchEvents, Outcome, Stop
from vipcli.batch.rows import Row
from vipcli.cli.shared import show_notes
from vipcli.errors import Message
from vipcli.terminal import output
from vipcli.terminal.progress import Progress, format_duration

_MAX_ERRORS_SHOWN = 3
"""How many errors to print; the others are only in their rows."""


class TerminalBatchEvents(BatchEvents):
    """Notes, errors and progress on standard error."""

    def __init__(self, *, prints_rows: bool, quiet: bool) -> None:
        # A progress bar would break up rows that are printed to the same terminal.
        self._quiet = quiet or (prints_rows and sys.stdout.isatty())
        self._errors_left = 0 if prints_rows else _MAX_ERRORS_SHOWN
        self._progress: Progress | None = None
        self.seconds = 0.0
        self.rate = 0.0
        """Rows per second since the model was loaded; 0 if there are too few to tell."""

    @contextmanager
    def running(self, total: int | None) -> Iterator[Stop]:
        with _interruptible(quiet=self._quiet) as stop, Progress(total, quiet=self._quiet) as progress:
            self._progress = progress
            try:
                yield stop
            finally:
                self.seconds, self.rate = progress.seconds, progress.rate

    def rows_written(self, rows: Sequence[Row], tally: Tally) -> None:
        new = tally.answered + tally.failed
        if not self._quiet:
            if rows and new == len(rows):
                # A note on the first item most likely applies to all.
                for note in rows[0].get("notes", ()):
                    output.note(f"{rows[0]['id']}: {note}")
            for row in [row for row in rows if row["error"] is not None][: self._errors_left]:
                self._errors_left -= 1
                output.note(f"{row['id']}: {row['error']}")
        if self._progress is not None:
            self._progress.show(new, tally.reused, tally.errors)

    def note(self, message: Message) -> None:
        show_notes([message], quiet=self._quiet)


@contextmanager
def _interruptible(*, quiet: bool) -> Iterator[Callable[[], bool]]:
    """Yield a function that tells whether Ctrl-C was pressed; a second Ctrl-C raises KeyboardInterrupt."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if requested.is_set():
            raise KeyboardInterrupt
        requested.set()
        if not quiet:
            # Do not use sys.stderr, which may be in the middle of a write.
            os.write(2, b"\nnote: Finishing the rows in progress. Press Ctrl-C again to stop at once.\n")

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield requested.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class PrintedRows:
    """Prints rows to standard output instead of writing them to a file."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def append(self, rows: Sequence[Row]) -> Sequence[int]:
        for row in rows:
            print_row(row, "answer", as_json=self._as_json)
        return range(len(rows))


def print_row(row: Row, key: str, *, as_json: bool) -> None:
    """Print a row as JSON, or the value of `key` after the id, or the error."""
    if as_json:
        output.write_json_line(row)
    elif row["error"] is None:
        output.write(f"{row['id']}\t{' '.join(str(row[key]).split())}")
    else:
        output.error(f"{row['id']}: {row['error']}")


def summary(outcome: Outcome, events: TerminalBatchEvents, row_path: Path | None) -> Iterator[str]:
    """Summarize how the batch ended, in one or two sentences."""
    tally = outcome.tally
    rate = f" ({events.rate:.3g} per second)" if events.rate else ""
    parts = [f"{_count(tally.answered + tally.failed, 'row')} in {format_duration(events.seconds)}{rate}"]
    if tally.reused:
        parts.append(f"{tally.reused:,} kept from earlier runs")
    if tally.errors:
        parts.append(_count(tally.errors, "error"))
    yield f"{', '.join(parts)}."
    if outcome.outdated:
        rows = _count(outcome.outdated, "row")
        yield f"Moved {rows} that no longer apply to '{row_path}.outdated'."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
