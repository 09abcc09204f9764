"""What one plugin offers: any of transport, broker and registry, over one connection."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from micro.broker.contract import Broker, Subscription
from micro.registry.contract import Registry
from micro.transport.contract import Accept, Transport

__all__ = [
    "Backend",
    "BackendOptions",
    "ConnectionEvent",
    "ConnectionState",
    "EndpointStats",
    "EndpointView",
    "OpenBackend",
    "ServiceView",
    "log_event",
]

_log = logging.getLogger("micro.connection")


class ConnectionState(StrEnum):
    """What happened to a connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    RECONNECTED = "reconnected"
    LAME_DUCK = "lame_duck"
    SLOW_CONSUMER = "slow_consumer"
    DENIED = "denied"
    ERROR = "error"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionEvent:
    """One thing that happened to a backend's connection.

    Attributes:
        state: What happened.
        detail: More of it, for people; never a secret.
    """

    state: ConnectionState
    detail: str = ""


_ALARMS = (
    ConnectionState.DISCONNECTED,
    ConnectionState.DENIED,
    ConnectionState.SLOW_CONSUMER,
    ConnectionState.ERROR,
)


def log_event(event: ConnectionEvent) -> None:
    """Write an event to the log, the default for every connection."""
    level = logging.WARNING if event.state in _ALARMS else logging.INFO
    _log.log(level, "connection %s%s", event.state.value, event.detail and f": {event.detail}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """How to open a backend.

    Attributes:
        addresses: Where the servers are, as the plugin reads them; empty for its default.
        name: What to call this connection on the server, for people who look there.
        connect_timeout: Seconds until a first connection must stand.
        on_event: Called on the event loop with each ConnectionEvent; returns at once. The log gets
            them when it is not given, so a plugin need not write them there itself.
        driver: The driver's own options by their own names, passed through.
    """

    addresses: tuple[str, ...] = ()
    name: str = ""
    connect_timeout: float = 5.0
    on_event: Callable[[ConnectionEvent], None] = log_event
    driver: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStats:
    """What an endpoint has counted.

    Attributes:
        requests: Calls that ended.
        errors: Those of them that failed.
        seconds: What all took together.
        last_error: The last error's text; empty when there was none.
    """

    requests: int = 0
    errors: int = 0
    seconds: float = 0.0
    last_error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """One endpoint whose calls are no streams, as a backend may show it.

    Attributes:
        name: `Type.Method`.
        metadata: Text about it, for people and tools.
        read_stats: Gives what it has counted; returns at once.
    """

    name: str
    read_stats: Callable[[], EndpointStats]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """A node of a service, as a backend may show it to the tools of its own world.

    Attributes:
        name: The service's name.
        version: Its version.
        node: The node's id.
        metadata: Text about it, for people and tools.
        endpoints: What can be called.
        accept: Gives the server's end of a socket on which requests come in.
    """

    name: str
    version: str
    node: str
    metadata: Mapping[str, str]
    endpoints: tuple[EndpointView, ...]
    accept: Accept


class Backend(ABC):
    """An open plugin. What it does not offer is `None`."""

    transport: Transport | None = None
    broker: Broker | None = None
    registry: Registry | None = None

    @abstractmethod
    async def check(self) -> None:
        """Make a real round trip to the server, for readiness.

        Raises:
            ConnectionLost: there is no connection, or no answer in good time.
        """

    def counters(self) -> Mapping[str, int]:
        """What it has counted since it was opened, by dotted name; each value only grows.

        A name begins with the plugin's own, as in `nats.malformed`. The service shows them among
        its metrics.
        """
        return {}

    async def show(self, view: ServiceView) -> Subscription | None:
        """Show a node to the tools of the backend's own world, and let them call it.

        It is an extra: what fails here is logged, and the service runs without it.

        Returns:
            The intake of their requests; `None` where there are no such tools, or they are not
            allowed to see it.
        """
        del view
        return None


OpenBackend = Callable[[BackendOptions], AbstractAsyncContextManager[Backend]]
"""What an entry point in the group `micro.plugins` names."""
