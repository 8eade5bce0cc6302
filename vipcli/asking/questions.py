"""Replace `{1}` in a question by the mark's phrase, or make up a question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from vipcli.errors import PromptError
from vipcli.marks.kinds import Mark

_NUMBERED = re.compile(r"\{\{([0-9]+)\}\}|\{([0-9]+)\}")


def fill_in(question: str, marks: Sequence[Mark]) -> str:
    """Replace `{1}`, `{2}` … by the phrases of those marks; `{{1}}` becomes a plain `{1}`."""

    def phrase(match: re.Match[str]) -> str:
        escaped, number = match.groups()
        if escaped:
            return f"{{{escaped}}}"
        if len(number) > 9 or not 1 <= int(number) <= len(marks):
            available = {0: "there are no marks", 1: "there is one mark"}.get(
                len(marks), f"there are {len(marks)} marks"
            )
            raise PromptError(
                f"The question mentions mark {{{number[:20]}}}, but {available}. The first is {{1}}."
            )
        return marks[int(number) - 1].phrase

    return _NUMBERED.sub(phrase, question)


def escape(text: str) -> str:
    """A question that `fill_in` turns into this text: braces around a number are doubled."""
    return re.sub(r"\{([0-9]+)\}", r"{{\1}}", text)


def default_question(marks: Sequence[Mark], pictures: int | Literal["video"] = 1) -> str:
    """Make up a question about the marks, or about the whole picture if there are none."""
    if not marks:
        subject = (
            "this video" if pictures == "video" else "this picture" if pictures == 1 else "these pictures"
        )
        return f"What is shown in {subject}?"
    parts = [f"what is the object {mark.phrase}" for mark in marks]
    question = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"
    return f"{question[0].upper()}{question[1:]}?"


_KIND_WORDS = {
    "box": ("rectangle", "box", "square"),
    "ellipse": ("ellipse", "circle", "oval"),
    "triangle": ("triangle",),
    "point": ("point", "dot"),
    "arrow": ("arrow",),
    "scribble": ("scribble",),
    "contour": ("contour", "outline"),
    "mask": ("mask",),
}


def unmentioned(question: str, marks: Sequence[Mark]) -> list[int]:
    """Return the numbers of the marks whose kind a filled-in question does not mention."""
    words = set(re.findall(r"[a-z]+", question.lower()))
    return [
        number
        for number, mark in enumerate(marks, 1)
        if words.isdisjoint(_KIND_WORDS[mark.kind])
        and words.isdisjoint(word + "s" for word in _KIND_WORDS[mark.kind])
    ]
