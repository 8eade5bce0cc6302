"""Guidance by contrast: against plain forwards, and wherever answers are generated."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

from tests.commands import run
from vipcli.api import load
from vipcli.asking.interface import Grammar, Guide, PromptTurn, Request, Sampling, Setup
from vipcli.asking.load_marked import load_marked
from vipcli.asking.pipeline import build_request, prepare
from vipcli.asking.regions_of_marks import covered
from vipcli.checkpoints import lookup
from vipcli.checkpoints.catalog import INTERLEAVE
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.engine.local import LocalModel
from vipcli.errors import UsageError
from vipcli.geometry import ZoomChoice
from vipcli.marks.kinds import assign_colors, parse_mark
from vipcli.marks.styles import styles_for
from vipcli.pictures.fitting import model_view
from vipcli.serving.protocol import pack_request, unpack_request
from vipcli.training.judging.card import guided_figures
from vipcli.training.judging.guidance import (
    GuidedAnswers,
    PairedDifference,
    guided_summary,
    paired_difference,
)

SAMPLES = Path(__file__).parent.parent / "samples"
LENGTH = 12


BUNDLED = lookup.find("bundled")


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel(BUNDLED)


def request(alpha: float | None, sampling: Sampling | None = None, seed: int = 0, **more: Any) -> Request:
    """A question about a box on a picture, at one of several places."""
    left, top = 10 + 12 * seed, 40 - 6 * seed
    marks = [parse_mark("box", f"{left}%,{top}%,{left + 30}%,{top + 40}%")]
    (marked,) = load_marked([str(SAMPLES / "shapes.png")], marks).pictures
    black = covered(marked.pixels, list(marked.marks.values()), list(marked.styles.values()))
    return Request(
        prompt=BUNDLED.form("vicuna").build([Turn("What is within the red rectangle?")]),
        images=(marked.pixels,),
        sampling=sampling or Sampling(LENGTH),
        guide=None if alpha is None else Guide(alpha, (black,)),
        **more,
    )


def reference(asked: Request, temperature: float = 0, seed: int = 0) -> list[int]:
    """The ids by plain forwards over both pictures."""
    assert asked.guide is not None
    processor = AutoProcessor.from_pretrained(BUNDLED.folder, backend="pil")
    model = VipLlavaForConditionalGeneration.from_pretrained(BUNDLED.folder, dtype=torch.float32)
    alpha, ids = asked.guide.alpha, list[int]()
    size, padding = BUNDLED.input_size, BUNDLED.padding
    views = [model_view(image, "pad", size, padding) for image in (*asked.images, *asked.guide.pictures)]
    inputs = dict(processor(images=views, text=[asked.prompt] * 2, return_tensors="pt"))
    torch.manual_seed(seed)
    while len(ids) < LENGTH and not set(model.generation_config.eos_token_id).intersection(ids[-1:]):
        own, black = model(**inputs).logits[:, -1]
        scores = ((1 + alpha) * own - alpha * black).float()
        drawn = torch.multinomial((scores / (temperature or 1)).softmax(-1).repeat(2, 1), 1)
        ids.append(int(drawn[0]) if temperature else int(scores.argmax()))
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.full((2, 1), ids[-1])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    return ids


@pytest.mark.parametrize("alpha", [0.5, 1.0, 5.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_greedy_ids_are_those_of_plain_forwards(model: LocalModel, alpha: float, seed: int) -> None:
    asked = request(alpha, seed=seed)
    assert list(model.answer(asked).token_ids) == reference(asked)


def test_sampled_ids_are_those_of_plain_forwards(model: LocalModel) -> None:
    for seed in (1, 2):
        asked = request(1.5, Sampling(LENGTH, 2.0, seed=seed))
        assert list(model.answer(asked).token_ids) == reference(asked, 2.0, seed)


def test_guidance_changes_answers(model: LocalModel) -> None:
    plain, guided = (
        [model.answer(request(alpha, seed=seed)).token_ids for seed in range(5)] for alpha in (None, 5.0)
    )
    assert plain != guided


@pytest.mark.parametrize("sampling", [Sampling(LENGTH), Sampling(LENGTH, 2.0, seed=5)])
def test_without_alpha_the_ids_are_the_plain_ones(model: LocalModel, sampling: Sampling) -> None:
    assert model.answer(request(0.0, sampling)).token_ids == model.answer(request(None, sampling)).token_ids


def test_hardly_any_alpha_gives_the_plain_greedy_ids(model: LocalModel) -> None:
    assert model.answer(request(1e-7)).token_ids == model.answer(request(None)).token_ids


def test_a_batch_may_guide_some_rows(model: LocalModel) -> None:
    asked = [request(alpha, seed=seed) for seed, alpha in enumerate([1.0, None, 3.0, 0.0, 2.0])]
    together = model.answer_batch(asked)
    alone = [model.answer(one) for one in asked]
    assert [reply.token_ids for reply in together] == [reply.token_ids for reply in alone]
    assert len({reply.prompt_tokens for reply in together}) == 1


def test_a_static_cache_gives_the_same_ids(model: LocalModel, monkeypatch: pytest.MonkeyPatch) -> None:
    static = LocalModel(BUNDLED, resident=True)
    monkeypatch.setattr(static, "_compiles", True)
    assert static.answer(request(2.0)).token_ids == model.answer(request(2.0)).token_ids
    assert static.compiles


def test_a_grammar_holds_under_guidance(model: LocalModel) -> None:
    words = Grammar("pattern", "(red|green|blue)( and (red|green|blue)){2}")
    for sampling in (Sampling(60), Sampling(60, 4.0, seed=1)):
        reply = model.answer(request(5.0, sampling, grammar=words))
        assert reply.ended == "stop"
        assert re.fullmatch(words.text, reply.text)


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantized_models_are_guided(quantize: str) -> None:
    model = LocalModel(BUNDLED, Setup(device="cpu", quantize=quantize))
    assert model.answer(request(0.0)).token_ids == model.answer(request(None)).token_ids
    assert model.answer(request(1.0)).text


def test_past_turns_are_read_by_both(model: LocalModel) -> None:
    first = model.answer(request(2.0))
    asked = replace(
        request(2.0), past_turns=(PromptTurn(request(None).prompt, first.token_ids),), prompt=" USER: And? "
    )
    guided = model.answer(asked)
    assert guided.prompt_tokens == model.answer(replace(asked, guide=None)).prompt_tokens
    assert guided.prompt_tokens > first.prompt_tokens + len(first.token_ids)


# ---------------------------------------------------------------------- what is covered


@pytest.mark.parametrize(
    ("kind", "text", "black", "kept"),
    [
        ("box", "20,30,60,70", (25, 35), (80, 80)),
        ("triangle", "20,30,60,70", (22, 35), (80, 80)),
        ("ellipse", "20,30,60,70", (40, 50), (22, 32)),
        ("point", "50,50", (55, 45), (70, 50)),
        ("arrow", "10,10,80,80", (85, 75), (15, 15)),
        ("scribble", "20,20 60,60", (58, 22), (75, 40)),
        ("contour", "20,20 80,20 20,80", (25, 25), (75, 75)),
        ("mask", "20,20 80,20 20,80", (25, 25), (75, 75)),
    ],
)
def test_what_each_kind_of_mark_marks(
    kind: str, text: str, black: tuple[int, int], kept: tuple[int, int]
) -> None:
    typed = parse_mark(kind, text)
    marks = [typed.place(100, 100, assign_colors([typed])[0], lambda _: ())]
    white = np.full((100, 100, 3), 255, np.uint8)
    result = covered(white, marks, styles_for(marks, 100, 100))
    assert (result[black[1], black[0]] == 0).all()
    assert (result[kept[1], kept[0]] == 255).all()
    assert white.min() == 255


@pytest.mark.parametrize("place", ["0,0", "99,99", "0,50"])
def test_a_region_at_the_edge_is_cut_off(place: str) -> None:
    typed = parse_mark("point", place)
    marks = [typed.place(100, 100, assign_colors([typed])[0], lambda _: ())]
    result = covered(np.full((100, 100, 3), 255, np.uint8), marks, styles_for(marks, 100, 100))
    assert 100 < (result == 0).all(2).sum() < 441


# ---------------------------------------------------------------------- from the outside


def test_a_guide_travels_with_its_request() -> None:
    asked = request(1.5)
    arrived = unpack_request(pack_request(asked))
    assert asked.guide is not None
    assert arrived.guide is not None
    assert arrived.guide.alpha == 1.5
    assert (arrived.guide.pictures[0] == asked.guide.pictures[0]).all()
    assert (arrived.images[0] == asked.images[0]).all()
    assert unpack_request(pack_request(request(None))).guide is None


@pytest.mark.parametrize("alpha", [-1, 11, "much"])
def test_a_guide_is_checked_on_arrival(alpha: Any) -> None:
    head, _, pixels = pack_request(request(1.0)).partition(b"\n")
    header = json.dumps({**json.loads(head), "guide": alpha}).encode()
    with pytest.raises(UsageError, match="The request cannot be read"):
        unpack_request(header + b"\n" + pixels)
    header = json.dumps({**json.loads(head), "guide": None}).encode()
    with pytest.raises(UsageError, match="do not have the sizes"):
        unpack_request(header + b"\n" + pixels)


@pytest.mark.parametrize("zoom", ["off", 0.5, "pair"])
def test_what_is_marked_is_black_on_a_cut_too(zoom: ZoomChoice) -> None:
    box = parse_mark("box", "20%,30%,35%,45%")
    marked = load_marked([str(SAMPLES / "shapes.png")], [box])
    checkpoint = replace(BUNDLED, family=INTERLEAVE)
    question = prepare(marked, "What is {1}?", checkpoint, guide=1.0, zoom=zoom)
    asked = build_request(question, Sampling(1))
    assert asked.guide is not None
    assert len(asked.images) == len(asked.guide.pictures) == (2 if zoom == "pair" else 1)
    for entry, image, black in zip(question.marked.pictures, asked.images, asked.guide.pictures, strict=True):
        x1, y1, x2, y2 = (round(edge) for edge in entry.drawn_marks[1].bounds)
        assert not black[y1:y2, x1:x2].any()
        changed = (black != image).any(2)
        changed[y1 - 1 : y2 + 2, x1 - 1 : x2 + 2] = False
        assert not changed.any()


def test_guidance_needs_marks() -> None:
    model = load("bundled", no_server=True)
    with pytest.raises(UsageError, match=r"but there are no marks. Add one, or leave out guide.$"):
        model.ask(str(SAMPLES / "shapes.png"), "What is this?", guide=1)
    answer = model.ask(str(SAMPLES / "shapes.png"), "What is {1}?", "box 30%,30%,70%,70%", guide=1)
    assert answer.record()["guide"] == 1


@pytest.mark.parametrize(
    ("words", "alpha"), [(("--guide",), 0.5), (("--guide", "0.5"), 0.5), (("--guide=2",), 2.0), ((), None)]
)
def test_the_option_may_stand_alone(words: tuple[str, ...], alpha: float | None) -> None:
    ran = run("ask", SAMPLES / "shapes.png", "--box", "30%,30%,70%,70%", *words, "What is {1}?", "--json")
    record = json.loads(ran.out)
    assert record.get("guide") == alpha
    assert record["question"].startswith("What is within")


def test_a_batch_is_guided(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    arguments = ("--question", "What is {1}?", "--box", "30%,30%,70%,70%", "-o", rows)
    assert run("batch", SAMPLES / "shapes.png", *arguments, "--guide", "2").code == 0
    (row,) = (json.loads(line) for line in rows.read_text().splitlines())
    asked = load("bundled", no_server=True).ask(
        str(SAMPLES / "shapes.png"), "What is {1}?", "box 30%,30%,70%,70%", guide=2
    )
    assert (row["answer"], row["guide"]) == (asked.text, 2)


def test_the_interval_of_a_paired_difference() -> None:
    pairs = [(True, True)] * 6 + [(False, True)] * 3 + [(True, False)]
    answers = [GuidedAnswers(0, "what", plain, (guided,)) for plain, guided in pairs]
    # Changes of 0, 1 and -1 with a mean of 0.2 and a standard deviation of 0.6325.
    assert paired_difference(answers, 0) == PairedDifference(20.0, -19.2, 59.2)
    figures = guided_summary(answers, [1.0])
    assert (figures["asked"], figures["percent"]) == (10, 70)
    assert "| 1 | +20.0 | -19.2 to +59.2 |" in guided_figures(figures)
