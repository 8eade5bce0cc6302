"""Independent pictures: the same for the same seed, and within the world that the model card describes."""

from __future__ import annotations

import numpy as np

from tests.scripted import ScriptedAnswerer
from vipcli.checkpoints.prompt_forms import HUMAN
from vipcli.training.judging.card import ANSWER_FORMS, card
from vipcli.training.judging.evaluation import summary
from vipcli.training.judging.independent_evaluation import independent_summary, judge_independent
from vipcli.training.judging.independent_scenes import independent_scenes


def test_the_seed_determines_the_pictures() -> None:
    for first, again in zip(independent_scenes(3, 6), independent_scenes(3, 6), strict=True):
        assert first.question == again.question and first.answer == again.answer
        assert np.array_equal(first.picture, again.picture)


def test_questions_are_from_families_in_the_card() -> None:
    scenes = list(independent_scenes(1, 60))
    families = {scene.family for scene in scenes}
    assert families <= set(ANSWER_FORMS)
    assert len(families) > 40
    marked = [scene for scene in scenes if not np.array_equal(scene.picture, scene.plain)]
    assert len(marked) > 20
    for scene in scenes:
        assert scene.picture.dtype == np.uint8
        assert scene.question.strip() and scene.answer.strip()


def test_accuracy_is_counted_by_family_and_mark() -> None:
    # All answers but the last are right; case and the final period do not matter.
    texts = [scene.answer.lower() for scene in independent_scenes(2, 60)]
    answerer = ScriptedAnswerer(*texts[:-1], "something else")
    answers = [*judge_independent(answerer, HUMAN, seed=2, count=60)]
    assert [answer.right for answer in answers] == [True] * 59 + [False]
    figures = independent_summary(answers)
    assert figures["all"] == {"right": 59, "asked": 60, "percent": 98.33}
    assert sum(accuracy["asked"] for accuracy in figures["by family"].values()) == 60
    assert figures["by family"][answers[-1].family]["percent"] < 100
    assert set(figures["by mark"]) <= {kind for answer in answers for kind in answer.kinds}
    text = card(summary([]), [], [], figures)
    assert "**98.3% of 60**" in text
    assert f"*{answers[-1].family}* (" in text
