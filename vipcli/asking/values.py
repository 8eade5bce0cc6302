"""Values passed between the steps: drawing options, marked pictures, prepared questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vipcli.asking.interface import Grammar, PromptTurn
from vipcli.checkpoints.prompt_forms import PromptForm
from vipcli.config import Settings
from vipcli.errors import Message
from vipcli.geometry import Fit, ZoomChoice
from vipcli.marks.kinds import Mark, TypedMark, move
from vipcli.marks.styles import Style
from vipcli.pictures.images import Picture, Pixels
from vipcli.pictures.videos import Video


@dataclass(frozen=True, slots=True)
class Drawing:
    """How to draw marks; None means as in the models' training."""

    width: float | None = None
    alpha: int | None = None
    jitter: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Drawing:
        """Copy it from the settings."""
        return cls(settings.width, settings.alpha, settings.jitter)


DEFAULT_DRAWING = Drawing()


@dataclass(frozen=True, slots=True)
class Cut:
    """A part of a picture, in its pixels, that is shown in place of the whole."""

    left: int
    top: int
    right: int
    bottom: int
    scale: float = 1.0
    """How much it is enlarged before marks are drawn on it."""

    @property
    def size(self) -> tuple[int, int]:
        """Its width and height in pixels of the picture."""
        return self.right - self.left, self.bottom - self.top


@dataclass(frozen=True, slots=True, eq=False)
class MarkedPicture:
    """One picture, or one frame of a video, with its marks drawn, or a part of it."""

    picture: Picture
    marks: Mapping[int, Mark]
    """Where they are on the whole picture, by their numbers among all marks, from 1."""
    styles: Mapping[int, Style]
    pixels: Pixels
    cut: Cut | None = None
    """The part that `pixels` shows; None for the whole picture."""

    @property
    def size(self) -> tuple[int, int]:
        """The width and height of `pixels`."""
        height, width = self.pixels.shape[:2]
        return width, height

    @property
    def drawn_marks(self) -> Mapping[int, Mark]:
        """Where the marks are on `pixels`."""
        cut = self.cut
        if cut is None:
            return self.marks
        return {number: move(mark, cut.left, cut.top, cut.scale) for number, mark in self.marks.items()}


@dataclass(frozen=True, slots=True, eq=False)
class MarkedInput:
    """All pictures, or all frames of a video, with their marks drawn, and notes on them."""

    pictures: tuple[MarkedPicture, ...]
    typed: tuple[TypedMark, ...]
    drawing: Drawing
    video: Video | None = None
    """The video whose frames the pictures are, if any."""
    mask_hashes: Mapping[str, str] = field(default_factory=dict)
    """The SHA-256 of each mask image by its file name."""
    notes: tuple[Message, ...] = ()

    @property
    def marks(self) -> tuple[Mark, ...]:
        """All marks in the order they were typed."""
        placed = {
            number: mark for picture in reversed(self.pictures) for number, mark in picture.marks.items()
        }
        return tuple(placed[number] for number in sorted(placed))

    @property
    def picture(self) -> Picture:
        """The first picture, usually the only one."""
        return self.pictures[0].picture

    @property
    def pixels(self) -> Pixels:
        """The first picture with its marks drawn."""
        return self.pictures[0].pixels


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question with its marked pictures and its prompt, ready for a model."""

    text: str
    by_user: bool
    """False if vipcli made it up because the user asked none."""
    marked: MarkedInput
    prompt: str
    form: PromptForm
    fit: Fit
    user_texts: tuple[str, ...]
    system: str | None = None
    """The system line in place of the form's own."""
    notes: tuple[Message, ...] = ()
    past_turns: tuple[PromptTurn, ...] = ()
    """Past turns whose token ids are known; `prompt` begins after the last of them."""
    zoom: ZoomChoice = "off"
    """The choice by which pictures were cut to their marks."""
    is_follow_up: bool = False
    """Whether there are past turns, as token ids or as text."""
    grammar: Grammar | None = None
    """What the answer must look like."""
    guide: float | None = None
    """How much the answer is guided by contrast; None for not at all."""
    choices: tuple[str, ...] = ()
    """The answers to choose from; without any, the model writes its own."""


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A finished turn of a conversation."""

    question: str
    answer: str
    token_ids: tuple[int, ...] | None
    """The answer's token ids; None if another model wrote it, so that only its text can be used."""
