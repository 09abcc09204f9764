"""A bounded pool of threads for plain `def` handlers.

A thread cannot be cancelled: its function goes on when the call has ended. The pool knows which
functions run, so that a stop can wait for them and the log can name them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

__all__ = ["Threads"]

_log = logging.getLogger("micro.threads")
_WARN_EVERY_SECONDS = 1.0


class Threads:
    """Threads of one server or one set of subscribers.

    Args:
        limit: How many run at once; more wait, so bound them with a `Limiter` of this limit.
        name: What the threads are called.
    """

    def __init__(self, limit: int, name: str) -> None:
        self.limit = limit
        self._pool = ThreadPoolExecutor(limit, name)
        self._loop = asyncio.get_running_loop()
        self._running: Counter[str] = Counter()
        self._idle = asyncio.Event()
        self._warned_at = 0.0

    @property
    def running(self) -> list[str]:
        """The labels of what runs or waits now, sorted."""
        return sorted(self._running)

    async def run(
        self,
        label: str,
        function: Callable[..., Any],
        *args: Any,
        ended: Callable[[], None] | None = None,
    ) -> Any:
        """Run a function in a thread, in a copy of this task's context, and wait for its result.

        Cancelling the wait does not end the function; the log names it then.

        Args:
            label: What the function is called in the log.
            function: What to run.
            *args: Its arguments.
            ended: Called on the event loop when the function has ended, waited for or not.
        """
        work = _Work(copy_context(), function, args, self._loop.create_future())
        self._pool.submit(self._work, label, work, ended)
        self._running[label] += 1
        try:
            result, error = await work.outcome
        except asyncio.CancelledError:
            self._warn(label, work)
            raise
        if error is not None:
            raise error
        return result

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

    def _work(self, label: str, work: _Work, ended: Callable[[], None] | None) -> None:
        outcome = work.run()
        try:
            self._loop.call_soon_threadsafe(self._finish, label, work, outcome, ended)
        except RuntimeError:
            return  # the loop is closed, and nothing is counted any more

    def _finish(
        self, label: str, work: _Work, outcome: _Outcome, ended: Callable[[], None] | None
    ) -> None:
        self._running[label] -= 1
        if self._running[label] <= 0:
            del self._running[label]
        if not self._running:
            self._idle.set()
        if not work.outcome.done():
            work.outcome.set_result(outcome)
        if ended is not None:
            ended()

    def _warn(self, label: str, work: _Work) -> None:
        now = time.monotonic()
        if not work.ident or now - self._warned_at < _WARN_EVERY_SECONDS:
            return
        self._warned_at = now
        _log.warning(
            "%s still runs in its thread though its call has ended; %d of %d threads are taken. "
            "It is here:\n%s",
            label,
            self._running.total(),
            self.limit,
            work.stack(),
        )


_Outcome = tuple[Any, BaseException | None]


class _Work:
    """A function on its way through a thread.

    Its outcome is a value, even if it is an exception: a future refuses a StopIteration, and a
    SystemExit set on one would end the event loop.
    """

    __slots__ = ("_args", "_context", "_function", "ident", "outcome")

    def __init__(
        self,
        context: Context,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        outcome: asyncio.Future[_Outcome],
    ) -> None:
        self._context = context
        self._function = function
        self._args = args
        self.outcome = outcome
        self.ident = 0

    def run(self) -> _Outcome:
        """Run the function in this thread; never raises."""
        self.ident = threading.get_ident()
        try:
            return self._context.run(self._function, *self._args), None
        except BaseException as error:
            # The boundary of a user's function: what it raises is raised where it is awaited.
            return None, error
        finally:
            self.ident = 0

    def stack(self) -> str:
        """Where the function is now, without the frames of the pool."""
        frame = sys._current_frames().get(self.ident)
        if frame is None:
            return "unknown"
        frames = traceback.extract_stack(frame)
        own = max((i for i, each in enumerate(frames) if each.filename == __file__), default=-1)
        return "".join(traceback.format_list(frames[own + 1 :])).rstrip()
