"""Questions: their words for the marks, and one to ask where none was asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from vipcli.errors import PromptError
from vipcli.marks.kinds import Mark

_NUMBERED = re.compile(r"\{\{([0-9]+)\}\}|\{([0-9]+)\}")


def fill_in(question: str, marks: Sequence[Mark]) -> str:
    """The question with `{1}`, `{2}` … replaced by the phrases of those marks; `{{1}}` stays as `{1}`."""

    def phrase(match: re.Match[str]) -> str:
        escaped, number = match.groups()
        if escaped:
            return f"{{{escaped}}}"
        if len(number) > 9 or not 1 <= int(number) <= len(marks):
            there = {0: "there are no marks", 1: "there is one mark"}.get(
                len(marks), f"there are {len(marks)} marks"
            )
            raise PromptError(
                f"The question speaks of mark {{{number[:20]}}}, but {there}. Marks count from {{1}}."
            )
        return marks[int(number) - 1].phrase

    return _NUMBERED.sub(phrase, question)


def default_question(marks: Sequence[Mark], pictures: int | Literal["video"] = 1) -> str:
    """A sensible question where none was asked."""
    if not marks:
        what = "this video" if pictures == "video" else "this picture" if pictures == 1 else "these pictures"
        return f"What is shown in {what}?"
    things = [f"what is the object {mark.phrase}" for mark in marks]
    listed = things[0] if len(things) == 1 else f"{', '.join(things[:-1])}, and {things[-1]}"
    return f"{listed[0].upper()}{listed[1:]}?"


_WORDS = {
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
    """The numbers of the marks that a filled-in question says nothing of."""
    words = set(re.findall(r"[a-z]+", question.lower()))
    return [
        number
        for number, mark in enumerate(marks, 1)
        if words.isdisjoint(_WORDS[mark.kind]) and words.isdisjoint(word + "s" for word in _WORDS[mark.kind])
    ]
