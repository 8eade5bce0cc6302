"""`import vipcli`: what it gives equals the command line's, and costs next to nothing to import."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import vipcli
from tests import commands
from vipcli.errors import ImageError, MarkError, PromptError, UsageError
from vipcli.pictures.images import load_picture

SHAPES = str(Path(__file__).parent.parent / "samples" / "shapes.png")
BOX = vipcli.Box("8%", "36%", "31%", "66%")
QUESTION = "Which number is {1}?"


@pytest.fixture(scope="module")
def model() -> vipcli.Model:
    return vipcli.load("bundled", device="cpu", no_server=True)


def run(*arguments: str, stdin: str = "") -> str:
    ran = commands.run(*arguments, stdin=stdin.encode())
    assert ran.code == 0, ran.err
    return ran.out


def test_importing_it_loads_nothing_heavy() -> None:
    code = (
        "import sys, vipcli; vipcli.Box(1, 2, 3, 4); "
        "print(sorted({'torch', 'transformers', 'numpy', 'cv2', 'PIL', 'typer'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"
    assert set(vipcli.__all__) <= set(dir(vipcli))
    assert all(getattr(vipcli, name) is not None for name in vipcli.__all__)
    with pytest.raises(AttributeError):
        _ = vipcli.nothing


def test_an_answer_is_the_command_lines(model: vipcli.Model) -> None:
    answer = model.ask(SHAPES, QUESTION, marks=[BOX])
    printed = json.loads(
        run("ask", SHAPES, QUESTION, "--box", "8%,36%,31%,66%", "--device", "cpu", "--no-server", "--json")
    )
    record = json.loads(json.dumps(answer.record()))
    for of in (record, printed):
        del of["seconds"]
    assert record == printed
    assert answer.text == "7"
    assert answer.probability == printed["probability"]
    assert answer.marked.shape == load_picture(SHAPES).pixels.shape
    assert (answer.marked != load_picture(SHAPES).pixels).any()
    assert "data:image/png;base64," in answer._repr_html_()


def test_the_picture_may_come_in_any_form(model: vipcli.Model) -> None:
    pixels = load_picture(SHAPES).pixels
    with Image.open(SHAPES) as opened:
        for picture in (Path(SHAPES), Path(SHAPES).read_bytes(), opened, pixels):
            assert model.ask(picture, QUESTION, BOX).text == "7"
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ImageError, match="not a picture"):
            model.ask(wrong, QUESTION)  # type: ignore[arg-type]


def test_drawing_is_the_command_lines(tmp_path: Path) -> None:
    target = tmp_path / "marked.png"
    run(
        "draw",
        SHAPES,
        "--ellipse",
        "10,20,90,80.5:blue",
        "--scribble",
        "10,10 40,35 60,20:aqua",
        "-o",
        str(target),
    )
    drawn = vipcli.draw(
        SHAPES, [vipcli.Ellipse(10, 20, 90, 80.5, color="blue"), "scribble 10,10 40,35 60,20:aqua"]
    )
    assert (drawn == load_picture(str(target)).pixels).all()


def test_a_mask_may_be_an_array_and_a_detection() -> None:
    pixels = load_picture(SHAPES).pixels
    mask = np.zeros(pixels.shape[:2], bool)
    mask[40:90, 30:120] = True
    drawn = vipcli.draw(pixels, mask)
    changed = (drawn != pixels).any(axis=2)
    assert changed[41:89, 31:119].mean() > 0.9
    assert not changed[~mask].any()

    class Detections:
        def __init__(self, mask: object = None) -> None:
            self.xyxy, self.mask = np.array([[30.0, 40.0, 120.0, 90.0]], np.float32), mask

    assert (vipcli.draw(pixels, Detections()) == vipcli.draw(pixels, "box 30,40,120,90")).all()
    assert (vipcli.draw(pixels, Detections(mask[None])) == drawn).all()
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4))):
        with pytest.raises(MarkError):
            vipcli.draw(pixels, wrong)
    with pytest.raises(MarkError, match="no mark named 'square'"):
        vipcli.draw(pixels, "square 1,2,3,4")


def test_an_answer_streams(model: vipcli.Model) -> None:
    stream = model.stream(SHAPES, "Describe the thing {1}.", "contour 128,125 213,125 213,210 128,210")
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.answer.text
    assert model.stream(SHAPES, QUESTION, BOX).answer.text == "7"
    with pytest.raises(ImageError):
        list(model.stream("nowhere.png"))


def test_many_tasks_are_answered_in_order_and_failures_are_values(model: vipcli.Model) -> None:
    tasks: list[vipcli.Task | dict[str, object]] = [
        vipcli.Task(SHAPES, QUESTION, [BOX]),
        vipcli.Task("nowhere.png", QUESTION),
        {"picture": SHAPES, "question": "What is {1}?", "marks": "point 279,282"},
    ]
    first, failed, last = model.ask_many(tasks, together=2)
    assert isinstance(first, vipcli.Answer) and first.text == "7"
    assert isinstance(failed, vipcli.Failure) and failed.task is tasks[1]
    assert "nowhere.png" in str(failed.error)
    assert isinstance(last, vipcli.Answer) and last.text == "a fish"


@pytest.mark.parametrize("task", ["photo.png", {"image": SHAPES, "question": QUESTION}])
def test_what_is_no_task_is_refused(model: vipcli.Model, task: object) -> None:
    with pytest.raises(UsageError, match="neither a Task nor a dictionary"):
        list(model.ask_many([task]))  # type: ignore[list-item]


def test_many_answers_are_the_batch_s(model: vipcli.Model, tmp_path: Path) -> None:
    wanted = [(QUESTION, "box 8%,36%,31%,66%"), ("What is {1}?", "point 279,282"), ("What is this?", None)]
    tasks = [
        {"image": SHAPES, "question": question, "marks": [mark] if mark else []} for question, mark in wanted
    ]
    listed = tmp_path / "tasks.jsonl"
    listed.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    printed = run("batch", str(listed), "--json", "--device", "cpu", "--quiet")
    rows = [json.loads(line) for line in printed.splitlines()]
    answers = model.ask_many(vipcli.Task(SHAPES, question, mark or ()) for question, mark in wanted)
    for row, answer in zip(rows, answers, strict=True):
        assert isinstance(answer, vipcli.Answer)
        record = json.loads(json.dumps(answer.record()))
        # A row keeps four digits.
        record["probability"] = round(record["probability"], 4)
        same = (
            *("question", "answer", "prompt", "probability", "ended"),
            *("tokens", "marks", "form", "fit"),
        )
        assert {name: row[name] for name in same} == {name: record[name] for name in same}


def test_a_conversation_is_the_command_line_s(model: vipcli.Model) -> None:
    lines = f"/box 8%,36%,31%,66%\n{QUESTION}\n/point 279,282\nWhat is {{2}}?\nWhat color is it?\n"
    printed = run("chat", SHAPES, "--device", "cpu", "--no-server", "--quiet", stdin=lines)
    chat = model.chat(SHAPES)
    chat.mark(BOX)
    answers = [chat.ask(QUESTION).text]
    chat.mark(vipcli.Point(279, 282))
    answers += [chat.ask("What is {2}?").text, chat.ask("What color is it?").text]
    assert printed.splitlines() == answers


def test_a_conversation_keeps_its_turns_and_its_marks(model: vipcli.Model) -> None:
    chat = model.chat(SHAPES, BOX)
    assert chat.ask(QUESTION).text == "7"
    mark = chat.mark(vipcli.Point(279, 282))
    assert mark.kind == "point"
    assert chat.ask("What is {2}?").text == "a fish"
    assert [turn.answer for turn in chat.turns] == ["7", "a fish"]


def test_options_are_settings_and_are_checked(model: vipcli.Model) -> None:
    answer = model.ask(SHAPES, QUESTION, BOX, max_new_tokens=1, width=6, fit="stretch")
    record = answer.record()
    assert record["sampling"]["max_new_tokens"] == 1
    assert record["drawing"]["width"] == 6
    assert record["fit"] == "stretch"
    assert model.settings.max_new_tokens == 512
    with pytest.raises(UsageError, match="There is no setting 'tempreature'"):
        model.ask(SHAPES, tempreature=1)
    with pytest.raises(UsageError, match=r"^temperature is '99', but takes"):
        vipcli.load(temperature=99)


def test_wrong_types_are_refused_in_a_sentence(model: vipcli.Model) -> None:
    mask = np.ones((3, 3), bool)
    for picture, question, marks, error, match in (
        ([], "What?", (), UsageError, "no picture to ask about"),
        (SHAPES, 5, (), PromptError, "A question is text, not int"),
        (SHAPES, "What?", 5, MarkError, "int is not a mark"),
        (SHAPES, "What?", [None], MarkError, "NoneType is not a mark"),
        (SHAPES, "What?", mask, MarkError, r"array of 3 × 3, but the picture is 336 × 336"),
    ):
        with pytest.raises(error, match=match):
            model.ask(picture, question, marks)  # type: ignore[arg-type]
    with pytest.raises(MarkError, match="int is not a mark"):
        model.chat(SHAPES).mark(5)  # type: ignore[arg-type]
    for options in ({"device": "cuda"}, {"model": "vip-llava-7b"}, {"quantize": "4bit"}):
        with pytest.raises(UsageError, match="belongs to the model"):
            model.ask(SHAPES, QUESTION, BOX, **options)  # type: ignore[arg-type]
    for together in (0, "8"):
        with pytest.raises(UsageError, match="takes a whole number from 1"):
            list(model.ask_many([], together=together))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="There is no setting 'explicit'"):
        vipcli.load("bundled", explicit=frozenset())


def test_a_model_is_loaded_in_the_background_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = vipcli.load("bundled", no_server=True)
    loaded: list[object] = []

    def load() -> object:
        loaded.append(object())
        return loaded[-1]

    monkeypatch.setattr(model, "_load", load)
    for _ in range(3):
        model.preload()
    assert model.answerer is loaded[0]
    # A page that is opened again asks for the picture, and so to load the model, once more.
    model.preload()
    assert model._early is None
    assert len(loaded) == 1
