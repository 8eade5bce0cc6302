"""Measuring: the true shapes without their weights, and figures that hang together."""

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
from vipcli.engine import benchmark, loading
from vipcli.engine.benchmark import Measured, Plan, measure, ratios
from vipcli.engine.loading import random_model
from vipcli.errors import ModelError, UsageError

SHORT = Plan(batch=2, tokens=4, repeat=2)


def small(name: str) -> KnownCheckpoint:
    """A known checkpoint, its shape kept and its sizes taken down to what a test has time for."""
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
def test_random_weights_have_the_true_shape_and_run(name: str, quantize: str) -> None:
    known = small(name)
    dtype = "auto" if quantize != "none" else "bfloat16"
    measured = measure(known, Setup("cpu", dtype, quantize), SHORT)
    assert measured.tokens_per_second > 0 and measured.images_per_second > 0
    assert 0 < measured.first_token < SHORT.batch / measured.images_per_second
    if quantize == "none":
        # One layer of CLIP's is not needed, and a few positions are kept beside the weights.
        assert 0.95 < measured.weights / (2 * known.parameters) < 1.001
    else:
        assert measured.weights < 2 * known.parameters


def test_random_weights_are_numbers_of_a_usual_size() -> None:
    model = random_model(small("vip-llava-7b"), Setup("cpu", "float32"))
    for name, weight in model.named_parameters():
        assert weight.device.type == "cpu"
        assert torch.isfinite(weight).all(), name
        assert 0 < float(weight.abs().mean()) < 0.1, name


def test_what_was_measured_is_compared_with_the_plain_loop() -> None:
    checkpoint = find("bundled")
    plain = measure(checkpoint, Setup("cpu", "bfloat16"), SHORT, plain=True)
    ours = measure(checkpoint, Setup("cpu", quantize="4bit"), SHORT)
    compared = ratios(ours, plain)
    assert compared["weights"] == ours.weights / plain.weights < 0.9
    assert compared["tokens_per_second"] == ours.tokens_per_second / plain.tokens_per_second
    told = "\n".join(benchmark.report(checkpoint, ours, plain, SHORT))
    assert "bundled: 4bit and bfloat16 on cpu, attention sdpa" in told
    assert "× as fast" in told and "as the documentation runs it" in told


def test_a_warm_up_is_earned_back_by_what_each_answer_saves() -> None:
    plan = Plan(batch=2)
    plain = Measured(
        load=1, warm_up=0.5, first_token=0.1, tokens_per_second=60, images_per_second=0.5,
        peak_memory=1, weights=1, device="cuda:0", dtype="bfloat16", quantize="none", attention="sdpa",
    )  # fmt: skip
    # Two pictures in one second instead of four: 30 seconds more are there again after ten times.
    assert benchmark.earned_back(replace(plain, warm_up=30.5, images_per_second=2), plain, plan) == 10
    assert benchmark.earned_back(replace(plain, warm_up=0, images_per_second=2), plain, plan) == 0
    assert benchmark.earned_back(replace(plain, images_per_second=0.4), plain, plan) is None


def test_a_shape_too_large_is_told_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "_free", lambda _: 10**10)
    with pytest.raises(ModelError, match=r"takes 1[45]\d GB like this, and cpu has 10.0 GB free"):
        random_model(KNOWN["llava-onevision-72b-ov"], Setup("cpu", "bfloat16"))
    with pytest.raises(ModelError, match=r"--quantize 8bit takes 9\.\d GB"):
        random_model(KNOWN["vip-llava-7b"], Setup("cpu", "bfloat16"))
    with pytest.raises(ModelError, match=r"Nor would 4 bits fit: take a smaller checkpoint\.$"):
        random_model(KNOWN["llava-onevision-72b-ov"], Setup("cpu", "bfloat16"))
    with pytest.raises(UsageError, match="Choose another --device"):
        random_model(KNOWN["vip-llava-7b"], Setup("spread"))


def test_the_command_prints_one_object(tiny: Path) -> None:
    command = [sys.executable, "-m", "vipcli", "bench", str(tiny), "--tokens", "4", "--repeat", "1", "--json"]
    ran = subprocess.run([*command, "--baseline"], capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert told["plan"] == {"batch": 1, "tokens": 4, "repeat": 1}
    assert told.keys() == {
        *("model", "plan", "measured", "versions", "baseline", "ratios", "earned_back_after"),
    }
    assert told["model"] == {"name": str(tiny), "revision": None, "random_weights": False}
    assert (told["measured"]["quantize"], told["measured"]["attention"]) == ("none", "sdpa")
    assert ran.stderr == ""


def test_an_unknown_shape_is_refused() -> None:
    command = [sys.executable, "-m", "vipcli", "bench", "someone/model", "--random-weights"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 2
    assert "The shape of 'someone/model' is not known. Those that are: vip-llava-7b" in ran.stderr


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "Take a smaller --batch, or"),
        (
            RuntimeError("shapes do not go together"),
            r"failed while answering \(shapes do not go together\)\.$",
        ),
        (RuntimeError("mat1 and mat2 must have the same dtype"), "Another --dtype may help"),
    ],
)
def test_a_model_that_fails_is_told_in_a_sentence(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(benchmark, "_inputs", fail)
    with pytest.raises(ModelError, match=told):
        measure(find("bundled"), Setup("cpu"), SHORT)


def test_a_shape_that_memory_cannot_hold_after_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loading, "_fill", fill)
    with pytest.raises(ModelError, match="does not fit into the memory of cpu"):
        measure(small("vip-llava-7b"), Setup("cpu", "bfloat16"), SHORT)


def test_a_name_of_nothing_is_refused() -> None:
    for more in ([], ["--random-weights"]):
        command = [sys.executable, "-m", "vipcli", "bench", "", *more]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert ran.returncode == 2
        assert "is empty" in ran.stderr or "The shape of '' is not known" in ran.stderr
