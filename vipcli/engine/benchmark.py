"""How fast a model answers here, and how much memory that takes. For the command `bench` alone."""

from __future__ import annotations

import gc
import math
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vipcli.asking.interface import Setup
from vipcli.asking.records import versions
from vipcli.checkpoints.catalog import ONEVISION, KnownCheckpoint
from vipcli.checkpoints.hub_cache import format_size
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.engine.fast_imports import quick_imports
from vipcli.engine.loading import compiles, load, random_model, stumbled

with quick_imports():
    import torch
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

PROMPT_WORDS = 64
"""Tokens of the question beside the picture."""
_STATUS, _PEAKS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure."""

    batch: int = 1
    tokens: int = 64
    repeat: int = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured, times in seconds and memory in bytes; the middle of all repeats."""

    load: float
    warm_up: float
    """What the first answer takes longer than those that follow: compiling, on a GPU."""
    first_token: float
    """From a prepared batch to its first tokens: seeing the pictures and reading the prompts."""
    tokens_per_second: float
    """Over the whole batch, after the first tokens."""
    images_per_second: float
    """Pictures answered, each with all of its tokens."""
    peak_memory: int
    weights: int
    device: str
    dtype: str
    quantize: str
    attention: str


def measure(
    subject: Checkpoint | KnownCheckpoint, setup: Setup, plan: Plan, *, plain: bool = False
) -> Measured:
    """Load, warm up and time it; `plain` is the documentation's own loop, with nothing of ours."""
    _forget()
    started = time.perf_counter()
    model = random_model(subject, setup) if isinstance(subject, KnownCheckpoint) else load(subject, setup)[1]
    _wait(model)
    loaded = time.perf_counter() - started
    try:
        generate = _generation(model, _inputs(model, plan.batch), resident=not plain)
        _, warming = generate(plan.tokens)
        runs = [generate(plan.tokens) for _ in range(plan.repeat)]
    except (RuntimeError, ValueError, MemoryError) as error:
        raise stumbled(_name(subject), model, error, "Take a smaller --batch") from error
    first, whole = (statistics.median(times) for times in zip(*runs, strict=True))
    return Measured(
        load=loaded,
        warm_up=max(warming - whole, 0.0),
        first_token=first,
        tokens_per_second=plan.batch * (plan.tokens - 1) / (whole - first),
        images_per_second=plan.batch / whole,
        peak_memory=_peak(model),
        weights=int(model.get_memory_footprint()),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        quantize=setup.quantize,
        attention=str(model.config._attn_implementation),
    )


def _name(subject: Checkpoint | KnownCheckpoint) -> str:
    return subject.hub_name if isinstance(subject, KnownCheckpoint) else subject.name


def ratios(ours: Measured, plain: Measured) -> dict[str, float]:
    """How many times as fast ours is, and as large."""
    return {
        "first_token": plain.first_token / ours.first_token,
        "tokens_per_second": ours.tokens_per_second / plain.tokens_per_second,
        "images_per_second": ours.images_per_second / plain.images_per_second,
        "peak_memory": ours.peak_memory / plain.peak_memory,
        "weights": ours.weights / plain.weights,
    }


def _lines(name: str, measured: Measured) -> Iterator[str]:
    """What was measured, for people."""
    few = "" if measured.quantize == "none" else f"{measured.quantize} and "
    yield f"{name}: {few}{measured.dtype} on {measured.device}, attention {measured.attention}"
    yield f"  load             {measured.load:8.2f} s"
    yield f"  warm up          {measured.warm_up:8.2f} s, once"
    yield f"  first token      {measured.first_token:8.3f} s"
    yield f"  tokens a second  {measured.tokens_per_second:8.1f}"
    yield f"  images a second  {measured.images_per_second:8.2f}"
    yield f"  weights          {format_size(measured.weights):>8}"
    yield f"  peak memory      {format_size(measured.peak_memory):>8}"


def earned_back(ours: Measured, plain: Measured, plan: Plan) -> int | None:
    """After how many answers a warm-up has cost less time than it saved; None for never."""
    saved = plan.batch / plain.images_per_second - plan.batch / ours.images_per_second
    return math.ceil(max(ours.warm_up - plain.warm_up, 0) / saved) if saved > 0 else None


