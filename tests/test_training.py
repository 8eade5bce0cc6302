"""How the bundled model is made: pictures, labels, training stages, evaluation, card."""

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
from vipcli.marks.colors import named_color
from vipcli.marks.kinds import KINDS as MARKS
from vipcli.marks.kinds import ArrowMark, ContourMark, ScribbleMark, TriangleMark
from vipcli.training import recipe
from vipcli.training.drawing.backgrounds import FOREIGN_PAINTERS
from vipcli.training.drawing.marking import MARK_COLORS, resembles_other_kind
from vipcli.training.drawing.painting import paint, shade_of
from vipcli.training.drawing.scenes import draw_scene
from vipcli.training.judging import calibration
from vipcli.training.judging.calibration import Confidence, calibrate, find_temperature
from vipcli.training.judging.card import ANSWER_FORMS, card
from vipcli.training.judging.contact_sheet import contact_sheet
from vipcli.training.judging.evaluation import (
    JudgedAnswer,
    calibration_error,
    held_out_scene,
    judge,
    normalize_answer,
    select_failures,
    summary,
)
from vipcli.training.learning.answer_training import (
    AnswerBatchMaker,
    AnswerStage,
    ConversationEncoder,
    JointStage,
    whole_answers,
)
from vipcli.training.learning.batches import batches
from vipcli.training.learning.checkpoint import save_checkpoint
from vipcli.training.learning.loop import LearningRates, StageRun
from vipcli.training.learning.model import GRID, initialize, model_config
from vipcli.training.learning.patch_labels import INSTANCE_COLUMNS, label_columns, patch_labels
from vipcli.training.learning.patch_training import (
    CROWDED,
    PatchBatchMaker,
    VisionStage,
    model_input,
    normalize,
)
from vipcli.training.learning.tokenizer import train_tokenizer
from vipcli.training.questions.families import FAMILIES
from vipcli.training.questions.generator import conversations
from vipcli.training.world.facts import COLORS, INPUT_SIZE, KINDS, TEXTURES, similar_colors

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    def texts() -> Any:
        for number in range(30):
            rng = random.Random(number)
            for conversation in conversations(draw_scene(rng).scene, rng, 10):
                for turn in conversation:
                    yield turn.question
                    yield f" {turn.answer}"

    return train_tokenizer(texts())


@pytest.fixture
def model(tokenizer: Any) -> Any:
    torch.manual_seed(0)
    ids = tokenizer.convert_tokens_to_ids(["<image>", "<s>", "</s>", "<pad>"])
    return initialize(model_config(len(tokenizer), *ids), _noise())


def _noise() -> torch.Tensor:
    return torch.randn(8, 3, INPUT_SIZE, INPUT_SIZE)


# Scenes


def test_the_seed_determines_the_scene() -> None:
    first, again, different = (draw_scene(random.Random(seed)) for seed in ("a", "a", "b"))
    assert first.scene == again.scene
    assert np.array_equal(first.marked, again.marked)
    assert different.scene != first.scene


@pytest.mark.parametrize("kind", KINDS)
def test_every_thing_is_painted_inside_its_outline(kind: str) -> None:
    for number, texture in enumerate(TEXTURES):
        rng = random.Random(f"{kind} {number}")
        canvas = np.full((120, 160, 3), 200, np.uint8)
        outline = paint(canvas, kind, shade_of("blue", rng), texture, (80.0, 60.0), 70.0, rng)
        points = np.concatenate([np.array(polygon) for polygon in outline])
        extent = points.max(0) - points.min(0)
        assert max(extent) == pytest.approx(70, abs=0.5)
        ys, xs = np.nonzero((canvas != 200).any(2))
        # Strokes have a width, so they may extend slightly beyond the silhouette.
        assert xs.min() >= points[:, 0].min() - 6 and xs.max() <= points[:, 0].max() + 6
        assert ys.min() >= points[:, 1].min() - 6 and ys.max() <= points[:, 1].max() + 6


@pytest.mark.parametrize("color", COLORS)
def test_shades_are_closest_to_their_own_color(color: str) -> None:
    rng = random.Random(color)
    for _ in range(200):
        shade = shade_of(color, rng)
        nearest = min(COLORS, key=lambda name: math.dist(COLORS[name], shade))
        assert nearest == color


