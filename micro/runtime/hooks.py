"""Start and stop hooks: in order, named, and undone when a later one fails."""

from __future__ import annotations

import asyncio
import inspect
import logging

from micro.handlers.annotations import location_of
from micro.handlers.definition import Hook, ServiceDefinition
from micro.runtime.signals import interruptible
from micro.runtime.steps import Steps

__all__ = ["Hooks"]

_log = logging.getLogger("micro.service")

MIN_HOOK_SECONDS = 2.0
"""What a stop hook gets even when `shutdown_timeout` is over."""


class Hooks:
    """The hooks of one run.

    Args:
        definition: Has the hooks.
        steps: Is told which hook runs.

    Attributes:
        begun: Start hooks have begun to run, and stop hooks have not run since.
    """

    def __init__(self, definition: ServiceDefinition, steps: Steps) -> None:
        self.begun: bool = False
        self._definition = definition
        self._steps = steps

    async def start(self) -> None:
        """Run the start hooks in order; the error of one is raised."""
        for hook in self._definition.start_hooks:
            self.begun = True
            with self._steps.step(f"start hook {location_of(hook)}"):
                # A plain function blocks the event loop, which therefore cannot cancel it.
                with interruptible():
                    result = hook()
                if inspect.isawaitable(result):
                    await result

    async def stop(self) -> list[str]:
        """Run the stop hooks in reverse, so that what was opened last is closed first.

        Returns:
            Those that did not end in time.
        """
        self.begun = False
        hooks = reversed(self._definition.stop_hooks)
        return [name for hook in hooks if (name := await self._stop(hook))]

    async def _stop(self, hook: Hook) -> str:
        name = f"stop hook {location_of(hook)}"
        timeout = max(self._steps.remaining(), MIN_HOOK_SECONDS)
        try:
            async with asyncio.timeout(timeout) as limit:
                with self._steps.step(name):
                    result = hook()
                    if inspect.isawaitable(result):
                        await result
        except Exception as error:
            # The user's own code at the very end: the parts must be closed all the same.
            if limit.expired() and isinstance(error, TimeoutError):
                _log.error("%s was still running after %gs", name, timeout)
                return name
            _log.exception("%s failed", name)
        return ""
