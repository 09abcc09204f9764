"""One durable subscriber: from a stored event to its handler, and to how the event is settled."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from math import inf
from typing import Any

from micro.broker.kept import Consumption, KeptBroker, KeptDelivery
from micro.broker.kept_types import Durable
from micro.concurrency.log_limit import LogLimit
from micro.errors import MicroError
from micro.events.arrival import Arrival
from micro.events.content import guess_content_type, read_headers
from micro.events.guard import PROBE_SECONDS, ReleaseGuard
from micro.events.history import History, Past
from micro.events.invocation import Invocation
from micro.events.kept_topics import KeptTopics
from micro.events.settling import Settling
from micro.events.subscriber import Host
from micro.events.watch import PositionWatch
from micro.handlers.durable import (
    DEFAULT_CONCURRENCY,
    DurableSpec,
    durable_name,
)
from micro.handlers.subscriber import SubscriberSpec
from micro.scope import Scope
from micro.telemetry.metrics import DurableCounters, SubscriberCounters
from micro.topic import Topic

__all__ = ["DurableHost", "DurableSubscriber"]

_log = logging.getLogger("micro.subscriber")

REDELIVER_SECONDS = 30.0
"""An event that no one settles or extends for so long goes to another instance."""
TROUBLE_SECONDS = 5.0
"""The wait of an event whose outcome could not be noted or stored."""
UNMARK_SECONDS = 1.0
"""For taking back the mark of a suspect whose attempt was cut off."""
MAX_DEATHS = 2
"""Deaths of a process that make the event that caused them a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableHost:
    """What the durable subscribers of one service share.

    Attributes:
        host: What all subscribers share.
        loops: Where their background work runs.
        topics: Makes topics.
        history: Outcomes of attempts.
        suspects: Held while an event runs that may have killed a process: one in an instance.
        instance: The id of this instance; empty when it has none that stays.
    """

    host: Host
    loops: Scope
    topics: KeptTopics
    history: History
    suspects: asyncio.Lock
    instance: str = ""


class _Held:
    """A delivery that is not settled, and until when it is kept from others."""

    __slots__ = ("delivery", "probe", "until")

    def __init__(self, delivery: KeptDelivery, probe: bool) -> None:
        self.delivery = delivery
        self.probe = probe
        self.until = inf


