"""The moment by which an answer must be there, on the monotonic clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple

from micro.errors import DeadlineExceeded

__all__ = [
    "Ambient",
    "Deadline",
    "ambient",
    "current_deadline",
    "enforce",
    "new_deadline",
]


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


_new: Any = partial(tuple.__new__, Deadline)
new_deadline: Callable[[tuple[float]], Deadline] = _new
"""Makes a deadline at a fifth of the cost, for what is done for every call; see `new_message`."""


class Ambient:
    """What a running handler hands down to the tasks that it starts: base class of `Context`.

    They inherit it with their contextvars, and may outlive the handler: what runs the handler sets
    `ambient_deadline` to `None` at its end, for all of them.

    Attributes:
        ambient_deadline: When the handler's answer must be there; `None` for no limit, and after
            the end.
    """

    __slots__ = ("ambient_deadline",)

    ambient_deadline: Deadline | None


ambient: ContextVar[Ambient | None] = ContextVar("micro_context", default=None)
"""The call or event that is being handled; nested calls inherit its deadline."""


def current_deadline() -> Deadline | None:
    """The deadline of the handler that this task belongs to, while that handler runs."""
    running = ambient.get()
    return None if running is None else running.ambient_deadline


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
