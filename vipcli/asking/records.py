"""An answer, its JSON record, its one-line summary, and notes on whether to trust it."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.metadata import version
from math import isfinite, isnan
from typing import Any

from vipcli import __version__
from vipcli.asking.grammars import parse_fields
from vipcli.asking.interface import BY_SUM, Grammar, Reply, Sampling, ScoredChoice, Scoring, TokenLogprob
from vipcli.asking.values import MarkedInput, Question
from vipcli.checkpoints.catalog import BUNDLED, CANNOT_TELL, VIPLLAVA, KnownCheckpoint, smallest
from vipcli.checkpoints.hub_cache import format_size
from vipcli.errors import Message
from vipcli.marks.kinds import Mark
from vipcli.pictures.images import Pixels, encode

UNSURE_BELOW = 0.7
"""The bundled model's answers are often wrong below this mean probability, so they get a note."""

_MOST_SHOWN = 5
"""How many choices a note shows."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A question, a model's reply to it, and how long each step took."""

    question: Question
    reply: Reply
    sampling: Sampling
    seconds: dict[str, float] = field(default_factory=dict)
    scoring: Scoring = BY_SUM

    @property
    def text(self) -> str:
        """The answer's text."""
        return self.reply.text

    @property
    def probability(self) -> float | None:
        """The mean probability of the answer's tokens, or the share of a choice; None without tokens."""
        return self.reply.probability

    @property
    def is_cut_off(self) -> bool:
        """Whether the answer was to follow a schema or a pattern, but ended before it was whole."""
        return self.question.grammar is not None and self.reply.ended != "stop"

    @property
    def fields(self) -> Any:
        """The value of a whole answer by a schema, mostly a dictionary; None for any other."""
        return parse_fields(self.question.grammar, self.text, is_whole=not self.is_cut_off)

    @property
    def choices(self) -> tuple[ScoredChoice, ...]:
        """The answers to choose from with their probabilities, in the order in which they were given."""
        return self.reply.choices

    @property
    def logprobs(self) -> tuple[TokenLogprob, ...]:
        """The tokens of the text with their log-probabilities, if they were asked for."""
        return self.reply.logprobs

    @property
    def marked(self) -> Pixels:
        """The first picture with its marks: RGB, uint8, height × width × 3."""
        return self.question.marked.pixels

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about the marks, the question and the answer."""
        return tuple(map(str, (*self.question.notes, *doubts(self))))

    def record(self) -> dict[str, Any]:
        """Return what the command `ask` prints as JSON."""
        return record(self)

    def _repr_html_(self) -> str:
        """Show the marked pictures, the question and the answer in a notebook."""
        pictures = "".join(
            f'<img src="data:image/png;base64,{base64.b64encode(encode(marked_picture.pixels)).decode()}" '
            'style="max-width: 20em; margin-right: 1em">'
            for marked_picture in self.question.marked.pictures
        )
        question, text = html.escape(self.question.text), html.escape(self.text)
        return f"<div>{pictures}<p><b>{question}</b></p><p>{text}</p></div>"


def doubts(answer: Answer) -> Iterator[Message]:
    """Warn if an answer is not whole, or the bundled model does not seem to know this kind of picture."""
    reply = answer.reply
    if answer.is_cut_off:
        yield cut_off_note(answer)
    if reply.model.name != BUNDLED:
        return
    # The means of log-probabilities lie close together, however sure the model is.
    is_flat = bool(reply.choices) and answer.scoring.score == "mean"
    unsure = reply.probability is not None and reply.probability < UNSURE_BELOW and not is_flat
    if unsure or reply.text == CANNOT_TELL:
        yield Message(
            "The bundled model knows only drawn scenes of shapes, letters, digits and a few everyday things, "
            "and is not sure of this picture.",
            f"For photographs, {_model_choice(smallest())} is the smallest model, and "
            f"{_model_choice(smallest(VIPLLAVA))} was trained on marks.",
        )


def cut_off_note(answer: Answer) -> Message:
    """Say that an answer by a schema or a pattern was cut off."""
    grammar = answer.question.grammar
    whole = "whole JSON" if grammar is not None and grammar.kind == "schema" else "what the pattern asks for"
    return Message(
        f"The answer was cut off after {len(answer.reply.token_ids)} tokens, so it is not {whole}.",
        "Raise {max_new_tokens}, or allow less text.",
    )


def choice_notes(answer: Answer) -> Iterator[Message]:
    """Say how likely the choices are, the likeliest first."""
    ranked = sorted(answer.choices, key=lambda choice: -choice.probability)
    if ranked:
        parts = [f"{choice.text} ({_percent(choice.probability)})" for choice in ranked[:_MOST_SHOWN]]
        if len(ranked) > _MOST_SHOWN:
            parts.append(f"{len(ranked) - _MOST_SHOWN:,} more")
        yield Message(f"{', '.join(parts)}.")


def _percent(share: float) -> str:
    """A share in whole percent, but nothing as certain or impossible."""
    return ">99%" if share > 0.995 else "<1%" if share < 0.005 else f"{share:.0%}"


def _model_choice(known: KnownCheckpoint) -> str:
    return f"{{model={known.short_name}}} ({format_size(known.download)})"


def record(answer: Answer, seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return an answer as a JSON object; `seconds` adds the times of earlier steps."""
    reply = answer.reply
    timings = {**(seconds or {}), **answer.seconds}
    return {
        "question": answer.question.text,
        "answer": reply.text,
        **_fields(answer),
        "ended": reply.ended,
        "probability": None if reply.probability is None or isnan(reply.probability) else reply.probability,
        **_choices(answer),
        **_logprobs(answer),
        "prompt": answer.question.prompt,
        "tokens": {"prompt": reply.prompt_tokens, "answer": len(reply.token_ids)},
        "token_ids": list(reply.token_ids),
        **describe_question(answer.question),
        "notes": list(answer.notes),
        "sampling": asdict(answer.sampling),
        "model": asdict(reply.model),
        "versions": dict(versions()),
        "seconds": {step: round(duration, 4) for step, duration in timings.items()},
    }


