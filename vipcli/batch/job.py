"""A batch from its items to its rows in a file: what `vipcli batch` carries out."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any

from vipcli.asking.interface import BatchAnswerer
from vipcli.batch import rows
from vipcli.batch.answering import AnsweredWindows, Asker, Sink, Tally, made, run, unanswered
from vipcli.batch.items import Job
from vipcli.batch.prefetch import Done, windows
from vipcli.batch.preparing import Plan, Reader
from vipcli.batch.rows import IDENTITY, Row, RowFile
from vipcli.errors import OutputError, UsageError, VipcliError
from vipcli.files import replace_file
from vipcli.terminal import output
from vipcli.terminal.progress import Progress, format_duration

Work = Callable[[Job, Done, Callable[[], bool]], AnsweredWindows]
"""Where the work is done: items in, answered windows out, until it is told to stop."""


def here(plan: Plan, load: Callable[[], BatchAnswerer]) -> Work:
    """Do the work in this process, with a model that is loaded once there is something to ask."""

    def work(job: Job, done: Done, stop: Callable[[], bool]) -> AnsweredWindows:
        asker = Asker(load, plan)
        return made(windows(job.items, Reader(plan), plan, done, stop), asker)

    return work


_NOTHING = "There is nothing to ask about. Check what was named, and --label and its like."
_ERRORS_TOLD = 3
"""So many errors are told of as they come; the rest are in their rows."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a batch ended."""

    tally: Tally
    seconds: float
    rate: float
    """Rows a second once the model was there; 0 where they were too few to tell."""
    stopped: bool
    outdated: int = 0
    """Rows that answer what is no longer asked."""

    @property
    def lines(self) -> Iterator[str]:
        """What to tell of it."""
        tally = self.tally
        fresh = tally.answered + tally.failed
        parts = [f"{_counted(fresh, 'row')} in {format_duration(self.seconds)}"]
        if self.rate:
            parts[0] += f" ({self.rate:.3g} a second)"
        if tally.kept:
            parts.append(f"{tally.kept:,} kept from before")
        if tally.errors:
            parts.append(f"{_counted(tally.errors, 'error')} among them")
        yield f"{', '.join(parts)}."
        if self.outdated:
            gone = _counted(self.outdated, "row")
            yield f"{gone} of items that are no more went to a file ending in .outdated."

    @property
    def record(self) -> dict[str, Any]:
        """The same for scripts."""
        return {
            "answered": self.tally.answered,
            "failed": self.tally.failed,
            "kept": self.tally.kept,
            "errors": self.tally.errors,
            "outdated": self.outdated,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
            "rate": round(self.rate, 3),
        }


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


@dataclass(frozen=True, slots=True)
class Target:
    """Where rows go, and what is made of them in the end."""

    path: Path | None
    """None for standard output."""
    as_json: bool = False
    """Whether standard output takes objects, not lines of text."""
    resume: bool = False
    retry_failed: bool = False
    whole: bool = True
    """Whether these are all items of the job, so that rows of others are of no more use."""
    coco: tuple[Path, Path] | None = None
    """A COCO file, and where it is to be written once more with the answers in it."""

    @property
    def kept_in(self) -> Path:
        """The file that rows are added to; a Parquet file is made of it in the end."""
        assert self.path is not None
        return self.path.with_name(f"{self.path.name}.jsonl") if self._is_parquet else self.path

    @property
    def _is_parquet(self) -> bool:
        return self.path is not None and self.path.suffix.lower() == ".parquet"

    def check(self) -> None:
        """Refuse before the work what could only fail after it."""
        if self.path is None:
            return
        rows.form_for(self.kept_in, ())
        _insist_on_folder(self.path)
        if not self.resume and any(_holds_something(path) for path in (self.path, self.kept_in)):
            raise UsageError(
                f"The file {str(self.path)!r} holds rows already. Go on with --resume, or name another file."
            )
        if self._is_parquet and importlib.util.find_spec("pyarrow") is None:
            raise UsageError(
                "Parquet files need pyarrow: pip install 'vipcli[parquet]'. Or use .jsonl or .csv."
            )
        if self._is_parquet and self.path.exists() and not self.kept_in.exists():
            raise UsageError(f"The file {str(self.path)!r} is of no batch that can be gone on with.")
        if self.coco is not None:
            source, target = self.coco
            _coco(source)
            _insist_on_folder(target)
            if any(path.resolve() == target.resolve() for path in (source, self.path, self.kept_in)):
                raise UsageError(f"The file {str(target)!r} is needed as it is. Name another for --coco-out.")
            if target.exists() and not self.resume:
                raise UsageError(f"The file {str(target)!r} is there already. Name another for --coco-out.")

    def finish(self, file: RowFile, columns: Sequence[str]) -> None:
        """Make of the rows what they were asked for as."""
        if self._is_parquet and self.path is not None:
            rows.write_parquet((row for _, row in file.rows()), columns, self.path)
        if self.coco is not None:
            _write_coco(*self.coco, (row for _, row in file.rows()))


