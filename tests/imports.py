"""Which module of vipcli imports which, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import vipcli

ROOT = Path(vipcli.__file__).parent

# From the ground up.
FLOORS = (
    *("errors", "geometry", "memory", "files", "config", "terminal"),
    *("marks", "pictures", "checkpoints", "annotations", "asking", "engine"),
    *("chat", "picking", "serving", "batch", "api", "notebook", "cli", "__main__"),
)


def modules(root: Path = ROOT) -> dict[str, Path]:
    """Every module's file by its name; of a package, that is its __init__."""
    files = {}
    for file in sorted(root.rglob("*.py")):
        parts = ("vipcli", *file.relative_to(root).with_suffix("").parts)
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return files


def imports(source: str) -> Iterator[str]:
    """The names of what a module imports, in functions too, but not for type checking alone."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def graph() -> dict[str, set[str]]:
    """Which modules of vipcli each module imports."""
    known = modules()
    return {
        name: {
            target
            for imported in imports(file.read_text(encoding="utf-8"))
            for target in [imported if imported in known else imported.rpartition(".")[0]]
            # The package itself holds nothing but names that are looked up later, and the version.
            if target in known and target != "vipcli"
        }
        for name, file in known.items()
    }
