"""The way to one service: its nodes as the registry tells them, and a channel to each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from micro.client.breaker import Breaker
from micro.client.channel import Channel
from micro.client.retry import RetryBudget
from micro.client.selector import Where
from micro.errors import MicroError, NoResponders, NotFound, Unavailable
from micro.registry.record import Node, ServiceRecord
from micro.telemetry.metrics import ClientCounters
from micro.wire.headers import READS_NULL, is_native

__all__ = ["Peer", "Route"]


Dial = Callable[[Node, Callable[[Channel], None]], Awaitable[Channel]]
"""Opens a channel to a node, and calls back when it is gone."""


class Peer:
    """One node of a service as this client knows it."""

    __slots__ = ("_dial", "_dialling", "breaker", "channel", "native", "node", "version")

    def __init__(
        self, node: Node, version: str, dial: Dial, counters: ClientCounters | None = None
    ) -> None:
        self.node = node
        self.version = version
        self.native = is_native(node.metadata)
        self.breaker = Breaker(counters)
        self.channel: Channel | None = None
        self._dial = dial
        self._dialling: asyncio.Lock | None = None

    @property
    def reads_null(self) -> bool:
        """Whether the node reads the JSON `null` as `None`; others get an empty object."""
        return self.node.metadata.get(READS_NULL) == "1"

    @property
    def in_flight(self) -> int:
        """Calls and streams under way on the shared channel."""
        return 0 if self.channel is None else len(self.channel)

    async def connect(self) -> Channel:
        """The shared channel to the node, dialled by the first who asks.

        Raises:
            TransportError: it could not be dialled.
        """
        if self._dialling is None:
            self._dialling = asyncio.Lock()
        async with self._dialling:
            if self.channel is not None:
                return self.channel
            channel = await self.dial()
            if channel.error is None:
                self.channel = channel
            return channel

    async def dial(self) -> Channel:
        """A new channel for the caller alone, who closes its socket."""
        return await self._dial(self.node, self._closed)

    def retire(self) -> None:
        """The node left the registry: calls under way may still be answered, new ones go elsewhere.

        A channel that is in use is closed by the node, by its silence, or with the client.
        """
        if self.channel is not None and not len(self.channel):
            self.channel.socket.close()

    async def look(self) -> None:
        """See if a node that was gone is back; for the directory, once a beat, in place of a call.

        It is back when nobody says within a beat that a ping did not arrive.
        """
        if self.channel is not None:
            self.breaker.success()
            return
        self.breaker.release()
        if self.breaker.admits():
            try:
                (await self.connect()).ping()
            except NoResponders:
                self.breaker.eject()
            except MicroError:
                self.breaker.release()

    def _closed(self, channel: Channel) -> None:
        if isinstance(channel.error, NoResponders):
            # A stream learns of it long after it was opened, so this is told by the channel.
            self.breaker.eject()
        if self.channel is channel:
            self.channel = None


class Route:
    """Picks nodes of one service; whoever follows the registry feeds it whole sets of records."""

    __slots__ = (
        "_answer",
        "_new_peer",
        "_peers",
        "_records",
        "_strategy",
        "budget",
        "idempotent",
        "name",
        "ready",
    )

    def __init__(
        self,
        name: str,
        strategy: Callable[[Sequence[Peer]], Peer],
        new_peer: Callable[[Node, str], Peer],
    ) -> None:
        self.name = name
        self.budget = RetryBudget()
        self.idempotent: frozenset[str] = frozenset()
        self._strategy = strategy
        self.ready = False
        self._answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._new_peer = new_peer
        self._peers: tuple[Peer, ...] = ()
        self._records: tuple[ServiceRecord, ...] = ()

    @property
    def records(self) -> tuple[ServiceRecord, ...]:
        """What the registry said last."""
        return self._records

    @property
    def peers(self) -> tuple[Peer, ...]:
        """Every node that the registry named last."""
        return self._peers

    def update(self, records: tuple[ServiceRecord, ...]) -> None:
        """Take a new set of records: peers that stay keep their channel and breaker."""
        known = {(peer.node.id, peer.node.address): peer for peer in self._peers}
        peers: list[Peer] = []
        for record in records:
            for node in record.nodes:
                peer = known.get((node.id, node.address))
                if peer is None or peer.native != is_native(node.metadata):
                    peer = self._new_peer(node, record.version)
                else:
                    del known[node.id, node.address]
                peer.node, peer.version = node, record.version
                peers.append(peer)
        self._records = records
        self._peers = tuple(sorted(peers, key=lambda peer: peer.node.id))
        self.idempotent = frozenset(
            endpoint.name
            for record in records
            for endpoint in record.endpoints
            if endpoint.metadata.get("idempotent") == "true"
        )
        for gone in known.values():
            gone.retire()
        self.ready = True
        if not self._answer.done():
            self._answer.set_result(None)

    def fail(self, error: MicroError) -> None:
        """The registry cannot be asked: whoever waits for its answer learns why."""
        if not self._answer.done():
            self._answer.set_exception(error)
            self._answer.exception()  # nobody may be waiting, and that is fine

    async def wait_ready(self) -> None:
        """Wait for the registry's first answer.

        Raises:
            MicroError: what `fail` was told.
        """
        await asyncio.shield(self._answer)

    def pick(
        self, where: Where | None = None, avoid: Mapping[Peer, MicroError] | None = None
    ) -> Peer:
        """One node for a call.

        Args:
            where: Which nodes may be picked.
            avoid: Nodes that this call has tried in vain; picked only when there is no other.

        Raises:
            NotFound: nobody serves the name.
            Unavailable: no node passes the filter.
        """
        if where is None and not avoid and self._peers:
            peer = self._strategy(self._peers)
            if peer.breaker.closed:
                return peer
        return self._choose(where, avoid or {})

    def _choose(self, where: Where | None, avoid: Mapping[Peer, MicroError]) -> Peer:
        if not self._peers:
            raise NotFound(
                f"no service {self.name!r} is registered", id="micro.client", refused=True
            )
        peers = [p for p in self._peers if where is None or where.allows(p)]
        if not peers:
            raise Unavailable(
                f"no node of {self.name!r} fits {where}", id="micro.client", refused=True
            )
        # Who is gone is looked for by the directory; a call is lost on them while there are others.
        here = [p for p in peers if not p.breaker.gone] or peers
        fresh = [p for p in here if p not in avoid] or here
        # A probe is used up by asking, so nodes in good order are looked for first.
        whole = [p for p in fresh if p.breaker.closed]
        probe = next((p for p in fresh if not p.breaker.closed and p.breaker.admits()), None)
        if probe is not None:
            return probe
        # With every breaker open the breakers are more likely wrong than all nodes dead.
        return self._strategy(whole or fresh)
