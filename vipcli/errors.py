"""Everything that vipcli can say went wrong, and the exit code of each.

VipcliError            1  it failed
├── UsageError         2  it was used wrongly
│   ├── MarkError         a mark that cannot be read or placed
│   ├── ColorError        no such colour
│   ├── PromptError       a question that cannot be put to the model
│   │   └── ContextError     it would fit, had less been said before
│   └── ConfigError       a setting that cannot be read or kept
├── ConversationError  1  a file that holds no conversation
├── ImageError         1  no picture came out of a file, a stream or an address
├── ModelError         1  a checkpoint that cannot be found, loaded or run
│   └── OutOfMemoryError     less at once might fit
├── AnnotationError    1  a file of annotations that cannot be read
└── OutputError        1  a file that cannot be written

The message of each is one or two plain sentences: what was wrong, where, what to try.
"""

FAILED = 1
USED_WRONGLY = 2
SOME_FAILED = 3
INTERRUPTED = 130


def first_line(error: Exception) -> str:
    """As much of somebody else's error as fits into a sentence."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".:")[:200]


class VipcliError(Exception):
    """Something that a person can be told in a sentence."""

    exit_code = FAILED


class UsageError(VipcliError):
    """The arguments do not make sense together, or one of them cannot be read."""

    exit_code = USED_WRONGLY


class MarkError(UsageError):
    """A mark that cannot be read, or that does not lie on the picture."""


class ColorError(UsageError):
    """A colour that nobody knows."""


class PromptError(UsageError):
    """A question or system line that cannot be put to the model as plain text."""


class ContextError(PromptError):
    """A prompt that leaves the model too little room for an answer."""


class ConfigError(UsageError):
    """A setting that is unknown, or holds a value it cannot have."""


class ConversationError(VipcliError):
    """A file that a conversation cannot be read from."""


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
