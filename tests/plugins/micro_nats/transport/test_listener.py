from __future__ import annotations

import pytest

from micro.backend import Backend
from micro.errors import ConnectionLost, SocketClosed
from micro.message import Message
from micro.testing import Arrivals, Echo, Recorder
from micro.transport.contract import Listener
from micro_nats.devserver import NatsServer
from micro_nats.wire.envelope import CLOSE_FRAME, bundle_of, decode_json, encode_json, pack_message
from tests.plugins.micro_nats.helpers import Inbox, raw


def packed(*bodies: bytes) -> bytes:
    return bundle_of([pack_message(Message({}, body)) for body in bodies])


class TestGoMicroPeers:
    async def test_a_go_micro_client_is_answered_in_its_envelope(
        self, echo: Listener, connection
    ) -> None:
        inbox = Inbox()
        await connection.subscribe("_INBOX.go", inbox)
        frame = encode_json(Message({"Micro-Id": "0"}, b"{}\n"))
        connection.publish_now(echo.address, "_INBOX.go", frame)
        connection.publish_now(echo.address, "_INBOX.go", frame)
        await inbox.wait_for(2)

        assert inbox.messages == [("_INBOX.go", "", frame, None)] * 2

    async def test_a_go_micro_server_is_called_in_its_envelope(
        self, other: Backend, connection
    ) -> None:
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


class TestMalformedMessages:
    @pytest.mark.parametrize(
        "payload", [b"\x00", b"{", b"{}x", b"\x93\x01", b"\xff" * 1000, b'{"Header":3}', b"[]"]
    )
    async def test_one_is_counted_and_harms_no_socket(
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

    async def test_an_answer_to_an_unknown_socket_is_counted(
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


class TestCloseFrames:
    async def test_one_names_the_first_bundle_that_was_not_accepted(
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

    async def test_one_without_a_number_names_no_bundle(
        self, other: Backend, echo: Listener, connection
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        connection.publish_now(socket.local, "", CLOSE_FRAME)
        error = await end.wait_closed()

        assert isinstance(error, SocketClosed)
        assert error.bundle is None
        assert not error.refused

    async def test_one_for_an_unknown_socket_opens_none(
        self, backend: Backend, server: NatsServer
    ) -> None:
        arrivals = Arrivals()
        async with await backend.transport.listen(arrivals) as listener:
            async with raw(server) as peer:
                await peer.publish(listener.address.encode(), CLOSE_FRAME, reply=b"_INBOX.some.1")
            await backend.check()

        assert arrivals.sockets == []


class TestSocketsThatWereLost:
    """Bundles or answers were lost, and the dialling end did not notice."""

    async def test_a_socket_is_opened_by_its_first_bundle_only(
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

    async def test_a_repeated_bundle_and_one_after_a_lost_one_are_refused(
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

    async def test_the_peer_learns_which_bundles_were_not_accepted(
        self, other: Backend, echo: Listener
    ) -> None:
        end = Recorder()
        socket = await other.transport.dial(echo.address, end, metadata=echo.metadata)
        socket.send(Message({}, b"answered"))
        await end.wait_for(1)
        echo.lose(ConnectionLost("cut"))
        socket.send(Message({}, b"not accepted"))
        error = await end.wait_closed()

        assert isinstance(error, SocketClosed)
        assert error.bundle == 2
        assert end.bodies == [b"answered"]

    async def test_the_peer_is_told_when_the_listener_reconnects(
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
