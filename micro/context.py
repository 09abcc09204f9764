"""What a handler can know of the call or event that it handles."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from micro.deadline import Ambient, Deadline, ambient
from micro.errors import UsageError

__all__ = ["Context", "DurableContext", "ambient_context"]


class Context(Ambient):
    """The context of one call or event; a handler's parameter of this type gets it.

    Attributes:
        service: The name of the service that handles it.
        endpoint: The endpoint's name; for an event, the subscriber's.
        headers: All headers that came with it, the protocol's own included.
        reply_headers: Headers to send with the answer; the protocol's own win over them.
        deadline: When the caller stops waiting, or `None` (events, streams without a limit).
        peer: The address of the other end, as its transport writes it; empty for an event.
        id: The call's id on its socket, or the event's id.
        topic: The topic an event came on, wildcards resolved; empty for a call.
        stopping_event: Set when the service begins to stop; `None` outside of a service.
    """

    __slots__ = (
        "deadline",
        "endpoint",
        "headers",
        "id",
        "peer",
        "reply_headers",
        "service",
        "stopping_event",
        "topic",
    )

    def __init__(
        self,
        service: str,
        endpoint: str,
        headers: Mapping[str, str],
        deadline: Deadline | None = None,
        peer: str = "",
        id: str = "",
        topic: str = "",
    ) -> None:
        self.service: str = service
        self.endpoint: str = endpoint
        self.headers: Mapping[str, str] = headers
        self.deadline: Deadline | None = deadline
        self.ambient_deadline: Deadline | None = deadline
        self.peer: str = peer
        self.id: str = id
        self.topic: str = topic
        self.reply_headers: dict[str, str] = {}
        self.stopping_event: asyncio.Event | None = None

    @property
    def attempt(self) -> int:
        """Which attempt at this event it is: attempts that failed, plus one; 1 for a call."""
        return 1

    def child_id(self, name: str) -> str:
        """An id for something that this event causes; the same when the event comes again.

        await client.publish(awarded, event, id=ctx.child_id("awarded"))
        """
        return f"{self.id}/{name}"

    def remaining(self) -> float | None:
        """Seconds until the caller stops waiting, or `None` without a deadline."""
        return None if self.deadline is None else self.deadline.remaining()

    @property
    def stopping(self) -> bool:
        """Whether the service has begun to stop: a handler that would go on for long should end."""
        return self.stopping_event is not None and self.stopping_event.is_set()

    async def stopped(self) -> None:
        """Wait until the service begins to stop; in an `async def` handler only."""
        if self.stopping_event is None:
            self.stopping_event = asyncio.Event()
        await self.stopping_event.wait()

    @staticmethod
    def current() -> Context:
        """The context of the handler that is running.

        Raises:
            UsageError: no handler is running in this task.
        """
        context = ambient_context.get()
        if context is None:
            raise UsageError("Context.current() was called outside of a handler")
        return context


class DurableContext(Context):
    """The context of an event that a durable subscriber handles.

    Attributes:
        durable: The position that it was delivered to.
        sequence: Its place in its topic.
        stored_at: When the broker stored it.
    """

    __slots__ = ("_attempt", "_published", "durable", "sequence", "stored_at")

    def __init__(
        self,
        context: Context,
        *,
        attempt: int,
        durable: str,
        sequence: int | None,
        stored_at: datetime,
    ) -> None:
        super().__init__(
            context.service,
            context.endpoint,
            context.headers,
            id=context.id,
            topic=context.topic,
        )
        self.durable: str = durable
        self.sequence: int | None = sequence
        self.stored_at: datetime = stored_at
        self._attempt = attempt
        self._published: Counter[str] = Counter()

    @property
    def attempt(self) -> int:
        """Attempts of this durable at the event that failed, plus one."""
        return self._attempt

    def next_id(self, topic: str) -> str:
        """The id of the next event that the handler publishes on a topic without saying one."""
        self._published[topic] += 1
        return self.child_id(f"{topic}/{self._published[topic]}")


# One variable for both, for each costs a call: its values are always contexts.
_ambient: Any = ambient
ambient_context: ContextVar[Context | None] = _ambient
"""The context of the handler that is running, if any."""
