"""The moment by which an answer must be there, on the monotonic clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import NamedTuple

from micro.errors import DeadlineExceeded

__all__ = ["AmbientDeadline", "Deadline", "ambient_deadline", "current_deadline", "enforce"]


class Deadline(NamedTuple):
    """A point in time; only what remains of it ever crosses the wire.

    Attributes:
        at: Seconds on `time.monotonic()`, so a change of the wall clock does not move it.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; zero or less once it has passed."""
        return self.at - time.monotonic()

    def tighter(self, other: Deadline | None) -> Deadline:
        """The earlier of the two."""
        return self if other is None or self.at <= other.at else other


class AmbientDeadline:
    """The deadline of a handler that is running.

    Tasks that the handler starts inherit it with their context, and may outlive the handler:
    what runs the handler sets `deadline` to `None` at its end, for all of them.

    Attributes:
        deadline: When the handler's answer must be there; `None` for no limit, and after the end.
    """

    __slots__ = ("deadline",)

    def __init__(self, deadline: Deadline | None) -> None:
        self.deadline = deadline


ambient_deadline: ContextVar[AmbientDeadline | None] = ContextVar("micro_deadline", default=None)
"""The deadline of the call or event that is being handled; nested calls inherit it."""


def current_deadline() -> Deadline | None:
    """The deadline of the handler that this task belongs to, while that handler runs."""
    ambient = ambient_deadline.get()
    return None if ambient is None else ambient.deadline


@asynccontextmanager
async def enforce(deadline: Deadline | None, doing: str) -> AsyncIterator[None]:
    """End the block when the deadline passes; a `TimeoutError` raised inside it passes unchanged.

    Args:
        deadline: When; `None` sets no limit.
        doing: What the block does, for the error's text.

    Raises:
        DeadlineExceeded: the block was still running.
    """
    if deadline is None:
        yield
        return
    loop = asyncio.get_running_loop()
    timer = asyncio.timeout_at(loop.time() + deadline.remaining())
    try:
        async with timer:
            yield
    except TimeoutError:
        if not timer.expired():
            raise
        raise DeadlineExceeded(f"no time left for {doing}", id="micro.deadline") from None
