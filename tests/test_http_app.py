"""The HTTP side of a server, in-process: slow and large bodies, statuses, and errors that clients get."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest
import uvicorn
from PIL import Image

from tests.scripted import SideBySide
from vipcli import errors
from vipcli.asking.interface import Halted, OnText, Reply, Request
from vipcli.checkpoints import lookup
from vipcli.cli.options import as_option
from vipcli.errors import ContextError, ModelError, OutOfMemoryError, VipcliError
from vipcli.serving import client, protocol, runtime
from vipcli.serving.client import RemoteModel
from vipcli.serving.http_app import AccessRules, ModelService, RequestLimits
from vipcli.serving.scheduler import BusyError, Scheduler

ADVICE = "Lower {max_new_tokens}, or load it with {quantize=4bit}."


class FailingModel:
    """Fails every request with an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        raise self.error

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        raise self.error


def service(model: Any = None, **limits: Any) -> ModelService:
    scheduler = Scheduler(model or SideBySide(lambda _: "a dog"), max_waiting=8, max_batch=8)
    return ModelService(scheduler, lookup.find("bundled"), {}, RequestLimits(**limits))


def body(**fields: Any) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    address = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    picture = {"type": "image_url", "image_url": {"url": address}}
    text = {"type": "text", "text": "What is it?"}
    messages = [{"role": "user", "content": [picture, text]}]
    return json.dumps({"model": "bundled", "messages": messages, **fields}).encode()


