"""Serialize requests, replies and errors between processes: as JSON, with pixels as raw bytes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vipcli import errors
from vipcli.asking.choices import MOST_CHOICES
from vipcli.asking.interface import (
    Grammar,
    Guide,
    ModelFacts,
    PromptTurn,
    Reply,
    Request,
    Sampling,
    ScoredChoice,
    TokenLogprob,
)
from vipcli.checkpoints.stops import Stop
from vipcli.config import MOST_LOGPROBS, Score
from vipcli.errors import ModelError, UsageError, VipcliError
from vipcli.geometry import Fit


def pack_request(request: Request) -> bytes:
    """Serialize a request as a line of JSON followed by the pixels of its pictures."""
    guide = request.guide
    pictures = [*request.images, *request.frames, *(guide.pictures if guide else ())]
    header = {
        **asdict(replace(request, images=(), frames=(), guide=None)),
        "guide": None if guide is None else guide.alpha,
        "images": [picture.shape[:2] for picture in request.images],
        "frames": [picture.shape[:2] for picture in request.frames],
    }
    pixels = b"".join(np.ascontiguousarray(picture).tobytes() for picture in pictures)
    return b"\n".join([json.dumps(header).encode(), pixels])


def unpack_request(data: bytes) -> Request:
    """Parse a serialized request."""
    line, _, pixels = data.partition(b"\n")
    try:
        header = _RequestHeader.model_validate_json(line)
    except ValidationError as error:
        raise UsageError(f"The request cannot be read: {error.errors()[0]['msg']}.") from None
    shapes = [*header.images, *header.frames]
    guided = shapes if header.guide is not None else []
    shapes = [*shapes, *guided]
    sizes = [3 * math.prod(shape) for shape in shapes]
    if any(side < 1 for shape in shapes for side in shape) or sum(sizes) != len(pixels):
        raise UsageError("The pictures in the request do not have the sizes given in its header.")
    pictures, start = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        pictures.append(np.frombuffer(pixels, np.uint8, size, start).reshape(*shape, 3))
        start += size
    return Request(
        prompt=header.prompt,
        images=tuple(pictures[: len(header.images)]),
        frames=tuple(pictures[len(header.images) : len(shapes) - len(guided)]),
        fit=header.fit,
        stops=tuple(Stop(stop.text, tuple(stop.followed_by)) for stop in header.stops),
        user_texts=tuple(header.user_texts),
        sampling=Sampling(**header.sampling.model_dump()),
        past_turns=tuple(PromptTurn(turn.prompt, tuple(turn.token_ids)) for turn in header.past_turns),
        min_answer_tokens=header.min_answer_tokens,
        grammar=None if header.grammar is None else Grammar(header.grammar.kind, header.grammar.text),
        guide=None
        if header.guide is None
        else Guide(header.guide, tuple(pictures[len(shapes) - len(guided) :])),
        choices=tuple(header.choices),
        score=header.score,
        top_logprobs=header.top_logprobs,
    )


def pack_reply(reply: Reply) -> dict[str, Any]:
    """Convert a reply to a JSON object."""
    # The probability can be NaN, which JSON cannot express.
    probability = None if reply.probability is None else repr(reply.probability)
    return {**asdict(reply), "probability": probability}


def unpack_reply(packed: dict[str, Any]) -> Reply:
    """Read a reply from a JSON object."""
    probability = packed["probability"]
    return Reply(
        text=packed["text"],
        ended=packed["ended"],
        prompt_tokens=packed["prompt_tokens"],
        token_ids=tuple(packed["token_ids"]),
        shown_tokens=packed["shown_tokens"],
        probability=None if probability is None else float(probability),
        model=ModelFacts(**packed["model"]),
        seconds=packed["seconds"],
        choices=tuple(ScoredChoice(**choice) for choice in packed["choices"]),
        logprobs=tuple(map(_unpack_token, packed["logprobs"])),
    )


def _unpack_token(packed: dict[str, Any]) -> TokenLogprob:
    return TokenLogprob(**{**packed, "top": tuple(map(_unpack_token, packed["top"]))})


def pack_error(error: VipcliError) -> dict[str, Any]:
    """Convert an error to a JSON object; how the advice spells settings is left to the receiver."""
    message = error.message
    return {"error": type(error).__name__, "fact": message.fact, "advice": message.advice}


def unpack_error(packed: dict[str, Any]) -> VipcliError:
    """Read an error from a JSON object; a ModelError if its class is private to the other process."""
    kind = vars(errors).get(packed["error"])
    if not (isinstance(kind, type) and issubclass(kind, VipcliError)):
        kind = ModelError
    return kind(packed["fact"], packed["advice"])


class _Packed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _PackedSampling(_Packed):
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class _PackedTurn(_Packed):
    prompt: str
    token_ids: list[int]


class _PackedStop(_Packed):
    text: str
    followed_by: list[str]


class _PackedGrammar(_Packed):
    kind: Literal["schema", "pattern"]
    text: str


class _RequestHeader(_Packed):
    prompt: str
    images: list[tuple[int, int]]
    frames: list[tuple[int, int]]
    fit: Fit
    stops: list[_PackedStop]
    user_texts: list[str]
    sampling: _PackedSampling
    past_turns: list[_PackedTurn]
    min_answer_tokens: int
    choices: Annotated[list[Annotated[str, Field(min_length=1)]], Field(max_length=MOST_CHOICES)]
    score: Score
    top_logprobs: Annotated[int, Field(ge=0, le=MOST_LOGPROBS)] | None
    grammar: _PackedGrammar | None = None
    guide: Annotated[float, Field(ge=0, le=10)] | None = None
    """The pictures that belong to it have the sizes of the others."""
