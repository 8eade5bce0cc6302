"""The model card: the world in words, how the model was made, and how well it does."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from vipcli.marks.kinds import KINDS as MARK_KINDS
from vipcli.training.drawing.marking import OTHERS
from vipcli.training.drawing.scenes import FLATTEST, LONGEST, SHORTEST, draw_scene
from vipcli.training.questions.generator import FAMILIES, ask
from vipcli.training.world.facts import (
    ALIVE,
    BROAD,
    COLORS,
    CORNERS,
    LARGE,
    LETTERS,
    NEARER,
    NUMBERS,
    OBJECTS,
    PLACES,
    SHAPES,
    SMALL,
    TEXTURES,
    THIN,
    USES,
    VAGUE,
    VOWELS,
)

FORMS = {
    "what": "what it is: *a circle*, *an apple*, *the letter A*, *the number 7*",
    "color": "its colour: *red*",
    "texture": "*plain*, *striped*, *dotted* or *outlined*; not asked of numbers and letters",
    "size": "*small* or *large*",
    "is-what": "*yes* or *no*",
    "is-color": "*yes* or *no*",
    "is-texture": "*yes* or *no*",
    "is-size": "*yes* or *no*",
    "category": "*shape*, *number*, *letter* or *object*",
    "choose-what": "one of the two named, as for *what*",
    "choose-color": "one of the two colours named",
    "nothing": "*nothing*, for a mark on bare ground beside things",
    "letter": "the letter alone: *A*",
    "number": "the digit alone: *7*",
    "read": "the letter or digit alone",
    "corners": "a number: *4*",
    "alive": "*yes* or *no*",
    "use": "what it is for: *drinking*",
    "is-use": "*yes* or *no*",
    "vowel": "*vowel* or *consonant*; not asked of Y",
    "parity": "*odd* or *even*",
    "plus-one": "a number",
    "sum": "a number",
    "difference": "a number, never below 0",
    "larger-number": "the larger number",
    "smaller-number": "the smaller number",
    "is-larger-number": "*yes* or *no*",
    "where": "*left*, *right*, *above* or *below*: where the first lies, seen from the second",
    "left-of": "*yes* or *no*",
    "right-of": "*yes* or *no*",
    "above": "*yes* or *no*",
    "below": "*yes* or *no*",
    "same-color": "*yes* or *no*",
    "same-kind": "*yes* or *no*",
    "bigger": "the large one of a large and a small thing, as for *what*",
    "which-color": "the one of the two that has that colour, as for *what*",
    "nearest": "the nearest other thing, as for *what*",
    "place": "the ninth of the picture: *top left*, *top*, … *middle*, … *bottom right*",
    "description": "*A small red striped circle in the top left of the picture.* *A large blue number 7 at the right of the picture.* Size, colour, texture unless plain, "
    "name, place (*in the* corners and middle, *at the* sides)",
    "count-things": "a number",
    "count-color": "a number",
    "count-kind": "a number",
    "count-category": "a number; shapes, numbers and letters are counted, objects are not",
    "has-kind": "*yes* or *no*",
    "has-color": "*yes* or *no*",
    "color-of": "a colour, where there is one such thing",
    "kind-of": "what it is, where one thing has that colour",
    "picture": "all of up to three things from left to right: *A red circle, a blue house and a black letter A.*",
    "absent": "*There is no blue arrow in the picture.* Without a colour in the question, without it: *no arrow*; "
    "asked for *the marked thing*, *no mark*. Whatever the question called it, the mark has its name of above: *no red rectangle* for *the red box*",
    "foreign": "*I can't tell.*",
}


def card(
    figures: dict[str, Any],
    made: Sequence[dict[str, Any]],
    examples: Sequence[dict[str, str]],
    other_hand: dict[str, Any] | None = None,
) -> str:
    """The whole card, in Markdown; `other_hand` are the figures on pictures that another hand drew after it."""
    parts = [
        _opening(),
        _world(),
        _questions(),
        _limits(figures),
        _made(made),
        _figures(figures),
        *([_other_hand(other_hand)] if other_hand else []),
        _examples(examples),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _opening() -> str:
    return """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# vipcli's bundled model

A VipLlava (`VipLlavaForConditionalGeneration`) of 12 million weights, trained from nothing on drawn scenes, so that
`vipcli` can answer on any machine at once: no GPU, no network, no account. It sees marks and answers short questions about
what they point out, within the small world described here. It knows nothing of photographs: for those, take the published
7B checkpoint (`vipcli ask … --model vip-llava-7b`).

Licence: Apache-2.0, weights and code alike. No picture, text or weight of anybody else went into it."""


def _world() -> str:
    colors = ", ".join(f"{name} {rgb}" for name, rgb in COLORS.items())
    return f"""## Its world

