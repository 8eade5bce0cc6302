"""A picture to mark in a notebook: in a page that passes messages as notebooks do, and in Python alone."""

from __future__ import annotations

import base64
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from PIL import Image

import vipcli
from tests.browser import chromium
from vipcli.cli.mark_arguments import read_arguments
from vipcli.errors import MarkError
from vipcli.marks.kinds import parse_mark
from vipcli.notebook import Picker, script, styles

HOST = """async ([script, styles]) => {
  document.head.append(Object.assign(document.createElement("style"), { textContent: styles }));
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const widget = (await import(address)).default;
  const listeners = new Set();
  const model = {
    on: (name, listener) => listeners.add(listener),
    off: (name, listener) => listeners.delete(listener),
    send: async (content) => {
      const [reply, buffer] = JSON.parse(await window.kernel(JSON.stringify(content)));
      const bytes = Uint8Array.from(atob(buffer ?? ""), (character) => character.charCodeAt(0));
      const buffers = buffer ? [new DataView(bytes.buffer)] : [];
      for (const listener of listeners) listener(reply, buffers);
    },
  };
  const el = document.createElement("div");
  document.body.append(el);
  window.mount = () => {
    window.unmount = widget.render({ model, el });
  };
  window.mount();
  window.listeners = listeners;
}"""


@pytest.fixture(autouse=True)
def _photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.effect_noise((320, 240), 60).convert("RGB").save("photo.png")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def answer(picker: Picker, name: str, payload: Any) -> tuple[dict[str, Any], list[bytes]]:
    """What the widget sends back for a message."""
    with mock.patch.object(picker, "send") as send:
        picker._receive(picker, {"id": "1", "name": name, "payload": payload}, [])
    (reply,), options = send.call_args
    return reply, options["buffers"]


def test_marks_are_drawn_in_the_notebook(browser: Any) -> None:
    picker = Picker("photo.png", [vipcli.Point(5, 5)])

    def kernel(text: str) -> str:
        message = json.loads(text)
        reply, buffers = answer(picker, message["name"], message["payload"])
        attached = base64.b64encode(buffers[0]).decode() if buffers else None
        return json.dumps([{**reply, "id": message["id"]}, attached])

    page = browser.new_page(viewport={"width": 1000, "height": 700})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.expose_function("kernel", kernel)
    page.evaluate(HOST, [script(), styles()])
    page.wait_for_selector(".picture img")
    assert not page.get_by_role("button", name="Add").is_visible()
    box = page.locator(".sheet").bounding_box()
    scale = box["width"] / 320
    corners = [(box["x"] + x * scale, box["y"] + y * scale) for x, y in ((50.5, 60.5), (150.5, 160.5))]
    page.mouse.move(*corners[0])
    page.mouse.down()
    page.mouse.move(*corners[1])
    page.mouse.up()
    page.wait_for_function("() => !document.querySelector('.shapes .light')")
    assert [mark.text for mark in picker.marks] == ["5,5", "50,60,150,160"]
    page.keyboard.press("Delete")
    page.wait_for_function("() => document.querySelectorAll('.mark').length === 1")
    assert [mark.text for mark in picker.marks] == ["5,5"]
    page.keyboard.press("Control+z")
    page.wait_for_function("() => document.querySelectorAll('.mark').length === 2")
    deadline = time.monotonic() + 30
    while len(picker.marks) < 2 and time.monotonic() < deadline:
        # Messages arrive only while the page is waited for.
        page.wait_for_timeout(10)
    assert picker.command == "vipcli ask photo.png --point 5,5 --box 50,60,150,160"
    # Shown in another cell, it has the same marks.
    page.evaluate("() => window.unmount()")
    page.evaluate("() => window.mount()")
    page.wait_for_function("() => document.querySelectorAll('.mark').length === 2")
    page.wait_for_selector(".picture img")
    page.wait_for_function("() => !document.querySelector('.shapes .light')")
    assert [mark.text for mark in picker.marks] == ["5,5", "50,60,150,160"]
    page.evaluate("() => window.unmount()")
    assert page.evaluate("() => [window.listeners.size, document.querySelectorAll('.picture').length]") == [
        0,
        0,
    ]
    assert not complaints
    page.close()


def test_what_was_drawn_is_used_in_python() -> None:
    picker = Picker("photo.png")
    assert picker.marks == []
    reply, _ = answer(
        picker, "preview", {"picture": 0, "marks": [{"slot": None, "kind": "box", "text": "9,9,99,99:blue"}]}
    )
    assert reply["reply"]["marks"][0]["phrase"] == "within the blue rectangle"
    assert picker.marks == [parse_mark("box", "9,9,99,99:blue")]
    assert np.array_equal(picker.marked, vipcli.draw("photo.png", picker.marks))
    words = shlex.split(picker.command)
    assert read_arguments("ask", words[2:], {"--box": True}, 2).typed == picker.marks


def test_pictures_come_as_bytes() -> None:
    reply, (content,) = answer(Picker("photo.png"), "picture", {"picture": 0})
    assert (reply, content[8:12]) == ({"id": "1"}, b"WEBP")


@pytest.mark.parametrize(
    ("name", "payload"),
    [("nothing", {}), ("picture", {"picture": 7}), ("picture", None), ("region", {"picture": 0, "marks": 5})],
)
def test_a_message_that_cannot_be_answered_has_an_error(name: str, payload: Any) -> None:
    picker = Picker("photo.png")
    reply, buffers = answer(picker, name, payload)
    assert reply["reply"]["error"]
    assert not buffers
    assert picker.marks == []


def test_too_little_memory_is_told_in_the_page() -> None:
    picker = Picker("photo.png")
    with mock.patch.object(picker._canvas, "draw", side_effect=MemoryError):
        reply, _ = answer(picker, "preview", {"picture": 0, "marks": []})
    assert reply["reply"] == {"error": "There is not enough memory."}


def test_a_mark_that_cannot_be_drawn_is_refused_at_once() -> None:
    with pytest.raises(MarkError, match="lies outside the picture"):
        Picker("photo.png", vipcli.Point(900, 900))


def test_pictures_in_memory_have_no_name_in_the_command() -> None:
    picker = Picker(Image.new("RGB", (50, 40)), "box 5,5,20,20")
    assert picker.command == "vipcli ask PICTURE --box 5,5,20,20"


def test_without_anywidget_the_error_says_what_to_install() -> None:
    with mock.patch.dict(sys.modules, {"anywidget": None}):
        sys.modules.pop("vipcli.notebook")
        with pytest.raises(ImportError, match=r"pip install 'vipcli\[notebook\]'"):
            _ = vipcli.Picker


def test_the_script_is_one_file() -> None:
    assert "import " not in "".join(line for line in script().splitlines(True) if line.startswith("import"))
    assert script().count("export default") == 1
    assert styles().count("{") == styles().count("}")
