"""What comes from outside this machine's files, the network above all, within limits of size and time."""

from __future__ import annotations

import io
import socket
import ssl
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from vipcli.errors import ImageError

if TYPE_CHECKING:
    import httpx

# The most that is taken from the network or a pipe, neither of which need ever end.
MAX_BYTES = 256 * 2**20
# Seconds: for a server to connect or to send something, and for a whole download.
TIMEOUT = 30.0
DEADLINE = 4 * TIMEOUT
MAX_REDIRECTS = 5
_PIECE = 2**20


def fetch(url: str, shown: str) -> io.BytesIO:
    """What lies at an address, called `shown` in messages, within the limits of size and time."""
    # Slow to import, and most pictures are files.
    import asyncio

    import httpx

    async def limited() -> io.BytesIO:
        # Only a cancelled task leaves a server that drips its answer, or even its headers, for ever.
        async with asyncio.timeout(DEADLINE), _client(shown) as client:
            return await _follow(client, url, shown)

    try:
        return asyncio.run(limited())
    except (TimeoutError, httpx.TimeoutException) as error:
        raise ImageError(f"{shown} cannot be fetched: the server is too slow. Try again later.") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
        # Cut at the wrong places, an address can show its password.
        named = shown if "@" not in url else "The address"
        raise ImageError(
            f"{named} does not lead to an http or https address. Check how it is written."
        ) from error
    # A port beyond all ports comes back as a group of errors from the layers below.
    except (httpx.HTTPError, OSError, OverflowError, ExceptionGroup) as error:
        raise ImageError(f"{shown} cannot be fetched: {_why_unfetched(error)}.") from error


def _client(shown: str) -> httpx.AsyncClient:
    import httpx

    # Pictures are compressed already.
    headers = {"User-Agent": "vipcli", "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    try:
        return httpx.AsyncClient(timeout=TIMEOUT, headers=headers)
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        raise ImageError(
            f"{shown} cannot be fetched: a proxy or certificate named in the environment cannot be used. "
            "Look at HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE."
        ) from error


async def _follow(client: httpx.AsyncClient, url: str, shown: str) -> io.BytesIO:
    """The body at the end of the redirects; those on the way, of any length, are left unread."""
    request = client.build_request("GET", url)
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return await _body(response, shown)
            request = response.next_request
        finally:
            await response.aclose()
    raise ImageError(f"{shown} cannot be fetched: it is redirected again and again.")


async def _body(response: httpx.Response, shown: str) -> io.BytesIO:
    if not response.is_success:
        raise ImageError(f"{shown} cannot be fetched: the server answered {_status(response.status_code)}.")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise _too_large(shown)
    buffer = io.BytesIO()
    expand = _expander(response.headers.get("Content-Encoding", "identity"), shown)
    async for chunk in response.aiter_raw():
        for piece in expand(chunk):
            append_limited(buffer, piece, shown)
    return buffer


def _expander(encoding: str, shown: str) -> Callable[[bytes], Iterable[bytes]]:
    """What turns raw chunks of a body into plain ones, a bounded piece at a time."""
    match encoding.strip().lower():
        case "identity" | "":
            return lambda chunk: (chunk,)
        case "gzip" | "x-gzip" | "deflate":
            # A few bytes may expand to gigabytes; the caller stops before they are all in memory.
            return partial(_expanded, zlib.decompressobj(zlib.MAX_WBITS | 32), shown)
        case other:
            raise ImageError(f"{shown} cannot be fetched: the server sends it compressed ({other[:40]}).")


def _expanded(decoder: zlib._Decompress, shown: str, chunk: bytes) -> Iterator[bytes]:
    try:
        while chunk and not decoder.eof:
            yield decoder.decompress(chunk, _PIECE)
            chunk = decoder.unconsumed_tail
    except zlib.error as error:
        raise ImageError(
            f"{shown} cannot be fetched: its compression is damaged. Try again later."
        ) from error


def _status(code: int) -> str:
    match code:
        case 401 | 403:
            return f"{code}, it does not let everyone have it"
        case 404 | 410:
            return f"{code}, there is nothing at this address"
        case 429:
            return f"{code}, it was asked too often. Wait a while"
        case code if code >= 500:
            return f"{code}, it is in trouble itself. Try again later"
        case _:
            return f"{code} instead of a picture"


def _why_unfetched(error: BaseException) -> str:
    """The first cause of a network error that says something to a person."""
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case socket.gaierror():
                return "no server of that name can be found. Check the name and the network"
            case ssl.SSLError():
                return "a secure connection cannot be made, perhaps because its certificate is not trusted"
            case ConnectionRefusedError():
                return "the server refuses the connection"
        cause = cause.__cause__ or cause.__context__
    return "the connection failed or broke off. Try again"


def append_limited(buffer: io.BytesIO, chunk: bytes, shown: str) -> None:
    """Take in one more piece of a source called `shown`, which may not be endless."""
    if buffer.tell() + len(chunk) > MAX_BYTES:
        raise _too_large(shown)
    buffer.write(chunk)


def _too_large(shown: str) -> ImageError:
    return ImageError(
        f"{shown} sends more than {MAX_BYTES // 2**20} MiB, which is too much for a picture. "
        "Save it as a file and name that."
    )