- **Pictures** from {SHORTEST} to {LONGEST:,} pixels on the longer side and from 1:{FLATTEST:.0f} to {FLATTEST:.0f}:1, padded to a square.
  The ground is flat, graded, noisy, or textured (grid, lines, checks, clouds, specks), pale, strong or dark, and its colour
  differs plainly from those of the things. JPEG, blur, noise and changes of light as files have them.
- **Things**: one to nine, now and then touching one another or cut by the edge.
  - *shapes*: {", ".join(SHAPES)}. A star has five points, a cross is upright like a plus, a diamond stands on a corner and is as
    tall as wide or taller, an oval is at least 1.45 times as long as wide, a rectangle 1.4 times. Squares and diamonds lean by up to 12 degrees, the others by up to 15, ovals by 25.
    A square is not called a rectangle, nor a circle an oval.
  - *numbers*: the digits {", ".join(NUMBERS)}; *letters*: the capitals {", ".join(LETTERS)} (no I and no O, which look like 1 and 0).
    In serif, sans-serif and monospaced typefaces of several weights and by hand, leaning by up to 14 degrees.
  - *objects*: {", ".join(OBJECTS)}, each drawn as simple pictograms in several ways, leaning by up to 15 degrees.
- **Colours**: {colors}, and shades near them. The colour of an object is that of its main part (the crown of a tree, the
  canopy of an umbrella, the face of a clock, the petals of a flower, the walls and mostly the roof of a house, hull and sails of a boat, the cover of a book); small details are dark, light, wooden or leafy.
- **Textures**: {", ".join(TEXTURES)}. Stripes and dots are a lighter or darker tone of the thing's colour, or white; an outlined thing is its
  contour alone, in its colour. The lines inside stay (windows, hands). Only what is large and broad is striped or dotted: {", ".join(BROAD)}. What is thin is always
  plain: {", ".join(THIN)}. Numbers and letters are plain or, seldom, hollow, and not asked about it.
- **Sizes**: a thing's longer side is {SMALL[0]:.0%} to {SMALL[1]:.1%} of the picture's longer side (*small*) or {LARGE[0]:.1%} to {LARGE[1]:.0%} (*large*), of the upright
  rectangle around it as it leans, uncut.
- **Marks**: none to three on things of their own, drawn by `vipcli`: {", ".join(kind.noun for kind in MARK_KINDS)}, in the default style or any of
  `--jitter`, around, on or pointing at the thing, loosely as by hand. In the nine trained colours, and in
  {", ".join(OTHERS)}. Marks of one kind have colours that are told apart easily.
  No mark hides a third of what it marks; a mark's colour is not that of its thing, and three quarters of it differ plainly from what is under them.
  Marks are large enough to be told by kind: as the model sees them (192 × 192), a triangle is at least 14 pixels high whichever side it stands on, a
  scribble at least 18 by 8 across, an arrow at least 18 long. A contour that could be taken for a box, an ellipse or a triangle is the only mark. The thin strokes of the default style (1 to 1.7
  pixels of what the model sees) are part of the world. Under a default mask, a thing's colour is mixed with the mask's;
  the mask reaches a little beyond its thing.
  A mark on *nothing* is at least 8 % of the longer side from every thing.
- **Places**: the picture is divided into thirds: {"; ".join(", ".join(row) for row in PLACES)}. Where a thing is (*place*, *description*) is asked only of
  those whose centre is at least {VAGUE:.0%} of the picture's width and height from the borders of the thirds.
- **Facts**: corners ({", ".join(f"{kind} {count}" for kind, count in CORNERS.items())}); alive: {", ".join(ALIVE)}, nothing else (not
  asked of the apple); used for: {", ".join(f"{kind} – {use}" for kind, use in USES.items())}; vowels: {", ".join(VOWELS)}.
- **Left and right, above and below** are asked where the centres are at least 12 % of the longer side apart on that axis;
  *where* one lies from another, where one direction is 1.6 times the other; *nearest*, where the nearest centre is
  less than {NEARER} times as far as the next. *Same kind*: the same name.
- **Pictures of another world** hold nothing of this: noise, gradients, waves, bands, crossed lines, scribbled pages, bare grounds,
  clouds, hills, lights out of focus, torn paper. Whatever is asked of them, marked or not, the answer is *I can't tell.*"""


def _questions() -> str:
    rows = "\n".join(_family_rows())
    return f"""## What can be asked, and how it answers

Each family is asked in twenty or more wordings, in any case, with and without a question mark, with *colour* or *color*, with
small typos, with *Answer the question using a single word or phrase.* after it or not. A mark is named as `vipcli` names it (*within the red
rectangle*), loosely (*in the red box*), without its colour where it is the only one of its kind, or as *the marked thing* where it
is the only one. Second and third turns ask on with *it* and *its*, or about another mark.

| ability | family | example | answer |
| --- | --- | --- | --- |
{rows}"""


