"""What ends an answer: turns and stops, in a whole text and while it streams."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.scripted import Words
from vipcli.asking.interface import Request
from vipcli.checkpoints.prompt_forms import HUMAN, VICUNA, Turn, check_text
from vipcli.checkpoints.stops import Stop, end_of, settled_length, stop_at
from vipcli.engine.transcript import Transcript
from vipcli.serving import protocol

END = 10**6


def stream(pieces: list[str], stops: tuple[Stop, ...], *, end: bool = False) -> tuple[list[str], Transcript]:
    """Return the text shown after each piece and at the end, and the transcript."""
    shown: list[str] = []
    states = []
    transcript = Transcript(Words(pieces), stops, shown.append, [END])
    for token in [*range(len(pieces)), *([END] if end else [])]:
        transcript.add(token)
        states.append("".join(shown))
    transcript.finish()
    return [*states, "".join(shown)], transcript


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("### A heading\nand text", "### A heading\nand text"),
        ("Text\n### A heading\nand text", "Text\n### A heading\nand text"),
        ("#### Four", "#### Four"),
        ("It is C#", "It is C#"),
        ("It is C##", "It is C##"),
        ("It is C#.", "It is C#."),
        ("A cat.###", "A cat."),
        ("A cat. ### ", "A cat."),
        ("It is C####", "It is C#"),
        ("A cat.###Human: and", "A cat."),
        ("A cat.### Assistant: and", "A cat."),
        ("A cat.###   Human", "A cat."),
        ("It is C####Human: and", "It is C#"),
        ("### One\n###Human: two\n### Three", "### One"),
        ("###human", "###human"),
        ("###Hum", "###Hum"),
        ("A cat.\n###\nHuman: and", "A cat."),
        ("A cat.\n###\n", "A cat."),
        ("### ###Human", "###"),
        ("A cat.</s>###", "A cat."),
        ("### A cat.</s> b", "### A cat."),
        ("###Human", ""),
        ("###", ""),
        ("", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_only_a_turn_ends_an_answer(written: str, answer: str, size: int) -> None:
    pieces = [written[start : start + size] for start in range(0, len(written), size)]
    states, transcript = stream(pieces, HUMAN.stops, end=True)
    assert transcript.text == states[-1] == answer


@pytest.mark.parametrize(
    ("pieces", "states"),
    [
        # A hash is held back only until it is clear what follows.
        (["C", "#", " is"], ["C", "C", "C# is"]),
        (["C", "#", "#", "#", " "], ["C", "C", "C", "C", "C", "C"]),
        (["#", "#", "#", " ", "T"], ["", "", "", "", "### T", "### T"]),
        (["a ", "###", " H", "u", "e"], ["a", "a", "a", "a", "a ### Hue", "a ### Hue"]),
        (["a", "####", "#", "b"], ["a", "a#", "a##", "a#####b", "a#####b"]),
        (["a", "###", "Human", ":"], ["a", "a", "a", "a", "a"]),
    ],
)
def test_text_is_shown_as_soon_as_it_is_settled(pieces: list[str], states: list[str]) -> None:
    shown, _ = stream(pieces, HUMAN.stops)
    assert shown[: len(states)] == states


def test_an_answer_ends_only_at_a_complete_turn() -> None:
    _, heading = stream(["###", " Title"], HUMAN.stops)
    assert (heading.is_over, heading.ended) == (False, "length")
    _, turn = stream(["cat", "###", "Human"], HUMAN.stops)
    assert (turn.is_over, turn.ended, turn.shown_tokens) == (True, "stop", 1)


def test_tokens_of_a_dropped_ending_do_not_count_as_shown() -> None:
    _, transcript = stream(["a", " cat", "###"], HUMAN.stops, end=True)
    assert (transcript.text, transcript.shown_tokens, transcript.tokens) == ("a cat", 2, [0, 1, 2, END])


def test_other_stops_end_an_answer_anywhere() -> None:
    assert stream(["### USER", "</s>", "more"], VICUNA.stops)[1].text == "### USER"
    assert stream(["one ##", "# two"], (Stop("###"),))[1].text == "one"
    assert stream(["one\n", "two"], (*HUMAN.stops, Stop("\n")))[1].text == "one"


PARTS = st.sampled_from(
    ["#", "##", "###", " ", "\n", "Hum", "an", "Human", "Assist", "ant", "a", "</", "s>", "é🦊"]
)
STOPS = st.lists(st.sampled_from([Stop("ab"), Stop("aba"), Stop("b"), Stop("#a"), Stop(" ")]), max_size=3)
# None of these contains another, which could then never be complete.
APART = st.lists(st.sampled_from([Stop("aab"), Stop("b#"), Stop("#a"), Stop(" ")]), max_size=3)
FORMS = st.sampled_from([HUMAN.stops, VICUNA.stops, ()])


@settings(max_examples=1000)
@given(st.lists(PARTS | st.text("ab# ", max_size=3) | st.text(max_size=3), max_size=12), FORMS, STOPS)
@example(["C", "###", "Hum"], HUMAN.stops, [])
def test_streaming_ends_where_the_whole_text_does(
    pieces: list[str], form: tuple[Stop, ...], more: list[Stop]
) -> None:
    whole, stops = "".join(pieces), (*form, *more)
    states, transcript = stream(pieces, stops)
    assert transcript.text == states[-1] == whole[: end_of(whole, stops)].strip()
    assert all(after.startswith(before) for before, after in pairwise(states))


@settings(max_examples=1000)
@given(st.lists(PARTS | st.text("ab# ", max_size=3), max_size=8).map("".join), FORMS, APART)
def test_settled_is_as_long_as_possible(text: str, form: tuple[Stop, ...], more: list[Stop]) -> None:
    stops = (*form, *more)
    if stop_at(text, stops) is not None:
        return
    spelled = [stop.text + word for stop in stops for word in stop.followed_by or ("",)]
    endings = [whole[start:] for whole in spelled for start in range(len(whole))]
    begins = [start for more in endings if (start := stop_at(text + more, stops)) is not None]
    assert settled_length(text, stops) == min([*begins, len(text)])


@given(st.lists(st.text("#Human Assistant", max_size=4), max_size=8))
def test_a_shown_answer_is_accepted_in_the_next_prompt(pieces: list[str]) -> None:
    _, transcript = stream(pieces, HUMAN.stops)
    prompt = HUMAN.build([Turn("Q", check_text(transcript.text, "answer", HUMAN)), Turn("R")], system="")
    assert re.findall(r"###\s*(?:Human|Assistant)", prompt) == ["###Human", "###Assistant"] * 2


def test_stops_survive_packing() -> None:
    stops = (*HUMAN.stops, Stop("END"))
    assert protocol.unpack_request(protocol.pack_request(Request("Q", (), stops=stops))).stops == stops
