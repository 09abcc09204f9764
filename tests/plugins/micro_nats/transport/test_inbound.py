from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from micro.backend import Backend
from micro.message import Message
from micro.testing import Arrivals, Recorder
from micro.transport.contract import Listener
from micro_nats.devserver import NatsServer
from micro_nats.transport.inbound import (
    MAX_QUEUED,
    MAX_QUEUED_BYTES,
    MAX_WAIT_SECONDS,
    MIN_BATCH,
    InboundScheduler,
)
from micro_nats.wire.envelope import bundle_of, pack_message
from tests.plugins.micro_nats.helpers import raw


class Waiting(Recorder):
    """Says how many messages it waits for."""

    def __init__(self, awaited: int) -> None:
        super().__init__()
        self._awaited = awaited

    @property
    def awaited(self) -> int:
        return self._awaited


async def test_a_receiver_gets_at_most_half_of_what_it_waits_for_in_one_turn(
    other: Backend, echo: Listener
) -> None:
    end = Waiting(awaited=4 * MIN_BATCH)
    socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
    for number in range(4 * MIN_BATCH):
        socket.send(Message({}, b"%d" % number))
    await end.wait_for(4 * MIN_BATCH)

    assert end.bodies == [b"%d" % number for number in range(4 * MIN_BATCH)]
    assert end.bundles == [2 * MIN_BATCH, 2 * MIN_BATCH]


async def test_a_receiver_that_waits_for_few_gets_all_in_one_turn(
    other: Backend, echo: Listener
) -> None:
    end = Waiting(awaited=MIN_BATCH)
    socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
    for number in range(MIN_BATCH):
        socket.send(Message({}, b"%d" % number))
    await end.wait_for(MIN_BATCH)

    assert end.bundles == [MIN_BATCH]


class Counting:
    """Counts what was delivered."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, messages: Sequence[Message], delay: float) -> None:
        self.bodies.extend(message.body for message in messages)


async def test_what_is_over_the_bound_in_bytes_is_delivered_as_it_comes() -> None:
    scheduler, got = InboundScheduler(), Counting()
    half_a_mebibyte = 1 << 19
    for number in range(MIN_BATCH + 100):
        scheduler.push(got, [Message({}, b"%d" % number)], half_a_mebibyte)

    waiting = MIN_BATCH + 100 - len(got.bodies)
    assert waiting * half_a_mebibyte == MAX_QUEUED_BYTES
    await scheduler.settle()
    assert got.bodies == [b"%d" % number for number in range(MIN_BATCH + 100)]


async def test_what_is_over_the_bound_in_batches_is_delivered_as_it_comes() -> None:
    scheduler, got = InboundScheduler(), Counting()
    for number in range(MIN_BATCH + 1000):
        scheduler.push(got, [Message({}, b"%d" % number)], 1)

    assert MIN_BATCH + 1000 - len(got.bodies) == MAX_QUEUED
    await scheduler.settle()
    assert len(got.bodies) == MIN_BATCH + 1000


async def test_a_bundle_that_is_delivered_in_batches_counts_once() -> None:
    scheduler, got = InboundScheduler(), Counting()
    bundle = [Message({}, b"%d" % number) for number in range(64)]
    for _ in range(20):
        scheduler.push(got, bundle, 1 << 20, awaited=64)
    assert 20 * 64 - len(got.bodies) <= 64 * MAX_QUEUED_BYTES >> 20
    await scheduler.settle()
    scheduler.push(got, bundle, MAX_QUEUED_BYTES, awaited=64)

    assert len(got.bodies) == 20 * 64
    await scheduler.settle()
    assert got.bodies == [message.body for message in bundle] * 21


async def test_headers_count_for_the_bound_in_bytes(
    backend: Backend, server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    push = InboundScheduler.push

    def record(self, deliver, messages, size, *more) -> None:
        sizes.append(size)
        push(self, deliver, messages, size, *more)

    monkeypatch.setattr(InboundScheduler, "push", record)
    arrivals = Arrivals()
    large = pack_message(Message({"X": "x" * 500_000}, b""))
    async with await backend.transport.listen(arrivals) as listener, raw(server) as peer:
        await peer.publish(listener.address.encode(), bundle_of([large]), reply=b"_INBOX.x.1")
        await arrivals.wait_for(1)

    assert sizes == [pytest.approx(500_000, abs=100)]


async def test_what_waited_through_a_long_turn_is_delivered_at_once_with_its_age() -> None:
    scheduler, delays = InboundScheduler(), []

    def deliver(_messages: Sequence[Message], delay: float) -> None:
        delays.append(delay)

    for number in range(8 * MIN_BATCH):
        scheduler.push(deliver, [Message({}, b"%d" % number)], 10)
    turn_ends = time.monotonic() + 1.2 * MAX_WAIT_SECONDS
    while time.monotonic() < turn_ends:
        continue
    await asyncio.sleep(0)

    assert len(delays) == 8 * MIN_BATCH
    assert delays[-1] > MAX_WAIT_SECONDS
