"""The options that commands share, each declared once; a command receives them as one typed value."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from vipcli import config
from vipcli.cli.groups import MARK_ARGUMENTS
from vipcli.cli.mark_arguments import MarkArguments
from vipcli.config import Settings
from vipcli.errors import UsageError

if TYPE_CHECKING:
    from vipcli.asking.interface import Grammar

MARKS, DRAWING, ANSWER, MODEL, OUTPUT = "Marks", "Drawing", "Prompt and answer", "Model", "Output"
"""The headings of the help."""


@dataclass(frozen=True, slots=True)
class OptionGroup:
    """Options that a command receives together, by parameter name."""

    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class GrammarChoices:
    """What the answer must look like."""

    schema: str | None
    pattern: str | None

    def read(self) -> Grammar | None:
        """The grammar, read and checked; None if any answer will do."""
        from vipcli.asking.grammars import read_grammar

        return read_grammar(self.schema, self.pattern)


def complete_model(incomplete: str) -> list[str]:
    """The short names of checkpoints that begin with these letters."""
    from vipcli.checkpoints.catalog import BUNDLED, KNOWN

    return [name for name in (BUNDLED, *KNOWN) if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[str]:
    """The names of settings that begin with these letters."""
    return [name for name in config.SETTINGS if name.startswith(incomplete)]


def complete_word(*words: str) -> Callable[[str], list[str]]:
    """Complete an option that takes one of these words."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in words if word.startswith(incomplete)]

    return complete


def _complete_color(incomplete: str) -> list[str]:
    from vipcli.marks.colors import TRAINED

    coordinates, colon, color = incomplete.rpartition(":")
    return [f"{coordinates}:{name}" for name in TRAINED if name.startswith(color)] if colon else []


def _mark_option(metavar: str, text: str) -> Any:
    option = typer.Option(metavar=metavar, help=text, autocompletion=_complete_color, rich_help_panel=MARKS)
    return Annotated[list[str] | None, option]


def setting(name: str, heading: str, *names: str) -> Any:
    """An option for a setting; its text is parsed as in the environment and the settings file."""
    entry = config.SETTINGS[name]
    default = "" if entry.default in (None, False) else f" (default: {entry.default})"
    flag = entry.default is False
    option = typer.Option(
        *names,
        help=entry.help + default,
        metavar=None if flag else entry.metavar,
        autocompletion=complete_model if name == "model" else complete_word(*entry.choices),
        rich_help_panel=heading,
    )
    return Annotated[bool | None, option] if flag else Annotated[str | None, option]


MARK_OPTIONS = OptionGroup(
    {
        "box": _mark_option("X1,Y1,X2,Y2[:COLOR]", "A rectangle, in pixels or percent."),
        "ellipse": _mark_option("X1,Y1,X2,Y2[:COLOR]", "An ellipse that fills the rectangle."),
        "triangle": _mark_option("X1,Y1,X2,Y2[:COLOR]", "A triangle inside the rectangle."),
        "point": _mark_option("X,Y[:COLOR]", "A filled point."),
        "arrow": _mark_option("[X1,Y1,]X2,Y2[:COLOR]", "An arrow to a tip, or from a tail to a tip."),
        "scribble": _mark_option("'X,Y X,Y …[:COLOR]'", "A stroke through two or more points."),
        "contour": _mark_option(
            "FILE|'X,Y …'[:COLOR]", "The outline of a mask image, of points or of a box."
        ),
        "mask": _mark_option("FILE|'X,Y …'[:COLOR]", "A filled mask image, polygon or box."),
    }
)
STYLE_OPTIONS = OptionGroup(
    {
        "width": setting("width", DRAWING),
        "alpha": setting("alpha", DRAWING),
        "jitter": Annotated[
            str | None,
            typer.Option(
                metavar="SEED",
                help="Draw in a random style from training; the same seed gives the same style.",
                rich_help_panel=DRAWING,
            ),
        ],
        "max_pixels": setting("max_pixels", DRAWING),
    }
)
PICK_OPTIONS = OptionGroup({name: setting(name, MARKS) for name in ("pick", "no_input")})
FIT_OPTIONS = OptionGroup({name: setting(name, DRAWING) for name in ("fit", "zoom")})
ANSWER_OPTIONS = OptionGroup(
    {
        name: setting(name, ANSWER)
        for name in ("prompt", "system", "guide", "max_new_tokens", "temperature", "top_p", "seed")
    }
)
SCORING_OPTIONS = OptionGroup({name: setting(name, ANSWER) for name in ("score", "logprobs")})
CHOICE_OPTIONS = OptionGroup(
    {
        "choices": Annotated[
            str | None,
            typer.Option(
                metavar="A,B,…",
                help="Answer with the likeliest of these instead of a free text.",
                rich_help_panel=ANSWER,
            ),
        ],
        "choices_file": Annotated[
            str | None,
            typer.Option(
                metavar="FILE", help="Choices from a file, one on each line.", rich_help_panel=ANSWER
            ),
        ],
        "yes_no": Annotated[
            bool, typer.Option("--yes-no", help="Answer with yes or no.", rich_help_panel=ANSWER)
        ],
    }
)
MODEL_OPTIONS = OptionGroup(
    {
        name: setting(name, MODEL)
        for name in (
            "model",
            "revision",
            "device",
            "dtype",
            "quantize",
            "quantize_all",
            "attention",
            "offline",
        )
    }
)
REVISION_OPTIONS = OptionGroup({"revision": MODEL_OPTIONS.options["revision"]})
PIXEL_OPTIONS = OptionGroup({"max_pixels": setting("max_pixels", DRAWING)})
RUN_OPTIONS = OptionGroup({name: option for name, option in MODEL_OPTIONS.options.items() if name != "model"})
SERVER_OPTIONS = OptionGroup(
    {
        "no_server": Annotated[
            bool | None,
            typer.Option(
                "--no-server/--use-server", help="Ignore a running server, or use it.", rich_help_panel=MODEL
            ),
        ]
    }
)

