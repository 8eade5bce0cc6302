"""A conversation about pictures: its turns, and the marks that are added and removed. Prints nothing."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vipcli.asking import pipeline
from vipcli.asking.interface import BY_SUM, Answerer, EndReason, Halted, OnText, Sampling, Scoring
from vipcli.asking.records import Answer, doubts
from vipcli.asking.values import Drawing, MarkedInput, PastTurn, Question
from vipcli.asking.zooming import check_zoom, zoom_in
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.config import Settings
from vipcli.errors import ContextError, MarkError, Message, UsageError
from vipcli.geometry import FitChoice, ZoomChoice
from vipcli.marks.kinds import Mark, TypedMark, parse_named_mark
from vipcli.pictures.images import Picture
from vipcli.pictures.videos import Video


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """The settings that can change during a conversation."""

    prompt: str = "auto"
    system: str | None = None
    guide: float | None = None
    fit: FitChoice = "auto"
    zoom: ZoomChoice = "off"
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """If None, each sampled answer gets its own seed."""
    width: float | None = None
    alpha: int | None = None
    jitter: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> ChatSettings:
        """Select the settings of a conversation from all settings."""
        return cls.from_values({entry.name: getattr(settings, entry.name) for entry in fields(cls)})

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ChatSettings:
        """Build settings from values by name; missing values and None mean the default."""
        values = {entry.name: values.get(entry.name) for entry in fields(cls)}
        return cls(**{name: value for name, value in values.items() if value is not None})

    @property
    def drawing(self) -> Drawing:
        """How marks are drawn."""
        return Drawing(self.width, self.alpha, self.jitter)

    def sampling(self) -> Sampling:
        """How the tokens of one answer are chosen."""
        seed = self.seed
        if seed is None:
            seed = secrets.randbelow(2**32) if self.temperature else 0
        return Sampling(self.max_new_tokens, self.temperature, self.top_p, seed)


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What questions are about: pictures or the frames of a video, and the marks as they were typed."""

    pictures: tuple[Picture, ...]
    typed: tuple[TypedMark, ...] = ()
    video: Video | None = None

    def marked(self, drawing: Drawing) -> MarkedInput:
        """Draw the marks on the pictures."""
        return pipeline.mark(self.pictures, self.typed, drawing, video=self.video)


@dataclass(frozen=True, slots=True, eq=False)
class ChatTurn:
    """A question, its answer, and what they were about."""

    typed: str
    """The question as it was typed, perhaps with {1}, {2} … for marks."""
    question: str
    answer: str
    token_ids: tuple[int, ...] | None
    """The tokens of the answer's text; None if another model wrote it."""
    ended: EndReason
    probability: float | None
    subject: Subject
    settings: ChatSettings
    phrases: tuple[str, ...] = ()
    """How a question could refer to each mark."""
    seconds: dict[str, float] = field(default_factory=dict)

    def shows(self, subject: Subject, settings: ChatSettings) -> bool:
        """Whether the model saw the same pictures and marks, drawn in the same style."""
        return (
            self.subject.pictures == subject.pictures
            and self.subject.typed == subject.typed
            and self.settings.drawing == settings.drawing
            and self.settings.zoom == settings.zoom
        )


