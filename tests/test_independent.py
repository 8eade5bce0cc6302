"""The pictures of another hand: the same for the same seed, and of the world that the card describes."""

from __future__ import annotations

import numpy as np

from tests.independent import scenes
from vipcli.training.card import FORMS


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
