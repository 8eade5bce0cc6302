"""Measure a ViP-LLaVA-7B with random weights on a GPU; each result is a JSON line.

    python -m tests.benchmarks.gpu make FOLDER        write the checkpoint, in its published layout
    python -m tests.benchmarks.gpu PART FOLDER        measure; the parts are listed in `PARTS`

`gpu.sh` runs all parts. To try them without a GPU, use `--device cpu` and a checkpoint made with `--tiny`.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vipcli.asking.interface import Reply, Request, Sampling, Setup
from vipcli.checkpoints.catalog import KNOWN, model_config
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN, Turn
from vipcli.engine.local import LocalModel

SHAPE = KNOWN["vip-llava-7b"]
QUESTION = "What is the man within the red rectangle holding in his left hand, and what color is it?"
ANSWER, SHORT_ANSWER, BATCH = 128, 8, 32
BANDWIDTH = {"H100": 3.0e12, "H200": 4.3e12}
"""Bytes a second of a copy on the device."""
COMPUTE = 790e12
"""Floating-point operations a second in 16 bits."""
PICTURE_COST = 8.8e12
"""Operations for a picture of 576 tokens and its prompt."""


def make(options: argparse.Namespace) -> dict[str, Any]:
    """Write a checkpoint of random weights, with the bundled model's tokenizer."""
    from transformers import AutoTokenizer, VipLlavaConfig
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.processing_llava import LlavaProcessor
    from transformers.models.vipllava.modeling_vipllava import VipLlavaForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(find("bundled").folder)
    values = model_config(SHAPE)
    values["image_token_index"] = tokenizer.convert_tokens_to_ids("<image>")
    if options.tiny:
        small = {
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        }
        values["text_config"] = {**values["text_config"], **small, "num_key_value_heads": 4}
        values["vision_config"] = {**values["vision_config"], **small, "num_hidden_layers": 12}
    config = VipLlavaConfig(**values)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float16)
    with torch.device(options.device):
        model = VipLlavaForConditionalGeneration(config)
    # Random weights must not end an answer early.
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.pad_token_id
    with torch.no_grad():
        model.lm_head.weight[tokenizer.pad_token_id] = 0
    model.save_pretrained(options.folder)
    side = config.vision_config.image_size
    pictures = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(options.folder)
    return {"weights": model.num_parameters()}


