"""The HTTP application of a server: a socket for this user's own commands, and an optional port."""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from vipcli.asking.interface import Reply
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import ModelError, UsageError, VipcliError
from vipcli.serving import openai_api, protocol
from vipcli.serving.bodies import BodyReader, BodyTimeoutError, BodyTooLargeError
from vipcli.serving.openai_api import ChatRequest, ResponseId, UnknownModelError
from vipcli.serving.scheduler import BusyError, QueuedRequest, Scheduler

_MAX_CONCURRENT_PARSES = 8
"""How many bodies to parse at a time: decoded pictures take memory even before their request is queued."""
_STATUSES: dict[type[VipcliError], int] = {
    UnknownModelError: 404,
    BodyTimeoutError: 408,
    BodyTooLargeError: 413,
    BusyError: 429,
    ModelError: 500,
    VipcliError: 400,
}
"""The HTTP status of each error, by the first class that matches."""
_HEADERS = {
    # Without this, a client that sends its body too slowly would keep its connection.
    408: {"Connection": "close"},
    429: {"Retry-After": "1"},
}

_Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What one request may cost."""

    body_bytes: int = 64_000_000
    body_seconds: float = 30
    all_bodies_bytes: int = 256_000_000
    """For all bodies together that are arriving or being parsed."""
    pixels: int = 50_000_000
    seconds: float = 300
    """For the whole answer, including the wait."""
    tokens: int = 4096


@dataclass(frozen=True, slots=True)
class AccessRules:
    """Who can use the port: clients that know the token and use one of these host names."""

    token: str
    hosts: frozenset[str]
    """Empty to allow any."""

    def check(self, scope: Scope) -> Response | None:
        """Return the response that refuses a request; None if it is allowed."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "").rpartition("@")[2]
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        # Prevent DNS rebinding: a web page could reach this machine under a host name of its own.
        if self.hosts and name.lower() not in self.hosts:
            return _error(421, "This server does not have that host name.")
        scheme, _, token = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.strip().encode(), self.token.encode()):
            return _error(
                401,
                "The token is missing or wrong. Send it as Authorization: Bearer TOKEN.",
                "authentication_error",
            )
        return None


class AccessCheck:
    """Middleware that checks requests to the port; only this user can open the socket."""

    def __init__(self, app: ASGIApp, rules: AccessRules | None) -> None:
        self._app = app
        self._rules = rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and is_from_port(scope) and scope["path"] != "/health":
            refusal = _error(404, "Not found.") if self._rules is None else self._rules.check(scope)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


def is_from_port(scope: Scope) -> bool:
    """Whether a request arrived at the TCP port rather than at the socket."""
    server = scope.get("server")
    return server is not None and server[1] is not None


def _socket_only(endpoint: _Endpoint) -> _Endpoint:
    """Hide an endpoint from requests to the port."""

    async def checked(request: Request) -> Response:
        if is_from_port(request.scope):
            return _error(404, "Not found.")
        return await endpoint(request)

    return checked


