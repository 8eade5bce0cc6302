"""The chat-completions form of OpenAI, which many clients speak, as our questions and answers. No server."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import chain
from math import isnan
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from vipcli.asking.interface import GREEDY, Ended, Reply, Request
from vipcli.asking.pipeline import mark, prepare, request_of
from vipcli.asking.questions import default_question, fill_in
from vipcli.asking.records import Answer
from vipcli.asking.values import Earlier, Question
from vipcli.chat.conversation import Manner, manner_of
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.checkpoints.prompt_forms import LONGEST_TEXT, PromptForm, check_text
from vipcli.checkpoints.stops import Stop
from vipcli.config import SETTINGS, checked, count_from
from vipcli.errors import ImageError, MarkError, PromptError, UsageError
from vipcli.geometry import Fit
from vipcli.marks.colors import parse_color
from vipcli.marks.kinds import BY_KIND, Mark, TypedMark, parse_mark
from vipcli.pictures.fitting import LONGEST_SIDE
from vipcli.pictures.images import Picture, read_picture

MOST_PICTURES = 32
"""Each is made ready for the model before anybody knows whether all of them fit."""
MOST_REGIONS = 64
MOST_STOPS = 4
_LONGEST_STOP = 100
_MOST_NUMBERS = 20_000

_PICTURE_TYPES = ("png", "jpeg", "jpg", "webp", "gif", "bmp", "tiff", "tif")
_FINISH: dict[Ended, Literal["stop", "length"]] = {"stop": "stop", "length": "length", "halted": "length"}

_UNSERVED: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "moderation": (),
    "n": (1,),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
    "web_search_options": (),
}
"""Fields that ask for what no model here does, and the values that ask for nothing."""
_UNSERVED_IN_MESSAGES: dict[str, tuple[Any, ...]] = {"audio": (), "function_call": (), "tool_calls": ([],)}


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a client asked: ready for a model, and what its answer must be written with."""

    request: Request
    question: Question
    stream: bool
    with_usage: bool
    """Whether a stream is to end with the count of tokens."""
    name: str
    """The model's, as the client wrote it."""


def read(body: bytes, checkpoint: Checkpoint, *, max_pixels: int, longest_answer: int) -> Asked:
    """What the body of a request asks of a checkpoint.

    `max_pixels` is for all its pictures together, with what they are padded with; `longest_answer` in tokens.
    """
    told = _told(body)
    _insist_on_servable(told.model_extra, _UNSERVED, "request")
    stops = _stops(told.stop)
    manner = _manner(told, longest_answer)
    form = checkpoint.form(manner.prompt)
    said = _said(told.messages)
    regions = told.regions or []
    _insist_on_few(regions, MOST_REGIONS, "regions")
    typed = [_mark(number, one) for number, one in enumerate(regions, 1)]
    marked = mark(_pictures(said.addresses, max_pixels, manner.fit), typed)
    asked = [_joined(texts) for texts in said.questions]
    question = prepare(
        marked,
        asked[-1],
        checkpoint,
        prompt=manner.prompt,
        system=_joined(said.system),
        fit=manner.fit,
        earlier=[
            Earlier(_as_asked(text, marked.marks, form), answer, None)
            for text, answer in zip(asked[:-1], said.answers, strict=True)
        ],
    )
    request = request_of(question, manner.sampling())
    return Asked(
        request=replace(request, stops=(*request.stops, *stops)),
        question=question,
        stream=bool(told.stream),
        with_usage=bool(told.stream_options and told.stream_options.include_usage),
        name=told.model,
    )


def whole(asked: Asked, reply: Reply, *, id: str, created: int) -> dict[str, Any]:
    """An answer in one piece."""
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _FINISH[reply.ended]}
    return {
        "id": id,
        "object": "chat.completion",
        "created": created,
        "model": asked.name,
        "choices": [choice],
        "usage": _usage(reply),
        "vipcli": _ours(asked, reply),
    }


