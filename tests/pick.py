"""Place marks in a terminal: `pick.py OUT OPTIONS PICTURE…` writes to OUT, as JSON, how it ended."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from vipcli.marks.kinds import parse_mark, parse_unplaced
from vipcli.picking.canvas import Canvas, PickingCancelled
from vipcli.picking.terminal_picker import can_pick_in_terminal, pick_in_terminal
from vipcli.pictures.images import open_picture
from vipcli.pictures.videos import Video


def main(out: Path, options: dict[str, Any], names: list[str]) -> None:
    """Run the picker with these options, and write the result."""

    def on_shown() -> None:
        out.with_suffix(".pid").write_text(str(os.getpid()), encoding="utf-8")
        if options.get("fail"):
            raise RuntimeError("This fails.")

    slots = [parse_unplaced(kind, text) or parse_mark(kind, text) for kind, text in options.get("slots", [])]
    pictures = [open_picture(name) for name in names]
    video = Video("film.mp4", 90, 30, tuple(range(len(names)))) if options.get("video") else None
    canvas = Canvas(pictures, slots, video=video)
    try:
        placed = pick_in_terminal(
            canvas, question=options.get("question"), asks=bool(options.get("asks")), on_shown=on_shown
        )
    except PickingCancelled:
        result: dict[str, Any] = {"cancelled": True}
    else:
        result = {
            "slots": [None if mark is None else f"{mark.kind} {mark.text}" for mark in placed.by_slot],
            "others": [f"{mark.kind} {mark.text}" for mark in placed.others],
            "question": placed.question,
        }
    out.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    assert can_pick_in_terminal()
    main(Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
