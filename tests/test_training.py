"""The bundled model's recipe: what is drawn, what is taught, and that every stage can learn."""

from __future__ import annotations

import io
import json
import math
import multiprocessing
import os
import random
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.scripted import ScriptedAnswerer
from vipcli.asking.interface import Request, Sampling
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN, Turn
from vipcli.engine.local import LocalModel
from vipcli.marks.colors import named
from vipcli.marks.kinds import KINDS as MARKS
from vipcli.marks.kinds import Arrow, Contour, Scribble, Triangle
from vipcli.training import recipe
from vipcli.training.drawing.backgrounds import _FOREIGN
from vipcli.training.drawing.marking import MARK_COLORS, _like_another_kind
from vipcli.training.drawing.painting import paint, shade_of
from vipcli.training.drawing.scenes import WORLD, draw_scene
from vipcli.training.judging import calibration as calibrating
from vipcli.training.judging.calibration import Belief, balance, calibrate
from vipcli.training.judging.card import FORMS, card
from vipcli.training.judging.contact_sheet import contact_sheet
from vipcli.training.judging.evaluation import (
    Judged,
    calibration_error,
    folded,
    held_out,
    judge,
    summary,
    worst,
)
from vipcli.training.learning import checkpoint as bundle
from vipcli.training.learning import tokenizer as vocabulary
from vipcli.training.learning.answer_training import Drawer as TalkDrawer
from vipcli.training.learning.answer_training import Scribe, TalkStage, TogetherStage, whole_answers
from vipcli.training.learning.batches import batches
from vipcli.training.learning.loop import Pace, Run
from vipcli.training.learning.model import GRID, SIZE, configuration, fresh
from vipcli.training.learning.patch_labels import WHO, labels, table
from vipcli.training.learning.patch_training import CROWDED, VisionStage, normal, view
from vipcli.training.learning.patch_training import Drawer as VisionDrawer
from vipcli.training.questions.generator import FAMILIES, conversations
from vipcli.training.world.facts import COLORS, KINDS, TEXTURES, alike

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    def texts() -> Any:
        for number in range(30):
            rng = random.Random(number)
            for conversation in conversations(draw_scene(rng).scene, rng, 10):
                for exchange in conversation:
                    yield exchange.question
                    yield f" {exchange.answer}"

    return vocabulary.learn(texts())


@pytest.fixture
def model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<s>", "</s>", "<pad>"])
    return fresh(configuration(len(tokenizer), *ids), _noise())


def _noise() -> torch.Tensor:
    return torch.randn(8, 3, SIZE, SIZE)


# Scenes


def test_a_seed_is_a_scene() -> None:
    one, other, third = (draw_scene(random.Random(seed)) for seed in ("a", "a", "b"))
    assert one.scene == other.scene
    assert np.array_equal(one.marked, other.marked)
    assert third.scene != one.scene


@pytest.mark.parametrize("kind", KINDS)
def test_every_thing_is_painted_where_it_is_said_to_be(kind: str) -> None:
    for number, texture in enumerate(TEXTURES):
        rng = random.Random(f"{kind} {number}")
        canvas = np.full((120, 160, 3), 200, np.uint8)
        outline = paint(canvas, kind, shade_of("blue", rng), texture, (80.0, 60.0), 70.0, rng)
        points = np.concatenate([np.array(polygon) for polygon in outline])
        extent = points.max(0) - points.min(0)
        assert max(extent) == pytest.approx(70, abs=0.5)
        ys, xs = np.nonzero((canvas != 200).any(2))
        # Strokes have width: a little may be painted beyond the silhouette.
        assert xs.min() >= points[:, 0].min() - 6 and xs.max() <= points[:, 0].max() + 6
        assert ys.min() >= points[:, 1].min() - 6 and ys.max() <= points[:, 1].max() + 6


@pytest.mark.parametrize("color", COLORS)
def test_shades_stay_nearest_to_their_own_name(color: str) -> None:
    rng = random.Random(color)
    for _ in range(200):
        shade = shade_of(color, rng)
        nearest = min(COLORS, key=lambda name: math.dist(COLORS[name], shade))
        assert nearest == color


def test_pictures_are_of_every_size_and_shape() -> None:
    scenes = [draw_scene(random.Random(f"size {number}"), WORLD).scene for number in range(150)]
    longer = [max(scene.width, scene.height) for scene in scenes]
    assert min(longer) < 200 and max(longer) > 800
    ratios = [scene.width / scene.height for scene in scenes]
    assert min(ratios) < 0.5 and max(ratios) > 2


