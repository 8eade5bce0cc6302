"""A conversation about pictures: what was said, and the marks that come and go. No terminal."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from vipcli.asking import pipeline
from vipcli.asking.interface import Answerer, EndReason, Halted, OnText, Sampling
from vipcli.asking.records import Answer, doubts
from vipcli.asking.values import Drawing, MarkedInput, PastTurn, Question
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import ContextError, Message, UsageError
from vipcli.geometry import FitChoice
from vipcli.marks.kinds import Mark, TypedMark, parse_named_mark
from vipcli.pictures.images import Picture
from vipcli.pictures.videos import Video


@dataclass(frozen=True, slots=True)
class Manner:
    """How to ask: the settings that a conversation can change as it goes, by their names."""

    prompt: str = "auto"
    system: str | None = None
    fit: FitChoice = "auto"
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    """Where none was asked for, each answer that chance plays a part in has one of its own."""
    width: float | None = None
    alpha: int | None = None
    jitter: int | None = None

    @property
    def drawing(self) -> Drawing:
        return Drawing(self.width, self.alpha, self.jitter)

    def sampling(self) -> Sampling:
        """How to choose the tokens of one answer."""
        seed = self.seed
        if seed is None:
            seed = secrets.randbelow(2**32) if self.temperature else 0
        return Sampling(self.max_new_tokens, self.temperature, self.top_p, seed)


def manner_of(settings: Mapping[str, Any]) -> Manner:
    """The manner that settings of those names describe; what is not among them stays as usual."""
    told = {entry.name: settings.get(entry.name) for entry in fields(Manner)}
    return Manner(**{name: value for name, value in told.items() if value is not None})


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What is looked at: pictures, or the frames of a video, and the marks on them as they were typed."""

    pictures: tuple[Picture, ...]
    typed: tuple[TypedMark, ...] = ()
    video: Video | None = None

    def marked(self, drawing: Drawing) -> MarkedInput:
        """The pictures with their marks drawn."""
        return pipeline.mark(self.pictures, self.typed, drawing, video=self.video)


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """A question as it was typed and as it was asked, the answer, and what was looked at."""

    typed: str
    question: str
    answer: str
    token_ids: tuple[int, ...] | None
    """Those of the answer's text; None if another model wrote it."""
    ended: EndReason
    probability: float | None
    scene: Scene
    manner: Manner
    phrases: tuple[str, ...] = ()
    """How a question may refer to the marks that were there."""
    seconds: dict[str, float] = field(default_factory=dict)

    def shows(self, scene: Scene, manner: Manner) -> bool:
        """Whether that scene, drawn in that manner, is what was looked at."""
        return (
            self.scene.pictures == scene.pictures
            and self.scene.typed == scene.typed
            and self.manner.drawing == manner.drawing
        )