class ModelService:
    """The endpoints of a model server."""

    def __init__(
        self, scheduler: Scheduler, checkpoint: Checkpoint, info: dict[str, Any], limits: RequestLimits
    ) -> None:
        self._scheduler = scheduler
        self._checkpoint = checkpoint
        self._info = info
        self._limits = limits
        self._started = int(time.time())
        self._bodies = BodyReader(
            seconds=limits.body_seconds, max_bytes=limits.body_bytes, max_total=limits.all_bodies_bytes
        )
        self._own_bodies = BodyReader(seconds=limits.body_seconds)
        self._parsing = asyncio.Semaphore(_MAX_CONCURRENT_PARSES)
        self._own_requests: dict[str, QueuedRequest] = {}
        """Requests from this user's own commands, by id."""

    def app(self, rules: AccessRules | None) -> ASGIApp:
        """The whole application."""
        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            Route("/answer/{id}", _socket_only(self._answer), methods=["POST"]),
            Route("/halt/{id}", _socket_only(self._halt), methods=["POST"]),
        ]
        handlers = {Exception: _internal_error, HTTPException: _http_error}
        return AccessCheck(Starlette(routes=routes, exception_handlers=handlers), rules)

    async def _health(self, request: Request) -> Response:
        # At the port, this needs no token, so it reveals nothing about the server.
        info = {} if is_from_port(request.scope) else self._info
        return JSONResponse({"status": "ok", **info, "waiting": self._scheduler.waiting})

    async def _models(self, request: Request) -> Response:
        return JSONResponse(openai_api.model_list(self._checkpoint, created=self._started))

    async def _model(self, request: Request) -> Response:
        try:
            openai_api.check_model(request.path_params["name"], self._checkpoint)
        except VipcliError as error:
            return _error_response(error)
        (model,) = openai_api.model_list(self._checkpoint, created=self._started)["data"]
        return JSONResponse(model)

    # ---------------------------------------------------------------------- socket endpoints

    async def _answer(self, request: Request) -> Response:
        """Answer a request in vipcli's own protocol: stream the text, then send the whole reply."""
        stream = _TextStream()
        try:
            async with self._own_bodies.read(request) as body:
                unpacked = await asyncio.to_thread(protocol.unpack_request, bytes(body))
            queued = self._scheduler.submit(unpacked, stream.put)
        except VipcliError as error:
            return JSONResponse(protocol.pack_error(error), 400)
        lines = self._reply_lines(request.path_params["id"], stream, queued)
        return StreamingResponse(
            self._while_connected(request, lines, queued), media_type="application/jsonl"
        )

    async def _reply_lines(self, id: str, stream: _TextStream, queued: QueuedRequest) -> AsyncIterator[bytes]:
        self._own_requests[id] = queued
        try:
            async for text in stream.texts(queued):
                yield _line({"text": text})
            yield _line({"reply": protocol.pack_reply(queued.reply.result())})
        except VipcliError as error:
            yield _line(protocol.pack_error(error))
        finally:
            self._own_requests.pop(id, None)

    async def _halt(self, request: Request) -> Response:
        """End an answer early, keeping its text so far."""
        queued = self._own_requests.get(request.path_params["id"])
        if queued is not None:
            queued.halted = True
        return Response(status_code=204)

    # ---------------------------------------------------------------------- chat completions

    async def _chat_completions(self, request: Request) -> Response:
        try:
            chat = await self._read_chat(request)
            answers = self._submit(chat)
        except VipcliError as error:
            return _error_response(error)
        response = ResponseId(f"chatcmpl-{secrets.token_hex(12)}", int(time.time()))
        if chat.stream:
            events = _server_sent_events(chat, response, answers)
            every = [answer.queued for answer in answers]
            return StreamingResponse(
                self._while_connected(request, events, *every), media_type="text/event-stream"
            )
        watcher = asyncio.create_task(
            self._cancel_on_disconnect(request, *(answer.queued for answer in answers))
        )
        try:
            for answer in answers:
                async for _ in answer.texts():
                    pass
            reply, *more = _replies(chat, answers)
            return JSONResponse(openai_api.completion(chat, reply, response, more))
        except VipcliError as error:
            return _error_response(error)
        finally:
            watcher.cancel()
            for answer in answers:
                self._scheduler.cancel(answer.queued)

    def _submit(self, chat: ChatRequest) -> list[_StreamedAnswer]:
        """Queue a request once for each different answer."""
        answers: list[_StreamedAnswer] = []
        try:
            for asked in chat.requests:
                stream = _TextStream()
                queued = self._scheduler.submit(asked, stream.put, timeout=self._limits.seconds)
                answers.append(_StreamedAnswer(stream, queued))
        except VipcliError:
            for answer in answers:
                self._scheduler.cancel(answer.queued)
            raise
        return answers

    async def _read_chat(self, request: Request) -> ChatRequest:
        self._scheduler.check_room()
        async with self._bodies.read(request) as body, self._parsing:
            return await asyncio.to_thread(
                openai_api.read_request,
                body,
                self._checkpoint,
                max_pixels=self._limits.pixels,
                max_tokens=self._limits.tokens,
            )

    async def _while_connected(
        self, request: Request, pieces: AsyncIterator[bytes], *queued: QueuedRequest
    ) -> AsyncIterator[bytes]:
        """Yield the pieces of answers, and cancel them if the client disconnects."""
        watcher = asyncio.create_task(self._cancel_on_disconnect(request, *queued))
        try:
            async for piece in pieces:
                yield piece
        finally:
            watcher.cancel()
            for asked in queued:
                self._scheduler.cancel(asked)

    async def _cancel_on_disconnect(self, request: Request, *queued: QueuedRequest) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.2)
        for asked in queued:
            self._scheduler.cancel(asked)


