"""The memory plugin: transport, broker and registry inside this process.

One MemoryBackend is one network: services that are given the same instance find each other, and
services on two instances do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from micro.backend import Backend, BackendOptions, ConnectionEvent, ConnectionState
from micro.broker.memory import MemoryBroker
from micro.concurrency.clock import Clock
from micro.errors import ConfigError, ConnectionLost
from micro.registry.memory import MemoryRegistry
from micro.transport.memory import MemoryTransport

__all__ = ["MemoryBackend", "open_memory"]

_LIMITS = ("max_payload", "max_pending", "max_pending_bytes", "max_stored_bytes")


class MemoryBackend(Backend):
    """A network inside this process; it may be made before an event loop runs.

    Args:
        max_payload: The most bytes of one message, headers and body together.
        max_pending: How many messages may wait on one socket or one subscription.
        max_pending_bytes: How many bytes may wait to be sent on one socket.
        max_stored_bytes: The most bytes of all kept topics together.
        clock: The time of kept topics; real time when not given.
    """

    transport: MemoryTransport
    broker: MemoryBroker
    registry: MemoryRegistry

    def __init__(
        self,
        *,
        max_payload: int = 1024 * 1024,
        max_pending: int = 65_536,
        max_pending_bytes: int = 8 * 1024 * 1024,
        max_stored_bytes: int = 256 * 1024 * 1024,
        clock: Clock | None = None,
    ) -> None:
        self.transport = MemoryTransport(
            max_payload=max_payload, max_pending=max_pending, max_pending_bytes=max_pending_bytes
        )
        self.broker = MemoryBroker(
            max_payload=max_payload,
            max_pending=max_pending,
            max_stored_bytes=max_stored_bytes,
            clock=clock,
        )
        self.registry = MemoryRegistry()
        self._closed = False

    async def check(self) -> None:
        """Let the event loop turn once; see `Backend.check`."""
        if self._closed:
            raise ConnectionLost("the in-memory network was closed")
        await asyncio.sleep(0)

    def close(self) -> None:
        """Close all parts, as when a server is shut down; a second call does nothing."""
        self._closed = True
        self.registry.close()
        self.broker.close()
        self.transport.close()


@asynccontextmanager
async def open_memory(options: BackendOptions) -> AsyncIterator[Backend]:
    """Open a new in-memory network; it ignores addresses.

    Raises:
        ConfigError: a driver option other than a limit of `MemoryBackend`, or not above zero.
    """
    limits = {name: _limit(name, value) for name, value in options.driver.items()}
    backend = MemoryBackend(clock=None, **limits)
    options.on_event(ConnectionEvent(state=ConnectionState.CONNECTED))
    try:
        yield backend
    finally:
        backend.close()
        options.on_event(ConnectionEvent(state=ConnectionState.CLOSED))


def _limit(name: str, value: object) -> int:
    """A limit as code or a file gives it, or as the text of a flag."""
    if name not in _LIMITS:
        raise ConfigError(f"unknown memory option {name!r} (known: {', '.join(_LIMITS)})")
    limit = int(value) if isinstance(value, str) and value.isdecimal() else value
    if not isinstance(limit, int) or limit <= 0:
        raise ConfigError(f"memory option {name} must be a whole number above 0, got {value!r}")
    return limit
