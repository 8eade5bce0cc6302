"""OpenAI's chat-completions format: convert requests to questions, and answers to responses."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from itertools import chain
from math import isfinite, isnan
from typing import Any, Literal

from vipcli.asking.grammars import ANY_OBJECT, read_grammar
from vipcli.asking.interface import GREEDY, EndReason, Grammar, Reply, Request, Scoring, TokenLogprob
from vipcli.asking.pipeline import build_request, mark, prepare
from vipcli.asking.questions import default_question, fill_in
from vipcli.asking.records import Answer, describe_choices, doubts
from vipcli.asking.values import PastTurn, Question
from vipcli.chat.conversation import ChatSettings
from vipcli.checkpoints.catalog import KNOWN
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.checkpoints.prompt_forms import LONGEST_TEXT, PromptForm, check_text
from vipcli.checkpoints.stops import Stop
from vipcli.config import SETTINGS, integer_parser, parse_value
from vipcli.errors import (
    ContextError,
    ImageError,
    MarkError,
    Message,
    ModelError,
    PromptError,
    UsageError,
    VipcliError,
)
from vipcli.geometry import Fit
from vipcli.marks.colors import parse_color
from vipcli.marks.kinds import BY_KIND, Mark, TypedMark, parse_mark
from vipcli.pictures.fitting import LONGEST_SIDE
from vipcli.pictures.images import Picture, read_picture
from vipcli.serving.openai_schema import (
    ChatMessage,
    ContentPart,
    JsonSchemaField,
    PictureUrl,
    RegionField,
    RequestBody,
    ResponseFormat,
    UnsupportedFieldError,
    parse_body,
)

MAX_PICTURES = 32
"""A limit is needed, because all pictures are decoded before it is known whether they fit the model."""
MAX_REGIONS = 64
MAX_STOPS = 4
_LONGEST_STOP = 100

_PICTURE_TYPES = ("png", "jpeg", "jpg", "webp", "gif", "bmp", "tiff", "tif")
_FINISH_REASONS: dict[EndReason, Literal["stop", "length"]] = {
    "stop": "stop",
    "length": "length",
    "halted": "length",
}
_FIELDS = {
    "fit": "fit",
    "guide": "guide",
    "max_new_tokens": "max_tokens",
    "prompt": "prompt_form",
    "seed": "seed",
    "temperature": "temperature",
    "top_p": "top_p",
    "zoom": "zoom",
}
"""The request field for each setting that a request can change."""


class UnknownModelError(UsageError):
    """A request names a model that this server does not hold."""


@dataclass(frozen=True, slots=True, eq=False)
class ChatRequest:
    """A parsed request: what the model gets, and what the response needs."""

    request: Request
    question: Question
    stream: bool
    include_usage: bool
    """Whether a stream ends with the token counts."""
    model: str
    """The name that the client used."""
    answers: int = 1
    """How many answers the response has."""

    @property
    def requests(self) -> list[Request]:
        """What to ask the model: several times with different seeds, unless all answers would be the same."""
        sampling = self.request.sampling
        count = self.answers if sampling.temperature else 1
        return [
            replace(self.request, sampling=replace(sampling, seed=(sampling.seed + index) % 2**63))
            for index in range(count)
        ]


@dataclass(frozen=True, slots=True)
class ResponseId:
    """The fields that all chunks of a response repeat."""

    id: str
    created: int


# --------------------------------------------------------------------------- responses


def completion(
    chat: ChatRequest, reply: Reply, response: ResponseId, more: Sequence[Reply] = ()
) -> dict[str, Any]:
    """A whole answer, or several."""
    replies = [reply, *more]
    return {
        "id": response.id,
        "object": "chat.completion",
        "created": response.created,
        "model": chat.model,
        "choices": [_choice(chat, reply, index) for index, reply in enumerate(replies)],
        "usage": _usage(replies),
        "vipcli": _extras(chat, replies),
    }


def _choice(chat: ChatRequest, reply: Reply, index: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": reply.text, "refusal": None}
    finish = _finish_reason(chat, reply)
    return {"index": index, "message": message, "logprobs": _logprobs(chat, reply), "finish_reason": finish}


def first_chunk(chat: ChatRequest, response: ResponseId, index: int = 0) -> dict[str, Any]:
    """The start of a streamed answer, with the role."""
    return _chunk(chat, response, {"role": "assistant", "content": ""}, index=index)


def text_chunk(chat: ChatRequest, response: ResponseId, text: str, index: int = 0) -> dict[str, Any]:
    """A piece of a streamed answer."""
    return _chunk(chat, response, {"content": text}, index=index)


def last_chunk(chat: ChatRequest, response: ResponseId, reply: Reply, index: int = 0) -> dict[str, Any]:
    """The end of a streamed answer, which says why it ended, and how likely its tokens were."""
    chunk = _chunk(chat, response, {}, _finish_reason(chat, reply), index=index)
    chunk["choices"][0]["logprobs"] = _logprobs(chat, reply)
    return chunk


def usage_chunk(
    chat: ChatRequest, response: ResponseId, reply: Reply, more: Sequence[Reply] = ()
) -> dict[str, Any]:
    """The token counts after the streamed answers."""
    replies = [reply, *more]
    return {**_bare_chunk(chat, response, []), "usage": _usage(replies), "vipcli": _extras(chat, replies)}


def model_list(checkpoint: Checkpoint, *, created: int) -> dict[str, Any]:
    """The list of models, which has one entry."""
    model = {"id": checkpoint.name, "object": "model", "created": created, "owned_by": "vipcli"}
    return {"object": "list", "data": [model]}


def check_model(name: str, checkpoint: Checkpoint) -> None:
    """Refuse a name that is neither the checkpoint's name nor its short name."""
    if name != checkpoint.name and not (name in KNOWN and KNOWN[name].hub_name == checkpoint.name):
        raise UnknownModelError(
            f"The model {name[:100]!r} is not available. This server has {checkpoint.name}."
        )


