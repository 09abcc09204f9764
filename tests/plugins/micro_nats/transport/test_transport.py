from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from micro.backend import Backend, BackendOptions, ConnectionState
from micro.errors import ConnectionLost, NoResponders, SocketClosed, TransportError
from micro.message import Message
from micro.testing import Arrivals, Echo, Recorder
from micro.transport.contract import Listener
from micro_nats import open_nats
from micro_nats.connection.connection import open_connection
from micro_nats.devserver import NatsServer
from micro_nats.transport.transport import NatsTransport
from tests.plugins.micro_nats.helpers import Events, connections, until


class TestManySockets:
    async def test_ten_thousand_sockets_share_one_subscription(
        self, backend: Backend, server: NatsServer
    ) -> None:
        ends = [Recorder() for _ in range(10_000)]
        options = BackendOptions(addresses=(server.address,), name="many")
        arrivals = Arrivals(Echo)
        async with (
            open_nats(options) as other,
            await backend.transport.listen(arrivals) as listener,
            asyncio.timeout(10),
        ):
            for number, end in enumerate(ends):
                socket = await other.transport.dial(
                    listener.address, end, metadata=listener.metadata
                )
                socket.send(Message({}, b"%d" % number))
            for end in ends:
                await end.wait_for(1)
            [seen] = [each for each in await connections(server) if each.get("name") == "many"]

        assert [end.bodies for end in ends] == [[b"%d" % number] for number in range(10_000)]
        assert seen["subscriptions"] == 1

    async def test_sockets_over_the_bound_are_refused(self, server: NatsServer) -> None:
        options = BackendOptions(addresses=(server.address,))
        async with open_connection(options) as one, open_connection(options) as two:
            serving, dialling = NatsTransport(one, max_accepted=2), NatsTransport(two)
            ends = [Recorder() for _ in range(3)]
            async with await serving.listen(Arrivals(Echo)) as listener:
                for end in ends:
                    socket = await dialling.dial(listener.address, end, metadata=listener.metadata)
                    socket.send(Message({}, b"x"))
                error = await ends[2].wait_closed()
                for end in ends[:2]:
                    await end.wait_for(1)

        assert isinstance(error, SocketClosed)
        assert error.bundle == 1
        assert serving.counters.sockets_refused == 1


class TestIdleSockets:
    @pytest.fixture
    async def pair(self, server: NatsServer) -> AsyncIterator[tuple[NatsTransport, NatsTransport]]:
        options = BackendOptions(addresses=(server.address,))
        async with open_connection(options) as one, open_connection(options) as two:
            yield NatsTransport(one, idle_timeout=0.1), NatsTransport(two, idle_timeout=0.1)

    async def test_the_dialling_end_closes_one_at_both_ends(self, pair) -> None:
        serving, dialling = pair
        arrivals, end = Arrivals(), Recorder()
        sweeping = asyncio.ensure_future(dialling.sweep())
        async with await serving.listen(arrivals) as listener:
            socket = await dialling.dial(listener.address, end, metadata=listener.metadata)
            socket.send(Message({}, b""))
            await arrivals.wait_for(1)
            far = await arrivals.recorders[0].wait_closed()
            near = await end.wait_closed()
        sweeping.cancel()

        assert isinstance(far, SocketClosed)
        assert isinstance(near, SocketClosed)
        assert serving.counters.sockets_expired == 0

    async def test_the_dialling_end_closes_one_before_the_listener_does(self, pair) -> None:
        serving, dialling = pair
        arrivals, end = Arrivals(), Recorder()
        async with await serving.listen(arrivals) as listener:
            socket = await dialling.dial(listener.address, end, metadata=listener.metadata)
            socket.send(Message({}, b""))
            [far] = await arrivals.wait_for(1)
            for _ in range(5):
                serving._sweep()
                dialling._sweep()
            assert not _send(socket)
            assert _send(far)

    async def test_the_listener_closes_one_whose_peer_is_gone(self, pair) -> None:
        serving, dialling = pair
        arrivals = Arrivals()
        async with await serving.listen(arrivals) as listener:
            socket = await dialling.dial(listener.address, Recorder(), metadata=listener.metadata)
            socket.send(Message({}, b""))
            await arrivals.wait_for(1)
            for _ in range(7):
                serving._sweep()
            error = await arrivals.recorders[0].wait_closed()

        assert isinstance(error, SocketClosed)
        assert serving.counters.sockets_expired == 1

    async def test_one_in_go_micros_envelope_stays_open_at_the_dialling_end(self, pair) -> None:
        serving, dialling = pair
        async with await serving.listen(Arrivals()) as listener:
            socket = await dialling.dial(listener.address, Recorder())
            for _ in range(10):
                dialling._sweep()

            assert _send(socket)

    async def test_one_that_only_sends_lives_as_long_as_its_peer(self, pair) -> None:
        serving, dialling = pair
        arrivals, end = Arrivals(), Recorder()
        async with await serving.listen(arrivals) as listener:
            socket = await dialling.dial(listener.address, end, metadata=listener.metadata)
            socket.send(Message({}, b""))
            [far] = await arrivals.wait_for(1)
            for _ in range(20):
                far.send(Message({}, b"item"))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                serving._sweep()
            await end.wait_for(20)
            assert arrivals.recorders[0].closings == []

            await dialling._connection.aclose()
            await until(lambda: not _send(far))
            error = await arrivals.recorders[0].wait_closed()

        assert isinstance(error, NoResponders)


