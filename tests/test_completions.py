"""The chat-completions form: what clients send is read, and what is written they understand."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.scripted import ScriptedAnswerer
from vipcli.asking.interface import Ended, ModelFacts, Reply
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import HUMAN, VICUNA
from vipcli.checkpoints.stops import Stop
from vipcli.errors import (
    ColorError,
    ConfigError,
    ImageError,
    MarkError,
    PromptError,
    UsageError,
    VipcliError,
)
from vipcli.marks.kinds import BY_KIND, parse_mark
from vipcli.pictures.images import read_picture
from vipcli.serving import openai_api
from vipcli.serving.openai_api import Asked

BUNDLED = lookup.find("bundled")
MAX_PIXELS, LONGEST = 100_000, 1_000
STAMP: dict[str, Any] = {"id": "chatcmpl-1", "created": 1_700_000_000}


def png(seed: int = 1, width: int = 60, height: int = 40, format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format)
    return buffer.getvalue()


def data_url(content: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def picture(content: bytes | str = png(), kind: str = "png") -> dict[str, Any]:
    url = content if isinstance(content, str) else data_url(content, kind)
    return {"type": "image_url", "image_url": {"url": url}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: dict[str, Any] | str) -> dict[str, Any]:
    return {"role": "user", "content": [text(one) if isinstance(one, str) else one for one in parts]}


def assistant(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": words}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "vip", "messages": list(messages or [user("What is it?", picture())]), **more}


def read(told: Any, max_pixels: int = MAX_PIXELS) -> Asked:
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    return openai_api.read(content, BUNDLED, max_pixels=max_pixels, longest_answer=LONGEST)


def reply(words: str = "a dog", ended: Ended = "stop", probability: float | None = 0.75) -> Reply:
    facts = ModelFacts("scripted", None, "float32", "cpu")
    return Reply(words, ended, 600, (5, 6, 7), 2, probability, facts)


# --------------------------------------------------------------------------- what is asked


def test_a_question_is_asked_as_on_the_command_line() -> None:
    region = {"box": "8%,36%,31%,66%:red"}
    asked = read(body(user("What is {1}?", picture()), regions=[region]))
    answerer = ScriptedAnswerer("yes")
    marked = mark([read_picture(png(), "photo")], [parse_mark("box", region["box"])])
    ask(prepare(marked, "What is {1}?", BUNDLED), answerer)
    (expected,) = answerer.requests
    assert [image.tobytes() for image in asked.request.images] == [
        image.tobytes() for image in expected.images
    ]
    for name in ("prompt", "fit", "stops", "typed", "sampling", "before", "least_room", "frames"):
        assert getattr(asked.request, name) == getattr(expected, name)
    assert asked.question.text == "What is within the red rectangle?"
    assert (asked.stream, asked.with_usage, asked.name) == (False, False, "vip")


def test_a_conversation_becomes_one_prompt() -> None:
    asked = read(
        body(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [text("Be kind.")]},
            user(picture(), "What is {1}?"),
            assistant("a red dog"),
            {"role": "user", "content": "And this?", "name": "somebody"},
            user(picture(png(2)), "Beside {2}?"),
            regions=[{"point": "30,20:blue"}, {"kind": "box", "at": [1, 2, 30.5, "50%"], "image": 2}],
        )
    )
    assert asked.request.prompt == (
        "Be brief.\nBe kind.###Human: <image>\n<image>\nWhat is at the blue point?###Assistant: a red dog"
        "###Human: And this?\nBeside within the red rectangle?###Assistant:"
    )
    assert set(asked.request.typed) == {
        "And this?\nBeside within the red rectangle?",
        "Be brief.\nBe kind.",
        "What is at the blue point?",
        "a red dog",
    }
    assert asked.request.least_room == 64
    assert [shown.picture.name for shown in asked.question.marked.shown] == ["Picture 1", "Picture 2"]
    assert [list(shown.marks) for shown in asked.question.marked.shown] == [[1], [2]]


@pytest.mark.parametrize(
    ("messages", "question"),
    [
        ([user(picture())], "What is the object within the red rectangle?"),
        ([user(picture(), "  Who? ")], "Who?"),
        ([user(picture()), user("Who?")], "Who?"),
        ([user("Who", picture(), "is it?")], "Who\nis it?"),
        ([user(picture()), assistant("a dog"), user("Sure?")], "Sure?"),
        ([user("Who?", picture()), {"role": "assistant"}, user("Sure?")], "Sure?"),
    ],
)
def test_what_is_asked_is_the_text_of_the_last_turn(messages: list[Any], question: str) -> None:
    asked = read(body(*messages, regions=[{"box": "1,1,30,30"}]))
    assert asked.question.text == question
    assert asked.request.prompt.endswith(f"{question}###Assistant:")


def test_an_earlier_question_that_was_left_out_is_the_one_that_was_asked() -> None:
    asked = read(body(user(picture()), assistant("a dog"), user("Sure?")))
    assert "<image>\nWhat is shown in this picture?###Assistant: a dog###Human: Sure?" in asked.request.prompt


@pytest.mark.parametrize(
    ("region", "typed"),
    [
        ({"box": "8%,36%,31%,66%:red"}, ("box", "8%,36%,31%,66%:red")),
        ({"kind": "box", "at": "10,10,20,30", "color": "blue"}, ("box", "10,10,20,30:blue")),
        ({"box": [10, 10.5, "50%", 30], "color": "#00f"}, ("box", "10,10.5,50%,30:#00f")),
        ({"kind": "box", "box": "1,1,9,9"}, ("box", "1,1,9,9")),
        ({"ellipse": "1 1 9 9", "image": 1}, ("ellipse", "1:1 1 9 9")),
        ({"ellipse": "1:1 1 9 9"}, ("ellipse", "1:1 1 9 9")),
        ({"triangle": [1, 1, 30, 30], "image": None}, ("triangle", "1,1,30,30")),
        ({"point": [1e-7, 30]}, ("point", "0.0000001,30")),
        ({"arrow": "20,20"}, ("arrow", "20,20")),
        ({"scribble": [1, 1, 20, 20, 30, 10]}, ("scribble", "1,1,20,20,30,10")),
        ({"contour": "1,1 20,20 30,10"}, ("contour", "1,1 20,20 30,10")),
        ({"mask": [1, 1, 20, 20, 30, 10]}, ("mask", "1,1,20,20,30,10")),
    ],
)
def test_regions_are_the_marks_that_would_be_typed(region: dict[str, Any], typed: tuple[str, str]) -> None:
    asked = read(body(regions=[region]))
    expected = mark([read_picture(png(), "photo")], [parse_mark(*typed)])
    assert asked.question.marked.marks == expected.marks
    assert asked.request.images[0].tobytes() == expected.pixels.tobytes()


def test_there_is_a_region_for_every_kind_of_mark() -> None:
    assert set(openai_api._Region.model_fields) == {*BY_KIND, "kind", "at", "color", "image"}


@pytest.mark.parametrize("kind", ["png", "PNG", "jpeg", "jpg", "webp", "gif", "bmp", "tiff"])
def test_pictures_come_in_the_usual_formats(kind: str) -> None:
    format = {"JPG": "JPEG"}.get(kind.upper(), kind.upper())
    wrapped = data_url(png(format=format), kind).replace("A", "A\n")
    asked = read(body(user(picture(wrapped), "What?")))
    assert asked.request.images[0].shape == (40, 60, 3)


def test_settings_are_taken_and_have_their_usual_values() -> None:
    usual = read(body()).request
    assert (usual.fit, usual.stops) == ("pad", HUMAN.stops)
    assert usual.sampling.max_new_tokens == 512
    assert (usual.sampling.temperature, usual.sampling.top_p, usual.sampling.seed) == (0, 1, 0)
    given = read(
        body(
            temperature=0.5,
            top_p=0.9,
            seed=7,
            max_tokens=20,
            max_completion_tokens=30,
            stop=["\n", "END"],
            fit="crop",
            prompt_form="vicuna",
            stream=True,
            stream_options={"include_usage": True, "include_obfuscation": False},
        )
    )
    sampling = given.request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_new_tokens) == (0.5, 0.9, 7, 30)
    assert given.request.fit == "crop"
    assert given.request.stops == (*VICUNA.stops, Stop("\n"), Stop("END"))
    assert given.request.prompt.endswith("USER: <image>\nWhat is it? ASSISTANT:")
    assert (given.stream, given.with_usage) == (True, True)
    assert read(body(stop="x")).request.stops[-1] == Stop("x")
    assert read(body(max_tokens=LONGEST)).request.sampling.max_new_tokens == LONGEST


def test_an_answer_is_never_longer_than_the_server_lets_it_be() -> None:
    content = json.dumps(body()).encode()
    asked = openai_api.read(content, BUNDLED, max_pixels=MAX_PIXELS, longest_answer=100)
    assert asked.request.sampling.max_new_tokens == 100


def test_chance_has_a_seed_of_its_own_that_is_told() -> None:
    seeds = [read(body(temperature=1)) for _ in range(3)]
    assert len({one.request.sampling.seed for one in seeds}) == 3
    told = openai_api.whole(seeds[0], reply(), **STAMP)
    assert told["vipcli"]["seed"] == seeds[0].request.sampling.seed


def test_what_asks_for_nothing_is_let_be() -> None:
    harmless = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
        "whatever": [1],
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "n": 1,
        "logprobs": False,
        "top_logprobs": None,
        "response_format": {"type": "text"},
        "modalities": ["text"],
        "tools": [],
        "tool_choice": "none",
        "logit_bias": {},
        "stop": None,
        "seed": None,
        "max_tokens": None,
        "stream": None,
        "stream_options": None,
        "regions": None,
    }
    assert read(body(**harmless)).request.prompt == read(body()).request.prompt


# --------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("logit_bias", {"5": 1}),
        ("n", 2),
        ("n", 0),
        ("response_format", {"type": "json_object"}),
        ("audio", {"voice": "x"}),
        ("modalities", ["text", "audio"]),
        ("frequency_penalty", 0.5),
        ("presence_penalty", float("nan")),
        ("web_search_options", {}),
        ("moderation", {"model": "x"}),
    ],
)
def test_what_cannot_be_served_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"^The field {name} of the request asks for what is not served"):
        read(body(**{name: value}))


HUGE = json.dumps(body()).replace('"vip"', '"vip", "seed": ' + "1" * 5_000).encode()


@pytest.mark.parametrize(
    ("told", "error", "why"),
    [
        (b"", UsageError, "cannot be read: invalid JSON"),
        (b"\xff", UsageError, "cannot be read: invalid JSON"),
        (b"[" * 100_000, UsageError, "recursion limit"),
        (b"[1]", UsageError, "cannot be read: input should be an object"),
        (HUGE, UsageError, "number out of range"),
        (b'{"model": "\\ud800"}', UsageError, "cannot be read"),
        ({}, UsageError, "wrong at 'model': field required"),
        (body(model="x" * 201), UsageError, "wrong at 'model'"),
        (body() | {"model": None}, UsageError, "wrong at 'model': input should be a valid string"),
        (body() | {"messages": []}, UsageError, "last message must be one of the user"),
        (body() | {"messages": {}}, UsageError, "wrong at 'messages': input should be a valid array"),
        (body(assistant("no")), UsageError, "must follow one of the user"),
        (body(user(picture(), "a"), assistant("b")), UsageError, "last message must be one of the user"),
        (body(user(picture(), "a"), assistant("b"), assistant("c"), user("d")), UsageError, "must follow"),
        (body({"role": "tool", "content": "x", "tool_call_id": "y"}), UsageError, "of the role 'tool'"),
        (body({"role": "user"}), UsageError, "'user' has no content"),
        (body({"role": "user", "content": []}), UsageError, "'user' has no content"),
        (body({"role": "user", "content": 5}), UsageError, "wrong at 'messages.0.content.text'"),
        (body(user(picture(), {"type": "text"})), UsageError, "cannot be of the type 'text', or lacks"),
        (body(user({"type": "input_audio"})), UsageError, "cannot be of the type 'input_audio'"),
        (body(user({"type": "image_url", "image_url": "x"})), UsageError, "content.parts.0.image_url"),
        (body({"role": "system", "content": [picture()]}), UsageError, "'system' cannot hold pictures"),
        (body({**assistant("x"), "tool_calls": [{}]}), UsageError, "field tool_calls of the messages"),
        (body(user("What?")), UsageError, "no picture in the messages"),
        (body(user("", picture())), PromptError, "question is empty"),
        (body(user("x" * 60_000, picture(), "x" * 60_000)), PromptError, "have 120,000 characters together"),
        (body(user("What is {1}?", picture())), PromptError, "mark {1}, but there are no marks"),
        (body(user("a <image>", picture())), PromptError, "'<image>'"),
        (body(user("a\0", picture())), PromptError, "control character"),
        (body(user("###Human", picture()), assistant("b"), user("c")), PromptError, "holds '###Human'"),
        (body(user("a\0", picture()), assistant("b"), user("c")), PromptError, "control character"),
        (
            body(user("a", picture()), assistant("###Human: b"), user("c")),
            PromptError,
            "answer holds '###Human'",
        ),
        (body({"role": "system", "content": "</s>"}, user("a", picture())), PromptError, "system line holds"),
        (body(user("{3}", picture()), assistant("b"), user("c")), PromptError, "mark {3}"),
        (body(temperature=-1), ConfigError, "temperature is '-1.0', but takes a number from 0 to 10"),
        (body(temperature=float("nan")), UsageError, "'temperature': input should be a finite number"),
        (body(temperature=True), UsageError, "'temperature': input should be a valid number"),
        (body(top_p=0), ConfigError, "top_p is '0.0', but takes"),
        (body(seed=-1), ConfigError, "seed is '-1', but takes"),
        (body(seed=10**400), ConfigError, "seed is '1000"),
        (body(max_tokens=0), ConfigError, "max_tokens is '0', but takes a whole number from 1 to 1000"),
        (body(max_completion_tokens=1001), ConfigError, "max_completion_tokens is '1001'"),
        (body(fit="squeeze"), ConfigError, "fit is 'squeeze', but takes one of pad, crop, stretch"),
        (body(prompt_form="x"), ConfigError, "prompt_form is 'x', but takes one of auto, human"),
        (body(stop=["a"] * 5), UsageError, "5 stop texts. At most 4"),
        (body(stop=""), UsageError, "from 1 to 100 characters"),
        (body(stop=3), UsageError, "wrong at 'stop"),
        (body(stream="yes"), UsageError, "wrong at 'stream'"),
        (body(stream_options=[]), UsageError, "wrong at 'stream_options'"),
    ],
)
def test_what_is_wrong_with_a_request_is_told(told: Any, error: type[VipcliError], why: str) -> None:
    with pytest.raises(error) as caught:
        read(told)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("region", "error", "why"),
    [
        ({}, MarkError, "Region 1 does not say what it is and where"),
        ({"kind": "box"}, MarkError, "does not say"),
        ({"at": "1,2,3,4"}, MarkError, "does not say"),
        ({"kind": "blob", "at": "1,2,3,4"}, MarkError, "Kinds are box, ellipse"),
        ({"kind": "ellipse", "box": "1,2,3,4"}, MarkError, "does not say"),
        ({"box": "1,2,3,4", "point": "1,2"}, MarkError, "does not say"),
        ({"box": "1,2,3,4", "at": "1,2,3,4"}, MarkError, "does not say"),
        ({"box": "1,2,3,4", "colour": "red"}, UsageError, "'regions.0.colour': extra inputs"),
        ({"box": "1,2,3,4:red", "color": "blue"}, MarkError, "its color or its image twice"),
        ({"box": "1:1,2,3,4", "image": 1}, MarkError, "its color or its image twice"),
        ({"box": "1,2,3,4", "color": "reddish"}, ColorError, "no colour 'reddish'"),
        ({"box": "1,2,3,4", "color": "red:1"}, ColorError, "no colour"),
        ({"box": "1,2,3,4", "image": 2}, MarkError, "there is only one picture"),
        ({"box": "1,2,3,4", "image": 0}, UsageError, "wrong at 'regions.0.image'"),
        ({"box": "1,2,3,4", "image": 10**30}, UsageError, "wrong at 'regions.0.image'"),
        ({"box": [1, 2, 3]}, MarkError, "has 3 numbers"),
        ({"box": []}, MarkError, "Cannot read the box"),
        ({"box": [1, 2, 3, [4]]}, UsageError, "wrong at 'regions.0.box.parts.3"),
        ({"box": [1, 2, 3, 1e300]}, MarkError, "Cannot read the box"),
        ({"box": [1, 2, 3, float("inf")]}, UsageError, "wrong at 'regions.0.box.parts.3"),
        ({"box": {"x": 1}}, UsageError, "wrong at 'regions.0.box"),
        ({"box": [900, 900, 990, 990]}, MarkError, "lies outside the picture"),
        ({"mask": "/etc/passwd"}, MarkError, "reads no files"),
        ({"mask": "1:mask.png:red"}, MarkError, "reads no files"),
        ({"kind": "contour", "at": ["mask.png"]}, MarkError, "reads no files"),
        ({"scribble": [1] * 20_002}, UsageError, "wrong at 'regions.0.scribble.parts'"),
    ],
)
def test_what_is_wrong_with_a_region_is_told(
    region: dict[str, Any], error: type[VipcliError], why: str
) -> None:
    with pytest.raises(error) as caught:
        read(body(regions=[region]))
    assert why in str(caught.value)


def test_no_file_is_opened_for_a_region(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (60, 40), 255).save(mask)
    with pytest.raises(MarkError, match="reads no files"):
        read(body(regions=[{"mask": str(mask)}]))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://example.org/dog.png", "is only an address, and this server fetches nothing"),
        ("file:///etc/passwd", "is only an address"),
        ("/etc/passwd", "is only an address"),
        ("", "is only an address"),
        ("data:", "does not begin with"),
        ("data:image/png", "does not begin with"),
        ("data:image/png,abcd", "does not begin with"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "does not begin with"),
        ("data:text/html;base64,PHN2Zy8+", "does not begin with"),
        ("data:image/png;base64,", "Picture 1 is empty"),
        ("data:image/png;base64,abc", "not written in base64"),
        ("data:image/png;base64,äöü=", "not written in base64"),
        ("data:image/png;base64,PHN2Zy8+", "Picture 1 is an SVG drawing"),
        (data_url(png()[:200]), "Picture 1 is damaged or cut off"),
        (data_url(b"nothing"), "Picture 1 is not a picture"),
        (data_url(png(width=400, height=400)), "Picture 1 is 400 × 400 pixels, more than the limit"),
    ],
)
def test_what_is_no_picture_is_refused(url: str, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        read(body(user("What?", picture(url))))


def test_pictures_are_limited_together() -> None:
    one = picture(png(width=100, height=100))
    assert len(read(body(user("What?", one, one)), 20_000).request.images) == 2
    with pytest.raises(ImageError, match="padded to squares, have more than 20,000 pixels together"):
        read(body(user("What?", one, one, one)), 20_000)
    with pytest.raises(ImageError, match="The pictures have more than 20,000 pixels together"):
        read(body(user("What?", one, one, one), fit="crop"), 20_000)
    with pytest.raises(UsageError, match=r"33 pictures\. At most 32"):
        read(body(user("What?", *[picture()] * 33)))


def test_a_strip_counts_as_the_square_that_it_is_padded_to() -> None:
    strip = body(user("What?", picture(png(width=1_000, height=2))))
    with pytest.raises(ImageError, match="padded to squares"):
        read(strip, 999_999)
    assert read(strip, 1_000_000).request.fit == "pad"
    assert read({**strip, "fit": "stretch"}, 2_000).request.fit == "stretch"


def test_regions_are_limited() -> None:
    assert len(read(body(regions=[{"point": "5,5"}] * 64)).question.marked.marks) == 64
    with pytest.raises(UsageError, match=r"65 regions\. At most 64"):
        read(body(regions=[{"point": "5,5"}] * 65))


@pytest.mark.parametrize(
    "region",
    [
        {"box": "1" * 100_000 + "x"},
        {"box": " " * 100_000},
        {"box": "1,2,3,4:" + "r" * 99_000},
        {"scribble": [str(5 + number % 30) for number in range(20_000)]},
        {"contour": [5 + number * 7 % 30 for number in range(20_000)]},
        {"mask": [5 + number * 7 % 30 for number in range(20_000)]},
    ],
)
def test_no_region_takes_long(region: dict[str, Any]) -> None:
    started = time.process_time()
    try:
        read(body(regions=[region]))
    except VipcliError as error:
        assert len(str(error)) < 300
    assert time.process_time() - started < 10


# --------------------------------------------------------------------------- anything at all


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(
        ["user", "text", "image_url", "{1}", "1,2,3,4", "\ud800", "</s>", "data:image/png;base64,"]
    )
)
NAMES = st.text(max_size=8) | st.sampled_from(
    [*openai_api._Told.model_fields, *openai_api._Region.model_fields, "role", "content", "type", "text"]
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
WHOLE = body(
    {"role": "system", "content": "Be brief."},
    user("What is {1}?", picture(png(1, 16, 12))),
    assistant("a dog"),
    user(picture(png(2, 12, 16)), "And {2}?"),
    regions=[
        {"box": "8%,36%,31%,66%:red"},
        {"kind": "scribble", "at": [1, 2, 8, 9.5, "50%", 4], "color": "blue", "image": 2},
    ],
    temperature=0.5,
    top_p=0.9,
    seed=3,
    max_tokens=20,
    stop=["END"],
    stream=True,
    stream_options={"include_usage": True},
    fit="pad",
    prompt_form="human",
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to everything inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield (*way, key)
        yield from places(one, (*way, key))


def settles(told: bytes) -> None:
    """A request is either read and answered, or refused in a sentence."""
    try:
        asked = read(told)
    except VipcliError as error:
        assert str(error) and json.dumps(openai_api.refusal(str(error)))
        return
    for made in (
        openai_api.whole(asked, reply(), **STAMP),
        openai_api.piece(asked, "a", **STAMP),
        openai_api.usage_piece(asked, reply(), **STAMP),
    ):
        json.dumps(made, ensure_ascii=False, allow_nan=False).encode()


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_any_json_is_read_or_refused(value: Any) -> None:
    settles(json.dumps(value).encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(value: bytes) -> None:
    settles(value)


def test_what_is_tampered_with_could_be_read() -> None:
    assert read(WHOLE).question.text == "And with the blue scribble?"


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_request_that_was_tampered_with_is_read_or_refused(data: st.DataObject) -> None:
    told: Any = deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 2))):
        way = data.draw(st.sampled_from(list(places(told))))
        inside = told
        for key in way[:-1]:
            inside = inside[key]
        match data.draw(st.sampled_from(["replace", "drop", "add", "double"])):
            case "replace":
                inside[way[-1]] = data.draw(ANYTHING)
            case "drop":
                del inside[way[-1]]
            case "double" if isinstance(inside, list):
                inside.append(deepcopy(inside[way[-1]]))
            case _ if isinstance(inside, dict):
                inside[data.draw(NAMES)] = data.draw(ANYTHING)
        if not list(places(told)):
            break
    settles(json.dumps(told).encode())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.binary(max_size=4))
def test_a_request_with_broken_bytes_is_read_or_refused(place: int, put: bytes) -> None:
    content = json.dumps(WHOLE).encode()
    place %= len(content)
    settles(content[:place] + put + content[place + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(BY_KIND)), st.text("0123456789.,;: %-+e\nrd#/", max_size=40), SCALARS)
def test_any_region_is_read_or_refused(kind: str, at: str, color: Any) -> None:
    settles(json.dumps(body(regions=[{kind: at, "color": color}])).encode())
    settles(json.dumps(body(regions=[{kind: at}])).encode())


# --------------------------------------------------------------------------- what is answered


@pytest.mark.parametrize(("ended", "finish"), [("stop", "stop"), ("length", "length"), ("halted", "length")])
def test_an_answer_is_written_whole(ended: Ended, finish: str) -> None:
    asked = read(body(user("What?", picture()), regions=[{"box": "1,1,30,30:pink"}]))
    assert openai_api.whole(asked, reply(ended=ended), **STAMP) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "vip",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a dog", "refusal": None},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": {"prompt_tokens": 600, "completion_tokens": 3, "total_tokens": 603},
        "vipcli": {
            "question": "What?",
            "probability": 0.75,
            "seed": 0,
            "notes": [str(note) for note in asked.question.notes],
        },
    }
    assert any("Write {1} where it should" in str(note) for note in asked.question.notes)


@pytest.mark.parametrize("probability", [None, float("nan")])
def test_an_answer_without_a_probability_has_none(probability: float | None) -> None:
    told = openai_api.whole(read(body()), reply("", probability=probability), **STAMP)
    assert told["vipcli"]["probability"] is None


def test_doubts_are_told_with_the_notes() -> None:
    facts = ModelFacts("bundled", None, "float32", "cpu")
    unsure = Reply("a dog", "stop", 600, (5,), 1, 0.2, facts)
    told = openai_api.whole(read(body()), unsure, **STAMP)
    assert "not sure of this picture" in told["vipcli"]["notes"][-1]


# --------------------------------------------------------------------------- the client itself


class Served:
    """What a server would do, without one: it reads requests and writes answers."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json=openai_api.listed(BUNDLED, created=1_700_000_000))
        assert request.url.path == "/v1/chat/completions"
        try:
            asked = read(request.content)
        except VipcliError as error:
            return httpx2.Response(400, json=openai_api.refusal(str(error), param="messages", code="bad"))
        self.asked.append(asked)
        if not asked.stream:
            return httpx2.Response(200, json=openai_api.whole(asked, reply(), **STAMP))
        told = [
            openai_api.piece(asked, None, first=True, **STAMP),
            openai_api.piece(asked, "a ", **STAMP),
            openai_api.piece(asked, "dog", **STAMP),
            openai_api.piece(asked, None, ended="stop", **STAMP),
        ]
        if asked.with_usage:
            told.append(openai_api.usage_piece(asked, reply(), **STAMP))
        events = "".join(f"data: {json.dumps(one)}\n\n" for one in told) + "data: [DONE]\n\n"
        return httpx2.Response(200, text=events, headers={"content-type": "text/event-stream"})


