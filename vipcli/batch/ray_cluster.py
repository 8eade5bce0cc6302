"""`--on ray`: the same job on a Ray cluster, with Ray Data.

Blocks of items go through a Ray Data pipeline as a stream, so its workers, and the models they hold, stay
for a million items or so. Ray Data itself reads files and lists; here it reads from an actor beside the
driver, which holds the few blocks that are on their way. Ray Data keeps the order, starts workers anew
that died, and gives them once more what they had in hand.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vipcli.batch.answering import ItemResult, RowBuilder
from vipcli.batch.items import Item, ItemStream
from vipcli.batch.prefetch import EarlierRows, row_key
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.batch.rows import Row
from vipcli.checkpoints.catalog import FAMILIES
from vipcli.checkpoints.lookup import fingerprint
from vipcli.errors import ModelError, UsageError, VipcliError, first_line

if TYPE_CHECKING:
    from vipcli.asking.interface import Several
    from vipcli.batch.job import Work

# Ray reads these when it is imported. What it would say is for whoever runs the cluster, and is in its logs.
_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def _silent_imports() -> Iterator[None]:
    """Import Ray in here."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        yield
    except ImportError as error:
        raise UsageError("There is no Ray here. Install it with pip install 'vipcli[ray]'.") from error


with _silent_imports():
    import pyarrow
    import ray
    import ray._private.worker
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

_AHEAD = 32
"""So many blocks a worker are on their way at most: few enough for any memory, and enough for the others
to go on while one worker starts anew."""
_ROUND = 50_000
"""So many blocks go through one pipeline: it remembers 5 KB of each, until its end."""
_AT_ONCE = 2
"""Of a worker's blocks, one is answered while the pictures of the next are read."""
_TRIES = 5
"""A block in whose hands so many workers died is what kills them."""
_LOCAL_STORE = 256 * 1024**2
"""Bytes of shared memory for a cluster of this machine alone; blocks are small."""
_GLANCE = 0.2
"""Seconds between two looks at whether to stop."""

_Numbered = tuple[int, Item]
"""An item and its place among all."""
_Told = list[tuple[int, str, Row | None]]
"""Of each item of a block its number, identity and row; None where an earlier run has one."""


def on_ray(plan: BatchConfig, workers: int | None, tell: Callable[[str], None]) -> Work:
    """Do the work on a Ray cluster: by so many workers, or one a GPU, or without GPUs one a machine."""
    if os.environ.get("RAY_ADDRESS", "").startswith("ray://"):
        raise UsageError(
            "RAY_ADDRESS begins with ray://, but a batch starts on a machine of the cluster itself. "
            "Start it there, without RAY_ADDRESS."
        )

    def work(job: ItemStream, done: EarlierRows, stop: Callable[[], bool]) -> Generator[list[ItemResult]]:
        try:
            with _connected(tell), closing(_Stream(plan, _share(plan, workers), job, done, stop)) as stream:
                yield from stream.answer_windows()
        except VipcliError:
            raise
        # Ray's errors are of many kinds, and none of them is for a person.
        except Exception as error:
            raise _plainly(error) from error

    return work


