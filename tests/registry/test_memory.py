from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from micro.backend import Backend
from micro.memory import MemoryBackend
from micro.registry import ServiceRecord
from micro.testing import RegistryConformance


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
