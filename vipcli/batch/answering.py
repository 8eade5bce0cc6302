"""Answer prepared items in batches and turn the answers into rows, in the order of the items."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Container, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from vipcli.asking import records
from vipcli.asking.interface import BatchAnswerer, Reply, Request
from vipcli.asking.records import Answer
from vipcli.batch.prefetch import Windows
from vipcli.batch.preparing import BatchConfig, PreparedItem
from vipcli.batch.rows import IDENTITY, Row
from vipcli.errors import Message, ModelError, OutOfMemoryError, Spelling, VipcliError, first_line
from vipcli.pictures.images import without_password

_GROW_AFTER = 16
"""After this many successful batches, a batch size that was once too large is tried again."""
_MAX_MODEL_FAILURES = 8
"""The batch ends after this many failures of the model in a row: it would fail on the next item too."""

_ROUNDED = ("probability", "logprob", "logprob_without_picture")


class AdaptiveBatches:
    """Answers requests in batches, halving the batch size when memory runs out."""

    def __init__(self, load: Callable[[], BatchAnswerer], batch_size: int) -> None:
        self._load = load
        self._max_size = self._size = batch_size
        self._successes = 0
        self._failures = 0

    @cached_property
    def answerer(self) -> BatchAnswerer:
        """The model, loaded on first use: a batch that is already complete does not need it."""
        return self._load()

    def replies(self, requests: Sequence[Request]) -> list[Reply | VipcliError]:
        """A reply or an error for each request."""
        replies: list[Reply | VipcliError] = []
        while len(replies) < len(requests):
            replies += self._answer_batch(requests[len(replies) : len(replies) + self._size])
        return replies

    def _answer_batch(self, requests: Sequence[Request]) -> list[Reply | VipcliError]:
        try:
            if len(requests) > 1:
                replies = self.answerer.answer_batch(requests)
            else:
                replies = [self.answerer.answer(requests[0])]
        except OutOfMemoryError as error:
            if len(requests) == 1:
                return [self._count_failure(error)]
            self._size, self._successes = max(len(requests) // 2, 1), 0
        # A long batch must not end because of one question, whatever goes wrong.
        except Exception as error:
            # One bad request may have made the whole batch fail, so ask each alone.
            if len(requests) > 1:
                return [reply for request in requests for reply in self._answer_batch([request])]
            return [
                self._count_failure(error if isinstance(error, VipcliError) else _unexpected_error(error))
            ]
        else:
            self._failures = 0
            self._count_success()
            return list(replies)
        half = self._size
        return [*self._answer_batch(requests[:half]), *self._answer_batch(requests[half:])]

    def _count_success(self) -> None:
        """Double the batch size, up to the configured size, after enough successes."""
        self._successes += 1
        if self._size < self._max_size and self._successes >= _GROW_AFTER:
            self._size, self._successes = min(self._size * 2, self._max_size), 0

    def _count_failure(self, error: VipcliError) -> VipcliError:
        if isinstance(error, ModelError) and not isinstance(error, OutOfMemoryError):
            self._failures += 1
            if self._failures >= _MAX_MODEL_FAILURES:
                raise error
        return error


class RowBuilder:
    """Answers prepared items and builds their rows."""

    def __init__(self, load: Callable[[], BatchAnswerer], config: BatchConfig) -> None:
        self._config = config
        self._answerer = AdaptiveBatches(load, config.batch_size)

    def rows(self, window: Sequence[PreparedItem]) -> list[Row]:
        """A row for each item, in order."""
        indexes = [index for index, prepared in enumerate(window) if prepared.question is not None]
        if indexes:
            # Load the model here, so that an error in loading ends the batch instead of failing an item.
            _ = self._answerer.answerer
        # Prompts of equal length need no padding. The sort is stable.
        indexes.sort(key=lambda index: _length_key(window[index]))
        requests = [request for index in indexes if (request := window[index].request) is not None]
        replies = dict(zip(indexes, self._answerer.replies(requests), strict=True))
        return [self._row(prepared, replies.get(index)) for index, prepared in enumerate(window)]

    def _row(self, prepared: PreparedItem, reply: Reply | VipcliError | None) -> Row:
        spelling = self._config.spelling
        if prepared.question is None or not isinstance(reply, Reply):
            fault = reply.message if isinstance(reply, VipcliError) else prepared.fault
            error = None if fault is None else fault.spelled(spelling)
            return {**_common_fields(prepared), "answer": None, "error": error, IDENTITY: prepared.identity}
        answer = Answer(prepared.question, reply, self._config.sampling, scoring=self._config.scoring)
        record = records.record(answer)
        record["notes"] = _spell_notes((*prepared.question.notes, *records.doubts(answer)), spelling)
        # Without timings, two runs write the same rows.
        del record["seconds"]
        _round_probabilities(record)
        return {**_common_fields(prepared), **record, "error": None, IDENTITY: prepared.identity}


def _round_probabilities(record: dict[str, Any]) -> None:
    """Round what depends in its further digits on what else is in the batch."""
    tokens = record.get("logprobs", [])
    for scored in (
        record,
        *record.get("choices", []),
        *tokens,
        *(top for token in tokens for top in token["top"]),
    ):
        for name in _ROUNDED:
            if scored.get(name) is not None:
                scored[name] = round(scored[name], 4)


def row_without_answer(prepared: PreparedItem, spelling: Spelling) -> Row:
    """The part of a row that needs no model."""
    common = _common_fields(prepared)
    if prepared.question is None:
        return {**common, "error": None if prepared.fault is None else prepared.fault.spelled(spelling)}
    return {
        **common,
        "prompt": prepared.question.prompt,
        **({"choices": list(prepared.question.choices)} if prepared.question.choices else {}),
        **records.describe_question(prepared.question),
        "notes": _spell_notes(prepared.question.notes, spelling),
        "error": None,
    }


def _common_fields(prepared: PreparedItem) -> Row:
    item = prepared.item
    return {
        "id": item.id,
        "image": without_password(item.images[0]) if item.images else None,
        "regions": [
            {"id": region.id, "label": region.label, "score": region.score} for region in item.regions
        ],
        "extra": dict(item.extra),
        "question": item.question if prepared.question is None else prepared.question.text,
    }


def _spell_notes(notes: Iterable[Message], spelling: Spelling) -> list[str]:
    return [note.spelled(spelling) for note in notes]


def _unexpected_error(error: Exception) -> ModelError:
    return ModelError(f"The model failed ({type(error).__name__}: {first_line(error)}).")


def _length_key(prepared: PreparedItem) -> tuple[int, int, int]:
    """A sort key that groups prompts with about the same number of tokens, including pictures."""
    assert prepared.question is not None
    sizes = [marked_picture.size for marked_picture in prepared.question.marked.pictures]
    # Larger pictures take more tokens only for models that cut them into tiles.
    pixels = max(width * height for width, height in sizes)
    is_tiled = prepared.question.form.name == "template"
    return len(sizes), pixels if is_tiled else 0, len(prepared.question.prompt)


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The row of an item, new or from an earlier run."""

    index: int
    """The position of the item in the batch."""
    row: Row | None
    """None if the row is from an earlier run."""
    offset: int = -1
    """Where the row of an earlier run begins in the file."""