def single(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Single questions in 16 bits: the documentation's loop, plain steps and compiled steps."""
    model = _load(options)
    plain = _documented(model)
    tokens = options.tokens
    prompt, picture = _request(0, tokens).prompt, _picture(0)
    yield {"way": "documented", **_stream(lambda clock: plain(prompt, picture, tokens, clock), tokens)}
    yield {"way": "ask", **_stream(lambda clock: _answer(model, tokens, clock), tokens), "peak": _peak()}
    short = max(tokens // 4, 2)
    yield {"way": "ask, a quarter as long", **_stream(lambda clock: _answer(model, short, clock), short)}
    if options.device != "cpu":
        del plain, model
        torch.cuda.empty_cache()
        model = _load(options, resident=True)
        started = time.perf_counter()
        _answer(model, tokens, lambda: None)
        yield {"way": "warming", "seconds": round(time.perf_counter() - started, 2)}
        streamed = _stream(lambda clock: _answer(model, tokens, clock), tokens)
        limit = _bandwidth() / (2 * _language_weights())
        yield {
            "way": "serve",
            "compiled": model.compiles,
            **streamed,
            "peak": _peak(),
            "limit": round(limit, 1),
            "of_limit": round(streamed["tokens_per_second"] / limit, 3),
        }


def batch(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Short answers about many pictures: the documentation's loop, and batches of up to 32."""
    model = _load(options)
    plain = _documented(model)
    count = options.batch
    requests = [_request(number, SHORT_ANSWER) for number in range(count)]

    def loop() -> None:
        for number in range(min(count, 8)):
            plain(requests[number].prompt, _picture(number), SHORT_ANSWER, lambda: None)

    seconds = _median(loop) / min(count, 8)
    yield {"way": "documented", "batch": 1, "pictures_per_second": round(1 / seconds, 2)}
    for together in dict.fromkeys([1, min(8, count), count]):
        replies: list[Reply] = []

        def ask(together: int = together, replies: list[Reply] = replies) -> None:
            replies[:] = model.answer_batch(requests[:together])

        took = _median(ask) / together
        yield {
            "way": "batch",
            "batch": together,
            "pictures_per_second": round(1 / took, 2),
            "times_as_fast": round(seconds / took, 2),
            "of_compute_limit": round(PICTURE_COST / COMPUTE / took, 3),
            "seconds": {step: round(spent, 4) for step, spent in replies[0].seconds.items()},
            "peak": _peak(),
        }


def bits(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Peak memory and speed in 16, 8 and 4 bits."""
    whole = 0
    tokens = min(options.tokens, 32)
    for quantize in ("none", "4bit", "8bit"):
        _forget()
        started = time.perf_counter()
        model = _load(options, quantize=quantize)
        loaded, loading_peak = time.perf_counter() - started, _peak()
        _forget()
        streamed = _stream(partial(_answer, model, tokens), tokens, repeat=2)
        peak = _peak()
        whole = whole or peak
        yield {
            "way": quantize,
            "load": round(loaded, 2),
            "loading_peak": loading_peak,
            **streamed,
            "peak": peak,
            "of_16_bits": round(peak / max(whole, 1), 3),
        }
        del model


def profile(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Profile a plain answer, a compiled one and a batch."""
    for way, resident, count in (("ask", False, 1), ("serve", True, 1), ("batch", False, options.batch)):
        if resident and options.device == "cpu":
            continue
        _forget()
        model = _load(options, resident=resident)
        requests = [_request(number, SHORT_ANSWER) for number in range(count)]
        ask = (
            functools.partial(model.answer_batch, requests)
            if count > 1
            else functools.partial(model.answer, requests[0])
        )
        for _ in range(3):
            ask()
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if options.device != "cpu":
            kinds.append(torch.profiler.ProfilerActivity.CUDA)
        _wait()
        started = time.perf_counter()
        with torch.profiler.profile(activities=kinds) as profiler:
            ask()
            _wait()
        wall = time.perf_counter() - started
        events = profiler.key_averages()
        on_device = sum(event.self_device_time_total for event in events) / 1e6
        top = sorted(events, key=lambda event: -event.self_device_time_total)[:14]
        host = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
        yield {
            "way": way,
            "wall": round(wall, 4),
            "device_busy": round(on_device, 4),
            "kernels": [
                [event.key[:70], event.count, round(event.self_device_time_total / 1e3, 2)] for event in top
            ],
            "host": [
                [event.key[:50], event.count, round(event.self_cpu_time_total / 1e3, 2)] for event in host
            ],
        }
        del model


def command(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The whole command over a folder of pictures."""
    from vipcli.pictures.images import save_picture

    pictures = options.folder.parent / "pictures"
    pictures.mkdir(exist_ok=True)
    for number in range(options.pictures):
        save_picture(_picture(number), pictures / f"{number:04}.jpg")
    for together in dict.fromkeys([options.batch, 8]):
        rows = options.folder.parent / f"rows-{together}.jsonl"
        rows.unlink(missing_ok=True)
        ran = subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "vipcli",
                    "batch",
                    pictures,
                    "--question",
                    QUESTION,
                    "--box",
                    "25%,25%,75%,75%",
                ),
                *(
                    "--model",
                    options.folder,
                    "--device",
                    options.device,
                    "--max-new-tokens",
                    str(SHORT_ANSWER),
                ),
                *("--together", str(together), "--readers", "8", "-o", rows, "--json"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        outcome = json.loads(ran.stdout) if ran.returncode == 0 else {"error": ran.stderr[-500:]}
        yield {"way": "vipcli batch", "together": together, **outcome}


PARTS: dict[str, Callable[[argparse.Namespace], Iterator[dict[str, Any]]]] = {
    "single": single,
    "batch": batch,
    "bits": bits,
    "command": command,
    "profile": profile,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu", description=__doc__)
    parser.add_argument("part", choices=["make", *PARTS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="make a small checkpoint, to try the parts")
    parser.add_argument("--tokens", type=int, default=ANSWER)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--pictures", type=int, default=512)
    options = parser.parse_args()
    results = iter([make(options)]) if options.part == "make" else PARTS[options.part](options)
    for result in results:
        print(json.dumps({"part": options.part, "card": _card(), **result}), flush=True)


def _load(options: argparse.Namespace, resident: bool = False, quantize: str = "none") -> LocalModel:
    setup = Setup(device=options.device, dtype="auto", quantize=quantize)
    return LocalModel(find(str(options.folder)), setup, resident=resident)


@functools.cache
def _picture(seed: int) -> Any:
    """A picture of 1280 × 960 pixels that compresses like a photo."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), np.uint8)
    return cv2.resize(coarse, (1280, 960), interpolation=cv2.INTER_CUBIC)


def _request(seed: int, tokens: int) -> Request:
    prompt = HUMAN.build([Turn(QUESTION)])
    return Request(prompt=prompt, images=(_picture(seed),), stops=HUMAN.stops, sampling=Sampling(tokens))


def _note_time(times: list[float]) -> None:
    times.append(time.perf_counter())


def _answer(model: LocalModel, tokens: int, clock: Callable[[], None]) -> int:
    """Ask about a new picture, so that the prefix cache does not help; `clock` is called at each token."""
    _answer.asked += 1  # type: ignore[attr-defined]
    request = _request(1000 + _answer.asked, tokens)  # type: ignore[attr-defined]
    calls = 0

    def tick() -> bool:
        nonlocal calls
        calls += 1
        clock()
        return False

    reply = model.answer(request, halted=tick)
    return len(reply.token_ids)


_answer.asked = 0  # type: ignore[attr-defined]


def _documented(model: LocalModel) -> Callable[[str, Any, int, Callable[[], None]], int]:
    """The documentation's own code, with the weights of `model`."""
    from transformers import AutoProcessor
    from transformers.generation.stopping_criteria import StoppingCriteria, StoppingCriteriaList

    processor = AutoProcessor.from_pretrained(model.checkpoint.folder)
    inner = model._model

    class TickingCriteria(StoppingCriteria):  # type: ignore[misc]
        def __init__(self, tick: Callable[[], None]) -> None:
            self._tick = tick

        def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            _wait()
            self._tick()
            return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)

    def ask(prompt: str, picture: Any, tokens: int, tick: Callable[[], None]) -> int:
        inputs = processor(text=prompt, images=picture, return_tensors="pt").to(inner.device, inner.dtype)
        with torch.inference_mode():
            written = inner.generate(
                **inputs,
                max_new_tokens=tokens,
                do_sample=False,
                stopping_criteria=StoppingCriteriaList([TickingCriteria(tick)]),
            )
        return int(written.shape[1] - inputs["input_ids"].shape[1])

    return ask


def _stream(ask: Callable[[Callable[[], None]], int], tokens: int, repeat: int = 3) -> dict[str, Any]:
    """Median seconds from a picture in memory to the first token, and tokens a second after it."""
    firsts, rates = [], []
    for number in range(repeat + 1):
        times: list[float] = []
        _wait()
        started = time.perf_counter()
        count = ask(partial(_note_time, times))
        assert count == tokens == len(times), (count, tokens, len(times))
        # The first answer is a warm-up.
        if number:
            firsts.append(times[0] - started)
            rates.append((tokens - 1) / (times[-1] - times[0]))
    return {
        "first_token": round(statistics.median(firsts), 4),
        "tokens_per_second": round(statistics.median(rates), 2),
    }


def _median(work: Callable[[], None], repeat: int = 3) -> float:
    work()
    times = []
    for _ in range(repeat):
        _wait()
        started = time.perf_counter()
        work()
        _wait()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _forget() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak() -> int:
    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_available() else 0


def _card() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"


def _bandwidth() -> float:
    return next((speed for name, speed in BANDWIDTH.items() if name in _card()), 3.0e12)


def _language_weights() -> int:
    """The weights that are read for each token: the language model without its input embeddings."""
    return 6_607_000_000


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
