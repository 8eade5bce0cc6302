"""A request and its reply on their way between processes: a line of JSON, and the pixels as they are."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from vipcli.asking.interface import ModelFacts, Reply, Request, Said, Sampling
from vipcli.checkpoints.stops import Stop
from vipcli.errors import UsageError
from vipcli.geometry import Fit


def pack(request: Request) -> bytes:
    """A request as bytes."""
    pictures = [*request.images, *request.frames]
    header = {
        **asdict(replace(request, images=(), frames=())),
        "images": [picture.shape[:2] for picture in request.images],
        "frames": [picture.shape[:2] for picture in request.frames],
    }
    return b"\n".join(
        [json.dumps(header).encode(), b"".join(np.ascontiguousarray(one).tobytes() for one in pictures)]
    )


def unpack(data: bytes) -> Request:
    """The request that bytes hold."""
    header, _, rest = data.partition(b"\n")
    try:
        told = _Request.model_validate_json(header)
    except ValidationError as error:
        raise UsageError(f"The request cannot be read: {error.errors()[0]['msg']}.") from None
    shapes = [*told.images, *told.frames]
    sizes = [3 * math.prod(shape) for shape in shapes]
    if any(side < 1 for shape in shapes for side in shape) or sum(sizes) != len(rest):
        raise UsageError("The request's pictures are not of the sizes that it tells.")
    pictures, start = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        pictures.append(np.frombuffer(rest, np.uint8, size, start).reshape(*shape, 3))
        start += size
    return Request(
        prompt=told.prompt,
        images=tuple(pictures[: len(told.images)]),
        frames=tuple(pictures[len(told.images) :]),
        fit=told.fit,
        stops=tuple(Stop(one.text, tuple(one.followed_by)) for one in told.stops),
        typed=tuple(told.typed),
        sampling=Sampling(**told.sampling.model_dump()),
        before=tuple(Said(one.prompt, tuple(one.token_ids)) for one in told.before),
        least_room=told.least_room,
    )


def pack_reply(reply: Reply) -> dict[str, Any]:
    """A reply as one object of plain values."""
    told = asdict(reply)
    # JSON has no word for what is no number.
    told["probability"] = None if reply.probability is None else repr(reply.probability)
    return told


def unpack_reply(told: dict[str, Any]) -> Reply:
    """The reply that an object stands for."""
    probability = told["probability"]
    return Reply(
        text=told["text"],
        ended=told["ended"],
        prompt_tokens=told["prompt_tokens"],
        token_ids=tuple(told["token_ids"]),
        shown_tokens=told["shown_tokens"],
        probability=None if probability is None else float(probability),
        model=ModelFacts(**told["model"]),
        seconds=told["seconds"],
    )


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Sampling(_Part):
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class _Said(_Part):
    prompt: str
    token_ids: list[int]


class _Stop(_Part):
    text: str
    followed_by: list[str]


class _Request(_Part):
    prompt: str
    images: list[tuple[int, int]]
    frames: list[tuple[int, int]]
    fit: Fit
    stops: list[_Stop]
    typed: list[str]
    sampling: _Sampling
    before: list[_Said]
    least_room: int