def piece(
    asked: Asked,
    text: str | None,
    *,
    id: str,
    created: int,
    first: bool = False,
    ended: Ended | None = None,
) -> dict[str, Any]:
    """A part of an answer as it comes; the first one says whose it is, the last one how it ended."""
    delta: dict[str, Any] = {"role": "assistant", "content": ""} if first else {}
    if text is not None:
        delta["content"] = text
    finish = None if ended is None else _FINISH[ended]
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {**_chunk(asked, [choice], id, created), **({"usage": None} if asked.with_usage else {})}


def usage_piece(asked: Asked, reply: Reply, *, id: str, created: int) -> dict[str, Any]:
    """What follows the last part of an answer where its tokens are to be counted."""
    return {**_chunk(asked, [], id, created), "usage": _usage(reply), "vipcli": _ours(asked, reply)}


def refusal(
    message: str, *, kind: str = "invalid_request_error", code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """What a client is told that gets no answer."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def listed(checkpoint: Checkpoint, *, created: int) -> dict[str, Any]:
    """The list of models, which is one model long."""
    model = {"id": checkpoint.name, "object": "model", "created": created, "owned_by": "vipcli"}
    return {"object": "list", "data": [model]}


def _chunk(asked: Asked, choices: list[dict[str, Any]], id: str, created: int) -> dict[str, Any]:
    return {
        "id": id,
        "object": "chat.completion.chunk",
        "created": created,
        "model": asked.name,
        "choices": choices,
    }


def _usage(reply: Reply) -> dict[str, int]:
    taken, written = reply.prompt_tokens, len(reply.token_ids)
    return {"prompt_tokens": taken, "completion_tokens": written, "total_tokens": taken + written}


def _ours(asked: Asked, reply: Reply) -> dict[str, Any]:
    """What the form has no place for."""
    answer = Answer(asked.question, reply, asked.request.sampling)
    return {
        "question": asked.question.text,
        "probability": None if reply.probability is None or isnan(reply.probability) else reply.probability,
        "seed": answer.sampling.seed,
        "notes": list(answer.notes),
    }


# --------------------------------------------------------------------------- what a request looks like


class _Form(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class _Address(_Form):
    url: str


class _Part(_Form):
    type: str
    text: str | None = None
    image_url: _Address | None = None


def _shape(value: Any) -> str:
    return "parts" if isinstance(value, list) else "text"


class _Message(_Form):
    model_config = ConfigDict(extra="allow")

    role: str
    content: Annotated[
        # Told apart before they are read, so that an error speaks of the one that was meant.
        Annotated[str | None, Tag("text")] | Annotated[list[_Part], Tag("parts")], Discriminator(_shape)
    ] = None


_Place = Annotated[str, Field(max_length=LONGEST_TEXT)]
_Number = float | Annotated[str, Field(max_length=40)]
_At = Annotated[
    Annotated[_Place | None, Tag("text")]
    | Annotated[list[_Number], Field(max_length=_MOST_NUMBERS), Tag("parts")],
    Discriminator(_shape),
]


class _Region(_Form):
    model_config = ConfigDict(extra="forbid")

    kind: str | None = None
    at: _At = None
    color: Annotated[str, Field(max_length=40)] | None = None
    image: Annotated[int, Field(ge=1, le=9999)] | None = None
    box: _At = None
    ellipse: _At = None
    triangle: _At = None
    point: _At = None
    arrow: _At = None
    scribble: _At = None
    contour: _At = None
    mask: _At = None


class _StreamOptions(_Form):
    include_usage: bool | None = None


class _Told(_Form):
    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=200)]
    messages: list[_Message]
    regions: list[_Region] | None = None
    prompt_form: str | None = None
    fit: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


# --------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Said:
    """What the messages hold, by who said it; each question in its pieces."""

    system: list[str] = field(default_factory=list)
    questions: list[list[str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    """Of the pictures, wherever they stood."""

    def asks(self, texts: list[str]) -> None:
        """Take a user's message; one that follows another belongs to the same question."""
        if len(self.questions) == len(self.answers):
            self.questions.append([])
        self.questions[-1].extend(texts)

    def answers_with(self, text: str) -> None:
        """Take an assistant's message."""
        if len(self.questions) == len(self.answers):
            raise UsageError("A message of the assistant must follow one of the user.")
        self.answers.append(text)


def _told(body: bytes) -> _Told:
    try:
        return _Told.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(part)[:40] for part in first["loc"])
        where = f"is wrong at {place!r}" if place else "cannot be read"
        why = first["msg"][:1].lower() + first["msg"][1:]
        raise UsageError(f"The request {where}: {why}.") from None


