"""The command line: read arguments, call, show, exit. Anything heavy is imported inside a command."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from vipcli import __version__, config
from vipcli.checkpoints.catalog import BUNDLED
from vipcli.errors import FAILED, INTERRUPTED, SOME_FAILED, ConversationError, UsageError, VipcliError
from vipcli.marks.kinds import BY_KIND
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.asking.interface import Answerer, Sampling, Setup, Several
    from vipcli.asking.values import Drawing, Marked, Question
    from vipcli.batch.job import Outcome, Target
    from vipcli.chat.archive import Kept
    from vipcli.chat.conversation import Manner, Scene
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.marks.kinds import TypedMark
    from vipcli.serving.client import Held

MARK_OPTIONS = tuple(BY_KIND)
_TYPED_MARKS = "vipcli.typed_marks"


class QuickGroup(TyperGroup):
    """A group that goes straight to a command named first.

    Otherwise Typer reads the group's own options before it, and loads pydantic to do so: a third of the
    time that a command's --help takes.
    """

    _straight = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self._straight = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        return [] if self._straight else super().get_params(ctx)


class MarkingCommand(TyperCommand):
    """A command that knows in which order marks of different kinds were typed."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        # Options come to a command sorted by name, so the order across them is read here, ahead of that.
        values, _, order = self.make_parser(ctx).parse_args(args=list(args))
        given = [param.name for param in order if param.name in MARK_OPTIONS]
        queues = {kind: iter(values[kind]) for kind in set(given)}
        ctx.meta[_TYPED_MARKS] = [(kind, next(queues[kind])) for kind in given]
        return super().parse_args(ctx, args)


