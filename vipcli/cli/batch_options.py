"""The options of `vipcli batch`, by heading, and the dataclasses that hold their values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from vipcli.cli import options
from vipcli.errors import UsageError
from vipcli.marks.kinds import BY_KIND

SOURCES, SPEED = "Sources and regions", "Speed"
_FORMS = ("photos", "coco", "labelme", "yolo", "voc", "masks", "vip-bench")

# The types of options; None means that the option was not typed.
Flag = bool | None
Number = float | None
Text = str | None
Integer = int | None


def _option(heading: str, *names: str, **details: Any) -> Any:
    return typer.Option(*names, rich_help_panel=heading, **details)


SOURCE_OPTIONS = options.OptionGroup(
    {
        "question": Annotated[
            Text,
            _option(
                SOURCES,
                metavar="TEXT",
                help="What to ask. {1}, {2} … stand for the marks; {label}, {id} and {file} for the label, "
                "id and file name of the item.",
            ),
        ],
        "images": Annotated[
            Text,
            _option(SOURCES, metavar="FOLDER", help="Folder of the pictures named in tasks or annotations."),
        ],
        "form": Annotated[
            Text,
            _option(
                SOURCES,
                metavar="FORM",
                help=f"Format of the source, if it is not detected: {', '.join(_FORMS)}.",
                autocompletion=options.complete_word(*_FORMS),
            ),
        ],
        "joint": Annotated[
            Flag,
            _option(
                SOURCES,
                "--joint/--per-region",
                help="Ask once about all regions of a picture together, or about each region.",
            ),
        ],
        "drawn_as": Annotated[
            Text,
            _option(
                SOURCES,
                "--as",
                metavar="KIND",
                help=f"Draw annotated regions as this kind of mark: {', '.join(BY_KIND)}.",
                autocompletion=options.complete_word(*BY_KIND),
            ),
        ],
        "label": Annotated[
            list[str] | None,
            _option(SOURCES, metavar="NAME", help="Only regions with this label; may be repeated."),
        ],
        "min_size": Annotated[
            Number,
            _option(SOURCES, metavar="PIXELS", min=0, help="Only regions of at least this area."),
        ],
        "max_size": Annotated[
            Number, _option(SOURCES, metavar="PIXELS", min=0, help="Only regions of at most this area.")
        ],
        "min_score": Annotated[
            Number,
            _option(
                SOURCES,
                metavar="NUMBER",
                min=0,
                help="Only regions with at least this score; those without a score are kept.",
            ),
        ],
        "limit": Annotated[Integer, _option(SOURCES, metavar="N", min=1, help="Only the first N items.")],
    }
)
SPEED_OPTIONS = options.OptionGroup(
    {
        "together": Annotated[
            Integer,
            _option(SPEED, metavar="N", min=1, max=4096, help="Questions to answer at a time."),
        ],
        "readers": Annotated[
            Integer,
            _option(SPEED, metavar="N", min=1, max=256, help="Threads that read and mark pictures."),
        ],
        "on": Annotated[
            Text, _option(SPEED, metavar="ray", help="Run on a Ray cluster, not in this process.")
        ],
        "workers": Annotated[
            Integer,
            _option(
                SPEED,
                metavar="N",
                min=1,
                max=10_000,
                help="Number of models on the cluster (default: one per GPU, or per machine without GPUs).",
            ),
        ],
    }
)
OUTPUT_OPTIONS = options.OptionGroup(
    {
        "out": Annotated[
            Text,
            _option(
                options.OUTPUT,
                "--output",
                "-o",
                metavar="FILE",
                help="Output file: .jsonl, .csv, .tsv or .parquet.",
            ),
        ],
        "resume": Annotated[
            Flag,
            _option(
                options.OUTPUT,
                "--resume",
                help="Continue the output file: ask only about items without a row.",
            ),
        ],
        "retry_failed": Annotated[
            Flag,
            _option(
                options.OUTPUT,
                "--retry-failed",
                help="Continue the output file, and ask again about failed items.",
            ),
        ],
        "save_marked": Annotated[
            Text, _option(options.OUTPUT, metavar="FOLDER", help="Save the marked pictures in this folder.")
        ],
        "coco_out": Annotated[
            Text,
            _option(options.OUTPUT, metavar="FILE", help="Write a copy of the COCO file with the answers."),
        ],
        "dry_run": Annotated[
            Flag,
            _option(
                options.OUTPUT,
                "--dry-run",
                help="Print what would be asked about each item and save marked pictures, without a model.",
            ),
        ],
        "json": Annotated[
            Flag,
            _option(options.OUTPUT, "--json", help="Print rows, or with -o the final counts, as JSON."),
        ],
        "quiet": Annotated[
            Flag, _option(options.OUTPUT, "--quiet", "-q", help="Print no notes and no progress.")
        ],
    }
)


@dataclass(frozen=True, slots=True)
class SourceChoices:
    """What to ask, and about which regions of the sources."""

    question: str | None
    images: str | None
    form: str | None
    joint: bool | None
    drawn_as: str | None
    label: list[str] | None
    min_size: float | None
    max_size: float | None
    min_score: float | None
    limit: int | None

    def __post_init__(self) -> None:
        if self.drawn_as is not None and self.drawn_as not in BY_KIND:
            raise UsageError(f"--as is {self.drawn_as!r}, but takes one of {', '.join(BY_KIND)}.")
        if self.form is not None and self.form not in _FORMS:
            raise UsageError(f"--form is {self.form!r}, but takes one of {', '.join(_FORMS)}.")


@dataclass(frozen=True, slots=True)
class SpeedChoices:
    """How many questions at a time, and where."""

    together: int | None
    readers: int | None
    on: str | None
    workers: int | None

    def __post_init__(self) -> None:
        if self.on not in (None, "ray"):
            raise UsageError(
                f"--on is {self.on!r}, but can only be ray. To run on this machine, leave it out."
            )
        if self.workers is not None and self.on is None:
            raise UsageError("--workers is for a cluster. Add --on ray, or leave out --workers.")


@dataclass(frozen=True, slots=True)
class OutputChoices:
    """What to write and print."""

    out: str | None
    resume: bool
    retry_failed: bool
    save_marked: str | None
    coco_out: str | None
    dry_run: bool
    json: bool
    quiet: bool

    def __post_init__(self) -> None:
        for flag in ("resume", "retry_failed", "dry_run", "json", "quiet"):
            # Typer gives None for a flag that is not set.
            object.__setattr__(self, flag, bool(getattr(self, flag)))
        if (self.resume or self.retry_failed or self.coco_out is not None) and self.out is None:
            raise UsageError("Name the output file with -o.")
