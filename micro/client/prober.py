"""Finds out which nodes are there, so that no call of the application must."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from itertools import islice

from micro.client.node import RemoteNode
from micro.client.route import Route
from micro.scope import Scope, open_scope

__all__ = ["Prober"]

_INTERVAL_SECONDS = 0.5
_MAX_PROBES_PER_INTERVAL = 64
_MAX_PROBES_AT_ONCE = 256
_INTRODUCTION_SECONDS = 5.0
_INTRODUCTION_STEP_SECONDS = 0.05


class Prober:
    """Probes nodes that are new, and again those that are gone.

    Args:
        routes: The routes of a client, by name.
    """

    def __init__(self, routes: dict[str, Route]) -> None:
        self._routes = routes
        self._introductions: set[str] = set()
        self._scope: Scope | None = None

    def open(self, scope: Scope) -> None:
        """Start to work; tasks belong to `scope`."""
        self._scope = scope
        scope.start(self._probe_forever(), name="micro.client.probes")

    def close(self) -> None:
        """Start no more probes."""
        self._scope = None

    def introduce(self, route: Route) -> None:
        """Probe a route's new nodes; calls wait for the first answer while no node has answered."""
        strangers = [node for node in route.strangers() if not node.breaker.gone]
        if not strangers or self._scope is None:
            route.settle()
            return
        route.settle(ready=any(node.answered for node in route.nodes))
        if route.name not in self._introductions:
            self._introductions.add(route.name)
            name = f"micro.client.introduce.{route.name}"
            self._scope.start(self._meet(route, strangers), name=name)

    async def _meet(self, route: Route, strangers: list[RemoteNode]) -> None:
        # Strangers may announce thousands of nodes: each real one has the same chance to be early.
        random.shuffle(strangers)
        end = time.monotonic() + _INTRODUCTION_SECONDS
        try:
            async with open_scope() as scope:
                queue = iter(strangers)
                workers = min(len(strangers), _MAX_PROBES_AT_ONCE)
                running = {scope.start(_probe_each(queue)) for _ in range(workers)}
                while running and time.monotonic() < end:
                    _, running = await asyncio.wait(running, timeout=_INTRODUCTION_STEP_SECONDS)
                    if any(node.answered for node in route.nodes):
                        break
        finally:
            self._introductions.discard(route.name)
            route.settle()

    async def _probe_forever(self) -> None:
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            due = list(islice(self._due(), _MAX_PROBES_PER_INTERVAL))
            if due:
                async with open_scope() as scope:
                    await asyncio.wait([scope.start(node.probe()) for node in due])

    def _due(self) -> Iterable[RemoteNode]:
        for route in tuple(self._routes.values()):
            yield from (node for node in route.strangers() if node.breaker.admits())


async def _probe_each(nodes: Iterable[RemoteNode]) -> None:
    for node in nodes:
        await node.probe()
