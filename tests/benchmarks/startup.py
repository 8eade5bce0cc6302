"""Whole processes, as a shell starts them.

Help against an argparse script's, and a cold answer against the documentation's few lines: `AutoProcessor`,
`from_pretrained` with `device_map="auto"`, `generate`. Both answer the same question about the same picture
with the same checkpoint, of random weights, and print it. Then the bundled model against the bare imports
that any answer needs.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.compare import Comparison
from tests.tiny import make_vipllava
from vipcli.checkpoints.prompt_forms import HUMAN, Turn

QUESTION = "What is within the red rectangle?"
LENGTH = 32

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser(description="Ask about a picture.")
parser.add_argument("image", help="a file")
parser.add_argument("question", nargs="?", help="what to ask")
for option in range(20):
    parser.add_argument(f"--option-{option}", metavar="VALUE", help="what this option is for")
parser.parse_args(["--help"])
"""

DOCUMENTATION = """
import sys
import torch
from PIL import Image
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

folder, image, prompt, length = sys.argv[1:]
model = VipLlavaForConditionalGeneration.from_pretrained(folder, device_map="auto", dtype=torch.float32)
processor = AutoProcessor.from_pretrained(folder)
inputs = processor(text=prompt, images=Image.open(image), return_tensors="pt").to(model.device)
output = model.generate(**inputs, max_new_tokens=int(length))
print(processor.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""

IMPORTS = """
import vipcli.engine.local
import transformers.models.vipllava.modeling_vipllava
"""
SHAPES = Path(__file__).parent.parent.parent / "samples" / "shapes.png"

# The documentation's script runs with torch's own default; vipcli sets the variable itself.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}


def comparisons() -> list[Comparison]:
    """Help, a cold answer on a quiet machine and beside a busy process, and one of the bundled model."""
    folder, image = _scratch()
    python = functools.partial(_run, sys.executable)
    vipcli = functools.partial(python, "-m", "vipcli")
    help_ = Comparison(
        name="help",
        baseline_name="an argparse script's --help",
        ours_name="vipcli ask --help",
        baseline=functools.partial(python, "-c", ARGPARSE),
        ours=functools.partial(vipcli, "ask", "--help"),
        target="at most 7 × its time",
        least_ratio=1 / 7,
    )
    prompt = HUMAN.build([Turn(QUESTION)])
    marked = (str(image), QUESTION, "--box", "40,60,200,220", "--quiet")
    quiet = Comparison(
        name="ask",
        baseline_name="the documentation's script",
        ours_name="vipcli ask",
        baseline=functools.partial(python, "-c", DOCUMENTATION, str(folder), str(image), prompt, str(LENGTH)),
        ours=functools.partial(
            vipcli, "ask", *marked, "--model", str(folder), "--max-new-tokens", str(LENGTH)
        ),
        target="at most 0.75 × its time on a quiet machine",
        least_ratio=1 / 0.75,
    )
    busy = replace(
        quiet,
        name="ask-busy",
        baseline=functools.partial(_beside_a_busy_process, quiet.baseline),
        ours=functools.partial(_beside_a_busy_process, quiet.ours),
        target="at most 0.5 × its time beside a busy process",
        least_ratio=2,
    )
    bundled = Comparison(
        name="bundled",
        baseline_name="importing torch, transformers and the model's class",
        ours_name="vipcli ask with the bundled model",
        baseline=functools.partial(python, "-c", IMPORTS),
        ours=functools.partial(vipcli, "ask", str(SHAPES), "Which number is {1}?", "--box", "8%,36%,31%,66%"),
        target="at most 1 s more",
        most_more=1.0,
    )
    return [help_, quiet, busy, bundled]


@functools.cache
def _scratch() -> tuple[Path, Path]:
    """A checkpoint of nine million weights and a photo's worth of pixels, kept until the process ends."""
    folder = Path(_SCRATCH.name)
    image = folder / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)).save(image)
    return make_vipllava(folder / "checkpoint", size=224, hidden=256, layers=6), image


_SCRATCH = tempfile.TemporaryDirectory(prefix="vipcli-benchmark-")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env=_ENVIRONMENT)


def _beside_a_busy_process(run: Callable[[], None]) -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        run()
    finally:
        busy.kill()
        busy.wait()
