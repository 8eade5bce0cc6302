"""Documentation that is checked: the reference page is fresh, and the README speaks of what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from vipcli.cli.app import app
from vipcli.cli.reference import PAGE, reference
from vipcli.config import SETTINGS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_reference_page_is_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run python -m vipcli.cli.reference"


def test_every_command_and_option_is_explained() -> None:
    def walk(command: object) -> None:
        assert command.help, command.name  # type: ignore[attr-defined]
        for param in command.params:  # type: ignore[attr-defined]
            assert param.help, f"{command.name} {param.name}"  # type: ignore[attr-defined]
        for child in getattr(command, "commands", {}).values():
            walk(child)

    walk(typer.main.get_command(app))
    assert all(setting.help.endswith(".") for setting in SETTINGS.values())


def test_every_option_that_the_readme_names_exists() -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", reference()))
    # Those of other programs are theirs.
    ours = re.sub(r"^ray .*$", "", README, flags=re.MULTILINE)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours)) <= known


def test_every_file_that_the_readme_names_exists() -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target


# Those of the start set everything up and run these very tests: they are for the checks of a change.
BLOCKS = re.findall(r"^```bash\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[2:]

SHELL = """
set -euo pipefail
vipcli() { "$PYTHON" -m vipcli "$@"; }
type jq >/dev/null 2>&1 || jq() { cat; }
"""


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n")[0][:40])
def test_every_other_command_of_the_readme_runs(block: str, tiny: Path, tmp_path: Path) -> None:
    # The samples stand in the working folder, as in a checkout; what is written goes elsewhere.
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    done = subprocess.run(
        ["bash", "-c", SHELL + block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable, "VIPCLI_MODEL": str(tiny), "VIPCLI_MAX_NEW_TOKENS": "4"},
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr


def test_the_readme_has_more_to_show_than_its_start() -> None:
    assert len(BLOCKS) >= 3


def test_the_readme_s_python_runs(tmp_path: Path) -> None:
    (block,) = re.findall(r"^## Python\n\n```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (tmp_path / "samples").symlink_to(ROOT / "samples")
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["7", "a", "7"]
