"""What a page is told while marks are placed, and what it may send."""

from __future__ import annotations

import base64
import io
import json
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.plain import assert_plain
from vipcli.asking import pipeline
from vipcli.asking.values import Drawing
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import UsageError, VipcliError
from vipcli.marks.kinds import BY_KIND, Slot, TypedMark, UnplacedMark, parse_mark
from vipcli.picking import canvas as canvas_module
from vipcli.picking.canvas import Canvas, PlacedMarks
from vipcli.picking.messages import MAX_MARKS, MAX_PIXELS, PickingMessages
from vipcli.pictures.images import Picture, Pixels, open_picture
from vipcli.pictures.videos import Video

STREET = Path("samples/street.jpg")
MARKS = {
    "box": "41,62,203.5,220",
    "ellipse": "10%,10%,70%,80%:blue",
    "triangle": "300,50,600,400",
    "point": "320,240",
    "arrow": "100,100,300,200:#123456",
    "scribble": "10,10 200,300 400,20 600,470",
    "contour": "50,50 300,80 280,300",
    "mask": "200,200 500,220 480,460 190,430",
}
AT_EDGES = {
    "box": "-50,-50,100,100",
    "ellipse": "500,400,700,600",
    "triangle": "-100,-100,900,900",
    "point": "0,0",
    "arrow": "640,480",
    "scribble": "-20,100 700,300",
    "contour": "-20,-20 700,-20 300,500",
    "mask": "-20,-20 700,-20 300,500",
}


class Page:
    """Messages as a page sends them, and what comes of them."""

    def __init__(self, canvas: Canvas, task: Any = "ask", **options: Any) -> None:
        self.placed: list[tuple[PlacedMarks, str | None]] = []
        self.left = 0
        self.canvas = canvas
        self.handlers = PickingMessages(
            canvas, task, placed=lambda *sent: self.placed.append(sent), left=self._leave, **options
        ).handlers

    def _leave(self) -> None:
        self.left += 1

    def send(self, name: str, **message: Any) -> Any:
        # As it would come over HTTP.
        reply = self.handlers[name](json.loads(json.dumps(message)))
        return reply if isinstance(reply, bytes) else json.loads(json.dumps(reply, allow_nan=False))

    def image(self, name: str, **message: Any) -> Pixels:
        content = self.send(name, **message)
        assert content[8:12] == b"WEBP"
        return decode(content)

    def composed(self, index: int, marks: Sequence[Mapping[str, Any]]) -> Pixels:
        """The picture with the overlay of its marks over it."""
        picture = self.image("picture", picture=index).copy()
        overlay = self.send("preview", picture=index, marks=marks)["overlay"]
        if overlay is None:
            return picture
        rgba = decode(base64.b64decode(overlay["image"]), "RGBA")
        assert set(np.unique(rgba[..., 3])) <= {0, 255}
        factor = overlay["factor"]
        assert overlay["left"] % factor == overlay["top"] % factor == 0
        left, top = overlay["left"] // factor, overlay["top"] // factor
        place = picture[top : top + rgba.shape[0], left : left + rgba.shape[1]]
        assert place.shape[:2] == rgba.shape[:2]
        opaque = rgba[..., 3] == 255
        # It is as small as the change.
        assert (place != rgba[..., :3])[opaque].any(axis=-1).all()
        place[opaque] = rgba[..., :3][opaque]
        return picture


def decode(content: bytes, mode: str = "RGB") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(content)).convert(mode))


def street(width: int = 640, height: int = 480) -> Picture:
    pixels = np.asarray(Image.open(STREET).convert("RGB"))
    return open_picture(np.ascontiguousarray(cv2.resize(pixels, (width, height))))


def sent(kind: str, text: str | None, slot: Any = None) -> dict[str, Any]:
    return {"slot": slot, "kind": kind, "text": text}


def drawn(picture: Picture, *marks: tuple[str, str]) -> Pixels:
    """As the command line draws it."""
    return pipeline.mark([picture], [parse_mark(*mark) for mark in marks]).pictures[0].pixels


