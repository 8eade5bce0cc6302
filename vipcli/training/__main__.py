"""Train the bundled model, evaluate a checkpoint, and write its model card."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Set before anything imports torch: busy-waiting threads would slow down the processes that draw.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from vipcli.errors import INTERRUPTED, VipcliError
from vipcli.files import replace_file

_INDEPENDENT_SEEDS = [11, 12, 13, 14, 15, 16]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except VipcliError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. Run the same command again to resume from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vipcli.training", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_train(commands.add_parser("train", help="train the bundled model, or resume its training"))
    _add_evaluate(commands.add_parser("evaluate", help="evaluate a checkpoint on held-out scenes"))
    _add_evaluate_independent(
        commands.add_parser(
            "evaluate-independent", help="evaluate a checkpoint on pictures drawn by independent code"
        )
    )
    _add_evaluate_guided(
        commands.add_parser(
            "evaluate-guided", help="compare answers guided by contrast with plain ones on held-out scenes"
        )
    )
    _add_choices(
        commands.add_parser("choices", help="compare choosing by likelihood with generating answers")
    )

    _add_zoom(commands.add_parser("zoom", help="measure what cutting pictures to their marks does"))
    _add_card(commands.add_parser("card", help="write the model card of a checkpoint"))
    return parser


def _add_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("folder", type=Path, help="folder for checkpoints, log and the finished model")
    train.add_argument("--minutes", type=float, required=True, help="training time of all stages together")
    train.add_argument(
        "--shares", type=float, nargs=3, default=(0.6, 0.3, 0.1), help="share of the time for each stage"
    )
    train.add_argument("--start", type=Path, help="trained checkpoint to start from")
    train.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    train.add_argument("--workers", type=int, help="processes that draw pictures (all cores but one)")
    train.add_argument("--batch", type=int, default=96, help="pictures per step (96)")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)


def _add_evaluate(evaluate: argparse.ArgumentParser) -> None:
    _add_model(evaluate)
    evaluate.add_argument("--scenes", type=int, default=500, help="number of scenes (500)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--failures", type=Path, metavar="PNG", help="draw a contact sheet of failures")
    evaluate.set_defaults(run=_evaluate)


def _add_evaluate_independent(evaluate: argparse.ArgumentParser) -> None:
    _add_model(evaluate)
    evaluate.add_argument("--each", type=int, default=416, help="number of pictures per seed (416)")
    evaluate.add_argument("--seeds", type=int, nargs="+", default=_INDEPENDENT_SEEDS, metavar="SEED")
    evaluate.set_defaults(run=_evaluate_independent)


def _add_evaluate_guided(evaluate: argparse.ArgumentParser) -> None:
    _add_model(evaluate)
    evaluate.add_argument("--scenes", type=int, default=500, help="number of scenes (500)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--alphas", type=float, nargs="+", default=[0.25, 0.5, 1, 2], metavar="ALPHA")
    evaluate.set_defaults(run=_evaluate_guided)


def _add_choices(choices: argparse.ArgumentParser) -> None:
    _add_model(choices)
    choices.add_argument("--scenes", type=int, default=500, help="number of scenes (500)")
    choices.add_argument("--seed", type=int, default=0)
    choices.set_defaults(run=_choices)


def _add_zoom(zoom: argparse.ArgumentParser) -> None:
    _add_model(zoom)
    zoom.add_argument("--scenes", type=int, default=200, help="number of scenes of each sort (200)")
    zoom.add_argument("--seed", type=int, default=0)
    zoom.add_argument("--margins", type=float, nargs="*", metavar="M", help="margins to compare (a sweep)")
    zoom.set_defaults(run=_zoom)


def _add_model(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("model", nargs="?", default="bundled", help="as for vipcli --model (bundled)")
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write all figures and answers")


def _add_card(card: argparse.ArgumentParser) -> None:
    card.add_argument("folder", type=Path, help="checkpoint with training.json and answers.json")
    card.add_argument("--figures", type=Path, required=True, metavar="FILE", help="output of evaluate --json")
    card.add_argument("--other-hand", type=Path, metavar="FILE", help="output of evaluate-independent --json")
    card.add_argument("--guided", type=Path, metavar="FILE", help="output of evaluate-guided --json")
    card.set_defaults(run=_card)


def _train(options: argparse.Namespace) -> None:
    from vipcli.training.recipe import TrainingPlan, spare_cores, train

    plan = TrainingPlan(
        folder=options.folder,
        minutes=options.minutes,
        seed=options.seed,
        device=options.device,
        workers=spare_cores() if options.workers is None else options.workers,
        batch=options.batch,
        start=options.start,
        shares=tuple(options.shares),
    )
    print(train(plan))


def _load(options: argparse.Namespace) -> tuple[Any, Any]:
    """The checkpoint and its loaded model."""
    from vipcli.asking.interface import Setup
    from vipcli.checkpoints.lookup import find
    from vipcli.engine.local import LocalModel

    checkpoint = find(options.model, offline=True)
    return checkpoint, LocalModel(checkpoint, Setup(device=options.device))


def _evaluate(options: argparse.Namespace) -> None:
    from vipcli.pictures.images import encode
    from vipcli.training.judging.contact_sheet import contact_sheet
    from vipcli.training.judging.evaluation import judge, select_failures, summary

    checkpoint, model = _load(options)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Asking", total=options.scenes)
        answers = judge(
            model,
            checkpoint.form(),
            scenes=options.scenes,
            seed=options.seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    figures = summary(answers)
    if options.json:
        report = {
            "model": options.model,
            "seed": options.seed,
            "scenes": options.scenes,
            "figures": figures,
        }
        _write_report(options.json, report, answers)
    if options.failures:
        sheet = contact_sheet(select_failures(answers, 60), options.seed)
        replace_file(options.failures, encode(sheet))
    Console().print(_table("Held-out scenes", figures))


def _choices(options: argparse.Namespace) -> None:
    from vipcli.training.judging.choices import choice_figures, judge_choices

    checkpoint, model = _load(options)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Asking", total=options.scenes)
        judged = judge_choices(
            model,
            checkpoint.form(),
            scenes=options.scenes,
            seed=options.seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    figures = choice_figures(judged)
    if options.json:
        report = {"model": options.model, "seed": options.seed, "scenes": options.scenes, "figures": figures}
        _write_report(options.json, report, judged)
    Console().print(_choice_table(figures))


def _choice_table(figures: dict[str, Any]) -> Table:
    ways = list(figures["all"])
    table = Table("questions", "asked", *ways, title="Held-out scenes, right answers in %")
    asked = next(iter(figures["all"].values()))["asked"]
    table.add_row("all", str(asked), *(_cells(figures["all"][way])[2] for way in ways), style="bold")
    table.add_row("calibration error", "", *(str(figures["all"][way]["calibration error"]) for way in ways))
    table.add_section()
    for family, by_way in figures["by family"].items():
        asked = next(iter(by_way.values()))["asked"]
        table.add_row(family, str(asked), *(_cells(by_way[way])[2] for way in ways))
    return table


def _evaluate_independent(options: argparse.Namespace) -> None:
    from vipcli.training.judging.independent_evaluation import (
        IndependentAnswer,
        independent_summary,
        judge_independent,
    )
    from vipcli.training.judging.independent_scenes import independent_scenes

    checkpoint, model = _load(options)
    answers: list[IndependentAnswer] = []
    for seed in options.seeds:
        judged = judge_independent(model, checkpoint.form(), seed, independent_scenes(seed, options.each))
        answers += track(judged, f"Seed {seed}", options.each, console=Console(stderr=True))
    figures = independent_summary(answers)
    if options.json:
        report = {
            "model": options.model,
            "seeds": options.seeds,
            "each": options.each,
            "figures": figures,
        }
        _write_report(options.json, report, answers)
    Console().print(_table("Independent pictures", figures))


def _evaluate_guided(options: argparse.Namespace) -> None:
    from vipcli.training.judging.guidance import guided_summary, judge_guided

    checkpoint, model = _load(options)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Asking", total=options.scenes)
        answers = judge_guided(
            model,
            checkpoint.form(),
            options.alphas,
            scenes=options.scenes,
            seed=options.seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    figures = guided_summary(answers, options.alphas)
    if options.json:
        report = {"model": options.model, "seed": options.seed, "scenes": options.scenes, "figures": figures}
        _write_report(options.json, report, answers)
    title = f"{figures['asked']} questions, {figures['percent']:.1f}% right without guidance"
    table = Table("alpha", "points more", "95 % interval", title=title)
    for row in figures["differences"]:
        table.add_row(
            f"{row['alpha']:g}", f"{row['points']:+.1f}", f"{row['low']:+.1f} to {row['high']:+.1f}"
        )
    Console().print(table)


def _zoom(options: argparse.Namespace) -> None:
    from vipcli.training.judging import zooming

    checkpoint, model = _load(options)
    margins = zooming.MARGINS if options.margins is None else options.margins
    answers: dict[str, list[zooming.ZoomAnswer]] = {}
    for sort, choices in zooming.sorts(margins).items():
        numbers = track(range(options.scenes), sort, console=Console(stderr=True))
        answers[sort] = zooming.judge_zoom(model, checkpoint, sort, choices, numbers, seed=options.seed)
    figures = zooming.zoom_summary(answers)
    if options.json:
        report = {"model": options.model, "seed": options.seed, "scenes": options.scenes, "figures": figures}
        _write_report(options.json, report, [answer for group in answers.values() for answer in group])
    Console().print(_table("Zoom", figures))


def _write_report(file: Path, report: dict[str, Any], answers: Sequence[Any]) -> None:
    rows = [{name: getattr(answer, name) for name in answer.__dataclass_fields__} for answer in answers]
    text = json.dumps({**report, "answers": rows}, ensure_ascii=False, indent=1)
    replace_file(file, text.encode())


def _card(options: argparse.Namespace) -> None:
    from vipcli.training.judging.card import card
    from vipcli.training.recipe import HISTORY

    figures = json.loads(options.figures.read_text())["figures"]
    independent = json.loads(options.other_hand.read_text())["figures"] if options.other_hand else None
    guided = json.loads(options.guided.read_text())["figures"] if options.guided else None
    history = json.loads((options.folder / HISTORY).read_text())
    examples = json.loads((options.folder / "answers.json").read_text())
    replace_file(options.folder / "README.md", card(figures, history, examples, independent, guided).encode())


def _table(title: str, figures: dict[str, Any]) -> Table:
    from vipcli.training.judging.evaluation import DISPLAY_NAMES

    table = Table("figure", "right", "asked", "%", title=title)
    for name, figure in figures.items():
        label = DISPLAY_NAMES.get(name, name)
        if isinstance(figure, dict) and "percent" in figure:
            table.add_row(label, *_cells(figure), style="bold")
        elif isinstance(figure, dict):
            table.add_section()
            for group, accuracy in figure.items():
                table.add_row(f"{name.removeprefix('by ')}: {group}", *_cells(accuracy))
            table.add_section()
        elif isinstance(figure, list):
            for point in figure:
                confidence = f"{point['sure']:.0f}% confidence"
                table.add_row(f"{name}: {confidence}", "", f"{point['asked']:.0f}", f"{point['right']:.1f}")
        else:
            table.add_row(label, "", "", f"{figure}")
    return table


def _cells(accuracy: dict[str, Any]) -> tuple[str, str, str]:
    percent = "–" if accuracy["percent"] is None else f"{accuracy['percent']:.1f}"
    return str(accuracy["right"]), str(accuracy["asked"]), percent


if __name__ == "__main__":
    sys.exit(main())