@pytest.fixture
def served() -> Served:
    return Served()


@pytest.fixture
def client(served: Served) -> Iterator[openai.OpenAI]:
    handler: Callable[[httpx2.Request], httpx2.Response] = served
    with openai.OpenAI(
        api_key="none",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handler)),
    ) as made:
        yield made


QUESTION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [text("What is {1}?"), picture()]},
]


def test_the_client_asks_and_reads_the_answer(client: openai.OpenAI, served: Served) -> None:
    made = client.chat.completions.create(
        model="bundled",
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=50,
        extra_body={"regions": [{"kind": "box", "at": [1, 1, 30, 30], "color": "red"}]},
    )
    (asked,) = served.asked
    assert asked.question.text == "What is within the red rectangle?"
    assert (asked.name, asked.stream) == ("bundled", False)
    assert asked.request.sampling.max_new_tokens == 50
    assert made.choices[0].message.content == "a dog"
    assert (made.choices[0].finish_reason, made.id, made.model) == ("stop", "chatcmpl-1", "bundled")
    assert made.usage is not None and made.usage.total_tokens == 603
    assert made.model_extra is not None and made.model_extra["vipcli"]["probability"] == 0.75
    assert type(made).model_validate(made.model_dump(), strict=True) == made


def test_the_client_goes_on_with_what_it_was_answered(client: openai.OpenAI, served: Served) -> None:
    messages: list[Any] = [{"role": "user", "content": [picture(), text("Who?")]}]
    made = client.chat.completions.create(model="x", messages=messages)
    messages += [made.choices[0].message, {"role": "user", "content": "Sure?"}]
    client.chat.completions.create(model="x", messages=messages)
    assert served.asked[1].request.prompt.endswith(
        "<image>\nWho?###Assistant: a dog###Human: Sure?###Assistant:"
    )


