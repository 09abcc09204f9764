"""What the entry point `nats` opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.backend import Backend, BackendOptions
from micro.scope import open_scope
from micro_nats.connection import Connection, open_connection
from micro_nats.transport import NatsTransport

__all__ = ["NatsBackend", "open_nats"]


class NatsBackend(Backend):
    """Transport, broker and registry over one connection.

    Attributes:
        connection: The connection, for what the contracts do not cover.
    """

    transport: NatsTransport

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport = NatsTransport(connection)

    async def check(self) -> None:
        """Make a round trip to the server; see `Backend.check`."""
        await self.connection.check()


@asynccontextmanager
async def open_nats(options: BackendOptions) -> AsyncIterator[Backend]:
    """Connect to NATS, and stay connected for as long as the block lasts.

    Raises:
        ConfigError: an address or option cannot be used.
        Unauthorized: the server refuses the credentials.
        ConnectionLost: no server answered within the connect timeout.
    """
    async with open_connection(options) as connection, open_scope() as scope:
        backend = NatsBackend(connection)
        scope.start(backend.transport.sweep(), name="micro-nats-sweep")
        yield backend