# The same pixels


@pytest.mark.parametrize("texts", [MARKS, AT_EDGES], ids=["inside", "at the edges"])
@pytest.mark.parametrize("kind", BY_KIND)
def test_the_page_shows_what_the_command_line_draws(kind: str, texts: dict[str, str]) -> None:
    picture = street()
    shown = Page(Canvas([picture])).composed(0, [sent(kind, texts[kind])])
    expected = drawn(picture, (kind, texts[kind]))
    assert not np.array_equal(expected, picture.pixels)
    assert np.array_equal(shown, expected)


def test_all_kinds_together() -> None:
    picture = street()
    marks = [sent(kind, text) for kind, text in MARKS.items()]
    assert np.array_equal(Page(Canvas([picture])).composed(0, marks), drawn(picture, *MARKS.items()))


@pytest.mark.parametrize("drawing", [Drawing(width=9, alpha=255), Drawing(jitter=4), Drawing(alpha=0)])
def test_other_ways_to_draw(drawing: Drawing) -> None:
    picture = street()
    page = Page(Canvas([picture], drawing=drawing))
    marks = [sent(kind, text) for kind, text in MARKS.items()]
    typed = [parse_mark(*mark) for mark in MARKS.items()]
    expected = pipeline.mark([picture], typed, drawing).pictures[0].pixels
    assert np.array_equal(page.composed(0, marks), expected)


@pytest.mark.parametrize(
    ("width", "height"), [(3, 500), (500, 3), (1, 1), (2001, 2003), (2999, 1501), (40_000, 7), (7, 40_000)]
)
def test_pictures_of_any_shape(width: int, height: int) -> None:
    picture = street(width, height)
    page = Page(Canvas([picture]))
    info = page.send("start")["pictures"][0]
    assert (info["width"], info["height"]) == (width, height)
    factor = info["factor"]
    shown = page.image("picture", picture=0)
    assert max(shown.shape) <= canvas_module.MAX_SHOWN_SIDE
    for kind, text in (("box", "5%,5%,96%,96%"), ("mask", "0,0 100%,0 100%,100%"), ("point", "50%,50%")):
        whole = drawn(picture, (kind, text))
        expected = whole if factor == 1 else np.asarray(Image.fromarray(whole).reduce(factor))
        assert np.array_equal(page.composed(0, [sent(kind, text)]), expected)


def test_a_reduced_picture_up_close() -> None:
    picture = street(6000, 4000)
    page = Page(Canvas([picture]))
    marks = [sent("ellipse", "1000,1000,3000,2500"), sent("arrow", "2990,1700")]
    expected = drawn(picture, ("ellipse", "1000,1000,3000,2500"), ("arrow", "2990,1700"))
    for left, top, right, bottom in ((2500, 1500, 4500, 2500), (0, 0, 1, 1), (5990, 3990, 6000, 4000)):
        part = {"left": left, "top": top, "right": right, "bottom": bottom}
        assert np.array_equal(
            page.image("region", picture=0, marks=marks, factor=1, **part), expected[top:bottom, left:right]
        )
    whole = {"left": 0, "top": 0, "right": 6000, "bottom": 4000}
    reduced = page.image("region", picture=0, marks=marks, factor=2, **whole)
    assert np.array_equal(reduced, np.asarray(Image.fromarray(expected).reduce(2)))
    assert page.send("start")["pictures"][0]["factor"] == 3
    third = np.asarray(Image.fromarray(expected).reduce(3))
    assert np.array_equal(page.composed(0, marks), third)


def test_what_the_model_sees() -> None:
    picture = street()
    checkpoint = Checkpoint("a model")
    page = Page(Canvas([picture], checkpoint=checkpoint, fit="pad"))
    view = page.image("view", picture=0, marks=[sent("box", "0,0,640,480")])
    assert view.shape == (336, 336, 3)
    assert not np.array_equal(view, page.image("view", picture=0, marks=[]))
    with pytest.raises(UsageError, match="No model"):
        Page(Canvas([picture])).send("view", picture=0, marks=[])


