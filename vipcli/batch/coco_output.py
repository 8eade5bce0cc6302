"""Copy a COCO file with questions and answers added to its annotations."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vipcli.batch.rows import Row, region_ids
from vipcli.errors import UsageError
from vipcli.files import replace_file


def load_coco(source: Path) -> dict[str, Any]:
    """The content of a COCO file, checked enough for adding answers."""
    try:
        content = json.loads(source.read_bytes())
        if any(not isinstance(entry, dict) or "id" not in entry for entry in content["annotations"]):
            raise ValueError("an annotation has no id")
        return dict(content)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(
            f"The file {str(source)!r} is not a COCO file, so answers cannot be added to it.",
            "Leave out {coco_out}.",
        ) from error


def write_coco_answers(source: Path, target: Path, rows: Iterable[Row]) -> None:
    """Write a copy of a COCO file in which each annotation with a row has its question and answer."""
    content = load_coco(source)
    annotations = {str(annotation["id"]): annotation for annotation in content["annotations"]}
    for row in rows:
        for id in region_ids(row):
            if id in annotations:
                annotations[id] |= {name: row[name] for name in ("question", "answer", "error")}
    replace_file(target, json.dumps(content, ensure_ascii=False).encode(errors="backslashreplace"))
