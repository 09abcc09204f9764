"""A named position on a kept topic, and the consumptions that share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime

from micro.broker.kept import DeliverKept
from micro.broker.kept_types import Durable, Position, Start
from micro.broker.memory_kept.backlog import SLACK, Backlog, Held
from micro.broker.memory_kept.consumption import MemoryConsumption, MemoryDelivery
from micro.broker.memory_kept.log import Entry
from micro.concurrency.clock import Clock, TimerHandle

__all__ = ["MAX_UNSETTLED", "MemoryDurable"]

MAX_UNSETTLED = 65_536
"""Events of one durable that may be delivered and unsettled; about 200 bytes each, 13 MB."""

_TURN = 256  # deliveries in one turn of the event loop
_LONGEST_TIMER = 86_400.0  # an event loop takes no timer of many days


class MemoryDurable:
    """Delivers what it has to the consumption with the most free slots.

    Args:
        durable: As the first `consume` asked for it.
        clock: Its time decides what is due.
        context: Deliveries run in it.
        settled: Called with each event that was acknowledged.
        since: It begins after this sequence.
    """

    def __init__(
        self,
        durable: Durable,
        clock: Clock,
        *,
        context: Context,
        settled: Callable[[Entry], None],
        since: int,
    ) -> None:
        self.durable: Durable = durable
        self._start = durable.start
        self._since = since
        self.left_at: float = clock.time()
        self._backlog = Backlog(MAX_UNSETTLED)
        self.members: dict[MemoryConsumption, None] = {}
        self._clock = clock
        self._context = context
        self._settled = settled
        self._expired = 0
        self._paused_until = 0.0
        self._woken = False
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0

    @property
    def name(self) -> str:
        """Its name."""
        return self.durable.name

    def offer(self, entry: Entry) -> None:
        """Take a stored event, unless it is not for this durable or from before its start."""
        wanted = entry.to == self.durable.name
        if not entry.to and not self.durable.to_only:
            wanted = entry.sequence > self._since and _is_after(self._start, entry)
        if wanted:
            self._backlog.add(entry)
            self.wake()

    def expire(self, entry: Entry) -> None:
        """An age or a limit removed an event."""
        if self._backlog.drop(entry):
            self._expired += 1

    def remove(self, entry: Entry) -> None:
        """An event was removed on demand."""
        self._backlog.drop(entry)

    def reset(self, start: Start, *, since: int) -> None:
        """Begin anew, as when it was created; the caller offers what is stored."""
        for owner in self._backlog.owners():
            self._release(owner)
        self._start, self._since = start, since
        self._backlog = Backlog(MAX_UNSETTLED)
        self.wake()

    def pause(self, until: float) -> None:
        """Deliver nothing before a time."""
        self._paused_until = until
        self.stop_timer()
        self.wake()

    def join(self, durable: Durable, deliver: DeliverKept) -> MemoryConsumption:
        """Add a consumption; the newest one says when deliveries are given to another."""
        member = MemoryConsumption(self, deliver, durable)
        self.durable = durable
        self.members[member] = None
        self.wake()
        return member

    def leave(self, member: MemoryConsumption) -> None:
        """Remove a consumption; what it has delivered can still be settled."""
        if self.members.pop(member, self) is None and not self.members:
            self.left_at = self._clock.time()
            self._woken = False  # the next member may come on another event loop
            self.stop_timer()

    def end(self) -> None:
        """Deliver no more: the position was removed, or the network closed."""
        self.members.clear()
        self.stop_timer()

    def position(self) -> Position:
        """How far it is."""
        oldest = self._backlog.oldest
        return Position(
            durable=self.durable.name,
            waiting=self._backlog.waiting,
            unsettled=self._backlog.unsettled,
            oldest=None if oldest is None else oldest.stored().stored_at,
            expired_unread=self._expired,
            members=len(self.members),
            paused_until=datetime.fromtimestamp(self._paused_until, UTC)
            if self._paused_until > self._clock.time()
            else None,
        )

    def wake(self) -> None:
        """Deliver on the next turn of the event loop."""
        if self.members and not self._woken:
            self._woken = True
            asyncio.get_running_loop().call_soon(self._deliver, context=self._context)

    def stop_timer(self) -> None:
        """Leave nothing on the clock."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def holds(self, held: Held) -> bool:
        """Whether an event is still to be settled."""
        return self._backlog.holds(held)

    def extend(self, held: Held) -> None:
        """The handler of an event needs more time."""
        self._backlog.put_off(held, self._lease_until())

    def settle(self, held: Held) -> None:
        """An event was handled."""
        self._backlog.settle(held)
        self._settled(held.entry)
        self.wake()

    def give_back(self, held: Held, delay: float) -> None:
        """An event was not handled."""
        now = self._clock.time()
        self._backlog.give_back(held, now + max(0.0, delay), now)
        self.wake()

    def _deliver(self) -> None:
        self._woken = False
        for held in self._backlog.return_due(self._clock.time()):
            self._release(held.owner)
        if self._paused_until <= self._clock.time() + SLACK:
            for _ in range(_TURN):
                if not self._deliver_one():
                    break
            else:
                self.wake()
        self._plan()

    def _release(self, owner: object) -> None:
        if isinstance(owner, MemoryDelivery):
            owner.release()

    def _deliver_one(self) -> bool:
        free = [member for member in self.members if member.free > 0]
        for _, partition in self._backlog.ready() if free else ():
            readers = [member for member in free if member.reads(partition)]
            if readers:
                self._give(max(readers, key=lambda member: member.free), partition)
                return True
        return False

    def _give(self, member: MemoryConsumption, partition: int | None) -> None:
        # Last among those with as many free slots the next time.
        self.members[member] = self.members.pop(member)
        delivery = MemoryDelivery(self, member)
        delivery.start(self._backlog.take(partition, delivery, self._lease_until()))
        member.deliver(delivery)

    def _plan(self) -> None:
        now, due = self._clock.time(), self._backlog.next_due
        if self._paused_until > now + SLACK:
            due = min(due or self._paused_until, self._paused_until)
        if due is None or not self.members or (self._timer is not None and self._timer_at <= due):
            return
        self.stop_timer()
        seconds = min(max(0.0, due - now), _LONGEST_TIMER)
        self._timer_at = due
        self._timer = self._clock.call_later(seconds, self._on_timer)

    def _lease_until(self) -> float:
        return self._clock.time() + self.durable.redeliver_after

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()


def _is_after(start: Start, entry: Entry) -> bool:
    if isinstance(start, datetime):
        return entry.time >= start.timestamp()
    return entry.sequence >= start if isinstance(start, int) else True
