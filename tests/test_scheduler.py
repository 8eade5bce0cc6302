"""The queue before a model: which requests share a batch, which are refused, and whom a failure affects."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from vipcli.asking.interface import Halted, ModelFacts, OnText, PromptTurn, Reply, Request, Sampling
from vipcli.errors import ModelError
from vipcli.serving.scheduler import BusyError, Scheduler


class PausedModel:
    """Answers each prompt with itself once it is resumed, and records the batches."""

    def __init__(self) -> None:
        self.resumed = threading.Event()
        self.batches: list[list[str]] = []

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        return self.answer_batch([request], [on_text], [halted])[0]

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        self.batches.append([request.prompt for request in requests])
        assert self.resumed.wait(20)
        if any("bad" in request.prompt for request in requests):
            raise ModelError("It went wrong.")
        for request, on_text in zip(requests, on_texts, strict=True):
            assert on_text is not None
            on_text(request.prompt)
        return [reply(request.prompt) for request in requests]


def reply(text: str) -> Reply:
    return Reply(text, "stop", 1, (), 0, None, ModelFacts("paused", None, "float32", "cpu"))


def request(prompt: str, **kwargs: object) -> Request:
    return Request(prompt, (), **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def model() -> PausedModel:
    return PausedModel()


@pytest.fixture
def scheduler(model: PausedModel) -> Scheduler:
    return Scheduler(model, max_waiting=3, max_batch=3)


def wait_until_started(model: PausedModel) -> None:
    while not model.batches:
        threading.Event().wait(0.01)


def test_waiting_requests_are_answered_in_batches(model: PausedModel, scheduler: Scheduler) -> None:
    first = scheduler.submit(request("first"))
    wait_until_started(model)
    later = [scheduler.submit(request(name)) for name in "abcd"]
    model.resumed.set()
    assert [queued.reply.result(20).text for queued in (first, *later)] == ["first", *"abcd"]
    assert model.batches == [["first"], ["a", "b", "c"], ["d"]]


def test_sampled_requests_and_conversations_are_answered_alone(
    model: PausedModel, scheduler: Scheduler
) -> None:
    first = scheduler.submit(request("first"))
    wait_until_started(model)
    waiting = [
        scheduler.submit(request("a")),
        scheduler.submit(request("sampled", sampling=Sampling(temperature=0.5))),
        scheduler.submit(request("long", sampling=Sampling(max_new_tokens=9))),
        scheduler.submit(request("b")),
        scheduler.submit(request("turn", past_turns=(PromptTurn("Q", (1,)),))),
    ]
    model.resumed.set()
    for queued in (first, *waiting):
        queued.reply.result(20)
    assert model.batches == [["first"], ["a", "b"], ["sampled"], ["long"], ["turn"]]


def test_a_full_queue_takes_only_requests_without_a_timeout(model: PausedModel, scheduler: Scheduler) -> None:
    scheduler.submit(request("first"))
    wait_until_started(model)
    for name in "abc":
        scheduler.submit(request(name), timeout=60)
    with pytest.raises(BusyError, match="3 requests are already waiting"):
        scheduler.submit(request("d"), timeout=60)
    own = scheduler.submit(request("own"))
    model.resumed.set()
    assert own.reply.result(20).text == "own"


def test_a_request_that_fails_its_batch_fails_alone(model: PausedModel, scheduler: Scheduler) -> None:
    first = scheduler.submit(request("first"))
    wait_until_started(model)
    good, bad = scheduler.submit(request("good")), scheduler.submit(request("bad"))
    model.resumed.set()
    assert first.reply.result(20).text == "first"
    assert good.reply.result(20).text == "good"
    with pytest.raises(ModelError, match="It went wrong"):
        bad.reply.result(20)
    assert scheduler.submit(request("next")).reply.result(20).text == "next"


def test_a_cancelled_request_is_not_answered(model: PausedModel, scheduler: Scheduler) -> None:
    first = scheduler.submit(request("first"))
    wait_until_started(model)
    cancelled, other = scheduler.submit(request("cancelled")), scheduler.submit(request("other"))
    scheduler.cancel(cancelled)
    assert scheduler.waiting == 1
    model.resumed.set()
    assert other.reply.result(20).text == "other"
    assert first.reply.result(20).text == "first"
    assert model.batches == [["first"], ["other"]]
    assert cancelled.reply.cancelled()


def test_a_request_that_waited_too_long_is_refused(model: PausedModel, scheduler: Scheduler) -> None:
    first = scheduler.submit(request("first"))
    wait_until_started(model)
    late = scheduler.submit(request("late"), timeout=0.01)
    threading.Event().wait(0.05)
    model.resumed.set()
    with pytest.raises(ModelError, match="waited too long for its turn"):
        late.reply.result(20)
    assert first.reply.result(20).text == "first"
    assert model.batches == [["first"]]


def test_it_reports_since_when_it_is_idle(model: PausedModel, scheduler: Scheduler) -> None:
    assert scheduler.idle_since is not None
    queued = scheduler.submit(request("first"))
    assert scheduler.idle_since is None
    model.resumed.set()
    queued.reply.result(20)
    while scheduler.idle_since is None:
        threading.Event().wait(0.01)
    assert scheduler.waiting == 0
