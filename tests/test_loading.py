"""Precisions and devices: what stays exact, what grows smaller, and what is refused before a load."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.asking.interface import Request, Sampling, Setup
from vipcli.checkpoints.lookup import Checkpoint, find
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine import loading
from vipcli.engine.local import LocalModel
from vipcli.errors import ModelError, UsageError

QUANTIZED = ("4bit", "4bit-fp4", "8bit")


@pytest.fixture(scope="module")
def bundled() -> Checkpoint:
    return find("bundled")


def _request(checkpoint: Checkpoint, tokens: int = 4) -> Request:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 90, 3), dtype=np.uint8)
    prompt = checkpoint.form().build([Turn("What is this?")])
    return Request(prompt, (image,), sampling=Sampling(max_new_tokens=tokens))


def _scores(model: LocalModel, request: Request) -> torch.Tensor:
    """Of the next word, after a whole question."""
    prepared = {
        name: value.to(model._model.dtype) if value.is_floating_point() else value
        for name, value in model._prepare([request]).items()
    }
    with torch.inference_mode():
        scores: torch.Tensor = model._model(**prepared).logits[0, -1]
    return scores.float()


@pytest.mark.parametrize("quantize", QUANTIZED)
def test_the_bundled_model_answers_nearly_the_same_in_fewer_bits(bundled: Checkpoint, quantize: str) -> None:
    request = _request(bundled)
    exact = LocalModel(bundled, Setup(dtype="bfloat16"))
    small = LocalModel(bundled, Setup(quantize=quantize))
    assert small.facts.quantize == quantize
    assert small.answer(request).text == exact.answer(request).text
    reference, scores = _scores(exact, request), _scores(small, request)
    assert torch.nn.functional.cosine_similarity(reference, scores, dim=0) > 0.98
    assert int(scores.argmax()) == int(reference.argmax())


def _in_few_bits(model: Any) -> set[str]:
    """Where in a model there are weights of 4 or 8 bits."""
    return {
        name.split(".layers.")[0].split("encoder")[0].rstrip(".")
        for name, weight in model.named_parameters()
        if weight.dtype in (torch.uint8, torch.int8)
    }


@pytest.mark.parametrize("quantize", QUANTIZED)
def test_what_sees_keeps_its_precision_unless_asked(bundled: Checkpoint, quantize: str) -> None:
    text_alone = LocalModel(bundled, Setup(quantize=quantize))._model
    assert _in_few_bits(text_alone) == {"model.language_model"}
    everything = LocalModel(bundled, Setup(quantize=quantize, quantize_all=True))._model
    assert {"model.language_model", "model.vision_tower"} <= _in_few_bits(everything)
    assert everything.get_memory_footprint() < text_alone.get_memory_footprint()
    assert everything.lm_head.weight.is_floating_point()


@pytest.mark.parametrize("make", [make_vipllava, make_llava, make_interleave, make_onevision])
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_every_family_runs_in_fewer_bits(make: Any, quantize: str, tmp_path: Path) -> None:
    checkpoint = find(str(make(tmp_path / "tiny", hidden=64)))
    model = LocalModel(checkpoint, Setup(quantize=quantize))
    assert len(model.answer(_request_for(checkpoint)).token_ids) == 4
    assert _in_few_bits(model._model) == {"model.language_model"}


def _request_for(checkpoint: Checkpoint) -> Request:
    image = np.zeros((60, 90, 3), np.uint8)
    return Request(checkpoint.form().build([Turn("What?")]), (image,), sampling=Sampling(max_new_tokens=4))


@pytest.mark.parametrize("quantize", QUANTIZED)
def test_nothing_floods_the_terminal(quantize: str) -> None:
    picture = Path(__file__).parent.parent / "samples" / "shapes.png"
    ran = subprocess.run(
        [sys.executable, "-m", "vipcli", "ask", picture, "What?", "--quantize", quantize, "--quiet"],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.count("\n") == 1


def test_spread_uses_all_that_there_is(bundled: Checkpoint) -> None:
    model = LocalModel(bundled, Setup(device="spread"))
    assert model.facts.device == "cpu"
    assert model.answer(_request(bundled)).token_ids


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_reckoned_as_asked(bundled: Checkpoint, attention: str) -> None:
    model = LocalModel(bundled, Setup(attention=attention))
    assert model._model.config._attn_implementation == attention


@pytest.mark.parametrize(
    ("setup", "error", "told"),
    [
        (Setup(quantize="8bit", dtype="float32"), UsageError, "8 bits go with float16, not with float32"),
        (Setup(attention="flash"), ModelError, "Flash attention runs on NVIDIA GPUs alone"),
        (Setup(device="cuda:7"), ModelError, "no cuda device"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_loaded(
    bundled: Checkpoint, setup: Setup, error: type[Exception], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_config", _unreachable)
    with pytest.raises(error, match=told):
        LocalModel(bundled, setup)


def _unreachable(_: Checkpoint) -> None:
    raise AssertionError("something was loaded")


def test_missing_bitsandbytes_is_told(bundled: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "bitsandbytes" else known(name, *rest),
    )
    with pytest.raises(ModelError, match="--quantize 4bit needs bitsandbytes: pip install bitsandbytes"):
        LocalModel(bundled, Setup(quantize="4bit"))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets how many megabytes the machine has left."""

    def leave(megabytes: float) -> None:
        monkeypatch.setattr(loading, "_free", lambda _: int(megabytes * 1e6))

    yield leave


