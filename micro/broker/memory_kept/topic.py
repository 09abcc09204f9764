"""One kept topic in memory: its events, its durables and its readers."""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from datetime import datetime

from micro.broker.kept import Consumption, DeliverKept
from micro.broker.kept_types import Durable, Receipt, Start, TopicSpec, TopicState
from micro.broker.memory_kept.backlog import SLACK
from micro.broker.memory_kept.durable import MemoryDurable
from micro.broker.memory_kept.ids import RecentIds
from micro.broker.memory_kept.log import Entry, EventLog, Memory
from micro.broker.memory_kept.reader import MemoryReader
from micro.concurrency.clock import Clock, TimerHandle
from micro.errors import InvalidName, NotFound, Unsupported
from micro.message import Message

__all__ = ["MemoryTopic", "NewEvent", "subject_of"]

_DURABLE_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}", re.ASCII)
_LONGEST_TIMER = 86_400.0  # an event loop takes no timer of many days


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """An event that is to be stored."""

    message: Message
    size: int
    id: str = ""
    event_id: str = ""
    partition: int | None = None
    at: datetime | None = None
    to: str = ""
    live: bool = True
    """Whether plain subscribers get it from here."""


class MemoryTopic:
    """Stores events, and gives each to the durables, the readers and the plain subscribers.

    Args:
        spec: How it is kept.
        clock: The time.
        memory: What all topics together may hold.
        context: Deliveries run in it.
        route: Gives a stored event to plain subscribers.
    """

    def __init__(
        self,
        spec: TopicSpec,
        clock: Clock,
        *,
        memory: Memory,
        context: Context,
        route: Callable[[str, Message], object],
    ) -> None:
        self.spec: TopicSpec = spec
        self._clock = clock
        self._context = context
        self._route = route
        self._log = EventLog(spec, memory, self._expired)
        # Events for one durable: neither read nor counted with the topic's own.
        self._directed = EventLog(replace(spec, full="refuse"), memory, self._expired)
        self._ids = RecentIds(spec.dedup)
        self._later: list[tuple[float, int, NewEvent]] = []
        self._order = itertools.count()
        self._sequence = 0
        self._durables: dict[str, MemoryDurable] = {}
        self._readers: dict[MemoryReader, None] = {}
        self._timer: TimerHandle | None = None

    def store(self, event: NewEvent) -> Receipt:
        """Store an event; see `KeptBroker.store`."""
        self.tidy()
        now, key = self._clock.time(), (event.to, event.id)
        if event.id and key in self._ids:
            sequence = self._ids.sequence(key)
            return Receipt(id=event.id, stored=True, sequence=sequence, duplicate=True)
        self._log_of(event).reserve(event.size)
        if event.id:
            self._ids.add(key, None, now)
        if event.at is not None and event.at.timestamp() > now:
            heapq.heappush(self._later, (event.at.timestamp(), next(self._order), event))
            self._plan()
            return Receipt(id=event.id, stored=True)
        return Receipt(id=event.id, stored=True, sequence=self._append(event, now))

    def consume(self, durable: Durable, deliver: DeliverKept) -> Consumption:
        """Read a durable; see `KeptBroker.consume`."""
        self.tidy()
        found = self._durables.get(durable.name)
        if found is None:
            self._check_new(durable)
            found = self._durables[durable.name] = self._new(durable)
        self._check_partitions(durable)
        return found.join(durable, deliver)

    @contextmanager
    def read(self, start: Start, end: datetime | int | None) -> Iterator[MemoryReader]:
        """Read without a position; see `KeptBroker.read`."""
        self.tidy()
        reader = MemoryReader(self._log, start, end, last=self._sequence)
        self._readers[reader] = None
        try:
            yield reader
        finally:
            self._readers.pop(reader, None)

    def state(self, *, created: bool = False, differences: tuple[str, ...] = ()) -> TopicState:
        """The topic as it is now."""
        self.tidy()
        first = self._log.first
        return TopicState(
            spec=self.spec,
            created=created,
            differences=differences,
            messages=self._log.messages,
            bytes=self._log.bytes,
            first_sequence=0 if first is None else first.sequence,
            last_sequence=self._sequence,
            positions=tuple(durable.position() for durable in self._durables.values()),
        )

    def forget(self, name: str) -> None:
        """Remove a position; see `KeptBroker.forget`."""
        self.tidy()
        self._forget(self._durable(name).name)

    def reset(self, name: str, start: Start) -> None:
        """Move a position; see `KeptBroker.reset`."""
        self.tidy()
        durable = self._durable(name)
        if self.spec.work and start != "all":
            raise Unsupported(f"a work queue is read from its start, not {start!r}")
        durable.reset(start, since=self._sequence if start == "new" else 0)
        for entry in (*self._log, *self._directed):
            durable.offer(entry)

    def pause(self, name: str, until: datetime | None) -> None:
        """Pause or resume a durable; see `KeptBroker.pause`."""
        self._durable(name).pause(0.0 if until is None else until.timestamp())

    def change(self, spec: TopicSpec) -> None:
        """Keep it in another way; see `KeptBroker.change`."""
        self.tidy()
        for field in ("partitions", "work"):
            if getattr(spec, field) != getattr(self.spec, field):
                raise Unsupported(f"{field} of the topic {spec.name!r} cannot be changed")
        self.spec = spec
        self._log.limit(spec)
        self._directed.limit(replace(spec, full="refuse"))
        self._ids.limit(spec.dedup)

    def remove(self, sequence: int) -> None:
        """Remove one event; see `KeptBroker.remove`."""
        self.tidy()
        entry = self._log.remove(sequence)
        if entry is None:
            raise NotFound(f"the topic {self.spec.name!r} has no event {sequence}")
        for durable in self._durables.values():
            durable.remove(entry)

    def tidy(self) -> None:
        """Do what time has brought: age, ids, events that are due, durables without readers."""
        now = self._clock.time()
        self._log.expire(now)
        self._directed.expire(now)
        self._ids.prune(now)
        while self._later and self._later[0][0] <= now + SLACK:
            self._append(heapq.heappop(self._later)[2], now)
        for durable in list(self._durables.values()):
            idle = durable.durable.idle
            if idle > 0 and not durable.members and durable.left_at + idle <= now + SLACK:
                self._forget(durable.name)

    def close(self) -> None:
        """End everything that reads it, and leave nothing on the clock."""
        if self._timer is not None:
            self._timer.cancel()
        for durable in self._durables.values():
            durable.end()
        for reader in self._readers:
            reader.close()

    def _append(self, event: NewEvent, now: float) -> int:
        self._sequence += 1
        entry = Entry(
            topic=self.spec.name,
            id=event.event_id or f"{self.spec.name}:{self._sequence}",
            sequence=self._sequence,
            message=event.message,
            size=event.size,
            # As exact as a datetime, so that a read from `stored_at` begins with this event.
            time=round(now, 6),
            partition=event.partition,
            to=event.to,
        )
        self._log_of(event).append(entry)
        if (event.to, event.id) in self._ids:
            self._ids.add((event.to, event.id), self._sequence, now)
        for durable in self._durables.values():
            durable.offer(entry)
        if not event.to:
            self._show(entry, live=event.live)
        return self._sequence

    def _show(self, entry: Entry, *, live: bool) -> None:
        for reader in self._readers:
            reader.wake()
        if live:
            self._route(subject_of(self.spec, entry.partition), entry.message)

    def _forget(self, name: str) -> None:
        self._durables.pop(name).end()
        for entry in [entry for entry in self._directed if entry.to == name]:
            self._directed.remove(entry.sequence)
        for item in [item for item in self._later if item[2].to == name]:
            self._later.remove(item)
            self._directed.release(item[2].size)
        heapq.heapify(self._later)

    def _durable(self, name: str) -> MemoryDurable:
        found = self._durables.get(name)
        if found is None:
            known = ", ".join(sorted(self._durables)) or "none"
            raise NotFound(f"the topic {self.spec.name!r} has no durable {name!r} (it has {known})")
        return found

    def _new(self, durable: Durable) -> MemoryDurable:
        new = MemoryDurable(
            durable,
            self._clock,
            context=self._context,
            settled=self._settled,
            since=self._sequence if durable.start == "new" else 0,
        )
        for entry in (*self._log, *self._directed):
            new.offer(entry)
        return new

    def _check_new(self, durable: Durable) -> None:
        if not _DURABLE_NAME.fullmatch(durable.name):
            raise InvalidName(f"durable {durable.name!r}: use letters, digits, '-' and '_'")
        if not self.spec.work or durable.to_only:
            return
        if durable.start != "all":
            raise Unsupported(f"a work queue is read from its start, not {durable.start!r}")
        for other in self._durables.values():
            if not other.durable.to_only:
                raise Unsupported(
                    f"the work queue {self.spec.name!r} is read by {other.name!r}, "
                    f"so {durable.name!r} cannot read it: use one name, or a topic that is kept"
                )

    def _check_partitions(self, durable: Durable) -> None:
        unknown = [p for p in durable.partitions if not 0 <= p < self.spec.partitions]
        if unknown:
            raise Unsupported(
                f"the topic {self.spec.name!r} has {self.spec.partitions} partitions, "
                f"so {durable.name!r} cannot read {unknown}"
            )

    def _log_of(self, event: NewEvent) -> EventLog:
        return self._directed if event.to else self._log

    def _settled(self, entry: Entry) -> None:
        if entry.to:
            self._directed.remove(entry.sequence)
        elif self.spec.work:
            self._log.remove(entry.sequence)

    def _expired(self, entry: Entry) -> None:
        for durable in self._durables.values():
            durable.expire(entry)

    def _plan(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._later:
            seconds = min(max(0.0, self._later[0][0] - self._clock.time()), _LONGEST_TIMER)
            self._timer = self._clock.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.tidy()
        self._plan()


def subject_of(spec: TopicSpec, partition: int | None) -> str:
    """Where plain subscribers hear an event: partitions have a topic each, as on a server."""
    return spec.name if partition is None else f"{spec.name}.p{partition}"