def _group(help: str) -> typer.Typer:
    return typer.Typer(
        cls=QuickGroup,
        help=help,
        invoke_without_command=True,
        # Plain help is twice as fast as Rich's boxes, and reads as well in a pipe.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


app = _group("Point at part of a picture, ask, and get an answer.")
config_app = _group("Show and change the settings that are kept.")
app.add_typer(config_app, name="config")
models_app = _group("List the checkpoints that are known, fetch them and take them away again.")
app.add_typer(models_app, name="models")


def _complete_color(incomplete: str) -> list[str]:
    from vipcli.marks.colors import TRAINED

    place, colon, color = incomplete.rpartition(":")
    return [f"{place}:{name}" for name in TRAINED if name.startswith(color)] if colon else []


def _complete_setting(incomplete: str) -> list[str]:
    return [name for name in config.SETTINGS if name.startswith(incomplete)]


def _complete_model(incomplete: str) -> list[str]:
    from vipcli.checkpoints.catalog import BUNDLED, KNOWN

    return [name for name in (BUNDLED, *KNOWN) if name.startswith(incomplete)]


def _complete_value(setting: config.Setting) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        if setting.name == "model":
            return _complete_model(incomplete)
        return [word for word in setting.choices if word.startswith(incomplete)]

    return complete


def _mark(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, autocompletion=_complete_color)


def _setting(name: str) -> Any:
    """An option whose text the setting of that name reads, as it reads the environment's and the file's."""
    setting = config.SETTINGS[name]
    shown = "" if setting.default in (None, False) else f" (default: {setting.default})"
    return typer.Option(
        help=setting.help + shown,
        metavar=None if setting.default is False else setting.metavar,
        autocompletion=_complete_value(setting),
    )


Image = Annotated[
    str, typer.Argument(metavar="IMAGE", help="A file, an http(s) address, or - for standard input.")
]
Boxes = Annotated[list[str] | None, _mark("X1,Y1,X2,Y2[:COLOUR]", "A rectangle. Pixels or percent.")]
Ellipses = Annotated[list[str] | None, _mark("X1,Y1,X2,Y2[:COLOUR]", "An ellipse that fills the rectangle.")]
Triangles = Annotated[list[str] | None, _mark("X1,Y1,X2,Y2[:COLOUR]", "A triangle inside the rectangle.")]
Points = Annotated[list[str] | None, _mark("X,Y[:COLOUR]", "A filled point.")]
Arrows = Annotated[
    list[str] | None, _mark("[X1,Y1,]X2,Y2[:COLOUR]", "An arrow to a tip, or from a tail to a tip.")
]
Scribbles = Annotated[list[str] | None, _mark("'X,Y X,Y …[:COLOUR]'", "A stroke through two or more points.")]
Contours = Annotated[
    list[str] | None,
    _mark("FILE|'X,Y X,Y …'[:COLOUR]", "The outline of a mask image, of points or of a box."),
]
Masks = Annotated[
    list[str] | None, _mark("FILE|'X,Y X,Y …'[:COLOUR]", "A filled mask image, polygon or box.")
]
Width = Annotated[str | None, _setting("width")]
Alpha = Annotated[str | None, _setting("alpha")]
Jitter = Annotated[
    str | None,
    typer.Option(metavar="SEED", help="Draw at random from the trained styles, repeatably."),
]
MaxPixels = Annotated[str | None, _setting("max_pixels")]
Fitting = Annotated[str | None, _setting("fit")]
Prompt = Annotated[str | None, _setting("prompt")]
System = Annotated[str | None, _setting("system")]
MaxNewTokens = Annotated[str | None, _setting("max_new_tokens")]
Temperature = Annotated[str | None, _setting("temperature")]
TopP = Annotated[str | None, _setting("top_p")]
Seed = Annotated[str | None, _setting("seed")]
Model = Annotated[str | None, _setting("model")]
Revision = Annotated[str | None, _setting("revision")]
Device = Annotated[str | None, _setting("device")]
Dtype = Annotated[str | None, _setting("dtype")]
Quantize = Annotated[str | None, _setting("quantize")]
QuantizeAll = Annotated[bool | None, _setting("quantize_all")]
Attention = Annotated[str | None, _setting("attention")]
Offline = Annotated[bool | None, _setting("offline")]
NoServer = Annotated[
    bool | None, typer.Option("--no-server/--use-server", help="Leave a running server alone, or use one.")
]
MoreImages = Annotated[
    list[str] | None,
    typer.Option(
        "--image",
        metavar="IMAGE",
        help="One more picture. Marks on the second begin with 2: and so on.",
    ),
]
Frames = Annotated[
    str | None,
    typer.Option(
        metavar="NUMBER",
        help="Of a video, how many frames to look at (default: 8). Marks are drawn on all of them, "
        "or on the third where they begin with 3:.",
    ),
]
ModelName = Annotated[
    str,
    typer.Argument(metavar="NAME", help="A short name or a hub name.", autocompletion=_complete_model),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no notes.")]


@app.callback()
def _top(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        output.say(f"vipcli {__version__}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        output.say(ctx.get_help())


@app.command(cls=MarkingCommand)
def ask(
    ctx: typer.Context,
    image: Image,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="What to ask; {1}, {2} … stand for the marks. Without one, the marks are asked about.",
        ),
    ] = None,
    more: MoreImages = None,
    frames: Frames = None,
    box: Boxes = None,
    ellipse: Ellipses = None,
    triangle: Triangles = None,
    point: Points = None,
    arrow: Arrows = None,
    scribble: Scribbles = None,
    contour: Contours = None,
    mask: Masks = None,
    width: Width = None,
    alpha: Alpha = None,
    jitter: Jitter = None,
    fit: Fitting = None,
    max_pixels: MaxPixels = None,
    save_marked: Annotated[str | None, typer.Option(metavar="FILE", help="Keep the marked picture.")] = None,
    show: Annotated[
        bool,
        typer.Option("--show", help="Show in the terminal what the model sees."),
    ] = False,
    prompt: Prompt = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    quantize_all: QuantizeAll = None,
    attention: Attention = None,
    offline: Offline = None,
    no_server: NoServer = None,
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN",
            help="Keep the model in memory for later questions, until none has come for so long: 10m, 2h.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the exact prompt and the marks; run no model.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say which model answers and how long it takes.")
    ] = False,
) -> None:
    """Ask about a picture, or about what is marked on it.

    vipcli ask photo.jpg "What is within the red rectangle?" --box 40,60,200,220
    """
    from vipcli.checkpoints import lookup

    started = time.perf_counter()
    settings = _settings(ctx)
    if save_marked == "-":
        raise UsageError("Standard output is for the answer. Name a file, or use vipcli draw -o - instead.")
    typed = _typed_marks(ctx)
    if question is not None and not Path(image).exists() and Path(question).is_file():
        raise UsageError("The picture comes before the question: vipcli ask PICTURE QUESTION.")
    marked = _marked([image, *(more or [])], typed, settings, jitter, frames)
    # Whatever is wrong with the question is told before a checkpoint is fetched.
    checkpoint = lookup.peek(settings["model"], revision=settings["revision"])
    if checkpoint.lacks_template(settings["prompt"]) and not dry_run:
        checkpoint = _find(settings, quiet)
    prepared = _prepare(marked, question, checkpoint, settings)
    if not quiet:
        _tell(prepared)
    if save_marked is not None:
        _save(marked, typed, save_marked, quiet)
    if show:
        _show_view(prepared, checkpoint)
    if dry_run:
        if checkpoint.assumed and not quiet:
            output.note(
                f"{checkpoint.name} is not here yet. This is the prompt of the ViP-LLaVA checkpoints."
            )
        _print_plan(prepared, json)
        return
    seconds = {"picture": time.perf_counter() - started}
    held = _server(checkpoint, settings)
    found = checkpoint if held is not None else _find(settings, quiet)
    if found != checkpoint:
        told, prepared = prepared, _prepare(marked, question, found, settings)
        if not quiet:
            _tell(prepared, told)
    answerer = _answerer(found, settings, held, quiet=quiet, verbose=verbose, keep_alive=_span(keep_alive))
    seconds["load"] = time.perf_counter() - started - seconds["picture"]
    _answer(prepared, answerer, settings, seconds, json=json, quiet=quiet, verbose=verbose)