def test_pictures_vary_in_size_and_shape() -> None:
    scenes = [draw_scene(random.Random(f"size {number}")).scene for number in range(150)]
    longer = [max(scene.width, scene.height) for scene in scenes]
    assert min(longer) < 200 and max(longer) > 800
    ratios = [scene.width / scene.height for scene in scenes]
    assert min(ratios) < 0.5 and max(ratios) > 2


def test_only_marks_change_the_picture() -> None:
    for number in range(30):
        drawn = draw_scene(random.Random(f"marks {number}"), CROWDED)
        changed = bool((drawn.marked != drawn.plain).any())
        assert changed == bool(drawn.marks)
        assert len(drawn.scene.marks) == len(drawn.marks)


def test_marks_are_recognizable_at_the_models_input_size() -> None:
    seen = set()
    for number in range(120):
        drawn = draw_scene(random.Random(f"legible {number}"), replace(CROWDED, jitter=1.0))
        scale = INPUT_SIZE / max(drawn.scene.width, drawn.scene.height)
        for drawn_mark in drawn.marks:
            mark = drawn_mark.placed.mark
            seen.add(mark.kind)
            rows, columns = np.nonzero(drawn_mark.changed)
            width, height = (np.ptp(positions) * drawn_mark.step * scale for positions in (columns, rows))
            if isinstance(mark, TriangleMark):
                assert min(width, height) > 4 and max(width, height) > 8
            if isinstance(mark, ScribbleMark):
                assert math.hypot(width, height) > 11
            if isinstance(mark, ArrowMark):
                assert math.hypot(width, height) > 8
    assert seen == {kind.kind for kind in MARKS}


def _contour(corners: int, dent: float = 1.0) -> ContourMark:
    """A regular outline, with every second corner moved toward the middle."""
    turns = [2 * math.pi * (number + 0.5) / corners for number in range(corners)]
    reach = [50 * (dent if number % 2 else 1.0) for number in range(corners)]
    points = tuple((60 + r * math.cos(t), 60 + r * math.sin(t)) for r, t in zip(reach, turns, strict=True))
    return ContourMark(named_color("red"), (points,))


def test_contours_that_look_like_other_marks_are_recognized() -> None:
    assert all(resembles_other_kind(_contour(corners)) for corners in (3, 4, 24))
    assert not any(resembles_other_kind(_contour(corners, dent=0.5)) for corners in (8, 10, 16))


def test_marks_of_the_same_kind_have_different_colors() -> None:
    for number in range(80):
        marks = [placed.mark for placed in draw_scene(random.Random(f"alike {number}")).scene.marks]
        for index, mark in enumerate(marks):
            for other in marks[:index]:
                assert mark.kind != other.kind or not similar_colors(mark.color.name, other.color.name)


@pytest.mark.parametrize("make", FOREIGN_PAINTERS)
def test_foreign_pictures_have_the_requested_size(make: Any) -> None:
    picture = make(130, 90, random.Random(1))
    assert picture.shape == (90, 130, 3)
    assert picture.dtype == np.uint8


# Labels


def test_labels_describe_things_and_marks() -> None:
    names = [column.name for column in label_columns(GRID)]
    marks_labeled = 0
    for number in range(12):
        drawn = draw_scene(random.Random(f"labels {number}"), replace(CROWDED, foreign=0.0))
        labels = patch_labels(drawn, GRID)
        assert labels.shape == (GRID * GRID, len(names) + INSTANCE_COLUMNS)
        for index, column in enumerate(label_columns(GRID)):
            assert labels[:, index].max() <= column.classes, column.name
        kinds = {KINDS[code - 1] for code in labels[:, names.index("kind")] if code}
        assert kinds
        assert kinds <= {thing.kind for thing in drawn.scene.things}
        colors = {MARK_COLORS[code - 1] for code in labels[:, names.index("mark color")] if code}
        assert colors <= {placed.mark.color.name for placed in drawn.scene.marks}
        marks_labeled += len(colors)
        marked = {KINDS[code - 1] for code in labels[labels[:, names.index("marked by")] > 0, 0]}
        targets = [placed.target for placed in drawn.scene.marks if placed.target is not None]
        assert marked <= {drawn.scene.things[target].kind for target in targets}
        neighbor = labels[:, names.index("neighbor")]
        for patch in np.nonzero(neighbor)[0]:
            nearest = drawn.scene.nearest(drawn.scene.things[labels[patch, -INSTANCE_COLUMNS] - 1])
            assert nearest is not None and nearest == labels[patch, -2] - 1
            assert KINDS[neighbor[patch] - 1] == drawn.scene.things[nearest].kind
    assert marks_labeled > 12


