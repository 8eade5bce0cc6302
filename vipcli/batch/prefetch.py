"""Prepare items in threads ahead of the model, and group them, in order, into windows."""

from __future__ import annotations

import hashlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import replace

from vipcli.batch.items import Item
from vipcli.batch.preparing import BatchConfig, ItemPreparer, PreparedItem

WINDOWS_AHEAD = 2
"""How many windows are prepared ahead of the model, which bounds the memory for pictures."""
_MAX_ITEMS_PER_WINDOW = 1024
"""The limit for windows of items that the model need not answer, such as those with earlier rows."""


class EarlierRows:
    """The rows that earlier runs have written, with their offsets in the file.

    A row belongs to an item if both the identity and the id match. If the same picture is listed twice, its
    items match the same rows, and each takes one.
    """

    def __init__(self, rows: Iterable[tuple[int, str, str]]) -> None:
        self._offsets: dict[int, int] = {}
        # Duplicates are rare, and a number takes less memory than a list of one.
        self._duplicates: dict[int, deque[int]] = {}
        for offset, identity, id in rows:
            key = row_key(identity, id)
            if key in self._offsets:
                self._duplicates.setdefault(key, deque()).append(offset)
            else:
                self._offsets[key] = offset

    def __contains__(self, row: tuple[str, str], /) -> bool:
        return row_key(*row) in self._offsets

    def __iter__(self) -> Iterator[int]:
        """The keys of the rows, without duplicates."""
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def take(self, identity: str, id: str) -> int | None:
        """Take the next matching row and return its offset; None if all are taken."""
        key = row_key(identity, id)
        if duplicates := self._duplicates.get(key):
            # Replace the offset in one step, because other threads look the key up meanwhile.
            offset, self._offsets[key] = self._offsets[key], duplicates.popleft()
            return offset
        return self._offsets.pop(key, None)


def row_key(identity: str, id: str) -> int:
    """A number for the row of an item, the same if the pictures have moved to another folder."""
    text = f"{identity} {id.rpartition('/')[2]}".encode(errors="backslashreplace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=16).digest())


Windows = Generator[list[PreparedItem], None, None]


def prepared_windows(
    items: Iterable[Item],
    preparer: ItemPreparer,
    config: BatchConfig,
    earlier: EarlierRows | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Windows:
    """Prepare items in threads and group them, in order, into windows of `config.window_size` questions.

    A resumed run forms the same windows as an uninterrupted one. `stop` ends it early.
    """
    window: list[PreparedItem] = []
    questions = fresh = 0
    with closing(_prepare_ahead(items, preparer, config, earlier)) as prepared_items:
        for prepared in prepared_items:
            if stop():
                return
            # A window is yielded early if the source pauses, or if all its rows are from earlier runs and the
            # next item has no row yet.
            is_idle = prepared is None or (not prepared.done and not fresh)
            is_full = questions == config.window_size or len(window) >= max(
                _MAX_ITEMS_PER_WINDOW, config.window_size
            )
            if window and (is_idle or is_full):
                yield window
                window, questions, fresh = [], 0, 0
            if prepared is not None:
                window.append(prepared)
                questions += prepared.question is not None
                fresh += not prepared.done
    if window and not stop():
        yield window


def _prepare_ahead(
    items: Iterable[Item], preparer: ItemPreparer, config: BatchConfig, earlier: EarlierRows | None
) -> Generator[PreparedItem | None, None, None]:
    """Prepared items in order; None while the source of items pauses."""
    pending: deque[Future[PreparedItem]] = deque()
    limit = config.window_size * WINDOWS_AHEAD
    with ThreadPoolExecutor(config.readers, "prepare") as pool, closing(_ListingThread(items)) as listing:
        try:
            while True:
                while len(pending) < limit and (item := listing.next(wait=not pending)) is not None:
                    # Without earlier rows, the preparer need not compute the identity beforehand.
                    pending.append(pool.submit(preparer.prepare, item, earlier or None))
                if pending:
                    prepared = pending.popleft().result()
                    if prepared.done and earlier is not None:
                        offset = earlier.take(prepared.identity, prepared.item.id)
                        # An identical item may have taken the row in the meantime.
                        prepared = (
                            preparer.prepare(prepared.item)
                            if offset is None
                            else replace(prepared, offset=offset)
                        )
                    yield prepared
                elif listing.is_finished:
                    return
                else:
                    yield None
        finally:
            for future in pending:
                future.cancel()


class _ListingThread:
    """Lists items in a separate thread, because a source such as standard input may block."""

    _POLL_SECONDS = 0.2
    _CAPACITY = 64

    def __init__(self, items: Iterable[Item]) -> None:
        self._queue: queue.Queue[Item | BaseException | None] = queue.Queue(self._CAPACITY)
        self._closed = threading.Event()
        self.is_finished = False
        # A daemon, because a blocked read cannot be interrupted.
        threading.Thread(target=self._fill, args=(items,), name="items", daemon=True).start()

    def _fill(self, items: Iterable[Item]) -> None:
        end: BaseException | None = None
        try:
            for item in items:
                self._put(item)
                if self._closed.is_set():
                    return
        except BaseException as error:
            end = error
        self._put(end)

    def _put(self, item: Item | BaseException | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=self._POLL_SECONDS)
                return

    def next(self, *, wait: bool) -> Item | None:
        """The next item; None if there is none yet or none left."""
        if self.is_finished:
            return None
        try:
            item = self._queue.get(timeout=self._POLL_SECONDS) if wait else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        self.is_finished = item is None
        return item

    def close(self) -> None:
        """Tell the thread to end."""
        self._closed.set()
