"""A command that waits for marks from a page: pages that come, go, place marks and leave."""

from __future__ import annotations

import getpass
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.local_client import ask, call, path, stream
from vipcli.errors import Message, UsageError
from vipcli.marks.kinds import UnplacedMark, parse_mark
from vipcli.picking import browser
from vipcli.picking.browser import (
    BrowserPicker,
    can_open_browser,
    forwarding_hint,
    open_page,
)
from vipcli.picking.canvas import Canvas, PickingCancelled, PlacedMarks
from vipcli.pictures.images import open_picture

BOX = {"slot": 0, "kind": "box", "text": "1,2,30,40"}
BOX_MARK = parse_mark("box", "1,2,30,40")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "ALIVE_EVERY", 0.02)
    monkeypatch.setattr(browser, "GONE_AFTER", 0.4)


def picker(**options: Any) -> BrowserPicker:
    picture = open_picture(np.zeros((60, 80, 3), np.uint8))
    return BrowserPicker(Canvas([picture], [UnplacedMark("box")]), **options)


class Tab:
    """A page that is open: what its stream tells it."""

    def __init__(self, picker: BrowserPicker, page: str | None) -> None:
        self._picker = picker
        self._page = {} if page is None else {"page": page}
        self.told: list[Any] = []
        self._closing = threading.Event()
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def _listen(self) -> None:
        with stream(self._picker, "events", self._page) as response:
            while not self._closing.is_set() and (line := response.readline()):
                self._opened.set()
                if json.loads(line):
                    self.told.append(json.loads(line))

    def __enter__(self) -> Tab:
        self._thread.start()
        assert self._opened.wait(5)
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.set()
        self._thread.join(5)
        assert not self._thread.is_alive()

    def to_the_end(self) -> list[Any]:
        """What it is told until the stream ends by itself."""
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self.told

    def done(self, *marks: Any, **message: Any) -> Any:
        return call(self._picker, "done", {"marks": list(marks or [BOX]), **self._page, **message}).json


@contextmanager
def waiting(picker: BrowserPicker) -> Iterator[list[Any]]:
    """Wait for marks in a thread; the list receives them, or the reason why there are none."""
    outcome: list[Any] = []

    def wait() -> None:
        try:
            outcome.append(picker.wait())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield outcome
    thread.join(10)
    assert not thread.is_alive()


# From the page to the answer


def test_marks_and_then_the_answer() -> None:
    with picker(asks=True) as shown, Tab(shown, "a") as tab:
        assert not shown.shown.is_set()
        assert call(shown, "start", {}).json["asks"] is True
        assert not shown.shown.is_set()
        assert call(shown, "picture", {"picture": 0}).body[8:12] == b"WEBP"
        assert shown.shown.is_set()
        with waiting(shown) as outcome:
            assert tab.done(question="What?") == {}
        assert outcome == [PlacedMarks((BOX_MARK,), (), "What?")]
        shown.text("A ")
        shown.text("box.")
        shown.answer("A box.", [Message("It is small.", "Use {fit=pad}."), "It is black."])
        notes = ['It is small. Use fit="pad".', "It is black."]
        assert tab.to_the_end() == [{"text": "A "}, {"text": "box."}, {"answer": "A box.", "notes": notes}]


def test_the_page_is_that_of_the_package() -> None:
    with picker() as shown:
        assert ask(shown, "GET", path(shown)).body == (browser.PAGE / "index.html").read_bytes()
        for file in browser.PAGE.iterdir():
            if file.name != "index.html":
                assert ask(shown, "GET", path(shown, file.name)).body == file.read_bytes()


def test_marks_that_are_wrong_can_be_put_right() -> None:
    with picker() as shown, Tab(shown, "a") as tab, waiting(shown) as outcome:
        assert "outside" in tab.done({**BOX, "text": "100,100,200,200"})["error"]
        assert not outcome
        assert tab.done() == {}
    assert outcome == [PlacedMarks((BOX_MARK,))]


def test_marks_are_placed_once() -> None:
    with picker() as shown, Tab(shown, "a") as tab:
        assert tab.done() == {}
        refused = tab.done({**BOX, "text": "5,6,7,8"})
        assert refused == {"error": "The marks were placed already. Close this page."}
        assert shown.wait() == PlacedMarks((BOX_MARK,))


