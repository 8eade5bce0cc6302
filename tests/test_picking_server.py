"""The server of a page: whom it answers, and what it withstands."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.local_client import Answered, ask, call, path, port, stream
from tests.plain import assert_plain
from vipcli.errors import UsageError
from vipcli.picking import connection, peers
from vipcli.picking import server as server_module
from vipcli.picking.server import LocalServer

PAGE = b"<!doctype html><title>A page</title>"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8L"
NOBODY = 65534
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whose connection it is")


class Handlers:
    """What the server under test answers, and what has been asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.go_on = threading.Event()
        self.closed = threading.Event()

    def echo(self, message: Any) -> dict[str, Any]:
        self.asked.append(message)
        return {"got": message}

    def webp(self, message: Any) -> bytes:
        return WEBP

    def fail(self, message: Any) -> dict[str, Any]:
        raise UsageError("The mark is cropped away.", "Use {fit=pad}.")

    def crash(self, message: Any) -> dict[str, Any]:
        raise RuntimeError("a secret")

    def file_missing(self, message: Any) -> bytes:
        return Path("/nowhere/a-secret").read_bytes()

    def no_json(self, message: Any) -> dict[str, Any]:
        return {"number": float("nan")}

    def exhausted(self, message: Any) -> dict[str, Any]:
        raise MemoryError

    def wait(self, message: Any) -> dict[str, Any]:
        assert self.go_on.wait(10)
        return {"waited": True}

    def lines(self, message: Any) -> Iterator[dict[str, Any]]:
        try:
            yield {"text": "first"}
            assert self.go_on.wait(10)
            yield {"text": "second"}
        finally:
            self.closed.set()

    def endless(self, message: Any) -> Iterator[dict[str, Any]]:
        try:
            while True:
                yield {}
                time.sleep(0.01)
        finally:
            self.closed.set()

    def broken(self, message: Any) -> Iterator[dict[str, Any]]:
        yield {"text": "first"}
        raise {"plain": UsageError("No."), "other": RuntimeError("a secret")}[message["how"]]

    def open(self, name: str, content: bytes) -> dict[str, Any]:
        return {"name": name, "length": len(content)}


@pytest.fixture
def handlers() -> Handlers:
    return Handlers()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "index.html").write_bytes(PAGE)
    (folder / "page.js").write_text("export {}")
    (folder / "page.css").write_text("p {}")
    (folder / "notes.txt").write_text("a secret")
    (tmp_path / "secret.js").write_text("a secret")
    return folder


@pytest.fixture
def start(handlers: Handlers, page: Path) -> Iterator[Callable[..., LocalServer]]:
    servers = []
    names = ("echo", "webp", "fail", "crash", "file_missing", "no_json", "exhausted", "wait")
    streams = ("lines", "endless", "broken")

    def start_one(**options: Any) -> LocalServer:
        answers = {name: getattr(handlers, name) for name in (*names, *streams)}
        server = LocalServer(answers, page, uploads={"open": handlers.open}, **options)
        server.start()
        servers.append(server)
        return server

    yield start_one
    for server in servers:
        server.close(0)


@pytest.fixture
def server(start: Callable[..., LocalServer]) -> LocalServer:
    return start(spelling=lambda name, value: f"<{name} {value}>")


def connect(server: LocalServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port(server)), timeout=10)


def raw(server: LocalServer, *lines: str, body: bytes = b"") -> bytes:
    """Send a request as it is, and return all that comes back until the server closes the connection."""
    with connect(server) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while piece := client.recv(2**16):
            received += piece
        return received


def get(server: LocalServer, client: socket.socket) -> int:
    """Fetch the page on a connection that stays open; return the status."""
    client.sendall(f"GET {path(server)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    with http.client.HTTPResponse(client) as response:
        response.begin()
        response.read()
        return response.status


def status_of(received: bytes) -> int:
    return int(received.split(b" ", 2)[1])


# What it serves


@pytest.mark.parametrize(
    ("name", "type", "content"),
    [
        ("", "text/html; charset=utf-8", PAGE),
        ("page.js", "text/javascript; charset=utf-8", b"export {}"),
        ("page.css", "text/css; charset=utf-8", b"p {}"),
        ("?a=b", "text/html; charset=utf-8", PAGE),
    ],
)
def test_the_page_and_what_it_loads(server: LocalServer, name: str, type: str, content: bytes) -> None:
    answered = ask(server, "GET", path(server, name))
    assert (answered.status, answered.headers["Content-Type"], answered.body) == (200, type, content)
    head = ask(server, "HEAD", path(server, name))
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(content)), b"")