def test_the_client_reads_an_answer_as_it_comes(client: openai.OpenAI, served: Served) -> None:
    stream = client.chat.completions.create(
        model="bundled",
        messages=QUESTION[1:],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"regions": [{"box": "1,1,30,30"}]},
    )
    chunks = list(stream)
    assert served.asked[0].stream and served.asked[0].with_usage
    assert [one.choices[0].delta.content for one in chunks[:-1]] == ["", "a ", "dog", None]
    assert [one.choices[0].delta.role for one in chunks[:2]] == ["assistant", None]
    assert [one.choices[0].finish_reason for one in chunks[:-1]] == [None, None, None, "stop"]
    assert [one.usage for one in chunks[:-1]] == [None] * 4
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert chunks[-1].model_extra is not None and chunks[-1].model_extra["vipcli"]["probability"] == 0.75
    for one in chunks:
        assert type(one).model_validate(one.model_dump(), strict=True) == one


def test_the_clients_own_helper_puts_a_stream_together(client: openai.OpenAI, served: Served) -> None:
    with client.chat.completions.stream(model="bundled", messages=[user("Who?", picture())]) as stream:  # type: ignore[list-item]
        made = stream.get_final_completion()
    assert made.choices[0].message.content == "a dog"
    assert not served.asked[0].with_usage


def test_the_client_raises_what_it_is_told(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="fetches nothing") as caught:
        client.chat.completions.create(
            model="bundled",
            messages=[user("Who?", picture("https://example.org/dog.png"))],  # type: ignore[list-item]
        )
    assert (caught.value.type, caught.value.code, caught.value.param) == (
        "invalid_request_error",
        "bad",
        "messages",
    )


def test_the_client_lists_the_one_model(client: openai.OpenAI) -> None:
    assert [(one.id, one.owned_by) for one in client.models.list()] == [("bundled", "vipcli")]
