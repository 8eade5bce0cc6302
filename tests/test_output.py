"""JSON on standard output: what would steer a terminal is escaped, and means the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from vipcli.terminal import output


@pytest.mark.parametrize("say", [output.write_json, output.write_json_line])
def test_control_characters_in_json_are_escaped(
    say: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    record = {"\x9b31m": "red \x9b31m, \x80\x9f, \x7f, \x1b[31m", "plain": "é \xa0 日本語 🦊\n"}
    say(record)
    written = capsys.readouterr().out
    assert json.loads(written) == record
    assert r"\u009b31m, \u0080\u009f, \u007f, \u001b[31m" in written
    assert "é \xa0 日本語 🦊" in written
    assert not any(0x7F <= ord(letter) < 0xA0 for letter in written)