# Tokens


def test_the_tokenizer_decodes_what_it_encodes(tokenizer: Any) -> None:
    for text in (
        "What is within the red rectangle?",
        "two  spaces\nand a line",
        "naïve 日本 🙂",
        " a circle",
    ):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids) == text
        assert tokenizer.unk_token_id not in ids


def test_every_name_is_a_single_token(tokenizer: Any) -> None:
    for kind in KINDS:
        assert len(tokenizer.encode(f" {kind}", add_special_tokens=False)) == 1, kind


def test_a_conversation_has_the_same_tokens_in_pieces_and_as_a_whole(tokenizer: Any) -> None:
    encoder = ConversationEncoder(tokenizer)
    for number in range(40):
        rng = random.Random(f"pieces {number}")
        scene = draw_scene(rng).scene
        for conversation in conversations(scene, rng, 4):
            turns = [Turn(turn.question, turn.answer) for turn in conversation]
            whole = HUMAN.build(turns).replace("<image>", "<image>" * GRID * GRID) + "###"
            encoded = encoder.encode(conversation, scene)
            end = tokenizer.convert_tokens_to_ids("###")
            assert [*encoder.opening, *encoded.tokens, end] == tokenizer.encode(whole)


# Stages


def test_packed_conversations_have_the_same_states_as_separate_ones(tokenizer: Any, model: Any) -> None:
    batch = AnswerBatchMaker(1, tokenizer)(random.Random(4))
    stage = AnswerStage(model, tokenizer).eval()
    opening = len(stage.opening)
    is_token = batch.conversation.flatten(1) > 0
    is_target = batch.target.flatten(1) >= 0
    with torch.no_grad():
        features = stage.patch_features(batch.pixels)
        all_states, _ = stage.text_states(features, batch, is_token)
        target_states, _ = stage.text_states(features, batch, is_target)
    torch.testing.assert_close(target_states, all_states[is_target[is_token]])
    packed = all_states.new_zeros(*batch.tokens.shape[1:], all_states.shape[-1])
    packed[batch.conversation[0] > 0] = all_states
    model.set_attn_implementation("eager")
    compared = 0
    for row in range(packed.shape[0]):
        for number in range(1, int(batch.conversation[0, row].max()) + 1):
            here = batch.conversation[0, row] == number
            ids = torch.cat([stage.opening, batch.tokens[0, row][here]])[None]
            with torch.no_grad():
                separate = model.model(input_ids=ids, pixel_values=normalize(batch.pixels)).last_hidden_state
            torch.testing.assert_close(packed[row][here], separate[0, opening:], atol=1e-4, rtol=1e-4)
            compared += 1
    assert compared > 4


def test_both_stages_use_the_same_features(tokenizer: Any, model: Any) -> None:
    batch = PatchBatchMaker(1)(random.Random(2))
    tower = model.model.vision_tower
    states = tower.pre_layrnorm(tower.embeddings(normalize(batch.pixels)))
    features = AnswerStage(model, tokenizer).patch_features(batch.pixels)
    torch.testing.assert_close(features[0], states[:, 1:])
    for layer, expected in zip(tower.encoder.layers, features[1:], strict=True):
        states = layer(states, attention_mask=None)
        torch.testing.assert_close(states[:, 1:], expected)


def test_whole_answers_need_every_token() -> None:
    is_target = torch.tensor([[False, True, True, False, True], [False, True, False, True, True]])
    correct = torch.tensor([[False, True, True, False, False], [False, True, False, True, False]])
    assert whole_answers(is_target, correct).tolist() == [True, False, True, False]


def _train_steps(stage: Any, make_batch: Any, folder: Path, steps: int) -> tuple[list[float], StageRun]:
    losses: list[float] = []
    forward = stage.forward

    def recording_forward(batch: Any) -> Any:
        loss, figures = forward(batch)
        losses.append(float(loss.detach()))
        return loss, figures

    stage.forward = recording_forward
    run = StageRun(stage, stage.name, folder, LearningRates(matrices=2e-3, others=1e-3, warmup_steps=1), CPU)
    run.resume()
    run.train(
        batches(make_batch, "test", run.progress.step, 0),
        1.0,
        io.StringIO(),
        max_steps=run.progress.step + steps,
    )
    return losses, run