@app.command(cls=MarkingCommand)
def chat(
    ctx: typer.Context,
    image: Annotated[
        str | None,
        typer.Argument(
            metavar="IMAGE", help="A file or an http(s) address; with --resume, in place of the last."
        ),
    ] = None,
    more: MoreImages = None,
    frames: Frames = None,
    box: Boxes = None,
    ellipse: Ellipses = None,
    triangle: Triangles = None,
    point: Points = None,
    arrow: Arrows = None,
    scribble: Scribbles = None,
    contour: Contours = None,
    mask: Masks = None,
    width: Width = None,
    alpha: Alpha = None,
    jitter: Jitter = None,
    fit: Fitting = None,
    max_pixels: MaxPixels = None,
    resume: Annotated[bool, typer.Option("--resume", help="Take up the last conversation.")] = False,
    prompt: Prompt = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    quantize_all: QuantizeAll = None,
    attention: Attention = None,
    offline: Offline = None,
    no_server: NoServer = None,
    quiet: Quiet = False,
) -> None:
    """Talk about a picture, drawing marks as you go; /help in it lists what can be done.

    vipcli chat photo.jpg --box 40,60,200,220
    """
    from vipcli.chat import archive, history
    from vipcli.chat.conversation import Scene, manner_of

    settings = _settings(ctx)
    typed = _typed_marks(ctx)
    if not resume and image is None:
        raise UsageError("Name a picture to talk about, or take up the last conversation with --resume.")
    if image == "-":
        raise UsageError("Standard input is for what you say. Name a picture's file or address.")
    settings["jitter"] = _seed_of(jitter)
    scene: Scene | None = None
    if image is not None:
        marked = _marked([image, *(more or [])], typed, settings, jitter, frames)
        if not quiet:
            for text in marked.notes:
                output.note(text)
        scene = Scene(tuple(one.picture for one in marked.shown), marked.typed, marked.video)
    elif more or typed or frames:
        raise UsageError(
            "Marks and frames go with a picture. Name it, or draw in the conversation: /box and so on."
        )
    earlier = None
    manner = manner_of(settings)
    if resume:
        kept = archive.read(history.last_conversation(), max_pixels=_max_pixels(settings))
        if scene is None and kept.gone:
            raise ConversationError(f"{kept.gone} Or name another: vipcli chat PICTURE --resume.")
        scene = scene or kept.scene
        given = {name: settings[name] for name in config.SETTINGS if ctx.params.get(name) is not None}
        if "model" not in given:
            settings |= {"model": kept.model, "revision": kept.revision}
        if jitter is not None:
            given["jitter"] = manner.jitter
        manner = manner_of({**asdict(kept.manner), **given})
        earlier = replace(kept, manner=manner, scene=scene)
    assert scene is not None
    found = _find(settings, quiet)
    answerer = _answerer(found, settings, _server(found, settings), quiet=quiet, resident=True)
    _converse(found, answerer, scene, manner, earlier, _max_pixels(settings), quiet=quiet)


def _converse(
    checkpoint: Checkpoint,
    answerer: Answerer,
    scene: Scene,
    manner: Manner,
    earlier: Kept | None,
    max_pixels: int,
    *,
    quiet: bool,
) -> None:
    """Say and answer in turns: at a prompt in a terminal, else line by line from standard input."""
    from vipcli.chat.conversation import Chat
    from vipcli.chat.session import Talk

    if sys.stdin is None:
        raise UsageError("Standard input is closed, and what you say comes from there.")
    terminal = sys.stdin.isatty() and (sys.stdout.isatty() or sys.stderr.isatty())
    talk = Talk(
        Chat(answerer, checkpoint, scene, manner),
        answerer,
        max_pixels=max_pixels,
        quiet=quiet,
        halting=terminal,
    )
    if earlier is not None:
        talk.take_up(earlier)
    if not terminal:
        for line in sys.stdin:
            talk.line(line)
            if talk.over:
                return
        return
    from vipcli.chat.prompt_line import lines
    from vipcli.files import state_folder

    if not quiet:
        output.note(f"{checkpoint.name} listens. /help lists what it can do beside answering, Ctrl-D leaves.")
    try:
        typed: Path | None = state_folder() / "typed"
    except VipcliError as error:
        typed = None
        output.note(f"What is typed is not remembered: {error}")
    for line in lines(typed):
        try:
            talk.line(line)
        except VipcliError as error:
            output.fail(str(error))
        except KeyboardInterrupt:
            output.note("Stopped.")
        if talk.over:
            return


