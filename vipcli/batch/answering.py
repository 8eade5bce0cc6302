"""Many items, one model: what is ready is answered side by side and becomes rows in the order of the items.

Nothing here knows of files of rows or of terminals.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from vipcli.asking import records
from vipcli.asking.interface import Reply, Request, Several
from vipcli.asking.records import Answer
from vipcli.batch.prefetch import Windows
from vipcli.batch.preparing import BatchConfig, PreparedItem
from vipcli.batch.rows import IDENTITY, Row
from vipcli.errors import ModelError, OutOfMemoryError, VipcliError, first_line
from vipcli.pictures.images import without_password

_GROW_AFTER = 16
"""So many batches must go well before a batch that was once too large is tried again."""
_HOPELESS = 8
"""When the model itself fails so often in a row, it will not do better with the next picture."""


class BatchAnswerer:
    """Answers requests side by side as far as memory reaches: a batch that does not fit is halved."""

    def __init__(self, load: Callable[[], Several], together: int) -> None:
        self._load = load
        self._most = self._limit = together
        self._successes = 0
        self._failures = 0

    @cached_property
    def answerer(self) -> Several:
        """The model, loaded on first use: a batch that is done needs none."""
        return self._load()

    def replies(self, requests: Sequence[Request]) -> list[Reply | VipcliError]:
        """A reply for each request, or why there is none."""
        replies: list[Reply | VipcliError] = []
        while len(replies) < len(requests):
            some = requests[len(replies) : len(replies) + self._limit]
            replies += self._batch(some)
        return replies

    def _batch(self, requests: Sequence[Request]) -> list[Reply | VipcliError]:
        try:
            if len(requests) > 1:
                replies = self.answerer.answers(requests)
            else:
                replies = [self.answerer.answer(requests[0])]
        except OutOfMemoryError as error:
            if len(requests) == 1:
                return [self._failed(error)]
            self._limit, self._successes = max(len(requests) // 2, 1), 0
        # Whatever it is, a night's work must not end over one question.
        except Exception as error:
            # One of them may have spoilt it for all.
            if len(requests) > 1:
                return [reply for request in requests for reply in self._batch([request])]
            return [self._failed(error if isinstance(error, VipcliError) else _unexpected(error))]
        else:
            self._failures = 0
            self._grow()
            return list(replies)
        half = self._limit
        return [*self._batch(requests[:half]), *self._batch(requests[half:])]

    def _grow(self) -> None:
        """Go back towards as many as were asked for, once all has gone well for a while."""
        self._successes += 1
        if self._limit < self._most and self._successes >= _GROW_AFTER:
            self._limit, self._successes = min(self._limit * 2, self._most), 0

    def _failed(self, error: VipcliError) -> VipcliError:
        if isinstance(error, ModelError) and not isinstance(error, OutOfMemoryError):
            self._failures += 1
            if self._failures >= _HOPELESS:
                raise error
        return error


class RowBuilder:
    """Answers what is ready and makes rows of the answers."""

    def __init__(self, load: Callable[[], Several], plan: BatchConfig) -> None:
        self._plan = plan
        self._together = BatchAnswerer(load, plan.batch_size)

    def rows(self, window: Sequence[PreparedItem]) -> list[Row]:
        """A row for each, in their order."""
        asked = [number for number, one in enumerate(window) if one.question is not None]
        if asked:
            # Loaded here: what is wrong with a model is wrong with no question.
            _ = self._together.answerer
        # Beside others of its length, a prompt needs no padding; the order within a length stays.
        asked.sort(key=lambda number: _length(window[number]))
        requests = [request for number in asked if (request := window[number].request) is not None]
        found = dict(zip(asked, self._together.replies(requests), strict=True))
        return [self._row(one, found.get(number)) for number, one in enumerate(window)]

    def _row(self, one: PreparedItem, reply: Reply | VipcliError | None) -> Row:
        head = _head(one)
        if one.question is None or not isinstance(reply, Reply):
            why = one.fault if one.question is None else str(reply)
            return {**head, "answer": None, "error": why, IDENTITY: one.identity}
        told = records.record(Answer(one.question, reply, self._plan.sampling))
        # How long it took is no part of what came out, and two runs of a job are to be the same.
        del told["seconds"]
        if told["probability"] is not None:
            # The last digits depend on which others were read beside it.
            told["probability"] = round(told["probability"], 4)
        return {**head, **told, "error": None, IDENTITY: one.identity}


def unanswered(one: PreparedItem) -> Row:
    """As much of a row as is known without a model."""
    head = _head(one)
    if one.question is None:
        return {**head, "error": one.fault}
    return {**head, "prompt": one.question.prompt, **records.describe(one.question), "error": None}


def _head(one: PreparedItem) -> Row:
    item = one.item
    return {
        "id": item.id,
        "image": without_password(item.images[0]) if item.images else None,
        "regions": [{"id": r.id, "label": r.label, "score": r.score} for r in item.regions],
        "extra": dict(item.extra),
        "question": item.question if one.question is None else one.question.text,
    }


def _unexpected(error: Exception) -> ModelError:
    return ModelError(f"The model failed ({type(error).__name__}: {first_line(error)}).")


def _length(one: PreparedItem) -> tuple[int, int, int]:
    """What tells how many tokens the prompt of one takes, those of its pictures included."""
    assert one.question is not None
    shown = one.question.marked.shown
    # Where pictures are cut into tiles, larger ones take more of them; elsewhere all take as many.
    pixels = max(one.picture.width * one.picture.height for one in shown)
    return len(shown), pixels if one.question.form.name == "template" else 0, len(one.question.prompt)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one item."""

    number: int
    """Its place among all items."""
    row: Row | None
    """None where an earlier run had it."""
    place: int = -1
    """Where that row begins."""


