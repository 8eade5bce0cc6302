"""A conversation in the browser, beside its picture: the same as in the terminal, saved in the same place."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from vipcli.asking.interface import Answerer, Halted, OnText, Reply, Request
from vipcli.asking.load_marked import load
from vipcli.asking.questions import default_question
from vipcli.chat import archive, history, html
from vipcli.chat.conversation import ChatSettings, ChatTurn, Conversation, Subject
from vipcli.chat.session import COMMANDS, ChatSession
from vipcli.errors import MarkError, Message, Spelling, UsageError, VipcliError, as_argument
from vipcli.marks.kinds import TypedMark, UnplacedMark
from vipcli.picking.canvas import Canvas, PlacedMarks
from vipcli.picking.connection import Handler, Upload
from vipcli.picking.messages import PickingMessages, drawn_mark
from vipcli.pictures.images import DEFAULT_MAX_PIXELS, Pixels, read_picture
from vipcli.pictures.videos import is_video

Event = Mapping[str, Any]

TYPED_COMMANDS = ("set", "unset", "system", "zoom", "stats", "help")
"""The commands of a conversation that can be typed in the page."""
_INSTEAD = {
    "image": "Drop another picture on the page.",
    "retry": "Use the button Retry.",
    "save": "Use the button Save.",
    "export": "Use the button Export.",
    "load": "Load it with vipcli chat, and go on with vipcli web {resume}.",
    "quit": "Close this page, and press Ctrl-C in the terminal.",
    "show": "The picture is beside the conversation.",
}
ALIVE_EVERY = 1.0
"""Seconds between signs of life on a stream."""


class DeferredAnswerer:
    """A model that is connected with the first request, so that a page is there before its model."""

    def __init__(self, connect: Callable[[], Answerer]) -> None:
        self._connect = connect
        self._answerer: Answerer | None = None

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Connect if necessary, and answer."""
        if self._answerer is None:
            self._answerer = self._connect()
        return self._answerer.answer(request, on_text, halted)


class PageOutput:
    """Sends what happens in a session to the page that waits for it."""

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self.events: queue.Queue[Event | None] = queue.Queue()
        """What has happened since the last question; None at its end."""
        self.halted = threading.Event()
        """Set to stop the answer to the last question."""

    def note(self, message: Message | str) -> None:
        """Send a note."""
        text = message.spelled(self._spelling) if isinstance(message, Message) else message
        self.events.put({"note": text})

    def info(self, text: str) -> None:
        """Send the output of a command."""
        self.events.put({"note": text})

    def error(self, error: VipcliError) -> None:
        """Send an error."""
        self.events.put({"error": error.message.spelled(self._spelling)})

    def drain(self) -> Iterator[str]:
        """Take the notes that came before there was a page."""
        while not self.events.empty():
            event = self.events.get()
            if event is not None:
                yield event["note"]

    @contextmanager
    def answer(self) -> Iterator[tuple[OnText, Halted | None]]:
        """Send the pieces of an answer."""
        yield lambda text: self.events.put({"text": text}), self.halted.is_set

    def begin(self) -> tuple[queue.Queue[Event | None], threading.Event]:
        """Begin a question, with events and a way to stop of its own: the page of one before may end late."""
        self.events, self.halted = queue.Queue(), threading.Event()
        return self.events, self.halted

    def show_picture(self, pixels: Pixels) -> None:
        """Do nothing: the page shows the picture already."""

    def place(self, chat: Conversation, mark: UnplacedMark) -> Sequence[TypedMark]:
        """Refuse: marks are drawn in the page, not asked for."""
        raise MarkError(f"The {mark.kind} has no coordinates.", "Draw it on the picture.")


