"""Notices code that blocks the event loop, and says where it stands.

While the loop is blocked nothing is answered, and no task can say so: a thread watches it instead.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Watchdog", "watch_loop"]

_log = logging.getLogger("micro.watchdog")


class Watchdog:
    """Watches one event loop from a thread of its own.

    Args:
        loop: The loop; it runs in the thread that makes this object.
        threshold: Seconds that one step may take before its stack is logged, once for each stall.

    Attributes:
        stalls: How often that happened.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threshold: float) -> None:
        self.stalls = 0
        self._loop = loop
        self._threshold = threshold
        self._owner = threading.get_ident()
        self._beat = time.monotonic()
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
        asked = 0.0
        reported = True
        while not self._over.wait(self._threshold / 2):
            if self._beat >= asked:
                if not self._ask():
                    return
                asked = time.monotonic()
                reported = False
            elif not reported and time.monotonic() - asked >= self._threshold:
                reported = True
                self._report(time.monotonic() - asked)

    def _ask(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:
            return False  # the loop is closed
        return True

    def _answer(self) -> None:
        self._beat = time.monotonic()

    def _report(self, seconds: float) -> None:
        self.stalls += 1
        frame = sys._current_frames().get(self._owner)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else "unknown\n"
        _log.warning(
            "the event loop has been blocked for %.0f ms; use 'async' calls, or a plain 'def' "
            "handler, which runs in a thread. It stands here:\n%s",
            seconds * 1000,
            stack.rstrip(),
        )


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
