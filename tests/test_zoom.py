"""Pictures that are cut to their marks: what is cut, how it is drawn, recorded and told, everywhere."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.clips import make_clip
from tests.commands import run
from tests.scripted import ScriptedAnswerer
from tests.tiny import make_onevision
from vipcli import api, config
from vipcli.asking import pipeline, records
from vipcli.asking.interface import Sampling
from vipcli.asking.load_marked import load_marked
from vipcli.asking.values import Cut, Drawing, MarkedInput, Question
from vipcli.asking.zooming import DEFAULT_MARGIN, LEAST_SIDE, SMALL, SPOT, zoom_in
from vipcli.batch.items import Item
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.chat import html
from vipcli.chat.conversation import ChatSettings, Conversation, Subject
from vipcli.chat.session import ChatSession
from vipcli.checkpoints.catalog import INTERLEAVE, ONEVISION
from vipcli.checkpoints.lookup import Checkpoint, find
from vipcli.cli.chat import TerminalChatOutput, as_chat_command
from vipcli.cli.mark_arguments import read_arguments
from vipcli.cli.options import as_option
from vipcli.config import Settings
from vipcli.engine.local import LocalModel
from vipcli.errors import ConfigError, UsageError
from vipcli.geometry import ZoomChoice
from vipcli.marks.kinds import BY_KIND, parse_mark, parse_named_mark
from vipcli.marks.regions import Region
from vipcli.pictures.images import Picture, load_picture
from vipcli.pictures.videos import Video
from vipcli.serving import openai_api
from vipcli.training.judging import zooming as judging

KNOWN = Checkpoint("llava-hf/vip-llava-7b-hf")
SEVERAL = Checkpoint("llava-hf/several", INTERLEAVE, input_size=384)
TILED = Checkpoint("llava-hf/tiled", ONEVISION, input_size=384, max_tiled_side=2304)
BUNDLED = find("bundled")
LARGE = 4000, 3000


def picture(width: int, height: int, seed: int = 0) -> Picture:
    # Few colors, since random numbers for a large picture take long.
    tile = np.random.default_rng(seed).integers(0, 256, (50, 50, 3), np.uint8)
    pixels = np.tile(tile, (height // 50 + 1, width // 50 + 1, 1))[:height, :width]
    return Picture(pixels, "photo.jpg", "0" * 64)


def marked(
    *typed: str, size: tuple[int, int] = LARGE, count: int = 1, video: bool = False, **drawing: Any
) -> MarkedInput:
    clip = Video("clip.mp4", 30, 10, tuple(range(count))) if video else None
    return pipeline.mark(
        [picture(*size, number) for number in range(count)],
        [parse_named_mark(text) for text in typed],
        Drawing(**drawing),
        video=clip,
    )


def prepare(marked: MarkedInput, zoom: ZoomChoice = "on", checkpoint: Checkpoint = KNOWN) -> Question:
    return pipeline.prepare(marked, "What is {1}?", checkpoint, prompt="human", zoom=zoom)


def cuts(marked: MarkedInput) -> list[tuple[int, int, int, int] | None]:
    return [
        None if entry.cut is None else (entry.cut.left, entry.cut.top, entry.cut.right, entry.cut.bottom)
        for entry in marked.pictures
    ]


SPOT_REACH = round(SPOT * 4000 * 3 / 2)


@pytest.mark.parametrize(
    ("typed", "size", "margin", "cut"),
    [
        (["box 2000,1500,2100,1600"], LARGE, 1, (1900, 1400, 2200, 1700)),
        (["box 2000,1500,2100,1600"], LARGE, 0, (2000, 1500, 2100, 1600)),
        (["box 2000,1500,2100,1600"], LARGE, 10, (1000, 500, 3100, 2600)),
        # At an edge, the square moves inside.
        (["box 0,0,100,100"], LARGE, 1, (0, 0, 300, 300)),
        (["ellipse 3950,2950,4000,3000"], LARGE, 1, (3850, 2850, 4000, 3000)),
        (["ellipse -50,-50,50,50"], LARGE, 1, (0, 0, 150, 150)),
        # What is long has less room than its length around it.
        (["box 1000,1000,2000,1100"], LARGE, 1, (450, 0, 2550, 2100)),
        (["scribble 1000,1000 1400,1000"], LARGE, 1, (800, 600, 1600, 1400)),
        # Where the picture is too narrow for a square, the cut is as wide as it.
        (["box 1000,100,1400,200"], (4000, 300), 1, (750, 0, 1650, 300)),
        (["box 2000,1500,2100,1600", "mask 2500,1500,2600,1600"], LARGE, 1, (1650, 900, 2950, 2200)),
        # A point and the tip of an arrow say where, but not how large.
        (
            ["point 2000,1500"],
            LARGE,
            1,
            (2000 - SPOT_REACH, 1500 - SPOT_REACH, 2000 + SPOT_REACH, 1500 + SPOT_REACH),
        ),
        (
            ["arrow 300,200,2000,1500"],
            LARGE,
            1,
            (2000 - SPOT_REACH, 1500 - SPOT_REACH, 2000 + SPOT_REACH, 1500 + SPOT_REACH),
        ),
        (["box 100,100,101,101"], LARGE, 0, (92, 92, 92 + LEAST_SIDE, 92 + LEAST_SIDE)),
        (["box 100,100,2900,2900"], LARGE, 1, None),
    ],
)
def test_the_cut_is_a_square_around_the_marks(
    typed: list[str], size: tuple[int, int], margin: float, cut: tuple[int, int, int, int] | None
) -> None:
    shown = zoom_in(marked(*typed, size=size), margin, KNOWN, "pad")
    assert cuts(shown) == [cut]
    left, top, right, bottom = cut or (0, 0, *size)
    scale = max(336 / max(right - left, bottom - top), 1)
    assert shown.pictures[0].size == (round((right - left) * scale), round((bottom - top) * scale))


MARKS = {
    "box": "450,460,560,570",
    "ellipse": "450,460,560,570",
    "triangle": "450,460,560,570",
    "point": "500,520",
    "arrow": "420,440,500,520",
    "scribble": "450,460 510,520 470,560",
    "contour": "450,460 560,470 500,570",
    "mask": "450,460 560,470 500,570",
}


@pytest.mark.parametrize("drawing", [{}, {"width": 5, "alpha": 200}, {"jitter": 3}])
@pytest.mark.parametrize("kind", BY_KIND)
def test_marks_are_drawn_as_on_a_picture_of_the_cut_s_size(kind: str, drawing: dict[str, Any]) -> None:
    shown = zoom_in(marked(f"{kind} {MARKS[kind]}", size=(1200, 1100), **drawing), 3, KNOWN, "pad").pictures[
        0
    ]
    assert shown.cut is not None and shown.cut.scale == 1
    left, top = shown.cut.left, shown.cut.top
    moved = " ".join(
        ",".join(
            str(int(value) - (top if index % 2 else left)) for index, value in enumerate(word.split(","))
        )
        for word in MARKS[kind].split()
    )
    part = shown.picture.pixels[top : shown.cut.bottom, left : shown.cut.right]
    alone = pipeline.mark([Picture(part, "", "")], [parse_mark(kind, moved)], Drawing(**drawing))
    assert shown.styles == alone.pictures[0].styles
    assert np.array_equal(shown.pixels, alone.pixels)
    assert not np.array_equal(shown.pixels, part)


def test_a_mask_from_a_file_covers_the_same_pixels_of_the_cut(tmp_path: Path) -> None:
    white = np.zeros((900, 1200), np.uint8)
    white[400:520, 610:700] = 255
    Image.fromarray(white).save(tmp_path / "cat.png")
    (shown,) = zoom_in(marked(f"mask {tmp_path / 'cat.png'}", size=(1200, 900)), 2, KNOWN, "pad").pictures
    assert shown.cut is not None and shown.cut.scale == 1
    rows, columns = slice(shown.cut.top, shown.cut.bottom), slice(shown.cut.left, shown.cut.right)
    changed = (shown.pixels != shown.picture.pixels[rows, columns]).any(axis=2)
    assert changed.mean() < 0.2
    assert np.array_equal(changed, white[rows, columns] > 0)


def test_a_cut_of_few_pixels_is_enlarged_so_that_strokes_are_as_wide_as_in_training() -> None:
    (shown,) = zoom_in(marked("box 2000,1500,2020,1520"), 1, KNOWN, "pad").pictures
    assert shown.cut == Cut(1980, 1480, 2040, 1540, 5.6)
    assert shown.size == (336, 336)
    assert shown.styles[1].stroke == 3
    left, top, right, bottom = shown.drawn_marks[1].bounds
    assert 112 <= left <= 116 and 220 <= right <= 227 and (left, right) == (top, bottom)


def test_the_record_keeps_the_marks_where_they_are_on_the_whole_picture() -> None:
    question = prepare(marked("box 2000,1500,2100,1600"), 1)
    record = records.record(pipeline.ask(question, ScriptedAnswerer("A cat.")))
    (mark,) = record["marks"]
    assert (mark["x1"], mark["y1"], mark["x2"], mark["y2"]) == (2000, 1500, 2100, 1600)
    assert record["zoom"] == 1
    (image,) = record["images"]
    assert (image["width"], image["height"]) == LARGE
    assert image["cut"] == {"left": 1900, "top": 1400, "right": 2200, "bottom": 1700, "scale": 1.12}
    assert record["notes"] == [
        "The model sees only the part of the picture around the red rectangle: 300 × 300 of 4000 × 3000 "
        "pixels, from 1900,1400 to 2200,1700."
    ]
    whole = records.describe_question(prepare(marked("box 2000,1500,2100,1600"), "off"))
    assert "zoom" not in whole and "cut" not in whole["images"][0]


def test_the_request_has_the_cut() -> None:
    question = prepare(marked("box 2000,1500,2100,1600"), 1)
    (image,) = pipeline.build_request(question, Sampling()).images
    assert image is question.marked.pixels
    assert image.shape == (336, 336, 3)


def test_the_hint_that_a_mark_is_tiny_names_zoom() -> None:
    tiny = marked("box 2000,1500,2030,1530")
    (note,) = prepare(tiny, "off").notes
    assert note.fact.startswith("The red rectangle is tiny")
    assert note.spelled(as_option).endswith("See it larger with --zoom on.")
    assert note.spelled(as_chat_command).endswith("See it larger with /zoom on.")
    assert openai_api.spell(note).endswith('See it larger with "zoom": "on".')
    assert str(note).endswith('See it larger with zoom="on".')
    assert not [note for note in prepare(tiny).notes if "tiny" in note.fact]


def test_notes_are_about_the_cut() -> None:
    assert len(prepare(marked("box 0,0,30,30"), 1).notes) == 1
    thin = prepare(marked("box 2000,1500,2100,1600", width=0.5), 1)
    assert "The stroke of the red rectangle is 1.0 pixels wide" in thin.notes[-1].fact
    cropped = pipeline.prepare(
        marked("box 1000,100,1400,200", size=(4000, 300)), "What is {1}?", KNOWN, fit="crop", zoom=0.5
    )
    assert "Part of the red rectangle is cropped away." in [note.fact for note in cropped.notes]


@pytest.mark.parametrize(
    ("typed", "zoom", "note"),
    [
        (
            ["box 100,100,2900,2900"],
            "on",
            "With the margin around the red rectangle, the picture is shown whole.",
        ),
        ([], "on", "There are no marks to cut the picture to, so it is shown whole."),
        (["box 100,100,2900,2900"], "auto", None),
        ([], "auto", None),
    ],
)
def test_a_picture_that_stays_whole(typed: list[str], zoom: ZoomChoice, note: str | None) -> None:
    question = pipeline.prepare(marked(*typed), "What is that?", KNOWN, zoom=zoom)
    assert cuts(question.marked) == [None]
    facts = [fact for fact in (text.fact for text in question.notes) if "mention" not in fact]
    assert facts == ([] if note is None else [note])


def _box(share: float, side: int = 4000) -> str:
    return f"box 1000,1000,{1000 + share * side:g},{1000 + share * side:g}"


@pytest.mark.parametrize(
    ("typed", "checkpoint", "is_cut"),
    [
        ([_box(SMALL * 0.98)], KNOWN, True),
        ([_box(SMALL * 1.02)], KNOWN, False),
        # Tiles show six times as much.
        ([_box(SMALL * 0.98)], TILED, False),
        ([_box(SMALL / 7)], TILED, True),
        (["point 1000,1000"], KNOWN, False),
        (["arrow 900,900,1000,1000"], KNOWN, False),
        (["point 1000,1000", _box(SMALL / 2)], KNOWN, True),
        ([_box(SMALL * 1.5), _box(SMALL / 2)], KNOWN, True),
    ],
)
def test_auto_cuts_where_what_is_marked_is_small(
    typed: list[str], checkpoint: Checkpoint, is_cut: bool
) -> None:
    assert (cuts(zoom_in(marked(*typed), "auto", checkpoint, "pad")) != [None]) == is_cut


def test_an_arrow_at_an_annotated_region_knows_how_large_it_is() -> None:
    arrow = replace(parse_mark("arrow", "2000,1500"), span=100)
    shown = zoom_in(pipeline.mark([picture(*LARGE)], [arrow]), "auto", KNOWN, "pad")
    reach = round(50 + 100 * DEFAULT_MARGIN)
    assert cuts(shown) == [(2000 - reach, 1500 - reach, 2000 + reach, 1500 + reach)]


def test_each_of_several_pictures_is_cut_to_its_own_marks() -> None:
    several = marked("box 1000,1000,1100,1100", "box 3:2000,2000,2100,2100", count=3)
    shown = zoom_in(several, 1, SEVERAL, "stretch")
    assert cuts(shown) == [(900, 900, 1200, 1200), None, (1900, 1900, 2200, 2200)]
    assert [note.fact.partition(" around")[0] for note in shown.notes] == [
        f"The model sees only the part of picture {number}" for number in (1, 3)
    ]


def test_all_frames_of_a_video_are_cut_to_the_same_part() -> None:
    clip = marked("box 100,100,120,120", "box 2:140,100,160,120", size=(640, 480), count=3, video=True)
    shown = zoom_in(clip, 1, TILED, "pad")
    assert cuts(shown) == [(60, 40, 200, 180)] * 3 or len(set(cuts(shown))) == 1
    assert len({entry.pixels.shape for entry in shown.pictures}) == 1
    assert [list(entry.marks) for entry in shown.pictures] == [[1], [1, 2], [1]]
    (note,) = shown.notes
    assert "of each frame around the red rectangle and the lime rectangle" in note.fact


def test_a_mark_on_one_frame_cuts_the_others_too(tmp_path: Path) -> None:
    clip = load_marked(
        [str(make_clip(tmp_path / "clip.mp4"))], [parse_mark("box", "2:20,20,40,40")], frames=3
    )
    shown = zoom_in(clip, 1, TILED, "pad")
    assert cuts(shown) == [(0, 0, 60, 60)] * 3
    assert [list(entry.marks) for entry in shown.pictures] == [[], [1], []]


def test_a_pair_is_the_whole_picture_and_its_cut() -> None:
    question = prepare(marked("box 2000,1500,2030,1530"), "pair", SEVERAL)
    whole, cut = question.marked.pictures
    assert whole.cut is None and cut.cut is not None and whole.picture is cut.picture
    assert question.prompt.count("<image>") == 2
    assert [image.shape[:2] for image in pipeline.build_request(question, Sampling()).images] == [
        (3000, 4000),
        (384, 384),
    ]
    # What is tiny on the whole picture is large beside it.
    (note,) = question.notes
    assert note.fact.startswith("The model also sees the part of the picture around the red rectangle")
    assert records.placement(question.marked, 1) == ""
    assert records.describe_marked(question.marked)["marks"][0]["images"] == [1, 2]


def test_a_pair_is_refused_where_the_model_takes_one_picture() -> None:
    with pytest.raises(UsageError) as caught:
        prepare(marked("box 2000,1500,2030,1530"), "pair")
    assert caught.value.message.spelled(as_option) == (
        "ViP-LLaVA was trained on one picture per question, so it takes no cut beside the whole. "
        "Use --zoom on, or a model that was trained on several: llava-interleave or llava-onevision."
    )
    with pytest.raises(UsageError, match="A video cannot be combined with a cut of it"):
        prepare(marked("box 1,1,9,9", size=(90, 90), count=2, video=True), "pair", TILED)


# --------------------------------------------------------------------------- settings and the command line


@pytest.mark.parametrize(
    ("text", "value"),
    [("on", "on"), ("AUTO", "auto"), ("True", "on"), ("false", "off"), ("0", 0.0), ("1.5", 1.5), ("1", 1.0)],
)
def test_values_of_the_setting(text: str, value: ZoomChoice) -> None:
    assert config.SETTINGS["zoom"].parse(text) == value


@pytest.mark.parametrize("text", ["-1", "11", "nan", "large", ""])
def test_what_the_setting_does_not_take(text: str) -> None:
    with pytest.raises(ConfigError, match="a number from 0 to 10, or one of off, on, auto, pair"):
        config.parse_value(config.SETTINGS["zoom"].parse, text, "zoom")


@pytest.mark.parametrize(
    ("arguments", "parsed"),
    [
        (["p.png", "--zoom"], ["p.png", "--zoom=on"]),
        (["--zoom", "p.png", "What is {1}?"], ["--zoom=on", "p.png", "What is {1}?"]),
        (["p.png", "--zoom", "What is {1}?"], ["p.png", "--zoom=on", "What is {1}?"]),
        (["p.png", "--zoom", "2 cars?"], ["p.png", "--zoom=on", "2 cars?"]),
        (["p.png", "--zoom", "auto", "What?"], ["p.png", "--zoom", "auto", "What?"]),
        (["p.png", "--zoom", "1.5", "What?"], ["p.png", "--zoom", "1.5", "What?"]),
        (["p.png", "--zoom", "99"], ["p.png", "--zoom", "99"]),
        (["p.png", "--zoom", "--json"], ["p.png", "--zoom=on", "--json"]),
        (["p.png", "--zoom=0.5"], ["p.png", "--zoom=0.5"]),
        (["p.png", "--zoom", "--", "auto"], ["p.png", "--zoom=on", "--", "auto"]),
    ],
)
def test_the_value_of_the_option_may_be_left_out(arguments: Sequence[str], parsed: list[str]) -> None:
    options = {"--zoom": True, "--json": False}
    assert read_arguments("ask", arguments, options, 2).for_parser() == parsed


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture(1200, 900).pixels).save("photo.png")
    return "photo.png"


def test_a_dry_run_tells_what_is_cut(photo: str) -> None:
    ran = run("ask", photo, "What is {1}?", "--box", "500,500,600,600", "--zoom", "1", "--dry-run")
    assert ran.code == 0
    assert ran.out.splitlines()[-1] == "Picture 1 is cut to 400,400,700,700."
    assert "note: The model sees only the part of the picture around the red rectangle" in ran.err
    as_json = run("ask", photo, "--box", "500,500,600,600", "--zoom", "--dry-run", "--json", "-q")
    assert json.loads(as_json.out)["zoom"] == "on"
    assert json.loads(as_json.out)["images"][0]["cut"]["left"] == round(500 - 100 * DEFAULT_MARGIN)


def test_the_saved_picture_is_what_the_model_sees(photo: str) -> None:
    saved = ["--dry-run", "--save-marked", "out.png"]
    assert run("ask", photo, "--box", "500,500,600,600", "--zoom", "1", *saved).code == 0
    expected = zoom_in(load_marked([photo], [parse_mark("box", "500,500,600,600")]), 1, BUNDLED, "pad")
    with Image.open("out.png") as out:
        assert np.array_equal(np.asarray(out), expected.pixels)


def test_values_that_are_refused_on_the_command_line(photo: str) -> None:
    ran = run("ask", photo, "--box", "500,500,600,600", "--zoom", "11")
    assert (ran.code, ran.out) == (2, "")
    assert "--zoom is '11', but takes a number from 0 to 10, or one of off, on, auto, pair." in ran.err
    pair = run("ask", photo, "--box", "500,500,600,600", "--zoom", "pair", "--dry-run")
    assert pair.code == 2 and "so it takes no cut beside the whole" in pair.err


# --------------------------------------------------------------------------- conversations, batches, HTTP


def session(photo: str, *answers: str, **settings: Any) -> ChatSession:
    answerer = ScriptedAnswerer(*answers)
    chat = Conversation(answerer, BUNDLED, Subject((load_picture(photo),)), ChatSettings(**settings))
    output = TerminalChatOutput(Settings(), quiet=False, interactive=False)
    return ChatSession(chat, answerer, output, max_pixels=10**7)


def test_a_conversation_zooms_in_and_out(photo: str, capsys: pytest.CaptureFixture[str]) -> None:
    talk = session(photo, "a", "b", "c")
    talk.run(["/box 500,500,600,600", "What is {1}?", "/zoom 1", "What is {1}?", "/zoom off", "What is {1}?"])
    answerer = talk._answerer
    assert isinstance(answerer, ScriptedAnswerer)
    assert [request.images[0].shape[:2] for request in answerer.requests] == [
        (900, 1200),
        (336, 336),
        (900, 1200),
    ]
    told = capsys.readouterr().err
    assert "zoom is 1.0." in told and "from 400,400 to 700,700" in told
    assert told.count("The picture has changed, so the model looks at it again") == 2
    page = html.page(talk.chat)
    sizes = [
        Image.open(io.BytesIO(base64.b64decode(part.split('"')[0]))).size
        for part in page.split("base64,")[1:]
    ]
    assert sizes == [(1200, 900), (336, 336), (1200, 900)]


def test_zoom_alone_is_a_switch(photo: str) -> None:
    talk = session(photo)
    zooms = []
    for line in ("/box 500,500,600,600", "/zoom", "/zoom", "/set zoom auto"):
        talk.run([line])
        zooms.append((talk.chat.settings.zoom, talk.chat.marked.pictures[0].cut is not None))
    assert zooms == [("off", False), ("on", True), ("off", False), ("auto", SMALL > 100 / 1200)]
    with pytest.raises(UsageError, match="takes no cut beside the whole"):
        talk.run(["/zoom pair"])
    assert talk.chat.settings.zoom == "auto"


def test_a_saved_conversation_keeps_its_zoom(photo: str, tmp_path: Path) -> None:
    talk = session(photo, "a", zoom=0.5)
    talk.run(["/box 500,500,600,600", "What is {1}?", "/save talk.json"])
    again = session(photo)
    again.run(["/load talk.json"])
    assert again.chat.settings.zoom == 0.5
    assert cuts(again.chat.marked) == [(450, 450, 650, 650)]


def test_a_batch_cuts_each_region(photo: str, tmp_path: Path) -> None:
    settings = BatchConfig(BUNDLED, zoom=1.0, save_marked=tmp_path / "marked")
    regions = [Region("box", ((x, 500), (x + 100, 600))) for x in (200, 500)]
    items = [
        Item(f"photo#{n}", (photo,), "What is {1}?", regions=(region,)) for n, region in enumerate(regions)
    ]
    prepared = [ItemPreparer(settings).prepare(item) for item in items]
    questions = [entry.question for entry in prepared]
    assert [question and cuts(question.marked) for question in questions] == [
        [(100, 400, 400, 700)],
        [(400, 400, 700, 700)],
    ]
    assert all(entry.request and entry.request.images[0].shape == (192, 192, 3) for entry in prepared)
    assert [question and question.marked.pictures[0].size for question in questions] == [(336, 336)] * 2
    with Image.open(tmp_path / "marked" / "photo#0.png") as saved:
        assert saved.size == (336, 336)


def test_rows_are_asked_again_with_another_zoom_only(photo: str) -> None:
    item = Item("photo", (photo,), "What is {1}?", marks=(parse_mark("box", "500,500,600,600"),))
    zooms: list[ZoomChoice] = ["off", "on", "auto", 1.0]
    identities = {ItemPreparer(BatchConfig(BUNDLED, zoom=zoom)).prepare(item).identity for zoom in zooms}
    assert len(identities) == len(zooms)
    assert ItemPreparer(BatchConfig(BUNDLED)).prepare(item).identity in identities


def test_pairs_of_a_batch_are_saved_and_found(photo: str, tmp_path: Path) -> None:
    checkpoint = replace(BUNDLED, family=INTERLEAVE)
    settings = BatchConfig(checkpoint, zoom="pair", save_marked=tmp_path / "marked")
    item = Item("photo", (photo,), "What is {1}?", marks=(parse_mark("box", "500,500,600,600"),))
    preparer = ItemPreparer(settings)
    assert not preparer._is_saved(item)
    preparer.prepare(item)
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["photo-1.png", "photo-2.png"]
    assert preparer._is_saved(item)


def _read(**fields: Any) -> openai_api.ChatRequest:
    buffer = io.BytesIO()
    Image.fromarray(picture(1200, 900).pixels).save(buffer, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    content = [{"type": "text", "text": "What is {1}?"}, {"type": "image_url", "image_url": {"url": url}}]
    body = {
        "model": "bundled",
        "messages": [{"role": "user", "content": content}],
        "regions": [{"box": "500,500,600,600"}],
        **fields,
    }
    return openai_api.read_request(json.dumps(body).encode(), BUNDLED, max_pixels=10**8, max_tokens=64)


@pytest.mark.parametrize(
    ("zoom", "cut"),
    [
        (1, (400, 400, 700, 700)),
        ("1", (400, 400, 700, 700)),
        (0.5, (450, 450, 650, 650)),
        ("auto", None if SMALL < 100 / 1200 else "cut"),
        (True, "cut"),
        (False, None),
        (None, None),
    ],
)
def test_a_request_over_http_has_a_zoom(zoom: Any, cut: Any) -> None:
    chat = _read(zoom=zoom)
    (found,) = cuts(chat.question.marked)
    assert (found is not None) if cut == "cut" else found == cut
    reply = ScriptedAnswerer("A cat.").answer(chat.request)
    extras = openai_api.completion(chat, reply, openai_api.ResponseId("1", 0))["vipcli"]
    if found is None:
        assert "cuts" not in extras
    else:
        assert [extras["cuts"][0][side] for side in ("left", "top", "right", "bottom")] == list(found)


def test_zooms_that_are_refused_over_http() -> None:
    with pytest.raises(ConfigError, match=r"zoom is '11\.0', but takes a number from 0 to 10"):
        _read(zoom=11)
    with pytest.raises(UsageError) as caught:
        _read(zoom="pair")
    assert 'Use "zoom": "on", or' in openai_api.spell(caught.value.message)


def test_zoom_in_python(photo: str) -> None:
    model = api.load("bundled", no_server=True)
    box = "box 500,500,600,600"
    side = round(100 * (1 + 2 * DEFAULT_MARGIN))
    answer = model.ask(photo, "What color is {1}?", box, zoom=True, max_new_tokens=4)
    assert answer.marked.shape == (side, side, 3)
    assert answer.record()["zoom"] == "on"
    (again,) = model.ask_many([{"picture": photo, "marks": box}], zoom=0.5, max_new_tokens=4)
    assert not isinstance(again, api.Failure)
    assert cuts(again.question.marked) == [(450, 450, 650, 650)]
    chat = model.chat(photo, box, zoom="auto")
    assert chat.settings.zoom == "auto"


# --------------------------------------------------------------------------- models


def test_a_model_of_pictures_and_videos_takes_pairs_and_cut_frames(photo: str, tmp_path: Path) -> None:
    model = api.load(str(make_onevision(tmp_path / "onevision")), no_server=True)
    options: dict[str, Any] = {"marks": "box 500,500,600,600", "max_new_tokens": 2}
    alone = model.ask(photo, "What is {1}?", zoom="on", **options)
    pair = model.ask(photo, "What is {1}?", zoom="pair", **options)
    assert alone.question.prompt.count("<image>") == 1
    assert pair.question.prompt.count("<image>") == 2
    assert [entry.cut is not None for entry in pair.question.marked.pictures] == [False, True]
    clip = str(make_clip(tmp_path / "clip.mp4"))
    frames = model.ask(clip, "What is {1}?", "box 20,20,40,40", frames=3, zoom=1, max_new_tokens=2)
    assert cuts(frames.question.marked) == [(0, 0, 60, 60)] * 3
    assert list(records.cut_lines(frames.question.marked)) == ["Each frame is cut to 0,0,60,60."]
    with pytest.raises(UsageError, match="A video cannot be combined with a cut of it"):
        model.ask(clip, "What is {1}?", "box 20,20,40,40", zoom="pair")


def test_the_bundled_model_reads_small_things_with_zoom() -> None:
    model = LocalModel(BUNDLED)
    answers = judging.judge_zoom(model, BUNDLED, judging.SMALL, ["off", "on"], range(12))
    figures = judging.zoom_summary({judging.SMALL: answers, judging.ORDINARY: []})[judging.SMALL]
    assert figures["on"]["asked"] >= 24
    assert figures["on"]["percent"] >= 85
    assert figures["off"]["percent"] <= figures["on"]["percent"] - 10
