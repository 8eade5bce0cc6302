"""Measure how fast a model answers on this machine, and how much memory it takes."""

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
from vipcli.engine import compat
from vipcli.engine.compat import quick_imports
from vipcli.engine.failures import answering_error
from vipcli.engine.loading import can_compile, load
from vipcli.engine.random_weights import random_model

with quick_imports():
    import torch
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

QUESTION_TOKENS = 64
"""Tokens of the question, in addition to the picture's."""
_STATUS, _RESET_PEAK = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """What to measure."""

    batch: int = 1
    tokens: int = 64
    repeat: int = 3


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Medians over all repeats, times in seconds and memory in bytes."""

    load: float
    warm_up: float
    """How much longer the first answer takes than later ones: on a GPU, the time to compile."""
    first_token: float
    """From a prepared batch to its first tokens: encode the pictures and read the prompts."""
    tokens_per_second: float
    """Over the whole batch, after the first tokens."""
    images_per_second: float
    """Pictures, each with a whole answer."""
    peak_memory: int
    weights: int
    device: str
    dtype: str
    quantize: str
    attention: str


def measure(
    subject: Checkpoint | KnownCheckpoint, setup: Setup, plan: BenchmarkPlan, *, plain: bool = False
) -> BenchmarkResult:
    """Load a checkpoint, or random weights of a known shape, and time its answers.

    With `plain`, generate as the documentation of transformers does, without a static cache.
    """
    _reset_memory()
    started = time.perf_counter()
    model = random_model(subject, setup) if isinstance(subject, KnownCheckpoint) else load(subject, setup)[1]
    _synchronize(model)
    loaded = time.perf_counter() - started
    try:
        generate = _generator(model, _inputs(model, plan.batch), static=not plain and can_compile(model))
        _, warming = generate(plan.tokens)
        runs = [generate(plan.tokens) for _ in range(plan.repeat)]
    except (RuntimeError, ValueError, MemoryError) as error:
        raise answering_error(_name(subject), model, error, "Take a smaller {batch}") from error
    first, whole = (statistics.median(times) for times in zip(*runs, strict=True))
    return BenchmarkResult(
        load=loaded,
        warm_up=max(warming - whole, 0.0),
        first_token=first,
        tokens_per_second=plan.batch * (plan.tokens - 1) / (whole - first),
        images_per_second=plan.batch / whole,
        peak_memory=_peak_memory(model),
        weights=int(model.get_memory_footprint()),
        device=str(model.device),
        dtype=str(model.dtype).removeprefix("torch."),
        quantize=setup.quantize,
        attention=str(compat.attention_implementation(model)),
    )


def _name(subject: Checkpoint | KnownCheckpoint) -> str:
    return subject.hub_name if isinstance(subject, KnownCheckpoint) else subject.name


def ratios(ours: BenchmarkResult, plain: BenchmarkResult) -> dict[str, float]:
    """How many times as fast ours is, and how many times as large."""
    return {
        "first_token": plain.first_token / ours.first_token,
        "tokens_per_second": ours.tokens_per_second / plain.tokens_per_second,
        "images_per_second": ours.images_per_second / plain.images_per_second,
        "peak_memory": ours.peak_memory / plain.peak_memory,
        "weights": ours.weights / plain.weights,
    }


def _result_lines(name: str, result: BenchmarkResult) -> Iterator[str]:
    quantized = "" if result.quantize == "none" else f"{result.quantize} and "
    yield f"{name}: {quantized}{result.dtype} on {result.device}, attention {result.attention}"
    yield f"  load             {result.load:8.2f} s"
    yield f"  warm up          {result.warm_up:8.2f} s, once"
    yield f"  first token      {result.first_token:8.3f} s"
    yield f"  tokens a second  {result.tokens_per_second:8.1f}"
    yield f"  images a second  {result.images_per_second:8.2f}"
    yield f"  weights          {format_size(result.weights):>8}"
    yield f"  peak memory      {format_size(result.peak_memory):>8}"


def break_even(ours: BenchmarkResult, plain: BenchmarkResult, plan: BenchmarkPlan) -> int | None:
    """After how many batches the time saved exceeds the longer warm-up; None for never."""
    saved = plan.batch / plain.images_per_second - plan.batch / ours.images_per_second
    return math.ceil(max(ours.warm_up - plain.warm_up, 0) / saved) if saved > 0 else None


def as_lines(
    subject: Checkpoint | KnownCheckpoint,
    ours: BenchmarkResult,
    plain: BenchmarkResult | None,
    plan: BenchmarkPlan,
) -> Iterator[str]:
    """The result, and its comparison with a baseline if there is one, as lines of text."""
    yield ", ".join(f"{name} {version}" for name, version in versions().items())
    yield from _result_lines(_name(subject), ours)
    if plain is not None:
        yield from _result_lines("as the documentation runs it", plain)
        times = ratios(ours, plain)
        yield "compared"
        for entry in ("first_token", "tokens_per_second", "images_per_second"):
            yield f"  {entry.replace('_', ' ').replace('per', 'a'):17}{times[entry]:8.2f} × as fast"
        for entry in ("peak_memory", "weights"):
            yield f"  {entry.replace('_', ' '):17}{times[entry]:8.2f} × as large"
        batches = break_even(ours, plain, plan)
        after = "never" if batches is None else f"after {max(batches, 1)} × such an answer"
        yield f"  warm-up pays off {after}"


def as_record(
    subject: Checkpoint | KnownCheckpoint,
    ours: BenchmarkResult,
    plain: BenchmarkResult | None,
    plan: BenchmarkPlan,
) -> dict[str, Any]:
    """The result and the comparison as one object for scripts."""
    record: dict[str, Any] = {
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
        record |= {
            "baseline": asdict(plain),
            "ratios": ratios(ours, plain),
            "earned_back_after": break_even(ours, plain, plan),
        }
    return record


def _inputs(model: Any, batch: int) -> dict[str, torch.Tensor]:
    """Random prompts with a square picture each: their content does not change how long they take."""
    rng = np.random.default_rng(0)
    config, size = model.config, model.config.vision_config.image_size
    side = size // config.vision_config.patch_size
    image = config.image_token_id
    question = rng.integers(10, min(config.text_config.vocab_size, 300), (batch, QUESTION_TOKENS))
    question[question == image] = 9
    pixels = rng.normal(size=(batch, 3, size, size)).astype(np.float32)
    tokens, extra = side**2, {}
    if config.model_type == ONEVISION.model_type:
        # The whole picture, one tile of the same size, and a newline after each row of the tile.
        tokens, pixels = 2 * side**2 + side, np.stack([pixels, pixels], axis=1)
        extra = {"image_sizes": torch.full((batch, 2), size), "batch_num_images": torch.ones(batch).long()}
    ids = np.concatenate([np.full((batch, tokens), image), question], axis=1)
    inputs = {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.ones(ids.shape, dtype=torch.long),
        "pixel_values": torch.from_numpy(pixels).to(model.dtype),
        **extra,
    }
    return {name: value.to(model.device) for name, value in inputs.items()}


class _TokenTimer(StoppingCriteria):  # type: ignore[misc]
    """Records the time of each token, and never stops."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)


def _generator(
    model: Any, inputs: dict[str, torch.Tensor], *, static: bool
) -> Callable[[int], tuple[float, float]]:
    """A function that generates a number of tokens for each prompt, and returns the seconds to the first and
    to the last."""
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    options = {"cache_implementation": "static"} if static else {}

    def generate(tokens: int) -> tuple[float, float]:
        timer = _TokenTimer()
        _synchronize(model)
        started = time.perf_counter()
        with torch.inference_mode():
            model.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([timer]),
                **options,
            )
        _synchronize(model)
        return timer.times[0] - started, time.perf_counter() - started

    return generate


def _synchronize(model: Any) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _reset_memory() -> None:
    """Free what was measured before, and reset the peaks."""
    gc.collect()
    # Only Linux can reset the peak of a process; elsewhere a second result is at least as large as the first.
    with suppress(OSError):
        _RESET_PEAK.write_text("5")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak_memory(model: Any) -> int:
    if model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(model.device))
    # On a CPU, this is the peak of the whole process, including Python and its libraries.
    with suppress(OSError), _STATUS.open(encoding="ascii") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
