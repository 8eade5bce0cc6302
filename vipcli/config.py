"""Settings, and the source of each value: an option, the environment, the settings file or a default."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from vipcli.errors import ConfigError
from vipcli.geometry import FIT_CHOICES, ZOOM_WORDS, FitChoice, ZoomChoice

Source = Literal["flag", "environment", "file", "default"]
Score = Literal["sum", "mean", "lift"]
"""How choices are compared: by the log-probability of the whole answer, by its mean over the tokens, or by
how much the picture adds to the log-probability."""
Value = str | int | float | bool | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """A named value that can be saved."""

    name: str
    default: Value
    help: str
    parse: Callable[[str], Value]
    """Parses text into a value; the message of its ValueError is what is allowed: `a number from 0 to 10`."""
    metavar: str
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """The name of its environment variable."""
        return f"VIPCLI_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class ResolvedSetting:
    """A setting's value and where it came from."""

    setting: Setting
    value: Value
    source: Source


def _parse_word(text: str) -> str:
    if not text:
        raise ValueError("text that is not empty")
    return _parse_line(text)


def _parse_line(text: str) -> str:
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError("text without control characters")
    return text


def _choice_parser(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return parse


def _parse_bool(text: str) -> bool:
    word = text.lower()
    if word not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
        raise ValueError("true or false")
    return word in ("true", "yes", "on", "1")


def integer_parser(low: int, high: int) -> Callable[[str], int]:
    """A parser for whole numbers in a range."""

    def parse(text: str) -> int:
        expected = f"a whole number from {low} to {high}"
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise ValueError(expected)
        return int(text)

    return parse


def _number_parser(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        expected = f"a number from {low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:
            raise ValueError(expected)
        return value

    return parse


PROMPT_FORMS = ("auto", "human", "vicuna", "llava", "template")
DEVICES = ("auto", "cpu", "cuda", "mps", "spread")
QUANTIZE = ("none", "4bit", "8bit", "4bit-fp4")
SCORES: tuple[Score, ...] = ("sum", "mean", "lift")
MOST_LOGPROBS = 20
PICK = ("auto", "browser", "terminal")
ATTENTION = ("auto", "sdpa", "eager", "flash")
DTYPES = ("auto", "float32", "float16", "bfloat16")
parse_seed = integer_parser(0, 2**63 - 1)


def _parse_temperature(text: str) -> float:
    value = _number_parser(0, 10)(text)
    # Dividing logits by less than this overflows.
    if 0 < value < 0.01:
        raise ValueError("0, or a number from 0.01 to 10")
    return value


def parse_duration(text: str) -> float:
    """Parse a span of time such as 90s, 10m or 1.5h into seconds."""
    units = {"s": 1, "m": 60, "h": 3600}
    match = re.fullmatch(r"([0-9]{1,8}(?:\.[0-9]{1,3})?)([smh])", text)
    if match is None or float(match[1]) == 0:
        raise ValueError("a span of time such as 90s, 10m or 2h")
    return float(match[1]) * units[match[2]]


def _parse_device(text: str) -> str:
    if text not in DEVICES and not re.fullmatch(r"cuda:[0-9]{1,3}", text):
        raise ValueError(f"one of {', '.join(DEVICES)}, or cuda:1 and so on")
    return text


_SCORE_HELP = (
    "How choices are compared: by the sum of log-probabilities (as accurate as any, and best calibrated), "
    "their mean, or the lift (what the picture adds): sum, mean, lift."
)


def _parse_zoom(text: str) -> str | float:
    word = {"true": "on", "yes": "on", "false": "off", "no": "off"}.get(text.lower(), text.lower())
    if word in ZOOM_WORDS:
        return word
    try:
        return _number_parser(0, 10)(word)
    except ValueError as error:
        raise ValueError(f"{error}, or one of {', '.join(ZOOM_WORDS)}") from None


_ZOOM_HELP = (
    "Cut the picture to the marks with a margin, a share of their size; auto only where they are small, "
    "pair beside the whole picture."
)
_DEVICE_HELP = f"Where to run: {', '.join(DEVICES)} (over all GPUs and the CPU), or cuda:1 and so on."


def _choice(name: str, help: str, metavar: str, words: tuple[str, ...]) -> Setting:
    return Setting(name, words[0], f"{help}: {', '.join(words)}.", _choice_parser(*words), metavar, words)


_ALL = (
    Setting("model", "bundled", "Checkpoint: a folder, a hub name or a short name.", _parse_word, "NAME"),
    Setting("revision", None, "Revision of a checkpoint from the hub.", _parse_word, "NAME"),
    Setting("device", "auto", _DEVICE_HELP, _parse_device, "DEVICE", DEVICES),
    _choice("dtype", "Precision", "DTYPE", DTYPES),
    _choice("quantize", "Quantization of the language model", "BITS", QUANTIZE),
    Setting(
        "quantize_all", False, "Also quantize the vision tower and the projector.", _parse_bool, "YES|NO"
    ),
    _choice("attention", "Attention implementation", "NAME", ATTENTION),
    Setting("offline", False, "Never use the network for checkpoints.", _parse_bool, "YES|NO"),
    Setting("no_server", False, "Do not use a running server.", _parse_bool, "YES|NO"),
    _choice("prompt", "Prompt form", "FORM", PROMPT_FORMS),
    Setting("system", None, "System line in place of the form's own.", _parse_line, "TEXT"),
    Setting(
        "guide",
        None,
        "Lead the answer away from what it would be if all that is marked were black: 0 for not at all, "
        "0.5 if it has no value.",
        _number_parser(0, 10),
        "[ALPHA]",
    ),
    _choice("fit", "How the picture becomes a square", "FIT", FIT_CHOICES),
    Setting("zoom", "off", _ZOOM_HELP, _parse_zoom, "[MARGIN|auto|pair]", ZOOM_WORDS),
    Setting("max_new_tokens", 512, "Longest answer, in tokens.", integer_parser(1, 1_000_000), "N"),
    Setting(
        "temperature", 0.0, "0 for the likeliest answer, more for varied ones.", _parse_temperature, "NUMBER"
    ),
    Setting(
        "top_p",
        1.0,
        "Sample from the likeliest tokens, up to this total probability.",
        _number_parser(0.001, 1),
        "NUMBER",
    ),
    Setting("seed", None, "Seed for sampling, if there is a temperature.", parse_seed, "N"),
    Setting("score", "sum", _SCORE_HELP, _choice_parser(*SCORES), "SCORE", SCORES),
    Setting(
        "logprobs",
        None,
        "Report each token's log-probability, and as many of the likeliest tokens in its place.",
        integer_parser(0, MOST_LOGPROBS),
        "N",
    ),
    Setting(
        "width", None, "Stroke width for a long side of 336 pixels (3).", _number_parser(0.1, 336), "NUMBER"
    ),
    Setting("alpha", None, "Opacity of marks, from 0 to 255 (128).", integer_parser(0, 255), "N"),
    _choice("pick", "Where to draw a mark that is given without coordinates", "WHERE", PICK),
    Setting("no_input", False, "Never open a page or ask for input; fail instead.", _parse_bool, "YES|NO"),
    Setting("max_pixels", None, "Largest picture, in pixels (200,000,000).", integer_parser(1, 2**40), "N"),
)
SETTINGS = {setting.name: setting for setting in _ALL}


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of every setting, parsed and checked."""

    model: str = "bundled"
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    quantize: str = "none"
    quantize_all: bool = False
    attention: str = "auto"
    offline: bool = False
    no_server: bool = False
    prompt: str = "auto"
    system: str | None = None
    guide: float | None = None
    fit: FitChoice = "auto"
    zoom: ZoomChoice = "off"
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    score: Score = "sum"
    logprobs: int | None = None
    width: float | None = None
    alpha: int | None = None
    pick: str = "auto"
    no_input: bool = False
    max_pixels: int | None = None
    jitter: int | None = None
    """The seed of a random style; an option only, never saved."""
    explicit: frozenset[str] = frozenset()
    """The names of the settings that came from options or arguments."""


def settings(flags: Mapping[str, Value], option: Callable[[str], str] = str) -> Settings:
    """The value of every setting; options win, and an option of None counts as left out.

    `option` returns how an error spells an option of that name.
    """
    resolved = resolve(flags, option=option)
    jitter = flags.get("jitter")
    values: dict[str, Any] = {name: entry.value for name, entry in resolved.items()}
    return Settings(
        **values,
        jitter=None if jitter is None else parse_value(parse_seed, str(jitter), option("jitter")),
        explicit=frozenset(name for name, value in flags.items() if value is not None),
    )


def path() -> Path:
    """The settings file."""
    if name := os.environ.get("VIPCLI_CONFIG"):
        return Path(name)
    import platformdirs

    return platformdirs.user_config_path("vipcli", appauthor=False) / "config.toml"


def resolve(
    flags: Mapping[str, Value],
    environment: Mapping[str, str] = os.environ,
    option: Callable[[str], str] = str,
) -> dict[str, ResolvedSetting]:
    """The value of every setting and its source; an option of None counts as left out."""
    saved = _read_file()
    return {
        name: ResolvedSetting(setting, parse_value(setting.parse, str(flags[name]), option(name)), "flag")
        if flags.get(name) is not None
        else _resolve(setting, environment, saved)
        for name, setting in SETTINGS.items()
    }


def _resolve(setting: Setting, environment: Mapping[str, str], saved: Mapping[str, Any]) -> ResolvedSetting:
    # An empty variable counts as unset, except for the system line, which may be empty.
    if environment.get(setting.variable) or (setting.variable in environment and setting.name == "system"):
        value = parse_value(setting.parse, environment[setting.variable], setting.variable)
        return ResolvedSetting(setting, value, "environment")
    if setting.name in saved:
        label = f"The setting {setting.name} in {path()}"
        value = parse_value(setting.parse, _toml_text(saved[setting.name], label), label)
        return ResolvedSetting(setting, value, "file")
    return ResolvedSetting(setting, setting.default, "default")


def parse_value(parse: Callable[[str], T], text: str, label: str) -> T:
    """Parse text; `label` is what an error calls it."""
    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError(f"{label} is {text[:60]!r}, but takes {error}.") from None


def _toml_text(value: Any, label: str) -> str:
    """A value from the settings file as the text that a person would type."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{label} is not text, a number, true or false.")
    return str(value)


def find(name: str) -> Setting:
    """Look up a setting by name; dashes are allowed."""
    known = SETTINGS.get(name.replace("-", "_"))
    if known is None:
        close = difflib.get_close_matches(name.replace("-", "_"), SETTINGS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"The settings are {', '.join(SETTINGS)}."
        raise ConfigError(f"There is no setting {name[:40]!r}. {hint}")
    return known


def save(name: str, text: str) -> Value:
    """Write a setting to the settings file; comments and other settings stay."""
    setting = find(name)
    value = parse_value(setting.parse, text, setting.name)
    _change(lambda document: document.__setitem__(setting.name, value))
    return value


def unset(name: str) -> bool:
    """Remove a setting, or an unknown name, from the settings file; False if it was not there."""
    saved = _parse_file()
    if name not in saved:
        name = find(name).name
    if name not in saved:
        return False
    _change(lambda document: document.__delitem__(name))
    return True


def _read_file() -> Mapping[str, Any]:
    saved = _parse_file()
    if unknown := [name for name in saved if name not in SETTINGS]:
        raise ConfigError(
            f"{path()} contains {unknown[0]!r}, which is not a setting.",
            f"Remove it with: vipcli config unset {unknown[0]}.",
        )
    return saved


def _parse_file() -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(_file_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path()} is not valid TOML ({error}).", "Correct or delete it.") from None


def _file_text() -> str:
    try:
        return path().read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"{path()} cannot be read: {reason}.") from None


def _change(change: Callable[[Any], None]) -> None:
    import tomlkit
    from filelock import FileLock

    from vipcli.files import replace_file

    try:
        path().parent.mkdir(parents=True, exist_ok=True)
        # Without a lock, two processes that change the file at once would lose one of the changes.
        with FileLock(path().with_name(f".{path().name}.lock")):
            _parse_file()
            document = tomlkit.parse(_file_text())
            change(document)
            replace_file(path(), tomlkit.dumps(document).encode())
    except OSError as error:
        raise ConfigError(f"{path()} cannot be changed: {error.strerror or error}.") from None