def _plainly(error: BaseException) -> VipcliError:
    """What was wrong, without the tracebacks of several machines."""
    while (below := getattr(error, "cause", None) or error.__cause__) is not None:
        error = below
    if isinstance(error, VipcliError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return ModelError(f"A worker of the cluster lacks {error.name!r}. Install vipcli on all machines.")
    told = first_line(Exception(str(error).strip() or type(error).__name__))
    return ModelError(f"The Ray cluster gave up ({told}). What is done is safe: go on with --resume.")


# --------------------------------------------------------------------------- the cluster


@contextmanager
def _connected(tell: Callable[[str], None]) -> Iterator[None]:
    """The cluster that is named or runs here, else one of this machine alone."""
    # There is no option against what Ray prints of its troubles, and it prints it among the answers.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    named = os.environ.get("RAY_ADDRESS")
    _insist_on_answer(named)
    # Ray would leave at once where we are told to end after the rows in flight.
    before = signal.getsignal(signal.SIGTERM)
    try:
        try:
            _init(named or "auto")
        except ConnectionError as error:
            if named:
                raise UsageError(f"No Ray cluster answers at {named!r}. Check RAY_ADDRESS.") from error
            tell("No Ray cluster runs here, so one of this machine alone is started.")
            _init(
                "local",
                include_dashboard=False,
                object_store_memory=_LOCAL_STORE,
                _node_ip_address="127.0.0.1",
            )
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
        yield
    finally:
        ray.shutdown()


def _insist_on_answer(address: str | None) -> None:
    """Refuse an address where nobody answers: Ray would go on trying for minutes, and say nothing."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(
            f"No Ray cluster answers at {address!r} ({error.strerror or error}). Check RAY_ADDRESS."
        ) from error


def _init(address: str, **options: Any) -> None:
    with _no_stderr():
        ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False, **options)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # A row is a block of ours; otherwise megabytes of them would gather before one is handed on.
    context.target_max_block_size = 1


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Lead standard error nowhere: that its logs are to be silent, Ray tells there."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@dataclass(frozen=True, slots=True)
class _Share:
    """How many workers there are, and what each takes of the cluster."""

    workers: int
    cpus: int
    gpus: int | None = None


def _share(plan: BatchConfig, workers: int | None) -> _Share:
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = 0 if plan.setup.device == "cpu" else sum(int(node.get("GPU", 0)) for node in alive)
    if gpus:
        if workers is not None and workers > gpus:
            raise UsageError(f"A worker takes a GPU, and the cluster has {gpus}. Lower --workers.")
        return _Share(workers or gpus, 1, 1)
    cpus = [int(node.get("CPU", 0)) for node in alive if node.get("CPU", 0) >= 1]
    wanted = workers or max(len(cpus), 1)
    # Between them they take all that there is, for each runs as many threads as it has CPUs.
    for each in range(max(cpus, default=0), 0, -1):
        if sum(count // each for count in cpus) >= wanted:
            return _Share(wanted, each)
    raise UsageError(f"A worker takes a CPU, and the cluster has {sum(cpus)}. Lower --workers.")


# --------------------------------------------------------------------------- where the driver is


class _Feed:
    """An actor beside the driver that hands out blocks in their order, as they come."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes] = {}
        self._begun: dict[int, int] = {}
        self._first = 0
        self._end: int | None = None
        self._stopped = False
        self._news = threading.Condition()

    def put(self, number: int, block: bytes) -> None:
        with self._news:
            self._blocks[number] = block
            self._news.notify_all()

    def end(self, count: int, stopped: bool) -> None:
        """There are so many blocks and no more; once stopped, those not begun are not wanted."""
        with self._news:
            self._end, self._stopped = count, stopped
            self._news.notify_all()

    def begin(self, number: int) -> int | None:
        """How often that block was begun, with this; None if it is not wanted."""
        if self._stopped:
            return None
        with self._news:
            self._begun[number] = self._begun.get(number, 0) + 1
            return self._begun[number]

    def forget(self, first: int) -> None:
        """The driver knows what became of all blocks before this."""
        with self._news:
            for number in range(self._first, first):
                self._blocks.pop(number, None)
                self._begun.pop(number, None)
            self._first = first

    def get(self, number: int) -> bytes | None:
        """The block of that number once it is there; None after the last."""
        with self._news:
            while number >= self._first and number not in self._blocks:
                if self._end is not None and number >= self._end:
                    return None
                self._news.wait()
            # A reader that starts anew counts from the first, and nobody waits for what is forgotten.
            return self._blocks.get(number, b"")


class _Source(Datasource):  # type: ignore[misc]
    """What Ray Data reads: a row for each of so many blocks of the feed."""

    def __init__(self, feed: Any, numbers: range) -> None:
        super().__init__()
        self._feed, self._numbers = feed, numbers

    def estimate_inmemory_data_size(self) -> None:
        """Nobody knows."""

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[Any]:
        feed, numbers = self._feed, self._numbers

        def read() -> Iterator[Any]:
            for number in numbers:
                if (block := ray.get(feed.get.remote(number))) is None:
                    return
                yield _table(number, block)

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]


