"""How much processor time items use, and a bound on what those in flight will still use.

An item that waits for something else, and uses the processor afterwards, passes the pacer at once.
Without this bound hundreds of them would wake up in one turn of the event loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["LIGHT_SECONDS", "Cost", "Meter", "WorkWindow"]

LIGHT_SECONDS = 0.0005
"""An item that uses less of the processor is never held up."""

CONGESTED_SECONDS = 0.05
"""A turn of the event loop that takes this long has more ready work than is healthy."""

IDLE_SECONDS = 0.02
"""A turn that takes less leaves time for more work."""

_MIN_WINDOW_SECONDS = 0.02
_FIRST_WINDOW_SECONDS = 0.1
_CALM_SECONDS = 5.0
"""After so long without a change the bound is what it was at first, or more."""

_LEAST_SHRINK, _MOST_SHRINK = 0.7, 0.4
_GROW = 1.1
_GROW_EVERY_SECONDS = 0.02
_EPOCH_SECONDS = 0.5
"""An item in flight for longer, up to twice as long, waits for something and does not count."""

_SMOOTHING = 1 / 8
_MEASURED_AT_FIRST = 8
_MEASURE_EVERY = 32


class Meter:
    """Counts the processor time of one item.

    Args:
        cost: Learns of it in the end.

    Attributes:
        seconds: Processor time so far, of all its steps.
    """

    __slots__ = ("_cost", "seconds")

    def __init__(self, cost: Cost) -> None:
        self._cost = cost
        self.seconds: float = 0.0

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine and count its steps on the event loop."""
        try:
            await _Steps(work, self)
        finally:
            self._cost.note(self.seconds)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in this thread, and count it."""
        began = time.thread_time()
        try:
            return function(*args)
        finally:
            self.seconds += time.thread_time() - began


class _Steps(Generator[Any, Any, None]):
    """The steps of a coroutine, each counted by a meter."""

    __slots__ = ("_meter", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], meter: Meter) -> None:
        self._work = work
        self._meter = meter

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, value: Any) -> Any:
        return self._meter.call(self._work.send, value)

    def throw(self, *error: Any) -> Any:
        return self._meter.call(self._work.throw, *error)


class Cost:
    """The processor time of one kind of item, measured in samples.

    Attributes:
        seconds: For one item, smoothed; 0 while it is not known.
        due: How many items may start before one is measured again.
    """

    __slots__ = ("_samples", "due", "seconds")

    def __init__(self) -> None:
        self.seconds: float = 0.0
        self.due: int = 0
        self._samples = -1

    def meter(self) -> Meter:
        """A meter for an item, when none is due before it."""
        if self._samples >= _MEASURED_AT_FIRST:
            self.due = _MEASURE_EVERY
        return Meter(self)

    def note(self, seconds: float) -> None:
        """An item was measured. The first one does not count: it also builds what is kept."""
        self._samples += 1
        if self._samples:
            weight = max(_SMOOTHING, 1 / self._samples)
            self.seconds += (seconds - self.seconds) * weight


class WorkWindow:
    """Bounds the processor time that items in flight will still use.

    The bound shrinks when a turn of the event loop takes long, and grows while turns are short and
    items wait because of it: then they wait for something else than the processor.

    Attributes:
        seconds: The bound.
        blocked: Whether it holds an item up now.
    """

    __slots__ = ("_changed_at", "_current", "_previous", "_turned_at", "blocked", "seconds")

    def __init__(self) -> None:
        self.seconds: float = _FIRST_WINDOW_SECONDS
        self.blocked: bool = False
        self._current = [0.0]
        self._previous = [0.0]
        self._turned_at = 0.0
        self._changed_at = 0.0

    def admits(self, cost: float) -> bool:
        """Whether an item of this cost may start. One may always start when none is in flight."""
        if cost <= LIGHT_SECONDS:
            return True
        work = self._current[0] + self._previous[0]
        return work < LIGHT_SECONDS or work + cost <= self.seconds

    def add(self, cost: float) -> list[float]:
        """Count an item that starts; subtract its cost from what is returned when it ends."""
        self._current[0] += cost
        return self._current

    def adapt(self, took: float, now: float) -> None:
        """Follow the time that a turn of the event loop took."""
        if now - self._turned_at > _EPOCH_SECONDS:
            self._turned_at = now
            self._previous, self._current = self._current, [0.0]
        since = now - self._changed_at
        if took > CONGESTED_SECONDS and since > took:
            share = max(_MOST_SHRINK, min(_LEAST_SHRINK, CONGESTED_SECONDS / took))
            self._set(self.seconds * share, now)
        elif self.blocked and took < IDLE_SECONDS and since > _GROW_EVERY_SECONDS:
            self._set(self.seconds * _GROW, now)
        elif since > _CALM_SECONDS:
            self._set(max(self.seconds, _FIRST_WINDOW_SECONDS), now)

    def _set(self, seconds: float, now: float) -> None:
        self.seconds = max(_MIN_WINDOW_SECONDS, seconds)
        self._changed_at = now
