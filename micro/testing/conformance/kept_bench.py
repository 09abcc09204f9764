"""What the suites of kept brokers share: topics of their own, time, and waits that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from micro.backend import Backend
from micro.broker.kept import KeptBroker, KeptDelivery
from micro.broker.kept_types import Durable, Features, Position, Receipt, Start, Stored, TopicSpec
from micro.concurrency.clock import Clock, RealClock, VirtualClock
from micro.errors import DeliveryLost, Unsupported
from micro.message import Message
from micro.testing.recorder import KeptMailbox

__all__ = ["KeptBench", "broker_of", "need", "optional"]


class KeptBench:
    """Attributes and helpers.

    Attributes:
        clock: The time of the broker under test; set a VirtualClock where it has one.
        bound: The most seconds that one wait may take.
        lease: Seconds after which the tests let a delivery be given to another.
    """

    clock: Clock = RealClock()
    bound: float = 10.0
    lease: float = 0.4

    async def topic(self, backend: Backend, **fields: Any) -> str:
        """Create a topic that no other test uses; returns its name."""
        spec = TopicSpec(name=f"conformance.{uuid4().hex}", bytes=16 * 1024 * 1024)
        state = await broker_of(backend).ensure(replace(spec, **fields), create=True)
        assert state.created
        return state.spec.name

    async def store(
        self, backend: Backend, topic: str, *bodies: bytes, partition: int | None = None
    ) -> list[Receipt]:
        """Store events, each with an id of its own."""
        broker = broker_of(backend)
        return [
            await broker.store(topic, Message({}, body), id=uuid4().hex, partition=partition)
            for body in bodies
        ]

    @asynccontextmanager
    async def consuming(
        self, backend: Backend, topic: str, *durables: Durable
    ) -> AsyncIterator[list[KeptMailbox]]:
        """Read durables, each into a mailbox."""
        async with AsyncExitStack() as stack:
            boxes = [KeptMailbox() for _ in durables]
            for box, durable in zip(boxes, durables, strict=True):
                consumption = await broker_of(backend).consume(topic, box, durable)
                await stack.enter_async_context(consumption)
            yield boxes

    async def all_of(
        self, backend: Backend, topic: str, start: Start = "all", end: datetime | int | None = None
    ) -> list[Stored]:
        """Read what is stored."""
        last = (await broker_of(backend).describe(topic)).last_sequence if end is None else end
        async with broker_of(backend).read(topic, start=start, end=last) as events:
            return [event async for event in events]

    async def next_of(self, events: AsyncIterator[Stored]) -> Stored:
        """The next event of a reader, within the bound."""
        async with asyncio.timeout(self.bound):
            return await anext(events)

    async def position(self, backend: Backend, topic: str, durable: str) -> Position | None:
        """A durable as the broker describes it."""
        positions = (await broker_of(backend).describe(topic)).positions
        return next((position for position in positions if position.durable == durable), None)

    async def lapse(self, seconds: float) -> None:
        """Move a virtual clock; a real one moves by itself while the test waits."""
        if isinstance(self.clock, VirtualClock):
            await self.clock.advance(seconds)

    async def pause(self, seconds: float) -> None:
        """Wait for time that is part of what is tested."""
        if isinstance(self.clock, VirtualClock):
            await self.clock.advance(seconds)
        else:
            await self.clock.sleep(seconds)

    async def round_trip(self, backend: Backend) -> None:
        """Return when what the broker had to deliver before can have arrived."""
        topic = await self.topic(backend)
        await self.store(backend, topic, b"")
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await box.ack(1)

    async def expect_lost(self, delivery: KeptDelivery) -> None:
        """A confirmed acknowledgement of what another consumption has is an error."""
        with pytest.raises(DeliveryLost):
            await delivery.ack(confirmed=True)

    def durable(self, name: str, **fields: Any) -> Durable:
        """A durable with a short time until redelivery."""
        return replace(Durable(name=name, redeliver_after=self.lease), **fields)

    async def eventually(self, holds: Callable[[], Awaitable[object]], seconds: float) -> None:
        """Ask until the answer is true: at once, or `seconds` later, within the bound."""
        end = self.clock.time() + seconds + self.bound
        while not await holds():
            assert self.clock.time() < end, f"not within {seconds + self.bound} s"
            await self.pause(0.02)

    def after(self, seconds: float) -> datetime:
        """The time in so many seconds."""
        return datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(seconds=seconds)


def broker_of(backend: Backend) -> KeptBroker:
    """The kept broker of a backend."""
    assert isinstance(backend.broker, KeptBroker), "the backend offers no kept broker"
    return backend.broker


@contextmanager
def optional() -> Iterator[None]:
    """Skip the test on a broker that refuses what the block asks for."""
    try:
        yield
    except Unsupported as error:
        pytest.skip(error.detail)


def need(backend: Backend, *features: str) -> Features:
    """Skip the test on a broker that lacks one of these features."""
    has = broker_of(backend).features
    for name in features:
        if not getattr(has, name):
            pytest.skip(f"the broker has no {name}")
    return has
