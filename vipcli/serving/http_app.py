"""The HTTP side of a resident model: one socket for this person's own commands, and a port if asked for."""

from __future__ import annotations

import asyncio
import functools
import hmac
import json
import secrets
import time
import traceback
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from vipcli.checkpoints.lookup import Checkpoint
from vipcli.errors import ContextError, ModelError, UsageError, VipcliError
from vipcli.serving import openai_api, protocol
from vipcli.serving.scheduler import BusyError, Desk, Ticket

TOO_LONG = "The body is too large."
_SECONDS_TO_SEND = 30
_READ_AT_ONCE = 8
"""Bodies and their pictures take memory before anybody stands in line."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may cost."""

    body: int = 64_000_000
    """Bytes."""
    pixels: int = 50_000_000
    seconds: float = 300
    tokens: int = 4096


@dataclass(frozen=True, slots=True)
class Door:
    """Who may come in by the port: those that know the token, and came by one of these names."""

    token: str
    hosts: frozenset[str]

    def refuses(self, scope: Scope) -> tuple[int, str] | None:
        """Why a request may not come in."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get(b"host", "").rpartition("@")[2]
        name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
        # A page in a browser could reach this machine by a name of its own.
        if self.hosts and name.lower() not in self.hosts:
            return 421, "This server does not go by that name."
        scheme, _, given = headers.get(b"authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.token.encode()):
            return 401, "The token is missing or wrong: send it as Authorization: Bearer TOKEN."
        return None


class Guard:
    """Lets in by the port only whom its door lets in; the socket belongs to one person as it is."""

    def __init__(self, app: ASGIApp, door: Door | None) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and came_by_port(scope):
            refused = (404, "There is no way in.") if self._door is None else self._door.refuses(scope)
            if refused is not None and scope["path"] != "/health":
                status, text = refused
                kind = "authentication_error" if status == 401 else "invalid_request_error"
                response = JSONResponse(openai_api.refusal(text, kind=kind), status)
                await response(scope, receive, send)
                return
        await self._app(scope, receive, send)


def came_by_port(scope: Scope) -> bool:
    """Whether a request came by TCP."""
    server = scope.get("server")
    return server is not None and server[1] is not None


class Service:
    """What the server does with a request."""

    def __init__(self, desk: Desk, checkpoint: Checkpoint, held: dict[str, Any], limits: Limits) -> None:
        self._desk = desk
        self._checkpoint = checkpoint
        self._held = held
        self._limits = limits
        self._started = int(time.time())
        self._reading = asyncio.Semaphore(_READ_AT_ONCE)
        self._asked: dict[str, Ticket] = {}
        """What this person's own commands have asked, by the names that they gave it."""

    def app(self, door: Door | None) -> ASGIApp:
        """The whole application."""
        routes = [
            Route("/health", self._health),
            Route("/v1/models", self._models),
            Route("/v1/models/{name:path}", self._model),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/answer/{name}", self._answer, methods=["POST"]),
            Route("/halt/{name}", self._halt, methods=["POST"]),
        ]
        handlers = {Exception: _broken, HTTPException: _not_here}
        return Guard(Starlette(routes=routes, exception_handlers=handlers), door)

    async def _health(self, request: Request) -> Response:
        # Whoever comes by the port learns no more than that somebody is here.
        told = {"status": "ok"} if came_by_port(request.scope) else {"status": "ok", **self._held}
        return JSONResponse({**told, "waiting": self._desk.waiting})

    async def _models(self, request: Request) -> Response:
        return JSONResponse(openai_api.listed(self._checkpoint, created=self._started))

    async def _model(self, request: Request) -> Response:
        (one,) = openai_api.listed(self._checkpoint, created=self._started)["data"]
        if request.path_params["name"] != one["id"]:
            refusal = openai_api.refusal(f"The model here is {one['id']}.", code="model_not_found")
            return JSONResponse(refusal, 404)
        return JSONResponse(one)

    async def _answer(self, request: Request) -> Response:
        """What this person's own commands ask, in our own form: text as it comes, then the reply."""
        if came_by_port(request.scope):
            return JSONResponse(openai_api.refusal("There is nothing here."), 404)
        try:
            data = await _body(request, most=None)
            asked = await asyncio.to_thread(protocol.unpack, data)
            stream = _Stream()
            ticket = self._desk.ask(asked, stream.take)
        except UsageError as error:
            return JSONResponse(_told(error), 400)
        name = request.path_params["name"]
        self._asked[name] = ticket

        async def lines() -> AsyncIterator[bytes]:
            try:
                async for text in stream.texts(ticket):
                    yield _line({"text": text})
                yield _line({"reply": protocol.pack_reply(ticket.reply.result())})
            except VipcliError as error:
                yield _line(_told(error))
            finally:
                self._asked.pop(name, None)

        return StreamingResponse(self._while_there(request, lines(), ticket), media_type="application/jsonl")

    async def _halt(self, request: Request) -> Response:
        """End an answer of this person's own commands as it stands."""
        if came_by_port(request.scope):
            return JSONResponse(openai_api.refusal("There is nothing here."), 404)
        ticket = self._asked.get(request.path_params["name"])
        if ticket is not None:
            ticket.halted = True
        return Response(status_code=204)

    async def _complete(self, request: Request) -> Response:
        """The chat-completions form."""
        try:
            if self._desk.full:
                raise BusyError(f"{self._desk.waiting} requests are waiting already. Try again in a moment.")
            async with self._reading:
                data = await _body(request, most=self._limits.body)
                asked = await asyncio.to_thread(
                    openai_api.read,
                    data,
                    self._checkpoint,
                    max_pixels=self._limits.pixels,
                    longest_answer=self._limits.tokens,
                )
            stream = _Stream()
            ticket = self._desk.ask(asked.request, stream.take, patience=self._limits.seconds)
        except _TooLargeError:
            return JSONResponse(openai_api.refusal(f"{TOO_LONG} At most {self._limits.body:,} bytes."), 413)
        except BusyError as error:
            refusal = openai_api.refusal(str(error), kind="rate_limit_error")
            return JSONResponse(refusal, 429, {"Retry-After": "1"})
        except VipcliError as error:
            return _refused(error)
        id, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        if asked.stream:
            events = _events(asked, stream, ticket, id, created)
            return StreamingResponse(
                self._while_there(request, events, ticket), media_type="text/event-stream"
            )
        watching = asyncio.create_task(self._watch(request, ticket))
        try:
            async for _ in stream.texts(ticket):
                pass
            return JSONResponse(openai_api.whole(asked, ticket.reply.result(), id=id, created=created))
        except VipcliError as error:
            return _refused(error)
        finally:
            watching.cancel()

    async def _while_there(
        self, request: Request, pieces: AsyncIterator[bytes], ticket: Ticket
    ) -> AsyncIterator[bytes]:
        """The pieces; if whoever asked leaves, so does the ticket."""
        watching = asyncio.create_task(self._watch(request, ticket))
        try:
            async for piece in pieces:
                yield piece
        finally:
            watching.cancel()
            self._desk.leave(ticket)

    async def _watch(self, request: Request, ticket: Ticket) -> None:
        while not await request.is_disconnected():
            await asyncio.sleep(0.2)
        self._desk.leave(ticket)