def test_a_missing_slash_at_the_end(server: LocalServer) -> None:
    answered = ask(server, "GET", path(server).rstrip("/"))
    assert (answered.status, answered.headers["Location"]) == (308, path(server))


def test_messages(server: LocalServer) -> None:
    assert call(server, "echo", {"a": ["é", None]}).json == {"got": {"a": ["é", None]}}
    image = call(server, "webp")
    assert (image.headers["Content-Type"], image.body) == ("image/webp", WEBP)
    with_charset = call(server, "echo", 1, Content_Type="application/json; charset=utf-8")
    assert with_charset.json == {"got": 1}


def test_a_file_is_uploaded(server: LocalServer) -> None:
    target = path(server, "api/open?name=a%20b.png")
    answered = ask(server, "POST", target, b"x" * 10_000_000, Content_Type="application/octet-stream")
    assert answered.json == {"name": "a b.png", "length": 10_000_000}


def test_one_connection_takes_many_requests(server: LocalServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port(server), timeout=10)
    for target in ("", "page.js", "missing.js", ""):
        client.request("GET", path(server, target))
        Answered(client.getresponse())
        sock = client.sock
        client.request("POST", path(server, "api/fail"), "{}", {"Content-Type": "application/json"})
        assert Answered(client.getresponse()).status == 400
        assert client.sock is sock
    client.close()


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("fail", 400, "The mark is cropped away. Use <fit pad>."),
        ("crash", 500, "Internal error."),
        ("file_missing", 500, "Internal error."),
        ("no_json", 500, "Internal error."),
        ("exhausted", 500, "There is not enough memory."),
        ("missing", 404, "There is nothing here."),
    ],
)
def test_errors_are_told_to_the_page_alone(
    server: LocalServer, capfd: pytest.CaptureFixture[str], name: str, status: int, text: str
) -> None:
    answered = call(server, name, {})
    assert (answered.status, answered.json) == (status, {"error": text})
    assert capfd.readouterr() == ("", "")


def test_tracebacks_are_for_debugging(
    start: Callable[..., LocalServer], capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(start(debug=True), "crash", {}).json == {"error": "Internal error."}
    assert "RuntimeError: a secret" in capfd.readouterr().err


# Streams


def test_a_stream_arrives_line_by_line(server: LocalServer, handlers: Handlers) -> None:
    with stream(server, "lines") as response:
        assert response.headers["Content-Type"] == "application/jsonl"
        assert response.headers["Transfer-Encoding"] == "chunked"
        assert json.loads(response.readline()) == {"text": "first"}
        handlers.go_on.set()
        assert json.loads(response.readline()) == {"text": "second"}
        assert response.read() == b""
    assert handlers.closed.wait(5)


def test_a_stream_over_http_1_0_has_no_chunks(server: LocalServer, handlers: Handlers) -> None:
    handlers.go_on.set()
    head = (f"POST {path(server, 'api/lines')} HTTP/1.0", "Host: 127.0.0.1", "Content-Type: application/json")
    received = raw(server, *head, "Content-Length: 2", body=b"{}")
    assert b"chunked" not in received
    assert received.endswith(b'\r\n\r\n{"text": "first"}\n{"text": "second"}\n')


def test_a_stream_is_closed_when_its_receiver_leaves(server: LocalServer, handlers: Handlers) -> None:
    with stream(server, "endless") as response:
        response.readline()
        assert not handlers.closed.is_set()
    assert handlers.closed.wait(5)


@pytest.mark.parametrize(("how", "text"), [("plain", "No."), ("other", "Internal error.")])
def test_a_stream_ends_with_its_error(
    server: LocalServer, capfd: pytest.CaptureFixture[str], how: str, text: str
) -> None:
    with stream(server, "broken", {"how": how}) as response:
        lines = response.read().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "first"}, {"error": text}]
    assert capfd.readouterr() == ("", "")


# Who may ask


