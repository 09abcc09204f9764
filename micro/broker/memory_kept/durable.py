"""A named position on a kept topic, and the consumptions that share it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from datetime import datetime

from micro.broker.kept import Consumption, DeliverKept, KeptDelivery
from micro.broker.kept_types import Durable, Position, Start, Stored
from micro.broker.memory_kept.backlog import Backlog, Held
from micro.broker.memory_kept.log import Entry
from micro.concurrency.clock import Clock, TimerHandle
from micro.errors import DeliveryLost
from micro.message import Message

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
        self.durable = durable
        self._start = durable.start
        self._since = since
        self.left_at = clock.time()
        self.backlog = Backlog(MAX_UNSETTLED)
        self.members: dict[MemoryConsumption, None] = {}
        self._clock = clock
        self._context = context
        self._settled = settled
        self._expired = 0
        self._woken = False
        self._timer: TimerHandle | None = None
        self._timer_at = 0.0

    def offer(self, entry: Entry) -> None:
        """Take a stored event, unless it is not for this durable or from before its start."""
        wanted = entry.to == self.durable.name
        if not entry.to and not self.durable.to_only:
            wanted = entry.sequence > self._since and _is_after(self._start, entry)
        if wanted:
            self.backlog.add(entry)
            self.wake()

    def expire(self, entry: Entry) -> None:
        """An age or a limit removed an event."""
        if self.backlog.drop(entry):
            self._expired += 1

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
            self.stop_timer()

    def end(self) -> None:
        """Deliver no more: the position was removed, or the network closed."""
        self.members.clear()
        self.stop_timer()

    def position(self) -> Position:
        """How far it is."""
        oldest = self.backlog.oldest
        return Position(
            durable=self.durable.name,
            waiting=self.backlog.waiting,
            unsettled=self.backlog.unsettled,
            oldest=None if oldest is None else oldest.stored().stored_at,
            expired_unread=self._expired,
            members=len(self.members),
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

    def lease_until(self) -> float:
        """When a delivery that is made now is given to another."""
        return self._clock.time() + self.durable.redeliver_after

    def settle(self, held: Held) -> None:
        """An event was handled."""
        self.backlog.settle(held)
        self._settled(held.entry)
        self.wake()

    def give_back(self, held: Held, delay: float) -> None:
        """An event was not handled."""
        now = self._clock.time()
        self.backlog.give_back(held, now + max(0.0, delay), now)
        self.wake()

    def _deliver(self) -> None:
        self._woken = False
        for held in self.backlog.return_due(self._clock.time()):
            if isinstance(held.owner, _MemoryDelivery):
                held.owner.release()
        for _ in range(_TURN):
            if not self._deliver_one():
                break
        else:
            self.wake()
        self._plan()

    def _deliver_one(self) -> bool:
        free = [member for member in self.members if member.free > 0]
        for _, partition in self.backlog.ready() if free else ():
            readers = [member for member in free if member.reads(partition)]
            if readers:
                self._give(max(readers, key=lambda member: member.free), partition)
                return True
        return False

    def _give(self, member: MemoryConsumption, partition: int | None) -> None:
        # Last among those with as many free slots the next time.
        self.members[member] = self.members.pop(member)
        delivery = _MemoryDelivery(self, member)
        delivery.start(self.backlog.take(partition, delivery, self.lease_until()))
        member.deliver(delivery)

    def _plan(self) -> None:
        due = self.backlog.next_due if self.members else None
        if due is None or (self._timer is not None and self._timer_at <= due):
            return
        self.stop_timer()
        seconds = min(max(0.0, due - self._clock.time()), _LONGEST_TIMER)
        self._timer_at = due
        self._timer = self._clock.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.wake()


class MemoryConsumption(Consumption):
    """One reader of a durable."""

    def __init__(self, home: MemoryDurable, deliver: DeliverKept, durable: Durable) -> None:
        self._home = home
        self._limit = durable.limit
        self._partitions = frozenset(durable.partitions)
        self.deliver = deliver
        self.unsettled = 0

    @property
    def free(self) -> int:
        """How many deliveries more it takes now."""
        return self._limit - self.unsettled

    def reads(self, partition: int | None) -> bool:
        """Whether it reads a partition."""
        return not self._partitions or partition in self._partitions

    def limit(self, unsettled: int) -> None:
        """Let at most so many deliveries be unsettled; see `Consumption.limit`."""
        self._limit = unsettled
        self._home.wake()

    async def drain(self) -> None:
        """Stop the intake. An event is taken only when it is delivered, so none is handed back."""
        self._home.leave(self)

    async def aclose(self) -> None:
        """End it at once; see `Subscription.aclose`."""
        self._home.leave(self)


class _MemoryDelivery(KeptDelivery):
    __slots__ = ("_deliveries", "_has_slot", "_held", "_home", "_member", "_settled", "_stored")

    def __init__(self, home: MemoryDurable, member: MemoryConsumption) -> None:
        self._home = home
        self._member = member
        self._settled = False
        self._has_slot = True
        member.unsettled += 1

    def start(self, held: Held) -> None:
        """Carry an event."""
        self._held = held
        self._stored = held.entry.stored()
        self._deliveries = held.deliveries

    def release(self) -> None:
        """Free the slot of the consumption, once."""
        if self._has_slot:
            self._has_slot = False
            self._member.unsettled -= 1

    @property
    def topic(self) -> str:
        return self._stored.topic

    @property
    def message(self) -> Message:
        return self._stored.message

    @property
    def stored(self) -> Stored:
        return self._stored

    @property
    def deliveries(self) -> int | None:
        return self._deliveries

    async def ack(self, *, confirmed: bool = False) -> None:
        lost = self._is_lost()
        if self._end():
            self._home.settle(self._held)
        elif lost and confirmed:
            event, durable = self._stored.id, self._home.durable.name
            raise DeliveryLost(f"event {event!r} was given to another reader of {durable!r}")

    async def nack(self, delay: float = 0.0) -> None:
        if self._end():
            self._home.give_back(self._held, delay)

    def extend(self) -> None:
        # The slot was freed when the time was over: what is late is not taken back.
        if self._has_slot and self._is_mine():
            self._home.backlog.put_off(self._held, self._home.lease_until())

    def _end(self) -> bool:
        """Settle it once; returns whether the broker still counts it as this delivery's."""
        mine = not self._settled and self._is_mine()
        self._settled = True
        if self._has_slot:
            self.release()
            self._home.wake()
        return mine

    def _is_mine(self) -> bool:
        return self._held.owner is self and self._home.backlog.holds(self._held)

    def _is_lost(self) -> bool:
        return not self._settled and self._held.owner is not self


def _is_after(start: Start, entry: Entry) -> bool:
    if isinstance(start, datetime):
        return entry.time >= start.timestamp()
    return entry.sequence >= start if isinstance(start, int) else True