def test_all_is_told_however_late_the_page_listens() -> None:
    with picker() as shown:
        assert call(shown, "done", {"marks": [BOX], "page": "a"}).json == {}
        shown.text("A ")
        with Tab(shown, "a") as tab:
            shown.text("box.")
            shown.answer("A box.")
            expected = [{"text": "A "}, {"text": "box."}, {"answer": "A box.", "notes": []}]
            assert tab.to_the_end() == expected


# How it ends


def test_a_command_without_an_answer_closes_the_page() -> None:
    with ExitStack() as stack:
        with picker(task="draw") as shown:
            tab = stack.enter_context(Tab(shown, "a"))
            assert tab.done() == {}
            shown.wait()
            started = time.monotonic()
        assert time.monotonic() - started < 0.9
        assert tab.to_the_end() == [{"closed": True}]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UsageError("It is cropped.", "Use {fit=pad}."), {"error": "It is cropped. Use -fit pad."}),
        (KeyboardInterrupt(), {"closed": True}),
        (RuntimeError("a secret"), {"closed": True}),
    ],
)
def test_a_command_that_fails_says_so_on_the_page(error: BaseException, told: dict[str, Any]) -> None:
    with ExitStack() as stack:
        with pytest.raises(type(error)), picker(spelling=lambda name, value: f"-{name} {value}") as shown:
            tab = stack.enter_context(Tab(shown, "a"))
            tab.done()
            shown.text("A")
            raise error
        assert tab.to_the_end() == [{"text": "A"}, told]


def test_an_error_that_was_told_is_the_end() -> None:
    with picker() as shown, Tab(shown, "a") as tab:
        tab.done()
        shown.fail("There is no answer.")
        shown.answer("A box.")
        assert tab.to_the_end() == [{"error": "There is no answer."}]


def test_after_the_end_nobody_listens() -> None:
    with picker() as shown:
        assert ask(shown, "GET", path(shown)).status == 200
    with pytest.raises(ConnectionRefusedError):
        ask(shown, "GET", path(shown))


def test_a_page_that_does_not_listen_does_not_hold_up_the_command() -> None:
    with (
        picker() as shown,
        socket.create_connection(("127.0.0.1", int(shown.url.split(":")[2].split("/")[0]))),
    ):
        shown.text("x" * 10_000_000)
        started = time.monotonic()
    assert time.monotonic() - started < 3


def test_the_person_leaves() -> None:
    with picker() as shown, Tab(shown, "a") as tab:
        with waiting(shown) as outcome:
            assert call(shown, "leave", {}).json == {}
        assert isinstance(outcome[0], PickingCancelled)
        assert isinstance(outcome[0], KeyboardInterrupt)
        assert "error" in tab.done()


def test_leaving_after_the_marks_changes_nothing() -> None:
    with picker() as shown, Tab(shown, "a") as tab:
        tab.done()
        call(shown, "leave", {})
        assert shown.wait() == PlacedMarks((BOX_MARK,))


def test_ctrl_c_while_waiting() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, picker() as shown:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        started = time.monotonic()
        shown.wait()
    assert time.monotonic() - started < 2
    assert not isinstance(caught.value, PickingCancelled)


# Tabs


def test_a_closed_tab() -> None:
    with picker() as shown, waiting(shown) as outcome, Tab(shown, "a"):
        time.sleep(0.8)
        assert not outcome
    assert isinstance(outcome[0], PickingCancelled)


def test_no_tab_yet() -> None:
    with picker() as shown, waiting(shown) as outcome:
        call(shown, "start", {})
        time.sleep(0.8)
        assert not outcome
        call(shown, "leave", {})


def test_a_reload_begins_anew() -> None:
    with picker() as shown, waiting(shown) as outcome:
        with Tab(shown, "a"):
            pass
        time.sleep(0.1)
        with Tab(shown, "b") as tab:
            time.sleep(0.8)
            assert not outcome
            assert tab.told == []
            assert tab.done() == {}
    assert outcome == [PlacedMarks((BOX_MARK,))]