def report(
    subject: Checkpoint | KnownCheckpoint, ours: Measured, plain: Measured | None, plan: Plan
) -> Iterator[str]:
    """What was measured and, beside a baseline, how the two compare; for people."""
    yield ", ".join(f"{name} {found}" for name, found in versions().items())
    yield from _lines(_name(subject), ours)
    if plain is not None:
        yield from _lines("as the documentation runs it", plain)
        times = ratios(ours, plain)
        yield "compared"
        for what in ("first_token", "tokens_per_second", "images_per_second"):
            yield f"  {what.replace('_', ' ').replace('per', 'a'):17}{times[what]:8.2f} × as fast"
        for what in ("peak_memory", "weights"):
            yield f"  {what.replace('_', ' '):17}{times[what]:8.2f} × as large"
        answers = earned_back(ours, plain, plan)
        told = "never" if answers is None else f"within {max(answers, 1)} × such an answer"
        yield f"  warm-up earned back {told}"


def record(
    subject: Checkpoint | KnownCheckpoint, ours: Measured, plain: Measured | None, plan: Plan
) -> dict[str, Any]:
    """All of it as one object for scripts."""
    told: dict[str, Any] = {
        "model": {
            "name": _name(subject),
            "revision": None if isinstance(subject, KnownCheckpoint) else subject.revision,
            "random_weights": isinstance(subject, KnownCheckpoint),
        },
        "plan": asdict(plan),
        "measured": asdict(ours),
        "versions": versions(),
    }
    if plain is not None:
        told |= {
            "baseline": asdict(plain),
            "ratios": ratios(ours, plain),
            "earned_back_after": earned_back(ours, plain, plan),
        }
    return told


def _inputs(model: Any, batch: int) -> dict[str, torch.Tensor]:
    """As many prompts with a square picture each: what they say does not change how long they take."""
    rng = np.random.default_rng(0)
    config, size = model.config, model.config.vision_config.image_size
    side = size // config.vision_config.patch_size
    image = config.image_token_id
    words = rng.integers(10, min(config.text_config.vocab_size, 300), (batch, PROMPT_WORDS))
    words[words == image] = 9
    pixels = rng.normal(size=(batch, 3, size, size)).astype(np.float32)
    tokens, extra = side**2, {}
    if config.model_type == ONEVISION.model_type:
        # The whole, one tile of its own size, and the ends of the tile's lines.
        tokens, pixels = 2 * side**2 + side, np.stack([pixels, pixels], axis=1)
        extra = {"image_sizes": torch.full((batch, 2), size), "batch_num_images": torch.ones(batch).long()}
    ids = np.concatenate([np.full((batch, tokens), image), words], axis=1)
    given = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.ones(ids.shape, dtype=torch.long),
        "pixel_values": torch.from_numpy(pixels).to(model.dtype),
        **extra,
    }
    return {name: value.to(model.device) for name, value in given.items()}


class _Clock(StoppingCriteria):  # type: ignore[misc]
    """Takes the time of each token, and ends nothing."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _generation(
    model: Any, inputs: dict[str, torch.Tensor], *, resident: bool
) -> Callable[[int], tuple[float, float]]:
    """Something that writes so many tokens for each prompt, and tells when the first and the last came."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    fixed = {"cache_implementation": "static"} if resident and compiles(model) else {}

    def generate(tokens: int) -> tuple[float, float]:
        clock = _Clock()
        _wait(model)
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([clock]),
                **fixed,
            )
        _wait(model)
        return clock.times[0] - started, time.perf_counter() - started

    return generate


def _wait(model: Any) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _forget() -> None:
    """Let go of whatever was measured before."""
    gc.collect()
    # Linux begins its peak anew; elsewhere the second of two cannot come out smaller.
    with suppress(OSError):
        _PEAKS.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(model: Any) -> int:
    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.device))
    # Of the whole process, Python and all libraries.
    with suppress(OSError), _STATUS.open(encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
