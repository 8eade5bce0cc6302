"""What is known before a person draws is said before; and why nothing is opened."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

from tests.clips import make_clip
from tests.commands import run
from vipcli.cli import picking
from vipcli.config import Settings
from vipcli.picking.canvas import Canvas, PickingCancelled


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (120, 90), (9, 99, 199)).save("photo.png")


@contextmanager
def nobody_may_draw() -> Iterator[None]:
    """A place to draw that fails the test if it is opened."""

    def opened(*arguments: Any) -> None:
        raise AssertionError("the picture was opened")

    with (
        mock.patch.object(picking, "choose_place", lambda *_: "browser"),
        mock.patch.object(picking, "_in_browser", opened),
    ):
        yield


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("draw", "photo.png", "--box", "-o", "missing/a.png"), "There is no folder 'missing'"),
        (("draw", "photo.png", "--box", "-o", "a.xyz"), "does not say which format"),
        (("ask", "photo.png", "--box", "--save-marked", "missing/a.png"), "There is no folder 'missing'"),
        (
            ("ask", "photo.png", "--box", "2:"),
            "A box was asked for on picture 2, but there is only one",
        ),
        (("ask", "clip.mp4", "What is {1}?", "--box"), "takes no video"),
        (("ask", "nothing.png", "--box"), "There is no file 'nothing.png'"),
    ],
)
def test_an_error_that_drawing_cannot_mend_comes_first(arguments: tuple[str, ...], message: str) -> None:
    make_clip(Path("clip.mp4"))
    with nobody_may_draw():
        ran = run(*arguments, "--no-server") if arguments[0] == "ask" else run(*arguments)
    assert message in ran.err
    assert ran.code in (1, 2)


@pytest.mark.parametrize(
    ("arguments", "environment", "reason"),
    [
        (("--box",), {}, "since standard error is not a terminal."),
        (("--box", "--no-input"), {}, "since --no-input is given."),
        (("--box",), {"CI": "true"}, "since this runs in continuous integration (CI is set)."),
        (("--box", ":red"), {}, "as --box 25%,25%,75%,75%:red. photo.png is 120 × 90 pixels."),
        (("--point", "1::blue"), {}, "as --point 1:50%,50%:blue."),
    ],
)
def test_where_nothing_is_opened_the_error_says_why(
    arguments: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    ran = run("ask", "photo.png", *arguments, environment={"CI": "", **environment})
    assert ran.code == 2
    assert reason in ran.err


def test_a_missing_file_is_said_rather_than_missing_coordinates() -> None:
    assert "There is no file 'nothing.png'" in run("ask", "nothing.png", "--box").err


@pytest.mark.parametrize(
    ("pick", "browser", "terminal", "place"),
    [
        ("auto", True, True, "browser"),
        ("auto", False, True, "terminal"),
        ("auto", False, False, None),
        ("browser", False, True, "browser"),
        ("terminal", True, True, "terminal"),
    ],
)
def test_the_place_to_draw(
    monkeypatch: pytest.MonkeyPatch, pick: str, browser: bool, terminal: bool, place: str | None
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr("vipcli.picking.browser.can_open_browser", lambda environment: browser)
    monkeypatch.setattr("vipcli.picking.terminal_picker.can_pick_in_terminal", lambda: terminal)
    assert picking.choose_place(Settings(pick=pick), {}) == place
    assert picking.choose_place(Settings(pick=pick), {"CI": "1"}) is None
    assert picking.choose_place(Settings(pick=pick, no_input=True), {}) is None


def test_leaving_is_said() -> None:
    @contextmanager
    def leave(canvas: Canvas, request: picking.PickRequest) -> Iterator[Any]:
        raise PickingCancelled
        yield

    with (
        mock.patch.object(picking, "choose_place", lambda *_: "browser"),
        mock.patch.object(picking, "_in_browser", leave),
    ):
        ran = run("draw", "photo.png", "--box", "-o", "a.png")
    assert ran.code == 130
    assert ran.err.strip() == "note: You left without drawing, so nothing is done."
    assert not Path("a.png").exists()
