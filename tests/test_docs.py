"""Documentation is checked: the reference is fresh, options and files exist, and examples run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tests import commands
from tests.servers import Server, serving
from vipcli.cli.app import app
from vipcli.cli.reference import PAGE, reference
from vipcli.config import SETTINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = sorted(page for page in (ROOT / "vipcli" / "docs").glob("*.md") if page != PAGE)
PAGES = [*DOCS, *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))]
by_name = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def test_the_reference_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python -m vipcli.cli.reference"


def test_every_example_in_the_reference_is_indented() -> None:
    assert not re.search(r"^vipcli ", reference(), re.MULTILINE)


def test_every_command_and_option_is_explained() -> None:
    def walk(command: object) -> None:
        assert command.help, command.name  # type: ignore[attr-defined]
        for param in command.params:  # type: ignore[attr-defined]
            assert param.help, f"{command.name} {param.name}"  # type: ignore[attr-defined]
        for child in getattr(command, "commands", {}).values():
            walk(child)

    walk(typer.main.get_command(app))
    assert all(setting.help.endswith(".") for setting in SETTINGS.values())


@by_name
def test_every_option_that_a_page_names_exists(page: Path) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", reference())) | {"--help", "--install-completion"}
    # Options of other programs do not count.
    others = r"^(ray|pytest|ruff|git|\S*pip|[0-9]+\. `python -m pip) .*$"
    text = re.sub(others, "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= known


@by_name
def test_every_file_that_a_page_links_exists(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


@by_name
def test_every_module_that_a_page_names_exists(page: Path) -> None:
    for name in re.findall(r"`((?:\w+/)+\w+(?:\.py)?)`", page.read_text(encoding="utf-8")):
        if (ROOT / "vipcli" / name.split("/")[0]).is_dir():
            module = ROOT / "vipcli" / name
            assert module.exists() or module.with_suffix(".py").exists(), name


@by_name
def test_no_line_is_wider_than_120(page: Path) -> None:
    assert not [line for line in page.read_text(encoding="utf-8").splitlines() if len(line) > 120]


def test_the_readme_is_short_and_names_every_page() -> None:
    assert len(README.splitlines()) <= 150
    assert {page.name for page in DOCS} <= set(re.findall(r"vipcli/docs/(\w+\.md)", README))


def blocks(page: Path, language: str) -> list[str]:
    """The examples of a page that run."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# The README's first two set everything up and run these very tests; `.ci/run` runs them.
COMMANDS = [
    *blocks(ROOT / "README.md", "bash")[2:],
    *(block for page in DOCS for block in blocks(page, "bash")),
]

SHELL = """
set -euo pipefail
vipcli() { "$PYTHON" -m vipcli "$@"; }
type jq >/dev/null 2>&1 || jq() { cat; }
"""


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Server]:
    """A server with a tiny model, so that no question of an example has to load one."""
    with serving("--model", str(tiny)) as server:
        server.variables |= {
            "PYTHON": sys.executable,
            "VIPCLI_MODEL": str(tiny),
            "VIPCLI_MAX_NEW_TOKENS": "4",
        }
        yield server


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.split("\n")[0][:40])
def test_every_command_of_the_pages_runs(
    block: str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The samples are in the working folder, as in a checkout; output goes elsewhere.
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    for line in block.replace("\\\n", "").splitlines():
        # A batch does not use the server, and would import torch for each command.
        if line.startswith("vipcli batch "):
            ran = commands.run(*shlex.split(line)[1:], environment=server.variables)
            code, err = ran.code, ran.err
        else:
            done = subprocess.run(
                ["bash", "-c", SHELL + line],
                capture_output=True,
                text=True,
                check=False,
                env=server.environment,
            )
            code, err = done.returncode, done.stderr
        assert code == 0, err
        assert "error" not in err


def test_the_pages_have_commands_to_run() -> None:
    assert len(COMMANDS) >= 12


def test_the_readme_s_python_runs(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "README.md", "python")
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "7"


def test_the_python_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    monkeypatch.chdir(tmp_path)
    examples = blocks(ROOT / "vipcli" / "docs" / "python.md", "python")
    assert len(examples) >= 5
    exec("\n".join(examples), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "7"
    assert lines[-2:] == ["7", "a fish"]
    assert any(line.startswith("failed: ") and "missing.png" in line for line in lines)
