"""What ends an answer before the model itself does, and how much of a text is safe to show. No torch."""

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
    """Words of which one must come next, after any white space, for the text to end an answer; without any,
    the text ends it wherever it stands. At the very end of an answer, no such word is needed."""


def stop_at(text: str, stops: Sequence[Stop]) -> int | None:
    """Where the first stop to be complete begins, or None where the text holds no stop."""
    matches = [match for stop in stops if (match := _whole(stop).search(text))]
    # By its end, so that the rest of a text that comes piece by piece cannot change what was found.
    return min(matches, key=lambda match: (match.end(), match.start())).start() if matches else None


def settled(text: str, stops: Sequence[Stop]) -> int:
    """How long the part of a text is that no stop takes back, whatever comes next."""
    return min((_begun_at(text, stop) for stop in stops), default=len(text))


def end_of(text: str, stops: Sequence[Stop]) -> int:
    """Where the answer ends in all that a model wrote."""
    stop = stop_at(text, stops)
    return min((_last_at(text, stop) for stop in stops), default=len(text)) if stop is None else stop


@cache
def _whole(stop: Stop) -> re.Pattern[str]:
    words = "|".join(map(re.escape, stop.followed_by))
    return re.compile(re.escape(stop.text) + (rf"\s*(?:{words})" if words else ""))


def _begun_at(text: str, stop: Stop) -> int:
    """Where the last part of a text begins that may grow into a stop; its length where none may."""
    if stop.followed_by and (match := _begun_word(stop).search(text)):
        return match.start()
    lengths = range(len(stop.text) - 1, 0, -1)
    return len(text) - next((length for length in lengths if text.endswith(stop.text[:length])), 0)


@cache
def _begun_word(stop: Stop) -> re.Pattern[str]:
    parts = {re.escape(word[:length]) for word in stop.followed_by for length in range(len(word))}
    return re.compile(rf"{re.escape(stop.text)}\s*(?:{'|'.join(sorted(parts))})\Z")


def _last_at(text: str, stop: Stop) -> int:
    """Where a stop begins that lacks only the word after it; the text's length where there is none."""
    rest = text.rstrip()
    ends = stop.followed_by and rest.endswith(stop.text)
    return len(rest) - len(stop.text) if ends else len(text)