def test_the_vision_stage_learns_and_resumes(model: Any, tmp_path: Path) -> None:
    tower = model.model.vision_tower
    before = tower.encoder.layers[0].mlp.fc1.weight.clone()
    stage = VisionStage(model)
    losses, run = _train_steps(stage, PatchBatchMaker(2), tmp_path, 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert not torch.equal(before, tower.encoder.layers[0].mlp.fc1.weight)
    resumed_stage = VisionStage(initialize(model.config, _noise()))
    more_losses, resumed = _train_steps(resumed_stage, PatchBatchMaker(2), tmp_path, 1)
    assert resumed.progress.step == run.progress.step + 1 == 3
    assert len(more_losses) == 1 and math.isfinite(more_losses[0])


def test_weights_alone_are_enough_to_resume(model: Any, tmp_path: Path) -> None:
    losses, run = _train_steps(VisionStage(model), PatchBatchMaker(2), tmp_path, 1)
    (run.folder / "optimizers.safetensors").unlink()
    resumed_stage = VisionStage(initialize(model.config, _noise()))
    resumed = StageRun(resumed_stage, "vision", tmp_path, LearningRates(), CPU)
    assert resumed.resume()
    assert resumed.progress.step == 1
    for name, weight in resumed_stage.named_parameters():
        assert torch.equal(weight, run.module.get_parameter(name)), name
    assert len(losses) == 1


@pytest.mark.parametrize("joint", [False, True])
def test_the_answering_stages_learn(model: Any, tokenizer: Any, tmp_path: Path, joint: bool) -> None:
    tower = model.model.vision_tower.encoder.layers[0].mlp.fc1.weight
    text = model.model.language_model.layers[0].mlp.up_proj.weight
    before = tower.clone(), text.clone()
    vision = VisionStage(model)
    answers = AnswerStage(model, tokenizer)
    stage = JointStage(answers, vision) if joint else answers
    losses, _ = _train_steps(stage, AnswerBatchMaker(1, tokenizer), tmp_path, 2)
    assert all(math.isfinite(loss) for loss in losses)
    assert torch.equal(before[0], tower) is not joint
    assert not torch.equal(before[1], text)


def test_the_recipe_makes_a_checkpoint_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe, "_TOKENIZER_SCENES", 30)
    monkeypatch.setattr(recipe, "_WHITENING_PICTURES", 8)
    monkeypatch.setattr(recipe, "_CALIBRATION_SCENES", 1)
    monkeypatch.setattr(calibration, "_BISECTIONS", 1)
    plan = recipe.TrainingPlan(tmp_path / "run", minutes=0.0, workers=0, batch=2)
    folder = recipe.train(plan)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 25_000_000

    stages = [stage["stage"] for stage in json.loads((folder / recipe.HISTORY).read_text())]
    assert stages == ["vision", "talk", "together", "calibration"]
    checkpoint = find(str(folder))
    assert (checkpoint.input_size, checkpoint.vision_layers) == (INPUT_SIZE, (-1, -2, -4))
    prompt = checkpoint.form().build([Turn("What is it?")])
    picture = np.zeros((60, 90, 3), np.uint8)
    reply = LocalModel(checkpoint).answer(Request(prompt, (picture,), sampling=Sampling(max_new_tokens=3)))
    assert reply.probability is not None and 0 < reply.probability <= 1
    assert len(reply.token_ids) == 3 or reply.ended == "stop"


def test_ctrl_c_does_not_reach_the_workers() -> None:
    others = set(multiprocessing.active_children())
    stream = batches(PatchBatchMaker(1), "eyes", 0, workers=1)
    next(stream)
    (worker,) = set(multiprocessing.active_children()) - others
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGINT)
    # More batches than it may have made in advance.
    for _ in range(8):
        next(stream)


def test_the_weights_before_and_after_the_last_stage_are_averaged() -> None:
    reader, writer = torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3, bias=False)
    words = torch.nn.ModuleDict({"read": reader, "write": writer})
    writer.weight = reader.weight
    before = {name: torch.zeros_like(weight) for name, weight in words.named_parameters()}
    learned = reader.weight.detach().clone()
    recipe._average_weights(words, before)
    assert torch.equal(writer.weight, learned / 2)


# Calibration


def test_the_temperature_makes_confidence_equal_accuracy() -> None:
    tried = []

    def measure(temperature: float) -> Confidence:
        tried.append(temperature)
        return Confidence(
            confidence=0.9 ** (1 / temperature) if temperature < 1 else 0.9**temperature, accuracy=0.81
        )

    assert find_temperature(measure) == pytest.approx(2.0, rel=0.05)
    assert len(tried) < 10


