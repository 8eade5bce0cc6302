"""The public Python API. Every command goes through `Model` as well.

Settings that are left out come from the environment and the settings file, as on the command line.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from vipcli import config
from vipcli.asking.interface import (
    Answerer,
    BatchAnswerer,
    Grammar,
    Halted,
    OnText,
    Sampling,
    Scoring,
    Setup,
)
from vipcli.config import Settings
from vipcli.errors import ModelError, UsageError, VipcliError
from vipcli.marks.kinds import TypedMark, parse_mark, parse_named_mark

if TYPE_CHECKING:
    from concurrent.futures import Future

    from vipcli.asking.records import Answer
    from vipcli.asking.repeating import Comparison
    from vipcli.asking.values import MarkedInput, Question
    from vipcli.chat.conversation import Conversation
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.pictures.images import PictureSource, Pixels
    from vipcli.serving.client import ServerInfo

MarkLike = TypedMark | str | Any
"""A mark, its text (`box 40,60,200,220:red`), a mask as an array, or `supervision.Detections`."""


class Events:
    """Hooks for a front end to show downloads, loading and notes. By default, they do nothing."""

    def fetching(self, name: str, size: int) -> None:
        """A download of `size` bytes begins."""

    def loading(self, text: str) -> AbstractContextManager[None]:
        """A context manager that is entered while a model loads; `text` says which."""
        return nullcontext()

    def note(self, text: str) -> None:
        """Something worth knowing that is not an error."""


@dataclass(frozen=True, slots=True)
class Task:
    """One question for `Model.ask_many`."""

    picture: PictureSource
    question: str | None = None
    marks: Sequence[MarkLike] = ()
    choices: Sequence[str] = ()
    """Answers to choose from by their likelihood."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A task without an answer, and the reason."""

    task: Task
    error: VipcliError


