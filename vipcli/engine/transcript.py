"""Turn tokens into the text of an answer as they arrive. No torch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from vipcli.asking.interface import EndReason, OnText
from vipcli.checkpoints.stops import Stop, end_of, settled_length, stop_at


class Transcript:
    """An answer in progress. It holds back text that may turn out to be part of a stop."""

    def __init__(
        self, tokenizer: Any, stops: tuple[Stop, ...], on_text: OnText | None, end_tokens: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._stops = stops
        self._on_text = on_text
        self._text_ids: list[int] = []
        self._text_ends: list[int] = []
        self._raw = ""
        self._sent_length = 0
        self._stopped = False
        self.tokens: list[int] = []
        """All generated ids, including those of the stop."""
        self.first_at = time.perf_counter()
        """When the first token arrived."""
        self.text = ""

    @property
    def is_over(self) -> bool:
        """Whether the answer has ended by itself."""
        return self._stopped or (bool(self.tokens) and self.tokens[-1] in self._end_tokens)

    @property
    def ended(self) -> EndReason:
        """Why the answer ended, once no more tokens come."""
        return "stop" if self.is_over else "length"

    @property
    def shown_tokens(self) -> int:
        """How many of the tokens, from the first, make up the text."""
        end = self._raw.find(self.text) + len(self.text)
        return sum(1 for start in [0, *self._text_ends[:-1]] if start < end) if self.text else 0

    def add(self, token: int) -> None:
        """Append the next token."""
        if self.is_over:
            return
        if not self.tokens:
            self.first_at = time.perf_counter()
        self.tokens.append(token)
        # A checkpoint may end its answers with an ordinary word, which is not part of them either.
        if token not in self._end_tokens:
            self._text_ids.append(token)
        self._raw = self._tokenizer.decode(
            self._text_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        self._text_ends.append(len(self._raw.rstrip("\ufffd")))
        end = stop_at(self._raw, self._stops)
        self._stopped = end is not None
        self._emit(self._raw[: self._settled_length() if end is None else end])

    def finish(self) -> None:
        """Release the text that was held back, now that nothing can follow."""
        if not self._stopped:
            self._emit(self._raw[: end_of(self._raw, self._stops)])

    def _emit(self, text: str) -> None:
        self.text = text.strip()
        if self._on_text is not None and len(self.text) > self._sent_length:
            self._on_text(self.text[self._sent_length :])
            self._sent_length = len(self.text)

    def _settled_length(self) -> int:
        """The length of the text before an incomplete character or a possible stop."""
        return settled_length(self._raw.rstrip("\ufffd"), self._stops)
