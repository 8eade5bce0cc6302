"""Fetch from the network within limits of size and time."""

from __future__ import annotations

import io
import socket
import ssl
import zlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from vipcli.errors import ImageError

if TYPE_CHECKING:
    import httpx

# The most that is taken from the network or a pipe, neither of which need ever end.
MAX_BYTES = 256 * 2**20
# Seconds: for a server to connect or to send something, and for the whole fetch, redirects included.
TIMEOUT = 30.0
DEADLINE = 4 * TIMEOUT
MAX_REDIRECTS = 5
# Decompressed bytes taken at a time: a response of a few kilobytes can expand to gigabytes.
_PIECE = 2**16
# For zlib: expect either a gzip or a zlib header.
_ANY_HEADER = zlib.MAX_WBITS | 32


def fetch(url: str, label: str) -> io.BytesIO:
    """Download an address, called `label` in messages, within the limits of size and time."""
    # Slow to import, and most pictures are files.
    import asyncio

    import httpx

    async def download() -> io.BytesIO:
        # Only cancelling a task gets rid of a server that sends its response, or its headers, byte by byte.
        async with asyncio.timeout(DEADLINE), _client(label) as client:
            return await _follow(client, url, label)

    try:
        return _run(download)
    except (TimeoutError, httpx.TimeoutException) as error:
        raise ImageError(f"{label} cannot be fetched: the server is too slow.", "Try again later.") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
        # The password in a malformed address may have gone unrecognized, so the label may still show it.
        name = label if "@" not in url else "The address"
        raise ImageError(
            f"{name} does not lead to an http or https address.", "Check how it is written."
        ) from error
    # A port number that is too large raises a group of errors in a lower layer.
    except (httpx.HTTPError, zlib.error, OSError, OverflowError, ExceptionGroup) as error:
        raise _fetch_error(error, label) from error


def _run(download: Callable[[], Coroutine[Any, Any, io.BytesIO]]) -> io.BytesIO:
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(download())
    # A notebook runs a loop in this thread already, and a thread can run only one.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(download())).result()


def _client(label: str) -> httpx.AsyncClient:
    import httpx

    # Pictures are compressed already.
    headers = {"User-Agent": "vipcli", "Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}
    try:
        return httpx.AsyncClient(timeout=TIMEOUT, headers=headers)
    except (httpx.InvalidURL, ImportError, OSError, ValueError) as error:
        raise ImageError(
            f"{label} cannot be fetched: a proxy or certificate named in the environment cannot be used.",
            "Check HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and SSL_CERT_FILE.",
        ) from error


async def _follow(client: httpx.AsyncClient, url: str, label: str) -> io.BytesIO:
    """The body at the end of the redirects; bodies on the way, of any length, are left unread."""
    request = client.build_request("GET", url)
    for _ in range(MAX_REDIRECTS + 1):
        response = await client.send(request, stream=True)
        try:
            if response.next_request is None:
                return await _read_body(response, label)
            request = response.next_request
        finally:
            await response.aclose()
    raise ImageError(f"{label} cannot be fetched: it is redirected too many times.")


async def _read_body(response: httpx.Response, label: str) -> io.BytesIO:
    if not response.is_success:
        raise _status_error(response.status_code, label)
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > MAX_BYTES:
        raise _too_large(label)
    buffer = io.BytesIO()
    inflate = _decompressor(response.headers.get("Content-Encoding", ""), label)
    # httpx would expand a whole chunk before its size could be checked.
    async for chunk in response.aiter_raw():
        if inflate is None:
            append_limited(buffer, chunk, label)
            continue
        while chunk and not inflate.eof:
            append_limited(buffer, inflate.decompress(chunk, _PIECE), label)
            chunk = inflate.unconsumed_tail
    if inflate is not None:
        append_limited(buffer, inflate.flush(), label)
    return buffer


def _decompressor(encoding: str, label: str) -> zlib._Decompress | None:
    """What expands a response that a server compresses unasked; None where it does not."""
    match encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip" | "deflate":
            return zlib.decompressobj(_ANY_HEADER)
        case _:
            raise ImageError(
                f"{label} cannot be fetched: the server compresses it as {encoding[:40]!r}.",
                "Download it with a browser, and name the file.",
            )


def _status_error(code: int, label: str) -> ImageError:
    advice = None
    match code:
        case 401 | 403:
            meaning = " (access denied)"
        case 404 | 410:
            meaning = " (not found)"
        case 429:
            meaning, advice = " (too many requests)", "Wait a while and try again."
        case code if code >= 500:
            meaning, advice = " (server error)", "Try again later."
        case _:
            meaning = " instead of a picture"
    return ImageError(f"{label} cannot be fetched: the server answered {code}{meaning}.", advice)


def _fetch_error(error: BaseException, label: str) -> ImageError:
    """The error for a network failure; it states the first of its causes that a person would understand."""
    reason, advice = "the connection failed or was cut off", "Try again."
    cause: BaseException | None = error
    while cause is not None:
        if known := _known_cause(cause):
            reason, advice = known
            break
        cause = cause.__cause__ or cause.__context__
    return ImageError(f"{label} cannot be fetched: {reason}.", advice)


def _known_cause(error: BaseException) -> tuple[str, str] | None:
    match error:
        case socket.gaierror():
            return "no server of that name can be found", "Check the name and the network."
        case ssl.SSLError():
            return "a secure connection cannot be made", "Perhaps its certificate is not trusted."
        case ConnectionRefusedError():
            return "the server refuses the connection", "Check the address and its port."
        case zlib.error():
            return "its compression is damaged", "Try again later."
    return None


def append_limited(buffer: io.BytesIO, chunk: bytes, label: str) -> None:
    """Append a chunk from a source called `label`, or fail where the source sends too much."""
    if buffer.tell() + len(chunk) > MAX_BYTES:
        raise _too_large(label)
    buffer.write(chunk)


def _too_large(label: str) -> ImageError:
    return ImageError(
        f"{label} sends more than {MAX_BYTES // 2**20} MiB, which is too much for a picture.",
        "Save it as a file and name that.",
    )
