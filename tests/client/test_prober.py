"""Nodes must answer before they get calls: dead and silent ones cost the callers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from micro import Client, MemoryBackend, MicroError, Service
from micro.message import Message
from micro.registry.record import EndpointRecord, Node, ServiceRecord
from micro.transport.contract import Receiver
from tests.engine import running, until

WHO = (EndpointRecord(name="Points.Who"),)


class Silent(Receiver):
    """A node that takes everything and answers nothing."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def received(self, messages: Sequence[Message]) -> None:
        self.heard += [message.headers.get("Micro-Endpoint", "") for message in messages]

    def closed(self, error: MicroError) -> None:
        del error


def points(id: str = "one") -> Service:
    service = Service("points", id=id)

    @service.handler("Points.Who")
    async def who() -> str:
        return id

    return service


def nodes(count: int, *, address: str = "dead", native: str = "1") -> ServiceRecord:
    fakes = tuple(
        Node(id=f"points-fake-{n}", address=f"{address}.{n}", metadata={"native": native})
        for n in range(count)
    )
    return ServiceRecord(name="points", version="9", endpoints=WHO, nodes=fakes)


@asynccontextmanager
async def beside(record: ServiceRecord, *services: Service) -> AsyncIterator[Client]:
    """A client of these services, whose registry also has a stranger's record."""
    network, caller = MemoryBackend(), Service("caller")
    async with (
        network.registry.register(record, ttl=90, interval=30),
        running(*services, caller, backend=network) as client,
    ):
        yield client


async def who(client: Client, timeout: float = 2.0) -> str:
    answer: str = await client.call("points", "Points.Who", None, str, timeout=timeout)
    return answer


@pytest.mark.both_loops
@pytest.mark.parametrize("native", ["1", ""])
async def test_thousands_of_dead_nodes_fail_no_call(native: str) -> None:
    async with beside(nodes(5000, native=native), points()) as client:
        answers = await asyncio.gather(*(who(client, 30.0) for _ in range(600)))

        assert answers == ["one"] * 600


async def test_silent_nodes_get_probes_and_no_calls() -> None:
    network, silent = MemoryBackend(), Silent()
    async with AsyncExitStack() as stack:
        for number in range(20):
            address = f"silent.{number}"
            listener = await network.transport.listen(lambda _: silent, address=address)
            await stack.enter_async_context(listener)
        record = nodes(20, address="silent")
        await stack.enter_async_context(network.registry.register(record, ttl=90, interval=30))
        client = await stack.enter_async_context(running(points(), backend=network))
        answers = [await who(client) for _ in range(200)]

    assert answers == ["one"] * 200
    assert "Points.Who" not in silent.heard


async def test_a_new_node_gets_calls_as_soon_as_it_has_answered_a_probe() -> None:
    network = MemoryBackend()
    async with running(points("one"), backend=network) as client:
        assert await who(client) == "one"
        async with points("two").running(network):
            await until(lambda: sum(node.answered for node in client.nodes("points")) == 2)

            assert {await who(client) for _ in range(50)} == {"one", "two"}


async def test_the_probe_runs_no_handler_and_counts_as_no_call() -> None:
    network, one = MemoryBackend(), points("one")
    async with running(one, points("two"), Service("caller"), backend=network) as client:
        await who(client)

        assert client.options.metrics.client.calls == 1
        assert sum(s.metrics["micro.server.handled"] for s in (one,)) <= 1


async def test_a_single_node_is_called_without_a_probe() -> None:
    network, silent = MemoryBackend(), Silent()
    async with (
        await network.transport.listen(lambda _: silent, address="silent.0"),
        network.registry.register(nodes(1, address="silent"), ttl=90, interval=30),
        running(Service("caller"), backend=network) as client,
    ):
        with pytest.raises(MicroError):
            await who(client, 0.05)

    assert silent.heard[0] == "Points.Who"


async def test_a_node_that_was_gone_is_used_again_when_it_answers_a_probe() -> None:
    network = MemoryBackend()
    async with running(points("one"), points("two"), Service("caller"), backend=network) as client:
        await until_answered(client, 2)
        (two,) = [n for n in client.nodes("points") if n.id == "points-two"]
        listener = network.transport._listeners.pop(two.address)
        assert {await who(client) for _ in range(30)} == {"one"}
        network.transport._listeners[two.address] = listener
        await until(lambda: client.nodes("points")[1].breaker == "closed")

        assert {await who(client) for _ in range(50)} == {"one", "two"}


async def until_answered(client: Client, count: int) -> None:
    await who(client)
    await until(lambda: sum(node.answered for node in client.nodes("points")) == count)
