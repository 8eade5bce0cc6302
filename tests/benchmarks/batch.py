"""Batches with the bundled model on one CPU thread, against a loop, and 4,096 pictures against 256.

The loop is the documentation's and runs in float32; batches run in bfloat16 too. All ask the same question
about the same pictures, each with a box.
"""

from __future__ import annotations

import functools
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from tests.benchmarks.compare import Comparison
from vipcli.asking.interface import Setup
from vipcli.batch.answering import RowBuilder, answer_windows
from vipcli.batch.items import Item
from vipcli.batch.prefetch import prepared_windows
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN, Turn
from vipcli.marks.kinds import parse_mark
from vipcli.training.drawing.scenes import draw_scene

QUESTION = "What is within the red rectangle?"
BOX = "25%,25%,75%,75%"
PICTURES = 64
FEW, MANY = 256, 4096
_MORE_MEMORY = 1.05
# A process inherits the peak memory of its parent, and this process holds models.
_SMALL_PARENT = """
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
_SCRATCH: list[tempfile.TemporaryDirectory[str]] = []


def comparisons() -> list[Comparison]:
    """Batches in two precisions against the loop, then many pictures against few."""
    import torch

    torch.set_num_threads(1)
    photos = _photos()
    in_memory = [
        _comparison(photos, "batch-fast", "float32", "bfloat16", 1.8, "at least 1.8 × as fast"),
        _comparison(photos, "batch-32", "float32", "float32", 1, "no slower, in the same 32 bits"),
        _comparison(photos, "batch-16", "bfloat16", "bfloat16", 1, "no slower, in the same 16 bits"),
    ]
    peaks: dict[int, int] = {}
    many = Comparison(
        name="batch-many",
        baseline_name=f"{FEW} pictures, the whole command",
        ours_name=f"{MANY:,} pictures",
        baseline=functools.partial(_command, photos, FEW, peaks),
        ours=functools.partial(_command, photos, MANY, peaks),
        target="a picture in at most 1.05 × its time, memory the same",
        least_ratio=1 / 1.05,
        unit="picture",
        baseline_units=FEW,
        ours_units=MANY,
    )
    return [*in_memory, many]


def _comparison(
    photos: list[str], name: str, theirs: str, ours: str, least: float, target: str
) -> Comparison:
    return Comparison(
        name=name,
        baseline_name=f"the documentation's loop, {theirs}",
        ours_name=f"vipcli batch, {ours}",
        baseline=_loop(photos, theirs),
        ours=_batch(photos, ours),
        target=target,
        least_ratio=least,
        unit="picture",
        baseline_units=PICTURES,
        ours_units=PICTURES,
    )


def _loop(photos: list[str], dtype: str) -> Callable[[], None]:
    import torch
    from transformers import AutoProcessor, VipLlavaForConditionalGeneration

    folder = find("bundled").folder
    model: Any = VipLlavaForConditionalGeneration.from_pretrained(folder, dtype=getattr(torch, dtype))
    processor: Any = AutoProcessor.from_pretrained(folder, backend="pil")
    prompt = HUMAN.build([Turn(QUESTION)])

    def ask() -> None:
        for photo in photos:
            image = Image.open(photo).convert("RGB")
            width, height = image.size
            box = [width / 4, height / 4, width * 3 / 4, height * 3 / 4]
            ImageDraw.Draw(image).rectangle(box, outline="red", width=3)
            inputs = processor(images=image, text=prompt, return_tensors="pt")
            if dtype != "float32":
                inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
            written = model.generate(**inputs, max_new_tokens=32)
            assert processor.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)

    return ask


def _batch(photos: list[str], dtype: str) -> Callable[[], None]:
    from vipcli.engine.local import LocalModel

    config = BatchConfig(find("bundled"), Setup("cpu", dtype))
    model = LocalModel(config.checkpoint, config.setup)
    items = [Item(photo, (photo,), QUESTION, marks=(parse_mark("box", BOX),)) for photo in photos]

    def ask() -> None:
        windows = answer_windows(
            prepared_windows(items, ItemPreparer(config), config), RowBuilder(lambda: model, config)
        )
        assert sum(
            item.row is not None and bool(item.row["answer"]) for window in windows for item in window
        ) == len(photos)

    return ask


def _command(photos: list[str], count: int, peaks: dict[int, int]) -> None:
    """Run the whole command on `count` pictures, and check that its memory does not grow with them."""
    names = "\n".join((photos * (count // len(photos) + 1))[:count]).encode()
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ("batch", "-", "--question", QUESTION, "--box", BOX, "--dtype", "bfloat16", "--quiet")
        process = subprocess.run(
            [
                *(sys.executable, "-c", _SMALL_PARENT, sys.executable, "-m", "vipcli", *arguments),
                *("-o", str(Path(scratch) / "rows.jsonl")),
            ],
            input=names,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
        )
        assert (Path(scratch) / "rows.jsonl").read_bytes().count(b"\n") == count
    peak = int(process.stdout)
    peaks[count] = max(peaks.get(count, 0), peak)
    print(f"{count:,} pictures: at most {peak / 1024:,.0f} MB", file=sys.stderr)
    assert peaks.get(MANY, 0) <= peaks[FEW] * _MORE_MEMORY


def _photos() -> list[str]:
    """Drawn scenes like those that the bundled model was trained on, as JPEG files."""
    _SCRATCH.append(tempfile.TemporaryDirectory())
    rng, names = random.Random(5), []
    for number in range(PICTURES):
        names.append(str(Path(_SCRATCH[0].name) / f"{number:02}.jpg"))
        Image.fromarray(draw_scene(rng).marked).save(names[-1], quality=92)
    return names
