"""Publishing many events to one topic: confirmed side by side, within a window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Generic, TypeVar

from micro.broker.kept_types import Receipt
from micro.errors import UsageError
from micro.scope import Scope, open_scope

__all__ = ["DEFAULT_WINDOW", "WINDOW_TIMEOUT_SECONDS", "TopicPublisher", "open_window"]

E = TypeVar("E")

DEFAULT_WINDOW = 4096
"""Events of one `publisher()` that wait for their confirmation."""
WINDOW_TIMEOUT_SECONDS = 30.0
"""For each of them: it is sent after all that wait before it."""
MAX_FAILURES = 1000
"""Failures that are collected before `send` raises them."""

Publish = Callable[..., Awaitable[Receipt]]


class TopicPublisher(Generic[E]):
    """Publishes events of one topic without waiting for each; `Client.publisher` opens it.

    The events are handed to the broker in the order of the calls of `send`.

    Attributes:
        confirmed: Events that the broker has, so far.
        failures: The errors of those that it surely has not, or perhaps not; `details["event_id"]`
            of each names the event.
    """

    def __init__(self, publish: Publish, window: int, scope: Scope) -> None:
        self.confirmed: int = 0
        self.failures: list[Exception] = []
        self._publish = publish
        self._scope = scope
        self._sent = 0
        self._free = asyncio.Semaphore(window)

    async def send(
        self, event: E, *, id: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        """Publish an event; waits while `window` events wait for their confirmation.

        Raises:
            ExceptionGroup: 1,000 events have failed already.
        """
        if len(self.failures) >= MAX_FAILURES:
            self._raise()
        await self._free.acquire()
        self._sent += 1
        self._scope.start(self._send(event, id, headers))

    async def settle(self) -> None:
        """Wait until every event is confirmed or has failed.

        Raises:
            ExceptionGroup: the errors of those that failed.
        """
        await self._scope.settle()
        if self.failures:
            self._raise()

    async def _send(self, event: E, id: str | None, headers: dict[str, str] | None) -> None:
        try:
            await self._publish(event, id=id, headers=headers)
            self.confirmed += 1
        except Exception as error:
            # Collected, so that one failure does not lose sight of the others.
            self.failures.append(error)
        finally:
            self._free.release()

    def _raise(self) -> None:
        failures, self.failures = self.failures, []
        raise ExceptionGroup(f"{len(failures)} of {self._sent} events were not confirmed", failures)


@asynccontextmanager
async def open_window(publish: Publish, window: int) -> AsyncIterator[TopicPublisher[Any]]:
    """Publish many events inside a block; its end waits for all of them.

    Args:
        publish: Publishes one event of the topic.
        window: Events that may wait for their confirmation.

    Raises:
        UsageError: the window is not a whole number of at least 1.
        ExceptionGroup: at the end, the errors of the events that failed.
    """
    if type(window) is not int or window < 1:
        raise UsageError(f"window must be a whole number of at least 1, got {window!r}")
    async with open_scope() as scope:
        out = TopicPublisher[Any](publish, window, scope)
        yield out
        await out.settle()
