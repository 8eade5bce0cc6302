"""One connection to the server of a page: which requests are answered, and how."""

from __future__ import annotations

import hmac
import io
import json
import re
import socket
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from vipcli.errors import Spelling, VipcliError
from vipcli.picking import peers

if TYPE_CHECKING:
    from vipcli.picking.server import Listener

Reply = Mapping[str, Any] | bytes | Iterator[Mapping[str, Any]]
"""An object, the bytes of a file, or a stream of objects, which is closed once its receiver is gone."""
Handler = Callable[[Any], Reply]
"""What answers a message."""
Upload = Callable[[str, bytes], Reply]
"""What takes a file, from its name and its bytes."""

MAX_MESSAGE = 8 * 2**20
MAX_UPLOAD = 200 * 2**20
# Seconds: for which a connection may stay open without a request, for a request's head to arrive whole, for
# the next bytes of anything else to arrive or be taken, and for the rest of a request that is refused.
IDLE_TIMEOUT = 120.0
HEAD_TIMEOUT = 10.0
PIECE_TIMEOUT = 30.0
DRAIN_TIMEOUT = 2.0

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_JSON = "application/json"
_BYTES = "application/octet-stream"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
# Any port, since a forwarded one may differ.
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
_PATH = re.compile(r"/([^/]*)(?:/(.*))?", re.ASCII)
_ASSET = re.compile(r"[a-z][a-z0-9_-]{,60}\.(?:js|css)", re.ASCII)
_PIECE = 2**16
_NOTHING = "There is nothing here."


@dataclass(frozen=True, slots=True)
class Site:
    """What a server serves."""

    handlers: Mapping[str, Handler]
    page: Path
    """The folder of `index.html` and what it loads."""
    token: str
    """What begins the path of every address."""
    uploads: Mapping[str, Upload]
    spelling: Spelling
    debug: bool
    """Whether errors that no one foresaw are printed."""


