"""Requests and replies: the interface of every model, in this process or elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol

from vipcli.checkpoints.stops import Stop
from vipcli.config import Score, Settings
from vipcli.geometry import Fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EndReason = Literal["stop", "length", "halted"]
"""Why an answer ended: the model stopped, it reached the token limit, or `halted` returned true."""
OnText = Callable[[str], None]
"""Receives the text of an answer piece by piece."""
Halted = Callable[[], bool]
"""Returns whether an answer in progress is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How to run a checkpoint. Each field is the setting of that name."""

    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    quantize_all: bool = False
    """Whether the vision tower and the projector are quantized too."""
    attention: str = "auto"

    @classmethod
    def of(cls, settings: Settings) -> Setup:
        """Copy it from the settings."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})


AUTO = Setup()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen: greedily at temperature 0, else at random with a seed."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Sampling:
        """Copy it from the settings, and choose a random seed if one is needed but not set."""
        seed = settings.seed
        if seed is None:
            seed = secrets.randbelow(2**32) if settings.temperature else 0
        return cls(settings.max_new_tokens, settings.temperature, settings.top_p, seed)


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class Scoring:
    """How choices are compared, and which log-probabilities are reported."""

    score: Score = "sum"
    top_logprobs: int | None = None
    """How many of the likeliest tokens to report for each token of the answer; None for no report at all."""

    @classmethod
    def of(cls, settings: Settings) -> Scoring:
        """Copy it from the settings."""
        return cls(settings.score, settings.logprobs)


BY_SUM = Scoring()


@dataclass(frozen=True, slots=True)
class PromptTurn:
    """A past turn as the model saw it: prompt text, and the token ids of the answer."""

    prompt: str
    """The text after the previous answer."""
    token_ids: tuple[int, ...]
    """Kept, since tokenizing the answer's text again may give other tokens."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like."""

    kind: Literal["schema", "pattern"]
    text: str
    """A JSON schema as JSON, or a regular expression for the whole answer."""


@dataclass(frozen=True, slots=True, eq=False)
class Guide:
    """How much an answer is led away from what it would be without what is marked."""

    alpha: float
    pictures: tuple[NDArray[np.uint8], ...]
    """The request's images or frames with what is marked blacked out."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt and its pictures (RGB, uint8, height × width × 3, marks drawn)."""

    prompt: str
    """The text after the last past turn. The pictures belong to the first turn."""
    images: tuple[NDArray[np.uint8], ...]
    frames: tuple[NDArray[np.uint8], ...] = ()
    """Frames of a video in order, marks drawn."""
    fit: Fit = "pad"
    stops: tuple[Stop, ...] = ()
    user_texts: tuple[str, ...] = ()
    """The parts of the prompt that a person wrote. They must not contain control tokens."""
    sampling: Sampling = GREEDY
    past_turns: tuple[PromptTurn, ...] = ()
    min_answer_tokens: int = 1
    """How many tokens of the context must remain for the answer."""
    grammar: Grammar | None = None
    """What the answer must look like. It decides where the answer ends, so stops should be left out."""
    guide: Guide | None = None
    """The contrast by which the answer is guided, if any."""
    choices: tuple[str, ...] = ()
    """Answers to choose from by their likelihood. If there are any, nothing is generated."""
    score: Score = "sum"
    """How the choices are compared."""
    top_logprobs: int | None = None
    """How many of the likeliest tokens to report for each token of the answer; None for no report at all."""


@dataclass(frozen=True, slots=True)
class ScoredChoice:
    """One of the answers to choose from."""

    text: str
    probability: float
    """Its share among the choices: the softmax of their scores."""
    logprob: float
    """The sum of the log-probabilities of its tokens, the one that ends the answer included."""
    tokens: int
    """The number of these tokens."""
    logprob_without_picture: float | None = None
    """The same sum where the model sees no picture; only known if the score is the lift."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, and the log-probability that the model gave it."""

    text: str
    """Pieces of a character that takes several tokens are U+FFFD."""
    id: int
    logprob: float
    top: tuple[TokenLogprob, ...] = ()
    """The likeliest tokens in its place, the likeliest first."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which model answered, and how it was run."""

    name: str
    revision: str | None
    dtype: str
    device: str
    quantize: str | None = None
    quantize_all: bool = False
    attention: str | None = None
    """The setting for the attention implementation in use; None if no setting chooses it."""
    fingerprint: str | None = None
    """A hash of its files, if there is no revision to tell them by."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer to a request."""

    text: str
    ended: EndReason
    prompt_tokens: int
    token_ids: tuple[int, ...]
    """All generated ids, including those of the stop."""
    shown_tokens: int
    """How many of the ids, counted from the first, make up the text."""
    probability: float | None
    """The mean probability of the answer's tokens, or the share of the chosen answer; None without tokens."""
    model: ModelFacts
    seconds: dict[str, float] = field(default_factory=dict)
    choices: tuple[ScoredChoice, ...] = ()
    """The answers to choose from, in the order of the request."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The tokens of the text, if the request asked for them."""


class Answerer(Protocol):
    """Anything that answers requests."""

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer a request, passing text to `on_text` as it comes; stop early once `halted` returns true."""


class BatchAnswerer(Answerer, Protocol):
    """Anything that also answers several requests as one batch."""

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        """Answer requests that share their sampling."""
