"""A plugin that hands everything to the in-memory one, and counts what goes through."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from micro.backend import Backend, BackendOptions
from micro.broker import Broker, Deliver, Subscription
from micro.errors import TransportError
from micro.memory import open_memory
from micro.message import Message
from micro.transport import Listener, Receiver, Socket, Transport

__all__ = ["Counts", "LoopbackBackend", "open_loopback"]

_log = logging.getLogger("micro_loopback")


@dataclass(slots=True)
class Counts:
    """What went through a backend since it was opened.

    Attributes:
        messages: Messages that arrived on sockets, at either end.
        events: Events that were published.
    """

    messages: int = 0
    events: int = 0


class LoopbackBackend(Backend):
    """Counts what goes through another backend.

    Args:
        inner: Does the work; the code that opened it closes it.

    Attributes:
        counts: The numbers so far.
    """

    def __init__(self, inner: Backend) -> None:
        self.counts = Counts()
        self._inner = inner
        if inner.transport is not None:
            self.transport = _CountingTransport(inner.transport, self.counts)
        if inner.broker is not None:
            self.broker = _CountingBroker(inner.broker, self.counts)
        self.registry = inner.registry

    async def check(self) -> None:
        """Ask the backend that does the work; see `Backend.check`."""
        await self._inner.check()


@asynccontextmanager
async def open_loopback(options: BackendOptions) -> AsyncGenerator[Backend, None]:
    """Open the plugin; this is what the entry point names. Options are the in-memory plugin's."""
    async with open_memory(options) as inner:
        backend = LoopbackBackend(inner)
        try:
            yield backend
        finally:
            counts = backend.counts
            _log.info("%d messages, %d events went through", counts.messages, counts.events)


class _CountingTransport(Transport):
    def __init__(self, inner: Transport, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    async def dial(
        self, address: str, receiver: Receiver, *, metadata: Mapping[str, str] | None = None
    ) -> Socket:
        counting = _CountingReceiver(receiver, self._counts)
        return await self._inner.dial(address, counting, metadata=metadata)

    async def listen(self, accept: Callable[[Socket], Receiver], *, address: str = "") -> Listener:
        def accept_counting(socket: Socket) -> Receiver:
            return _CountingReceiver(accept(socket), self._counts)

        return await self._inner.listen(accept_counting, address=address)


class _CountingReceiver(Receiver):
    __slots__ = ("_counts", "_inner")

    def __init__(self, inner: Receiver, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    def received(self, messages: Sequence[Message]) -> None:
        self._counts.messages += len(messages)
        self._inner.received(messages)

    def closed(self, error: TransportError) -> None:
        self._inner.closed(error)


class _CountingBroker(Broker):
    def __init__(self, inner: Broker, counts: Counts) -> None:
        self._inner = inner
        self._counts = counts

    async def publish(self, topic: str, message: Message) -> None:
        await self._inner.publish(topic, message)
        self._counts.events += 1

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        return await self._inner.subscribe(topic, deliver, queue=queue)

    async def flush(self) -> None:
        await self._inner.flush()
