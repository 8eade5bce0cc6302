"""Tests of the bundled model on a GPU, run by `pytest -m gpu`.

`VIPCLI_GPU=cpu pytest -m gpu` runs them on the CPU, to try the tests themselves.
"""

from __future__ import annotations

import gc
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from vipcli.asking.interface import Reply, Request, Sampling, Setup
from vipcli.batch.answering import RowBuilder, answer_windows
from vipcli.batch.items import Item
from vipcli.batch.prefetch import prepared_windows
from vipcli.batch.preparing import BatchConfig, ItemPreparer
from vipcli.checkpoints.lookup import find
from vipcli.checkpoints.prompt_forms import HUMAN, Turn
from vipcli.engine.loading import load as load_checkpoint
from vipcli.engine.local import LocalModel
from vipcli.errors import OutOfMemoryError
from vipcli.pictures.images import Pixels, save_picture
from vipcli.training.drawing.scenes import draw_scene

# Read at import, since a fixture removes the user's variables during tests.
DEVICE = os.environ.get("VIPCLI_GPU", "cuda")
ON_CUDA = DEVICE.startswith("cuda")
ROOT = Path(__file__).parent.parent
TOKEN = "a-token-of-this-test"
SHAPES = ROOT / "samples" / "shapes.png"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(240),
    pytest.mark.skipif(ON_CUDA and not torch.cuda.is_available(), reason="there is no GPU"),
]

QUESTIONS = (
    "What is in the middle of the picture?",
    "How many things are there in the picture?",
    "What color is the background?",
    "Is there a star in the picture?",
)


@pytest.fixture(autouse=True)
def _sources_first(monkeypatch: pytest.MonkeyPatch) -> None:
    # Commands are run from other folders, and vipcli may not be installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture(scope="module")
def requests() -> list[Request]:
    """32 questions about as many scenes."""
    return [
        Request(
            prompt=HUMAN.build([Turn(QUESTIONS[seed % len(QUESTIONS)])]),
            images=(scene(seed),),
            stops=HUMAN.stops,
            sampling=Sampling(max_new_tokens=16),
        )
        for seed in range(32)
    ]


@pytest.fixture(scope="module")
def expected(requests: list[Request]) -> list[Reply]:
    """The answers of the CPU in float32, one at a time."""
    model = LocalModel(find("bundled"), Setup(device="cpu", dtype="float32"))
    return [model.answer(request) for request in requests]


def scene(seed: int) -> Pixels:
    return draw_scene(random.Random(seed)).plain


def load(resident: bool = False, **setup: Any) -> LocalModel:
    return LocalModel(find("bundled"), Setup(device=DEVICE, **setup), resident=resident)


def ids(replies: list[Reply]) -> list[tuple[int, ...]]:
    return [reply.token_ids for reply in replies]


def test_float32_gives_the_ids_of_the_cpu(requests: list[Request], expected: list[Reply]) -> None:
    model = load(dtype="float32")
    assert model.facts.device.startswith(DEVICE)
    assert ids([model.answer(request) for request in requests]) == ids(expected)
    probabilities = [model.answer(request).probability or 0.0 for request in requests[:4]]
    assert probabilities == pytest.approx([reply.probability for reply in expected[:4]], abs=1e-4)


@pytest.mark.parametrize("together", [2, 5, 32])
def test_a_batch_in_float32_gives_the_ids_of_the_cpu(
    requests: list[Request], expected: list[Reply], together: int
) -> None:
    model = load(dtype="float32")
    replies = [
        reply
        for start in range(0, len(requests), together)
        for reply in model.answer_batch(requests[start : start + together])
    ]
    assert ids(replies) == ids(expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.01), ("bfloat16", 0.05)])
