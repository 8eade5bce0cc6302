"""Run a batch on a Ray cluster.

Blocks of items pass through Ray Data as a stream, so that its workers and their models stay alive for as many
items as possible. Ray Data itself can only read files and lists, so here it reads from an actor on the
driver's machine, which holds the few blocks in progress. Ray Data keeps the order, restarts workers that
die, and repeats the blocks they were working on.
"""

from __future__ import annotations

import os
import pickle
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vipcli.batch import ray_compat
from vipcli.batch.answering import ItemResult, RowBuilder
from vipcli.batch.items import Item, ItemStream
from vipcli.batch.prefetch import EarlierRows, row_key
from vipcli.batch.preparing import BatchConfig, ItemPreparer, RowLookup
from vipcli.batch.ray_compat import ray
from vipcli.batch.rows import Row
from vipcli.checkpoints.catalog import FAMILIES
from vipcli.checkpoints.lookup import fingerprint
from vipcli.errors import Message, ModelError, UsageError, VipcliError

if TYPE_CHECKING:
    from vipcli.asking.interface import BatchAnswerer
    from vipcli.batch.job import Backend

_BLOCKS_AHEAD = 32
"""How many blocks per worker may be in progress: little memory, but enough to keep the other workers busy
while one of them restarts."""
_BLOCKS_PER_ROUND = 50_000
"""How many blocks pass through one pipeline, which keeps 5 KB per block until it ends."""
_CALLS_PER_WORKER = 2
"""A worker answers one block while it reads the pictures of the next."""
_MAX_ATTEMPTS = 5
"""If this many workers die while answering a block, the block is probably the cause."""
_POLL_SECONDS = 0.2
"""How often to check whether the batch was stopped."""

_IndexedItem = tuple[int, Item]
"""An item and its position in the batch."""
_BlockResult = list[tuple[int, str, Row | None]]
"""The index, identity and row of each item in a block; the row is None if an earlier run has one."""


def ray_backend(config: BatchConfig, workers: int | None, on_note: Callable[[Message], None]) -> Backend:
    """Run on a Ray cluster, by default with a worker per GPU or, without GPUs, a worker per machine."""
    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        raise UsageError(
            "RAY_ADDRESS begins with ray://, but a batch must be started on a machine of the cluster.",
            "Start it there, without RAY_ADDRESS.",
        )

    def results(
        stream: ItemStream, earlier: EarlierRows, stop: Callable[[], bool]
    ) -> Generator[list[ItemResult]]:
        try:
            with ray_compat.connected(on_note):
                pool = _size_pool(config, workers)
                with closing(_ClusterRun(config, pool, stream, earlier, stop)) as run:
                    yield from run.results()
        except VipcliError:
            raise
        # Ray has many kinds of errors, none of them readable.
        except Exception as error:
            raise ray_compat.plain_error(error) from error

    return results


@dataclass(frozen=True, slots=True)
class _WorkerPool:
    """The number of workers, and what each takes from the cluster."""

    workers: int
    cpus: int
    gpus: int | None = None