def _table(number: int, content: bytes) -> Any:
    return pyarrow.table({"number": [number], "content": [content]})


class _Stream:
    """The items of a job on their way to the workers, and their rows on the way back.

    A block is as many items as a window here, so the same are answered side by side, and their rows are
    the same to the last digit. Where pictures cannot be read, or where a run was broken off within a block,
    others stand side by side: the texts stay the same, and digits far behind the point may not.
    """

    def __init__(
        self, plan: BatchConfig, share: _Share, job: ItemStream, done: EarlierRows, stop: Callable[[], bool]
    ) -> None:
        self._plan, self._share, self._job, self._done, self._stop = plan, share, job, done, stop
        # What lies where the driver is can only be lost together with it.
        self._here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        options = ray.remote(_Feed).options(num_cpus=0, max_concurrency=8, label_selector=self._here)
        self._feed: Any = options.remote()
        self._sent: dict[int, list[_Numbered]] = {}
        self._again: list[_Numbered] = []
        """Items whose row went to another that asks the same."""
        self._moved = threading.Condition()
        self._closed = False
        self._count: int | None = None
        """How many blocks there are, once that is known."""
        self._fault: Exception | None = None
        self._sender = threading.Thread(target=self._send_all, name="sender", daemon=True)

    def close(self) -> None:
        with self._moved:
            self._closed = True
            self._moved.notify_all()
        if self._sender.is_alive():
            # No longer: it may hang on standard input.
            self._sender.join(2)

    def answer_windows(self) -> Iterator[list[ItemResult]]:
        """Blocks of items, answered, in their order."""
        known = ray.put(_Known(self._done)) if self._done else None
        told = self._plan, fingerprint(self._plan.checkpoint), str(Path.cwd()), known, self._feed
        self._sender.start()
        first = 0
        while self._count is None or first < self._count:
            rows = self._pipeline(range(first, first + _ROUND), told)
            for table in rows.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                for row in table.to_pylist():
                    yield self._received(row["number"], pickle.loads(row["content"]))
            first += _ROUND
        if self._fault is not None:
            raise self._fault

    def _pipeline(self, numbers: range, told: tuple[Any, ...]) -> Any:
        share = self._share
        blocks = ray.data.read_datasource(
            _Source(self._feed, numbers), override_num_blocks=1, num_cpus=0, label_selector=self._here
        )
        return blocks.map_batches(
            _Worker,
            fn_constructor_args=told,
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            compute=ray.data.ActorPoolStrategy(
                size=share.workers,
                max_tasks_in_flight_per_actor=2 * _AT_ONCE,
                max_concurrent_calls_per_actor=_AT_ONCE,
                enable_true_multi_threading=True,
            ),
        )

    def _received(self, number: int, told: _Told | VipcliError | None) -> list[ItemResult]:
        """What became of a block's items; nothing where the end came before it was begun."""
        if isinstance(told, VipcliError):
            raise told
        with self._moved:
            items = dict(self._sent.pop(number))
            found = []
            for at, identity, row in told or ():
                place = self._done.take(identity, items[at].id) if row is None else -1
                if place is None:
                    self._again.append((at, items[at]))
                else:
                    found.append(ItemResult(at, row, place))
            self._moved.notify_all()
        self._feed.forget.remote(number + 1)
        return found

    def _send_all(self) -> None:
        """Send all blocks, as fast as others come back."""
        count = 0
        try:
            for fresh, block in self._blocks():
                if not self._wait(lambda: len(self._sent) < _AHEAD * self._share.workers):
                    break
                with self._moved:
                    self._sent[count] = block
                ray.get(self._feed.put.remote(count, pickle.dumps((fresh, block))))
                count += 1
        # Items are read here, and what is wrong with them is to be told where rows are made.
        except Exception as error:
            self._fault = error
        self._count = count
        if not self._closed:
            ray.get(self._feed.end.remote(count, self._stop()))

    def _blocks(self) -> Iterator[tuple[bool, list[_Numbered]]]:
        """Blocks of items, and whether they are to be asked whatever rows there are."""
        items = enumerate(self._job.items)
        while block := list(islice(items, self._plan.window)):
            yield False, block
        if self._wait(lambda: not self._sent):
            for at in range(0, len(self._again), self._plan.window):
                yield True, self._again[at : at + self._plan.window]

    def _wait(self, until: Callable[[], bool]) -> bool:
        """Wait until that holds; False where the end came before."""
        with self._moved:
            while not (self._closed or self._stop() or until()):
                self._moved.wait(_GLANCE)
            return not (self._closed or self._stop())


