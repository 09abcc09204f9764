from __future__ import annotations

from collections.abc import Iterator

import pytest

from micro.concurrency.clock import VirtualClock
from micro.memory import MemoryBackend
from micro.testing import KeptBrokerConformance


class _Memory(KeptBrokerConformance):
    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend


class TestMemoryInRealTime(_Memory):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        backend = MemoryBackend()
        yield backend
        backend.close()


class TestMemoryInVirtualTime(_Memory):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        self.clock = VirtualClock()
        backend = MemoryBackend(clock=self.clock)
        yield backend
        backend.close()