# What it tells


def test_the_start() -> None:
    pictures = [street(), street(6000, 4000)]
    slots: list[Slot] = [
        parse_mark("box", "1:1,2,30,40:#ff0000"),
        UnplacedMark("mask"),
        UnplacedMark("arrow", picture=2),
    ]
    page = Page(Canvas(pictures, slots, Drawing(width=5)), "ask", question="What is {1}?", asks=False)
    colors = page.send("start").pop("colors")
    assert len(colors) == 9
    assert colors[0] == {"name": "red", "rgb": "#ff0000"}
    start = page.send("start")
    del start["colors"]
    assert start == {
        "task": "ask",
        "question": "What is {1}?",
        "asks": False,
        "pictures": [
            {"name": "memory", "width": 640, "height": 480, "factor": 1},
            {"name": "memory", "width": 6000, "height": 4000, "factor": 3},
        ],
        "video": False,
        "slots": [
            {
                "kind": "box",
                "text": "1:1,2,30,40:#ff0000",
                "color": "#ff0000",
                "colorName": "red",
                "picture": 1,
            },
            {"kind": "mask", "text": None, "color": None, "colorName": None, "picture": None},
            {"kind": "arrow", "text": None, "color": None, "colorName": None, "picture": 2},
        ],
        "model": None,
        "viewSize": None,
        "defaultStroke": 5,
    }
    with_model = Page(Canvas(pictures, checkpoint=Checkpoint("vip-llava-7b"))).send("start")
    assert (with_model["model"], with_model["viewSize"], with_model["defaultStroke"]) == (
        "vip-llava-7b",
        336,
        3,
    )


def test_a_preview_names_the_marks() -> None:
    page = Page(Canvas([street(), street()]))
    preview = page.send(
        "preview", picture=1, marks=[sent("box", "2:1,2,300,400"), sent("point", "50,60:#fe0000")]
    )
    assert preview["marks"] == [
        {
            "number": 1,
            "kind": "box",
            "phrase": "within the lime rectangle",
            "color": "#00ff00",
            "colorName": "lime",
            "pictures": [2],
        },
        {
            "number": 2,
            "kind": "point",
            "phrase": "at the red point",
            "color": "#fe0000",
            "colorName": "red",
            "pictures": [1],
        },
    ]
    assert preview["notes"] == []
    assert (preview["overlay"]["factor"], preview["overlay"]["top"]) == (1, 0)
    assert page.send("preview", picture=0, marks=[])["overlay"] is None


def test_marks_without_a_picture_are_on_all_frames_of_a_video() -> None:
    video = Video("a.mp4", 30, 10.0, (0, 15, 29))
    page = Page(Canvas([street(), street(), street()], video=video))
    assert page.send("start")["video"] is True
    preview = page.send("preview", picture=2, marks=[sent("box", "1,2,300,400"), sent("box", "2:1,2,30,40")])
    assert [mark["pictures"] for mark in preview["marks"]] == [[1, 2, 3], [2]]