def test_every_answer_forbids_other_sites(server: LocalServer) -> None:
    answers = [
        ask(server, "GET", path(server)),
        ask(server, "GET", path(server, "page.js")),
        ask(server, "GET", "/"),
        ask(server, "GET", path(server).rstrip("/")),
        ask(server, "PUT", path(server)),
        ask(server, "GET", path(server), Host="evil.example"),
        call(server, "echo", {}),
        call(server, "webp", {}),
        call(server, "crash", {}),
        ask(
            server,
            "OPTIONS",
            path(server, "api/echo"),
            Origin="http://evil.example",
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="content-type",
        ),
    ]
    for answered in answers:
        policy = answered.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        for word in ("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"):
            assert word in policy
        assert "unsafe" not in policy
        assert answered.headers["X-Content-Type-Options"] == "nosniff"
        assert answered.headers["Referrer-Policy"] == "no-referrer"
        assert answered.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert answered.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answered.headers["Cache-Control"] == "no-store"
        assert answered.headers["Server"] == "vipcli"
        assert not [name for name in answered.headers if name.lower().startswith("access-control")]


def test_without_the_token_there_is_nothing(server: LocalServer, start: Callable[..., LocalServer]) -> None:
    token = path(server).strip("/")
    assert len(token) >= 32
    assert path(start()).strip("/") != token
    wrong = ["/", "//", "/x/", "/x", "/x/page.js", "/api/echo", "/favicon.ico", "/é/", "*", "x", "?"]
    wrong += [f"/{token[:-1]}/", f"/{token}x/", f"/{token.swapcase()}/", f"/%{ord(token[0]):x}{token[1:]}/"]
    wrong += [f"//{token}/", f"/./{token}/", f"/x/../{token}/", f"/{token}%2f", f"/{token}%00/", f"{token}/"]
    wrong += [f"/x/{token}/", f"\\{token}/", f"/{token}\\", f"http://127.0.0.1:{port(server)}/{token}/"]
    host = f"Host: 127.0.0.1:{port(server)}"
    bodies = {
        raw(server, f"GET {target} HTTP/1.1", host).partition(b"\r\nDate")[0]
        + raw(server, f"GET {target} HTTP/1.1", host).partition(b"GMT")[2]
        for target in wrong
    }
    assert len(bodies) == 1
    assert status_of(bodies.pop()) == 404
    kind = "Content-Type: application/json"
    for target in wrong:
        received = raw(server, f"POST {target}api/echo HTTP/1.1", host, kind, "Content-Length: 2", body=b"{}")
        assert status_of(received) == 404


@pytest.mark.parametrize(
    "name",
    [
        *("index.html", "notes.txt", "../secret.js", "%2e%2e/secret.js", "..%2fsecret.js", "./page.js"),
        *("/page.js", "page.js/", "page.js%00", "page.js\x00", "page%2ejs", "PAGE.JS", "page.js.", ".js"),
        *("page.js/../page.css", "\\..\\secret.js", "..\\secret.js", "page.js;x", "api/", "api/echo", "api"),
        "x" * 5000 + ".js",
    ],
)
def test_only_the_files_of_the_page_are_read(server: LocalServer, name: str) -> None:
    received = raw(server, f"GET {path(server, name)} HTTP/1.1", "Host: localhost")
    assert status_of(received) == 404
    assert b"secret" not in received


@pytest.mark.parametrize("name", ["api//echo", "echo", "api/api/echo", "api/echo/", "/api/echo", "API/echo"])
def test_only_messages_are_answered(server: LocalServer, handlers: Handlers, name: str) -> None:
    answered = ask(server, "POST", path(server, name), b"{}", Content_Type="application/json")
    assert (answered.status, handlers.asked) == (404, [])


