"""A checkpoint that is loaded and run in this process.

Importing this module imports torch and transformers, so import it only when an answer is needed.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from vipcli.asking.interface import (
    AUTO,
    GREEDY,
    Halted,
    ModelFacts,
    OnText,
    Reply,
    Request,
    Sampling,
    Setup,
    TokenLogprob,
)
from vipcli.checkpoints.lookup import Checkpoint, fingerprint
from vipcli.engine import compat
from vipcli.engine.choosing import Chooser, Chosen
from vipcli.engine.compat import quick_imports
from vipcli.engine.constraints import GrammarLibrary, GrammarMask
from vipcli.engine.continuations import TokenTexts, continuation_ids
from vipcli.engine.contrast import Contrast
from vipcli.engine.failures import answering_error, model_devices
from vipcli.engine.generation import TokenMonitor, end_tokens, generation_config
from vipcli.engine.loading import attention_used, can_compile, load
from vipcli.engine.prefix_cache import PrefixCache, digest_pictures
from vipcli.engine.transcript import Transcript
from vipcli.errors import ContextError, ModelError, PromptError
from vipcli.pictures.images import Pixels

with quick_imports():
    import numpy as np
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
        # Taken now, since the files may change while the model is in memory.
        self._fingerprint = fingerprint(checkpoint) if checkpoint.revision is None else None
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
            quantize_all=self.setup.quantize != "none" and self.setup.quantize_all,
            attention=attention_used(self._model),
            fingerprint=self._fingerprint,
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
        is_mixed = len({bool(request.choices) for request in requests}) > 1
        if is_mixed or any(request.frames or request.past_turns for request in requests):
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
        if requests[0].choices:
            return self._choose(requests, on_texts, halted)
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
            self._prefix_cache.store(output.sequences[0], output.past_key_values, pictures)
        # The twins of guided requests come after all requests.
        return [
            self._reply(request, monitor, mask, row, length, times)
            for row, (request, length) in enumerate(zip(requests, prompt_lengths, strict=False))
        ]

    # ---------------------------------------------------------------------- inputs

    def _prepare_inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        """The arguments for `generate`, on the model's device."""
        for request in requests:
            self._refuse_control_tokens((*request.user_texts, *request.choices))
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
            ids += continuation_ids(self._tokenizer, [prompt])[0]
        return torch.tensor([ids])

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

    # ---------------------------------------------------------------------- choices

    def _choose(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None],
        halted: Sequence[Halted | None],
    ) -> list[Reply]:
        """Answer requests with the likeliest of their choices."""
        started = time.perf_counter()
        inputs = self._prepare_inputs(requests)
        prompt_lengths = inputs["attention_mask"].sum(1).tolist()
        config = generation_config(self._model.generation_config, self._tokenizer, GREEDY, 1)
        chooser = Chooser(self._model, self._token_texts, end_tokens(config))
        options = [chooser.options(request) for request in requests]
        for length, own in zip(prompt_lengths, options, strict=True):
            self._answer_room(length, max(len(option.ids) for option in own))
        blank = [self._without_pictures(request) for request in requests if request.score == "lift"]
        blank_inputs = self._prepare_inputs(blank) if blank else None
        prepared = time.perf_counter()

        def all_halted() -> bool:
            return all(is_halted is not None and is_halted() for is_halted in halted)

        rest, pictures = self._reuse_prefix(requests, inputs)
        try:
            with torch.inference_mode():
                choosing = chooser.choose(requests, options, rest, blank_inputs, all_halted)
        except (RuntimeError, ValueError, MemoryError) as error:
            raise self._error(error, "Give fewer choices") from error
        if pictures is not None:
            self._prefix_cache.store(inputs["input_ids"][0], choosing.cache, pictures)
        times = _Times(started, prepared, time.perf_counter())
        replies = [
            self._chosen_reply(chosen, length, times)
            for chosen, length in zip(choosing.chosen, prompt_lengths, strict=True)
        ]
        for reply, on_text in zip(replies, on_texts, strict=True):
            if on_text is not None and reply.text:
                on_text(reply.text)
        return replies

    def _without_pictures(self, request: Request) -> Request:
        """The request with pictures that show nothing.

        Without any picture, a prompt would be unlike all that the model was trained on.
        """

        def blank(pictures: Sequence[Pixels]) -> tuple[Pixels, ...]:
            color = np.array(self.checkpoint.padding, np.uint8)
            return tuple(np.broadcast_to(color, picture.shape) for picture in pictures)

        return replace(request, images=blank(request.images), frames=blank(request.frames))

    def _chosen_reply(self, chosen: Chosen | None, prompt_tokens: int, times: _Times) -> Reply:
        seconds = {"prepare": times.prepared - times.started, "score": times.finished - times.prepared}
        if chosen is None:
            return Reply("", "halted", prompt_tokens, (), 0, None, self.facts, seconds)
        return Reply(
            text=chosen.choice.text,
            ended="stop",
            prompt_tokens=prompt_tokens,
            token_ids=chosen.ids,
            shown_tokens=len(chosen.ids),
            probability=chosen.choice.probability,
            model=self.facts,
            seconds=seconds,
            choices=chosen.choices,
            logprobs=chosen.logprobs,
        )

    # ---------------------------------------------------------------------- generation

    @property
    def _tokenizer(self) -> Any:
        return self._input_builder.tokenizer

    @cached_property
    def _token_texts(self) -> TokenTexts:
        return TokenTexts(self._tokenizer)

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
        tops = [request.top_logprobs for request in requests if request.top_logprobs is not None]
        return TokenMonitor(transcripts, halted, max(tops, default=None))

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

    def _error(self, error: Exception, save_memory: str = "Lower {max_new_tokens}") -> ModelError:
        return answering_error(self.checkpoint.name, self._model, error, save_memory)

    def _reply(
        self,
        request: Request,
        monitor: TokenMonitor,
        mask: GrammarMask | None,
        row: int,
        prompt_tokens: int,
        times: _Times,
    ) -> Reply:
        transcript = monitor.transcripts[row]
        transcript.finish()
        logprobs: tuple[TokenLogprob, ...] = ()
        if request.top_logprobs is not None:
            shown = transcript.tokens[: transcript.shown_tokens]
            logprobs = monitor.probabilities.report(row, shown, request.top_logprobs, self._token_texts)
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
            logprobs=logprobs,
        )


class _Times(NamedTuple):
    """When the steps of an answer ended, in seconds of `time.perf_counter`."""

    started: float
    prepared: float
    finished: float


def _up_to_first_answer(request: Request) -> Request:
    return replace(request, prompt=request.past_turns[0].prompt) if request.past_turns else request
