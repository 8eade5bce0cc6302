"""Mark pictures, prepare a question about them, and ask a model."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from vipcli.asking.choices import check_alone, check_choices
from vipcli.asking.interface import (
    BY_SUM,
    GREEDY,
    Answerer,
    Grammar,
    Guide,
    Halted,
    OnText,
    PromptTurn,
    Request,
    Sampling,
    Scoring,
)
from vipcli.asking.questions import default_question, fill_in, unmentioned
from vipcli.asking.records import Answer
from vipcli.asking.regions_of_marks import covered
from vipcli.asking.values import DEFAULT_DRAWING, Drawing, MarkedInput, MarkedPicture, PastTurn, Question
from vipcli.asking.zooming import check_zoom, input_scale, zoom_in
from vipcli.checkpoints.catalog import Family
from vipcli.checkpoints.lookup import Checkpoint
from vipcli.checkpoints.prompt_forms import ANSWER_TOKENS, PromptForm, Turn, check_text, continuation
from vipcli.errors import MarkError, Message, PromptError, UsageError
from vipcli.geometry import Bounds, Fit, FitChoice, Polygon, ZoomChoice
from vipcli.marks.colors import Color, nearest_trained
from vipcli.marks.drawing import draw, extent, paints, trace
from vipcli.marks.kinds import Mark, TypedMark, assign_colors, clip_to_picture
from vipcli.marks.styles import styles_for
from vipcli.pictures.fitting import visible
from vipcli.pictures.images import Picture, load_hashed_mask
from vipcli.pictures.videos import Video

MIN_STROKE = 2 / 336
"""A stroke of less than this share of the model's input may vanish. Training used 3 / 336."""
MIN_MARK = 4 / 336
"""A whole mark of less than this share may vanish too."""
MIN_ANSWER_TOKENS = 64
"""Tokens to leave for an answer in a conversation; its oldest turns are dropped to make room."""


# ---------------------------------------------------------------------- marks on pictures


def mark(
    pictures: Sequence[Picture],
    typed: Sequence[TypedMark],
    drawing: Drawing = DEFAULT_DRAWING,
    *,
    video: Video | None = None,
) -> MarkedInput:
    """Place the marks on their pictures and draw them; in a video, on all frames unless one is named."""
    colors = assign_colors(typed)
    marks_by_picture: list[dict[int, tuple[TypedMark, Color]]] = [{} for _ in pictures]
    for number, (typed_mark, color) in enumerate(zip(typed, colors, strict=True), 1):
        for index in picture_indices(typed_mark, len(pictures), video):
            marks_by_picture[index][number] = typed_mark, color
    marked_pictures, notes = [], []
    mask_hashes: dict[str, str] = {}
    for picture, marks in zip(pictures, marks_by_picture, strict=True):
        marked_picture, clipping_notes = _mark_picture(picture, marks, drawing, mask_hashes)
        marked_pictures.append(marked_picture)
        notes += clipping_notes
    marked = MarkedInput(tuple(marked_pictures), tuple(typed), drawing, video, mask_hashes)
    notes = [*_untrained_color_notes(marked.marks), *_same_name_notes(marked.marks), *notes]
    return replace(marked, notes=tuple(dict.fromkeys(notes)))


def picture_indices(typed_mark: TypedMark, count: int, video: Video | None) -> Sequence[int]:
    """Return the indices of the pictures that a mark is for."""
    number = typed_mark.picture
    if number is None:
        return range(count if video else 1)
    if not 1 <= number <= count:
        unit = "frame" if video else "picture"
        available = f"is only one {unit}" if count == 1 else f"are only {count} {unit}s"
        counting = " Counting begins at 1." if number < 1 else ""
        raise MarkError(
            f"The {typed_mark.kind} {typed_mark.text!r} is for {unit} {number}, "
            f"but there {available}.{counting}"
        )
    return (number - 1,)


