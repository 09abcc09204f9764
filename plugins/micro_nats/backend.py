"""What the entry point `nats` opens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from micro.backend import Backend, BackendOptions, ServiceView
from micro.broker.contract import Subscription
from micro.scope import Scope, open_scope
from micro_nats.broker.kept import NatsKeptBroker
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.registry.broadcast import NatsRegistry
from micro_nats.services.shown import show_service
from micro_nats.transport.transport import NatsTransport

__all__ = ["NatsBackend", "open_nats"]


class NatsBackend(Backend):
    """Transport, broker and registry over one connection.

    Attributes:
        connection: The connection, for what the contracts do not cover.

    Args:
        connection: The connection; it outlives the backend.
        scope: Where the parts' tasks run.
    """

    transport: NatsTransport
    broker: NatsKeptBroker
    registry: NatsRegistry

    def __init__(self, connection: Connection, scope: Scope) -> None:
        self.connection = connection
        self.transport = NatsTransport(connection)
        self.broker = NatsKeptBroker(connection, self.transport.counters, scope)
        self.registry = NatsRegistry(connection, self.transport.counters, scope)

    async def show(self, view: ServiceView) -> Subscription | None:
        """Let the `nats` command see and call a service; see `Backend.show`."""
        options = self.connection.settings
        if not options.services:
            return None
        return await show_service(self.connection, view, namespace=options.namespace)

    async def check(self) -> None:
        """Make a round trip to the server; see `Backend.check`."""
        await self.connection.check()

    def counters(self) -> Mapping[str, int]:
        """How many messages were dropped so far; see `Backend.counters`."""
        return self.transport.counters.as_metrics()


@asynccontextmanager
async def open_nats(options: BackendOptions) -> AsyncIterator[Backend]:
    """Connect to NATS, and stay connected for as long as the block lasts.

    Raises:
        ConfigError: an address or option cannot be used.
        Unauthorized: the server refuses the credentials.
        ConnectionLost: no server answered within the connect timeout.
    """
    async with open_connection(options) as connection, open_scope() as scope:
        backend = NatsBackend(connection, scope)
        scope.start(backend.transport.sweep(), name="micro-nats-sweep")
        try:
            yield backend
        finally:
            backend.broker.close()
            backend.transport.flush()
