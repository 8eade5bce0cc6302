"""Keep answers to grammars: of the next tokens, only those that a grammar allows are left."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vipcli.asking.grammars import compiled, require_library
from vipcli.asking.interface import Grammar
from vipcli.engine.compat import quick_imports

with quick_imports():
    import numpy as np
    import torch
    from transformers.generation.logits_process import LogitsProcessor


class GrammarLibrary:
    """What llguidance knows of a tokenizer, made once, and matchers for grammars."""

    def __init__(self, tokenizer: Any, end_tokens: Sequence[int], vocabulary: int) -> None:
        require_library()
        from llguidance.hf import from_tokenizer

        self.end_tokens = list(end_tokens)
        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=self.end_tokens)

    def matcher(self, grammar: Grammar) -> Any:
        """A matcher at the beginning of an answer."""
        from llguidance import LLMatcher

        return LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(compiled(grammar)))


class GrammarMask(LogitsProcessor):  # type: ignore[misc]
    """Sets the scores of tokens that a row's grammar forbids to minus infinity."""

    def __init__(self, library: GrammarLibrary, grammars: Sequence[Grammar | None]) -> None:
        self._end_tokens = library.end_tokens
        self._matchers = [None if grammar is None else library.matcher(grammar) for grammar in grammars]
        self._has_begun = False
        self.forced: list[list[bool]] = [[] for _ in grammars]
        """Of each row's tokens, whether the grammar left no choice."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if self._has_begun:
            self._read(input_ids[:, -1].tolist())
        self._has_begun = True
        allowed = np.ones(scores.shape, bool)
        for row, matcher in enumerate(self._matchers):
            if matcher is not None:
                self._allow(matcher, allowed[row])
                self.forced[row].append(np.count_nonzero(allowed[row]) == 1)
        return scores.masked_fill(~torch.from_numpy(allowed).to(scores.device), float("-inf"))

    def _read(self, newest: Sequence[int]) -> None:
        """Go on with the newest token of each row."""
        # There may be further rows, without grammars of their own.
        for row, (matcher, token) in enumerate(zip(self._matchers, newest, strict=False)):
            if matcher is None:
                continue
            if token in self._end_tokens:
                self._matchers[row] = None
            elif not matcher.consume_token(token):
                raise ValueError(f"The grammar cannot go on: {matcher.get_error()}")

    def _allow(self, matcher: Any, allowed: np.ndarray[Any, Any]) -> None:
        """Write which tokens may follow."""
        bits = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        known = np.unpackbits(bits, bitorder="little", count=min(len(allowed), 8 * len(bits))).view(bool)
        allowed[:] = False
        allowed[: len(known)] = known
        # A checkpoint may end its answers with an ordinary word, which must not end one before it is whole.
        allowed[self._end_tokens] = matcher.is_accepting()
        if not allowed.any():
            # Where a text is certain, llguidance allows only its usual tokens, such as this word.
            for token in set(range(len(allowed))).difference(self._end_tokens):
                allowed[token] = matcher.validate_tokens([token]) == 1
        if matcher.is_error():
            raise ValueError(f"The grammar cannot go on: {matcher.get_error()}")
