"""Services that register again and again, and all generations side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import nats
import pytest
from nats.aio.msg import Msg

from micro import Client, Service, load_settings
from micro.plugins import Backends
from micro_nats.devserver import NatsServer
from tests.interop.gopeer import GoPeer, end
from tests.interop.peers import GoPrograms
from tests.interop.table import DIRECTIONS

GO_CALLS, PYTHON_CALLS = DIRECTIONS
TIMES = 3
cell = pytest.mark.cell


@asynccontextmanager
async def heard(address: str, text: str, times: int) -> AsyncIterator[asyncio.Event]:
    """Listen to every message on the server; the event is set when `times` of them had a text."""
    connection = await nats.connect(address)
    enough = asyncio.Event()
    left = times

    async def listen(message: Msg) -> None:
        nonlocal left
        if text.encode() in message.data and not message.subject.startswith("_INBOX"):
            left -= 1
            if left <= 0:
                enough.set()

    await connection.subscribe(">", cb=listen)
    await connection.flush()
    try:
        yield enough
    finally:
        await connection.close()


@cell("registry: registered again and again, one node", GO_CALLS)
async def test_go_sees_one_node_however_often_python_registers(
    go: GoPeer, nats_server: NatsServer
) -> None:
    name = f"again-{go.generation}"
    service = Service(name)
    told = ["--transport_address", nats_server.address, "--register_interval", "0.2"]
    settings = load_settings(told, {})
    async with (
        heard(nats_server.address, name, 2 * TIMES) as enough,
        Backends(name=name, settings=settings) as backends,
        service.running(backends=backends, settings=settings),
        asyncio.timeout(20),
    ):
        await enough.wait()
        got = await go.run("get", "--service", name)

    (record,) = [line["service"] for line in got if "service" in line]
    assert len(record["nodes"]) == 1


@cell("registry: registered again and again, one node", PYTHON_CALLS)
async def test_python_sees_one_node_however_often_go_registers(
    go: GoPeer, client: Client, nats_server: NatsServer
) -> None:
    name = f"often-{go.generation}"
    async with heard(nats_server.address, name, TIMES) as enough, asyncio.timeout(20):
        process = await go.start("serve", "--name", name, "--register-interval", "200ms")
        try:
            await enough.wait()
            (record,) = await client.registry.get_service(name)
        finally:
            await end(process)

    assert len(record.nodes) == 1


@cell("services of all generations at once", PYTHON_CALLS)
async def test_python_sees_every_generation_at_once(
    go: GoPeer, client: Client, go_programs: GoPrograms, nats_server: NatsServer
) -> None:
    names = []
    async with AsyncExitStack() as stack:
        for generation in go_programs.generations():
            names.append(f"beside-{go.generation}-{generation}")
            peer = GoPeer(generation, go_programs.path(generation), nats_server.address)
            async with heard(nats_server.address, names[-1], 1) as said, asyncio.timeout(20):
                process = await peer.start("serve", "--name", names[-1])
                stack.push_async_callback(end, process)
                await said.wait()
        found = {record.name for record in await client.registry.list_services()}
        records = [await client.registry.get_service(name) for name in names]

    assert len(names) >= 1
    assert set(names) <= found
    assert all(len(record.nodes) == 1 for (record,) in records)
