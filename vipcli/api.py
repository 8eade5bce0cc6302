"""What `import vipcli` offers, and where the stages meet: every command goes through `Model`.

Settings that are not given come from the environment and the settings file, as on the command line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from vipcli import config
from vipcli.asking.interface import Answerer, Halted, OnText, Sampling, Setup, Several
from vipcli.config import Settings
from vipcli.errors import UsageError, VipcliError
from vipcli.marks.kinds import TypedMark, parse_mark, parse_named_mark

if TYPE_CHECKING:
    from vipcli.asking.records import Answer
    from vipcli.asking.values import Marked, Question
    from vipcli.chat.conversation import Conversation
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.pictures.images import PictureSource, Pixels
    from vipcli.serving.client import Held

MarkLike = TypedMark | str | Any
"""A mark, its text (`box 40,60,200,220:red`), a mask as an array, or `supervision.Detections`."""


class Events:
    """What a front end may show while a model is found and loaded. These show nothing."""

    def fetching(self, name: str, size: int) -> None:
        """A download of that many bytes begins."""

    def loading(self, name: str) -> AbstractContextManager[None]:
        """Something is being loaded for as long as the context lasts."""
        return nullcontext()

    def note(self, text: str) -> None:
        """Something worth knowing that ends nothing."""


@dataclass(frozen=True, slots=True)
class Task:
    """One question among many."""

    picture: PictureSource
    question: str | None = None
    marks: Sequence[MarkLike] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that has no answer, and why."""

    task: Task
    error: VipcliError


