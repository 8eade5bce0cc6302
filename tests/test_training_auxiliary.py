"""The auxiliary targets of the text model agree with the scene and with the answers."""

from __future__ import annotations

import random
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from vipcli.training.drawing.scenes import DEFAULT_MIXTURE, DrawnScene, draw_scene
from vipcli.training.learning.auxiliary_losses import (
    MAX_HEADS,
    SUPERVISED_HEADS,
    AuxiliaryLosses,
    HeadRecord,
    answer_targets,
    first_token_targets,
    patch_contents,
)
from vipcli.training.learning.model import GRID, HEAD
from vipcli.training.learning.patch_labels import INSTANCE_COLUMNS, patch_labels
from vipcli.training.questions.generator import ask, conversations
from vipcli.training.questions.question_answer import QuestionAnswer
from vipcli.training.world.facts import COLORS, KINDS

PATCHES = GRID * GRID
IMAGE_START = 3


def _ask_until(family: str, count: int) -> list[tuple[DrawnScene, QuestionAnswer]]:
    """Questions of a family about different scenes."""
    pairs: list[tuple[DrawnScene, QuestionAnswer]] = []
    for number in range(400):
        drawn = draw_scene(random.Random(f"lessons {number}"), DEFAULT_MIXTURE)
        turn = ask(drawn.scene, family, random.Random(number))
        if turn is not None:
            pairs.append((drawn, turn))
        if len(pairs) == count:
            return pairs
    raise AssertionError(f"too few scenes offer {family}")


def _contents(drawn: DrawnScene) -> torch.Tensor:
    return patch_contents(torch.from_numpy(patch_labels(drawn, GRID)).long()[None])[0]


def test_every_mark_has_patches_to_attend_to() -> None:
    for drawn, turn in _ask_until("what", 12):
        labels = patch_labels(drawn, GRID)
        patches = (_contents(drawn) & first_token_targets(turn, drawn.scene).first_mark) > 0
        assert patches.any()
        target = drawn.scene.marks[turn.marks[0]].target
        assert target is not None
        kind = list(KINDS).index(drawn.scene.things[target].kind) + 1
        # They include patches of the thing and of the stroke.
        assert kind in labels[patches.numpy(), 0]
        assert turn.marks[0] + 1 in labels[patches.numpy(), -INSTANCE_COLUMNS + 1]


@pytest.mark.parametrize("family", ["bigger", "which-color", "larger-number"])
def test_the_evidence_is_the_thing_that_the_answer_names(family: str) -> None:
    for drawn, turn in _ask_until(family, 3):
        assert turn.evidence is not None and len(turn.evidence) == 1
        thing = drawn.scene.things[turn.evidence[0]]
        assert turn.answer.endswith(thing.kind if family == "larger-number" else thing.noun.split()[-1])
        targets = first_token_targets(turn, drawn.scene)
        assert targets.by_attribute == 1 << turn.evidence[0] + 1
        assert targets.by_kind == (0 if family == "which-color" else targets.by_attribute)


@pytest.mark.parametrize("family", ["is-color", "is-what", "left-of", "has-kind", "has-color"])
def test_only_yes_has_evidence(family: str) -> None:
    answers = {"yes": 0, "no": 0}
    for drawn, turn in _ask_until(family, 12):
        answers[turn.answer] += 1
        targets = first_token_targets(turn, drawn.scene)
        assert (max(targets.by_kind, targets.by_attribute) > 1) is (turn.answer == "yes")
    assert min(answers.values()) > 0


def test_an_absent_mark_has_no_place() -> None:
    for drawn, turn in _ask_until("absent", 5):
        targets = first_token_targets(turn, drawn.scene)
        assert targets[:5] == (1, 1, 1, 1, 1)


def test_the_color_in_a_question_is_a_target() -> None:
    for drawn, turn in _ask_until("has-color", 6):
        assert list(COLORS)[first_token_targets(turn, drawn.scene).color - 1] in turn.question.lower()
    for drawn, turn in _ask_until("count-color", 6):
        assert list(COLORS)[first_token_targets(turn, drawn.scene).color - 1] in turn.question.lower()
    drawn, turn = _ask_until("what", 1)[0]
    targets = first_token_targets(turn, drawn.scene)
    assert (targets.kind, targets.color, targets.texture, targets.size) == (0, 0, 0, 0)


