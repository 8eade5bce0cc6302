"""Load a checkpoint and run it: the only torch and transformers.

Both are imported when this module is, so it is imported only once an answer is really wanted.
"""

from __future__ import annotations

import copy
import importlib
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from vipcli.answers import Ended, ModelFacts, OnText, Reply, Request, Sampling
from vipcli.checkpoints import Checkpoint
from vipcli.errors import ModelError, PromptError
from vipcli.heavy import quick_imports
from vipcli.inputs import Inputs, inputs_for

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

    def __init__(self, checkpoint: Checkpoint, *, device: str = "auto", dtype: str = "auto") -> None:
        self.checkpoint = checkpoint
        self.device = _device(device)
        self.dtype = _dtype(dtype, self.device)
        config = _load_config(checkpoint)
        self._prepare = _load_inputs(checkpoint, config)
        self._model = _load_model(checkpoint, config, self.device, self.dtype)

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(
            name=self.checkpoint.name,
            revision=self.checkpoint.revision,
            dtype=str(self._model.dtype).removeprefix("torch."),
            device=str(self._model.device),
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
        if _is_out_of_memory(error):
            return ModelError(
                f"{self.device} ran out of memory while answering. "
                "Lower --max-new-tokens, or try another --device."
            )
        return ModelError(
            f"The checkpoint {self.checkpoint.name} failed while answering ({_first_line(error)}). "
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


def _device(name: str) -> torch.device:
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if has[kind])
    if not has[name]:
        raise ModelError(f"This machine has no {name} device that torch can use. Leave out --device {name}.")
    return torch.device(name)


def _dtype(name: str, device: torch.device) -> torch.dtype | str:
    if name != "auto":
        dtype = getattr(torch, name)
        assert isinstance(dtype, torch.dtype)
        return dtype
    # A GPU runs the checkpoint's own precision; a processor is exact, and mostly faster, at 32 bits.
    return torch.float32 if device.type == "cpu" else "auto"


def _load_inputs(checkpoint: Checkpoint, config: Any) -> Inputs:
    try:
        return inputs_for(checkpoint, config)
    # Damaged files make these readers fail in any way.
    except Exception as error:
        raise _broken(checkpoint, "its tokenizer or image processor", error) from error


def _load_model(checkpoint: Checkpoint, config: Any, device: torch.device, dtype: torch.dtype | str) -> Any:
    try:
        model, loading = _model_class(checkpoint).from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=dtype,
            # Straight onto a GPU, without a whole copy in memory first.
            device_map=None if device.type == "cpu" else {"": device},
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    # Damaged files make these readers fail in any way.
    except Exception as error:
        if _is_out_of_memory(error):
            raise ModelError(
                f"The checkpoint {checkpoint.name} does not fit into the memory of {device}. "
                "Try --dtype bfloat16, or another --device."
            ) from error
        raise _broken(checkpoint, "its weights", error) from error
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"The checkpoint {checkpoint.name} lacks {len(missing)} of its weights, {missing[0]} among them. "
            "Fetch it again."
        )
    return model.eval()


def _model_class(checkpoint: Checkpoint) -> Any:
    family = checkpoint.family
    with quick_imports():
        return getattr(importlib.import_module(family.module), family.class_name)


def _load_config(checkpoint: Checkpoint) -> Any:
    """The checkpoint's configuration, its vision layers kept whichever version of transformers wrote it."""
    try:
        config = _model_class(checkpoint).config_class.from_pretrained(
            checkpoint.folder, local_files_only=True
        )
    # Damaged files make these readers fail in any way.
    except Exception as error:
        raise _broken(checkpoint, "its configuration", error) from error
    if checkpoint.vision_layers is not None:
        # Older versions know this name alone, newer ones take it for their own.
        config.vision_feature_layers = checkpoint.vision_layers
    return config


def _is_out_of_memory(error: Exception) -> bool:
    # Only CUDA has an error of its own for this.
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error).lower() for word in words
    )


def _broken(checkpoint: Checkpoint, part: str, error: Exception) -> ModelError:
    return ModelError(
        f"The checkpoint {checkpoint.name} cannot be loaded: {part} did not read ({_first_line(error)}). "
        "It may be damaged; fetch it again."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


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
