"""A conversation in a real terminal: its keys, Ctrl-C during an answer, completion, history."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pexpect
import pytest
from PIL import Image

from tests.servers import Server, serving
from tests.tiny import make_endless

PROMPT = ">"
ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[=>]|\r")


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)).save("photo.png")


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    """A server with a model of random weights, so that not every chat has to load one."""
    with serving("--model", str(tiny)) as server:
        yield server


class Terminal:
    """A chat with a model of random weights."""

    def __init__(self, folder: Path, *arguments: str, **variables: str) -> None:
        self._child = pexpect.spawn(
            sys.executable,
            ["-m", "vipcli", "chat", "photo.png", "--model", str(folder), *arguments],
            env={**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", **variables},
            dimensions=(40, 100),
            timeout=60,
            encoding="utf-8",
        )
        self._child.delaybeforesend = 0.1
        self.until("Ctrl-D quits.")
        self.until(PROMPT)

    def until(self, text: str) -> str:
        """Wait for a text, and return what was shown before it."""
        self._child.expect_exact(text)
        return ANSI.sub("", self._child.before)

    def keys(self, keys: str) -> None:
        self._child.send(keys)

    def line(self, text: str) -> None:
        self.keys(text + "\r")

    def resize(self, rows: int, columns: int) -> None:
        self._child.setwinsize(rows, columns)

    def end(self) -> tuple[str, int | None, int | None]:
        """Wait for the end; return the remaining text, the exit code and the signal."""
        text = ANSI.sub("", self._child.read())
        self._child.close()
        return text, self._child.exitstatus, self._child.signalstatus


def test_keys_commands_and_quitting(tiny: Path, server: Server) -> None:
    terminal = Terminal(tiny, "--max-new-tokens", "5", **server.variables)
    terminal.line("/box 10,10,60,60:blue")
    terminal.until("{1} within the blue rectangle")
    # A question of two lines.
    terminal.keys("What is")
    terminal.keys("\x1b\r")
    terminal.line("within it?")
    terminal.until(PROMPT)
    terminal.line("/stats")
    terminal.until("turns       1")
    # After an error, the conversation continues.
    terminal.line("/bxo 1,1,2,2")
    terminal.until("Did you mean /box?")
    # The window is resized while a line is typed.
    terminal.keys("/ma")
    terminal.resize(20, 60)
    terminal.line("rks")
    terminal.until("{1} within the blue rectangle")
    terminal.keys("\x04")
    text, code, _ = terminal.end()
    assert code == 0
    assert "Traceback" not in text


def test_ctrl_c_stops_an_answer_and_keeps_its_text(tmp_path: Path) -> None:
    terminal = Terminal(make_endless(tmp_path / "endless"), "--max-new-tokens", "900")
    terminal.line("Go on for ever.")
    terminal._child.expect("arrow|chair")
    terminal.keys("\x03")
    terminal.until("Stopped.")
    terminal.line("/stats")
    terminal.until("turns       1")
    # Ctrl-C clears a line with text; on an empty line, it quits.
    terminal.keys("half a quest")
    terminal.keys("\x03")
    terminal.line("/marks")
    terminal.until("There are no marks.")
    terminal.until(PROMPT)
    terminal.keys("\x03")
    text, _, ended_by = terminal.end()
    assert ended_by == signal.SIGINT
    assert "Traceback" not in text


def test_commands_colors_settings_and_files_are_completed(tiny: Path, server: Server) -> None:
    terminal = Terminal(tiny, "--max-new-tokens", "3", **server.variables)
    for typed, completion, rest, expected in (
        ("/und", "Remove the newest mark.", "", "There are no marks to remove."),
        ("/box 5,5,50,50:fuch", "fuchsia", "", "within the fuchsia rectangle"),
        ("/set tempe", "0 for the likeliest answer", " 0.5", PROMPT),
        ("/image pho", "photo.png", "", "The picture is now photo.png"),
    ):
        terminal.keys(typed)
        terminal.until(completion)
        terminal.keys("\t")
        terminal.line(rest)
        terminal.until(expected)
    terminal.line("/set temperature")
    terminal.until("temperature is 0.5.")
    terminal.line("/quit")
    assert terminal.end()[1] == 0


def test_the_input_history_is_kept_for_the_next_session(tiny: Path, server: Server) -> None:
    first = Terminal(tiny, "--max-new-tokens", "3", **server.variables)
    first.line("/set width 7")
    first.until(PROMPT)
    first.line("/quit")
    first.end()
    second = Terminal(tiny, "--max-new-tokens", "3", **server.variables)
    # The last line but one.
    second.keys("\x1b[A\x1b[A\r")
    second.until(PROMPT)
    second.line("/set width")
    second.until("width is 7.0.")
    second.line("/quit")
    assert second.end()[1] == 0
