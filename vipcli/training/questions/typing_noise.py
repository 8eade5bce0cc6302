"""Vary a question as people would type it: case, punctuation, small typos, words around it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from vipcli.marks.colors import ALIASES, NAMED
from vipcli.marks.kinds import BY_KIND
from vipcli.marks.kinds import KINDS as MARKS
from vipcli.training.questions.wordings import LEAD_INS, PLURALS, SHORT_ANSWER_REQUEST, SIGNIFICANT_WORDS
from vipcli.training.world.facts import COLORS, KINDS, PLACES, USES


def _split_words(*texts: str) -> Iterator[str]:
    for text in texts:
        yield from text.lower().split()


_PROTECTED_WORDS = frozenset(
    word
    for base in _split_words(
        *NAMED,
        *ALIASES,
        *COLORS,
        *(mark.noun for mark in MARKS),
        *BY_KIND,
        *KINDS,
        *PLURALS.values(),
        *USES.values(),
        *(place for row in PLACES for place in row),
        SIGNIFICANT_WORDS,
    )
    for word in (base, f"{base}s")
)
_LONG_WORD = re.compile(r"[A-Za-z]{5,}")


def is_protected(word: str) -> bool:
    """Whether the word matters to the question, so that it must not be misspelled."""
    return word.lower() in _PROTECTED_WORDS


def add_typing_noise(text: str, rng: random.Random, *, brief: bool = True) -> str:
    """Vary a question as people would type it, without changing its meaning; about half stay as they are.

    `brief` allows a request for a short answer to be appended.
    """
    roll = rng.random()
    for chance, vary in _VARIATIONS:
        roll -= chance
        if roll < 0:
            return text if vary is _request_short_answer and not brief else vary(text, rng)
    return text


def _to_lower(text: str, rng: random.Random) -> str:
    return text.lower()


def _to_upper(text: str, rng: random.Random) -> str:
    return text.upper()


def _drop_punctuation(text: str, rng: random.Random) -> str:
    return text.rstrip("?.")


def _lower_and_drop_punctuation(text: str, rng: random.Random) -> str:
    return text.lower().rstrip("?.")


def _add_lead_in(text: str, rng: random.Random) -> str:
    lead_in, lowercase = rng.choice(LEAD_INS)
    if lowercase and not text.startswith("I "):
        text = text[0].lower() + text[1:]
    return lead_in + text


def _request_short_answer(text: str, rng: random.Random) -> str:
    return text + rng.choice(" \n") + SHORT_ANSWER_REQUEST


def _misspell(text: str, rng: random.Random) -> str:
    words = [match for match in _LONG_WORD.finditer(text) if not is_protected(match[0])]
    if not words:
        return text
    match = rng.choice(words)
    misspelled = rng.choice((_swap_letters, _drop_letter, _double_letter))(
        match[0], rng.randrange(1, len(match[0]) - 1)
    )
    return text if is_protected(misspelled) else text[: match.start()] + misspelled + text[match.end() :]


def _swap_letters(word: str, index: int) -> str:
    return word[:index] + word[index + 1] + word[index] + word[index + 2 :]


def _drop_letter(word: str, index: int) -> str:
    return word[:index] + word[index + 1 :]


def _double_letter(word: str, index: int) -> str:
    return word[: index + 1] + word[index:]


_VARIATIONS: tuple[tuple[float, Callable[[str, random.Random], str]], ...] = (
    (0.10, _to_lower),
    (0.07, _drop_punctuation),
    (0.04, _lower_and_drop_punctuation),
    (0.08, _misspell),
    (0.02, _to_upper),
    (0.04, _add_lead_in),
    (0.10, _request_short_answer),
)
