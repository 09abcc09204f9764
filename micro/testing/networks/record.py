"""What passed in a test network: calls, and the events of topics that a test listens to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Self, TypeVar

from micro.codec import Codecs
from micro.errors import MicroError
from micro.events.content import guess_content_type, read_headers
from micro.message import Message
from micro.names import topic_matches
from micro.testing.networks.activity import SETTLE_SECONDS
from micro.testing.recorder import Signal

__all__ = ["MAX_RECORDED", "Call", "CallRecord", "Listener"]

E = TypeVar("E")

MAX_RECORDED = 10_000
"""Calls, and events of one listener, that a network keeps; the oldest ones are forgotten."""


@dataclass(slots=True, kw_only=True)
class Call:
    """One call that reached a service of a test network.

    Attributes:
        service: The service's name.
        endpoint: The endpoint's name.
        request: The request as a value; for a stream of requests an async iterator.
        headers: The headers that came with it.
        node: The id of the node that it reached.
        response: The answer; `None` until there is one.
        error: What the handler raised, if anything.
        ended: Whether the handler has ended.
    """

    service: str
    endpoint: str
    request: Any
    headers: Mapping[str, str]
    node: str
    response: Any = None
    error: BaseException | None = None
    ended: bool = False


@dataclass(slots=True)
class CallRecord:
    """Calls in the order in which their handlers began."""

    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=MAX_RECORDED))

    def of(self, service: str, endpoint: str = "") -> list[Call]:
        """The calls of a service, or of one of its endpoints."""
        return [
            call
            for call in self.calls
            if call.service == service and endpoint in ("", call.endpoint)
        ]


class Listener(Generic[E]):
    """The events of a topic that were published since `Network.listen`, in order.

    It is an async iterator, each of whose waits is bounded; `events` has all of them.

    Attributes:
        topic: The topic or pattern.
        unreadable: Why events could not be read as the type, a sentence each.
    """

    def __init__(self, topic: str, type_: Any, codecs: Codecs) -> None:
        self.topic = topic
        self.unreadable: list[str] = []
        self._events: deque[E] = deque(maxlen=MAX_RECORDED)
        self._added = self._read = 0
        self._type = type_
        self._codecs = codecs
        self._guess = guess_content_type(codecs, type_)
        self._signal = Signal()

    @property
    def events(self) -> list[E]:
        """Events so far; only the newest 10 000 are kept."""
        return list(self._events)

    def add(self, topic: str, message: Message) -> None:
        """Keep an event, if it is of this topic."""
        if not topic_matches(self.topic, topic):
            return
        _, content_type = read_headers(message, self._guess)
        try:
            decode = self._codecs.decoder_for(content_type, self._type)
            self._events.append(decode(message.body))
            self._added += 1
        except MicroError as error:
            self.unreadable.append(f"{topic}: {error.detail}")
        self._signal.set()

    async def wait_for(self, count: int, timeout: float = SETTLE_SECONDS) -> list[E]:
        """Wait until at least `count` events were published; returns them all.

        Raises:
            AssertionError: they were not, for `timeout` seconds of real time.
        """
        await self._signal.until(lambda: self._added >= count, lambda: self._state(count), timeout)
        return self.events

    def __len__(self) -> int:
        return self._added

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        await self.wait_for(self._read + 1)
        self._read += 1
        return self._events[self._read - self._added - 1]

    def _state(self, count: int) -> str:
        bad = f", and {len(self.unreadable)} that cannot be read: " if self.unreadable else ""
        return f"{self._added} of {count} events on {self.topic}{bad}{'; '.join(self.unreadable)}"
