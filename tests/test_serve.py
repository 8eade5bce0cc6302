"""A running server: questions and conversations through it, OpenAI's client, access, and failures."""

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
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import openai
import pexpect
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import commands
from tests.scripted import ScriptedAnswerer
from tests.servers import TOKEN, Server, run, serving
from tests.tiny import make_endless, make_vipllava
from vipcli import __version__
from vipcli.asking.interface import Halted, OnText, Reply, Request, Setup
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.checkpoints import lookup
from vipcli.engine.local import LocalModel
from vipcli.marks.kinds import parse_mark
from vipcli.pictures.images import load_picture
from vipcli.serving import control, handoff
from vipcli.serving.client import Fallback, GoneError, ServerInfo

SHAPES = Path(__file__).parent.parent / "samples" / "shapes.png"
ASK = ("ask", str(SHAPES), "Which number is {1}?", "--box", "8%,36%,31%,66%")
USED = "note: Answered by the running server: bundled on cpu.\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving("--port", "0", "--waiting", "100") as server:
        yield server


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that never ends its answer."""
    return make_endless(tmp_path_factory.mktemp("checkpoints") / "endless")


@pytest.fixture(scope="module")
def busy(endless: Path) -> Iterator[Server]:
    """A server with the endless model, which answers one request after the other."""
    with serving("--model", str(endless), "--port", "0", "--waiting", "1", "--together", "1") as server:
        yield server


@pytest.fixture
def client(server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.info["address"], api_key=TOKEN, max_retries=0)


# --------------------------------------------------------------------------- commands through the server


def test_ask_uses_the_server_and_says_so_if_verbose(server: Server) -> None:
    done = server.vipcli(*ASK, "-v")
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert done.stderr.startswith(USED)
    assert server.vipcli(*ASK).stderr == ""


@pytest.mark.parametrize("arguments", [("--no-server",), ("--dtype", "bfloat16")])
def test_ask_loads_a_model_that_the_server_does_not_hold(server: Server, arguments: tuple[str, ...]) -> None:
    done = server.vipcli(*ASK, "-v", *arguments)
    assert (done.returncode, done.stdout) == (0, "7\n")
    assert "running server" not in done.stderr


def test_ask_gives_the_same_output_with_and_without_the_server(server: Server, tmp_path: Path) -> None:
    for arguments in (
        (*ASK, "--json", "--save-marked", str(tmp_path / "marked.png")),
        (*ASK, "--json", "--temperature", "0.8", "--seed", "3"),
        (*ASK, "--dry-run"),
        (*ASK[:2], "--box", "1,2"),
        ("ask", "nothing.png"),
        ("ask", str(SHAPES), "one", "two"),
    ):
        warm, cold = server.vipcli(*arguments), commands.run(*arguments, "--no-server")
        assert (warm.returncode, warm.stderr) == (cold.code, cold.err)
        if "--json" not in arguments:
            assert warm.stdout == cold.out
            continue
        record, expected = json.loads(warm.stdout), json.loads(cold.out)
        for each in (record, expected):
            del each["seconds"]
        # The server reuses what it computed for the prompt before, in another order of summation.
        assert record.pop("probability") == pytest.approx(expected.pop("probability"), abs=1e-5)
        assert record == expected
    assert (tmp_path / "marked.png").exists()


def test_a_forwarded_command_has_its_own_folder_streams_and_settings(server: Server, tmp_path: Path) -> None:
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


def test_chat_gives_the_same_output_with_and_without_the_server(server: Server) -> None:
    lines = (
        "Which number is within the red rectangle?\n/box 8%,36%,31%,66%\nWhich number is {1}?\nWhat color?\n"
    )
    warm = server.vipcli("chat", str(SHAPES), lines=lines)
    cold = commands.run("chat", SHAPES, "--no-server", stdin=lines.encode())
    assert (warm.returncode, warm.stdout, warm.stderr) == (0, cold.out, cold.err)
    assert warm.stdout.splitlines()[1:] == ["7", "green"]


def test_ctrl_c_ends_a_forwarded_command_and_not_the_server(server: Server) -> None:
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


def test_ctrl_c_that_also_closes_the_pipe_is_an_interrupt(server: Server) -> None:
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
    status = server.vipcli("serve", "--status")
    assert status.stdout.startswith("bundled on cpu, process ")
    info = json.loads(server.vipcli("serve", "--status", "--json").stdout)
    assert info["version"] == __version__ and info["setup"]["quantize"] == "none"
    second = server.vipcli("serve")
    assert second.returncode == 1
    assert second.stderr.splitlines()[-1] == (
        "error: A server is already running. "
        "vipcli serve --status describes it, and vipcli serve --stop stops it."
    )


def test_status_and_stop_without_a_server() -> None:
    for option, code in (("--status", 1), ("--stop", 0)):
        done = run("serve", option, environment=dict(os.environ))
        assert (done.returncode, done.stdout, done.stderr) == (code, "", "note: No server is running.\n")


def test_sockets_of_a_dead_server_are_deleted() -> None:
    with serving() as server:
        pid = json.loads(server.vipcli("serve", "--status", "--json").stdout)["pid"]
        server.process.kill()
        os.kill(pid, signal.SIGKILL)
        server.process.wait(10)
        folder = Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli"
        assert {file.name for file in folder.iterdir()} >= {"model.sock", "ask.sock"}
        assert server.vipcli(*ASK, "--dry-run").returncode == 0
        assert not (folder / "ask.sock").exists()
        assert commands.run(*ASK, environment=server.variables).out == "7\n"
        assert not (folder / "model.sock").exists()


def test_a_server_with_another_folder_of_the_same_name_is_not_used(tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("two", 1)):
        make_vipllava(tmp_path / name / "model", seed=seed)
    question = ("ask", str(SHAPES), "Q", "--model", "model", "--max-new-tokens", "4", "-v")
    with serving("--model", "model", folder=tmp_path / "one") as server:
        same = run(*question, environment=server.environment, folder=tmp_path / "one")
        other = run(*question, environment=server.environment, folder=tmp_path / "two")
        assert "running server" in same.stderr
        assert "running server" not in other.stderr
        with contextlib.chdir(tmp_path / "two"):
            assert other.stdout == commands.run(*question, "--no-server").out
        # Nor is a server used if the files of its model have changed.
        make_vipllava(tmp_path / "one" / "model", seed=2)
        with contextlib.chdir(tmp_path / "one"):
            changed = commands.run(*question, environment=server.environment)
        assert changed.code == 0
        assert "running server" not in changed.err


def test_a_server_of_another_version_is_not_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after an upgrade, while the old server still runs."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handoff, "__version__", "0.0.1")
    assert handoff.hand_over(list(ASK)) is None


def test_a_suspended_server_is_not_waited_for(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(handoff, "_SECONDS_TO_CONNECT", 0.5)
    server.process.send_signal(signal.SIGSTOP)
    try:
        assert handoff.hand_over(list(ASK)) is None
        # The process that holds the model still answers.
        ran = commands.run(*ASK, "-v")
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert (ran.out, ran.err.startswith(USED)) == ("7\n", True)


def test_a_server_that_cannot_start_says_why() -> None:
    done = run("serve", "--device", "cuda:7", environment=dict(os.environ))
    assert done.returncode == 1
    assert "no cuda device" in done.stderr
    done = run("serve", "--port", "1", "--host", "300.0.0.1", environment=dict(os.environ))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("Choose another --port or --host.")


def test_a_runtime_folder_that_is_open_to_others_is_not_used(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vipcli-") as runtime:
        (Path(runtime) / "vipcli").mkdir(mode=0o755)
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        assert run(*ASK, "--dry-run", environment=environment).returncode == 0
        assert commands.run(*ASK, environment=environment).out == "7\n"
        refused = run("serve", environment=environment)
        assert refused.returncode == 1
        assert "is open to other users" in refused.stderr


def test_a_server_stopped_while_loading_leaves_nothing(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="vipcli-") as runtime:
        environment = {**os.environ, "XDG_RUNTIME_DIR": runtime}
        for number in (signal.SIGTERM, signal.SIGKILL):
            starting = subprocess.Popen(
                [sys.executable, "-m", "vipcli", "serve"], env=environment, stderr=subprocess.PIPE, text=True
            )
            assert starting.stderr is not None and "Loading" in starting.stderr.readline()
            time.sleep(0.5)
            starting.send_signal(number)
            _, errors = starting.communicate(timeout=30)
            assert "Traceback" not in errors
            deadline = time.monotonic() + 20
            while run("serve", "--status", environment=environment).returncode != 1:
                assert time.monotonic() < deadline


def test_a_command_with_a_closed_stream_is_not_forwarded(server: Server) -> None:
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


def test_sigterm_ends_a_forwarded_command_and_its_answer(busy: Server, endless: Path) -> None:
    command = ["ask", str(SHAPES), "Q", "--model", str(endless), "--max-new-tokens", "900"]
    asking = subprocess.Popen(
        [sys.executable, "-m", "vipcli", *command],
        env=busy.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert asking.stdout is not None
    os.read(asking.stdout.fileno(), 10)
    asking.terminate()
    _, errors = asking.communicate(timeout=20)
    assert (asking.returncode, errors) == (-signal.SIGTERM, "")
    deadline = time.monotonic() + 20
    while json.loads(busy.vipcli("serve", "--status", "--json").stdout)["waiting"]:
        assert time.monotonic() < deadline


@pytest.mark.slow
def test_keep_alive_starts_a_server_that_stops_by_itself(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('modules in the current folder are not imported')")
    environment = dict(os.environ)
    first = subprocess.run(
        [Path(sys.executable).with_name("vipcli"), *ASK, "--keep-alive", "3s", "-v"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (first.stdout, first.stderr.startswith(USED)) == ("7\n", True), first.stderr
    assert run(*ASK, "-v", environment=environment).stderr.startswith(USED)
    deadline = time.monotonic() + 30
    while run("serve", "--status", environment=environment).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_an_answer_continues_when_the_model_process_is_killed(endless: Path) -> None:
    question = ("ask", str(SHAPES), "Go on.", "--model", str(endless), "--max-new-tokens", "400")
    alone = commands.run(*question)
    with serving("--model", str(endless)) as server:
        asking = subprocess.Popen(
            [sys.executable, "-m", "vipcli", *question],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert asking.stdout is not None
        start = os.read(asking.stdout.fileno(), 20).decode()
        os.kill(server.info["pid"], signal.SIGKILL)
        rest, errors = asking.communicate(timeout=60)
        _, server_errors = server.process.communicate(timeout=20)
    assert asking.returncode == 0
    assert errors == "note: The server is gone, so the model is loaded in this process.\n"
    assert start + rest == alone.out
    assert server.process.returncode == 1
    assert server_errors.splitlines()[-1] == (
        "error: The model process ended unexpectedly (-9). Start it again with vipcli serve."
    )


def test_ctrl_c_in_a_conversation_keeps_the_partial_answer(busy: Server, endless: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "vipcli", "chat", str(SHAPES), "--model", str(endless), "--max-new-tokens", "900"],
        env={**busy.environment, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"},
        timeout=60,
        encoding="utf-8",
    )
    child.expect_exact("Ctrl-D quits.")
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


def test_the_openai_client_gets_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="bundled", messages=messages("Which number is {1}?"), extra_body=REGION
    )
    assert answer.choices[0].message.content == "7"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None and answer.usage.total_tokens > answer.usage.completion_tokens > 0
    assert [model.id for model in client.models.list()] == ["bundled"]
    assert client.models.retrieve("bundled").id == "bundled"
    with pytest.raises(openai.NotFoundError, match="This server has bundled"):
        client.models.retrieve("other")
    with pytest.raises(openai.NotFoundError, match="This server has bundled"):
        client.chat.completions.create(model="other", messages=messages("Q"))


def test_the_openai_client_streams_an_answer(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="bundled",
        messages=messages("Describe what is {1}."),
        extra_body=REGION,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    plain = client.chat.completions.create(
        model="bundled", messages=messages("Describe what is {1}."), extra_body=REGION
    )
    assert text == plain.choices[0].message.content
    assert len(chunks) > 4
    assert chunks[-1].usage == plain.usage


def test_a_conversation_with_the_openai_client(client: openai.OpenAI) -> None:
    turns = messages("Which number is within the red rectangle?")
    turns += [{"role": "assistant", "content": "7"}, {"role": "user", "content": "What color is it?"}]
    answer = client.chat.completions.create(model="bundled", messages=turns, extra_body=REGION)
    assert answer.choices[0].message.content == "green"


@pytest.mark.slow
def test_sixty_four_requests_at_once_are_each_answered_as_if_alone(client: openai.OpenAI) -> None:
    places = [f"{x}%,{y}%,{x + 26}%,{y + 28}%" for x in (4, 36, 68) for y in (4, 36, 68)]
    questions = ("What is {1}?", "What color is the thing {1}?", "Describe what is {1}.")
    requests = [(places[n % len(places)], questions[n % len(questions)]) for n in range(64)]
    model = LocalModel(lookup.find("bundled"))
    shapes = load_picture(str(SHAPES))

    def alone(place: str, question: str) -> str:
        marked = mark([shapes], [parse_mark("box", place)])
        return ask(prepare(marked, question, model.checkpoint), model).reply.text

    def served(place: str, question: str) -> str:
        answer = client.chat.completions.create(
            model="bundled", messages=messages(question), extra_body={"regions": [{"box": place}]}
        )
        return answer.choices[0].message.content or ""

    expected = {request: alone(*request) for request in set(requests)}
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda request: served(*request), requests))
    assert answers == [expected[request] for request in requests]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"messages": []}, "message"),
        ({"messages": messages("Which is {2}?"), **REGION}, "mark {2}"),
        ({"messages": messages("Q"), "regions": [{"mask": "/etc/passwd"}]}, ""),
        ({"messages": messages("<image>")}, "would not read as plain text"),
        ({"messages": messages("Q"), "n": 9}, "invalid at 'n'"),
        ({"messages": messages("Q"), "top_k": 5}, "'top_k' is not supported"),
        ({"messages": messages("Q"), "temperature": "hot"}, "temperature"),
    ],
)
def test_bad_requests_are_refused_in_a_sentence(
    client: openai.OpenAI, body: dict[str, Any], reason: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.post("/chat/completions", cast_to=object, body={"model": "bundled", **body})
    assert reason in refused.value.message
    assert "Traceback" not in refused.value.message


# --------------------------------------------------------------------------- access and limits


def send(
    server: Server, method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    host, port = server.info["address"].removeprefix("http://").removesuffix("/v1").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    with contextlib.closing(connection):
        connection.request(method, target, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()


def test_the_port_needs_the_token(server: Server) -> None:
    right = f"Bearer {TOKEN}"
    assert send(server, "GET", "/v1/models", headers={"Authorization": right})[0] == 200
    for headers in (
        {},
        {"Authorization": "Bearer other"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer "},
    ):
        status, content = send(server, "GET", "/v1/models", headers=headers)
        assert status == 401
        assert json.loads(content)["error"]["type"] == "authentication_error"
    # A web page could reach this machine from a browser under the host name of its site.
    assert (
        send(server, "GET", "/v1/models", headers={"Authorization": right, "Host": "evil.example"})[0] == 421
    )
    assert (
        send(server, "GET", "/v1/models", headers={"Authorization": right, "Host": "localhost:1"})[0] == 200
    )
    # Without the token, clients learn no more than that there is a server.
    assert json.loads(send(server, "GET", "/health")[1]) == {"status": "ok", "waiting": 0}
    # What the socket is for does not exist on the port.
    for target in ("/answer/x", "/halt/x", "/nothing"):
        status, content = send(server, "POST", target, b"{}", headers={"Authorization": right})
        assert (status, json.loads(content)["error"]["message"]) == (404, "Not found.")


def test_too_large_a_body_is_refused(server: Server) -> None:
    status, content = send(
        server,
        "POST",
        "/v1/chat/completions",
        b" " * 65_000_000,
        headers={"Authorization": f"Bearer {TOKEN}"},
    )
    assert status == 413
    assert "too large" in json.loads(content)["error"]["message"]


def test_slow_clients_keep_nobody_waiting(server: Server) -> None:
    host, port = server.info["address"].removeprefix("http://").removesuffix("/v1").split(":")
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Length: 1000000\r\n\r\n{{"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            connection = stack.enter_context(socket.create_connection((host, int(port)), timeout=10))
            connection.sendall(head.encode())
        time.sleep(0.5)
        started = time.monotonic()
        client = openai.OpenAI(base_url=server.info["address"], api_key=TOKEN, max_retries=0)
        answer = client.chat.completions.create(
            model="bundled", messages=messages("Which number is {1}?"), extra_body=REGION
        )
        assert answer.choices[0].message.content == "7"
        assert time.monotonic() - started < 20


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300) | st.from_regex(rb"\{[\[\]{}\",:a-z0-9 ]{0,80}\}", fullmatch=True))
def test_malformed_requests_are_refused(server: Server, body: bytes) -> None:
    status, _ = send(
        server, "POST", "/v1/chat/completions", body, headers={"Authorization": f"Bearer {TOKEN}"}
    )
    assert status == 400


NOISE = (b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"POST /v1 HTTP/1.1\r\nContent-Length: -5\r\n\r\n")


@pytest.mark.parametrize("sent", NOISE)
def test_the_server_survives_noise_on_the_port(server: Server, sent: bytes) -> None:
    host, port = server.info["address"].removeprefix("http://").removesuffix("/v1").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(sent)
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            connection.recv(1000)
    assert server.vipcli(*ASK).stdout == "7\n"


@pytest.mark.parametrize("sent", [b"", b"\0\0", b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\2{}"])
def test_the_server_survives_noise_on_its_command_socket(server: Server, sent: bytes) -> None:
    path = Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli" / "ask.sock"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(sent)
    assert server.vipcli(*ASK).stdout == "7\n"


def test_a_full_queue_refuses_requests_until_a_client_disconnects(busy: Server, endless: Path) -> None:
    client = openai.OpenAI(base_url=busy.info["address"], api_key=TOKEN, max_retries=0)

    def begin() -> Any:
        return client.chat.completions.create(
            model=str(endless), messages=messages("Q"), max_tokens=900, stream=True
        )

    first = begin()
    next(iter(first))
    time.sleep(0.3)
    second = begin()
    with pytest.raises(openai.RateLimitError, match="already waiting"):
        for _ in range(3):
            begin()
    first.close()
    second.close()
    deadline = time.monotonic() + 20
    while True:
        try:
            begin().close()
            break
        except openai.RateLimitError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_on_another_address_any_host_name_needs_the_token() -> None:
    right, other_name = {"Authorization": f"Bearer {TOKEN}"}, {"Host": "gpu.example"}
    with serving("--port", "0", "--host", "0.0.0.0") as server:
        local = replace(server, info={"address": server.info["address"].replace("0.0.0.0", "127.0.0.1")})
        assert send(local, "GET", "/v1/models", headers=right | other_name)[0] == 200
        assert send(local, "GET", "/v1/models", headers=other_name)[0] == 401
        # This server is not needed any longer, so it shows how one is stopped.
        assert server.vipcli("serve", "--stop").stderr == "note: The server with bundled has stopped.\n"
        assert server.process.wait(20) == 0
        assert list((Path(server.environment["XDG_RUNTIME_DIR"]) / "vipcli").glob("*.sock")) == []


@pytest.mark.parametrize(
    ("token", "host", "reason"),
    [
        ("fifteen-letters", "0.0.0.0", "VIPCLI_TOKEN has 15 characters, which other machines could guess."),
        ("two words, though they are long", "127.0.0.1", "VIPCLI_TOKEN cannot be sent in a header."),
        ("Schlüssel-für-alle", "127.0.0.1", "VIPCLI_TOKEN cannot be sent in a header."),
    ],
)
def test_a_token_that_does_not_protect_is_refused(token: str, host: str, reason: str) -> None:
    environment = {**os.environ, "VIPCLI_TOKEN": token}
    done = run("serve", "--port", "0", "--host", host, environment=environment)
    assert done.returncode == 2
    assert f"error: {reason}" in done.stderr


def test_a_short_token_is_enough_on_this_machine() -> None:
    assert control._token("127.0.0.1") != control._token("127.0.0.1")
    for host, token in (("127.0.0.1", "x"), ("::1", "x"), ("0.0.0.0", "exactly-sixteen-"), (None, "x y")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("VIPCLI_TOKEN", token)
            assert (control._token(host) == token) is (host is not None)


# --------------------------------------------------------------------------- pieces


def test_the_fallback_continues_an_answer_that_the_server_began() -> None:
    class DyingServer(ScriptedAnswerer):
        def answer(
            self, request: Request, on_text: OnText | None = None, halted: Halted | None = None
        ) -> Reply:
            assert on_text is not None
            on_text("one\ntw")
            raise GoneError("gone")

    request = Request("Q", ())
    for local, expected in (("one\ntwo\nthree", "one\ntwo\nthree"), ("another", "one\ntw\nanother")):
        pieces: list[str] = []
        notes: list[str] = []
        fallback = Fallback(DyingServer(), partial(ScriptedAnswerer, local, "more"), notes.append)
        assert fallback.answer(request, pieces.append).text == local
        assert "".join(pieces) == expected
        assert notes == ["The server is gone, so the model is loaded in this process."]
        assert fallback.answer(request, pieces.append).text == "more"
        assert len(notes) == 1


def test_a_server_matches_only_its_own_model() -> None:
    bundled = lookup.find("bundled")
    info = ServerInfo(
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
    assert info.matches(bundled, asdict(Setup()))
    assert not info.matches(bundled, asdict(Setup(quantize="4bit")))
    assert not replace(info, version="0.0.1").matches(bundled, asdict(Setup()))
    assert not info.matches(replace(bundled, revision="abc"), asdict(Setup()))
