"""The reference page, written from the live command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any

import typer.main

import vipcli
from vipcli.cli.app import app
from vipcli.config import SETTINGS
from vipcli.errors import FAILED, INTERRUPTED, SOME_FAILED, USAGE_ERROR

PAGE = Path(vipcli.__file__).with_name("docs") / "reference.md"

_HEAD = f"""# Reference

Every command and option, written from the program itself by `python -m vipcli.cli.reference`.

Answers go to standard output, notes and errors to standard error. Exit codes: 0 success, {FAILED} failure,
{USAGE_ERROR} usage error, {SOME_FAILED} a batch with failed items, {INTERRUPTED} interrupted.
"""

_FOOT = """
## Settings

Each is taken from its option, else its environment variable, else the file that `vipcli config path` names,
else its default.

| setting | environment | default | |
| --- | --- | --- | --- |
"""


def reference() -> str:
    """The whole page."""
    return _HEAD + "".join(_command("vipcli", typer.main.get_command(app))) + _FOOT + "".join(_settings())


def _command(name: str, command: Any) -> Iterator[str]:
    yield f"\n## {name}\n\n{_paragraphs(command.help)}\n"
    yield from _table("argument", [param for param in command.params if param.param_type_name == "argument"])
    yield from _table("option", [param for param in command.params if param.param_type_name == "option"])
    for child in sorted(getattr(command, "commands", {})):
        yield from _command(f"{name} {child}", command.commands[child])


def _paragraphs(help: str | None) -> str:
    first, *examples = (help or "").strip().split("\n\n")
    return "\n\n".join([first, *(indent(example.strip(), "    ") for example in examples)])


def _table(kind: str, params: list[Any]) -> Iterator[str]:
    if not params:
        return
    yield f"\n| {kind} | |\n| --- | --- |\n"
    for param in params:
        yield f"| {_names(param)} | {_cell(param.help or '')} |\n"


def _names(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar}`"
    value = "" if param.is_flag else f" {param.metavar or 'TEXT'}"
    names = [f"`{_cell(name + value)}`" for name in sorted(param.opts, key=len, reverse=True)]
    return ", ".join([*names, *(f"`{name}`" for name in param.secondary_opts)])


def _settings() -> Iterator[str]:
    for setting in SETTINGS.values():
        default = "" if setting.default is None else f"`{setting.default}`"
        yield f"| `{setting.name}` | `{setting.variable}` | {default} | {_cell(setting.help)} |\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
