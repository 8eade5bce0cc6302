"""Models that answer with given texts, for tests in which the model does not matter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from vipcli.asking.interface import EndReason, Halted, ModelFacts, OnText, Reply, Request
from vipcli.errors import OutOfMemoryError


class ScriptedAnswerer:
    """Answers with queued texts, line by line, and keeps the requests."""

    def __init__(self, *texts: str) -> None:
        self.texts = deque(texts)
        self.requests: list[Request] = []

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        self.requests.append(request)
        text = self.texts.popleft()
        written = ""
        for piece in text.splitlines(keepends=True):
            written += piece
            if on_text is not None:
                on_text(piece)
            if halted is not None and halted():
                break
        return _reply(request, written, "stop" if written == text else "halted")


class SideBySide:
    """Answers batches with the texts that `say` returns, and keeps the batch sizes.

    More than `most` requests at once run out of memory.
    """

    def __init__(self, say: Callable[[Request], str], most: int = 1000) -> None:
        self.say, self.most = say, most
        self.together: list[int] = []

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        return self.answer_batch([request])[0]

    def answer_batch(
        self,
        requests: Sequence[Request],
        on_texts: Sequence[OnText | None] = (),
        halted: Sequence[Halted | None] = (),
    ) -> list[Reply]:
        if len(requests) > self.most:
            raise OutOfMemoryError("The cpu ran out of memory while answering.")
        texts = [self.say(request) for request in requests]
        self.together.append(len(requests))
        return [_reply(request, text, "stop") for request, text in zip(requests, texts, strict=True)]


def _reply(request: Request, text: str, ended: EndReason) -> Reply:
    return Reply(
        text=text,
        ended=ended,
        prompt_tokens=len(request.prompt),
        token_ids=tuple(range(len(text.split()))),
        shown_tokens=len(text.split()),
        probability=0.5,
        model=ModelFacts("scripted", None, "float32", "cpu"),
        seconds={"generate": 0.0},
    )


class Words:
    """A tokenizer whose token ids are the indices of words in a list."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    def decode(self, ids: Sequence[int], **_: object) -> str:
        return "".join(self._words[token] for token in ids)