def _insist_on_servable(
    given: Mapping[str, Any] | None, unserved: Mapping[str, tuple[Any, ...]], where: str
) -> None:
    for name, harmless in unserved.items():
        value = (given or {}).get(name)
        if value is not None and value not in harmless:
            raise UsageError(
                f"The field {name} of the {where} asks for what is not served here. Leave it out."
            )


def _insist_on_few(things: Sequence[Any], most: int, what: str) -> None:
    if len(things) > most:
        raise UsageError(f"The request holds {len(things):,} {what}. At most {most} are taken.")


def _manner(told: _Told, longest_answer: int) -> Manner:
    """How to answer, each setting read as if it had been typed."""
    length = count_from(1, longest_answer)
    settings: dict[str, Any] = {"max_new_tokens": min(GREEDY.max_new_tokens, longest_answer)}
    for name, setting, read_one in (
        ("prompt_form", "prompt", SETTINGS["prompt"].read),
        ("fit", "fit", SETTINGS["fit"].read),
        ("temperature", "temperature", SETTINGS["temperature"].read),
        ("top_p", "top_p", SETTINGS["top_p"].read),
        ("seed", "seed", SETTINGS["seed"].read),
        ("max_tokens", "max_new_tokens", length),
        # The newer name of the same thing has the last word.
        ("max_completion_tokens", "max_new_tokens", length),
    ):
        value = getattr(told, name)
        if value is not None:
            settings[setting] = checked(read_one, str(value), name)
    return manner_of(settings)


def _stops(told: str | list[str] | None) -> list[Stop]:
    stops = [told] if isinstance(told, str) else told or []
    _insist_on_few(stops, MOST_STOPS, "stop texts")
    if not all(1 <= len(stop) <= _LONGEST_STOP for stop in stops):
        raise UsageError(f"A stop text has from 1 to {_LONGEST_STOP} characters.")
    return [Stop(stop) for stop in stops]


def _said(messages: Sequence[_Message]) -> _Said:
    said = _Said()
    for message in messages:
        _insist_on_servable(message.model_extra, _UNSERVED_IN_MESSAGES, "messages")
        texts, addresses = _content(message)
        if addresses and message.role != "user":
            raise UsageError(f"A message of the role {message.role[:40]!r} cannot hold pictures.")
        said.addresses.extend(addresses)
        match message.role:
            case "system" | "developer":
                said.system.extend(texts)
            case "user":
                said.asks(texts)
            case "assistant":
                said.answers_with("\n".join(texts))
            case _:
                raise UsageError(
                    f"A message cannot be of the role {message.role[:40]!r}. "
                    "It can be of system, developer, user or assistant."
                )
    if len(said.questions) == len(said.answers):
        raise UsageError("The last message must be one of the user.")
    length = sum(map(len, [*said.system, *said.answers, *chain(*said.questions)]))
    if length > LONGEST_TEXT:
        raise PromptError(
            f"The messages have {length:,} characters together. At most {LONGEST_TEXT:,} can be asked."
        )
    return said


