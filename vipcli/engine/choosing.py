"""The choices of a request as tokens to score, and the reply from their scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from vipcli.asking.interface import Halted, Request, ScoredChoice, TokenLogprob
from vipcli.engine.continuations import TokenTexts, continuation_ids
from vipcli.engine.scoring import Option, OptionScore, read_prompts, score_options
from vipcli.errors import ModelError


class Chosen(NamedTuple):
    """The likeliest of a request's choices, and all of them with their probabilities."""

    choice: ScoredChoice
    ids: tuple[int, ...]
    choices: tuple[ScoredChoice, ...]
    logprobs: tuple[TokenLogprob, ...]
    """Of the likeliest, if they were asked for."""


class Choosing(NamedTuple):
    """What was chosen for each request, and the key-value cache of the prompts."""

    chosen: list[Chosen | None]
    """None if the requests were halted."""
    cache: Any


class Chooser:
    """Scores the choices of requests."""

    def __init__(self, model: Any, texts: TokenTexts, end_tokens: Sequence[int]) -> None:
        self._model = model
        self._texts = texts
        self._end_tokens = end_tokens

    def options(self, request: Request) -> list[Option]:
        """The choices as the model would write them after the prompt, and how it would end them."""
        # Models put a space before an answer, unless the prompt ends in a line break or a space.
        space = "" if request.prompt[-1:].isspace() else " "
        stops = [stop.text + "".join(stop.followed_by[:1]) for stop in request.stops]
        texts = [f"{space}{choice}" for choice in request.choices]
        word, *ids = continuation_ids(self._texts.tokenizer, [" a", *(f" a{stop}" for stop in stops), *texts])
        # With the first token of a stop it is clear that the answer has ended.
        stop_tokens = [stop[len(word)] for stop in ids[: len(stops)] if len(stop) > len(word)]
        ends = tuple(dict.fromkeys([*self._end_tokens, *stop_tokens]))
        return [Option(tuple(option), ends) for option in ids[len(stops) :]]

    def choose(
        self,
        requests: Sequence[Request],
        options: Sequence[Sequence[Option]],
        inputs: dict[str, Any],
        without_pictures: dict[str, Any] | None,
        halted: Halted,
    ) -> Choosing:
        """Choose for each request.

        `without_pictures` are the inputs, with empty pictures, of the requests that are scored by the lift.
        """
        prompts = read_prompts(self._model, inputs)
        top = max(request.top_logprobs or 0 for request in requests)
        scores = score_options(self._model, prompts, options, top, halted)
        blind = self._score_again(requests, options, without_pictures, halted) if scores else None
        if scores is None or blind is None:
            return Choosing([None] * len(requests), prompts.cache)
        chosen: list[Chosen | None] = [
            self._chosen(*arguments) for arguments in zip(requests, options, scores, blind, strict=True)
        ]
        return Choosing(chosen, prompts.cache)

    def _score_again(
        self,
        requests: Sequence[Request],
        options: Sequence[Sequence[Option]],
        inputs: dict[str, Any] | None,
        halted: Halted,
    ) -> list[list[OptionScore] | None] | None:
        """The scores of the requests that are scored by the lift; None once `halted` returns true."""
        if inputs is None:
            return [None] * len(requests)
        rows = [row for row, request in enumerate(requests) if request.score == "lift"]
        prompts = read_prompts(self._model, inputs)
        scores = score_options(self._model, prompts, [options[row] for row in rows], halted=halted)
        if scores is None:
            return None
        by_row = dict(zip(rows, scores, strict=True))
        return [by_row.get(row) for row in range(len(requests))]

    def _chosen(
        self,
        request: Request,
        options: Sequence[Option],
        scores: Sequence[OptionScore],
        blind: Sequence[OptionScore] | None,
    ) -> Chosen:
        choices = scored_choices(request, scores, blind)
        best = max(range(len(choices)), key=lambda number: choices[number].probability)
        logprobs: tuple[TokenLogprob, ...] = ()
        if request.top_logprobs is not None:
            logprobs = token_logprobs(self._texts, options[best], scores[best], request.top_logprobs)
        return Chosen(choices[best], options[best].ids, choices, logprobs)


def scored_choices(
    request: Request, scores: Sequence[OptionScore], without_picture: Sequence[OptionScore] | None
) -> tuple[ScoredChoice, ...]:
    """The choices of a request with their probabilities."""
    if without_picture is not None:
        values = [score.sum - blind.sum for score, blind in zip(scores, without_picture, strict=True)]
    else:
        values = [score.mean if request.score == "mean" else score.sum for score in scores]
    if any(map(math.isnan, values)):
        raise ModelError("The model's scores are not numbers.", "Another {dtype} may help.")
    highest = max(values)
    shares = [math.exp(value - highest) for value in values]
    return tuple(
        ScoredChoice(
            text=text,
            probability=share / math.fsum(shares),
            logprob=score.sum,
            tokens=score.length,
            logprob_without_picture=None if without_picture is None else without_picture[number].sum,
        )
        for number, (text, share, score) in enumerate(zip(request.choices, shares, scores, strict=True))
    )


def token_logprobs(
    texts: TokenTexts, option: Option, score: OptionScore, top: int
) -> tuple[TokenLogprob, ...]:
    """The tokens of an option, each with the likeliest tokens in its place."""
    tops = score.top or ((),) * len(option.ids)
    return tuple(
        TokenLogprob(
            texts(id),
            id,
            logprob,
            tuple(TokenLogprob(texts(token), token, value) for token, value in likeliest[:top]),
        )
        for id, logprob, likeliest in zip(option.ids, score.tokens, tops, strict=True)
    )
