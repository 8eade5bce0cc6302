"""The resident model: warm questions, conversations, OpenAI's client, and what must not bring it down."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import openai
import pexpect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.scripted import ScriptedAnswerer
from tests.tiny import make_endless, make_vipllava
from vipcli import __version__
from vipcli.asking.interface import Halted, OnText, Reply, Request, Setup
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.checkpoints import lookup
from vipcli.engine.local import LocalModel
from vipcli.marks.kinds import parse_mark
from vipcli.pictures.images import load_picture
from vipcli.serving import handoff
from vipcli.serving.client import Fallback, GoneError, Held

SHAPES = Path(__file__).parent.parent / "samples" / "shapes.png"
ASK = ("ask", str(SHAPES), "Which number is {1}?", "--box", "8%,36%,31%,66%")
USED = "note: Answered by the running server: bundled on cpu.\n"


@dataclass
class Server:
    """A server of its own, with the folder that it is found by."""

    process: subprocess.Popen[str]
    told: dict[str, Any]
    environment: dict[str, str]

    def vipcli(self, *arguments: str, lines: str | None = None) -> subprocess.CompletedProcess[str]:
        return run(*arguments, environment=self.environment, lines=lines)


def run(
    *arguments: str, environment: dict[str, str], lines: str | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vipcli", *arguments],
        env=environment,
        cwd=folder,
        input=lines,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@contextlib.contextmanager
def serving(*arguments: str, folder: Path | None = None) -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="vipcli-") as runtime:
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime, "VIPCLI_TOKEN": "secret"}
        process = subprocess.Popen(
            [sys.executable, "-m", "vipcli", "serve", "--json", *arguments],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        assert line, process.stderr.read()
        try:
            yield Server(process, json.loads(line), environment)
        finally:
            process.terminate()
            process.communicate(timeout=30)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--port", "0", "--waiting", "100") as server:
        yield server


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.told["address"], api_key="secret", max_retries=0)


# --------------------------------------------------------------------------- this person's own commands


def test_ask_uses_it_and_says_so(server: Server) -> None:
    done = server.vipcli(*ASK, "-v")
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert done.stderr.startswith(USED)
    assert server.vipcli(*ASK).stderr == ""


@pytest.mark.parametrize("arguments", [("--no-server",), ("--dtype", "bfloat16")])
def test_ask_loads_what_the_server_does_not_hold(server: Server, arguments: tuple[str, ...]) -> None:
    done = server.vipcli(*ASK, "-v", *arguments)
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert "running server" not in done.stderr


def test_a_warm_question_is_the_cold_one(server: Server, tmp_path: Path) -> None:
    for arguments in (
        (*ASK, "--json", "--save-marked", str(tmp_path / "marked.png")),
        (*ASK, "--json", "--temperature", "0.8", "--seed", "3"),
        (*ASK, "--dry-run"),
        (*ASK[:2], "--box", "1,2"),
        ("ask", "nothing.png"),
        ("ask", str(SHAPES), "one", "two"),
    ):
        warm, cold = server.vipcli(*arguments), server.vipcli(*arguments, "--no-server")
        assert (warm.returncode, warm.stderr) == (cold.returncode, cold.stderr)
        if "--json" not in arguments:
            assert warm.stdout == cold.stdout
            continue
        told, expected = (json.loads(done.stdout) for done in (warm, cold))
        for one in (told, expected):
            del one["seconds"]
        # What was read for the question before may be summed in another order.
        assert told.pop("probability") == pytest.approx(expected.pop("probability"), abs=1e-5)
        assert told == expected
    assert (tmp_path / "marked.png").exists()


def test_a_warm_question_has_the_folder_streams_and_settings_of_its_command(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "here.png").write_bytes(SHAPES.read_bytes())
    command = f"cat here.png | {sys.executable} -m vipcli ask - 'Which number is {{1}}?' --box 8%,36%,31%,66%"
    done = subprocess.run(
        ["bash", "-c", f"umask 077; {command} --save-marked kept.png | tr 7 8"],
        cwd=tmp_path,
        env={**server.environment, "VIPCLI_MAX_NEW_TOKENS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("8\n", 0)
    assert (tmp_path / "kept.png").stat().st_mode & 0o777 == 0o600


def test_a_conversation_over_it_is_the_one_without(server: Server) -> None:
    lines = (
        "Which number is within the red rectangle?\n/box 8%,36%,31%,66%\nWhich number is {1}?\nWhat color?\n"
    )
    warm, cold = (
        server.vipcli("chat", str(SHAPES), *arguments, lines=lines) for arguments in ((), ("--no-server",))
    )
    assert warm.returncode == 0
    assert (warm.stdout, warm.stderr) == (cold.stdout, cold.stderr)
    assert warm.stdout.splitlines()[1:] == ["7", "green"]


def test_ctrl_c_ends_a_warm_question_and_not_the_server(server: Server) -> None:
    child = pexpect.spawn(
        "bash",
        ["-c", f"for turn in 1 2; do cat | {sys.executable} -m vipcli ask - Q; echo code $?; done"],
        env=server.environment,
        timeout=30,
        encoding="utf-8",
    )
    time.sleep(1)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert "Traceback" not in child.before
    assert server.vipcli(*ASK).stdout == "7\n"


def test_ctrl_c_is_no_error_of_the_pipe_that_it_ended_too(server: Server) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "vipcli", "ask", "-", "Q"],
        env=server.environment,
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    time.sleep(1)
    # Standing still, it learns of Ctrl-C after the server has seen the end of the pipe.
    child.send_signal(signal.SIGSTOP)
    child.stdin.close()
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGCONT)
    assert child.wait(30) == -signal.SIGINT


def test_status_and_a_second_server(server: Server) -> None:
    told = server.vipcli("serve", "--status")
    assert told.stdout.startswith("bundled on cpu, process ")
    held = json.loads(server.vipcli("serve", "--status", "--json").stdout)
    assert held["version"] == __version__ and held["setup"]["quantize"] == "none"
    second = server.vipcli("serve")
    assert second.returncode == 1
    assert "A server runs already." in second.stderr


def test_no_server_is_told() -> None:
    for asked, code in (("--status", 1), ("--stop", 0)):
        done = run("serve", asked, environment=dict(os.environ))
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "note: No server runs.\n")


def test_what_a_dead_server_left_is_cleared_away() -> None:
    with serving() as server:
        pid = json.loads(server.vipcli("serve", "--status", "--json").stdout)["pid"]
        server.process.kill()
        os.kill(pid, signal.SIGKILL)
        server.process.wait(10)
        folder = Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli"
        assert {file.name for file in folder.iterdir()} >= {"model.sock", "ask.sock"}
        assert server.vipcli(*ASK).stdout == "7\n"
        assert not (folder / "model.sock").exists()
        assert not (folder / "ask.sock").exists()


def test_stop_ends_it() -> None:
    with serving() as server:
        assert server.vipcli("serve", "--stop").stderr == "note: The server of bundled is ended.\n"
        assert server.process.wait(20) == 0
        assert list((Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli").glob("*.sock")) == []


def test_a_server_of_another_folder_by_the_same_name_is_not_asked(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        make_vipllava(tmp_path / name / "model", seed=seed)
    question = ("ask", str(SHAPES), "Q", "--model", "model", "--max-new-tokens", "4", "-v")
    with serving("--model", "model", folder=tmp_path / "one") as server:
        theirs = run(*question, environment=server.environment, folder=tmp_path / "one")
        ours = run(*question, environment=server.environment, folder=tmp_path / "two")
        assert "running server" in theirs.stderr
        assert "running server" not in ours.stderr
        assert (
            ours.stdout
            == run(*question, "--no-server", environment=server.environment, folder=tmp_path / "two").stdout
        )
        # Nor is one whose files have changed since.
        make_vipllava(tmp_path / "one" / "model", seed=2)
        changed = run(*question, environment=server.environment, folder=tmp_path / "one")
        assert "running server" not in changed.stderr


def test_modules_are_not_taken_from_the_folder_one_stands_in(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('this must not run')")
    command = str(Path(sys.executable).with_name("vipcli"))
    done = subprocess.run(
        [command, *ASK, "--keep-alive", "2s", "-v"],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr.startswith(USED)) == ("7\n", True), done.stderr


def test_what_the_server_cannot_carry_out_is_done_without(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade: the one that runs is of another version."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handoff, "__version__", "0.0.1")
    assert handoff.hand_over(list(ASK)) is None


def test_a_server_that_is_stopped_is_not_waited_for() -> None:
    with serving() as server:
        server.process.send_signal(signal.SIGSTOP)
        try:
            assert server.vipcli(*ASK).stdout == "7\n"
        finally:
            server.process.send_signal(signal.SIGCONT)


def test_a_server_says_when_its_model_was_lost() -> None:
    with serving() as server:
        os.kill(server.told["pid"], signal.SIGKILL)
        _, told = server.process.communicate(timeout=20)
        assert server.process.returncode == 1
        assert told.splitlines()[-1] == (
            "error: The process that held the model was ended (-9). Begin it again: vipcli serve."
        )


def test_what_cannot_be_served_is_told_with_its_own_exit_code() -> None:
    done = run("serve", "--device", "cuda:7", environment=dict(os.environ))
    assert done.returncode == 1
    assert "no cuda device" in done.stderr
    done = run("serve", "--port", "1", "--host", "300.0.0.1", environment=dict(os.environ))
    assert done.returncode == 1
    assert "Name another with --port" in done.stderr


def test_a_folder_that_is_open_to_others_is_done_without(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vipcli-") as runtime:
        (Path(runtime) / "vipcli").mkdir(mode=0o755)
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        assert run(*ASK, environment=environment).stdout == "7\n"
        told = run("serve", environment=environment)
        assert told.returncode == 1
        assert "is open to others" in told.stderr


def test_a_server_ended_while_it_loads_leaves_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vipcli-") as runtime:
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        for how in (signal.SIGTERM, signal.SIGKILL):
            begun = subprocess.Popen(
                [sys.executable, "-m", "vipcli", "serve"], env=environment, stderr=subprocess.PIPE, text=True
            )
            assert begun.stderr is not None and "Loading" in begun.stderr.readline()
            time.sleep(0.5)
            begun.send_signal(how)
            _, told = begun.communicate(timeout=30)
            assert "Traceback" not in told
            until = time.monotonic() + 20
            while run("serve", "--status", environment=environment).returncode != 1:
                assert time.monotonic() < until


def test_a_question_with_a_closed_stream_is_asked_without(server: Server) -> None:
    command = f"{sys.executable} -m vipcli ask - Q <&-"
    done = subprocess.run(
        ["bash", "-c", command],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_sigterm_ends_a_warm_question_with_its_signal(tmp_path: Path) -> None:
    folder = make_endless(tmp_path / "endless")
    with serving("--model", str(folder)) as server:
        asking = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "vipcli",
                "ask",
                str(SHAPES),
                "Q",
                "--model",
                str(folder),
                "--max-new-tokens",
                "900",
            ],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asking.stdout is not None
        os.read(asking.stdout.fileno(), 10)
        asking.terminate()
        _, told = asking.communicate(timeout=20)
        assert (asking.returncode, told) == (-signal.SIGTERM, "")
        # Its answer is given up, too.
        until = time.monotonic() + 20
        while json.loads(server.vipcli("serve", "--status", "--json").stdout)["waiting"]:
            assert time.monotonic() < until


def test_keep_alive_begins_one_that_ends_by_itself() -> None:
    environment = dict(os.environ)
    first = run(*ASK, "--keep-alive", "3s", "-v", environment=environment)
    assert (first.stdout, first.stderr.startswith(USED)) == ("7\n", True)
    assert run(*ASK, "-v", environment=environment).stderr.startswith(USED)
    until = time.monotonic() + 30
    while run("serve", "--status", environment=environment).stdout:
        assert time.monotonic() < until
        time.sleep(0.5)


def test_an_endless_answer_survives_the_death_of_its_server(tmp_path: Path) -> None:
    folder = make_endless(tmp_path / "endless")
    question = ("ask", str(SHAPES), "Go on.", "--model", str(folder), "--max-new-tokens", "900")
    alone = run(*question, environment=dict(os.environ))
    with serving("--model", str(folder)) as server:
        pid = json.loads(server.vipcli("serve", "--status", "--json").stdout)["pid"]
        asking = subprocess.Popen(
            [sys.executable, "-m", "vipcli", *question],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asking.stdout is not None
        begun = os.read(asking.stdout.fileno(), 20).decode()
        os.kill(pid, signal.SIGKILL)
        rest, told = asking.communicate(timeout=60)
    assert asking.returncode == 0
    assert told == "note: The server is gone, so the model is loaded here.\n"
    assert begun + rest == alone.stdout


def test_ctrl_c_in_a_conversation_over_it_keeps_what_was_said(tmp_path: Path) -> None:
    folder = make_endless(tmp_path / "endless")
    with serving("--model", str(folder)) as server:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "vipcli", "chat", str(SHAPES), "--model", str(folder), "--max-new-tokens", "900"],
            env={**server.environment, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
            timeout=60,
            encoding="utf-8",
        )
        child.expect_exact("Ctrl-D leaves.")
        child.expect_exact(">")
        child.send("Go on.\r")
        child.expect("arrow|chair")
        child.send("\x03")
        child.expect_exact("Stopped.")
        child.send("/stats\r")
        child.expect_exact("turns       1")
        child.send("/quit\r")
        child.expect(pexpect.EOF)


# --------------------------------------------------------------------------- OpenAI's client


def picture(path: Path = SHAPES) -> dict[str, Any]:
    encoded = base64.b64encode(path.read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}


def messages(text: str) -> Any:
    return [{"role": "user", "content": [picture(), {"type": "text", "text": text}]}]


REGION = {"regions": [{"box": "8%,36%,31%,66%"}]}


def test_the_openai_client_gets_plain_answers(client: openai.OpenAI) -> None:
    told = client.chat.completions.create(
        model="bundled", messages=messages("Which number is {1}?"), extra_body=REGION
    )
    assert told.choices[0].message.content == "7"
    assert told.choices[0].finish_reason == "stop"
    assert told.usage is not None and told.usage.total_tokens > told.usage.completion_tokens > 0
    assert [one.id for one in client.models.list()] == ["bundled"]
    assert client.models.retrieve("bundled").id == "bundled"
    with pytest.raises(openai.NotFoundError, match="The model here is bundled"):
        client.models.retrieve("other")


def test_the_openai_client_gets_answers_as_they_come(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="bundled",
        messages=messages("Describe what is {1}."),
        extra_body=REGION,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces = list(stream)
    text = "".join(one.choices[0].delta.content or "" for one in pieces if one.choices)
    plain = client.chat.completions.create(
        model="bundled", messages=messages("Describe what is {1}."), extra_body=REGION
    )
    assert text == plain.choices[0].message.content
    assert len(pieces) > 4
    assert pieces[-1].usage == plain.usage


def test_a_conversation_with_the_openai_client(client: openai.OpenAI) -> None:
    said = messages("Which number is {1}?".replace("{1}", "within the red rectangle"))
    said += [{"role": "assistant", "content": "7"}, {"role": "user", "content": "What color is it?"}]
    told = client.chat.completions.create(model="bundled", messages=said, extra_body=REGION)
    assert told.choices[0].message.content == "green"


def test_sixty_four_at_once_are_each_answered_as_one_alone(client: openai.OpenAI) -> None:
    places = [f"{x}%,{y}%,{x + 26}%,{y + 28}%" for x in (4, 36, 68) for y in (4, 36, 68)]
    questions = ("What is {1}?", "What color is the thing {1}?", "Describe what is {1}.")
    asked = [(places[n % len(places)], questions[n % len(questions)]) for n in range(64)]
    model = LocalModel(lookup.find("bundled"))
    shown = load_picture(str(SHAPES))

    def alone(place: str, question: str) -> str:
        marked = mark([shown], [parse_mark("box", place)])
        return ask(prepare(marked, question, model.checkpoint), model).reply.text

    def served(place: str, question: str) -> str:
        told = client.chat.completions.create(
            model="bundled", messages=messages(question), extra_body={"regions": [{"box": place}]}
        )
        return told.choices[0].message.content or ""

    expected = {one: alone(*one) for one in set(asked)}
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda one: served(*one), asked))
    assert answers == [expected[one] for one in asked]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"messages": []}, "message"),
        ({"messages": messages("Which is {2}?"), **REGION}, "mark {2}"),
        ({"messages": messages("Q"), "regions": [{"mask": "/etc/passwd"}]}, ""),
        ({"messages": messages("<image>")}, "steers the model"),
        ({"messages": messages("Q"), "n": 3}, "n"),
        ({"messages": messages("Q"), "temperature": "hot"}, "temperature"),
    ],
)
def test_what_cannot_be_asked_is_told(client: openai.OpenAI, body: dict[str, Any], told: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", cast_to=object, body={"model": "bundled", **body})
    assert told in refused.value.message
    assert "Traceback" not in refused.value.message


# --------------------------------------------------------------------------- who may come in, and how much


def knock(server: Server, method: str, target: str, body: bytes = b"", **headers: str) -> tuple[int, bytes]:
    host, port = server.told["address"].removeprefix("http://").removesuffix("/v1").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        connection.request(
            method, target, body, {key.replace("_", "-"): value for key, value in headers.items()}
        )
        reply = connection.getresponse()
        return reply.status, reply.read()


def test_only_those_with_the_token_come_in(server: Server) -> None:
    right = "Bearer secret"
    assert knock(server, "GET", "/v1/models", Authorization=right)[0] == 200
    for headers in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": "secret"},
        {"Authorization": "Bearer "},
    ):
        status, told = knock(server, "GET", "/v1/models", **headers)
        assert status == 401
        assert json.loads(told)["error"]["type"] == "authentication_error"
    # Another site's page reaches this machine under that site's name.
    assert knock(server, "GET", "/v1/models", Authorization=right, Host="evil.example")[0] == 421
    assert knock(server, "GET", "/v1/models", Authorization=right, Host="localhost:1")[0] == 200
    # Anybody may ask whether it is well, and learns nothing else.
    assert json.loads(knock(server, "GET", "/health")[1]) == {"status": "ok", "waiting": 0}
    # This person's own way in is not open to the port.
    assert knock(server, "POST", "/answer/x", b"{}", Authorization=right)[0] == 404
    assert knock(server, "POST", "/halt/x", Authorization=right)[0] == 404


def test_too_much_is_refused(server: Server) -> None:
    status, told = knock(
        server, "POST", "/v1/chat/completions", b" " * 65_000_000, Authorization="Bearer secret"
    )
    assert status == 413
    assert "too large" in json.loads(told)["error"]["message"]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300) | st.from_regex(rb"\{[\[\]{}\",:a-z0-9 ]{0,80}\}", fullmatch=True))
def test_malformed_requests_never_bring_it_down(server: Server, body: bytes) -> None:
    status, _ = knock(server, "POST", "/v1/chat/completions", body, Authorization="Bearer secret")
    assert status == 400


NOISE = (b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1 HTTP/1.1\r\nContent-Length: -5\r\n\r\n")


@pytest.mark.parametrize("sent", NOISE)
def test_noise_on_the_port_never_brings_it_down(server: Server, sent: bytes) -> None:
    host, port = server.told["address"].removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            connection.recv(1000)
    assert server.vipcli(*ASK).stdout == "7\n"


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\2{}"])
def test_noise_on_the_socket_of_commands_never_brings_it_down(server: Server, sent: bytes) -> None:
    path = Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli" / "ask.sock"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(sent)
    assert server.vipcli(*ASK).stdout == "7\n"


def test_a_full_line_turns_away_and_one_that_leaves_frees_its_place(tmp_path: Path) -> None:
    folder = make_endless(tmp_path / "endless")
    with serving("--model", str(folder), "--port", "0", "--waiting", "1", "--together", "1") as server:
        client = openai.OpenAI(base_url=server.told["address"], api_key="secret", max_retries=0)

        def begin() -> Any:
            return client.chat.completions.create(
                model="x", messages=messages("Q"), max_tokens=900, stream=True
            )

        first = begin()
        next(iter(first))
        time.sleep(0.3)
        second = begin()
        with pytest.raises(openai.RateLimitError, match="waiting already"):
            for _ in range(3):
                begin()
        first.close()
        second.close()
        until = time.monotonic() + 20
        while True:
            try:
                begin().close()
                break
            except openai.RateLimitError:
                assert time.monotonic() < until
                time.sleep(0.1)


def test_another_address_needs_no_name_but_the_token() -> None:
    with serving("--port", "0", "--host", "0.0.0.0") as server:
        local = Server(
            server.process, {"address": server.told["address"].replace("0.0.0.0", "127.0.0.1")}, {}
        )
        assert knock(local, "GET", "/v1/models", Host="gpu.example", Authorization="Bearer secret")[0] == 200
        assert knock(local, "GET", "/v1/models", Host="gpu.example")[0] == 401


# --------------------------------------------------------------------------- pieces


def test_the_same_model_answers_when_the_server_goes_mid_answer() -> None:
    class Going(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            assert on_text is not None
            on_text("one\ntw")
            raise GoneError("gone")

    request = Request("Q", ())
    for here, expected in (("one\ntwo\nthree", "one\ntwo\nthree"), ("another", "one\ntw\nanother")):
        said: list[str] = []
        told: list[str] = []
        fallback = Fallback(Going(), lambda here=here: ScriptedAnswerer(here, "more"), told.append)
        assert fallback.answer(request, said.append).text == here
        assert "".join(said) == expected
        assert told == ["The server is gone, so the model is loaded here."]
        assert fallback.answer(request, said.append).text == "more"
        assert len(told) == 1


def test_a_server_is_used_only_for_what_it_holds() -> None:
    bundled = lookup.find("bundled")
    held = Held(
        version=__version__,
        model="bundled",
        revision=None,
        stamp=lookup.stamp(bundled),
        setup=asdict(Setup()),
        device="cpu",
        pid=1,
        address=None,
        waiting=0,
        status="ok",
    )
    assert held.is_for(bundled, asdict(Setup()))
    assert not held.is_for(bundled, asdict(Setup(quantize="4bit")))
    assert not replace(held, version="0.0.1").is_for(bundled, asdict(Setup()))
    assert not held.is_for(replace(bundled, revision="abc"), asdict(Setup()))
