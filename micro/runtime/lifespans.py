"""The lifespans of one run: opened before its hooks, closed after them, in reverse."""

from __future__ import annotations

import asyncio
import logging

from micro.handlers.annotations import location_of
from micro.handlers.depends import Provider
from micro.handlers.injection import Opened, close_opened, open_provider
from micro.handlers.plans import Planner, RunValues
from micro.handlers.providers import Providers
from micro.runtime.steps import Steps

__all__ = ["Lifespans"]

_log = logging.getLogger("micro.service")

MIN_CLOSE_SECONDS = 2.0
"""What a lifespan gets to close even when `shutdown_timeout` is over."""


class Lifespans:
    """The lifespans of one run.

    Args:
        providers: Those of the service.
        steps: Is told which one is opened or closed.
    """

    def __init__(self, providers: Providers, steps: Steps) -> None:
        self._providers = providers
        self._steps = steps
        self._opened: Opened = []

    async def open(self, run: object) -> RunValues:
        """Open all in the order in which they were declared, each after what it depends on.

        Those that were opened before one failed stay open until `close`.

        Args:
            run: What injected values are made of.

        Returns:
            Their values.
        """
        values = RunValues(self._providers, run)
        for lifespan in self._providers.lifespans.values():
            await self._open(lifespan, values, ())
        return values

    async def close(self) -> list[str]:
        """Close all in reverse; the error of one is logged.

        Returns:
            Those that did not close in time.
        """
        late = []
        while self._opened:
            if name := await self._close(*self._opened.pop()):
                late.append(name)
        return late

    async def _open(
        self, lifespan: Provider, values: RunValues, path: tuple[Provider, ...]
    ) -> None:
        used = self._providers.in_place_of(lifespan)
        if used in values or used in path:
            return  # A cycle is refused where the value that is missing is asked for.
        for argument in used.arguments:
            if isinstance(argument.source, Provider):
                await self._open(argument.source, values, (*path, used))
        plan = Planner(values).plan(used.called, used.arguments)
        with self._steps.step(f"lifespan {location_of(used.function)}"):
            value = await open_provider(plan.call, used, plan.fixed, self._opened)
        values.add(used, value)

    async def _close(self, generator: object, lifespan: Provider) -> str:
        name = f"lifespan {location_of(lifespan.function)}"
        timeout = max(self._steps.remaining(), MIN_CLOSE_SECONDS)
        try:
            async with asyncio.timeout(timeout) as limit:
                with self._steps.step(name):
                    await close_opened([(generator, lifespan)])
        except Exception as error:
            # The user's own code at the very end: the others must be closed all the same.
            if limit.expired() and isinstance(error, TimeoutError):
                _log.error("%s was still closing after %gs", name, timeout)
                return name
            _log.exception("%s failed to close", name)
        return ""
