"""What passes from step to step: how to draw, marked pictures, and a question ready for a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vipcli.asking.interface import PromptTurn
from vipcli.checkpoints.prompt_forms import PromptForm
from vipcli.config import Settings
from vipcli.errors import Message
from vipcli.geometry import Fit
from vipcli.marks.kinds import Mark, TypedMark
from vipcli.marks.styles import Style
from vipcli.pictures.images import Picture, Pixels
from vipcli.pictures.videos import Video


@dataclass(frozen=True, slots=True)
class Drawing:
    """How marks are to be drawn: the trained style, or what a person asked for instead."""

    width: float | None = None
    alpha: int | None = None
    jitter: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Drawing:
        """How the settings want marks drawn."""
        return cls(settings.width, settings.alpha, settings.jitter)


DEFAULT_DRAWING = Drawing()


@dataclass(frozen=True, slots=True, eq=False)
class MarkedPicture:
    """One picture, or one frame of a video, with its marks on it."""

    picture: Picture
    marks: Mapping[int, Mark]
    """By their numbers among all marks."""
    styles: Mapping[int, Style]
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class MarkedInput:
    """Pictures with their marks on them, and what is worth saying of that."""

    pictures: tuple[MarkedPicture, ...]
    typed: tuple[TypedMark, ...]
    drawing: Drawing
    video: Video | None = None
    """Where the pictures are its frames."""
    notes: tuple[Message, ...] = ()

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All marks, in the order in which they were typed."""
        placed = {number: mark for one in reversed(self.pictures) for number, mark in one.marks.items()}
        return tuple(placed[number] for number in sorted(placed))

    @property
    def picture(self) -> Picture:
        """The first picture, mostly the only one."""
        return self.pictures[0].picture

    @property
    def pixels(self) -> Pixels:
        """The first picture with its marks."""
        return self.pictures[0].pixels


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """All that is settled before a model is needed."""

    text: str
    by_user: bool
    marked: MarkedInput
    prompt: str
    form: PromptForm
    fit: Fit
    user_texts: tuple[str, ...]
    notes: tuple[Message, ...] = ()
    past_turns: tuple[PromptTurn, ...] = ()
    """What was said earlier in a conversation; `prompt` goes on from there."""
    is_follow_up: bool = False
    """Whether anything was said earlier, as tokens or as text."""


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn of a conversation that is over."""

    question: str
    answer: str
    token_ids: tuple[int, ...] | None
    """Those of the answer; None where another model wrote it, so that its text must do."""
