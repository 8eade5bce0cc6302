"""A question about a scene with its answer, and what is known about the two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Ability = Literal[
    "recognition",
    "reading",
    "knowledge",
    "mathematics",
    "relations",
    "description",
    "whole",
    "absent",
    "foreign",
]

NOTHING = "nothing"
"""The answer about a mark on empty ground."""

ABILITY_WEIGHTS: dict[Ability, int] = {
    "recognition": 28,
    "reading": 10,
    "knowledge": 12,
    "mathematics": 24,
    "relations": 22,
    "description": 8,
    "whole": 7,
    "absent": 7,
}
"""How often each ability opens a conversation, among those that a scene offers."""


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """A question and its answer."""

    question: str
    answer: str
    family: str
    ability: Ability
    marks: tuple[int, ...]
    """Indices in `scene.marks` of the marks asked about; empty for the whole picture or an absent mark."""
    facts: tuple[str, ...] = ()
    """For a description, its separate facts, each a substring of the answer."""
    follow_up: bool = False
    """Whether it is a later turn of a conversation."""
    mark_names: tuple[tuple[str, str], ...] = ()
    """Kind and color of the marks asked about, present or not."""
    evidence: tuple[int, ...] | None = None
    """Indices in `scene.things` of the things that settle the answer, besides the marks. Empty if the answer
    is that there is no such thing; None if no particular things settle it."""
    mentioned: str = ""
    """The kind, color, texture or size that the question mentions."""


Conversation = tuple[QuestionAnswer, ...]