def _size_pool(config: BatchConfig, workers: int | None) -> _WorkerPool:
    nodes = ray_compat.node_resources()
    gpus = 0 if config.setup.device == "cpu" else sum(int(node.get("GPU", 0)) for node in nodes)
    if gpus:
        if workers is not None and workers > gpus:
            raise _too_many_workers_error("GPU", gpus)
        return _WorkerPool(workers or gpus, cpus=1, gpus=1)
    node_cpus = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    worker_count = workers or max(len(node_cpus), 1)
    # A worker runs as many threads as it has CPUs, so give each as many as possible.
    for cpus in range(max(node_cpus, default=0), 0, -1):
        if sum(count // cpus for count in node_cpus) >= worker_count:
            return _WorkerPool(worker_count, cpus)
    raise _too_many_workers_error("CPU", sum(node_cpus))


def _too_many_workers_error(unit: str, count: int) -> UsageError:
    return UsageError(f"Each worker needs a {unit}, but the cluster has only {count}.", "Lower {workers}.")


# --------------------------------------------------------------------------- on the driver's machine


class _BlockQueue:
    """An actor on the driver's machine that hands out blocks in order, as they arrive."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._attempts: dict[int, int] = {}
        self._first = 0
        """The first block that is still in progress."""
        self._count: int | None = None
        """The number of blocks, once it is known."""
        self._stopped = False
        self._changed = threading.Condition()

    def put(self, number: int, block: bytes) -> None:
        with self._changed:
            self._blocks[number] = block
            self._changed.notify_all()

    def end(self, count: int, stopped: bool) -> None:
        """Announce the number of blocks; if stopped, blocks that no worker has begun are dropped."""
        with self._changed:
            self._count, self._stopped = count, stopped
            self._changed.notify_all()

    def begin(self, number: int) -> int | None:
        """Count an attempt at a block and return the number of attempts; None if it is dropped."""
        if self._stopped:
            return None
        with self._changed:
            self._attempts[number] = self._attempts.get(number, 0) + 1
            return self._attempts[number]

    def forget(self, end: int) -> None:
        """Release all blocks before `end`, whose results have arrived."""
        with self._changed:
            for number in range(self._first, end):
                self._blocks.pop(number, None)
                self._attempts.pop(number, None)
            self._first = end

    def get(self, number: int) -> bytes | None:
        """Wait for a block; None after the last one."""
        with self._changed:
            while number >= self._first and number not in self._blocks:
                if self._count is not None and number >= self._count:
                    return None
                self._changed.wait()
            # A restarted read task begins again with the first block. It gets empty blocks for released ones.
            return self._blocks.get(number, b"")


class _ClusterRun:
    """Sends the items of a batch to the workers in blocks, and receives their rows.

    A block is a window of the local backend, so the same questions share a batch and rows agree to the last
    digit. If a picture cannot be read, or a run was interrupted within a block, the batches differ: the texts
    stay the same, but the last digits of probabilities may not.
    """

    def __init__(
        self,
        config: BatchConfig,
        pool: _WorkerPool,
        stream: ItemStream,
        earlier: EarlierRows,
        stop: Callable[[], bool],
    ) -> None:
        self._config, self._pool, self._stream = config, pool, stream
        self._earlier, self._stop = earlier, stop
        # On the driver's node, the queue can only be lost together with the driver.
        queue_options = {"num_cpus": 0, "max_concurrency": 8, "label_selector": ray_compat.this_node()}
        self._queue: Any = ray.remote(_BlockQueue).options(**queue_options).remote()
        self._sent: dict[int, list[_IndexedItem]] = {}
        """The blocks in progress."""
        self._retries: list[_IndexedItem] = []
        """Items whose earlier row was taken by an identical item."""
        self._changed = threading.Condition()
        self._closed = False
        self._block_count: int | None = None
        """The number of blocks, once all have been sent."""
        self._send_error: Exception | None = None
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def close(self) -> None:
        """Stop sending."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._sender.is_alive():
            # Wait only briefly: it may be blocked on standard input.
            self._sender.join(2)

    def results(self) -> Iterator[list[ItemResult]]:
        """The results of each block, in order."""
        keys = ray.put(_SharedRowKeys(self._earlier)) if self._earlier else None
        arguments = (
            *(self._config, fingerprint(self._config.checkpoint), str(Path.cwd())),
            *(keys, self._queue),
        )
        self._sender.start()
        first = 0
        while self._block_count is None or first < self._block_count:
            for number, content in self._map_blocks(range(first, first + _BLOCKS_PER_ROUND), arguments):
                yield self._receive(number, pickle.loads(content))
            first += _BLOCKS_PER_ROUND
        if self._send_error is not None:
            raise self._send_error

    def _map_blocks(self, numbers: range, arguments: tuple[Any, ...]) -> Iterator[tuple[int, bytes]]:
        queue = self._queue

        def blocks() -> Iterator[tuple[int, bytes]]:
            for number in numbers:
                if (block := ray.get(queue.get.remote(number))) is None:
                    return
                yield number, block

        return ray_compat.map_blocks(
            blocks,
            _BatchWorker,
            arguments,
            workers=self._pool.workers,
            cpus=self._pool.cpus,
            gpus=self._pool.gpus,
            calls_per_worker=_CALLS_PER_WORKER,
        )

    def _receive(self, number: int, result: _BlockResult | VipcliError | None) -> list[ItemResult]:
        """The results of a block; empty if the batch was stopped before a worker began it."""
        if isinstance(result, VipcliError):
            raise result
        with self._changed:
            items = dict(self._sent.pop(number))
            results = []
            for index, identity, row in result or ():
                offset = self._earlier.take(identity, items[index].id) if row is None else -1
                if offset is None:
                    self._retries.append((index, items[index]))
                else:
                    results.append(ItemResult(index, row, offset))
            self._changed.notify_all()
        self._queue.forget.remote(number + 1)
        return results

    def _send_all(self) -> None:
        """Send all blocks, as fast as results arrive."""
        count = 0
        try:
            for is_retry, block in self._blocks():
                if not self._wait(lambda: len(self._sent) < _BLOCKS_AHEAD * self._pool.workers):
                    break
                with self._changed:
                    self._sent[count] = block
                ray.get(self._queue.put.remote(count, pickle.dumps((is_retry, block))))
                count += 1
        # Listing the items may fail here; the thread that receives results raises the error.
        except Exception as error:
            self._send_error = error
        self._block_count = count
        if not self._closed:
            ray.get(self._queue.end.remote(count, self._stop()))

    def _blocks(self) -> Iterator[tuple[bool, list[_IndexedItem]]]:
        """Blocks of items, and whether to answer them even if there are earlier rows."""
        size = self._config.window_size
        items = enumerate(self._stream.items)
        while block := list(islice(items, size)):
            yield False, block
        if self._wait(lambda: not self._sent):
            for start in range(0, len(self._retries), size):
                yield True, self._retries[start : start + size]

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Wait until a condition holds; False if the batch ends before that."""
        with self._changed:
            while not (self._closed or self._stop() or condition()):
                self._changed.wait(_POLL_SECONDS)
            return not (self._closed or self._stop())


# --------------------------------------------------------------------------- on a worker's machine


class _SharedRowKeys:
    """The keys of earlier rows, in memory that all workers of a machine share."""

    def __init__(self, earlier: EarlierRows) -> None:
        keys = (key.to_bytes(16, "big") for key in earlier)
        self._keys = np.fromiter(keys, "S16", len(earlier))
        self._keys.sort()

    def __contains__(self, row: tuple[str, str], /) -> bool:
        key = np.bytes_(row_key(*row).to_bytes(16, "big"))
        index = int(np.searchsorted(self._keys, key))
        return index < len(self._keys) and bool(self._keys[index] == key)


class _BatchWorker:
    """An actor that prepares and answers blocks of items with its own model."""

    def __init__(
        self, config: BatchConfig, checkpoint_fingerprint: str, folder: str, keys: Any, queue: Any
    ) -> None:
        # Families are compared by identity, and what arrives here is a copy.
        family = FAMILIES[FAMILIES.index(config.checkpoint.family)]
        self._config = replace(config, checkpoint=replace(config.checkpoint, family=family))
        self._fingerprint, self._folder, self._queue = checkpoint_fingerprint, folder, queue
        self._earlier: RowLookup | None = None if keys is None else ray.get(keys)
        self._threads = ThreadPoolExecutor(config.readers, "prepare")
        self._model_lock = threading.Lock()
        self._stages: tuple[ItemPreparer, RowBuilder] | None = None

    def __call__(self, table: Any) -> Any:
        ((number, content),) = ray_compat.from_table(table)
        result: _BlockResult | VipcliError | None = None
        # A restarted read task sends empty blocks in place of those already finished.
        if content and (attempts := ray.get(self._queue.begin.remote(number))):
            try:
                is_retry, block = pickle.loads(content)
                result = self._answer(block, is_retry, attempts)
            # If it were raised here, Ray would wrap it in a traceback and try the block again.
            except VipcliError as error:
                result = error
        return ray_compat.to_table(number, pickle.dumps(result))

    def _answer(self, block: list[_IndexedItem], is_retry: bool, attempts: int) -> _BlockResult:
        if attempts > _MAX_ATTEMPTS:
            raise ModelError(
                f"{_MAX_ATTEMPTS} workers died while answering the items from {block[0][1].id!r} on.",
                "Lower {together}, or leave out those items.",
            )
        with self._model_lock:
            if self._stages is None:
                self._stages = self._build_stages()
        preparer, builder = self._stages
        earlier = None if is_retry else self._earlier
        prepared_items = list(self._threads.map(lambda entry: preparer.prepare(entry[1], earlier), block))
        with self._model_lock:
            rows = iter(builder.rows([prepared for prepared in prepared_items if not prepared.done]))
        return [
            (index, prepared.identity, None if prepared.done else next(rows))
            for (index, _), prepared in zip(block, prepared_items, strict=True)
        ]

    def _build_stages(self) -> tuple[ItemPreparer, RowBuilder]:
        """Check that folders and checkpoint match the driver's machine, then build both stages."""
        checkpoint, machine = self._config.checkpoint, socket.gethostname()
        assert checkpoint.folder is not None
        for folder in (self._folder, str(checkpoint.folder)):
            if not Path(folder).is_dir():
                raise UsageError(
                    f"The cluster machine {machine} has no folder {folder!r}.",
                    "Share the folder with all machines, under the same path.",
                )
        os.chdir(self._folder)
        if fingerprint(checkpoint) != self._fingerprint:
            raise ModelError(
                f"The cluster machine {machine} has a different checkpoint in {str(checkpoint.folder)!r}.",
                "Copy the same files to all machines.",
            )
        return ItemPreparer(self._config), RowBuilder(self._load, self._config)

    def _load(self) -> BatchAnswerer:
        from vipcli.engine.local import LocalModel

        return LocalModel(self._config.checkpoint, self._config.setup)
