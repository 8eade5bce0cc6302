"""The model card: the world in words, how the model was trained, and how well it does."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from vipcli.marks.kinds import KINDS as MARK_KINDS
from vipcli.training.drawing.marking import EXTRA_MARK_COLORS
from vipcli.training.drawing.scenes import MAX_ASPECT, MAX_SIDE, MIN_SIDE, draw_scene
from vipcli.training.judging.evaluation import DISPLAY_NAMES
from vipcli.training.questions.families import FAMILIES
from vipcli.training.questions.generator import ask
from vipcli.training.world.facts import (
    ALIVE,
    BORDER_MARGIN,
    BROAD,
    COLORS,
    CORNERS,
    LARGE,
    LETTERS,
    NEAREST_RATIO,
    NUMBERS,
    OBJECTS,
    PLACES,
    SHAPES,
    SMALL,
    TEXTURES,
    THIN,
    USES,
    VOWELS,
)

ANSWER_FORMS = {
    "what": "what it is: *a circle*, *an apple*, *the letter A*, *the number 7*",
    "color": "its color: *red*",
    "texture": "*plain*, *striped*, *dotted* or *outlined*; not asked about numbers and letters",
    "size": "*small* or *large*",
    "is-what": "*yes* or *no*",
    "is-color": "*yes* or *no*",
    "is-texture": "*yes* or *no*",
    "is-size": "*yes* or *no*",
    "category": "*shape*, *number*, *letter* or *object*",
    "choose-what": "one of the two in the question, as for *what*",
    "choose-color": "one of the two colors in the question",
    "nothing": "*nothing*, for a mark on empty ground",
    "letter": "the letter alone: *A*",
    "number": "the digit alone: *7*",
    "read": "the letter or digit alone",
    "corners": "a number: *4*",
    "alive": "*yes* or *no*",
    "use": "what it is for: *drinking*",
    "is-use": "*yes* or *no*",
    "vowel": "*vowel* or *consonant*; not asked about Y",
    "parity": "*odd* or *even*",
    "plus-one": "a number",
    "sum": "a number",
    "difference": "a number, never below 0",
    "larger-number": "the larger number",
    "smaller-number": "the smaller number",
    "is-larger-number": "*yes* or *no*",
    "where": "*left*, *right*, *above* or *below*: where the first is, seen from the second",
    "left-of": "*yes* or *no*",
    "right-of": "*yes* or *no*",
    "above": "*yes* or *no*",
    "below": "*yes* or *no*",
    "same-color": "*yes* or *no*",
    "same-kind": "*yes* or *no*",
    "bigger": "the large one of a large and a small thing, as for *what*",
    "which-color": "the one of the two that has this color, as for *what*",
    "nearest": "the nearest other thing, as for *what*",
    "place": "the ninth of the picture: *top left*, *top*, … *middle*, … *bottom right*",
    "description": "*A small red striped circle in the top left of the picture.* *A large blue number 7 at the right of the picture.* Size, color, texture unless plain, "
    "name, place (*in the* corners and middle, *at the* sides)",
    "count-things": "a number",
    "count-color": "a number",
    "count-kind": "a number",
    "count-category": "a number; shapes, numbers and letters are counted, objects are not",
    "has-kind": "*yes* or *no*",
    "has-color": "*yes* or *no*",
    "color-of": "a color, if there is exactly one such thing",
    "kind-of": "what it is, if exactly one thing has this color",
    "picture": "all of up to three things from left to right: *A red circle, a blue house and a black letter A.*",
    "absent": "*There is no blue arrow in the picture.* If the question leaves out the color, so does the answer: *no arrow*; "
    "for *the marked thing*, *no mark*. The answer always uses the names of marks given above: *no red rectangle* for *the red box*",
    "foreign": "*I can't tell.*",
}


def card(
    figures: dict[str, Any],
    history: Sequence[dict[str, Any]],
    examples: Sequence[dict[str, str]],
    independent: dict[str, Any] | None = None,
    guided: dict[str, Any] | None = None,
) -> str:
    """The whole card in Markdown; `independent` are figures on the independently drawn pictures."""
    parts = [
        introduction(),
        world(),
        questions(),
        _limits(figures),
        training(history),
        _figures(figures),
        *([_independent_figures(independent)] if independent else []),
        *([guided_figures(guided)] if guided else []),
        example_answers(examples),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def introduction() -> str:
    return """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-text-to-text
