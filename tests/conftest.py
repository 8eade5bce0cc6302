"""Every test gets a home of its own and no network beyond this machine; some share a small checkpoint."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.no_network.sitecustomize import forbid_network

# Before torch is imported anywhere: spinning threads starve each other on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

_CLOSED_PROXY = "http://127.0.0.1:9"
# The files that take longest; the others take a few seconds each.
_LONGEST = (
    "test_serve.py",
    "test_samples.py",
    "test_bundled.py",
    "test_independent.py",
    "test_training.py",
    "test_models.py",
    "test_docs.py",
    "test_batch_command.py",
    "test_cluster.py",
    "test_loading.py",
    "test_chat_terminal.py",
    "test_terminal.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process is still at one when the others are done."""
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


def _forbid_network() -> None:
    """Forbid connections to other machines, in this process and in those that it starts."""
    forbid_network(AssertionError)
    folders = [str(Path(__file__).parent / "no_network"), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, folders))
    # In capitals, since gRPC, which Ray uses between processes of this machine, reads only the others.
    for scheme in ("http", "https", "all"):
        os.environ.pop(f"{scheme}_proxy", None)
        os.environ[f"{scheme.upper()}_PROXY"] = _CLOSED_PROXY
    os.environ.pop("no_proxy", None)
    os.environ["NO_PROXY"] = "localhost,127.0.0.1,::1"


# At once, since fixtures of modules and sessions start processes, too.
_forbid_network()


@pytest.fixture
def _runtime_folder() -> Iterator[str]:
    # Not below tmp_path, since the path of a Unix socket must be short.
    folder = tempfile.mkdtemp(prefix="vipcli-")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# The runtime folder comes before monkeypatch, to be removed when what a test has patched works again.
@pytest.fixture(autouse=True)
def _own_home(
    _runtime_folder: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("VIPCLI_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VIPCLI_CONFIG", str(home / "config.toml"))
    monkeypatch.setenv("HF_HOME", str(home / "hub"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_RUNTIME_DIR", _runtime_folder)


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
