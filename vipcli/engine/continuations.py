"""Tokenize text that follows other text. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_BEFORE = "\n"


def continuation_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The token ids of texts that each follow other text; tokenizers may add to the start of a text."""
    before, *all_ids = tokenizer(
        [_BEFORE, *(f"{_BEFORE}{text}" for text in texts)], add_special_tokens=False
    )["input_ids"]
    return [list(ids[len(before) :]) for ids in all_ids]


class TokenTexts:
    """The text of single tokens, as it stands in the middle of an answer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self._before = continuation_ids(tokenizer, ["a"])[0]
        self._length = len(self._decode(self._before))
        self._known: dict[int, str] = {}

    def __call__(self, id: int) -> str:
        """The text of a token; U+FFFD if it is only part of a character."""
        if id not in self._known:
            # Tokenizers drop a space from the start of a text.
            self._known[id] = self._decode([*self._before, id])[self._length :]
        return self._known[id]

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))
