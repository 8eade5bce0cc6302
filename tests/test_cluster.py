"""`vipcli batch --on ray` on a Ray cluster of several nodes, with workers and drivers killed half way."""

from __future__ import annotations

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
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image, ImageDraw

pytest.importorskip("ray")
pytest.importorskip("pandas")

NODES = 3
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
        # By itself Ray takes 127.0.0.1 for this machine's address in its network.
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
        found = []
        for process in self._process.children(recursive=True):
            try:
                if process.cmdline()[0].startswith("ray::MapWorker"):
                    found.append(process)
            except (psutil.Error, IndexError):
                continue
        return found


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Names of sockets must be short.
    folder = tempfile.mkdtemp(prefix="ray-")
    command = [sys.executable, "-W", "ignore", "-c", START, str(NODES), folder]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        try:
            yield Cluster(process, process.stdout.readline().strip())
        finally:
            below = psutil.Process(process.pid).children(recursive=True)
            process.communicate()
            for left in below:
                if left.is_running():
                    left.kill()
            psutil.wait_procs(below, 10)
            shutil.rmtree(folder, ignore_errors=True)


def batch(*arguments: str) -> list[str]:
    common = ["--together", "2", "--max-new-tokens", "20", "--box", "10%,10%,60%,60%"]
    return ["batch", *arguments, *common]


def run(folder: Path, *arguments: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    return _ended(["-m", "vipcli", *batch(*arguments)], folder, address)


def changed(
    folder: Path, change: str, *arguments: str, address: str | None = None
) -> subprocess.CompletedProcess[str]:
    """The same with something else in the process."""
    code = f"import sys\nsys.argv[1:] = {batch(*arguments)!r}\n{change}\n"
    return _ended(["-c", code + "from vipcli.__main__ import main; main()"], folder, address)


def _ended(command: list[str], folder: Path, address: str | None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment(address),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tasks about drawn pictures, and with the rows that they come to in one process.

    The first task is there once more, and the last is about no picture.
    """
    folder = tmp_path_factory.mktemp("job")
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
    ended = run(folder, "tasks.jsonl", "-o", "here.jsonl")
    assert ended.returncode == 3, ended.stderr
    return folder


def rows(file: Path) -> list[bytes]:
    """The whole rows in a file."""
    content = file.read_bytes() if file.exists() else b""
    return content[: content.rfind(b"\n") + 1].splitlines(keepends=True)


class Running:
    """A batch in a process of its own, watched by what it has written."""

    def __init__(self, folder: Path, out: str, cluster: Cluster, *arguments: str) -> None:
        self.file = folder / out
        self.process = subprocess.Popen(
            [sys.executable, "-m", "vipcli", *batch("tasks.jsonl", "-o", out, "--on", "ray", *arguments)],
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


def test_a_worker_killed_half_way_leaves_no_trace_in_the_rows(job: Path, cluster: Cluster) -> None:
    running = Running(job, "killed.jsonl", cluster, "--quiet")
    running.wait_for(lambda: len(rows(running.file)) >= 8)
    victim = cluster.workers()[0]
    victim.kill()
    assert len(rows(running.file)) < 45
    # Neither do Ray's own words about it reach anybody.
    assert running.end() == (3, "", "")
    assert running.file.read_bytes() == (job / "here.jsonl").read_bytes()


@pytest.mark.slow
def test_a_driver_killed_half_way_goes_on_as_if_nothing_had_been(job: Path, cluster: Cluster) -> None:
    running = Running(job, "resumed.jsonl", cluster)
    running.wait_for(lambda: len(rows(running.file)) >= 8)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    assert 8 <= len(rows(running.file)) < 45

    running = Running(job, "resumed.jsonl", cluster, "--resume")
    before = len(rows(running.file))
    running.wait_for(lambda: len(rows(running.file)) > before)
    running.process.send_signal(signal.SIGINT)
    code, out, err = running.end()
    assert (code, out) == (-signal.SIGINT, "")
    assert "Traceback" not in err
    assert len(rows(running.file)) < len(rows(job / "here.jsonl"))

    # The first task's row is taken by the first, so that its double is to be asked after all. Blocks go
    # through one pipeline after the other here, as those of millions of items do.
    rounds = "import vipcli.batch.ray_cluster as cluster; cluster._ROUND = 12"
    command = "tasks.jsonl", "-o", "resumed.jsonl", "--on", "ray", "--resume"
    ended = changed(job, rounds, *command, address=cluster.address)
    assert ended.returncode == 3, ended.stderr
    assert running.file.read_bytes() == (job / "here.jsonl").read_bytes()


def test_what_is_wrong_for_all_is_told_in_a_sentence(job: Path, cluster: Cluster) -> None:
    (job / "taken").write_text("no folder")
    ended = run(
        job,
        "tasks.jsonl",
        *("-o", "unsaved.jsonl", "--on", "ray", "--save-marked", "taken/within", "--quiet"),
        address=cluster.address,
    )
    assert ended.returncode == 1
    assert ended.stderr.startswith("error: The folder 'taken/within' cannot be made")
    assert ended.stderr.count("\n") == 1


def test_more_workers_than_the_cluster_has_room_for(job: Path, cluster: Cluster) -> None:
    ended = run(job, "tasks.jsonl", "--on", "ray", "--workers", "4", address=cluster.address)
    assert ended.returncode == 2
    assert ended.stderr == f"error: A worker takes a CPU, and the cluster has {NODES}. Lower --workers.\n"


@pytest.mark.parametrize(
    "arguments, address, told",
    [
        (["--on", "slurm"], None, "--on is 'slurm', but takes ray."),
        (["--workers", "2"], None, "Workers are those of a cluster."),
        (["--on", "ray"], "127.0.0.1:1", "No Ray cluster answers at '127.0.0.1:1'"),
        (["--on", "ray"], "ray://head:10001", "RAY_ADDRESS begins with ray://"),
    ],
)
def test_what_cannot_be(arguments: list[str], address: str | None, told: str, tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    ended = run(tmp_path, "one.png", "--question", "What?", *arguments, address=address)
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"error: {told}")
    assert ended.stderr.count("\n") == 1


def test_without_ray_it_says_what_to_install(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    arguments = "one.png", "--question", "What?", "--on", "ray", "--quiet"
    ended = changed(tmp_path, "sys.modules['ray'] = None", *arguments)
    assert ended.returncode == 2
    assert ended.stderr == "error: There is no Ray here. Install it with pip install 'vipcli[ray]'.\n"
