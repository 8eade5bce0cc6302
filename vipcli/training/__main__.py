"""`python -m vipcli.training train | evaluate | card`: make the bundled model, measure it, tell of it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Before torch is imported anywhere: spinning threads starve the process that draws.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console
from rich.table import Table

from vipcli.errors import INTERRUPTED, VipcliError
from vipcli.files import replace_file


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m vipcli.training", description=__doc__)
    commands = parser.add_subparsers(required=True)

    train = commands.add_parser("train", help="train the bundled model, or go on where training stopped")
    train.add_argument("folder", type=Path, help="where checkpoints, log and the finished model go")
    train.add_argument("--minutes", type=float, required=True, help="time to spend on all stages together")
    train.add_argument("--shares", type=float, nargs=3, default=(0.6, 0.3, 0.1), help="of each stage")
    train.add_argument("--start", type=Path, help="a trained checkpoint to go on from")
    train.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    train.add_argument("--workers", type=int, help="processes that draw (one core is left)")
    train.add_argument("--batch", type=int, default=96, help="pictures a step (96)")
    train.add_argument("--seed", type=int, default=0)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="measure a checkpoint on scenes held out from training")
    evaluate.add_argument("model", nargs="?", default="bundled", help="as for vipcli --model (bundled)")
    evaluate.add_argument("--scenes", type=int, default=500, help="how many scenes to ask about (500)")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--device", default="auto")
    evaluate.add_argument("--json", type=Path, metavar="FILE", help="write all figures and every answer")
    evaluate.add_argument("--failures", type=Path, metavar="PNG", help="draw a contact sheet of what failed")
    evaluate.set_defaults(run=_evaluate)

    card = commands.add_parser("card", help="write the model card of a checkpoint")
    card.add_argument("folder", type=Path, help="the checkpoint, with its training.json and answers.json")
    card.add_argument(
        "--figures", type=Path, required=True, metavar="FILE", help="what evaluate --json wrote"
    )
    card.add_argument(
        "--other-hand",
        type=Path,
        metavar="FILE",
        help="what judging.independent_evaluation --json wrote",
    )
    card.set_defaults(run=_card)

    asked = parser.parse_args(arguments)
    try:
        asked.run(asked)
    except VipcliError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from the last checkpoint.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _train(asked: argparse.Namespace) -> None:
    from vipcli.training.recipe import Plan, spare_cores, train

    plan = Plan(
        folder=asked.folder,
        minutes=asked.minutes,
        seed=asked.seed,
        device=asked.device,
        workers=spare_cores() if asked.workers is None else asked.workers,
        batch=asked.batch,
        start=asked.start,
        shares=tuple(asked.shares),
    )
    print(train(plan))


def _evaluate(asked: argparse.Namespace) -> None:
    from rich.progress import Progress

    from vipcli.asking.interface import Setup
    from vipcli.checkpoints.lookup import find
    from vipcli.engine.local import LocalModel
    from vipcli.pictures.images import encode
    from vipcli.training.judging import evaluation
    from vipcli.training.judging.contact_sheet import contact_sheet

    checkpoint = find(asked.model, offline=True)
    model = LocalModel(checkpoint, Setup(device=asked.device))
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task("Asking", total=asked.scenes)
        judged = evaluation.judge(
            model,
            checkpoint.form(),
            scenes=asked.scenes,
            seed=asked.seed,
            progress=lambda done: progress.update(task, completed=done),
        )
    figures = evaluation.summary(judged)
    if asked.json:
        record = {"model": asked.model, "seed": asked.seed, "scenes": asked.scenes, "figures": figures}
        answers = [{name: getattr(one, name) for name in one.__dataclass_fields__} for one in judged]
        text = json.dumps({**record, "answers": answers}, ensure_ascii=False, indent=1)
        replace_file(asked.json, text.encode())
    if asked.failures:
        sheet = contact_sheet(evaluation.worst(judged, 60), asked.seed)
        replace_file(asked.failures, encode(sheet))
    Console().print(_table(figures))


def _card(asked: argparse.Namespace) -> None:
    from vipcli.training.judging.card import card
    from vipcli.training.recipe import HISTORY

    figures = json.loads(asked.figures.read_text())["figures"]
    other_hand = json.loads(asked.other_hand.read_text())["figures"] if asked.other_hand else None
    made = json.loads((asked.folder / HISTORY).read_text())
    examples = json.loads((asked.folder / "answers.json").read_text())
    replace_file(asked.folder / "README.md", card(figures, made, examples, other_hand).encode())


def _table(figures: dict[str, Any]) -> Table:
    table = Table("what", "right", "asked", "%", title="Held-out scenes")
    for name, figure in figures.items():
        if isinstance(figure, dict) and "percent" in figure:
            table.add_row(name, *_cells(figure), style="bold")
        elif isinstance(figure, dict):
            table.add_section()
            for part, share in figure.items():
                table.add_row(f"{name.removeprefix('by ')}: {part}", *_cells(share))
            table.add_section()
        elif isinstance(figure, list):
            for point in figure:
                sure = f"sure {point['sure']:.0f} %"
                table.add_row(f"{name}: {sure}", "", f"{point['asked']:.0f}", f"{point['right']:.1f}")
        else:
            table.add_row(name, "", "", f"{figure}")
    return table


def _cells(share: dict[str, Any]) -> tuple[str, str, str]:
    percent = "–" if share["percent"] is None else f"{share['percent']:.1f}"
    return str(share["right"]), str(share["asked"]), percent


if __name__ == "__main__":
    sys.exit(main())
