"""Services by name: each is looked up once, and followed in the registry from then on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from micro.client.node import RemoteNode
from micro.client.pool import ChannelPool, client_closed
from micro.client.prober import Prober
from micro.client.route import Route
from micro.client.selector import Strategy
from micro.deadline import Deadline, enforce
from micro.errors import MicroError, Unavailable
from micro.registry.contract import Registry
from micro.registry.record import Node, ServiceRecord
from micro.scope import Scope
from micro.telemetry.metrics import ClientCounters

__all__ = ["Directory"]

_log = logging.getLogger("micro.client")
_LOOKUP_SECONDS = 30.0
_MAX_UNKNOWN = 256
# An update costs time for each node: however many announcements arrive, updates take 5 %.
_PAUSE_PER_UPDATE = 20.0
_MAX_PAUSE_SECONDS = 1.0
_SHORT_UPDATE_SECONDS = 0.001


class Directory:
    """The routes of one client.

    The first call to a service opens a watch of it, which keeps its route up to date from then on;
    calls that arrive before the answer wait for it. A name that no node serves stays watched too,
    so that calling it again costs no query; beyond a few hundred such names the oldest is dropped.

    Args:
        registry: Is watched.
        pool: Dials nodes.
        strategy: Picks nodes.
        counters: Where it counts; its own when not given.

    Attributes:
        routes: By service name; one that is not `ready` cannot be used yet.
    """

    def __init__(
        self,
        registry: Registry,
        pool: ChannelPool,
        strategy: Strategy[Any],
        *,
        counters: ClientCounters | None = None,
    ) -> None:
        self.routes: dict[str, Route] = {}
        self._registry = registry
        self._pool = pool
        self._strategy = strategy
        self._counters = counters or ClientCounters()
        self._watches: dict[str, asyncio.Task[Any]] = {}
        self._prober = Prober(self.routes)
        self._scope: Scope | None = None

    def open(self, scope: Scope) -> None:
        """Start to work; tasks belong to `scope`."""
        self._scope = scope
        self._prober.open(scope)

    def close(self) -> None:
        """Fail calls that wait for a route; new ones are refused."""
        self._scope = None
        self._prober.close()
        for route in self.routes.values():
            route.fail(client_closed())
        self.routes.clear()

    async def resolve(self, service: str, deadline: Deadline | None) -> Route:
        """The route to a service, once it can be used.

        Raises:
            DeadlineExceeded: the registry did not answer in time.
            Unavailable: it could not be asked.
        """
        route = self.routes.get(service)
        if route is None:
            route = self._watch(service)
        if not route.ready:
            limit = deadline or Deadline.after(_LOOKUP_SECONDS)
            async with enforce(limit, f"finding {service!r}"):
                await route.wait_ready()
        return route

    def _watch(self, service: str) -> Route:
        if self._scope is None:
            raise client_closed()
        self._forget_unknown()
        route = Route(
            service,
            self._strategy,
            self._new_node,
            reachable=lambda: self._registry.reachable,
            objection=self._pool.objection,
        )
        self.routes[service] = route
        work = self._watch_service(route)
        self._watches[service] = self._scope.start(work, name=f"micro.client.watch.{service}")
        return route

    async def _watch_service(self, route: Route) -> None:
        try:
            async with self._registry.watch(route.name) as changes:
                async for records in changes:
                    await self._update(route, records)
        except MicroError as error:
            _log.warning("the registry cannot be watched for %s: %s", route.name, error)
            route.fail(error)
        finally:
            route.fail(Unavailable("the registry's watch has ended", id="micro.client"))
            if self.routes.get(route.name) is route:
                del self.routes[route.name]
                self._watches.pop(route.name, None)

    async def _update(self, route: Route, records: tuple[ServiceRecord, ...]) -> None:
        started = time.monotonic()
        route.update(records)
        self._prober.introduce(route)
        took = time.monotonic() - started
        if took > _SHORT_UPDATE_SECONDS:
            await asyncio.sleep(min(took * _PAUSE_PER_UPDATE, _MAX_PAUSE_SECONDS))

    def _forget_unknown(self) -> None:
        unknown = [name for name, route in self.routes.items() if route.ready and not route.nodes]
        if len(unknown) >= _MAX_UNKNOWN:
            self._watches[unknown[0]].cancel()

    def _new_node(self, node: Node, on_change: Callable[[], None]) -> RemoteNode:
        return RemoteNode(node, self._pool.dial, on_change=on_change, counters=self._counters)
