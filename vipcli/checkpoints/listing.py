"""The checkpoints at hand: what is known of each, and what of it is here. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from vipcli.checkpoints import hub_cache, lookup
from vipcli.checkpoints.catalog import BUNDLED, BY_HUB_NAME, KNOWN, PRECISIONS
from vipcli.errors import ModelError


@dataclass(frozen=True, slots=True)
class Row:
    """A checkpoint in the list."""

    name: str
    family: str
    parameters: int | None
    size: int | None
    """Bytes in the cache; None where it is not here."""
    default: bool
    unfinished: bool = False
    """Whether its download was stopped."""


def everything(default: Any) -> list[Row]:
    """All that is known or in the cache, what comes with vipcli first."""
    here = {one.name: one.size for one in hub_cache.cached_checkpoints()}
    bundled = lookup.find(BUNDLED)
    assert bundled.folder is not None
    size = sum(file.stat().st_size for file in bundled.folder.iterdir())
    rows = [Row(BUNDLED, bundled.family.name, _counted(bundled), size, default == BUNDLED)]
    for known in KNOWN.values():
        chosen = default in (known.short_name, known.hub_name)
        kept = here.pop(known.hub_name, None)
        half = kept is not None and _unfinished(known.hub_name)
        rows.append(Row(known.short_name, known.family.name, known.parameters, kept, chosen, half))
    rows += [_found(name, size, chosen=default == name) for name, size in here.items()]
    if not any(row.default for row in rows):
        rows.append(Row(str(default), "", None, None, True))
    return rows


def _unfinished(name: str) -> bool:
    try:
        return lookup.peek(name).folder is None
    # Damaged is another matter.
    except ModelError:
        return False


def _found(name: str, size: int, *, chosen: bool) -> Row:
    """A checkpoint in the cache that is not among the known; other tools keep theirs there, too."""
    try:
        checkpoint = lookup.peek(name)
        if checkpoint.folder is None:
            return Row(name, "", None, size, chosen, unfinished=True)
        return Row(name, checkpoint.family.name, _counted(checkpoint), size, chosen)
    except ModelError:
        return Row(name, "", None, size, chosen)


def line(row: Row) -> str:
    """A checkpoint on one line."""
    star = "*" if row.default else " "
    size = "-" if row.size is None else hub_cache.format_size(row.size)
    half = " unfinished" if row.unfinished else ""
    return f"{star} {row.name:26} {row.family:16} {_billions(row.parameters):>7} {size:>9}{half}"


def info(name: str) -> dict[str, Any]:
    """All that is known of a checkpoint without fetching it."""
    checkpoint = lookup.peek(name)
    known = BY_HUB_NAME.get(checkpoint.name)
    family = None if checkpoint.assumed else checkpoint.family
    limits = known.limits if known else family.limits if family else None
    facts: dict[str, Any] = {
        "name": checkpoint.name,
        "short": None if known is None else known.short_name,
        "family": family.name if family else None,
        "limits": limits,
        "parameters": _counted(checkpoint) if known is None else known.parameters,
        "prompt": family.form if family else None,
        "input_size": checkpoint.input_size if family else None,
        "revision": checkpoint.revision,
        "folder": None if checkpoint.folder is None else str(checkpoint.folder),
        "licence": None,
        "download": None,
        "memory": {},
    }
    if known is not None:
        memory = {str(bits): known.memory(bits) for bits in PRECISIONS}
        facts |= {"licence": known.licence, "download": known.download, "memory": memory}
    elif checkpoint.folder is not None:
        folder = checkpoint.folder
        facts["memory"] = {str(bits): lookup.memory_needed(folder, bits) for bits in PRECISIONS}
    return facts


def sentences(facts: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What `info` found, for people."""
    short = f" ({facts['short']})" if facts["short"] else ""
    yield "name", f"{facts['name']}{short}"
    if facts["family"] is None:
        yield "family", "not known before it is fetched"
    else:
        yield "family", f"{facts['family']}. {facts['limits']}"
    if facts["parameters"] is not None:
        yield "parameters", _billions(facts["parameters"])
    for bits, memory in facts["memory"].items():
        yield f"{bits} bits", f"takes {hub_cache.format_size(memory)} of memory"
    if facts["family"] is not None:
        yield "prompt", f"--prompt {facts['prompt']}"
        yield "input", f"{facts['input_size']} × {facts['input_size']} pixels"
    if facts["licence"] is not None:
        yield "licence", facts["licence"]
    if facts["folder"] is not None:
        yield "here", facts["folder"]
    elif facts["download"] is not None:
        yield "here", f"no; {hub_cache.format_size(facts['download'])} to fetch"
    else:
        yield "here", "no"


def _counted(checkpoint: lookup.Checkpoint) -> int | None:
    """How many parameters the files of a checkpoint hold."""
    if checkpoint.folder is None:
        return None
    return sum(math.prod(shape) for shape in lookup.weight_shapes(checkpoint.folder).values())


def _billions(parameters: int | None) -> str:
    if parameters is None:
        return "-"
    return f"{parameters / 1e9:.1f} B" if parameters >= 1e8 else f"{parameters / 1e6:.0f} M"
