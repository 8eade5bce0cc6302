"""Commands in a real terminal: colors, the status line, pictures, and Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pexpect
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 120, 3), np.uint8)).save("photo.png")


def start(*arguments: str, **environment: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["-m", "vipcli", "ask", "photo.png", *arguments],
        env={**os.environ, "TERM": "xterm-256color", **environment},
        dimensions=(50, 100),
        timeout=60,
        encoding="utf-8",
    )


def finish(child: pexpect.spawn) -> tuple[str, int | None]:
    text = child.read()
    child.close()
    return text, child.exitstatus


def test_notes_are_colored_unless_switched_off() -> None:
    assert "\x1b[33mnote:\x1b[0m Asking" in finish(start("--dry-run"))[0]
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "\x1b" not in finish(start("--dry-run", **environment))[0]


def test_a_status_line_is_shown_while_the_model_loads(tiny: Path) -> None:
    child = start("Q", "--model", str(tiny), "--max-new-tokens", "4")
    child.expect_exact(f"Loading {tiny} …")
    child.expect_exact("\r\x1b[K")
    assert finish(child)[1] == 0


def test_the_picture_is_shown_in_terminals_with_colors() -> None:
    shown, _ = finish(start("--dry-run", "--show"))
    assert shown.count("▀") >= 60 * 20
    assert "Traceback" not in shown
    for environment in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert "▀" not in finish(start("--dry-run", "--show", **environment))[0]


@pytest.mark.parametrize("size", [(1, 1), (50, 100)])
def test_a_terminal_that_cannot_show_pictures_gets_the_answer(size: tuple[int, int]) -> None:
    child = pexpect.spawn(
        "bash",
        ["-c", f"cat photo.png | {sys.executable} -m vipcli ask - Q --dry-run --show"],
        env={**os.environ, "TERM": "xterm-256color"},
        dimensions=size,
        timeout=60,
        encoding="utf-8",
    )
    shown, code = finish(child)
    assert code == 0
    assert "Traceback" not in shown
    assert "###Human" in shown


def test_ctrl_c_ends_a_loop_of_the_shell(tiny: Path) -> None:
    command = f"{sys.executable} -m vipcli ask photo.png Q --model {tiny}"
    child = pexpect.spawn(
        "bash", ["-c", f"for turn in 1 2 3; do {command}; echo code $?; done"], timeout=60, encoding="utf-8"
    )
    child.expect_exact("Loading")
    child.sendintr()
    text, _ = finish(child)
    assert "Loading" not in text
    assert "Traceback" not in text


def test_a_picture_is_not_written_to_a_terminal() -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "vipcli", "draw", "photo.png", "-o", "-"], timeout=60, encoding="utf-8"
    )
    text, code = finish(child)
    assert code == 2
    assert "The terminal cannot show binary data" in text


def test_ctrl_c_while_loading_exits_at_once(tiny: Path) -> None:
    child = start("Q", "--model", str(tiny))
    child.expect_exact("Loading")
    child.sendintr()
    text, _ = finish(child)
    assert child.signalstatus == signal.SIGINT
    assert "Traceback" not in text


def test_ctrl_c_during_an_answer_keeps_the_text(tiny: Path) -> None:
    child = start("Q", "--model", str(tiny), "--max-new-tokens", "300")
    child.expect_exact("\r\x1b[K")
    child.expect(r"\S")
    child.sendintr()
    text, _ = finish(child)
    assert child.signalstatus == signal.SIGINT
    assert "Traceback" not in text
    assert text.endswith("\r\n")