async def _events(
    asked: openai_api.Asked, stream: _Stream, ticket: Ticket, id: str, created: int
) -> AsyncIterator[bytes]:
    """An answer as server-sent events."""
    piece = functools.partial(openai_api.piece, asked, id=id, created=created)

    def event(told: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps(told).encode() + b"\n\n"

    try:
        yield event(piece(None, first=True))
        async for text in stream.texts(ticket):
            yield event(piece(text))
        reply = ticket.reply.result()
        yield event(piece(None, ended=reply.ended))
        if asked.with_usage:
            yield event(openai_api.usage_piece(asked, reply, id=id, created=created))
        yield b"data: [DONE]\n\n"
    except VipcliError as error:
        yield event(_refusal(error))


class _Stream:
    """Text on its way from the thread that answers to the one that sends."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue()

    def take(self, text: str) -> None:
        """Take the next piece, from any thread."""
        self._loop.call_soon_threadsafe(self._pieces.put_nowait, text)

    async def texts(self, ticket: Ticket) -> AsyncIterator[str]:
        """The pieces as they come, up to the end; an error where there was one."""

        def end(_: object) -> None:
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, None)

        ticket.reply.add_done_callback(end)
        while (text := await self._pieces.get()) is not None:
            yield text
        if ticket.reply.cancelled():
            raise UsageError("Whoever asked has left.")
        error = ticket.reply.exception()
        if error is None or isinstance(error, VipcliError):
            ticket.reply.result()
        else:
            traceback.print_exception(error)
            raise ModelError("The model failed on this request.") from error


class _TooLargeError(Exception):
    """A body of more bytes than may come."""


async def _body(request: Request, *, most: int | None) -> bytes:
    """All that was sent, unless it is too much or too slow."""
    found = bytearray()
    try:
        async with asyncio.timeout(_SECONDS_TO_SEND):
            async for piece in request.stream():
                found += piece
                if most is not None and len(found) > most:
                    raise _TooLargeError
    except TimeoutError:
        raise UsageError("The body did not come in time.") from None
    except ClientDisconnect:
        raise UsageError("The body broke off.") from None
    return bytes(found)


def _refusal(error: VipcliError) -> dict[str, Any]:
    """What went wrong, in the chat-completions form."""
    if isinstance(error, ModelError):
        return openai_api.refusal(str(error), kind="server_error")
    code = "context_length_exceeded" if isinstance(error, ContextError) else None
    return openai_api.refusal(str(error), code=code)


def _refused(error: VipcliError) -> Response:
    return JSONResponse(_refusal(error), 500 if isinstance(error, ModelError) else 400)


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode() + b"\n"


def _told(error: VipcliError) -> dict[str, Any]:
    return {"error": type(error).__name__, "message": str(error)}


async def _not_here(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse(openai_api.refusal(f"There is nothing to {request.method} here."), error.status_code)


async def _broken(request: Request, error: Exception) -> Response:
    return JSONResponse(openai_api.refusal("Something went wrong here.", kind="server_error"), 500)
