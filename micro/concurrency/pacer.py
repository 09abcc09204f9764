"""Starts work at the pace of the event loop, so that the loop goes on turning under overload.

A task that is ready waits in the event loop's own queue, where nothing can refuse it or look at its
deadline. So only a few tasks are started in a turn, as many as fit a slice of time, and the others
wait here: each kind of work in a lane of its own, with a wait that is known. Lanes get equal shares
of the processor's time, so that a light one is not held up by the many starts of a heavy one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Generic, TypeVar

from micro.concurrency.limiter import Admission
from micro.concurrency.pace import Pace
from micro.concurrency.work import LIGHT_SECONDS, Cost, WorkWindow

__all__ = ["Lane", "Pacer"]

T = TypeVar("T")

TURN_SECONDS = 0.01
"""What the starts of one turn may take together: the delay that other work on the loop sees."""

BURST_SECONDS = 0.1
"""For this long a new queue is a burst: its pace is not known yet, and none is refused."""

STANDING_SECONDS = 1.0
"""A queue that has not been empty for this long is overload, no longer a burst."""

TARGET_SECONDS = 0.1
"""The wait that a standing queue is kept at (as CoDel does, RFC 8289), or more for the patient."""

_TARGET_SHARE = 0.4
"""The share of an item's patience that a standing queue may take: many callers that each wait for
their answers, with seconds to spare, are no overload."""

PROBE_SECONDS = 0.02
"""How often the event loop is looked at while only the bound on work in flight holds items up."""

# A member of an enumeration costs ten times as much to look up in Python 3.11.
_RUN, _QUEUED, _REFUSED = Admission.RUN, Admission.QUEUED, Admission.REFUSED

_FIRST_BURST = 64
_MAX_BURST = 4096
_MIN_STARTS = 16


class Lane(Generic[T]):
    """One kind of work that waits for its start, in order of arrival.

    Attributes:
        waiting: The items by their identity.
        cost: The processor time of an item.
        since: When the lane was last empty.
        pace: How fast its items are started while others wait.
        measured_at: When the last items were started.
        starts: How many were started then.
        listed: Whether the pacer has it in its order.
        used: Processor time that its starts were charged: the lane with the least is next.
    """

    __slots__ = (
        "cost",
        "listed",
        "measured_at",
        "pace",
        "since",
        "starts",
        "used",
        "waiting",
    )

    def __init__(self) -> None:
        self.listed: bool = False
        self.since: float = 0.0
        self.waiting: OrderedDict[int, T] = OrderedDict()
        self.cost: Cost = Cost()
        self.used: float = 0.0
        self.pace: Pace = Pace(min_starts=_MIN_STARTS, min_seconds=BURST_SECONDS)
        self.measured_at: float = 0.0
        self.starts: int = 0

    def take_first(self, now: float) -> T:
        """Take the first item out, to start it, and note the pace."""
        if now > self.measured_at:
            if self.starts:
                self.pace.note(now, now - self.measured_at, self.starts)
            self.measured_at = now
            self.starts = 0
        self.starts += 1
        return self.waiting.popitem(last=False)[1]

    def withdraw(self, item: T) -> bool:
        """Take an item out that need not start; false when it does not wait."""
        return self.waiting.pop(id(item), None) is not None

    def __lt__(self, other: Lane[T]) -> bool:
        return self.used < other.used


class Pacer(Generic[T]):
    """Starts items, a slice of time's worth in each turn of the event loop.

    Args:
        start: Starts an item that waited, given the monotonic clock's time; false when it need not
            be started after all. An item that was started calls `began` in its first step.
        call_later: The event loop's.

    Attributes:
        work: Bounds what is in flight; items count themselves there.
    """

    __slots__ = (
        "_burst",
        "_call_later",
        "_filling",
        "_lanes",
        "_probing",
        "_start",
        "_started",
        "_starting",
        "_turn_began",
        "_used",
        "work",
    )

    def __init__(
        self,
        start: Callable[[T, float], bool],
        call_later: Callable[[float, Callable[[], object]], object],
    ) -> None:
        self.work: WorkWindow = WorkWindow()
        self._start = start
        self._call_later = call_later
        self._burst = _FIRST_BURST
        self._lanes: list[Lane[T]] = []
        self._filling = False
        self._probing = 0.0
        self._started = 0
        self._starting = 0
        self._turn_began = 0.0
        self._used = 0.0

    @property
    def waiting(self) -> int:
        """How many items wait for their start."""
        return sum(len(lane.waiting) for lane in self._lanes)

    def admit(self, lane: Lane[T], item: T, now: float, patience: float) -> Admission:
        """Let an item start now, or wait in its lane.

        Args:
            lane: The lane of its kind.
            item: The item.
            now: The monotonic clock's time.
            patience: Seconds that it may wait.
        """
        cost = lane.cost.seconds
        if (
            self._starting < self._burst
            and not lane.waiting
            and (cost <= LIGHT_SECONDS or self.work.admits(cost))
        ):
            if not self._starting:
                self._turn_began = now
            self._starting += 1
            self._started += 1
            return _RUN
        if lane.waiting:
            stood = now - lane.since
            limit = patience
            if stood > STANDING_SECONDS:
                limit = min(patience, max(TARGET_SECONDS, patience * _TARGET_SHARE))
            if stood > BURST_SECONDS and lane.pace.wait(len(lane.waiting)) > limit:
                return _REFUSED
        else:
            self._open(lane, now)
        lane.waiting[id(item)] = item
        if not self._starting:
            self._probe_soon(now)
        return _QUEUED

    def began(self) -> None:
        """An item that was started runs its first step."""
        self._starting -= 1
        if not self._starting:
            self._end_turn()

    def resume(self) -> None:
        """An item that counted as work in flight has ended."""
        if not self._filling:
            self._fill(time.monotonic())

    def _open(self, lane: Lane[T], now: float) -> None:
        """Let items wait in a lane that was empty."""
        lane.since = lane.measured_at = now
        lane.pace.begin(now)
        lane.starts = 0
        if not lane.listed:
            # What it did not use while it was empty is not saved up.
            lane.used = max(lane.used, self._used)
            lane.listed = True
            heappush(self._lanes, lane)

    def _end_turn(self) -> None:
        """All that was started together has begun: adapt to the time it took, and start more."""
        now = time.monotonic()
        took = now - self._turn_began
        # Shrinks to what fits a turn at once, but doubles: a wrong guess costs one turn at most.
        if took > TURN_SECONDS:
            self._burst = max(1, int(self._started * TURN_SECONDS / took))
        elif self._started >= self._burst:
            self._burst = min(_MAX_BURST, self._burst * 2)
        self._started = 0
        self.work.adapt(took, now)
        if self._lanes:
            self._fill(now)

    def _fill(self, now: float) -> None:
        """Start as many items as a turn may have."""
        self._filling = True
        self.work.blocked = False
        passed_over: list[Lane[T]] = []
        while self._lanes and self._starting < self._burst:
            lane = heappop(self._lanes)
            if lane.waiting and not self.work.admits(lane.cost.seconds):
                self.work.blocked = True
                passed_over.append(lane)
                continue
            if lane.waiting:
                self._start_first(lane, now)
            if lane.waiting:
                heappush(self._lanes, lane)
            else:
                lane.listed = False
        for lane in passed_over:
            heappush(self._lanes, lane)
        self._filling = False
        if self.work.blocked and not self._starting:
            self._probe_soon(now)

    def _start_first(self, lane: Lane[T], now: float) -> None:
        if not self._start(lane.take_first(now), now):
            return
        if not self._starting:
            self._turn_began = now
        self._starting += 1
        self._started += 1
        self._used = lane.used
        lane.used += max(lane.cost.seconds, LIGHT_SECONDS)

    def _probe_soon(self, now: float) -> None:
        if not self._probing:
            self._probing = now + PROBE_SECONDS
            self._call_later(PROBE_SECONDS, self._probe)

    def _probe(self) -> None:
        """See how late the event loop is, while no start shows it; start what may start."""
        now = time.monotonic()
        late, self._probing = now - self._probing, 0.0
        self.work.adapt(late, now)
        if not self._starting:
            self._fill(now)
