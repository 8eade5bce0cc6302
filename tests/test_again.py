"""Ask again what a record says was asked: the very same request, what differs since, and the verdict."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
import typing
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vipcli
from tests.clips import make_clip
from tests.commands import Ran, run
from tests.tiny import make_onevision, make_vipllava
from vipcli.api import Model
from vipcli.asking import recorded
from vipcli.asking.interface import Reply, Request, Setup
from vipcli.asking.questions import escape, fill_in
from vipcli.asking.repeating import REPEATED
from vipcli.cli import options
from vipcli.cli.ask import ask_command
from vipcli.config import Settings
from vipcli.errors import RecordError
from vipcli.marks.kinds import BY_KIND
from vipcli.pictures.images import Pixels

if TYPE_CHECKING:
    from vipcli.engine.local import LocalModel

SAMPLES = Path(__file__).parent.parent / "samples"

MARKS = ("--box", "8%,36%,31%,66%", "--arrow", "60%,40%:blue")
QUESTION = "Which number is {1}, and what is {2}?"

OPTIONS: dict[str, tuple[str, ...]] = {
    "model": ("--model", "tiny"),
    "dtype": ("--dtype", "bfloat16"),
    "quantize": ("--quantize", "4bit"),
    "quantize_all": ("--quantize", "4bit", "--quantize-all"),
    "attention": ("--attention", "eager"),
    "prompt": ("--prompt", "vicuna"),
    "system": ("--system", "Be brief."),
    "fit": ("--fit", "crop"),
    "zoom": ("--zoom", "0"),
    "guide": ("--guide", "2"),
    "score": ("--choices", "a cat,a dog,7", "--score", "mean"),
    "max_new_tokens": ("--max-new-tokens", "1"),
    "temperature": ("--temperature", "1.5"),
    "top_p": ("--temperature", "1.5", "--top-p", "0.5"),
    "seed": ("--temperature", "1.5", "--seed", "7"),
    "width": ("--width", "6"),
    "alpha": ("--alpha", "255"),
    "jitter": ("--jitter", "3"),
}
"""Each setting that an answer depends on, as it is typed."""
ELSEWHERE = {"device", "revision"}
"""Those that a test of their own repeats, since a machine may have no other device and no hub."""
HARMLESS = {"logprobs", "offline", "no_server", "pick", "no_input", "max_pixels"}
"""Settings that no answer depends on."""
RECORDED = {
    *("image", "question", "images", "frames", "choices", "choices_file", "yes_no", "schema", "pattern"),
    *BY_KIND,
}
"""What the record holds besides settings."""
AROUND = {"again", "keep_alive", "save", "show", "dry_run", "json", "quiet", "verbose"}
"""Options of `ask` that no answer depends on."""


class Asked:
    """The requests that models got, each with the setup of its model. Each model is loaded once."""

    def __init__(self) -> None:
        self.models: dict[tuple[str, Setup], LocalModel] = {}
        self.requests: list[tuple[Request, Setup]] = []

    def load(self, model: Model) -> Listening:
        key = str(model.checkpoint.folder), model.setup
        if key not in self.models:
            # Here, since most tests do without torch.
            from vipcli.engine.local import LocalModel

            self.models[key] = LocalModel(model.checkpoint, model.setup)
        # Nothing that was read for one question may help the next.
        self.models[key].forget()
        return Listening(self.models[key], self.requests)


class Listening:
    """A model that keeps the requests."""

    def __init__(self, model: LocalModel, requests: list[tuple[Request, Setup]]) -> None:
        self._model = model
        self._requests = requests

    def answer(self, request: Request, *rest: Any) -> Reply:
        self._requests.append((request, self._model.setup))
        return self._model.answer(request, *rest)

    def answer_batch(self, requests: Sequence[Request], *rest: Any) -> list[Reply]:
        return self._model.answer_batch(requests, *rest)


@pytest.fixture(scope="module")
def models() -> Asked:
    return Asked()


@pytest.fixture(autouse=True)
def asked(models: Asked, monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Keep the requests, and load each model once."""
    models.requests.clear()
    # A bound method would not get the model.
    monkeypatch.setattr(Model, "_load", lambda model: models.load(model))
    return models


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a picture that is no square and a mask of its size."""
    monkeypatch.chdir(tmp_path)
    with Image.open(SAMPLES / "shapes.png") as shapes:
        width, height = shapes.width, shapes.height * 2 // 3
        shapes.crop((0, 0, width, height)).save("photo.png")
    mask = np.zeros((height, width), np.uint8)
    mask[40:90, 100:200] = 255
    mask[60:70, 120:140] = 0
    Image.fromarray(mask).save("mask.png")
    return tmp_path


@pytest.fixture
def tiny_here(here: Path, tiny: Path) -> Path:
    """A tiny model in the working folder."""
    (here / "tiny").symlink_to(tiny)
    return here


def record(*arguments: object, name: str = "record.json") -> dict[str, Any]:
    """Ask with these arguments, and write the record to a file."""
    ran = run("ask", *arguments, "--json", "--quiet")
    assert ran.code == 0, ran.err
    Path(name).write_text(ran.out)
    return json.loads(ran.out)  # type: ignore[no-any-return]


def rewrite(change: Callable[[dict[str, Any]], object], name: str = "record.json") -> None:
    data = json.loads(Path(name).read_text())
    change(data)
    Path(name).write_text(json.dumps(data))


def again(*arguments: object, code: int = 0, name: str = "record.json") -> dict[str, Any]:
    """Repeat the record in the file, and return how the answers compare."""
    ran = run("ask", "--again", name, *arguments, "--json")
    assert ran.code == code, ran.err
    return json.loads(ran.out)["again"]  # type: ignore[no-any-return]


def said(ran: Ran) -> list[str]:
    """What was said besides notes on the picture and on the model that looks at it."""
    return [
        line for line in ran.err.splitlines() if "The bundled model" not in line and "cropped" not in line
    ]


def same_request(first: Request, second: Request) -> bool:
    """Whether two requests are alike to the last pixel."""
    for before, after in (
        (first.images, second.images),
        (first.frames, second.frames),
        (compared(first), compared(second)),
    ):
        if len(before) != len(after) or not all(map(np.array_equal, before, after)):
            return False
    if first.guide is not None and second.guide is not None and first.guide.alpha != second.guide.alpha:
        return False
    plain = [dataclasses.replace(request, images=(), frames=(), guide=None) for request in (first, second)]
    values = [[getattr(one, entry.name) for entry in dataclasses.fields(one)] for one in plain]
    return values[0] == values[1]


def compared(request: Request) -> tuple[Pixels, ...]:
    """The pictures without what is marked that guidance compares with."""
    return () if request.guide is None else request.guide.pictures


SAME: dict[str, Any] = {
    "same": True,
    "first_difference": None,
    "compared": "tokens",
    "changed": [],
    "assumed": [],
    "unchecked": [],
}


# ------------------------------------------------------------------ the same


@pytest.mark.usefixtures("tiny_here")
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_that_changes_an_answer_is_repeated(name: str, asked: Asked) -> None:
    record("photo.png", QUESTION, *MARKS)
    first = record("photo.png", QUESTION, *MARKS, *OPTIONS[name])
    assert again() == SAME
    (plain, setup), (request, changed_setup), (repeated, _) = asked.requests
    # Or else this would show nothing.
    assert setup != changed_setup or name == "model" or not same_request(plain, request)
    assert same_request(request, repeated)
    second = json.loads(run("ask", "--again", "record.json", "--json").out)
    assert second["model"] == first["model"]


def test_settings_of_today_change_nothing(asked: Asked) -> None:
    record("photo.png", QUESTION, *MARKS)
    environment = {
        "VIPCLI_MODEL": "tiny",
        "VIPCLI_FIT": "crop",
        "VIPCLI_SYSTEM": "Be rude.",
        "VIPCLI_TEMPERATURE": "2",
        "VIPCLI_WIDTH": "9",
        "VIPCLI_PROMPT": "vicuna",
    }
    ran = run("ask", "--again", "record.json", "--json", environment=environment)
    assert json.loads(ran.out)["again"] == SAME
    assert same_request(*(request for request, _ in asked.requests))


def test_every_setting_is_repeated_or_harmless() -> None:
    settings = {entry.name for entry in dataclasses.fields(Settings)} - {"explicit"}
    assert settings == REPEATED.keys() | HARMLESS
    assert not REPEATED.keys() & HARMLESS
    assert REPEATED.keys() == OPTIONS.keys() | ELSEWHERE


def test_every_option_of_ask_is_repeated_or_harmless() -> None:
    params = {
        param.name
        for param in ask_command.get_params(ask_command.make_context("ask", [], resilient_parsing=True))
    }
    assert params - {"help"} == REPEATED.keys() | HARMLESS | RECORDED | AROUND
    groups = (options.ANSWER_OPTIONS, options.STYLE_OPTIONS, options.FIT_OPTIONS, options.MODEL_OPTIONS)
    assert {name for group in groups for name in group.options} <= REPEATED.keys() | HARMLESS


@pytest.mark.parametrize(
    "arguments",
    [
        ("Is {2} left of {1}?", "--point", "5,5", "--box", "1,1,30,30", "--point", "20,20:gold"),
        ("{1}", "--ellipse", "10%,10%,50%,99.3"),
        ("{1}", "--triangle", "5,5,60,60:#12ab9f"),
        ("{1}", "--arrow", "120,20,200,100:navy"),
        ("{1}", "--scribble", "10,10 40,35 60.25,20 33.333%,50%"),
        ("{1}", "--contour", "1,1 50,1 50,50", "--jitter", "5"),
        ("{1} or {2}", "--mask", "mask.png:aqua", "--contour", "mask.png"),
        ("{1}", "--box", "150,100,4000,4000"),
        ("{1}", "--ellipse", "-50,-50,90,90"),
        ("Why {{1}} and not {1}, {{{1}}}?", "--box", "1,1,30,30"),
        (*("--box", "2:1,1,30,30", "--point", "9,9", "--image", "mask.png"),),
        ("What is shown?",),
        (),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_marks_and_questions_are_repeated(arguments: tuple[str, ...], asked: Asked) -> None:
    first = record("photo.png", *arguments)
    assert again() == SAME
    assert same_request(*(request for request, _ in asked.requests))
    second = json.loads(run("ask", "--again", "record.json", "--json").out)
    for mark in first["marks"]:
        mark.pop("mask", None)
    for key in ("marks", "question", "prompt", "images", "token_ids", "answer"):
        assert second[key] == first[key], key


@pytest.mark.parametrize(
    "form", [("--schema", "kind: two|one, open?: bool"), ("--pattern", "(a|b)/ [0-9]{2}")], ids=" ".join
)
def test_what_an_answer_must_look_like_is_repeated(form: tuple[str, ...], asked: Asked) -> None:
    first = record("photo.png", QUESTION, *MARKS, *form)
    assert again() == SAME
    (request, _), (repeated, _) = asked.requests
    assert request.grammar is not None
    assert same_request(request, repeated)
    comparison = vipcli.repeat(first)
    assert comparison.same
    assert comparison.answer.record()["answer"] == first["answer"]


@pytest.mark.parametrize(("name", "value"), [("schema", {"type": "?"}), ("schema", "?"), ("pattern", "(")])
def test_a_form_of_answers_that_cannot_be_used_is_refused(name: str, value: object) -> None:
    record("photo.png", QUESTION, *MARKS, "--max-new-tokens", "1")
    rewrite(lambda data: data.update({name: value}))
    ran = run("ask", "--again", "record.json")
    assert (ran.code, ran.out) == (1, "")
    assert len(ran.err.splitlines()) == 1
    assert name in ran.err


def test_the_frames_of_a_video_are_repeated(tmp_path_factory: pytest.TempPathFactory, asked: Asked) -> None:
    folder = make_onevision(tmp_path_factory.mktemp("onevision") / "tiny")
    make_clip(Path("clip.mp4"))
    arguments = ("clip.mp4", "{1} {2}", "--model", folder, "--frames", "5", "--max-new-tokens", "4")
    record(*arguments, "--box", "3:1,1,30,30", "--point", "50,50", "--jitter", "2")
    assert again() == SAME
    assert same_request(*(request for request, _ in asked.requests))
    assert len(asked.requests[0][0].frames) == 5
    make_clip(Path("clip.mp4"), frames=12)
    run("ask", "--again", "record.json")
    changed = [change["what"] for change in again(code=run("ask", "--again", "record.json").code)["changed"]]
    assert changed == ["video.chosen", "images.1.sha256"]


def test_marks_from_python_are_repeated(asked: Asked) -> None:
    model = vipcli.load("bundled")
    with Image.open("mask.png") as image:
        array = np.asarray(image) > 0
    answer = model.ask("photo.png", "What is {1}?", array)
    comparison = vipcli.repeat(answer.record())
    assert comparison.same
    assert (comparison.changed, comparison.notes) == ((), ())
    assert comparison.verdict == "The same answer, token by token."
    assert comparison.answer.text == answer.text
    assert same_request(*(request for request, _ in asked.requests))


@given(st.text(alphabet="{}123 a"))
def test_an_escaped_question_is_filled_in_to_itself(text: str) -> None:
    assert fill_in(escape(text), []) == text


# ------------------------------------------------------------------ what is said


def test_the_verdict_is_told() -> None:
    first = record("photo.png", QUESTION, *MARKS)
    verdict = "The same answer, token by token.\n"
    assert run("ask", "--again", "record.json") == Ran(0, f"{first['answer']}\n", verdict)
    assert run("ask", "--again", "record.json", "-q") == Ran(0, f"{first['answer']}\n", "")
    stdin = Path("record.json").read_bytes()
    assert run("ask", "--again", "-", stdin=stdin).err == verdict


def test_another_answer_is_told_with_where_it_begins() -> None:
    first = record("photo.png", QUESTION, *MARKS)
    assert len(first["token_ids"]) > 1

    def edit(data: dict[str, Any]) -> None:
        data["token_ids"][1] += 1
        data["answer"] = f"{data['answer']} or so"

    rewrite(edit)
    ran = run("ask", "--again", "record.json")
    assert ran.code == 4
    assert ran.out == f"{first['answer']}\n"
    last = first["answer"].split(" ")[-1]
    assert ran.err == (f"Differs from the recorded answer at token 2: {f'{last} or so'!r} became {last!r}.\n")
    assert again(code=4)["first_difference"] == {"token": 2, "recorded": f"{last} or so", "now": last}
    rewrite(lambda data: data.update(answer=first["answer"]))
    assert "at token 2, though its text is the same." in run("ask", "--again", "record.json").err


def test_a_record_of_an_answer_that_was_stopped_is_compared_so_far() -> None:
    first = record("photo.png", QUESTION, *MARKS)
    rewrite(lambda data: data.update(ended="halted", token_ids=first["token_ids"][:1], answer=""))
    assert again() == SAME


def test_options_win_and_are_told() -> None:
    record("photo.png", QUESTION, *MARKS)
    ran = run("ask", "--again", "record.json", "--fit", "crop", "--temperature", "0", "--width", "6.5")
    assert said(ran)[:-1] == [
        "note: The fit was pad and is crop.",
        "note: The drawing width was left out and is 6.5.",
    ]
    changed = again(
        "--system", "Be brief.", code=run("ask", "--again", "record.json", "--system", "Be brief.").code
    )
    assert changed["changed"] == [{"what": "system", "recorded": None, "now": "Be brief."}]


@pytest.mark.usefixtures("tiny_here")
def test_another_model_is_compared_by_text() -> None:
    first = record("photo.png", QUESTION, *MARKS, "--prompt", "vicuna")
    result = again("--model", "tiny", code=4)
    assert result["compared"] == "text"
    assert "character" in result["first_difference"]
    changes = {change["what"]: change["now"] for change in result["changed"]}
    assert changes["model.name"] == "tiny"
    # It writes the prompt that it was made for.
    assert changes["form"] == "human"
    assert first["form"] == "vicuna"


def test_the_same_model_elsewhere_is_the_same(tiny_here: Path, tiny: Path) -> None:
    record("photo.png", "What is {1}?", "--box", "1,1,30,30", "--model", "tiny", "--max-new-tokens", "6")
    shutil.copytree(tiny, tiny_here / "moved")
    (tiny_here / "tiny").unlink()
    assert run("ask", "--again", "record.json").code == 1
    assert again("--model", "moved") == SAME


def test_another_model_in_its_place_is_told(tiny_here: Path, asked: Asked) -> None:
    record("photo.png", "What is {1}?", "--box", "1,1,30,30", "--model", "tiny", "--max-new-tokens", "6")
    (tiny_here / "tiny").unlink()
    make_vipllava(tiny_here / "tiny", seed=9)
    asked.models.clear()
    ran = run("ask", "--again", "record.json")
    assert "note: The files of the model have changed.\n" in ran.err


def test_other_versions_and_devices_are_told() -> None:
    def edit(data: dict[str, Any]) -> None:
        data["versions"].update(torch="1.0", vipcli="0.0.1")
        data["model"]["device"] = "cuda:63"

    first = record("photo.png", QUESTION, *MARKS)
    rewrite(edit)
    ran = run("ask", "--again", "record.json")
    assert ran.code == 0
    assert ran.err.splitlines() == [
        f"note: The device was cuda:63 and is {first['model']['device']}.",
        f"note: vipcli was 0.0.1 and is {vipcli.__version__}.",
        f"note: torch was 1.0 and is {version('torch')}.",
        "The same answer, token by token.",
    ]


def test_the_revision_of_a_checkpoint_on_the_hub_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def edit(data: dict[str, Any]) -> None:
        data["model"].update(name="llava-hf/vip-llava-7b-hf", revision="abc123", dtype="float16")

    record("photo.png", QUESTION, *MARKS)
    rewrite(edit)
    seen: list[Settings] = []

    def stop(model: Model) -> None:
        seen.append(model.settings)
        raise RecordError("stopped here")

    monkeypatch.setattr(Model, "peek", stop)
    assert run("ask", "--again", "record.json").code == 1
    assert run("ask", "--again", "record.json", "--revision", "main").code == 1
    assert [settings.revision for settings in seen] == ["abc123", "main"]
    assert (seen[0].model, seen[0].dtype, seen[0].device) == ("llava-hf/vip-llava-7b-hf", "float16", "cpu")


def test_the_recorded_prompt_is_asked_even_if_another_would_be_built(asked: Asked) -> None:
    record("photo.png", "What is it?")

    def edit(data: dict[str, Any]) -> None:
        data["prompt"] = data["prompt"].replace("###Human: ", "###Human: Please! ")

    rewrite(edit)
    ran = run("ask", "--again", "record.json")
    assert "note: vipcli would write another prompt today. The record's own is asked.\n" in ran.err
    assert "###Human: Please! <image>" in asked.requests[-1][0].prompt
    shown = run("ask", "--again", "record.json", "--dry-run")
    assert "Please!" in shown.out
    assert "another prompt today" in shown.err


def test_marks_that_are_drawn_otherwise_are_told() -> None:
    record("photo.png", QUESTION, *MARKS)
    rewrite(lambda data: data["marks"][0]["style"].update(stroke=99))
    (change,) = again()["changed"]
    assert change["what"] == "marks.1.style"


# ------------------------------------------------------------------ files


def test_a_changed_picture_is_told(here: Path) -> None:
    record("photo.png", QUESTION, *MARKS)
    with Image.open("photo.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("photo.png")
    ran = run("ask", "--again", "record.json")
    assert "note: 'photo.png' is not the file that it was: its SHA-256 differs.\n" in ran.err


def test_a_picture_that_was_moved_is_named(here: Path) -> None:
    record("photo.png", QUESTION, *MARKS)
    (here / "photo.png").rename("elsewhere.png")
    ran = run("ask", "--again", "record.json")
    assert ran.code == 1
    assert "There is no file 'photo.png'" in ran.err
    assert "before --again." in ran.err
    assert again("elsewhere.png") == SAME
    assert run("ask", "elsewhere.png", "--again", "record.json").code == 0
    ran = run("ask", "elsewhere.png", "--image", "mask.png", "--again", "record.json")
    assert (ran.code, ran.out) == (2, "")


def test_a_picture_beside_its_record_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record("photo.png", "{1}", "--mask", "mask.png")
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    ran = run("ask", "--again", "../record.json")
    assert (ran.code, said(ran)) == (0, ["The same answer, token by token."])


def test_a_picture_from_standard_input_must_be_given() -> None:
    data = Path("photo.png").read_bytes()
    ran = run("ask", "-", QUESTION, *MARKS, "--json", stdin=data)
    Path("record.json").write_text(ran.out)
    refused = run("ask", "--again", "record.json")
    assert refused.code == 1
    assert "came from standard input" in refused.err
    assert again("photo.png") == SAME
    assert run("ask", "-", "--again", "record.json", stdin=data).code == 0
    assert run("ask", "-", "--again", "-", stdin=data).code == 2


def test_a_mask_that_changed_or_is_gone_is_drawn_as_it_was(here: Path, asked: Asked) -> None:
    first = record("photo.png", "{1}", "--mask", "mask.png")
    assert first["marks"][0]["mask"] == {"source": "mask.png", "sha256": sha256_of("mask.png")}
    with Image.open("mask.png") as image:
        image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("mask.png")
    (change,) = again()["changed"]
    assert change["what"] == "marks.1.mask.sha256"
    (here / "mask.png").unlink()
    assert again() == SAME
    assert all(same_request(asked.requests[0][0], request) for request, _ in asked.requests)


def sha256_of(name: str) -> str:
    from hashlib import sha256

    return sha256(Path(name).read_bytes()).hexdigest()


# ------------------------------------------------------------------ rows


def test_a_row_of_a_batch_is_repeated(here: Path) -> None:
    (here / "photos").mkdir()
    for number in range(3):
        shutil.copy(SAMPLES / ("shapes.png" if number else "fruit.png"), here / "photos" / f"{number}.png")
    (here / "photos" / "9.png").write_text("no picture")
    batch = ("batch", "photos", "--question", "What is {1}?", "--box", "25%,25%,75%,75%", "--quiet")
    assert run(*batch, "-o", "rows.jsonl", "--width", "5").code == 3
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text().splitlines()]
    for number in (1, 3):
        ran = run("ask", "--again", f"rows.jsonl:{number}")
        assert (ran.code, ran.out) == (0, f"{rows[number - 1]['answer']}\n")
        assert said(ran) == ["The same answer, token by token."]
    lines = Path("rows.jsonl").read_bytes()
    assert run("ask", "--again", "-:2", stdin=lines).code == 0
    for source, message in {
        "rows.jsonl": "holds more than one row. Say which, as --again FILE:12.",
        "rows.jsonl:4": "Row 4 of the file 'rows.jsonl' holds no answer: ",
        "rows.jsonl:5": "The file 'rows.jsonl' has fewer than 5 rows.",
        "rows.jsonl:0": "The first row has the number 1.",
        "rows.csv:1": "is a table, which does not hold all of a record.",
    }.items():
        ran = run("ask", "--again", source)
        assert (ran.code, ran.out) == (1, "")
        assert message in ran.err
    # A file of that very name comes first.
    Path("rows.jsonl:5").write_text(json.dumps(rows[1]))
    assert run("ask", "--again", "rows.jsonl:5").code == 0


def test_regions_of_a_batch_are_repeated(here: Path) -> None:
    batch = ("batch", SAMPLES / "annotations.json", "--question", "What is {1}?", "--quiet", "--limit", "3")
    for kind in ("mask", "arrow", "scribble", "ellipse"):
        assert run(*batch, "--as", kind, "-o", f"{kind}.jsonl", "--images", SAMPLES).code == 0
        assert again(name=f"{kind}.jsonl:2") == SAME


# ------------------------------------------------------------------ what is no record


def test_a_record_of_an_older_version_says_what_is_assumed() -> None:
    def age(data: dict[str, Any]) -> None:
        del data["token_ids"], data["system"], data["model"]["attention"], data["model"]["fingerprint"]

    record("photo.png", QUESTION, *MARKS)
    rewrite(age)
    assert run("ask", "--again", "record.json").err.splitlines() == [
        "note: The record does not hold model.attention, system. The defaults are assumed.",
        "note: The record does not hold model.fingerprint, so that is not checked.",
        "The same answer, by its text, since the record holds no token ids.",
    ]
    rewrite(lambda data: data.update(answer="no"))
    assert again(code=4)["first_difference"]["character"] >= 1


def test_a_record_with_the_least_is_enough() -> None:
    first = record("photo.png", QUESTION, *MARKS)
    needed = ("question", "answer", "prompt", "images", "marks")
    rewrite(lambda data: [data.pop(key) for key in set(data) - set(needed)])
    result = again()
    assert result["same"]
    assert "model.name" in result["assumed"]
    assert "versions.torch" in result["unchecked"]
    assert result["changed"] == []
    assert first["model"]["name"] == "bundled"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "it holds no JSON"),
        ("What?", "it holds no JSON"),
        ("[1, 2]", "it is not a JSON object"),
        ("{}", "'question' is missing"),
        ('{"vipcli_conversation": 1}', "is a saved conversation"),
        ('{"question": "Q", "prompt": "P"}', "holds no answer."),
        ('{"question": "Q", "answer": "A", "prompt": "P", "images": []}', "'images' cannot be read"),
        ("[" * 100_000, "it holds no JSON"),
    ],
)
def test_what_is_no_record_is_refused(content: str, message: str) -> None:
    Path("record.json").write_text(content)
    ran = run("ask", "--again", "record.json")
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert ran.err.startswith("error: ")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda data: data["sampling"].update(temperature="hot"), "sampling.temperature is 'hot', but takes"),
        (lambda data: data["marks"][0].update(x1=None), "does not say where its box is."),
        (lambda data: data["marks"][0].update(x1=float("inf")), "'marks.0.x1' cannot be read"),
        (lambda data: data["marks"][1].update(tip=[1]), "'marks.1.tip.1' is missing"),
        (lambda data: data["marks"][0].update(kind="star"), "'marks.0.kind' cannot be read"),
        (lambda data: data["marks"][0].update(rgb="red"), "'marks.0.rgb' cannot be read"),
        (lambda data: data["marks"][0].update(images=[7]), "for picture 7, but there is only one picture"),
        (lambda data: data.update(prompt=data["prompt"] + "<image>"), "it was edited."),
        (lambda data: data["images"][0].update(source="gone.png"), "There is no file 'gone.png'"),
        (lambda data: data["model"].update(name="./gone"), "There is no checkpoint folder at ./gone."),
    ],
)
def test_an_edited_record_is_refused_in_a_sentence(
    edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    record("photo.png", QUESTION, *MARKS)
    rewrite(edit)
    ran = run("ask", "--again", "record.json")
    assert ran.code in (1, 2)
    assert ran.out == ""
    assert message in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("photo.png", "What?"),
        ("What is it?",),
        ("--box", "1,1,9,9"),
        ("--point",),
        ("--frames", "3"),
        ("--choices", "a,b"),
        ("--schema", "a: int"),
        ("--pattern", "a|b"),
        ("--save-marked", "-"),
    ],
)
def test_what_the_record_holds_cannot_be_given(arguments: tuple[str, ...]) -> None:
    record("photo.png", QUESTION, *MARKS)
    ran = run("ask", "--again", "record.json", *arguments)
    assert (ran.code, ran.out) == (2, "")


def test_a_file_that_cannot_be_read_is_told(here: Path) -> None:
    for source, message in (("gone.json", "No such file"), (".", "Is a directory")):
        ran = run("ask", "--again", source)
        assert ran.code == 1
        assert message in ran.err


def test_rows_are_read_one_by_one() -> None:
    class Endless(io.RawIOBase):
        def readline(self, size: int | None = -1, /) -> bytes:
            return b'{"question": "Q"}\n'

    value, label = recorded.read("-", 100, stdin=typing.cast(typing.BinaryIO, Endless()))
    assert (value, label) == ({"question": "Q"}, "Row 100 of standard input")