@pytest.mark.parametrize(
    "host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:1", "127.0.0.1:65535", "localhost"]
)
def test_names_of_this_machine(server: LocalServer, host: str) -> None:
    host = host.format(port=port(server))
    assert ask(server, "GET", path(server), Host=host).status == 200
    assert call(server, "echo", {}, Host=host, Origin=f"http://{host}".lower()).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", ""),
        *("127.0.0.1@evil.example", "evil.example@127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.1"),
        *("[::1]:{port}", "10.0.0.1", "127.0.0.1, evil.example", "127.0.0.1 evil.example", "localhost."),
        *("0.0.0.0", "１２７.0.0.1"),
    ],
)  # fmt: skip
def test_names_of_other_machines(server: LocalServer, handlers: Handlers, host: str) -> None:
    """A name that leads here only since its owner says so (DNS rebinding) is no name of this machine."""
    host = host.format(port=port(server)).encode().decode("latin-1")
    assert status_of(raw(server, f"GET {path(server)} HTTP/1.1", f"Host: {host}")) == 421
    head = (f"POST {path(server, 'api/echo')} HTTP/1.1", f"Host: {host}", "Content-Type: application/json")
    assert status_of(raw(server, *head, "Content-Length: 2", body=b"{}")) == 421
    assert not handlers.asked


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Host: localhost", "Host: localhost"),
        ("Host: localhost", "Host: evil.example"),
        ("Host: evil.example", "Host: localhost"),
        ("X: y", " Host: localhost"),
    ],
)
def test_exactly_one_host_is_named(server: LocalServer, lines: tuple[str, ...]) -> None:
    for version in ("1.1", "1.0"):
        assert status_of(raw(server, f"GET {path(server)} HTTP/{version}", *lines)) == 421


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "http://evil.example", "https://127.0.0.1:{port}", "http://localhost:{port}", ""),
        *("http://127.0.0.1", "http://127.0.0.1:1", "http://127.0.0.1:{port}/", "http://127.0.0.1:{port}.evil"),
    ],
)  # fmt: skip
def test_other_origins(server: LocalServer, handlers: Handlers, origin: str) -> None:
    origin = origin.format(port=port(server))
    assert ask(server, "GET", path(server), Origin=origin).status == 403
    assert call(server, "echo", {}, Origin=origin).status == 403
    target = path(server, "api/open")
    upload = ask(server, "POST", target, b"x", Content_Type="application/octet-stream", Origin=origin)
    assert (upload.status, handlers.asked) == (403, [])


@pytest.mark.parametrize(
    "type",
    [
        *("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""),
        *("application/jsonx", "text/plain; application/json", "application/octet-stream", "text/json"),
    ],
)
def test_types_that_any_site_can_send(server: LocalServer, handlers: Handlers, type: str) -> None:
    assert call(server, "echo", {}, Content_Type=type).status == 415
    assert not handlers.asked


def test_a_file_has_a_type_that_no_form_has(server: LocalServer) -> None:
    for type in ("text/plain", "application/json", "image/png", "multipart/form-data"):
        assert ask(server, "POST", path(server, "api/open"), b"x", Content_Type=type).status == 415


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "TRACE", "CONNECT", "get", "X" * 999])
def test_other_methods(server: LocalServer, method: str) -> None:
    received = raw(server, f"{method} {path(server)} HTTP/1.1", "Host: localhost")
    assert status_of(received) == 501
    assert PAGE not in received


# Users


def connect_as(user: int, server: LocalServer, family: socket.AddressFamily) -> socket.socket:
    """Connect as another user, whom the system takes from the thread that opens the socket."""
    libc = ctypes.CDLL(None)
    before = libc.setfsuid(user)
    try:
        client = socket.socket(family)
    finally:
        libc.setfsuid(before)
    client.settimeout(10)
    client.connect(("127.0.0.1" if family == socket.AF_INET else "::ffff:127.0.0.1", port(server)))
    return client


@linux_only
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be another user")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_another_user_is_refused(server: LocalServer, family: socket.AddressFamily) -> None:
    for user, status in ((NOBODY, 403), (0, 200)):
        with connect_as(user, server, family) as client:
            assert get(server, client) == status