def _content(message: _Message) -> tuple[list[str], list[str]]:
    """The texts of a message and the addresses of its pictures."""
    if isinstance(message.content, str):
        return [message.content], []
    if not message.content and message.role != "assistant":
        raise UsageError(f"A message of the role {message.role[:40]!r} has no content.")
    texts, addresses = [], []
    for part in message.content or []:
        match part:
            case _Part(type="text", text=str(text)):
                texts.append(text)
            case _Part(type="image_url", image_url=_Address(url=url)):
                addresses.append(url)
            case _:
                raise UsageError(
                    f"A part of a message cannot be of the type {part.type[:40]!r}, or lacks what belongs to "
                    "it. It can be text with its text, or image_url with its url."
                )
    return texts, addresses


def _joined(texts: Sequence[str]) -> str | None:
    return "\n".join(texts) if texts else None


def _as_asked(text: str | None, marks: Sequence[Mark], form: PromptForm) -> str:
    """An earlier question as the model was asked it."""
    if text is None:
        return default_question(marks)
    return check_text(fill_in(text.strip(), marks), "question", form)


def _pictures(addresses: Sequence[str], max_pixels: int, fit: Fit) -> list[Picture]:
    if not addresses:
        raise UsageError("There is no picture in the messages. Send one as a part of the type image_url.")
    _insist_on_few(addresses, MOST_PICTURES, "pictures")
    pictures: list[Picture] = []
    pixels = 0
    for number, address in enumerate(addresses, 1):
        name = f"Picture {number}"
        picture = read_picture(_bytes(address, name), name, max_pixels=max_pixels)
        pixels += _pixels(picture, fit)
        if pixels > max_pixels:
            padded = ", padded to squares," if fit == "pad" else ""
            raise ImageError(
                f"The pictures{padded} have more than {max_pixels:,} pixels together. "
                "Send fewer or smaller ones."
            )
        pictures.append(picture)
    return pictures


def _pixels(picture: Picture, fit: Fit) -> int:
    """How many a picture has once it is made ready: a thin strip becomes a large square."""
    own = picture.width * picture.height
    return max(own, min(max(picture.width, picture.height), LONGEST_SIDE) ** 2) if fit == "pad" else own


def _bytes(address: str, name: str) -> bytes:
    head, _, content = address.partition(",")
    kind, *details = head.lower().split(";")
    if not kind.startswith("data:"):
        raise ImageError(
            f"{name} is only an address, and this server fetches nothing. "
            "Send the picture itself, as data:image/png;base64,…"
        )
    if kind.removeprefix("data:image/") not in _PICTURE_TYPES or "base64" not in details:
        raise ImageError(
            f"{name} does not begin with data:image/TYPE;base64, as it should, "
            "where TYPE is png, jpeg, webp, gif, bmp or tiff."
        )
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError:
        raise ImageError(f"{name} is not whole, or not written in base64.") from None


def _mark(number: int, told: _Region) -> TypedMark:
    places = [*((kind, getattr(told, kind)) for kind in BY_KIND), (told.kind, told.at)]
    match [(kind, at) for kind, at in places if at is not None]:
        case [(str(kind), at)] if kind in BY_KIND and told.kind in (None, kind):
            one = parse_mark(kind, at if isinstance(at, str) else ",".join(map(_typed, at)))
        case _:
            raise MarkError(
                f"Region {number} does not say what it is and where, once each, "
                'as in {"box": "40,60,200,220"} or {"kind": "point", "at": [40, 60]}. '
                f"Kinds are {', '.join(BY_KIND)}."
            )
    if one.file is not None:
        raise MarkError(
            f"The {kind} of region {number} is no list of numbers, and this server reads no files."
        )
    color = None if told.color is None else parse_color(told.color)
    if (color and one.color) or (told.image and one.picture):
        raise MarkError(f"Region {number} has its color or its image twice.")
    return replace(one, color=color or one.color, picture=told.image or one.picture)


def _typed(number: float | str) -> str:
    """A number as a person types it: with all its digits and no exponent."""
    return number if isinstance(number, str) else format(Decimal(str(number)), "f")