---

# vipcli's bundled model

A VipLlava (`VipLlavaForConditionalGeneration`) with 12 million parameters, trained from scratch on drawn scenes, so that
`vipcli` can answer on any machine right away: no GPU, no network, no account. It sees marks and answers short questions about
what they mark, within the small world described here. It knows nothing about photographs; for those, use the published
7B checkpoint (`vipcli ask … --model vip-llava-7b`).

License: Apache-2.0, for weights and code. No pictures, texts or weights from anyone else were used."""


def world() -> str:
    colors = ", ".join(f"{name} {rgb}" for name, rgb in COLORS.items())
    return f"""## Its world

- **Pictures** are {MIN_SIDE} to {MAX_SIDE:,} pixels on the longer side, with aspect ratios from 1:{MAX_ASPECT:.0f} to {MAX_ASPECT:.0f}:1, padded to a square.
  The background is flat, graded, noisy, or textured (grid, lines, checks, clouds, specks), and pale, strong or dark. Its color
  differs clearly from those of the things. JPEG compression, blur, noise and changes of brightness occur as in real files.
- **Things**: one to nine, which now and then touch one another or are cut by the edge.
  - *shapes*: {", ".join(SHAPES)}. A star has five points, a cross is upright like a plus sign, a diamond stands on a corner and is at least
    as tall as wide, an oval is at least 1.45 times as long as wide, a rectangle 1.4 times. Squares and diamonds lean by up to 12 degrees, other shapes by up to 15, ovals by 25.
    A square is never called a rectangle, nor a circle an oval.
  - *numbers*: the digits {", ".join(NUMBERS)}; *letters*: the capitals {", ".join(LETTERS)} (without I and O, which look like 1 and 0).
    In serif, sans-serif and monospaced typefaces of several weights and in handwriting, leaning by up to 14 degrees.
  - *objects*: {", ".join(OBJECTS)}, each drawn as a simple pictogram in several designs, leaning by up to 15 degrees.
- **Colors**: {colors}, and shades close to these. The color of an object is that of its main part (the crown of a tree, the
  canopy of an umbrella, the face of a clock, the petals of a flower, the walls and usually the roof of a house, the hull and sails of a boat, the cover of a book); small details are dark, light, or the color of wood or leaves.
- **Textures**: {", ".join(TEXTURES)}. Stripes and dots are a lighter or darker tone of the thing's color, or white. An outlined thing is only
  its outline, in its color, with the lines inside it (windows, hands). Only large things of these kinds are striped or dotted: {", ".join(BROAD)}. These kinds are always
  plain: {", ".join(THIN)}. Numbers and letters are plain or, rarely, hollow, and never asked about their texture.