class Model:
    """A checkpoint that answers questions about marked pictures, loaded on the first question.

    Not thread-safe: use it from one thread at a time.
    """

    def __init__(self, settings: Settings, events: Events | None = None, *, resident: bool = False) -> None:
        from vipcli.checkpoints.lookup import is_local

        if settings.revision is not None and "revision" not in settings.explicit and is_local(settings.model):
            # A revision from the settings file is meant for checkpoints on the hub.
            settings = replace(settings, revision=None)
        self.settings = settings
        self.setup = Setup.of(settings)
        self._events = events or Events()
        self._resident = resident
        """Whether the model will answer enough questions for compiling it to pay off."""
        self._loading = threading.Lock()
        self._early: Future[BatchAnswerer] | None = None
        """The model while it is loaded in the background."""
        self._may_preload = True
        """Whether nothing has begun to load the model yet."""

    # ---------------------------------------------------------------------- the checkpoint

    def peek(self) -> Checkpoint:
        """What is known about the checkpoint without downloading it."""
        from vipcli.checkpoints import lookup

        return lookup.peek(self.settings.model, revision=self.settings.revision)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, downloaded if necessary."""
        from vipcli.checkpoints import lookup

        return lookup.find(
            self.settings.model,
            revision=self.settings.revision,
            offline=self.settings.offline,
            on_fetch=self._events.fetching,
        )

    # ---------------------------------------------------------------------- the model itself

    def server(self, checkpoint: Checkpoint) -> ServerInfo | None:
        """The running server, if it holds this checkpoint in this setup."""
        if self.settings.no_server or sys.platform == "win32":
            return None
        from vipcli.serving import client

        try:
            server = client.find_server()
        # A broken server must not get in the way of an answer.
        except VipcliError:
            return None
        return server if server is not None and server.matches(checkpoint, asdict(self.setup)) else None

    def local(self) -> BatchAnswerer:
        """Load the model in this process."""
        with self._events.loading(f"Loading {self.checkpoint.name} …"):
            with self._loading:
                early, self._early, self._may_preload = self._early, None, False
            return self._load() if early is None else early.result()

    def _load(self) -> BatchAnswerer:
        from vipcli.engine.local import LocalModel

        return LocalModel(self.checkpoint, self.setup, resident=self._resident)

    def preload(self) -> None:
        """Begin to load the model in the background, unless a server holds it or it is not downloaded.

        Unlike everything else here, this may be called from any thread, and more than once.
        """
        with self._loading:
            if not self._may_preload:
                return
            self._may_preload = False
            checkpoint = self.peek()
            if checkpoint.folder is not None and self.server(checkpoint) is None:
                from concurrent.futures import ThreadPoolExecutor

                self._early = ThreadPoolExecutor(1, "vipcli-load").submit(self._load)

    def connect(self, server: ServerInfo | None) -> Answerer:
        """The running server's model, or one loaded in this process."""
        if server is None:
            return self.local()
        from vipcli.serving.client import Fallback, RemoteModel

        return Fallback(RemoteModel(), self.local, self._events.note)

    def start_server(self, keep_alive: float) -> ServerInfo:
        """Start a server that ends after `keep_alive` idle seconds, unless one is running already."""
        from vipcli.serving import control

        with self._events.loading(f"Starting a server with {self.checkpoint.name} …"):
            return control.start(self.checkpoint, self.setup, self.settings, keep_alive)

    def is_held_by(self, server: ServerInfo) -> bool:
        """Whether a server holds this checkpoint in this setup."""
        return server.matches(self.checkpoint, asdict(self.setup))

    @cached_property
    def answerer(self) -> Answerer:
        """The running server's model or one in this process, connected or loaded on first use."""
        return self.connect(self.server(self.checkpoint))

    # ---------------------------------------------------------------------- asking

    def prepare(
        self,
        marked: MarkedInput,
        question: str | None = None,
        checkpoint: Checkpoint | None = None,
        settings: Settings | None = None,
        grammar: Grammar | None = None,
        choices: Sequence[str] = (),
    ) -> Question:
        """Build the question's text and prompt, and collect warnings."""
        from vipcli.asking import pipeline

        settings = settings or self.settings
        return pipeline.prepare(
            marked,
            question,
            checkpoint or self.checkpoint,
            prompt=settings.prompt,
            system=settings.system,
            fit=settings.fit,
            grammar=grammar,
            guide=settings.guide,
            choices=choices,
            zoom=settings.zoom,
        )

    def ask(
        self,
        picture: PictureSource | Sequence[PictureSource],
        question: str | None = None,
        marks: MarkLike | Sequence[MarkLike] = (),
        *,
        schema: Any = None,
        pattern: str | None = None,
        choices: Sequence[str] = (),
        frames: int | None = None,
        on_text: OnText | None = None,
        halted: Halted | None = None,
        **options: Any,
    ) -> Answer:
        """Ask about a picture, several pictures or a video, and what is marked on them.

        With `choices`, the answer is the likeliest of these, and nothing is generated.

        With a `schema`, the answer is JSON that fits it, and `answer.fields` is its value: a dictionary, a
        pydantic model, a path, or the short form "color: str, count: int, open: bool". With a `pattern`, the
        answer matches this regular expression.

        Options are settings for this question only: `temperature=0.7`, `fit="crop"`, `width=4`, `jitter=1` …
        """
        from vipcli.asking import pipeline
        from vipcli.asking.grammars import read_grammar

        settings = with_options(self.settings, options)
        grammar = read_grammar(schema, pattern)
        marked = _load_marked(as_list(picture), marks, settings, frames)
        prepared = self.prepare(marked, question, settings=settings, grammar=grammar, choices=choices)
        sampling, scoring = Sampling.of(settings), Scoring.of(settings)
        return pipeline.ask(prepared, self.answerer, sampling, on_text, halted, scoring=scoring)

    def stream(
        self,
        picture: PictureSource | Sequence[PictureSource],
        question: str | None = None,
        marks: MarkLike | Sequence[MarkLike] = (),
        **options: Any,
    ) -> Stream:
        """Like `ask`, but yield the answer piece by piece."""
        return Stream(
            lambda on_text, halted: self.ask(
                picture, question, marks, on_text=on_text, halted=halted, **options
            )
        )

    def ask_many(
        self,
        tasks: Iterable[Task | Mapping[str, Any]],
        *,
        together: int = 8,
        schema: Any = None,
        pattern: str | None = None,
        **options: Any,
    ) -> Iterator[Answer | Failure]:
        """Answer the tasks in order, `together` at a time; a task that fails yields a `Failure`.

        A `schema` or a `pattern` is for all of them, as in `ask`.
        """
        if not isinstance(together, int) or together < 1:
            raise UsageError(f"together is {together!r}, but takes a whole number from 1.")
        from vipcli.asking.grammars import read_grammar
        from vipcli.asking.pipeline import build_request
        from vipcli.asking.records import Answer
        from vipcli.batch.answering import AdaptiveBatches

        settings = with_options(self.settings, options)
        sampling, scoring = Sampling.of(settings), Scoring.of(settings)
        grammar = read_grammar(schema, pattern)
        answering = AdaptiveBatches(self._batch_answerer, 1 if settings.temperature else together)
        tasks = iter(tasks)
        while window := [_as_task(task) for task in islice(tasks, together)]:
            prepared = [self._prepare_task(task, settings, grammar) for task in window]
            questions = [question for question in prepared if not isinstance(question, Failure)]
            requests = [build_request(question, sampling, scoring) for question in questions]
            replies = iter(answering.replies(requests))
            for task, question in zip(window, prepared, strict=True):
                if isinstance(question, Failure):
                    yield question
                    continue
                reply = next(replies)
                if isinstance(reply, VipcliError):
                    yield Failure(task, reply)
                else:
                    yield Answer(question, reply, sampling, reply.seconds, scoring)

    def _prepare_task(self, task: Task, settings: Settings, grammar: Grammar | None) -> Question | Failure:
        try:
            marked = _load_marked(as_list(task.picture), task.marks, settings)
            return self.prepare(
                marked, task.question, settings=settings, grammar=grammar, choices=task.choices
            )
        except VipcliError as error:
            return Failure(task, error)

    @cached_property
    def _loaded(self) -> BatchAnswerer:
        return self.local()

    def _batch_answerer(self) -> BatchAnswerer:
        # A server answers requests one by one, so a batch loads the model itself.
        return self._loaded

    def chat(
        self,
        picture: PictureSource | Sequence[PictureSource],
        marks: MarkLike | Sequence[MarkLike] = (),
        *,
        frames: int | None = None,
        **options: Any,
    ) -> Conversation:
        """Start a conversation about a picture, several pictures or a video."""
        from vipcli.chat.conversation import ChatSettings, Conversation, Subject

        settings = with_options(self.settings, options)
        marked = _load_marked(as_list(picture), marks, settings, frames)
        subject = Subject(
            tuple(marked_picture.picture for marked_picture in marked.pictures), marked.typed, marked.video
        )
        return Conversation(
            self.answerer, self.checkpoint, subject, ChatSettings.of(settings), Scoring.of(settings)
        )


