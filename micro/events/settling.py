"""How an event of a durable is settled: acknowledged, tried again, or given up."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime

from micro.broker.kept import KeptBroker
from micro.concurrency.log_limit import LogLimit
from micro.errors import MicroError, Unavailable
from micro.events.arrival import Arrival
from micro.events.deadletter import DEAD_LETTERS, Burial, Reason, bury
from micro.events.guard import PROBE_SECONDS, ReleaseGuard
from micro.events.history import History, Past
from micro.events.invocation import Undecodable
from micro.events.kept_topics import KeptTopics
from micro.handlers.durable import DurableSpec, Later, Reject
from micro.handlers.subscriber import SubscriberSpec
from micro.telemetry.metrics import DurableCounters, SubscriberCounters

__all__ = ["Settling"]

_log = logging.getLogger("micro.subscriber")

MAX_NACK_SECONDS = 30.0
"""Longer waits are stored: an event that is given back counts as unsettled while it waits."""
MAX_FAILURES_LOGGED_PER_SECOND = 10


class Settling:
    """Settles the events of one durable.

    Args:
        name: The position's name.
        spec: The handler.
        durable: How it reads its topic.
        topics: Makes topics.
        history: Outcomes of attempts.
        guard: Says when too many events are given up.
        counters: Counts as any subscriber does.
        tally: Counts what only durables have.
        turned: Called when the guard has begun or ended a pause.
    """

    def __init__(
        self,
        *,
        name: str,
        spec: SubscriberSpec,
        durable: DurableSpec,
        topics: KeptTopics,
        history: History,
        guard: ReleaseGuard,
        counters: SubscriberCounters,
        tally: DurableCounters,
        turned: Callable[[], None],
    ) -> None:
        self._name = name
        self._spec = spec
        self._durable = durable
        self._topics = topics
        self._history = history
        self._guard = guard
        self._counters = counters
        self._tally = tally
        self._turned = turned
        self._failures = LogLimit(MAX_FAILURES_LOGGED_PER_SECOND)

    async def settle(self, arrival: Arrival, past: Past, error: BaseException | None) -> None:
        """Settle an event by what its handler raised, if anything.

        Args:
            arrival: The delivery.
            past: What was known before this attempt.
            error: What the handler raised.

        Raises:
            MicroError: the outcome could not be noted or stored; the event is not settled.
        """
        if error is None:
            await self._finish(arrival, past)
        elif isinstance(error, Later):
            await self._postpone_unless_late(arrival, past, error)
        elif isinstance(error, self._durable.fatal):
            await self._break(arrival, past, error)
        elif isinstance(error, Reject):
            await self.give_up(arrival, past, "rejected", error.reason)
        elif isinstance(error, Undecodable):
            self._counters.failed += 1
            await self.give_up(arrival, past, "undecodable", str(error))
        else:
            await self._fail(arrival, past, error)

    async def give_up(self, arrival: Arrival, past: Past, reason: Reason, error: str) -> None:
        """Make an event a dead letter, unless too many are: then it is kept for later."""
        if self._guard.paused and not arrival.probe:
            # Not charged: the attempt counts when the release has been judged.
            failed = max(0, past.failed - 1)
            await self._postpone(arrival, past._replace(failed=failed), PROBE_SECONDS)
            return
        attempts = past.charged + (reason in ("rejected", "undecodable"))
        await self._topics.ensure_spec(DEAD_LETTERS)
        note = Burial(attempts, self._durable.dead)
        await bury(self._broker, arrival, reason, error, note)
        await self._acknowledge(arrival, past)
        self._tally.dead_letters += 1
        _log.error(
            "event %s of %s is a dead letter of %s (%s): %s",
            *(arrival.id, arrival.topic, self._name, reason, error),
        )
        if self._guard.gave_up(f"{reason}: {error}"):
            self._turned()

    async def _finish(self, arrival: Arrival, past: Past) -> None:
        await self._acknowledge(arrival, past)
        if self._guard.handled():
            self._turned()

    async def _fail(self, arrival: Arrival, past: Past, error: BaseException) -> None:
        """Charge a failure, and try again after a wait or give up."""
        self._counters.failed += 1
        retry = self._durable.retry
        past = past._replace(failed=past.failed + 1)
        waits = retry.table_for(error).waits
        text = f"{type(error).__name__}: {error}"
        reason: Reason | None = None
        if isinstance(error, retry.never):
            reason = "never"
        elif self._is_late(arrival):
            reason = "too late"
        elif past.charged > len(waits):
            reason = "exhausted"
        if reason is not None:
            self._log_failure(arrival, past, error, "it is given up")
            await self.give_up(arrival, past, reason, text)
            return
        wait = waits[past.charged - 1] * random.uniform(1 - retry.jitter, 1 + retry.jitter)
        if isinstance(error, Unavailable) and error.retry_after is not None:
            wait = error.retry_after
        self._log_failure(arrival, past, error, f"it comes again in {wait:.3g} s")
        await self._postpone(arrival, past, wait)

    async def _postpone_unless_late(self, arrival: Arrival, past: Past, later: Later) -> None:
        if self._is_late(arrival):
            text = f"postponed again when it was older than within; {later.reason}".rstrip("; ")
            await self.give_up(arrival, past, "too late", text)
            return
        self._tally.postponed += 1
        await self._postpone(arrival, past, later.seconds)

    async def _postpone(self, arrival: Arrival, past: Past, wait: float) -> None:
        """Give an event back for a wait, or store it again for this durable when that is long."""
        broker = self._broker
        if broker.features.nack_delay and wait <= MAX_NACK_SECONDS:
            await self._history.note(arrival, past)
            await arrival.delivery.nack(wait)
            return
        due = broker.clock.time() + wait
        at = datetime.fromtimestamp(due, UTC) if broker.features.delay_max >= wait else None
        # The copy is stored first: a crash in between repeats the event, and loses nothing.
        await broker.store(
            arrival.topic,
            arrival.copy(failed=past.charged, due=due),
            id=f"{arrival.place}/c{arrival.copies + 1}",
            to=self._name,
            at=at,
        )
        await self._acknowledge(arrival, past)

    async def _break(self, arrival: Arrival, past: Past, error: BaseException) -> None:
        """The release is broken, not the event: pause, and keep the event."""
        text = f"{type(error).__name__}: {error}"
        self._log_failure(arrival, past, error, "this is fatal, so the event is kept")
        await self._postpone(arrival, past, PROBE_SECONDS)
        if self._guard.broken(text):
            self._turned()

    async def _acknowledge(self, arrival: Arrival, past: Past) -> None:
        """Acknowledge an event; the mark of a suspect is taken back before."""
        if past.suspect:
            await self._history.note(arrival, past)
        await arrival.delivery.ack()
        self._history.forget(arrival)

    @property
    def _broker(self) -> KeptBroker:
        return self._topics.broker

    def _is_late(self, arrival: Arrival) -> bool:
        within = self._durable.retry.within
        return bool(within) and self._broker.clock.time() - arrival.stored_at.timestamp() > within

    def _log_failure(
        self, arrival: Arrival, past: Past, error: BaseException, follows: str
    ) -> None:
        if (more := self._failures.admit()) is None:
            return
        expected = isinstance(error, MicroError)
        _log.log(
            logging.WARNING if expected else logging.ERROR,
            "%s failed on event %s of %s, attempt %d: %s: %s; %s%s",
            *(self._spec.name, arrival.id, arrival.topic, max(1, past.charged)),
            *(type(error).__name__, error, follows, more),
            exc_info=None if expected else error,
        )
