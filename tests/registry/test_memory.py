from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from micro.backend import Backend
from micro.errors import ConfigError, ConnectionLost
from micro.memory import MemoryBackend
from micro.registry import Node, ServiceRecord
from micro.registry.memory import MemoryRegistry
from micro.testing import RegistryConformance

POINTS = ServiceRecord(name="points", version="1.0.0", nodes=(Node(id="points-1", address="a"),))


class TestMemoryRegistry(RegistryConformance):
    ttl = 0.2
    interval = 0.05

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()

    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend

    @pytest.fixture(autouse=True)
    async def vanished(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as self.stack:
            yield

    async def vanish(self, other: Backend, record: ServiceRecord) -> None:
        assert isinstance(other, MemoryBackend)
        registration = other.registry.register(record, ttl=self.ttl, interval=self.interval)
        await self.stack.enter_async_context(registration)
        other.registry.silence()


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry()


async def test_a_node_outlives_its_ttl_while_it_is_renewed(registry: MemoryRegistry) -> None:
    async with (
        registry.register(POINTS, ttl=0.05, interval=0.01),
        registry.watch("points") as sets,
    ):
        assert await anext(sets) == (POINTS,)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await anext(sets)


async def test_nodes_survive_an_event_loop_that_was_blocked(registry: MemoryRegistry) -> None:
    async with (
        registry.register(POINTS, ttl=0.05, interval=0.01),
        registry.watch("points") as sets,
    ):
        assert await anext(sets) == (POINTS,)
        time.sleep(0.1)  # noqa: ASYNC251  the loop is to stand still
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(sets)


async def test_changes_that_cancel_out_are_not_told(registry: MemoryRegistry) -> None:
    async with registry.watch("points") as sets:
        assert await anext(sets) == ()
        async with registry.register(POINTS, ttl=30, interval=10):
            pass
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await anext(sets)


async def test_two_registrations_of_one_node_are_two(registry: MemoryRegistry) -> None:
    async with registry.register(POINTS, ttl=30, interval=10):
        async with registry.register(POINTS, ttl=30, interval=10):
            assert await registry.get_service("points") == (POINTS,)
        assert await registry.get_service("points") == (POINTS,)
    assert await registry.get_service("points") == ()


@pytest.mark.parametrize(
    ("ttl", "interval"), [(1, 1), (1, 2), (1, 0), (0, 0), (-1, -2), (math.nan, 1), (1, math.nan)]
)
async def test_times_that_make_no_sense_are_refused(
    registry: MemoryRegistry, ttl: float, interval: float
) -> None:
    with pytest.raises(ConfigError):
        registry.register(POINTS, ttl=ttl, interval=interval)


async def test_closing_the_network_ends_watches_and_registrations(
    registry: MemoryRegistry,
) -> None:
    async with (
        registry.register(POINTS, ttl=30, interval=10),
        registry.watch("points") as sets,
    ):
        registry.close()

        assert [found async for found in sets] == []
    for attempt in (registry.get_service("points"), registry.list_services()):
        with pytest.raises(ConnectionLost):
            await attempt
    with pytest.raises(ConnectionLost):
        async with registry.register(POINTS, ttl=30, interval=10):
            pass
    with pytest.raises(ConnectionLost):
        async with registry.watch("points"):
            pass


async def test_a_watch_that_was_left_ends(registry: MemoryRegistry) -> None:
    async with registry.watch("points") as sets:
        pass

    assert [found async for found in sets] == []
    assert not registry._watches
