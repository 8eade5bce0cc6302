"""Benchmarks: models of a published shape with random weights, and consistent figures."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from vipcli.asking.interface import Setup
from vipcli.checkpoints.catalog import KNOWN, KnownCheckpoint
from vipcli.checkpoints.lookup import find
from vipcli.engine import benchmark, devices, random_weights
from vipcli.engine.benchmark import BenchmarkPlan, BenchmarkResult, measure, ratios
from vipcli.engine.random_weights import random_model
from vipcli.errors import ModelError, UsageError

SHORT = BenchmarkPlan(batch=2, tokens=4, repeat=2)


def small(name: str) -> KnownCheckpoint:
    """A known checkpoint with its structure, but of a size that a test has time for."""
    known = KNOWN[name]
    text = replace(
        known.text, width=128, intermediate=192, layers=2, heads=4, key_value_heads=2, context=2048
    )
    vision = replace(
        known.vision, width=64, intermediate=128, layers=12, heads=4, patch=known.vision.image // 3
    )
    return replace(known, text=text, vision=vision)


FAMILIES = ("vip-llava-7b", "llava-1.5-7b", "llava-interleave-0.5b", "llava-onevision-7b-ov")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("quantize", ["none", "4bit", "8bit"])
def test_random_weights_have_the_published_shape_and_run(name: str, quantize: str) -> None:
    known = small(name)
    dtype = "auto" if quantize != "none" else "bfloat16"
    result = measure(known, Setup("cpu", dtype, quantize), SHORT)
    assert result.tokens_per_second > 0 and result.images_per_second > 0
    assert 0 < result.first_token < SHORT.batch / result.images_per_second
    if quantize == "none":
        # One layer of CLIP is dropped, and there are a few position ids beside the weights.
        assert 0.95 < result.weights / (2 * known.parameters) < 1.001
    else:
        assert result.weights < 2 * known.parameters


def test_random_weights_are_of_a_usual_size() -> None:
    model = random_model(small("vip-llava-7b"), Setup("cpu", "float32"))
    for name, weight in model.named_parameters():
        assert weight.device.type == "cpu"
        assert torch.isfinite(weight).all(), name
        assert 0 < float(weight.abs().mean()) < 0.1, name


def test_results_are_compared_with_a_baseline() -> None:
    checkpoint = find("bundled")
    plain = measure(checkpoint, Setup("cpu", "bfloat16"), SHORT, plain=True)
    ours = measure(checkpoint, Setup("cpu", quantize="4bit"), SHORT)
    compared = ratios(ours, plain)
    assert compared["weights"] == ours.weights / plain.weights < 0.9
    assert compared["tokens_per_second"] == ours.tokens_per_second / plain.tokens_per_second
    text = "\n".join(benchmark.as_lines(checkpoint, ours, plain, SHORT))
    assert "bundled: 4bit and bfloat16 on cpu, attention sdpa" in text
    assert "× as fast" in text and "as the documentation runs it" in text


def test_a_warm_up_pays_off_through_what_each_batch_saves() -> None:
    plan = BenchmarkPlan(batch=2)
    plain = BenchmarkResult(
        load=1, warm_up=0.5, first_token=0.1, tokens_per_second=60, images_per_second=0.5,
        peak_memory=1, weights=1, device="cuda:0", dtype="bfloat16", quantize="none", attention="sdpa",
    )  # fmt: skip
    # A batch of two takes one second instead of four, which makes up for 30 seconds after ten batches.
    assert benchmark.break_even(replace(plain, warm_up=30.5, images_per_second=2), plain, plan) == 10
    assert benchmark.break_even(replace(plain, warm_up=0, images_per_second=2), plain, plan) == 0
    assert benchmark.break_even(replace(plain, images_per_second=0.4), plain, plan) is None


def test_a_shape_that_is_too_large_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_memory", lambda _: 10**10)
    with pytest.raises(
        ModelError, match=r"needs 1[45]\d GB of memory in this precision, but cpu has 10.0 GB free"
    ):
        random_model(KNOWN["llava-onevision-72b-ov"], Setup("cpu", "bfloat16"))
    with pytest.raises(ModelError, match=r"quantize=\"8bit\" takes 9\.\d GB"):
        random_model(KNOWN["vip-llava-7b"], Setup("cpu", "bfloat16"))
    with pytest.raises(ModelError, match=r"4 bits would not fit either: take a smaller checkpoint\.$"):
        random_model(KNOWN["llava-onevision-72b-ov"], Setup("cpu", "bfloat16"))
    with pytest.raises(UsageError, match="Choose another device"):
        random_model(KNOWN["vip-llava-7b"], Setup("spread"))


def test_the_command_prints_one_object(tiny: Path) -> None:
    command = [sys.executable, "-m", "vipcli", "bench", str(tiny), "--tokens", "4", "--repeat", "1", "--json"]
    ran = subprocess.run([*command, "--baseline"], capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    record = json.loads(ran.stdout)
    assert record["plan"] == {"batch": 1, "tokens": 4, "repeat": 1}
    assert record.keys() == {
        *("model", "plan", "measured", "versions", "baseline", "ratios", "earned_back_after"),
    }
    assert record["model"] == {"name": str(tiny), "revision": None, "random_weights": False}
    assert (record["measured"]["quantize"], record["measured"]["attention"]) == ("none", "sdpa")
    assert ran.stderr == ""


def test_an_unknown_shape_is_refused() -> None:
    command = [sys.executable, "-m", "vipcli", "bench", "someone/model", "--random-weights"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 2
    assert "'someone/model' is not a known checkpoint. The known ones are vip-llava-7b" in ran.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Take a smaller batch, or"),
        (
            RuntimeError("shapes do not go together"),
            r"failed while answering \(shapes do not go together\)\.$",
        ),
        (RuntimeError("mat1 and mat2 must have the same dtype"), "Another dtype may help"),
    ],
)
def test_a_model_that_fails_is_one_sentence(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(benchmark, "_inputs", fail)
    with pytest.raises(ModelError, match=message):
        measure(find("bundled"), Setup("cpu"), SHORT)


def test_memory_that_runs_out_while_filling_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(random_weights, "_fill", fill)
    with pytest.raises(ModelError, match="does not fit into the memory of cpu"):
        measure(small("vip-llava-7b"), Setup("cpu", "bfloat16"), SHORT)


def test_an_empty_name_is_refused() -> None:
    for more in ([], ["--random-weights"]):
        command = [sys.executable, "-m", "vipcli", "bench", "", *more]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert ran.returncode == 2
        assert "is empty" in ran.stderr or "'' is not a known checkpoint" in ran.stderr