def _fields(answer: Answer) -> dict[str, Any]:
    """The value of an answer, if it follows a schema."""
    grammar = answer.question.grammar
    return {"fields": answer.fields} if grammar is not None and grammar.kind == "schema" else {}


def _choices(answer: Answer) -> dict[str, Any]:
    """The choices with their probabilities, if there were any."""
    if not answer.question.choices:
        return {}
    return {"choices": describe_choices(answer.choices), "score": answer.scoring.score}


def describe_choices(choices: Sequence[ScoredChoice]) -> list[dict[str, Any]]:
    """Return choices with their probabilities for JSON."""
    return [
        {name: value for name, value in asdict(choice).items() if value is not None} for choice in choices
    ]


def _logprobs(answer: Answer) -> dict[str, Any]:
    """The log-probabilities of the answer's tokens, if they were asked for."""
    if answer.scoring.top_logprobs is None:
        return {}
    return {"logprobs": [_describe_token(token) for token in answer.reply.logprobs]}


def _describe_token(token: TokenLogprob) -> dict[str, Any]:
    tokens = [token, *token.top]
    chosen, *top = (
        {"token": entry.text, "id": entry.id, "logprob": finite(entry.logprob)} for entry in tokens
    )
    return {**chosen, "top": top}


def finite(number: float) -> float | None:
    """A number for JSON, which has no infinities."""
    return number if isfinite(number) else None


@cache
def versions() -> dict[str, str]:
    """Return the versions that an answer depends on."""
    # Cached, since each lookup reads files. vipcli's own version is a constant: it may not be installed.
    return {"vipcli": __version__, **{name: version(name) for name in ("torch", "transformers")}}


def describe_question(question: Question) -> dict[str, Any]:
    """Return the part of the record that is known before a model answers."""
    return {
        "form": question.form.name,
        "system": question.system,
        "fit": question.fit,
        **_describe_grammar(question),
        **({} if question.guide is None else {"guide": question.guide}),
        **({} if question.zoom == "off" else {"zoom": question.zoom}),
        **describe_marked(question.marked),
        "notes": [str(note) for note in question.notes],
    }


