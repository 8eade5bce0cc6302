"""Generate questions and whole conversations about a scene, each with its one right answer.

A question is only asked if the picture settles its answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vipcli.checkpoints.catalog import CANNOT_TELL
from vipcli.marks.colors import NAMED, TRAINED
from vipcli.marks.kinds import KINDS as MARKS
from vipcli.training.questions.answers import DraftAnswer
from vipcli.training.questions.context import NO_BOOSTS, Context, MarkName, shuffled
from vipcli.training.questions.families import (
    ABSENT_FAMILY,
    ABSENT_MARK_FAMILIES,
    FAMILIES,
    FAMILIES_BY_ABILITY,
    FOREIGN_FAMILY,
    INTRODUCES_ANOTHER_THING,
    MARK_FAMILIES,
    NOTHING_FAMILY,
    PICTURE_FAMILIES,
    REPEATABLE,
    REVEALS_KIND,
    SENTENCE_FAMILIES,
    QuestionFamily,
    random_blanks,
)
from vipcli.training.questions.question_answer import ABILITY_WEIGHTS, Ability, Conversation, QuestionAnswer
from vipcli.training.questions.references import COLORLESS, fill_template, pick_template
from vipcli.training.questions.typing_noise import add_typing_noise
from vipcli.training.questions.wordings import FOLLOW_UPS, SAME_QUESTION
from vipcli.training.world.scene import Scene, Thing

# Shares of conversations with at least two turns, and with three.
TWO_TURNS = 0.35
THREE_TURNS = 0.08

_MAX_TRIES = 12
# Mostly the colors that marks were trained in.
_MARK_COLORS = (*TRAINED, *TRAINED, *NAMED)


def conversations(
    scene: Scene,
    rng: random.Random,
    count: int,
    weights: Mapping[Ability, int] = ABILITY_WEIGHTS,
    boosts: Mapping[str, int] = NO_BOOSTS,
) -> list[Conversation]:
    """Varied conversations about a scene, with answers that the picture settles.

    `boosts` says how many times as often a family opens a conversation, compared with others of its ability.
    """
    context = Context(scene, weights, boosts)
    return [_conversation(context, rng) for _ in range(count)]


def ask(scene: Scene, family: str, rng: random.Random) -> QuestionAnswer | None:
    """A question of a family, without typing noise; None if the picture does not settle any."""
    draft = _ask(Context(scene), FAMILIES[family], rng)
    return None if draft is None else _finish(draft, draft.question, follow_up=False)


# --------------------------------------------------------------------------- one question


class _Draft(NamedTuple):
    """A question and its answer, before typing noise."""

    question: str
    answer: str
    family: QuestionFamily
    marks: tuple[int, ...]
    facts: tuple[str, ...]
    template_family: QuestionFamily
    """The family whose template is used; differs from `family` for absent marks and foreign pictures."""
    names: tuple[MarkName, ...] = ()
    evidence: tuple[int, ...] | None = None
    mentioned: str = ""

    @property
    def subject(self) -> int | None:
        """The mark that `it` in the next turn would refer to."""
        clear = (
            len(self.marks) == 1
            and self.family is not NOTHING_FAMILY
            and self.template_family.name not in INTRODUCES_ANOTHER_THING
        )
        return self.marks[0] if clear else None

    @property
    def key(self) -> tuple[str, tuple[int, ...], str]:
        """What a later turn should not repeat."""
        return self.template_family.name, self.marks, self.answer


def _finish(draft: _Draft, question: str, *, follow_up: bool) -> QuestionAnswer:
    family = draft.family
    return QuestionAnswer(
        question,
        draft.answer,
        family.name,
        family.ability,
        draft.marks,
        draft.facts,
        follow_up,
        draft.names,
        draft.evidence,
        draft.mentioned,
    )


def _mark_choices(context: Context, family: QuestionFamily) -> list[tuple[int, ...]]:
    """All marks, or pairs of marks, that a question of the family could be about."""
    if family.marks == 2:
        return [*context.pairs()]
    if family.marks == 0:
        return [()]
    return [(mark,) for mark in (context.on_nothing if family is NOTHING_FAMILY else context.on_things)]


def _build_answer(
    context: Context, family: QuestionFamily, marks: Sequence[int], rng: random.Random
) -> DraftAnswer | None:
    if family.build is None:
        return None
    things = () if family is NOTHING_FAMILY else tuple(context.thing(mark) for mark in marks)
    return family.build(context, things, rng)


def _build_question(
    context: Context,
    family: QuestionFamily,
    marks: tuple[int, ...],
    answer: DraftAnswer,
    rng: random.Random,
    *,
    template: str | None = None,
) -> _Draft:
    wordings = family.wordings
    names = [context.names[mark] for mark in marks]
    text = pick_template(wordings, rng) if template is None else template
    question = fill_template(context, text, names, rng.choice(wordings.nouns), answer.blanks, rng)
    evidence = None if answer.evidence is None else _indices(context, answer.evidence)
    if evidence is None and marks and answer.answer in ("yes", "no"):
        evidence = _indices(context, [context.thing(marks[0])]) if answer.answer == "yes" else ()
    return _Draft(
        question,
        answer.answer,
        family,
        marks,
        answer.facts,
        family,
        tuple(names),
        evidence,
        answer.mentioned,
    )


def _indices(context: Context, things: Sequence[Thing]) -> tuple[int, ...]:
    return tuple(
        index for index, thing in enumerate(context.things) if any(thing is other for other in things)
    )


def _ask(
    context: Context, family: QuestionFamily, rng: random.Random, *, balanced: bool = False
) -> _Draft | None:
    """A question of the family; if balanced, `yes` is as frequent as `no` over all marks of a scene."""
    if family is FOREIGN_FAMILY:
        return _ask_about_foreign(context, rng) if context.scene.foreign else None
    if context.scene.foreign:
        return None
    if family is ABSENT_FAMILY:
        return _ask_about_absent(context, rng.choice(ABSENT_MARK_FAMILIES), rng)
    for marks in shuffled(_mark_choices(context, family), rng):
        answer = _build_answer(context, family, marks, rng)
        if answer is None:
            continue
        # Trying other marks instead would make the rarer answer too frequent.
        if balanced and _is_too_common(context, family, answer.answer, rng):
            return None
        return _build_question(context, family, marks, answer, rng)
    return None


def _is_too_common(context: Context, family: QuestionFamily, answer: str, rng: random.Random) -> bool:
    """Whether to drop this answer so that `yes` and `no` become equally frequent over all marks."""
    yes_share = None if family.yes_share is None else family.yes_share(context)
    if yes_share is None:
        return False
    share = yes_share if answer == "yes" else 1 - yes_share
    return rng.random() * share >= 1 - share


def _ask_about_foreign(context: Context, rng: random.Random) -> _Draft:
    """Any question about a foreign picture."""
    offered = [
        family for family in (*MARK_FAMILIES, *PICTURE_FAMILIES) if family.marks <= len(context.nameable)
    ]
    family = rng.choice(offered)
    marks = tuple(rng.sample(context.nameable, family.marks))
    return _cannot_tell(context, family, marks, None, rng)


def _cannot_tell(
    context: Context,
    family: QuestionFamily,
    marks: tuple[int, ...],
    template: str | None,
    rng: random.Random,
) -> _Draft:
    answer = DraftAnswer(CANNOT_TELL, random_blanks(family.name, rng))
    draft = _build_question(context, family, marks, answer, rng, template=template)
    return draft._replace(family=FOREIGN_FAMILY)


def _ask_about_absent(
    context: Context, family: QuestionFamily, rng: random.Random, *, template: str | None = None
) -> _Draft | None:
    """A question of the family about a mark that is not in the picture."""
    if not context.names and rng.random() < COLORLESS:
        name, answer = None, "There is no mark in the picture."
    else:
        name = _absent_name(context, rng)
        if name is None:
            return None
        answer = f"There is no {name.text} in the picture."
    wordings = family.wordings
    text = pick_template(wordings, rng) if template is None else template
    while name is None and ("{at}" in text or "{ref}" in text):
        text = pick_template(wordings, rng)
    noun = rng.choice(wordings.nouns)
    question = fill_template(context, text, [name], noun, random_blanks(family.name, rng), rng)
    return _Draft(question, answer, ABSENT_FAMILY, (), (), family, () if name is None else (name,))


def _absent_name(context: Context, rng: random.Random) -> MarkName | None:
    """The name of a mark that is certainly absent, often with the kind or color of a present one."""
    for _ in range(_MAX_TRIES):
        present = rng.choice(context.names) if context.names else None
        roll = rng.random()
        kind = present.kind if present and roll < 0.4 else rng.choice(MARKS).kind
        color = present.color if present and 0.4 <= roll < 0.7 else rng.choice(_MARK_COLORS)
        name = MarkName(kind, "" if rng.random() < COLORLESS else color)
        if context.is_certainly_absent(name):
            return name
    return None


# --------------------------------------------------------------------------- conversations


def _conversation(context: Context, rng: random.Random) -> Conversation:
    roll = rng.random()
    turns = 3 if roll < THREE_TURNS else 2 if roll < TWO_TURNS else 1
    drafts = [_first_turn(context, rng)]
    while len(drafts) < turns:
        draft = _next_turn(context, drafts, rng)
        if draft is None:
            break
        drafts.append(draft)
    return tuple(
        _finish(
            draft,
            add_typing_noise(draft.question, rng, brief=draft.template_family.name not in SENTENCE_FAMILIES),
            follow_up=index > 0,
        )
        for index, draft in enumerate(drafts)
    )


def _first_turn(context: Context, rng: random.Random) -> _Draft:
    """A question that stands on its own."""
    if context.scene.foreign:
        return _ask_about_foreign(context, rng)
    abilities = list(context.weights)
    while True:
        ability = rng.choices(abilities, [context.weights[ability] for ability in abilities])[0]
        families = [
            family
            for family in FAMILIES_BY_ABILITY[ability]
            for _ in range(context.boosts.get(family.name, 1))
        ]
        tried: set[str] = set()
        for family in shuffled(families, rng):
            # Trying a family twice would bring back answers that were dropped as too common.
            draft = None if family.name in tried else _ask(context, family, rng, balanced=True)
            if draft is not None:
                return draft
            tried.add(family.name)
        # Questions about the whole picture are always possible, so the list never becomes empty.
        abilities.remove(ability)


def _next_turn(context: Context, drafts: Sequence[_Draft], rng: random.Random) -> _Draft | None:
    """A later turn: about the same thing, the same question again, or an unrelated question."""
    roll = rng.random()
    draft = _follow_up(context, drafts, rng) if roll < 0.6 else None
    if draft is None and roll < 0.85:
        draft = _repeat_question(context, drafts, rng)
    return draft or _unrelated_question(context, drafts, rng)


def _follow_up(context: Context, drafts: Sequence[_Draft], rng: random.Random) -> _Draft | None:
    """Another question about the same thing, called `it`."""
    subject = drafts[-1].subject
    if subject is None:
        return None
    marks = (subject,)
    asked = [draft.template_family.name for draft in drafts if draft.marks == marks]
    kind_is_known = any(name in REVEALS_KIND for name in asked)
    for name in shuffled(tuple(FOLLOW_UPS), rng):
        if name in asked or (kind_is_known and name in ("letter", "number")):
            continue
        family, template = FAMILIES[name], pick_template(FOLLOW_UPS[name], rng)
        if context.scene.foreign:
            return _cannot_tell(context, family, marks, template, rng)
        answer = _build_answer(context, family, marks, rng)
        if answer is not None:
            return _build_question(context, family, marks, answer, rng, template=template)
    return None


def _repeat_question(context: Context, drafts: Sequence[_Draft], rng: random.Random) -> _Draft | None:
    """The previous question about another mark, now and then about an absent one."""
    family = drafts[-1].template_family
    if family.name not in REPEATABLE and family is not NOTHING_FAMILY:
        return None
    template = rng.choice(SAME_QUESTION)
    if not context.scene.foreign and drafts[-1].family is not ABSENT_FAMILY and rng.random() < 0.2:
        return _ask_about_absent(context, family, rng, template=template)
    asked = [draft.marks for draft in drafts]
    for mark in shuffled(context.nameable, rng):
        if (mark,) in asked:
            continue
        if context.scene.foreign:
            return _cannot_tell(context, family, (mark,), template, rng)
        repeated = _family_for_mark(context, family, mark)
        answer = None if repeated is None else _build_answer(context, repeated, (mark,), rng)
        if repeated is not None and answer is not None:
            return _build_question(context, repeated, (mark,), answer, rng, template=template)
    return None


def _family_for_mark(context: Context, family: QuestionFamily, mark: int) -> QuestionFamily | None:
    """The family to use for that mark: `what is it` about a mark on empty ground has its own family."""
    asks_what = family is NOTHING_FAMILY or family.name == "what"
    if mark in context.on_nothing:
        return NOTHING_FAMILY if asks_what else None
    return FAMILIES["what"] if asks_what else family


def _unrelated_question(context: Context, drafts: Sequence[_Draft], rng: random.Random) -> _Draft | None:
    asked = [draft.key for draft in drafts]
    for _ in range(_MAX_TRIES):
        draft = _first_turn(context, rng)
        if draft.key not in asked:
            return draft
    return None
