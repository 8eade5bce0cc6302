"""What every error message must be: one or two plain sentences that name what was wrong."""

from __future__ import annotations

from vipcli.errors import VipcliError

LONGEST = 250


def assert_plain(error: VipcliError, *naming: str) -> None:
    """The message is a short, whole sentence or two on one line, and holds every one of `naming`."""
    message = str(error)
    assert message.isprintable(), message
    assert message == message.strip()
    assert message[:1].isupper(), message
    assert message.endswith((".", "?")), message
    assert len(message) < LONGEST, message
    for words in naming:
        assert words in message, (words, message)
