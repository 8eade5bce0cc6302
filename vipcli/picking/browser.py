"""Marks placed in a browser: a page on this machine, for as long as a command waits for it."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from vipcli.errors import Message, Spelling, UsageError, VipcliError, as_argument
from vipcli.picking.canvas import Canvas, PickingCancelled, PlacedMarks
from vipcli.picking.messages import PickingMessages, Task
from vipcli.picking.server import LocalServer

PAGE = Path(__file__).parent / "page"

ALIVE_EVERY = 1.0
"""Seconds between signs of life on a stream; writing one tells whether the page is still there."""
GONE_AFTER = 5.0
"""Seconds without any page after which the person is gone: reloading one takes less."""
_WAKE_EVERY = 0.2

_TEXT_BROWSERS = frozenset(("w3m", "lynx", "links", "links2", "elinks", "www-browser", "browsh", "carbonyl"))
_WINDOWS_OPENERS = (("wslview",), ("explorer.exe",))
_OPENERS = (
    ("xdg-open",),
    ("gio", "open"),
    *((name,) for name in ("x-www-browser", "firefox", "chromium", "chromium-browser", "google-chrome")),
)


class BrowserPicker:
    """Serves a page for placing marks, and tells it how the command goes on."""

    def __init__(
        self,
        canvas: Canvas,
        *,
        task: Task = "ask",
        question: str | None = None,
        asks: bool = False,
        spelling: Spelling = as_argument,
        port: int = 0,
    ) -> None:
        self.shown = threading.Event()
        """Set once a page has its picture."""
        self._spelling = spelling
        self._changed = threading.Condition()
        self._placed: PlacedMarks | None = None
        self._winner: str | None = None
        self._left = False
        self._streams = 0
        self._alone_since: float | None = None
        """Since when there has been no page, after there was one."""
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._messages = PickingMessages(
            canvas,
            task,
            placed=self._place,
            left=self._leave,
            question=question,
            asks=asks,
            spelling=spelling,
        )
        handlers = {**self._messages.handlers, "picture": self._picture, "events": self._stream}
        self._server = LocalServer(handlers, PAGE, spelling=spelling, port=port)

    @property
    def url(self) -> str:
        """The address of the page, for this user alone."""
        return self._server.url

    def __enter__(self) -> BrowserPicker:
        self._server.start()
        # While the browser starts.
        threading.Thread(target=self._prepare, daemon=True).start()
        return self

    def __exit__(
        self, type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, VipcliError):
            self.fail(error.message.spelled(self._spelling))
        # All may be well without an answer: perhaps none was asked for.
        self._tell({"closed": True, "done": type is None}, last=True)
        self._server.close()

    def wait(self) -> PlacedMarks:
        """Wait for the marks; raises PickingCancelled if the person leaves."""
        with self._changed:
            # Not for longer at a time: on some systems, Ctrl-C is noticed only in between.
            while self._placed is None and not self._is_left():
                self._changed.wait(_WAKE_EVERY)
            if self._placed is None:
                raise PickingCancelled
            return self._placed

    def text(self, piece: str) -> None:
        """Show a piece of the answer."""
        self._tell({"text": piece})

    def answer(self, text: str, notes: Sequence[Message | str] = ()) -> None:
        """Show the whole answer, and what there is to say about it."""
        spelled = [note.spelled(self._spelling) if isinstance(note, Message) else note for note in notes]
        self._tell({"answer": text, "notes": spelled}, last=True)

    def fail(self, text: str) -> None:
        """Show why there is no answer."""
        self._tell({"error": text}, last=True)

    def _is_left(self) -> bool:
        gone = self._alone_since is not None and time.monotonic() - self._alone_since > GONE_AFTER
        return self._left or gone

    def _tell(self, event: dict[str, Any], *, last: bool = False) -> None:
        with self._changed:
            if not self._ended:
                self._events.append(event)
                self._ended = last
                self._changed.notify_all()

    def _prepare(self) -> None:
        # If the picture cannot be shown, the page will be told.
        with suppress(VipcliError, MemoryError):
            self._messages.picture({"picture": 0})

    def _picture(self, message: Any) -> bytes:
        content = self._messages.picture(message)
        self.shown.set()
        return content

    def _place(self, placed: PlacedMarks, page: str | None) -> None:
        with self._changed:
            if self._placed is not None or self._ended or self._is_left():
                raise UsageError("The marks were placed already.", "Close this page.")
            self._placed, self._winner = placed, page
            self._changed.notify_all()

    def _leave(self) -> None:
        with self._changed:
            if self._placed is None:
                self._left = True
                self._changed.notify_all()

    def _stream(self, message: Any) -> Iterator[dict[str, Any]]:
        """What happens, for a page; it names itself, since several may be open and one places the marks."""
        page = message.get("page") if isinstance(message, Mapping) else None
        with self._changed:
            self._streams += 1
            self._alone_since = None
        try:
            yield {}
            yield from self._events_for(page)
        finally:
            with self._changed:
                self._streams -= 1
                if not self._streams:
                    self._alone_since = time.monotonic()

    def _events_for(self, page: str | None) -> Iterator[dict[str, Any]]:
        told = 0
        while True:
            with self._changed:
                if len(self._events) == told and not self._is_lost(page):
                    self._changed.wait(ALIVE_EVERY)
                if self._is_lost(page):
                    break
                new, ended = self._events[told:], self._ended
            told += len(new)
            yield from new or ({},)
            if ended:
                return
        yield {"closed": True, "elsewhere": True}

    def _is_lost(self, page: str | None) -> bool:
        """Whether another page has placed the marks."""
        return self._placed is not None and page != self._winner


def open_page(url: str) -> bool:
    """Open a page in the person's browser, which writes nothing to this terminal; whether one was started."""
    if sys.platform == "win32":
        with suppress(OSError):
            os.startfile(url)
            return True
        return False
    command = _opener(os.environ)
    if command is None:
        return False
    if not any("%s" in part for part in command):
        command = [*command, "%s"]
    try:
        process = subprocess.Popen(
            [part.replace("%s", url) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Out of reach of the terminal, and of a Ctrl-C in it.
            start_new_session=True,
        )
    except OSError:
        return False
    # The system keeps an ended process until someone has waited for it.
    threading.Thread(target=process.wait, daemon=True).start()
    return True


def can_open_browser(environment: Mapping[str, str]) -> bool:
    """Whether there is a browser that this person would see."""
    if sys.platform == "win32":
        return "SSH_CONNECTION" not in environment
    return _opener(environment) is not None


def forwarding_hint(url: str, environment: Mapping[str, str]) -> str:
    """The command that makes a page on this machine reachable from the one the person sits at."""
    port = urlsplit(url).port
    connection = environment.get("SSH_CONNECTION", "").split()
    host = connection[2] if len(connection) == 4 else socket.gethostname()
    other_port = f" -p {connection[3]}" if len(connection) == 4 and connection[3] != "22" else ""
    try:
        user = f"{getpass.getuser()}@"
    except (KeyError, OSError):
        user = ""
    return f"ssh -L {port}:127.0.0.1:{port}{other_port} {user}{host}"


def _opener(environment: Mapping[str, str]) -> Sequence[str] | None:
    """The command that opens a page; None if there is none, or no display."""
    path = environment.get("PATH")
    for text in environment.get("BROWSER", "").split(os.pathsep):
        command = _split(text)
        if command and (program := shutil.which(command[0], path=path)):
            names = {Path(program).name, Path(program).resolve().name}
            if not names & _TEXT_BROWSERS:
                return command
    if sys.platform == "darwin":
        return None if "SSH_CONNECTION" in environment else ("open",)
    openers: list[tuple[str, ...]] = []
    if "WSL_INTEROP" in environment:
        openers += _WINDOWS_OPENERS
    if environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY"):
        openers += _OPENERS
    return next((opener for opener in openers if shutil.which(opener[0], path=path)), None)


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    # Some write it like this, since the standard library would wait for the browser otherwise.
    return words[:-1] if words[-1:] == ["&"] else words