@linux_only
def test_this_user_and_root_may_ask_and_no_one_else(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_is_root = os.getuid() == 0
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    assert ask(server, "GET", path(server)).status == (200 if client_is_root else 403)


@pytest.mark.parametrize("table", ["missing", "of others"])
def test_without_a_table_the_token_decides(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    file = tmp_path / "tcp"
    if table != "missing":
        file.write_text("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n")
    monkeypatch.setattr(peers, "_TABLES", ((str(file), ""),))
    assert ask(server, "GET", path(server)).status == 200
    assert ask(server, "GET", "/x/").status == 404


@linux_only
@pytest.mark.parametrize("reset", [False, True])
def test_whoever_hangs_up_before_being_looked_up_is_refused(reset: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        kept = socket.create_connection(listener.getsockname())
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(b"POST")
        client.close()
        with listener.accept()[0] as gone, listener.accept()[0] as there, kept:
            assert not peers.is_ours(gone)
            assert peers.is_ours(there)


def test_whoever_hangs_up_while_being_looked_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())

        def look_up(*addresses: object) -> None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

        monkeypatch.setattr(peers, "_user_of", look_up)
        with listener.accept()[0] as accepted:
            assert not peers.is_ours(accepted)


# What it withstands


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("GET /" + "x" * 70_000 + " HTTP/1.1", "Host: localhost"), 414),
        (("GET / HTTP/1.1", "Host: localhost", "X: " + "x" * 70_000), 431),
        (("GET / HTTP/1.1", "Host: localhost", *[f"X-{n}: y" for n in range(200)]), 431),
        (("GET / HTTP/9.9", "Host: localhost"), 505),
        (("GET / HTTP/x", "Host: localhost"), 400),
        (("GET / of HTTP/1.1", "Host: localhost"), 400),
        (("\x16\x03\x01\x02\x00\x01\x00\x01\xfc",), 400),
    ],
)
def test_requests_that_are_none(server: LocalServer, lines: tuple[str, ...], status: int) -> None:
    received = raw(server, *lines)
    assert status_of(received) == status
    assert b"traceback" not in received.lower()
    assert ask(server, "GET", path(server)).status == 200


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ((), 411),
        (("Content-Length: -1",), 400),
        (("Content-Length: +2",), 400),
        (("Content-Length: 0x2",), 400),
        (("Content-Length: ²",), 400),
        (("Content-Length: 2", "Content-Length: 2"), 411),
        (("Content-Length: 2", "Transfer-Encoding: chunked"), 411),
        (("Transfer-Encoding: chunked",), 411),
        ((f"Content-Length: {connection.MAX_MESSAGE + 1}",), 413),
        ((f"Content-Length: {10**14}",), 413),
    ],
)
def test_lengths_of_messages(
    server: LocalServer, handlers: Handlers, lines: tuple[str, ...], status: int
) -> None:
    head = (f"POST {path(server, 'api/echo')} HTTP/1.1", "Host: localhost", "Content-Type: application/json")
    # What follows must not be taken for another request.
    second = f"{head[0]}\r\n{head[1]}\r\n{head[2]}\r\nContent-Length: 1\r\n\r\n1".encode()
    received = raw(server, *head, *lines, body=b"{}" + second)
    assert status_of(received) == status
    assert received.count(b"HTTP/1.1") == 1
    assert not handlers.asked


def test_the_body_of_a_get_is_not_taken_for_a_request(server: LocalServer, handlers: Handlers) -> None:
    inner = (
        f"POST {path(server, 'api/echo')} HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/json\r\nContent-Length: 1\r\n\r\n1"
    ).encode()
    for length in (f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"):
        received = raw(server, f"GET {path(server)} HTTP/1.1", "Host: localhost", length, body=inner)
        assert received.count(b"HTTP/1.1") == 1
    assert not handlers.asked


def test_a_file_that_is_too_large(server: LocalServer) -> None:
    head = (f"POST {path(server, 'api/open')} HTTP/1.1", "Host: localhost")
    length = f"Content-Length: {connection.MAX_UPLOAD + 1}"
    received = raw(server, *head, "Content-Type: application/octet-stream", length, body=b"x" * 100_000)
    assert status_of(received) == 413


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000, b"{}{}", b"\x00"])
def test_messages_that_are_no_json(server: LocalServer, handlers: Handlers, body: bytes) -> None:
    answered = ask(server, "POST", path(server, "api/echo"), body, Content_Type="application/json")
    assert (answered.status, answered.json) == (400, {"error": "This is not JSON."})
    assert not handlers.asked


def test_a_large_refused_message_still_gets_its_answer(server: LocalServer) -> None:
    answered = ask(server, "POST", path(server, "api/missing"), b"x" * 20_000_000)
    assert answered.status == 404