class DurableSubscriber:
    """Handles the events of one durable.

    Args:
        spec: The user's function and its bounds.
        durable: How it reads its topic.
        shared: What it shares with the service's other durables.
        counters: Counts as any subscriber does.
        tally: Counts what only durables have.

    Attributes:
        name: The position's name.
        spec: The user's function and its bounds.
        watch: Looks at the position.
    """

    def __init__(
        self,
        spec: SubscriberSpec,
        durable: DurableSpec,
        shared: DurableHost,
        *,
        counters: SubscriberCounters,
        tally: DurableCounters,
    ) -> None:
        self.spec = spec
        instance = shared.instance if durable.each_instance else ""
        self.name: str = durable_name(shared.host.service, durable.name, instance)
        self.watch: PositionWatch = PositionWatch(
            shared.topics, durable.topic.name, self.name, tally
        )
        self._durable = durable
        self._shared = shared
        self._counters = counters
        self._tally = tally
        limit = spec.max_concurrency or DEFAULT_CONCURRENCY
        self._limit = min(limit, shared.host.threads.limit) if spec.blocking else limit
        self._guess = guess_content_type(shared.host.codecs, spec.event_type)
        self._invocation = Invocation(spec, shared.host, counters, tally, left=self._thread_left)
        self._guard = ReleaseGuard()
        self._settling = Settling(
            name=self.name,
            spec=spec,
            durable=durable,
            topics=shared.topics,
            history=shared.history,
            guard=self._guard,
            counters=counters,
            tally=tally,
            turned=self._turned,
        )
        self._held: dict[asyncio.Task[Any], _Held] = {}
        self._keys: set[str] = set()
        self._lost_threads = 0
        self._probe_next = False
        self._stopping = False
        self._consumption: Consumption | None = None
        self._failures = LogLimit(10)

    @property
    def topic(self) -> Topic[Any]:
        """The topic that it reads."""
        return self._durable.topic

    @property
    def busy(self) -> bool:
        """Whether an event is being handled."""
        return bool(self._held)

    @property
    def unfinished(self) -> int:
        """Events that are being handled."""
        return len(self._held)

    @property
    def paused(self) -> str:
        """Why it is paused; empty while it is not."""
        return self._guard.paused

    async def open(self) -> Consumption:
        """Begin to read the durable; its position is made where it is absent.

        Raises:
            Unsupported: the broker stores no events, or not in this way.
            MicroError: it cannot be read now.
        """
        topic = self._durable.topic
        await self._shared.topics.ensure(topic)
        broker = self._broker
        idle = topic.keep.idle if topic.keep and self._durable.each_instance else 0.0
        self._consumption = await broker.consume(
            topic.name,
            self.deliver,
            Durable(
                name=self.name,
                start=self._durable.start,
                redeliver_after=REDELIVER_SECONDS,
                limit=self._limit,
                idle=idle,
            ),
        )
        if broker.features.extend:
            self._shared.loops.start(self._extend_held())
        return self._consumption

    async def drain(self) -> None:
        """Take no event more; those that were not started are handed back, without a charge."""
        self._stopping = True
        if self._consumption is not None:
            await self._consumption.drain()

    def deliver(self, delivery: KeptDelivery) -> None:
        """Take a delivery from the broker: it asks for no more than can run at once."""
        probe = self._probe_next
        if probe:
            self._probe_next = False
            self._apply_limit()
        self._shared.host.scope.spawn(self._run(_Held(delivery, probe)))

    @property
    def _broker(self) -> KeptBroker:
        return self._shared.topics.broker

    async def _run(self, held: _Held) -> None:
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        self._held[task] = held
        try:
            await self._process(held)
        except asyncio.CancelledError:
            # The stop could wait no longer: the event is handed back and not charged.
            await self._give_back(held.delivery, 0.0)
            raise
        except Exception:
            # The engine's own bookkeeping, not the handler: the event must not get lost.
            if (more := self._failures.admit()) is not None:
                _log.exception("%s could not settle an event%s", self.name, more)
            await self._give_back(held.delivery, TROUBLE_SECONDS)
        finally:
            del self._held[task]
            self._shared.host.scope.release(task)
            if self._invocation.is_in_thread(task):
                self._lost_threads += 1
                self._apply_limit()

    async def _process(self, held: _Held) -> None:
        delivery = held.delivery
        headers, content_type = read_headers(delivery.message, self._guess)
        arrival = Arrival(delivery, self.name, headers, content_type)
        arrival.probe = held.probe
        early = arrival.not_before - self._broker.clock.time()
        if self._stopping or arrival.key in self._keys:
            # Either nothing more is started, or an earlier delivery of it runs here.
            await delivery.nack(0.0 if self._stopping else REDELIVER_SECONDS)
            return
        if early > 0.01:
            await self._shared.history.note(arrival, Past(failed=arrival.failed))
            await delivery.nack(early)
            return
        self._keys.add(arrival.key)
        try:
            past = await self._shared.history.recall(arrival)
            if past.suspect:
                await self._run_suspect(arrival, held)
            else:
                await self._attempt(arrival, past, held)
        finally:
            self._keys.discard(arrival.key)

    async def _run_suspect(self, arrival: Arrival, held: _Held) -> None:
        """Run an event alone that may have killed a process, under a mark that shows if it does."""
        self._tally.suspects += 1
        async with self._shared.suspects:
            if self._stopping:
                await arrival.delivery.nack()
                return
            past = await self._shared.history.recall(arrival, fresh=True)
            if past.deaths >= MAX_DEATHS or past.deaths > len(self._durable.retry.waits):
                text = f"its process died {past.deaths} times while it was handled"
                await self._settling.give_up(arrival, past, "killed the process", text)
                return
            await self._shared.history.note(arrival, past, marked=True)
            try:
                await self._attempt(arrival, past, held)
            except BaseException:
                await self._take_back_mark(arrival, past)
                raise
            finally:
                self._shared.history.end(arrival)

    async def _take_back_mark(self, arrival: Arrival, past: Past) -> None:
        """The process lives: neither a stop nor trouble with the broker is a death."""
        try:
            async with asyncio.timeout(UNMARK_SECONDS):
                await self._shared.history.note(arrival, past)
        except (MicroError, TimeoutError) as error:
            _log.warning("the mark of event %s could not be taken back: %s", arrival.id, error)

    async def _attempt(self, arrival: Arrival, past: Past, held: _Held) -> None:
        self._counters.handled += 1
        self._tally.attempts += 1
        held.until = self._broker.clock.time() + self._invocation.timeout + REDELIVER_SECONDS
        error = await self._invocation.outcome(arrival, past.charged + 1, self._broker.clock)
        await self._settling.settle(arrival, past, error)

    def _turned(self) -> None:
        """A pause has begun or ended."""
        if self._guard.paused:
            _log.critical(
                "%s pauses: %s. It tries one event every %g s; a restart tries at once",
                *(self.name, self._guard.paused, PROBE_SECONDS),
            )
            self._shared.loops.start(self._probe())
        else:
            _log.warning("%s goes on: an event was handled again", self.name)
        self._apply_limit()

    async def _probe(self) -> None:
        """While it pauses, let one event through now and then."""
        while self._guard.paused and not self._stopping:
            await self._broker.clock.sleep(PROBE_SECONDS)
            if self._guard.paused and not self._held:
                self._probe_next = True
                self._apply_limit()

    def _apply_limit(self) -> None:
        if self._consumption is None or self._stopping:
            return
        if self._guard.paused:
            self._consumption.limit(1 if self._probe_next else 0)
        else:
            self._consumption.limit(max(0, self._limit - self._lost_threads))

    def _thread_left(self) -> None:
        self._lost_threads -= 1
        self._apply_limit()

    async def _extend_held(self) -> None:
        """Keep what runs here from other instances, no longer than its handler may take."""
        clock = self._broker.clock
        while True:
            await clock.sleep(REDELIVER_SECONDS / 3)
            now = clock.time()
            for held in self._held.values():
                if now < held.until:
                    held.delivery.extend()

    async def _give_back(self, delivery: KeptDelivery, delay: float) -> None:
        try:
            await delivery.nack(delay)
        except MicroError as error:
            # It comes again by itself once it was not settled for long enough.
            _log.warning("an event of %s could not be given back: %s", self.name, error)
