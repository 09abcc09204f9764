"""Fewer items at once while the turns of the event loop are long.

Hundreds of handlers that each use the processor for some milliseconds, and wake up in one turn of
the loop, would hold up all else in the process for a second. A few at a time do the same work.
"""

from __future__ import annotations

import asyncio
import time
from typing import Generic, TypeVar

from micro.concurrency.limiter import Limiter
from micro.concurrency.work import LIGHT_SECONDS, Cost

__all__ = ["TurnLimit"]

T = TypeVar("T")

LONG_SECONDS = 0.05
"""A turn that takes this long holds up others."""

SHORT_SECONDS = 0.02
"""A turn that takes less leaves time for more items."""

_PROBE_SECONDS = 0.02
_FIRST_LIMIT = 16
_FIRST_WORK_SECONDS = 0.1
_GROWTH = 4


class TurnLimit(Generic[T]):
    """Lowers the bound of a limiter while turns are long, and raises it again when they are short.

    Args:
        limiter: Its items use the processor.
        cost: The processor time of an item. While it is not known, few run at once.

    Attributes:
        launched_at: When the first item was started whose first step has not run; 0 when there is
            none. Who starts items calls `launch` while it is 0, and `began` in a first step while
            it is set.
    """

    __slots__ = (
        "_cost",
        "_due",
        "_handle",
        "_limiter",
        "_loop",
        "_most",
        "_settled",
        "launched_at",
    )

    def __init__(self, limiter: Limiter[T], cost: Cost) -> None:
        self.launched_at: float = 0.0
        self._limiter = limiter
        self._cost = cost
        self._most = limiter.limit
        self._settled = False
        limiter.limit = min(self._most, _FIRST_LIMIT)
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._handle: asyncio.TimerHandle | None = None

    def launch(self) -> None:
        """The first item after a turn is started."""
        self.launched_at = time.monotonic()
        if not self._settled:
            self._settle()

    def began(self) -> None:
        """An item runs its first step: the time since its start is about a turn's."""
        took = time.monotonic() - self.launched_at
        self.launched_at = 0.0
        if took > LONG_SECONDS:
            self._shrink(took)

    def close(self) -> None:
        """Change nothing any more."""
        if self._handle is not None:
            self._handle.cancel()

    def _settle(self) -> None:
        """Set the first bound: by what an item costs, once that is known."""
        cost = self._cost.seconds
        if cost:
            self._settled = True
            light = cost <= LIGHT_SECONDS
            most = self._most if light else max(1, int(_FIRST_WORK_SECONDS / cost))
            self._limiter.limit = min(self._most, most)
        self._probe_later()

    def _shrink(self, took: float) -> None:
        limiter = self._limiter
        busy = min(limiter.limit, limiter.inside)
        limiter.limit = max(1, int(busy * SHORT_SECONDS / took))
        self._probe_later()

    def _probe_later(self) -> None:
        if self._handle is None and self._limiter.limit < self._most:
            self._due = self._loop.time() + _PROBE_SECONDS
            self._handle = self._loop.call_at(self._due, self._probe)

    def _probe(self) -> None:
        """See how late the loop is: items that only wait for something show nothing else."""
        self._handle = None
        late = self._loop.time() - self._due
        if late > LONG_SECONDS:
            self._shrink(late)
        elif late < SHORT_SECONDS:
            limiter = self._limiter
            limiter.limit = min(self._most, limiter.limit + max(1, limiter.limit // _GROWTH))
            limiter.resume()
        self._probe_later()
