"""The undocumented parts of Ray that a batch relies on, all in one place.

- Ray reads `_ENVIRONMENT` when it is imported, so it must not be imported before this module.
- `ray._private.worker.print_to_stdstream` prints the messages of Ray's processes, some of them even with
  `log_to_driver=False`. There is no public way to keep them off standard output, where the rows go.
- `ray.init` writes a line about its log level to standard error, and Ray Data adds log handlers of its own.
- `ray.init` replaces the handler of SIGTERM with one that exits at once.
- `ray.init(_node_ip_address=…)` keeps a local cluster from listening on the network.
- `DataContext.target_max_block_size` is the only way to make Ray Data pass on each block as it arrives.
- Every node has the label `ray.io/node-id`, which tasks and actors can be bound to.
- Ray wraps the error of a worker in its own, with the original as `cause` or `__cause__`.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vipcli.errors import Message, ModelError, UsageError, VipcliError, first_line

CHECKED_VERSIONS = ("2.60.0",)
"""The versions of Ray that all of this was tested with."""

_ENVIRONMENT = {
    # Ray's native code would log to standard error. Its log files have the same messages.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_LOCAL_OBJECT_STORE = 256 * 1024**2
"""Bytes of shared memory for a cluster on this machine only. Blocks are small."""


@contextmanager
def _importing_ray() -> Iterator[None]:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        yield
    except ImportError as error:
        raise UsageError("Ray is not installed.", "Run pip install 'vipcli[ray]'.") from error


with _importing_ray():
    import pyarrow
    import ray as ray
    import ray._private.worker
    import ray.data
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask


# --------------------------------------------------------------------------- the connection


@contextmanager
def connected(on_note: Callable[[Message], None]) -> Iterator[None]:
    """Connect to the cluster at RAY_ADDRESS or on this machine, or start one on this machine only."""
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    address = os.environ.get("RAY_ADDRESS")
    _require_listener(address)
    sigterm_handler = signal.getsignal(signal.SIGTERM)
    try:
        try:
            _init(address or "auto")
        except ConnectionError as error:
            if address:
                raise _no_cluster_error(address) from error
            on_note(Message("No Ray cluster is running here. Starting one on this machine only."))
            _init(
                "local",
                include_dashboard=False,
                object_store_memory=_LOCAL_OBJECT_STORE,
                _node_ip_address="127.0.0.1",
            )
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, sigterm_handler)
        yield
    finally:
        ray.shutdown()


def _require_listener(address: str | None) -> None:
    """Refuse an address where nothing is listening: Ray would silently retry for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise _no_cluster_error(address, f" ({error.strerror or error})") from error


def _no_cluster_error(address: str | None, reason: str = "") -> UsageError:
    return UsageError(f"No Ray cluster answers at {address!r}{reason}.", "Check RAY_ADDRESS.")


def _init(address: str, **options: Any) -> None:
    with _silent_stderr():
        ray.init(address, logging_level=logging.CRITICAL, log_to_driver=False, **options)
    for handler in logging.getLogger("ray.data").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setLevel(logging.CRITICAL)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    # Ray Data treats each of our blocks as a row, and would collect megabytes of them before passing any on.
    context.target_max_block_size = 1


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Discard everything written to the file descriptor of standard error."""
    saved = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as null:
            os.dup2(null.fileno(), 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def plain_error(error: BaseException) -> VipcliError:
    """The cause of a Ray error, without the tracebacks from several machines."""
    while (cause := getattr(error, "cause", None) or error.__cause__) is not None:
        error = cause
    if isinstance(error, VipcliError):
        return error
    if isinstance(error, ModuleNotFoundError):
        return ModelError(
            f"A worker in the cluster lacks the module {error.name!r}.", "Install vipcli on all machines."
        )
    reason = first_line(Exception(str(error).strip() or type(error).__name__))
    return ModelError(f"The Ray cluster failed ({reason}).")


# --------------------------------------------------------------------------- the pipeline


def node_resources() -> list[dict[str, float]]:
    """The resources of each live node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def this_node() -> dict[str, str]:
    """A label selector for the node of the driver."""
    return {"ray.io/node-id": ray.get_runtime_context().get_node_id()}


def to_table(number: int, content: bytes) -> Any:
    """A block as a table for Ray Data."""
    return pyarrow.table({"number": [number], "content": [content]})


def from_table(table: Any) -> Iterator[tuple[int, bytes]]:
    """The numbers and contents of the blocks in a table."""
    for row in table.to_pylist():
        yield row["number"], row["content"]


class GeneratorDatasource(Datasource):  # type: ignore[misc]
    """Lets Ray Data read blocks from a generator, which runs in a single task."""

    def __init__(self, blocks: Callable[[], Iterator[tuple[int, bytes]]]) -> None:
        super().__init__()
        self._blocks = blocks

    def estimate_inmemory_data_size(self) -> None:
        """Unknown."""

    def get_read_tasks(self, parallelism: int, *args: Any, **kwargs: Any) -> list[Any]:
        blocks = self._blocks

        def read() -> Iterator[Any]:
            for number, content in blocks():
                yield to_table(number, content)

        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(read, unknown)]


def map_blocks(
    blocks: Callable[[], Iterator[tuple[int, bytes]]],
    worker: type,
    worker_arguments: tuple[Any, ...],
    *,
    workers: int,
    cpus: int,
    gpus: int | None,
    calls_per_worker: int,
) -> Iterator[tuple[int, bytes]]:
    """Pass blocks, read on this node, through a pool of workers; the results keep their order."""
    source = ray.data.read_datasource(
        GeneratorDatasource(blocks), override_num_blocks=1, num_cpus=0, label_selector=this_node()
    )
    results = source.map_batches(
        worker,
        fn_constructor_args=worker_arguments,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=cpus,
        num_gpus=gpus,
        compute=ray.data.ActorPoolStrategy(
            size=workers,
            max_tasks_in_flight_per_actor=2 * calls_per_worker,
            max_concurrent_calls_per_actor=calls_per_worker,
            enable_true_multi_threading=True,
        ),
    )
    for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield from from_table(table)
