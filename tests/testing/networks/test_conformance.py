"""One part of a test network is a backend that passes the suites of plugins."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from micro.backend import Backend
from micro.concurrency.clock import RealClock, VirtualClock
from micro.memory import MemoryBackend
from micro.registry.record import ServiceRecord
from micro.scope import open_scope
from micro.testing import (
    BrokerConformance,
    KeptBrokerConformance,
    RegistryConformance,
    TransportConformance,
)
from micro.testing.networks.line import Line
from micro.testing.networks.wires import Wires


@asynccontextmanager
async def two_lines(clock) -> AsyncIterator[tuple[Line, Line]]:
    async with open_scope() as scope, AsyncExitStack() as stack:
        memory = MemoryBackend(clock=clock)
        stack.callback(memory.close)
        wires = Wires(memory, clock, scope, stack)
        yield Line(wires, "one"), Line(wires, "other")


class _Lines:
    clock = RealClock()

    @pytest.fixture
    async def lines(self) -> AsyncIterator[tuple[Line, Line]]:
        async with two_lines(self.clock) as lines:
            yield lines

    @pytest.fixture
    def backend(self, lines) -> Backend:
        return lines[0]

    @pytest.fixture
    def other(self, lines) -> Backend:
        return lines[1]


class TestTransport(_Lines, TransportConformance): ...


class TestBroker(_Lines, BrokerConformance): ...


class TestRegistry(_Lines, RegistryConformance):
    ttl = 0.2
    interval = 0.05

    async def vanish(self, other: Line, record: ServiceRecord) -> None:
        """Register over a line, which is cut."""
        async with other.registry.register(record, ttl=self.ttl, interval=self.interval):
            await other.cut()


class TestKeptBroker(_Lines, KeptBrokerConformance):
    @pytest.fixture
    async def lines(self) -> AsyncIterator[tuple[Line, Line]]:
        self.clock = VirtualClock()
        async with two_lines(self.clock) as lines:
            yield lines