- **Sizes**: the longer side of a thing, leaning as it does and uncut, is {SMALL[0]:.0%} to {SMALL[1]:.0%} (*small*) or {LARGE[0]:.1%} to {LARGE[1]:.0%} (*large*) of the picture's longer side.
- **Marks**: none to three, on different things, drawn by `vipcli`: {", ".join(kind.noun for kind in MARK_KINDS)}, in the default style or any
  `--jitter` style, placed around, on or pointing at the thing, as loosely as by hand. They have one of the nine trained colors or
  {", ".join(EXTRA_MARK_COLORS)}. Marks of the same kind have clearly different colors.
  No mark hides more than a third of the thing it marks. A mark never has the color of its thing, and at least three quarters of a mark contrast clearly with the pixels underneath.
  Marks are large enough to recognize their kind: at the model's input size (192 × 192), a triangle is at least 14 pixels high over each of its sides, a
  scribble at least 18 by 8, an arrow at least 18 long. A contour that looks like a box, an ellipse or a triangle is always the only mark. The thin strokes of the default style (1 to 1.7
  pixels at the model's input size) occur too. Under a default mask, a thing's color is blended with the mask's;
  the mask extends slightly beyond its thing.
  A mark on *nothing* is at least 8% of the longer side away from every thing.
- **Places**: the picture is divided into thirds: {"; ".join(", ".join(row) for row in PLACES)}. Questions about a thing's place (*place*, *description*) are only asked
  if its center is at least {BORDER_MARGIN:.0%} of the picture's width and height from the borders between the thirds.
- **Facts**: corners ({", ".join(f"{kind} {count}" for kind, count in CORNERS.items())}); alive: {", ".join(ALIVE)}, nothing else (not
  asked about the apple); used for: {", ".join(f"{kind} – {use}" for kind, use in USES.items())}; vowels: {", ".join(VOWELS)}.
- **Left and right, above and below** are asked about if the centers are at least 12% of the longer side apart in that direction;
  *where* one is from another, if one direction is 1.6 times the other; *nearest*, if the nearest center is
  less than {NEAREST_RATIO} times as far away as the next one. *Same kind* means the same name.
- **Foreign pictures** show nothing of this world: noise, gradients, waves, bands, crossing lines, scribbled pages, bare backgrounds,
  clouds, hills, lights out of focus, torn paper. Whatever the question, with marks or without, the answer is *I can't tell.*"""


def questions() -> str:
    rows = "\n".join(_family_rows())
    return f"""## What can be asked, and how it answers

Each family has at least twenty wordings, in upper and lower case, with and without a question mark, with *colour* or *color*, with
small typos, with or without *Answer the question using a single word or phrase.* at the end. A mark is called as `vipcli` calls it (*within the red
rectangle*), informally (*in the red box*), without its color if it is the only one of its kind, or *the marked thing* if it
is the only mark. Second and third turns use *it* and *its*, or ask about another mark.

| ability | family | example | answer |
| --- | --- | --- | --- |
{rows}"""


def _family_rows() -> Iterator[str]:
    for family in FAMILIES.values():
        question = _example_question(family.name)
        yield f"| {family.ability} | {family.name} | {question} | {ANSWER_FORMS[family.name]} |"


def _example_question(family: str) -> str:
    for number in range(400):
        rng = random.Random(f"card {family} {number}")
        example = ask(draw_scene(rng).scene, family, rng)
        if example is not None:
            return example.question.replace("|", "/")
    raise ValueError(f"No scene offers a question of the family {family}.")


def _limits(figures: dict[str, Any]) -> str:
    return f"""## Limits

{_weak_families(figures)}

It does not handle anything outside its world: photographs, people, screenshots, documents, words of more than one letter, lower-case letters, numbers above 9 in the picture,
other languages, opinions, long answers. It may mistake a photograph for a scene and answer as if it were one. It was trained with `###Human` prompts and
greedy decoding, not with other prompt forms or with other padding than the default. It may miss a mark whose color hardly
differs from the picture, or a stroke of less than two pixels at 192 × 192."""


def _weak_families(figures: dict[str, Any]) -> str:
    weak = [
        f"*{family}* ({accuracy['percent']:.0f}% right)"
        for family, accuracy in figures["by family"].items()
        if accuracy["asked"] >= _MIN_QUESTIONS and accuracy["percent"] < _WEAK_PERCENT
    ]
    return f"Within its world, its weakest families are {', '.join(weak)}." if weak else ""


# A family is weak below this accuracy, given at least this many questions.
_WEAK_PERCENT, _MIN_QUESTIONS = 75, 5


def training(history: Sequence[dict[str, Any]]) -> str:
    stages = "\n".join(
        f"| {stage['stage']} | {stage['steps']:,} | {stage['pictures']:,} | {stage['minutes']:.0f} | {stage['on']} |"
        for stage in history
        if "steps" in stage
    )
    return f"""## Training

```sh
python -m vipcli.training train FOLDER --minutes MINUTES
```

| stage | steps | pictures | minutes | on |
| --- | --- | --- | --- | --- |
{stages}

In the stage *vision*, the vision tower learns to predict, for every patch, what it shows, where the center of that thing is, and which mark it has. In *talk*, the
text model learns to answer from these features, with auxiliary losses that tell its heads where to attend. In *together*, the whole model is trained, and
the weights before and after this stage are averaged. Finally, the scores are divided by the temperature at which confidence equals accuracy. A stage that is listed
more than once was continued after changes to the training.
`vipcli/training/` contains everything, with a log of experiments (`experiments.md`)."""


def _figures(figures: dict[str, Any]) -> str:
    lines = []
    for name, figure in figures.items():
        if isinstance(figure, dict) and "percent" in figure:
            lines.append(f"| **{DISPLAY_NAMES.get(name, name)}** | {_percent(figure)} |")
        elif isinstance(figure, dict):
            lines += [
                f"| {name.removeprefix('by ')}: {group} | {_percent(accuracy)} |"
                for group, accuracy in figure.items()
            ]
    curve = "\n".join(
        f"| {point['sure']:.0f}% | {point['right']:.0f}% | {point['asked']:.0f} |"
        for point in figures["calibration"]
    )
    table = "\n".join(lines)
    return f"""## Evaluation

On held-out scenes; answers must match exactly, apart from case and punctuation. *Marks removed* repeats questions on the same pictures
without their marks, which cannot be answered by looking at the mark. *Best fixed answers* always gives the most frequent answer of each family to these questions.

| | right |
| --- | --- |
{table}

Its confidence (the mean probability of an answer's tokens, `probability` in `--json`) compared with its accuracy; the mean
difference is {figures["calibration error"]:.1f} percentage points:

| confidence | right | answers |
| --- | --- | --- |
{curve}

`python -m vipcli.training evaluate` measures all of this again."""


def _independent_figures(figures: dict[str, Any]) -> str:
    weakest = sorted(figures["by family"].items(), key=lambda item: item[1]["percent"])[:3]
    families = ", ".join(f"*{family}* ({accuracy['percent']:.0f}% right)" for family, accuracy in weakest)
    marks = ", ".join(f"{kind} {accuracy['percent']:.0f}%" for kind, accuracy in figures["by mark"].items())
    return f"""### Independent pictures

On pictures drawn only from the description in this card, by code that shares nothing with the training except the drawing of marks: **{_percent(figures["all"])}**
questions, with about the same number from each family. By mark: {marks}. Weakest families: {families}.
`python -m vipcli.training evaluate-independent` measures this again."""


def guided_figures(figures: dict[str, Any]) -> str:
    """What guidance by contrast changes."""
    rows = "\n".join(
        f"| {row['alpha']:g} | {row['points']:+.1f} | {row['low']:+.1f} to {row['high']:+.1f} |"
        for row in figures["differences"]
    )
    return f"""### Guidance by contrast

Of {figures["asked"]} held-out questions about marks, one a scene, **{figures["percent"]:.1f}%** are answered right without guidance. With `--guide`,
so many percentage points more are right:

| alpha | points | 95 % interval of the paired difference |
| --- | --- | --- |
{rows}

`python -m vipcli.training evaluate-guided` measures this again."""


def _percent(accuracy: dict[str, Any]) -> str:
    return "–" if accuracy["percent"] is None else f"{accuracy['percent']:.1f}% of {accuracy['asked']:,}"


def example_answers(examples: Sequence[dict[str, str]]) -> str:
    rows = "\n".join(f"| `{example['command']}` | {example['answer']} |" for example in examples)
    return f"""## Example answers

Exactly these, with greedy decoding on a CPU:

| | |
| --- | --- |
{rows}"""
