"""The page on which people mark pictures, in a browser."""

from __future__ import annotations

import gzip
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from tests.browser import Shown, chromium, open_page, shown
from tests.clips import make_clip
from vipcli.asking import pipeline
from vipcli.checkpoints.lookup import find
from vipcli.geometry import XY
from vipcli.marks.colors import parse_color
from vipcli.marks.kinds import BY_KIND, Slot, UnplacedMark, parse_mark
from vipcli.picking import browser as picking_browser
from vipcli.picking.browser import PAGE, BrowserPicker
from vipcli.picking.canvas import Canvas, PickingCancelled
from vipcli.picking.connection import Handler
from vipcli.picking.messages import PickingMessages
from vipcli.picking.server import LocalServer
from vipcli.pictures.images import Picture, open_picture
from vipcli.pictures.videos import load_video

# What is drawn of each kind, pixel by pixel, and its text.
STROKES: dict[str, tuple[Sequence[XY], str]] = {
    "box": ([(30, 40), (60, 50), (90, 80)], "30,40,90,80"),
    "ellipse": ([(210, 90), (120, 40)], "120,40,210,90"),
    "triangle": ([(230, 40), (300, 90)], "230,40,300,90"),
    "point": ([(60, 140)], "60,140"),
    "arrow": ([(150, 190), (200, 140)], "150,190,200,140"),
    "scribble": ([(20, 220), (60, 180), (100, 220)], "20,220 60,180 100,220"),
    "contour": ([(230, 130), (300, 130), (300, 170), (230, 170)], "230,130 300,130 300,170 230,170"),
    "mask": ([(230, 190), (300, 190), (265, 225)], "230,190 300,190 265,225"),
}


