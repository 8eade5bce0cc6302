"""A checkpoint that is loaded and run in this process.

Importing this module imports torch and transformers, so import it only when an answer is needed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from vipcli.asking.interface import AUTO, Halted, ModelFacts, OnText, Reply, Request, Sampling, Setup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine import compat
from vipcli.engine.compat import quick_imports
from vipcli.engine.constraints import GrammarLibrary, GrammarMask
from vipcli.engine.contrast import Contrast
from vipcli.engine.failures import answering_error, model_devices
from vipcli.engine.generation import TokenMonitor, end_tokens, generation_config
from vipcli.engine.loading import can_compile, load
from vipcli.engine.prefix_cache import PrefixCache, digest_pictures
from vipcli.engine.transcript import Transcript
from vipcli.errors import ContextError, ModelError, PromptError

with quick_imports():
    import torch
    from transformers.generation.configuration_utils import GenerationConfig
    from transformers.generation.logits_process import LogitsProcessorList
    from transformers.generation.stopping_criteria import StoppingCriteriaList


# Compiled steps serve one length of the cache only, so lengths are rounded up.
_CACHE_STEP = 1024


class LocalModel:
    """A checkpoint in memory that answers requests. Not thread-safe.

    A request that starts like the last one reuses what was read then. A `resident` model, which is meant to
    answer many requests, compiles its steps where that pays, and then reuses nothing.
    """

    def __init__(self, checkpoint: Checkpoint, setup: Setup = AUTO, *, resident: bool = False) -> None:
        self.checkpoint = checkpoint
        self.setup = setup
        self._input_builder, self._model = load(checkpoint, setup)
        self._compiles = resident and can_compile(self._model)
        self._prefix_cache = PrefixCache()
        self._grammars: GrammarLibrary | None = None

    @property
    def compiles(self) -> bool:
        """Whether the steps of its answers are compiled."""
        return self._compiles

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            name=self.checkpoint.name,
            revision=self.checkpoint.revision,
            dtype=str(self._model.dtype).removeprefix("torch."),
            device=model_devices(self._model),
            quantize=None if self.setup.quantize == "none" else self.setup.quantize,
        )

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request; pass on the text as it comes, and stop early once `halted` returns true."""
        return self._answer([request], [on_text], [halted])[0]

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        """Answer requests that share their sampling."""
        on_texts = on_texts or [None] * len(requests)
        halted = halted or [None] * len(requests)
        # Videos of different lengths have no common shape, and conversations no common prefix.
        if any(request.frames or request.past_turns for request in requests):
            return self._answer_one_by_one(requests, on_texts, halted)
        return self._answer(requests, on_texts, halted)

    def forget(self) -> None:
        """Free the prefix cache."""
        self._prefix_cache = PrefixCache()

    def _answer_one_by_one(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None],
        halted: Sequence[Halted | None],
    ) -> list[Reply]:
        return [self.answer(*arguments) for arguments in zip(requests, on_texts, halted, strict=True)]

    def _answer(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None],
        halted: Sequence[Halted | None],
    ) -> list[Reply]:
        started = time.perf_counter()
        contrast = Contrast(requests)
        rows = [*requests, *contrast.twins]
        inputs = self._prepare_inputs(rows)
        prompt_lengths = inputs["attention_mask"].sum(1).tolist()
        longest = inputs["input_ids"].shape[1]
        (sampling,) = {request.sampling for request in requests}
        room = self._answer_room(longest, max(request.min_answer_tokens for request in requests))
        if room < sampling.max_new_tokens and len(requests) > 1:
            # The longest prompt of a batch would shorten all of its answers.
            return self._answer_one_by_one(requests, on_texts, halted)
        config = self._generation_config(sampling, longest, room)
        monitor = self._monitor(requests, on_texts, halted, config)
        mask = self._grammar_mask(requests, config)
        inputs, pictures = self._reuse_prefix(rows, inputs)
        prepared = time.perf_counter()
        try:
            output = self._generate(inputs, config, monitor, mask, contrast, sampling.seed)
        except (RuntimeError, ValueError, MemoryError) as error:
            if self._compiles and not monitor.has_tokens:
                # Compiling has needs of its own, such as a C compiler.
                self._compiles = False
                return self._answer(requests, on_texts, halted)
            raise self._error(error) from error
        times = _Times(started, prepared, time.perf_counter())
        if pictures is not None:
            self._prefix_cache.store(output, pictures)
        lengths = prompt_lengths[: len(requests)]
        return [self._reply(monitor, mask, row, length, times) for row, length in enumerate(lengths)]

    # ---------------------------------------------------------------------- inputs

    def _prepare_inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The arguments for `generate`, on the model's device."""
        for request in requests:
            self._refuse_control_tokens(request.user_texts)
        try:
            inputs = self._input_builder([_up_to_first_answer(request) for request in requests])
            if requests[0].past_turns:
                # Several requests with past turns are one and its twin, which have the same ones.
                later = self._later_ids(requests[0]).expand(len(requests), -1)
                inputs["input_ids"] = torch.cat([inputs["input_ids"], later], dim=1)
                inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
            return {
                name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
                for name, value in inputs.items()
            }
        except (RuntimeError, MemoryError) as error:
            # The device may have no memory left for the pictures.
            raise self._error(error) from error

    def _later_ids(self, request: Request) -> torch.Tensor:
        """The token ids of a conversation from its first answer to the end of the prompt."""
        vocabulary = range(self._model.config.get_text_config().vocab_size)
        if any(token not in vocabulary for turn in request.past_turns for token in turn.token_ids):
            raise PromptError("The conversation holds tokens that this checkpoint cannot have written.")
        prompts = [*(turn.prompt for turn in request.past_turns[1:]), request.prompt]
        ids: list[int] = []
        for turn, prompt in zip(request.past_turns, prompts, strict=True):
            # A model may write a picture's token, but no picture belongs to it.
            ids += [token for token in turn.token_ids if token not in self._picture_tokens]
            ids += self._continuation_ids(prompt)
        return torch.tensor([ids])

    def _continuation_ids(self, text: str) -> list[int]:
        """The token ids of a text that follows other text; tokenizers may add to the start of a text."""
        tokenizer = self._tokenizer
        before, both = (
            tokenizer(part, add_special_tokens=False)["input_ids"] for part in ("\n", f"\n{text}")
        )
        return list(both[len(before) :])

    def _refuse_control_tokens(self, texts: tuple[str, ...]) -> None:
        tokenizer = self._tokenizer
        control = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder} - {tokenizer.unk_token_id}
        for text in texts:
            if forbidden := control.intersection(tokenizer(text, add_special_tokens=False)["input_ids"]):
                token = tokenizer.convert_ids_to_tokens(min(forbidden))
                raise PromptError(
                    f"The text contains {token!r}, a control token of this checkpoint.",
                    "Remove it, or write it differently.",
                )

    def _answer_room(self, prompt_tokens: int, required: int) -> int:
        """How many tokens the answer can have; an error if fewer than `required`."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is None:
            return sys.maxsize
        if prompt_tokens + required > limit:
            raise ContextError(
                f"The prompt takes {prompt_tokens:,} tokens, but the model holds {limit:,}, "
                "including the answer.",
                "Ask something shorter.",
            )
        return int(limit) - prompt_tokens

    def _reuse_prefix(
        self, requests: Sequence[Request], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], str | None]:
        """The inputs without what the prefix cache holds; and the key to store the answer under, if any."""
        if len(requests) > 1:
            # A batch may need the memory.
            self.forget()
            return inputs, None
        if self._compiles:
            return inputs, None
        pictures = digest_pictures(requests[0])
        return self._prefix_cache.apply(inputs, pictures, self._picture_tokens), pictures

    @property
    def _picture_tokens(self) -> tuple[int, ...]:
        return compat.image_token_ids(self._model.config)

    # ---------------------------------------------------------------------- generation

    @property
    def _tokenizer(self) -> Any:
        return self._input_builder.tokenizer

    def _generation_config(self, sampling: Sampling, prompt_tokens: int, room: int) -> GenerationConfig:
        new_tokens = min(sampling.max_new_tokens, room)
        config = generation_config(self._model.generation_config, self._tokenizer, sampling, new_tokens)
        if self._compiles:
            length = -(-(prompt_tokens + new_tokens) // _CACHE_STEP) * _CACHE_STEP
            compat.use_static_cache(self._model, config, length)
        return config

    def _monitor(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None],
        halted: Sequence[Halted | None],
        config: GenerationConfig,
    ) -> TokenMonitor:
        ends = end_tokens(config)
        transcripts = [
            Transcript(self._tokenizer, request.stops, on_text, ends)
            for request, on_text in zip(requests, on_texts, strict=True)
        ]
        return TokenMonitor(transcripts, halted)

    def _grammar_mask(self, requests: Sequence[Request], config: GenerationConfig) -> GrammarMask | None:
        """What keeps answers to their grammars, if any has one."""
        grammars = [request.grammar for request in requests]
        if not any(grammars):
            return None
        if self._grammars is None:
            vocabulary = self._model.config.get_text_config().vocab_size
            self._grammars = GrammarLibrary(self._tokenizer, end_tokens(config), vocabulary)
        return GrammarMask(self._grammars, grammars)

    def _generate(
        self,
        inputs: dict[str, Any],
        config: GenerationConfig,
        monitor: TokenMonitor,
        mask: GrammarMask | None,
        contrast: Contrast,
        seed: int,
    ) -> Any:
        torch.manual_seed(seed)
        processors = [*([mask] if mask else []), monitor.probabilities, *contrast.processors()]
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self._model.generate(
                **inputs,
                generation_config=config,
                stopping_criteria=StoppingCriteriaList([contrast.watch(monitor)]),
                logits_processor=LogitsProcessorList(processors),
            )

    def _error(self, error: Exception) -> ModelError:
        return answering_error(self.checkpoint.name, self._model, error, "Lower {max_new_tokens}")

    def _reply(
        self, monitor: TokenMonitor, mask: GrammarMask | None, row: int, prompt_tokens: int, times: _Times
    ) -> Reply:
        transcript = monitor.transcripts[row]
        transcript.finish()
        return Reply(
            text=transcript.text,
            ended="halted" if monitor.halted[row] else transcript.ended,
            prompt_tokens=prompt_tokens,
            token_ids=tuple(transcript.tokens),
            shown_tokens=transcript.shown_tokens,
            probability=monitor.probabilities.mean(
                row, transcript.shown_tokens, mask.forced[row] if mask else ()
            ),
            model=self.facts,
            seconds={
                "prepare": times.prepared - times.started,
                "first_token": transcript.first_at - times.prepared,
                "generate": times.finished - times.prepared,
            },
        )


class _Times(NamedTuple):
    """When the steps of an answer ended, in seconds of `time.perf_counter`."""

    started: float
    prepared: float
    finished: float


def _up_to_first_answer(request: Request) -> Request:
    return replace(request, prompt=request.past_turns[0].prompt) if request.past_turns else request
