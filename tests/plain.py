"""Check error messages: one or two plain sentences that name what is wrong."""

from __future__ import annotations

from vipcli.errors import VipcliError

LONGEST = 250


def assert_plain(error: VipcliError, *naming: str) -> None:
    """The message is one or two short sentences on one line, and contains all of `naming`."""
    message = str(error)
    assert message.isprintable(), message
    assert message == message.strip()
    assert message[:1].isupper(), message
    assert message.endswith((".", "?")), message
    assert len(message) < LONGEST, message
    for words in naming:
        assert words in message, (words, message)
