"""Notices code that blocks the event loop, and says where it is.

While the loop is blocked nothing is answered, and no task can say so: a thread watches it instead.
Time without the processor is not a block: on a busy machine, or after a SIGSTOP, the loop is late
through no fault of its code.
"""

from __future__ import annotations

import asyncio
import logging
import selectors
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

__all__ = ["Watchdog", "watch_loop"]

_log = logging.getLogger("micro.watchdog")
_MICRO = str(Path(__file__).parents[1])
_PLUGINS = str(Path(__file__).parents[2] / "plugins")
_ASYNCIO = str(Path(asyncio.__file__).parent)
_MAX_OWN_FRAMES = 4


class _ThreadTimes(NamedTuple):
    """Seconds that a thread has run, and that it has waited for a processor."""

    ran: float
    waited: float


class Watchdog:
    """Watches one event loop from a thread of its own.

    Args:
        loop: The loop; it runs in the thread that makes this object.
        threshold: Seconds that one step may take before its stack is logged, once for each stall.

    Attributes:
        stalls: How often that happened.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        self.stalls: int = 0
        self._loop = loop
        self._threshold = threshold
        self._owner = threading.get_ident()
        self._native = threading.get_native_id()
        self._answered_at = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="micro-watchdog", daemon=True)

    def start(self) -> None:
        """Start to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Stop, within one interval."""
        self._over.set()
        self._thread.join(self._threshold * 2 + 1.0)

    def counters(self) -> dict[str, float]:
        """The stalls so far, by their name as a metric."""
        return {"micro.watchdog.stalls": self.stalls}

    def _watch(self) -> None:
        interval = self._threshold / 2
        asked_at, reported = 0.0, True
        before = self._times()
        away = 0.0
        looked_at = time.monotonic()
        while not self._over.wait(interval):
            now = time.monotonic()
            # What this thread missed, the loop may have missed as well: the process was stopped.
            away += max(0.0, now - looked_at - interval)
            looked_at = now
            if self._answered_at >= asked_at:
                if not self._ask():
                    return
                asked_at, reported, away = now, False, 0.0
                before = self._times()
            elif not reported:
                seconds = self._blocked_for(now - asked_at, before, away)
                reported = seconds >= self._threshold and self._report(seconds)

    def _blocked_for(self, passed: float, before: _ThreadTimes, away: float) -> float:
        """Of the seconds passed, those that the loop's thread ran or slept by its own will."""
        times = self._times()
        ran = times.ran - before.ran
        waited = times.waited - before.waited
        return ran + max(0.0, passed - ran - waited - away)

    def _times(self) -> _ThreadTimes:
        return _thread_times(self._native)

    def _ask(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            return False  # the loop is closed
        return True

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _report(self, seconds: float) -> bool:
        """Log where the loop is; false when it waits for events, and so is not blocked."""
        frame = sys._current_frames().get(self._owner)
        if frame is None or frame.f_code.co_filename == selectors.__file__:
            return False
        frames = _blocking_frames(frame)
        if not frames:
            return False
        self.stalls += 1
        culprit = frames[0]
        _log.warning(
            "the event loop has been blocked for %.0f ms by %s (%s:%s); use 'async' calls, or a "
            "plain 'def' handler, which runs in a thread. It is here:\n%s",
            seconds * 1000,
            culprit.name,
            culprit.filename,
            culprit.lineno,
            "".join(traceback.format_list(frames)).rstrip(),
        )
        return True


def _thread_times(native: int) -> _ThreadTimes:
    """What Linux tells of a thread's time; zeros elsewhere."""
    try:
        text = Path(f"/proc/self/task/{native}/schedstat").read_text()
    except OSError:
        return _ThreadTimes(0.0, 0.0)
    ran, waited, *_ = (int(number) / 1e9 for number in text.split())
    return _ThreadTimes(ran, waited)


def _blocking_frames(frame: FrameType) -> list[traceback.FrameSummary]:
    """The frames below the event loop, without the framework's own as far as there are others."""
    inner: list[traceback.FrameSummary] = []
    for each in traceback.extract_stack(frame):
        if each.filename.startswith(_ASYNCIO):
            inner = []
        else:
            inner.append(each)
    users = [each for each in inner if not each.filename.startswith((_MICRO, _PLUGINS))]
    return users or inner[-_MAX_OWN_FRAMES:]


@contextmanager
def watch_loop(threshold: float) -> Iterator[Watchdog | None]:
    """Watch the running loop inside a block; a threshold of 0 watches nothing."""
    if threshold <= 0:
        yield None
        return
    watchdog = Watchdog(asyncio.get_running_loop(), threshold)
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.stop()