def test_notes_are_those_of_the_command_line_in_its_spelling() -> None:
    checkpoint = Checkpoint("a model")
    page = Page(
        Canvas([street()], checkpoint=checkpoint, fit="crop"),
        spelling=lambda name, value: f"--{name} {value}",
    )
    marks = [sent("box", "-20,10,50,60:green"), sent("box", "0,100,50,160:green")]
    notes = page.send("preview", picture=0, marks=marks)["notes"]
    assert "The models were not trained on green marks. The nearest they know is lime." in notes
    assert "The green rectangle reaches outside the picture (640 × 480) and is cut off at its edge." in notes
    assert "The green rectangle is cropped away, so the model cannot see it. Use --fit pad." in notes
    assert "2 marks have the same name: the green rectangle. Give them different colors." in notes


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("box", "1,2,3", "has 3 numbers"),
        ("box", "5,5,5,9", "encloses nothing"),
        ("box", "700,500,800,600", "lies outside the picture"),
        ("box", "", "Cannot read the box"),
        ("box", "1,2,30,40:rde", "Did you mean red?"),
        ("box", "7:1,2,30,40", "only one picture"),
        ("box", "0:1,2,30,40", "Counting begins at 1."),
        ("point", "nan,nan", "Cannot read the point"),
        ("arrow", "5,5,5,5", "starts where it ends"),
        ("scribble", "5,5 5,5", "goes nowhere"),
        ("cloud", "5,5", "There is no mark named 'cloud'."),
    ],
)
def test_a_mark_that_cannot_be_drawn(kind: str, text: str, words: str) -> None:
    page = Page(Canvas([street()]))
    good = sent("box", "1,2,300,400")
    for message in (page.send("preview", picture=0, marks=[good, sent(kind, text), good]),):
        assert words in message["error"]
        assert message["mark"] == 1
    assert words in page.send("done", marks=[good, sent(kind, text)])["error"]
    with pytest.raises(VipcliError, match=words.replace("?", r"\?")):
        page.send("view", picture=0, marks=[good, sent(kind, text)])
    assert not page.placed


# What it may send


def test_no_file_is_read_for_the_page(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (640, 480), 255).save(mask)
    page = Page(Canvas([street()]))
    for kind in ("mask", "contour"):
        for text in (str(mask), f"{mask}:red", f"1:{mask}", "http://127.0.0.1/x.png", "-"):
            message = page.send("preview", picture=0, marks=[sent(kind, text)])
            assert message["mark"] == 0
            assert "error" in message
    assert page.send("done", marks=[sent("mask", str(mask))])["error"].endswith("is given by its points.")
    assert not page.placed


def test_a_mask_image_of_the_command_line_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = tmp_path / "mask.png"
    image = np.zeros((480, 640), np.uint8)
    image[100:300, 200:400] = 255
    image[150:200, 250:300] = 0
    Image.fromarray(image).save(mask)
    picture = street()
    for kind in ("mask", "contour"):
        read: list[str] = []
        typed = parse_mark(kind, f"{mask}:blue")
        monkeypatch.setattr(
            canvas_module, "load_mask", lambda *args, seen=read: seen.append(args[0]) or image > 127
        )
        page = Page(Canvas([picture], [typed]))
        shown = page.composed(0, [sent(kind, None, 0)])
        assert np.array_equal(shown, pipeline.mark([picture], [typed]).pictures[0].pixels)
        assert (
            page.send("preview", picture=0, marks=[sent(kind, None, 0), sent("point", "9,9")])["notes"] == []
        )
        assert page.send("done", marks=[sent(kind, None, 0)]) == {}
        assert page.placed[0][0].by_slot == (typed,)
        assert read == [str(mask)]


def test_a_mask_image_that_cannot_be_read(tmp_path: Path) -> None:
    page = Page(Canvas([street()], [parse_mark("mask", str(tmp_path / "mask.png"))]))
    with pytest.raises(VipcliError, match="There is no file"):
        page.send("preview", picture=0, marks=[sent("mask", None, 0)])


def test_what_is_placed() -> None:
    slots: list[Slot] = [
        UnplacedMark("box"),
        parse_mark("point", "5,5"),
        UnplacedMark("mask"),
        UnplacedMark("arrow"),
    ]
    page = Page(Canvas([street()], slots), asks=True)
    marks = [
        sent("box", " 1,2\n30,40 ", 0),
        sent("point", None, 1),
        sent("arrow", "50,60", 3),
        sent("ellipse", "1,2,30,40:red"),
    ]
    assert page.send("done", marks=marks, question=" What? ", page="tab") == {}
    (placed, tab), *others = page.placed
    assert not others
    assert tab == "tab"
    assert placed == PlacedMarks(
        (parse_mark("box", "1,2 30,40"), parse_mark("point", "5,5"), None, parse_mark("arrow", "50,60")),
        (parse_mark("ellipse", "1,2,30,40:red"),),
        " What? ",
    )
    assert [mark.kind for mark in placed.marks] == ["box", "point", "arrow", "ellipse"]