@app.command(cls=MarkingCommand)
def batch(
    ctx: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE…",
            help="A folder, pictures, a glob, a list (.txt, or - for standard input), tasks (.jsonl, .csv) "
            "or annotations (COCO, labelme, YOLO, VOC, masks, ViP-Bench).",
        ),
    ],
    question: Annotated[
        str | None,
        typer.Option(
            "--question",
            "-q",
            metavar="TEXT",
            help="What to ask; {1}, {2} … stand for the marks, {label}, {id} and {file} for the item's own.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where rows go: .jsonl, .csv, .tsv or .parquet."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the file: ask only what has no row there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Go on, and ask again where the row is an error.")
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where the pictures are that tasks or annotations name."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            metavar="FORM",
            help="Of a source: photos, coco, labelme, yolo, voc, masks or vip-bench. Its content tells else.",
        ),
    ] = None,
    joint: Annotated[
        bool,
        typer.Option(
            "--joint/--per-region",
            help="Mark all annotated regions of a picture and ask once, or ask about each.",
        ),
    ] = False,
    drawn_as: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="KIND",
            help=f"What annotated regions are drawn as: {', '.join(MARK_OPTIONS)}.",
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only regions of this label; may be repeated.")
    ] = None,
    min_size: Annotated[
        str | None, typer.Option(metavar="PIXELS", help="Only regions of at least this area.")
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="PIXELS", help="Only regions of at most this area.")
    ] = None,
    min_score: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Only regions of at least this score, if any.")
    ] = None,
    limit: Annotated[str | None, typer.Option(metavar="N", help="Only the first so many items.")] = None,
    box: Boxes = None,
    ellipse: Ellipses = None,
    triangle: Triangles = None,
    point: Points = None,
    arrow: Arrows = None,
    scribble: Scribbles = None,
    contour: Contours = None,
    mask: Masks = None,
    width: Width = None,
    alpha: Alpha = None,
    jitter: Jitter = None,
    fit: Fitting = None,
    max_pixels: MaxPixels = None,
    frames: Frames = None,
    save_marked: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Keep the marked pictures there.")
    ] = None,
    coco_out: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the COCO file once more, with the answers in it."),
    ] = None,
    prompt: Prompt = None,
    system: System = None,
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_p: TopP = None,
    seed: Seed = None,
    together: Annotated[
        str | None, typer.Option(metavar="N", help="Questions to answer side by side.")
    ] = None,
    readers: Annotated[
        str | None, typer.Option(metavar="N", help="Threads that read and mark pictures.")
    ] = None,
    on: Annotated[
        str | None, typer.Option(metavar="ray", help="Do it on a Ray cluster, not in this process.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N",
            help="Models to hold on the cluster (default: one a GPU; without GPUs, one a machine).",
        ),
    ] = None,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    quantize_all: QuantizeAll = None,
    attention: Attention = None,
    offline: Offline = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print what would be asked of each item, keep pictures if asked to; run no model.",
        ),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print rows, or with -o the closing figures, as JSON.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no notes and no progress.")] = False,
) -> None:
    """Ask about many pictures or regions, each answer safe in its row as it comes.

    vipcli batch photos/ -q "What is {1}?" --box 25%,25%,75%,75% -o answers.jsonl
    """
    from vipcli.annotations.reading import FORMS
    from vipcli.batch.items import Orders
    from vipcli.batch.sources import PHOTOS, gather
    from vipcli.marks.regions import Wanted

    settings = _settings(ctx)
    if drawn_as is not None and drawn_as not in BY_KIND:
        raise UsageError(f"--as is {drawn_as!r}, but takes one of {', '.join(BY_KIND)}.")
    if question is not None and not question.strip():
        raise UsageError("The question is empty. Ask something, or leave out -q to have one asked for you.")
    if form is not None and form not in (PHOTOS, *FORMS):
        raise UsageError(f"--form is {form!r}, but takes one of {', '.join((PHOTOS, *FORMS))}.")
    if (resume or retry_failed or coco_out is not None) and out is None:
        raise UsageError("Name the file of rows with -o.")
    if coco_out is not None and len(sources) > 1:
        raise UsageError("With --coco-out, name one COCO file as the only source.")
    # Chance must be the same whenever the batch goes on.
    settings["seed"] = settings["seed"] or 0
    if on not in (None, "ray"):
        raise UsageError(f"--on is {on!r}, but takes ray. Without it, the batch runs in this process.")
    if workers is not None and on is None:
        raise UsageError("Workers are those of a cluster. Add --on ray, or leave out --workers.")
    amount = config.amount
    orders = Orders(
        question=question,
        typed=tuple(_typed_marks(ctx)),
        images=None if images is None else _folder(images),
        form=form,
        joint=joint,
        wanted=Wanted(
            tuple(label or ()),
            None if min_size is None else config.checked(amount, min_size, "--min-size"),
            None if max_size is None else config.checked(amount, max_size, "--max-size"),
            None if min_score is None else config.checked(amount, min_score, "--min-score"),
        ),
        videos=frames is not None,
        leave_out=() if save_marked is None else (Path(save_marked),),
    )
    job = gather(sources, orders)
    if not quiet:
        for text in job.notes:
            output.note(text)
    with output.working("Loading …", quiet):
        from vipcli.batch import job as jobs
        from vipcli.batch.preparing import Plan
    if limit is not None:
        job = jobs.first_of(job, config.checked(config.count_from(1, 10**12), limit, "--limit"))
    target = jobs.Target(
        None if out is None else Path(out),
        as_json=json,
        resume=resume or retry_failed,
        retry_failed=retry_failed,
        whole=limit is None,
        coco=None if coco_out is None else (Path(sources[0]), Path(coco_out)),
    )
    if not dry_run:
        target.check()
    plan = Plan(
        _find(settings, quiet),
        _setup(settings),
        _drawing(settings, jitter),
        drawn_as,
        settings["prompt"],
        settings["system"],
        settings["fit"],
        _sampling(settings),
        _max_pixels(settings),
        save_marked=None if save_marked is None else Path(save_marked),
        **_given(
            frames=_count("--frames", frames, 128),
            together=_side_by_side(together, settings, quiet),
            readers=_count("--readers", readers, 256),
        ),
    )
    if dry_run:
        if jobs.print_questions(job, plan, as_json=json):
            raise typer.Exit(SOME_FAILED)
        return

    def load() -> Several:
        with output.working(f"Loading {plan.checkpoint.name} …", quiet):
            from vipcli.engine.local import LocalModel

            return LocalModel(plan.checkpoint, plan.setup)

    if on is None:
        work = jobs.here(plan, load)
    else:
        from vipcli.batch.ray_cluster import on_ray

        work = on_ray(plan, _count("--workers", workers, 10_000), (lambda _: None) if quiet else output.note)
    outcome = jobs.carry_out(job, target, work, quiet=quiet)
    _close(outcome, target, as_json=json and out is not None, quiet=quiet)


def _close(outcome: Outcome, target: Target, *, as_json: bool, quiet: bool) -> None:
    """Tell how a batch ended, and leave with the code that says so."""
    if as_json:
        output.say_json(outcome.record)
    elif not quiet:
        for text in outcome.lines:
            output.note(text)
    if outcome.stopped:
        if target.path is not None and not quiet:
            output.note("Go on with the same command and --resume.")
        raise typer.Exit(INTERRUPTED)
    if outcome.tally.errors:
        if target.path is not None and not quiet:
            output.note("Rows with an error say why. --retry-failed asks them again.")
        raise typer.Exit(SOME_FAILED)


def _count(option: str, text: str | None, most: int) -> int | None:
    return None if text is None else config.checked(config.count_from(1, most), text, option)


