"""One reader of a durable, and the deliveries that it has."""

from __future__ import annotations

from typing import Protocol

from micro.broker.kept import Consumption, DeliverKept, KeptDelivery
from micro.broker.kept_types import Durable, Stored
from micro.broker.memory_kept.backlog import Held
from micro.errors import DeliveryLost
from micro.message import Message

__all__ = ["Home", "MemoryConsumption", "MemoryDelivery"]


class Home(Protocol):
    """The durable, as its consumptions and their deliveries see it."""

    @property
    def name(self) -> str:
        """Its name."""

    def leave(self, member: MemoryConsumption) -> None:
        """Remove a consumption; what it has delivered can still be settled."""

    def wake(self) -> None:
        """Deliver on the next turn of the event loop."""

    def holds(self, held: Held) -> bool:
        """Whether an event is still to be settled."""

    def settle(self, held: Held) -> None:
        """An event was handled."""

    def give_back(self, held: Held, delay: float) -> None:
        """An event was not handled."""

    def extend(self, held: Held) -> None:
        """The handler of an event needs more time."""


class MemoryConsumption(Consumption):
    """One reader of a durable."""

    def __init__(self, home: Home, deliver: DeliverKept, durable: Durable) -> None:
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


class MemoryDelivery(KeptDelivery):
    """A delivery; it holds a slot of its consumption until it is settled or given to another."""

    __slots__ = ("_deliveries", "_has_slot", "_held", "_home", "_member", "_settled", "_stored")

    def __init__(self, home: Home, member: MemoryConsumption) -> None:
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
        """The topic."""
        return self._stored.topic

    @property
    def message(self) -> Message:
        """Headers of its own, and the body."""
        return self._stored.message

    @property
    def stored(self) -> Stored:
        """The event; see `KeptDelivery.stored`."""
        return self._stored

    @property
    def deliveries(self) -> int | None:
        """How often the durable has delivered it."""
        return self._deliveries

    async def ack(self, *, confirmed: bool = False) -> None:
        """Settle it; see `KeptDelivery.ack`."""
        lost = self._is_lost()
        if self._end():
            self._home.settle(self._held)
        elif lost and confirmed:
            event, durable = self._stored.id, self._home.name
            raise DeliveryLost(f"event {event!r} was given to another reader of {durable!r}")

    async def nack(self, delay: float = 0.0) -> None:
        """Give it back; see `KeptDelivery.nack`."""
        if self._end():
            self._home.give_back(self._held, delay)

    def extend(self) -> None:
        """Ask for more time; see `KeptDelivery.extend`."""
        # The slot was freed when the time was over: what is late is not taken back.
        if self._has_slot and self._is_mine():
            self._home.extend(self._held)

    def _end(self) -> bool:
        """Settle it once; returns whether the broker still counts it as this delivery's."""
        mine = not self._settled and self._is_mine()
        self._settled = True
        if self._has_slot:
            self.release()
            self._home.wake()
        return mine

    def _is_mine(self) -> bool:
        return self._held.owner is self and self._home.holds(self._held)

    def _is_lost(self) -> bool:
        return not self._settled and self._held.owner is not self
