"""The way from a picture, marks and a question to an answer: mark, prepare, ask."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from vipcli.asking.interface import GREEDY, Answerer, Halted, OnText, PromptTurn, Request, Sampling
from vipcli.asking.questions import default_question, fill_in, unmentioned
from vipcli.asking.records import Answer
from vipcli.asking.values import DEFAULT_DRAWING, Drawing, MarkedInput, MarkedPicture, PastTurn, Question
from vipcli.checkpoints.catalog import Family
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.checkpoints.prompt_forms import ANSWER_TOKENS, PromptForm, Turn, check_text, continuation
from vipcli.errors import MarkError, Message, PromptError, UsageError
from vipcli.geometry import Fit, FitChoice
from vipcli.marks.colors import Color, nearest_trained
from vipcli.marks.drawing import draw, extent, paints, trace
from vipcli.marks.kinds import Mark, TypedMark, assign_colors, keep_inside
from vipcli.marks.styles import styles_for
from vipcli.pictures.fitting import scale, visible
from vipcli.pictures.images import Picture, load_mask
from vipcli.pictures.videos import Video

THINNEST = 2 / 336
"""A stroke of less than this share of the model's input may vanish; in training it has 3 / 336."""
SMALLEST = 4 / 336
"""So may a whole mark of less."""
LEAST_ROOM = 64
"""Tokens that must be left for an answer in a conversation, before its oldest turns leave."""


def mark(
    pictures: Sequence[Picture],
    typed: Sequence[TypedMark],
    drawing: Drawing = DEFAULT_DRAWING,
    *,
    video: Video | None = None,
) -> MarkedInput:
    """Place the marks on their pictures and draw them; on all frames of a video, but for one named."""
    colors = dict(enumerate(assign_colors(typed), 1))
    on: dict[int, list[int]] = {number: [] for number in range(len(pictures))}
    for number, one in enumerate(typed, 1):
        for place in _where(one, len(pictures), video):
            on[place].append(number)
    shown, notes = [], []
    for place, picture in enumerate(pictures):
        chosen = {number: (typed[number - 1], colors[number]) for number in on[place]}
        drawn, told = _show(picture, chosen, drawing)
        shown.append(drawn)
        notes += told
    marked = MarkedInput(tuple(shown), tuple(typed), drawing, video)
    notes = [*_untrained(marked.marks), *_alike(marked.marks), *notes]
    return replace(marked, notes=tuple(dict.fromkeys(notes)))


def _where(one: TypedMark, pictures: int, video: Video | None) -> Iterable[int]:
    """The positions of the pictures that a mark is for."""
    if one.picture is None:
        return range(pictures if video else 1)
    if not 1 <= one.picture <= pictures:
        what = "frame" if video else "picture"
        there = f"is only one {what}" if pictures == 1 else f"are only {pictures} {what}s"
        counted = " Counting begins at 1." if one.picture < 1 else ""
        raise MarkError(
            f"The {one.kind} {one.text!r} is for {what} {one.picture}, but there {there}.{counted}"
        )
    return (one.picture - 1,)


def _show(
    picture: Picture, typed: Mapping[int, tuple[TypedMark, Color]], drawing: Drawing
) -> tuple[MarkedPicture, list[Message]]:
    """One picture with its marks, and what of them does not fit on it."""
    size = width, height = picture.width, picture.height
    placed = [
        one.place(*size, color, lambda file: trace(load_mask(file, *size))) for one, color in typed.values()
    ]
    kept = [keep_inside(one, *size) for one in placed]
    marks = [one for one, _ in kept]
    styles = styles_for(marks, *size, stroke=drawing.width, alpha=drawing.alpha, jitter=drawing.jitter)
    notes = []
    for (one, clipped), style in zip(kept, styles, strict=True):
        if clipped and not paints(one, style, *size):
            notes.append(
                Message(f"Nothing of the {one.name} lies on the picture, which is {width} × {height} pixels.")
            )
        elif clipped:
            notes.append(
                Message(
                    f"The {one.name} reaches outside the picture ({width} × {height}) "
                    "and is cut off at its edge."
                )
            )
    numbered = dict(zip(typed, marks, strict=True)), dict(zip(typed, styles, strict=True))
    return MarkedPicture(picture, *numbered, draw(picture.pixels, marks, styles)), notes


def prepare(
    marked: MarkedInput,
    question: str | None,
    checkpoint: Checkpoint,
    *,
    prompt: str = "auto",
    system: str | None = None,
    fit: FitChoice = "auto",
    past_turns: Sequence[PastTurn] = (),
) -> Question:
    """Settle the question, its prompt, and what there is to warn of."""
    form = checkpoint.form(prompt)
    fit = checkpoint.fit(fit)
    by_user = question is not None
    video = marked.video is not None
    if question is None:
        text = default_question(marked.marks, "video" if video else len(marked.pictures))
    else:
        text = fill_in(question.strip(), marked.marks)
    if not text:
        raise PromptError("The question is empty. Ask something, or leave it out to have one asked for you.")
    text = check_text(text, "question", form)
    if system is not None:
        system = check_text(system, "system line", form)
    _insist_on_taking(marked, checkpoint, form)
    # What was said before may be what a later question speaks of.
    hints = () if past_turns else _hints(text, marked.marks)
    notes = [*marked.notes, *hints, *_unused_to(marked, checkpoint.family)]
    notes += dict.fromkeys(note for one in marked.pictures for note in _losses(one, marked, checkpoint, fit))
    images = 0 if video else len(marked.pictures)
    turns: list[Turn] = []
    prompt_turns: list[PromptTurn] = []
    user_texts = [text] if system is None else [text, system]
    for turn in past_turns:
        if turn.token_ids is not None:
            up_to_here = continuation(form, [*turns, Turn(turn.question)], system, images, video)
            prompt_turns.append(PromptTurn(up_to_here, turn.token_ids))
            turns.append(Turn(turn.question, ANSWER_TOKENS))
        else:
            turns.append(Turn(turn.question, check_text(turn.answer, "answer", form)))
            user_texts.append(turn.answer)
        user_texts.append(check_text(turn.question, "question", form))
    return Question(
        text=text,
        by_user=by_user,
        marked=marked,
        prompt=continuation(form, [*turns, Turn(text)], system, images, video),
        form=form,
        fit=fit,
        user_texts=tuple(user_texts),
        notes=tuple(notes),
        past_turns=tuple(prompt_turns),
        is_follow_up=bool(past_turns),
    )