def test_a_refused_message_that_does_not_end(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DRAIN_TIMEOUT", 0.2)
    with connect(server) as client, pytest.raises(OSError):
        client.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n")
        started = time.monotonic()
        while time.monotonic() - started < 5:
            client.sendall(b"x")
            time.sleep(0.02)


def test_slow_connections_are_closed(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_TIMEOUT", 0.5)
    started = time.monotonic()
    with connect(server) as slow, pytest.raises(OSError):
        slow.sendall(f"GET {path(server)} HTTP/1.1\r\nHost: localhost\r\nX: ".encode())
        while time.monotonic() - started < 10:
            slow.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() - started < 5


def test_bodies_that_do_not_come(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PIECE_TIMEOUT", 0.2)
    with connect(server) as slow:
        head = f"POST {path(server, 'api/echo')} HTTP/1.1\r\nHost: localhost\r\n"
        slow.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{".encode())
        assert slow.recv(100) == b""


def test_idle_connections_are_closed(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_TIMEOUT", 0.2)
    with connect(server) as idle:
        assert get(server, idle) == 200
        assert idle.recv(100) == b""


def test_slow_connections_do_not_keep_others_out(
    server: LocalServer, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 5)
    with stream(server, "lines") as streaming, ExitStack() as stack:
        assert streaming.readline()
        started = time.monotonic()
        for _ in range(60):
            stack.enter_context(connect(server)).sendall(b"GET / HTTP/1.1\r\nHo")
        assert all(ask(server, "GET", path(server)).status == 200 for _ in range(10))
        assert time.monotonic() - started < 2
        handlers.go_on.set()
        assert json.loads(streaming.readline()) == {"text": "second"}


def test_where_all_connections_are_in_use_no_more_are_taken(
    server: LocalServer, handlers: Handlers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
    with stream(server, "lines") as first, stream(server, "lines") as second:
        assert first.readline() and second.readline()
        with connect(server) as refused:
            assert refused.recv(100) == b""
        handlers.go_on.set()


def test_a_client_that_hangs_up_is_no_error(
    server: LocalServer, handlers: Handlers, capfd: pytest.CaptureFixture[str]
) -> None:
    json_post = f"POST {path(server, 'api/echo')} HTTP/1.1\r\nHost: localhost\r\n"
    json_post += "Content-Type: application/json\r\n"
    for request in ("", "GE", "GET / HTTP/1.1\r\nHost", f"{json_post}Content-Length: 100\r\n\r\n{{"):
        for reset in (False, True):
            client = connect(server)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(request.encode())
            client.close()
    waiting = connect(server)
    waiting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    waiting.sendall(f"{json_post.replace('echo', 'wait')}Content-Length: 2\r\n\r\n{{}}".encode())
    time.sleep(0.1)
    waiting.close()
    handlers.go_on.set()
    assert ask(server, "GET", path(server)).status == 200
    server.close(1)
    assert handlers.asked == []
    assert capfd.readouterr() == ("", "")


# Its beginning and end


def test_a_port_that_is_taken(start: Callable[..., LocalServer]) -> None:
    taken = port(start())
    with pytest.raises(UsageError) as caught:
        start(port=taken)
    assert_plain(caught.value, str(taken))
    with pytest.raises(UsageError) as caught:
        start(port=99_999)
    assert_plain(caught.value, "99999")


def test_it_listens_on_this_machine_alone(server: LocalServer) -> None:
    other = "127.0.0.2"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((other, port(server)), timeout=5)


def test_closing_waits_for_answers_under_way(server: LocalServer, handlers: Handlers) -> None:
    answered: list[Answered] = []
    thread = threading.Thread(target=lambda: answered.append(call(server, "wait")))
    thread.start()
    time.sleep(0.1)
    threading.Timer(0.2, handlers.go_on.set).start()
    server.close(5)
    thread.join(5)
    assert answered[0].json == {"waited": True}


def test_closing_does_not_wait_for_ever(server: LocalServer, handlers: Handlers) -> None:
    with stream(server, "endless") as response, connect(server) as idle:
        response.readline()
        assert get(server, idle) == 200
        started = time.monotonic()
        server.close(0.2)
        assert time.monotonic() - started < 3
        assert idle.recv(100) == b""
    assert handlers.closed.wait(5)
    with pytest.raises(ConnectionRefusedError):
        connect(server)
