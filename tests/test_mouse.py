"""Whole commands with a mouse: what is typed in a terminal, drawn in Chromium, and printed in the end."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pexpect
import pytest
from PIL import Image

from tests.browser import chromium
from tests.commands import run

SAMPLES = Path(__file__).parent.parent / "samples"
OPEN = f"""#!{sys.executable}
import pathlib, sys
pathlib.Path("address.new").write_text(sys.argv[1])
pathlib.Path("address.new").rename("address")
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "open").write_text(OPEN)
    (tmp_path / "open").chmod(0o700)
    (tmp_path / "shapes.png").symlink_to(SAMPLES / "shapes.png")


class Typed:
    """A command that was typed in a terminal, and the page that it opened."""

    def __init__(self, browser: Any, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        variables = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
        variables |= {"BROWSER": str(Path("open").absolute()), "VIPCLI_NO_SERVER": "1", **environment}
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "vipcli", *arguments],
            env=variables,
            encoding="utf-8",
            timeout=60,
            dimensions=(40, 200),
        )
        address = Path("address")
        deadline = time.monotonic() + 60
        while not address.exists():
            assert self.child.isalive(), self.child.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.page = browser.new_page(viewport={"width": 1000, "height": 700})
        self.page.goto(address.read_text())
        address.unlink()
        self.page.wait_for_selector(".picture img")

    def drag(self, *points: tuple[float, float]) -> None:
        """Drag over the picture, between places given in shares of its sides."""
        box = self.page.locator(".sheet").bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        self.page.mouse.move(*places[0])
        self.page.mouse.down()
        for place in places[1:]:
            self.page.mouse.move(*place)
        self.page.mouse.up()
        self.page.wait_for_function("() => !document.querySelector('.shapes .light')")

    def end(self) -> tuple[str, int]:
        """What the command printed, and its exit code."""
        self.child.expect(pexpect.EOF)
        self.child.close()
        signal = self.child.signalstatus
        return self.child.before.replace("\r\n", "\n"), 128 + signal if signal else self.child.exitstatus


@contextlib.contextmanager
def typed(browser: Any, *arguments: str, **environment: str) -> Iterator[Typed]:
    """Type a command that opens a page."""
    command = Typed(browser, arguments, environment)
    try:
        yield command
    finally:
        command.page.close()
        command.child.close(force=True)


def printed_command(printed: str) -> list[str]:
    """The arguments of the command that repeats what was drawn."""
    (line,) = [line for line in printed.splitlines() if line.startswith("vipcli ")]
    return shlex.split(line)[1:]


def test_drag_enter_and_read_the_answer(browser: Any) -> None:
    with typed(browser, "ask", "shapes.png", "Which number is {1}?", "--box") as command:
        command.drag((0.08, 0.36), (0.31, 0.66))
        command.page.keyboard.press("Enter")
        command.page.wait_for_selector("text=The answer is in the terminal too")
        assert "7" in command.page.locator(".outcome").inner_text()
        printed, code = command.end()
    assert code == 0
    assert printed.rstrip().splitlines()[-1].endswith("7")
    again = run(*printed_command(printed))
    assert (again.out, again.code) == ("7\n", 0)


def test_a_dry_run_ends_in_the_terminal(browser: Any) -> None:
    with typed(browser, "ask", "shapes.png", "Which number is {1}?", "--box", "--dry-run") as command:
        command.drag((0.08, 0.36), (0.31, 0.66))
        command.page.keyboard.press("Enter")
        command.page.wait_for_selector("text=Done. Go on in the terminal.")
        assert command.page.locator(".problem:visible").count() == 0
        printed, code = command.end()
    assert code == 0
    assert "Which number is within the red rectangle?" in printed


def test_a_question_is_typed_in_the_page(browser: Any) -> None:
    with typed(
        browser, "ask", "shapes.png", "--box", ":blue", "--json", VIPCLI_MAX_NEW_TOKENS="3"
    ) as command:
        command.drag((0.08, 0.36), (0.31, 0.66))
        # A letter goes into the field for the question.
        command.page.keyboard.type("Which number is {1}?")
        command.page.keyboard.press("Enter")
        printed, code = command.end()
    assert code == 0
    record = json.loads(printed[printed.index("{\n") :])
    assert record["question"] == "Which number is within the blue rectangle?"
    assert record["marks"][0]["color"] == "blue"
    assert record["command"] == shlex.join(["vipcli", *printed_command(printed)])
    repeated = json.loads(run(*printed_command(printed)).out)
    for key in ("question", "answer", "prompt", "marks", "images"):
        assert repeated[key] == record[key]


