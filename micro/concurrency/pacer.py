"""Starts work at the pace of the event loop, so that the loop goes on turning under overload.

A task that is ready waits in the event loop's own queue, where nothing can refuse it or look at its
deadline. So only a few tasks are started in a turn, as many as fit a slice of time, and the others
wait here: each kind of work in a lane of its own, served in rotation, with a wait that is known.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from micro.concurrency.limiter import Admission

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

_FIRST_BURST = 64
_MAX_BURST = 4096
_SMOOTHING = 1 / 8


class Lane(Generic[T]):
    """One kind of work that waits for its start, in order of arrival.

    Attributes:
        waiting: The items by their identity.
        since: When the lane was last empty.
        interval: Seconds between two starts, smoothed; 0 while it is unknown.
        measured_at: When the last items were started.
        starts: How many were started then.
        listed: Whether the pacer has it in its rotation.
    """

    __slots__ = ("interval", "listed", "measured_at", "since", "starts", "waiting")

    def __init__(self) -> None:
        self.listed = False
        self.since = 0.0
        self.waiting: OrderedDict[int, T] = OrderedDict()
        self.interval = 0.0
        self.measured_at = 0.0
        self.starts = 0

    def take_first(self, now: float) -> T:
        """Take the first item out, to start it, and note the pace."""
        if now > self.measured_at:
            if self.starts:
                sample = (now - self.measured_at) / self.starts
                weight = _SMOOTHING if self.interval else 1
                self.interval += (sample - self.interval) * weight
            self.measured_at = now
            self.starts = 0
        self.starts += 1
        return self.waiting.popitem(last=False)[1]

    def withdraw(self, item: T) -> bool:
        """Take an item out that need not start; false when it does not wait."""
        return self.waiting.pop(id(item), None) is not None


class Pacer(Generic[T]):
    """Starts items, a slice of time's worth in each turn of the event loop.

    Args:
        start: Starts an item that waited, given the monotonic clock's time; false when it need not
            be started after all. An item that was started calls `began` in its first step.
    """

    __slots__ = ("_burst", "_lanes", "_start", "_started", "_starting", "_turn_began")

    def __init__(self, start: Callable[[T, float], bool]) -> None:
        self._start = start
        self._burst = _FIRST_BURST
        self._lanes: deque[Lane[T]] = deque()
        self._started = 0
        self._starting = 0
        self._turn_began = 0.0

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
        if self._starting < self._burst and not lane.waiting:
            if not self._starting:
                self._turn_began = now
            self._starting += 1
            self._started += 1
            return Admission.RUN
        if lane.waiting:
            stood = now - lane.since
            limit = patience
            if stood > STANDING_SECONDS:
                limit = min(patience, max(TARGET_SECONDS, patience * _TARGET_SHARE))
            if stood > BURST_SECONDS and len(lane.waiting) * lane.interval > limit:
                return Admission.REFUSED
        else:
            lane.since = lane.measured_at = now
            lane.starts = 0
            if not lane.listed:
                lane.listed = True
                self._lanes.append(lane)
        lane.waiting[id(item)] = item
        return Admission.QUEUED

    def began(self) -> None:
        """An item that was started runs its first step."""
        self._starting -= 1
        if not self._starting:
            self._end_turn()

    def _end_turn(self) -> None:
        """All that was started together has begun: adapt to the time it took, and start more."""
        now = time.monotonic()
        took = now - self._turn_began
        if took > TURN_SECONDS:
            self._burst = max(1, int(self._started * TURN_SECONDS / took))
        elif self._started >= self._burst:
            self._burst = min(_MAX_BURST, self._burst * 2)
        self._started = 0
        lanes = self._lanes
        while lanes and self._starting < self._burst:
            lane = lanes.popleft()
            if lane.waiting:
                item = lane.take_first(now)
                if self._start(item, now):
                    self._turn_began = now
                    self._starting += 1
                    self._started += 1
            if lane.waiting:
                lanes.append(lane)
            else:
                lane.listed = False
