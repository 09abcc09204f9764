"""The way to one service: its nodes as the registry describes them, and which one to pick."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence

from micro.client.node import RemoteNode
from micro.client.retry import RetryBudget
from micro.client.selector import Where
from micro.errors import MicroError, ServiceUnavailable, Unavailable
from micro.registry.record import Node, ServiceRecord
from micro.wire.headers import is_native

__all__ = ["MAX_NODES", "Route"]

MAX_NODES = 10_000
"""Nodes of one service that a client knows; those that have answered are kept first."""

_MAX_ENDPOINTS = 1024
_MAX_UNPROVEN = 8
_TRIAL_EVERY = 64

Nodes = tuple[RemoteNode, ...]


class Route:
    """Picks nodes of one service; the directory gives it whole sets of records.

    Nodes are picked among those whose record lists the endpoint. While any of them has answered,
    those that never did get no calls: a stranger who may publish announcements could otherwise take
    a share of the calls with nodes that do not exist.

    Args:
        name: The service's name.
        strategy: Picks one of several nodes.
        new_node: Makes a node; the callback is called when it has answered for the first time.
        reachable: Whether the registry can be asked now.
        objection: Why a node with this metadata cannot be called; empty if it can.

    Attributes:
        budget: The tokens for retries.
        nodes: Every node that the registry named last, sorted by id.
        ready: Whether calls may use it; `wait_ready` waits for that.
    """

    __slots__ = (
        "_error",
        "_new_node",
        "_objected",
        "_objection",
        "_picks",
        "_reachable",
        "_settled",
        "_strategy",
        "_trials",
        "_usable",
        "budget",
        "name",
        "nodes",
        "ready",
    )

    def __init__(
        self,
        name: str,
        strategy: Callable[[Sequence[RemoteNode]], RemoteNode],
        new_node: Callable[[Node, Callable[[], None]], RemoteNode],
        *,
        reachable: Callable[[], bool] = lambda: True,
        objection: Callable[[Mapping[str, str]], str] = lambda _metadata: "",
    ) -> None:
        self.name: str = name
        self.budget: RetryBudget = RetryBudget()
        self.nodes: Nodes = ()
        self.ready: bool = False
        self._strategy = strategy
        self._new_node = new_node
        self._reachable = reachable
        self._objection = objection
        self._objected = ""
        self._settled = asyncio.Event()
        self._error: MicroError | None = None
        self._picks = 0
        self._usable: dict[str, Nodes] = {}
        self._trials: deque[RemoteNode] = deque()

    def update(self, records: Iterable[ServiceRecord]) -> None:
        """Take a new set of records: nodes that stay keep their channel and breaker."""
        known = {(node.node.id, node.node.address): node for node in self.nodes}
        nodes: list[RemoteNode] = []
        self._objected = ""
        for record in records:
            for described in record.nodes:
                if reason := self._objection(described.metadata):
                    self._objected = f"{described.id} at {described.address!r}: {reason}"
                    continue
                node = known.pop(described.key, None)
                if node is None or node.native != is_native(described.metadata):
                    if node is not None:
                        node.close_if_idle()
                    node = self._new_node(described, self.refresh)
                node.describe(described, record)
                nodes.append(node)
        for gone in known.values():
            gone.close_if_idle()
        if len(nodes) > MAX_NODES:
            nodes.sort(key=lambda node: not node.answered)
            del nodes[MAX_NODES:]
        self.nodes = tuple(sorted(nodes, key=lambda node: node.node.id))
        self.refresh()

    def refresh(self) -> None:
        """Forget which nodes are usable: the nodes changed, or one answered for the first time."""
        self._usable.clear()
        self._trials.clear()

    def strangers(self) -> list[RemoteNode]:
        """Nodes that must answer before they are used, or that are gone; they are to be probed.

        A single node has no alternative. A few go-micro nodes are used without a probe, since
        they log a warning for it.
        """
        if len(self.nodes) < 2:
            return [node for node in self.nodes if node.breaker.gone]
        many = len(self.nodes) > _MAX_UNPROVEN
        return [
            node
            for node in self.nodes
            if node.breaker.gone or (not node.answered and (node.native or many))
        ]

    def settle(self, *, ready: bool = True) -> None:
        """Let calls use the route, or have them wait."""
        self.ready = ready
        if ready:
            self._settled.set()
        else:
            self._settled.clear()

    def fail(self, error: MicroError) -> None:
        """Fail everything that waits: the registry cannot be asked."""
        if not self._settled.is_set():
            self._error = error
            self._settled.set()

    async def wait_ready(self) -> None:
        """Wait until calls may use the route.

        Raises:
            MicroError: the error given to `fail`.
        """
        await self._settled.wait()
        if self._error is not None:
            raise self._error

    def pick(
        self,
        endpoint: str,
        where: Where | None = None,
        avoid: Mapping[RemoteNode, MicroError] | None = None,
    ) -> RemoteNode:
        """One node for a call.

        Args:
            endpoint: The endpoint that is called.
            where: Which nodes may be picked.
            avoid: Nodes at which this call has failed; picked only when there is no other.

        Raises:
            ServiceUnavailable: no node serves the name.
            Unavailable: no node passes the filter.
        """
        nodes = self._usable.get(endpoint) or self._find_usable(endpoint)
        if where is None and not avoid and nodes:
            if self._trials and (trial := self._next_trial(endpoint)) is not None:
                return trial
            node = self._strategy(nodes)
            if node.breaker.closed:
                return node
        return self._choose(endpoint, where, avoid or {})

    def _find_usable(self, endpoint: str) -> Nodes:
        """The nodes that get calls of an endpoint; kept until the nodes change."""
        listed = self._listed(endpoint)
        many = len(self.nodes) > _MAX_UNPROVEN
        usable = tuple(n for n in listed if n.answered or not (n.native or many))
        if usable and many:
            self._trials.extend(n for n in listed if not n.answered and not n.native)
        if len(self._usable) < _MAX_ENDPOINTS:
            # While none has answered, any may be the first.
            self._usable[endpoint] = usable or listed
        return usable or listed

    def _next_trial(self, endpoint: str) -> RemoteNode | None:
        """From time to time one call goes to a go-micro node that has not answered yet."""
        self._picks += 1
        if self._picks % _TRIAL_EVERY:
            return None
        node = self._trials.popleft()
        if node.answered:
            return None
        self._trials.append(node)
        return node if node.lists(endpoint) and node.breaker.admits() else None

    def _listed(self, endpoint: str) -> Nodes:
        """The nodes whose record lists the endpoint; all when none does.

        The records may be older than the nodes, and a node knows best what it serves.
        """
        return tuple(node for node in self.nodes if node.lists(endpoint)) or self.nodes

    def _choose(
        self, endpoint: str, where: Where | None, avoid: Mapping[RemoteNode, MicroError]
    ) -> RemoteNode:
        allowed = self._allowed(endpoint, where, avoid)
        # Skip nodes known to be gone while others are there: the directory probes them.
        there = [node for node in allowed if not node.breaker.gone] or allowed
        fresh = [node for node in there if node not in avoid] or there
        for node in fresh:
            probe_by_call = not node.breaker.closed and (node.answered or not node.native)
            # To ask for a probe uses it up, so only a node that will be used is asked.
            if probe_by_call and node.breaker.admits():
                return node
        # With every breaker open the breakers are more likely wrong than all nodes dead.
        return self._strategy([node for node in fresh if node.breaker.closed] or fresh)

    def _allowed(
        self, endpoint: str, where: Where | None, avoid: Mapping[RemoteNode, MicroError]
    ) -> Sequence[RemoteNode]:
        """The nodes that pass the filter: of the usable ones, else of those less likely to answer.

        Raises:
            ServiceUnavailable: there is no node.
            Unavailable: none passes.
        """
        if not self.nodes:
            raise self._no_nodes()
        passing: list[RemoteNode] = []
        for group in (self._find_usable(endpoint), self._listed(endpoint)):
            passing = [node for node in group if where is None or where.allows(node)]
            if any(node not in avoid for node in passing):
                return passing
        if not passing:
            passing = [node for node in self.nodes if where is None or where.allows(node)]
        if not passing:
            raise Unavailable(
                f"no node of {self.name!r} fits {where}", id="micro.client", refused=True
            )
        return passing

    def _no_nodes(self) -> Unavailable:
        if not self._reachable():
            return Unavailable(
                f"the registry cannot be asked who serves {self.name!r}",
                id="micro.client",
                refused=True,
            )
        if self._objected:
            detail = f"no node of {self.name!r} can be called here; {self._objected}"
            return ServiceUnavailable(detail, id="micro.client", refused=True)
        return ServiceUnavailable(f"no node serves {self.name!r}", id="micro.client", refused=True)
