"""Questions to a running server against questions that load the model, as a shell starts them."""

from __future__ import annotations

import atexit
import functools
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.compare import Comparison

SHAPES = Path(__file__).parent.parent.parent / "samples" / "shapes.png"
QUESTION = ("ask", str(SHAPES), "Which number is {1}?", "--box", "8%,36%,31%,66%")
LOOP = 20


def comparisons() -> list[Comparison]:
    """A single question, and twenty in a loop."""
    ask = [str(Path(sys.executable).with_name("vipcli")), *QUESTION]
    loop = f"for turn in $(seq {LOOP}); do {shlex.join(ask)}; done"
    single = Comparison(
        name="warm",
        baseline_name="vipcli ask, cold",
        ours_name="vipcli ask, with a server",
        baseline=functools.partial(_run, *ask, "--no-server"),
        ours=functools.partial(_warm, *ask),
        target="at most 0.05 × its time",
        least_ratio=20,
    )
    repeated = Comparison(
        name="loop",
        baseline_name=f"a loop of {LOOP} in bash, cold",
        ours_name="with a server",
        baseline=functools.partial(_run, "bash", "-c", loop.replace("; done", " --no-server; done")),
        ours=functools.partial(_warm, "bash", "-c", loop),
        target="at most 0.05 × its time",
        least_ratio=20,
        baseline_units=LOOP,
        ours_units=LOOP,
        unit="question",
    )
    return [single, repeated]


def _warm(*command: str) -> None:
    _run(*command, environment=_server())


@functools.cache
def _server() -> dict[str, str]:
    """The environment of a server, which is started on the first call."""
    runtime = tempfile.TemporaryDirectory(prefix="vipcli-")
    environment = {**os.environ, "XDG_RUNTIME_DIR": runtime.name}
    server = subprocess.Popen(
        [sys.executable, "-m", "vipcli", "serve", "--json"], stdout=subprocess.PIPE, env=environment
    )
    assert server.stdout is not None and server.stdout.readline()

    def stop() -> None:
        server.terminate()
        server.wait()
        runtime.cleanup()

    atexit.register(stop)
    return environment


def _run(*command: str, environment: dict[str, str] | None = None) -> None:
    process = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    assert set(process.stdout.split()) == {"7"}
