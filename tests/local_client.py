"""A client for the server of a page, which sends what a test tells it to."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit


class Served(Protocol):
    """What has the address of a page."""

    @property
    def url(self) -> str: ...


def port(server: Served) -> int:
    found = urlsplit(server.url).port
    assert found
    return found


def path(server: Served, rest: str = "") -> str:
    return urlsplit(server.url).path + rest


class Answered:
    """A response that has been read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def ask(server: Served, method: str, target: str, body: bytes | None = None, **headers: str) -> Answered:
    """Send one request; underscores in the names of headers stand for hyphens."""
    client = http.client.HTTPConnection("127.0.0.1", port(server), timeout=10)
    try:
        client.request(method, target, body, {name.replace("_", "-"): text for name, text in headers.items()})
        return Answered(client.getresponse())
    finally:
        client.close()


def call(server: Served, name: str, message: Any = None, **headers: str) -> Answered:
    headers = {"Content_Type": "application/json", **headers}
    return ask(server, "POST", path(server, f"api/{name}"), json.dumps(message).encode(), **headers)


@contextmanager
def stream(server: Served, name: str, message: Any = None) -> Iterator[http.client.HTTPResponse]:
    client = http.client.HTTPConnection("127.0.0.1", port(server), timeout=10)
    body = json.dumps(message)
    try:
        client.request("POST", path(server, f"api/{name}"), body, {"Content-Type": "application/json"})
        with client.getresponse() as response:
            yield response
    finally:
        client.close()
