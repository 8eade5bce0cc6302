"""Running servers, for tests of what goes through one, or that need a model without loading it each time."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TOKEN = "a-secret-of-the-tests"


@dataclass
class Server:
    """A running server, with the variables that commands find it by."""

    process: subprocess.Popen[str]
    info: dict[str, Any]
    variables: dict[str, str]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **self.variables}

    def vipcli(self, *arguments: str, lines: str | None = None) -> subprocess.CompletedProcess[str]:
        return run(*arguments, environment=self.environment, lines=lines)


def run(
    *arguments: str, environment: dict[str, str], lines: str | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `vipcli` with these arguments in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "vipcli", *arguments],
        env=environment,
        cwd=folder,
        input=lines,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@contextlib.contextmanager
def serving(*arguments: str, folder: Path | None = None) -> Iterator[Server]:
    """Run `vipcli serve` with these arguments, with a home of its own."""
    # Not below tmp_path, since the path of a Unix socket must be short.
    with tempfile.TemporaryDirectory(prefix="vipcli-") as home:
        variables = {
            "XDG_RUNTIME_DIR": home,
            "XDG_STATE_HOME": f"{home}/state",
            "HF_HOME": f"{home}/hub",
            "VIPCLI_CONFIG": f"{home}/config.toml",
            "VIPCLI_TOKEN": TOKEN,
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VIPCLI_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "vipcli", "serve", "--json", *arguments],
            env=inherited | variables,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        try:
            yield Server(process, json.loads(line), variables)
        finally:
            process.terminate()
            process.communicate(timeout=30)
