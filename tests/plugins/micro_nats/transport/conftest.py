"""Each asynchronous test of this folder runs on both event loops."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from micro.backend import Backend
from micro.testing import Arrivals, Echo
from micro.transport.contract import Listener
from tests.plugins.micro_nats.loops import LOOPS


def pytest_asyncio_loop_factories(config, item):
    return LOOPS


@pytest.fixture
async def echo(backend: Backend) -> AsyncIterator[Listener]:
    """Answers each message with the same message."""
    async with await backend.transport.listen(Arrivals(Echo)) as listener:
        yield listener