@pytest.mark.parametrize(
    ("megabytes", "advice"),
    [
        (70, "--dtype bfloat16 takes 49"),
        (45, "--quantize 8bit takes"),
        (1, "Nor would 4 bits fit: take a smaller checkpoint"),
    ],
)
def test_too_little_memory_is_told_with_what_fits(
    bundled: Checkpoint, free: Any, megabytes: float, advice: str
) -> None:
    free(megabytes)
    with pytest.raises(ModelError, match=f"bundled takes 98.* like this, and cpu has .* free. {advice}"):
        LocalModel(bundled)


def test_what_fits_is_loaded(bundled: Checkpoint, free: Any) -> None:
    free(50)
    assert LocalModel(bundled, Setup(dtype="bfloat16")).facts.dtype == "bfloat16"


@pytest.mark.parametrize("make", [make_vipllava, make_llava, make_interleave, make_onevision])
def test_unused_vision_layers_are_left_out_bit_for_bit(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = find(str(make(tmp_path / "tiny")))
    short = LocalModel(checkpoint)
    monkeypatch.setattr(loading, "_drop_unused_layers", lambda _: None)
    whole = LocalModel(checkpoint)
    counts = [len(model._model.model.vision_tower.encoder.layers) for model in (short, whole)]
    # ViP-LLaVA and LLaVA-1.5 take nothing from the last layer.
    assert counts[1] - counts[0] == (1 if make in (make_vipllava, make_llava) else 0)
    request = _request_for(checkpoint)
    assert torch.equal(_scores(short, request), _scores(whole, request))


def test_scores_are_reckoned_for_the_last_word_alone(bundled: Checkpoint) -> None:
    model = LocalModel(bundled)
    seen: list[int] = []
    model._model.lm_head.register_forward_hook(lambda _, given, __: seen.append(given[0].shape[1]))
    model.answer(_request(bundled))
    assert set(seen) == {1}


def test_the_cpu_stays_exact_beside_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert loading._dtype(Setup(), torch.device("cpu")) is torch.float32
    assert loading._dtype(Setup(), torch.device("cuda")) == "auto"
    assert loading._dtype(Setup(), None) == "auto"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("added_tokens"), "something in it is missing, or of another kind than it should be"),
        (ValueError("no such thing:"), r"did not read \(no such thing\)\. It may be damaged"),
    ],
)
def test_what_does_not_read_is_told_in_our_words(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(loading, "inputs_for", fail)
    with pytest.raises(ModelError, match=told):
        LocalModel(find(str(tiny)))


@pytest.mark.parametrize(("setting", "more"), [("hidden_size", 16), ("vocab_size", 8)])
def test_a_weight_that_does_not_fit_the_configuration_is_named(
    tiny: Path, tmp_path: Path, setting: str, more: int
) -> None:
    folder = tmp_path / "misfit"
    shutil.copytree(tiny, folder)
    (folder / "answers.json").write_text("[]")  # no file of a checkpoint, and not to be blamed
    config = json.loads((folder / "config.json").read_text())
    config["text_config"][setting] += more
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"weights do not fit its config\.json\. \S+ is \d+ × .* but \d+ × "):
        LocalModel(find(str(folder)))


def test_a_file_that_does_not_read_is_named(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    shutil.copytree(tiny, folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match=r"did not read \(tokenizer\.json cannot be read\)"):
        LocalModel(find(str(folder)))
