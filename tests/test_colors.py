"""Color names, hexadecimal values, and the name of a color that has none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plain import assert_plain
from vipcli.errors import USAGE_ERROR, ColorError
from vipcli.marks.colors import (
    ALIASES,
    NAMED,
    TRAINED,
    UNTRAINED,
    Color,
    named_color,
    nearest_name,
    parse_color,
)

channels = st.integers(0, 255)
rgbs = st.tuples(channels, channels, channels)
# Mostly text that nearly is a color.
texts = st.one_of(
    st.text(max_size=80),
    st.text("#0123456789abcdefABCDEF \n", max_size=10),
    st.sampled_from([*NAMED, *ALIASES]).flatmap(lambda name: st.permutations(name).map("".join)),
)


def test_the_trained_names_and_values() -> None:
    assert TRAINED == {
        "red": (255, 0, 0),
        "lime": (0, 255, 0),
        "blue": (0, 0, 255),
        "yellow": (255, 255, 0),
        "fuchsia": (255, 0, 255),
        "aqua": (0, 255, 255),
        "orange": (255, 165, 0),
        "purple": (128, 0, 128),
        "gold": (255, 215, 0),
    }
    assert not TRAINED.keys() & UNTRAINED.keys()
    assert {"green", "pink", "brown"} <= UNTRAINED.keys()
    assert len(set(NAMED.values())) == len(NAMED)


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("spell", [str, str.upper, str.title, lambda name: f"  {name}\t"])
def test_every_name_is_read(name: str, spell: Callable[[str], str]) -> None:
    color = parse_color(spell(name))
    assert color == Color(name, NAMED[name]) == named_color(name)
    assert color.trained == (name in TRAINED)


@pytest.mark.parametrize(("alias", "name"), [("cyan", "aqua"), ("magenta", "fuchsia"), ("grey", "gray")])
def test_an_alias_goes_by_the_name_the_model_knows(alias: str, name: str) -> None:
    assert parse_color(alias) == parse_color(name) == named_color(alias)
    assert parse_color(alias).name == name


@pytest.mark.parametrize("name", NAMED)
def test_a_named_value_is_nearest_to_its_own_name(name: str) -> None:
    assert nearest_name(NAMED[name]) == name
    assert parse_color(named_color(name).hex) == named_color(name)


@given(rgbs)
def test_six_digits_give_that_value(rgb: tuple[int, int, int]) -> None:
    lower, upper = "#{:02x}{:02x}{:02x}".format(*rgb), "#{:02X}{:02X}{:02X}".format(*rgb)
    color = parse_color(lower)
    assert color == parse_color(upper)
    assert color.rgb == rgb
    assert color.hex == lower
    assert color.name in NAMED


@given(st.tuples(*[st.integers(0, 15)] * 3))
def test_three_digits_are_each_written_twice(digits: tuple[int, int, int]) -> None:
    color = parse_color("#{:x}{:x}{:x}".format(*digits))
    assert color.rgb == tuple(digit * 17 for digit in digits)
    assert color == parse_color("#{0:x}{0:x}{1:x}{1:x}{2:x}{2:x}".format(*digits))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("#fe0101", "red"),
        ("#00f000", "lime"),
        ("#0a0af5", "blue"),
        ("#fefe05", "yellow"),
        ("#f0f", "fuchsia"),
        ("#0ff", "aqua"),
        ("#ffa000", "orange"),
        ("#800080", "purple"),
        ("#ffd800", "gold"),
        ("#fff", "white"),
        ("#010101", "black"),
        ("#017f01", "green"),
        ("#ffc0cb", "pink"),
        ("#a52a2a", "brown"),
    ],
)
def test_an_unnamed_value_is_called_by_the_nearest_name(text: str, name: str) -> None:
    assert parse_color(text).name == name


@given(texts)
def test_any_text_is_a_color_or_a_color_error(text: str) -> None:
    try:
        color = parse_color(text)
    except ColorError as error:
        assert "color" in str(error)
    else:
        assert color.name in NAMED
        assert all(0 <= channel <= 255 for channel in color.rgb)


@pytest.mark.parametrize(
    ("text", "naming"),
    [
        ("", "''"),
        ("   ", "''"),
        ("redd", "Did you mean red?"),
        ("gren", "Did you mean green?"),
        ("magneta", "Did you mean magenta?"),
        ("xyzzy", "red, lime, blue"),
        ("red blue", "'red blue'"),
        ("ff0000", "'ff0000'"),
        ("#", "'#'"),
        ("#ff", "'#ff'"),
        ("#ffff", "'#ffff'"),
        ("#fffff", "'#fffff'"),
        ("#fffffff", "'#fffffff'"),
        ("#ggg", "'#ggg'"),
        ("##fff", "'##fff'"),
        ("#ff 000", "'#ff 000'"),
        ("#١٢٣", "'#١٢٣'"),
        ("rgb(255,0,0)", "'rgb(255,0,0)'"),
        ("255,0,0", "'255,0,0'"),
        ("red\nblue", r"'red\nblue'"),
        ("\x1b[31mred", r"\x1b"),
        ("\x00", r"'\x00'"),
        ("rouge" * 1000, "'rougerouge"),
        ("\U0010ffff" * 100, "'\\U0010ffff"),
    ],
)
def test_bad_colors(text: str, naming: str) -> None:
    with pytest.raises(ColorError) as caught:
        parse_color(text)
    assert caught.value.exit_code == USAGE_ERROR
    assert_plain(caught.value, naming)