class Conversation:
    """One conversation with one model."""

    def __init__(
        self,
        answerer: Answerer,
        checkpoint: Checkpoint,
        subject: Subject,
        settings: ChatSettings | None = None,
        scoring: Scoring = BY_SUM,
    ) -> None:
        self._answerer = answerer
        self.checkpoint = checkpoint
        self.settings = settings or ChatSettings()
        self._scoring = scoring
        self.turns: list[ChatTurn] = []
        self.dropped = 0
        """How many of the oldest turns no longer fit into the model's context."""
        self._marked: MarkedInput
        self._announced: MarkedInput | None = None
        """The pictures when a change was last noted, so that a retry does not repeat the note."""
        self._shown_notes: set[Message] = set()
        self.change_subject(subject)

    @property
    def subject(self) -> Subject:
        """The current pictures and marks."""
        return self._subject

    @property
    def marked(self) -> MarkedInput:
        """The pictures as the model sees them, with their marks, or what they are cut to."""
        fit = self.checkpoint.fit(self.settings.fit)
        return zoom_in(self._marked, self.settings.zoom, self.checkpoint, fit)

    @property
    def marks(self) -> tuple[Mark, ...]:
        """The current marks, in the order in which they were added."""
        return self._marked.marks

    def change_subject(self, subject: Subject) -> None:
        """Continue with other pictures or marks; nothing changes if they cannot be drawn."""
        self._marked = subject.marked(self.settings.drawing)
        self._subject = subject

    def change_settings(self, settings: ChatSettings) -> None:
        """Continue with other settings; nothing changes if marks cannot be drawn with them."""
        check_zoom(settings.zoom, self.checkpoint, video=self._subject.video is not None)
        self._marked = self._subject.marked(settings.drawing)
        self.settings = settings

    def mark(self, mark: TypedMark | str) -> Mark:
        """Add a mark: a value, or its text (`box 40,60,200,220:red`)."""
        typed = parse_named_mark(mark) if isinstance(mark, str) else mark
        if not isinstance(typed, TypedMark):
            raise MarkError(
                f"{type(mark).__name__} is not a mark.",
                "Give a mark's value, or its text such as 'box 40,60,200,220'.",
            )
        self.change_subject(replace(self._subject, typed=(*self._subject.typed, typed)))
        return self.marks[-1]

    def undo(self) -> Mark:
        """Remove the newest mark and return it."""
        if not self._subject.typed:
            raise UsageError("There are no marks to remove.")
        last = self.marks[-1]
        self.change_subject(replace(self._subject, typed=self._subject.typed[:-1]))
        return last

    def clear(self) -> int:
        """Remove all marks, and return how many there were."""
        count = len(self._subject.typed)
        self.change_subject(replace(self._subject, typed=()))
        return count

    def prepare(self, typed: str, choices: Sequence[str] = ()) -> Question:
        """Build a question and its prompt from what was typed, without asking it."""
        return pipeline.prepare(
            self._marked,
            typed,
            self.checkpoint,
            prompt=self.settings.prompt,
            system=self.settings.system,
            fit=self.settings.fit,
            guide=self.settings.guide,
            zoom=self.settings.zoom,
            past_turns=[
                PastTurn(turn.question, turn.answer, turn.token_ids) for turn in self.turns[self.dropped :]
            ],
            choices=choices,
        )

    def ask(
        self,
        question: str,
        on_text: OnText | None = None,
        halted: Halted | None = None,
        *,
        choices: Sequence[str] = (),
    ) -> Answer:
        """Ask about the pictures as they are marked now, and add the turn to the conversation.

        With `choices`, the answer is the likeliest of these, and the conversation goes on from it.

        If the model's context is full, the oldest turns are left out from then on; `dropped` counts them.
        """
        dropped_before = self.dropped
        while True:
            try:
                return self._ask(self.prepare(question, choices), question, on_text, halted)
            except ContextError:
                if self.dropped == len(self.turns):
                    # The question does not fit even without earlier turns, so keep them.
                    self.dropped = dropped_before
                    raise
                # Drop half of the turns at once, because each time the model has to read the rest again.
                self.dropped += (len(self.turns) - self.dropped + 1) // 2

    def _ask(self, question: Question, typed: str, on_text: OnText | None, halted: Halted | None) -> Answer:
        sampling = self.settings.sampling()
        answer = pipeline.ask(question, self._answerer, sampling, on_text, halted, scoring=self._scoring)
        reply = answer.reply
        if reply.text or reply.ended != "halted":
            self.turns.append(
                ChatTurn(
                    typed=typed,
                    question=question.text,
                    answer=reply.text,
                    token_ids=reply.token_ids[: reply.shown_tokens],
                    ended=reply.ended,
                    probability=reply.probability,
                    subject=self._subject,
                    settings=replace(self.settings, seed=sampling.seed),
                    phrases=tuple(mark.phrase for mark in self.marks),
                    seconds=answer.seconds,
                )
            )
        return answer

    def remove_last_turn(self) -> ChatTurn:
        """Remove the last turn and return it."""
        if not self.turns:
            raise UsageError("Nothing has been asked yet.")
        last = self.turns.pop()
        self.dropped = min(self.dropped, len(self.turns))
        return last

    def notes_before(self, question: Question) -> Iterator[Message]:
        """Notes to show before a question is answered, each only once."""
        count = len(self.turns) - self.dropped
        changed = bool(self.turns) and not self.turns[-1].shows(self.subject, self.settings)
        if count and changed and self._announced is not self._marked:
            self._announced = self._marked
            earlier = "the earlier turn is kept" if count == 1 else f"the {count} earlier turns are kept"
            yield Message(f"The picture has changed, so the model looks at it again; {earlier}.")
        yield from self._new_notes(question.notes)

    def notes_after(self, answer: Answer) -> Iterator[Message]:
        """Notes to show after an answer, each only once."""
        return self._new_notes(doubts(answer))

    def _new_notes(self, notes: Iterable[Message]) -> Iterator[Message]:
        for note in notes:
            if note not in self._shown_notes:
                self._shown_notes.add(note)
                yield note
