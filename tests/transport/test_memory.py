from __future__ import annotations

import asyncio
import sys
import tracemalloc
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from micro.errors import ConnectionLost, NoResponders, ResourceExhausted, SocketClosed
from micro.memory import MemoryBackend
from micro.message import Message
from micro.testing import Arrivals, Echo, Recorder, TransportConformance
from micro.transport import Receiver
from micro.transport.memory import MemoryTransport


class TestMemoryTransport(TransportConformance):
    many = 1000

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()

    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend


@pytest.fixture
def network() -> MemoryTransport:
    return MemoryTransport()


async def test_messages_of_one_turn_arrive_as_one_bundle_on_a_later_turn(
    network: MemoryTransport,
) -> None:
    arrivals = Arrivals()
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, Recorder())
    first = [socket.send(Message({}, b"%d" % number)) for number in range(3)]
    assert arrivals.sockets == []
    await arrivals.wait_for(1)
    second = socket.send(Message({}, b"3"))
    await arrivals.recorders[0].wait_for(4)

    assert first == [1, 1, 1]
    assert second == 2
    assert arrivals.recorders[0].bundles == [3, 1]


async def test_the_first_lost_bundle_is_named(network: MemoryTransport) -> None:
    end, arrivals = Recorder(), Arrivals()
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, end)
    socket.send(Message({}, b"arrives"))
    [far] = await arrivals.wait_for(1)
    await listener.drain()
    lost = socket.send(Message({}, b"does not"))
    error = await end.wait_closed()

    assert isinstance(error, NoResponders)
    assert error.bundle == lost == 2
    assert arrivals.recorders[0].bodies == [b"arrives"]
    assert isinstance(await arrivals.recorders[0].wait_closed(), SocketClosed)
    with pytest.raises(SocketClosed):
        far.send(Message({}, b""))


async def test_what_was_sent_in_the_turn_of_a_drain_arrives(network: MemoryTransport) -> None:
    arrivals = Arrivals()
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, Recorder())
    socket.send(Message({}, b"just in time"))
    await listener.drain()

    assert arrivals.recorders[0].bodies == [b"just in time"]


@pytest.mark.parametrize(
    "limits", [{"max_pending": 10}, {"max_pending_bytes": 100}], ids=["messages", "bytes"]
)
async def test_what_waits_to_be_sent_is_bounded(limits: dict[str, int]) -> None:
    network, arrivals = MemoryTransport(**limits), Arrivals()
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, Recorder())
    for _ in range(10):
        socket.send(Message({}, b"x" * 10))
    with pytest.raises(ResourceExhausted) as caught:
        socket.send(Message({}, b"x" * 10))
    await socket.drain()
    socket.send(Message({}, b"room again"))
    await arrivals.wait_for(1)
    received = await arrivals.recorders[0].wait_for(11)

    assert caught.value.refused
    assert received[-1].body == b"room again"


async def test_receivers_do_not_run_in_the_senders_context(network: MemoryTransport) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    class Looks(Recorder):
        def received(self, messages: Sequence[Message]) -> None:
            seen.append(who.get())
            super().received(messages)

    arrivals = Arrivals(lambda _: Looks())
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, Recorder())
    who.set("sender")
    socket.send(Message({}, b""))
    await arrivals.wait_for(1)
    await arrivals.recorders[0].wait_for(1)

    assert seen == ["nobody"]


async def test_a_socket_can_be_closed_while_it_is_accepted(network: MemoryTransport) -> None:
    recorder, end = Recorder(), Recorder()

    def refuse(socket: object) -> Receiver:
        socket.close()
        return recorder

    listener = await network.listen(refuse)
    socket = await network.dial(listener.address, end)
    socket.send(Message({}, b"let me in"))

    assert isinstance(await end.wait_closed(), SocketClosed)
    assert recorder.messages == []
    assert len(recorder.closings) == 1


async def test_closing_the_network_breaks_every_connection(network: MemoryTransport) -> None:
    end, arrivals = Recorder(), Arrivals()
    listener = await network.listen(arrivals)
    socket = await network.dial(listener.address, end)
    socket.send(Message({}, b""))
    await arrivals.wait_for(1)
    network.close()

    assert isinstance(await end.wait_closed(), ConnectionLost)
    assert isinstance(await arrivals.recorders[0].wait_closed(), ConnectionLost)
    for attempt in (network.listen(arrivals), network.dial("a", end), socket.drain()):
        with pytest.raises(ConnectionLost):
            await attempt
    with pytest.raises(ConnectionLost):
        socket.send(Message({}, b""))


async def test_two_networks_do_not_meet(network: MemoryTransport) -> None:
    end = Recorder()
    listener = await network.listen(Arrivals())
    socket = await MemoryTransport().dial(listener.address, end)
    socket.send(Message({}, b""))

    assert isinstance(await end.wait_closed(), NoResponders)


async def test_nothing_is_kept_of_closed_sockets(network: MemoryTransport) -> None:
    end = Recorder()
    listener = await network.listen(Arrivals(Echo))
    async with listener, await network.dial(listener.address, end) as socket:
        socket.send(Message({}, b""))
        await end.wait_for(1)
    await end.wait_closed()

    assert not network._sockets
    assert not network._listeners


async def test_ten_thousand_idle_sockets_are_small(network: MemoryTransport) -> None:
    class Quiet(Receiver):
        def received(self, messages: Sequence[Message]) -> None:
            pass

        def closed(self, error: Exception) -> None:
            pass

    quiet = Quiet()
    listener = await network.listen(lambda _: quiet)
    tracemalloc.start()
    sockets = [await network.dial(listener.address, quiet) for _ in range(10_000)]
    for socket in sockets:
        socket.send(Message({}, b""))
    await asyncio.sleep(0)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert len(network._sockets) == 20_000
    assert size / len(sockets) < 1024
    assert sys.getsizeof(sockets[0]) < 160
