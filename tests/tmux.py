"""A program in a tmux pane: keys and the mouse go in, and the screen can be read."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
from collections.abc import Mapping
from types import TracebackType

_DEADLINE = 10.0


class Pane:
    """A pane of a tmux server of its own, which ends with this context."""

    def __init__(self, columns: int, rows: int, environment: Mapping[str, str] | None = None) -> None:
        # tmux leaves its socket behind.
        self._folder = tempfile.TemporaryDirectory(prefix="vipcli-tmux-")
        self._environment = {**os.environ, **(environment or {}), "LC_ALL": "C.UTF-8"}
        # Of another tmux, in which the tests may run.
        self._environment.pop("TMUX", None)
        self._run("-f", os.devnull, "new-session", "-d", "-x", str(columns), "-y", str(rows), "/bin/sh")
        self._run("set-option", "-g", "status", "off")
        self._run("set-option", "-s", "escape-time", "0")
        # The session has one row less while it has a status line.
        self.resize(columns, rows)

    def __enter__(self) -> Pane:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run("kill-server", check=False)
        self._folder.cleanup()

    def line(self, *words: str, then: str = "") -> None:
        """Type a command line for the shell."""
        self.type(shlex.join(words) + then + "\r")

    def type(self, text: str) -> None:
        """Send characters and sequences as they are."""
        codes = [f"{byte:02x}" for byte in text.encode()]
        for start in range(0, len(codes), 500):
            self._run("send-keys", "-H", *codes[start : start + 500])

    def keys(self, *names: str) -> None:
        """Press keys by tmux's names for them."""
        self._run("send-keys", *names)

    def drag(self, *cells: tuple[int, int], button: int = 0) -> None:
        """Press the mouse at the first cell, counted from 0, move over the others and release."""
        (column, row), (last_column, last_row) = cells[0], cells[-1]
        self.type(
            f"\x1b[<{button};{column + 1};{row + 1}M"
            + "".join(f"\x1b[<{button + 32};{x + 1};{y + 1}M" for x, y in cells[1:])
            + f"\x1b[<{button};{last_column + 1};{last_row + 1}m"
        )

    def click(self, column: int, row: int) -> None:
        """Press and release the mouse."""
        self.drag((column, row))

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size."""
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self, *, colors: bool = False) -> str:
        """What is on the screen."""
        return self._run("capture-pane", "-p", *(["-e", "-N"] if colors else []))

    def value(self, name: str) -> str:
        """One of tmux's variables about the pane, such as `mouse_any_flag`."""
        return self._run("display-message", "-p", f"#{{{name}}}").strip()

    def until(self, *texts: str) -> str:
        """Wait until all texts are on the screen, and return it."""
        deadline = time.monotonic() + _DEADLINE
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < deadline, f"{texts} did not appear:\n{screen}"
            time.sleep(0.02)
        return screen

    def _run(self, *arguments: str, check: bool = True) -> str:
        command = ["tmux", "-S", f"{self._folder.name}/socket", *arguments]
        return subprocess.run(
            command, capture_output=True, check=check, text=True, env=self._environment
        ).stdout
