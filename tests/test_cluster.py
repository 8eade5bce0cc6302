"""`vipcli batch --on ray` on a Ray cluster of several nodes, whose workers and drivers are killed."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from PIL import Image, ImageDraw

from tests.commands import Ran, run

if not all(map(importlib.util.find_spec, ("ray", "pandas"))):
    pytest.skip("Ray is not installed.", allow_module_level=True)
# Ray reads it when it is imported, which the first test does.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

# Ray uses parts of itself that it has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

NODES = 2
QUESTIONS = ("What is this?", "What colour is it?", "How many are there?", "Is it {1}?")
START = textwrap.dedent("""
    import sys
    from ray.cluster_utils import Cluster

    nodes, folder = int(sys.argv[1]), sys.argv[2]
    node = {"num_cpus": 1, "object_store_memory": 80_000_000, "node_ip_address": "127.0.0.1"}
    cluster = Cluster(True, head_node_args={**node, "include_dashboard": False, "temp_dir": folder})
    for _ in range(nodes - 1):
        cluster.add_node(**node)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
""")


def environment(address: str | None = None) -> dict[str, str]:
    return {
        **os.environ,
        # Otherwise, Ray takes the address of this machine in its network, not 127.0.0.1.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
        **({} if address is None else {"RAY_ADDRESS": address}),
    }


class Cluster:
    """Ray nodes in processes of their own."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.address = address
        self._process = psutil.Process(process.pid)

    def workers(self) -> list[psutil.Process]:
        """The processes that hold models."""
        workers = []
        for process in self._process.children(recursive=True):
            try:
                if process.cmdline()[0].startswith("ray::MapWorker"):
                    workers.append(process)
            except (psutil.Error, IndexError):
                continue
        return workers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Paths of sockets must be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    log = Path(folder, "start.log")
    command = [sys.executable, "-W", "ignore", "-c", START, str(NODES), folder]
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment(),
        ) as process,
    ):
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            assert address, f"the cluster did not start: {log.read_text()[-2000:]}"
            yield Cluster(process, address)
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.communicate()
            for child in children:
                if child.is_running():
                    child.kill()
            psutil.wait_procs(children, 10)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Use as many threads as the workers, on which the last digits of probabilities depend."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def batch_arguments(*arguments: str) -> list[str]:
    common = ["--together", "2", "--max-new-tokens", "20", "--box", "10%,10%,60%,60%"]
    return ["batch", *arguments, *common]


