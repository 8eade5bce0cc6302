"""Save the marked pictures of items, each under a name made from the item's id."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from vipcli.asking.values import MarkedInput
from vipcli.batch.items import Item
from vipcli.errors import OutputError
from vipcli.pictures.images import save_picture

_MAX_NAME_BYTES = 200
"""Most file systems allow names of 255 bytes; the suffix needs some of them."""


def save(folder: Path, item: Item, marked: MarkedInput) -> None:
    """Write the marked pictures of an item."""
    for marked_picture, target in zip(
        marked.pictures, paths(folder, item, len(marked.pictures)), strict=True
    ):
        parent = target.parent
        if any(parent.resolve() == Path(name).parent.resolve() for name in item.images):
            # The next batch would ask about the marked pictures too.
            raise OutputError(
                f"The folder {str(parent)!r} contains the original pictures.",
                "Choose another folder for {save_marked}.",
            )
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"The folder {str(parent)!r} cannot be created: {error.strerror}.") from error
        save_picture(marked_picture.pixels, target, sources=item.images)


def paths(folder: Path, item: Item, count: int) -> list[Path]:
    """The paths of an item's marked pictures, numbered if there are several."""
    stem = _relative_stem(item)
    stems = [stem] if count == 1 else [f"{stem}-{number}" for number in range(1, count + 1)]
    return [folder / f"{name}.png" for name in stems]


def _relative_stem(item: Item) -> str:
    """A path made from the item's id that is valid everywhere and stays inside its folder."""
    id = re.sub(r"[\x00-\x1f\x7f\\:*?\"<>|\ud800-\udfff]", "_", item.id.replace("://", "/"))
    parts = [part for part in id.split("/") if part not in ("", "..", ".")]
    short = [part if len(part.encode()) <= _MAX_NAME_BYTES else _shorten(part) for part in parts]
    return "/".join(short) or "item"


def _shorten(name: str) -> str:
    return f"{name[:40]}-{hashlib.blake2b(name.encode(), digest_size=8).hexdigest()}"
