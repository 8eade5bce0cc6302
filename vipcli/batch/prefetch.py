"""Items in their order, listed and made ready ahead of the model, and gathered into windows for it."""

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
"""So many windows of pictures are held ready for the model, and no more: that bounds the memory."""
_MOST = 1024
"""So many items are handed on together at most, where few or none of them are for the model."""


class EarlierRows:
    """The rows that earlier runs have written and where each begins, to be taken by one item each.

    A row is an item's that has both its content and its name: the same picture may be there twice.
    """

    def __init__(self, rows: Iterable[tuple[int, str, str]]) -> None:
        self._first: dict[int, int] = {}
        # Seldom is the same asked of the same twice, and one number takes less memory than a list.
        self._more: dict[int, deque[int]] = {}
        for place, identity, id in rows:
            key = row_key(identity, id)
            if key in self._first:
                self._more.setdefault(key, deque()).append(place)
            else:
                self._first[key] = place

    def __contains__(self, row: tuple[str, str], /) -> bool:
        return row_key(*row) in self._first

    def __iter__(self) -> Iterator[int]:
        """What stands for each row, once."""
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def take(self, identity: str, id: str) -> int | None:
        """Where the next such row begins; None once all are taken."""
        key = row_key(identity, id)
        if more := self._more.get(key):
            # Put in the other's place at once: other threads look here.
            place, self._first[key] = self._first[key], more.popleft()
            return place
        return self._first.pop(key, None)


def row_key(identity: str, id: str) -> int:
    """What stands for the row of an item: its content and its name, in whatever folder."""
    told = f"{identity} {id.rpartition('/')[2]}".encode(errors="backslashreplace")
    return int.from_bytes(hashlib.blake2b(told, digest_size=16).digest())


Windows = Generator[list[PreparedItem], None, None]


def prepared_windows(
    items: Iterable[Item],
    reader: ItemPreparer,
    plan: BatchConfig,
    done: EarlierRows | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Windows:
    """The items in their order, read ahead by several threads, so many questions at a time.

    It ends early once `stop` says so. Where an earlier run ended, windows begin as they would have.
    """
    window: list[PreparedItem] = []
    asked = fresh = 0
    with closing(_read_ahead(items, reader, plan, done)) as ahead:
        for one in ahead:
            if stop():
                return
            # Where nothing new comes for now, what is there need not wait; nor what was done before.
            waits = one is None or (not one.done and not fresh)
            if window and (waits or asked == plan.window or len(window) >= max(_MOST, plan.window)):
                yield window
                window, asked, fresh = [], 0, 0
            if one is not None:
                window.append(one)
                asked += one.question is not None
                fresh += not one.done
    if window and not stop():
        yield window


def _read_ahead(
    items: Iterable[Item], reader: ItemPreparer, plan: BatchConfig, done: EarlierRows | None
) -> Generator[PreparedItem | None, None, None]:
    """What is ready, in order; None when nothing more has come for a while."""
    ahead: deque[Future[PreparedItem]] = deque()
    with ThreadPoolExecutor(plan.readers, "reader") as pool, closing(_Source(items)) as source:
        try:
            while True:
                most = plan.window * WINDOWS_AHEAD
                while len(ahead) < most and (item := source.next(wait=not ahead)) is not None:
                    # Where there are no rows, nothing need be known of a picture before it is read.
                    ahead.append(pool.submit(reader.prepare, item, done or None))
                if ahead:
                    one = ahead.popleft().result()
                    if one.done and done is not None:
                        place = done.take(one.identity, one.item.id)
                        # Another item that asks the same may have taken the row that was there.
                        one = reader.prepare(one.item) if place is None else replace(one, place=place)
                    yield one
                elif source.over:
                    return
                else:
                    yield None
        finally:
            for future in ahead:
                future.cancel()


class _Source:
    """Items that come from a thread of their own, for whoever lists them may take a while."""

    _WAIT = 0.2
    _MOST = 64

    def __init__(self, items: Iterable[Item]) -> None:
        self._queue: queue.Queue[Item | BaseException | None] = queue.Queue(self._MOST)
        self._closed = threading.Event()
        self.over = False
        # It may hang in a read that nobody can break off.
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
                self._queue.put(item, timeout=self._WAIT)
                return

    def next(self, *, wait: bool) -> Item | None:
        """The next item; None if there is none yet, or none any more."""
        if self.over:
            return None
        try:
            item = self._queue.get(timeout=self._WAIT) if wait else self._queue.get_nowait()
        except queue.Empty:
            return None
        if isinstance(item, BaseException):
            raise item
        self.over = item is None
        return item

    def close(self) -> None:
        """Let the thread end."""
        self._closed.set()
