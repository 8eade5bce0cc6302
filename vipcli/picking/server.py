"""A small HTTP server for one page, on this machine, for this user alone.

Whoever opens the page needs its address, which contains a random token. Pages of other sites that the
browser may show cannot use it, and neither can other users of this machine, even if they see the address.
"""

from __future__ import annotations

import contextlib
import hmac
import io
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from vipcli.errors import Spelling, UsageError, VipcliError, as_argument

Reply = Mapping[str, Any] | bytes | Iterator[Mapping[str, Any]]
"""An object, the bytes of a file, or a stream of objects."""
Handler = Callable[[Any], Reply]
"""What answers a message; an iterator is closed once its receiver is gone."""
Upload = Callable[[str, bytes], Reply]
"""What takes a file, from its name and its bytes."""

MAX_MESSAGE = 8 * 2**20
MAX_UPLOAD = 200 * 2**20
MAX_CONNECTIONS = 64
# Seconds: for a request's head to arrive whole, for the next bytes of a body to arrive or be taken, and for
# which a connection may stay open without a request.
HEAD_TIMEOUT = 10.0
BODY_TIMEOUT = 30.0
IDLE_TIMEOUT = 120.0

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
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
# Any port, since a forwarded one may differ.
_HOST = re.compile(r"(?:127\.0\.0\.1|localhost)(?::\d{1,5})?", re.ASCII | re.IGNORECASE)
_PATH = re.compile(r"/([^/]+)/(.*)", re.ASCII)
_ASSET = re.compile(r"[a-z][a-z0-9_-]*\.(?:js|css)", re.ASCII)
_PIECE = 2**16


class LocalServer:
    """Serves a page and answers its messages, from threads of its own."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        page: Path,
        *,
        uploads: Mapping[str, Upload] | None = None,
        spelling: Spelling = as_argument,
        port: int = 0,
        debug: bool = False,
    ) -> None:
        self.handlers = handlers
        self.page = page
        """The folder of `index.html` and what it loads."""
        self.uploads = uploads or {}
        self.spelling = spelling
        self.debug = debug
        self.token = secrets.token_urlsafe(24)
        try:
            self._listener = _Listener(self, port)
        except OSError as error:
            raise UsageError(
                f"Port {port} of this machine cannot be used: {error.strerror or error}.", "Choose another."
            ) from error
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._listener.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    def start(self) -> None:
        self._thread.start()

    def close(self, grace: float = 1.0) -> None:
        """Take no more connections, give answers under way a moment to arrive, and close all."""
        self._listener.shutdown()
        self._listener.server_close()
        self._listener.finish(grace)


class _Listener(ThreadingHTTPServer):
    """The socket that connections come in on, and the connections."""

    daemon_threads = True
    block_on_close = False
    # On Windows, this would let another program take the port over.
    allow_reuse_address = os.name == "posix"

    def __init__(self, server: LocalServer, port: int) -> None:
        self.owner = server
        self._changed = threading.Condition()
        self._idle: dict[socket.socket, float] = {}
        """The connections that wait for a request, and since when."""
        self._busy: set[socket.socket] = set()
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        # Not that of HTTPServer, which asks for this machine's name, perhaps over the network.
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            if len(self._idle) + len(self._busy) >= MAX_CONNECTIONS:
                # Whoever opens many connections without using them must not keep others out.
                oldest = min(self._idle, key=self._idle.__getitem__, default=request)
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)
                self._idle.pop(oldest, None)
                if oldest is request:
                    self.shutdown_request(request)
                    return
            self._idle[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._changed:
            self._idle.pop(request, None)
            self._busy.discard(request)
            self._changed.notify_all()
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A browser may close its connections at any time.
        if self.owner.debug and not isinstance(sys.exception(), OSError):
            traceback.print_exc()

    def begin(self, connection: socket.socket) -> None:
        """A request has arrived on a connection."""
        with self._changed:
            self._idle.pop(connection, None)
            self._busy.add(connection)

    def end(self, connection: socket.socket) -> None:
        """A request has been answered."""
        with self._changed:
            self._busy.discard(connection)
            self._idle[connection] = time.monotonic()
            self._changed.notify_all()

    def finish(self, grace: float) -> None:
        """Wait a moment for the answers under way, and close all connections."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy, grace)
            for connection in (*self._idle, *self._busy):
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Incoming(io.RawIOBase):
    """What arrives on a connection, until a deadline."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline: float | None = None
        """None for any time, as long as something arrives now and then."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = BODY_TIMEOUT if self.deadline is None else self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        self._connection.settimeout(left)
        try:
            return self._connection.recv_into(buffer)
        finally:
            self._connection.settimeout(BODY_TIMEOUT)