class Model:
    """A checkpoint that answers questions about marked pictures, loaded once there is something to answer.

    One thread at a time: requests of several threads are not kept apart.
    """

    def __init__(self, settings: Settings, events: Events | None = None, *, resident: bool = False) -> None:
        from vipcli.checkpoints.lookup import is_local

        if settings.revision is not None and "revision" not in settings.given and is_local(settings.model):
            # A revision that is saved is meant for checkpoints of the hub.
            settings = replace(settings, revision=None)
        self.settings = settings
        self.setup = Setup.of(settings)
        self._events = events or Events()
        self._resident = resident
        """Whether it will answer often, so that compiling its steps pays."""

    # ---------------------------------------------------------------------- the checkpoint

    def peek(self) -> Checkpoint:
        """What is known of the checkpoint without fetching it."""
        from vipcli.checkpoints import lookup

        return lookup.peek(self.settings.model, revision=self.settings.revision)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, fetched if it is not here yet."""
        from vipcli.checkpoints import lookup

        return lookup.find(
            self.settings.model,
            revision=self.settings.revision,
            offline=self.settings.offline,
            on_fetch=self._events.fetching,
        )

    # ---------------------------------------------------------------------- the model itself

    def server(self, checkpoint: Checkpoint) -> Held | None:
        """The running server, if it holds this checkpoint in this setup."""
        if self.settings.no_server or sys.platform == "win32":
            return None
        from vipcli.serving import client

        try:
            held = client.running()
        # A server that nobody asked for must not keep anybody from an answer.
        except VipcliError:
            return None
        return held if held is not None and held.is_for(checkpoint, asdict(self.setup)) else None

    def local(self) -> Several:
        """The model in this process, loaded anew."""
        with self._events.loading(f"Loading {self.checkpoint.name} …"):
            from vipcli.engine.local import LocalModel

            return LocalModel(self.checkpoint, self.setup, resident=self._resident)

    def connect(self, held: Held | None) -> Answerer:
        """The model of a running server, else one in this process."""
        if held is None:
            return self.local()
        from vipcli.serving.client import Fallback, RemoteModel

        return Fallback(RemoteModel(), self.local, self._events.note)

    def start_server(self, keep_alive: float) -> Held | None:
        """Start a server that ends once idle for so long; None if one runs that holds another model."""
        from vipcli.serving import control

        with self._events.loading(f"Starting a server with {self.checkpoint.name} …"):
            held = control.begin(self.checkpoint, self.setup, self.settings, keep_alive)
        if held.is_for(self.checkpoint, asdict(self.setup)):
            return held
        self._events.note(
            f"The running server holds {held.model}, or runs it differently. vipcli serve --stop ends it."
        )
        return None

    @cached_property
    def answerer(self) -> Answerer:
        """What answers: loaded on first use, and kept."""
        return self.connect(self.server(self.checkpoint))

    # ---------------------------------------------------------------------- asking

    def prepare(
        self,
        marked: Marked,
        question: str | None = None,
        checkpoint: Checkpoint | None = None,
        settings: Settings | None = None,
    ) -> Question:
        """Settle the question's words and its prompt, and what there is to warn of."""
        from vipcli.asking import pipeline

        settings = settings or self.settings
        return pipeline.prepare(
            marked,
            question,
            checkpoint or self.checkpoint,
            prompt=settings.prompt,
            system=settings.system,
            fit=settings.fit,
        )

    def ask(
        self,
        picture: PictureSource | Sequence[PictureSource],
        question: str | None = None,
        marks: MarkLike | Sequence[MarkLike] = (),
        *,
        frames: int | None = None,
        on_text: OnText | None = None,
        halted: Halted | None = None,
        **options: Any,
    ) -> Answer:
        """Ask about a picture, several, or a video, and about what is marked there.

        Options are settings for this question alone: `temperature=0.7`, `fit="crop"`, `width=4`, `jitter=1` …
        """
        from vipcli.asking import pipeline

        settings = _changed(self.settings, options)
        marked = _marked(_several(picture), marks, settings, frames)
        prepared = self.prepare(marked, question, settings=settings)
        return pipeline.ask(prepared, self.answerer, Sampling.of(settings), on_text, halted)

    def stream(
        self,
        picture: PictureSource | Sequence[PictureSource],
        question: str | None = None,
        marks: MarkLike | Sequence[MarkLike] = (),
        **options: Any,
    ) -> Stream:
        """The same as `ask`, piece by piece."""
        return Stream(
            lambda on_text, halted: self.ask(
                picture, question, marks, on_text=on_text, halted=halted, **options
            )
        )

    def ask_many(
        self, tasks: Iterable[Task | Mapping[str, Any]], *, together: int = 8, **options: Any
    ) -> Iterator[Answer | Failure]:
        """An answer for each task, in order, so many at a time; a task that fails gives a `Failure`."""
        from vipcli.asking.pipeline import request_of
        from vipcli.asking.records import Answer
        from vipcli.batch.answering import Together

        settings = _changed(self.settings, options)
        sampling = Sampling.of(settings)
        answering = Together(self._several_at_once, 1 if settings.temperature else together)
        tasks = iter(tasks)
        while window := [_task(task) for task in islice(tasks, together)]:
            prepared = [self._prepared(task, settings) for task in window]
            questions = [question for question in prepared if not isinstance(question, Failure)]
            replies = iter(answering.replies([request_of(question, sampling) for question in questions]))
            for task, question in zip(window, prepared, strict=True):
                if isinstance(question, Failure):
                    yield question
                    continue
                reply = next(replies)
                if isinstance(reply, VipcliError):
                    yield Failure(task, reply)
                else:
                    yield Answer(question, reply, sampling, reply.seconds)

    def _prepared(self, task: Task, settings: Settings) -> Question | Failure:
        try:
            return self.prepare(
                _marked(_several(task.picture), task.marks, settings), task.question, settings=settings
            )
        except VipcliError as error:
            return Failure(task, error)

    @cached_property
    def _loaded(self) -> Several:
        return self.local()

    def _several_at_once(self) -> Several:
        return self._loaded

    def chat(
        self,
        picture: PictureSource | Sequence[PictureSource],
        marks: MarkLike | Sequence[MarkLike] = (),
        *,
        frames: int | None = None,
        **options: Any,
    ) -> Conversation:
        """A conversation about a picture, several, or a video."""
        from vipcli.chat.conversation import Conversation, Scene, manner_of

        settings = _changed(self.settings, options)
        marked = _marked(_several(picture), marks, settings, frames)
        scene = Scene(tuple(shown.picture for shown in marked.shown), marked.typed, marked.video)
        manner = manner_of({entry.name: getattr(settings, entry.name) for entry in fields(Settings)})
        return Conversation(self.answerer, self.checkpoint, scene, manner)


