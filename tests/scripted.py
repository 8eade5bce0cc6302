"""A model that answers what it was told to: the stand-in wherever the model does not matter."""

from __future__ import annotations

from collections import deque

from vipcli.answers import ModelFacts, OnText, Reply, Request


class ScriptedAnswerer:
    """Answers with queued texts, in pieces, and keeps the requests it was given."""

    def __init__(self, *texts: str) -> None:
        self.texts = deque(texts)
        self.requests: list[Request] = []

    def answer(self, request: Request, on_text: OnText | None = None) -> Reply:
        self.requests.append(request)
        text = self.texts.popleft()
        if on_text is not None:
            for piece in text.splitlines(keepends=True):
                on_text(piece)
        return Reply(
            text=text,
            ended="stop",
            prompt_tokens=len(request.prompt),
            token_ids=tuple(range(len(text.split()))),
            probability=0.5,
            model=ModelFacts("scripted", None, "float32", "cpu"),
            seconds={"generate": 0.0},
        )
