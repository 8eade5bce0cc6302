"""A question, its marks and the turns before it, as the text that a model reads."""

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

# More than any context of these models can hold, and little enough to tokenise at once.
LONGEST_TEXT = 100_000

# What tokenizers of these families read as control tokens, wherever it stands in a text.
_CONTROL_WORDS = re.compile(r"</?s>|<image>|<video>|<pad>|<unk>|<\|[a-z_]{1,40}\|>")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


# A heading or a hash in a text is no turn: only one of these words makes it one.
_ROLES = ("Human", "Assistant")
_TURN = Stop("###", followed_by=_ROLES)
_TURN_WORDS = rf"###\s*(?:{'|'.join(_ROLES)})"
_END = Stop("</s>")


@dataclass(frozen=True, slots=True)
class Turn:
    """What a person asked and, except in the last turn, what was answered."""

    question: str
    answer: str | None = None


class PromptForm(Protocol):
    """One way of writing a conversation down for a model."""

    @property
    def name(self) -> str: ...

    @property
    def stops(self) -> tuple[Stop, ...]:
        """What ends an answer and is never shown."""

    @property
    def turn_words(self) -> re.Pattern[str] | None:
        """What begins a turn, and so may not stand in what people type."""

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        """The whole text; `system` None stands for the form's own line."""


@dataclass(frozen=True, slots=True)
class HumanForm:
    """`###Human … ###Assistant`: the form of the published documentation."""

    name: str = "human"
    stops: tuple[Stop, ...] = (_TURN, _END)
    turn_words: re.Pattern[str] | None = re.compile(_TURN_WORDS)

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        text = SYSTEM if system is None else _apart(system)
        pictures = "<image>\n" * images + "<video>\n" * video
        for turn in turns:
            text += f"###Human: {pictures}{_apart(turn.question)}###Assistant:"
            text += "" if turn.answer is None else f" {_apart(turn.answer)}"
            pictures = ""
        return text


def _apart(text: str) -> str:
    """The text, kept from running into the ### that follows it."""
    return f"{text} " if text.endswith("#") else text


@dataclass(frozen=True, slots=True)
class VicunaForm:
    """`USER: … ASSISTANT:`: the form of the released training scripts."""

    name: str = "vicuna"
    stops: tuple[Stop, ...] = (_END,)
    turn_words: re.Pattern[str] | None = re.compile(r"\b(?:USER|ASSISTANT):")

    def build(
        self, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
    ) -> str:
        text = SYSTEM if system is None else system
        pictures = "<image>\n" * images + "<video>\n" * video
        between = " " if text else ""
        for turn in turns:
            text += f"{between}USER: {pictures}{turn.question} ASSISTANT:"
            text += "" if turn.answer is None else f" {turn.answer}</s>"
            pictures = between = ""
        return text


@dataclass(frozen=True, slots=True)
class TemplateForm:
    """The chat template that a checkpoint brings, and the special tokens that it names."""

    template: str
    tokens: dict[str, str] = field(default_factory=dict)
    name: str = "template"
    turn_words: re.Pattern[str] | None = re.compile(rf"\b(?:USER|ASSISTANT):|{_TURN_WORDS}")

    @property
    def stops(self) -> tuple[Stop, ...]:
        marks_turns = (_TURN,) if "###" in self.template else ()
        return (*marks_turns, *(Stop(token) for token in [self.tokens.get("eos_token")] if token))

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

        def refuse(message: str) -> None:
            raise jinja2.TemplateError(message)

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.globals["raise_exception"] = refuse
        environment.globals["strftime_now"] = time.strftime
        try:
            # Marks what training learned from, and does nothing else.
            source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", self.template)
            template = environment.from_string(source)
            return template.render(messages=messages, add_generation_prompt=True, **self.tokens)
        # A template is a program of somebody's, and can fail like one.
        except Exception as error:
            raise ModelError(
                f"The checkpoint's chat template cannot be filled in ({error}). "
                "Choose a form with --prompt human or --prompt vicuna."
            ) from None


ANSWER_TOKENS = "\0"
"""Stands for an answer whose own tokens are put in its place; no text may hold it."""


def continuation(
    form: PromptForm, turns: Sequence[Turn], system: str | None = None, images: int = 1, video: bool = False
) -> str:
    """The text from the last answer that stands as its tokens to where the next one begins."""
    return form.build(turns, system, images, video).rpartition(ANSWER_TOKENS)[2]


HUMAN = HumanForm()
VICUNA = VicunaForm()


def check_text(text: str, what: str, form: PromptForm) -> str:
    """The text with plain line ends, or an error if the model could take any of it for more than text."""
    if len(text) > LONGEST_TEXT:
        raise PromptError(f"The {what} has {len(text):,} characters. At most {LONGEST_TEXT:,} can be asked.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if match := _CONTROL_CHARACTERS.search(text):
        raise PromptError(f"The {what} holds a control character (U+{ord(match[0]):04X}). Take it out.")
    forged = _CONTROL_WORDS.search(text) or (form.turn_words and form.turn_words.search(text))
    if forged:
        raise PromptError(
            f"The {what} holds {forged[0]!r}, which steers the model instead of reaching it as text. "
            "Take it out or write it differently."
        )
    return text
