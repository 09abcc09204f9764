"""One node of a service as this client knows it: its record, its channel and its breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from micro.client.breaker import Breaker, BreakerState
from micro.client.channel import Channel
from micro.deadline import Deadline
from micro.errors import DeadlineExceeded, MicroError, NoResponders, TransportError
from micro.registry.record import Node, ServiceRecord
from micro.telemetry.metrics import ClientCounters
from micro.wire.headers import PROBE_ENDPOINT, READS_NULL, is_native, request_headers

__all__ = ["Dial", "NodeInfo", "RemoteNode"]

_PROBE_SECONDS = 1.0

Dial = Callable[[Node, Callable[[Channel], None]], Awaitable[Channel]]
"""Opens a channel to a node; the callback is called once when its socket is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeInfo:
    """What a client knows of a node at one moment.

    Attributes:
        id: The node's id.
        address: Where it listens.
        version: The version of the service that it runs.
        metadata: The node's metadata in the registry.
        endpoints: The endpoints of its record; empty when the record names none.
        native: Whether it speaks this framework's dialect; go-micro nodes do not.
        in_flight: Calls and streams that this client has in flight there.
        connected: Whether a channel to it is open.
        answered: Whether it has answered this client.
        breaker: The state of its circuit breaker.
    """

    id: str
    address: str
    version: str
    metadata: Mapping[str, str] = field(hash=False)
    endpoints: frozenset[str]
    native: bool
    in_flight: int
    connected: bool
    answered: bool
    breaker: BreakerState


class RemoteNode:
    """One node of a service.

    Attributes:
        node: The node as the registry describes it.
        version: The version of the service that it runs.
        endpoints: The endpoints of its record; empty when the record names none.
        idempotent: Those that may run twice, by this node's own record.
        native: Whether it speaks this framework's dialect.
        breaker: Its circuit breaker.
        channel: The shared channel, once it is dialed.
        answered: Whether it has answered anything.
        healthy: Whether it has answered, and not failed since.
    """

    __slots__ = (
        "_dial",
        "_dialing",
        "_on_change",
        "answered",
        "breaker",
        "channel",
        "endpoints",
        "healthy",
        "idempotent",
        "native",
        "node",
        "version",
    )

    def __init__(
        self,
        node: Node,
        dial: Dial,
        *,
        on_change: Callable[[], None] = lambda: None,
        counters: ClientCounters | None = None,
    ) -> None:
        self.node: Node = node
        self.version: str = ""
        self.endpoints: frozenset[str] = frozenset()
        self.idempotent: frozenset[str] = frozenset()
        self.native: bool = is_native(node.metadata)
        self.breaker: Breaker = Breaker(counters)
        self.channel: Channel | None = None
        self.answered: bool = False
        self.healthy: bool = False
        self._dial = dial
        self._on_change = on_change
        self._dialing: asyncio.Lock | None = None

    @property
    def reads_null(self) -> bool:
        """Whether the node reads the JSON `null` as `None`; others get an empty object."""
        return self.node.metadata.get(READS_NULL) == "1"

    @property
    def in_flight(self) -> int:
        """Calls and streams in flight on the shared channel."""
        return 0 if self.channel is None else len(self.channel)

    @property
    def info(self) -> NodeInfo:
        """What is known of it now."""
        return NodeInfo(
            id=self.node.id,
            address=self.node.address,
            version=self.version,
            metadata=self.node.metadata,
            endpoints=self.endpoints,
            native=self.native,
            in_flight=self.in_flight,
            connected=self.channel is not None,
            answered=self.answered,
            breaker=self.breaker.state,
        )

    def describe(self, node: Node, record: ServiceRecord) -> None:
        """Take what the registry says of the node now."""
        self.node = node
        self.version = record.version
        served = [e for e in record.endpoints if e.metadata.get("subscriber") != "true"]
        self.endpoints = frozenset(endpoint.name for endpoint in served)
        self.idempotent = frozenset(
            endpoint.name for endpoint in served if endpoint.metadata.get("idempotent") == "true"
        )

    def lists(self, endpoint: str) -> bool:
        """Whether its record allows that it serves an endpoint."""
        return not self.endpoints or endpoint in self.endpoints

    async def connect(self) -> Channel:
        """The shared channel to the node, dialed once for all who ask at the same time.

        Raises:
            TransportError: it could not be dialed.
        """
        if self._dialing is None:
            self._dialing = asyncio.Lock()
        async with self._dialing:
            if self.channel is not None:
                return self.channel
            channel = await self.dial()
            if channel.error is None:
                self.channel = channel
            return channel

    async def dial(self) -> Channel:
        """A new channel for the caller alone, who closes its socket."""
        return await self._dial(self.node, self._on_closed)

    def close_if_idle(self) -> None:
        """Close the channel of a node that left the registry, unless calls are in flight.

        A channel that is in use is closed by the node, by its silence, or with the client.
        """
        if self.channel is not None and not len(self.channel):
            self.channel.socket.close()

    def on_answer(self) -> None:
        """Record an answer, whatever it said."""
        self.breaker.success()
        self.healthy = True
        if not self.answered:
            self.answered = True
            self._on_change()

    def on_failure(self, error: MicroError) -> None:
        """Record an attempt that got no answer."""
        self.healthy = False
        if isinstance(error, NoResponders):
            self.breaker.eject()
        elif not isinstance(error, TransportError | DeadlineExceeded):
            self.breaker.release()
        elif self.answered:
            self.breaker.failure()
        else:
            self.breaker.suspend()

    async def probe(self) -> None:
        """Find out whether the node is there, without a call of the application's.

        A native node answers a request for an endpoint that no service has. A go-micro node gets
        a keep-alive frame: if no one listens, the transport says so before the next probe.
        """
        try:
            if self.native:
                await self._ask()
                self.on_answer()
            elif self.channel is not None and self.breaker.gone:
                self.breaker.success()
            else:
                (await self.connect()).ping()
        except MicroError as error:
            self.on_failure(error)
        finally:
            self.breaker.release()

    async def _ask(self) -> None:
        headers = request_headers("", PROBE_ENDPOINT, "application/json", native=True)
        await (await self.connect()).call(headers, b"", Deadline.after(_PROBE_SECONDS))

    def _on_closed(self, channel: Channel) -> None:
        if isinstance(channel.error, NoResponders):
            # A stream learns of it long after it was opened, so the channel reports it.
            self.healthy = False
            self.breaker.eject()
        if self.channel is channel:
            self.channel = None
