"""Stop texts, which end an answer, and how much of a text is safe to show. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Stop:
    """A text that ends an answer and is never shown."""

    text: str
    followed_by: tuple[str, ...] = ()
    """If given, the text ends an answer only before one of these words, with or without white space between
    them, or at the very end."""


def stop_at(text: str, stops: Sequence[Stop]) -> int | None:
    """Return where the first complete stop begins, or None if there is none."""
    matches = [match for stop in stops if (match := _complete(stop).search(text))]
    # The first to end, so that streaming the rest of the text cannot change the result.
    return min(matches, key=lambda match: (match.end(), match.start())).start() if matches else None


def settled_length(text: str, stops: Sequence[Stop]) -> int:
    """Return the length of the part that no stop can cut off, whatever comes next."""
    return min((_partial_start(text, stop) for stop in stops), default=len(text))


def end_of(text: str, stops: Sequence[Stop]) -> int:
    """Return where the answer ends in a model's complete output."""
    stop = stop_at(text, stops)
    return min((_final_start(text, stop) for stop in stops), default=len(text)) if stop is None else stop


@cache
def _complete(stop: Stop) -> re.Pattern[str]:
    words = "|".join(map(re.escape, stop.followed_by))
    return re.compile(re.escape(stop.text) + (rf"\s*(?:{words})" if words else ""))


def _partial_start(text: str, stop: Stop) -> int:
    """Return where an incomplete stop at the end of a text starts; the text's length if there is none."""
    if stop.followed_by and (match := _partial_word(stop).search(text)):
        return match.start()
    lengths = range(len(stop.text) - 1, 0, -1)
    return len(text) - next((length for length in lengths if text.endswith(stop.text[:length])), 0)


@cache
def _partial_word(stop: Stop) -> re.Pattern[str]:
    prefixes = {re.escape(word[:length]) for word in stop.followed_by for length in range(len(word))}
    return re.compile(rf"{re.escape(stop.text)}\s*(?:{'|'.join(sorted(prefixes))})\Z")


def _final_start(text: str, stop: Stop) -> int:
    """Return where a final stop that no word follows starts; the text's length if there is none."""
    stripped = text.rstrip()
    ends = stop.followed_by and stripped.endswith(stop.text)
    return len(stripped) - len(stop.text) if ends else len(text)
