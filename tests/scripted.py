"""A model that answers what it was told to: the stand-in wherever the model does not matter."""

from __future__ import annotations

from collections import deque

from vipcli.answers import Halted, ModelFacts, OnText, Reply, Request


class ScriptedAnswerer:
    """Answers with queued texts, in pieces, and keeps the requests it was given."""

    def __init__(self, *texts: str) -> None:
        self.texts = deque(texts)
        self.requests: list[Request] = []

    def answer(self, request: Request, on_text: OnText | None = None, halted: Halted | None = None) -> Reply:
        self.requests.append(request)
        text = self.texts.popleft()
        told = ""
        for piece in text.splitlines(keepends=True):
            told += piece
            if on_text is not None:
                on_text(piece)
            if halted is not None and halted():
                break
        return Reply(
            text=told,
            ended="stop" if told == text else "halted",
            prompt_tokens=len(request.prompt),
            token_ids=tuple(range(len(told.split()))),
            shown_tokens=len(told.split()),
            probability=0.5,
            model=ModelFacts("scripted", None, "float32", "cpu"),
            seconds={"generate": 0.0},
        )