def _side_by_side(together: str | None, settings: dict[str, Any], quiet: bool) -> int | None:
    """How many questions to answer at once; None for as many as a batch answers by default."""
    asked = _count("--together", together, 4096)
    if settings["temperature"]:
        if asked is not None and asked > 1 and not quiet:
            output.note("With a --temperature, each is answered alone, so that its seed repeats it.")
        return 1
    if asked is None and settings["model"] != BUNDLED:
        from vipcli.engine.loading import on_processor

        # A large model on a processor takes minutes over several, and a row is to be safe before that.
        return 1 if on_processor(settings["device"]) else None
    return asked


def _given(**values: Any) -> dict[str, Any]:
    """Those that were given, so that the rest are what they are by default."""
    return {name: value for name, value in values.items() if value is not None}


def _folder(path: str) -> Path:
    if not Path(path).is_dir():
        raise UsageError(f"There is no folder {path!r}. Check the path.")
    return Path(path)


@app.command()
def serve(
    ctx: typer.Context,
    keep_alive: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="End by itself when nobody has asked for so long: 10m, 2h."),
    ] = None,
    port: Annotated[
        str | None,
        typer.Option(metavar="N", help="Answer OpenAI's chat-completions form on this port, too."),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS", help="Where that port is open; others than this machine can reach it."
        ),
    ] = "127.0.0.1",
    together: Annotated[
        str, typer.Option(metavar="N", help="Requests to answer side by side, at most.")
    ] = "8",
    waiting: Annotated[
        str, typer.Option(metavar="N", help="Requests by the port that may wait; more are turned away.")
    ] = "64",
    status: Annotated[bool, typer.Option("--status", help="Tell of the server that runs.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End the server that runs.")] = False,
    max_pixels: MaxPixels = None,
    model: Model = None,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    quantize_all: QuantizeAll = None,
    attention: Attention = None,
    offline: Offline = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Keep a model in memory, so that questions and conversations need not load it.

    vipcli serve --model vip-llava-7b --keep-alive 30m
    """
    from vipcli.serving import control

    if stop:
        model_held = control.stop()
        output.note("No server runs." if model_held is None else f"The server of {model_held} is ended.")
        return
    if status:
        if not _tell_of_server(as_json=json):
            raise typer.Exit(FAILED)
        return
    settings = _settings(ctx)
    if port is None and host != "127.0.0.1":
        raise UsageError("--host says where a port is open. Name it with --port.")
    orders = control.Orders(
        keep_alive=None
        if keep_alive is None
        else config.checked(config.read_span, keep_alive, "--keep-alive"),
        host=None if port is None else host,
        port=0 if port is None else config.checked(config.count_from(0, 65535), port, "--port"),
        together=config.checked(config.count_from(1, 1024), together, "--together"),
        waiting=config.checked(config.count_from(0, 100_000), waiting, "--waiting"),
    )
    found = _find(settings, quiet)

    def ready(held: dict[str, Any]) -> None:
        if json:
            output.say_json(held)
        else:
            for text in control.welcome(held, orders, quiet=quiet):
                output.note(text)

    if not quiet and not json:
        output.note(f"Loading {found.name} …")
    control.serve(found, _setup(settings), settings, orders, ready)


def _tell_of_server(*, as_json: bool) -> bool:
    """Tell of the server, and whether there is one that answers."""
    from vipcli.serving import control

    held = control.running()
    if as_json:
        output.say_json(None if held is None else asdict(held))
    elif held is not None:
        port = "" if held.address is None else f", {held.address}"
        output.say(f"{held.model} on {held.device}, process {held.pid}, {held.waiting} waiting{port}")
    elif model := control.beginning():
        output.note(f"The server of {model} does not answer. It may still be loading.")
    else:
        output.note("No server runs.")
    return held is not None


@app.command(cls=MarkingCommand)
def draw(
    ctx: typer.Context,
    image: Image,
    out: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; - for standard output."),
    ] = None,
    box: Boxes = None,
    ellipse: Ellipses = None,
    triangle: Triangles = None,
    point: Points = None,
    arrow: Arrows = None,
    scribble: Scribbles = None,
    contour: Contours = None,
    mask: Masks = None,
    width: Width = None,
    alpha: Alpha = None,
    jitter: Jitter = None,
    max_pixels: MaxPixels = None,
    show: Annotated[bool, typer.Option("--show", help="Show the picture in the terminal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the marks as one JSON object.")] = False,
    quiet: Quiet = False,
) -> None:
    """Draw marks onto a picture, as the models were trained to read them.

    vipcli draw photo.jpg --scribble "10,10 40,35 60,20" --mask cat.png:aqua -o marked.png
    """
    if out is None and not show and not json:
        raise UsageError("There is nowhere to draw to. Name a file with -o, or look at it with --show.")
    if out == "-" and json:
        raise UsageError("Standard output takes the picture or the JSON, not both. Name a file with -o.")
    typed = _typed_marks(ctx)
    marked = _marked([image], typed, _settings(ctx), jitter)
    if not quiet:
        for text in marked.notes:
            output.note(text)
    if out is not None:
        _save(marked, typed, out, quiet)
    if show:
        output.show(marked.pixels)
    if json:
        from vipcli.asking import records

        output.say_json(records.describe_marked(marked))


@config_app.callback()
def _config(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        output.say(ctx.get_help())


@config_app.command("show")
def config_show(json: Json = False) -> None:
    """Show every setting, its value, and where that came from."""
    settings = config.resolve({})
    if json:
        output.say_json(
            {name: {"value": found.value, "source": found.source} for name, found in settings.items()}
        )
        return
    for name, found in settings.items():
        value = "-" if found.value is None else str(found.value)
        output.say(f"{name:15} {value:24} {_origin(found)}")


@config_app.command("set")
def config_set(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The setting.", autocompletion=_complete_setting)
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its new value.")],
) -> None:
    """Keep a value for a setting."""
    kept = config.keep(name, value)
    output.note(f"{config.find(name).name} is now {kept} in {config.path()}.")


@config_app.command("unset")
def config_unset(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The setting.", autocompletion=_complete_setting)
    ],
) -> None:
    """Go back to a setting's default."""
    if config.forget(name):
        output.note(f"{config.find(name).name} is back to its default.")
    else:
        output.note(f"{config.find(name).name} was not kept in {config.path()}.")


