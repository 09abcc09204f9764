from __future__ import annotations

import asyncio

from micro.backend import Backend
from micro.errors import NoResponders
from micro.message import Message
from micro.testing import Arrivals, Recorder
from micro.transport.contract import Listener
from micro_nats.transport.inbound import MIN_BATCH
from tests.plugins.micro_nats.helpers import Inbox


async def test_messages_of_one_turn_leave_as_one_bundle(
    backend: Backend, other: Backend, connection
) -> None:
    arrivals, seen = Arrivals(), Inbox()
    async with await backend.transport.listen(arrivals) as listener:
        await connection.subscribe(listener.address, seen)
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        first = [socket.send(Message({}, b"%d" % n)) for n in range(10)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        second = socket.send(Message({}, b"last"))
        await seen.wait_for(2)
        await arrivals.wait_for(1)
        await arrivals.recorders[0].wait_for(11)

    assert set(first) == {1}
    assert second == 2
    assert arrivals.recorders[0].bundles == [10, 1]
    assert [reply for _, reply, _, _ in seen.messages[:2]] == [
        f"{socket.local}.1",
        f"{socket.local}.2",
    ]


async def test_a_bundle_stays_below_the_servers_limit(backend: Backend, other: Backend) -> None:
    arrivals = Arrivals()
    async with await backend.transport.listen(arrivals) as listener:
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        sizes = [100_000, 900_000, 100_000, 1_000_000]
        numbers = [socket.send(Message({}, b"x" * size)) for size in sizes]
        await arrivals.wait_for(1)
        await arrivals.recorders[0].wait_for(4)

    assert numbers == [1, 1, 2, 3]
    assert arrivals.recorders[0].bundles == [2, 1, 1]


async def test_large_messages_do_not_wait_for_each_other(backend: Backend, other: Backend) -> None:
    arrivals = Arrivals()
    async with await backend.transport.listen(arrivals) as listener:
        socket = await other.transport.dial(
            listener.address, Recorder(), metadata=listener.metadata
        )
        numbers = [socket.send(Message({}, b"x" * 70_000)) for _ in range(5)]
        await arrivals.wait_for(1)
        await arrivals.recorders[0].wait_for(5)

    assert numbers == [1, 1, 2, 2, 3]


async def test_answers_of_one_turn_leave_as_one_bundle(
    backend: Backend, other: Backend, echo: Listener
) -> None:
    end = Recorder()
    socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
    for number in range(MIN_BATCH):
        socket.send(Message({}, b"%d" % number))
    await end.wait_for(MIN_BATCH)

    assert end.bundles == [MIN_BATCH]


class TestNoOneListens:
    async def test_the_first_bundle_that_reached_no_one_is_named(
        self, backend: Backend, other: Backend
    ) -> None:
        arrivals, end = Arrivals(), Recorder()
        async with await backend.transport.listen(arrivals) as listener:
            socket = await other.transport.dial(listener.address, end, metadata=listener.metadata)
            reached = socket.send(Message({}, b"reached"))
            await arrivals.wait_for(1)
            await listener.drain()
            lost = [socket.send(Message({}, b"lost")), socket.send(Message({}, b"lost"))]
            error = await end.wait_closed()

        assert isinstance(error, NoResponders)
        assert error.bundle == lost[0] == reached + 1
        assert error.refused

    async def test_in_go_micros_envelope_no_bundle_is_named(self, other: Backend) -> None:
        end = Recorder()
        socket = await other.transport.dial("no.one.here", end)
        socket.send(Message({}, b""))
        error = await end.wait_closed()

        assert isinstance(error, NoResponders)
        assert error.bundle is None

    async def test_a_late_refusal_is_counted_and_harms_nothing(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        gone = await other.transport.dial("no.one.here", Recorder(), metadata=echo.metadata)
        gone.send(Message({}, b""))
        gone.close()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        socket.send(Message({}, b"fine"))
        await end.wait_for(1)

        assert other.transport.counters.orphaned_replies >= 1