def _mark_picture(
    picture: Picture,
    typed: Mapping[int, tuple[TypedMark, Color]],
    drawing: Drawing,
    mask_hashes: dict[str, str],
) -> tuple[MarkedPicture, list[Message]]:
    """Draw the marks on one picture, and note which of them reach outside it; keep the hashes of masks."""
    size = picture.width, picture.height

    def outlines(file: str) -> tuple[Polygon, ...]:
        mask, mask_hashes[file] = load_hashed_mask(file, *size)
        return trace(mask)

    placed = [typed_mark.place(*size, color, outlines) for typed_mark, color in typed.values()]
    marks, clipped = [], []
    for placed_mark in placed:
        inside, was_clipped = clip_to_picture(placed_mark, *size)
        marks.append(inside)
        clipped.append(was_clipped)
    styles = styles_for(marks, *size, stroke=drawing.width, alpha=drawing.alpha, jitter=drawing.jitter)
    notes = [
        _clipping_note(placed_mark, picture, drawn=paints(placed_mark, style, *size))
        for placed_mark, style, was_clipped in zip(marks, styles, clipped, strict=True)
        if was_clipped
    ]
    marked_picture = MarkedPicture(
        picture,
        marks=dict(zip(typed, marks, strict=True)),
        styles=dict(zip(typed, styles, strict=True)),
        pixels=draw(picture.pixels, marks, styles),
    )
    return marked_picture, notes


def _clipping_note(mark: Mark, picture: Picture, *, drawn: bool) -> Message:
    size = f"{picture.width} × {picture.height}"
    if not drawn:
        return Message(f"The {mark.name} lies entirely outside the picture, which is {size} pixels.")
    return Message(f"The {mark.name} reaches outside the picture ({size}) and is cut off at its edge.")


def _untrained_color_notes(marks: Sequence[Mark]) -> Iterator[Message]:
    for name in dict.fromkeys(mark.color.name for mark in marks if not mark.color.trained):
        yield Message(
            f"The models were not trained on {name} marks. The nearest they know is {nearest_trained(name)}."
        )


def _same_name_notes(marks: Sequence[Mark]) -> Iterator[Message]:
    for name, count in Counter(mark.name for mark in marks).items():
        if count > 1:
            yield Message(f"{count} marks have the same name: the {name}.", "Give them different colors.")


# ---------------------------------------------------------------------- question and prompt


def prepare(
    marked: MarkedInput,
    question: str | None,
    checkpoint: Checkpoint,
    *,
    prompt: str = "auto",
    system: str | None = None,
    fit: FitChoice = "auto",
    grammar: Grammar | None = None,
    guide: float | None = None,
    zoom: ZoomChoice = "off",
    past_turns: Sequence[PastTurn] = (),
    choices: Sequence[str] = (),
) -> Question:
    """Decide the question's text, its prompt, what its pictures show, and the notes on it."""
    form = checkpoint.form(prompt)
    applied_fit = checkpoint.fit(fit)
    check_zoom(zoom, checkpoint, video=marked.video is not None)
    marked = zoom_in(marked, zoom, checkpoint, applied_fit)
    text = _question_text(question, marked, form)
    if system is not None:
        system = check_text(system, "system line", form)
    _check_video_support(marked, checkpoint.family, form)
    if guide is not None and not marked.marks:
        raise UsageError(
            "Guidance compares the picture with one where what is marked is black, but there are no marks.",
            "Add one, or leave out {guide}.",
        )
    check_alone(choices, grammar, guide)
    parts = _build_prompt(text, form, marked, system, past_turns)
    # A later question may be about what was said, not about a mark.
    hints = () if past_turns else _unmentioned_notes(text, marked.marks)
    return Question(
        text=text,
        by_user=question is not None,
        marked=marked,
        prompt=parts.prompt,
        form=form,
        fit=applied_fit,
        zoom=zoom,
        user_texts=parts.user_texts,
        system=system,
        notes=(*marked.notes, *hints, *model_notes(marked, checkpoint, applied_fit)),
        past_turns=parts.past_turns,
        is_follow_up=bool(past_turns),
        grammar=grammar,
        guide=guide,
        choices=check_choices(choices, form),
    )