class WebConversation:
    """Answers what a page asks for: what placing marks needs, and the conversation."""

    def __init__(
        self,
        session: ChatSession,
        output: PageOutput,
        *,
        describe_command: Callable[[Subject, str | None, ChatSettings], str],
        shown: Callable[[], None],
        max_pixels: int = DEFAULT_MAX_PIXELS,
        spelling: Spelling = as_argument,
    ) -> None:
        self._session = session
        self._output = output
        self._describe_command = describe_command
        self._shown = shown
        self._max_pixels = max_pixels
        self._spelling = spelling
        self._busy = threading.Lock()
        """Held while a question is answered or the picture changes."""
        self._closed = threading.Event()
        self._marking = self._new_marking()

    def close(self, grace: float = 3.0) -> None:
        """Tell all pages that the conversation has ended, and stop and save the answer in progress."""
        self._closed.set()
        self._output.halted.set()
        # From now on, no question begins. A model that is still being loaded may take too long to wait for.
        self._busy.acquire(timeout=grace)

    @property
    def handlers(self) -> dict[str, Handler]:
        """What answers each message, by its name."""
        return {
            **{name: self._to_marking(name) for name in ("region", "preview", "view")},
            "picture": self._picture,
            "start": self._start,
            "ask": self._ask,
            "retry": self._retry,
            "stop": self._stop,
            "command": self._command,
            "save": self._save,
            "export": self._export,
            "events": self._events,
        }

    @property
    def uploads(self) -> dict[str, Upload]:
        """What takes each file, by its name."""
        return {"open": self._open}

    # ---------------------------------------------------------------------- the picture and its marks

    def _new_marking(self) -> PickingMessages:
        chat = self._session.chat
        canvas = Canvas(
            chat.subject.pictures,
            # A page cannot send these back, so they stay as they are, or go.
            [mark for mark in chat.subject.typed if not _is_editable(mark)],
            chat.settings.drawing,
            video=chat.subject.video,
            checkpoint=chat.checkpoint,
            fit=chat.settings.fit,
        )
        return PickingMessages(
            canvas, "chat", placed=_refuse_placing, left=lambda: None, asks=True, spelling=self._spelling
        )

    def _to_marking(self, name: str) -> Handler:
        # The canvas changes with the picture.
        return lambda message: self._marking.handlers[name](message)

    def _picture(self, message: Any) -> bytes:
        content = self._marking.picture(message)
        self._shown()
        return content

    def _start(self, message: Any) -> dict[str, Any]:
        chat = self._session.chat
        return {
            **self._marking.start(message),
            "marks": [
                drawn_mark(number, mark)
                for number, mark in enumerate(chat.subject.typed)
                if _is_editable(mark)
            ],
            "conversation": {
                "turns": [_turn(turn) for turn in chat.turns],
                "model": chat.checkpoint.name,
            },
        }

    def _open(self, name: str, content: bytes) -> dict[str, Any]:
        """Continue with another picture, which is kept beside the conversation so that it can be resumed."""
        with self._exclusively():
            if not is_video(name):
                # The error of a damaged file names it as the person knows it.
                read_picture(content, repr(Path(name).name), max_pixels=self._max_pixels)
            path = history.keep_picture(name, content)
            try:
                pictures, video = load([str(path)], max_pixels=self._max_pixels)
            except VipcliError:
                history.discard_picture(path)
                raise
            self._session.chat.change_subject(Subject(pictures, (), video))
            self._marking = self._new_marking()
        return self._start({})

    # ---------------------------------------------------------------------- questions

    def _ask(self, message: Any) -> Iterator[Event]:
        question = message.get("question") if isinstance(message, Mapping) else 0
        if not isinstance(question, str | None):
            raise UsageError("A question must be text.")
        line = (question or "").strip()
        if line in ("/help", "/"):
            return iter(({"note": _typed_commands()}, {"done": True}))
        _refuse_elsewhere(line)
        marks = self._marking.marks(message)

        def prepare() -> str:
            self._use_marks(marks)
            return line or self._default_question()

        return self._run(prepare)

    def _default_question(self) -> str:
        chat = self._session.chat
        return default_question(chat.marks, "video" if chat.subject.video else len(chat.subject.pictures))

    def _retry(self, message: Any) -> Iterator[Event]:
        return self._run(lambda: "/retry")

    def _use_marks(self, marks: Sequence[TypedMark]) -> None:
        chat = self._session.chat
        if tuple(marks) != chat.subject.typed:
            chat.change_subject(replace(chat.subject, typed=tuple(marks)))

    def _run(self, prepare: Callable[[], str]) -> Iterator[Event]:
        """Run the line that `prepare` returns in a thread of its own, and yield what happens."""
        if not self._busy.acquire(blocking=False):
            raise UsageError("Another answer is on its way.", "Wait for it, or stop it.")
        events, halted = self._output.begin()
        if self._closed.is_set():
            halted.set()

        def work() -> None:
            try:
                turns = list(self._session.chat.turns)
                self._session.run_line(prepare())
                answered = self._session.chat.turns != turns
                events.put(self._last_answer() if answered else {"done": True})
            except VipcliError as error:
                self._output.error(error)
            except Exception as error:
                events.put({"error": f"The model failed on this question: {type(error).__name__}."})
            finally:
                self._busy.release()
                events.put(None)

        threading.Thread(target=work, name="vipcli-answer", daemon=True).start()
        return self._until_end(events, halted)

    def _until_end(self, events: queue.Queue[Event | None], halted: threading.Event) -> Iterator[Event]:
        try:
            while True:
                try:
                    event = events.get(timeout=ALIVE_EVERY)
                except queue.Empty:
                    # Shows whether the page is still there.
                    yield {}
                    continue
                if event is None:
                    return
                yield event
        finally:
            # Whoever closes the page wants no more of the answer; what there is of it is kept.
            halted.set()

    def _last_answer(self) -> Event:
        turns = self._session.chat.turns
        return {**_turn(turns[-1]), "turns": len(turns)}

    def _stop(self, message: Any) -> dict[str, Any]:
        self._output.halted.set()
        return {}

    # ---------------------------------------------------------------------- everything else

    def _command(self, message: Any) -> dict[str, Any]:
        chat = self._session.chat
        marks = self._marking.marks(message)
        question = message.get("question") or (chat.turns[-1].typed if chat.turns else None)
        subject = replace(chat.subject, typed=tuple(marks))
        return {"command": self._describe_command(subject, question, chat.settings)}

    def _save(self, message: Any) -> bytes:
        return archive.to_json(self._session.chat).encode()

    def _export(self, message: Any) -> bytes:
        return html.page(self._session.chat).encode(errors="backslashreplace")

    def _events(self, message: Any) -> Iterator[Event]:
        """Signs of life, so that a page notices when the command has ended."""
        while not self._closed.is_set():
            yield {}
            self._closed.wait(ALIVE_EVERY)
        yield {"closed": True}

    @contextmanager
    def _exclusively(self) -> Iterator[None]:
        if not self._busy.acquire(blocking=False):
            raise UsageError("An answer is on its way.", "Wait for it, or stop it.")
        try:
            yield
        finally:
            self._busy.release()


def _refuse_elsewhere(line: str) -> None:
    """Raise UsageError for a command that the page has another way for."""
    name = line[1:].partition(" ")[0] if line.startswith("/") and not line.startswith("//") else ""
    if name in COMMANDS and name not in TYPED_COMMANDS:
        raise UsageError(f"/{name} is for the terminal.", _INSTEAD.get(name, "Draw on the picture."))


def _typed_commands() -> str:
    """The commands that can be typed in the page."""
    commands = [(name, COMMANDS[name]) for name in TYPED_COMMANDS]
    lines = [f"/{name} {command.argument}: {command.help}" for name, command in commands]
    return "\n".join([*lines, "To begin a question with /, type //."])


def _is_editable(mark: TypedMark) -> bool:
    """Whether a page can draw a mark as it was typed: in whole pixels."""
    return bool(mark.coordinates) and not any(
        length.percent or length.value != int(length.value) for length in mark.coordinates
    )


def _turn(turn: ChatTurn) -> dict[str, Any]:
    return {
        "question": turn.question,
        "answer": turn.answer,
        "ended": turn.ended,
        "probability": turn.probability,
    }


def _refuse_placing(placed: PlacedMarks, page: str | None) -> None:
    raise UsageError("Marks are used with the next question.")
