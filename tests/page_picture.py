"""Take the README's picture of the page: `python -m tests.page_picture` writes samples/page.png."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tests.browser import chromium, shown
from vipcli.checkpoints import lookup
from vipcli.marks.kinds import UnplacedMark
from vipcli.picking.canvas import Canvas
from vipcli.pictures.images import load_picture

PICTURE = Path(__file__).parent.parent / "samples" / "page.png"
STREET = PICTURE.with_name("street.jpg")


def take() -> Image.Image:
    """The page with two marks on the street, and a question."""
    slots = [UnplacedMark("box"), UnplacedMark("arrow")]
    canvas = Canvas([load_picture(str(STREET))], slots, checkpoint=lookup.peek("bundled"))
    view = {"viewport": {"width": 1120, "height": 640}, "color_scheme": "light"}
    with chromium() as browser, shown(browser, canvas, task="ask", picking={"asks": True}, **view) as page:
        page.drag((60, 360), (302, 474))
        page.drag((612, 190), (560, 232))
        page.page.locator("textarea").fill("Is {1} the same color as {2}?")
        page.settle()
        return Image.open(io.BytesIO(page.page.screenshot()))


if __name__ == "__main__":
    take().convert("RGB").save(PICTURE, optimize=True)
