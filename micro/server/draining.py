"""Ending streams when the service stops: most of them would never end by themselves.

Their handlers are told first (`Context.stopping`). A stream on which nothing moves is ended soon
after; one that moves has a few seconds, or the time to its own deadline.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from micro.server.call import Call

__all__ = ["DRAIN_INTERVAL_SECONDS", "StreamDrain"]

DRAIN_INTERVAL_SECONDS = 0.1
"""How often streams are looked at while a server drains."""

_READING_IDLE_SECONDS = 0.2
"""A handler that waits for its client this long waits for nothing that is on its way."""

_IDLE_SECONDS = 1.0
"""A handler that waits for something else may still have an item to come."""

_MAX_DRAIN_SECONDS = 3.0


class StreamDrain:
    """Ends the streams of a server that stops. It counts from the moment it is made."""

    __slots__ = ("_began", "_moved")

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._moved: dict[Call, tuple[int, float]] = {}

    def end_idle(self, calls: Iterable[Call]) -> None:
        """End those of the calls that are streams and have had their time."""
        now = time.monotonic()
        for call in calls:
            if call.window is not None and call.task is not None and self._is_over(call, now):
                call.stopped = True
                call.cancel()

    def _is_over(self, call: Call, now: float) -> bool:
        items, since = self._moved.get(call, (-1, now))
        if items != call.items:
            self._moved[call] = (call.items, now)
            since = now
        patience = _READING_IDLE_SECONDS if call.reading else _IDLE_SECONDS
        bounded = call.deadline is not None
        return now - since >= patience or (not bounded and now - self._began >= _MAX_DRAIN_SECONDS)
