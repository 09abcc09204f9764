from __future__ import annotations

import asyncio
import json
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
from micro_nats.transport.inbound import MIN_BATCH
from micro_nats.transport.transport import NatsTransport
from micro_nats.wire.envelope import CLOSE_FRAME, decode_json, encode_json, pack_message
from micro_nats.wire.envelope import bundle_of as bundle
from tests.plugins.micro_nats.helpers import Events, Inbox, connections, raw, until


@pytest.fixture
async def echo(backend: Backend) -> AsyncIterator[Listener]:
    async with await backend.transport.listen(Arrivals(Echo)) as listener:
        yield listener


class Waiting(Recorder):
    """Says how many messages it waits for."""

    def __init__(self, awaited: int) -> None:
        super().__init__()
        self._awaited = awaited

    @property
    def awaited(self) -> int:
        return self._awaited


def packed(*bodies: bytes) -> bytes:
    return bundle([pack_message(Message({}, body)) for body in bodies])


class TestCoalescing:
    async def test_what_is_sent_in_one_turn_is_one_bundle(
        self, backend: Backend, other: Backend, connection
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

    async def test_a_bundle_stays_below_the_servers_limit(
        self, backend: Backend, other: Backend
    ) -> None:
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

    async def test_large_messages_do_not_wait_for_each_other(
        self, backend: Backend, other: Backend
    ) -> None:
        arrivals = Arrivals()
        async with await backend.transport.listen(arrivals) as listener:
            socket = await other.transport.dial(
                listener.address, Recorder(), metadata=listener.metadata
            )
            numbers = [socket.send(Message({}, b"x" * 70_000)) for _ in range(5)]
            await arrivals.wait_for(1)
            await arrivals.recorders[0].wait_for(5)

        assert numbers == [1, 1, 2, 2, 3]

    async def test_answers_are_coalesced_as_well(
        self, backend: Backend, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        for number in range(MIN_BATCH):
            socket.send(Message({}, b"%d" % number))
        await end.wait_for(MIN_BATCH)

        assert end.bundles == [MIN_BATCH]

    async def test_who_waits_for_answers_gets_half_of_them_in_a_turn_at_most(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Waiting(awaited=4 * MIN_BATCH)
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        for number in range(4 * MIN_BATCH):
            socket.send(Message({}, b"%d" % number))
        await end.wait_for(4 * MIN_BATCH)

        assert end.bodies == [b"%d" % number for number in range(4 * MIN_BATCH)]
        assert end.bundles == [2 * MIN_BATCH, 2 * MIN_BATCH]

    async def test_who_waits_for_few_gets_them_together(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Waiting(awaited=MIN_BATCH)
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        for number in range(MIN_BATCH):
            socket.send(Message({}, b"%d" % number))
        await end.wait_for(MIN_BATCH)

        assert end.bundles == [MIN_BATCH]


class TestNobodyThere:
    async def test_the_bundle_that_reached_nobody_is_named(
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

    async def test_gos_envelope_cannot_tell_which(self, other: Backend) -> None:
        end = Recorder()
        socket = await other.transport.dial("nobody.here", end)
        socket.send(Message({}, b""))
        error = await end.wait_closed()

        assert isinstance(error, NoResponders)
        assert error.bundle is None

    async def test_a_late_refusal_is_counted_and_harms_nothing(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        gone = await other.transport.dial("nobody.here", Recorder(), metadata=echo.metadata)
        gone.send(Message({}, b""))
        gone.close()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        socket.send(Message({}, b"fine"))
        await end.wait_for(1)

        assert other.transport.counters.orphaned_replies >= 1


class TestGoMicroPeers:
    async def test_a_go_client_is_answered_in_its_envelope(
        self, echo: Listener, connection
    ) -> None:
        inbox = Inbox()
        await connection.subscribe("_INBOX.go", inbox)
        frame = encode_json(Message({"Micro-Id": "0"}, b"{}\n"))
        connection.publish_now(echo.address, "_INBOX.go", frame)
        connection.publish_now(echo.address, "_INBOX.go", frame)
        await inbox.wait_for(2)

        assert inbox.messages == [("_INBOX.go", "", frame, None)] * 2

    async def test_a_go_server_is_asked_in_its_envelope(self, other: Backend, connection) -> None:
        inbox, end = Inbox(), Recorder()
        await connection.subscribe("go.server", inbox)
        socket = await other.transport.dial("go.server", end)
        bundles = [socket.send(Message({"N": n}, b"")) for n in "ab"]
        await inbox.wait_for(2)
        reply = inbox.messages[0][1]
        connection.publish_now(reply, "", encode_json(Message({}, b"answer")))
        await end.wait_for(1)
        socket.close()
        await connection.check()

        assert [decode_json(data).headers for data in inbox.payloads] == [{"N": "a"}, {"N": "b"}]
        assert {message[1] for message in inbox.messages} == {socket.local}
        assert bundles == [1, 2]
        assert end.bodies == [b"answer"]

    async def test_one_listener_serves_both_kinds_at_once(
        self, other: Backend, echo: Listener
    ) -> None:
        ends = [Recorder(), Recorder()]
        one = await other.transport.dial(echo.address, ends[0], metadata=echo.metadata)
        two = await other.transport.dial(echo.address, ends[1], metadata={"zone": "a"})
        one.send(Message({}, b"1"))
        two.send(Message({}, b"2"))
        for end in ends:
            await end.wait_for(1)

        assert [end.bodies for end in ends] == [[b"1"], [b"2"]]


class TestGarbage:
    @pytest.mark.parametrize(
        "payload", [b"\x00", b"{", b"{}x", b"\x93\x01", b"\xff" * 1000, b'{"Header":3}', b"[]"]
    )
    async def test_it_is_counted_and_harms_no_socket(
        self, backend: Backend, other: Backend, echo: Listener, server: NatsServer, payload: bytes
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        async with raw(server) as peer:
            await peer.publish(echo.address.encode(), payload, reply=b"_INBOX.some")
            await peer.publish(socket.local.encode(), payload)
        socket.send(Message({}, b"fine"))
        await end.wait_for(1)

        assert backend.transport.counters.malformed == 1
        assert other.transport.counters.malformed == 1
        assert end.bodies == [b"fine"]

    async def test_a_message_without_a_usable_reply_is_counted(
        self, backend: Backend, echo: Listener, server: NatsServer
    ) -> None:
        async with raw(server) as peer:
            for reply in (b"", b"x" * 3000, b"undotted"):
                await peer.publish(echo.address.encode(), packed(b"x"), reply=reply)
        await backend.check()

        assert backend.transport.counters.without_reply == 3

    async def test_an_answer_to_nobody_is_counted(
        self, other: Backend, echo: Listener, server: NatsServer
    ) -> None:
        socket = await other.transport.dial(echo.address, Recorder(), metadata=echo.metadata)
        async with raw(server) as peer:
            await peer.publish(f"{socket.local}x".encode(), packed(b"x"))
        await other.check()

        assert other.transport.counters.orphaned_replies == 1

    async def test_a_receiver_that_raises_harms_no_other(
        self, backend: Backend, other: Backend, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Bad(Recorder):
            def received(self, messages: object) -> None:
                raise RuntimeError("no")

        made = iter([lambda _: Bad(), Echo])
        end = Recorder()
        async with await backend.transport.listen(Arrivals(lambda s: next(made)(s))) as listener:
            bad = await other.transport.dial(
                listener.address, Recorder(), metadata=listener.metadata
            )
            bad.send(Message({}, b""))
            good = await other.transport.dial(listener.address, end, metadata=listener.metadata)
            good.send(Message({}, b"fine"))
            [answer] = await end.wait_for(1)

        assert answer.body == b"fine"
        [told] = [record for record in caplog.records if record.exc_info]
        assert str(told.exc_info[1]) == "no"


class TestGoodbye:
    async def test_it_names_the_first_bundle_that_was_not_taken(
        self, backend: Backend, other: Backend
    ) -> None:
        arrivals, end = Arrivals(), Recorder()
        async with await backend.transport.listen(arrivals) as listener:
            socket = await other.transport.dial(listener.address, end, metadata=listener.metadata)
            for number in range(1, 4):
                socket.send(Message({}, b"%d" % number))
                [far] = await arrivals.wait_for(1)
                await arrivals.recorders[0].wait_for(number)
            far.close()
            error = await end.wait_closed()

        assert isinstance(error, SocketClosed)
        assert error.bundle == 4
        assert not error.refused

    async def test_one_without_a_bundle_promises_nothing(
        self, other: Backend, echo: Listener, connection
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        connection.publish_now(socket.local, "", CLOSE_FRAME)
        error = await end.wait_closed()

        assert isinstance(error, SocketClosed)
        assert error.bundle is None
        assert not error.refused

    async def test_one_for_a_socket_that_is_unknown_opens_none(
        self, backend: Backend, server: NatsServer
    ) -> None:
        arrivals = Arrivals()
        async with await backend.transport.listen(arrivals) as listener:
            async with raw(server) as peer:
                await peer.publish(listener.address.encode(), CLOSE_FRAME, reply=b"_INBOX.some.1")
            await backend.check()

        assert arrivals.sockets == []


class TestSocketsThatWereLost:
    """Bundles or answers went missing, and who dialled did not notice."""

    async def test_a_listener_takes_a_socket_from_its_first_bundle_on_only(
        self, backend: Backend, connection
    ) -> None:
        arrivals, answers = Arrivals(), Inbox()
        await connection.subscribe("_INBOX.some.*", answers)
        async with await backend.transport.listen(arrivals) as listener:
            connection.publish_now(listener.address, "_INBOX.some.2", packed(b"from the middle"))
            await answers.wait_for(1)

        [(subject, _, data, _)] = answers.messages
        assert (subject, data) == ("_INBOX.some.2", CLOSE_FRAME)
        assert arrivals.sockets == []

    async def test_none_is_taken_twice_or_after_one_that_was_lost(
        self, backend: Backend, connection
    ) -> None:
        arrivals, answers = Arrivals(), Inbox()
        await connection.subscribe("_INBOX.some.*", answers)
        async with await backend.transport.listen(arrivals) as listener:
            for number in (1, 2, 2, 4):
                reply = f"_INBOX.some.{number}"
                connection.publish_now(listener.address, reply, packed(b"%d" % number))
            error = await arrivals.wait_for(1) and await arrivals.recorders[0].wait_closed()
            await answers.wait_for(1)

        [(subject, _, data, _)] = answers.messages
        assert (subject, data) == ("_INBOX.some.3", CLOSE_FRAME)
        assert isinstance(error, ConnectionLost)
        assert arrivals.recorders[0].bodies == [b"1", b"2"]

    async def test_the_peer_learns_which_bundles_were_not_taken(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        socket.send(Message({}, b"answered"))
        await end.wait_for(1)
        echo.lose(ConnectionLost("cut"))
        socket.send(Message({}, b"not taken"))
        error = await end.wait_closed()

        assert isinstance(error, SocketClosed)
        assert error.bundle == 2
        assert end.bodies == [b"answered"]

    async def test_the_peer_is_told_as_soon_as_the_listener_is_back(
        self, backend: Backend, other: Backend, echo: Listener
    ) -> None:
        end, old = Recorder(), Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        plain = await other.transport.dial(echo.address, old)
        for each, its_end in ((socket, end), (plain, old)):
            each.send(Message({}, b""))
            await its_end.wait_for(1)
        backend.connection._link.fail(ConnectionLost("cut"))
        error = await end.wait_closed()
        plain.send(Message({}, b"on"))
        await old.wait_for(2)

        assert isinstance(error, SocketClosed)
        assert error.bundle == 2
        assert old.closings == []


class TestManySockets:
    async def test_ten_thousand_share_one_subscription(
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

    async def test_more_than_the_bound_are_refused(self, server: NatsServer) -> None:
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

    async def test_who_dialled_closes_it_at_both_ends(self, pair) -> None:
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

    async def test_who_dialled_closes_it_before_the_listener_forgets_it(self, pair) -> None:
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

    async def test_one_whose_peer_is_gone_is_forgotten(self, pair) -> None:
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

    async def test_one_in_gos_envelope_stays_where_it_was_dialled(self, pair) -> None:
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
        socket.send(Message({}, b"to nobody"))
    except TransportError:
        return False
    return True


class TestLostConnections:
    async def test_every_socket_at_both_ends_learns_of_it(self, own_server: NatsServer) -> None:
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

    async def test_a_listener_is_back_at_its_address(self, own_server: NatsServer) -> None:
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

    async def test_a_listener_that_lost_its_peers_outlives_a_second_loss(
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

    async def test_what_was_not_flushed_is_not_sent_late(self, own_server: NatsServer) -> None:
        options = BackendOptions(addresses=(own_server.address,))
        async with open_nats(options) as backend:
            end = Recorder()
            socket = await backend.transport.dial("somewhere", end)
            socket.send(Message({}, b"ghost"))
            backend.connection._link.fail(ConnectionLost("cut"))

            assert isinstance(await end.wait_closed(), ConnectionLost)
            await backend.connection.wait_connected(10)
            assert backend.transport._outbox.waiting < 1000


async def test_golden_bytes_of_our_own_bundle() -> None:
    data = bundle([pack_message(Message({"a": "b"}, b"c")), pack_message(Message({}, b""))])

    assert data.hex() == "9501" + "81a161a162" + "c40163" + "80" + "c400"
    assert CLOSE_FRAME.hex() == "9101"
    assert json.loads(encode_json(Message({}, b""))) == {"Header": {}, "Body": ""}