async def _server_sent_events(
    chat: ChatRequest, response: ResponseId, answers: Sequence[_StreamedAnswer]
) -> AsyncIterator[bytes]:
    try:
        for index in range(chat.answers):
            yield _event(openai_api.first_chunk(chat, response, index))
        for number, answer in enumerate(answers):
            # If all answers are the same, one of them stands for all.
            indexes = [number] if len(answers) > 1 else range(chat.answers)
            async for text in answer.texts():
                for index in indexes:
                    yield _event(openai_api.text_chunk(chat, response, text, index))
            for index in indexes:
                yield _event(openai_api.last_chunk(chat, response, answer.reply, index))
        if chat.include_usage:
            reply, *more = _replies(chat, answers)
            yield _event(openai_api.usage_chunk(chat, response, reply, more))
        yield b"data: [DONE]\n\n"
    except VipcliError as error:
        yield _event(openai_api.error_body(error))


def _replies(chat: ChatRequest, answers: Sequence[_StreamedAnswer]) -> list[Reply]:
    """The replies for all answers of a response, once they have come."""
    replies = [answer.reply for answer in answers]
    return replies if len(replies) > 1 else replies * chat.answers


class _TextStream:
    """The text of an answer on its way from the thread that generates it to the task that sends it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def put(self, text: str) -> None:
        """Add a piece, from any thread."""
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, text)

    async def texts(self, queued: QueuedRequest) -> AsyncIterator[str]:
        """Yield the pieces as they arrive; if the answer failed, raise its error at the end."""

        def end(_: object) -> None:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, None)

        queued.reply.add_done_callback(end)
        while (text := await self._pieces.get()) is not None:
            yield text
        if queued.reply.cancelled():
            raise UsageError("The client disconnected.")
        error = queued.reply.exception()
        if isinstance(error, VipcliError):
            raise error
        if error is not None:
            traceback.print_exception(error)
            raise ModelError("The model failed on this request.") from error


@dataclass(frozen=True, slots=True)
class _StreamedAnswer:
    """An answer in the queue, and its text on the way."""

    stream: _TextStream
    queued: QueuedRequest

    def texts(self) -> AsyncIterator[str]:
        """The pieces of its text; if it failed, its error is raised at the end."""
        return self.stream.texts(self.queued)

    @property
    def reply(self) -> Reply:
        """The whole reply, once the text has come."""
        return self.queued.reply.result()


def _line(event: dict[str, Any]) -> bytes:
    return json.dumps(event).encode() + b"\n"


def _event(chunk: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _error_response(error: VipcliError) -> Response:
    status = next(status for cls, status in _STATUSES.items() if isinstance(error, cls))
    kind = "rate_limit_error" if status == 429 else None
    return JSONResponse(openai_api.error_body(error, kind=kind), status, _HEADERS.get(status))


def _error(status: int, message: str, kind: str | None = None) -> Response:
    return JSONResponse(openai_api.error_body(VipcliError(message), kind=kind), status)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, f"{HTTPStatus(error.status_code).phrase.capitalize()}.")


async def _internal_error(request: Request, error: Exception) -> Response:
    return _error(500, "Internal server error.", "server_error")
