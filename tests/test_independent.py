"""The pictures of another hand: the same for the same seed, and of the world that the card describes."""

from __future__ import annotations

import numpy as np

from tests.scripted import ScriptedAnswerer
from vipcli.checkpoints.prompt_forms import HUMAN
from vipcli.training.judging.card import FORMS, card
from vipcli.training.judging.evaluation import summary
from vipcli.training.judging.independent_evaluation import ask, figures
from vipcli.training.judging.independent_scenes import scenes


def test_a_seed_draws_the_same_again() -> None:
    for one, other in zip(scenes(3, 6), scenes(3, 6), strict=True):
        assert one.question == other.question and one.answer == other.answer
        assert np.array_equal(one.picture, other.picture)


def test_only_families_of_the_card_are_asked() -> None:
    asked = list(scenes(1, 60))
    families = {one.family for one in asked}
    assert families <= set(FORMS)
    assert len(families) > 40
    marked = [one for one in asked if not np.array_equal(one.picture, one.plain)]
    assert len(marked) > 20
    for one in asked:
        assert one.picture.dtype == np.uint8
        assert one.question.strip() and one.answer.strip()


def test_answers_to_it_are_counted_by_family_and_mark() -> None:
    # All right but for the last, and case and the full stop do not matter.
    texts = [one.answer.lower() for one in scenes(2, 60)]
    answers = [*ask(ScriptedAnswerer(*texts[:-1], "something else"), HUMAN, seed=2, count=60)]
    assert [one.right for one in answers] == [True] * 59 + [False]
    found = figures(answers)
    assert found["all"] == {"right": 59, "asked": 60, "percent": 98.33}
    assert sum(share["asked"] for share in found["by family"].values()) == 60
    assert found["by family"][answers[-1].family]["percent"] < 100
    assert set(found["by mark"]) <= {kind for one in answers for kind in one.kinds}
    text = card(summary([]), [], [], found)
    assert "**98.3 % of 60**" in text
    assert f"*{answers[-1].family}* (" in text
