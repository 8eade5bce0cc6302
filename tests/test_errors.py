"""Errors state facts, and each front end spells the settings that their advice names."""

from __future__ import annotations

import pickle

import pytest

from vipcli.cli.chat import as_chat_command
from vipcli.cli.options import as_option
from vipcli.errors import ImageError, Message, Spelling, as_argument

ADVICE = "Raise {max_pixels}, choose {fit=pad}, or take {model=vip-llava-7b}, but leave {1} alone."


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        (
            as_option,
            "Raise --max-pixels, choose --fit pad, or take --model vip-llava-7b, but leave {1} alone.",
        ),
        (
            as_argument,
            'Raise max_pixels, choose fit="pad", or take model="vip-llava-7b", but leave {1} alone.',
        ),
        (
            as_chat_command,
            "Raise --max-pixels, choose /set fit pad, or take --model vip-llava-7b, but leave {1} alone.",
        ),
    ],
)
def test_advice_names_settings_as_they_are_written_there(spelling: Spelling, expected: str) -> None:
    assert Message("It is large.", ADVICE).spelled(spelling) == f"It is large. {expected}"


def test_a_fact_is_shown_as_it_is() -> None:
    assert Message("The file {max_pixels} is missing.").spelled(as_option) == (
        "The file {max_pixels} is missing."
    )


def test_an_error_keeps_its_advice_on_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(ImageError("It is large.", "Raise {max_pixels}.")))
    assert error.message.spelled(as_option) == "It is large. Raise --max-pixels."
    assert str(error) == "It is large. Raise max_pixels."