# --------------------------------------------------------------------------- where a worker is


class _Known(EarlierRows):
    """What stands for earlier rows alone, in memory that all workers of a machine share."""

    def __init__(self, done: EarlierRows) -> None:
        keys = (key.to_bytes(16, "big") for key in done)
        self._keys = np.fromiter(keys, "S16", len(done))
        self._keys.sort()

    def __contains__(self, row: tuple[str, str], /) -> bool:
        key = np.bytes_(row_key(*row).to_bytes(16, "big"))
        at = int(np.searchsorted(self._keys, key))
        return at < len(self._keys) and bool(self._keys[at] == key)

    def __len__(self) -> int:
        return len(self._keys)


class _Worker:
    """An actor with a model of its own, which reads pictures and answers."""

    def __init__(self, plan: BatchConfig, content: str, folder: str, known: Any, feed: Any) -> None:
        # What is a constant here arrives as a copy, and is told by whether it is the same.
        family = FAMILIES[FAMILIES.index(plan.checkpoint.family)]
        self._plan = replace(plan, checkpoint=replace(plan.checkpoint, family=family))
        self._content, self._folder, self._feed = content, folder, feed
        self._known: EarlierRows | None = None if known is None else ray.get(known)
        self._readers = ThreadPoolExecutor(plan.readers, "reader")
        self._model = threading.Lock()
        self._opened: tuple[ItemPreparer, RowBuilder] | None = None

    def __call__(self, table: Any) -> Any:
        (row,) = table.to_pylist()
        told: _Told | VipcliError | None = None
        # Empty blocks are those that are done, where a reader starts anew.
        if row["content"] and (tries := ray.get(self._feed.begin.remote(row["number"]))):
            try:
                fresh, block = pickle.loads(row["content"])
                told = self._told(block, fresh, tries)
            # As an error of Ray's it would come with a traceback, and be tried again.
            except VipcliError as error:
                told = error
        return _table(row["number"], pickle.dumps(told))

    def _told(self, block: list[_Numbered], fresh: bool, tries: int) -> _Told:
        if tries > _TRIES:
            raise ModelError(
                f"{_TRIES} workers died over the same items, from {block[0][1].id!r} on. "
                "Lower --together, or leave those items out."
            )
        with self._model:
            if self._opened is None:
                self._opened = self._open()
        reader, asker = self._opened
        known = None if fresh else self._known
        ready = list(self._readers.map(lambda numbered: reader.prepare(numbered[1], known), block))
        with self._model:
            rows = iter(asker.rows([one for one in ready if not one.done]))
        return [
            (number, one.identity, None if one.done else next(rows))
            for (number, _), one in zip(block, ready, strict=True)
        ]

    def _open(self) -> tuple[ItemPreparer, RowBuilder]:
        """See to it that paths and the checkpoint mean here what they mean to the driver."""
        checkpoint, machine = self._plan.checkpoint, socket.gethostname()
        assert checkpoint.folder is not None
        for folder in (self._folder, str(checkpoint.folder)):
            if not Path(folder).is_dir():
                raise UsageError(
                    f"The machine {machine} of the cluster has no folder {folder!r}. "
                    "All must see the same folders."
                )
        os.chdir(self._folder)
        if fingerprint(checkpoint) != self._content:
            raise ModelError(
                f"The machine {machine} of the cluster has another checkpoint in {str(checkpoint.folder)!r}."
            )
        return ItemPreparer(self._plan), RowBuilder(self._load, self._plan)

    def _load(self) -> Several:
        from vipcli.engine.local import LocalModel

        return LocalModel(self._plan.checkpoint, self._plan.setup)