def test_one_of_two_tabs_is_closed() -> None:
    with picker() as shown, waiting(shown) as outcome:
        with Tab(shown, "a"), Tab(shown, "b"):
            pass
        with Tab(shown, "c") as tab:
            with Tab(shown, "d"):
                pass
            time.sleep(0.8)
            assert not outcome
            tab.done()


def test_the_first_of_two_tabs_wins() -> None:
    with picker() as shown, Tab(shown, "a") as first, Tab(shown, "b") as second:
        assert second.done() == {}
        assert first.to_the_end() == [{"closed": True}]
        assert first.done()["error"].startswith("The marks were placed already.")
        shown.answer("A box.")
        assert second.to_the_end() == [{"answer": "A box.", "notes": []}]
        with Tab(shown, "c") as late:
            assert late.to_the_end() == [{"closed": True}]


def test_a_page_without_a_name() -> None:
    with picker() as shown, Tab(shown, None) as tab, Tab(shown, "b") as other:
        assert tab.done() == {}
        assert other.to_the_end() == [{"closed": True}]
        shown.answer("A box.")
        assert tab.to_the_end() == [{"answer": "A box.", "notes": []}]


def test_a_tab_that_is_closed_before_the_answer_does_not_end_the_command() -> None:
    with picker() as shown:
        with Tab(shown, "a") as tab:
            tab.done()
        time.sleep(0.6)
        assert shown.wait() == PlacedMarks((BOX_MARK,))
        shown.answer("A box.")


@pytest.mark.parametrize("message", [None, [], "x", {"page": 5}, {"page": ["a"]}])
def test_streams_that_name_no_page(message: Any) -> None:
    with picker() as shown:
        shown.fail("No.")
        with stream(shown, "events", message) as response:
            assert [json.loads(line) for line in response if json.loads(line)] == [{"error": "No."}]


# Browsers


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Programs that write down their arguments, in a folder that alone is searched."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY", "WSL_INTEROP", "SSH_CONNECTION"):
        monkeypatch.delenv(name, raising=False)

    def make(*names: str) -> Path:
        for name in names:
            program = folder / name
            program.write_text(
                f'#!/bin/sh\necho noise; echo noise >&2\necho "{name} $*" > {tmp_path}/opened.part\n'
                f"/bin/mv {tmp_path}/opened.part {tmp_path}/opened\n"
            )
            program.chmod(0o755)
        return tmp_path / "opened"

    return make


def opened(file: Path) -> str:
    deadline = time.monotonic() + 5
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return file.read_text().strip()


posix_only = pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="browsers of other systems")


@posix_only
@pytest.mark.parametrize(
    ("installed", "environment", "expected"),
    [
        (("xdg-open",), {"DISPLAY": ":0"}, "xdg-open URL"),
        (("firefox", "xdg-open"), {"WAYLAND_DISPLAY": "wayland-0"}, "xdg-open URL"),
        (("gio",), {"DISPLAY": ":0"}, "gio open URL"),
        (("firefox",), {"DISPLAY": ":0"}, "firefox URL"),
        (("mine",), {"BROWSER": "mine"}, "mine URL"),
        (("mine",), {"BROWSER": "missing:mine --new %s &"}, "mine --new URL"),
        (("mine", "xdg-open"), {"BROWSER": "mine 'quoted word'", "DISPLAY": ":0"}, "mine quoted word URL"),
        (("w3m", "mine"), {"BROWSER": "w3m:mine"}, "mine URL"),
        (("explorer.exe",), {"WSL_INTEROP": "/run/WSL/1_interop"}, "explorer.exe URL"),
        (("xdg-open",), {"WSL_INTEROP": "/run/WSL/1_interop", "DISPLAY": ":0"}, "xdg-open URL"),
        (("xdg-open",), {"DISPLAY": ":0", "BROWSER": "'unclosed"}, "xdg-open URL"),
        (("w3m", "xdg-open"), {"BROWSER": "w3m", "DISPLAY": ":0"}, "xdg-open URL"),
    ],
)
def test_a_browser_is_opened(
    programs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    installed: tuple[str, ...],
    environment: dict[str, str],
    expected: str,
) -> None:
    file = programs(*installed)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert can_open_browser(os.environ)
    assert open_page("http://127.0.0.1:1/x/")
    assert opened(file) == expected.replace("URL", "http://127.0.0.1:1/x/")
    time.sleep(0.05)
    assert capfd.readouterr() == ("", "")