@config_app.command("path")
def config_path() -> None:
    """Print where the settings are kept."""
    output.say(str(config.path()))


@models_app.callback()
def _models(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        output.say(ctx.get_help())


@models_app.command("list")
def models_list(json: Json = False) -> None:
    """List the checkpoints that are known or in the cache, and which one is the default."""
    from vipcli.checkpoints import listing

    rows = listing.everything(config.resolve({})["model"].value)
    if json:
        output.say_json([asdict(row) for row in rows])
        return
    for row in rows:
        output.say(listing.line(row))


@models_app.command("info")
def models_info(name: ModelName, json: Json = False) -> None:
    """Tell all that is known of a checkpoint, without fetching it."""
    from vipcli.checkpoints import listing

    facts = listing.info(name)
    if json:
        output.say_json(facts)
        return
    for what, told in listing.sentences(facts):
        output.say(f"{what:11} {told}")


@models_app.command("pull")
def models_pull(
    ctx: typer.Context,
    name: ModelName,
    revision: Revision = None,
    quiet: Quiet = False,
) -> None:
    """Fetch a checkpoint, or what is still missing of it."""
    from vipcli.checkpoints import lookup

    hub_name = lookup.hub_name(name)
    wanted = _settings(ctx, name)["revision"]
    fetched = []

    def on_fetch(hub: str, size: int) -> None:
        fetched.append(hub)
        _announce(hub, size)

    offline = config.resolve({})["offline"]
    if offline.value:
        found = lookup.peek(hub_name, revision=wanted)
        if found.folder is None:
            raise UsageError(f"{hub_name} is not here, and the setting offline is on ({_origin(offline)}).")
    else:
        found = lookup.find(hub_name, revision=wanted, on_fetch=None if quiet else on_fetch)
    if not quiet:
        output.note(f"{hub_name} is here." if fetched else f"{hub_name} was here already.")
    output.say(str(found.folder))


@models_app.command("rm")
def models_rm(
    name: ModelName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Take a checkpoint out of the cache."""
    from vipcli.checkpoints import hub_cache, lookup

    hub_name = lookup.hub_name(name)
    size = next((one.size for one in hub_cache.kept() if one.name == hub_name), None)
    if size is not None and not yes:
        if not sys.stdin.isatty():
            raise UsageError(
                f"This would remove {hub_cache.readable(size)}. Say --yes to do it without asking."
            )
        if not typer.confirm(f"Remove {hub_name} ({hub_cache.readable(size)})?", err=True):
            return
    output.note(f"{hub_name} is gone; {hub_cache.readable(hub_cache.remove(hub_name))} are free.")


@models_app.command("use")
def models_use(name: ModelName) -> None:
    """Make a checkpoint the default, as `vipcli config set model NAME` does."""
    from vipcli.checkpoints import lookup
    from vipcli.checkpoints.catalog import BUNDLED

    checkpoint = lookup.peek(name)
    # A damaged file is told of before anything is written.
    config.resolve({})
    if lookup.is_local(name) and name != BUNDLED:
        # What it leads to from here, it leads to from nowhere else.
        name = str(Path(name).expanduser().absolute())
    config.keep("model", name)
    output.note(f"{name} is now the default.")
    if (found := config.resolve({})["model"]).source == "environment":
        output.note(f"{found.setting.variable} is set to {found.value}, which wins until it is unset.")
    if checkpoint.folder is None:
        output.note(f"It is not here yet: vipcli models pull {name} fetches it, as the first question does.")


@app.command()
def bench(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A checkpoint; the default one without it.", autocompletion=_complete_model
        ),
    ] = None,
    random_weights: Annotated[
        bool,
        typer.Option("--random-weights", help="Measure a known checkpoint's shape without fetching it."),
    ] = False,
    baseline: Annotated[
        bool,
        typer.Option("--baseline", help="Measure the documentation's own loop in 16 bits too, and compare."),
    ] = False,
    batch: Annotated[str, typer.Option(metavar="N", help="Pictures side by side.")] = "1",
    tokens: Annotated[str, typer.Option(metavar="N", help="Length of the answers.")] = "64",
    repeat: Annotated[str, typer.Option(metavar="N", help="How often; the middle counts.")] = "3",
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    quantize: Quantize = None,
    quantize_all: QuantizeAll = None,
    attention: Attention = None,
    offline: Offline = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure how fast a checkpoint answers here, and how much memory that takes.

    vipcli bench vip-llava-7b --random-weights --quantize 4bit --baseline
    """
    from vipcli.checkpoints.catalog import BY_HUB_NAME, KNOWN

    settings = _settings(ctx, name)
    name = str(settings["model"])
    subject = KNOWN.get(name) or BY_HUB_NAME.get(name) if random_weights else _find(settings, quiet)
    if subject is None:
        raise UsageError(f"The shape of {name!r} is not known. Those that are: {', '.join(KNOWN)}.")
    with output.working("Loading torch …", quiet):
        from vipcli.asking.interface import Setup
        from vipcli.engine import benchmark
    plan = benchmark.Plan(
        config.checked(config.count_from(1, 1024), batch, "--batch"),
        config.checked(config.count_from(2, 4096), tokens, "--tokens"),
        config.checked(config.count_from(1, 100), repeat, "--repeat"),
    )
    plain = None
    if baseline:
        with output.working(f"Measuring {name} as the documentation runs it …", quiet):
            plain = benchmark.measure(subject, Setup(settings["device"], "bfloat16"), plan, plain=True)
    with output.working(f"Measuring {name} …", quiet):
        ours = benchmark.measure(subject, _setup(settings), plan)
    if json:
        output.say_json(benchmark.record(subject, ours, plain, plan))
        return
    for line in benchmark.report(subject, ours, plain, plan):
        output.say(line)


@app.command()
def doctor(json: Json = False) -> None:
    """Tell what this machine has, which checkpoints fit, and what is missing."""
    from vipcli.engine import doctor

    report = doctor.look()
    if json:
        output.say_json(doctor.record(report))
        return
    for line in doctor.lines(report):
        output.say(line)
    for advice in report.advice:
        output.note(advice)


def _origin(found: config.Resolved) -> str:
    match found.source:
        case "environment":
            return f"from {found.setting.variable}"
        case "file":
            return f"from {config.path()}"
        case source:
            return source


def _settings(ctx: typer.Context, model: str | None = None) -> dict[str, Any]:
    """Every setting's value, with that model in place of the one that is kept."""
    resolved = config.resolve({name: ctx.params.get(name) for name in config.SETTINGS})
    settings = {name: found.value for name, found in resolved.items()}
    if model is not None:
        settings["model"] = model
    if settings["revision"] is not None and resolved["revision"].source != "flag":
        from vipcli.checkpoints import lookup

        # One that is kept is meant for the hub's checkpoints.
        if lookup.is_local(str(settings["model"])):
            settings["revision"] = None
    if ctx.params.get("quantize_all") and settings["quantize"] == "none" and not ctx.params.get("quiet"):
        output.note("--quantize-all does nothing without --quantize.")
    return settings


def _typed_marks(ctx: typer.Context) -> list[TypedMark]:
    from vipcli.marks.kinds import parse_mark

    return [parse_mark(kind, text) for kind, text in ctx.meta[_TYPED_MARKS]]


def _marked(
    sources: list[str],
    typed: list[TypedMark],
    settings: dict[str, Any],
    jitter: str | None,
    frames: str | None = None,
) -> Marked:
    from vipcli.asking import pipeline
    from vipcli.pictures import images, videos

    drawing = _drawing(settings, jitter)
    max_pixels = _max_pixels(settings)
    if frames is None and not any(videos.is_video(source) for source in sources):
        pictures = [images.load_picture(source, max_pixels=max_pixels) for source in sources]
        return pipeline.mark(pictures, typed, drawing)
    if len(sources) > 1:
        raise UsageError("A video is asked about alone. Leave out --image.")
    count = (
        videos.DEFAULT_FRAMES
        if frames is None
        else config.checked(config.count_from(1, videos.MOST_FRAMES), frames, "--frames")
    )
    video, shown = videos.load_video(sources[0], count, max_pixels=max_pixels)
    return pipeline.mark(shown, typed, drawing, video=video)


def _drawing(settings: dict[str, Any], jitter: str | None) -> Drawing:
    from vipcli.asking.values import Drawing

    return Drawing(settings["width"], settings["alpha"], _seed_of(jitter))


def _max_pixels(settings: dict[str, Any]) -> int:
    from vipcli.pictures.images import DEFAULT_MAX_PIXELS

    return settings["max_pixels"] or DEFAULT_MAX_PIXELS


def _prepare(
    marked: Marked, question: str | None, checkpoint: Checkpoint, settings: dict[str, Any]
) -> Question:
    from vipcli.asking import pipeline

    return pipeline.prepare(
        marked,
        question,
        checkpoint,
        prompt=settings["prompt"],
        system=settings["system"],
        fit=settings["fit"],
    )


def _find(settings: dict[str, Any], quiet: bool) -> Checkpoint:
    from vipcli.checkpoints import lookup

    return lookup.find(
        settings["model"],
        revision=settings["revision"],
        offline=settings["offline"],
        on_fetch=None if quiet else _announce,
    )


def _announce(hub_name: str, size: int) -> None:
    """Say that a download begins."""
    from vipcli.checkpoints.hub_cache import readable

    output.note(f"Fetching {readable(size)} of {hub_name}. Ctrl-C stops it, and whole files are kept.")


def _tell(question: Question, told: Question | None = None) -> None:
    """Say what is noted of a question, but for what was told already."""
    if not question.asked and told is None:
        output.note(f"Asking: {question.text}")
    for text in question.notes:
        if told is None or text not in told.notes:
            output.note(text)


def _save(marked: Marked, typed: list[TypedMark], path: str, quiet: bool) -> None:
    from vipcli.pictures import images

    if path == "-":
        if sys.stdout.isatty():
            raise UsageError("A picture would only confuse the terminal. Name a file, or send it on with |.")
        if len(marked.shown) > 1:
            raise UsageError(f"Standard output takes one picture, not {len(marked.shown)}. Name a file.")
        output.say_bytes(images.encode(marked.pixels))
        return
    read = [
        *(one.picture.name for one in marked.shown),
        *(mark.file for mark in typed if mark.file is not None),
    ]
    target = Path(path)
    names = [path]
    if len(marked.shown) > 1:
        # Of several, each is kept under a name of its own: marked-1.png, marked-2.png …
        names = [str(target.with_stem(f"{target.stem}-{n}")) for n in range(1, len(marked.shown) + 1)]
    for one, name in zip(marked.shown, names, strict=True):
        images.save_picture(one.pixels, name, sources=read)
    if len(names) > 1 and not quiet:
        output.note(f"The {len(names)} pictures are in {names[0]} to {names[-1]}.")


def _show_view(question: Question, checkpoint: Checkpoint) -> None:
    from vipcli.pictures.fitting import model_view

    for one in question.marked.shown:
        output.show(model_view(one.pixels, question.fit, checkpoint.input_size, checkpoint.padding))


def _print_plan(question: Question, as_json: bool) -> None:
    from vipcli.asking import records

    if as_json:
        output.say_json({"question": question.text, "prompt": question.prompt, **records.describe(question)})
        return
    output.say(question.prompt)
    for number, mark in enumerate(question.marked.marks, 1):
        on = records.shown_on(question.marked, number)
        output.say(f"{{{number}}} {mark.phrase}: {mark.kind} {records.where(mark)}{on}")


def _server(checkpoint: Checkpoint, settings: dict[str, Any]) -> Held | None:
    """The running server, if it holds just that."""
    if settings["no_server"] or sys.platform == "win32":
        return None
    from vipcli.serving import client

    try:
        held = client.running()
    # Whatever is wrong with a server that nobody asked for, there is a way without.
    except VipcliError:
        return None
    return held if held is not None and held.is_for(checkpoint, asdict(_setup(settings))) else None


def _answerer(
    checkpoint: Checkpoint,
    settings: dict[str, Any],
    held: Held | None,
    *,
    quiet: bool,
    verbose: bool = False,
    resident: bool = False,
    keep_alive: float | None = None,
) -> Answerer:
    """The model of the server that holds it, else one in this process."""

    def load() -> Answerer:
        with output.working(f"Loading {checkpoint.name} …", quiet):
            from vipcli.engine.local import LocalModel

            return LocalModel(checkpoint, setup, resident=resident)

    setup = _setup(settings)
    if keep_alive is not None and held is None:
        from vipcli.serving import control

        with output.working(f"Loading {checkpoint.name}, to be kept …", quiet):
            held = control.begin(checkpoint, setup, settings, keep_alive)
        if not held.is_for(checkpoint, asdict(setup)):
            output.note(
                f"The server that runs holds {held.model}, or in another way. vipcli serve --stop ends it."
            )
            held = None
    if held is None:
        return load()
    from vipcli.serving import client

    if verbose:
        output.note(f"The running server answers, which holds {held.model} on {held.device}.")
    return client.Fallback(client.RemoteModel(), load, output.note)


def _seed_of(jitter: str | None) -> int | None:
    return None if jitter is None else config.checked(config.read_seed, jitter, "--jitter")


def _span(keep_alive: str | None) -> float | None:
    return None if keep_alive is None else config.checked(config.read_span, keep_alive, "--keep-alive")


def _setup(settings: dict[str, Any]) -> Setup:
    from vipcli.asking.interface import Setup

    return Setup(**{field.name: settings[field.name] for field in fields(Setup)})


def _answer(
    question: Question,
    answerer: Answerer,
    settings: dict[str, Any],
    seconds: dict[str, float],
    *,
    json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    from vipcli.asking import pipeline, records

    sampling = _sampling(settings)
    if json:
        answer = pipeline.ask(question, answerer, sampling)
        output.say_json(records.record(answer, seconds))
    else:
        with output.ended_line() as on_text:
            answer = pipeline.ask(question, answerer, sampling, on_text)
    if not quiet:
        for text in records.doubts(answer):
            output.note(text)
    if verbose:
        output.note(records.summary(answer, seconds))


def _sampling(settings: dict[str, Any]) -> Sampling:
    from vipcli.asking.interface import Sampling

    return Sampling(
        max_new_tokens=settings["max_new_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        seed=_seed(settings),
    )


def _seed(settings: dict[str, Any]) -> int:
    """The seed asked for; else a fresh one where chance plays a part, so that it can be recorded."""
    if settings["seed"] is not None or settings["temperature"] == 0:
        return settings["seed"] or 0
    import secrets

    return secrets.randbelow(2**32)


def main() -> int:
    """Run the command line and return its exit code, everything said."""
    output.open_streams()
    try:
        code = app(prog_name="vipcli", standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except SystemExit:
        # Typer and we leave in this way only when the pipe is closed that is written to.
        return 0
    except VipcliError as error:
        output.fail(str(error))
        return error.exit_code
    except MemoryError:
        output.fail("There is not enough memory for this. Make the picture smaller.")
        return FAILED
    except OSError as error:
        output.fail(f"Standard output cannot be written: {error.strerror or error}.")
        return FAILED
    except TyperException as error:
        output.fail(_usage(error))
        return error.exit_code
    except typer.Abort:
        # A question that was not answered.
        output.tell("")
        return INTERRUPTED


def _usage(error: TyperException) -> str:
    message = error.format_message().rstrip(".?")
    context = getattr(error, "ctx", None)
    command = "vipcli" if context is None else context.command_path
    if "unexpected extra argument" in message and command.endswith(" chat"):
        message += ". Questions are for when it has begun"
    elif "unexpected extra argument" in message and command.endswith((" ask", " draw")):
        message += ". Put a question, or points with spaces between, in quotes"
    return f"{message}. See {command} --help."
