"""Follows the registry for the services that a client calls; each is asked for once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from itertools import count
from typing import Any

from micro.client.channel import Channel, expire_reply
from micro.client.route import Peer, Route
from micro.client.selector import Strategy
from micro.concurrency.timers import Timers
from micro.deadline import Deadline, enforce
from micro.errors import MicroError, Unavailable
from micro.message import Message
from micro.registry.contract import Registry
from micro.registry.record import Node
from micro.scope import Scope
from micro.telemetry.metrics import ClientCounters
from micro.transport.contract import Transport
from micro.wire.compression import Compression

__all__ = ["Directory"]

_log = logging.getLogger("micro.client")
_BEAT = 0.5
_LONG_BEAT = 40
_MOST_UNKNOWN = 256


class Directory:
    """The routes of one client.

    The first call to a service opens a watch of it, which keeps its route up to date from then on;
    calls that come meanwhile wait for the same answer. A name that nobody serves stays watched too,
    so that calling it again costs no query; beyond a few hundred such names the oldest is dropped.

    Args:
        transport: Dials nodes.
        registry: Is watched.
        strategy: Picks nodes.
        compression: How requests are compressed; `None` for not at all.
        counters: Where it counts; its own when not given.

    Attributes:
        routes: By service name; one that is not `ready` has no answer yet.
        counters: What was counted so far.
    """

    def __init__(
        self,
        transport: Transport,
        registry: Registry,
        strategy: Strategy[Any],
        compression: Compression | None = None,
        *,
        counters: ClientCounters | None = None,
    ) -> None:
        self.routes: dict[str, Route] = {}
        self._transport = transport
        self._registry = registry
        self._compression = compression
        self._strategy = strategy
        self.counters = counters or ClientCounters()
        self._followers: dict[str, asyncio.Task[Any]] = {}
        self._channels: set[Channel] = set()
        self._scope: Scope | None = None
        self._timers: Timers[asyncio.Future[Message]]

    def open(self, scope: Scope) -> None:
        """Start to work; tasks belong to `scope`."""
        self._scope = scope
        self._timers = Timers(expire_reply)
        scope.start(self._keep_alive(), name="micro.client.keep_alive")

    def close(self) -> None:
        """Close every channel; calls under way end, and new ones are refused."""
        self._scope = None
        for route in self.routes.values():
            route.fail(_closed())
        self.routes.clear()
        for channel in tuple(self._channels):
            channel.socket.close()
        self._timers.close()

    async def find(self, service: str, deadline: Deadline | None) -> Route:
        """The route to a service, once the registry has answered for it.

        Raises:
            DeadlineExceeded: the registry did not answer in time.
            Unavailable: it could not be asked.
        """
        route = self.routes.get(service)
        if route is None:
            route = self._follow(service)
        if not route.ready:
            async with enforce(deadline, f"finding {service!r}"):
                await route.wait_ready()
        return route

    def _follow(self, service: str) -> Route:
        if self._scope is None:
            raise _closed()
        self._forget_unknown()
        route = self.routes[service] = Route(service, self._strategy, self._new_peer)
        work = self._watch(route)
        self._followers[service] = self._scope.start(work, name=f"micro.client.watch.{service}")
        return route

    async def _watch(self, route: Route) -> None:
        try:
            async with self._registry.watch(route.name) as changes:
                async for records in changes:
                    route.update(records)
        except MicroError as error:
            _log.warning("the registry cannot be watched for %s: %s", route.name, error)
            route.fail(error)
        finally:
            route.fail(Unavailable("the registry's watch has ended", id="micro.client"))
            if self.routes.get(route.name) is route:
                del self.routes[route.name]
                self._followers.pop(route.name, None)

    def _forget_unknown(self) -> None:
        unknown = [name for name, route in self.routes.items() if route.ready and not route.peers]
        if len(unknown) >= _MOST_UNKNOWN:
            self._followers[unknown[0]].cancel()

    def _new_peer(self, node: Node, version: str) -> Peer:
        return Peer(node, version, self._dial, self.counters)

    async def _dial(self, node: Node, on_closed: Callable[[Channel], None]) -> Channel:
        if self._scope is None:
            raise _closed()

        def closed(channel: Channel) -> None:
            self._channels.discard(channel)
            on_closed(channel)

        channel = Channel(
            timers=self._timers,
            metadata=node.metadata,
            on_closed=closed,
            compression=self._compression_for(node),
            counters=self.counters,
        )
        socket = await self._transport.dial(node.address, channel, metadata=node.metadata)
        channel.attach(socket)
        self._channels.add(channel)
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
        instead of at their deadlines. It also keeps a quiet stream's socket open at the other end.
        Nodes that were gone are looked for here, so that no call must find out.
        """
        for beat in count(1):
            await asyncio.sleep(_BEAT)
            long = not beat % _LONG_BEAT
            for channel in tuple(self._channels):
                overdue = len(channel) > 0 and not channel.heard
                # A go-micro server writes a warning for each ping, so it gets only the needful.
                if (overdue and channel.native) or (long and channel.streaming):
                    channel.ping()
                channel.heard = False
            gone = [p for route in self.routes.values() for p in route.peers if p.breaker.gone]
            for peer in gone:
                await peer.look()


def _closed() -> Unavailable:
    return Unavailable("the client is not open", id="micro.client", refused=True)
