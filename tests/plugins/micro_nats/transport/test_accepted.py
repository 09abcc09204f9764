"""Answers where they are allowed: to inboxes, and to exact reply subjects."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from micro import Service, open_client
from micro.backend import Backend, BackendOptions
from micro.message import Message
from micro.settings import Settings
from micro.testing import Arrivals, Echo, Recorder
from micro.transport.contract import Listener
from micro_nats import open_nats
from micro_nats.connection.connection import Connection
from micro_nats.devserver import NatsServer, run_server
from micro_nats.wire.envelope import bundle_of, encode_json, pack_message
from tests.plugins.micro_nats.helpers import Inbox, raw, until

ADDRESS = "points.calls"

ANSWERS_ONLY = """
authorization { users: [
  { user: serving, password: p, permissions: {
      publish: { allow: ["micro.registry.nats.*", "micro.nats.*"] }
      allow_responses: true } }
  { user: calling, password: p }
] }
"""
SHARED = """
  {service: "points.calls" %(type)s}
  {service: "micro.nats.query" %(stream)s}
  {service: "micro.registry.nats.query" %(stream)s}
  {stream: "micro.nats.watch"}
  {stream: "micro.registry.nats.watch"}
"""
ACCOUNTS = """
accounts {
  SERVING: { users: [ {user: serving, password: p} ], exports: [ %(exports)s ] }
  CALLING: { users: [ {user: calling, password: p} ], imports: [
    {service: {account: SERVING, subject: "points.calls"}}
    {service: {account: SERVING, subject: "micro.nats.query"}}
    {service: {account: SERVING, subject: "micro.registry.nats.query"}}
    {stream: {account: SERVING, subject: "micro.nats.watch"}}
    {stream: {account: SERVING, subject: "micro.registry.nats.watch"}} ] }
}
"""
STREAMED = ', response_type: "Stream"'
IMPORTED = ACCOUNTS % {"exports": SHARED % {"type": "", "stream": STREAMED}}
IMPORTED_STREAMS = ACCOUNTS % {"exports": SHARED % {"type": STREAMED, "stream": STREAMED}}
BOTH = [pytest.param(ANSWERS_ONLY, id="answers only"), pytest.param(IMPORTED, id="imported")]


@asynccontextmanager
async def pair(folder: Path, config: str) -> AsyncIterator[tuple[Backend, Backend]]:
    """The backends of a service and of a caller, each as a user of its own."""
    path = folder / "server.conf"
    path.write_text(config)
    async with (
        run_server(config=path) as server,
        open_nats(as_user(server, "serving")) as serving,
        open_nats(as_user(server, "calling")) as calling,
    ):
        yield serving, calling


def as_user(server: NatsServer, name: str) -> BackendOptions:
    return BackendOptions(addresses=(server.address.replace("//", f"//{name}:p@"),))


@pytest.mark.parametrize(
    ("config", "envelope", "together"),
    [
        pytest.param(ANSWERS_ONLY, "msgpack-single", 5, id="answers only"),
        # go-micro has one reply subject for all, and one answer to each is allowed.
        pytest.param(ANSWERS_ONLY, "", 0, id="answers only, go-micro"),
        pytest.param(IMPORTED, "msgpack", 5, id="imported"),
        pytest.param(IMPORTED, "", 5, id="imported, go-micro"),
    ],
)
async def test_each_of_many_messages_is_answered(
    tmp_path: Path, config: str, envelope: str, together: int
) -> None:
    end = Recorder()
    async with (
        pair(tmp_path, config) as (serving, calling),
        await serving.transport.listen(Arrivals(Echo), address=ADDRESS) as listener,
    ):
        assert not envelope or listener.metadata == {"envelope": envelope}
        metadata = {"envelope": envelope}
        socket = await calling.transport.dial(ADDRESS, end, metadata=metadata)
        for number in range(30):
            socket.send(Message({}, b"%d" % number))
            if number >= together:
                await end.wait_for(number + 1)

    assert sorted(end.bodies) == sorted(b"%d" % number for number in range(30))


async def test_answers_that_must_share_a_reply_subject_leave_together(tmp_path: Path) -> None:
    arrivals, inbox = Arrivals(), Inbox()
    request = bundle_of([pack_message(Message({}, each)) for each in (b"1", b"2")])
    async with (
        pair(tmp_path, IMPORTED) as (serving, calling),
        await serving.transport.listen(arrivals, address=ADDRESS),
    ):
        await calling.connection.subscribe("_INBOX.caller.*", inbox)
        calling.connection.publish_now(ADDRESS, "_INBOX.caller.1", request)
        [socket] = await arrivals.wait_for(1)
        await arrivals.recorders[0].wait_for(2)
        socket.send(Message({}, b"first"))
        await serving.check()
        await calling.check()
        early = list(inbox.messages)
        socket.send(Message({}, b"second"))
        await inbox.wait_for(1)
        await arrivals.recorders[0].wait_closed()

    both = bundle_of([pack_message(Message({}, each)) for each in (b"first", b"second")])
    assert early == []
    assert inbox.payloads == [both]


@pytest.mark.parametrize("config", BOTH)
async def test_calls_are_answered(tmp_path: Path, config: str) -> None:
    service = Service("points")

    @service.handler
    async def double(number: int) -> int:
        return 2 * number

    path = tmp_path / "server.conf"
    path.write_text(config)
    async with run_server(config=path) as server:
        serving = Settings(
            transport_address=as_user(server, "serving").addresses, server_address=ADDRESS
        )
        calling = Settings(transport_address=as_user(server, "calling").addresses)
        async with service.running(settings=serving), open_client(calling) as client:
            answers = [await client.call("points", "Points.Double", n, int) for n in range(20)]

    assert answers == [2 * n for n in range(20)]


async def test_items_of_a_stream_cross_accounts(tmp_path: Path) -> None:
    end = Recorder()
    arrivals = Arrivals()
    async with (
        pair(tmp_path, IMPORTED_STREAMS) as (serving, calling),
        await serving.transport.listen(arrivals, address=ADDRESS) as listener,
    ):
        socket = await calling.transport.dial(ADDRESS, end, metadata=listener.metadata)
        socket.send(Message({"Micro-Stream": "1"}, b""))
        [far] = await arrivals.wait_for(1)
        for number in range(100):
            far.send(Message({}, b"%d" % number))
            await serving.check()
        await end.wait_for(100)

    assert end.bodies == [b"%d" % number for number in range(100)]


class TestWhereAnswersGo:
    @pytest.fixture
    async def echo(self, backend: Backend) -> AsyncIterator[Listener]:
        async with await backend.transport.listen(Arrivals(Echo)) as listener:
            yield listener

    @pytest.mark.parametrize("topic", ["orders.created", "$JS.API.STREAM.DELETE.x", "inbox.1"])
    @pytest.mark.parametrize(
        "payload",
        [
            encode_json(Message({}, b"lie")),
            bundle_of([pack_message(Message({}, b"lie"))]),
            b"",
        ],
    )
    async def test_a_topic_gets_no_answer(
        self,
        backend: Backend,
        echo: Listener,
        server: NatsServer,
        connection: Connection,
        payload: bytes,
        topic: str,
    ) -> None:
        seen = Inbox()
        await connection.subscribe(">", seen)
        async with raw(server) as peer:
            for reply in (topic, f"{topic}.1"):
                await peer.publish(echo.address.encode(), payload, reply=reply.encode())
        await backend.check()
        await connection.check()

        assert [m for m in seen.messages if m[0].startswith(topic)] == []
        assert backend.transport.counters.without_reply == 2

    async def test_an_inbox_of_another_prefix_gets_one_when_it_is_told(
        self, server: NatsServer, connection: Connection
    ) -> None:
        inbox = Inbox()
        await connection.subscribe("ann.inbox.1", inbox)
        options = BackendOptions(
            addresses=(server.address,), driver={"reply_prefixes": "bob, ann.inbox"}
        )
        async with (
            open_nats(options) as told,
            await told.transport.listen(Arrivals(Echo)) as listener,
        ):
            frame = encode_json(Message({}, b"question"))
            connection.publish_now(listener.address, "ann.inbox.1", frame)
            await inbox.wait_for(1)

        assert inbox.payloads == [frame]

    async def test_a_query_with_a_topic_as_reply_gets_no_answer(
        self, backend: Backend, server: NatsServer, connection: Connection
    ) -> None:
        from micro.registry.record import Node, ServiceRecord

        record = ServiceRecord(name="points", version="1", nodes=(Node(id="a", address="b"),))
        seen = Inbox()
        await connection.subscribe("orders.created", seen)
        async with backend.registry.register(record, ttl=90, interval=30), raw(server) as peer:
            query = b'{"Service":null,"Action":"list"}'
            await peer.publish(b"micro.nats.query", query, reply=b"orders.created")
            await backend.check()
            await connection.check()

        assert seen.messages == []


async def test_listeners_share_the_bound_on_sockets(backend: Backend, other: Backend) -> None:
    backend.transport._max_accepted = 3
    ends = [Recorder() for _ in range(4)]
    async with (
        await backend.transport.listen(Arrivals(Echo)) as one,
        await backend.transport.listen(Arrivals(Echo)) as two,
    ):
        for end, listener in zip(ends, (one, two, one, two), strict=True):
            socket = await other.transport.dial(listener.address, end, metadata=listener.metadata)
            socket.send(Message({}, b"x"))
            await until(lambda end=end: bool(end.bodies or end.closings))

    assert [end.bodies for end in ends] == [[b"x"], [b"x"], [b"x"], []]
    assert backend.transport.counters.sockets_refused == 1
