"""Independent pictures: reproducible, within the world of the model card, and answered by the model."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scripted import SideBySide
from vipcli.asking.interface import Setup
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN
from vipcli.engine.local import LocalModel
from vipcli.training.judging.card import ANSWER_FORMS, card
from vipcli.training.judging.evaluation import summary
from vipcli.training.judging.independent_evaluation import independent_summary, judge_independent
from vipcli.training.judging.independent_scenes import IndependentScene, independent_scenes

SEED = 5


@pytest.fixture(scope="module")
def scenes() -> list[IndependentScene]:
    """Pictures with questions, two of each family; drawing them takes most of the time of these tests."""
    return list(independent_scenes(SEED, 104))


def test_the_seed_determines_the_pictures(scenes: list[IndependentScene]) -> None:
    for first, again in zip(scenes, independent_scenes(SEED, 6), strict=False):
        assert first.question == again.question and first.answer == again.answer
        assert np.array_equal(first.picture, again.picture)


def test_questions_are_from_families_in_the_card(scenes: list[IndependentScene]) -> None:
    families = {scene.family for scene in scenes}
    assert families <= set(ANSWER_FORMS)
    assert len(families) > 40
    marked = [scene for scene in scenes if not np.array_equal(scene.picture, scene.plain)]
    assert len(marked) > 40
    for scene in scenes:
        assert scene.picture.dtype == np.uint8
        assert scene.question.strip() and scene.answer.strip()


def test_accuracy_is_counted_by_family_and_mark(scenes: list[IndependentScene]) -> None:
    # All answers but the last are right; case and the final period do not matter.
    texts = iter([*(scene.answer.lower() for scene in scenes[:59]), "something else"])
    answerer = SideBySide(lambda _: next(texts))
    answers = [*judge_independent(answerer, HUMAN, SEED, scenes[:60])]
    assert sum(answerer.together) == 60
    assert [answer.number for answer in answers] == [*range(60)]
    assert [answer.right for answer in answers] == [True] * 59 + [False]
    figures = independent_summary(answers)
    assert figures["all"] == {"right": 59, "asked": 60, "percent": 98.33}
    assert sum(accuracy["asked"] for accuracy in figures["by family"].values()) == 60
    assert figures["by family"][answers[-1].family]["percent"] < 100
    assert set(figures["by mark"]) <= {kind for answer in answers for kind in answer.kinds}
    text = card(summary([]), [], [], figures)
    assert "**98.3% of 60**" in text
    assert f"*{answers[-1].family}* (" in text


def test_the_bundled_model_answers(scenes: list[IndependentScene]) -> None:
    model = LocalModel(find("bundled"), Setup(device="cpu"))
    accuracy = independent_summary([*judge_independent(model, model.checkpoint.form(), SEED, scenes)])["all"]
    assert accuracy["asked"] == 104
    assert accuracy["percent"] > 84
