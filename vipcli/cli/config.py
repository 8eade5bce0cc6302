"""`vipcli config`: the settings that are saved."""

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
        output.say_json(
            {name: {"value": found.value, "source": found.source} for name, found in settings.items()}
        )
        return
    for name, found in settings.items():
        value = "-" if found.value is None else str(found.value)
        output.say(f"{name:15} {value:24} {origin(found)}")


def config_set(
    name: Name, value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")]
) -> None:
    """Save a value for a setting."""
    saved = config.keep(name, value)
    output.note(f"{config.find(name).name} is now {saved} in {config.path()}.")


def config_unset(name: Name) -> None:
    """Go back to a setting's default."""
    if config.forget(name):
        output.note(f"{config.find(name).name} is back to its default.")
    else:
        output.note(f"{config.find(name).name} was not kept in {config.path()}.")


def config_path() -> None:
    """Print where the settings are saved."""
    output.say(str(config.path()))


show_command = groups.command(config_show)
set_command = groups.command(config_set)
unset_command = groups.command(config_unset)
path_command = groups.command(config_path)