@pytest.mark.parametrize(
    ("asks", "question", "taken"),
    [
        (True, "What?", "What?"),
        (True, "  ", None),
        (True, "", None),
        (True, None, None),
        (False, "What?", None),
    ],
)
def test_questions(asks: bool, question: str | None, taken: str | None) -> None:
    page = Page(Canvas([street()]), asks=asks)
    assert page.send("done", marks=[], question=question) == {}
    assert page.placed[0][0].question == taken


def test_half_a_character_is_replaced() -> None:
    page = Page(Canvas([street()]), asks=True)
    page.send("done", marks=[], question="What\ud83d?")
    assert page.placed[0][0].question == "What??"


def test_a_color_and_a_picture_that_were_asked_for() -> None:
    color = parse_mark("box", "1,2,3,4:#ff0001").color
    red = parse_mark("box", "1,2,3,4:red").color
    slots = [UnplacedMark("box", color=color), UnplacedMark("box", color=red), UnplacedMark("box", picture=2)]
    page = Page(Canvas([street(), street()], slots))
    marks = [sent("box", "1,2,30,40", 0), sent("box", "5,6,30,40", 1), sent("box", "2:1,2,30,40", 2)]
    assert page.send("done", marks=marks) == {}
    placed = page.placed[0][0]
    assert [mark and mark.text for mark in placed.by_slot] == [
        *("1,2,30,40:#ff0001", "5,6,30,40:red", "2:1,2,30,40")
    ]
    assert all(mark == parse_mark(mark.kind, mark.text) for mark in placed.marks)
    other = [sent("box", "1,2,30,40:blue", 0), sent("box", "5,6,30,40", 1), sent("box", "1:1,2,30,40", 2)]
    assert page.send("preview", picture=0, marks=other) == {
        "error": "This box belongs on picture 2.",
        "mark": 2,
    }
    assert page.send("preview", picture=0, marks=other[:2])["marks"][0]["color"] == "#0000ff"


def test_marks_of_the_command_line_stay() -> None:
    typed = parse_mark("box", "10,20,300,400")
    page = Page(Canvas([street()], [typed, UnplacedMark("point")]))
    moved = page.send("preview", picture=0, marks=[sent("box", "1,2,3,4", 0)])
    assert moved == {"error": "The box '10,20,300,400' stays as it was given.", "mark": 0}
    missing = page.send("done", marks=[sent("point", "5,5", 1)])
    assert missing == {"error": "The box '10,20,300,400' was given, but is missing."}
    other = page.send("preview", picture=0, marks=[sent("ellipse", None, 0)])
    assert other == {"error": "The kind of this mark must be box.", "mark": 0}
    assert not page.placed


def test_whoever_takes_the_marks_may_refuse_them() -> None:
    def refuse(*placed: object) -> None:
        raise UsageError("The marks were placed already.", "Use {fit=pad}.")

    handlers = PickingMessages(
        Canvas([street()]), "ask", placed=refuse, left=lambda: None, spelling=lambda name, value: f"-{name}"
    ).handlers
    assert handlers["done"]({"marks": []}) == {"error": "The marks were placed already. Use -fit."}


def test_leaving() -> None:
    page = Page(Canvas([street()]))
    assert page.send("leave") == {}
    assert page.left == 1


NO_PICTURES: tuple[Any, ...] = (None, -1, 1, 0.0, "0", True, [], 10**30)
NO_LISTS: tuple[Any, ...] = (None, {}, "box", 5, [None], [[]], ["box"], [5])
NO_SLOTS: tuple[Any, ...] = (-1, 2, True, "0", 0.0, [])
NO_PLACES: tuple[Any, ...] = (None, -1, 0.5, "0", True, 10**30)
PART = {"left": 0, "top": 0, "right": 10, "bottom": 10, "factor": 1}
GOOD = {"picture": 0, "marks": [sent("box", "1,2,30,40", 0)], **PART}


