"""When an address that was given is taken."""

from __future__ import annotations

import nats
import pytest

from micro.backend import Backend, BackendOptions
from micro.errors import Conflict
from micro.testing import Arrivals
from micro_nats import open_nats
from micro_nats.connection.connection import Connection
from micro_nats.devserver import NatsServer, run_server
from tests.plugins.micro_nats.helpers import raw


async def test_one_with_a_listener_is(backend: Backend, other: Backend) -> None:
    async with await backend.transport.listen(Arrivals(), address="points.node-1"):
        for again in (other, backend):
            with pytest.raises(Conflict, match="taken"):
                await again.transport.listen(Arrivals(), address="points.node-1")


async def test_one_with_a_silent_subscriber_is_not(backend: Backend, server: NatsServer) -> None:
    async with raw(server) as monitor:
        await monitor.send(b"SUB > 1\r\n")
        async with await backend.transport.listen(Arrivals(), address="points.node-2") as listener:
            assert listener.address == "points.node-2"


@pytest.mark.parametrize("answer", [b"hello", b"", b"{}", b'{"seq":1}', b"[1]", b"[" * 5000])
async def test_one_with_another_program_that_answers_is_not(
    backend: Backend, connection: Connection, answer: bytes
) -> None:
    def reply_to(subject: str, reply: str, data: bytes, headers: object) -> None:
        del subject, data, headers
        connection.publish_now(reply, "", answer)

    await connection.subscribe("points.node-3", reply_to)
    async with await backend.transport.listen(Arrivals(), address="points.node-3") as listener:
        assert listener.address == "points.node-3"


async def test_one_that_a_stream_stores_is_refused_with_its_name() -> None:
    async with run_server(jetstream=True) as server:
        peer = await nats.connect(server.address)
        await peer.jetstream().add_stream(name="ORDERS", subjects=["points.>"])
        await peer.close()
        async with open_nats(BackendOptions(addresses=(server.address,))) as backend:
            with pytest.raises(Conflict, match="ORDERS"):
                await backend.transport.listen(Arrivals(), address="points.node-4")