def test_marks_change_the_picture_and_nothing_else_does() -> None:
    for number in range(30):
        drawn = draw_scene(random.Random(f"marks {number}"), CROWDED)
        changed = bool((drawn.marked != drawn.plain).any())
        assert changed == bool(drawn.layers)
        assert len(drawn.scene.pointed) == len(drawn.layers)


def test_marks_can_be_told_by_kind_where_the_model_sees_them() -> None:
    seen = set()
    for number in range(120):
        drawn = draw_scene(random.Random(f"legible {number}"), replace(CROWDED, jitter=1.0))
        scale = SIZE / max(drawn.scene.width, drawn.scene.height)
        for layer in drawn.layers:
            mark = layer.pointed.mark
            seen.add(mark.kind)
            rows, columns = np.nonzero(layer.changed)
            width, height = (np.ptp(places) * layer.step * scale for places in (columns, rows))
            if isinstance(mark, Triangle):
                assert min(width, height) > 4 and max(width, height) > 8
            if isinstance(mark, Scribble):
                assert math.hypot(width, height) > 11
            if isinstance(mark, Arrow):
                assert math.hypot(width, height) > 8
    assert seen == {kind.kind for kind in MARKS}


def _contour(corners: int, dent: float = 1.0) -> Contour:
    """A regular outline of so many corners, every second one drawn towards the middle."""
    turns = [2 * math.pi * (number + 0.5) / corners for number in range(corners)]
    reach = [50 * (dent if number % 2 else 1.0) for number in range(corners)]
    points = tuple((60 + r * math.cos(t), 60 + r * math.sin(t)) for r, t in zip(reach, turns, strict=True))
    return Contour(named("red"), (points,))


def test_contours_that_look_like_other_marks_are_known() -> None:
    assert all(_like_another_kind(_contour(corners)) for corners in (3, 4, 24))
    assert not any(_like_another_kind(_contour(corners, dent=0.5)) for corners in (8, 10, 16))


def test_marks_of_one_kind_never_look_alike() -> None:
    for number in range(80):
        marks = [one.mark for one in draw_scene(random.Random(f"alike {number}"), WORLD).scene.pointed]
        for index, mark in enumerate(marks):
            for other in marks[:index]:
                assert mark.kind != other.kind or not alike(mark.color.name, other.color.name)


@pytest.mark.parametrize("make", _FOREIGN)
def test_foreign_pictures_have_the_size_asked_for(make: Any) -> None:
    picture = make(130, 90, random.Random(1))
    assert picture.shape == (90, 130, 3)
    assert picture.dtype == np.uint8


# Labels


def test_labels_tell_of_things_and_marks() -> None:
    names = [label.name for label in table(GRID)]
    told_of_marks = 0
    for number in range(12):
        drawn = draw_scene(random.Random(f"labels {number}"), replace(CROWDED, foreign=0.0))
        told = labels(drawn, GRID)
        assert told.shape == (GRID * GRID, len(names) + WHO)
        for column, label in enumerate(table(GRID)):
            assert told[:, column].max() <= label.classes, label.name
        kinds = {KINDS[code - 1] for code in told[:, names.index("kind")] if code}
        assert kinds
        assert kinds <= {thing.kind for thing in drawn.scene.things}
        colors = {MARK_COLORS[code - 1] for code in told[:, names.index("mark color")] if code}
        assert colors <= {one.mark.color.name for one in drawn.scene.pointed}
        told_of_marks += len(colors)
        marked = {KINDS[code - 1] for code in told[told[:, names.index("marked by")] > 0, 0]}
        targets = [one.target for one in drawn.scene.pointed if one.target is not None]
        assert marked <= {drawn.scene.things[target].kind for target in targets}
        neighbor = told[:, names.index("neighbor")]
        for patch in np.nonzero(neighbor)[0]:
            near = drawn.scene.nearest(drawn.scene.things[told[patch, -WHO] - 1])
            assert near == told[patch, -2] - 1
            assert KINDS[neighbor[patch] - 1] == drawn.scene.things[near].kind
    assert told_of_marks > 12


# Words


def test_the_tokenizer_gives_every_text_back(tokenizer: Any) -> None:
    for text in (
        "What is within the red rectangle?",
        "two  spaces\nand a line",
        "naïve 日本 🙂",
        " a circle",
    ):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_every_name_is_one_token(tokenizer: Any) -> None:
    for kind in KINDS:
        assert len(tokenizer.encode(f" {kind}", add_special_tokens=False)) == 1, kind