def _describe_grammar(question: Question) -> dict[str, Any]:
    match question.grammar:
        case Grammar(kind="schema", text=text):
            return {"schema": json.loads(text)}
        case Grammar(kind="pattern", text=text):
            return {"pattern": text}
        case _:
            return {}


def describe_marked(marked: MarkedInput) -> dict[str, Any]:
    """Return the pictures, and the marks in pixels with their colors, phrases and styles."""
    return {
        "marks": [
            {
                "number": number,
                "kind": mark.kind,
                "typed": typed.text,
                **({} if typed.file is None else {"mask": _describe_mask(typed.file, marked)}),
                "color": mark.color.name,
                "rgb": mark.color.hex,
                "phrase": mark.phrase,
                **_geometry(mark),
                "style": asdict(
                    next(picture.styles[number] for picture in marked.pictures if number in picture.marks)
                ),
                "images": [
                    index for index, picture in enumerate(marked.pictures, 1) if number in picture.marks
                ],
            }
            for number, (typed, mark) in enumerate(zip(marked.typed, marked.marks, strict=True), 1)
        ],
        "drawing": asdict(marked.drawing),
        "images": [
            {
                "source": entry.picture.name,
                "width": entry.picture.width,
                "height": entry.picture.height,
                "sha256": entry.picture.sha256,
                **({} if entry.cut is None else {"cut": asdict(entry.cut)}),
            }
            for entry in marked.pictures
        ],
        "video": None if marked.video is None else asdict(marked.video),
    }


def _describe_mask(file: str, marked: MarkedInput) -> dict[str, str]:
    return {"source": file, "sha256": marked.mask_hashes[file]}


def _geometry(mark: Mark) -> dict[str, Any]:
    return {entry.name: getattr(mark, entry.name) for entry in fields(mark) if entry.name != "color"}


def location(mark: Mark) -> str:
    """Return a mark's first few points as text."""
    return " ".join(f"{x:g},{y:g}" for x, y in mark.points[:8]) + (" …" if len(mark.points) > 8 else "")


def cut_lines(marked: MarkedInput) -> Iterator[str]:
    """Say to which corners each picture is cut."""
    # All frames of a video are cut alike.
    for number, picture in enumerate(marked.pictures[:1] if marked.video else marked.pictures, 1):
        if (cut := picture.cut) is not None:
            name = "Each frame" if marked.video else f"Picture {number}"
            yield f"{name} is cut to {cut.left},{cut.top},{cut.right},{cut.bottom}."


def placement(marked: MarkedInput, number: int) -> str:
    """Say which picture or frame a mark is on, if there are several."""
    # A picture and its cut count as one.
    pictures = list({id(entry.picture): entry for entry in marked.pictures}.values())
    indices = [index for index, picture in enumerate(pictures, 1) if number in picture.marks]
    if len(pictures) == 1:
        return ""
    unit = "frame" if marked.video else "picture"
    return f" on {unit} {indices[0]}" if len(indices) == 1 else f" on all {unit}s"


def summary(answer: Answer, seconds: Mapping[str, float]) -> str:
    """Describe in one line which model answered, how confidently and how fast."""
    model, reply = answer.reply.model, answer.reply
    revision = f" ({model.revision[:12]})" if model.revision else ""
    certainty = "" if reply.probability is None else f", mean probability {reply.probability:.2f}"
    if reply.choices:
        certainty = f", probability {reply.probability:.2f} among {len(reply.choices)} choices"
    precision = f"{model.quantize} and {model.dtype}" if model.quantize else model.dtype
    return (
        f"{model.name}{revision}, {precision} on {model.device}: {len(reply.token_ids)} tokens{certainty}; "
        f"loaded in {seconds.get('load', 0):.1f} s, answered in {answer.seconds['answer']:.1f} s."
    )
