"""Tokens into text as they come, up to where an answer ends. No torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from vipcli.asking.interface import EndReason, OnText
from vipcli.checkpoints.stops import Stop, end_of, settled, stop_at


class Transcript:
    """One answer in the making, which holds back what might still belong to a stop text."""

    def __init__(
        self, tokenizer: Any, stops: tuple[Stop, ...], on_text: OnText | None, end_tokens: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._stops = stops
        self._on_text = on_text
        self._ids: list[int] = []
        self._ends: list[int] = []
        self._raw = ""
        self._sent = 0
        self._stopped = False
        self.tokens: list[int] = []
        """All of them, those that ended it too."""
        self.first_at = time.perf_counter()
        self.text = ""

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self._stopped or (bool(self.tokens) and self.tokens[-1] in self._end_tokens)

    @property
    def ended(self) -> EndReason:
        """How it ended, once no more tokens come."""
        return "stop" if self.over else "length"

    @property
    def shown_tokens(self) -> int:
        """How many of the tokens made the answer; the rest made what ended it."""
        end = self._raw.find(self.text) + len(self.text)
        return sum(1 for start in [0, *self._ends[:-1]] if start < end) if self.text else 0

    def take(self, token: int) -> None:
        """Add the next token."""
        if self.over:
            return
        if not self.tokens:
            self.first_at = time.perf_counter()
        self.tokens.append(token)
        # What a checkpoint ends its answers with is no part of them, even where it is a word like any other.
        if token not in self._end_tokens:
            self._ids.append(token)
        self._raw = self._tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        self._ends.append(len(self._raw.rstrip("\ufffd")))
        end = stop_at(self._raw, self._stops)
        self._stopped = end is not None
        self._show(self._raw[: self._safe_end() if end is None else end])

    def finish(self) -> None:
        """Show what was held back, now that nothing can follow."""
        if not self._stopped:
            self._show(self._raw[: end_of(self._raw, self._stops)])

    def _show(self, settled: str) -> None:
        self.text = settled.strip()
        if self._on_text is not None and len(self.text) > self._sent:
            self._on_text(self.text[self._sent :])
            self._sent = len(self.text)

    def _safe_end(self) -> int:
        """Up to where the text is settled: before a half-made letter or the start of a stop."""
        return settled(self._raw.rstrip("\ufffd"), self._stops)
