"""The suites that every plugin passes, over a real server."""

from __future__ import annotations

import asyncio

from micro.backend import Backend, BackendOptions
from micro.registry.record import ServiceRecord
from micro.testing import BrokerConformance, RegistryConformance, TransportConformance
from micro_nats import open_nats


class TestNatsTransport(TransportConformance):
    many = 1000


class TestNatsBroker(BrokerConformance):
    pass


class TestNatsRegistry(RegistryConformance):
    ttl = 2.0
    interval = 1.0

    async def vanish(self, other: Backend, record: ServiceRecord) -> None:
        """Register over another connection, whose server is asked to forget it."""
        connection = other.connection
        options = BackendOptions(addresses=(connection._dialer.current,))
        async with open_nats(options) as doomed:
            stay = doomed.registry.register(record, ttl=self.ttl, interval=self.interval)
            await stay.__aenter__()
            await connection.flush()
            await _cut(doomed)


async def _cut(backend: Backend) -> None:
    """End a backend's connection before it can send anything more."""
    await backend.connection._link.aclose(abort=True)
    await asyncio.sleep(0)