def test_a_temperature_changes_only_the_confidence(
    model: Any, tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(model, tokenizer, tmp_path)
    checkpoint = find(str(tmp_path))
    request = Request(
        checkpoint.form().build([Turn("What is it?")]),
        (np.zeros((60, 90, 3), np.uint8),),
        sampling=Sampling(max_new_tokens=4),
    )
    before = LocalModel(checkpoint).answer(request)
    monkeypatch.setattr(calibration, "find_temperature", lambda measure: 0.2)
    assert calibrate(tmp_path, scenes=1) == 0.2
    after = LocalModel(find(str(tmp_path))).answer(request)
    assert after.token_ids == before.token_ids
    assert after.probability is not None and before.probability is not None
    assert after.probability > before.probability


# Evaluation


def _judged_answer(**changes: Any) -> JudgedAnswer:
    defaults: dict[str, Any] = {
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
    return JudgedAnswer(**{**defaults, **changes})


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("A circle.", "a circle", True),
        ("I can't tell.", "i cant tell", True),
        ("the letter A", "the letter B", False),
        ("", "no", False),
    ],
)
def test_answers_are_compared_without_case_and_punctuation(first: str, second: str, same: bool) -> None:
    assert (normalize_answer(first) == normalize_answer(second)) is same


def test_the_summary_counts_every_group() -> None:
    figures = summary(
        [
            _judged_answer(),
            _judged_answer(right=False, answered="blue", marks=2, kinds=("arrow",)),
            _judged_answer(turn=1, marks=3, kinds=("arrow",)),
            _judged_answer(ability="absent", family="absent", kinds=(), right=False),
            _judged_answer(answered="There is no red rectangle in the picture.", right=False),
            _judged_answer(ability="foreign", family="foreign", kinds=()),
            _judged_answer(removed=True, right=False),
            _judged_answer(removed=True, expected="blue", right=False),
            _judged_answer(removed=True, right=False),
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


def test_the_accuracy_of_no_answers_is_undefined() -> None:
    assert summary([_judged_answer()])["follow-ups"] == {"right": 0, "asked": 0, "percent": None}


def test_the_calibration_error_is_the_difference_between_confidence_and_accuracy() -> None:
    answers = [_judged_answer(probability=0.85, right=number < 5) for number in range(10)]
    assert calibration_error(answers) == pytest.approx(35)


def test_later_turns_are_asked_with_the_earlier_answers() -> None:
    answerer = ScriptedAnswerer(*["yes"] * 400)
    answers = judge(answerer, HUMAN, scenes=12, seed=5)
    assert len(answers) == len(answerer.requests)
    pairs = list(zip(answers, answerer.requests, strict=True))
    later = [request for answer, request in pairs if answer.turn]
    assert later
    assert all("###Assistant: yes###Human: " in request.prompt for request in later)
    removed = [request.images[0] for answer, request in pairs if answer.removed]
    assert removed
    number = next(answer.scene for answer in answers if answer.removed)
    assert np.array_equal(removed[0], held_out_scene(5, number)[0].plain)


def test_failures_are_drawn_on_a_sheet() -> None:
    failures = select_failures(
        [_judged_answer(scene=number, right=False, answered="blue") for number in range(8)], 7
    )
    assert len(failures) == 7
    sheet = contact_sheet(failures, seed=0)
    assert sheet.shape[1] == 6 * 240
    picture = model_input(held_out_scene(0, failures[0].scene)[0].marked)
    assert abs(int(sheet[3:237, 3:237].mean()) - int(picture.mean())) < 8


# The card


def test_the_card_describes_every_family_and_thing() -> None:
    history = [
        {"stage": "vision", "steps": 5, "pictures": 480, "minutes": 1.0, "on": "2 CPU cores"},
        {"stage": "calibration", "temperature": 1.1},
    ]
    examples = [{"command": "vipcli ask a.png", "answer": "red"}]
    text = card(summary([_judged_answer()]), history, examples)
    assert set(ANSWER_FORMS) == set(FAMILIES)
    for word in (*KINDS, *COLORS, *FAMILIES, *MARK_COLORS):
        assert word in text, word
    assert "| all | 100.0% of 1 |" in text.replace("**", "")
    assert "vipcli ask a.png" in text
