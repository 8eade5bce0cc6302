"""Conversations with real models: a follow-up gives the same tokens as a fresh start, with less work."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.tiny import make_interleave, make_llava, make_onevision, make_vipllava
from vipcli.asking.interface import Request, Sampling
from vipcli.asking.pipeline import ask, mark, prepare
from vipcli.asking.values import PastTurn
from vipcli.checkpoints import lookup
from vipcli.checkpoints.prompt_forms import ANSWER_TOKENS, HUMAN, VICUNA, PromptForm, Turn, continuation
from vipcli.engine.continuations import continuation_ids
from vipcli.engine.local import LocalModel
from vipcli.errors import ContextError, PromptError
from vipcli.pictures.images import Picture

SHAPES = Path(__file__).parent.parent / "samples" / "shapes.png"
MAKERS: dict[str, Callable[[Path], Path]] = {
    "vipllava": make_vipllava,
    "llava": make_llava,
    "interleave": make_interleave,
    "onevision": make_onevision,
}
QUESTIONS = ("What is it?", "What is left of it?", "And #\nbelow?", "Why?")


def picture(seed: int = 0) -> Picture:
    pixels = np.random.default_rng(seed).integers(0, 256, (45, 60, 3), np.uint8)
    return Picture(pixels, f"{seed}.png", str(seed))


@pytest.fixture(scope="module", params=MAKERS)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return MAKERS[request.param](tmp_path_factory.mktemp("conversations") / request.param)


@contextmanager
def vision_runs(model: LocalModel) -> Iterator[list[int]]:
    """Count the runs of the vision tower."""
    count = [0]

    def see(*_: object) -> None:
        count[0] += 1

    hook = model._model.model.vision_tower.register_forward_pre_hook(see)
    try:
        yield count
    finally:
        hook.remove()


def converse(model: LocalModel, *, interrupted: bool, sampling: Sampling) -> list[tuple[int, ...]]:
    """The tokens of four answers; if interrupted, another picture is shown to the model before each."""
    marked = mark([picture()], [])
    earlier: list[PastTurn] = []
    answers = []
    for question in QUESTIONS:
        if interrupted:
            ask(prepare(mark([picture(1)], []), "Q", model.checkpoint), model, Sampling(1))
        reply = ask(prepare(marked, question, model.checkpoint, past_turns=earlier), model, sampling).reply
        earlier.append(PastTurn(question, reply.text, reply.token_ids[: reply.shown_tokens]))
        answers.append(reply.token_ids)
    return answers


@pytest.mark.parametrize("sampling", [Sampling(12), Sampling(12, temperature=0.8, top_p=0.9, seed=3)])
def test_follow_ups_equal_a_fresh_start_and_encode_the_picture_once(folder: Path, sampling: Sampling) -> None:
    model = LocalModel(lookup.find(str(folder)))
    expected = converse(model, interrupted=True, sampling=sampling)
    assert all(expected)
    model = LocalModel(model.checkpoint)
    with vision_runs(model) as count:
        assert converse(model, interrupted=False, sampling=sampling) == expected
    assert count == [1]


def test_another_question_about_the_same_picture_does_not_encode_it_again(folder: Path) -> None:
    model = LocalModel(lookup.find(str(folder)))
    marked = mark([picture()], [])
    questions = ("A?", "B b?")
    first_replies = [
        ask(prepare(marked, question, model.checkpoint), model, Sampling(8)).reply for question in questions
    ]
    other = LocalModel(model.checkpoint)
    with vision_runs(other) as count:
        for question, expected in zip(questions, first_replies, strict=True):
            ask(prepare(marked, "C", model.checkpoint), other, Sampling(3))
            reply = ask(prepare(marked, question, model.checkpoint), other, Sampling(8)).reply
            assert reply.token_ids == expected.token_ids
        assert count == [1]
        # Fitted in another way, the same pixels are another picture.
        ask(prepare(marked, "C", model.checkpoint, fit="crop"), other, Sampling(3))
    assert count == [2]


@pytest.mark.parametrize("answer", ["a dog", "C#", "7"])
@pytest.mark.parametrize("form", [HUMAN, VICUNA, None], ids=["human", "vicuna", "template"])
def test_the_text_after_an_answer_has_the_same_tokens_as_in_the_whole_prompt(
    folder: Path, form: PromptForm | None, answer: str
) -> None:
    checkpoint = lookup.find(str(folder))
    if form is None and checkpoint.template is None:
        pytest.skip("this one has no chat template")
    form = form or checkpoint.form("template")
    tokenizer = LocalModel(checkpoint)._input_builder.tokenizer
    turns = [Turn("One?", answer), Turn("Two?")]
    whole = tokenizer(form.build(turns, images=0))["input_ids"]
    (ended,) = continuation_ids(
        tokenizer, [continuation(form, [Turn("One?", ANSWER_TOKENS), Turn("Two?")], images=0)]
    )
    assert whole[-len(ended) :] == ended
    before = tokenizer.decode(whole[: len(whole) - len(ended)], skip_special_tokens=False)
    assert before.rstrip().endswith(answer)


def test_an_answer_of_another_model_is_sent_as_text(folder: Path) -> None:
    model = LocalModel(lookup.find(str(folder)))
    marked = mark([picture()], [])
    as_text = prepare(marked, "Two?", model.checkpoint, past_turns=[PastTurn("One?", "a dog", None)])
    assert as_text.past_turns == ()
    assert "a dog" in as_text.prompt and "One?" in as_text.prompt
    assert ask(as_text, model, Sampling(4)).reply.token_ids
    with pytest.raises(PromptError, match="The answer contains '<image>'"):
        prepare(marked, "Two?", model.checkpoint, past_turns=[PastTurn("One?", "<image>", None)])


def test_forged_tokens_are_refused(folder: Path) -> None:
    model = LocalModel(lookup.find(str(folder)))
    marked = mark([picture()], [])
    for forged in (10**6, -1):
        question = prepare(marked, "Two?", model.checkpoint, past_turns=[PastTurn("One?", "x", (forged,))])
        with pytest.raises(PromptError, match="tokens that this checkpoint cannot have written"):
            ask(question, model, Sampling(4))
    # A model may generate the image token; it must not be read as the place of another picture.
    image = model._model.config.image_token_id
    turns = [PastTurn("One?", "x", ids) for ids in ((5, 6), (5, image, 6))]
    plain, strange = (prepare(marked, "Two?", model.checkpoint, past_turns=[turn]) for turn in turns)
    expected = ask(plain, model, Sampling(4)).reply.token_ids
    assert ask(strange, model, Sampling(4)).reply.token_ids == expected


def test_a_full_context_is_an_error_while_turns_can_be_dropped(folder: Path) -> None:
    model = LocalModel(lookup.find(str(folder)))
    marked = mark([picture()], [])
    limit = model._model.config.get_text_config().max_position_embeddings
    long = PastTurn("One?", "x", (5,) * (limit - 40))
    with pytest.raises(ContextError, match=f"the model holds {limit:,}"):
        ask(prepare(marked, "Two?", model.checkpoint, past_turns=[long]), model, Sampling(64))


def test_an_answer_can_be_halted_and_continued_from(folder: Path) -> None:
    model = LocalModel(lookup.find(str(folder)))
    request = Request(
        prompt=prepare(mark([picture()], []), "Q", model.checkpoint).prompt,
        images=(picture().pixels,),
        sampling=Sampling(40),
    )
    whole = model.answer(request)
    steps = iter([False, False, True])
    halted = model.answer(request, halted=lambda: next(steps, True))
    assert halted.ended == "halted"
    assert halted.token_ids == whole.token_ids[:3]
    # What was read until then is still good for what comes next.
    assert model.answer(request).token_ids == whole.token_ids


def test_a_resident_model_with_compiled_steps_gives_the_same_answers(folder: Path) -> None:
    """The compiling itself needs a GPU; the fixed lengths that it is done for do not."""
    plain = LocalModel(lookup.find(str(folder)))
    fixed = LocalModel(plain.checkpoint, resident=True)
    assert not fixed._compiles
    fixed._compiles = True
    for sampling in (Sampling(12), Sampling(30, temperature=0.7, seed=1)):
        assert converse(fixed, interrupted=False, sampling=sampling) == converse(
            plain, interrupted=False, sampling=sampling
        )


def test_the_tokens_that_end_an_answer_are_not_part_of_it() -> None:
    bundled = LocalModel(lookup.find("bundled"))
    marked = mark([picture()], [])
    reply = ask(prepare(marked, "What is it?", bundled.checkpoint), bundled, Sampling(20)).reply
    shown = bundled._input_builder.tokenizer.decode(reply.token_ids[: reply.shown_tokens])
    assert shown.strip() == reply.text
    assert len(reply.token_ids) > reply.shown_tokens
