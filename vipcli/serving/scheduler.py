"""Many who ask one model: requests wait in line, and those that can are answered side by side."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

from vipcli.asking.interface import OnText, Reply, Request, Several
from vipcli.errors import ModelError, VipcliError

_TOGETHER = 0.004
"""Seconds to wait for others that arrive at the same time."""


class BusyError(VipcliError):
    """The line is full."""


@dataclass(eq=False)
class Ticket:
    """One request on its way."""

    request: Request
    on_text: OnText | None
    patience: float
    """How many seconds it may take, the waiting included."""
    since: float = field(default_factory=time.monotonic)
    left: bool = False
    """Whether whoever asked is gone."""
    halted: bool = False
    """Whether they want no more of its answer."""
    begun: bool = False
    """Whether any of its answer was handed over."""
    reply: Future[Reply] = field(default_factory=Future)

    def over(self) -> bool:
        """Whether its answer is to be ended as it stands."""
        return self.left or self.halted or self.late

    @property
    def late(self) -> bool:
        """Whether it has taken longer than it may."""
        return time.monotonic() - self.since > self.patience

    def say(self, text: str) -> None:
        """Hand over some of its answer."""
        self.begun = True
        if self.on_text is not None:
            self.on_text(text)

    @property
    def company(self) -> object | None:
        """What it shares with those that it can be answered beside; None where it must be alone."""
        request = self.request
        # Chance would be drawn from one seed for all, and so give others than it gives one alone.
        alone = request.frames or request.before or request.sampling.temperature
        return None if alone else request.sampling


class Desk:
    """One thread that answers, and the line before it."""

    def __init__(self, model: Several, *, most_waiting: int, most_together: int) -> None:
        self._model = model
        self._most_waiting = most_waiting
        self._most_together = most_together
        self._line: deque[Ticket] = deque()
        self._changed = threading.Condition()
        self._busy = False
        self.last_used = time.monotonic()
        threading.Thread(target=self._work, name="desk", daemon=True).start()

    @property
    def idle_since(self) -> float | None:
        """When it was last of use; None while it is."""
        with self._changed:
            return None if self._busy or self._line else self.last_used

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def ask(
        self, request: Request, on_text: OnText | None = None, *, patience: float | None = None
    ) -> Ticket:
        """Join the line: however long it is where patience has no end, else only where it is not full."""
        ticket = Ticket(request, on_text, math.inf if patience is None else patience)
        with self._changed:
            if patience is not None and self.full:
                raise BusyError(f"{len(self._line)} requests are waiting already. Try again in a moment.")
            self._line.append(ticket)
            self._changed.notify()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Leave the line, or give up the rest of an answer."""
        with self._changed:
            ticket.left = True
            if ticket in self._line:
                self._line.remove(ticket)
                ticket.reply.cancel()

    @property
    def full(self) -> bool:
        """Whether only those whose patience has no end can still join."""
        return len(self._line) >= self._most_waiting

    def _work(self) -> None:
        while True:
            self._answer(self._next())
            with self._changed:
                self._busy, self.last_used = False, time.monotonic()

    def _next(self) -> list[Ticket]:
        """Those to be answered now, once there are any; none when they have left."""
        with self._changed:
            self._changed.wait_for(lambda: self._line)
            self._busy = True
            alone = self._line[0].company is None
        if not alone and self._most_together > 1:
            time.sleep(_TOGETHER)
        with self._changed:
            if not self._line:
                # It has left in that moment.
                return []
            first = self._line.popleft()
            tickets = [first]
            if first.company is not None:
                for other in list(self._line):
                    if len(tickets) < self._most_together and other.company == first.company:
                        self._line.remove(other)
                        tickets.append(other)
            return tickets

    def _answer(self, tickets: list[Ticket]) -> None:
        here = [ticket for ticket in tickets if not ticket.left and not ticket.late]
        for gone in set(tickets) - set(here):
            gone.reply.set_exception(ModelError("It did not come to its turn in time. Try again later."))
        try:
            if len(here) > 1:
                replies = self._model.answers(
                    [one.request for one in here], [one.say for one in here], [one.over for one in here]
                )
            else:
                replies = [self._model.answer(one.request, one.say, one.over) for one in here]
        # Whatever went wrong concerns those who asked; the next in line may fare better.
        except Exception as error:
            for one in here:
                # One of them may have spoilt it for all.
                if len(here) > 1 and not one.begun:
                    self._answer([one])
                else:
                    one.reply.set_exception(error)
            return
        for one, reply in zip(here, replies, strict=True):
            one.reply.set_result(reply)
