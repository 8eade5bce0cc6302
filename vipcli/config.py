"""Settings that are kept: flag over environment over file over default, and which of them each came from."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from vipcli.errors import ConfigError
from vipcli.geometry import FIT_CHOICES, FitChoice

Source = Literal["flag", "environment", "file", "default"]
Value = str | int | float | bool | None
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Setting:
    """A named value that can be kept."""

    name: str
    default: Value
    help: str
    read: Callable[[str], Value]
    metavar: str
    choices: tuple[str, ...] = ()

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"VIPCLI_{self.name.upper()}"


@dataclass(frozen=True, slots=True)
class Resolved:
    """A setting's value and where it came from."""

    setting: Setting
    value: Value
    source: Source


def _word(text: str) -> str:
    if not text:
        raise ValueError("text that is not empty")
    return _line(text)


def _line(text: str) -> str:
    """Text that a prompt can hold."""
    if re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text):
        raise ValueError("text without control characters")
    return text


def _choice(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"one of {', '.join(words)}")
        return text

    return read


def _yes_or_no(text: str) -> bool:
    known = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if text.lower() not in known:
        raise ValueError("true or false")
    return known[text.lower()]


def count_from(low: int, high: int) -> Callable[[str], int]:
    """Reads a whole number of that range."""

    def read(text: str) -> int:
        expected = f"a whole number from {low} to {high}"
        if not re.fullmatch(r"[+-]?[0-9]{1,19}", text) or not low <= int(text) <= high:
            raise ValueError(expected)
        return int(text)

    return read


