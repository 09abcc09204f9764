from __future__ import annotations

import pytest

from micro.memory import MemoryBackend
from micro.testing import BrokerConformance


class TestMemoryBroker(BrokerConformance):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()

    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend
