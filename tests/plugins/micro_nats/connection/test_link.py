"""What nats-py gets wrong by itself, as a contract: a new release may not bring it back."""

from __future__ import annotations

import asyncio
import logging

import pytest

from micro.backend import BackendOptions, ConnectionState
from micro.errors import ConnectionLost, PayloadTooLarge, ResourceExhausted
from micro_nats.connection.byte_stream import HIGH_WATER_BYTES, ByteStream
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.devserver import NatsServer
from tests.plugins.micro_nats.helpers import Events, Inbox, connections, raw, until


@pytest.mark.parametrize(
    "subject", [b"hostile.\xff\xfe", b"hostile.\xc3\x28", "hostile.é☃".encode(), b"hostile.\x00"]
)
async def test_a_hostile_subject_does_not_stop_the_reading(
    server: NatsServer, connection: Connection, subject: bytes
) -> None:
    inbox = Inbox()
    subscription = await connection.subscribe("hostile.>", inbox)
    async with raw(server) as peer:
        await peer.publish(subject, b"hostile", reply=b"\xff\xff")
        await peer.publish(b"hostile.after", b"after")
    await connection.flush()

    assert inbox.payloads[-1] == b"after"
    subscription.unsubscribe()


@pytest.mark.parametrize(
    "headers",
    [
        b"NATS/1.0\r\n\xff\xfe: \xff\r\n\r\n",
        b"rubbish",
        b"\r\n\r\n",
        b"NATS/1.0 \xff\xfe\xfd\r\n\r\n",
        b"NATS/1.0\r\nno colon\r\n\r\n",
        b"x",
    ],
)
async def test_a_hostile_header_does_not_stop_the_reading(
    server: NatsServer, connection: Connection, headers: bytes
) -> None:
    inbox = Inbox()
    subscription = await connection.subscribe("hostile", inbox)
    async with raw(server) as peer:
        await peer.publish_headers(b"hostile", headers, b"with headers")
        await peer.publish(b"hostile", b"after")
    await connection.flush()

    assert inbox.payloads == [b"with headers", b"after"]
    subscription.unsubscribe()


@pytest.mark.parametrize("error", [RuntimeError("no"), ValueError("no"), TimeoutError()])
async def test_a_callback_that_raises_does_not_stop_the_reading(
    connection: Connection, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    inbox = Inbox()

    def fail(*message: object) -> None:
        inbox(*message)
        raise error

    subscription = await connection.subscribe("failing", fail)
    with caplog.at_level(logging.CRITICAL, "micro.nats"):
        connection.publish_now("failing", "", b"1")
        connection.publish_now("failing", "", b"2")
        await connection.flush()

    assert inbox.payloads == [b"1", b"2"]
    subscription.unsubscribe()


async def test_an_answer_that_nobody_waits_for_any_more_harms_nothing(
    connection: Connection,
) -> None:
    for _ in range(20):
        waiting = asyncio.ensure_future(connection.flush())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    await connection.check()

    assert connection.connected


async def test_a_flush_comes_after_all_that_was_sent_before(
    server: NatsServer, connection: Connection
) -> None:
    async with open_connection(BackendOptions(addresses=(server.address,))) as listener:
        inbox = Inbox()
        await listener.subscribe("ordered", inbox)
        for turn in range(20):
            for number in range(50):
                connection.publish_now("ordered", "", b"%d" % number)
            await connection.flush()
            await listener.flush()

            assert len(inbox.messages) == 50 * (turn + 1)


async def test_draining_a_subscription_loses_nothing_that_was_routed(
    server: NatsServer, connection: Connection
) -> None:
    async with open_connection(BackendOptions(addresses=(server.address,))) as publisher:
        for _ in range(10):
            inbox = Inbox()
            subscription = await connection.subscribe("drained", inbox)
            for number in range(2000):
                publisher.publish_now("drained", "", b"%d" % number)
            await publisher.flush()
            await subscription.drain()

            assert len(inbox.messages) == 2000


async def test_headers_count_against_the_limit(connection: Connection) -> None:
    headers = b"NATS/1.0\r\nA: " + b"x" * 1000 + b"\r\n\r\n"
    with pytest.raises(PayloadTooLarge):
        connection.publish_now("any", "", b"x" * connection.max_payload, headers)
    with pytest.raises(PayloadTooLarge):
        connection.publish_now("any", "", b"x" * (connection.max_payload + 1))
    connection.publish_now("any", "", b"x" * connection.max_payload)
    await connection.flush()

    assert connection.connected


async def test_headers_are_sent_and_received(connection: Connection) -> None:
    inbox = Inbox()
    subscription = await connection.subscribe("headed", inbox)
    connection.publish_now("headed", "back", b"body", b"NATS/1.0\r\nA: b\r\n\r\n")
    await connection.flush()

    assert inbox.messages == [("headed", "back", b"body", {"A": "b"})]
    subscription.unsubscribe()


async def test_the_server_says_when_nobody_listens(connection: Connection) -> None:
    inbox = Inbox()
    subscription = await connection.subscribe("answers", inbox)
    connection.publish_now("nobody.is.here", "answers", b"")
    await connection.flush()

    [(subject, _, payload, headers)] = inbox.messages
    assert (subject, payload, headers["Status"]) == ("answers", b"", "503")
    subscription.unsubscribe()


async def test_nothing_is_kept_to_be_sent_after_a_lost_connection(own_server: NatsServer) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        inbox = Inbox()
        await connection.subscribe("late", inbox)
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        with pytest.raises(ConnectionLost):
            connection.publish_now("late", "", b"ghost")
        own_server.start()
        await connection.wait_connected(10)
        connection.publish_now("late", "", b"alive")
        await inbox.wait_for(1)

        assert inbox.payloads == [b"alive"]


async def test_whoever_waits_for_an_answer_learns_of_the_loss_at_once(
    own_server: NatsServer,
) -> None:
    async with open_connection(BackendOptions(addresses=(own_server.address,))) as connection:
        connection._link._stream.wire.pause_reading()
        waiting = [asyncio.ensure_future(connection.flush()) for _ in range(3)]
        await asyncio.sleep(0)
        connection._link.fail(ConnectionLost("cut"))
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [type(result) for result in results] == [ConnectionLost] * 3


async def test_a_publisher_that_waits_for_room_can_be_cancelled(connection: Connection) -> None:
    async with stuffed(connection):
        waiting = asyncio.ensure_future(connection.wait_writable())
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])

        assert waiting.cancelled()


