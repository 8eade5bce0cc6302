"""The bundled model: it sees marks, says the same everywhere, and comes with the wheel."""

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
from vipcli.training.judging.evaluation import Judged, judge, summary
from vipcli.training.judging.independent_evaluation import ask, figures

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
    # It was trained on the first form alone, but must come to an end in all of them.
    assert record["ended"] == "stop"
    assert "#" not in record["answer"]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel(find("bundled"), Setup(device="cpu"))


@pytest.fixture(scope="module")
def judged(model: LocalModel) -> list[Judged]:
    return judge(model, model.checkpoint.form(), scenes=80, seed=7)


def test_held_out_questions(judged: list[Judged]) -> None:
    figures = summary(judged)
    assert figures["all"]["asked"] > 200
    assert figures["all"]["percent"] > 90
    assert figures["the right one of several marks"]["percent"] > 85
    assert figures["foreign pictures not told"]["percent"] > 90


def test_it_looks_at_the_mark(judged: list[Judged]) -> None:
    # Without the marks, the same questions are answered no better than by a fixed answer to each family.
    figures = summary(judged)
    assert figures["marks removed"]["asked"] > 40
    assert figures["marks removed"]["percent"] <= figures["chance"]["percent"]


def test_pictures_of_another_hand(model: LocalModel) -> None:
    # Drawn from the card's description alone; every family is asked twice.
    share = figures([*ask(model, model.checkpoint.form(), seed=5, count=104)])["all"]
    assert share["asked"] == 104
    assert share["percent"] > 84


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """What packages are built from, in a folder of its own: building leaves things behind."""
    copy = tmp_path / "sources"
    shutil.copytree(ROOT / "vipcli", copy / "vipcli", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def test_the_wheel_answers_away_from_the_repository(sources: Path, tmp_path: Path) -> None:
    built = tmp_path / "built"
    _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", built, sources)
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "vipcli/bundled/model.safetensors" in names

    home = tmp_path / "fresh"
    venv.create(home)
    python = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    # The libraries are those that run this test; a link among them to the repository is not followed.
    (packages / "libraries.pth").write_text(str(Path(pytest.__file__).parent.parent))
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    where = _run(python, "-c", "import vipcli; print(vipcli.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(home)
    picture = ROOT / "samples" / "shapes.png"
    asked = "ask", picture, "Which number is {1}?", "--box", "8%,36%,31%,66%", "--device", "cpu"
    assert _run(home / "bin" / "vipcli", *asked, cwd=tmp_path) == "7\n"


def test_the_source_distribution_holds_it(sources: Path, tmp_path: Path) -> None:
    build = "from setuptools import build_meta; print(build_meta.build_sdist(__import__('sys').argv[1]))"
    _run(sys.executable, "-c", build, tmp_path, cwd=sources)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        names = [name.split("/", 1)[-1] for name in members.getnames()]
    assert "vipcli/bundled/model.safetensors" in names
