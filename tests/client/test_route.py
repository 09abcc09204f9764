"""The way to one service: its nodes and a connection to each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from micro.client.channel import Channel
from micro.client.node import RemoteNode
from micro.client.pending import expire_reply
from micro.client.route import Route
from micro.client.selector import Where
from micro.concurrency.timers import Timers
from micro.errors import ServiceUnavailable, SocketClosed, Unavailable
from micro.message import Message
from micro.registry.record import Node, ServiceRecord
from micro.testing import Arrivals
from micro.transport.memory import MemoryTransport


class Dialler:
    """Opens real connections over memory, and counts them."""

    def __init__(self) -> None:
        self.opened: list[Channel] = []
        self.transport = MemoryTransport()
        self.timers = Timers[asyncio.Future[Message]](expire_reply)
        self.ends_at_once = False

    async def __call__(self, node: Node, on_closed: Callable[[Channel], None]) -> Channel:
        connection = Channel(timers=self.timers, metadata=node.metadata, on_closed=on_closed)
        connection.attach(await self.transport.dial(node.address, connection))
        self.opened.append(connection)
        await asyncio.sleep(0)
        if self.ends_at_once:
            connection.closed(SocketClosed("while it was dialled"))
        return connection

    def node(self, node: Node, on_change: Callable[[], None]) -> RemoteNode:
        return RemoteNode(node, self, on_change=on_change)


@asynccontextmanager
async def opened() -> AsyncIterator[Dialler]:
    dialler = Dialler()
    yield dialler
    dialler.timers.close()


@pytest.fixture
async def dialler() -> AsyncIterator[Dialler]:
    async with opened() as dialler:
        yield dialler


@pytest.fixture
async def route(dialler: Dialler) -> Route:
    return Route("points", lambda nodes: nodes[0], dialler.node)


def record(*ids: str, version: str = "1.0.0", native: str = "1") -> ServiceRecord:
    nodes = tuple(Node(id=id, address=f"at.{id}", metadata={"native": native}) for id in ids)
    return ServiceRecord(name="points", version=version, nodes=nodes)


async def test_a_service_without_nodes_is_not_found(route: Route) -> None:
    route.update(())

    with pytest.raises(ServiceUnavailable, match="no node serves 'points'") as caught:
        route.pick("Points.Who")
    assert caught.value.refused


async def test_a_filter_that_nothing_passes_is_told(route: Route) -> None:
    route.update((record("a"),))

    with pytest.raises(Unavailable, match="no node of 'points' fits"):
        route.pick("Points.Who", Where(node="b"))


async def test_a_filter_looks_at_versions_of_one_service(route: Route) -> None:
    route.update((record("a"), record("b", version="2.0.0")))

    assert route.pick("Points.Who", Where(version="2.0.0")).node.id == "b"


async def test_a_node_that_stays_keeps_its_node(route: Route) -> None:
    route.update((record("a", "b"),))
    (kept, _) = route.nodes
    route.update((record("a", "c"),))

    assert route.nodes[0] is kept
    assert [node.node.id for node in route.nodes] == ["a", "c"]


async def test_a_node_that_changes_its_version_is_known_by_the_new_one(route: Route) -> None:
    route.update((record("a"),))
    route.update((record("a", version="2.0.0"),))

    assert route.pick("Points.Who", Where(version="2.0.0")).node.id == "a"


async def test_a_node_that_changes_its_dialect_gets_a_new_connection(
    route: Route, dialler: Dialler
) -> None:
    route.update((record("a"),))
    old = route.nodes[0]
    connection = await old.connect()
    route.update((record("a", native=""),))
    await asyncio.sleep(0)

    assert route.nodes[0] is not old
    assert connection.error is not None


async def test_nodes_that_failed_are_avoided_while_there_are_others(route: Route) -> None:
    route.update((record("a", "b"),))
    first, second = route.nodes

    assert route.pick("Points.Who", avoid={first: Unavailable()}) is second
    assert route.pick("Points.Who", avoid={first: Unavailable(), second: Unavailable()}) is first


async def test_a_node_with_an_open_breaker_is_left_alone(route: Route) -> None:
    route.update((record("a", "b"),))
    first, second = route.nodes
    first.breaker.eject()

    assert {route.pick("Points.Who") for _ in range(10)} == {second}


async def test_with_every_breaker_open_calls_go_through_all_the_same(route: Route) -> None:
    route.update((record("a", "b"),))
    for node in route.nodes:
        node.breaker.eject()

    assert route.pick("Points.Who") in route.nodes


async def test_a_node_whose_cool_down_is_over_gets_one_probe(
    route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    route.update((record("a", "b"),))
    first, second = route.nodes
    first.on_answer()
    second.on_answer()
    for _ in range(5):
        first.breaker.failure()
    first.breaker._open_until = 1e-9

    assert [route.pick("Points.Who") for _ in range(3)] == [first, second, second]


async def test_no_call_is_the_probe_of_a_node_that_is_gone(route: Route) -> None:
    route.update((record("a", "b"),))
    first, second = route.nodes
    first.breaker.eject()
    first.breaker._open_until = 1e-9

    assert {route.pick("Points.Who") for _ in range(3)} == {second}
    assert route.pick("Points.Who", avoid={second: Unavailable()}) is second


async def test_a_connection_is_dialled_once_for_all_who_ask(route: Route, dialler: Dialler) -> None:
    route.update((record("a"),))
    node = route.pick("Points.Who")
    first, second = await asyncio.gather(node.connect(), node.connect())

    assert first is second
    assert len(dialler.opened) == 1


async def test_a_connection_that_ended_is_dialled_anew(route: Route, dialler: Dialler) -> None:
    route.update((record("a"),))
    node = route.pick("Points.Who")
    (await node.connect()).closed(SocketClosed("gone"))

    assert node.channel is None
    assert await node.connect() is dialler.opened[1]


async def test_a_connection_that_ended_while_it_was_dialled_is_not_kept(
    route: Route, dialler: Dialler
) -> None:
    route.update((record("a"),))
    node = route.pick("Points.Who")
    dialler.ends_at_once = True
    await node.connect()

    assert node.channel is None


async def test_an_idle_connection_ends_when_its_node_leaves(route: Route) -> None:
    route.update((record("a"),))
    connection = await route.pick("Points.Who").connect()
    route.update(())
    await asyncio.sleep(0)

    assert isinstance(connection.error, SocketClosed)


async def test_a_busy_connection_outlives_its_node_in_the_registry(
    route: Route, dialler: Dialler
) -> None:
    arrivals = Arrivals()
    listener = await dialler.transport.listen(arrivals, address="at.a")
    route.update((record("a"),))
    connection = await route.pick("Points.Who").connect()
    call = asyncio.ensure_future(connection.call({}, b"", None))
    await arrivals.wait_for(1)
    route.update(())

    arrivals.sockets[0].send(Message({"Micro-Id": "1"}, b"late but here"))
    assert (await call).body == b"late but here"
    await listener.aclose()


async def test_who_waits_for_the_first_answer_learns_that_it_cannot_come(route: Route) -> None:
    waiting = asyncio.ensure_future(route.wait_ready())
    await asyncio.sleep(0)
    route.fail(Unavailable("no registry"))

    with pytest.raises(Unavailable, match="no registry"):
        await waiting


async def test_giving_up_the_wait_disturbs_nobody_else(route: Route) -> None:
    one = asyncio.ensure_future(route.wait_ready())
    other = asyncio.ensure_future(route.wait_ready())
    await asyncio.sleep(0)
    one.cancel()
    await asyncio.sleep(0)
    route.settle()

    await other
    assert one.cancelled()