def error_body(error: VipcliError, *, kind: str | None = None) -> dict[str, Any]:
    """The JSON body of an error response."""
    param, code = None, None
    match error:
        case UnsupportedFieldError():
            param, code = error.field, "unsupported_parameter"
        case UnknownModelError():
            param, code = "model", "model_not_found"
        case ContextError():
            code = "context_length_exceeded"
    if kind is None:
        kind = "server_error" if isinstance(error, ModelError) else "invalid_request_error"
    return {"error": {"message": spell(error.message), "type": kind, "param": param, "code": code}}


def spell(message: Message) -> str:
    """A message with settings spelled as request fields; advice is left out if it names any other setting."""
    try:
        return message.spelled(_as_field)
    except KeyError:
        return message.fact


def _as_field(name: str, value: str | None) -> str:
    if value is None:
        return _FIELDS[name]
    return f'"{_FIELDS[name]}": {json.dumps(SETTINGS[name].parse(value))}'


def _chunk(
    chat: ChatRequest,
    response: ResponseId,
    delta: dict[str, Any],
    finish: str | None = None,
    *,
    index: int = 0,
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    usage = {"usage": None} if chat.include_usage else {}
    return {**_bare_chunk(chat, response, [choice]), **usage}


def _bare_chunk(chat: ChatRequest, response: ResponseId, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": response.id,
        "object": "chat.completion.chunk",
        "created": response.created,
        "model": chat.model,
        "choices": choices,
    }


def _finish_reason(chat: ChatRequest, reply: Reply) -> str:
    if chat.request.choices and reply.ended == "halted":
        # Unlike an answer that was cut off, this one has no beginning.
        raise ModelError("The request took too long, so nothing was chosen.", "Send fewer options.")
    return _FINISH_REASONS[reply.ended]


def _logprobs(chat: ChatRequest, reply: Reply) -> dict[str, Any] | None:
    """The log-probabilities of the answer's tokens, if they were asked for."""
    if chat.request.top_logprobs is None:
        return None
    content = [
        {**_token(token), "top_logprobs": [_token(entry) for entry in token.top]} for token in reply.logprobs
    ]
    return {"content": content, "refusal": None}


def _token(token: TokenLogprob) -> dict[str, Any]:
    # What is only part of a character has no text, and its bytes are not known.
    is_whole = "\ufffd" not in token.text
    # OpenAI writes -9999 for a token that is out of the question.
    logprob = token.logprob if isfinite(token.logprob) else -9999.0
    return {
        "token": token.text,
        "logprob": logprob,
        "bytes": list(token.text.encode()) if is_whole else None,
    }


def _usage(replies: Sequence[Reply]) -> dict[str, int]:
    prompt, answer = replies[0].prompt_tokens, sum(len(reply.token_ids) for reply in replies)
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _extras(chat: ChatRequest, replies: Sequence[Reply]) -> dict[str, Any]:
    """The values that OpenAI's format has no fields for."""
    answers = [Answer(chat.question, reply, chat.request.sampling) for reply in replies]
    notes = dict.fromkeys((*chat.question.notes, *chain(*map(doubts, answers))))
    probabilities = [
        None if reply.probability is None or isnan(reply.probability) else reply.probability
        for reply in replies
    ]
    return {
        "question": chat.question.text,
        "probability": probabilities[0],
        **({"probabilities": probabilities} if len(replies) > 1 else {}),
        "seed": chat.request.sampling.seed,
        "notes": [spell(note) for note in notes],
        **({"options": describe_choices(replies[0].choices)} if replies[0].choices else {}),
        **_cuts(chat.question),
    }


def _cuts(question: Question) -> dict[str, Any]:
    """The part that each picture was cut to, null for a whole one; nothing if all are whole."""
    cuts = [picture.cut for picture in question.marked.pictures]
    return {"cuts": [cut and asdict(cut) for cut in cuts]} if any(cuts) else {}


# --------------------------------------------------------------------------- requests


def read_request(
    body: bytes | bytearray, checkpoint: Checkpoint, *, max_pixels: int, max_tokens: int
) -> ChatRequest:
    """Parse the body of an HTTP request into a request to a checkpoint.

    `max_pixels` limits all its pictures together, padding included; `max_tokens` limits the answer.
    """
    parsed = parse_body(body)
    check_model(parsed.model, checkpoint)
    stops = _read_stops(parsed.stop)
    settings = _read_settings(parsed, max_tokens)
    conversation = _read_messages(parsed.messages)
    regions = parsed.regions or []
    _check_count(regions, MAX_REGIONS, "regions")
    typed = [_read_region(number, region) for number, region in enumerate(regions, 1)]
    marked = mark(_read_pictures(conversation.pictures, max_pixels, checkpoint.fit(settings.fit)), typed)
    question = prepare(
        marked,
        _join_lines(conversation.questions[-1]),
        checkpoint,
        prompt=settings.prompt,
        system=_join_lines(conversation.system),
        fit=settings.fit,
        guide=settings.guide,
        grammar=_read_response_format(parsed.response_format),
        zoom=settings.zoom,
        past_turns=_earlier_turns(conversation, marked.marks, checkpoint.form(settings.prompt)),
        choices=parsed.options or (),
    )
    request = build_request(question, settings.sampling(), _read_scoring(parsed))
    return ChatRequest(
        request=replace(request, stops=(*request.stops, *stops)),
        question=question,
        stream=bool(parsed.stream),
        include_usage=bool(parsed.stream_options and parsed.stream_options.include_usage),
        model=parsed.model,
        answers=parsed.n or 1,
    )


def _check_count(items: Sequence[Any], limit: int, name: str) -> None:
    if len(items) > limit:
        raise UsageError(f"The request has {len(items):,} {name}. At most {limit} are allowed.")


def _read_settings(parsed: RequestBody, max_tokens: int) -> ChatSettings:
    """The settings of the answer, each parsed as on the command line."""
    read_length = integer_parser(1, max_tokens)
    settings: dict[str, Any] = {"max_new_tokens": min(GREEDY.max_new_tokens, max_tokens)}
    for name, setting, read_value in (
        ("prompt_form", "prompt", SETTINGS["prompt"].parse),
        ("fit", "fit", SETTINGS["fit"].parse),
        ("guide", "guide", SETTINGS["guide"].parse),
        ("zoom", "zoom", SETTINGS["zoom"].parse),
        ("temperature", "temperature", SETTINGS["temperature"].parse),
        ("top_p", "top_p", SETTINGS["top_p"].parse),
        ("seed", "seed", SETTINGS["seed"].parse),
        ("max_tokens", "max_new_tokens", read_length),
        # The newer name of the same field comes last, so that it takes precedence.
        ("max_completion_tokens", "max_new_tokens", read_length),
    ):
        value = getattr(parsed, name)
        if value is not None:
            settings[setting] = parse_value(read_value, str(value), name)
    return ChatSettings.from_values(settings)


def _read_response_format(response_format: ResponseFormat | None) -> Grammar | None:
    match response_format:
        case None | ResponseFormat(type="text", json_schema=None):
            return None
        case ResponseFormat(type="json_object", json_schema=None):
            return read_grammar(json.loads(ANY_OBJECT.text))
        case ResponseFormat(type="json_schema", json_schema=JsonSchemaField(content=schema)):
            return read_grammar(schema)
        case _:
            raise UnsupportedFieldError(
                "response_format",
                f"The response format {response_format.type!r} is not supported here, or lacks its schema. "
                "Use text, json_object, or json_schema with json_schema.schema.",
            )


def _read_scoring(parsed: RequestBody) -> Scoring:
    """How options are compared, and which log-probabilities the response has."""
    if parsed.top_logprobs and not parsed.logprobs:
        raise UsageError('The field "top_logprobs" needs "logprobs": true.')
    if parsed.options == []:
        raise UsageError('There are no choices in the field "options".', "Name at least two.")
    if parsed.options is not None and parsed.stop:
        raise UnsupportedFieldError("stop", 'The field "stop" has no meaning together with "options".')
    if parsed.options is None and parsed.score is not None:
        raise UnsupportedFieldError("score", 'The field "score" has no meaning without "options".')
    top = (parsed.top_logprobs or 0) if parsed.logprobs else None
    if parsed.score is None:
        return Scoring(top_logprobs=top)
    score: Any = parse_value(SETTINGS["score"].parse, parsed.score, "score")
    return Scoring(score, top)


def _read_stops(stop: str | list[str] | None) -> list[Stop]:
    texts = [stop] if isinstance(stop, str) else stop or []
    _check_count(texts, MAX_STOPS, "stop sequences")
    if not all(1 <= len(text) <= _LONGEST_STOP for text in texts):
        raise UsageError(f"A stop sequence must have 1 to {_LONGEST_STOP} characters.")
    return [Stop(text) for text in texts]


# --------------------------------------------------------------------------- messages


@dataclass(frozen=True, slots=True)
class _ConversationTexts:
    """The contents of the messages, by role; each question is a list of texts."""

    system: list[str] = field(default_factory=list)
    questions: list[list[str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    """Their URLs."""

    def add_question(self, texts: list[str], pictures: list[str]) -> None:
        """Add a user's message; consecutive ones form one question."""
        if pictures and self.answers:
            # The prompt forms have one place for pictures, before the first question.
            raise UsageError(
                "Pictures can only come with the first question of a conversation, before any answer.",
                "Move them to the first user message, or start a new conversation with this picture.",
            )
        self.pictures.extend(pictures)
        if len(self.questions) == len(self.answers):
            self.questions.append([])
        self.questions[-1].extend(texts)

    def add_answer(self, text: str) -> None:
        """Add an assistant's message."""
        if len(self.questions) == len(self.answers):
            raise UsageError("An assistant message must follow a user message.")
        self.answers.append(text)


def _read_messages(messages: Sequence[ChatMessage]) -> _ConversationTexts:
    conversation = _ConversationTexts()
    for message in messages:
        texts, pictures = _read_content(message)
        role = message.role[:40]
        if pictures and role != "user":
            raise UsageError(f"A message with the role {role!r} cannot contain pictures.")
        match role:
            case "system" | "developer":
                conversation.system.extend(texts)
            case "user":
                conversation.add_question(texts, pictures)
            case "assistant":
                conversation.add_answer("\n".join(texts))
            case _:
                raise UsageError(
                    f"A message cannot have the role {role!r}.", "Use system, developer, user or assistant."
                )
    if len(conversation.questions) == len(conversation.answers):
        raise UsageError("The last message must be from the user.")
    length = sum(map(len, [*conversation.system, *conversation.answers, *chain(*conversation.questions)]))
    if length > LONGEST_TEXT:
        raise PromptError(
            f"The messages have {length:,} characters in total. At most {LONGEST_TEXT:,} are allowed."
        )
    return conversation


def _read_content(message: ChatMessage) -> tuple[list[str], list[str]]:
    """The texts of a message and the URLs of its pictures."""
    if isinstance(message.content, str):
        return [message.content], []
    if not message.content and message.role != "assistant":
        raise UsageError(f"A message with the role {message.role[:40]!r} has no content.")
    texts, pictures = [], []
    for part in message.content or []:
        match part:
            case ContentPart(type="text", text=str(text)):
                texts.append(text)
            case ContentPart(type="image_url", image_url=PictureUrl(url=url)):
                pictures.append(url)
            case _:
                raise UsageError(
                    f"A part of a message has the type {part.type[:40]!r}, or lacks the field of its type.",
                    "Use the type text with the field text, or image_url with image_url.url.",
                )
    return texts, pictures


def _join_lines(texts: Sequence[str]) -> str | None:
    return "\n".join(texts) if texts else None


def _earlier_turns(
    conversation: _ConversationTexts, marks: Sequence[Mark], form: PromptForm
) -> list[PastTurn]:
    """The turns before the last question, as the model reads them."""
    turns = []
    for texts, answer in zip(conversation.questions[:-1], conversation.answers, strict=True):
        text = _join_lines(texts)
        if text is None:
            question = default_question(marks)
        else:
            question = check_text(fill_in(text.strip(), marks), "question", form)
        turns.append(PastTurn(question, answer, None))
    return turns


# --------------------------------------------------------------------------- pictures and regions


def _read_pictures(urls: Sequence[str], max_pixels: int, fit: Fit) -> list[Picture]:
    if not urls:
        raise UsageError("There is no picture in the messages.", "Send one as an image_url part.")
    _check_count(urls, MAX_PICTURES, "pictures")
    pictures: list[Picture] = []
    pixels = 0
    for number, url in enumerate(urls, 1):
        name = f"Picture {number}"
        picture = read_picture(_decode_data_url(url, name), name, max_pixels=max_pixels)
        pixels += _pixel_count(picture, fit)
        if pixels > max_pixels:
            padded = ", padded to squares," if fit == "pad" else ""
            raise ImageError(
                f"The pictures{padded} have more than {max_pixels:,} pixels in total.",
                "Send fewer or smaller ones.",
            )
        pictures.append(picture)
    return pictures


def _pixel_count(picture: Picture, fit: Fit) -> int:
    """The pixels of a picture once it is fitted: padding turns a thin strip into a large square."""
    pixels = picture.width * picture.height
    side = min(max(picture.width, picture.height), LONGEST_SIDE)
    return max(pixels, side**2) if fit == "pad" else pixels


def _decode_data_url(url: str, name: str) -> bytes:
    """The bytes of a picture file in a data URL; other URLs are refused."""
    head, _, content = url.partition(",")
    kind, *details = head.lower().split(";")
    if not kind.startswith("data:"):
        raise ImageError(
            f"{name} is not a data URL, and this server does not download pictures.",
            "Send the picture itself, as data:image/png;base64,…",
        )
    if kind.removeprefix("data:image/") not in _PICTURE_TYPES or "base64" not in details:
        raise ImageError(
            f"{name} does not start with data:image/TYPE;base64, where TYPE is png, jpeg, webp, gif, bmp "
            "or tiff."
        )
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except ValueError:
        raise ImageError(f"{name} is cut off, or is not valid base64.") from None


def _read_region(number: int, region: RegionField) -> TypedMark:
    """Convert a region to the mark that it would be on the command line."""
    fields = [*((kind, getattr(region, kind)) for kind in BY_KIND), (region.kind, region.at)]
    match [(kind, value) for kind, value in fields if value is not None]:
        case [(str(kind), value)] if kind in BY_KIND and region.kind in (None, kind):
            typed = parse_mark(
                kind, value if isinstance(value, str) else ",".join(map(_format_number, value))
            )
        case _:
            raise MarkError(
                f"Region {number} must have exactly one kind, with coordinates, "
                'as in {"box": "40,60,200,220"} or {"kind": "point", "at": [40, 60]}. '
                f"The kinds are {', '.join(BY_KIND)}."
            )
    if typed.file is not None:
        raise MarkError(
            f"The {kind} of region {number} is not a list of numbers, and this server does not read files."
        )
    color = None if region.color is None else parse_color(region.color)
    if (color and typed.color) or (region.image and typed.picture):
        raise MarkError(f"Region {number} sets its color or its image twice.")
    return replace(typed, color=color or typed.color, picture=region.image or typed.picture)


def _format_number(number: float | str) -> str:
    """A number in plain decimal notation, without an exponent."""
    return number if isinstance(number, str) else format(Decimal(str(number)), "f")
