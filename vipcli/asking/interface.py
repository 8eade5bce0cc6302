"""What is asked of a model and what comes back: the seam that every model, local or not, stands behind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol

from vipcli.checkpoints.stops import Stop
from vipcli.config import Settings
from vipcli.geometry import Fit

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EndReason = Literal["stop", "length", "halted"]
OnText = Callable[[str], None]
Halted = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Setup:
    """How to run a checkpoint, each by its setting's words."""

    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    quantize_all: bool = False
    """Whether the vision tower and the projector are quantized too."""
    attention: str = "auto"

    @classmethod
    def of(cls, settings: Settings) -> Setup:
        """How the settings want a checkpoint run."""
        return cls(**{entry.name: getattr(settings, entry.name) for entry in fields(cls)})


AUTO = Setup()


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen: greedily at temperature 0, else at random from a seed."""

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    @classmethod
    def of(cls, settings: Settings) -> Sampling:
        """How the settings want tokens chosen, with a fresh seed if chance plays a part and none is set."""
        seed = settings.seed
        if seed is None:
            seed = secrets.randbelow(2**32) if settings.temperature else 0
        return cls(settings.max_new_tokens, settings.temperature, settings.top_p, seed)


GREEDY = Sampling()


@dataclass(frozen=True, slots=True)
class PromptTurn:
    """An earlier turn of a conversation, as the model read it and wrote it."""

    prompt: str
    """From the end of the answer before."""
    token_ids: tuple[int, ...]
    """The answer's own: text made into tokens once more might become others."""


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One prompt and its pictures (RGB, uint8, height × width × 3, marks drawn)."""

    prompt: str
    """From the end of the last earlier turn; the pictures belong to the first."""
    images: tuple[NDArray[np.uint8], ...]
    frames: tuple[NDArray[np.uint8], ...] = ()
    """Of a video, in order, drawn as pictures are."""
    fit: Fit = "pad"
    stops: tuple[Stop, ...] = ()
    user_texts: tuple[str, ...] = ()
    """The parts of the prompt that a person wrote, which must not hold control tokens."""
    sampling: Sampling = GREEDY
    past_turns: tuple[PromptTurn, ...] = ()
    min_answer_tokens: int = 1
    """How many tokens must be left for the answer."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Which model answered, for the record."""

    name: str
    revision: str | None
    dtype: str
    device: str
    quantize: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model made of a request."""

    text: str
    ended: EndReason
    prompt_tokens: int
    token_ids: tuple[int, ...]
    """All of them, those that ended it too."""
    shown_tokens: int
    """How many of them, from the first, made the text."""
    probability: float | None
    """The mean probability of the answer's tokens; None if it has none."""
    model: ModelFacts
    seconds: dict[str, float] = field(default_factory=dict)


class Answerer(Protocol):
    """Anything that answers requests."""

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request, handing over the text as it comes, and end it early once `halted` says so."""


class BatchAnswerer(Answerer, Protocol):
    """Anything that answers several requests side by side, too."""

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        """Answer several, all of them sampled in the same way."""
