"""The order of the packages, read from their imports: none imports upward, and there is no circle."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.architecture import PICTURE, picture
from tests.imports import FLOORS, ROOT, graph, imports, modules

TRAINING_FLOORS = ("world", "drawing", "questions", "learning", "judging", "recipe", "__main__")


def floor(module: str) -> str:
    return module.split(".")[1]


def test_nothing_is_imported_from_above() -> None:
    upward = [
        f"{name} imports {target}"
        for name, targets in graph().items()
        for target in targets
        if name != "vipcli"
        and floor(name) != "training"
        and FLOORS.index(floor(target)) > FLOORS.index(floor(name))
    ]
    assert not upward


def test_every_package_has_its_floor() -> None:
    assert {floor(name) for name in modules() if name != "vipcli"} == {*FLOORS, "training"}


def test_there_is_no_circle() -> None:
    # It raises CycleError, which names the circle.
    assert tuple(TopologicalSorter(graph()).static_order())


def test_training_has_floors_of_its_own() -> None:
    prefix = "vipcli.training."

    def level(module: str) -> int:
        return TRAINING_FLOORS.index(module.removeprefix(prefix).split(".")[0])

    inside = {
        name: [target for target in targets if target.startswith(prefix)]
        for name, targets in graph().items()
        if name.startswith(prefix)
    }
    assert {level(name) for name in inside} == set(range(len(TRAINING_FLOORS)))
    upward = [
        f"{name} imports {target}"
        for name, targets in inside.items()
        for target in targets
        if level(target) > level(name)
    ]
    assert not upward


def test_the_independent_scenes_share_nothing_with_training() -> None:
    assert not [
        target
        for target in graph()["vipcli.training.judging.independent_scenes"]
        if target.startswith("vipcli.training")
    ]


def test_nothing_else_imports_training() -> None:
    assert not [
        name
        for name, targets in graph().items()
        if not name.startswith("vipcli.training") and any(t.startswith("vipcli.training") for t in targets)
    ]


@pytest.mark.parametrize(
    ("library", "places"),
    [
        ("torch", {"vipcli.engine", "vipcli.training"}),
        ("transformers", {"vipcli.engine", "vipcli.training"}),
        ("typer", {"vipcli.cli"}),
        ("uvicorn", {"vipcli.serving"}),
        ("ray", {"vipcli.batch.ray_compat"}),
    ],
)
def test_large_libraries_stay_in_their_places(library: str, places: set[str]) -> None:
    users = {
        name
        for name, file in modules().items()
        if any(wanted.split(".")[0] == library for wanted in imports(file.read_text(encoding="utf-8")))
    }
    assert users
    assert all(any(f"{name}.".startswith(f"{place}.") for place in places) for name in users), users


@pytest.mark.parametrize(
    "package",
    [
        "annotations",
        "api",
        "asking",
        "batch",
        "chat",
        "checkpoints",
        "engine",
        "marks",
        "pictures",
        "serving",
    ],
)
def test_the_core_prints_nothing(package: str) -> None:
    assert not [
        name
        for name, targets in graph().items()
        if f"{name}.".startswith(f"vipcli.{package}.")
        and any(target.startswith("vipcli.terminal") for target in targets)
    ]


def test_packages_have_empty_fronts_but_for_the_public_one() -> None:
    fronts = [file for file in ROOT.rglob("__init__.py") if file.parent != ROOT]
    assert len(fronts) >= 17
    assert not [file for file in fronts if file.read_text(encoding="utf-8").strip()]


def test_the_reader_of_imports_sees_them() -> None:
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from vipcli.cli import app\nimport vipcli.api as api\n"
    )
    assert set(imports(source)) == {"typing.TYPE_CHECKING", "vipcli.cli.app", "vipcli.api"}


def test_the_picture_of_the_packages_is_fresh() -> None:
    assert PICTURE.read_text(encoding="utf-8") == picture(), "run python -m tests.architecture"


def test_no_test_module_imports_another() -> None:
    modules_of_tests = {file.stem: file for file in Path(__file__).parent.glob("test_*.py")}
    assert not [
        f"{name} imports {target}"
        for name, file in modules_of_tests.items()
        for target in imports(file.read_text(encoding="utf-8"))
        if target.startswith("tests.test_")
    ]


def test_each_class_name_stands_once() -> None:
    places: dict[str, list[str]] = {}
    for name, file in modules().items():
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(name)
    assert len(places) > 150
    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_the_core_names_no_options() -> None:
    """Advice names settings in braces, since only a front end knows how they are written there."""
    fronts = ("vipcli.__main__", "vipcli.cli", "vipcli.notebook", "vipcli.training")
    options = re.compile(r"(?<![\w-])--[a-z]")
    found = [
        f"{name}: {text}"
        for name, file in modules().items()
        if not f"{name}.".startswith(tuple(f"{front}." for front in fronts))
        for text in messages(ast.parse(file.read_text(encoding="utf-8")))
        if options.search(text)
    ]
    assert not found


def messages(tree: ast.Module) -> Iterator[str]:
    """The texts in a module that are no docstrings."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def test_functions_fit_on_a_screen() -> None:
    long = {
        f"{name}.{node.name}"
        for name, file in modules().items()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.body[0].lineno >= 50
    }
    assert not long
