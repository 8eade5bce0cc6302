"""`vipcli batch`: many pictures or regions to rows in a file."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vipcli.cli import options
from vipcli.cli.groups import command
from vipcli.cli.shared import model_of, notes
from vipcli.config import Settings
from vipcli.errors import INTERRUPTED, SOME_FAILED, UsageError
from vipcli.marks.kinds import BY_KIND
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.batch.items import Job
    from vipcli.batch.job import Outcome, Target, Work
    from vipcli.batch.preparing import Plan

SOURCES, SPEED = "Sources and regions", "Speed"
_FORMS = ("photos", "coco", "labelme", "yolo", "voc", "masks", "vip-bench")


def _option(heading: str, *names: str, **details: Any) -> Any:
    return typer.Option(*names, rich_help_panel=heading, **details)


Text = str | None

SOURCE_OPTIONS = options.OptionGroup(
    {
        "images": Annotated[
            Text,
            _option(SOURCES, metavar="FOLDER", help="Where the pictures are that tasks or annotations name."),
        ],
        "form": Annotated[
            Text,
            _option(
                SOURCES,
                metavar="FORM",
                help=f"Form of a source ({', '.join(_FORMS)}); its content tells otherwise.",
                autocompletion=options.complete_word(*_FORMS),
            ),
        ],
        "joint": Annotated[
            bool | None,
            _option(
                SOURCES,
                "--joint/--per-region",
                help="Mark all annotated regions of a picture and ask once, or ask about each.",
            ),
        ],
        "drawn_as": Annotated[
            Text,
            _option(
                SOURCES,
                "--as",
                metavar="KIND",
                help=f"What annotated regions are drawn as: {', '.join(BY_KIND)}.",
                autocompletion=options.complete_word(*BY_KIND),
            ),
        ],
        "label": Annotated[
            list[str] | None,
            _option(SOURCES, metavar="NAME", help="Only regions of this label; may be repeated."),
        ],
        "min_size": Annotated[
            float | None,
            _option(SOURCES, metavar="PIXELS", min=0, help="Only regions of at least this area."),
        ],
        "max_size": Annotated[
            float | None, _option(SOURCES, metavar="PIXELS", min=0, help="Only regions of at most this area.")
        ],
        "min_score": Annotated[
            float | None,
            _option(SOURCES, metavar="NUMBER", min=0, help="Only regions of at least this score, if any."),
        ],
        "limit": Annotated[
            int | None, _option(SOURCES, metavar="N", min=1, help="Only the first so many items.")
        ],
    }
)
SPEED_OPTIONS = options.OptionGroup(
    {
        "together": Annotated[
            int | None,
            _option(SPEED, metavar="N", min=1, max=4096, help="Questions to answer side by side."),
        ],
        "readers": Annotated[
            int | None,
            _option(SPEED, metavar="N", min=1, max=256, help="Threads that read and mark pictures."),
        ],
        "on": Annotated[
            Text, _option(SPEED, metavar="ray", help="Run on a Ray cluster, not in this process.")
        ],
        "workers": Annotated[
            int | None,
            _option(
                SPEED,
                metavar="N",
                min=1,
                max=10_000,
                help="Models on the cluster (default: one a GPU; without GPUs, one a machine).",
            ),
        ],
    }
)
ROW_OPTIONS = options.OptionGroup(
    {
        "out": Annotated[
            Text,
            _option(
                options.OUTPUT,
                "--output",
                "-o",
                metavar="FILE",
                help="Where rows go: .jsonl, .csv, .tsv or .parquet.",
            ),
        ],
        "resume": Annotated[
            bool | None,
            _option(options.OUTPUT, "--resume", help="Go on with the file: ask only what has no row there."),
        ],
        "retry_failed": Annotated[
            bool | None,
            _option(options.OUTPUT, "--retry-failed", help="Go on, and ask again where the row is an error."),
        ],
        "save_marked": Annotated[
            Text, _option(options.OUTPUT, metavar="FOLDER", help="Save the marked pictures there.")
        ],
        "coco_out": Annotated[
            Text,
            _option(
                options.OUTPUT, metavar="FILE", help="Write the COCO file once more, with the answers in it."
            ),
        ],
    }
)


@dataclass(frozen=True, slots=True)
class SourceChoices:
    """Which regions of which sources are asked about."""

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
    """How many questions at once, and where."""

    together: int | None
    readers: int | None
    on: str | None
    workers: int | None

    def __post_init__(self) -> None:
        if self.on not in (None, "ray"):
            raise UsageError(f"--on is {self.on!r}, but takes ray. Without it, this process does the work.")
        if self.workers is not None and self.on is None:
            raise UsageError("Workers are those of a cluster. Add --on ray, or leave out --workers.")


@dataclass(frozen=True, slots=True)
class RowChoices:
    """Where rows and pictures go."""

    out: str | None
    resume: bool | None
    retry_failed: bool | None
    save_marked: str | None
    coco_out: str | None

    def __post_init__(self) -> None:
        if (self.resume or self.retry_failed or self.coco_out is not None) and self.out is None:
            raise UsageError("Name the file of rows with -o.")


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="A folder, pictures, a glob, a list (.txt, or - for standard input), tasks (.jsonl, .csv) "
            "or annotations (COCO, labelme, YOLO, VOC, masks, ViP-Bench).",
        ),
    ],
    *,
    question: Annotated[
        str | None,
        typer.Option(
            "--question",
            metavar="TEXT",
            help="What to ask; {1}, {2} … stand for the marks, {label}, {id} and {file} for the item's own.",
            rich_help_panel=SOURCES,
        ),
    ] = None,
    regions: Annotated[SourceChoices, SOURCE_OPTIONS],
    rows: Annotated[RowChoices, ROW_OPTIONS],
    marks: options.Marks,
    frames: options.Frames = None,
    settings: Annotated[
        Settings,
        options.MODEL_OPTIONS,
        options.ANSWER_OPTIONS,
        options.FIT_OPTIONS,
        options.STYLE_OPTIONS,
    ],
    speed: Annotated[SpeedChoices, SPEED_OPTIONS],
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be asked of each item, save pictures if asked to; run no model.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print rows, or with -o the closing figures, as JSON.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="Print no notes and no progress.", rich_help_panel=options.OUTPUT),
    ] = False,
) -> None:
    """Ask about many pictures or regions, each answer safe in its row as it comes.

    vipcli batch photos/ --question "What is {1}?" --box 25%,25%,75%,75% -o a.jsonl
    vipcli batch annotations.json --question "What color is the {label}?" -o a.csv
    """
    from vipcli.batch.items import Orders
    from vipcli.batch.sources import gather
    from vipcli.marks.regions import Wanted

    sources, question = _with_old_question(sources, question, quiet)
    if question is not None and not question.strip():
        raise UsageError("The question is empty. Ask something, or leave it out to have one asked for you.")
    if rows.coco_out is not None and len(sources) > 1:
        raise UsageError("With --coco-out, name one COCO file as the only source.")
    orders = Orders(
        question=question,
        typed=tuple(marks),
        images=None if regions.images is None else _folder(regions.images),
        form=regions.form,
        joint=bool(regions.joint),
        wanted=Wanted(tuple(regions.label or ()), regions.min_size, regions.max_size, regions.min_score),
        videos=frames is not None,
        leave_out=() if rows.save_marked is None else (Path(rows.save_marked),),
    )
    # Chance must be the same whenever the batch goes on.
    settings = replace(settings, seed=settings.seed or 0)
    job = gather(sources, orders)
    notes(job.notes, quiet=quiet)
    _carry_out(job, sources, regions, rows, speed, settings, frames, dry_run=dry_run, json=json, quiet=quiet)


def _with_old_question(sources: list[str], question: str | None, quiet: bool) -> tuple[list[str], str | None]:
    """`-q` was the question once: a sentence that follows it is taken as such, with a warning."""
    if question is not None or not quiet or len(sources) < 2:
        return sources, question
    sentences = [source for source in sources if re.search(r"\s|\?$", source) and not _is_there(source)]
    if len(sentences) != 1:
        return sources, question
    output.note("-q is --quiet. Give the question with --question.")
    return [source for source in sources if source != sentences[0]], sentences[0]


def _is_there(name: str) -> bool:
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def _carry_out(
    job: Job,
    sources: list[str],
    regions: SourceChoices,
    rows: RowChoices,
    speed: SpeedChoices,
    settings: Settings,
    frames: int | None,
    *,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    with output.status("Loading …", quiet):
        from vipcli.batch import job as jobs
    if regions.limit is not None:
        job = jobs.first_of(job, regions.limit)
    target = jobs.Target(
        None if rows.out is None else Path(rows.out),
        as_json=json,
        resume=bool(rows.resume or rows.retry_failed),
        retry_failed=bool(rows.retry_failed),
        whole=regions.limit is None,
        coco=None if rows.coco_out is None else (Path(sources[0]), Path(rows.coco_out)),
    )
    if not dry_run:
        target.check()
    model = model_of(settings, quiet=quiet)
    plan = _plan(model, regions, rows, speed, frames, quiet=quiet)
    if dry_run:
        if jobs.print_questions(job, plan, as_json=json):
            raise typer.Exit(SOME_FAILED)
        return
    outcome = jobs.carry_out(job, target, _work(model, plan, speed, quiet=quiet), quiet=quiet)
    _close(outcome, target, as_json=json and rows.out is not None, quiet=quiet)


def _plan(
    model: Model,
    regions: SourceChoices,
    rows: RowChoices,
    speed: SpeedChoices,
    frames: int | None,
    *,
    quiet: bool,
) -> Plan:
    from vipcli.asking.interface import Sampling
    from vipcli.asking.values import Drawing
    from vipcli.batch.preparing import Plan
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    settings = model.settings
    plan = Plan(
        model.checkpoint,
        model.setup,
        Drawing.of(settings),
        regions.drawn_as,
        settings.prompt,
        settings.system,
        settings.fit,
        Sampling.of(settings),
        settings.max_pixels or DEFAULT_MAX_PIXELS,
        save_marked=None if rows.save_marked is None else Path(rows.save_marked),
    )
    given: dict[str, Any] = {
        "frames": frames,
        "together": _side_by_side(speed.together, settings, quiet=quiet),
        "readers": speed.readers,
    }
    return replace(plan, **{name: value for name, value in given.items() if value is not None})


def _side_by_side(together: int | None, settings: Settings, *, quiet: bool) -> int | None:
    """How many questions to answer at once; None for the default of a batch."""
    if settings.temperature:
        if together is not None and together > 1 and not quiet:
            output.note("With a --temperature, each is answered alone, so that its seed repeats it.")
        return 1
    from vipcli.checkpoints.catalog import BUNDLED

    if together is None and settings.model != BUNDLED:
        from vipcli.engine.loading import on_processor

        # A large model on a processor takes minutes over several, and a row is to be safe before that.
        return 1 if on_processor(settings.device) else None
    return together


def _work(model: Model, plan: Plan, speed: SpeedChoices, *, quiet: bool) -> Work:
    from vipcli.batch import job as jobs

    if speed.on is None:
        return jobs.here(plan, model.local)
    from vipcli.batch.ray_cluster import on_ray

    tell: Callable[[str], None] = (lambda _: None) if quiet else output.note
    return on_ray(plan, speed.workers, tell)


def _close(outcome: Outcome, target: Target, *, as_json: bool, quiet: bool) -> None:
    """Say how a batch ended, and leave with the code that says so."""
    if as_json:
        output.write_json(outcome.record)
    else:
        notes(tuple(outcome.lines), quiet=quiet)
    if outcome.stopped:
        if target.path is not None:
            notes(["Go on with the same command and --resume."], quiet=quiet)
        raise typer.Exit(INTERRUPTED)
    if outcome.tally.errors:
        if target.path is not None:
            notes(["Rows with an error say why. --retry-failed asks them again."], quiet=quiet)
        raise typer.Exit(SOME_FAILED)


def _folder(path: str) -> Path:
    if not _is_there(path) or not Path(path).is_dir():
        raise UsageError(f"There is no folder {path[:200]!r}. Check the path.")
    return Path(path)


batch_command = command(options.expanded(batch), marks=True)
