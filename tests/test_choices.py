"""Choosing by likelihood, against plain forward passes over the whole text of each choice."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.asking.interface import GREEDY, Reply, Request, Setup
from vipcli.asking.pipeline import ask, build_request, mark, prepare
from vipcli.asking.values import PastTurn
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import Turn
from vipcli.config import SCORES, Score
from vipcli.engine import scoring
from vipcli.engine.local import LocalModel
from vipcli.errors import ContextError, ModelError, OutOfMemoryError, PromptError
from vipcli.pictures.images import Picture

MAKERS = {
    "vipllava": make_vipllava,
    "llava": make_llava,
    "interleave": make_interleave,
    "onevision": make_onevision,
}
CHOICES = (
    "yes",
    "a dog",
    # One begins another, and one is long.
    "a dog on a green chair",
    "A small dog on a green chair and the left wheel of a car within the yellow ellipse, taller than 17.",
    "7",
    "naïve",
)


def picture(seed: int = 0, width: int = 60, height: int = 45) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Picture(pixels, f"{seed}.png", str(seed))


@pytest.fixture(scope="module", params=MAKERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalModel:
    """A model of each family, in float64: random weights make much of the rounding of float32."""
    folder = MAKERS[request.param](tmp_path_factory.mktemp("choices") / request.param)
    model = LocalModel(lookup.find(str(folder)))
    model._model.double()
    return model


@pytest.fixture(scope="module")
def vipllava(tiny: Path) -> LocalModel:
    return LocalModel(lookup.find(str(tiny)))


def asking(
    model: LocalModel,
    choices: tuple[str, ...] = CHOICES,
    question: str = "What is it?",
    *,
    seed: int = 0,
    form: str = "auto",
    **fields: Any,
) -> Request:
    prepared = prepare(mark([picture(seed)], []), question, model.checkpoint, prompt=form)
    return replace(
        build_request(prepared, fields.pop("sampling", Request("", ()).sampling)), choices=choices, **fields
    )


def prompt_inputs(model: LocalModel, request: Request) -> dict[str, torch.Tensor]:
    """What the model reads before the answer."""
    return {
        name: value.to(model._model.dtype) if value.is_floating_point() else value
        for name, value in model._input_builder([request]).items()
        if name != "attention_mask"
    }


def plain_sum(model: LocalModel, request: Request, choice: str, *, blind: bool = False) -> tuple[float, int]:
    """The log-probability of a choice and its end, from one forward pass over everything, and its tokens."""
    tokenizer = model._input_builder.tokenizer
    if blind:
        empty = np.zeros((45, 60, 3), np.uint8) + np.array(model.checkpoint.padding, np.uint8)
        request = replace(
            request, images=(empty,) * len(request.images), frames=(empty,) * len(request.frames)
        )
    inputs = prompt_inputs(model, request)
    space = "" if request.prompt.endswith("\n") else " "
    # The choice is tokenized with all of the prompt before it, but for the pictures.
    text = request.prompt.replace("<image>", "").replace("<video>", "")
    bare = tokenizer(text)["input_ids"]
    whole = tokenizer(f"{text}{space}{choice}")["input_ids"]
    assert whole[: len(bare)] == bare
    answer = torch.tensor([whole[len(bare) :]])
    prompt = inputs.pop("input_ids")
    ids = torch.cat([prompt, answer], dim=1)
    with torch.inference_mode():
        logprobs = model._model(input_ids=ids, **inputs).logits[0].log_softmax(-1)
    start = prompt.shape[1] - 1
    written = sum(float(logprobs[start + place, token]) for place, token in enumerate(answer[0].tolist()))
    ends = {tokenizer.eos_token_id}
    if request.stops and request.stops[0].text == "###":
        after = tokenizer("a ###Human", add_special_tokens=False)["input_ids"]
        alone = tokenizer("a", add_special_tokens=False)["input_ids"]
        turn = tokenizer("a###Human", add_special_tokens=False)["input_ids"]
        assert turn[0] == alone[0] and after != turn
        ends.add(turn[1])
    end = math.log(sum(math.exp(float(logprobs[-1, token])) for token in ends))
    return written + end, answer.shape[1] + 1


def softmax(values: list[float]) -> list[float]:
    shares = [math.exp(value) for value in values]
    return [share / sum(shares) for share in shares]


def check_against_plain(model: LocalModel, request: Request, reply: Reply) -> None:
    assert [choice.text for choice in reply.choices] == list(request.choices)
    values = []
    for choice in reply.choices:
        total, tokens = plain_sum(model, request, choice.text)
        assert choice.logprob == pytest.approx(total, abs=1e-4)
        assert choice.tokens == tokens
        value = total / tokens if request.score == "mean" else total
        if request.score == "lift":
            blind, _ = plain_sum(model, request, choice.text, blind=True)
            assert choice.logprob_without_picture == pytest.approx(blind, abs=1e-4)
            value = total - blind
        values.append(value)
    shares = softmax(values)
    assert [choice.probability for choice in reply.choices] == pytest.approx(shares, abs=1e-4)
    assert reply.text == request.choices[shares.index(max(shares))]
    assert reply.probability == max(choice.probability for choice in reply.choices)
    assert reply.ended == "stop"


@pytest.mark.parametrize("score", SCORES)
def test_scores_are_those_of_plain_forward_passes(model: LocalModel, score: Score) -> None:
    request = asking(model, score=score)
    reply = model.answer(request)
    check_against_plain(model, request, reply)
    # The second time, the picture and the prompt are in the prefix cache.
    again = model.answer(request)
    assert [choice.logprob for choice in again.choices] == pytest.approx(
        [choice.logprob for choice in reply.choices], abs=1e-4
    )


@pytest.mark.parametrize("form", ["human", "vicuna"])
def test_every_prompt_form_ends_an_answer_in_its_way(vipllava: LocalModel, form: str) -> None:
    request = asking(vipllava, form=form)
    check_against_plain(vipllava, request, vipllava.answer(request))


def test_a_batch_scores_each_request_as_if_it_were_alone(model: LocalModel) -> None:
    requests = [
        asking(model, ("yes", "no")),
        asking(model, CHOICES, "Which of these words fits the thing in the middle?", score="lift"),
        asking(model, ("no", "a left wheel", "7"), score="mean", top_logprobs=2),
        asking(model, CHOICES[::-1], seed=1, score="lift"),
    ]
    texts: list[str] = []
    replies = model.answer_batch(requests, [texts.append] * 4)
    assert texts == [reply.text for reply in replies]
    for request, reply in zip(requests, replies, strict=True):
        check_against_plain(model, request, reply)
        assert len(reply.logprobs) == (reply.shown_tokens if request.top_logprobs else 0)


@pytest.mark.parametrize("score", ["sum", "lift"])
def test_several_pictures_and_videos_are_scored(model: LocalModel, score: Score) -> None:
    pictures = [picture(seed) for seed in (0, 1)]
    prepared = prepare(mark(pictures, []), "Which is larger?", model.checkpoint, choices=CHOICES)
    request = replace(build_request(prepared, GREEDY), score=score)
    check_against_plain(model, request, model.answer(request))
    if model.checkpoint.family.video:
        frames = tuple(picture(seed).pixels for seed in range(3))
        prompt = model.checkpoint.form().build([Turn("What moves?")], images=0, video=True)
        request = Request(prompt, (), frames, choices=CHOICES, score=score, stops=request.stops)
        check_against_plain(model, request, model.answer(request))
        replies = model.answer_batch([request, request])
        assert [reply.text for reply in replies] == [model.answer(request).text] * 2


def test_a_batch_may_mix_choices_and_free_answers(vipllava: LocalModel) -> None:
    free, chosen = asking(vipllava, ()), asking(vipllava)
    replies = vipllava.answer_batch([free, chosen, free])
    assert replies[0].token_ids == replies[2].token_ids == vipllava.answer(free).token_ids
    check_against_plain(vipllava, chosen, replies[1])


def test_two_hundred_choices_are_read_in_groups(
    vipllava: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    choices = tuple(f"{number} dogs on a chair" if number % 3 else str(number) for number in range(200))
    request = asking(vipllava, choices)
    whole = vipllava.answer(request)
    check_against_plain(vipllava, replace(request, choices=choices[:5]), replace_choices(whole, 5))
    groups: list[int] = []
    score_chunk = scoring._score_chunk

    def counted(model: Any, prompts: Any, chunk: Any, top: int) -> Any:
        groups.append(len(chunk))
        return score_chunk(model, prompts, chunk, top)

    monkeypatch.setattr(scoring, "_score_chunk", counted)
    monkeypatch.setattr(scoring, "_MAX_BYTES", 500_000)
    grouped = vipllava.answer(request)
    assert sum(groups) == 200
    assert 3 < len(groups) < 100
    assert [choice.logprob for choice in grouped.choices] == pytest.approx(
        [choice.logprob for choice in whole.choices], abs=1e-4
    )
    # Memory for less than one choice still reads one at a time.
    monkeypatch.setattr(scoring, "_MAX_BYTES", 1)
    groups.clear()
    assert vipllava.answer(replace(request, choices=choices[:7])).text in choices
    assert groups == [1] * 7


def replace_choices(reply: Reply, count: int) -> Reply:
    """A reply with its first choices only, and their shares among themselves."""
    shares = softmax([choice.logprob for choice in reply.choices[:count]])
    choices = tuple(
        replace(choice, probability=share) for choice, share in zip(reply.choices, shares, strict=False)
    )
    best = max(choices, key=lambda choice: choice.probability)
    return replace(reply, choices=choices, text=best.text, probability=best.probability)


def test_the_end_counts_so_that_a_choice_gains_nothing_by_being_the_start_of_another(
    vipllava: LocalModel,
) -> None:
    short, long = vipllava.answer(asking(vipllava, ("a dog", "a dog on a green chair"))).choices
    alone = vipllava.answer(asking(vipllava, ("a dog",), top_logprobs=0))
    written = sum(token.logprob for token in alone.logprobs)
    # Without its end, the start of an answer is always likelier than the whole.
    assert long.logprob < written
    assert alone.choices[0].logprob == pytest.approx(short.logprob, abs=1e-4)
    assert short.logprob < written
    assert (alone.text, alone.probability) == ("a dog", 1)


def test_a_picture_changes_the_scores(model: LocalModel) -> None:
    one, other = (model.answer(asking(model, seed=seed)).choices for seed in (0, 1))
    assert [choice.logprob for choice in one] != pytest.approx([choice.logprob for choice in other])


def test_the_model_continues_after_a_choice(model: LocalModel) -> None:
    marked = mark([picture()], [])
    first = ask(prepare(marked, "What is it?", model.checkpoint, choices=CHOICES), model)
    past = [PastTurn("What is it?", first.text, first.reply.token_ids)]
    prepared = prepare(marked, "Why?", model.checkpoint, past_turns=past, choices=("no", "a car"))
    after = ask(prepared, model).reply
    model.forget()
    fresh = ask(prepared, model).reply
    assert [choice.logprob for choice in after.choices] == pytest.approx(
        [choice.logprob for choice in fresh.choices], abs=1e-4
    )
    as_text = prepare(
        marked,
        "Why?",
        model.checkpoint,
        past_turns=[PastTurn("What is it?", first.text, None)],
        choices=("no", "a car"),
    )
    if model.checkpoint.form().name == "human":
        spelled = ask(as_text, model).reply
        assert [choice.logprob for choice in after.choices] == pytest.approx(
            [choice.logprob for choice in spelled.choices], abs=1e-3
        )


def test_a_free_answer_after_choices_is_the_same(model: LocalModel) -> None:
    free = asking(model, ())
    model.forget()
    expected = model.answer(free).token_ids
    model.forget()
    model.answer(asking(model))
    assert model.answer(free).token_ids == expected


def test_a_resident_model_scores_too(tiny: Path, vipllava: LocalModel) -> None:
    resident = LocalModel(lookup.find(str(tiny)), resident=True)
    # As on a GPU, where it would be compiled.
    resident._compiles = True
    request = asking(vipllava, score="lift")
    check_against_plain(vipllava, request, resident.answer(request))


@pytest.mark.parametrize("make", MAKERS.values())
@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_quantized_models_score(make: Any, quantize: str, tmp_path: Path) -> None:
    checkpoint = lookup.find(str(make(tmp_path / "tiny", hidden=64)))
    model = LocalModel(checkpoint, Setup(quantize=quantize, device="cpu"))
    request = asking(model, score="lift")
    choices = model.answer(request).choices
    assert sum(choice.probability for choice in choices) == pytest.approx(1)
    plain = [plain_sum(model, request, choice.text)[0] for choice in choices]
    # Rows that are quantized together lose a little of their precision.
    assert [choice.logprob for choice in choices] == pytest.approx(plain, rel=0.02)


def test_a_request_that_is_halted_chooses_nothing(vipllava: LocalModel) -> None:
    texts: list[str] = []
    reply = vipllava.answer(asking(vipllava), texts.append, lambda: True)
    assert (reply.text, reply.ended, reply.choices, reply.token_ids) == ("", "halted", (), ())
    assert texts == []
    # Halted between the reading with the picture and the one without.
    halts = iter([False, True])
    reply = vipllava.answer(asking(vipllava, score="lift"), halted=lambda: next(halts))
    assert (reply.text, reply.ended) == ("", "halted")


def test_one_halted_request_does_not_stop_its_neighbors(vipllava: LocalModel) -> None:
    replies = vipllava.answer_batch([asking(vipllava)] * 2, halted=[lambda: True, None])
    assert replies[1].ended == "stop"


def test_a_choice_too_long_for_the_context_is_refused(vipllava: LocalModel) -> None:
    with pytest.raises(ContextError, match="tokens, but the model holds"):
        vipllava.answer(asking(vipllava, ("yes", "dog " * 2000)))


def test_choices_with_control_tokens_are_refused_by_the_engine_too(vipllava: LocalModel) -> None:
    with pytest.raises(PromptError, match="'<image>', a control token"):
        vipllava.answer(asking(vipllava, ("yes", "<image>")))


def test_running_out_of_memory_advises_fewer_choices(
    vipllava: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(scoring, "_score_chunk", fail)
    with pytest.raises(OutOfMemoryError, match="Give fewer choices, or try another device"):
        vipllava.answer(asking(vipllava))


def test_scores_that_are_not_numbers_are_an_error(tiny: Path) -> None:
    model = LocalModel(lookup.find(str(tiny)))
    with torch.no_grad():
        model._model.lm_head.weight.fill_(math.nan)
    with pytest.raises(ModelError, match="not numbers"):
        model.answer(asking(model))


def test_the_tokens_of_the_choice_are_reported(vipllava: LocalModel) -> None:
    reply = vipllava.answer(asking(vipllava, top_logprobs=3))
    chosen = next(choice for choice in reply.choices if choice.text == reply.text)
    assert [token.id for token in reply.logprobs] == list(reply.token_ids)
    assert "".join(token.text for token in reply.logprobs).strip() == reply.text
    assert chosen.tokens == len(reply.logprobs) + 1
    assert sum(token.logprob for token in reply.logprobs) > chosen.logprob
    for token in reply.logprobs:
        likeliest = [entry.logprob for entry in token.top]
        assert len(likeliest) == 3
        assert likeliest == sorted(likeliest, reverse=True)
        assert token.logprob <= likeliest[0]
    assert vipllava.answer(asking(vipllava)).logprobs == ()


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_the_tokens_of_a_free_answer_are_reported(model: LocalModel, temperature: float) -> None:
    sampling = replace(Request("", ()).sampling, max_new_tokens=12, temperature=temperature)
    request = asking(model, (), sampling=sampling, top_logprobs=4)
    reply = model.answer(request)
    assert len(reply.logprobs) == reply.shown_tokens > 3
    inputs = prompt_inputs(model, request)
    start = inputs["input_ids"].shape[1]
    ids = torch.cat([inputs.pop("input_ids"), torch.tensor([reply.token_ids])], dim=1)
    with torch.inference_mode():
        logprobs = model._model(input_ids=ids, **inputs).logits[0].log_softmax(-1)
    for place, token in enumerate(reply.logprobs, start - 1):
        assert token.id == reply.token_ids[place - start + 1]
        assert token.logprob == pytest.approx(float(logprobs[place, token.id]), abs=1e-4)
        values, indices = logprobs[place].topk(4)
        assert [entry.id for entry in token.top] == indices.tolist()
        assert [entry.logprob for entry in token.top] == pytest.approx(values.tolist(), abs=1e-4)
    assert model.answer(replace(request, top_logprobs=None)).logprobs == ()
    assert [token.top for token in model.answer(replace(request, top_logprobs=0)).logprobs] == [()] * len(
        reply.logprobs
    )


def test_each_request_of_a_batch_gets_its_own_number_of_tokens(vipllava: LocalModel) -> None:
    tops = [None, 0, 5]
    replies = vipllava.answer_batch([asking(vipllava, (), top_logprobs=top) for top in tops])
    assert replies[0].logprobs == ()
    assert [{len(token.top) for token in reply.logprobs} for reply in replies[1:]] == [{0}, {5}]
