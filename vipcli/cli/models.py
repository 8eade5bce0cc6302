"""`vipcli models`: list, describe, download and remove checkpoints, and choose the default."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipcli import config
from vipcli.cli import groups, options
from vipcli.cli.shared import TerminalEvents, origin
from vipcli.config import Settings
from vipcli.errors import UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.checkpoints.listing import ListedCheckpoint


def models_list(json: options.Json = False) -> None:
    """List the checkpoints that are known or in the cache, and which one is the default."""
    from vipcli.checkpoints import listing

    rows = listing.list_checkpoints(config.resolve({})["model"].value)
    if json:
        output.write_json([asdict(row) for row in rows])
        return
    for row in rows:
        output.write(_format_row(row))


def models_info(name: options.ModelName, json: options.Json = False) -> None:
    """Describe a checkpoint, without downloading it."""
    from vipcli.checkpoints import listing

    facts = listing.checkpoint_info(name)
    if json:
        output.write_json(facts)
        return
    for label, text in _describe(facts):
        output.write(f"{label:11} {text}")


def _format_row(row: ListedCheckpoint) -> str:
    from vipcli.checkpoints.hub_cache import format_size

    star = "*" if row.default else " "
    size = "-" if row.size is None else format_size(row.size)
    unfinished = " unfinished" if row.unfinished else ""
    return f"{star} {row.name:26} {row.family:16} {_billions(row.parameters):>7} {size:>9}{unfinished}"


def _describe(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield labels and texts for what is known about a checkpoint."""
    from vipcli.checkpoints.hub_cache import format_size

    short_name = f" ({facts['short']})" if facts["short"] else ""
    yield "name", f"{facts['name']}{short_name}"
    if facts["family"] is None:
        yield "family", "not known before it is downloaded"
    else:
        yield "family", f"{facts['family']}. {facts['limits']}"
    if facts["parameters"] is not None:
        yield "parameters", _billions(facts["parameters"])
    for bits, memory in facts["memory"].items():
        yield f"{bits} bits", f"takes {format_size(memory)} of memory"
    if facts["family"] is not None:
        yield "prompt", options.as_option("prompt", facts["prompt"])
        yield "input", f"{facts['input_size']} × {facts['input_size']} pixels"
    if facts["licence"] is not None:
        yield "license", facts["licence"]
    if facts["folder"] is not None:
        yield "folder", facts["folder"]
    elif facts["download"] is not None:
        yield "folder", f"not downloaded ({format_size(facts['download'])})"
    else:
        yield "folder", "not downloaded"


def _billions(parameters: int | None) -> str:
    if parameters is None:
        return "-"
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e8 else f"{parameters / 1e6:.0f} M"


def models_pull(
    name: options.ModelName,
    *,
    settings: Annotated[Settings, options.REVISION_OPTIONS],
    quiet: options.Quiet = False,
) -> None:
    """Download a checkpoint, or the files of it that are missing."""
    from vipcli.checkpoints import lookup

    hub_name = lookup.hub_name(name)
    events = _DownloadEvents(quiet=quiet)
    offline = config.resolve({})["offline"]
    if offline.value:
        checkpoint = lookup.peek(hub_name, revision=settings.revision)
        if checkpoint.folder is None:
            raise UsageError(
                f"{hub_name} is not downloaded, and the setting offline is on ({origin(offline)})."
            )
    else:
        checkpoint = lookup.find(hub_name, revision=settings.revision, on_fetch=events.fetching)
    if not quiet:
        output.note(f"Downloaded {hub_name}." if events.downloaded else f"{hub_name} was already downloaded.")
    output.write(str(checkpoint.folder))


class _DownloadEvents(TerminalEvents):
    """Shows downloads, and remembers whether there was one."""

    downloaded = False

    def fetching(self, name: str, size: int) -> None:
        self.downloaded = True
        super().fetching(name, size)


def models_rm(
    name: options.ModelName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove a checkpoint from the cache."""
    from vipcli.checkpoints import hub_cache, lookup

    hub_name = lookup.hub_name(name)
    size = next((entry.size for entry in hub_cache.cached_checkpoints() if entry.name == hub_name), None)
    if size is not None and not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"This would remove {hub_cache.format_size(size)}.", "Confirm with {yes}.")
        if not typer.confirm(f"Remove {hub_name} ({hub_cache.format_size(size)})?", err=True):
            return
    output.note(f"Removed {hub_name}, which frees {hub_cache.format_size(hub_cache.remove(hub_name))}.")


def models_use(name: options.ModelName) -> None:
    """Make a checkpoint the default, as `vipcli config set model NAME` does."""
    from vipcli.checkpoints import lookup
    from vipcli.checkpoints.catalog import BUNDLED

    checkpoint = lookup.peek(name)
    # Report a damaged settings file before anything is written to it.
    config.resolve({})
    if lookup.is_local(name) and name != BUNDLED:
        # A relative path would not work from another folder.
        name = str(Path(name).expanduser().absolute())
    config.save("model", name)
    output.note(f"{name} is now the default.")
    if (model := config.resolve({})["model"]).source == "environment":
        output.note(
            f"{model.setting.variable} is set to {model.value}, which takes precedence until it is unset."
        )
    if checkpoint.folder is None:
        output.note(
            f"It is not downloaded yet. Run vipcli models pull {name}, or let the first question download it."
        )


list_command = groups.command(models_list)
info_command = groups.command(models_info)
pull_command = groups.command(options.expand_groups(models_pull))
rm_command = groups.command(models_rm)
use_command = groups.command(models_use)
