"""Load a checkpoint and run it: the only torch and transformers.

Both are imported when this module is, so it is imported only once an answer is really wanted.
"""

from __future__ import annotations

import copy
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from vipcli.answers import ModelFacts, OnText, Reply, Request, Sampling
from vipcli.checkpoints import Checkpoint
from vipcli.errors import ModelError, PromptError, first_line
from vipcli.heavy import quick_imports
from vipcli.loading import AUTO, Setup, is_out_of_memory, load, where
from vipcli.transcript import Transcript

with quick_imports():
    import torch
    from transformers.generation.configuration_utils import GenerationConfig
    from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList


class LocalModel:
    """One checkpoint in memory, answering requests."""

    def __init__(self, checkpoint: Checkpoint, setup: Setup = AUTO) -> None:
        self.checkpoint = checkpoint
        self.setup = setup
        self._prepare, self._model = load(checkpoint, setup)

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            name=self.checkpoint.name,
            revision=self.checkpoint.revision,
            dtype=str(self._model.dtype).removeprefix("torch."),
            device=where(self._model),
            quantize=None if self.setup.quantize == "none" else self.setup.quantize,
        )

    def answer(self, request: Request, on_text: OnText | None = None) -> Reply:
        """Answer one request, handing over the text as it comes."""
        return self._answer([request], on_text)[0]

    def answers(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer several requests side by side, all of them sampled in the same way."""
        # Videos of different lengths have no common shape.
        if any(request.frames for request in requests):
            return [self.answer(request) for request in requests]
        return self._answer(requests, None)

    def _answer(self, requests: Sequence[Request], on_text: OnText | None) -> list[Reply]:
        started = time.perf_counter()
        inputs = self._inputs(requests)
        longest = inputs["input_ids"].shape[1]
        (sampling,) = {request.sampling for request in requests}
        generation = self._generation(sampling, self._room(longest))
        ends = _end_tokens(generation)
        transcripts = [
            Transcript(self._prepare.tokenizer, request.stops, on_text, ends) for request in requests
        ]
        probabilities = _Probabilities()
        prepared = time.perf_counter()
        torch.manual_seed(sampling.seed)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._model.generate(
                    **inputs,
                    generation_config=generation,
                    stopping_criteria=StoppingCriteriaList([_Writer(transcripts, probabilities)]),
                    logits_processor=LogitsProcessorList([probabilities]),
                )
            except (RuntimeError, ValueError, MemoryError) as error:
                raise self._stumbled(error) from error
        finished = time.perf_counter()
        lengths = inputs["attention_mask"].sum(1).tolist()
        replies = []
        for row, transcript in enumerate(transcripts):
            transcript.finish()
            replies.append(
                Reply(
                    text=transcript.text,
                    ended=transcript.ended,
                    prompt_tokens=lengths[row],
                    token_ids=tuple(transcript.tokens),
                    probability=probabilities.mean(row, transcript.shown_tokens),
                    model=self.facts,
                    seconds={
                        "prepare": prepared - started,
                        "first_token": transcript.first_at - prepared,
                        "generate": finished - prepared,
                    },
                )
            )
        return replies

    def _stumbled(self, error: Exception) -> ModelError:
        if is_out_of_memory(error):
            return ModelError(
                f"{where(self._model)} ran out of memory while answering. "
                "Lower --max-new-tokens, or try another --device."
            )
        return ModelError(
            f"The checkpoint {self.checkpoint.name} failed while answering ({first_line(error)}). "
            "Another --dtype may help."
        )

    def _inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        for request in requests:
            self._insist_on_plain(request.typed)
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in self._prepare(requests).items()
        }

    def _insist_on_plain(self, typed: tuple[str, ...]) -> None:
        tokenizer = self._prepare.tokenizer
        control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} - {tokenizer.unk_token_id}
        for text in typed:
            if found := control.intersection(tokenizer(text, add_special_tokens=False)["input_ids"]):
                word = tokenizer.convert_ids_to_tokens(min(found))
                raise PromptError(
                    f"The text holds {word!r}, a control word of this checkpoint. "
                    "Take it out or write it differently."
                )

    def _room(self, prompt_tokens: int) -> int:
        """How many tokens an answer to a prompt can have at most."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is None:
            return sys.maxsize
        if prompt_tokens >= limit:
            raise PromptError(
                f"The prompt takes {prompt_tokens:,} tokens, but the model holds {limit:,} with its answer. "
                "Ask something shorter."
            )
        return int(limit) - prompt_tokens

    def _generation(self, sampling: Sampling, room: int) -> GenerationConfig:
        """The checkpoint's own configuration, but for what was asked."""
        greedy = sampling.temperature == 0
        config = copy.deepcopy(self._model.generation_config)
        tokenizer = self._prepare.tokenizer
        config.eos_token_id = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
        config.pad_token_id = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
        config.max_length = None
        config.num_beams = 1
        config.max_new_tokens = min(sampling.max_new_tokens, room)
        config.do_sample = not greedy
        config.temperature = None if greedy else sampling.temperature
        config.top_p = None if greedy else sampling.top_p
        # Left alone, transformers would draw from the fifty likeliest tokens only.
        config.top_k = None if greedy else 0
        return config


def _end_tokens(config: GenerationConfig) -> list[int]:
    ends = config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


class _Writer(StoppingCriteria):  # type: ignore[misc]
    """Hands each row's new token to its transcript, and ends the row where that has come to its end."""

    def __init__(self, transcripts: Sequence[Transcript], probabilities: _Probabilities) -> None:
        self._transcripts = transcripts
        self._probabilities = probabilities

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        newest = input_ids[:, -1]
        self._probabilities.settle(newest)
        for transcript, token in zip(self._transcripts, newest.tolist(), strict=True):
            transcript.take(token)
        return torch.tensor([transcript.over for transcript in self._transcripts], device=input_ids.device)


class _Probabilities(LogitsProcessor):  # type: ignore[misc]
    """Keeps the probability that the model itself gave each token, before temperature."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._last = scores.float().softmax(-1)
        return scores

    def settle(self, tokens: torch.Tensor) -> None:
        """Learn which token each row took."""
        assert self._last is not None
        self._steps.append(self._last.gather(1, tokens[:, None])[:, 0])

    def mean(self, row: int, count: int) -> float | None:
        """The mean over the first `count` of a row's tokens."""
        return float(torch.stack(self._steps[:count])[:, row].mean()) if count else None