class _RefusedError(Exception):
    """A request that is not answered, and why."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class _Connection(BaseHTTPRequestHandler):
    """One connection, on which one request follows another."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Listener

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self._incoming = _Incoming(self.connection)
        self.rfile = self._reader = io.BufferedReader(self._incoming)
        self._ours = _is_ours(self.connection)
        self._unread = True

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
        if self._unread and self.close_connection:
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
        self._refuse(HTTPStatus(code), "This request cannot be answered.")

    # ------------------------------------------------------------------ who asks for what

    def _answer(self) -> None:
        self._unread = self.command == "POST"
        self.server.begin(self.connection)
        try:
            self._route()
        except _RefusedError as refusal:
            self._refuse(refusal.status, str(refusal))
        finally:
            self.server.end(self.connection)

    def _route(self) -> None:
        self._check_sender()
        name, query = self._target()
        if self.command == "POST":
            self._send_reply(self._handle(name.removeprefix("api/"), query, name.startswith("api/")))
        else:
            self._send_asset(name)

    def _check_sender(self) -> None:
        """Refuse other users, and the pages of other sites."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise _RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "This server is not the one you asked for.")
        if any(
            origin.lower() != f"http://{hosts[0]}".lower() for origin in self.headers.get_all("Origin", [])
        ):
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This is for its own page only.")
        if not self._ours:
            raise _RefusedError(HTTPStatus.FORBIDDEN, "This is for the user who started it only.")

    def _target(self) -> tuple[str, str]:
        """What the request is for, after the token, and its query."""
        # `self.path` would be tidied up.
        path, _, query = self.requestline.split()[1].partition("?")
        match = _PATH.fullmatch(path)
        token = match[1] if match else ""
        if not hmac.compare_digest(token.encode(), self.server.owner.token.encode()) or match is None:
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        return match[2], query

    # ------------------------------------------------------------------ answers

    def _handle(self, name: str, query: str, known: bool) -> Reply:
        owner = self.server.owner
        sent = self.headers.get_content_type()
        try:
            if known and name in owner.uploads:
                content = self._body(sent, "application/octet-stream", MAX_UPLOAD)
                return owner.uploads[name]("".join(parse_qs(query).get("name", [])[:1]), content)
            if known and name in owner.handlers:
                return owner.handlers[name](_parse(self._body(sent, "application/json", MAX_MESSAGE)))
        except VipcliError as error:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, error.message.spelled(owner.spelling)) from error
        except (_RefusedError, OSError):
            raise
        except Exception as error:
            if owner.debug:
                traceback.print_exc()
            raise _RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error.") from error
        raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")

    def _body(self, sent: str, wanted: str, limit: int) -> bytes:
        # Another site's page cannot send these types unless this server allowed it to.
        if sent != wanted:
            raise _RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"This takes {wanted}.")
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or "Transfer-Encoding" in self.headers:
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "The length must be given.")
        if not re.fullmatch(r"\d{1,15}", lengths[0], re.ASCII):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "The length must be a number.")
        length = int(lengths[0])
        if length > limit:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"This takes at most {limit} bytes.")
        self._incoming.deadline = None
        self._unread = False
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionResetError("the request was cut short")
        return body

    def _send_asset(self, name: str) -> None:
        file = self.server.owner.page / (name or "index.html")
        if (name and not _ASSET.fullmatch(name)) or not file.is_file():
            raise _RefusedError(HTTPStatus.NOT_FOUND, "There is nothing here.")
        self._send(HTTPStatus.OK, file.read_bytes(), _TYPES[file.suffix])

    def _send_reply(self, reply: Reply) -> None:
        if isinstance(reply, bytes):
            self._send(HTTPStatus.OK, reply, _type_of(reply))
        elif isinstance(reply, Mapping):
            self._send(HTTPStatus.OK, _json(reply), "application/json")
        else:
            self._stream(reply)

    def _stream(self, lines: Iterator[Mapping[str, Any]]) -> None:
        """Send objects as they come, until there are no more or nobody takes them."""
        chunked = self.request_version == "HTTP/1.1"
        self.close_connection = self.close_connection or not chunked
        try:
            self._send_head(
                HTTPStatus.OK,
                {"Content-Type": "application/jsonl"} | ({"Transfer-Encoding": "chunked"} if chunked else {}),
            )
            for line in self._until_broken(lines):
                if self._is_gone():
                    self.close_connection = True
                    return
                text = _json(line) + b"\n"
                self._write(b"%x\r\n%b\r\n" % (len(text), text) if chunked else text)
            if chunked:
                self._write(b"0\r\n\r\n")
        finally:
            if close := getattr(lines, "close", None):
                close()

    def _until_broken(self, lines: Iterator[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        owner = self.server.owner
        try:
            yield from lines
        except VipcliError as error:
            yield {"error": error.message.spelled(owner.spelling)}
        except Exception:
            if owner.debug:
                traceback.print_exc()
            yield {"error": "Internal error."}

    def _is_gone(self) -> bool:
        """Whether the other end has closed the connection, which a write would not tell at once."""
        self.connection.setblocking(False)
        try:
            return not self.connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        finally:
            self.connection.settimeout(BODY_TIMEOUT)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        # Its body may follow.
        self.close_connection = self.close_connection or self._unread
        self._send(status, _json({"error": text}), "application/json")

    def _send(self, status: HTTPStatus, content: bytes, type: str) -> None:
        self._send_head(status, {"Content-Type": type, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self._write(content)

    def _send_head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in (_HEADERS | dict(headers)).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def _write(self, content: bytes) -> None:
        # In pieces, since the timeout is for each call.
        for start in range(0, len(content), _PIECE):
            self.wfile.write(content[start : start + _PIECE])

    def _drain(self) -> None:
        """Take some of what still arrives: closing at once would destroy the answer on its way."""
        self._incoming.deadline = time.monotonic() + 1
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for _ in range(64):
                if not self._reader.read1(_PIECE):
                    return


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "This is not JSON.") from None


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode()


def _type_of(content: bytes) -> str:
    is_webp = content[:4] == b"RIFF" and content[8:12] == b"WEBP"
    return "image/webp" if is_webp else "application/octet-stream"


def _is_ours(connection: socket.socket) -> bool:
    """Whether the other end of a connection belongs to this user or to root, as far as the system tells."""
    try:
        peer, own = connection.getpeername(), connection.getsockname()
        user = _user_of(peer, own)
        # If the other end is gone, its user is no longer known.
        connection.getpeername()
    except OSError:
        return False
    return user is None or user in (0, os.getuid())


def _user_of(end: tuple[str, int], other: tuple[str, int]) -> int | None:
    """The user who owns one end of a connection on this machine; None if that is unknown."""
    for table, prefix in (("tcp", ""), ("tcp6", "0000000000000000FFFF0000")):
        wanted = [prefix + _hexadecimal(*address) for address in (end, other)]
        with (
            contextlib.suppress(FileNotFoundError, PermissionError),
            Path("/proc/net", table).open() as lines,
        ):
            for line in lines:
                if wanted[0] in line and (fields := line.split())[1:3] == wanted:
                    # A socket that its process has closed has no inode, and no user.
                    return int(fields[7]) if fields[9] != "0" else -1
    return None


def _hexadecimal(address: str, port: int) -> str:
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    return f"{number:08X}:{port:04X}"