def test_a_conversation_in_pieces_has_the_tokens_of_the_whole(tokenizer: Any) -> None:
    scribe = Scribe(tokenizer)
    for number in range(40):
        rng = random.Random(f"pieces {number}")
        scene = draw_scene(rng).scene
        for conversation in conversations(scene, rng, 4):
            turns = [Turn(one.question, one.answer) for one in conversation]
            whole = HUMAN.build(turns).replace("<image>", "<image>" * GRID * GRID) + "###"
            encoded = scribe.encode(conversation, scene)
            end = tokenizer.convert_tokens_to_ids("###")
            assert [*scribe.opening, *encoded.tokens, end] == tokenizer.encode(whole)


# Stages


def test_packed_conversations_read_as_each_alone(tokenizer: Any, model: Any) -> None:
    batch = TalkDrawer(1, tokenizer)(random.Random(4))
    stage = TalkStage(model, tokenizer).eval()
    opening = len(stage.opening)
    every = batch.conversation.flatten(1) > 0
    with torch.no_grad():
        read, _ = stage.read(stage.look(batch.pixels), batch, every)
        asked = batch.target.flatten(1) >= 0
        some, _ = stage.read(stage.look(batch.pixels), batch, asked)
    torch.testing.assert_close(some, read[asked[every]])
    packed = read.new_zeros(*batch.tokens.shape[1:], read.shape[-1])
    packed[batch.conversation[0] > 0] = read
    model.set_attn_implementation("eager")
    compared = 0
    for row in range(packed.shape[0]):
        for number in range(1, int(batch.conversation[0, row].max()) + 1):
            here = batch.conversation[0, row] == number
            ids = torch.cat([stage.opening, batch.tokens[0, row][here]])[None]
            with torch.no_grad():
                alone = model.model(input_ids=ids, pixel_values=normal(batch.pixels)).last_hidden_state
            torch.testing.assert_close(packed[row][here], alone[0, opening:], atol=1e-4, rtol=1e-4)
            compared += 1
    assert compared > 4


def test_both_stages_see_through_the_same_layers(tokenizer: Any, model: Any) -> None:
    batch = VisionDrawer(1)(random.Random(2))
    tower = model.model.vision_tower
    states = tower.pre_layrnorm(tower.embeddings(normal(batch.pixels)))
    seen = TalkStage(model, tokenizer).look(batch.pixels)
    torch.testing.assert_close(seen[0], states[:, 1:])
    for layer, expected in zip(tower.encoder.layers, seen[1:], strict=True):
        states = layer(states, attention_mask=None)
        torch.testing.assert_close(states[:, 1:], expected)


def test_whole_answers_need_every_token() -> None:
    asked = torch.tensor([[False, True, True, False, True], [False, True, False, True, True]])
    right = torch.tensor([[False, True, True, False, False], [False, True, False, True, False]])
    assert whole_answers(asked, right).tolist() == [True, False, True, False]


def _steps(stage: Any, draw: Any, folder: Path, steps: int) -> tuple[list[float], Run]:
    losses: list[float] = []
    forward = stage.forward

    def noted(batch: Any) -> Any:
        loss, figures = forward(batch)
        losses.append(float(loss.detach()))
        return loss, figures

    stage.forward = noted
    run = Run(stage, stage.name, folder, Pace(matrices=2e-3, others=1e-3, warmup_steps=1), CPU)
    run.resume()
    run.train(
        batches(draw, "test", run.progress.step, 0), 1.0, io.StringIO(), most_steps=run.progress.step + steps
    )
    return losses, run


