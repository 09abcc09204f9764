"""Following the registry for the services that a client calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from micro.client.directory import Directory
from micro.client.pool import ChannelPool
from micro.client.selector import pick_random
from micro.deadline import Deadline
from micro.errors import ConnectionLost, DeadlineExceeded, Unavailable
from micro.memory import MemoryBackend
from micro.registry.contract import Registration, Registry, Watch
from micro.registry.record import Node, ServiceRecord
from micro.scope import open_scope
from micro.telemetry.metrics import ClientCounters


class Registers(Registry):
    """A registry that counts watches, and answers when it is told to."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.open: set[str] = set()
        self.answers: asyncio.Queue[tuple[ServiceRecord, ...]] = asyncio.Queue()
        self.nobody = asyncio.Event()
        self.error: ConnectionLost | None = None
        self.ends = False

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        raise NotImplementedError

    async def get_service(self, name: str) -> tuple[ServiceRecord, ...]:
        raise NotImplementedError

    async def list_services(self) -> tuple[ServiceRecord, ...]:
        raise NotImplementedError

    def watch(self, name: str) -> Watch:
        return self._watch(name)

    @asynccontextmanager
    async def _watch(self, name: str) -> AsyncIterator[AsyncIterator[tuple[ServiceRecord, ...]]]:
        if self.error is not None:
            raise self.error
        self.watched.append(name)
        self.open.add(name)
        try:
            yield self._nobody() if name.startswith("nobody") else self._changes()
        finally:
            self.open.discard(name)

    async def _nobody(self) -> AsyncIterator[tuple[ServiceRecord, ...]]:
        yield ()
        await self.nobody.wait()

    async def _changes(self) -> AsyncIterator[tuple[ServiceRecord, ...]]:
        while not self.ends:
            yield await self.answers.get()


def record(*ids: str) -> tuple[ServiceRecord, ...]:
    nodes = tuple(Node(id=id, address=f"at.{id}", metadata={"native": "1"}) for id in ids)
    return (ServiceRecord(name="points", version="1", nodes=nodes),)


@pytest.fixture
async def registry() -> Registers:
    return Registers()


@asynccontextmanager
async def opened(registry: Registry) -> AsyncIterator[Directory]:
    pool = new_pool()
    directory = Directory(registry, pool, pick_random)
    async with open_scope() as scope:
        pool.open(scope)
        directory.open(scope)
        try:
            yield directory
        finally:
            directory.close()
            pool.close()


def new_pool() -> ChannelPool:
    return ChannelPool(MemoryBackend().transport, None, ClientCounters())


@pytest.fixture
async def directory(registry: Registers) -> AsyncIterator[Directory]:
    async with opened(registry) as directory:
        yield directory


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_calls_at_once_share_one_look_up(directory: Directory, registry: Registers) -> None:
    finding = [asyncio.ensure_future(directory.resolve("points", None)) for _ in range(100)]
    await turns()
    registry.answers.put_nowait(record("a"))
    routes = await asyncio.gather(*finding)

    assert registry.watched == ["points"]
    assert len(set(map(id, routes))) == 1


async def test_a_service_is_looked_up_once_and_followed_from_then_on(
    directory: Directory, registry: Registers
) -> None:
    registry.answers.put_nowait(record("a"))
    route = await directory.resolve("points", None)
    registry.answers.put_nowait(record("a", "b"))
    await turns()

    assert [peer.node.id for peer in route.nodes] == ["a", "b"]
    assert await directory.resolve("points", None) is route
    assert registry.watched == ["points"]


async def test_a_name_that_nobody_serves_is_not_asked_for_again(
    directory: Directory, registry: Registers
) -> None:
    for _ in range(5):
        assert not (await directory.resolve("nobody", None)).nodes

    assert registry.watched == ["nobody"]


async def test_names_that_nobody_serves_are_forgotten_in_the_end(
    directory: Directory, registry: Registers
) -> None:
    for number in range(600):
        await directory.resolve(f"nobody{number}", None)
    await turns()

    assert len(directory.routes) <= 257
    assert len(registry.open) <= 257


async def test_the_wait_for_the_registry_ends_at_the_deadline(directory: Directory) -> None:
    with pytest.raises(DeadlineExceeded, match="finding 'points'"):
        await directory.resolve("points", Deadline.after(0.01))


async def test_one_who_gives_up_does_not_end_the_look_up_for_others(
    directory: Directory, registry: Registers
) -> None:
    one = asyncio.ensure_future(directory.resolve("points", None))
    other = asyncio.ensure_future(directory.resolve("points", None))
    await turns()
    one.cancel()
    await turns()
    registry.answers.put_nowait(record("a"))

    assert (await other).nodes


async def test_a_registry_that_cannot_be_asked_is_told_and_asked_anew(
    directory: Directory, registry: Registers, caplog: pytest.LogCaptureFixture
) -> None:
    registry.error = ConnectionLost("no connection")
    with pytest.raises(ConnectionLost, match="no connection"):
        await directory.resolve("points", None)
    registry.error = None
    registry.answers.put_nowait(record("a"))

    assert (await directory.resolve("points", None)).nodes
    assert "cannot be watched for points" in caplog.text


async def test_a_watch_that_ends_without_an_answer_keeps_nobody_waiting(
    directory: Directory, registry: Registers
) -> None:
    registry.ends = True

    with pytest.raises(Unavailable, match="watch has ended"):
        await asyncio.wait_for(directory.resolve("points", None), 5)


@pytest.mark.parametrize("wait", [0, 5])
async def test_the_close_keeps_nobody_waiting(registry: Registers, wait: int) -> None:
    async with opened(registry) as directory:
        finding = asyncio.ensure_future(directory.resolve("points", None))
        await turns(1 + wait)

    with pytest.raises(Unavailable, match="not open"):
        await asyncio.wait_for(finding, 5)


async def test_after_the_close_nothing_is_dialled_or_followed(registry: Registers) -> None:
    registry.answers.put_nowait(record("a"))
    async with opened(registry) as directory:
        route = await directory.resolve("points", None)

    with pytest.raises(Unavailable, match="not open"):
        await route.pick("Points.Who").connect()
    with pytest.raises(Unavailable, match="not open"):
        await directory.resolve("points", None)


async def test_the_close_ends_every_connection_and_watch(registry: Registers) -> None:
    registry.answers.put_nowait(record("a", "b"))
    async with opened(registry) as directory:
        route = await directory.resolve("points", None)
        connections = [await node.connect() for node in route.nodes]
    await turns()

    assert all(connection.error for connection in connections)
    assert not registry.open


async def test_before_it_is_opened_nothing_can_be_found(registry: Registers) -> None:
    directory = Directory(registry, new_pool(), pick_random)

    with pytest.raises(Unavailable):
        await directory.resolve("points", None)
