"""Progress of long work: a bar in a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from vipcli.terminal import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows on standard error how many items are done and failed, and how fast."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        self.total = total
        self._done = self._new = self._failed = self._first_count = 0
        self._start_time = self._line_time = time.monotonic()
        self._first_time: float | None = None
        self._prints_lines = not quiet and not output.is_terminal(sys.stderr)
        self._bar: Bar | None = None if quiet or self._prints_lines else _bar()
        if self._bar is not None:
            self._task = self._bar.add_task("", total=total, rate="", failed="")

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start_time

    @property
    def rate(self) -> float:
        """Items per second since the first results, so that loading the model does not count."""
        if self._first_time is None or self._new == self._first_count:
            return 0.0
        return (self._new - self._first_count) / max(time.monotonic() - self._first_time, 1e-9)

    def show(self, new: int, existing: int, failed: int) -> None:
        """Show how many items this run and earlier ones have done, and how many failed in all."""
        self._done, self._new, self._failed = new + existing, new, failed
        if self._first_time is None and new:
            self._first_count, self._first_time = new, time.monotonic()
            # Starting the bar earlier would mix it with notes that are shown while the model is loaded.
            if self._bar is not None:
                self._bar.start()
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._done,
                rate=f"{self.rate:.3g}/s" if self.rate else "",
                failed=f"{failed:,} failed" if failed else "",
            )
        elif self._prints_lines and time.monotonic() - self._line_time >= _SECONDS_BETWEEN_LINES:
            self._line_time = time.monotonic()
            output.info(self._line())

    def _line(self) -> str:
        parts = [f"{self._done:,} of {self.total:,}" if self.total is not None else f"{self._done:,} done"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self.rate:
            parts.append(f"{self.rate:.3g} a second")
        if self.total is not None and self.rate:
            parts.append(f"{format_duration((self.total - self._done) / self.rate)} left")
        return ", ".join(parts)


def format_duration(seconds: float) -> str:
    """Format a span of time: 40 s, 12 min, 3 h 5 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _bar() -> Bar:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("[red]{task.fields[failed]}"),
        console=Console(stderr=True),
        transient=True,
        # Answers may be written to standard output, and must not be redirected.
        redirect_stdout=False,
    )