def carry_out(job: Job, target: Target, work: Work, *, quiet: bool) -> Outcome:
    """Answer all items that have no row yet, each row safe before it counts."""
    if target.path is None:
        # A bar would get between the answers that a terminal shows.
        shown = sys.stdout.isatty()
        return _work(job, _Printed(as_json=target.as_json), work, Done(()), quiet=quiet or shown)
    form = rows.form_for(target.kept_in, job.columns)
    with RowFile(target.kept_in, form, resume=target.resume) as file:
        failed: set[int] = set()
        done = Done(_kept(file, failed, retry=target.retry_failed))
        try:
            outcome = _work(job, file, work, done, failed, quiet=quiet)
        except VipcliError:
            if any(True for _ in file.rows()):
                if not quiet:
                    output.note("The rows so far are kept. Once this is mended, --resume goes on:")
            elif not target.resume:
                # What was made for nothing would stand in the way of the next try.
                file.path.unlink(missing_ok=True)
            raise
        if outcome.stopped:
            return outcome
        outdated = file.arrange(outcome.tally.places) if target.resume and target.whole else 0
        target.finish(file, job.columns)
        return replace(outcome, outdated=outdated)


def _kept(file: RowFile, failed: set[int], *, retry: bool) -> Iterator[tuple[int, str, str]]:
    """The rows that count; errors last, since what failed once may have been answered later."""
    errors = []
    for place, row in file.rows():
        told = place, str(row[IDENTITY]), str(row["id"])
        if row["error"] is None:
            yield told
        else:
            errors.append(told)
    if not retry:
        failed |= {place for place, *_ in errors}
        yield from errors


def _work(
    job: Job, sink: Sink, work: Work, done: Done, failed: set[int] | None = None, *, quiet: bool
) -> Outcome:
    tally = Tally()
    alike, told = _Alike(tally), list[Row]()
    target_is_file = isinstance(sink, RowFile)
    with _interrupts(quiet=quiet) as stop, Progress(job.total, quiet=quiet) as progress:

        def tell(fresh: Sequence[Row]) -> None:
            if fresh and not quiet and tally.answered + tally.failed == len(fresh):
                # What is noted of the first, most likely holds for all.
                for note in fresh[0].get("notes", ()):
                    output.note(f"{fresh[0]['id']}: {note}")
            if not quiet and target_is_file:
                for row in [row for row in fresh if row["error"] is not None][: _ERRORS_TOLD - len(told)]:
                    told.append(row)
                    output.note(f"{row['id']}: {row['error']}")
            progress.show(tally.answered + tally.failed, tally.kept, tally.errors)
            alike.see(fresh)

        with contextlib.closing(work(job, done, stop)) as found:
            run(found, sink, tally, tell, failed or frozenset())
        if not tally.items and not stop():
            raise UsageError(_NOTHING)
        return Outcome(tally, progress.seconds, progress.rate, stop())


class _Alike:
    """Ends a batch that cannot come to anything: not one answer, and the same is wrong with all items."""

    _ENOUGH = 64

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._errors: set[str | None] = set()
        self._seen = 0

    def see(self, fresh: Sequence[Row]) -> None:
        """Look at some more rows."""
        # What names a file differs from one to the next.
        if self._seen < self._ENOUGH:
            self._errors |= {row["error"] for row in fresh}
            self._seen += len(fresh)
        answers = self._tally.items - self._tally.errors
        if self._seen >= self._ENOUGH and len(self._errors) == 1 and not answers:
            raise UsageError(f"All of {self._seen} items fail alike: {self._errors.pop()}")


class _Printed:
    """Rows on standard output, where nobody can look for them again."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def append(self, fresh: Sequence[Row]) -> Sequence[int]:
        for row in fresh:
            _print(row, "answer", as_json=self._as_json)
        return range(len(fresh))


def _print(row: Row, told: str, *, as_json: bool) -> None:
    """Print a row as it is, or on a line what it tells, or why it tells nothing."""
    if as_json:
        output.write_json_line(row)
    elif row["error"] is None:
        output.write(f"{row['id']}\t{' '.join(str(row[told]).split())}")
    else:
        output.error(f"{row['id']}: {row['error']}")


@contextlib.contextmanager
def _interrupts(*, quiet: bool) -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: once to end after the rows in flight, twice to leave at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        if not quiet:
            # Past Python's own stream, in the middle of whose work this may come.
            os.write(2, b"\nnote: Ending after the rows in flight. Ctrl-C again leaves at once.\n")

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def first_of(job: Job, most: int) -> Job:
    """The first so many items."""
    total = most if job.total is None else min(job.total, most)
    return Job(islice(job.items, most), total, job.columns)


def print_questions(job: Job, plan: Plan, *, as_json: bool) -> int:
    """Print what would be asked of each item, and return of how many nothing can be asked."""
    items = failed = 0
    with contextlib.closing(windows(job.items, Reader(plan), plan)) as found:
        for row in (unanswered(one) for window in found for one in window):
            items += 1
            failed += row["error"] is not None
            _print(row, "question", as_json=as_json)
    if not items:
        raise UsageError(_NOTHING)
    return failed


def _write_coco(source: Path, target: Path, kept: Iterable[Row]) -> None:
    """Write the COCO file once more, each annotation that was asked about with its question and answer."""
    told = _coco(source)
    annotations = {str(one["id"]): one for one in told["annotations"]}
    for row in kept:
        for id in rows.region_ids(row):
            if id in annotations:
                annotations[id] |= {name: row[name] for name in ("question", "answer", "error")}
    replace_file(target, json.dumps(told, ensure_ascii=False).encode(errors="backslashreplace"))


def _coco(source: Path) -> dict[str, Any]:
    try:
        told = json.loads(source.read_bytes())
        if any(not isinstance(one, dict) or "id" not in one for one in told["annotations"]):
            raise ValueError("an annotation has no id")
        return dict(told)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"The file {str(source)!r} is no COCO file that answers could be added to. Leave out --coco-out."
        ) from error


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _insist_on_folder(path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise OutputError(f"There is no folder {str(path.parent)!r}. Make it, or name another.")
