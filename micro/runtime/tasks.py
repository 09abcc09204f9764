"""The background tasks of one run: started again when they fail, ended when the service stops."""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import AsyncExitStack

from micro.errors import Unavailable, UsageError
from micro.handlers.annotations import location_of
from micro.handlers.plans import Plan, Planner, RunValues
from micro.handlers.tasks import TaskSpec
from micro.scope import Scope, open_scope

__all__ = ["Tasks"]

_log = logging.getLogger("micro.service")

FIRST_PAUSE_SECONDS = 0.1
MAX_PAUSE_SECONDS = 30.0
HEALTHY_SECONDS = 60.0
"""A task that ran for this long begins to count its restarts anew."""


class Tasks:
    """The background tasks of one run. Use `open` and `stop` inside the run.

    Args:
        service: The service's name, for errors.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._scope: Scope | None = None
        self._values: RunValues
        self._dead: dict[str, str] = {}
        self._running: list[str] = []

    async def open(self, values: RunValues, stack: AsyncExitStack) -> None:
        """Open the scope in which tasks run.

        Args:
            values: What tasks can depend on.
            stack: Closes the scope, after `stop`.
        """
        self._values = values
        self._scope = await stack.enter_async_context(open_scope())

    def start(self, spec: TaskSpec) -> None:
        """Start a task.

        Raises:
            UsageError: the service is not started yet, or it has stopped its tasks.
        """
        name = location_of(spec.function)
        if self._scope is None:
            raise UsageError(
                f"{name}: no task can be started now, because {self._service} opens its lifespans"
                " or has stopped; call start_task() in a hook or a handler"
            )
        plan = Planner(self._values).plan(spec.function, spec.arguments)
        self._scope.start(self._supervise(spec, name, plan), name=name)

    def check(self) -> None:
        """Return if no task has failed permanently.

        Raises:
            Unavailable: one has; the text names it and its error.
        """
        for name, problem in self._dead.items():
            raise Unavailable(
                f"background task {name} of {self._service} failed permanently: {problem}",
                id=self._service,
            )

    async def stop(self, timeout: float) -> list[str]:
        """Cancel all tasks, and wait until they have ended, at most `timeout` seconds.

        Returns:
            Those that had not ended by then.
        """
        scope, self._scope = self._scope, None
        if scope is None:
            return []
        scope.cancel()
        late = [] if await scope.settle(timeout) else sorted(self._running)
        for name in late:
            _log.error("background task %s was still running after %gs", name, timeout)
        return late

    async def _supervise(self, spec: TaskSpec, name: str, plan: Plan) -> None:
        self._running.append(name)
        try:
            await self._restart(spec, name, plan)
        finally:
            self._running.remove(name)

    async def _restart(self, spec: TaskSpec, name: str, plan: Plan) -> None:
        """Run a task again and again, as its `restart` says."""
        loop = asyncio.get_running_loop()
        restarts = 0
        while True:
            began = loop.time()
            error = await _run_once(plan)
            if error is None and spec.restart != "always":
                return
            if loop.time() - began >= HEALTHY_SECONDS:
                restarts = 0
            limit = 0 if spec.restart == "never" else spec.max_restarts
            if error is not None and limit is not None and restarts >= limit:
                self._dead[name] = f"{type(error).__name__}: {error}"
                _log.critical("background task %s failed permanently", name, exc_info=error)
                return
            pause = FIRST_PAUSE_SECONDS * 2.0 ** min(restarts, 16)
            pause = min(pause, MAX_PAUSE_SECONDS) * random.uniform(0.75, 1.25)
            restarts = 0 if error is None else restarts + 1
            if error is not None:
                _log.error(
                    "background task %s failed; it starts again in %.1f s",
                    *(name, pause),
                    exc_info=error,
                )
            await asyncio.sleep(pause)


async def _run_once(plan: Plan) -> BaseException | None:
    """Run a task to its end; returns the error that ended it."""
    task = asyncio.current_task()
    assert task is not None, "it runs in a task of the scope"
    try:
        await plan.call(plan.fixed)
    except asyncio.CancelledError as error:
        if task.cancelling():
            raise
        return error  # The user's code awaited something that was cancelled.
    except (Exception, SystemExit) as error:
        # The boundary of a user's function: the supervisor decides what follows.
        return error
    return None