class Conversation:
    """One conversation with one model."""

    def __init__(
        self, answerer: Answerer, checkpoint: Checkpoint, scene: Scene, manner: Manner | None = None
    ) -> None:
        self._answerer = answerer
        self.checkpoint = checkpoint
        self.manner = manner or Manner()
        self.exchanges: list[Exchange] = []
        self.forgotten = 0
        """How many of the exchanges the model has no more room for."""
        self._marked: MarkedInput
        self._told: set[Message] = set()
        self.look_at(scene)

    @property
    def scene(self) -> Scene:
        return self._scene

    @property
    def marked(self) -> MarkedInput:
        """The pictures as the model is shown them."""
        return self._marked

    @property
    def marks(self) -> tuple[Mark, ...]:
        return self._marked.marks

    def look_at(self, scene: Scene) -> None:
        """Go on with other pictures or marks; nothing changes if they cannot be drawn."""
        self._marked = scene.marked(self.manner.drawing)
        self._scene = scene

    def mark(self, mark: TypedMark | str) -> Mark:
        """Draw one more mark: a value, or its text (`box 40,60,200,220:red`)."""
        typed = parse_named_mark(mark) if isinstance(mark, str) else mark
        self.look_at(replace(self._scene, typed=(*self._scene.typed, typed)))
        return self.marks[-1]

    def undo(self) -> Mark:
        """Take the newest mark away."""
        if not self._scene.typed:
            raise UsageError("There is no mark to take away.")
        last = self.marks[-1]
        self.look_at(replace(self._scene, typed=self._scene.typed[:-1]))
        return last

    def clear(self) -> int:
        """Take all marks away, and tell how many there were."""
        count = len(self._scene.typed)
        self.look_at(replace(self._scene, typed=()))
        return count

    def behave(self, manner: Manner) -> None:
        """Go on in another manner; nothing changes if marks cannot be drawn in it."""
        self._marked = self._scene.marked(manner.drawing)
        self.manner = manner

    def prepare(self, typed: str) -> Question:
        """A question as it would be asked now."""
        manner = self.manner
        return pipeline.prepare(
            self._marked,
            typed,
            self.checkpoint,
            prompt=manner.prompt,
            system=manner.system,
            fit=manner.fit,
            past_turns=[
                PastTurn(one.question, one.answer, one.token_ids) for one in self.exchanges[self.forgotten :]
            ],
        )

    def ask(self, question: str, on_text: OnText | None = None, halted: Halted | None = None) -> Answer:
        """Ask something about the pictures as they are marked now, and keep the turn.

        Where the model has no more room, the oldest turns leave it: `forgotten` counts them.
        """
        before = self.forgotten
        while True:
            try:
                return self._ask(self.prepare(question), question, on_text, halted)
            except ContextError as error:
                try:
                    self._forget(error)
                except ContextError:
                    # Leaving out earlier turns did not help, so none is left out.
                    self.forgotten = before
                    raise

    def _ask(self, question: Question, typed: str, on_text: OnText | None, halted: Halted | None) -> Answer:
        """Put a prepared question to the model, and keep the turn."""
        sampling = self.manner.sampling()
        answer = pipeline.ask(question, self._answerer, sampling, on_text, halted)
        reply = answer.reply
        if reply.text or reply.ended != "halted":
            self.exchanges.append(
                Exchange(
                    typed=typed,
                    question=question.text,
                    answer=reply.text,
                    token_ids=reply.token_ids[: reply.shown_tokens],
                    ended=reply.ended,
                    probability=reply.probability,
                    scene=self._scene,
                    manner=replace(self.manner, seed=sampling.seed),
                    phrases=tuple(mark.phrase for mark in self.marks),
                    seconds=answer.seconds,
                )
            )
        return answer

    def _forget(self, error: ContextError) -> None:
        """Leave the older half of the turns out from now on; without any, raise the error again."""
        left = len(self.exchanges) - self.forgotten
        if not left:
            raise error
        # Half of them, for each time all that is left must be read again.
        self.forgotten += (left + 1) // 2

    def take_back(self) -> Exchange:
        """Take the last exchange out of the conversation, to ask it again."""
        if not self.exchanges:
            raise UsageError("Nothing has been asked yet.")
        last = self.exchanges.pop()
        self.forgotten = min(self.forgotten, len(self.exchanges))
        return last

    def news(self, question: Question) -> Iterator[Message]:
        """What is worth saying before a question is answered, each thing once."""
        count = len(self.exchanges) - self.forgotten
        if count and not self.exchanges[-1].shows(self.scene, self.manner):
            turns = "the turn before is kept" if count == 1 else f"the {count} turns before are kept"
            yield Message(f"The picture has changed, so the model looks at it anew; {turns}.")
        yield from self._once(question.notes)

    def doubts(self, answer: Answer) -> Iterator[Message]:
        """What is worth saying of an answer, each thing once."""
        return self._once(doubts(answer))

    def _once(self, messages: Iterable[Message]) -> Iterator[Message]:
        for message in messages:
            if message not in self._told:
                self._told.add(message)
                yield message
