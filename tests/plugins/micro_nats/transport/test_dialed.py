"""What a stranger who knows one socket can do to the others: nothing."""

from __future__ import annotations

import pytest

from micro.backend import Backend
from micro.message import Message
from micro.testing import Arrivals, Echo, Recorder
from micro_nats.connection.connection import Connection
from micro_nats.devserver import NatsServer
from micro_nats.tokens import short_token, socket_token
from micro_nats.wire.envelope import CLOSE_FRAME, bundle_of, encode_json, pack_message
from tests.plugins.micro_nats.helpers import Inbox, raw

LIE = Message({"Micro-Id": "1"}, b"lie")
NO_RESPONDERS = b"NATS/1.0 503\r\n\r\n"


async def test_a_peer_cannot_reach_the_sockets_of_other_peers(
    backend: Backend, other: Backend, server: NatsServer
) -> None:
    arrivals, ends = Arrivals(Echo), [Recorder() for _ in range(5)]
    async with await backend.transport.listen(arrivals) as listener:
        sockets = [
            await other.transport.dial(listener.address, end, metadata=listener.metadata)
            for end in ends
        ]
        known = sockets[0].local
        inbox = known.rpartition(".")[0]
        async with raw(server) as stranger:
            for token in (short_token(number) for number in range(300)):
                for payload in (encode_json(LIE), bundle_of([pack_message(LIE)]), CLOSE_FRAME):
                    for subject in (f"{inbox}.{token}", f"{inbox}.{token}.1"):
                        stranger.writer.write(
                            b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)
                        )
                await stranger.publish_headers(f"{inbox}.{token}.1".encode(), NO_RESPONDERS)
        await other.check()
        for socket in sockets:
            socket.send(Message({}, b"true"))
        for end in ends:
            await end.wait_for(1)

    assert [end.bodies for end in ends] == [[b"true"]] * 5
    assert [end.closings for end in ends] == [[]] * 5


def test_tokens_of_sockets_are_random() -> None:
    tokens = [socket_token() for _ in range(2000)]
    letters = {letter for token in tokens for letter in token}

    assert len(set(tokens)) == len(tokens)
    assert {len(token) for token in tokens} == {12}
    assert len(letters) == 62  # 12 letters of 62 are 71 bits


async def test_a_query_shows_no_inbox_of_sockets(
    backend: Backend, other: Backend, connection: Connection
) -> None:
    seen = Inbox()
    await connection.subscribe("micro.nats.query", seen)
    await other.registry.list_services()
    socket = await other.transport.dial("somewhere", Recorder())
    await connection.flush()

    query = seen.messages[0][1]
    assert query.split(".")[1] != socket.local.split(".")[1]


@pytest.mark.parametrize("payload", [b"{}", b'{"stream":"ORDERS","seq":1}', b"hello", b""])
async def test_only_bundles_are_answers_to_one_bundle(
    backend: Backend, other: Backend, connection: Connection, payload: bytes
) -> None:
    end = Recorder()
    async with await backend.transport.listen(Arrivals(Echo)) as listener:
        socket = await other.transport.dial(listener.address, end, metadata=listener.metadata)
        socket.send(Message({}, b"true"))
        connection.publish_now(f"{socket.local}.1", "", payload)
        await connection.flush()
        await end.wait_for(1)

    assert end.bodies == [b"true"]
