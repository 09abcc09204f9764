"""Steps of a start or a stop: each has a name and a bound, and is named when it takes long."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager

from micro.errors import MicroError

__all__ = ["Steps"]

_log = logging.getLogger("micro.service")

SLOW_STEP_SECONDS = 2.0
MIN_STEP_SECONDS = 0.5


class Steps:
    """What a service does at the moment, for the log and for errors.

    Attributes:
        current: The step that is under way, in words; the last one when none is.
    """

    def __init__(self) -> None:
        self.current: str = "not started"
        self._deadline = time.monotonic()
        self._unanswered = False

    def begin_stop(self, timeout: float) -> None:
        """Give all steps of a stop together `timeout` seconds, and each one 0.5 s at least."""
        self._deadline = time.monotonic() + timeout

    def remaining(self) -> float:
        """Seconds until the stop should have ended; never negative."""
        return max(0.0, self._deadline - time.monotonic())

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Name what the block does, and log the name if that takes longer than 2 s."""
        self.current = name
        slow = asyncio.get_running_loop().call_later(
            SLOW_STEP_SECONDS, _log.warning, "still waiting for %s", name
        )
        try:
            yield
        finally:
            slow.cancel()

    async def attempt(self, name: str, work: Awaitable[object], timeout: float) -> bool:
        """Await a step of the stop; whether it succeeded in time. A failure is logged, not raised.

        A server that cannot be reached must not keep the other steps from running. Once it has
        left one step without an answer, the next ones wait for 0.5 s only.
        """
        left = MIN_STEP_SECONDS if self._unanswered else self.remaining()
        timeout = min(timeout, max(left, MIN_STEP_SECONDS))
        try:
            async with asyncio.timeout(timeout) as limit:
                with self.step(name):
                    await work
        except TimeoutError:
            if not limit.expired():
                raise
            self._unanswered = True
            _log.warning("%s did not end within %.1f s", name, timeout)
        except MicroError as error:
            _log.warning("%s failed: %s", name, error)
        else:
            return True
        return False
