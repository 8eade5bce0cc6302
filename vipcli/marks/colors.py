"""Color names and their RGB values."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from vipcli.errors import ColorError

RGB = tuple[int, int, int]

# The nine names that the checkpoints were trained on, in the order in which they are assigned to marks.
TRAINED: dict[str, RGB] = {
    "red": (255, 0, 0),
    "lime": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "fuchsia": (255, 0, 255),
    "aqua": (0, 255, 255),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "gold": (255, 215, 0),
}

# Other names that people and benchmarks use. A model knows the words, but saw no such marks in training.
UNTRAINED: dict[str, RGB] = {
    "green": (0, 128, 0),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "silver": (192, 192, 192),
    "maroon": (128, 0, 0),
    "olive": (128, 128, 0),
    "navy": (0, 0, 128),
    "teal": (0, 128, 128),
    "violet": (238, 130, 238),
    "indigo": (75, 0, 130),
    "turquoise": (64, 224, 208),
    "crimson": (220, 20, 60),
    "coral": (255, 127, 80),
    "salmon": (250, 128, 114),
    "tan": (210, 180, 140),
    "beige": (245, 245, 220),
}

NAMED = TRAINED | UNTRAINED

# Synonyms, replaced because the model should read the trained name.
ALIASES = {"cyan": "aqua", "magenta": "fuchsia", "grey": "gray"}

_HEX = re.compile(r"#([0-9a-f]{3}|[0-9a-f]{6})")


@dataclass(frozen=True, slots=True)
class Color:
    """An RGB value and the name that questions use for it."""

    name: str
    rgb: RGB

    @property
    def trained(self) -> bool:
        """Whether the checkpoints were trained on marks of this name."""
        return self.name in TRAINED

    @property
    def hex(self) -> str:
        return "#{:02x}{:02x}{:02x}".format(*self.rgb)


def parse_color(text: str) -> Color:
    """Parse a color name, `#rrggbb` or `#rgb`; a value without a name takes the nearest one."""
    word = text.strip().lower()
    if word in NAMED or word in ALIASES:
        return named_color(word)
    if match := _HEX.fullmatch(word):
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        rgb = (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))
        return Color(nearest_name(rgb), rgb)
    close = difflib.get_close_matches(word, [*NAMED, *ALIASES], n=1)
    hint = f"Did you mean {close[0]}?" if close else f"Try {', '.join(TRAINED)}, or #rrggbb."
    quoted = repr(text.strip())
    raise ColorError(f"There is no color {quoted if len(quoted) <= 40 else quoted[:39] + '…'}.", hint)


def named_color(name: str) -> Color:
    """The color of a known name or alias."""
    name = ALIASES.get(name, name)
    return Color(name, NAMED[name])


def nearest_name(rgb: RGB) -> str:
    """The known name perceptually closest to `rgb`; trained names win ties."""
    return min(NAMED, key=lambda name: _distance(NAMED[name], rgb))


def nearest_trained(name: str) -> str:
    """The trained name whose color is closest to that of a known name."""
    return min(TRAINED, key=lambda trained: _distance(TRAINED[trained], NAMED[name]))


def _distance(first: RGB, second: RGB) -> float:
    # Weights that depend on the mean red follow perceived difference well enough to name a color.
    red = (first[0] + second[0]) / 2
    dr, dg, db = (a - b for a, b in zip(first, second, strict=True))
    return (2 + red / 256) * dr * dr + 4 * dg * dg + (2 + (255 - red) / 256) * db * db
