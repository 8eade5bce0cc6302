"""The chat-completions form: requests are read or refused, and OpenAI's client understands the responses."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
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
from vipcli.asking.interface import EndReason, ModelFacts, Reply
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import HUMAN, VICUNA
from vipcli.checkpoints.stops import Stop
from vipcli.errors import (
    ColorError,
    ConfigError,
    ImageError,
    MarkError,
    Message,
    PromptError,
    UsageError,
    VipcliError,
)
from vipcli.marks.kinds import BY_KIND, parse_mark
from vipcli.pictures.images import read_picture
from vipcli.serving import openai_api
from vipcli.serving.openai_api import ChatRequest, ResponseId, UnknownModelError
from vipcli.serving.openai_schema import RegionField, RequestBody, UnsupportedFieldError

BUNDLED = lookup.find("bundled")
MAX_PIXELS, LONGEST = 100_000, 1_000
RESPONSE = ResponseId("chatcmpl-1", 1_700_000_000)


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
    return {"role": "user", "content": [text(part) if isinstance(part, str) else part for part in parts]}


def assistant(words: str) -> dict[str, Any]:
    return {"role": "assistant", "content": words}


def body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "bundled", "messages": list(messages or [user("What is it?", picture())]), **more}


def read(body: Any, max_pixels: int = MAX_PIXELS) -> ChatRequest:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return openai_api.read_request(content, BUNDLED, max_pixels=max_pixels, max_tokens=LONGEST)


def reply(words: str = "a dog", ended: EndReason = "stop", probability: float | None = 0.75) -> Reply:
    facts = ModelFacts("scripted", None, "float32", "cpu")
    return Reply(words, ended, 600, (5, 6, 7), 2, probability, facts)


# --------------------------------------------------------------------------- requests


def test_a_question_is_asked_as_on_the_command_line() -> None:
    region = {"box": "8%,36%,31%,66%:red"}
    chat = read(body(user("What is {1}?", picture()), regions=[region]))
    answerer = ScriptedAnswerer("yes")
    marked = mark([read_picture(png(), "photo")], [parse_mark("box", region["box"])])
    ask(prepare(marked, "What is {1}?", BUNDLED), answerer)
    (expected,) = answerer.requests
    assert [image.tobytes() for image in chat.request.images] == [
        image.tobytes() for image in expected.images
    ]
    for name in (
        "prompt",
        "fit",
        "stops",
        "user_texts",
        "sampling",
        "past_turns",
        "min_answer_tokens",
        "frames",
    ):
        assert getattr(chat.request, name) == getattr(expected, name)
    assert chat.question.text == "What is within the red rectangle?"
    assert (chat.stream, chat.include_usage, chat.model) == (False, False, "bundled")


def test_a_conversation_becomes_one_prompt() -> None:
    chat = read(
        body(
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [text("Be kind.")]},
            user(picture(), "What is {1}?", picture(png(2))),
            assistant("a red dog"),
            {"role": "user", "content": "And this?", "name": "somebody"},
            user("Beside {2}?"),
            regions=[{"point": "30,20:blue"}, {"kind": "box", "at": [1, 2, 30.5, "50%"], "image": 2}],
        )
    )
    assert chat.request.prompt == (
        "Be brief.\nBe kind.###Human: <image>\n<image>\nWhat is at the blue point?###Assistant: a red dog"
        "###Human: And this?\nBeside within the red rectangle?###Assistant:"
    )
    assert set(chat.request.user_texts) == {
        "And this?\nBeside within the red rectangle?",
        "Be brief.\nBe kind.",
        "What is at the blue point?",
        "a red dog",
    }
    assert chat.request.min_answer_tokens == 64
    assert [shown.picture.name for shown in chat.question.marked.pictures] == ["Picture 1", "Picture 2"]
    assert [list(shown.marks) for shown in chat.question.marked.pictures] == [[1], [2]]


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
def test_the_question_is_the_text_of_the_last_turn(messages: list[Any], question: str) -> None:
    chat = read(body(*messages, regions=[{"box": "1,1,30,30"}]))
    assert chat.question.text == question
    assert chat.request.prompt.endswith(f"{question}###Assistant:")


def test_an_earlier_turn_without_a_question_has_the_default_question() -> None:
    chat = read(body(user(picture()), assistant("a dog"), user("Sure?")))
    assert "<image>\nWhat is shown in this picture?###Assistant: a dog###Human: Sure?" in chat.request.prompt


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
    chat = read(body(regions=[region]))
    expected = mark([read_picture(png(), "photo")], [parse_mark(*typed)])
    assert chat.question.marked.marks == expected.marks
    assert chat.request.images[0].tobytes() == expected.pixels.tobytes()


def test_there_is_a_region_for_every_kind_of_mark() -> None:
    assert set(RegionField.model_fields) == {*BY_KIND, "kind", "at", "color", "image"}


@pytest.mark.parametrize("kind", ["png", "PNG", "jpeg", "jpg", "webp", "gif", "bmp", "tiff"])
def test_pictures_come_in_the_usual_formats(kind: str) -> None:
    format = {"JPG": "JPEG"}.get(kind.upper(), kind.upper())
    wrapped = data_url(png(format=format), kind).replace("A", "A\n")
    chat = read(body(user(picture(wrapped), "What?")))
    assert chat.request.images[0].shape == (40, 60, 3)


def test_settings_and_their_defaults() -> None:
    default = read(body()).request
    assert (default.fit, default.stops) == ("pad", HUMAN.stops)
    assert default.sampling.max_new_tokens == 512
    assert (default.sampling.temperature, default.sampling.top_p, default.sampling.seed) == (0, 1, 0)
    chosen = read(
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
    sampling = chosen.request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.seed, sampling.max_new_tokens) == (0.5, 0.9, 7, 30)
    assert chosen.request.fit == "crop"
    assert chosen.request.stops == (*VICUNA.stops, Stop("\n"), Stop("END"))
    assert chosen.request.prompt.endswith("USER: <image>\nWhat is it? ASSISTANT:")
    assert (chosen.stream, chosen.include_usage) == (True, True)
    assert read(body(stop="x")).request.stops[-1] == Stop("x")
    assert read(body(max_tokens=LONGEST)).request.sampling.max_new_tokens == LONGEST


def test_the_server_limits_the_length_of_answers() -> None:
    content = json.dumps(body()).encode()
    chat = openai_api.read_request(content, BUNDLED, max_pixels=MAX_PIXELS, max_tokens=100)
    assert chat.request.sampling.max_new_tokens == 100


def test_a_sampled_answer_reports_its_random_seed() -> None:
    chats = [read(body(temperature=1)) for _ in range(3)]
    assert len({chat.request.sampling.seed for chat in chats}) == 3
    response = openai_api.completion(chats[0], reply(), RESPONSE)
    assert response["vipcli"]["seed"] == chats[0].request.sampling.seed


def test_fields_that_change_nothing_are_ignored() -> None:
    harmless = {
        "user": "me",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "auto",
        "safety_identifier": "me",
        "prompt_cache_key": "here",
        "prediction": {"type": "content", "content": "a dog"},
        "parallel_tool_calls": False,
        "reasoning_effort": "none",
        "frequency_penalty": 0.0,
        "presence_penalty": 0,
        "repetition_penalty": 1.0,
        "top_k": -1,
        "min_p": 0,
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
        "anything": None,
    }
    assert read(body(**harmless)).request.prompt == read(body()).request.prompt


# --------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("logit_bias", {"5": 1}),
        ("audio", {"voice": "x"}),
        ("modalities", ["text", "audio"]),
        ("frequency_penalty", 0.5),
        ("presence_penalty", float("nan")),
        ("web_search_options", {}),
        ("moderation", {"model": "x"}),
        ("top_k", 50),
        ("top_k", 1),
        ("min_p", 0.05),
        ("typical_p", 0.9),
        ("repetition_penalty", 1.1),
        ("reasoning_effort", "low"),
        ("verbosity", "high"),
        ("ignore_eos", True),
        ("min_tokens", 5),
        ("stop_token_ids", [5]),
        ("guided_json", {"type": "object"}),
        ("chat_template_kwargs", {"enable_thinking": True}),
        ("temprature", 0.5),
        ("anything", [1]),
        ("x" * 300, 1),
    ],
)
def test_fields_that_may_change_the_answer_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(
        UnsupportedFieldError, match=f"^The field '{name[:60]}' is not supported here"
    ) as caught:
        read(body(**{name: value}))
    assert openai_api.error_body(caught.value)["error"] == {
        "message": str(caught.value),
        "type": "invalid_request_error",
        "param": name[:60],
        "code": "unsupported_parameter",
    }
    assert str(caught.value).endswith("Leave it out.")


def test_a_refusal_names_the_values_that_are_allowed() -> None:
    with pytest.raises(
        UnsupportedFieldError, match=r"'top_k' is not supported here, except as -1 or 0\. Leave"
    ):
        read(body(top_k=40))


@pytest.mark.parametrize("name", ["other", "vip-llava-7b", "Bundled", "bundled ", ""])
def test_another_model_is_refused(name: str) -> None:
    with pytest.raises(UnknownModelError, match="This server has bundled") as caught:
        read(body() | {"model": name})
    error = openai_api.error_body(caught.value)["error"]
    assert (error["code"], error["param"]) == ("model_not_found", "model")


def test_a_model_has_its_short_name_too() -> None:
    served = replace(BUNDLED, name="llava-hf/vip-llava-7b-hf")
    openai_api.check_model("vip-llava-7b", served)
    openai_api.check_model("llava-hf/vip-llava-7b-hf", served)
    with pytest.raises(UnknownModelError):
        openai_api.check_model("vip-llava-13b", served)


@pytest.mark.parametrize("first", [user(picture(), "a"), user("a")])
def test_pictures_after_an_answer_are_refused(first: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Pictures can only come with the first question of a conversation"):
        read(body(first, assistant("b"), user(picture(png(2)), "c")))


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            Message("It is too long.", "Lower {max_new_tokens}, or choose {fit=pad}."),
            'It is too long. Lower max_tokens, or choose "fit": "pad".',
        ),
        (Message("It is too cold.", "Try {temperature=1}."), 'It is too cold. Try "temperature": 1.0.'),
        (Message("It is too large.", "Raise {max_pixels}, or choose {fit=pad}."), "It is too large."),
        (
            Message("It is not mentioned.", "Write {1} in it."),
            "It is not mentioned. Write {1} in it.",
        ),
    ],
)
def test_advice_names_the_fields_of_a_request_or_is_left_out(message: Message, text: str) -> None:
    error = openai_api.error_body(UsageError(message.fact, message.advice))["error"]
    assert error["message"] == openai_api.spell(message) == text


HUGE = json.dumps(body()).replace('"bundled"', '"bundled", "seed": ' + "1" * 5_000).encode()


@pytest.mark.parametrize(
    ("request_body", "error", "reason"),
    [
        (b"", UsageError, "cannot be read: invalid JSON"),
        (b"\xff", UsageError, "cannot be read: invalid JSON"),
        (b"[" * 100_000, UsageError, "recursion limit"),
        (b"[1]", UsageError, "cannot be read: input should be an object"),
        (HUGE, UsageError, "number out of range"),
        (b'{"model": "\\ud800"}', UsageError, "cannot be read"),
        ({}, UsageError, "invalid at 'model': field required"),
        (body(model="bundled" * 201), UsageError, "invalid at 'model'"),
        (body() | {"model": None}, UsageError, "invalid at 'model': input should be a valid string"),
        (body() | {"messages": []}, UsageError, "last message must be from the user"),
        (body() | {"messages": {}}, UsageError, "invalid at 'messages': input should be a valid array"),
        (body(assistant("no")), UsageError, "must follow a user message"),
        (body(user(picture(), "a"), assistant("b")), UsageError, "last message must be from the user"),
        (body(user(picture(), "a"), assistant("b"), assistant("c"), user("d")), UsageError, "must follow"),
        (body({"role": "tool", "content": "x", "tool_call_id": "y"}), UsageError, "have the role 'tool'"),
        (body({"role": "user"}), UsageError, "'user' has no content"),
        (body({"role": "user", "content": []}), UsageError, "'user' has no content"),
        (body({"role": "user", "content": 5}), UsageError, "invalid at 'messages.0.content.text'"),
        (body(user(picture(), {"type": "text"})), UsageError, "has the type 'text', or lacks"),
        (body(user({"type": "input_audio"})), UsageError, "has the type 'input_audio'"),
        (body(user({"type": "image_url", "image_url": "x"})), UsageError, "content.parts.0.image_url"),
        (body({"role": "system", "content": [picture()]}), UsageError, "'system' cannot contain pictures"),
        (
            body({**assistant("x"), "tool_calls": [{}]}),
            UsageError,
            "The field 'messages.0.tool_calls' is not",
        ),
        (body(user("What?")), UsageError, "no picture in the messages"),
        (body(user("", picture())), PromptError, "question is empty"),
        (body(user("x" * 60_000, picture(), "x" * 60_000)), PromptError, "have 120,000 characters in total"),
        (body(user("What is {1}?", picture())), PromptError, "mark {1}, but there are no marks"),
        (body(user("a <image>", picture())), PromptError, "'<image>'"),
        (body(user("a\0", picture())), PromptError, "control character"),
        (body(user("###Human", picture()), assistant("b"), user("c")), PromptError, "contains '###Human'"),
        (body(user("a\0", picture()), assistant("b"), user("c")), PromptError, "control character"),
        (
            body(user("a", picture()), assistant("###Human: b"), user("c")),
            PromptError,
            "answer contains '###Human'",
        ),
        (
            body({"role": "system", "content": "</s>"}, user("a", picture())),
            PromptError,
            "system line contains",
        ),
        (body(user("{3}", picture()), assistant("b"), user("c")), PromptError, "mark {3}"),
        (body(temperature=-1), ConfigError, "temperature is '-1.0', but takes a number from 0 to 10"),
        (body(temperature=float("nan")), UsageError, "'temperature': input should be a finite number"),
        (body(temperature=True), UsageError, "'temperature': input should be a valid number"),
        (body(top_p=0), ConfigError, "top_p is '0.0', but takes"),
        (body(seed=-1), ConfigError, "seed is '-1', but takes"),
        (body(seed=10**400), ConfigError, "seed is '1000"),
        (body(max_tokens=0), ConfigError, "max_tokens is '0', but takes a whole number from 1 to 1000"),
        (body(max_completion_tokens=1001), ConfigError, "max_completion_tokens is '1001'"),
        (body(fit="squeeze"), ConfigError, "fit is 'squeeze', but takes one of auto, pad, crop, stretch"),
        (body(prompt_form="x"), ConfigError, "prompt_form is 'x', but takes one of auto, human"),
        (body(stop=["a"] * 5), UsageError, "5 stop sequences. At most 4"),
        (body(stop=""), UsageError, "1 to 100 characters"),
        (body(stop=3), UsageError, "invalid at 'stop"),
        (body(stream="yes"), UsageError, "invalid at 'stream'"),
        (body(stream_options=[]), UsageError, "invalid at 'stream_options'"),
    ],
)
def test_an_error_says_what_is_wrong_with_a_request(
    request_body: Any, error: type[VipcliError], reason: str
) -> None:
    with pytest.raises(error) as caught:
        read(request_body)
    assert reason in str(caught.value)
    assert len(str(caught.value)) < 300 and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("region", "error", "reason"),
    [
        ({}, MarkError, "Region 1 must have exactly one kind, with coordinates"),
        ({"kind": "box"}, MarkError, "exactly one kind"),
        ({"at": "1,2,3,4"}, MarkError, "exactly one kind"),
        ({"kind": "blob", "at": "1,2,3,4"}, MarkError, "The kinds are box, ellipse"),
        ({"kind": "ellipse", "box": "1,2,3,4"}, MarkError, "exactly one kind"),
        ({"box": "1,2,3,4", "point": "1,2"}, MarkError, "exactly one kind"),
        ({"box": "1,2,3,4", "at": "1,2,3,4"}, MarkError, "exactly one kind"),
        ({"box": "1,2,3,4", "colour": "red"}, UsageError, "'regions.0.colour': extra inputs"),
        ({"box": "1,2,3,4:red", "color": "blue"}, MarkError, "sets its color or its image twice"),
        ({"box": "1:1,2,3,4", "image": 1}, MarkError, "sets its color or its image twice"),
        ({"box": "1,2,3,4", "color": "reddish"}, ColorError, "no color 'reddish'"),
        ({"box": "1,2,3,4", "color": "red:1"}, ColorError, "no color"),
        ({"box": "1,2,3,4", "image": 2}, MarkError, "there is only one picture"),
        ({"box": "1,2,3,4", "image": 0}, UsageError, "invalid at 'regions.0.image'"),
        ({"box": "1,2,3,4", "image": 10**30}, UsageError, "invalid at 'regions.0.image'"),
        ({"box": [1, 2, 3]}, MarkError, "has 3 numbers"),
        ({"box": []}, MarkError, "Cannot read the box"),
        ({"box": [1, 2, 3, [4]]}, UsageError, "invalid at 'regions.0.box.parts.3"),
        ({"box": [1, 2, 3, 1e300]}, MarkError, "Cannot read the box"),
        ({"box": [1, 2, 3, float("inf")]}, UsageError, "invalid at 'regions.0.box.parts.3"),
        ({"box": {"x": 1}}, UsageError, "invalid at 'regions.0.box"),
        ({"box": [900, 900, 990, 990]}, MarkError, "lies outside the picture"),
        ({"mask": "/etc/passwd"}, MarkError, "does not read files"),
        ({"mask": "1:mask.png:red"}, MarkError, "does not read files"),
        ({"kind": "contour", "at": ["mask.png"]}, MarkError, "does not read files"),
        ({"scribble": [1] * 20_002}, UsageError, "invalid at 'regions.0.scribble.parts'"),
    ],
)
def test_an_error_says_what_is_wrong_with_a_region(
    region: dict[str, Any], error: type[VipcliError], reason: str
) -> None:
    with pytest.raises(error) as caught:
        read(body(regions=[region]))
    assert reason in str(caught.value)


def test_no_file_is_opened_for_a_region(tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    Image.new("L", (60, 40), 255).save(mask)
    with pytest.raises(MarkError, match="does not read files"):
        read(body(regions=[{"mask": str(mask)}]))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://example.org/dog.png", "is not a data URL, and this server does not download pictures"),
        ("file:///etc/passwd", "is not a data URL"),
        ("/etc/passwd", "is not a data URL"),
        ("", "is not a data URL"),
        ("data:", "does not start with"),
        ("data:image/png", "does not start with"),
        ("data:image/png,abcd", "does not start with"),
        ("data:image/svg+xml;base64,PHN2Zy8+", "does not start with"),
        ("data:text/html;base64,PHN2Zy8+", "does not start with"),
        ("data:image/png;base64,", "Picture 1 is empty"),
        ("data:image/png;base64,abc", "not valid base64"),
        ("data:image/png;base64,äöü=", "not valid base64"),
        ("data:image/png;base64,PHN2Zy8+", "Picture 1 is an SVG drawing"),
        (data_url(png()[:200]), "Picture 1 is damaged or cut off"),
        (data_url(b"nothing"), "Picture 1 is not a picture"),
        (data_url(png(width=400, height=400)), "Picture 1 is 400 × 400 pixels, more than the limit"),
    ],
)
def test_anything_but_a_picture_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ImageError, match=reason):
        read(body(user("What?", picture(url))))


def test_pictures_are_limited_together() -> None:
    large = picture(png(width=100, height=100))
    assert len(read(body(user("What?", large, large)), 20_000).request.images) == 2
    with pytest.raises(ImageError, match="padded to squares, have more than 20,000 pixels in total"):
        read(body(user("What?", large, large, large)), 20_000)
    with pytest.raises(ImageError, match="The pictures have more than 20,000 pixels in total"):
        read(body(user("What?", large, large, large), fit="crop"), 20_000)
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


# --------------------------------------------------------------------------- fuzzing


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
    [*RequestBody.model_fields, *RegionField.model_fields, "role", "content", "type", "text"]
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
WHOLE = body(
    {"role": "system", "content": "Be brief."},
    user("What is {1}?", picture(png(1, 16, 12)), picture(png(2, 12, 16))),
    assistant("a dog"),
    user("And {2}?"),
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


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


def check_read_or_refused(request_body: bytes) -> None:
    """A request is either read and answered, or refused in a sentence."""
    try:
        chat = read(request_body)
    except VipcliError as error:
        assert str(error) and json.dumps(openai_api.error_body(error))
        return
    for response in (
        openai_api.completion(chat, reply(), RESPONSE),
        openai_api.text_chunk(chat, RESPONSE, "a"),
        openai_api.usage_chunk(chat, RESPONSE, reply()),
    ):
        json.dumps(response, ensure_ascii=False, allow_nan=False).encode()


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
def test_any_json_is_read_or_refused(value: Any) -> None:
    check_read_or_refused(json.dumps(value).encode())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused(value: bytes) -> None:
    check_read_or_refused(value)


def test_the_request_of_the_next_tests_can_be_read() -> None:
    assert read(WHOLE).question.text == "And with the blue scribble?"


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_a_request_that_was_tampered_with_is_read_or_refused(data: st.DataObject) -> None:
    changed: Any = deepcopy(WHOLE)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(list(paths(changed))))
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        match data.draw(st.sampled_from(["replace", "drop", "add", "double"])):
            case "replace":
                inside[path[-1]] = data.draw(ANYTHING)
            case "drop":
                del inside[path[-1]]
            case "double" if isinstance(inside, list):
                inside.append(deepcopy(inside[path[-1]]))
            case _ if isinstance(inside, dict):
                inside[data.draw(NAMES)] = data.draw(ANYTHING)
        if not list(paths(changed)):
            break
    check_read_or_refused(json.dumps(changed).encode())


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.binary(max_size=4))
def test_a_request_with_broken_bytes_is_read_or_refused(place: int, put: bytes) -> None:
    content = json.dumps(WHOLE).encode()
    place %= len(content)
    check_read_or_refused(content[:place] + put + content[place + 1 :])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(BY_KIND)), st.text("0123456789.,;: %-+e\nrd#/", max_size=40), SCALARS)
def test_any_region_is_read_or_refused(kind: str, at: str, color: Any) -> None:
    check_read_or_refused(json.dumps(body(regions=[{kind: at, "color": color}])).encode())
    check_read_or_refused(json.dumps(body(regions=[{kind: at}])).encode())


# --------------------------------------------------------------------------- responses


@pytest.mark.parametrize(("ended", "finish"), [("stop", "stop"), ("length", "length"), ("halted", "length")])
def test_a_completion(ended: EndReason, finish: str) -> None:
    chat = read(body(user("What?", picture()), regions=[{"box": "1,1,30,30:pink"}]))
    assert openai_api.completion(chat, reply(ended=ended), RESPONSE) == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "bundled",
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
            "notes": [openai_api.spell(note) for note in chat.question.notes],
        },
    }
    assert any("Write {1} in it" in str(note) for note in chat.question.notes)


@pytest.mark.parametrize("probability", [None, float("nan")])
def test_an_answer_without_a_probability_has_none(probability: float | None) -> None:
    response = openai_api.completion(read(body()), reply("", probability=probability), RESPONSE)
    assert response["vipcli"]["probability"] is None


def test_doubts_are_among_the_notes() -> None:
    facts = ModelFacts("bundled", None, "float32", "cpu")
    unsure = Reply("a dog", "stop", 600, (5,), 1, 0.2, facts)
    response = openai_api.completion(read(body()), unsure, RESPONSE)
    # A request cannot choose another model, as the advice of this note says.
    assert response["vipcli"]["notes"][-1].endswith("is not sure of this picture.")


# --------------------------------------------------------------------------- OpenAI's client


class FakeServer:
    """What a server does, without one: it reads requests and writes responses."""

    def __init__(self) -> None:
        self.chats: list[ChatRequest] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json=openai_api.model_list(BUNDLED, created=1_700_000_000))
        assert request.url.path == "/v1/chat/completions"
        try:
            chat = read(request.content)
        except VipcliError as error:
            return httpx2.Response(400, json=openai_api.error_body(error))
        self.chats.append(chat)
        if not chat.stream:
            return httpx2.Response(200, json=openai_api.completion(chat, reply(), RESPONSE))
        chunks = [
            openai_api.first_chunk(chat, RESPONSE),
            openai_api.text_chunk(chat, RESPONSE, "a "),
            openai_api.text_chunk(chat, RESPONSE, "dog"),
            openai_api.last_chunk(chat, RESPONSE, reply()),
        ]
        if chat.include_usage:
            chunks.append(openai_api.usage_chunk(chat, RESPONSE, reply()))
        events = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        return httpx2.Response(200, text=events, headers={"content-type": "text/event-stream"})


@pytest.fixture
def server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def client(server: FakeServer) -> Iterator[openai.OpenAI]:
    handler: Callable[[httpx2.Request], httpx2.Response] = server
    with openai.OpenAI(
        api_key="none",
        base_url="http://localhost/v1",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handler)),
    ) as client:
        yield client


QUESTION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [text("What is {1}?"), picture()]},
]


def test_the_client_asks_and_reads_the_answer(client: openai.OpenAI, server: FakeServer) -> None:
    completion = client.chat.completions.create(
        model="bundled",
        messages=QUESTION,
        temperature=0,
        max_completion_tokens=50,
        extra_body={"regions": [{"kind": "box", "at": [1, 1, 30, 30], "color": "red"}]},
    )
    (chat,) = server.chats
    assert chat.question.text == "What is within the red rectangle?"
    assert (chat.model, chat.stream) == ("bundled", False)
    assert chat.request.sampling.max_new_tokens == 50
    assert completion.choices[0].message.content == "a dog"
    assert (completion.choices[0].finish_reason, completion.id, completion.model) == (
        "stop",
        "chatcmpl-1",
        "bundled",
    )
    assert completion.usage is not None and completion.usage.total_tokens == 603
    assert completion.model_extra is not None and completion.model_extra["vipcli"]["probability"] == 0.75
    assert type(completion).model_validate(completion.model_dump(), strict=True) == completion


def test_the_client_continues_a_conversation(client: openai.OpenAI, server: FakeServer) -> None:
    messages: list[Any] = [{"role": "user", "content": [picture(), text("Who?")]}]
    completion = client.chat.completions.create(model="bundled", messages=messages)
    messages += [completion.choices[0].message, {"role": "user", "content": "Sure?"}]
    client.chat.completions.create(model="bundled", messages=messages)
    assert server.chats[1].request.prompt.endswith(
        "<image>\nWho?###Assistant: a dog###Human: Sure?###Assistant:"
    )


def test_the_client_streams_an_answer(client: openai.OpenAI, server: FakeServer) -> None:
    stream = client.chat.completions.create(
        model="bundled",
        messages=QUESTION[1:],
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"regions": [{"box": "1,1,30,30"}]},
    )
    chunks = list(stream)
    assert server.chats[0].stream and server.chats[0].include_usage
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["", "a ", "dog", None]
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, None, "stop"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert chunks[-1].model_extra is not None and chunks[-1].model_extra["vipcli"]["probability"] == 0.75
    for chunk in chunks:
        assert type(chunk).model_validate(chunk.model_dump(), strict=True) == chunk


def test_the_clients_stream_helper_works(client: openai.OpenAI, server: FakeServer) -> None:
    with client.chat.completions.stream(model="bundled", messages=[user("Who?", picture())]) as stream:  # type: ignore[list-item]
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == "a dog"
    assert not server.chats[0].include_usage


def test_the_client_raises_the_error_of_the_server(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="does not download pictures") as caught:
        client.chat.completions.create(
            model="bundled",
            messages=[user("Who?", picture("https://example.org/dog.png"))],  # type: ignore[list-item]
        )
    assert (caught.value.type, caught.value.code, caught.value.param) == (
        "invalid_request_error",
        None,
        None,
    )


def test_the_client_lists_the_one_model(client: openai.OpenAI) -> None:
    assert [(model.id, model.owned_by) for model in client.models.list()] == [("bundled", "vipcli")]