class Stream:
    """The pieces of an answer as they are generated, and then the whole answer."""

    def __init__(self, ask: Callable[[OnText, Halted], Answer]) -> None:
        self._ask = ask
        self._answer: Answer | None = None

    def __iter__(self) -> Iterator[str]:
        import queue
        import threading

        pieces: queue.Queue[str | BaseException | None] = queue.Queue()
        abandoned = threading.Event()

        def work() -> None:
            try:
                self._answer = self._ask(pieces.put, abandoned.is_set)
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
            # Leaving the loop early stops the model.
            abandoned.set()
            worker.join()

    @property
    def answer(self) -> Answer:
        """The whole answer; this waits for it, whether or not the pieces were read."""
        if self._answer is None:
            for _ in self:
                pass
        assert self._answer is not None
        return self._answer


def load(name: str | None = None, **options: Any) -> Model:
    """A model by short name, hub name or folder; without a name, the default model.

    Options are settings: `device="cuda"`, `quantize="4bit"`, `revision=…`, `no_server=True` …
    """
    if name is not None:
        options["model"] = name
    return Model(with_options(None, options))


def repeat(
    record: Mapping[str, Any],
    picture: PictureSource | Sequence[PictureSource] | None = None,
    *,
    on_text: OnText | None = None,
    **options: Any,
) -> Comparison:
    """Ask again what the record of an answer says was asked, and compare the two answers.

    A picture, or several, replaces those of the record. Options are settings that win over the record's.
    """
    from vipcli.asking import pipeline, repeating

    sources = () if picture is None else as_list(picture)
    past = repeating.repeat(record, with_options(None, options), sources)
    model = Model(on_this_machine(past.settings))
    built = model.prepare(past.marked, past.question, grammar=past.grammar, choices=past.choices)
    question = past.restored(built)
    sampling, scoring = Sampling.of(model.settings), Scoring.of(model.settings)
    return past.compare(pipeline.ask(question, model.answerer, sampling, on_text, scoring=scoring))


