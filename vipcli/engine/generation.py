"""What vipcli adds to transformers' `generate`: its configuration, and hooks that watch each token."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from vipcli.asking.interface import Halted, Sampling, TokenLogprob
from vipcli.engine.compat import quick_imports
from vipcli.engine.continuations import TokenTexts
from vipcli.engine.transcript import Transcript

with quick_imports():
    import torch
    from transformers.generation.configuration_utils import GenerationConfig
    from transformers.generation.logits_process import LogitsProcessor
    from transformers.generation.stopping_criteria import StoppingCriteria


def generation_config(
    base: GenerationConfig, tokenizer: Any, sampling: Sampling, max_new_tokens: int
) -> GenerationConfig:
    """The checkpoint's own configuration `base`, with the sampling of a request."""
    greedy = sampling.temperature == 0
    config = copy.deepcopy(base)
    config.eos_token_id = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
    config.max_length = None
    config.num_beams = 1
    config.max_new_tokens = max_new_tokens
    config.do_sample = not greedy
    config.temperature = None if greedy else sampling.temperature
    config.top_p = None if greedy else sampling.top_p
    # The default would sample from the 50 likeliest tokens only.
    config.top_k = None if greedy else 0
    config.return_dict_in_generate = True
    return config


def end_tokens(config: GenerationConfig) -> list[int]:
    """The tokens that end an answer."""
    ends = config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


class ProbabilityRecorder(LogitsProcessor):  # type: ignore[misc]
    """Records the model's own probability of each chosen token, before the temperature is applied.

    With `top`, it also records how likely the likeliest tokens were in its place, and how many of them.
    """

    def __init__(self, top: int | None = None) -> None:
        self._top = top
        self._logprobs: list[torch.Tensor] = []
        self._likeliest: list[torch.return_types.topk] = []
        self._current: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._current = scores.float().log_softmax(-1)
        return scores

    def choose(self, tokens: torch.Tensor) -> None:
        """Record the token that was chosen in each row."""
        assert self._current is not None
        self._logprobs.append(self._current.gather(1, tokens[:, None])[:, 0])
        if self._top is not None:
            self._likeliest.append(self._current.topk(self._top))

    def mean(self, row: int, count: int, forced: Sequence[bool] = ()) -> float | None:
        """The mean probability of the first `count` tokens of a row, apart from those that were forced."""
        free = [index for index in range(count) if not (index < len(forced) and forced[index])]
        if not free:
            return 1.0 if count else None
        return float(torch.stack([self._logprobs[index] for index in free])[:, row].exp().mean())

    def report(self, row: int, ids: Sequence[int], top: int, texts: TokenTexts) -> tuple[TokenLogprob, ...]:
        """The first tokens of a row, `ids`, each with the likeliest tokens in its place."""
        tokens = []
        for id, logprobs, likeliest in zip(ids, self._logprobs, self._likeliest, strict=False):
            others = zip(
                likeliest.indices[row, :top].tolist(), likeliest.values[row, :top].tolist(), strict=True
            )
            tops = tuple(TokenLogprob(texts(other), other, value) for other, value in others)
            tokens.append(TokenLogprob(texts(id), id, float(logprobs[row]), tops))
        return tuple(tokens)


class TokenMonitor(StoppingCriteria):  # type: ignore[misc]
    """Passes the new token of each row to its transcript, and ends rows that are over or halted."""

    def __init__(
        self, transcripts: Sequence[Transcript], halted: Sequence[Halted | None], top: int | None = None
    ) -> None:
        self.transcripts = transcripts
        self.probabilities = ProbabilityRecorder(top)
        self.halted = [False] * len(halted)
        """Which rows were halted before they ended by themselves."""
        self._is_halted = halted

    @property
    def has_tokens(self) -> bool:
        """Whether any token has arrived."""
        return any(transcript.tokens for transcript in self.transcripts)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        newest = input_ids[:, -1]
        self.probabilities.choose(newest)
        for row, token in enumerate(newest.tolist()):
            transcript, is_halted = self.transcripts[row], self._is_halted[row]
            if not self.halted[row]:
                transcript.add(token)
                self.halted[row] = not transcript.is_over and is_halted is not None and is_halted()
        ended = [
            transcript.is_over or halted
            for transcript, halted in zip(self.transcripts, self.halted, strict=True)
        ]
        return torch.tensor(ended, device=input_ids.device)