def test_draw_writes_what_the_page_showed(browser: Any) -> None:
    Image.effect_noise((320, 200), 80).convert("RGB").save("noise.png")
    with typed(browser, "draw", "noise.png", "--scribble", "--mask", "-o", "marked.png") as command:
        command.drag((0.1, 0.1), (0.3, 0.4), (0.5, 0.1))
        command.drag((0.6, 0.6), (0.9, 0.6), (0.75, 0.9))
        command.page.keyboard.press("Enter")
        printed, code = command.end()
    assert code == 0, printed
    words = printed_command(printed)
    assert run(*words[:-1], "again.png").code == 0
    marked, again = (np.asarray(Image.open(name)) for name in ("marked.png", "again.png"))
    assert np.array_equal(marked, again)
    assert (marked != np.asarray(Image.open("noise.png"))).any()


@pytest.mark.parametrize("way", ["escape", pytest.param("close", marks=pytest.mark.slow), "ctrl-c"])
def test_leaving_asks_nothing(browser: Any, way: str) -> None:
    with typed(browser, "ask", "shapes.png", "--box") as command:
        match way:
            case "escape":
                command.drag((0.1, 0.1), (0.3, 0.3))
                command.page.keyboard.press("Escape")
                command.page.keyboard.press("Escape")
                command.page.get_by_role("button", name="Leave", exact=True).click()
            case "close":
                command.page.close()
            case _:
                command.child.sendintr()
        printed, code = command.end()
    assert code == 130
    assert not any(word in printed for word in ("error", "Traceback", "repeats"))


def test_a_question_about_a_missing_mark_is_refused_before_anything_is_lost(browser: Any) -> None:
    with typed(browser, "ask", "shapes.png", "Is {1} left of {2}?", "--box") as command:
        command.drag((0.1, 0.1), (0.3, 0.3))
        command.page.keyboard.press("Enter")
        command.page.wait_for_selector("text=The question mentions mark {2}, but there is one mark")
        command.drag((0.5, 0.5), (0.7, 0.7))
        command.page.keyboard.press("Enter")
        printed, code = command.end()
    assert code == 0
    assert sum(word == "--box" for word in printed_command(printed)) == 2


def test_an_error_after_drawing_is_shown_in_the_page_too(browser: Any) -> None:
    with typed(browser, "ask", "shapes.png", "--box") as command:
        command.drag((0.1, 0.1), (0.3, 0.3))
        command.page.locator("textarea").fill("What is <image>?")
        command.page.keyboard.press("Enter")
        shown = command.page.wait_for_selector(".turn .problem, .turn .error, .outcome .problem").inner_text()
        printed, code = command.end()
    assert code == 2
    assert " ".join(shown.split())[:40] in " ".join(printed.split())


def test_a_conversation_beside_its_picture(browser: Any) -> None:
    with typed(browser, "web", "shapes.png") as command:
        page = command.page
        command.drag((0.08, 0.36), (0.31, 0.66))
        page.locator("textarea").fill("Which number is {1}?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".turn .answer:has-text('7')", timeout=60_000)
        page.get_by_role("button", name="Copy command").wait_for()
        with page.expect_download() as download:
            page.get_by_role("button", name="Save").click()
        saved = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        assert [turn["answer"] for turn in saved["exchanges"]] == ["7"]
        with page.expect_download() as download:
            page.get_by_role("button", name="Export").click()
        assert "Which number is" in Path(download.value.path()).read_text(encoding="utf-8")
        # The same picture again, dropped on the page.
        page.evaluate(
            """([name, text]) => {
              const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
              const dataTransfer = new DataTransfer();
              dataTransfer.items.add(new File([bytes], name, { type: "image/png" }));
              for (const type of ["dragover", "drop"])
                document.querySelector(".stage").dispatchEvent(
                  new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
            }""",
            ["dropped.png", base64.b64encode(Path("shapes.png").read_bytes()).decode()],
        )
        page.wait_for_function("() => !document.querySelector('.mark')")
        command.child.sendintr()
        page.wait_for_selector("text=The conversation has ended")
        _, code = command.end()
    assert code == 130
    resumed = run("chat", "--resume", stdin=b"How many things are there?\n")
    assert resumed.code == 0
    assert "Which number is within the red rectangle?\n7" in resumed.err


def test_a_conversation_is_resumed_in_the_page_with_its_marks(browser: Any) -> None:
    begun = run(
        "chat", "shapes.png", "--box", "27,121,104,222", "--point", "50%,50%", stdin=b"Which number is {1}?\n"
    )
    assert begun.out == "7\n"
    with typed(browser, "web", "--resume") as command:
        page = command.page
        assert "Which number is within the red rectangle?" in page.locator(".conversation").inner_text()
        marks = page.locator(".mark .words")
        assert marks.count() == 2
        # Both can be removed, the one that was typed in percent too.
        for count in (1, 0):
            page.locator(".mark").first.get_by_role("button", name="Delete").click()
            page.wait_for_function(f"() => document.querySelectorAll('.mark').length === {count}")
        page.locator("textarea").fill("How many things are there?")
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.querySelectorAll('.turn:not(.busy)').length === 2", timeout=60_000
        )
        command.child.sendintr()
        command.end()