class _Words:
    """A tokenizer that gives every word its own number."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def encode(self, text: str, add_special_tokens: bool) -> list[int]:
        return [self.numbers.setdefault(text, len(self.numbers))]


def _model(words: int, shares: torch.Tensor, width: int) -> Any:
    """The parts of a model that the auxiliary losses use, with these attention shares."""
    pictures, _, rows, length, opening = shares.shape
    record = HeadRecord(
        shares,
        torch.randn(pictures, MAX_HEADS, rows, length, HEAD),
        torch.randn(pictures, MAX_HEADS, opening, HEAD),
        torch.randn(pictures, MAX_HEADS, opening, HEAD),
    )
    attention = SimpleNamespace(record=record, o_proj=torch.nn.Linear(width, width))
    layers = [SimpleNamespace(self_attn=attention) for _ in range(max(SUPERVISED_HEADS) + 1)]
    text = SimpleNamespace(layers=layers, norm=torch.nn.LayerNorm(width))
    return SimpleNamespace(
        model=SimpleNamespace(language_model=text), lm_head=torch.nn.Linear(width, words, bias=False)
    )


def test_attention_to_the_right_places_reduces_the_loss() -> None:
    torch.manual_seed(0)
    drawn = draw_scene(random.Random("lessons 1"), DEFAULT_MIXTURE)
    turns = [conversation[0] for conversation in conversations(drawn.scene, random.Random(1), 12)]
    targets = torch.tensor([[list(first_token_targets(turn, drawn.scene)) for turn in turns]])[None]
    labels = torch.from_numpy(np.stack([patch_labels(drawn, GRID)]))
    words = _Words()
    auxiliary = AuxiliaryLosses(words, IMAGE_START)
    opening = IMAGE_START + PATCHES + 2
    places = torch.zeros(opening, dtype=torch.long)
    places[IMAGE_START : IMAGE_START + PATCHES] = _contents(drawn)
    places[0] = 1
    recall = auxiliary.recall[0]
    assert isinstance(recall, torch.nn.Linear)
    width = recall.in_features
    losses = []
    for correct in (True, False):
        shares = torch.full((1, MAX_HEADS, 1, len(turns), opening), 1 / opening)
        if correct:
            for head, role in enumerate(SUPERVISED_HEADS[2]):
                right = ((places & targets[0, 0, :, role, None]) > 0).float()
                shares[0, head, 0] = right / right.sum(1, keepdim=True).clamp(min=1)
        states = torch.zeros(1, 1, len(turns), width)
        model = _model(len(words.numbers), shares, width)
        loss, metrics = auxiliary(model, states, targets, labels)
        assert torch.isfinite(loss)
        assert (metrics["attends 0"] > 0.99) is correct
        assert (metrics["attends 1"] > 0.99) is correct
        losses.append(float(loss.detach()))
    assert losses[0] < losses[1]


def test_counting_needs_the_same_attention_for_each_thing() -> None:
    drawn, turn = next(
        (drawn, turn) for drawn, turn in _ask_until("count-things", 30) if len(drawn.scene.things) == 4
    )
    targets = first_token_targets(turn, drawn.scene)
    assert targets.counted and targets.number == 5 and targets.by_kind == targets.by_attribute == 0b11110
    auxiliary = AuxiliaryLosses(_Words(), IMAGE_START)
    owners = patch_labels(drawn, GRID)[:, -1]
    assert sorted(owners[owners > 0]) == [1, 2, 3, 4]
    centers = torch.tensor([[1, *(1 << int(thing) if thing else 0 for thing in owners)]])
    places = torch.tensor([[[targets.by_kind]]])

    def loss(nothing: float, *weights: float) -> float:
        shares = torch.zeros(1, 1, 1, centers.shape[1])
        shares[..., 0] = nothing
        for thing, weight in enumerate(weights, 1):
            shares[0, 0, 0, int((centers[0] == 1 << thing).nonzero().item())] = weight
        return float(auxiliary._counting_loss(shares, places > 0, places, centers))

    even = loss(3 / 7, 1 / 7, 1 / 7, 1 / 7, 1 / 7)
    assert even == pytest.approx(np.log(7) - 3 / 7 * np.log(3), abs=1e-3)
    assert loss(0.0, 0.25, 0.25, 0.25, 0.25) > even + 0.1
    assert loss(0.2, 0.2, 0.2, 0.2, 0.2) > even + 0.05
    assert loss(3 / 7, 0.5, 0.05, 0.01, 0.01) > even + 0.1


def test_the_targets_of_a_list_go_from_left_to_right() -> None:
    listed = 0
    for drawn, turn in _ask_until("picture", 20):
        words = re.findall(r"\w+|[,.]", turn.answer)
        ends = [match.end() for match in re.finditer(r"\w+|[,.]", turn.answer)]
        targets = answer_targets(turn, drawn.scene, [*ends, len(turn.answer)])
        previous, current = 1, None
        for word, target in zip(words, targets, strict=False):
            assert target.by_kind == target.by_attribute and target.first_mark == target.second_mark
            if target.by_kind == current:
                assert target.later
            else:
                assert not target.later and target.first_mark == previous
            if word in COLORS:
                thing = drawn.scene.things[target.by_kind.bit_length() - 2]
                assert thing.color == word
                listed += 1
            if target.by_kind != current:
                previous = current = target.by_kind
        assert targets[-1].by_kind == targets[-2].by_kind == 1
    assert listed > 20


def test_the_nearest_thing_has_its_own_head() -> None:
    for drawn, turn in _ask_until("nearest", 4):
        targets = first_token_targets(turn, drawn.scene)
        assert targets[:5] == (1, 1, 1 << 16 + turn.marks[0], 0, 0)
    drawn, turn = _ask_until("color", 1)[0]
    assert first_token_targets(turn, drawn.scene).nearest == 1


def test_two_things_are_compared_in_every_respect() -> None:
    for drawn, turn in _ask_until("left-of", 12):
        targets = first_token_targets(turn, drawn.scene)
        # `left of` is only asked if the distance is large enough.
        assert (targets.across == 1) is (("left" in turn.question) == (turn.answer == "yes"))
    for drawn, turn in _ask_until("sum", 6):
        targets = first_token_targets(turn, drawn.scene)
        assert targets.total == 1 + int(turn.answer)
        targeted = [drawn.scene.marks[mark].target for mark in turn.marks]
        first, second = (drawn.scene.things[target] for target in targeted if target is not None)
        assert targets.difference == 1 + abs(int(first.kind) - int(second.kind))
        assert targets.greater == (0 if first.kind == second.kind else 1 + (first.kind > second.kind))
        assert targets.same_color == 1 + (first.color == second.color)
        assert targets.larger == (0 if first.large == second.large else 1 + first.large)
    drawn, turn = _ask_until("color", 1)[0]
    assert first_token_targets(turn, drawn.scene)[-9:] == (0,) * 9