def _number(low: float, high: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        expected = f"a number from {low:g} to {high:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not low <= value <= high:
            raise ValueError(expected)
        return value

    return read


FORMS = ("auto", "human", "vicuna", "llava", "template")
DEVICES = ("auto", "cpu", "cuda", "mps", "spread")
QUANTIZE = ("none", "4bit", "8bit", "4bit-fp4")
ATTENTION = ("auto", "sdpa", "eager", "flash")
DTYPES = ("auto", "float32", "float16", "bfloat16")
read_seed = count_from(0, 2**63 - 1)


def _temperature(text: str) -> float:
    value = _number(0, 10)(text)
    # Closer to nothing, probabilities overflow.
    if 0 < value < 0.01:
        raise ValueError("0, or a number from 0.01 to 10")
    return value


def amount(text: str) -> float:
    """A number that is not negative."""
    return _number(0, 1e12)(text)


def read_span(text: str) -> float:
    """A span of time in seconds: 90s, 10m, 1.5h."""
    units = {"s": 1, "m": 60, "h": 3600}
    match = re.fullmatch(r"([0-9]{1,8}(?:\.[0-9]{1,3})?)([smh])", text)
    if match is None or float(match[1]) == 0:
        raise ValueError("a span of time such as 90s, 10m or 2h")
    return float(match[1]) * units[match[2]]


def _device(text: str) -> str:
    if text not in DEVICES and not re.fullmatch(r"cuda:[0-9]{1,3}", text):
        raise ValueError(f"one of {', '.join(DEVICES)}, or cuda:1 and so on")
    return text


_DEVICE_HELP = f"Where to run: {', '.join(DEVICES)} (over all GPUs and the CPU), or cuda:1 and so on."


def _one_of(name: str, help: str, metavar: str, words: tuple[str, ...]) -> Setting:
    return Setting(name, words[0], f"{help}: {', '.join(words)}.", _choice(*words), metavar, words)


_ALL = (
    Setting("model", "bundled", "Checkpoint: a folder, a hub name or a short name.", _word, "NAME"),
    Setting("revision", None, "Revision of a checkpoint from the hub.", _word, "NAME"),
    Setting("device", "auto", _DEVICE_HELP, _device, "DEVICE", DEVICES),
    _one_of("dtype", "Precision", "DTYPE", DTYPES),
    _one_of("quantize", "Quantization of the language model", "BITS", QUANTIZE),
    Setting("quantize_all", False, "Also quantize the vision tower and the projector.", _yes_or_no, "YES|NO"),
    _one_of("attention", "Attention implementation", "NAME", ATTENTION),
    Setting("offline", False, "Never use the network for checkpoints.", _yes_or_no, "YES|NO"),
    Setting("no_server", False, "Leave a running server alone.", _yes_or_no, "YES|NO"),
    _one_of("prompt", "Prompt form", "FORM", FORMS),
    Setting("system", None, "System line in place of the form's own.", _line, "TEXT"),
    _one_of("fit", "How the picture becomes a square", "FIT", FIT_CHOICES),
    Setting("max_new_tokens", 512, "Longest answer, in tokens.", count_from(1, 1_000_000), "N"),
    Setting("temperature", 0.0, "0 for the likeliest answer, more for varied ones.", _temperature, "NUMBER"),
    Setting("top_p", 1.0, "Share of the likeliest tokens to draw from.", _number(0.001, 1), "NUMBER"),
    Setting("seed", None, "Seed of an answer with a temperature.", read_seed, "N"),
    Setting("width", None, "Stroke where the long side is 336 pixels (3).", _number(0.1, 336), "NUMBER"),
    Setting("alpha", None, "How solid marks are, from 0 to 255 (128).", count_from(0, 255), "N"),
    Setting("max_pixels", None, "Largest picture, in pixels (200,000,000).", count_from(1, 2**40), "N"),
)
SETTINGS = {setting.name: setting for setting in _ALL}


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of every setting, read and checked."""

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
    fit: FitChoice = "auto"
    max_new_tokens: int = 512
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    width: float | None = None
    alpha: int | None = None
    max_pixels: int | None = None
    jitter: int | None = None
    """The seed of a random style; an option alone, never saved."""
    given: frozenset[str] = frozenset()
    """The names of those that an option set, rather than the environment, the file or a default."""


def settings(flags: Mapping[str, Value], option: Callable[[str], str] = str) -> Settings:
    """Every setting's value, the options first; an option of None was not given.

    `option` is how an error calls an option of that name.
    """
    resolved = resolve(flags, option=option)
    jitter = flags.get("jitter")
    values: dict[str, Any] = {name: found.value for name, found in resolved.items()}
    return Settings(
        **values,
        jitter=None if jitter is None else checked(read_seed, str(jitter), option("jitter")),
        given=frozenset(name for name, value in flags.items() if value is not None),
    )


def path() -> Path:
    """The file that settings are kept in."""
    if chosen := os.environ.get("VIPCLI_CONFIG"):
        return Path(chosen)
    import platformdirs

    return platformdirs.user_config_path("vipcli", appauthor=False) / "config.toml"


def resolve(
    flags: Mapping[str, Value],
    environment: Mapping[str, str] = os.environ,
    option: Callable[[str], str] = str,
) -> dict[str, Resolved]:
    """Every setting's value; an option of None was not given."""
    saved = _read_file()
    return {
        name: Resolved(setting, checked(setting.read, str(flags[name]), option(name)), "flag")
        if flags.get(name) is not None
        else _resolve(setting, environment, saved)
        for name, setting in SETTINGS.items()
    }


def _resolve(setting: Setting, environment: Mapping[str, str], kept: Mapping[str, Any]) -> Resolved:
    # An empty variable is one that somebody meant to clear; only the system line can be empty.
    if environment.get(setting.variable) or (setting.variable in environment and setting.name == "system"):
        return Resolved(
            setting, checked(setting.read, environment[setting.variable], setting.variable), "environment"
        )
    if setting.name in kept:
        where = f"The setting {setting.name} in {path()}"
        return Resolved(setting, checked(setting.read, _plain(kept[setting.name], where), where), "file")
    return Resolved(setting, setting.default, "default")


def checked(read: Callable[[str], T], text: str, where: str) -> T:
    """What `read` makes of a text that stood at `where`."""
    try:
        return read(text)
    except ValueError as error:
        raise ConfigError(f"{where} is {text[:60]!r}, but takes {error}.") from None


def _plain(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str | int | float):
        raise ConfigError(f"{where} is neither text nor a number nor true or false.")
    return str(value)


def find(name: str) -> Setting:
    """The setting of that name, dashes allowed."""
    known = SETTINGS.get(name.replace("-", "_"))
    if known is None:
        close = difflib.get_close_matches(name.replace("-", "_"), SETTINGS, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"Known are {', '.join(SETTINGS)}."
        raise ConfigError(f"There is no setting {name[:40]!r}. {hint}")
    return known


def keep(name: str, text: str) -> Value:
    """Write a setting to the file, leaving all else there as it stands."""
    setting = find(name)
    value = checked(setting.read, text, setting.name)
    _change(lambda document: document.__setitem__(setting.name, value))
    return value


def forget(name: str) -> bool:
    """Take a setting, or a name that is none, out of the file; False if it was not there."""
    kept = _parsed()
    if name not in kept:
        name = find(name).name
    if name not in kept:
        return False
    _change(lambda document: document.__delitem__(name))
    return True


def _read_file() -> Mapping[str, Any]:
    kept = _parsed()
    if unknown := [name for name in kept if name not in SETTINGS]:
        raise ConfigError(
            f"{path()} holds {unknown[0]!r}, which is no setting. "
            f"Take it out with vipcli config unset {unknown[0]}."
        )
    return kept


def _parsed() -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads(_text())
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path()} is not valid TOML ({error}). Mend it or delete it.") from None


def _text() -> str:
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
        # Two that change it at once would else each write what they had read before the other.
        with FileLock(path().with_name(f".{path().name}.lock")):
            _parsed()
            document = tomlkit.parse(_text())
            change(document)
            replace_file(path(), tomlkit.dumps(document).encode())
    except OSError as error:
        raise ConfigError(f"{path()} cannot be changed: {error.strerror or error}.") from None