GRAMMAR_OPTIONS = OptionGroup(
    {
        "schema": Annotated[
            str | None,
            typer.Option(
                metavar="FILE.json|FIELDS",
                help="Answer in JSON that fits a JSON schema, or the fields of a short form: "
                "'color: str, count: int, open: bool'.",
                rich_help_panel=ANSWER,
            ),
        ],
        "pattern": Annotated[
            str | None,
            typer.Option(
                metavar="REGEX",
                help="Answer in text that matches this regular expression as a whole.",
                rich_help_panel=ANSWER,
            ),
        ],
    }
)

Marks = Annotated[MarkArguments, MARK_OPTIONS]
Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="A file, an http(s) URL, or - for standard input.")
]
MoreImages = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        help="Another picture. Marks on the second picture begin with 2:, and so on.",
        rich_help_panel=MARKS,
    ),
]
Frames = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        max=128,
        help="Number of frames to take from a video (default: 8). A mark is drawn on all of them, or only on "
        "the third if it begins with 3:.",
        rich_help_panel=MARKS,
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A short name or a hub name.", autocompletion=complete_model),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes.", rich_help_panel=OUTPUT)]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Show which model answers and how long it takes.", rich_help_panel=OUTPUT
    ),
]
ShowView = Annotated[
    bool, typer.Option("--show", help="Show in the terminal what the model sees.", rich_help_panel=OUTPUT)
]


@dataclass(frozen=True, slots=True)
class ChoiceOptions:
    """Where the answers to choose from come from; at most one of these is given."""

    choices: str | None
    choices_file: str | None
    yes_no: bool | None

    def __post_init__(self) -> None:
        given = [name for name in ("choices", "choices_file", "yes_no") if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(f"{option_name(given[0])} and {option_name(given[1])} exclude each other.")

    def texts(self, model: str) -> tuple[str, ...]:
        """The choices for a model; none if it may write freely."""
        from vipcli.asking.choices import check_choices, parse_choices, read_choices, yes_no
        from vipcli.checkpoints.prompt_forms import HUMAN

        if self.yes_no:
            return yes_no(model)
        if self.choices_file is not None:
            return check_choices(read_choices(Path(self.choices_file)), HUMAN)
        return () if self.choices is None else check_choices(parse_choices(self.choices), HUMAN)


def expand_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function the signature that Typer needs, with a parameter for each option of its groups.

    A parameter of type `Annotated[Settings, GROUP, …]` receives the settings. With another dataclass in place
    of `Settings`, it receives an instance whose fields are the options. A parameter of type `Marks` receives
    the marks, in the order they were typed.
    """
    flat = [inspect.Parameter("ctx", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    grouped: dict[str, tuple[Any, list[str]]] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        kind, *extras = get_args(parameter.annotation) or (parameter.annotation,)
        groups = [extra for extra in extras if isinstance(extra, OptionGroup)]
        if not groups:
            flat.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        options = {name: option for group in groups for name, option in group.options.items()}
        grouped[parameter.name] = kind, list(options)
        flat += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=option)
            for name, option in options.items()
        ]

    def run(ctx: typer.Context, **values: Any) -> None:
        for name, (kind, names) in grouped.items():
            given = {option: values.pop(option) for option in names}
            values[name] = _build_value(kind, given, ctx)
        function(**values)

    run.__name__, run.__doc__ = function.__name__, function.__doc__
    run.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    run.__annotations__ = {}
    return run


def _build_value(kind: Any, given: dict[str, Any], ctx: typer.Context) -> Any:
    """Build the value of a parameter from the options of its groups."""
    if kind is Settings:
        return config.settings(given, option_name)
    if kind is MarkArguments:
        return ctx.meta[MARK_ARGUMENTS]
    return kind(**given)


def option_name(name: str) -> str:
    """The option for a setting, as it is typed."""
    return f"--{name.replace('_', '-')}"


def as_option(name: str, value: str | None) -> str:
    """A setting as the command line writes it, for advice in messages."""
    return option_name(name) if value is None else f"{option_name(name)} {shlex.quote(value)}"
