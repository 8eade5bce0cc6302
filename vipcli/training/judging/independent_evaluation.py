"""How well a checkpoint does on pictures of another hand."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

# Before torch is imported anywhere: spinning threads starve each other on a shared machine.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from rich.console import Console
from rich.progress import track
from rich.table import Table

from vipcli.asking.interface import Answerer, Request, Sampling
from vipcli.checkpoints.prompt_forms import PromptForm, Turn
from vipcli.errors import VipcliError
from vipcli.files import replace_file
from vipcli.training.judging.evaluation import Share, folded
from vipcli.training.judging.independent_scenes import scenes

SHORT = Sampling(max_new_tokens=48)


@dataclass(frozen=True, slots=True)
class Answered:
    """One question on a picture of another hand, and what the model said."""

    seed: int
    number: int
    family: str
    kinds: tuple[str, ...]
    question: str
    expected: str
    answered: str
    right: bool


def ask(answerer: Answerer, form: PromptForm, seed: int, count: int) -> Iterator[Answered]:
    """That many questions, each on a picture of its own; right as in `vipcli.training.judging.evaluation`."""
    for number, one in enumerate(scenes(seed, count)):
        prompt = form.build([Turn(one.question)])
        said = answerer.answer(Request(prompt, (one.picture,), stops=form.stops, sampling=SHORT)).text
        right = folded(said) == folded(one.answer)
        yield Answered(seed, number, one.family, one.kinds, one.question, one.answer, said, right)


def figures(answers: Sequence[Answered]) -> dict[str, Any]:
    """The share that is right of all, by family and by kind of mark."""
    groups: dict[str, dict[str, list[bool]]] = {"by family": defaultdict(list), "by mark": defaultdict(list)}
    for one in answers:
        groups["by family"][one.family].append(one.right)
        for kind in {*one.kinds} if one.family not in ("absent", "foreign") else ():
            groups["by mark"][kind].append(one.right)
    return {
        "all": _share([one.right for one in answers]),
        **{name: {part: _share(group[part]) for part in sorted(group)} for name, group in groups.items()},
    }


def _share(right: Sequence[bool]) -> dict[str, Any]:
    share = Share(sum(right), len(right))
    return {**asdict(share), "percent": share.percent}


def main(arguments: Sequence[str] | None = None) -> int:
    from vipcli.asking.interface import Setup
    from vipcli.checkpoints.lookup import find
    from vipcli.engine.local import LocalModel

    parser = argparse.ArgumentParser(prog=f"python -m {__spec__.name}", description=__doc__)
    parser.add_argument("model", nargs="?", default="bundled", help="as for vipcli --model (bundled)")
    parser.add_argument("--each", type=int, default=416, help="questions on each seed's pictures (416)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15, 16], metavar="SEED")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and every answer")
    asked = parser.parse_args(arguments)
    answers: list[Answered] = []
    console = Console(stderr=True)
    try:
        checkpoint = find(asked.model, offline=True)
        model = LocalModel(checkpoint, Setup(device=asked.device))
        for seed in asked.seeds:
            asking = ask(model, checkpoint.form(), seed, asked.each)
            answers += track(asking, f"Seed {seed}", asked.each, console=console)
        found = figures(answers)
        if asked.json:
            record = {"model": asked.model, "seeds": asked.seeds, "each": asked.each, "figures": found}
            record["answers"] = [asdict(one) for one in answers]
            text = json.dumps(record, ensure_ascii=False, indent=1)
            replace_file(asked.json, text.encode())
    except VipcliError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    Console().print(_table(found))
    return 0


def _table(found: dict[str, Any]) -> Table:
    table = Table("what", "right", "asked", "%", title="Pictures of another hand")
    rows = {"all": found["all"], **found["by mark"], **found["by family"]}
    for name, share in rows.items():
        table.add_row(name, str(share["right"]), str(share["asked"]), f"{share['percent']:.1f}")
    return table


if __name__ == "__main__":
    sys.exit(main())
