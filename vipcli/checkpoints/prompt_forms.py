"""Prompt forms: a conversation as the text that a model reads."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vipcli.checkpoints.stops import Stop
from vipcli.errors import ModelError, PromptError

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)

LONGEST_TEXT = 100_000
"""Characters of a question, answer or system line: more than any context holds, yet quick to tokenize."""

# The families' tokenizers turn these into control tokens wherever they occur in a text.
_CONTROL_WORDS = re.compile(r"</?s>|<image>|<video>|<pad>|<unk>|<\|[a-z_]{1,40}\|>")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")

# "###" alone may be a heading; it begins a turn only if a role follows.
_ROLES = ("Human", "Assistant")
_TURN_STOP = Stop("###", followed_by=_ROLES)
_TURN_MARKERS = rf"###\s*(?:{'|'.join(_ROLES)})"
_END_STOP = Stop("</s>")


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer; the last turn of a prompt has no answer yet."""

    question: str
    answer: str | None = None


class PromptForm(Protocol):
    """A way of writing a conversation as one text."""

    @property
    def name(self) -> str: ...

    @property
    def stops(self) -> tuple[Stop, ...]:
        """Texts that end an answer and are never shown."""

    @property
    def turn_markers(self) -> re.Pattern[str] | None:
        """The text that begins a turn, and is therefore refused in questions and answers."""

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        """Write the whole prompt; if `system` is None, with the form's own system line."""


@dataclass(frozen=True, slots=True)
class HumanForm:
    """`###Human … ###Assistant`, the form of ViP-LLaVA's documentation."""

    name: str = "human"
    stops: tuple[Stop, ...] = (_TURN_STOP, _END_STOP)
    turn_markers: re.Pattern[str] | None = re.compile(_TURN_MARKERS)

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        text = SYSTEM if system is None else _separate_hash(system)
        placeholders = "<image>\n" * images + "<video>\n" * video
        for turn in turns:
            text += f"###Human: {placeholders}{_separate_hash(turn.question)}###Assistant:"
            text += "" if turn.answer is None else f" {_separate_hash(turn.answer)}"
            placeholders = ""
        return text


def _separate_hash(text: str) -> str:
    """Add a space after a final #, which would otherwise run into the ### that follows."""
    return f"{text} " if text.endswith("#") else text


@dataclass(frozen=True, slots=True)
class VicunaForm:
    """`USER: … ASSISTANT: …</s>`, the form of the released training scripts."""

    name: str = "vicuna"
    default_system: str = SYSTEM
    stops: tuple[Stop, ...] = (_END_STOP,)
    turn_markers: re.Pattern[str] | None = re.compile(r"\b(?:USER|ASSISTANT):")

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        text = self.default_system if system is None else system
        placeholders = "<image>\n" * images + "<video>\n" * video
        separator = " " if text else ""
        for turn in turns:
            text += f"{separator}USER: {placeholders}{turn.question} ASSISTANT:"
            text += "" if turn.answer is None else f" {turn.answer}</s>"
            placeholders = separator = ""
        return text


@dataclass(frozen=True, slots=True)
class TemplateForm:
    """A checkpoint's own chat template, with the special tokens that it may refer to."""

    template: str
    tokens: dict[str, str] = field(default_factory=dict)
    name: str = "template"
    turn_markers: re.Pattern[str] | None = re.compile(rf"\b(?:USER|ASSISTANT):|{_TURN_MARKERS}")

    @property
    def stops(self) -> tuple[Stop, ...]:
        turn_stops = (_TURN_STOP,) if "###" in self.template else ()
        return (*turn_stops, *(Stop(token) for token in [self.tokens.get("eos_token")] if token))

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        messages: list[dict[str, Any]] = []
        if system is not None:
            messages.append({"role": "system", "content": [{"type": "text", "text": system}]})
        pictures: list[dict[str, str]] = [{"type": "image"}] * images + [{"type": "video"}] * video
        for turn in turns:
            messages.append({"role": "user", "content": [*pictures, {"type": "text", "text": turn.question}]})
            if turn.answer is not None:
                messages.append({"role": "assistant", "content": [{"type": "text", "text": turn.answer}]})
            pictures = []
        return self._render(messages)

    def _render(self, messages: list[dict[str, Any]]) -> str:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        def raise_exception(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = raise_exception
        environment.globals["strftime_now"] = time.strftime
        try:
            # These tags mark the text that counts in the training loss; Jinja does not know them.
            source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", self.template)
            template = environment.from_string(source)
            return template.render(messages=messages, add_generation_prompt=True, **self.tokens)
        # A template is somebody else's program, and can raise anything.
        except Exception as error:
            raise ModelError(
                f"The checkpoint's chat template cannot be rendered ({error}).",
                "Choose another form: {prompt=human} or {prompt=vicuna}.",
            ) from None


ANSWER_TOKENS = "\0"
"""Placeholder for an answer whose token ids are inserted instead of its text; no text may contain it."""


def continuation(
    form: PromptForm, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
) -> str:
    """Write the prompt, and return the part after the last `ANSWER_TOKENS`."""
    return form.build(turns, system, images, video).rpartition(ANSWER_TOKENS)[2]


HUMAN = HumanForm()
VICUNA = VicunaForm()
LLAVA_FORM = VicunaForm("llava", default_system="")
"""The form of LLaVA-1.5's documentation. The chat template of LLaVA-1.5 lacks the `</s>` after answers."""


def check_text(text: str, label: str, form: PromptForm) -> str:
    """Return the text with plain line ends; refuse text that would reach the model as control tokens."""
    if len(text) > LONGEST_TEXT:
        raise PromptError(f"The {label} has {len(text):,} characters. The limit is {LONGEST_TEXT:,}.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if _SURROGATES.search(text):
        raise PromptError(f"The {label} cannot be read as text.", "Use UTF-8 here and in the locale (LANG).")
    if match := _CONTROL_CHARACTERS.search(text):
        raise PromptError(f"The {label} contains a control character (U+{ord(match[0]):04X}).", "Remove it.")
    forged = _CONTROL_WORDS.search(text) or (form.turn_markers and form.turn_markers.search(text))
    if forged:
        raise PromptError(
            f"The {label} contains {forged[0]!r}, which the model would not read as plain text.",
            "Remove it or write it differently.",
        )
    return text
