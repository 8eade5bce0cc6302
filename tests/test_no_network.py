"""Tests reach no other machine, and neither do the processes that they start."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

# An address that is reserved for documentation, so that nothing would answer without a guard either.
ELSEWHERE = "192.0.2.1"


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False
    )


# A worker of pytest-xdist is a process with both guards, of which the first to see an address refuses it.
REFUSALS = (AssertionError, OSError)


def test_a_test_cannot_connect_to_another_machine() -> None:
    with pytest.raises(REFUSALS, match=f"may not reach '{ELSEWHERE}'"):
        socket.create_connection((ELSEWHERE, 80), timeout=1)
    with pytest.raises(REFUSALS, match=r"may not reach 'example\.com'"):
        socket.getaddrinfo("example.com", 443)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, pytest.raises(REFUSALS, match="may not"):
        udp.sendto(b"x", (ELSEWHERE, 53))


@pytest.mark.parametrize("options", [(), ("-P",)])
def test_a_subprocess_cannot_connect_to_another_machine(options: tuple[str, ...]) -> None:
    code = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    done = python(*options, "-c", code)
    assert done.returncode == 1
    assert f"the tests may not reach '{ELSEWHERE}'" in done.stderr


def test_a_subprocess_of_a_subprocess_cannot_connect_to_another_machine() -> None:
    inner = f"import socket; socket.create_connection(({ELSEWHERE!r}, 80), timeout=1)"
    done = python("-c", f"import subprocess, sys; subprocess.run([sys.executable, '-P', '-c', {inner!r}])")
    assert f"the tests may not reach '{ELSEWHERE}'" in done.stderr


def test_an_isolated_subprocess_meets_a_closed_proxy() -> None:
    done = python("-I", "-c", f"import httpx; httpx.get('http://{ELSEWHERE}/', timeout=1)")
    assert done.returncode == 1
    assert "httpx.ConnectError" in done.stderr and "refused" in done.stderr


def test_the_command_cannot_fetch_a_picture() -> None:
    done = python("-m", "vipcli", "draw", f"http://{ELSEWHERE}/photo.png", "--box", "1,1,9,9", "-o", "x.png")
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be fetched" in done.stderr
    assert not Path("x.png").exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", socket.gethostname()])
def test_this_machine_can_be_reached(host: str) -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        code = f"import socket; socket.create_connection(({host!r}, {server.getsockname()[1]}), timeout=5)"
        assert python("-c", code).stderr == ""
