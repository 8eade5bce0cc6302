"""Lazily imported commands with help under headings: the only module that depends on Typer's internals.

It relies on these: a group keeps its commands in the mapping `commands`;
`format_help_text`, `format_options` and `format_commands` write the parts of the help; a parameter keeps its
heading in `rich_help_panel`, its names in `opts` and `secondary_opts`, and whether it is a flag in `is_flag`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

CHECKED_VERSIONS = ("0.29",)
"""The minor versions of Typer with which all of this was seen to work."""
MARK_ARGUMENTS = "vipcli.mark_arguments"

_PLAIN: dict[str, Any] = {
    # Plain help is twice as fast as Rich's boxes, and reads as well in a pipe.
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class HelpfulCommand(TyperCommand):
    """A command whose help groups options under headings and shows examples line by line."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        summary, _, examples = (self.help or "").partition("\n\n")
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(" ".join(summary.split()))
        if examples:
            with formatter.section("Examples"):
                for line in examples.splitlines():
                    if line.strip():
                        formatter.write(f"{'':{formatter.current_indent}}{line.strip()}\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if (row := param.get_help_record(ctx)) is not None:
                default_heading = "Arguments" if param.param_type_name == "argument" else "Options"
                sections.setdefault(getattr(param, "rich_help_panel", None) or default_heading, []).append(
                    row
                )
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl(rows)


class MarkingCommand(HelpfulCommand):
    """A command with marks, whose options may have no value, and whose order is kept."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        from vipcli.cli.mark_arguments import read_arguments

        params = self.get_params(ctx)
        options = {
            name: not getattr(param, "is_flag", False)
            for param in params
            for name in (*param.opts, *param.secondary_opts)
        }
        positionals = [param for param in params if param.param_type_name == "argument"]
        # Where any number of words may stand, none is missing.
        most = 0 if any(param.nargs == -1 for param in positionals) else len(positionals)
        # During shell completion, the coordinates may not have been typed yet.
        if not ctx.resilient_parsing:
            arguments = read_arguments(ctx.info_name, args, options, most)
            ctx.meta[MARK_ARGUMENTS] = arguments
            args = arguments.for_parser()
        return super().parse_args(ctx, args)


class _LazyCommands(MutableMapping[str, Any]):
    """Commands by name, each imported on first use."""

    def __init__(self, import_paths: Mapping[str, str]) -> None:
        self._import_paths = import_paths
        self._loaded: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._loaded:
            module, _, attribute = self._import_paths[name].partition(":")
            self._loaded[name] = getattr(importlib.import_module(module), attribute)
        return self._loaded[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._loaded[name] = command

    def __delitem__(self, name: str) -> None:
        raise TypeError("commands cannot be deleted")

    def __iter__(self) -> Iterator[str]:
        return iter(self._import_paths)

    def __len__(self) -> int:
        return len(self._import_paths)


class LazyGroup(TyperGroup):
    """A group that imports only the command that is run, and lists the others from a table."""

    import_paths: Mapping[str, str] = {}
    """The import path of each command: `module:name`."""
    summaries: Mapping[str, str] = {}

    _runs_subcommand = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = _LazyCommands(self.import_paths)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.import_paths)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.summaries[name]) for name in self.import_paths])

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self._runs_subcommand = bool(args) and args[0] in self.import_paths
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        # Parsing the group's own options loads pydantic, which takes a third of the time of --help.
        return [] if self._runs_subcommand else super().get_params(ctx)


def group(help: str, commands: Mapping[str, tuple[str, str]], *, completion: bool = False) -> typer.Typer:
    """A group of commands, from a table of name → (`module:name`, summary)."""
    members = {
        "import_paths": {name: path for name, (path, _) in commands.items()},
        "summaries": {name: summary for name, (_, summary) in commands.items()},
    }
    return typer.Typer(
        cls=type("Group", (LazyGroup,), members),
        help=help,
        invoke_without_command=True,
        add_completion=completion,
        **_PLAIN,
    )


def command(function: Callable[..., None], *, marks: bool = False) -> Any:
    """Make a command from a function whose parameters are arguments and options."""
    app = typer.Typer(add_completion=False, **_PLAIN)
    app.command(cls=MarkingCommand if marks else HelpfulCommand)(function)
    return typer.main.get_command(app)