_NAME = """() => {
  const { title, ariaLabel, textContent } = document.activeElement;
  return ariaLabel || title || textContent;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def picture(width: int = 320, height: int = 240) -> Picture:
    """A picture of soft noise, in which every pixel tells where it is."""
    columns, rows = np.arange(width, dtype=np.uint8), np.arange(height, dtype=np.uint8)[:, None]
    return open_picture(np.stack(np.broadcast_arrays(columns, rows, rows * 7 + columns * 3), axis=2))


def texts(drawn: Shown) -> list[str]:
    """Finish, and give the texts of the marks that arrive."""
    return [mark.text for mark in drawn.submit().marks]


def test_the_page_is_small() -> None:
    files = sorted(PAGE.iterdir())
    assert {"index.html", "picker.js", "picker.css"} <= {file.name for file in files}
    assert len(gzip.compress(b"".join(file.read_bytes() for file in files))) <= 25_000


def test_the_page_takes_all_from_its_own_folder() -> None:
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|\bstyle=|innerHTML|\beval\b", text), (
            file.name
        )


# ---------------------------------------------------------------------- drawing


def test_each_kind_is_drawn_with_the_mouse_as_vipcli_draws_it(browser: Any) -> None:
    canvas = Canvas([picture()])
    with shown(browser, canvas) as page:
        for number, (kind, (stroke, _)) in enumerate(STROKES.items(), 1):
            page.press(str(number))
            page.drag(*stroke)
            assert f"{kind.capitalize()} {{{number}}}" in page.status
        pixels = page.drawn()
        placed = page.submit()
    assert [(mark.kind, mark.text) for mark in placed.others] == [
        (kind, text) for kind, (_, text) in STROKES.items()
    ]
    marked = pipeline.mark(canvas.pictures, placed.marks)
    np.testing.assert_array_equal(pixels, marked.pictures[0].pixels)


def test_each_kind_is_drawn_by_touch(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), has_touch=True, viewport={"width": 375, "height": 740}) as page:
        for kind, (stroke, _) in STROKES.items():
            page.choose(kind)
            page.touch(stroke)
        page.settle()
        placed = page.submit()
    for mark, (kind, (_, text)) in zip(placed.others, STROKES.items(), strict=True):
        assert mark.kind == kind
        # A pixel of the screen is a pixel of the picture or so here.
        found, wanted = ([int(number) for number in re.findall(r"\d+", word)] for word in (mark.text, text))
        np.testing.assert_allclose(found, wanted, atol=1)


def test_two_fingers_zoom_and_do_not_draw(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), has_touch=True, viewport={"width": 375, "height": 740}) as page:
        before = page.page.locator(".where").inner_text()
        page.touch([(150, 100), (130, 100), (110, 100)], [(170, 100), (190, 100), (210, 100)])
        assert page.page.locator(".where").inner_text() != before
        assert page.marks == []


def test_boxes_and_points_are_drawn_with_the_keyboard_alone(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.press("ArrowRight", "ArrowRight", "Shift+ArrowRight")
        # At first in the middle; a step is 10 pixels of the screen.
        x, y = (int(number) for number in page.status.split(", "))
        step = x - 1 - 160
        assert step == round(10 / (page.position((1, 0))[0] - page.position((0, 0))[0]))
        page.press("Space", "ArrowRight", "ArrowDown", "Space")
        page.press("4", "Shift+ArrowUp", "Space")
        assert page.status.startswith(f"Point {{2}} at {x + step},{y + step - 1}")
        assert texts(page) == [f"{x},{y},{x + step},{y + step}", f"{x + step},{y + step - 1}"]


def test_the_keyboard_draws_along_points(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.press("7", "ArrowUp", "Space", "Enter")
        assert "needs 3 points" in page.status
        page.press("Shift+ArrowRight", "Space", "Shift+ArrowDown", "Space", "Enter")
        page.press("5", "Space", "Enter")
        page.press("5", "Space", "Shift+ArrowLeft", "Enter")
        assert texts(page) == ["160,120 161,120 161,121", "161,121", "161,121,160,121"]


@pytest.mark.parametrize("density", [1, 2])
def test_coordinates_are_those_of_the_pixel_under_the_pointer(browser: Any, density: int) -> None:
    points = [(5, 5), (157, 93), (314, 234)]
    wanted = []
    with shown(browser, Canvas([picture()]), device_scale_factor=density) as page:
        page.press("4")
        for turns in (0, 2, 7):
            for point in points:
                place = page.position((point[0] + 0.5, point[1] + 0.5))
                page.page.mouse.move(*place)
                for _ in range(turns):
                    page.page.mouse.wheel(0, -200)
                for share in (0.1, 0.9):
                    page.page.mouse.click(*page.position((point[0] + share, point[1] + share)))
                    page.press("Escape")
                    wanted.append(f"{point[0]},{point[1]}")
                page.press("0")
        assert texts(page) == wanted


def test_a_mark_outside_is_moved_to_the_edge(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.drag((100, 100), (400, -30))
        assert texts(page) == ["100,0,319,100"]


def test_shift_keeps_a_square_and_escape_abandons(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.page.keyboard.down("Shift")
        page.drag((100, 100), (160, 130))
        page.page.keyboard.up("Shift")
        page.press("Escape")
        page.page.mouse.move(*page.position((20, 20)))
        page.page.mouse.down()
        page.page.mouse.move(*page.position((60, 60)))
        page.press("Escape")
        page.page.mouse.up()
        assert page.status == "Abandoned."
        assert texts(page) == ["100,100,160,160"]


def test_a_click_gives_the_tip_of_an_arrow_and_no_box(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.drag((50, 50))
        assert page.status == "Drag from corner to corner."
        page.press("5")
        page.drag((70, 80))
        assert texts(page) == ["70,80"]


# ---------------------------------------------------------------------- changes


def test_marks_are_moved_resized_undone_and_deleted(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.drag((50, 50), (100, 90))
        page.drag((62, 50), (72, 65))  # by its edge
        assert page.marks == ["Red box from 60,65 to 110,105"]
        page.drag((110, 105), (150, 125))  # by its corner
        assert page.marks == ["Red box from 60,65 to 150,125"]
        page.drag((105, 65), (105, 40))  # by its upper side
        assert page.marks == ["Red box from 60,40 to 150,125"]
        page.press("Control+z", "Control+z")
        assert page.marks == ["Red box from 60,65 to 110,105"]
        page.press("Control+Shift+z")
        page.press("Control+y")
        assert page.marks == ["Red box from 60,40 to 150,125"]
        page.press("Shift+ArrowLeft", "Shift+ArrowUp", "Alt+Shift+ArrowRight")
        assert page.marks == ["Red box from 59,39 to 150,124"]
        page.press("Delete")
        assert page.marks == []
        page.press("Control+z")
        assert texts(page) == ["59,39,150,124"]


def test_freehand_marks_arrows_and_points_are_changed(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.press("8")
        page.drag((100, 100), (140, 100), (120, 120))
        page.drag((140, 120), (180, 140))
        page.press("5")
        page.drag((20, 20), (60, 60))
        page.drag((20, 20), (30, 10))
        page.press("4")
        page.drag((200, 200))
        page.drag((200, 200), (210, 190))
        assert texts(page) == ["100,100 180,100 140,140", "30,10,60,60", "210,190"]


def test_the_drawing_and_the_light_outline_are_never_seen_together(browser: Any) -> None:
    seen = """() => {
      const overlay = document.querySelector(".overlay");
      return [!overlay.hidden && overlay.childElementCount > 0, !!document.querySelector(".shapes .light")];
    }"""
    with shown(browser, Canvas([picture()])) as page:
        page.drag((50, 50), (100, 90))
        page.settle()
        assert page.page.evaluate(seen) == [True, False]
        page.page.mouse.move(*page.position((70.5, 50.5)))
        page.page.mouse.down()
        page.page.mouse.move(*page.position((90.5, 80.5)))
        page.page.wait_for_selector(".shapes .light", state="attached")
        page.page.wait_for_timeout(150)
        assert page.page.evaluate(seen) == [False, True]
        page.page.mouse.up()
        page.settle()
        assert page.page.evaluate(seen) == [True, False]


def test_drawings_that_arrive_too_late_are_not_shown(browser: Any) -> None:
    canvas = Canvas([picture()])
    with shown(browser, canvas) as page:
        late: list[Any] = []
        page.page.route("**/api/preview", lambda route: route.continue_() if late else late.append(route))
        page.drag((50, 50), (100, 90))
        page.drag((200, 100), (250, 190))
        page.settle()
        late[0].continue_()
        page.page.wait_for_timeout(150)
        pixels = page.drawn()
        placed = page.submit()
    assert len(placed.marks) == 2
    np.testing.assert_array_equal(pixels, pipeline.mark(canvas.pictures, placed.marks).pictures[0].pixels)


def test_colors_are_given_or_chosen(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.drag((50, 50), (100, 90))
        page.page.get_by_role("button", name="Color: automatic (red)").click()
        page.page.get_by_role("button", name="Aqua").click()
        page.press("Escape", "Escape")
        page.page.get_by_role("button", name="Color: automatic (red)").click()
        page.page.get_by_role("button", name="Gold").click()
        page.drag((150, 50), (200, 90))
        assert page.marks[1].startswith("Gold box")
        assert texts(page) == ["50,50,100,90:aqua", "150,50,200,90:gold"]


# ---------------------------------------------------------------------- what was asked for


def test_the_page_walks_through_the_marks_that_were_asked_for(browser: Any) -> None:
    slots: list[Slot] = [
        UnplacedMark("ellipse", parse_color("blue")),
        parse_mark("box", "10%,10%,30%,30%"),
        UnplacedMark("point"),
    ]
    with shown(browser, Canvas([picture()], slots)) as page:
        guide = page.page.locator(".guide")
        assert guide.inner_text() == "Draw {1}: a blue ellipse"
        page.drag((150, 50), (200, 90))
        assert guide.inner_text() == "Draw {3}: a point"
        page.press("Enter")
        assert "The point is not drawn yet." in page.page.locator(".ask .problem").inner_text()
        page.drag((220, 200))
        assert guide.inner_text() == "Everything is drawn. Save when you are ready."
        page.drag((20, 200))
        assert [mark.split(" ")[1] for mark in page.marks] == ["ellipse", "box", "point", "point"]
        assert page.page.get_by_title("Given on the command line").count() == 1
        placed = page.submit()
    assert [mark and mark.text for mark in placed.by_slot] == [
        "150,50,200,90:blue",
        "10%,10%,30%,30%",
        "220,200",
    ]
    assert [mark.text for mark in placed.others] == ["20,200"]


def test_marks_may_be_left_out_after_a_second_enter(browser: Any) -> None:
    slots = [UnplacedMark("arrow"), UnplacedMark("box")]
    with shown(browser, Canvas([picture()], slots), task="ask", picking={"asks": True}) as page:
        page.press("1")
        page.drag((50, 50), (100, 90))
        page.press("Enter")
        problem = page.page.locator(".ask .problem").inner_text()
        assert problem.startswith("The arrow is not drawn yet. Press Enter again to go on without it.")
        placed = page.submit()
    assert [mark and mark.text for mark in placed.by_slot] == [None, "50,50,100,90"]


def test_several_pictures_are_marked(browser: Any) -> None:
    slots = [UnplacedMark("box"), UnplacedMark("box", picture=3)]
    canvas = Canvas([picture(), picture(320, 240), picture(320, 240)], slots)
    with shown(browser, canvas) as page:
        position = page.page.locator(".position")
        assert position.inner_text() == "1 of 3"
        page.drag((50, 50), (100, 90))
        # The next mark is for the last picture.
        assert position.inner_text() == "3 of 3"
        page.drag((20, 20), (80, 80))
        page.press("PageUp", "Escape")
        assert position.inner_text() == "2 of 3"
        page.page.get_by_role("button", name="Next picture").click()
        page.page.get_by_role("button", name="Previous picture").click()
        page.page.locator(".stage").focus()
        page.press("4")
        page.drag((30, 40))
        page.settle()
        placed = page.submit()
    assert [mark.text for mark in placed.marks] == ["50,50,100,90", "3:20,20,80,80", "2:30,40"]


def test_a_slider_chooses_the_frame_of_a_video(browser: Any, tmp_path: Path) -> None:
    video, frames = load_video(str(make_clip(tmp_path / "clip.mp4")), 4, max_pixels=10**6)
    with shown(browser, Canvas(frames, video=video)) as page:
        page.page.get_by_role("slider").fill("3")
        assert page.page.locator(".position").inner_text() == "Frame 3 of 4"
        page.drag((20, 20), (60, 60))
        page.page.get_by_label("On all frames").check()
        page.press("4")
        page.drag((100, 100))
        page.page.get_by_role("slider").fill("1")
        page.page.wait_for_selector(".overlay img")
        assert texts(page) == ["3:20,20,60,60", "100,100"]


# ---------------------------------------------------------------------- how it looks


@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_the_window(browser: Any, width: int, scheme: str) -> None:
    slots = [UnplacedMark(kind) for kind in BY_KIND]
    options = {"viewport": {"width": width, "height": 700}, "color_scheme": scheme}
    canvas = Canvas([picture(), picture()], slots, checkpoint=find("bundled"))
    with shown(browser, canvas, task="ask", picking={"asks": True}, **options) as page:
        page.drag((50, 50), (100, 90))
        page.settle()
        for side, room in (("Width", width), ("Height", 700)):
            assert page.page.evaluate(f"document.documentElement.scroll{side}") == room
        for tool in page.page.locator(".toolbar button:visible, .pages button").all():
            box = tool.bounding_box()
            assert min(box["width"], box["height"]) >= 36
            assert box["x"] >= 0 and box["x"] + box["width"] <= width
        background, text = page.page.evaluate(
            "() => { const { backgroundColor, color } = getComputedStyle(document.querySelector('.picker'));"
            " return [backgroundColor, color].map((value) => Number(value.match(/\\d+/)[0])); }"
        )
        assert background - text > 150 if scheme == "light" else text - background > 150


def test_the_picture_is_zoomed_and_panned(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        left, top = page.position((0, 0))
        page.press("+", "+", "+", "+")
        assert page.page.locator(".sheet.pixelated").count() == 1
        before = page.position((100, 100))
        page.drag((160, 120), (150, 110), button="right")
        after = page.position((100, 100))
        zoom = page.position((101, 100))[0] - after[0]
        assert before[0] - after[0] == pytest.approx(10 * zoom, abs=1)
        page.page.locator(".stage").focus()
        page.page.keyboard.down("Space")
        page.drag((150, 110), (160, 120))
        page.page.keyboard.up("Space")
        assert page.position((100, 100)) == pytest.approx(before, abs=1)
        for _ in range(20):
            page.press("+")
        assert page.position((101, 100))[0] - page.position((100, 100))[0] == pytest.approx(32)
        page.press("0")
        assert page.position((0, 0)) == pytest.approx((left, top))
        assert page.marks == []


def test_a_very_small_and_a_very_large_picture(browser: Any) -> None:
    with shown(browser, Canvas([picture(3, 40)])) as page:
        page.drag((0, 3), (2, 30))
        assert texts(page) == ["0,3,2,30"]
    large = Canvas([picture(5000, 4000)])
    with shown(browser, large) as page:
        natural = "document.querySelector('.picture img').naturalWidth"
        assert page.page.evaluate(natural) == 5000 // large.whole(0).factor + (
            5000 % large.whole(0).factor > 0
        )
        page.drag((1000, 1000), (2000, 3000))
        page.settle()
        page.page.mouse.move(*page.position((1000.5, 1000.5)))
        for _ in range(12):
            page.page.mouse.wheel(0, -300)
        # Now real pixels are seen: the blue of the last one differs from that of its neighbors.
        page.page.wait_for_selector(".region img")
        page.page.wait_for_selector(".drawn img")
        page.press("Escape", "4")
        page.drag((1003, 997))
        placed = page.submit()
    assert placed.marks[1].text == "1003,997"
    numbers = [int(number) for number in placed.marks[0].text.split(",")]
    np.testing.assert_allclose(numbers, [1000, 1000, 2000, 3000], atol=6)


def test_the_model_s_view_is_shown(browser: Any) -> None:
    canvas = Canvas([picture()], checkpoint=find("bundled"))
    with shown(browser, canvas) as page:
        page.drag((50, 50), (52, 52))
        page.page.get_by_role("button", name="As the model sees it").click()
        page.page.wait_for_selector(".model-view img")
        assert page.page.evaluate("document.querySelector('.model-view img').naturalWidth") == 192
        # The model will hardly see so small a mark.
        page.page.locator(".notes p").wait_for()
        assert texts(page) == ["50,50,52,52"]


# ---------------------------------------------------------------------- asking, and what may go wrong


def test_a_question_is_asked_and_the_answer_arrives_as_text(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), task="ask", picking={"asks": True}) as page:
        page.drag((50, 50), (100, 90))
        page.settle()
        field = page.page.get_by_label("Question")
        assert field.get_attribute("placeholder") == "What is the object within the red rectangle?"
        page.page.keyboard.type("Is {1} <b>big</b>?")
        assert page.submit().question == "Is {1} <b>big</b>?"
        page.picker.text("It <b>is")
        page.page.get_by_text("It <b>is").wait_for()
        page.picker.answer("It <b>is</b> <img src=x>.", ["The model is small."])
        page.page.get_by_text("You can close this tab. The answer is in the terminal too.").first.wait_for()
        assert page.page.locator(".answer").inner_text() == "It <b>is</b> <img src=x>."
        assert page.page.locator(".notes").inner_text() == "The model is small."
        assert page.page.locator(".panel img").count() == 0
        page.drag((150, 50), (200, 90))
        assert len(page.marks) == 1


def test_what_goes_wrong_is_said(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), task="ask", picking={"asks": True}) as page:
        page.submit()
        page.picker.fail("There is no memory left.")
        page.page.get_by_role("alert").get_by_text("There is no memory left.").wait_for()


def test_escape_leaves_after_a_second_time(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), task="ask", picking={"asks": True}) as page:
        page.drag((50, 50), (100, 90))
        page.press("Escape", "Escape")
        assert "Leave without asking?" in page.page.locator(".confirm").inner_text()
        page.page.get_by_role("button", name="Stay").click()
        page.press("Escape", "Escape")
        with pytest.raises(PickingCancelled):
            page.picker.wait()
        page.page.get_by_text("Nothing was sent. You can close this tab.").first.wait_for()


def test_a_page_that_is_loaded_again_keeps_its_marks(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.drag((50, 50), (100, 90))
        page.page.reload()
        page.page.wait_for_selector(".overlay img")
        page.press("4")
        page.drag((200, 200))
        assert texts(page) == ["50,50,100,90", "200,200"]


def test_a_page_that_is_loaded_again_gets_its_answer(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), task="ask", picking={"asks": True}) as page:
        page.page.keyboard.type("What is this?")
        page.submit()
        page.page.locator(".outcome .asked").wait_for()
        page.page.reload()
        page.page.wait_for_selector(".picture img")
        assert page.page.locator(".outcome .asked").inner_text() == "What is this?"
        page.picker.answer("A taxi.")
        page.page.get_by_text("A taxi.").wait_for()


def test_a_tab_that_is_closed_is_noticed(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picking_browser, "GONE_AFTER", 0.3)
    with BrowserPicker(Canvas([picture()]), task="draw") as picker:
        with open_page(browser, picker.url) as page:
            page.wait_for_selector(".picture img")
        with pytest.raises(PickingCancelled):
            picker.wait()


def test_a_second_tab_is_told_that_the_marks_are_placed(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page, open_page(browser, page.picker.url) as other:
        other.wait_for_selector(".picture img")
        page.drag((50, 50), (100, 90))
        assert texts(page) == ["50,50,100,90"]
        other.get_by_text("Marks were placed in another tab").first.wait_for()
        assert other.get_by_role("button", name="Box (1)").is_disabled()


def test_a_command_that_has_ended_is_noticed(browser: Any) -> None:
    with BrowserPicker(Canvas([picture()]), task="draw") as picker, open_page(browser, picker.url) as page:
        page.wait_for_selector(".picture img")
        picker.__exit__(None, None, None)
        page.get_by_text("the command has ended").first.wait_for()


def test_what_fails_is_told_and_ends_nothing(browser: Any) -> None:
    # Not open_page, since the browser's console mentions a failure.
    with BrowserPicker(Canvas([picture()]), task="draw") as picker:
        page = browser.new_page()
        page.goto(picker.url)
        page.wait_for_selector(".picture img")
        drawn = Shown(page, picker, (320, 240))
        with mock.patch.object(Canvas, "overlay", side_effect=MemoryError):
            drawn.drag((50, 50), (100, 90))
            page.get_by_role("alert").get_by_text("There is not enough memory.").wait_for()
        drawn.drag((120, 120), (150, 150))
        drawn.settle()
        assert texts(drawn) == ["50,50,100,90", "120,120,150,150"]
        page.close()


# ---------------------------------------------------------------------- a conversation


@contextmanager
def talking(asked: list[Any]) -> Iterator[LocalServer]:
    """A conversation whose answers are always the same; what is asked is kept."""
    ended = threading.Event()
    messages = PickingMessages(
        Canvas([picture()]), "chat", placed=lambda *_: None, left=lambda: None, asks=True
    )
    turn = {"question": "What is this?", "answer": "A taxi, and", "ended": "length"}

    def start(message: Any) -> dict[str, Any]:
        return {**messages.start(message), "conversation": {"turns": [turn], "model": "tiny", "settings": {}}}

    def answer(message: Any) -> Iterator[dict[str, Any]]:
        asked.append(message)
        yield {"note": "It is dark."}
        yield {"text": "A <i>"}
        yield {"answer": "A <i>man</i>.", "question": "Who is he?", "ended": "stop", "probability": 0.83}

    def events(_: Any) -> Iterator[dict[str, Any]]:
        while not ended.wait(0.05):
            yield {}
        yield {"closed": True}

    def upload(name: str, content: bytes) -> dict[str, Any]:
        asked.append((name, content))
        return start({})

    handlers: dict[str, Handler] = {
        "start": start,
        "ask": answer,
        "retry": answer,
        "events": events,
        "save": lambda _: b"{}",
    }
    server = LocalServer({**messages.handlers, **handlers}, PAGE, uploads={"open": upload})
    server.start()
    yield server
    ended.set()
    server.close()


@pytest.mark.parametrize("width", [375, 1280])
def test_a_conversation_is_held_beside_the_picture(browser: Any, width: int) -> None:
    asked: list[Any] = []
    viewport = {"width": width, "height": 740}
    with talking(asked) as server, open_page(browser, server.url, viewport=viewport) as page:
        page.wait_for_selector(".picture img")
        assert page.locator(".turn").inner_text().startswith("What is this?\n")
        assert "cut off" in page.locator(".turn .note").inner_text()
        left, top = (page.locator(".sheet").bounding_box()[side] for side in "xy")
        page.mouse.click(left + 30, top + 30)
        page.keyboard.press("4")
        page.mouse.click(left + 30, top + 30)
        page.keyboard.type("Who is {1}?")
        page.keyboard.press("Enter")
        page.get_by_text("A <i>man</i>.").wait_for()
        last = page.locator(".turn").last
        assert last.inner_text().split("\n")[0] == "Who is he?"
        assert last.locator(".note").all_inner_texts() == ["It is dark.", "Probability 83 %"]
        page.get_by_role("button", name="Retry").click()
        page.wait_for_function("() => !document.querySelector('.busy')")
        assert page.locator(".turn").count() == 2
        assert asked[0]["question"] == "Who is {1}?" and len(asked[0]["marks"]) == 1
        assert page.evaluate("document.documentElement.scrollWidth") == width
        with page.expect_download() as download:
            page.get_by_role("button", name="Save").click()
        assert download.value.path().read_bytes() == b"{}"
        page.locator("input[type=file]").set_input_files(
            {"name": "other.png", "mimeType": "image/png", "buffer": b"pixels"}
        )
        page.wait_for_function("() => document.querySelectorAll('.turn').length === 1")
        assert asked[-1] == ("other.png", b"pixels")


# ---------------------------------------------------------------------- without eyes or a mouse


def test_the_page_can_be_used_without_seeing_it(browser: Any) -> None:
    with shown(browser, Canvas([picture()]), task="ask", picking={"asks": True}) as page:
        application = page.page.get_by_role("application")
        assert "320 × 240 pixels. Arrow keys move a crosshair" in application.get_attribute("aria-label")
        page.press("ArrowRight", "Space", "ArrowRight", "ArrowDown", "Space")
        assert re.fullmatch(r"Box \{1\} from 160,120 to \d+,\d+, red\.", page.status)
        page.settle()
        items = page.page.get_by_role("list", name="Marks").get_by_role("listitem")
        assert items.count() == 1
        page.press("Tab", "Enter")
        assert page.status.startswith("Selected: box from 160,120")
        page.press("Delete")
        assert page.marks == []
        assert all(image.get_attribute("alt") is not None for image in page.page.locator("img").all())
        reached = set()
        for _ in range(25):
            page.press("Tab")
            reached.add(page.page.evaluate(_NAME))
        assert {"Box (1)", "Mask (8)", "Question", "Ask", "Leave (Escape)", "Help (?)"} <= reached


def test_help_is_a_key_away(browser: Any) -> None:
    with shown(browser, Canvas([picture()])) as page:
        page.press("?")
        assert page.page.get_by_role("dialog", name="Help").is_visible()
        page.press("Escape")
        assert not page.page.get_by_role("dialog", name="Help").is_visible()
        page.drag((50, 50), (100, 90))
        assert texts(page) == ["50,50,100,90"]
