"""List known and cached checkpoints, and describe one. Does not import torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from vipcli.checkpoints import hub_cache, lookup
from vipcli.checkpoints.catalog import BUNDLED, BY_HUB_NAME, KNOWN, PRECISIONS
from vipcli.errors import ModelError


@dataclass(frozen=True, slots=True)
class ListedCheckpoint:
    """A checkpoint in the list."""

    name: str
    family: str
    parameters: int | None
    size: int | None
    """Bytes in the cache; None if it is not there."""
    default: bool
    unfinished: bool = False
    """Whether its download was stopped."""


def list_checkpoints(default: Any) -> list[ListedCheckpoint]:
    """List all checkpoints that are known or in the cache, the bundled one first."""
    cached_sizes = {checkpoint.name: checkpoint.size for checkpoint in hub_cache.cached_checkpoints()}
    rows = [_bundled_row(is_default=default == BUNDLED)]
    for known in KNOWN.values():
        is_default = default in (known.short_name, known.hub_name)
        size = cached_sizes.pop(known.hub_name, None)
        unfinished = size is not None and _is_unfinished(known.hub_name)
        family = known.family.name
        rows.append(
            ListedCheckpoint(known.short_name, family, known.parameters, size, is_default, unfinished)
        )
    rows += [_unlisted_row(name, size, is_default=default == name) for name, size in cached_sizes.items()]
    if not any(row.default for row in rows):
        rows.append(ListedCheckpoint(str(default), "", None, None, True))
    return rows


def _bundled_row(*, is_default: bool) -> ListedCheckpoint:
    bundled = lookup.find(BUNDLED)
    assert bundled.folder is not None
    size = sum(file.stat().st_size for file in bundled.folder.iterdir())
    return ListedCheckpoint(BUNDLED, bundled.family.name, _parameter_count(bundled), size, is_default)


def _is_unfinished(name: str) -> bool:
    try:
        return lookup.peek(name).folder is None
    # A damaged checkpoint does not count as an unfinished download.
    except ModelError:
        return False


def _unlisted_row(name: str, size: int, *, is_default: bool) -> ListedCheckpoint:
    """Describe a cached checkpoint that vipcli may not know; other tools share the cache."""
    try:
        checkpoint = lookup.peek(name)
        if checkpoint.folder is None:
            return ListedCheckpoint(name, "", None, size, is_default, unfinished=True)
        family = checkpoint.family.name
        return ListedCheckpoint(name, family, _parameter_count(checkpoint), size, is_default)
    except ModelError:
        return ListedCheckpoint(name, "", None, size, is_default)


def checkpoint_info(name: str) -> dict[str, Any]:
    """Return what is known about a checkpoint without downloading it."""
    checkpoint = lookup.peek(name)
    known = BY_HUB_NAME.get(checkpoint.name)
    family = None if checkpoint.family_is_guess else checkpoint.family
    limits = known.limits if known else family.limits if family else None
    facts: dict[str, Any] = {
        "name": checkpoint.name,
        "short": None if known is None else known.short_name,
        "family": family.name if family else None,
        "limits": limits,
        "parameters": _parameter_count(checkpoint) if known is None else known.parameters,
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
        facts |= {"licence": known.license, "download": known.download, "memory": memory}
    elif checkpoint.folder is not None:
        folder = checkpoint.folder
        facts["memory"] = {str(bits): lookup.memory_needed(folder, bits) for bits in PRECISIONS}
    return facts


def _parameter_count(checkpoint: lookup.Checkpoint) -> int | None:
    """Count the parameters in a checkpoint's files; None if it is not downloaded."""
    if checkpoint.folder is None:
        return None
    return sum(math.prod(shape) for shape in lookup.weight_shapes(checkpoint.folder).values())