ResultWindows = Generator[list[ItemResult], None, None]


def answer_windows(found: Windows, asker: RowBuilder) -> ResultWindows:
    """Windows of items, answered."""
    number = 0
    with closing(found):
        for window in found:
            rows = iter(asker.rows([one for one in window if not one.done]))
            answered = []
            for one in window:
                answered.append(ItemResult(number, None if one.done else next(rows), one.place))
                number += 1
            yield answered


class RowSink(Protocol):
    """Where rows go."""

    def append(self, rows: Sequence[Row]) -> Sequence[int]:
        """Keep rows for good, and return where each begins."""


@dataclass
class Tally:
    """How far a batch has come."""

    answered: int = 0
    failed: int = 0
    kept: int = 0
    """Rows of earlier runs."""
    kept_failed: int = 0
    """Those of them that are errors."""
    places: array[int] = field(default_factory=lambda: array("q"))
    """Where the row of each item begins, in the order of the items."""

    @property
    def items(self) -> int:
        """All that came to something."""
        return self.answered + self.failed + self.kept

    @property
    def errors(self) -> int:
        """The items that have no answer."""
        return self.failed + self.kept_failed


def run(
    windows: Iterable[Sequence[ItemResult]],
    sink: RowSink,
    tally: Tally,
    tell: Callable[[Sequence[Row]], None],
    errors_before: Container[int] = frozenset(),
) -> None:
    """Put rows where they belong as they come, then tell of them: not before they are safe."""
    for window in windows:
        rows = [one.row for one in window if one.row is not None]
        fresh = iter(sink.append(rows) if rows else ())
        for one in window:
            place = one.place if one.row is None else next(fresh)
            if one.number >= len(tally.places):
                tally.places.extend([-1] * (one.number + 1 - len(tally.places)))
            tally.places[one.number] = place
            if one.row is None:
                tally.kept += 1
                tally.kept_failed += place in errors_before
            elif one.row["error"] is None:
                tally.answered += 1
            else:
                tally.failed += 1
        tell(rows)