def _send(socket) -> bool:
    try:
        socket.send(Message({}, b"to no one"))
    except TransportError:
        return False
    return True


class TestLostConnections:
    async def test_every_socket_at_both_ends_is_closed(self, own_server: NatsServer) -> None:
        options = BackendOptions(addresses=(own_server.address,))
        async with open_nats(options) as backend, open_nats(options) as other:
            arrivals = Arrivals()
            ends = [Recorder() for _ in range(100)]
            async with await backend.transport.listen(arrivals) as listener:
                for end in ends:
                    socket = await other.transport.dial(
                        listener.address, end, metadata=listener.metadata
                    )
                    socket.send(Message({}, b"x"))
                await arrivals.wait_for(100)
                own_server.kill()
                errors = [await end.wait_closed() for end in (*ends, *arrivals.recorders)]
                with pytest.raises(ConnectionLost):
                    socket.send(Message({}, b"x"))
                with pytest.raises(ConnectionLost):
                    await other.transport.dial(listener.address, Recorder())

        assert {type(error) for error in errors} == {ConnectionLost}

    async def test_a_listener_returns_at_its_address(self, own_server: NatsServer) -> None:
        events, end = Events(), Recorder()
        options = BackendOptions(addresses=(own_server.address,), on_event=events)
        async with (
            open_nats(options) as backend,
            open_nats(options) as other,
            await backend.transport.listen(Arrivals(Echo)) as listener,
        ):
            own_server.kill()
            await events.wait_for(ConnectionState.DISCONNECTED, 2)
            own_server.start()
            await events.wait_for(ConnectionState.RECONNECTED, 2)
            socket = await other.transport.dial(listener.address, end, metadata=listener.metadata)
            socket.send(Message({}, b"again"))
            await end.wait_for(1)

        assert end.bodies == [b"again"]

    async def test_a_second_loss_while_peers_are_told_harms_nothing(
        self, backend: Backend, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        socket.send(Message({}, b""))
        await end.wait_for(1)
        echo.lose(ConnectionLost("cut"))
        link, backend.connection._link = backend.connection._link, None
        echo.restored()
        await asyncio.sleep(0)
        backend.connection._link = link

        assert end.closings == []

    async def test_what_waited_at_the_loss_is_never_sent(self, own_server: NatsServer) -> None:
        options = BackendOptions(addresses=(own_server.address,))
        async with open_nats(options) as backend:
            end = Recorder()
            socket = await backend.transport.dial("somewhere", end)
            socket.send(Message({}, b"ghost"))
            backend.connection._link.fail(ConnectionLost("cut"))

            assert isinstance(await end.wait_closed(), ConnectionLost)
            await backend.connection.wait_connected(10)
            assert backend.transport._outbox.waiting < 1000