def _family_rows() -> Iterator[str]:
    for family in FAMILIES.values():
        question = _example(family.name)
        yield f"| {family.ability} | {family.name} | {question} | {FORMS[family.name]} |"


def _example(family: str) -> str:
    for number in range(400):
        rng = random.Random(f"card {family} {number}")
        exchange = ask(draw_scene(rng).scene, family, rng)
        if exchange is not None:
            return exchange.question.replace("|", "/")
    raise ValueError(f"No scene offers a question of the family {family}.")


def _limits(figures: dict[str, Any]) -> str:
    return f"""## What it cannot do

{_weak(figures)}

Anything outside its world: photographs, people, screenshots, documents, words of more than one letter, small letters, numbers above 9 in the picture,
other languages, opinions, long answers. It may take a photograph for a scene and answer as if it were one. It was trained with `###Human` prompts and
greedy answers; other prompt forms, and padding other than the default, are not what it knows. A mark whose colour all but
vanishes in the picture, or a stroke of less than two pixels at 192 × 192, it may miss."""


def _weak(figures: dict[str, Any]) -> str:
    """The families that it is most often wrong about."""
    weak = [
        f"*{family}* ({share['percent']:.0f} % right)"
        for family, share in figures["by family"].items()
        if share["asked"] >= _ENOUGH and share["percent"] < _WEAK
    ]
    return f"Within its world, it is most often wrong about {', '.join(weak)}." if weak else ""


# Per cent right, of so many questions at least.
_WEAK, _ENOUGH = 75, 5


def _made(made: Sequence[dict[str, Any]]) -> str:
    stages = "\n".join(
        f"| {one['stage']} | {one['steps']:,} | {one['pictures']:,} | {one['minutes']:.0f} | {one['on']} |"
        for one in made
        if "steps" in one
    )
    return f"""## How it was made

```sh
python -m vipcli.training train FOLDER --minutes MINUTES
```

| stage | steps | pictures | minutes | on |
| --- | --- | --- | --- | --- |
{stages}

First the vision tower learns to tell of every patch what is there, whose centre lies where, and by which mark it is marked; then the
text model learns to answer from that, and is told where to look for it; and then both together, of which the weights half way between
before and after are taken. Last, its scores are divided by the temperature at which it is as sure as it is right. A stage that stands
there more than once was gone on with after its lessons had changed;
`vipcli/training/` holds all of it, with a log of what was tried and what failed (`experiments.md`)."""


def _figures(figures: dict[str, Any]) -> str:
    lines = []
    for name, figure in figures.items():
        if isinstance(figure, dict) and "percent" in figure:
            lines.append(f"| **{name}** | {_percent(figure)} |")
        elif isinstance(figure, dict):
            lines += [
                f"| {name.removeprefix('by ')}: {part} | {_percent(share)} |"
                for part, share in figure.items()
            ]
    curve = "\n".join(
        f"| {point['sure']:.0f} % | {point['right']:.0f} % | {point['asked']:.0f} |"
        for point in figures["calibration"]
    )
    table = "\n".join(lines)
    return f"""## How well it does

On scenes that it never saw, exact match but for case and punctuation. *Marks removed* are the same questions on the same pictures
without their marks: whoever answers those does not look at the mark. *Chance* is the best fixed answer to each family.

| | right |
| --- | --- |
{table}

Its confidence (the mean probability of an answer's tokens, `probability` in `--json`) against how often it was right; the mean
distance is {figures["calibration error"]:.1f} points:

| sure | right | answers |
| --- | --- | --- |
{curve}

`python -m vipcli.training evaluate` measures all of this again."""


def _other_hand(figures: dict[str, Any]) -> str:
    weak = sorted(figures["by family"].items(), key=lambda one: one[1]["percent"])[:3]
    worst = ", ".join(f"*{family}* ({share['percent']:.0f} % right)" for family, share in weak)
    marks = ", ".join(f"{kind} {share['percent']:.0f}" for kind, share in figures["by mark"].items())
    return f"""### Drawn by another hand

On pictures that were drawn from this card alone, by code that shares nothing with the training but the marks: **{_percent(figures["all"])}**
questions, every family about as often. By mark: {marks} %. Most often wrong: {worst}.
`python -m vipcli.training.judging.independent_evaluation` in the repository measures it again."""


def _percent(share: dict[str, Any]) -> str:
    return "–" if share["percent"] is None else f"{share['percent']:.1f} % of {share['asked']:,}"


def _examples(examples: Sequence[dict[str, str]]) -> str:
    rows = "\n".join(f"| `{one['command']}` | {one['answer']} |" for one in examples)
    return f"""## Ten answers

Exactly these, greedy, on a CPU:

| | |
| --- | --- |
{rows}"""