def build_request(question: Question, sampling: Sampling) -> Request:
    """What a model is given to answer a prepared question."""
    pixels = tuple(one.pixels for one in question.marked.pictures)
    return Request(
        prompt=question.prompt,
        images=() if question.marked.video else pixels,
        frames=pixels if question.marked.video else (),
        fit=question.fit,
        stops=question.form.stops,
        user_texts=question.user_texts,
        sampling=sampling,
        past_turns=question.past_turns,
        # A conversation that is full can be made shorter, a single question cannot.
        min_answer_tokens=min(sampling.max_new_tokens, LEAST_ROOM) if question.is_follow_up else 1,
    )


def ask(
    question: Question,
    answerer: Answerer,
    sampling: Sampling = GREEDY,
    on_text: OnText | None = None,
    halted: Halted | None = None,
) -> Answer:
    """Put a prepared question to a model."""
    started = time.perf_counter()
    reply = answerer.answer(build_request(question, sampling), on_text, halted)
    return Answer(question, reply, sampling, {**reply.seconds, "answer": time.perf_counter() - started})


def _untrained(marks: Sequence[Mark]) -> Iterator[Message]:
    for name in dict.fromkeys(mark.color.name for mark in marks if not mark.color.trained):
        yield Message(
            f"The models never saw marks called {name}. The nearest they know is {nearest_trained(name)}."
        )


def _alike(marks: Sequence[Mark]) -> Iterator[Message]:
    for name, count in Counter(mark.name for mark in marks).items():
        if count > 1:
            yield Message(f"{count} marks are each called the {name}.", "Give them colors of their own.")


def _hints(text: str, marks: Sequence[Mark]) -> Iterator[Message]:
    if missing := unmentioned(text, marks):
        numbers = " and ".join(f"{{{number}}}" for number in missing)
        phrases = "; ".join(marks[number - 1].phrase for number in missing)
        yield Message(
            f"The question does not mention {numbers} ({phrases}).",
            f"Write {numbers} where it should.",
        )


def _insist_on_taking(marked: MarkedInput, checkpoint: Checkpoint, form: PromptForm) -> None:
    """Refuse what the family has no way of reading."""
    family = checkpoint.family
    if marked.video and not family.video:
        raise UsageError(
            f"{family.name} takes no video.", "Use a model that does, as {model=llava-onevision-7b-ov}."
        )
    if marked.video and form.name != "template":
        raise UsageError(
            f"The prompt form {form.name} has no place for a video.", "Choose {prompt=template}."
        )


def _unused_to(marked: MarkedInput, family: Family) -> Iterator[Message]:
    if len(marked.pictures) > 1 and not marked.video and not family.multiple_images:
        yield Message(
            f"{family.name} was trained on one picture a question, and may mix up {len(marked.pictures)}.",
            "Models that were trained on several: llava-interleave and llava-onevision.",
        )


def _losses(shown: MarkedPicture, marked: MarkedInput, checkpoint: Checkpoint, fit: Fit) -> Iterator[Message]:
    """What of the marks on a picture the model will hardly see, or not at all."""
    width, height = shown.picture.width, shown.picture.height
    size = checkpoint.input_size
    if checkpoint.largest is not None and len(marked.pictures) == 1 and fit != "stretch":
        # Tiles show a single picture larger, but no larger than it is.
        size = max(size, min(checkpoint.largest, width, height))
    shrink = scale(fit, width, height, size)
    left, top, right, bottom = visible(fit, width, height)
    for number, mark in shown.marks.items():
        style = shown.styles[number]
        if style.stroke and style.stroke * shrink < THINNEST * checkpoint.input_size:
            yield Message(
                f"The stroke of the {mark.name} is {style.stroke * shrink:.1f} pixels at the model's input "
                "and may vanish.",
                "Make it wider with {width}.",
            )
        if style.alpha == 0:
            yield Message(f"The {mark.name} is drawn with an alpha of 0, so nobody can see it.")
        x1, y1, x2, y2 = extent(mark, style, width, height)
        if max(x2 - x1, y2 - y1) * shrink < SMALLEST * checkpoint.input_size:
            under = f"under {SMALLEST * checkpoint.input_size:.2g} pixels at the model's input"
            yield Message(f"The {mark.name} is tiny: {under}.", _advice_on_shares(mark))
        if x2 <= left or x1 >= right or y2 <= top or y1 >= bottom:
            yield Message(f"The {mark.name} is cropped away, so the model cannot see it.", "Use {fit=pad}.")
        elif max(x1, 0) < left or min(x2, width) > right or max(y1, 0) < top or min(y2, height) > bottom:
            yield Message(f"Part of the {mark.name} is cropped away.", "Use {fit=pad} to keep it whole.")


def _advice_on_shares(mark: Mark) -> str | None:
    between = all(0 <= x <= 1 and 0 <= y <= 1 for x, y in mark.points)
    return "Coordinates are pixels; shares of the picture are written as percent." if between else None
