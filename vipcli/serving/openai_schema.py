"""The schema of chat-completions requests: which fields are read, ignored and refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from vipcli.asking.choices import MOST_CHOICES
from vipcli.checkpoints.prompt_forms import LONGEST_TEXT
from vipcli.config import MOST_LOGPROBS
from vipcli.errors import UsageError

MAX_ANSWERS = 8
"""The limit for the answers to one request."""
_MAX_NUMBERS = 20_000
"""The limit for one region."""

_IGNORED_FIELDS = frozenset(
    {
        *("metadata", "parallel_tool_calls", "prediction", "priority", "prompt_cache_key"),
        *("prompt_cache_options", "prompt_cache_retention", "request_id", "safety_identifier"),
        *("service_tier", "store", "user"),
    }
)
"""Fields that do not change the answer."""
_NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "add_generation_prompt": (True,),
    "best_of": (1,),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "echo": (False,),
    "enable_thinking": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "reasoning_effort": ("none",),
    "repeat_penalty": (1,),
    "repetition_penalty": (1,),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_a": (0,),
    "top_k": (-1, 0),
    "typical_p": (1,),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
}
"""Unsupported fields of OpenAI and common extensions, and the values allowed because they change nothing."""
_UNSUPPORTED_IN_MESSAGES: dict[str, tuple[Any, ...]] = {
    "audio": (),
    "function_call": (),
    "partial": (False,),
    "prefix": (False,),
    "tool_calls": ([],),
}


class UnsupportedFieldError(UsageError):
    """A field of a request that would change the answer and is not supported."""

    def __init__(self, field: str, fact: str) -> None:
        super().__init__(fact, "Leave it out.")
        self.field = field


class _Schema(BaseModel):
    # Unknown fields are ignored, such as a picture's `detail`: the checkpoint determines the resolution.
    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class PictureUrl(_Schema):
    url: str


class ContentPart(_Schema):
    type: str
    text: str | None = None
    image_url: PictureUrl | None = None


def _text_or_parts(value: Any) -> str:
    return "parts" if isinstance(value, list) else "text"


class ChatMessage(_Schema):
    model_config = ConfigDict(extra="allow")

    role: str
    content: Annotated[
        # Distinguished by a tag, so that an error is about the intended variant.
        Annotated[str | None, Tag("text")] | Annotated[list[ContentPart], Tag("parts")],
        Discriminator(_text_or_parts),
    ] = None


_CoordinatesText = Annotated[str, Field(max_length=LONGEST_TEXT)]
_Coordinate = float | Annotated[str, Field(max_length=40)]
_Coordinates = Annotated[
    Annotated[_CoordinatesText | None, Tag("text")]
    | Annotated[list[_Coordinate], Field(max_length=_MAX_NUMBERS), Tag("parts")],
    Discriminator(_text_or_parts),
]


class RegionField(_Schema):
    model_config = ConfigDict(extra="forbid")

    kind: str | None = None
    at: _Coordinates = None
    color: Annotated[str, Field(max_length=40)] | None = None
    image: Annotated[int, Field(ge=1, le=9999)] | None = None
    box: _Coordinates = None
    ellipse: _Coordinates = None
    triangle: _Coordinates = None
    point: _Coordinates = None
    arrow: _Coordinates = None
    scribble: _Coordinates = None
    contour: _Coordinates = None
    mask: _Coordinates = None


class _StreamOptions(_Schema):
    include_usage: bool | None = None


class JsonSchemaField(_Schema):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(max_length=100)] | None = None
    description: str | None = None
    content: Annotated[dict[str, Any], Field(alias="schema")]
    strict: bool | None = None


class ResponseFormat(_Schema):
    model_config = ConfigDict(extra="forbid")

    type: Annotated[str, Field(max_length=100)]
    json_schema: JsonSchemaField | None = None


class RequestBody(_Schema):
    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=200)]
    messages: list[ChatMessage]
    regions: list[RegionField] | None = None
    prompt_form: str | None = None
    fit: str | None = None
    guide: float | None = None
    zoom: bool | float | str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_ANSWERS)] | None = None
    response_format: ResponseFormat | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None = None
    options: Annotated[list[str], Field(max_length=MOST_CHOICES)] | None = None
    """Answers to choose from. OpenAI's format uses the name `choices` for something else."""
    score: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None


def parse_body(body: bytes | bytearray) -> RequestBody:
    """The fields of a request; an error names the first field that is wrong or not supported."""
    try:
        parsed = RequestBody.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(part)[:40] for part in first["loc"])
        where = f"is invalid at {path!r}" if path else "cannot be read"
        reason = first["msg"][:1].lower() + first["msg"][1:]
        raise UsageError(f"The request {where}: {reason}.") from None
    _check_fields(parsed.model_extra or {})
    for number, message in enumerate(parsed.messages):
        _check_message_fields(message.model_extra or {}, f"messages.{number}")
    return parsed


def _check_fields(fields: Mapping[str, Any]) -> None:
    """Refuse every field that might change the answer, known or not, as OpenAI does."""
    for name, value in fields.items():
        neutral = _NEUTRAL_VALUES.get(name, ())
        if value is None or name in _IGNORED_FIELDS or value in neutral:
            continue
        _refuse(name, neutral)


def _check_message_fields(fields: Mapping[str, Any], path: str) -> None:
    """Refuse only fields that would change the answer: messages from other servers have many more."""
    for name, neutral in _UNSUPPORTED_IN_MESSAGES.items():
        value = fields.get(name)
        if value is not None and value not in neutral:
            _refuse(f"{path}.{name}", neutral)


def _refuse(name: str, neutral: tuple[Any, ...]) -> None:
    values = " or ".join(json.dumps(value) for value in neutral)
    exception = f", except as {values}" if neutral else ""
    raise UnsupportedFieldError(name[:60], f"The field {name[:60]!r} is not supported here{exception}.")
