"""Runs coroutines on an event loop for code in other threads, which waits for their results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextvars import Context, copy_context
from typing import Any, Generic, TypeVar

from micro.errors import Cancelled, UsageError
from micro.scope import Scope

__all__ = ["Bridge"]

R = TypeVar("R")

_CHECK_SECONDS = 1.0
"""How often a thread that waits looks whether the event loop is still there."""


class Bridge:
    """The way from other threads to the event loop that makes it. Any number of threads may use it.

    A coroutine sees the context variables of the thread that waits for it: its deadline, its trace
    and the service that it belongs to.

    Args:
        scope: Where the coroutines run.
    """

    def __init__(self, scope: Scope) -> None:
        self._loop = asyncio.get_running_loop()
        self._scope = scope
        self._closed = False

    def run(self, make: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Run a coroutine on the loop, and wait for its result in this thread.

        An exception in the wait, such as Ctrl-C, cancels it.

        Args:
            make: Makes the coroutine; called on the loop.

        Raises:
            UsageError: this thread runs an event loop, which would stand still; or the loop or its
                client is closed.
            Cancelled: the client was closed in the meantime.
        """
        if asyncio._get_running_loop() is not None:
            raise UsageError(
                "a synchronous client would stop the event loop of this thread: in an 'async def'"
                " await the call of the asynchronous client"
            )
        job = _Job(make, copy_context())
        try:
            self._loop.call_soon_threadsafe(self._begin, job)
        except RuntimeError:
            raise UsageError("the client is closed") from None
        try:
            return self._wait(job.future)
        finally:
            if not job.future.done() and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(job.cancel)

    def close(self) -> None:
        """Begin nothing more; called on the loop, which cancels what runs."""
        self._closed = True

    def _begin(self, job: _Job[Any]) -> None:
        if self._closed:
            job.future.set_exception(UsageError("the client is closed"))
        else:
            job.begin(self._scope)

    def _wait(self, future: Future[R]) -> R:
        while True:
            try:
                return future.result(_CHECK_SECONDS)
            except TimeoutError:
                if future.done():
                    return future.result()
                if self._loop.is_closed():
                    raise UsageError("the client is closed") from None


class _Job(Generic[R]):
    """One coroutine for another thread; all but the future belongs to the loop."""

    __slots__ = ("_context", "_make", "_task", "future")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, R]], context: Context) -> None:
        self.future: Future[R] = Future()
        self._make = make
        self._context = context
        self._task: asyncio.Task[Any] | None = None

    def begin(self, scope: Scope) -> None:
        """Start the coroutine, in the scope that cancels it when the client closes."""
        self._task = scope.start(self._run())
        self._task.add_done_callback(self._ended)

    def cancel(self) -> None:
        """Cancel the coroutine: no one waits for it any more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        # A task of a scope has the scope's context; the thread's own goes on top of it.
        for variable, value in self._context.items():
            variable.set(value)
        try:
            self.future.set_result(await self._make())
        except Exception as error:
            # The boundary to the other thread, where it is raised.
            self.future.set_exception(error)

    def _ended(self, _task: asyncio.Task[Any]) -> None:
        if not self.future.done():
            self.future.set_exception(Cancelled("the client was closed", id="micro.client"))