def test_logits_in_16_bits_are_close(dtype: str, tolerance: float, requests: list[Request]) -> None:
    """Run the same inputs on the CPU in float32 and on the device in 16 bits."""
    checkpoint, logits = find("bundled"), []
    for place, precision in (("cpu", "float32"), (DEVICE, dtype)):
        prepare, model = load_checkpoint(checkpoint, Setup(device=place, dtype=precision))
        inputs = {
            name: value.to(model.device, model.dtype if value.is_floating_point() else None)
            for name, value in prepare(requests[:1]).items()
        }
        with torch.inference_mode():
            logits.append(model(**inputs).logits[0].float().cpu())
    reference, close = logits
    assert float((close - reference).norm() / reference.norm()) < tolerance


def test_compiled_steps_give_the_same_ids(requests: list[Request], expected: list[Reply]) -> None:
    model = load(resident=True, dtype="float32")
    if ON_CUDA:
        assert model.compiles
    assert ids([model.answer(request) for request in requests[:8]]) == ids(expected[:8])
    assert ids(model.answer_batch(requests[:8])) == ids(expected[:8])
    if ON_CUDA:
        # If compiling fails, the model silently falls back to plain steps.
        assert model.compiles


@pytest.mark.parametrize("quantize", ["4bit", "4bit-fp4", "8bit"])
def test_quantized_models_answer(quantize: str, requests: list[Request], expected: list[Reply]) -> None:
    model = load(quantize=quantize)
    assert model.facts.quantize == quantize
    replies = [model.answer(request) for request in requests[:16]]
    same = sum(reply.text == wanted.text for reply, wanted in zip(replies, expected, strict=False))
    # Quantizing hurts small models more than large ones; broken ones would give no right answer.
    assert same >= 8, [reply.text for reply in replies]


@contextmanager
def little_memory(model: LocalModel, requests: list[Request]) -> Iterator[Any]:
    """The model with enough memory for a few requests at a time, but not for all."""
    if not ON_CUDA:
        yield _LimitedModel(model, most=6)
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    model.answer_batch(requests[:4])
    few = torch.cuda.max_memory_reserved()
    model.answer_batch(requests)
    many = torch.cuda.max_memory_reserved()
    assert many > few
    model.forget()
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((few + (many - few) / 3) / total)
    try:
        yield _BatchRecorder(model)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


class _BatchRecorder:
    """A model that records the sizes of its batches."""

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self.together: list[int] = []
        self.refused = 0

    def answer(self, request: Request, on_text: Any = None, halted: Any = None) -> Reply:
        return self._model.answer(request, on_text, halted)

    def answer_batch(self, requests: Any, on_texts: Any = (), halted: Any = ()) -> list[Reply]:
        try:
            replies = self._model.answer_batch(requests, on_texts, halted)
        except OutOfMemoryError:
            self.refused += 1
            raise
        self.together.append(len(requests))
        return replies


class _LimitedModel(_BatchRecorder):
    """The same on a CPU, whose memory cannot be limited: it raises the error itself."""

    def __init__(self, model: LocalModel, most: int) -> None:
        super().__init__(model)
        self._most = most

    def answer_batch(self, requests: Any, on_texts: Any = (), halted: Any = ()) -> list[Reply]:
        if len(requests) > self._most:
            self.refused += 1
            raise OutOfMemoryError("The cpu ran out of memory while answering.")
        return super().answer_batch(requests, on_texts, halted)


def test_a_batch_that_does_not_fit_is_halved_and_gives_the_same_answers(
    requests: list[Request], tmp_path: Path
) -> None:
    model = load(dtype="float32")
    pictures = []
    for number in range(32):
        pictures.append(tmp_path / f"{number:02}.png")
        save_picture(scene(number), pictures[-1])
    items = [Item(id=str(place), images=(str(place),), question=QUESTIONS[0]) for place in pictures]
    plan = BatchConfig(find("bundled"), Setup(device=DEVICE, dtype="float32"), batch_size=32)

    def answers(answerer: Any) -> list[Any]:
        asker = RowBuilder(lambda: answerer, plan)
        answered = answer_windows(prepared_windows(items, ItemPreparer(plan), plan), asker)
        return [item.row and item.row["answer"] for window in answered for item in window]

    whole = answers(model)
    assert all(whole)
    with little_memory(model, requests) as limited:
        assert answers(limited) == whole
        assert limited.refused >= 1
        assert max(limited.together) < 32


