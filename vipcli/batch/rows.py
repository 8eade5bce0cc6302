"""The content of a row, as an object and as the cells of a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

IDENTITY = "identity"
"""The key of a digest of everything that determines the row: pictures, question, model and settings."""

COLUMNS: dict[str, Callable[[Row], Any]] = {
    "id": lambda row: row["id"],
    "image": lambda row: row["image"],
    "region": lambda row: ", ".join(region["id"] for region in row["regions"]),
    "label": lambda row: ", ".join(region["label"] for region in row["regions"]),
    "question": lambda row: row["question"],
    "answer": lambda row: row["answer"],
    "ended": lambda row: row.get("ended"),
    "probability": lambda row: row.get("probability"),
    "choices": lambda row: row.get("choices"),
    "error": lambda row: row["error"],
    "width": lambda row: _first_image(row).get("width"),
    "height": lambda row: _first_image(row).get("height"),
    "sha256": lambda row: _first_image(row).get("sha256"),
    "marks": lambda row: row.get("marks"),
    "notes": lambda row: row.get("notes"),
    "prompt": lambda row: row.get("prompt"),
    "tokens": lambda row: row.get("tokens"),
    "model": lambda row: row.get("model"),
    "sampling": lambda row: row.get("sampling"),
    "logprobs": lambda row: row.get("logprobs"),
    "versions": lambda row: row.get("versions"),
    IDENTITY: lambda row: row[IDENTITY],
}
"""The columns of a table, in order, and how to read their values from a row."""


def _first_image(row: Row) -> Mapping[str, Any]:
    images: list[Mapping[str, Any]] = row.get("images") or [{}]
    return images[0]


def field_columns(names: Sequence[str]) -> list[str]:
    """The titles of the columns for the fields of answers."""
    return [cell_text(f"field.{name}") for name in names]


def flatten(row: Row, extra_titles: Mapping[str, str], fields: Sequence[str] = ()) -> dict[str, Any]:
    """A row as one value per column.

    `extra_titles` are the columns of the item's extra fields, and `fields` the answer's fields with a column.
    """
    values = {name: read(row) for name, read in COLUMNS.items()}
    answered = row.get("fields")
    answered = answered if isinstance(answered, dict) else {}
    values |= {title: answered.get(name) for title, name in zip(field_columns(fields), fields, strict=True)}
    return values | {title: row["extra"].get(name) for name, title in extra_titles.items()}


def extra_column_titles(names: Sequence[str], fields: Sequence[str] = ()) -> dict[str, str]:
    """Unique column titles for extra fields, some of which may have the name of a table column."""
    columns = {*COLUMNS, *field_columns(fields)}
    taken = {*columns, *names}
    titles: dict[str, str] = {}
    for name in names:
        title = name
        if name in columns:
            while title in taken:
                title = f"task_{title}"
        titles[name] = title
    return titles


def cell_text(value: Any) -> str:
    """A value as the text of a cell: JSON unless it is text."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    # A file name may contain bytes that are not UTF-8.
    return text.encode(errors="backslashreplace").decode()


def region_ids(row: Row) -> list[str]:
    """The ids of the regions that a row is about, whether it was read from JSON or from a table."""
    if isinstance(row.get("regions"), list):
        return [region["id"] for region in row["regions"]]
    return [id for id in str(row.get("region", "")).split(", ") if id]