@pytest.mark.parametrize(
    "changed",
    [
        *({"picture": value} for value in NO_PICTURES),
        *({"marks": value} for value in NO_LISTS),
        {"marks": [sent("box", "1,2,30,40")] * (MAX_MARKS + 1)},
        *({"marks": [sent("box", "1,2,30,40", slot)]} for slot in NO_SLOTS),
        {"marks": [sent("point", "5,5", 1), sent("box", "1,2,30,40", 0)]},
        {"marks": [sent("box", "1,2,30,40", 0), sent("box", "1,2,30,40", 0)]},
        {"marks": [sent("box", "1,2,30,40"), sent("box", "1,2,30,40", 0)]},
        {"marks": [{"slot": None}]},
        {"marks": [{"slot": None, "kind": 5, "text": "1,2,30,40"}]},
        {"marks": [{"slot": None, "kind": "box", "text": [1, 2, 30, 40]}]},
        {"marks": [{"slot": None, "kind": None, "text": "1,2,30,40"}]},
        *({name: value} for name in PART for value in NO_PLACES),
        {"left": 10},
        {"top": 10},
        {"right": 641},
        {"bottom": 481},
        {"factor": 0},
        {"factor": 641},
    ],
)
def test_messages_that_make_no_sense(changed: dict[str, Any]) -> None:
    page = Page(Canvas([street()], [UnplacedMark("box"), UnplacedMark("point")]))
    assert page.image("region", **GOOD).shape == (10, 10, 3)
    with pytest.raises(UsageError) as caught:
        page.send("region", **{**GOOD, **changed})
    assert_plain(caught.value)
    if "marks" in changed:
        assert "error" in page.send("done", **changed)
    assert not page.placed


@pytest.mark.parametrize("message", [None, [], 5, "x", True])
@pytest.mark.parametrize("name", ["picture", "region", "preview", "view", "done"])
def test_messages_that_are_no_objects(name: str, message: Any) -> None:
    with pytest.raises(UsageError, match="must be an object"):
        Page(Canvas([street()])).handlers[name](message)


@pytest.mark.parametrize("name", ["question", "page"])
def test_texts_that_are_none(name: str) -> None:
    page = Page(Canvas([street()]), asks=True)
    try:
        assert page.send("done", marks=[], **{name: 5})["error"] == f"The {name} must be text."
    except UsageError as error:
        assert str(error) == f"The {name} must be text."
    assert not page.placed


def test_a_part_that_is_too_large() -> None:
    page = Page(Canvas([street(5000, 4000)]))
    part = {"left": 0, "top": 0, "right": 5000, "bottom": 4000}
    assert MAX_PIXELS < 5000 * 4000
    with pytest.raises(UsageError, match="too large"):
        page.send("region", picture=0, marks=[], factor=1, **part)
    assert page.image("region", picture=0, marks=[], factor=2, **part).shape == (2000, 2500, 3)


# Together


@pytest.fixture
def hurried() -> Iterator[None]:
    """Threads that take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("hurried")
def test_several_requests_at_a_time() -> None:
    pictures = [street(100, 80), street(30, 20)]
    page = Page(Canvas(pictures))
    wrong: list[str] = []

    def work(number: int) -> None:
        for step in range(40):
            index = (number + step) % 2
            text = f"{index + 1}:{1 + number},{1 + step % 9},{20 + number},{12 + step % 5}"
            shown = page.composed(index, [sent("box", text)])
            typed: list[TypedMark] = [parse_mark("box", text)]
            if not np.array_equal(shown, pipeline.mark(pictures, typed).pictures[index].pixels):
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_pictures_are_not_all_kept_encoded() -> None:
    pictures = [street(40 + n, 30) for n in range(40)]
    page = Page(Canvas(pictures))
    for _ in range(2):
        for n, picture in enumerate(pictures):
            assert np.array_equal(page.image("picture", picture=n), picture.pixels)
