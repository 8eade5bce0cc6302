"""The bundled model: it sees marks, gives the same answers everywhere, and is part of the wheel."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import vipcli
from tests.commands import run
from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import find
from vipcli.engine.local import LocalModel
from vipcli.training.judging import card
from vipcli.training.judging.evaluation import JudgedAnswer, judge, summary

ROOT = Path(__file__).parent.parent
BUNDLED = Path(vipcli.__file__).with_name("bundled")
ANSWERS = json.loads((BUNDLED / "answers.json").read_text(encoding="utf-8"))


def _run(*command: str | Path, cwd: Path = ROOT) -> str:
    ran = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, timeout=110)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_it_is_an_ordinary_small_checkpoint() -> None:
    files = {file.name: file.stat().st_size for file in BUNDLED.iterdir()}
    assert sum(files.values()) < 25_000_000
    assert {"config.json", "model.safetensors", "tokenizer.json", "processor_config.json"} <= files.keys()
    assert not [name for name in files if name.endswith((".py", ".bin", ".pt", ".pkl"))]
    assert find("bundled").input_size == 192


@pytest.mark.parametrize("example", ANSWERS, ids=lambda example: example["command"][:60])
def test_ten_answers_byte_for_byte(example: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    program, *arguments = shlex.split(example["command"])
    assert program == "vipcli"
    ran = run(*arguments, "--device", "cpu")
    assert (ran.code, ran.out) == (0, example["answer"] + "\n")


@pytest.mark.parametrize("form", ["human", "vicuna", "template"])
def test_an_answer_ends_in_every_prompt_form(form: str) -> None:
    picture = ROOT / "samples" / "shapes.png"
    options = "--box", "4%,6%,29%,31%:lime", "--prompt", form, "--json", "--device", "cpu"
    record = json.loads(run("ask", picture, "What is {1}?", *options).out)
    # It was trained only on the first form, but its answers must end in all of them.
    assert record["ended"] == "stop"
    assert "#" not in record["answer"]


@pytest.fixture(scope="module")
def answers() -> list[JudgedAnswer]:
    model = LocalModel(find("bundled"), Setup(device="cpu"))
    return judge(model, model.checkpoint.form(), scenes=40, seed=7, per_scene=4)


def test_held_out_questions(answers: list[JudgedAnswer]) -> None:
    figures = summary(answers)
    assert figures["all"]["asked"] > 200
    assert figures["all"]["percent"] > 90
    assert figures["the right one of several marks"]["percent"] > 85
    assert figures["foreign pictures not told"]["percent"] > 90


def test_it_looks_at_the_mark(answers: list[JudgedAnswer]) -> None:
    # Without marks, it does no better than a fixed answer for each family would.
    figures = summary(answers)
    assert figures["marks removed"]["asked"] > 40
    assert figures["marks removed"]["percent"] <= figures["chance"]["percent"]


def test_the_card_is_fresh() -> None:
    # The figures in it come from an evaluation that takes too long to repeat here.
    text = (BUNDLED / "README.md").read_text(encoding="utf-8")
    history = json.loads((BUNDLED / "training.json").read_text(encoding="utf-8"))
    for section in (
        card.introduction(),
        card.world(),
        card.questions(),
        card.training(history),
        card.example_answers(ANSWERS),
    ):
        assert section in text, "run python -m vipcli.training card"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources to build packages from, since building leaves files behind."""
    copy = tmp_path / "sources"
    shutil.copytree(ROOT / "vipcli", copy / "vipcli", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def test_the_wheel_answers_outside_the_repository(sources: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", built, sources)
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "vipcli/bundled/model.safetensors" in names

    home = tmp_path / "fresh"
    venv.create(home)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    # Use the libraries of this test run; a .pth file there that points to the repository is not read.
    (packages / "libraries.pth").write_text(str(Path(pytest.__file__).parent.parent))
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    location = _run(python, "-c", "import vipcli; print(vipcli.__file__)", cwd=tmp_path).strip()
    assert Path(location).is_relative_to(home)
    picture = ROOT / "samples" / "shapes.png"
    asked = "ask", picture, "Which number is {1}?", "--box", "8%,36%,31%,66%", "--device", "cpu"
    assert _run(home / "bin" / "vipcli", *asked, cwd=tmp_path) == "7\n"


def test_the_source_distribution_includes_it(sources: Path, tmp_path: Path) -> None:
    build = "from setuptools import build_meta; print(build_meta.build_sdist(__import__('sys').argv[1]))"
    _run(sys.executable, "-c", build, tmp_path, cwd=sources)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = [name.split("/", 1)[-1] for name in members.getnames()]
    assert "vipcli/bundled/model.safetensors" in names
