"""What arrived is handed on in portions, one a turn of the event loop.

What is handed on in one turn is answered in one turn, and leaves as one bundle. Large bundles are
cheap; but if all that a client waits for comes in one, it idles while the server works and the
other way round. So who waits for answers takes no more than half of them in one turn: the next
requests leave while the rest is still being answered, and both ends are busy at the same time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context

from micro.message import Message

__all__ = ["PORTION", "InboundScheduler"]

PORTION = 16
"""The fewest messages that are handed on in one turn, if so many are there."""

_MOST = 2 * PORTION
# Of many small bundles a quarter is taken together.
_SHARE = 4
_MOST_WAITING = 256

Push = Callable[[Sequence[Message]], None]


class InboundScheduler:
    """One queue for all sockets of a connection, so that what came first is handed on first.

    It is bounded: what comes faster than turns can take it is handed on as it comes, so that the
    reading slows down to the pace of the work.
    """

    __slots__ = ("_backlog", "_context", "_due", "_loop", "_room", "_waiting")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._waiting: deque[tuple[Push, Sequence[Message]] | Callable[[], None]] = deque()
        self._backlog = 0
        self._room = PORTION
        self._due = False

    def push(self, push: Push, messages: Sequence[Message], awaited: int = 0) -> None:
        """Hand messages on: now as far as this turn has room, the rest on the next ones.

        Args:
            push: Takes them.
            messages: A bundle.
            awaited: How many messages are waited for, these among them; 0 if nobody knows.
        """
        if not self._due:
            self._due = True
            self._loop.call_soon(self._turn, context=self._context)
        if not self._waiting and len(messages) <= self._room:
            self._room -= len(messages)
            push(messages)
            return
        self._backlog += len(messages)
        portion = max(PORTION, awaited // 2) if awaited else len(messages)
        for start in range(0, len(messages), portion):
            self._waiting.append((push, messages[start : start + portion]))
        while len(self._waiting) > _MOST_WAITING:
            self._hand_on()

    def after(self, act: Callable[[], None]) -> None:
        """Do something when all that arrived before it has been handed on."""
        if self._waiting:
            self._waiting.append(act)
        else:
            act()

    async def settle(self) -> None:
        """Wait until all that has arrived so far has been handed on."""
        if self._waiting:
            reached: asyncio.Future[None] = self._loop.create_future()
            self._waiting.append(lambda: None if reached.done() else reached.set_result(None))
            await reached

    def _turn(self) -> None:
        self._room = room = max(PORTION, min(_MOST, self._backlog // _SHARE))
        waiting = self._waiting
        while waiting and self._room > 0:
            self._room -= self._hand_on()
        self._due = bool(waiting) or self._room < room
        if self._due:
            self._loop.call_soon(self._turn, context=self._context)

    def _hand_on(self) -> int:
        """Hand on what came first; returns how many messages that was."""
        item = self._waiting.popleft()
        if not isinstance(item, tuple):
            item()
            return 0
        push, messages = item
        self._backlog -= len(messages)
        push(messages)
        return len(messages)
