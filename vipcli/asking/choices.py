"""Check the answers that a model may choose from, and read them from text."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from vipcli.asking.interface import Grammar
from vipcli.checkpoints.catalog import BUNDLED
from vipcli.checkpoints.prompt_forms import LONGEST_TEXT, PromptForm, check_text
from vipcli.errors import PromptError, UsageError
from vipcli.files import quote, reading

MOST_CHOICES = 1000


def check_choices(texts: Sequence[str], form: PromptForm) -> tuple[str, ...]:
    """The choices without white space around them; refused if the model could not choose among them."""
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise PromptError("The choices are not a list of texts.", 'Write them as ["open", "closed"].')
    if len(texts) > MOST_CHOICES:
        raise PromptError(f"There are {len(texts):,} choices. The limit is {MOST_CHOICES:,}.")
    choices = tuple(check_text(text, "choice", form).strip() for text in texts)
    if not all(choices):
        raise PromptError("One of the choices is empty.", "Leave it out, or write it as a word.")
    if len(choices) == 1:
        raise PromptError(f"There is only one choice, {choices[0]!r}.", "Name at least two.")
    if (length := sum(map(len, choices))) > LONGEST_TEXT:
        raise PromptError(f"The choices have {length:,} characters. The limit is {LONGEST_TEXT:,}.")
    _refuse_twins(choices)
    return choices


def check_alone(choices: Sequence[str], grammar: Grammar | None, guide: float | None) -> None:
    """Refuse choices together with what shapes a text that the model writes."""
    if not choices:
        return
    if grammar is not None:
        raise PromptError(f"Choices and a {grammar.kind} exclude each other.", "Leave one of them out.")
    if guide:
        raise PromptError(
            "Choices and guidance exclude each other.", "Leave one of them out, or use {guide=0}."
        )


def _refuse_twins(choices: Sequence[str]) -> None:
    """Refuse choices that say the same."""
    seen: dict[str, str] = {}
    for choice in choices:
        folded = _fold(choice)
        if folded in seen:
            twin = seen[folded]
            twice = f"{choice!r} stands twice" if twin == choice else f"{twin!r} and {choice!r} read the same"
            raise PromptError(f"Among the choices, {twice}.", "Leave one of them out.")
        seen[folded] = choice


def _fold(text: str) -> str:
    """A text without what makes no difference to a reader: case, spacing, a period at the end."""
    words = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    # A choice may be nothing but punctuation.
    return words.rstrip(".,;:!? ") or words


def parse_choices(text: str) -> tuple[str, ...]:
    """Choices from one line, separated by commas; one with a comma stands in double quotes."""
    try:
        (cells,) = csv.reader([text], skipinitialspace=True, strict=True)
    except (csv.Error, ValueError):
        raise UsageError(
            f"The choices {text[:60]!r} cannot be read.",
            'Separate them by commas, and write one with a comma in double quotes: open,"half open, or so".',
        ) from None
    if not cells:
        raise UsageError("There are no choices.", "Name at least two.")
    return tuple(cells)


def read_choices(path: Path) -> tuple[str, ...]:
    """Choices from the lines of a file."""
    try:
        with reading(f"The file {quote(path)}"):
            lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UsageError(f"The file {quote(path)} is not UTF-8 text.") from None
    choices = tuple(line.strip() for line in lines if line.strip())
    if not choices:
        raise UsageError(f"The file {quote(path)} holds no choices.", "Write one on each line.")
    return choices


def yes_no(model: str) -> tuple[str, ...]:
    """Yes and no as a model writes them; only the bundled one writes them small."""
    return ("yes", "no") if model == BUNDLED else ("Yes", "No")
