"""Load a checkpoint and run it: the only torch and transformers.

Both are imported when this module is, so it is imported only once an answer is really wanted.
"""

from __future__ import annotations

import copy
import hashlib
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from vipcli.asking.interface import AUTO, Halted, ModelFacts, OnText, Reply, Request, Sampling, Setup
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine.fast_imports import quick_imports
from vipcli.engine.loading import compiles, load, stumbled, where
from vipcli.engine.transcript import Transcript
from vipcli.errors import ContextError, PromptError

with quick_imports():
    import numpy as np
    import torch
    from transformers.generation.configuration_utils import GenerationConfig
    from transformers.generation.logits_process import LogitsProcessor, LogitsProcessorList
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList


_STEP = 1024


class LocalModel:
    """One checkpoint in memory, answering requests.

    It remembers what it read last: where a request begins with the same, only the rest is read. If it is
    `resident`, there to answer many, its steps are compiled where that pays; then it remembers nothing.
    """

    def __init__(self, checkpoint: Checkpoint, setup: Setup = AUTO, *, resident: bool = False) -> None:
        self.checkpoint = checkpoint
        self.setup = setup
        self._prepare, self._model = load(checkpoint, setup)
        self._compiles = resident and compiles(self._model)
        self._remembered = _Remembered()

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
            device=where(self._model),
            quantize=None if self.setup.quantize == "none" else self.setup.quantize,
        )

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        """Answer one request, handing over the text as it comes, and end it early once `halted` says so."""
        return self._answer([request], [on_text], [halted])[0]

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        """Answer several requests side by side, all of them sampled in the same way."""
        on_texts = on_texts or [None] * len(requests)
        halted = halted or [None] * len(requests)
        # Videos of different lengths have no common shape, and conversations no common beginning.
        if any(request.frames or request.past_turns for request in requests):
            return [self.answer(*one) for one in zip(requests, on_texts, halted, strict=True)]
        return self._answer(requests, on_texts, halted)

    def forget(self) -> None:
        """Remember nothing, and take no memory for it."""
        self._remembered = _Remembered()

    def _answer(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None],
        halted: Sequence[Halted | None],
    ) -> list[Reply]:
        started = time.perf_counter()
        try:
            inputs = self._inputs(requests)
        except (RuntimeError, MemoryError) as error:
            # Pictures go to the device here, where they may find no room.
            raise stumbled(self.checkpoint.name, self._model, error, "Lower --max-new-tokens") from error
        longest = inputs["input_ids"].shape[1]
        (sampling,) = {request.sampling for request in requests}
        least = max(request.min_answer_tokens for request in requests)
        room = self._room(longest, least)
        if room < sampling.max_new_tokens and len(requests) > 1:
            # Beside a shorter prompt, each has more room.
            return [self.answer(*one) for one in zip(requests, on_texts, halted, strict=True)]
        generation = self._generation(sampling, room)
        if self._compiles:
            # What is compiled serves one length only, so few lengths are asked for.
            generation.cache_implementation = "static"
            generation.max_cache_len = -(-(longest + generation.max_new_tokens) // _STEP) * _STEP
            # Else transformers would take the longest that there ever was.
            self._model._previous_max_cache_length = generation.max_cache_len
        ends = _end_tokens(generation)
        probabilities = _Probabilities()
        transcripts = [
            Transcript(self._prepare.tokenizer, request.stops, on_text, ends)
            for request, on_text in zip(requests, on_texts, strict=True)
        ]
        writer = _Writer(transcripts, probabilities, halted)
        lengths = inputs["attention_mask"].sum(1).tolist()
        if len(requests) > 1:
            # It would take room that they may need.
            self.forget()
        pictures = _digest(requests[0]) if len(requests) == 1 and not self._compiles else None
        if pictures is not None:
            inputs = self._remembered.spare(inputs, pictures, self._picture_tokens)
        prepared = time.perf_counter()
        torch.manual_seed(sampling.seed)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                written = self._model.generate(
                    **inputs,
                    generation_config=generation,
                    stopping_criteria=StoppingCriteriaList([writer]),
                    logits_processor=LogitsProcessorList([probabilities]),
                )
            except (RuntimeError, ValueError, MemoryError) as error:
                if self._compiles and not any(transcript.tokens for transcript in transcripts):
                    # Compiling needs more than answering does, a C compiler for one.
                    self._compiles = False
                    return self._answer(requests, on_texts, halted)
                raise stumbled(self.checkpoint.name, self._model, error, "Lower --max-new-tokens") from error
        finished = time.perf_counter()
        if pictures is not None:
            self._remembered.keep(written, pictures)
        replies = []
        for row, transcript in enumerate(transcripts):
            transcript.finish()
            replies.append(
                Reply(
                    text=transcript.text,
                    ended="halted" if writer.halted[row] else transcript.ended,
                    prompt_tokens=lengths[row],
                    token_ids=tuple(transcript.tokens),
                    shown_tokens=transcript.shown_tokens,
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

    @property
    def _picture_tokens(self) -> list[int]:
        config = self._model.config
        return [config.image_token_id, getattr(config, "video_token_id", config.image_token_id)]

    def _inputs(self, requests: Sequence[Request]) -> dict[str, Any]:
        for request in requests:
            self._insist_on_plain(request.user_texts)
        found = self._prepare([_opening(request) for request in requests])
        if requests[0].past_turns:
            said = self._said(requests[0])
            found["input_ids"] = torch.cat([found["input_ids"], said], dim=1)
            found["attention_mask"] = torch.ones_like(found["input_ids"])
        return {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in found.items()
        }

    def _said(self, request: Request) -> torch.Tensor:
        """The tokens from the first answer to the end of the prompt."""
        known = range(self._model.config.get_text_config().vocab_size)
        if any(token not in known for turn in request.past_turns for token in turn.token_ids):
            raise PromptError("The conversation holds tokens that this checkpoint cannot have written.")
        texts = [*(turn.prompt for turn in request.past_turns[1:]), request.prompt]
        ids: list[int] = []
        for turn, text in zip(request.past_turns, texts, strict=True):
            # Where a model wrote a picture's token, there is no picture.
            ids += [token for token in turn.token_ids if token not in self._picture_tokens]
            ids += self._going_on(text)
        return torch.tensor([ids])

    def _going_on(self, text: str) -> list[int]:
        """The tokens of a text that follows other text: at a beginning, a tokenizer would add to it."""
        tokenizer = self._prepare.tokenizer
        ahead, both = (tokenizer(some, add_special_tokens=False)["input_ids"] for some in ("\n", f"\n{text}"))
        return list(both[len(ahead) :])

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

    def _room(self, prompt_tokens: int, least: int) -> int:
        """How many tokens an answer to a prompt can have at most; no fewer than `least`."""
        limit = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if limit is None:
            return sys.maxsize
        if prompt_tokens + least > limit:
            raise ContextError(
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
        config.return_dict_in_generate = True
        return config


def _opening(request: Request) -> Request:
    """A request up to its first answer."""
    return replace(request, prompt=request.past_turns[0].prompt) if request.past_turns else request


def _digest(request: Request) -> str:
    """What stands for the pictures of a request."""
    digest = hashlib.blake2b(f"{request.fit} {len(request.frames)}".encode())
    for picture in (*request.images, *request.frames):
        digest.update(str(picture.shape).encode())
        digest.update(np.ascontiguousarray(picture).data)
    return digest.hexdigest()


class _Remembered:
    """The keys and values of what was read and written last."""

    def __init__(self) -> None:
        self._pictures = ""
        self._ids = torch.empty(0, dtype=torch.long)
        self._cache: Any = None

    def spare(
        self, inputs: dict[str, torch.Tensor], pictures: str, picture_tokens: Sequence[int]
    ) -> dict[str, Any]:
        """The inputs without what is remembered of them; it is taken out of here until it is kept again."""
        cache, self._cache = self._cache, None
        ids = inputs["input_ids"]
        if cache is None or pictures != self._pictures:
            return inputs
        # The last token must be read, for its scores are where the answer begins.
        most = min(len(self._ids), ids.shape[1] - 1)
        other = (self._ids[:most] != ids[0, :most]).nonzero()
        shared = int(other[0, 0]) if len(other) else most
        rest = ids[0, shared:]
        # Pictures are read as a whole, so none may be left in the rest.
        if any((rest == token).any() for token in picture_tokens):
            return inputs
        cache.crop(shared - len(self._ids))
        return {"input_ids": ids, "attention_mask": inputs["attention_mask"], "past_key_values": cache}

    def keep(self, written: Any, pictures: str) -> None:
        """Remember what `generate` gave."""
        self._pictures, self._cache = pictures, written.past_key_values
        # The last token was written and never read.
        self._ids = written.sequences[0, : self._cache.get_seq_length()]


def _end_tokens(config: GenerationConfig) -> list[int]:
    ends = config.eos_token_id
    return ends if isinstance(ends, list) else [ends]


class _Writer(StoppingCriteria):  # type: ignore[misc]
    """Hands each row's new token to its transcript, and ends the row where that has come to its end."""

    def __init__(
        self,
        transcripts: Sequence[Transcript],
        probabilities: _Probabilities,
        asked: Sequence[Halted | None],
    ) -> None:
        self._transcripts = transcripts
        self._probabilities = probabilities
        self._asked = asked
        self.halted = [False] * len(asked)
        """Which rows were ended before they had come to an end."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        newest = input_ids[:, -1]
        self._probabilities.settle(newest)
        for row, token in enumerate(newest.tolist()):
            transcript, asked = self._transcripts[row], self._asked[row]
            if not self.halted[row]:
                transcript.take(token)
                self.halted[row] = not transcript.over and asked is not None and asked()
        over = [
            transcript.over or halted
            for transcript, halted in zip(self._transcripts, self.halted, strict=True)
        ]
        return torch.tensor(over, device=input_ids.device)


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