class _RefusedError(Exception):
    """Why a request is not answered."""

    def __init__(self, status: HTTPStatus, text: str, location: str | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.location = location


class _Incoming(io.RawIOBase):
    """What arrives on a connection, until a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline: float | None = None
        """None for any time, as long as something arrives now and then."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds = PIECE_TIMEOUT if self.deadline is None else self.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("too slow")
        self._connection.settimeout(seconds)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(PIECE_TIMEOUT)


class Connection(BaseHTTPRequestHandler):
    """One connection, on which one request follows another."""

    protocol_version = "HTTP/1.1"
    # Of a request that names none. The one before it had no place for errors.
    default_request_version = "HTTP/1.0"
    disable_nagle_algorithm = True
    server: Listener

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._incoming = _Incoming(self.connection)
        self.rfile = self._reader = io.BufferedReader(self._incoming)
        self._is_ours = peers.is_ours(self.connection)
        self._unread = False
        """Whether some of the request may not have been read."""

    def handle_one_request(self) -> None:
        self._incoming.deadline = time.monotonic() + IDLE_TIMEOUT
        try:
            self._reader.peek(1)
        except TimeoutError:
            self.close_connection = True
            return
        self._incoming.deadline = time.monotonic() + HEAD_TIMEOUT
        super().handle_one_request()

    def finish(self) -> None:
        if self._unread:
            self._drain()
        super().finish()

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET  # noqa: N815

    def version_string(self) -> str:
        return "vipcli"

    def log_message(self, format: str, *args: Any) -> None:
        """Write no log, which would go to the terminal."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._unread = True
        self._send_error(_RefusedError(HTTPStatus(code), "This request cannot be answered."))

    # ------------------------------------------------------------------ who asks for what

    def _answer(self) -> None:
        self._unread = self.command == "POST" or any(
            name in self.headers for name in ("Content-Length", "Transfer-Encoding")
        )
        self.server.begin(self.connection)
        try:
            self._check_sender()
            name, query = self._target()
            if self.command == "POST":
                self._answer_message(name, query)
            else:
                self._send_asset(name)
        except _RefusedError as refusal:
            self._send_error(refusal)
        finally:
            self.server.end(self.connection)

    def _check_sender(self) -> None:
        """Refuse other users, and the pages of other sites."""
        hosts, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "This server has another name.")
        if any(origin.lower() != f"http://{hosts[0]}".lower() for origin in origins):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Only its own page may use this server.")
        if not self._is_ours:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "Only the user who started this server may use it.")

    def _target(self) -> tuple[str, str]:
        """What the request is for, after the token, and its query."""
        # `self.path` has been tidied up.
        path, _, query = self.requestline.split()[1].partition("?")
        match = _PATH.fullmatch(path)
        token = self.server.site.token
        if match is None or not hmac.compare_digest(match[1].encode(), token.encode()):
            raise _RefusedError(HTTPStatus.NOT_FOUND, _NOTHING)
        if match[2] is None:
            # Whoever copies the address may leave out the slash at its end.
            raise _RefusedError(HTTPStatus.PERMANENT_REDIRECT, "A slash is missing.", f"/{token}/")
        return match[2], query

    def _answer_message(self, path: str, query: str) -> None:
        site = self.server.site
        folder, _, name = path.rpartition("/")
        if folder != "api" or name not in site.handlers.keys() | site.uploads.keys():
            raise _RefusedError(HTTPStatus.NOT_FOUND, _NOTHING)
        is_upload = name in site.uploads
        body = self._body(_BYTES, MAX_UPLOAD) if is_upload else self._body(_JSON, MAX_MESSAGE)
        try:
            if is_upload:
                reply = site.uploads[name]("".join(parse_qs(query).get("name", [])[:1]), body)
            else:
                reply = site.handlers[name](_parse(body))
            content = _json(reply) if isinstance(reply, Mapping) else reply
        except _RefusedError:
            raise
        except VipcliError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, error.message.spelled(site.spelling)) from error
        except Exception as error:
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, self._describe(error)) from error
        if isinstance(content, bytes):
            self._send(content, _JSON if isinstance(reply, Mapping) else _type_of(content))
        else:
            self._stream(content)

    def _body(self, type: str, limit: int) -> bytes:
        # The pages of other sites cannot send these types unless this server allowed it.
        if self.headers.get_content_type() != type:
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"This takes {type}.")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "Give the length.")
        if not re.fullmatch(r"\d{1,15}", lengths[0], re.ASCII):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The length is no number.")
        length = int(lengths[0])
        if length > limit:
            raise _RefusedError(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"This takes at most {limit // 2**20} MB."
            )
        self._incoming.deadline = None
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the request was cut short")
        self._unread = False
        return body

    # ------------------------------------------------------------------ answers

    def _describe(self, error: Exception) -> str:
        """What to say about an error that no one foresaw."""
        if isinstance(error, MemoryError):
            return "There is not enough memory."
        if self.server.site.debug:
            traceback.print_exception(error)
        return "Internal error."

    def _send_asset(self, name: str) -> None:
        file = self.server.site.page / (name or "index.html")
        if (name and not _ASSET.fullmatch(name)) or not file.is_file():
            raise _RefusedError(HTTPStatus.NOT_FOUND, _NOTHING)
        self._send(file.read_bytes(), _TYPES[file.suffix])

    def _stream(self, lines: Iterator[Mapping[str, Any]]) -> None:
        """Send objects as they come, until there are no more or nobody takes them."""
        chunked = self.request_version == "HTTP/1.1"
        self.close_connection = self.close_connection or not chunked
        coding = {"Transfer-Encoding": "chunked"} if chunked else {}
        with closing(self._until_broken(lines)) as safe_lines:
            self._send_head(HTTPStatus.OK, {"Content-Type": "application/jsonl", **coding})
            for line in safe_lines:
                text = _json(line) + b"\n"
                self._write(b"%x\r\n%b\r\n" % (len(text), text) if chunked else text)
            if chunked:
                self._write(b"0\r\n\r\n")

    def _until_broken(self, lines: Iterator[Mapping[str, Any]]) -> Generator[Mapping[str, Any]]:
        """The lines of a stream, and at its end the error that ended it, if any."""
        try:
            yield from lines
        except VipcliError as error:
            yield {"error": error.message.spelled(self.server.site.spelling)}
        except Exception as error:
            yield {"error": self._describe(error)}

    def _send_error(self, refusal: _RefusedError) -> None:
        location = {} if refusal.location is None else {"Location": refusal.location}
        self._send(_json({"error": str(refusal)}), _JSON, refusal.status, location)

    def _send(
        self,
        content: bytes,
        type: str,
        status: HTTPStatus = HTTPStatus.OK,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        length = {"Content-Type": type, "Content-Length": str(len(content))}
        self._send_head(status, {**length, **(headers or {})})
        if self.command != "HEAD":
            self._write(content)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.close_connection = self.close_connection or self._unread
        self.send_response(status)
        for name, value in {**_HEADERS, **headers}.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _write(self, content: bytes) -> None:
        # In pieces, since each has its own timeout.
        for start in range(0, len(content), _PIECE):
            self.wfile.write(content[start : start + _PIECE])

    def _drain(self) -> None:
        """Take some of what may still arrive: to close at once could destroy an answer on its way."""
        self._incoming.deadline = time.monotonic() + DRAIN_TIMEOUT
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            while self._reader.read1(_PIECE):
                pass


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "This is not JSON.") from None


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _type_of(content: bytes) -> str:
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return "image/webp" if is_webp else _BYTES
