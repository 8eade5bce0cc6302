"""The request queue of a model; requests that can share a batch are answered together."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from vipcli.asking.interface import BatchAnswerer, OnText, Reply, Request
from vipcli.errors import ModelError, VipcliError

_BATCH_DELAY = 0.004
"""Seconds to wait for requests that arrive at the same time."""


class BusyError(VipcliError):
    """The server is too busy to accept another request."""


@dataclass(eq=False)
class QueuedRequest:
    """A request that waits for its answer or is being answered."""

    request: Request
    on_text: OnText | None
    timeout: float
    """Seconds until it expires, including the wait."""
    queued_at: float = field(default_factory=time.monotonic)
    cancelled: bool = False
    """Whether the client has gone."""
    halted: bool = False
    """Whether the client wants the answer to end early."""
    started: bool = False
    """Whether any text of the answer was passed on."""
    reply: Future[Reply] = field(default_factory=Future)

    def should_end(self) -> bool:
        """Whether the answer should end early."""
        return self.cancelled or self.halted or self.expired

    @property
    def expired(self) -> bool:
        """Whether the request has taken longer than its timeout."""
        return time.monotonic() - self.queued_at > self.timeout

    def emit(self, text: str) -> None:
        """Pass on a piece of the answer."""
        self.started = True
        if self.on_text is not None:
            self.on_text(text)

    @property
    def batch_key(self) -> object | None:
        """Requests with equal keys can share a batch; None for one that cannot."""
        request = self.request
        # A batch draws random numbers from one seed, so a sampled answer would differ from one asked alone.
        alone = request.frames or request.past_turns or request.sampling.temperature
        return None if alone else request.sampling


class Scheduler:
    """A queue of requests and the thread that answers them."""

    def __init__(self, model: BatchAnswerer, *, max_waiting: int, max_batch: int) -> None:
        self._model = model
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._queue: deque[QueuedRequest] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self._last_used = time.monotonic()
        threading.Thread(target=self._work, name="scheduler", daemon=True).start()

    @property
    def idle_since(self) -> float | None:
        """When the last request ended; None while there is one."""
        with self._changed:
            return None if self._busy or self._queue else self._last_used

    @property
    def waiting(self) -> int:
        """How many requests are queued."""
        return len(self._queue)

    def check_room(self) -> None:
        """Raise BusyError if the queue is full. `submit` skips this for a request without a timeout."""
        if len(self._queue) >= self._max_waiting:
            raise BusyError(f"{len(self._queue)} requests are already waiting. Try again in a moment.")

    def submit(
        self, request: Request, on_text: OnText | None = None, *, timeout: float | None = None
    ) -> QueuedRequest:
        """Queue a request; one without a timeout is queued even if the queue is full."""
        queued = QueuedRequest(request, on_text, math.inf if timeout is None else timeout)
        with self._changed:
            if timeout is not None:
                self.check_room()
            self._queue.append(queued)
            self._changed.notify()
        return queued

    def cancel(self, queued: QueuedRequest) -> None:
        """Take a request out of the queue, or end its answer."""
        with self._changed:
            queued.cancelled = True
            if queued in self._queue:
                self._queue.remove(queued)
                queued.reply.cancel()

    def _work(self) -> None:
        while True:
            self._answer(self._next_batch())
            with self._changed:
                self._busy, self._last_used = False, time.monotonic()

    def _next_batch(self) -> list[QueuedRequest]:
        """Wait for requests and take the next batch; it is empty if they were cancelled meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue)
            self._busy = True
            alone = self._queue[0].batch_key is None
        if not alone and self._max_batch > 1:
            time.sleep(_BATCH_DELAY)
        with self._changed:
            if not self._queue:
                return []
            first = self._queue.popleft()
            batch = [first]
            if first.batch_key is not None:
                for queued in list(self._queue):
                    if len(batch) < self._max_batch and queued.batch_key == first.batch_key:
                        self._queue.remove(queued)
                        batch.append(queued)
            return batch

    def _answer(self, batch: list[QueuedRequest]) -> None:
        live = [queued for queued in batch if not queued.cancelled and not queued.expired]
        for queued in set(batch) - set(live):
            queued.reply.set_exception(
                ModelError("The request waited too long for its turn. Try again later.")
            )
        try:
            replies = self._replies(live)
        # The error concerns these requests only; the next batch may succeed.
        except Exception as error:
            for queued in live:
                # One bad request may have made the whole batch fail.
                if len(live) > 1 and not queued.started:
                    self._answer([queued])
                else:
                    queued.reply.set_exception(error)
            return
        for queued, reply in zip(live, replies, strict=True):
            queued.reply.set_result(reply)

    def _replies(self, batch: list[QueuedRequest]) -> list[Reply]:
        if len(batch) > 1:
            return self._model.answer_batch(
                [queued.request for queued in batch],
                [queued.emit for queued in batch],
                [queued.should_end for queued in batch],
            )
        return [self._model.answer(queued.request, queued.emit, queued.should_end) for queued in batch]
