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

from vipcli.answers import Ended, ModelFacts, OnText, Reply, Request, Sampling
from vipcli.checkpoints import Checkpoint
from vipcli.errors import ModelError, PromptError
from vipcli.heavy import quick_imports
from vipcli.loading import AUTO, Setup, first_line, is_out_of_memory, load, where

with quick_imports():
    import torch
    from transformers.generation.configuration_utils import GenerationConfig
    from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList
    from transformers.generation.streamers import BaseStreamer
    from transformers.utils import logging as transformers_logging

# A bar for each file that is read says nothing that the line "loading" does not.
transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()


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
        started = time.perf_counter()
        inputs = self._inputs(request)
        prompt_tokens = inputs["input_ids"].shape[1]
        room = self._room(prompt_tokens)
        generation = self._generation(request.sampling, room)
        transcript = _Transcript(self._prepare.tokenizer, request.stops, on_text, _end_tokens(generation))
        probabilities = _Probabilities()
        prepared = time.perf_counter()
        torch.manual_seed(request.sampling.seed)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                output = self._model.generate(
                    **inputs,
                    generation_config=generation,
                    streamer=transcript,
                    stopping_criteria=StoppingCriteriaList([_AtStop(transcript)]),
                    logits_processor=LogitsProcessorList([probabilities]),
                )
            except (RuntimeError, ValueError, MemoryError) as error:
                raise self._stumbled(error) from error
        ids = output[0, prompt_tokens:].tolist()
        finished = time.perf_counter()
        return Reply(
            text=transcript.text,
            ended=_ended(ids, transcript, generation),
            prompt_tokens=prompt_tokens,
            token_ids=tuple(ids),
            probability=probabilities.mean(ids, transcript.shown_tokens),
            model=self.facts,
            seconds={
                "prepare": prepared - started,
                "first_token": transcript.first_at - prepared,
                "generate": finished - prepared,
            },
        )

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

    def _inputs(self, request: Request) -> dict[str, Any]:
        self._insist_on_plain(request.typed)
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in self._prepare(request).items()
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


def _ended(ids: list[int], transcript: _Transcript, config: GenerationConfig) -> Ended:
    return "stop" if transcript.stopped or (ids and ids[-1] in _end_tokens(config)) else "length"


def _end_tokens(config: GenerationConfig) -> list[int]:
    ends = config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


class _Transcript(BaseStreamer):  # type: ignore[misc]
    """Turns tokens into text as they come, holding back what might still belong to a stop text."""

    def __init__(
        self, tokenizer: Any, stops: tuple[str, ...], on_text: OnText | None, end_tokens: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._stops = stops
        self._on_text = on_text
        self._ids: list[int] = []
        self._ends: list[int] = []
        self._raw = ""
        self._sent = 0
        self._in_prompt = True
        self.first_at = time.perf_counter()
        self.stopped = False
        self.text = ""

    @property
    def shown_tokens(self) -> int:
        """How many of the tokens made the answer; the rest made what ended it."""
        end = self._raw.find(self.text) + len(self.text)
        return sum(1 for start in [0, *self._ends[:-1]] if start < end) if self.text else 0

    def put(self, value: torch.Tensor) -> None:
        if self._in_prompt:
            self._in_prompt = False
            return
        if not self._ids:
            self.first_at = time.perf_counter()
        # What a checkpoint ends its answers with is no part of them, even where it is a word like any other.
        self._ids += [token for token in value.reshape(-1).tolist() if token not in self._end_tokens]
        self._raw = self._tokenizer.decode(
            self._ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        self._ends.append(len(self._raw.rstrip("\ufffd")))
        places = [place for stop in self._stops if (place := self._raw.find(stop)) >= 0]
        self.stopped = bool(places)
        self._show(self._raw[: min(places)] if places else self._raw[: self._safe_end()])

    def end(self) -> None:
        if not self.stopped:
            self._show(self._raw)

    def _show(self, settled: str) -> None:
        self.text = settled.strip()
        if self._on_text is not None and len(self.text) > self._sent:
            self._on_text(self.text[self._sent :])
            self._sent = len(self.text)

    def _safe_end(self) -> int:
        """Up to where the text is settled: before a half-made letter or the start of a stop text."""
        whole = self._raw.rstrip("\ufffd")
        begun = [
            length for stop in self._stops for length in range(1, len(stop)) if whole.endswith(stop[:length])
        ]
        return len(whole) - max(begun, default=0)


class _AtStop(StoppingCriteria):  # type: ignore[misc]
    """Ends generation once the transcript has met a stop text."""

    def __init__(self, transcript: _Transcript) -> None:
        self._transcript = transcript

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), self._transcript.stopped, device=input_ids.device)


class _Probabilities(LogitsProcessor):  # type: ignore[misc]
    """Keeps the probability that the model itself gave each token, before temperature."""

    def __init__(self) -> None:
        self._steps: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self._settle(input_ids[0, -1])
        self._last = scores[0].float().softmax(-1)
        return scores

    def _settle(self, token: torch.Tensor) -> None:
        if self._last is not None:
            self._steps.append(self._last[token])

    def mean(self, ids: list[int], count: int) -> float | None:
        """The mean over the first `count` of the tokens."""
        if ids:
            self._settle(torch.tensor(ids[-1]))
        return float(torch.stack(self._steps[:count]).mean()) if count else None