async def test_what_waits_to_be_sent_is_bounded(connection: Connection) -> None:
    payload = b"x" * (1 << 20)
    async with stuffed(connection):
        for _ in range(50):
            connection.publish_now("stuffed", "", payload)
        with pytest.raises(ResourceExhausted):  # noqa: PT012  one of them is the first
            for _ in range(20):
                connection.publish_now("stuffed", "", payload)


async def test_a_silent_server_is_taken_for_lost() -> None:
    accepted = asyncio.Event()

    async def be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload":1048576,"headers":true}\r\n')
        while b"PING" not in (await reader.readline()):
            pass
        writer.write(b"PONG\r\n")
        accepted.set()
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(be_silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    events = Events()
    options = BackendOptions(
        addresses=(f"127.0.0.1:{port}",),
        on_event=events,
        driver={"ping_interval": 0.02, "max_outstanding_pings": 2},
    )
    async with listener, open_connection(options) as connection:
        await events.wait_for(ConnectionState.DISCONNECTED)
        listener.close()

        assert connection.max_payload


@pytest.mark.parametrize("malformed", [b"MALFORMED\r\n", b"MSG a\r\n", b"INFO {\r\n", b"\x00" * 99])
async def test_a_server_that_sends_malformed_bytes_is_left(malformed: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"max_payload":1048576}\r\n')
        while b"PING" not in (await reader.readline()):
            pass
        writer.write(b"PONG\r\n" + malformed)
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(talk, "127.0.0.1", 0)
    events = Events()
    port = listener.sockets[0].getsockname()[1]
    options = BackendOptions(
        addresses=(f"127.0.0.1:{port}",), on_event=events, driver={"ping_interval": 0.05}
    )
    async with listener, open_connection(options):
        await events.wait_for(ConnectionState.DISCONNECTED)
        listener.close()


async def test_an_error_of_the_server_that_is_not_final_leaves_the_connection(
    server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(server.address,), on_event=events)
    async with open_connection(options) as connection:
        connection._link.post(b"SUB bad..subject x9\r\n")
        event = await events.wait_for(ConnectionState.ERROR)
        await connection.check()

        assert "Invalid Subject" in event.detail
        assert ConnectionState.DISCONNECTED not in events.states


async def test_an_error_that_ends_the_connection_is_followed_by_another_one(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_connection(options) as connection:
        inbox = Inbox()
        await connection.subscribe("still.here", inbox)
        size = connection.max_payload + 1
        connection._link.post(b"PUB x %d\r\n" % size)
        lost = await events.wait_for(ConnectionState.DISCONNECTED)
        await connection.wait_connected(10)
        connection.publish_now("still.here", "", b"yes")
        await inbox.wait_for(1)

        assert "Maximum Payload" in lost.detail


async def test_the_connection_bears_its_name(server: NatsServer) -> None:
    options = BackendOptions(addresses=(server.address,), name="points@1.0.0")
    async with open_connection(options):
        names = [each.get("name") for each in await connections(server)]

    assert "points@1.0.0" in names


class stuffed:
    """The server does not read: the link's stream takes everything and sends nothing."""

    def __init__(self, connection: Connection) -> None:
        self._link = connection._link

    async def __aenter__(self) -> None:
        self._stream = self._link._stream
        self._link._stream = _Stuck()
        self._link.post(b"PING\r\n")
        self._link._write()

    async def __aexit__(self, *exc: object) -> None:
        self._link._out.clear()
        self._link._out_size = self._link._behind = 0
        self._link._stream = self._stream
        await until(lambda: self._stream.buffered == 0)


class _Stuck(ByteStream):
    """A stream whose peer never reads."""

    def __init__(self) -> None:
        self._size = HIGH_WATER_BYTES

    def start(self, receive: object, fail: object) -> None:
        raise NotImplementedError

    def write(self, data: bytes) -> int:
        self._size += len(data)
        return self._size

    @property
    def buffered(self) -> int:
        return self._size

    async def wait_writable(self) -> None:
        await asyncio.Event().wait()

    def abort(self) -> None:
        raise NotImplementedError

    async def close(self, seconds: float) -> None:
        raise NotImplementedError