class Stream:
    """The pieces of an answer as they come; `answer` is whole once they have all been taken."""

    def __init__(self, ask: Callable[[OnText, Halted], Answer]) -> None:
        self._ask = ask
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        import queue
        import threading

        pieces: queue.Queue[str | BaseException | None] = queue.Queue()
        left = threading.Event()

        def work() -> None:
            try:
                self._answer = self._ask(pieces.put, left.is_set)
                pieces.put(None)
            except BaseException as error:
                pieces.put(error)

        worker = threading.Thread(target=work, name="vipcli-stream", daemon=True)
        worker.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
        finally:
            # Whoever leaves the loop early wants no more of it.
            left.set()
            worker.join()

    @property
    def answer(self) -> Answer:
        """The whole answer; taking the pieces first is not necessary."""
        if self._answer is None:
            for _ in self:
                pass
        assert self._answer is not None
        return self._answer


def load(name: str | None = None, **options: Any) -> Model:
    """A model by its short name, hub name or folder; the default one without a name.

    Options are settings by their names: `device="cuda"`, `quantize="4bit"`, `revision=…`, `no_server=True` …
    """
    if name is not None:
        options["model"] = name
    return Model(_changed(None, options))


def draw(picture: PictureSource, marks: MarkLike | Sequence[MarkLike], **options: Any) -> Pixels:
    """A picture with marks on it, as an RGB array; options: `width`, `alpha`, `jitter`, `max_pixels`."""
    return _marked([picture], marks, _changed(None, options)).pixels


def _changed(settings: Settings | None, options: Mapping[str, Any]) -> Settings:
    """The settings with other values for some, each read and checked as on the command line."""
    known = [entry.name for entry in fields(Settings) if entry.name != "given"]
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"There is no setting {unknown[0]!r}. Known are {', '.join(known)}.")
    if not options and settings is not None:
        return settings
    asked = config.settings(options)
    if settings is None:
        return asked
    return replace(settings, **{name: getattr(asked, name) for name in asked.given})


def _several(picture: PictureSource | Sequence[PictureSource]) -> list[PictureSource]:
    return list(picture) if isinstance(picture, list | tuple) else [picture]  # type: ignore[list-item]


def _marked(
    sources: Sequence[PictureSource],
    marks: MarkLike | Sequence[MarkLike],
    settings: Settings,
    frames: int | None = None,
) -> Marked:
    from vipcli.asking.load_marked import load_marked
    from vipcli.asking.values import Drawing

    return load_marked(
        sources,
        list(_typed(marks)),
        Drawing.of(settings),
        frames=frames,
        max_pixels=settings.max_pixels,
    )


def _typed(marks: MarkLike | Sequence[MarkLike]) -> Iterator[TypedMark]:
    """Every mark that may be given in Python, as one that was typed."""
    if isinstance(marks, TypedMark):
        yield marks
    elif isinstance(marks, str):
        yield parse_named_mark(marks)
    elif isinstance(marks, list | tuple):
        for mark in marks:
            yield from _typed(mark)
    elif hasattr(marks, "xyxy"):
        yield from _detected(marks)
    else:
        from vipcli.marks.drawing import mask_of_array

        yield mask_of_array(marks)


def _detected(detections: Any) -> Iterator[TypedMark]:
    """A mask for each detection that has one, else a box."""
    from vipcli.marks.drawing import mask_of_array

    if getattr(detections, "mask", None) is not None:
        for mask in detections.mask:
            yield mask_of_array(mask)
        return
    for x1, y1, x2, y2 in detections.xyxy:
        yield parse_mark("box", f"{x1:f},{y1:f},{x2:f},{y2:f}")


def _task(task: Task | Mapping[str, Any]) -> Task:
    return task if isinstance(task, Task) else Task(**task)