def test_spread_over_all_devices(requests: list[Request], expected: list[Reply]) -> None:
    model = LocalModel(find("bundled"), Setup(device="spread", dtype="float32"))
    assert ids([model.answer(request) for request in requests[:4]]) == ids(expected[:4])


@pytest.mark.skipif(not ON_CUDA, reason="memory of a GPU")
def test_memory_is_freed() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = load(dtype="float16")
    assert torch.cuda.memory_allocated() > before
    del model
    gc.collect()
    assert torch.cuda.memory_allocated() == before


def vipcli(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "vipcli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_commands_answer_as_on_the_cpu() -> None:
    answers = json.loads((ROOT / "vipcli" / "bundled" / "answers.json").read_text(encoding="utf-8"))
    for example in answers[:2]:
        arguments = shlex.split(example["command"])[1:]
        with vipcli(*arguments, "--device", DEVICE, "--dtype", "float32", cwd=ROOT) as command:
            stdout, stderr = command.communicate(timeout=120)
        assert (command.returncode, stdout) == (0, example["answer"] + "\n"), stderr


def test_a_batch_ended_by_ctrl_c_can_be_resumed(tmp_path: Path) -> None:
    for number in range(600):
        save_picture(scene(number % 8), tmp_path / f"{number:03}.png")
    rows = tmp_path / "rows.jsonl"
    batch = ("batch", tmp_path, "--question", QUESTIONS[0], "-o", rows, "--device", DEVICE, "--together", "2")
    with vipcli(*batch) as command:
        wait_until(
            lambda: command.poll() is not None or (rows.exists() and rows.read_text().count("\n") >= 4)
        )
        command.send_signal(signal.SIGINT)
        _, stderr = command.communicate(timeout=60)
    assert command.returncode in (130, -signal.SIGINT), stderr
    there = rows.read_text().count("\n")
    assert 4 <= there < 600
    with vipcli(*batch, "--resume", "--limit", "40") as command:
        _, stderr = command.communicate(timeout=120)
    assert command.returncode == 0, stderr
    assert rows.read_text().count("\n") >= min(there, 40)


def test_the_server_answers_64_requests_at_once() -> None:
    options = ("--port", "0", "--waiting", "100", "--together", "16", "--device", DEVICE, "--json")
    environment = {**os.environ, "VIPCLI_TOKEN": TOKEN}
    with vipcli("serve", *options, env=environment) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())
        try:
            with ThreadPoolExecutor(64) as pool:
                answers = list(pool.map(lambda _: post(address["address"]), range(64)))
        finally:
            server.send_signal(signal.SIGINT)
            server.communicate(timeout=60)
    assert set(answers) == {"7"}


def post(address: str) -> str:
    import base64

    picture = f"data:image/png;base64,{base64.b64encode(SHAPES.read_bytes()).decode()}"
    content = [
        {"type": "image_url", "image_url": {"url": picture}},
        {"type": "text", "text": "Which number is {1}?"},
    ]
    body = {
        "model": "bundled",
        "messages": [{"role": "user", "content": content}],
        "regions": [{"box": "8%,36%,31%,66%"}],
    }
    request = urllib.request.Request(
        f"{address}/chat/completions",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)["choices"][0]["message"]["content"]
    assert isinstance(answer, str)
    return answer


def test_ray_with_one_worker_writes_the_same_rows(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(12):
        save_picture(scene(number), pictures / f"{number:02}.png")
    files = []
    for name, more in (("here", ()), ("ray", ("--on", "ray", "--workers", "1"))):
        files.append(tmp_path / f"{name}.jsonl")
        options = ("--device", DEVICE, "--dtype", "float32", "--quiet")
        with vipcli(
            "batch", pictures, "--question", QUESTIONS[0], "-o", files[-1], *options, *more
        ) as command:
            _, stderr = command.communicate(timeout=200)
        assert command.returncode == 0, stderr
    assert files[0].read_text() == files[1].read_text()


def wait_until(condition: Callable[[], bool], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        threading.Event().wait(0.05)
