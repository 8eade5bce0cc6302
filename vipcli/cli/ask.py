"""`vipcli ask`: one question about a picture."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from vipcli import config
from vipcli.cli import options
from vipcli.cli.again import AGAIN, open_record, report
from vipcli.cli.groups import command
from vipcli.cli.mark_arguments import is_file
from vipcli.cli.options import ChoiceOptions
from vipcli.cli.picking import Picked, PickRequest, picking
from vipcli.cli.shared import build_model, check_output, note_unused, save_marked, show_notes
from vipcli.config import Settings
from vipcli.errors import DIFFERS, ModelError, UsageError
from vipcli.terminal import output

if TYPE_CHECKING:
    from vipcli.api import Model
    from vipcli.asking.interface import Answerer, Grammar
    from vipcli.asking.records import Answer
    from vipcli.asking.repeating import Repetition
    from vipcli.asking.values import MarkedInput, Question
    from vipcli.checkpoints.lookup import Checkpoint
    from vipcli.serving.client import ServerInfo


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What an answer must be: one of several, or text that fits a grammar."""

    choices: tuple[str, ...]
    grammar: Grammar | None

    def check(self, settings: Settings) -> None:
        """Raise an error, before a mark is drawn, if the model cannot answer so."""
        from vipcli.asking.choices import check_alone

        check_alone(self.choices, self.grammar, settings.guide)

    def refuse_again(self) -> None:
        """Raise an error if anything is given where the record's is taken."""
        if self.choices:
            raise UsageError("With --again, the choices are the record's and cannot be given.")
        if self.grammar is not None:
            raise UsageError(f"With --again, the {self.grammar.kind} is the record's and cannot be given.")


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to print and save besides the answer."""

    save: str | None
    show: bool | None
    dry_run: bool | None
    json: bool | None
    quiet: bool | None
    verbose: bool | None


OUTPUT_OPTIONS = options.OptionGroup(
    {
        "save": Annotated[
            str | None,
            typer.Option(
                "--save-marked",
                metavar="FILE",
                help="Save the marked picture.",
                rich_help_panel=options.OUTPUT,
            ),
        ],
        "show": options.ShowView,
        "dry_run": Annotated[
            bool,
            typer.Option(
                "--dry-run",
                help="Print the exact prompt and the marks without running a model.",
                rich_help_panel=options.OUTPUT,
            ),
        ],
        "json": options.Json,
        "quiet": options.Quiet,
        "verbose": options.Verbose,
    }
)


def ask(
    image: Annotated[
        str | None,
        typer.Argument(metavar="IMAGE", help="A file, an http(s) URL, or - for standard input."),
    ] = None,
    question: Annotated[
        str | None,
        typer.Argument(
            metavar="QUESTION",
            help="The question; {1}, {2} … stand for the marks. By default, asks about the marks.",
        ),
    ] = None,
    *,
    marks: options.Marks,
    images: options.MoreImages = None,
    frames: options.Frames = None,
    again: AGAIN = None,
    settings: Annotated[
        Settings,
        options.MODEL_OPTIONS,
        options.SERVER_OPTIONS,
        options.ANSWER_OPTIONS,
        options.SCORING_OPTIONS,
        options.FIT_OPTIONS,
        options.STYLE_OPTIONS,
        options.PICK_OPTIONS,
    ],
    grammar: Annotated[options.GrammarChoices, options.GRAMMAR_OPTIONS],
    choice: Annotated[ChoiceOptions, options.CHOICE_OPTIONS],
    keep_alive: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION",
            help="Keep the model in memory until this long after the last question: 10m, 2h.",
            rich_help_panel=options.MODEL,
        ),
    ] = None,
    outputs: Annotated[Outputs, OUTPUT_OPTIONS],
) -> None:
    """Ask about a picture, or about what is marked on it.

    vipcli ask photo.jpg "What is {1}?" --box
    vipcli ask photo.jpg "Is {1} open?" --box 5,5,90,90 --choices open,closed,ajar
    vipcli ask photo.jpg "Is {1} taller than {2}?" --box 5,5,90,90 --arrow 80%,40%
    vipcli ask --again record.json
    """
    started = time.perf_counter()
    sources = [*([] if image is None else [image]), *(images or [])]
    _check(image, question, settings, outputs, again=again is not None)
    form = AnswerForm(choice.texts(settings.model), grammar.read())
    if again is not None:
        form.refuse_again()
        past = open_record(again, sources, question, marks, frames, settings, dry_run=bool(outputs.dry_run))
        model = build_model(past.settings, quiet=bool(outputs.quiet))
        form = AnswerForm(past.choices, past.grammar)
        _ask(model, Picked(past.marked, past.question), form, keep_alive, started, outputs, past)
        return
    form.check(settings)
    model = build_model(settings, quiet=bool(outputs.quiet))
    note_unused(settings, has_choices=bool(form.choices), quiet=bool(outputs.quiet))
    request = PickRequest(
        "ask",
        question,
        asks=question is None,
        quiet=bool(outputs.quiet),
        on_shown=(lambda: None) if outputs.dry_run or keep_alive else model.preload,
        check=lambda marked: _check_before_drawing(model, marked, outputs),
    )
    checkpoint = model.peek() if marks.has_unplaced else None
    with picking(marks, sources, settings, request, frames=frames, checkpoint=checkpoint) as picked:
        if picked.command is not None:
            # The time that a person took to draw is not the program's.
            started = time.perf_counter()
        _ask(model, picked, form, keep_alive, started, outputs)


def _check_before_drawing(model: Model, marked: MarkedInput, outputs: Outputs) -> None:
    """Raise an error that would come after a mark is drawn, such as that of a model that takes no video."""
    check_output(outputs.save)
    checkpoint = model.checkpoint if model.settings.offline and not outputs.dry_run else model.peek()
    if not checkpoint.needs_unknown_template(model.settings.prompt):
        # The mark that guidance needs may be the one that is drawn.
        model.prepare(marked, None, checkpoint, replace(model.settings, guide=None))


def _ask(
    model: Model,
    picked: Picked,
    form: AnswerForm,
    keep_alive: str | None,
    started: float,
    outputs: Outputs,
    past: Repetition | None = None,
) -> None:
    checkpoint, prepared = _prepare(model, picked, form, outputs, past)
    if outputs.dry_run:
        if past is not None:
            show_notes([change.text for change in past.changes], quiet=bool(outputs.quiet))
        _print_prompt(prepared, picked.command, as_json=bool(outputs.json))
        return
    seconds = {"picture": time.perf_counter() - started}
    server = model.server(checkpoint)
    if server is None and model.checkpoint != checkpoint:
        # The checkpoint is downloaded now, so its prompt form is certain.
        preview, prepared = prepared, _build(model, picked, form, past)
        _show_question_notes(prepared, preview, quiet=bool(outputs.quiet))
    answerer = _connect(model, server, keep_alive, outputs)
    seconds["load"] = time.perf_counter() - started - seconds["picture"]
    answer = _answer(prepared, answerer, model.settings, seconds, picked, outputs, past)
    if past is not None:
        comparison = past.compare(answer)
        report(comparison, quiet=bool(outputs.quiet))
        if not comparison.same:
            raise typer.Exit(DIFFERS)


def _check(
    image: str | None, question: str | None, settings: Settings, outputs: Outputs, *, again: bool
) -> None:
    if image is None and not again:
        raise UsageError("Missing argument 'IMAGE'. See vipcli ask --help.")
    if "logprobs" in settings.explicit and not outputs.json:
        raise UsageError("--logprobs is a part of the record. Add --json.")
    if outputs.save == "-":
        raise UsageError("Standard output is for the answer. Name a file, or use vipcli draw -o -.")
    if image is None or again:
        return
    if question is None and " " in image.strip() and not is_file(image) and "://" not in image:
        raise UsageError(
            f"The picture is missing before the question {image!r}: vipcli ask PICTURE QUESTION."
        )
    if question is not None and not is_file(image) and is_file(question):
        raise UsageError("The picture comes before the question: vipcli ask PICTURE QUESTION.")


def _build(
    model: Model,
    picked: Picked,
    form: AnswerForm,
    past: Repetition | None,
    checkpoint: Checkpoint | None = None,
) -> Question:
    """Build the question, or restore it as it was asked before."""
    built = model.prepare(
        picked.marked, picked.question, checkpoint, grammar=form.grammar, choices=form.choices
    )
    return built if past is None else past.restored(built)


def _prepare(
    model: Model,
    picked: Picked,
    form: AnswerForm,
    outputs: Outputs,
    past: Repetition | None,
) -> tuple[Checkpoint, Question]:
    """Build the question before a checkpoint is downloaded, and show or save what the model would see."""
    quiet = bool(outputs.quiet)
    checkpoint = model.peek()
    if checkpoint.needs_unknown_template(model.settings.prompt) and not outputs.dry_run:
        checkpoint = model.checkpoint
    prepared = _build(model, picked, form, past, checkpoint)
    _show_question_notes(prepared, quiet=quiet)
    if outputs.save is not None:
        save_marked(prepared.marked, outputs.save, quiet=quiet)
    if outputs.show:
        _show_view(prepared, checkpoint)
    if outputs.dry_run and checkpoint.family_is_guess:
        text = f"{checkpoint.name} is not downloaded yet. This is the prompt of the ViP-LLaVA checkpoints."
        show_notes([text], quiet=quiet)
    return checkpoint, prepared


def _connect(model: Model, server: ServerInfo | None, keep_alive: str | None, outputs: Outputs) -> Answerer:
    if keep_alive is not None and server is None:
        seconds = config.parse_value(config.parse_duration, keep_alive, "--keep-alive")
        server = model.start_server(seconds)
        if not model.is_held_by(server):
            text = f"The running server holds {server.model}, or runs it with other settings."
            show_notes([f"{text} Stop it with vipcli serve --stop."], quiet=bool(outputs.quiet))
            server = None
    if server is not None and outputs.verbose:
        output.note(f"Answered by the running server: {server.model} on {server.device}.")
    return model.connect(server)


def _answer(
    question: Question,
    answerer: Answerer,
    settings: Settings,
    seconds: dict[str, float],
    picked: Picked,
    outputs: Outputs,
    past: Repetition | None,
) -> Answer:
    from vipcli.asking import pipeline, records
    from vipcli.asking.interface import Sampling, Scoring

    sampling, scoring = Sampling.of(settings), Scoring.of(settings)
    if outputs.json:
        answer: Answer = pipeline.ask(question, answerer, sampling, picked.on_text, scoring=scoring)
        answer = replace(answer, seconds={**seconds, **answer.seconds})
        compared = {} if past is None else {"again": past.compare(answer).record()}
        output.write_json({**answer.record(), **_command_entry(picked.command), **compared})
    elif question.grammar is not None:
        answer = pipeline.ask(question, answerer, sampling, picked.on_text, scoring=scoring)
        _write_whole(answer)
    else:
        with output.answer_line() as on_text:
            on_text = picked.also_to(on_text)
            answer = pipeline.ask(question, answerer, sampling, on_text, scoring=scoring)
        show_notes(list(records.choice_notes(answer)), quiet=bool(outputs.quiet))
    picked.on_answer(answer)
    show_notes(tuple(records.doubts(answer)), quiet=bool(outputs.quiet))
    if outputs.verbose:
        output.note(records.summary(answer, seconds))
    return answer


def _write_whole(answer: Answer) -> None:
    """Write an answer that must follow a schema or a pattern, unless it was cut off before it did."""
    from vipcli.asking.records import cut_off_note

    if answer.is_cut_off:
        note = cut_off_note(answer)
        raise ModelError(note.fact, note.advice)
    output.write(answer.text)


def _command_entry(command: str | None) -> dict[str, str]:
    """The entry of the record for marks that were drawn by hand."""
    return {} if command is None else {"command": command}


def _show_question_notes(question: Question, preview: Question | None = None, *, quiet: bool) -> None:
    """Show the notes on a question, except those already shown for its preview."""
    if not question.by_user and preview is None and not quiet:
        output.note(f"Asking: {question.text}")
    already_shown = () if preview is None else preview.notes
    show_notes([text for text in question.notes if text not in already_shown], quiet=quiet)


def _show_view(question: Question, checkpoint: Checkpoint) -> None:
    from vipcli.pictures.fitting import model_view

    for picture in question.marked.pictures:
        output.show_picture(
            model_view(picture.pixels, question.fit, checkpoint.input_size, checkpoint.padding)
        )


def _print_prompt(question: Question, command: str | None, *, as_json: bool) -> None:
    from vipcli.asking import records

    if as_json:
        output.write_json(
            {
                "question": question.text,
                "prompt": question.prompt,
                **({"choices": question.choices} if question.choices else {}),
                **records.describe_question(question),
                **_command_entry(command),
            }
        )
        return
    output.write(question.prompt)
    for number, mark in enumerate(question.marked.marks, 1):
        on = records.placement(question.marked, number)
        output.write(f"{{{number}}} {mark.phrase}: {mark.kind} {records.location(mark)}{on}")
    for line in records.cut_lines(question.marked):
        output.write(line)


ask_command = command(options.expand_groups(ask), marks=True)
