"""A bounded pool of threads for plain `def` handlers.

A thread cannot be cancelled: what runs in one goes on when its call has ended. The pool knows what
that is, so that a stop can wait for it and name it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

__all__ = ["Threads"]


class Threads:
    """Threads of one server or one set of subscribers.

    Args:
        most: How many run at once; more wait.
        name: What the threads are called.
    """

    def __init__(self, most: int, name: str) -> None:
        self._pool = ThreadPoolExecutor(most, name)
        self._loop = asyncio.get_running_loop()
        self._running: Counter[str] = Counter()
        self._idle = asyncio.Event()

    @property
    def running(self) -> list[str]:
        """The labels of what runs or waits now, sorted."""
        return sorted(self._running)

    async def run(self, label: str, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in a thread, in a copy of this task's context, and wait for its result.

        Cancelling the wait does not end the function.
        """
        work = self._pool.submit(copy_context().run, function, *args)
        self._running[label] += 1
        work.add_done_callback(lambda done: self._tell(label, done))
        return await asyncio.wrap_future(work)

    async def settle(self, timeout: float) -> list[str]:
        """Wait until nothing runs, at most `timeout` seconds; returns what still does."""
        self._idle.clear()
        if self._running:
            waiter = self._idle.wait()
            try:
                await asyncio.wait_for(waiter, timeout)
            except TimeoutError:
                return self.running
        return []

    def close(self) -> None:
        """Start nothing more; threads that run are left to themselves."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _tell(self, label: str, _done: Future[Any]) -> None:
        try:
            self._loop.call_soon_threadsafe(self._ended, label)
        except RuntimeError:
            return  # the loop is closed, and nobody counts any more

    def _ended(self, label: str) -> None:
        self._running[label] -= 1
        if self._running[label] <= 0:
            del self._running[label]
        if not self._running:
            self._idle.set()
