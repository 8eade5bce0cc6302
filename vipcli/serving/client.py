"""A model that another process holds: found by its socket, asked like any other. No torch."""

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

from vipcli import __version__, errors
from vipcli.asking.interface import Answerer, Halted, OnText, Reply, Request
from vipcli.checkpoints.lookup import Checkpoint, stamp
from vipcli.errors import ModelError
from vipcli.serving import protocol, runtime

SOCKET = "model.sock"
_PATIENCE = 5.0
_KINDS = (errors.UsageError, errors.PromptError, errors.ContextError)


class GoneError(ModelError):
    """The process that held the model is no longer there, or does not answer."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a running server says of itself."""

    version: str
    model: str
    revision: str | None
    stamp: str
    setup: dict[str, Any]
    device: str
    pid: int
    address: str | None
    """Of its port."""
    waiting: int
    status: str

    def is_for(self, checkpoint: Checkpoint, setup: dict[str, Any]) -> bool:
        """Whether it holds just that, and is of this version."""
        return (
            checkpoint.folder is not None
            and self.version == __version__
            and self.setup == setup
            and self.revision == checkpoint.revision
            and self.stamp == stamp(checkpoint)
        )


def running() -> Held | None:
    """The server that runs, if one does; what a dead one left behind is cleared away."""
    path = runtime.runtime() / SOCKET
    if not path.exists():
        return None
    try:
        with _reply(path, "GET", "/health", timeout=_PATIENCE) as reply:
            return Held(**json.loads(reply.read()))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
        return None
    except (OSError, ValueError, TypeError, http.client.HTTPException):
        return None


class RemoteModel:
    """The model of a running server."""

    def __init__(self) -> None:
        self._path = runtime.runtime() / SOCKET

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request, handing over the text as it comes, and end it early once `halted` says so."""
        name = uuid.uuid4().hex
        for told in self._told(request, name, halted):
            if "text" in told and on_text is not None:
                on_text(told["text"])
            if "reply" in told:
                return protocol.unpack_reply(told["reply"])
            if "error" in told:
                kind = vars(errors).get(told["error"])
                raise (kind if kind in _KINDS else ModelError)(told["message"])
        raise GoneError("The server broke off in the middle of the answer.")

    def _told(self, request: Request, name: str, halted: Halted | None) -> Iterator[dict[str, Any]]:
        lines = self._lines(request, name)
        if halted is None:
            return lines
        return self._watched(lines, name, halted)

    def _lines(self, request: Request, name: str) -> Iterator[dict[str, Any]]:
        try:
            with _reply(self._path, "POST", f"/answer/{name}", protocol.pack(request)) as reply:
                if reply.status not in (200, 400):
                    raise GoneError("The server does not know what to do with this.")
                while line := reply.readline():
                    yield json.loads(line)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise GoneError("The server is gone.") from error

    def _watched(
        self, lines: Iterator[dict[str, Any]], name: str, halted: Halted
    ) -> Iterator[dict[str, Any]]:
        """The lines, read in a thread of their own, so that halting need not wait for the next."""
        found: queue.Queue[dict[str, Any] | Exception | None] = queue.Queue()

        def read() -> None:
            try:
                for line in lines:
                    found.put(line)
                found.put(None)
            except GoneError as error:
                found.put(error)

        threading.Thread(target=read, daemon=True).start()
        told = False
        while True:
            if halted() and not told:
                told = True
                self._halt(name)
            try:
                line = found.get(timeout=0.05)
            except queue.Empty:
                continue
            if line is None:
                return
            if isinstance(line, Exception):
                raise line
            yield line

    def _halt(self, name: str) -> None:
        # Where that fails, the answer comes to its own end, or the server is gone.
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            _reply(self._path, "POST", f"/halt/{name}", timeout=_PATIENCE),
        ):
            pass


class Fallback:
    """A running server's model; should it go, the same model in this process."""

    def __init__(self, remote: Answerer, load: Callable[[], Answerer], tell: Callable[[str], None]) -> None:
        self._answerer = remote
        self._load = load
        self._tell = tell
        self._is_here = False

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request; text that was handed over already is not handed over again."""
        if self._is_here:
            return self._answerer.answer(request, on_text, halted)
        said = _Said(on_text)
        try:
            return self._answerer.answer(request, said, halted)
        except GoneError:
            self._tell("The server is gone, so the model is loaded here.")
            self._answerer, self._is_here = self._load(), True
            said.again()
            return self._answerer.answer(request, said, halted)


class _Said:
    """Text on its way to a person, who has perhaps read some of it before."""

    def __init__(self, on_text: OnText | None) -> None:
        self._on_text = on_text
        self._said = ""
        self._ahead = ""

    def again(self) -> None:
        """From now on, the text begins anew."""
        self._ahead, self._said = self._said, ""

    def __call__(self, text: str) -> None:
        if self._on_text is None:
            return
        self._said += text
        if not self._ahead:
            self._on_text(text)
        elif self._said.startswith(self._ahead):
            fresh, self._ahead = self._said[len(self._ahead) :], ""
            if fresh:
                self._on_text(fresh)
        elif not self._ahead.startswith(self._said):
            # It says something else this time: all of it, on a line of its own.
            self._ahead = ""
            self._on_text(f"\n{self._said}")


@contextlib.contextmanager
def _reply(
    path: Path, method: str, target: str, body: bytes | None = None, timeout: float | None = None
) -> Iterator[http.client.HTTPResponse]:
    connection = _Connection(path, timeout)
    try:
        connection.request(method, target, body)
        yield connection.getresponse()
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