def _question_text(question: str | None, marked: MarkedInput, form: PromptForm) -> str:
    """Fill in the user's question, or make one up."""
    if question is not None and not isinstance(question, str):
        raise PromptError(f"A question is text, not {type(question).__name__}.")
    if question is None:
        text = default_question(marked.marks, "video" if marked.video else len(marked.pictures))
    else:
        text = fill_in(question.strip(), marked.marks)
    if not text:
        raise PromptError("The question is empty.", "Write one, or leave it out for a default question.")
    return check_text(text, "question", form)


@dataclass(frozen=True, slots=True)
class _PromptParts:
    """A prompt cut into pieces: each earlier answer that is passed as token ids ends one."""

    prompt: str
    """The last piece: all text after the last such answer."""
    past_turns: tuple[PromptTurn, ...]
    user_texts: tuple[str, ...]


def _build_prompt(
    question: str,
    form: PromptForm,
    marked: MarkedInput,
    system: str | None,
    past_turns: Sequence[PastTurn],
) -> _PromptParts:
    video = marked.video is not None
    images = 0 if video else len(marked.pictures)
    turns: list[Turn] = []
    prompt_turns: list[PromptTurn] = []
    user_texts = [question] if system is None else [question, system]
    for past_turn in past_turns:
        if past_turn.token_ids is not None:
            up_to_answer = continuation(form, [*turns, Turn(past_turn.question)], system, images, video)
            prompt_turns.append(PromptTurn(up_to_answer, past_turn.token_ids))
            turns.append(Turn(past_turn.question, ANSWER_TOKENS))
        else:
            turns.append(Turn(past_turn.question, check_text(past_turn.answer, "answer", form)))
            user_texts.append(past_turn.answer)
        user_texts.append(check_text(past_turn.question, "question", form))
    prompt = continuation(form, [*turns, Turn(question)], system, images, video)
    return _PromptParts(prompt, tuple(prompt_turns), tuple(user_texts))


def _check_video_support(marked: MarkedInput, family: Family, form: PromptForm) -> None:
    if marked.video and not family.video:
        raise UsageError(
            f"{family.name} takes no video.", "Use a model that does, such as {model=llava-onevision-7b-ov}."
        )
    if marked.video and form.name != "template":
        raise UsageError(f"The prompt form {form.name} has no place for a video.", "Use {prompt=template}.")


def _unmentioned_notes(text: str, marks: Sequence[Mark]) -> Iterator[Message]:
    if missing := unmentioned(text, marks):
        numbers = " and ".join(f"{{{number}}}" for number in missing)
        phrases = "; ".join(marks[number - 1].phrase for number in missing)
        yield Message(
            f"The question does not mention {numbers} ({phrases}).",
            f"Write {numbers} in it.",
        )


def model_notes(marked: MarkedInput, checkpoint: Checkpoint, fit: Fit) -> Iterator[Message]:
    """Note what this checkpoint may miss in the marked pictures."""
    yield from _picture_count_notes(marked, checkpoint.family)
    # What is hard to see on a whole picture may be easy to see on its cut beside it.
    cut = [picture.picture for picture in marked.pictures if picture.cut is not None]
    shown = [entry for entry in marked.pictures if entry.cut is not None or entry.picture not in cut]
    notes = (note for picture in shown for note in _visibility_notes(picture, marked, checkpoint, fit))
    yield from dict.fromkeys(notes)


def _picture_count_notes(marked: MarkedInput, family: Family) -> Iterator[Message]:
    if len(marked.pictures) > 1 and not marked.video and not family.multiple_images:
        yield Message(
            f"{family.name} was trained on one picture per question, and may mix several up.",
            "Models that were trained on several: llava-interleave and llava-onevision.",
        )


