"""Marking pictures, preparing questions and recording answers, with a scripted model."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.scripted import ScriptedAnswerer
from tests.tiny import make_interleave
from vipcli import api, config, geometry
from vipcli.asking import pipeline, records, values
from vipcli.asking.interface import PromptTurn, Sampling
from vipcli.asking.load_marked import load_marked
from vipcli.asking.values import Drawing, PastTurn
from vipcli.batch.items import Item
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.chat.conversation import ChatSettings, Conversation, Subject
from vipcli.checkpoints import lookup
from vipcli.checkpoints.catalog import INTERLEAVE, LLAVA, ONEVISION, VIPLLAVA, Family
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.checkpoints.prompt_forms import HUMAN, TemplateForm
from vipcli.errors import ImageError, MarkError, PromptError, UsageError
from vipcli.marks.kinds import MaskMark, parse_mark
from vipcli.pictures import fitting
from vipcli.pictures.images import Picture, load_picture
from vipcli.pictures.videos import Video
from vipcli.serving import openai_api

KNOWN = Checkpoint("known")


def picture(width: int = 336, height: int = 252) -> Picture:
    return Picture(np.full((height, width, 3), 100, np.uint8), "photo.jpg", "0" * 64)


def marked(
    *typed: str, drawing: Drawing = values.DEFAULT_DRAWING, size: tuple[int, int] = (336, 252)
) -> values.MarkedInput:
    marks = [parse_mark(*one.split(" ", 1)) for one in typed]
    return pipeline.mark([picture(*size)], marks, drawing)


def test_the_model_is_given_the_marked_picture_and_the_prompt() -> None:
    answerer = ScriptedAnswerer("A cat.")
    question = pipeline.prepare(marked("box 10,10,90,90"), "What is {1}?", KNOWN, fit="crop")
    pieces: list[str] = []
    answer = pipeline.ask(question, answerer, Sampling(max_new_tokens=7), pieces.append)
    (request,) = answerer.requests
    assert answer.reply.text == "".join(pieces) == "A cat."
    assert request.prompt.endswith("###Human: <image>\nWhat is within the red rectangle?###Assistant:")
    assert request.stops == HUMAN.stops
    assert request.fit == "crop"
    assert request.user_texts == ("What is within the red rectangle?",)
    assert request.sampling.max_new_tokens == 7
    (seen,) = request.images
    assert tuple(seen[10, 10]) == (178, 50, 50)
    assert tuple(seen[50, 50]) == (100, 100, 100)
    assert "answer" in answer.seconds


def test_drawing_does_not_change_the_original_picture() -> None:
    result = marked("mask 10,10,90,90")
    assert (result.picture.pixels == 100).all()
    assert not (result.pixels == 100).all()


def answer_of(text: str, probability: float | None, model: str) -> records.Answer:
    question = pipeline.prepare(marked("box 10,10,90,90"), None, KNOWN)
    answer = pipeline.ask(question, ScriptedAnswerer(text))
    facts = replace(answer.reply.model, name=model)
    return replace(answer, reply=replace(answer.reply, probability=probability, model=facts))


@pytest.mark.parametrize(
    ("text", "probability", "model", "doubtful"),
    [
        ("a circle", 0.9, "bundled", False),
        ("a circle", 0.6, "bundled", True),
        ("I can't tell.", 0.99, "bundled", True),
        ("", None, "bundled", False),
        ("a circle", 0.3, "llava-hf/vip-llava-7b-hf", False),
        ("I can't tell.", 0.9, "llava-hf/vip-llava-7b-hf", False),
    ],
)
def test_a_note_if_the_bundled_model_was_not_made_for_the_picture(
    text: str, probability: float | None, model: str, doubtful: bool
) -> None:
    answer = answer_of(text, probability, model)
    notes = [str(note) for note in records.doubts(answer)]
    assert len(notes) == doubtful
    assert records.record(answer)["notes"] == notes
    if doubtful:
        assert "knows only drawn scenes" in notes[0]
        assert notes[0].endswith(
            ' For photographs, model="llava-interleave-0.5b" (1.7 GB) is the smallest model, '
            'and model="vip-llava-7b" (14.2 GB) was trained on marks.'
        )
        assert len(re.findall(r"\.(?=\s|$)", notes[0])) == 2


def test_strokes_of_the_trained_width_get_no_note_at_any_input_size() -> None:
    for size in (192, 336, 672):
        small = Checkpoint("small", input_size=size)
        assert pipeline.prepare(marked("box 10,10,90,90"), None, small).notes == ()
        thin = pipeline.prepare(marked("box 10,10,90,90", drawing=Drawing(width=1)), None, small)
        assert len(thin.notes) == 1 and "may vanish" in thin.notes[0].fact


def mark_several(*typed: str, count: int = 2, video: bool = False) -> values.MarkedInput:
    marks = [parse_mark(*one.split(" ", 1)) for one in typed]
    clip = Video("clip.mp4", 30, 10, tuple(range(count))) if video else None
    return pipeline.mark([picture(336, 252 + number) for number in range(count)], marks, video=clip)


def test_marks_are_drawn_on_the_pictures_they_name() -> None:
    marked_input = mark_several("box 10,10,90,90", "box 2:10,10,90,90", "point 1:20,20")
    assert [mark.name for mark in marked_input.marks] == ["red rectangle", "lime rectangle", "blue point"]
    first, second = marked_input.pictures
    assert list(first.marks) == [1, 3]
    assert list(second.marks) == [2]
    assert tuple(first.pixels[10, 50]) == (178, 50, 50)
    assert tuple(second.pixels[10, 50]) == (50, 178, 50)
    assert [records.placement(marked_input, number) for number in (1, 2)] == [
        " on picture 1",
        " on picture 2",
    ]
    question = pipeline.prepare(
        marked_input, "Is {1} like {2}? And {3}?", Checkpoint("known", INTERLEAVE), prompt="human"
    )
    assert question.text.startswith("Is within the red rectangle like within the lime rectangle?")
    assert question.prompt.count("<image>") == 2
    assert question.notes == ()
    answerer = ScriptedAnswerer("No.")
    record = records.record(pipeline.ask(question, answerer))
    assert [image.shape for image in answerer.requests[0].images] == [(252, 336, 3), (253, 336, 3)]
    assert [mark["images"] for mark in record["marks"]] == [[1], [2], [1]]
    assert [image["height"] for image in record["images"]] == [252, 253]
    assert record["video"] is None


def test_marks_are_drawn_on_every_frame_unless_one_is_named() -> None:
    marked_input = mark_several("box 10,10,90,90", "box 3:10,10,60,60", count=4, video=True)
    assert [list(one.marks) for one in marked_input.pictures] == [[1], [1], [1, 2], [1]]
    template = TemplateForm("{% for part in messages[0].content %}<{{ part.type }}>{% endfor %}")
    known = Checkpoint("known", ONEVISION, folder=Path(), template=template)
    question = pipeline.prepare(marked_input, None, known)
    assert question.prompt == "<video><text>"
    answerer = ScriptedAnswerer("No.")
    assert [records.placement(marked_input, number) for number in (1, 2)] == [" on all frames", " on frame 3"]
    record = records.record(pipeline.ask(question, answerer))
    assert (len(answerer.requests[0].images), len(answerer.requests[0].frames)) == (0, 4)
    assert [mark["images"] for mark in record["marks"]] == [[1, 2, 3, 4], [3]]
    assert record["video"]["chosen"] == (0, 1, 2, 3)
    with pytest.raises(UsageError, match="ViP-LLaVA takes no video"):
        pipeline.prepare(marked_input, None, KNOWN)
    with pytest.raises(UsageError, match="human has no place for a video"):
        pipeline.prepare(marked_input, None, known, prompt="human")


def test_several_pictures_get_a_note_where_the_family_was_trained_on_one() -> None:
    (note,) = pipeline.prepare(mark_several(), "Q", KNOWN).notes
    assert note.fact.startswith("ViP-LLaVA was trained on one picture per question, and may mix several up.")


def test_a_mark_for_a_missing_picture_is_refused() -> None:
    with pytest.raises(MarkError, match="is for picture 3, but there are only 2 pictures"):
        mark_several("box 3:10,10,90,90")
    with pytest.raises(MarkError, match="is for picture 2, but there is only one picture"):
        mark_several("box 2:10,10,90,90", count=1)
    with pytest.raises(MarkError, match=r"is for frame 0, but .* 2 frames\. Counting begins at 1\."):
        mark_several("box 0:10,10,90,90", video=True)


def test_tiles_keep_thin_strokes_of_a_single_picture_visible() -> None:
    tiled = Checkpoint("tiled", ONEVISION, input_size=384, max_tiled_side=2304)
    large = marked("box 100,100,900,900", drawing=Drawing(width=1), size=(2000, 2000))
    assert pipeline.prepare(large, None, tiled, prompt="human").notes == ()
    squeezed = pipeline.prepare(large, None, tiled, prompt="human", fit="stretch")
    assert "may vanish" in squeezed.notes[0].fact


@pytest.mark.parametrize(
    ("prompt", "later"), [("auto", "</s>USER: Two? ASSISTANT:"), ("template", " USER: Two? ASSISTANT:")]
)
def test_llava_ends_past_answers_except_with_its_template(tiny_llava: Path, prompt: str, later: str) -> None:
    past_turns = [PastTurn("One?", "a dog", (5, 6))]
    question = pipeline.prepare(
        marked(), "Two?", lookup.find(str(tiny_llava)), prompt=prompt, past_turns=past_turns
    )
    assert question.past_turns == (PromptTurn("USER: <image>\nOne? ASSISTANT:", (5, 6)),)
    assert question.prompt == later


def fit_of_ask(checkpoint: Checkpoint, picture: Path, flags: list[str]) -> str:
    command = ["ask", str(picture), "Q", "--model", checkpoint.name, "--dry-run", "--json", *flags]
    done = subprocess.run([sys.executable, "-m", "vipcli", *command], capture_output=True, check=True)
    return str(json.loads(done.stdout)["fit"])


def fit_of_python(checkpoint: Checkpoint, picture: Path, flags: list[str]) -> str:
    options = {"fit": flags[1]} if flags else {}
    model = api.load(checkpoint.name, **options)
    return model.prepare(load_marked([str(picture)], [])).fit


def fit_of_chat(checkpoint: Checkpoint, picture: Path, flags: list[str]) -> str:
    settings = ChatSettings.from_values({"fit": flags[1]} if flags else {})
    subject = Subject((load_picture(str(picture)),))
    return Conversation(ScriptedAnswerer(), checkpoint, subject, settings).prepare("Q").fit


def fit_of_batch(checkpoint: Checkpoint, picture: Path, flags: list[str]) -> str:
    config = BatchConfig(checkpoint, fit=flags[1]) if flags else BatchConfig(checkpoint)  # type: ignore[arg-type]
    ready = ItemPreparer(config).prepare(Item("x", (str(picture),), "Q"))
    assert ready.question is not None
    return ready.question.fit


def fit_of_server(checkpoint: Checkpoint, picture: Path, flags: list[str]) -> str:
    url = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "Q"}]
    body = {"model": checkpoint.name, "messages": [{"role": "user", "content": content}]}
    if flags:
        body["fit"] = flags[1]
    chat = openai_api.read_request(json.dumps(body).encode(), checkpoint, max_pixels=10**6, max_tokens=9)
    return chat.request.fit


@pytest.fixture(scope="module")
def interleave(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_interleave(tmp_path_factory.mktemp("interleave") / "tiny")


@pytest.mark.parametrize(("flags", "fit"), [([], "stretch"), (["--fit", "pad"], "pad")])
@pytest.mark.parametrize("way", [fit_of_ask, fit_of_python, fit_of_chat, fit_of_batch, fit_of_server])
def test_interleave_stretches_pictures_as_its_processor_does(
    interleave: Path,
    tmp_path: Path,
    way: Callable[[Checkpoint, Path, list[str]], str],
    flags: list[str],
    fit: str,
) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "photo.png")
    assert way(lookup.find(str(interleave)), tmp_path / "photo.png", flags) == fit


def test_a_saved_fit_overrides_the_default_of_the_family(interleave: Path, tmp_path: Path) -> None:
    config.save("fit", "crop")
    Image.new("RGB", (60, 40)).save(tmp_path / "photo.png")
    assert fit_of_python(lookup.find(str(interleave)), tmp_path / "photo.png", []) == "crop"


@pytest.mark.parametrize("family", [VIPLLAVA, LLAVA, ONEVISION])
def test_other_families_pad(family: Family) -> None:
    assert Checkpoint("known", family).fit() == "pad"


def test_the_record_is_complete_and_plain_json() -> None:
    question = pipeline.prepare(
        marked("scribble 1,1 50,50 90,10", "arrow 50,60", drawing=Drawing(5, 200, 3)), None, KNOWN
    )
    record = records.record(pipeline.ask(question, ScriptedAnswerer("It is.")), {"load": 1.23456})
    assert json.loads(json.dumps(record))["marks"][0]["path"] == [[1, 1], [50, 50], [90, 10]]
    assert record["marks"][1]["tip"] == (50, 60)
    assert record["drawing"] == {"width": 5, "alpha": 200, "jitter": 3}
    assert record["question"] == (
        "What is the object with the red scribble, and what is the object pointed to by the lime arrow?"
    )
    assert record["seconds"]["load"] == 1.2346
    assert record["form"] == "human"


def test_a_custom_system_line_is_checked() -> None:
    question = pipeline.prepare(marked(), "Q", KNOWN, system="Be brief.")
    assert question.prompt == "Be brief.###Human: <image>\nQ###Assistant:"
    assert question.user_texts == ("Q", "Be brief.")
    with pytest.raises(PromptError, match="The system line contains '###Human'"):
        pipeline.prepare(marked(), "Q", KNOWN, system="###Human: hi")


def test_a_mask_image_becomes_a_mark(tmp_path: Path) -> None:
    pixels = np.zeros((252, 336), np.uint8)
    pixels[30:60, 40:90] = 255
    pixels[40:50, 50:60] = 0
    Image.fromarray(pixels).save(tmp_path / "cat.png")
    result = marked(f"mask {tmp_path / 'cat.png'}:blue", drawing=Drawing(alpha=255))
    painted = (result.pixels == (0, 0, 255)).all(axis=2)
    assert (painted == (pixels > 0)).all()
    (mark,) = result.marks
    assert isinstance(mark, MaskMark)
    assert mark.bounds == (40, 30, 89, 59)


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("L", (10, 90), 255).save(tmp_path / "cat.png")
    with pytest.raises(ImageError, match="10 × 90 pixels, but the picture is 336 × 252"):
        marked(f"mask {tmp_path / 'cat.png'}")


def test_a_mark_outside_the_picture_is_refused_with_its_size() -> None:
    with pytest.raises(MarkError, match="336 × 252 pixels"):
        marked("point 400,400")


@pytest.mark.parametrize(
    ("typed", "fit", "width", "notes"),
    [
        (["box 10,10,90,90"], "pad", None, []),
        (["box 10,10,90,90"], "crop", None, ["Part of the red rectangle is cropped away."]),
        (["point 10,100"], "crop", None, ["The red point is cropped away, so the model cannot see it."]),
        (["point 168,100"], "crop", None, []),
        (["point 38,100"], "crop", None, ["Part of the red point is cropped away."]),
        (["point 0,50", "point 100%,50%", "scribble 0,0 0,90"], "pad", None, []),
        (["ellipse -20,10,90,90"], "pad", None, ["The red ellipse reaches outside the picture (336 × 252)"]),
        (["ellipse -900,-900,2000,2000"], "pad", None, ["The red ellipse lies entirely outside the picture"]),
        (["box 1,1,50,50:green"], "pad", None, ["The models were not trained on green marks."]),
        (
            ["box 10,10,90,90"],
            "pad",
            1,
            ["The stroke of the red rectangle is 1.0 pixels wide at the model's input size"],
        ),
        (["mask 10,10,90,90"], "pad", 1, []),
        (["box -9,10,90,90"], "pad", None, ["The red rectangle reaches outside the picture (336 × 252)"]),
        (
            ["box 1,1,9,9:red", "box 2,2,9,9:red"],
            "pad",
            None,
            ["2 marks have the same name: the red rectangle."],
        ),
    ],
)
def test_notes_on_marks(typed: list[str], fit: str, width: float | None, notes: list[str]) -> None:
    marked_input = marked(*typed, drawing=Drawing(width=width))
    question = pipeline.prepare(marked_input, None, KNOWN, fit=fit)  # type: ignore[arg-type]
    assert len(question.notes) == len(notes)
    assert all(str(note).startswith(start) for note, start in zip(question.notes, notes, strict=True))


@pytest.mark.parametrize(("width", "height"), [(336, 252), (100, 300), (1, 1), (5000, 10), (50, 50)])
@pytest.mark.parametrize("fit", geometry.FITS)
def test_the_view_has_the_size_of_the_models_input(width: int, height: int, fit: geometry.Fit) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert fitting.model_view(image, fit, 336, (122, 116, 104)).shape == (336, 336, 3)


def test_a_very_long_picture_does_not_become_a_huge_square() -> None:
    strip = np.zeros((1, 100_000, 3), np.uint8)
    assert fitting.square(strip, "pad", 336, (122, 116, 104)).shape == (14_000, 14_000, 3)
    assert fitting.square(strip, "crop", 336, (122, 116, 104)).shape == (1, 40, 3)
    assert fitting.square(strip, "stretch", 336, (122, 116, 104)).shape == (336, 336, 3)


def test_padding_centers_the_picture() -> None:
    image = np.zeros((100, 300, 3), np.uint8)
    padded = fitting.square(image, "pad", 336, (122, 116, 104))
    assert padded.shape == (300, 300, 3)
    assert not padded[100:200].any()
    assert (padded[:100] == (122, 116, 104)).all()
    assert fitting.visible("crop", 300, 100) == (100, 0, 200, 100)
    assert fitting.visible("stretch", 300, 100) == (0, 0, 300, 100)