class Post:
    """One request to the port, whose body arrives in pieces."""

    def __init__(self, app: Any) -> None:
        self._pieces: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.content = b""
        self._body_complete = False
        self.task = asyncio.create_task(self._run(app))

    async def _run(self, app: Any) -> None:
        headers = [(b"host", b"localhost"), (b"authorization", b"Bearer token")]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "query_string": b"",
            "headers": headers,
            "server": ("127.0.0.1", 80),
        }
        await app(scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        if self._body_complete:
            # The client stays connected.
            await asyncio.Event().wait()
        piece, more = await self._pieces.get()
        self._body_complete = not more
        return {"type": "http.request", "body": piece, "more_body": more}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.content += message.get("body", b"")

    async def feed(self, piece: bytes, *, more: bool) -> None:
        """Send a piece of the body, and let the server take it."""
        self._pieces.put_nowait((piece, more))
        for _ in range(5):
            await asyncio.sleep(0)

    async def done(self, piece: bytes = b"") -> Post:
        """Send the rest of the body, and wait for the response."""
        self._pieces.put_nowait((piece, False))
        return await self.over()

    async def over(self) -> Post:
        """Wait for the response."""
        await asyncio.wait_for(self.task, 20)
        return self

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = json.loads(self.content)["error"]
        return error


RULES = AccessRules("token", frozenset({"localhost"}))


@contextlib.asynccontextmanager
async def posts(app: Any, count: int) -> AsyncIterator[list[Post]]:
    """Requests whose bodies have yet to come; those that are not over at the end are given up."""
    opened = [Post(app) for _ in range(count)]
    try:
        yield opened
    finally:
        for post in opened:
            post.task.cancel()
        await asyncio.gather(*(post.task for post in opened), return_exceptions=True)


def test_slow_bodies_take_no_place_from_others() -> None:
    async def check() -> None:
        app = service(body_seconds=15).app(RULES)
        async with posts(app, 50) as slow:
            for post in slow:
                await post.feed(b"{", more=True)
            started = time.monotonic()
            async with posts(app, 1) as (fast,):
                await fast.done(body())
            assert (fast.status, time.monotonic() - started < 10) == (200, True)
            assert not any(post.status for post in slow)

    asyncio.run(check())


def test_a_body_has_a_deadline_of_its_own() -> None:
    async def check() -> None:
        async with posts(service(body_seconds=0.2).app(RULES), 1) as (slow,):
            await slow.feed(b"{", more=True)
            await slow.over()
        assert (slow.status, slow.headers[b"connection"]) == (408, b"close")
        assert slow.error["message"] == "The body of the request did not arrive within 0.2 seconds."

    asyncio.run(check())


def test_the_oldest_body_is_dropped_where_all_together_are_too_large() -> None:
    async def check() -> None:
        app = service(body_seconds=15, all_bodies_bytes=len(body()) + 250).app(RULES)
        async with posts(app, 3) as (oldest, older, newest):
            for post in (oldest, older):
                await post.feed(b" " * 150, more=True)
            await newest.done(body())
            await oldest.over()
            assert (newest.status, oldest.status, older.status) == (200, 429, 0)
            assert oldest.error["type"] == "rate_limit_error"
            assert oldest.headers[b"retry-after"] == b"1"
            # The memory of both has been given back.
            await older.done(body())
            assert older.status == 200

    asyncio.run(check())


def test_a_body_that_alone_exceeds_the_memory_is_dropped() -> None:
    async def check() -> None:
        async with posts(service(all_bodies_bytes=10).app(RULES), 1) as (post,):
            await post.done(body())
        assert post.status == 429

    asyncio.run(check())


def test_a_body_that_is_too_large_is_refused() -> None:
    async def check() -> None:
        async with posts(service(body_bytes=10).app(RULES), 1) as (post,):
            await post.done(body())
        assert post.status == 413
        assert post.error["message"] == "The body is too large. At most 10 bytes are allowed."

    asyncio.run(check())


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"model": "other"}, 404, "model_not_found"),
        ({"top_k": 3}, 400, "unsupported_parameter"),
        ({"max_tokens": 0}, 400, None),
    ],
)
def test_the_status_of_a_refused_request(fields: dict[str, Any], status: int, code: str | None) -> None:
    async def check() -> None:
        async with posts(service().app(RULES), 1) as (post,):
            await post.done(body(**fields))
        assert (post.status, post.error["code"]) == (status, code)

    asyncio.run(check())


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            ContextError("It is too long.", "Lower {max_new_tokens}."),
            400,
            "It is too long. Lower max_tokens.",
        ),
        (ContextError("It is too long.", ADVICE), 400, "It is too long."),
        (OutOfMemoryError("It ran out of memory.", ADVICE), 500, "It ran out of memory."),
        (RuntimeError("at line 5"), 500, "The model failed on this request."),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_client_gets_only_advice_that_it_can_follow(
    error: Exception, status: int, message: str, stream: bool
) -> None:
    async def check() -> None:
        async with posts(service(FailingModel(error)).app(RULES), 1) as (post,):
            await post.done(body(stream=stream))
        if stream:
            post.content = post.content.splitlines()[-2].removeprefix(b"data: ")
        assert (post.status, post.error["message"]) == (200 if stream else status, message)

    asyncio.run(check())


# --------------------------------------------------------------------------- between processes


@contextlib.contextmanager
def served(model: Any) -> Iterator[None]:
    """Serve a model on the socket, in a thread."""
    server = uvicorn.Server(
        uvicorn.Config(service(model).app(None), log_config=None, lifespan="off", ws="none")
    )
    with runtime.unix_listener(runtime.runtime_folder() / client.SOCKET) as listener:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            yield
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.parametrize(
    "kind",
    [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, VipcliError)],
)
def test_an_error_of_a_server_is_the_same_error_here(kind: type[VipcliError]) -> None:
    with served(FailingModel(kind("It is too long.", ADVICE))), pytest.raises(kind) as caught:
        RemoteModel().answer(Request("Q", ()))
    assert type(caught.value) is kind
    assert caught.value.message.spelled(as_option) == (
        "It is too long. Lower --max-new-tokens, or load it with --quantize 4bit."
    )


def test_an_error_that_only_the_server_knows_is_a_model_error() -> None:
    error = protocol.unpack_error(protocol.pack_error(BusyError("It is full.", "Try {seed=1}.")))
    assert type(error) is ModelError
    assert str(error) == 'It is full. Try seed="1".'
