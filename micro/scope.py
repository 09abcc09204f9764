"""Ownership: a scope owns tasks, and a resource is closed by the block that opened it.

A scope ends when its tasks have ended; leaving it cancels them.

This is the only module that creates tasks; a test checks that. A task runs in the context that was
current when the scope was opened, not in that of the code that starts it: otherwise the deadline
and the trace of the first caller would stay in a background task.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, Self

__all__ = ["Resource", "Scope", "open_scope"]


class Resource(ABC):
    """Something that must be closed. Leaving it as an async context manager closes it."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Close it at once; a second call does nothing."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()


class Scope:
    """Tasks with one owner. Open it with `open_scope`."""

    __slots__ = ("_context", "_failed", "_loop", "_tasks")

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._context = copy_context()
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self, work: Coroutine[Any, Any, Any], *, name: str | None = None
    ) -> asyncio.Task[Any]:
        """Start a task; if it ends with an error, the error ends the scope."""
        task: asyncio.Task[Any] = self._loop.create_task(
            work, name=name, context=self._context.copy()
        )
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a short task that never raises, for work that is done once per message.

        The task must call `release` as the last thing it does. That saves a done callback, which
        would cost as much as the rest of its start.
        """
        task = asyncio.Task(work, loop=self._loop, name="call", context=self._context.copy())
        self._tasks.add(task)
        return task

    def release(self, task: asyncio.Task[Any]) -> None:
        """Forget a spawned task that is about to end."""
        self._tasks.discard(task)

    def cancel(self) -> None:
        """Cancel every task that runs now."""
        for task in self._tasks:
            task.cancel()

    async def settle(self, timeout: float | None = None) -> bool:
        """Wait until no task runs, at most `timeout` seconds; returns whether none runs."""
        loop = self._loop
        end = None if timeout is None else loop.time() + timeout
        while self._tasks:
            left = None if end is None else end - loop.time()
            if left is not None and left <= 0:
                return False
            done, _ = await asyncio.wait(self._tasks, timeout=left)
            # A spawned task that was cancelled before it began could not release itself.
            self._tasks -= done
        return True

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)


@asynccontextmanager
async def open_scope() -> AsyncIterator[Scope]:
    """Open a scope; leaving it cancels what still runs and waits until it has ended.

    The first error of a task cancels the block and is raised from it as it is.
    """
    owner = asyncio.current_task()
    assert owner is not None, "a scope is opened in a task"
    errors: list[BaseException] = []
    inside = True

    def failed(error: BaseException) -> None:
        errors.append(error)
        if inside and len(errors) == 1:
            owner.cancel()

    scope = Scope(failed)
    try:
        yield scope
    except asyncio.CancelledError:
        # The cancellation is ours only if a task failed and no other code has cancelled us.
        if not errors or owner.uncancel() > 0:
            raise
    finally:
        inside = False
        scope.cancel()
        await scope.settle()
    if errors:
        raise errors[0]
