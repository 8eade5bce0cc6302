"""How far long work has come: a bar in a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from vipcli.terminal import output

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

_EVERY = 10.0
"""Seconds between two lines."""


class Progress:
    """Shows on standard error how many of how many are done, how fast, and how many failed."""

    def __init__(self, total: int | None, *, quiet: bool) -> None:
        self.total = total
        self._done = self._fresh = self._failed = self._first = 0
        self._begun = self._told = time.monotonic()
        self._first_at: float | None = None
        self._lines = not quiet and not output.is_terminal(sys.stderr)
        self._bar: Bar | None = None if quiet or self._lines else _bar()
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
        """Since it began."""
        return time.monotonic() - self._begun

    @property
    def rate(self) -> float:
        """How many a second since the first were shown, before which a model was loaded."""
        if self._first_at is None or self._fresh == self._first:
            return 0.0
        return (self._fresh - self._first) / max(time.monotonic() - self._first_at, 1e-9)

    def show(self, fresh: int, kept: int, failed: int) -> None:
        """So many are new, so many were there before; of all these, so many have failed."""
        self._done, self._fresh, self._failed = fresh + kept, fresh, failed
        if self._first_at is None and fresh:
            self._first, self._first_at = fresh, time.monotonic()
            # Not before: what is told while a model is loaded would end up in the bar.
            if self._bar is not None:
                self._bar.start()
        if self._bar is not None:
            self._bar.update(
                self._task,
                completed=self._done,
                rate=f"{self.rate:.3g}/s" if self.rate else "",
                failed=f"{failed:,} failed" if failed else "",
            )
        elif self._lines and time.monotonic() - self._told >= _EVERY:
            self._told = time.monotonic()
            output.tell(self._line())

    def _line(self) -> str:
        parts = [f"{self._done:,} of {self.total:,}" if self.total is not None else f"{self._done:,} done"]
        if self._failed:
            parts.append(f"{self._failed:,} failed")
        if self.rate:
            parts.append(f"{self.rate:.3g} a second")
        if self.total is not None and self.rate:
            parts.append(f"{span((self.total - self._done) / self.rate)} left")
        return ", ".join(parts)


def span(seconds: float) -> str:
    """A span of time as people say it: 40 s, 12 min, 3 h 5 min."""
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
        # Answers may go there, and belong nowhere else.
        redirect_stdout=False,
    )