def on_this_machine(settings: Settings) -> Settings:
    """The settings, with the device that a record names only if this machine has it."""
    if settings.device in ("auto", "cpu") or "device" in settings.explicit:
        return settings
    from vipcli.engine.devices import choose_device

    try:
        choose_device(settings.device)
    except ModelError:
        return replace(settings, device="auto")
    return settings


def draw(picture: PictureSource, marks: MarkLike | Sequence[MarkLike], **options: Any) -> Pixels:
    """Draw marks on a picture; returns an RGB array. Options: `width`, `alpha`, `jitter`, `max_pixels`."""
    return _load_marked([picture], marks, with_options(None, options)).pixels


_LOADED_WITH = frozenset(
    {"model", "revision", "offline", "no_server", *(entry.name for entry in fields(Setup))}
)
"""Settings that cannot change from question to question."""


def with_options(settings: Settings | None, options: Mapping[str, Any]) -> Settings:
    """The settings with some values replaced, read and checked as on the command line."""
    known = [entry.name for entry in fields(Settings) if entry.name != "explicit"]
    if unknown := [name for name in options if name not in known]:
        raise UsageError(f"There is no setting {unknown[0]!r}. The settings are {', '.join(known)}.")
    if settings is not None and (fixed := [name for name in options if name in _LOADED_WITH]):
        raise UsageError(f"The setting {fixed[0]} belongs to the model.", "Give it to vipcli.load.")
    if not options and settings is not None:
        return settings
    changes = config.settings(options)
    if settings is None:
        return changes
    return replace(settings, **{name: getattr(changes, name) for name in changes.explicit})


def as_list(picture: PictureSource | Sequence[PictureSource]) -> list[PictureSource]:
    """One picture or several as a list."""
    pictures: list[Any] = list(picture) if isinstance(picture, list | tuple) else [picture]
    if not pictures:
        raise UsageError("There is no picture to ask about.")
    return pictures


def _load_marked(
    sources: Sequence[PictureSource],
    marks: MarkLike | Sequence[MarkLike],
    settings: Settings,
    frames: int | None = None,
) -> MarkedInput:
    from vipcli.asking.load_marked import load_marked
    from vipcli.asking.values import Drawing

    return load_marked(
        sources,
        list(typed_marks(marks)),
        Drawing.of(settings),
        frames=frames,
        max_pixels=settings.max_pixels,
    )


def typed_marks(marks: MarkLike | Sequence[MarkLike]) -> Iterator[TypedMark]:
    """Convert every Python form of a mark to typed marks."""
    if isinstance(marks, TypedMark):
        yield marks
    elif isinstance(marks, str):
        yield parse_named_mark(marks)
    elif isinstance(marks, list | tuple):
        for mark in marks:
            yield from typed_marks(mark)
    elif hasattr(marks, "xyxy"):
        yield from _detection_marks(marks)
    else:
        from vipcli.marks.drawing import mark_from_array

        yield mark_from_array(marks)


def _detection_marks(detections: Any) -> Iterator[TypedMark]:
    """Convert detections to masks, or to boxes if there are no masks."""
    from vipcli.marks.drawing import mark_from_array

    if getattr(detections, "mask", None) is not None:
        for mask in detections.mask:
            yield mark_from_array(mask)
        return
    for x1, y1, x2, y2 in detections.xyxy:
        yield parse_mark("box", f"{x1:f},{y1:f},{x2:f},{y2:f}")


def _as_task(task: Task | Mapping[str, Any]) -> Task:
    if isinstance(task, Task):
        return task
    try:
        return Task(**task)
    except TypeError:
        names = ", ".join(field.name for field in fields(Task))
        raise UsageError(
            "A task is neither a Task nor a dictionary of its fields.", f"These are {names}."
        ) from None
