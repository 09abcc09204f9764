"""The client's open channels: dial, keep alive, close."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from itertools import count

from micro.client.channel import Channel
from micro.client.pending import expire_reply
from micro.concurrency.timers import Timers
from micro.errors import Unavailable
from micro.message import Message
from micro.registry.record import Node
from micro.scope import Scope
from micro.telemetry.metrics import ClientCounters
from micro.transport.contract import Transport
from micro.wire.compression import Compression

__all__ = ["ChannelPool", "client_closed"]

_PING_SECONDS = 0.5
# A go-micro server closes a socket on which nothing arrived for 60 s.
_STREAM_PING_ROUNDS = round(20.0 / _PING_SECONDS)


class ChannelPool:
    """Dials nodes, and keeps the channels until they are closed.

    Args:
        transport: Dials nodes.
        compression: How requests are compressed; `None` for not at all.
        counters: Where it counts.
    """

    def __init__(
        self, transport: Transport, compression: Compression | None, counters: ClientCounters
    ) -> None:
        self._transport = transport
        self._compression = compression
        self._counters = counters
        self._channels: set[Channel] = set()
        self._timers: Timers[asyncio.Future[Message]] | None = None

    def __len__(self) -> int:
        """Open channels."""
        return len(self._channels)

    def open(self, scope: Scope) -> None:
        """Start to work; tasks belong to `scope`."""
        self._timers = Timers(expire_reply)
        scope.start(self._keep_alive(), name="micro.client.keep_alive")

    def close(self) -> None:
        """Close every channel; calls in flight end, and new ones are refused."""
        timers, self._timers = self._timers, None
        for channel in tuple(self._channels):
            channel.socket.close()
        if timers is not None:
            timers.close()

    def objection(self, metadata: Mapping[str, str]) -> str:
        """Why the transport cannot dial a node; empty if it can."""
        return self._transport.objection(metadata)

    async def dial(self, node: Node, on_closed: Callable[[Channel], None]) -> Channel:
        """Open a channel to a node.

        Args:
            node: The node.
            on_closed: Called once when its socket is closed.

        Raises:
            TransportError: it could not be dialed.
            Unavailable: the client is closed.
        """
        if self._timers is None:
            raise client_closed()

        def closed(channel: Channel) -> None:
            self._channels.discard(channel)
            on_closed(channel)

        channel = Channel(
            timers=self._timers,
            metadata=node.metadata,
            on_closed=closed,
            compression=self._compression_for(node),
            counters=self._counters,
        )
        channel.attach(await self._transport.dial(node.address, channel, metadata=node.metadata))
        self._channels.add(channel)
        if self._timers is None:  # closed while the node was dialed
            channel.socket.close()
        return channel

    def _compression_for(self, node: Node) -> Compression | None:
        """The client's compression, if the node can read it; every native one reads gzip."""
        wanted = self._compression
        if wanted is None or wanted.name == "gzip":
            return wanted
        return wanted if wanted.name in node.metadata.get("encodings", "") else None

    async def _keep_alive(self) -> None:
        """Ping where an answer is overdue or a stream is open.

        A ping to a node that has died comes back as "no responders", and its calls end at once
        instead of at their deadlines. It also keeps a quiet stream's socket open at the peer.
        """
        for round_number in count(1):
            await asyncio.sleep(_PING_SECONDS)
            streams_too = not round_number % _STREAM_PING_ROUNDS
            for channel in tuple(self._channels):
                overdue = len(channel) > 0 and not channel.heard
                # A go-micro server logs a warning for each ping, so only streams ping it.
                if (overdue and channel.native) or (streams_too and channel.streaming):
                    channel.ping()
                channel.heard = False


def client_closed() -> Unavailable:
    """The error of a call to a client that is not open."""
    return Unavailable("the client is not open", id="micro.client", refused=True)
