"""A real nats-server on a free port of loopback, one for the whole session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from micro.backend import Backend, BackendOptions
from micro_nats import open_nats
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.devserver import NatsServer, run_server


@pytest.fixture(scope="session")
def server() -> Iterator[NatsServer]:
    """Shared by tests that leave it as it is."""
    server = NatsServer(monitoring=True)
    server.start()
    asyncio.run(server.wait())
    yield server
    server.stop()


@pytest.fixture
async def own_server() -> AsyncIterator[NatsServer]:
    """For tests that do things to it."""
    async with run_server() as server:
        yield server


@pytest.fixture
def options(server: NatsServer) -> BackendOptions:
    return BackendOptions(addresses=(server.address,), name="test")


@pytest.fixture
async def backend(options: BackendOptions) -> AsyncIterator[Backend]:
    async with open_nats(options) as backend:
        yield backend


@pytest.fixture
async def other(options: BackendOptions) -> AsyncIterator[Backend]:
    async with open_nats(options) as backend:
        yield backend


@pytest.fixture
async def connection(options: BackendOptions) -> AsyncIterator[Connection]:
    async with open_connection(options) as connection:
        yield connection
