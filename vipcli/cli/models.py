"""`vipcli models`: the checkpoints that are known, and those that are here."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from vipcli import config
from vipcli.cli import groups, options
from vipcli.cli.shared import TerminalEvents, origin
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output


def models_list(json: options.Json = False) -> None:
    """List the checkpoints that are known or in the cache, and which one is the default."""
    from vipcli.checkpoints import listing

    rows = listing.everything(config.resolve({})["model"].value)
    if json:
        output.say_json([asdict(row) for row in rows])
        return
    for row in rows:
        output.say(listing.line(row))


def models_info(name: options.ModelName, json: options.Json = False) -> None:
    """Describe a checkpoint, without fetching it."""
    from vipcli.checkpoints import listing

    facts = listing.info(name)
    if json:
        output.say_json(facts)
        return
    for what, text in listing.sentences(facts):
        output.say(f"{what:11} {text}")


def models_pull(
    name: options.ModelName,
    *,
    settings: Annotated[Settings, options.REVISION_OPTIONS],
    quiet: options.Quiet = False,
) -> None:
    """Fetch a checkpoint, or what is still missing of it."""
    from vipcli.checkpoints import lookup

    hub_name = lookup.hub_name(name)
    events = _Fetching(quiet=quiet)
    offline = config.resolve({})["offline"]
    if offline.value:
        found = lookup.peek(hub_name, revision=settings.revision)
        if found.folder is None:
            raise UsageError(f"{hub_name} is not here, and the setting offline is on ({origin(offline)}).")
    else:
        found = lookup.find(hub_name, revision=settings.revision, on_fetch=events.fetching)
    if not quiet:
        output.note(f"{hub_name} is here." if events.fetched else f"{hub_name} was here already.")
    output.say(str(found.folder))


class _Fetching(TerminalEvents):
    """Knows whether anything was fetched."""

    fetched = False

    def fetching(self, name: str, size: int) -> None:
        self.fetched = True
        super().fetching(name, size)


def models_rm(
    name: options.ModelName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Remove a checkpoint from the cache."""
    from vipcli.checkpoints import hub_cache, lookup

    hub_name = lookup.hub_name(name)
    size = next((entry.size for entry in hub_cache.cached_checkpoints() if entry.name == hub_name), None)
    if size is not None and not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"This would remove {hub_cache.format_size(size)}. Say --yes to do it without asking."
            )
        if not typer.confirm(f"Remove {hub_name} ({hub_cache.format_size(size)})?", err=True):
            return
    output.note(f"{hub_name} is gone; {hub_cache.format_size(hub_cache.remove(hub_name))} are free.")


def models_use(name: options.ModelName) -> None:
    """Make a checkpoint the default, as `vipcli config set model NAME` does."""
    from vipcli.checkpoints import lookup
    from vipcli.checkpoints.catalog import BUNDLED

    checkpoint = lookup.peek(name)
    # A damaged file is told of before anything is written.
    config.resolve({})
    if lookup.is_local(name) and name != BUNDLED:
        # What it leads to from here, it leads to from nowhere else.
        name = str(Path(name).expanduser().absolute())
    config.keep("model", name)
    output.note(f"{name} is now the default.")
    if (found := config.resolve({})["model"]).source == "environment":
        output.note(f"{found.setting.variable} is set to {found.value}, which wins until it is unset.")
    if checkpoint.folder is None:
        output.note(f"It is not here yet: vipcli models pull {name} fetches it, as the first question does.")


list_command = groups.command(models_list)
info_command = groups.command(models_info)
pull_command = groups.command(options.expanded(models_pull))
rm_command = groups.command(models_rm)
use_command = groups.command(models_use)