@posix_only
@pytest.mark.parametrize(
    ("installed", "environment"),
    [
        (("xdg-open", "firefox"), {}),
        (("xdg-open",), {"DISPLAY": ""}),
        ((), {"DISPLAY": ":0"}),
        ((), {"BROWSER": "missing"}),
        (("w3m", "lynx", "links", "www-browser"), {"DISPLAY": ":0"}),
        (("w3m", "lynx"), {"BROWSER": "w3m:lynx %s"}),
        ((), {"BROWSER": "", "WSL_INTEROP": "/run/WSL/1_interop"}),
    ],
)
def test_no_browser_can_be_opened(
    programs: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    installed: tuple[str, ...],
    environment: dict[str, str],
) -> None:
    file = programs(*installed)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert not can_open_browser(os.environ)
    assert not open_page("http://127.0.0.1:1/x/")
    time.sleep(0.05)
    assert not file.exists()


@posix_only
def test_a_text_browser_by_another_name_is_not_opened(
    programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = programs("w3m").parent / "bin"
    (folder / "my-browser").symlink_to(folder / "w3m")
    monkeypatch.setenv("BROWSER", "my-browser")
    assert not can_open_browser(os.environ)


@posix_only
def test_a_browser_that_cannot_run(programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = programs("mine").parent / "bin"
    (folder / "mine").write_text("#!/nowhere/sh\n")
    monkeypatch.setenv("BROWSER", "mine")
    assert not open_page("http://127.0.0.1:1/x/")


@posix_only
def test_a_browser_that_keeps_running_holds_nothing_up(
    programs: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = programs("mine").parent / "bin"
    (folder / "mine").write_text(
        f"#!/bin/sh\n/bin/ps -o sid= -p $$ > {tmp_path}/session 2>/dev/null; echo $$ > {tmp_path}/opened\n"
        "exec /bin/sleep 30\n"
    )
    monkeypatch.setenv("BROWSER", "mine")
    started = time.monotonic()
    assert open_page("http://127.0.0.1:1/x/")
    assert time.monotonic() - started < 5
    deadline = time.monotonic() + 5
    while not (tmp_path / "opened").exists() or not (tmp_path / "opened").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process = int((tmp_path / "opened").read_text())
    # A session of its own has no terminal, and no Ctrl-C.
    assert os.getsid(process) == process
    os.kill(process, signal.SIGTERM)


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert can_open_browser({})
    assert not can_open_browser({"SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 22", "DISPLAY": ":0"})
    monkeypatch.setattr(sys, "platform", "win32")
    assert can_open_browser({})
    assert not can_open_browser({"SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 22"})


@pytest.mark.parametrize(
    ("connection", "expected"),
    [
        ("10.0.0.9 5000 10.0.0.5 22", "ssh -L 8123:127.0.0.1:8123 ann@10.0.0.5"),
        ("10.0.0.9 5000 fd00::5 2222", "ssh -L 8123:127.0.0.1:8123 -p 2222 ann@fd00::5"),
        ("", f"ssh -L 8123:127.0.0.1:8123 ann@{socket.gethostname()}"),
        ("nonsense", f"ssh -L 8123:127.0.0.1:8123 ann@{socket.gethostname()}"),
    ],
)
def test_how_to_reach_the_page_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch, connection: str, expected: str
) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ann")
    assert forwarding_hint("http://127.0.0.1:8123/x/", {"SSH_CONNECTION": connection}) == expected


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr(getpass, "getuser", unknown)
    environment = {"SSH_CONNECTION": "10.0.0.9 5000 10.0.0.5 22"}
    assert forwarding_hint("http://127.0.0.1:8123/x/", environment) == "ssh -L 8123:127.0.0.1:8123 10.0.0.5"


# As a program of its own


def test_it_imports_nothing_heavy() -> None:
    code = "import sys, vipcli.picking.browser; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    heavy = {"torch", "transformers", "uvicorn", "starlette", "pydantic", "httpx", "asyncio", "webbrowser"}
    assert not heavy & set(loaded.split())
