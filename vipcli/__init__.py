"""Point at part of a picture, ask, and get an answer.

    model = vipcli.load("bundled")
    answer = model.ask("photo.jpg", "What is {1}?", marks=[vipcli.Box(40, 60, 200, 220, color="red")])
    print(answer.text, answer.probability)

The names in `__all__` are the public API. Each is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vipcli.api import Failure, Model, Stream, Task, draw, load, repeat
    from vipcli.asking.records import Answer
    from vipcli.asking.repeating import Comparison
    from vipcli.chat.conversation import Conversation
    from vipcli.errors import VipcliError
    from vipcli.marks.shapes import Arrow, Box, Contour, Ellipse, Mask, Point, Scribble, Triangle
    from vipcli.notebook import Picker

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "Arrow",
    "Box",
    "Comparison",
    "Contour",
    "Conversation",
    "Ellipse",
    "Failure",
    "Mask",
    "Model",
    "Picker",
    "Point",
    "Scribble",
    "Stream",
    "Task",
    "Triangle",
    "VipcliError",
    "__version__",
    "draw",
    "load",
    "repeat",
]

_MODULES = {
    "vipcli.api": ("Failure", "Model", "Stream", "Task", "draw", "load", "repeat"),
    "vipcli.asking.records": ("Answer",),
    "vipcli.asking.repeating": ("Comparison",),
    "vipcli.chat.conversation": ("Conversation",),
    "vipcli.errors": ("VipcliError",),
    "vipcli.notebook": ("Picker",),
    "vipcli.marks.shapes": ("Arrow", "Box", "Contour", "Ellipse", "Mask", "Point", "Scribble", "Triangle"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            from importlib import import_module

            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
