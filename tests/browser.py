"""Chromium, and a page for marking pictures in it, for tests."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vipcli.geometry import XY
from vipcli.picking.browser import BrowserPicker
from vipcli.picking.canvas import Canvas, PickingCancelled, PlacedMarks

playwright = pytest.importorskip("playwright.sync_api")

_DRAWN = """() => {
  const [picture, overlay] = ["picture", "overlay"].map((name) => document.querySelector(`.${name} img`));
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  if (overlay) context.drawImage(overlay, parseFloat(overlay.style.left), parseFloat(overlay.style.top));
  return canvas.toDataURL("image/png");
}"""
_BOX = """() => {
  const { left, top, width, height } = document.querySelector(".sheet").getBoundingClientRect();
  return [left, top, width, height];
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser without a window; the test is skipped where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as runner:
        browser = runner.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--no-proxy-server", "--disable-gpu"]
        )
        yield browser
        browser.close()


class Shown:
    """A page in a browser, and the command that waits for it."""

    def __init__(self, page: Any, picker: BrowserPicker, size: tuple[int, int]) -> None:
        self.page = page
        self.picker = picker
        self.size = size
        self._touch: Any = None

    def position(self, point: XY) -> XY:
        """Where a position on the picture is in the window."""
        left, top, width, height = self.page.evaluate(_BOX)
        return left + point[0] * width / self.size[0], top + point[1] * height / self.size[1]

    def drag(self, *points: XY, button: str = "left") -> None:
        """Press the mouse at the middle of a pixel, move it over others, and let go."""
        first, *rest = [self.position((x + 0.5, y + 0.5)) for x, y in points]
        mouse = self.page.mouse
        mouse.move(*first)
        mouse.down(button=button)
        for place in rest:
            mouse.move(*place)
        mouse.up(button=button)

    def touch(self, *fingers: Sequence[XY]) -> None:
        """The same with fingers, which all make as many steps."""
        self._touch = self._touch or self.page.context.new_cdp_session(self.page)
        steps = [
            [self.position((x + 0.5, y + 0.5)) for x, y in points] for points in zip(*fingers, strict=True)
        ]
        for number, step in enumerate(steps):
            points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(step)]
            self._send("touchStart" if number == 0 else "touchMove", points)
        self._send("touchEnd", [])

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def choose(self, kind: str) -> None:
        self.page.get_by_role("button", name=f"{kind.capitalize()} (").click()

    @property
    def marks(self) -> list[str]:
        """The marks in the list, in words."""
        return [text.replace("\n", " ") for text in self.page.locator(".mark .words").all_inner_texts()]

    @property
    def status(self) -> str:
        return str(self.page.locator(".status").inner_text())

    def settle(self) -> None:
        """Wait until what is drawn has replaced the light outlines."""
        self.page.wait_for_function("() => !document.querySelector('.shapes .light')")

    def drawn(self) -> NDArray[np.uint8]:
        """The pixels of the picture with what is drawn on it, as the page has them."""
        self.settle()
        content = self.page.evaluate(_DRAWN).partition(",")[2]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))

    def submit(self) -> PlacedMarks:
        self.press("Enter")
        try:
            return self.picker.wait()
        except PickingCancelled:
            # A KeyboardInterrupt would end all tests.
            raise AssertionError("the page was left") from None

    def _send(self, type: str, points: Sequence[dict[str, float]]) -> None:
        self._touch.send("Input.dispatchTouchEvent", {"type": type, "touchPoints": points})


@contextmanager
def open_page(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A tab of a browser; whatever it complains about fails the test."""
    complaints: list[str] = []
    options.setdefault("viewport", {"width": 1280, "height": 800})
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(address)
    yield page
    context.close()
    assert not complaints


@contextmanager
def shown(
    browser: Any, canvas: Canvas, *, task: Any = "draw", picking: Any = (), **options: Any
) -> Iterator[Shown]:
    """A page for marking pictures, once it shows the first."""
    with (
        BrowserPicker(canvas, task=task, **dict(picking)) as picker,
        open_page(browser, picker.url, **options) as page,
    ):
        page.wait_for_selector(".picture img")
        picture = canvas.pictures[0]
        yield Shown(page, picker, (picture.width, picture.height))
