"""The client of a model server, with the interface of a local model. Does not import torch."""

from __future__ import annotations

import contextlib
import http.client
import json
import queue
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vipcli import __version__
from vipcli.asking.interface import Answerer, Halted, OnText, Reply, Request
from vipcli.checkpoints.lookup import Checkpoint, stamp
from vipcli.errors import ModelError
from vipcli.serving import protocol, runtime

SOCKET = "model.sock"
_TIMEOUT = 5.0
"""Seconds to wait for a response to anything other than a question."""


class GoneError(ModelError):
    """The process that held the model has ended, or does not answer."""


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """How a running server describes itself."""

    version: str
    model: str
    revision: str | None
    stamp: str
    setup: dict[str, Any]
    device: str
    pid: int
    address: str | None
    """The URL of its HTTP port; None if it has none."""
    waiting: int
    status: str

    def matches(self, checkpoint: Checkpoint, setup: dict[str, Any]) -> bool:
        """Whether the server runs this version and holds exactly this checkpoint in this setup."""
        return (
            checkpoint.folder is not None
            and self.version == __version__
            and self.setup == setup
            and self.revision == checkpoint.revision
            and self.stamp == stamp(checkpoint)
        )


def find_server() -> ServerInfo | None:
    """The running server, if there is one; a socket left behind by a dead server is deleted."""
    path = runtime.runtime_folder() / SOCKET
    if not path.exists():
        return None
    try:
        with _send(path, "GET", "/health", timeout=_TIMEOUT) as response:
            return ServerInfo(**json.loads(response.read()))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return None
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return None


class RemoteModel:
    """The model of a running server."""

    def __init__(self) -> None:
        self._path = runtime.runtime_folder() / SOCKET

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request, passing on text as it arrives, and stop early once `halted` returns true."""
        request_id = uuid.uuid4().hex
        events = self._events(request, request_id)
        if halted is not None:
            events = self._until_halted(events, request_id, halted)
        for event in events:
            if "text" in event and on_text is not None:
                on_text(event["text"])
            if "reply" in event:
                return protocol.unpack_reply(event["reply"])
            if "error" in event:
                raise protocol.unpack_error(event)
        raise GoneError("The server closed the connection in the middle of the answer.")

    def _events(self, request: Request, request_id: str) -> Iterator[dict[str, Any]]:
        body = protocol.pack_request(request)
        try:
            with _send(self._path, "POST", f"/answer/{request_id}", body) as response:
                if response.status not in (200, 400):
                    raise GoneError(f"The server refused the request with status {response.status}.")
                while line := response.readline():
                    yield json.loads(line)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise GoneError("The server is gone.") from error

    def _until_halted(
        self, events: Iterator[dict[str, Any]], request_id: str, halted: Halted
    ) -> Iterator[dict[str, Any]]:
        """Read the events in a thread, so that halting does not have to wait for the next one."""
        arrived: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()

        def read() -> None:
            try:
                for event in events:
                    arrived.put(event)
                arrived.put(None)
            except GoneError as error:
                arrived.put(error)

        threading.Thread(target=read, daemon=True).start()
        halt_sent = False
        while True:
            if halted() and not halt_sent:
                halt_sent = True
                self._halt(request_id)
            try:
                event = arrived.get(timeout=0.05)
            except queue.Empty:
                continue
            if event is None:
                return
            if isinstance(event, Exception):
                raise event
            yield event

    def _halt(self, request_id: str) -> None:
        # If this fails, the answer runs to completion, or the server is gone.
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            _send(self._path, "POST", f"/halt/{request_id}", timeout=_TIMEOUT),
        ):
            pass


class Fallback:
    """A running server's model or, if the server dies, the same model loaded in this process."""

    def __init__(self, remote: Answerer, load: Callable[[], Answerer], note: Callable[[str], None]) -> None:
        self._answerer = remote
        self._load = load
        self._note = note
        self._is_local = False

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request; text that the server has already sent is not passed on again."""
        if self._is_local:
            return self._answerer.answer(request, on_text, halted)
        text = _ResumableText(on_text)
        try:
            return self._answerer.answer(request, text, halted)
        except GoneError:
            self._note("The server is gone, so the model is loaded in this process.")
            self._answerer, self._is_local = self._load(), True
            text.restart()
            return self._answerer.answer(request, text, halted)


class _ResumableText:
    """The text of an answer; after a restart, only what differs from the first attempt is shown."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self._text = ""
        self._shown_before = ""

    def restart(self) -> None:
        """Start over: the whole text arrives again."""
        self._shown_before, self._text = self._text, ""

    def __call__(self, piece: str) -> None:
        if self._on_text is None:
            return
        self._text += piece
        if not self._shown_before:
            self._on_text(piece)
        elif self._text.startswith(self._shown_before):
            new, self._shown_before = self._text[len(self._shown_before) :], ""
            if new:
                self._on_text(new)
        elif not self._shown_before.startswith(self._text):
            # The second attempt differs: show all of it on a new line.
            self._shown_before = ""
            self._on_text(f"\n{self._text}")


@contextlib.contextmanager
def _send(
    path: Path, method: str, target: str, body: bytes | None = None, timeout: float | None = None
) -> Iterator[http.client.HTTPResponse]:
    connection = _UnixConnection(path, timeout)
    try:
        connection.request(method, target, body)
        yield connection.getresponse()
    finally:
        connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