def run_batch(folder: Path, *arguments: str, address: str | None = None) -> Ran:
    """Run a batch in this process."""
    variables = {} if address is None else {"RAY_ADDRESS": address}
    with contextlib.chdir(folder):
        return run(*batch_arguments(*arguments), environment=variables)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks about drawn pictures.

    The last two tasks are a duplicate of the first and one about a broken picture.
    """
    folder = tmp_path_factory.mktemp("folder")
    tasks = []
    for number in range(16):
        image = Image.new("RGB", (96, 80), (14 * number, 255 - 15 * number, 128))
        draw = ImageDraw.Draw(image)
        draw.rectangle((3 * number, number, 3 * number + 40, number + 30), fill=(255 - number, 9 * number, 9))
        image.save(folder / f"{number}.png")
        tasks += [{"image": f"{number}.png", "question": question} for question in QUESTIONS]
    (folder / "broken.png").write_bytes(b"\x89PNG no picture")
    tasks += [tasks[0], {"image": "broken.png", "question": "What?"}]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    return folder


@pytest.fixture(scope="module")
def folder_with_rows(folder: Path) -> Path:
    """The same folder, with the rows of a run without a cluster."""
    ran = run_batch(folder, "tasks.jsonl", "-o", "here.jsonl")
    assert ran.code == 3, ran.err
    return folder


def rows(file: Path) -> list[bytes]:
    """The whole rows in a file."""
    content = file.read_bytes() if file.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


class RunningBatch:
    """A batch in a process of its own, watched through the rows it writes."""

    def __init__(self, folder: Path, out: str, cluster: Cluster, *arguments: str) -> None:
        self.file = folder / out
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vipcli",
                *batch_arguments("tasks.jsonl", "-o", out, "--on", "ray", *arguments),
            ],
            cwd=folder,
            env=environment(cluster.address),
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, holds: Callable[[], Any]) -> None:
        until = time.monotonic() + 90
        while not holds():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=100)
        return self.process.returncode, out, err


@pytest.mark.slow
def test_the_rows_are_the_same_if_a_worker_is_killed(folder_with_rows: Path, cluster: Cluster) -> None:
    running = RunningBatch(folder_with_rows, "killed.jsonl", cluster, "--quiet")
    running.wait_for(lambda: len(rows(running.file)) >= 8)
    victim = cluster.workers()[0]
    victim.kill()
    assert len(rows(running.file)) < 45
    # Ray prints nothing about it either.
    assert running.end() == (3, "", "")
    assert running.file.read_bytes() == (folder_with_rows / "here.jsonl").read_bytes()


@pytest.mark.slow
def test_the_rows_are_the_same_if_the_driver_is_killed_and_resumed(
    folder_with_rows: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = RunningBatch(folder_with_rows, "resumed.jsonl", cluster)
    running.wait_for(lambda: len(rows(running.file)) >= 8)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    assert 8 <= len(rows(running.file)) < 45

    running = RunningBatch(folder_with_rows, "resumed.jsonl", cluster, "--resume")
    before = len(rows(running.file))
    running.wait_for(lambda: len(rows(running.file)) > before)
    running.process.send_signal(signal.SIGINT)
    code, out, err = running.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert "Traceback" not in err
    assert len(rows(running.file)) < len(rows(folder_with_rows / "here.jsonl"))

    # The first task takes the earlier row, so its duplicate must be asked after all. As with millions of
    # items, blocks pass through several pipelines.
    monkeypatch.setattr("vipcli.batch.ray_cluster._BLOCKS_PER_ROUND", 12)
    command = "tasks.jsonl", "-o", "resumed.jsonl", "--on", "ray", "--resume"
    ran = run_batch(folder_with_rows, *command, address=cluster.address)
    assert ran.code == 3, ran.err
    assert running.file.read_bytes() == (folder_with_rows / "here.jsonl").read_bytes()


@pytest.mark.slow
def test_an_error_of_a_worker_is_reported_in_a_sentence(
    folder: Path, cluster: Cluster, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "taken").write_text("no folder")
    ran = run_batch(
        folder,
        "tasks.jsonl",
        *("-o", "unsaved.jsonl", "--on", "ray", "--save-marked", "taken/within", "--quiet"),
        address=cluster.address,
    )
    assert ran.code == 1
    assert ran.err.startswith("error: The folder 'taken/within' cannot be created")
    assert ran.err.count("\n") == 1
    # Ray's processes print past Python's streams.
    assert capfd.readouterr() == ("", "")


def test_more_workers_than_cpus(folder: Path, cluster: Cluster, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run_batch(folder, "tasks.jsonl", "--on", "ray", "--workers", "3", address=cluster.address)
    assert ran == Ran(
        2, "", f"error: Each worker needs a CPU, but the cluster has only {NODES}. Lower --workers.\n"
    )
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments, address, message",
    [
        (["--on", "slurm"], None, "--on is 'slurm', but can only be ray."),
        (["--workers", "2"], None, "--workers is for a cluster."),
        (["--on", "ray"], "127.0.0.1:1", "No Ray cluster answers at '127.0.0.1:1'"),
        (["--on", "ray"], "ray://head:10001", "RAY_ADDRESS begins with ray://"),
    ],
)
def test_options_and_addresses_that_make_no_sense(
    arguments: list[str],
    address: str | None,
    message: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    ran = run_batch(tmp_path, "one.png", "--question", "What?", *arguments, address=address)
    assert ran.code == 2
    assert ran.err.startswith(f"error: {message}")
    assert ran.err.count("\n") == 1
    assert capfd.readouterr() == ("", "")


def test_without_ray_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("ray_cluster", "ray_compat"):
        monkeypatch.delitem(sys.modules, f"vipcli.batch.{name}", raising=False)
    ran = run_batch(tmp_path, "one.png", "--question", "What?", "--on", "ray", "--quiet")
    assert ran == Ran(2, "", "error: Ray is not installed. Run pip install 'vipcli[ray]'.\n")


def test_the_private_parts_of_ray_were_checked_with_this_version() -> None:
    from vipcli.batch.ray_compat import CHECKED_VERSIONS

    assert version("ray") in CHECKED_VERSIONS
