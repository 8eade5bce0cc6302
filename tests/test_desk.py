"""Many who ask one model: who is answered beside whom, who is turned away, and what a failure spoils."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from vipcli.asking.interface import Halted, ModelFacts, OnText, Reply, Request, Said, Sampling
from vipcli.errors import ModelError
from vipcli.serving.scheduler import BusyError, Desk


class Slow:
    """Answers each prompt with itself once it may, and remembers who was answered beside whom."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.together: list[list[str]] = []

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        return self.answers([request], [on_text], [halted])[0]

    def answers(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        self.together.append([request.prompt for request in requests])
        assert self.may.wait(20)
        if any("spoilt" in request.prompt for request in requests):
            raise ModelError("It went wrong.")
        for request, on_text in zip(requests, on_texts, strict=True):
            assert on_text is not None
            on_text(request.prompt)
        return [reply(request.prompt) for request in requests]


def reply(text: str) -> Reply:
    return Reply(text, "stop", 1, (), 0, None, ModelFacts("slow", None, "float32", "cpu"))


def ask(prompt: str, **kwargs: object) -> Request:
    return Request(prompt, (), **kwargs)  # type: ignore[arg-type]


@pytest.fixture
def model() -> Slow:
    return Slow()


@pytest.fixture
def desk(model: Slow) -> Desk:
    return Desk(model, most_waiting=3, most_together=3)


def wait_until_begun(model: Slow) -> None:
    while not model.together:
        threading.Event().wait(0.01)


def test_those_that_wait_are_answered_side_by_side(model: Slow, desk: Desk) -> None:
    first = desk.ask(ask("first"))
    wait_until_begun(model)
    later = [desk.ask(ask(name)) for name in "abcd"]
    model.may.set()
    assert [ticket.reply.result(20).text for ticket in (first, *later)] == ["first", *"abcd"]
    assert model.together == [["first"], ["a", "b", "c"], ["d"]]


def test_chance_conversations_and_videos_are_answered_alone(model: Slow, desk: Desk) -> None:
    first = desk.ask(ask("first"))
    wait_until_begun(model)
    waiting = [
        desk.ask(ask("a")),
        desk.ask(ask("chance", sampling=Sampling(temperature=0.5))),
        desk.ask(ask("long", sampling=Sampling(max_new_tokens=9))),
        desk.ask(ask("b")),
        desk.ask(ask("turn", before=(Said("Q", (1,)),))),
    ]
    model.may.set()
    for ticket in (first, *waiting):
        ticket.reply.result(20)
    assert model.together == [["first"], ["a", "b"], ["chance"], ["long"], ["turn"]]


def test_only_those_without_end_of_patience_join_a_full_line(model: Slow, desk: Desk) -> None:
    desk.ask(ask("first"))
    wait_until_begun(model)
    for name in "abc":
        desk.ask(ask(name), patience=60)
    with pytest.raises(BusyError, match="3 requests are waiting already"):
        desk.ask(ask("d"), patience=60)
    own = desk.ask(ask("own"))
    model.may.set()
    assert own.reply.result(20).text == "own"


def test_one_that_spoils_it_spoils_it_for_itself_alone(model: Slow, desk: Desk) -> None:
    first = desk.ask(ask("first"))
    wait_until_begun(model)
    good, bad = desk.ask(ask("good")), desk.ask(ask("spoilt"))
    model.may.set()
    assert first.reply.result(20).text == "first"
    assert good.reply.result(20).text == "good"
    with pytest.raises(ModelError, match="It went wrong"):
        bad.reply.result(20)
    assert desk.ask(ask("next")).reply.result(20).text == "next"


def test_who_has_left_is_not_answered(model: Slow, desk: Desk) -> None:
    first = desk.ask(ask("first"))
    wait_until_begun(model)
    gone, here = desk.ask(ask("gone")), desk.ask(ask("here"))
    desk.leave(gone)
    assert desk.waiting == 1
    model.may.set()
    assert here.reply.result(20).text == "here"
    assert first.reply.result(20).text == "first"
    assert model.together == [["first"], ["here"]]
    assert gone.reply.cancelled()


def test_who_waited_too_long_is_told_and_not_answered(model: Slow, desk: Desk) -> None:
    first = desk.ask(ask("first"))
    wait_until_begun(model)
    late = desk.ask(ask("late"), patience=0.01)
    threading.Event().wait(0.05)
    model.may.set()
    with pytest.raises(ModelError, match="did not come to its turn in time"):
        late.reply.result(20)
    assert first.reply.result(20).text == "first"
    assert model.together == [["first"]]


def test_it_knows_when_nobody_asks(model: Slow, desk: Desk) -> None:
    assert desk.idle_since is not None
    ticket = desk.ask(ask("first"))
    assert desk.idle_since is None
    model.may.set()
    ticket.reply.result(20)
    while desk.idle_since is None:
        threading.Event().wait(0.01)
    assert desk.waiting == 0
