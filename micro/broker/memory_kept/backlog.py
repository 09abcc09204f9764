"""What one durable has not settled: which events wait, and which were delivered to be settled.

Pure state: the caller gives the time, delivers, and keeps the timer for `next_due`.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict

from micro.broker.memory_kept.log import Entry

__all__ = ["SLACK", "Backlog", "Held"]

SLACK = 1e-6
"""Seconds by which a timer may be early: its time is a sum of floats."""


class Held:
    """An event that was delivered at least once and is not settled.

    Attributes:
        entry: The event.
        deliveries: How often it was delivered.
        owner: Who has it now; `None` while it is given back.
        ticket: The number of its newest place in a heap; older places do not count.
    """

    __slots__ = ("deliveries", "entry", "owner", "ticket")

    def __init__(self, entry: Entry) -> None:
        self.entry: Entry = entry
        self.deliveries: int = 0
        self.owner: object | None = None
        self.ticket: int = 0


class _Lane:
    """The events of one partition that can be delivered now, lowest sequence first."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: OrderedDict[int, Entry] = OrderedDict()
        self.returned: list[tuple[int, int, Held]] = []


class Backlog:
    """The unsettled events of one durable, in lanes: one for each partition, or one for all.

    Args:
        most_held: How many events may be delivered and unsettled; fresh ones wait above it.
    """

    def __init__(self, most_held: int) -> None:
        self._most_held = most_held
        self._lanes: dict[int | None, _Lane] = {}
        self._held: dict[int, Held] = {}
        self._due: list[tuple[float, int, Held]] = []
        self._tickets = itertools.count(1)
        self._waiting = 0

    @property
    def waiting(self) -> int:
        """Events that were never delivered."""
        return self._waiting

    @property
    def unsettled(self) -> int:
        """Events that were delivered and are not settled, those given back among them."""
        return len(self._held)

    @property
    def oldest(self) -> Entry | None:
        """The event with the lowest sequence that is not settled."""
        fresh = [next(iter(lane.fresh.values())) for lane in self._lanes.values() if lane.fresh]
        held = [held.entry for held in self._held.values()]
        return min((*fresh, *held), key=lambda entry: entry.sequence, default=None)

    @property
    def next_due(self) -> float | None:
        """When the next event comes back by itself; `None` when none does."""
        while self._due and not self._is_current(*self._due[0][1:]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def add(self, entry: Entry) -> None:
        """A new event waits."""
        lane = self._lanes.get(entry.partition)
        if lane is None:
            lane = self._lanes[entry.partition] = _Lane()
        lane.fresh[entry.sequence] = entry
        self._waiting += 1

    def drop(self, entry: Entry) -> bool:
        """Forget an event that was removed; returns whether it was unsettled."""
        if self._held.pop(entry.sequence, None) is not None:
            return True
        lane = self._lanes.get(entry.partition)
        if lane is None or lane.fresh.pop(entry.sequence, None) is None:
            return False
        self._waiting -= 1
        return True

    def ready(self) -> list[tuple[int, int | None]]:
        """The first available sequence of each lane, and the lane; lowest sequence first."""
        found = []
        for partition, lane in self._lanes.items():
            first = self._first(lane)
            if first is not None:
                found.append((first, partition))
        if len(found) > 1:
            found.sort(key=lambda item: item[0])
        return found

    def take(self, partition: int | None, owner: object, due: float) -> Held:
        """Give a lane's first available event to an owner until a time."""
        lane = self._lanes[partition]
        first = self._first(lane)
        if lane.returned and lane.returned[0][0] == first:
            held = heapq.heappop(lane.returned)[2]
        else:
            held = Held(lane.fresh.popitem(last=False)[1])
            self._waiting -= 1
            self._held[held.entry.sequence] = held
        held.owner = owner
        held.deliveries += 1
        self.put_off(held, due)
        return held

    def put_off(self, held: Held, due: float) -> None:
        """Make an event available again at a time, not before."""
        held.ticket = next(self._tickets)
        heapq.heappush(self._due, (due, held.ticket, held))
        # Entries of settled events stay until they are due; never more than twice the others.
        if len(self._due) > 2 * len(self._held) + 64:
            self._due = [item for item in self._due if self._is_current(*item[1:])]
            heapq.heapify(self._due)

    def give_back(self, held: Held, due: float, now: float) -> None:
        """The owner does not want it: it is available again from `due` on."""
        held.owner = None
        if due <= now:
            self._return(held)
        else:
            self.put_off(held, due)

    def settle(self, held: Held) -> None:
        """It is not delivered again."""
        self._held.pop(held.entry.sequence, None)
        held.owner = None

    def holds(self, held: Held) -> bool:
        """Whether it is still to be settled: not settled, and not removed."""
        return self._held.get(held.entry.sequence) is held

    def owners(self) -> list[object]:
        """Who has events now."""
        return [held.owner for held in self._held.values() if held.owner is not None]

    def return_due(self, now: float) -> list[Held]:
        """Make available what is due; returns what had an owner, who stays named until a take."""
        taken = []
        while (due := self.next_due) is not None and due <= now + SLACK:
            held = heapq.heappop(self._due)[2]
            if held.owner is not None:
                taken.append(held)
            self._return(held)
        return taken

    def _return(self, held: Held) -> None:
        held.ticket = next(self._tickets)
        lane = self._lanes[held.entry.partition]
        heapq.heappush(lane.returned, (held.entry.sequence, held.ticket, held))

    def _first(self, lane: _Lane) -> int | None:
        """The first available sequence; what was settled or removed leaves `returned` here."""
        returned = lane.returned
        while returned and not self._is_current(*returned[0][1:]):
            heapq.heappop(returned)
        # The bound on what is held stops fresh events only: the others must come to an end.
        fresh = lane.fresh if len(self._held) < self._most_held else ()
        if returned and fresh:
            return min(returned[0][0], next(iter(fresh)))
        return returned[0][0] if returned else next(iter(fresh), None)

    def _is_current(self, ticket: int, held: Held) -> bool:
        return held.ticket == ticket and self._held.get(held.entry.sequence) is held
