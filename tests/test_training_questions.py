"""Questions about a scene are true, balanced, varied, and the same for the same seed."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import pytest

from vipcli.asking.questions import default_question
from vipcli.marks.colors import TRAINED, named_color
from vipcli.marks.kinds import (
    BY_KIND,
    ArrowMark,
    BoxMark,
    ContourMark,
    EllipseMark,
    Mark,
    MaskMark,
    PointMark,
    ScribbleMark,
    TriangleMark,
)
from vipcli.training.drawing.scenes import DEFAULT_MIXTURE, draw_scene
from vipcli.training.questions.families import FAMILIES
from vipcli.training.questions.generator import ask, conversations
from vipcli.training.questions.question_answer import QuestionAnswer
from vipcli.training.questions.typing_noise import add_typing_noise, is_protected
from vipcli.training.questions.wordings import (
    COLOR_REFERENCES,
    FOLLOW_UPS,
    INFORMAL_REFERENCES,
    LOOKALIKES,
    SAME_QUESTION,
    SHORT_ANSWER_REQUEST,
    SIMILAR_KINDS,
    SIMILAR_MARKS,
    WORDINGS,
)
from vipcli.training.world.facts import (
    COLORS,
    KINDS,
    LETTERS,
    NUMBERS,
    OBJECTS,
    SHAPES,
    Texture,
    similar_colors,
)
from vipcli.training.world.scene import Scene, SceneMark, Thing

SIDE = 600
DRAWS = 12


def thing(
    kind: str, color: str, x: float, y: float, *, texture: Texture = "plain", large: bool = False
) -> Thing:
    """A thing centered at (x, y)."""
    reach = 75 if large else 35
    return Thing(kind, color, texture, large, (x - reach, y - reach, x + reach, y + reach), ())


def mark(kind: str, color: str, around: Thing | None = None) -> Mark:
    """A mark on a thing, or in a corner of the picture."""
    x1, y1, x2, y2 = around.bounds if around else (5.0, 5.0, 25.0, 25.0)
    paint, middle = named_color(color), ((x1 + x2) / 2, (y1 + y2) / 2)
    corners = ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
    marks: dict[str, Mark] = {
        "box": BoxMark(paint, x1, y1, x2, y2),
        "ellipse": EllipseMark(paint, x1, y1, x2, y2),
        "triangle": TriangleMark(paint, x1, y1, x2, y2),
        "point": PointMark(paint, *middle),
        "arrow": ArrowMark(paint, middle),
        "scribble": ScribbleMark(paint, corners),
        "contour": ContourMark(paint, (corners,)),
        "mask": MaskMark(paint, (corners,)),
    }
    return marks[kind]


def scene(*things: Thing, marks: str = "", empty: str = "", foreign: bool = False) -> Scene:
    """Things with marks such as `red box, blue arrow`, in order, then marks on empty ground."""
    scene_marks = []
    for number, name in enumerate(filter(None, marks.split(", "))):
        color, kind = name.split()
        scene_marks.append(
            SceneMark(mark(kind, color, None if foreign else things[number]), None if foreign else number)
        )
    for name in filter(None, empty.split(", ")):
        color, kind = name.split()
        scene_marks.append(SceneMark(mark(kind, color), None))
    return Scene(SIDE, SIDE, things, tuple(scene_marks), foreign)


def ask_often(about: Scene, family: str, count: int = DRAWS) -> list[QuestionAnswer]:
    """Questions of a family about a scene; empty if the scene offers none."""
    rng = random.Random(family)
    drawn = [ask(about, family, rng) for _ in range(count)]
    turns = [turn for turn in drawn if turn is not None]
    assert len(turns) in (0, count)
    return turns


def random_scene(rng: random.Random, marks: int | None = None) -> Scene:
    """Things on a grid, with marks of different colors on some of them."""
    cells = rng.sample(range(16), rng.randint(2, 9))
    things = []
    for cell in cells:
        kinds = rng.choice((SHAPES, NUMBERS, LETTERS, OBJECTS))
        texture: Texture = rng.choice(("plain", "striped", "dotted", "outlined"))
        things.append(
            thing(
                rng.choice(kinds),
                rng.choice(tuple(COLORS)),
                75 + cell % 4 * 150 + rng.uniform(-10, 10),
                75 + cell // 4 * 150 + rng.uniform(-10, 10),
                texture=texture if kinds in (SHAPES, OBJECTS) else "plain",
                large=rng.random() < 0.5,
            )
        )
    count = min(len(things), rng.randint(0, 3) if marks is None else marks)
    names = zip(rng.sample(tuple(TRAINED), count), rng.choices(tuple(BY_KIND), k=count), strict=True)
    return scene(*things, marks=", ".join(f"{color} {kind}" for color, kind in names))


CIRCLE = thing("circle", "red", 80, 80, texture="striped")
HOUSE = thing("house", "blue", 500, 90, large=True)
A = thing("A", "black", 300, 500)
K = thing("K", "green", 90, 300)
SEVEN = thing("7", "blue", 300, 300, large=True)
FOUR = thing("4", "red", 520, 310)
FISH = thing("fish", "orange", 100, 520, large=True)

ONE_MARK: list[tuple[Thing, str, str | None]] = [
    (CIRCLE, "what", "a circle"),
    (HOUSE, "what", "a house"),
    (A, "what", "the letter A"),
    (SEVEN, "what", "the number 7"),
    (thing("umbrella", "pink", 90, 90), "what", "an umbrella"),
    (CIRCLE, "color", "red"),
    (CIRCLE, "texture", "striped"),
    (HOUSE, "texture", "plain"),
    (A, "texture", None),
    (SEVEN, "is-texture", None),
    (CIRCLE, "size", "small"),
    (HOUSE, "size", "large"),
    (CIRCLE, "category", "shape"),
    (HOUSE, "category", "object"),
    (A, "category", "letter"),
    (SEVEN, "category", "number"),
    (HOUSE, "choose-what", "a house"),
    (A, "choose-what", "the letter A"),
    (HOUSE, "choose-color", "blue"),
    (A, "letter", "A"),
    (SEVEN, "letter", None),
    (SEVEN, "number", "7"),
    (A, "number", None),
    (A, "read", "A"),
    (SEVEN, "read", "7"),
    (CIRCLE, "read", None),
    (CIRCLE, "corners", "0"),
    (thing("hexagon", "red", 90, 90), "corners", "6"),
    (thing("star", "red", 90, 90), "corners", None),
    (HOUSE, "alive", "no"),
    (FISH, "alive", "yes"),
    (thing("apple", "red", 90, 90), "alive", None),
    (A, "alive", None),
    (thing("cup", "red", 90, 90), "use", "drinking"),
    (FISH, "use", None),
    (CIRCLE, "is-use", None),
    (A, "vowel", "vowel"),
    (K, "vowel", "consonant"),
    (thing("Y", "red", 90, 90), "vowel", None),
    (SEVEN, "parity", "odd"),
    (thing("0", "red", 90, 90), "parity", "even"),
    (K, "parity", None),
    (SEVEN, "plus-one", "8"),
    (thing("9", "red", 90, 90), "plus-one", "10"),
    (CIRCLE, "plus-one", None),
    (CIRCLE, "place", "top left"),
    (thing("circle", "red", 200, 90), "place", None),
    (CIRCLE, "description", "A small red striped circle in the top left of the picture."),
    (SEVEN, "description", "A large blue number 7 in the middle of the picture."),
    (FOUR, "description", "A small red number 4 at the right of the picture."),
    (A, "description", "A small black letter A at the bottom of the picture."),
    (thing("circle", "red", 200, 90), "description", None),
    (CIRCLE, "sum", None),
]


@pytest.mark.parametrize(("marked", "family", "answer"), ONE_MARK)
def test_answers_about_one_thing(marked: Thing, family: str, answer: str | None) -> None:
    turns = ask_often(scene(marked, marks="lime arrow"), family)
    assert {turn.answer for turn in turns} == ({answer} if answer else set())
    assert all(turn.marks == (0,) for turn in turns)
    assert all(turn.family == family for turn in turns)
    assert all(turn.ability == FAMILIES[family].ability for turn in turns)


TWO_MARKS: list[tuple[Thing, Thing, str, set[str]]] = [
    (SEVEN, FOUR, "sum", {"11"}),
    (SEVEN, FOUR, "difference", {"3"}),
    (SEVEN, FOUR, "larger-number", {"7"}),
    (SEVEN, FOUR, "smaller-number", {"4"}),
    (SEVEN, thing("7", "red", 90, 90), "larger-number", set()),
    (SEVEN, thing("7", "red", 90, 90), "is-larger-number", set()),
    (SEVEN, thing("7", "red", 90, 90), "sum", {"14"}),
    (SEVEN, A, "sum", set()),
    (CIRCLE, HOUSE, "where", {"left", "right"}),
    (CIRCLE, FISH, "where", {"above", "below"}),
    (CIRCLE, SEVEN, "where", set()),
    (CIRCLE, HOUSE, "above", set()),
    (CIRCLE, FISH, "left-of", set()),
    (CIRCLE, FOUR, "same-color", {"yes"}),
    (CIRCLE, HOUSE, "same-color", {"no"}),
    (CIRCLE, thing("circle", "blue", 300, 300), "same-kind", {"yes"}),
    (CIRCLE, HOUSE, "same-kind", {"no"}),
    (CIRCLE, thing("oval", "blue", 300, 300), "same-kind", set()),
    (A, K, "same-kind", set()),
    (CIRCLE, HOUSE, "bigger", {"a house"}),
    (HOUSE, FISH, "bigger", set()),
    (CIRCLE, HOUSE, "which-color", {"a circle", "a house"}),
    (CIRCLE, FOUR, "which-color", set()),
    (CIRCLE, HOUSE, "nearest", {"a circle", "a house"}),
]


@pytest.mark.parametrize(("first", "second", "family", "answers"), TWO_MARKS)
def test_answers_about_two_things(first: Thing, second: Thing, family: str, answers: set[str]) -> None:
    turns = ask_often(scene(first, second, marks="lime arrow, purple arrow"), family, 24)
    assert {turn.answer for turn in turns} == answers


WHOLE: list[tuple[tuple[Thing, ...], str, set[tuple[str, str]]]] = [
    ((CIRCLE, FOUR, HOUSE), "count-things", {("things", "3")}),
    ((FOUR, FOUR, A), "count-category", {("numbers", "2"), ("letters", "1"), ("shapes", "0")}),
    ((HOUSE, HOUSE), "count-kind", {("houses", "2")}),
    ((CIRCLE, FOUR, HOUSE), "color-of", {("circle", "red"), ("number 4", "red"), ("house", "blue")}),
    ((CIRCLE, FOUR, HOUSE), "kind-of", {("blue", "a house")}),
    ((HOUSE, CIRCLE), "picture", {("", "A red circle and a blue house.")}),
    ((HOUSE, SEVEN, CIRCLE), "picture", {("", "A red circle, a blue number 7 and a blue house.")}),
    ((thing("apple", "orange", 90, 90),), "picture", {("", "An orange apple.")}),
    ((CIRCLE, K), "picture", set()),
    ((CIRCLE, K, A, SEVEN), "picture", set()),
]


@pytest.mark.parametrize(("things", "family", "expected"), WHOLE)
def test_answers_about_the_whole_picture(
    things: tuple[Thing, ...], family: str, expected: set[tuple[str, str]]
) -> None:
    rng = random.Random(1)
    asked = [ask(scene(*things), family, rng) for _ in range(60)]
    pairs = {(turn.question, turn.answer) for turn in asked if turn}
    for question, answer in pairs:
        assert answer == "0" or any(word in question and answer == right for word, right in expected)
    assert {answer for _, answer in pairs} - {"0"} == {answer for _, answer in expected} - {"0"}
    assert all(turn.marks == () for turn in asked if turn)


def test_yes_and_no_are_true() -> None:
    pair = scene(CIRCLE, FISH, SEVEN, FOUR, marks="lime box, purple arrow")
    for turn in ask_often(pair, "is-color", 60):
        color = ("red", "orange")[turn.marks[0]]
        assert (turn.answer == "yes") == bool(re.search(rf"\b{color}\b", turn.question))
    for turn in ask_often(pair, "above", 30):
        assert (turn.answer == "yes") == (turn.marks == (0, 1))
    for turn in ask_often(pair, "has-kind", 60):
        there = any(word in turn.question for word in ("circle", "fish", "number 7", "number 4"))
        assert (turn.answer == "yes") == there
    numbers = scene(SEVEN, FOUR, marks="lime box, purple arrow")
    for turn in ask_often(numbers, "is-larger-number", 30):
        assert (turn.answer == "yes") == (turn.marks == (0, 1))


def test_nearest_needs_to_be_much_nearer() -> None:
    alike = scene(SEVEN, FOUR, thing("star", "pink", 80, 310), marks="lime box")
    assert ask_often(alike, "nearest") == []
    plain = scene(SEVEN, thing("star", "pink", 300, 420), FOUR, CIRCLE, marks="lime box")
    assert {turn.answer for turn in ask_often(plain, "nearest")} == {"a star"}


def test_description_facts_are_in_the_sentence() -> None:
    (turn, *_) = ask_often(scene(CIRCLE, marks="lime mask"), "description")
    assert turn.facts == ("small", "red", "striped", "circle", "top left")
    (turn, *_) = ask_often(scene(SEVEN, marks="lime mask"), "description")
    assert turn.facts == ("large", "blue", "number 7", "middle")


def test_marks_on_empty_ground() -> None:
    empty = scene(CIRCLE, empty="red box")
    assert {turn.answer for turn in ask_often(empty, "nothing")} == {"nothing"}
    assert ask_often(empty, "color") == []


def test_two_marks_on_one_thing_are_never_compared() -> None:
    both = Scene(
        SIDE, SIDE, (SEVEN, FOUR), (SceneMark(mark("box", "red"), 0), SceneMark(mark("arrow", "blue"), 0))
    )
    assert all(not ask_often(both, name) for name, family in FAMILIES.items() if family.marks == 2)


def test_marks_with_the_same_name_are_never_asked_about() -> None:
    twins = scene(CIRCLE, HOUSE, marks="red box, red box")
    rng = random.Random(3)
    assert all(not turn.marks for conversation in conversations(twins, rng, 60) for turn in conversation)


def test_the_answer_about_a_foreign_picture_is_always_the_same() -> None:
    foreign = scene(marks="red box, blue arrow", foreign=True)
    turns = [turn for conversation in conversations(foreign, random.Random(4), 200) for turn in conversation]
    assert {turn.answer for turn in turns} == {"I can't tell."}
    assert {turn.family for turn in turns} == {"foreign"}
    assert {len(turn.marks) for turn in turns} == {0, 1, 2}


# --------------------------------------------------------------------------- absent marks


def test_absent_marks_are_certainly_absent() -> None:
    rng = random.Random(5)
    similar = {frozenset(pair) for pair in SIMILAR_MARKS}
    kinds = {kind.noun: name for name, kind in BY_KIND.items()}
    seen = Counter[bool]()
    for _ in range(1500):
        where = random_scene(rng)
        turn = ask(where, "absent", rng)
        if turn is None:
            continue
        assert turn.marks == ()
        matched = re.fullmatch(r"There is no (?:(\w+) )??(mask contour|\w+) in the picture\.", turn.answer)
        assert matched is not None
        color, name = matched.groups()
        seen[color is None] += 1
        if name == "mark":
            assert not where.marks
            continue
        kind = kinds[name]
        for placed in where.marks:
            other = placed.mark
            similar_mark = other.kind == kind or frozenset((other.kind, kind)) in similar
            assert not (similar_mark and (color is None or similar_colors(color, other.color.name)))
        for thing in where.things:
            similar_thing = thing.kind in LOOKALIKES.get(kind, ())
            assert not (similar_thing and (color is None or similar_colors(color, thing.color)))
    assert seen[True] > 30


def test_absent_marks_are_named_in_the_question() -> None:
    rng = random.Random(6)
    for _ in range(400):
        turn = ask(random_scene(rng), "absent", rng)
        if turn is None:
            continue
        words = turn.answer.removeprefix("There is no ").split()
        if len(words) > 4 and words[0] in TRAINED:
            assert words[0] in turn.question


# --------------------------------------------------------------------------- references


def test_the_default_question_is_among_the_wordings() -> None:
    of = scene(CIRCLE, marks="red box")
    asked = {turn.question for turn in ask_often(of, "what", 2000)}
    assert default_question([of.marks[0].mark]) in asked
    assert default_question([]) in {turn.question for turn in ask_often(scene(CIRCLE), "picture", 300)}


def test_marks_are_mostly_named_by_their_phrase() -> None:
    of = scene(CIRCLE, HOUSE, marks="lime box, aqua box")
    asked = ask_often(of, "color", 1000)
    exact = sum(of.marks[turn.marks[0]].mark.phrase in turn.question for turn in asked)
    assert 520 < exact < 680
    # Two boxes, told apart by nothing but their colour.
    for turn in asked:
        assert ("lime", "aqua")[turn.marks[0]] in turn.question


def test_the_only_mark_of_a_kind_may_be_named_without_its_color() -> None:
    of = scene(HOUSE, FISH, marks="lime box, aqua arrow")
    asked = ask_often(of, "color", 1000)
    colorless = sum("lime" not in turn.question and "aqua" not in turn.question for turn in asked)
    assert 60 < colorless < 140
    assert not any("marked thing" in turn.question for turn in asked)
    alone = ask_often(scene(HOUSE, marks="lime box"), "color", 1000)
    assert 15 < sum("the marked" in turn.question for turn in alone) < 140


def test_every_kind_of_mark_has_informal_references() -> None:
    for kind in BY_KIND:
        forms = INFORMAL_REFERENCES[kind]
        assert len(forms) >= 6
        assert all("{color} " in form for form in forms)
    assert set(COLOR_REFERENCES) <= set(BY_KIND)


# --------------------------------------------------------------------------- balance and variety


@cache
def random_conversations() -> tuple[tuple[Scene, tuple[QuestionAnswer, ...]], ...]:
    """Conversations about many scenes."""
    rng = random.Random(7)
    pairs = []
    for _ in range(1200):
        where = random_scene(rng)
        pairs += [(where, conversation) for conversation in conversations(where, rng, 5)]
    return tuple(pairs)


def random_turns() -> Iterator[tuple[Scene, QuestionAnswer]]:
    for where, conversation in random_conversations():
        for turn in conversation:
            yield where, turn


def test_yes_is_as_frequent_as_no() -> None:
    answers = Counter(turn.answer for _, turn in random_turns())
    assert answers["yes"] + answers["no"] > 1500
    assert 0.46 < answers["yes"] / (answers["yes"] + answers["no"]) < 0.54


@pytest.mark.parametrize(
    "family", ["is-what", "is-color", "is-texture", "is-size", "is-use", "has-kind", "has-color"]
)
def test_yes_is_as_frequent_as_no_within_a_family(family: str) -> None:
    rng = random.Random(family)
    of = scene(HOUSE, FISH, thing("cup", "pink", 300, 300), marks="lime box")
    answers = Counter(turn.answer for _ in range(2000) if (turn := ask(of, family, rng)))
    assert 930 < answers["yes"] < 1070


def test_every_family_comes_up() -> None:
    seen = {turn.family for _, turn in random_turns()}
    assert set(FAMILIES) - seen <= {
        "foreign",
        "nothing",
        "sum",
        "difference",
        "larger-number",
        "smaller-number",
    } | {
        "is-larger-number",
        "same-kind",
    }


def test_shares_of_longer_conversations() -> None:
    lengths = Counter(len(conversation) for _, conversation in random_conversations())
    total = sum(lengths.values())
    assert 0.31 < (lengths[2] + lengths[3]) / total < 0.39
    assert 0.05 < lengths[3] / total < 0.11
    for _, conversation in random_conversations():
        assert [turn.follow_up for turn in conversation] == [place > 0 for place in range(len(conversation))]


def test_it_only_refers_to_the_mark_of_the_previous_turn() -> None:
    about_it = {wording for wordings in FOLLOW_UPS.values() for wording in wordings.all if "{" not in wording}
    for _, conversation in random_conversations():
        for before, after in pairwise(conversation):
            if after.question.lower() in about_it:
                assert after.marks == before.marks
                assert before.family not in ("nearest", "nothing", "absent")
                assert len(after.marks) == 1


def test_every_description_holds_its_facts() -> None:
    described = [turn for _, turn in random_turns() if turn.family == "description"]
    assert described
    for turn in described:
        assert all(fact in turn.answer for fact in turn.facts)
        assert SHORT_ANSWER_REQUEST not in turn.question


@pytest.mark.parametrize("family", sorted(WORDINGS))
def test_every_family_has_many_wordings(family: str) -> None:
    assert len(set(WORDINGS[family].all)) >= 20


def test_later_turns_have_many_wordings() -> None:
    for family, wordings in FOLLOW_UPS.items():
        assert len(set(wordings.all)) >= (20 if family in ("what", "color", "texture", "size") else 8)
    assert len(set(SAME_QUESTION)) >= 8


def test_every_blank_is_filled() -> None:
    for _, turn in random_turns():
        assert not set("{}") & set(turn.question)
        assert "  " not in turn.question


def test_a_family_has_one_form_of_answer() -> None:
    form = {
        "what": r"an? [a-z]+|the (letter [A-Z]|number \d)",
        "count-color": r"\d",
        "sum": r"\d+",
        "where": "left|right|above|below",
        "letter": "[A-Z]",
        "is-what": "yes|no",
        "place": "(top|bottom)( left| right)?|left|right|middle",
    }
    for _, turn in random_turns():
        assert re.fullmatch(form.get(turn.family, ".*"), turn.answer)


def test_no_question_offers_a_similar_kind_as_the_wrong_one() -> None:
    rng = random.Random(8)
    for first, second in SIMILAR_KINDS:
        of = scene(thing(first, "red", 90, 90), thing(second, "blue", 500, 500), marks="lime arrow")
        for family in ("is-what", "choose-what"):
            asked = [ask(of, family, rng) for _ in range(60)]
            assert not any(turn and re.search(rf"\ban? {second}\b", turn.question) for turn in asked)


# --------------------------------------------------------------------------- typing noise


def test_typos_spare_the_words_that_matter() -> None:
    rng = random.Random(9)
    text = "Is the thing within the turquoise mask contour a rectangle or the letter A or the number 7?"
    expected = [word for word in re.findall(r"\w+", text) if is_protected(word)]
    for _ in range(2000):
        noisy = add_typing_noise(text, rng)
        words = re.findall(r"\w+", noisy.lower())
        assert all(word.lower() in words for word in [*expected, "A", "7"])


@pytest.mark.parametrize(
    "word", [*COLORS, *TRAINED, *(kind for kind in KINDS if len(kind) > 1), "circles", "houses"]
)
def test_names_are_protected(word: str) -> None:
    assert is_protected(word)


def test_most_questions_have_no_typing_noise() -> None:
    rng = random.Random(10)
    text = "What is the object within the red rectangle?"
    variants = Counter(add_typing_noise(text, rng) for _ in range(4000))
    assert 0.50 < variants[text] / 4000 < 0.60
    assert any(variant.endswith(SHORT_ANSWER_REQUEST) for variant in variants)
    assert any(variant.isupper() for variant in variants)
    assert any(variant.islower() for variant in variants)


def test_no_short_answer_is_requested_for_a_description() -> None:
    rng = random.Random(11)
    assert not any(
        SHORT_ANSWER_REQUEST in add_typing_noise("Describe it.", rng, brief=False) for _ in range(500)
    )


def test_the_seed_determines_the_questions() -> None:
    where = random_scene(random.Random(12), marks=3)
    assert conversations(where, random.Random(1), 50) == conversations(where, random.Random(1), 50)
    assert conversations(where, random.Random(1), 50) != conversations(where, random.Random(2), 50)


def test_color_is_spelled_both_ways() -> None:
    asked = " ".join(turn.question for turn in ask_often(scene(HOUSE, marks="red box"), "color", 60))
    assert "colour" in asked
    assert "color " in asked


def test_a_boosted_family_is_asked_more_often() -> None:
    scenes = [draw_scene(random.Random(f"boosts {number}"), DEFAULT_MIXTURE).scene for number in range(30)]

    def share(boosts: dict[str, int]) -> float:
        asked = [
            conversation[0].family == "count-things"
            for number, scene in enumerate(scenes)
            for conversation in conversations(scene, random.Random(number), 12, boosts=boosts)
        ]
        return sum(asked) / len(asked)

    assert share({"count-things": 6}) > 2 * share({}) > 0


def test_alive_is_asked_about_living_and_lifeless_things_equally_often() -> None:
    answers = Counter(
        conversation[0].answer
        for number in range(250)
        for conversation in conversations(
            draw_scene(random.Random(f"alive {number}"), DEFAULT_MIXTURE).scene,
            random.Random(number),
            8,
            boosts={"alive": 4},
        )
        if conversation[0].family == "alive"
    )
    assert set(answers) == {"yes", "no"}
    assert 0.7 < answers["yes"] / answers["no"] < 1.4
