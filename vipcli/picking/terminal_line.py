"""A line of text that is typed at the bottom of the screen."""

from __future__ import annotations

from prompt_toolkit.utils import get_cwidth

from vipcli.picking.terminal_events import KeyPressed
from vipcli.terminal.output import strip_controls


class InputLine:
    """A line that is being typed."""

    def __init__(self) -> None:
        self.text = ""
        self._position = 0

    def key(self, key: KeyPressed) -> None:
        """Edit the line; keys that mean nothing are ignored."""
        before, after = self.text[: self._position], self.text[self._position :]
        match key.name:
            case "left":
                self._position = max(self._position - 1, 0)
            case "right":
                self._position = min(self._position + 1, len(self.text))
            case "home" | "c-a":
                self._position = 0
            case "end" | "c-e":
                self._position = len(self.text)
            case "c-h":
                self._replace(before[:-1], after)
            case "delete":
                self._replace(before, after[1:])
            case "c-u":
                self._replace("", after)
            case "c-w":
                self._replace(before.rstrip().rpartition(" ")[0] + " " * (" " in before.rstrip()), after)
            case "<bracketed-paste>":
                self._replace(before + _one_line(key.text), after)
            case name if len(name) == 1 and name.isprintable():
                self._replace(before + name, after)

    def shown(self, columns: int) -> tuple[str, int]:
        """The part of the line around the cursor that fits, and the cursor's column in it."""
        start, before = 0, self.text[: self._position]
        while get_cwidth(before[start:]) > columns - 1 and start < len(before):
            start += 1
        end = len(self.text)
        while get_cwidth(self.text[start:end]) > columns and end > self._position:
            end -= 1
        return self.text[start:end], get_cwidth(before[start:])

    def _replace(self, before: str, after: str) -> None:
        self.text, self._position = before + after, len(before)


def _one_line(text: str) -> str:
    return strip_controls(" ".join(text.split()))