ResultWindows = Generator[list[ItemResult], None, None]


def answer_windows(windows: Windows, builder: RowBuilder) -> ResultWindows:
    """Answer windows of prepared items."""
    index = 0
    with closing(windows):
        for window in windows:
            rows = iter(builder.rows([prepared for prepared in window if not prepared.done]))
            results = []
            for prepared in window:
                results.append(ItemResult(index, None if prepared.done else next(rows), prepared.offset))
                index += 1
            yield results


class RowSink(Protocol):
    """Where rows are written."""

    def append(self, rows: Sequence[Row]) -> Sequence[int]:
        """Write rows durably and return where each begins."""


@dataclass
class Tally:
    """The progress of a batch."""

    answered: int = 0
    failed: int = 0
    reused: int = 0
    """Rows of earlier runs."""
    reused_failed: int = 0
    """How many of them are errors."""
    offsets: array[int] = field(default_factory=lambda: array("q"))
    """Where the row of each item begins in the file, in the order of the items."""

    @property
    def items(self) -> int:
        """How many items have a row."""
        return self.answered + self.failed + self.reused

    @property
    def errors(self) -> int:
        """How many items have no answer."""
        return self.failed + self.reused_failed

    def count(self, result: ItemResult, offset: int, earlier_errors: Container[int]) -> None:
        """Count an item whose row begins at `offset`."""
        if result.index >= len(self.offsets):
            self.offsets.extend([-1] * (result.index + 1 - len(self.offsets)))
        self.offsets[result.index] = offset
        if result.row is None:
            self.reused += 1
            self.reused_failed += offset in earlier_errors
        elif result.row["error"] is None:
            self.answered += 1
        else:
            self.failed += 1


def write_results(
    windows: Iterable[Sequence[ItemResult]],
    sink: RowSink,
    tally: Tally,
    on_rows: Callable[[Sequence[Row]], None],
    earlier_errors: Container[int] = frozenset(),
) -> None:
    """Write rows as they arrive, count them, and report them once they are on disk.

    `earlier_errors` are the offsets of earlier rows that are errors.
    """
    for window in windows:
        rows = [result.row for result in window if result.row is not None]
        offsets = iter(sink.append(rows) if rows else ())
        for result in window:
            offset = result.offset if result.row is None else next(offsets)
            tally.count(result, offset, earlier_errors)
        on_rows(rows)
