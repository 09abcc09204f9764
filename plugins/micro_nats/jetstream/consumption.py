"""A consumption: one durable, read through one feed for each of its consumers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from micro.broker.kept import Consumption, DeliverKept
from micro.broker.kept_types import Durable
from micro.errors import ConnectionLost
from micro.scope import Scope
from micro_nats.connection.connection import Connection
from micro_nats.connection.requests import Requests
from micro_nats.jetstream.delivery import Arrival, NatsKeptDelivery, Owner
from micro_nats.jetstream.feed import Feed, Taker

__all__ = ["NatsConsumption"]

log = logging.getLogger("micro.nats")


class NatsConsumption(Consumption, Taker, Owner):
    """Reads a durable.

    Every feed has at least one event on request while a place is free, so that none starves. An
    event that comes when all places are taken waits here for the next one.

    Args:
        connection: The connection.
        requests: Requests on it.
        durable: What is read.
        deliver: Where deliveries go.
        ended: Called when it is closed.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        *,
        durable: Durable,
        deliver: DeliverKept,
        ended: Callable[[NatsConsumption], None],
    ) -> None:
        self.connection = connection
        self.requests = requests
        self.redeliver_after = durable.redeliver_after
        self._deliver = deliver
        self._ended = ended
        self._limit = durable.limit
        self._unsettled = 0
        self._feeds: list[Feed] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._held: deque[NatsKeptDelivery] = deque()
        self._keep: asyncio.TimerHandle | None = None
        self._due = False
        self._open = True

    def begin(self, feeds: list[Feed], scope: Scope) -> None:
        """Read through these feeds from now on."""
        self._feeds = feeds
        self._tasks = [
            scope.start(feed.run(), name=f"micro-nats-feed-{feed.name}") for feed in feeds
        ]

    def limit(self, unsettled: int) -> None:
        """Bound what is unsettled; see `Consumption.limit`."""
        lowered, self._limit = unsettled < self._limit, unsettled
        if lowered:
            self._recall()
        self._hand_over()
        self.refill()

    async def drain(self) -> None:
        """Stop the intake and hand back what was not delivered; see `Consumption`."""
        if self._open:
            self._stop()
            for feed in self._feeds:
                try:
                    await feed.drain()
                except ConnectionLost as error:
                    log.debug("a position was left with the connection: %s", error)

    async def aclose(self) -> None:
        """End it at once; what is not settled comes again after `redeliver_after`."""
        self._stop()
        for feed in self._feeds:
            feed.close()

    def on_lost(self, error: ConnectionLost) -> None:
        """Have every feed attach again."""
        for feed in self._feeds:
            feed.stop(error)

    # Taker and Owner

    def take(self, feed: Feed, arrival: Arrival) -> None:
        """Deliver an event, or hold it until a place is free."""
        delivery = NatsKeptDelivery(self, arrival)
        if not self._open:
            delivery.hand_back()
            return
        if self._held or self._unsettled >= self._limit:
            self._hold(delivery)
            return
        self._unsettled += 1
        self._deliver(delivery)
        if not feed.requested:
            self.refill()

    def release(self) -> None:
        """Give the place of a settled delivery to the next one."""
        self._unsettled -= 1
        self._hand_over()
        self.refill()

    def refill(self) -> None:
        """Ask for events in the next turn: all that is settled in this one makes one request."""
        if not self._due and self._open:
            self._due = True
            asyncio.get_running_loop().call_soon(self._request)

    def _request(self) -> None:
        self._due = False
        if not self._open or self._held or self._unsettled >= self._limit:
            return
        idle = [feed for feed in self._feeds if feed.attached and not feed.requested]
        for left, feed in zip(range(len(idle), 0, -1), idle, strict=True):
            free = self._limit - self._unsettled - sum(each.requested for each in self._feeds)
            feed.request(max(1, free // left))

    def _hand_over(self) -> None:
        while self._held and self._open and self._unsettled < self._limit:
            self._unsettled += 1
            self._deliver(self._held.popleft())

    def _recall(self) -> None:
        """Stop the requests that may bring more than fits now."""
        free = self._limit - self._unsettled
        if self._limit > 0 and sum(feed.requested for feed in self._feeds) <= max(0, free):
            return
        for feed in self._feeds:
            feed.recall()
        if self._limit <= 0:
            self._hand_back()

    def _hold(self, delivery: NatsKeptDelivery) -> None:
        if self._limit <= 0:
            delivery.hand_back()
            return
        self._held.append(delivery)
        if self._keep is None:
            self._arm()

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        self._keep = loop.call_later(self.redeliver_after / 3, self._extend_held)

    def _extend_held(self) -> None:
        self._keep = None
        for delivery in self._held:
            delivery.extend()
        if self._held:
            self._arm()

    def _hand_back(self) -> None:
        while self._held:
            self._held.popleft().hand_back()

    def _stop(self) -> None:
        if not self._open:
            return
        self._open = False
        self._ended(self)
        for task in self._tasks:
            task.cancel()
        if self._keep is not None:
            self._keep.cancel()
            self._keep = None
        self._hand_back()
