"""Two connections to the server that stores events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from micro.backend import BackendOptions
from micro_nats import NatsBackend, open_nats
from micro_nats.devserver import NatsServer


@pytest.fixture
def options(jetstream_server: NatsServer) -> BackendOptions:
    return BackendOptions(addresses=(jetstream_server.address,), name="test")


@pytest.fixture
async def backend(options: BackendOptions) -> AsyncIterator[NatsBackend]:
    async with open_nats(options) as backend:
        yield backend


@pytest.fixture
async def other(options: BackendOptions) -> AsyncIterator[NatsBackend]:
    async with open_nats(options) as backend:
        yield backend
