"""Read the bodies of HTTP requests within time and memory limits."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.requests import ClientDisconnect, Request

from vipcli.errors import UsageError, VipcliError
from vipcli.serving.scheduler import BusyError


class BodyTooLargeError(VipcliError):
    """A request body exceeds the size limit."""


class BodyTimeoutError(VipcliError):
    """A body did not arrive in time."""


@dataclass(eq=False)
class _Upload:
    """A body that is arriving, or has arrived and is in use."""

    data: bytearray = field(default_factory=bytearray)
    arriving: bool = True
    dropped: bool = False
    deadline: asyncio.Timeout | None = None

    def drop(self) -> None:
        """Free the memory, and end the task that waits for more of the body."""
        self.dropped, self.arriving, self.data = True, False, bytearray()
        if self.deadline is not None and not self.deadline.expired():
            self.deadline.reschedule(asyncio.get_running_loop().time())


class BodyReader:
    """Reads bodies concurrently, within a shared memory limit.

    When they exceed it, the upload that started first is dropped: slow clients cannot shut out others.
    """

    def __init__(self, *, seconds: float, max_bytes: float = math.inf, max_total: float = math.inf) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._max_total = max_total
        self._uploads: list[_Upload] = []
        """Oldest first."""

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytearray]:
        """The body of a request; it counts against the memory limit until the context ends."""
        upload = _Upload()
        self._uploads.append(upload)
        try:
            await self._receive(request, upload)
            yield upload.data
        finally:
            self._uploads.remove(upload)

    async def _receive(self, request: Request, upload: _Upload) -> None:
        try:
            async with asyncio.timeout(self._seconds) as upload.deadline:
                async for piece in request.stream():
                    if not upload.dropped:
                        self._add(upload, piece)
                    if upload.dropped:
                        raise _dropped_error()
        except TimeoutError:
            if upload.dropped:
                raise _dropped_error() from None
            raise BodyTimeoutError(
                f"The body of the request did not arrive within {self._seconds:g} seconds."
            ) from None
        except ClientDisconnect:
            raise UsageError("The connection was closed before the body had arrived.") from None
        upload.arriving = False

    def _add(self, upload: _Upload, piece: bytes) -> None:
        """Add a piece to a body, and drop the oldest uploads until the rest fit in the memory limit."""
        upload.data += piece
        if len(upload.data) > self._max_bytes:
            raise BodyTooLargeError(f"The body is too large. At most {self._max_bytes:,} bytes are allowed.")
        while sum(len(other.data) for other in self._uploads) > self._max_total:
            next(other for other in self._uploads if other.arriving).drop()


def _dropped_error() -> BusyError:
    return BusyError("The server is receiving too much at once. Try again in a moment.")
