"""What the pages of other sites can do with the page for marks, in a real browser: nothing.

They are given its address with the token, which they could not know.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest

from tests.browser import chromium
from tests.local_client import call
from vipcli.picking.browser import BrowserPicker
from vipcli.picking.canvas import Canvas, PlacedMarks
from vipcli.pictures.images import open_picture

NAMES = ("127.0.0.1", "localhost")

# What a page tries with the address of the one for marks; each attempt returns what it has got, if anything.
ATTEMPTS = {
    "read the page": "url => fetch(url).then(answer => answer.text())",
    "read the script": "url => fetch(url + 'picker.js').then(answer => answer.text())",
    "read a message": "url => post(url + 'api/start', '{}', 'application/json')",
    "read the picture": "url => post(url + 'api/picture', '{\"picture\": 0}', 'application/json')",
    "place marks": "url => post(url + 'api/done', '{\"marks\": []}', 'application/json')",
}
# The same for requests that a browser sends without asking, whose answers other sites cannot read.
BLIND = {
    "text": "url => post(url + 'api/done', '{\"marks\": []}', 'text/plain')",
    "no type": "url => fetch(url + 'api/done', {method: 'POST', body: new Blob(['{\"marks\": []}'])})",
    "opaque": """url => fetch(url + 'api/done', {method: 'POST', mode: 'no-cors', body: '{"marks": []}',
        headers: {'Content-Type': 'application/json'}})""",
    "beacon": "url => navigator.sendBeacon(url + 'api/leave', '{}')",
    "typed beacon": """url => navigator.sendBeacon(url + 'api/leave',
        new Blob(['{}'], {type: 'application/json'}))""",
    "get": "url => fetch(url + 'api/leave', {mode: 'no-cors'})",
    "form": """url => new Promise(resolve => {
        const form = document.createElement('form'), field = document.createElement('input');
        const frame = document.createElement('iframe');
        Object.assign(frame, {name: 'target', onload: resolve});
        Object.assign(form, {method: 'POST', enctype: 'text/plain', target: 'target'});
        form.action = url + 'api/leave';
        Object.assign(field, {name: '{"a":"', value: '"}'});
        form.append(field);
        document.body.append(frame, form);
        form.submit();
    })""",
}
IMPORT = "url => import(url + 'picker.js').then(module => Object.keys(module))"
POST = """window.post = (url, body, type) =>
    fetch(url, {method: 'POST', body, headers: {'Content-Type': type}}).then(answer => answer.text())"""


class _Foreign(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        content = b"<!doctype html><title>Another site</title><link rel=icon href=data:,><body>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The port of another site."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as started:
        yield started


@pytest.fixture
def picker() -> Iterator[BrowserPicker]:
    with BrowserPicker(Canvas([open_picture(np.zeros((60, 80, 3), np.uint8))])) as started:
        yield started


@contextmanager
def tab(browser: Any, address: str) -> Iterator[Any]:
    context = browser.new_context()
    page = context.new_page()
    page.goto(address)
    page.evaluate(POST)
    yield page
    context.close()


def attempt(page: Any, script: str, url: str) -> str | None:
    """What a script gets; None if the browser keeps it from it."""
    got = page.evaluate(f"url => ({script})(url).then(String, () => null)", url)
    return None if got is None else str(got)


def addresses(picker: BrowserPicker, port: int) -> Iterator[tuple[str, str]]:
    """Of another site and of the page for marks, by all names of this machine."""
    for other in NAMES:
        for own in NAMES:
            yield f"http://{other}:{port}/", picker.url.replace("127.0.0.1", own)


def assert_untouched(picker: BrowserPicker) -> None:
    """Nobody has placed marks, and nobody has left."""
    assert call(picker, "done", {"marks": []}).json == {}


def test_its_own_page_can_do_all_this(browser: Any, picker: BrowserPicker) -> None:
    with tab(browser, picker.url) as page:
        got = {name: attempt(page, script, picker.url) for name, script in ATTEMPTS.items()}
        assert all(got.values())
        assert "<!doctype html>" in str(got["read the page"])
        assert got["place marks"] == "{}"
    assert picker.wait() == PlacedMarks(())


def test_other_sites_read_nothing_and_place_no_marks(browser: Any, picker: BrowserPicker, port: int) -> None:
    for other, own in addresses(picker, port):
        with tab(browser, other) as page:
            assert {name: attempt(page, script, own) for name, script in ATTEMPTS.items()} == dict.fromkeys(
                ATTEMPTS
            )
            for script in BLIND.values():
                page.evaluate(f"url => Promise.resolve(({script})(url)).catch(() => null)", own)
            page.wait_for_timeout(100)
    assert_untouched(picker)


def test_its_own_page_could_leave(browser: Any, picker: BrowserPicker) -> None:
    with tab(browser, picker.url) as page:
        page.evaluate("url => post(url + 'api/leave', '{}', 'application/json')", picker.url)
    assert "error" in call(picker, "done", {"marks": []}).json


def test_no_other_site_embeds_the_page(browser: Any, picker: BrowserPicker, port: int) -> None:
    embed = """url => new Promise(resolve => {
        const frame = document.createElement('iframe');
        Object.assign(frame, {src: url, onload: resolve, onerror: resolve});
        document.body.append(frame);
    })"""
    for other, own in addresses(picker, port):
        with tab(browser, other) as page:
            page.evaluate(embed, own)
            page.frames[1].wait_for_url("chrome-error:**")
            page.evaluate(embed, other)
            page.frames[2].wait_for_url(other)
    assert not picker.shown.is_set()


def test_no_other_site_loads_parts_of_the_page(browser: Any, picker: BrowserPicker, port: int) -> None:
    load = """([tag, attribute, url, type]) => new Promise(resolve => {
        const element = Object.assign(document.createElement(tag), {rel: 'stylesheet', [attribute]: url});
        if (type) element.type = type;
        Object.assign(element, {onload: () => resolve(true), onerror: () => resolve(false)});
        document.head.append(element);
    })"""
    parts = [
        ("script", "src", "picker.js", ""),
        ("script", "src", "picker.js", "module"),
        ("link", "href", "picker.css", ""),
    ]
    for other, own in addresses(picker, port):
        with tab(browser, other) as page:
            for tag, attribute, name, type in parts:
                assert page.evaluate(load, [tag, attribute, own + name, type]) is False
            assert attempt(page, IMPORT, own) is None
    with tab(browser, picker.url) as page:
        assert attempt(page, IMPORT, picker.url)


def test_no_other_site_holds_on_to_a_window_with_the_page(
    browser: Any, picker: BrowserPicker, port: int
) -> None:
    for other, own in addresses(picker, port):
        with tab(browser, other) as page:
            with page.expect_popup() as popup:
                page.evaluate("url => { window.opened = open(url); }", own)
            popup.value.wait_for_selector("main")
            assert popup.value.evaluate("window.opener") is None
            page.wait_for_function("() => window.opened.closed")
    assert_untouched(picker)