def test_the_seeing_stage_learns_and_resumes(model: Any, tmp_path: Path) -> None:
    tower = model.model.vision_tower
    before = tower.encoder.layers[0].mlp.fc1.weight.clone()
    stage = VisionStage(model)
    losses, run = _steps(stage, VisionDrawer(2), tmp_path, 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert not torch.equal(before, tower.encoder.layers[0].mlp.fc1.weight)
    again = VisionStage(fresh(model.config, _noise()))
    more, resumed = _steps(again, VisionDrawer(2), tmp_path, 1)
    assert resumed.progress.step == run.progress.step + 1 == 3
    assert len(more) == 1 and math.isfinite(more[0])


def test_weights_alone_are_enough_to_go_on(model: Any, tmp_path: Path) -> None:
    losses, run = _steps(VisionStage(model), VisionDrawer(2), tmp_path, 1)
    (run.folder / "optimizers.safetensors").unlink()
    again = VisionStage(fresh(model.config, _noise()))
    resumed = Run(again, "vision", tmp_path, Pace(), CPU)
    assert resumed.resume()
    assert resumed.progress.step == 1
    for name, weight in again.named_parameters():
        assert torch.equal(weight, run.module.get_parameter(name)), name
    assert len(losses) == 1


@pytest.mark.parametrize("learn_to_see", [False, True])
def test_the_answering_stages_learn(model: Any, tokenizer: Any, tmp_path: Path, learn_to_see: bool) -> None:
    tower = model.model.vision_tower.encoder.layers[0].mlp.fc1.weight
    text = model.model.language_model.layers[0].mlp.up_proj.weight
    before = tower.clone(), text.clone()
    eyes = VisionStage(model)
    talk = TalkStage(model, tokenizer)
    stage = TogetherStage(talk, eyes) if learn_to_see else talk
    losses, _ = _steps(stage, TalkDrawer(1, tokenizer), tmp_path, 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert torch.equal(before[0], tower) is not learn_to_see
    assert not torch.equal(before[1], text)


def test_the_recipe_makes_a_checkpoint_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_SCENES_OF_WORDS", 30)
    monkeypatch.setattr(recipe, "_PICTURES_FOR_EYES", 8)
    monkeypatch.setattr(recipe, "_SCENES_OF_BELIEF", 1)
    plan = recipe.Plan(tmp_path / "run", minutes=0.0, workers=0, batch=2)
    folder = recipe.train(plan)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 25_000_000

    stages = [stage["stage"] for stage in json.loads((folder / recipe.HISTORY).read_text())]
    assert stages == ["vision", "talk", "together", "calibration"]
    checkpoint = find(str(folder))
    assert (checkpoint.input_size, checkpoint.vision_layers) == (SIZE, (-1, -2, -4))
    prompt = checkpoint.form().build([Turn("What is it?")])
    picture = np.zeros((60, 90, 3), np.uint8)
    reply = LocalModel(checkpoint).answer(Request(prompt, (picture,), sampling=Sampling(max_new_tokens=3)))
    assert reply.probability is not None and 0 < reply.probability <= 1
    assert len(reply.token_ids) == 3 or reply.ended == "stop"


def test_ctrl_c_is_not_for_those_that_draw() -> None:
    others = set(multiprocessing.active_children())
    feed = batches(VisionDrawer(1), "eyes", 0, workers=1)
    next(feed)
    (drawing,) = set(multiprocessing.active_children()) - others
    assert drawing.pid is not None
    os.kill(drawing.pid, signal.SIGINT)
    # More than it may have drawn ahead.
    for _ in range(8):
        next(feed)


def test_after_the_last_stage_it_goes_half_way_back() -> None:
    words = torch.nn.ModuleDict(
        {"read": torch.nn.Embedding(3, 2), "write": torch.nn.Linear(2, 3, bias=False)}
    )
    words["write"].weight = words["read"].weight
    before = {name: torch.zeros_like(weight) for name, weight in words.named_parameters()}
    learned = words["read"].weight.detach().clone()
    recipe._go_half_back(words, before)
    assert torch.equal(words["write"].weight, learned / 2)


# Calibrating


def test_the_temperature_makes_it_as_sure_as_it_is_right() -> None:
    tried = []

    def belief(temperature: float) -> Belief:
        tried.append(temperature)
        return Belief(sure=0.9 ** (1 / temperature) if temperature < 1 else 0.9**temperature, right=0.81)

    assert balance(belief) == pytest.approx(2.0, rel=0.05)
    assert len(tried) < 10


def test_a_temperature_changes_no_answer_but_how_sure_it_is(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle.save(model, tokenizer, tmp_path)
    checkpoint = find(str(tmp_path))
    request = Request(
        checkpoint.form().build([Turn("What is it?")]),
        (np.zeros((60, 90, 3), np.uint8),),
        sampling=Sampling(max_new_tokens=4),
    )
    before = LocalModel(checkpoint).answer(request)
    monkeypatch.setattr(calibrating, "balance", lambda belief: 0.2)
    assert calibrate(tmp_path, scenes=1) == 0.2
    after = LocalModel(find(str(tmp_path))).answer(request)
    assert after.token_ids == before.token_ids
    # Both are numbers, or this would not compare.
    assert after.probability > before.probability


# Judging


def _judged(**changes: Any) -> Judged:
    plain: dict[str, Any] = {
        "scene": 0,
        "turn": 0,
        "question": "What is it?",
        "expected": "red",
        "answered": "red",
        "right": True,
        "probability": 0.9,
        "family": "color",
        "ability": "recognition",
        "kinds": ("box",),
        "marks": 1,
        "shape": "square",
        "removed": False,
    }
    return Judged(**{**plain, **changes})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("A circle.", "a circle", True),
        ("I can't tell.", "i cant tell", True),
        ("the letter A", "the letter B", False),
        ("", "no", False),
    ],
)
def test_answers_are_compared_without_case_and_punctuation(one: str, other: str, same: bool) -> None:
    assert (folded(one) == folded(other)) is same


def test_the_summary_counts_what_it_says() -> None:
    figures = summary(
        [
            _judged(),
            _judged(right=False, answered="blue", marks=2, kinds=("arrow",)),
            _judged(turn=1, marks=3, kinds=("arrow",)),
            _judged(ability="absent", family="absent", kinds=(), right=False),
            _judged(answered="There is no red rectangle in the picture.", right=False),
            _judged(ability="foreign", family="foreign", kinds=()),
            _judged(removed=True, right=False),
            _judged(removed=True, expected="blue", right=False),
            _judged(removed=True, right=False),
        ]
    )
    assert figures["all"] == {"right": 3, "asked": 6, "percent": 50.0}
    assert figures["by mark"]["arrow"]["percent"] == 50
    assert figures["the right one of several marks"] == {"right": 1, "asked": 2, "percent": 50.0}
    assert figures["follow-ups"]["asked"] == 1
    assert figures["absent marks said absent"]["percent"] == 0
    assert figures["marks that are there denied"] == {"right": 1, "asked": 4, "percent": 25.0}
    assert figures["foreign pictures not told"]["percent"] == 100
    assert figures["marks removed"] == {"right": 0, "asked": 3, "percent": 0.0}
    assert figures["chance"] == {"right": 2, "asked": 3, "percent": 66.67}
    json.dumps(figures, allow_nan=False)


def test_a_share_of_nothing_is_no_number() -> None:
    assert summary([_judged()])["follow-ups"] == {"right": 0, "asked": 0, "percent": None}


def test_calibration_error_is_the_distance_between_sure_and_right() -> None:
    judged = [_judged(probability=0.85, right=number < 5) for number in range(10)]
    assert calibration_error(judged) == pytest.approx(35)


def test_judging_asks_every_turn_with_the_answers_before_it() -> None:
    answerer = ScriptedAnswerer(*["yes"] * 400)
    judged = judge(answerer, HUMAN, scenes=12, seed=5)
    assert len(judged) == len(answerer.requests)
    later = [request for one, request in zip(judged, answerer.requests, strict=True) if one.turn]
    assert later
    assert all("###Assistant: yes###Human: " in request.prompt for request in later)
    removed = [
        request.images[0] for one, request in zip(judged, answerer.requests, strict=True) if one.removed
    ]
    assert removed
    number = next(one.scene for one in judged if one.removed)
    assert np.array_equal(removed[0], held_out(5, number)[0].plain)


def test_failures_are_drawn_on_a_sheet() -> None:
    failures = worst([_judged(scene=number, right=False, answered="blue") for number in range(8)], 7)
    assert len(failures) == 7
    sheet = contact_sheet(failures, seed=0)
    assert sheet.shape[1] == 6 * 240
    seen = view(held_out(0, failures[0].scene)[0].marked)
    assert abs(int(sheet[3:237, 3:237].mean()) - int(seen.mean())) < 8


# The card


def test_the_card_describes_every_family_and_thing() -> None:
    made = [
        {"stage": "vision", "steps": 5, "pictures": 480, "minutes": 1.0, "on": "2 CPU cores"},
        {"stage": "calibration", "temperature": 1.1},
    ]
    examples = [{"command": "vipcli ask a.png", "answer": "red"}]
    text = card(summary([_judged()]), made, examples)
    assert set(FORMS) == set(FAMILIES)
    for word in (*KINDS, *COLORS, *FAMILIES, *MARK_COLORS):
        assert word in text, word
    assert "| all | 100.0 % of 1 |" in text.replace("**", "")
    assert "vipcli ask a.png" in text
