"""`vipcli config`: show and change saved settings."""

from __future__ import annotations

from typing import Annotated

import typer

from vipcli import config
from vipcli.cli import groups, options
from vipcli.cli.shared import origin
from vipcli.terminal import output

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The setting.", autocompletion=options.complete_setting)
]


def config_show(json: options.Json = False) -> None:
    """Show every setting, its value, and where that came from."""
    settings = config.resolve({})
    if json:
        output.write_json(
            {name: {"value": entry.value, "source": entry.source} for name, entry in settings.items()}
        )
        return
    for name, entry in settings.items():
        value = "-" if entry.value is None else str(entry.value)
        output.write(f"{name:15} {value:24} {origin(entry)}")


def config_set(
    name: Name, value: Annotated[str, typer.Argument(metavar="VALUE", help="The new value.")]
) -> None:
    """Save a value for a setting."""
    saved = config.save(name, value)
    output.note(f"{config.find(name).name} is now {saved} in {config.path()}.")


def config_unset(name: Name) -> None:
    """Return a setting to its default."""
    if config.unset(name):
        output.note(f"{config.find(name).name} is back to its default.")
    else:
        output.note(f"{config.find(name).name} was not set in {config.path()}.")


def config_path() -> None:
    """Print the path of the settings file."""
    output.write(str(config.path()))


show_command = groups.command(config_show)
set_command = groups.command(config_set)
unset_command = groups.command(config_unset)
path_command = groups.command(config_path)
