"""Pings a server, and measures how long messages may have waited on their way.

When the server or this process is stopped for a time (SIGSTOP, a paused machine), messages wait and
arrive together afterwards. A deadline that travels in a message counts from its arrival, so the
receiver must subtract the delay. Silence alone proves nothing, because an idle connection is silent
as well. Silence proves a stop while a ping is unanswered or a timer of this process is overdue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from micro.errors import ConnectionLost

__all__ = ["Liveness"]

_PROBE_SECONDS = 0.5
# Longer than the round trip to a distant server, which must not count as a stop.
_MIN_DELAY_SECONDS = 0.5
# After a stop, server and peers resume at different moments; messages stay late for this long.
_SETTLE_SECONDS = 0.5


class Liveness:
    """The pings of one link.

    Args:
        ping: Sends a ping.
        fail: Called when too many pings are unanswered.
        interval: Seconds between pings.
        max_outstanding: Pings that may be unanswered.

    Attributes:
        delay: Seconds that messages may have waited on their way; 0 in normal operation.
    """

    __slots__ = (
        "_asked_at",
        "_fail",
        "_fresh_at",
        "_handle",
        "_heard_at",
        "_interval",
        "_loop",
        "_max_outstanding",
        "_outstanding",
        "_ping",
        "_ping_at",
        "_tick_at",
        "_watching",
        "delay",
    )

    def __init__(
        self,
        ping: Callable[[], None],
        fail: Callable[[Exception], None],
        *,
        interval: float,
        max_outstanding: int,
    ) -> None:
        self._ping = ping
        self._fail = fail
        self._interval = interval
        self._max_outstanding = max_outstanding
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._fresh_at = now = self._loop.time()
        self._asked_at: float | None = None
        self._outstanding = 0
        self._watching = False
        self.delay = 0.0
        self._ping_at = self._tick_at = now + interval
        self._handle: asyncio.TimerHandle | None = None
        self._wait()

    def watch_delay(self) -> None:
        """Ping a silent connection twice a second, so that `delay` is known."""
        if not self._watching:
            self._watching = True
            self._wait()

    def received(self) -> None:
        """Note that bytes arrived; call it before they are read."""
        now = self._loop.time()
        since = self._tick_at if self._asked_at is None else self._asked_at
        if now - since > _MIN_DELAY_SECONDS:
            self._note_stop(now)
        elif self.delay and now >= self._fresh_at:
            self.delay = 0.0
        self._heard_at = now

    def answered(self) -> None:
        """Note that a ping was answered."""
        self._asked_at = None
        self._outstanding = 0

    def close(self) -> None:
        """Stop the pings."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _note_stop(self, now: float) -> None:
        silence = now - self._heard_at
        if silence > _MIN_DELAY_SECONDS:
            self.delay = silence
            self._fresh_at = now + _SETTLE_SECONDS

    def _wait(self) -> None:
        self.close()
        now = self._loop.time()
        self._tick_at = self._ping_at
        if self._watching:
            silent_at = self._heard_at + _PROBE_SECONDS
            self._tick_at = min(
                self._ping_at, silent_at if silent_at > now else now + _PROBE_SECONDS
            )
        self._handle = self._loop.call_at(self._tick_at, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._tick_at > _MIN_DELAY_SECONDS:
            # This process was stopped. uvloop runs timers before it reads what arrived in the
            # meantime, so `received` alone would notice the stop too late.
            self._note_stop(now)
        if now >= self._ping_at:
            self._ping_at = now + self._interval
            self._outstanding += 1
            if self._outstanding > self._max_outstanding:
                self._handle = None
                self._fail(
                    ConnectionLost(f"the server left {self._max_outstanding} pings unanswered")
                )
                return
            self._ask(now)
        elif self._asked_at is None and now - self._heard_at >= _PROBE_SECONDS:
            self._ask(now)
        self._wait()

    def _ask(self, now: float) -> None:
        if self._asked_at is None:
            self._asked_at = now
        self._ping()
