"""Refer to marked things in words, and fill the blanks of question templates."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vipcli.marks.kinds import KINDS as MARKS
from vipcli.training.questions.context import Context, MarkName, resembles_mark
from vipcli.training.questions.wordings import (
    AFTER_NOUN_ONLY,
    COLOR_REFERENCES,
    IN_THE_PICTURE,
    INFORMAL_REFERENCES,
    LOOKALIKES,
    Wordings,
)
from vipcli.training.world.facts import SHAPES

# How often a question uses a mark's exact phrase, leaves out its color, or says `the marked thing`.
EXACT = 0.60
COLORLESS = 0.10
MERELY_MARKED = 0.08
# How often a question uses a plain template instead of a clause in a frame.
DIRECT = 0.6


class _Reference(NamedTuple):
    text: str
    kinds: tuple[str, ...]
    """Kinds of thing that the text could be mistaken to mention."""


def _references(texts: tuple[str, ...], after_verb: bool) -> tuple[_Reference, ...]:
    return tuple(
        _Reference(text, tuple(word for word in text.split() if word in SHAPES))
        for text in texts
        if not (after_verb and text.startswith(AFTER_NOUN_ONLY))
    )


_INFORMAL = {
    after_verb: {kind.kind: _references(INFORMAL_REFERENCES[kind.kind], after_verb) for kind in MARKS}
    for after_verb in (False, True)
}


def pick_template(wordings: Wordings, rng: random.Random) -> str:
    framed = wordings.framed
    return rng.choice(wordings.direct if not framed or rng.random() < DIRECT else framed)


def fill_template(
    context: Context,
    template: str,
    names: Sequence[MarkName | None],
    noun: str,
    blanks: Mapping[str, str],
    rng: random.Random,
) -> str:
    """Fill the blanks of a template; None among the names stands for any mark at all."""
    values = dict(blanks)
    for blank, name in zip(("x", "y"), names, strict=False):
        if f"{{{blank}}}" in template:
            values[blank] = _the_thing(context, name, noun, rng)
    known = [name for name in names if name is not None]
    for blank, name in zip(("ref", "ref2"), known, strict=False):
        if f"{{{blank}}}" in template:
            values[blank] = _refer(context, name, rng, after_verb=False)
    if "{at}" in template:
        values["at"] = _refer(context, known[0], rng, after_verb=True)
    if "{pair}" in template:
        values["pair"] = f"the {noun}s " + " and ".join(
            _refer(context, name, rng, after_verb=True) for name in known
        )
    if "{here}" in template:
        values["here"] = rng.choice(IN_THE_PICTURE)
    text = template.format_map(values)
    if "colour" in text and rng.random() < 0.5:
        text = text.replace("colour", "color")
    return text[0].upper() + text[1:]


def _the_thing(context: Context, name: MarkName | None, noun: str, rng: random.Random) -> str:
    if name is None or (len(context.names) == 1 and name in context.names and rng.random() < MERELY_MARKED):
        return f"the marked {noun}"
    return f"the {noun} {_refer(context, name, rng, after_verb=False)}"


def _refer(context: Context, name: MarkName, rng: random.Random, *, after_verb: bool) -> str:
    """Refer to a thing by its mark, to follow a noun or a verb as in `what is`."""
    roll = rng.random()
    if roll < EXACT:
        return _exact_reference(name, after_verb)
    if roll < EXACT + COLORLESS and name.color and _is_only_one_of_kind(context, name):
        name = MarkName(name.kind, "")
        if roll < EXACT + COLORLESS / 2:
            return _exact_reference(name, after_verb)
    return _informal_reference(context, name, rng, after_verb)


def _exact_reference(name: MarkName, after_verb: bool) -> str:
    phrase = name.phrase
    return f"marked {phrase}" if after_verb and phrase.startswith("with ") else phrase


def _informal_reference(context: Context, name: MarkName, rng: random.Random, after_verb: bool) -> str:
    if (
        name.color
        and name.kind in COLOR_REFERENCES
        and rng.random() < 0.25
        and context.is_identified_by_color(name)
    ):
        return rng.choice(COLOR_REFERENCES[name.kind]).format(color=name.color)
    reference = rng.choice(_INFORMAL[after_verb][name.kind])
    if any(kind in context.kinds for kind in reference.kinds):
        return _exact_reference(name, after_verb)
    if name.color:
        return reference.text.replace("{color}", name.color)
    return reference.text.replace("{color} ", "")


def _is_only_one_of_kind(context: Context, name: MarkName) -> bool:
    """Whether a mark is identified without its color; never true of an absent mark."""
    similar = sum(resembles_mark(MarkName(name.kind, ""), other) for other in context.names)
    return (
        similar == 1
        and name in context.names
        and not any(kind in context.kinds for kind in LOOKALIKES.get(name.kind, ()))
    )
