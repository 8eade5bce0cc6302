"""Every test gets a home of its own, no network beyond this machine, and one small checkpoint."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch is imported anywhere: spinning threads starve each other on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_LOCAL = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("VIPCLI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VIPCLI_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(home / "hub"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    # Names of sockets must be short.
    runtime = tempfile.mkdtemp(prefix="vipcli-")
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in _LOCAL:
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A VipLlava checkpoint folder with random weights."""
    from tests.tiny import make_vipllava

    yield make_vipllava(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A LLaVA-1.5 checkpoint folder with random weights and a chat template."""
    from tests.tiny import make_llava

    yield make_llava(tmp_path_factory.mktemp("checkpoints") / "tiny-llava")
