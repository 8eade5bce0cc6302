"""How choosing by likelihood is compared with generating, on held-out scenes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.scripted import SideBySide
from vipcli.asking.choices import check_choices
from vipcli.asking.interface import Reply, Request, ScoredChoice, Setup
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN
from vipcli.engine.local import LocalModel
from vipcli.training.__main__ import main
from vipcli.training.judging.choices import (
    CLOSED_SETS,
    JudgedChoice,
    choice_figures,
    judge_choices,
)
from vipcli.training.judging.evaluation import held_out_scene
from vipcli.training.questions.families import FAMILIES, SENTENCE_FAMILIES
from vipcli.training.questions.generator import conversations

WAYS = ["generated", "sum", "mean", "lift"]


def test_every_family_with_few_answers_has_all_of_them() -> None:
    open_families = {*SENTENCE_FAMILIES, "absent", "foreign"}
    assert set(CLOSED_SETS) == set(FAMILIES) - open_families
    for options in CLOSED_SETS.values():
        assert check_choices(options, HUMAN) == options
    asked = missing = 0
    for number in range(120):
        drawn, rng = held_out_scene(7, number)
        for turn in (turn for conversation in conversations(drawn.scene, rng, 3) for turn in conversation):
            if turn.family in CLOSED_SETS:
                asked += 1
                missing += turn.answer not in CLOSED_SETS[turn.family]
    assert asked > 200
    assert missing == 0


class FirstChoice(SideBySide):
    """Chooses the first of the choices, surely."""

    def answer(self, request: Request, *rest: object) -> Reply:
        reply = super().answer(request)
        if not request.choices:
            return reply
        (first, *others) = request.choices
        choices = (ScoredChoice(first, 1, 0, 1), *(ScoredChoice(text, 0, -9, 1) for text in others))
        return Reply(first, "stop", 1, (1,), 1, 1.0, reply.model, choices=choices)


def test_every_question_is_asked_in_every_way() -> None:
    answerer = FirstChoice(lambda request: "something else")
    judged = judge_choices(answerer, HUMAN, scenes=12)
    assert [choice.way for choice in judged[:4]] == WAYS
    assert len(judged) == 4 * len(answerer.together) / 4
    for start in range(0, len(judged), 4):
        generated, *scored = judged[start : start + 4]
        assert not generated.right
        assert {choice.question for choice in scored} == {generated.question}
        for choice in scored:
            assert choice.answered == CLOSED_SETS[choice.family][0]
            assert choice.right == (choice.expected == choice.answered)


def test_figures_are_counted_by_way_and_family() -> None:
    judged = [
        JudgedChoice("generated", 0, "size", "?", "small", "small", True, 0.8),
        JudgedChoice("sum", 0, "size", "?", "small", "small", True, 1.0),
        JudgedChoice("generated", 1, "color", "?", "red", "blue", False, 0.7),
        JudgedChoice("sum", 1, "color", "?", "red", "red", True, 0.9),
    ]
    figures = choice_figures(judged)
    assert figures["all"]["generated"] == {
        "right": 1,
        "asked": 2,
        "percent": 50.0,
        "calibration error": 45.0,
    }
    assert figures["all"]["sum"]["percent"] == 100.0
    assert figures["all"]["sum"]["calibration error"] == 5.0
    assert figures["by family"]["color"]["generated"] == {"right": 0, "asked": 1, "percent": 0.0}
    assert figures["by family"]["size"]["mean"] == {"right": 0, "asked": 0, "percent": None}


@pytest.mark.slow
def test_the_bundled_model_chooses_as_well_as_it_writes() -> None:
    model = LocalModel(find("bundled"), Setup(device="cpu"))
    figures = choice_figures(judge_choices(model, model.checkpoint.form(), scenes=12, seed=3))["all"]
    assert figures["sum"]["asked"] > 20
    # One question more or less is chance.
    assert figures["sum"]["right"] >= figures["generated"]["right"] - 1
    assert figures["sum"]["percent"] > 85


def test_the_command_prints_and_writes_the_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    file = tmp_path / "figures.json"
    assert main(["choices", "bundled", "--scenes", "2", "--device", "cpu", "--json", str(file)]) == 0
    report = json.loads(file.read_text())
    assert (report["model"], report["scenes"]) == ("bundled", 2)
    assert list(report["figures"]["all"]) == WAYS
    assert len(report["answers"]) == 4 * report["figures"]["all"]["sum"]["asked"]
    out = capsys.readouterr().out
    assert "calibration error" in out
    assert all(way in out for way in WAYS)
