"""All errors that vipcli raises, and their exit codes.

VipcliError            1  something failed
├── UsageError         2  an option, argument or setting was wrong
│   ├── MarkError         a mark that cannot be read or placed
│   ├── ColorError        an unknown color
│   ├── PromptError       a question that cannot be sent to the model
│   │   └── ContextError     a conversation that leaves no room for an answer
│   └── ConfigError       a setting that cannot be read or saved
├── ConversationError  1  a file that holds no conversation
├── RecordError        1  a file that holds no record of an answer
├── ImageError         1  a picture that cannot be read from a file, a stream or an address
├── ModelError         1  a checkpoint that cannot be found, loaded or run
│   └── OutOfMemoryError     too little memory; a smaller batch might fit
├── AnnotationError    1  a file of annotations that cannot be read
└── OutputError        1  a file that cannot be written

Each states a fact in a sentence, and may add advice. Advice names settings in braces, since only the front
end knows how a setting is spelled there: `{max_pixels}` is `--max-pixels` on the command line and
`max_pixels` in Python; `{quantize=4bit}` is `--quantize 4bit` and `quantize="4bit"`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

FAILED = 1
USAGE_ERROR = 2
SOME_FAILED = 3
DIFFERS = 4
INTERRUPTED = 130

Spelling = Callable[[str, str | None], str]
"""How a front end spells a setting, from its name and perhaps a value."""

_SETTING = re.compile(r"\{([a-z]\w*)(?:=([^{}]*))?\}")


def as_argument(name: str, value: str | None) -> str:
    """A setting as Python writes it."""
    if value is None:
        return name
    return f'{name}="{value}"'


@dataclass(frozen=True, slots=True)
class Message:
    """A sentence for a person: a fact, and advice that names settings in braces."""

    fact: str
    advice: str | None = None

    def spelled(self, spelling: Spelling) -> str:
        """The whole message, with settings as this front end writes them."""
        if self.advice is None:
            return self.fact
        return f"{self.fact} {_SETTING.sub(lambda match: spelling(match[1], match[2]), self.advice)}"

    def __str__(self) -> str:
        return self.spelled(as_argument)


def first_line(error: Exception) -> str:
    """The first line of another library's error, shortened for use in a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")[:200]


class VipcliError(Exception):
    """An error whose message is written for people."""

    exit_code = FAILED

    def __init__(self, fact: str, advice: str | None = None) -> None:
        # Both go into `args`, so that an error can be pickled and sent to another process.
        super().__init__(fact, advice)
        self.message = Message(fact, advice)

    def __str__(self) -> str:
        return str(self.message)


class UsageError(VipcliError):
    """The arguments do not make sense together, or one of them cannot be read."""

    exit_code = USAGE_ERROR


class MarkError(UsageError):
    """A mark that cannot be read, or that does not lie on the picture."""


class ColorError(UsageError):
    """An unknown color."""


class PromptError(UsageError):
    """A question or system line that cannot be sent to the model as plain text."""


class ContextError(PromptError):
    """A prompt that leaves the model too little room for an answer."""


class ConfigError(UsageError):
    """A setting that is unknown, or holds a value it cannot have."""


class ConversationError(VipcliError):
    """A file that holds no readable conversation."""


class RecordError(VipcliError):
    """A file that holds no readable record of an answer."""


class ImageError(VipcliError):
    """A picture that cannot be read."""


class ModelError(VipcliError):
    """A checkpoint that cannot be found, loaded or run."""


class OutOfMemoryError(ModelError):
    """The model ran out of memory while answering."""


class AnnotationError(VipcliError):
    """A file of annotations that cannot be read."""


class OutputError(VipcliError):
    """A file that cannot be written."""
