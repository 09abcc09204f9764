"""All durable subscribers of one service: opening them, also late, and what they lack."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack

from micro.broker.contract import Broker
from micro.broker.kept import KeptBroker
from micro.concurrency.clock import Clock
from micro.errors import HandlerError, MicroError, TransportError, Unavailable
from micro.events.durable import DurableHost, DurableSubscriber
from micro.events.history import History
from micro.events.kept_topics import KeptPolicy, KeptTopics
from micro.events.subscriber import Host
from micro.events.watch import LOOK_SECONDS
from micro.handlers.annotations import location_of
from micro.handlers.subscriber import SubscriberSpec
from micro.scope import open_scope
from micro.telemetry.metrics import Metrics

__all__ = ["Durables"]

_log = logging.getLogger("micro.subscriber")

REOPEN_SECONDS = 5.0
"""Between two tries to open durables whose broker keeps no events now."""


class Durables:
    """The durable subscribers of one run.

    Args:
        broker: Where events are stored.
        policy: What the settings say of kept topics.
        metrics: Where they count.
        instance: The id of this instance, for durables of each instance; empty for none.
    """

    def __init__(
        self, broker: Broker, policy: KeptPolicy, metrics: Metrics, *, instance: str = ""
    ) -> None:
        self._broker = broker
        self._topics = KeptTopics(broker, policy)
        self._metrics = metrics
        self._instance = instance
        self._all: list[DurableSubscriber] = []
        self._missing: dict[DurableSubscriber, str] = {}

    def __iter__(self) -> Iterator[DurableSubscriber]:
        return iter(self._all)

    async def open(
        self, specs: Iterable[SubscriberSpec], host: Host, stack: AsyncExitStack, *, alone: bool
    ) -> None:
        """Begin to read all durables.

        Where the broker stores no events now, a service that has other work starts without them,
        and goes on trying.

        Args:
            specs: The durable subscribers.
            host: What all subscribers share.
            stack: Closes them.
            alone: The service has no other work.

        Raises:
            TransportError: the broker stores no events, and the service has no other work.
            HandlerError: a durable of each instance has no id of the instance.
            MicroError: a topic, a durable or an inbox cannot be used.
        """
        specs = list(specs)
        inboxes = [one.once for spec in specs if (one := spec.durable) and one.once is not None]
        for inbox in dict.fromkeys(inboxes):
            await stack.enter_async_context(inbox.opened())
        loops = await stack.enter_async_context(open_scope())
        shared = DurableHost(
            host=host,
            loops=loops,
            topics=self._topics,
            history=History(self._topics),
            suspects=asyncio.Lock(),
            instance=self._instance,
        )
        self._all += [self._make(spec, shared) for spec in specs]
        stack.enter_context(self._metrics.observe(self._gauges))
        for durable in self._all:
            await self._open_or_note(durable, stack, alone=alone)
        if isinstance(self._broker, KeptBroker):
            if self._missing:
                loops.start(self._open_missing(stack))
            loops.start(self._look(self._broker.clock))

    async def drain(self) -> None:
        """Take no event more; those that were not started are handed back."""
        for durable in self._all:
            try:
                await durable.drain()
            except MicroError as error:
                _log.warning("the broker did not drain %s: %s", durable.name, error)

    def check(self) -> None:
        """Return if all durables are read, none is paused and none loses events.

        Raises:
            Unavailable: one is not; the text says which and why.
        """
        for durable, problem in self._missing.items():
            raise Unavailable(f"durable {durable.name} cannot read its events: {problem}")
        for durable in self._all:
            if durable.paused:
                raise Unavailable(f"durable {durable.name} is paused: {durable.paused}")
            if lost := durable.watch.losing:
                raise Unavailable(
                    f"durable {durable.name} is too slow: {lost} events expired before they were"
                    " handled"
                )

    def _make(self, spec: SubscriberSpec, shared: DurableHost) -> DurableSubscriber:
        durable = spec.durable
        assert durable is not None, "only durable subscribers come here"
        if durable.each_instance and not self._instance:
            raise HandlerError(
                f"{location_of(spec.handler)}: each_instance=True needs an id of this instance"
                " that stays the same after a restart: set server_id"
            )
        counters, tally = self._metrics.subscriber(spec.name), self._metrics.durable(spec.name)
        return DurableSubscriber(spec, durable, shared, counters=counters, tally=tally)

    async def _tell(self, durable: DurableSubscriber) -> None:
        try:
            await durable.watch.look()
        except MicroError as error:
            _log.debug("the position of %s cannot be looked at: %s", durable.name, error)
        else:
            topic, waiting = durable.topic.name, durable.watch.waiting
            _log.info("%s reads %s: %d events wait", durable.name, topic, waiting)

    async def _open_or_note(
        self, durable: DurableSubscriber, stack: AsyncExitStack, *, alone: bool
    ) -> None:
        try:
            await stack.enter_async_context(await durable.open())
            await self._tell(durable)
        except MicroError as error:
            absent = not isinstance(self._broker, KeptBroker)
            if not absent and not isinstance(error, Unavailable):
                raise
            if alone:
                raise TransportError(
                    f"durable {durable.name} cannot read its events, and the service has no other"
                    f" work: {error.detail}"
                ) from error
            self._missing[durable] = error.detail
            _log.error("%s cannot read its events: %s", durable.name, error.detail)

    async def _open_missing(self, stack: AsyncExitStack) -> None:
        while self._missing:
            await asyncio.sleep(REOPEN_SECONDS)
            for durable in tuple(self._missing):
                try:
                    await stack.enter_async_context(await durable.open())
                except MicroError as error:
                    self._missing[durable] = error.detail
                else:
                    del self._missing[durable]
                    _log.info("%s reads its events now", durable.name)

    async def _look(self, clock: Clock) -> None:
        """Look at all positions now and then, for the metrics and for readiness."""
        while True:
            for durable in self._all:
                try:
                    if durable not in self._missing:
                        await durable.watch.look()
                except MicroError as error:
                    _log.debug("the position of %s cannot be looked at: %s", durable.name, error)
            await clock.sleep(LOOK_SECONDS)

    def _gauges(self) -> dict[str, float]:
        return {
            "micro.durable.paused": float(sum(bool(each.paused) for each in self._all)),
            "micro.durable.waiting": float(sum(each.watch.waiting for each in self._all)),
        }