def _visibility_notes(
    marked_picture: MarkedPicture, marked: MarkedInput, checkpoint: Checkpoint, fit: Fit
) -> Iterator[Message]:
    """Note which marks on a picture the model will hardly see, or not at all."""
    width, height = marked_picture.size
    shrink = input_scale(checkpoint, fit, width, height, tiled=len(marked.pictures) == 1)
    for number, mark in marked_picture.drawn_marks.items():
        style = marked_picture.styles[number]
        if style.stroke and style.stroke * shrink < MIN_STROKE * checkpoint.input_size:
            yield Message(
                f"The stroke of the {mark.name} is {style.stroke * shrink:.1f} pixels wide "
                "at the model's input size and may vanish.",
                "Make it wider with {width}.",
            )
        if style.alpha == 0:
            yield Message(f"The {mark.name} is drawn with an alpha of 0, so it is invisible.")
        bounds = extent(mark, style, width, height)
        if max(bounds[2] - bounds[0], bounds[3] - bounds[1]) * shrink < MIN_MARK * checkpoint.input_size:
            limit = f"under {MIN_MARK * checkpoint.input_size:.2g} pixels at the model's input size"
            advice = _percent_advice(marked_picture.marks[number])
            if advice is None and marked_picture.cut is None:
                advice = "See it larger with {zoom=on}."
            yield Message(f"The {mark.name} is tiny: {limit}.", advice)
        yield from _crop_notes(mark, bounds, visible(fit, width, height), (width, height))


def _crop_notes(mark: Mark, bounds: Bounds, view: Bounds, size: tuple[int, int]) -> Iterator[Message]:
    (x1, y1, x2, y2), (left, top, right, bottom), (width, height) = bounds, view, size
    if x2 <= left or x1 >= right or y2 <= top or y1 >= bottom:
        yield Message(f"The {mark.name} is cropped away, so the model cannot see it.", "Use {fit=pad}.")
    elif max(x1, 0) < left or min(x2, width) > right or max(y1, 0) < top or min(y2, height) > bottom:
        yield Message(f"Part of the {mark.name} is cropped away.", "Use {fit=pad} to keep it whole.")


def _percent_advice(mark: Mark) -> str | None:
    """Explain percentages if all coordinates look like fractions from 0 to 1."""
    are_fractions = all(0 <= x <= 1 and 0 <= y <= 1 for x, y in mark.points)
    return (
        "Coordinates are in pixels. Write fractions as percentages, such as 25%." if are_fractions else None
    )


# ---------------------------------------------------------------------- the model


def build_request(question: Question, sampling: Sampling, scoring: Scoring = BY_SUM) -> Request:
    """Build the request for a prepared question."""
    pixels = tuple(picture.pixels for picture in question.marked.pictures)
    return Request(
        prompt=question.prompt,
        images=() if question.marked.video else pixels,
        frames=pixels if question.marked.video else (),
        fit=question.fit,
        # A text in a schema may hold what else would be a stop.
        stops=() if question.grammar else question.form.stops,
        user_texts=question.user_texts,
        sampling=sampling,
        past_turns=question.past_turns,
        # A conversation can be shortened to make room, a single question cannot.
        min_answer_tokens=min(sampling.max_new_tokens, MIN_ANSWER_TOKENS) if question.is_follow_up else 1,
        grammar=question.grammar,
        guide=_build_guide(question),
        choices=question.choices,
        score=scoring.score,
        top_logprobs=scoring.top_logprobs,
    )


def _build_guide(question: Question) -> Guide | None:
    if not question.guide:
        return None
    pictures = tuple(
        covered(picture.pixels, list(picture.drawn_marks.values()), list(picture.styles.values()))
        for picture in question.marked.pictures
    )
    return Guide(question.guide, pictures)


def ask(
    question: Question,
    answerer: Answerer,
    sampling: Sampling = GREEDY,
    on_text: OnText | None = None,
    halted: Halted | None = None,
    *,
    scoring: Scoring = BY_SUM,
) -> Answer:
    """Have a model answer a prepared question."""
    started = time.perf_counter()
    reply = answerer.answer(build_request(question, sampling, scoring), on_text, halted)
    seconds = {**reply.seconds, "answer": time.perf_counter() - started}
    return Answer(question, reply, sampling, seconds, scoring)
