"""What a service declares beside handlers: lifespans, its own settings, and background tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from pydantic import BaseModel

from micro.handlers.collector import Collector
from micro.handlers.definition import Runs
from micro.handlers.own_settings import OwnSettings
from micro.handlers.tasks import Restart

__all__ = ["Declarations"]

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)


class Declarations:
    """The part of a `Service` that declares what its handlers stand on."""

    name: str
    _collector: Collector
    _runs: Runs[Any]

    def lifespan(self, function: F) -> F:
        """Declare a lifespan: opened before the first request, closed after the last one.

        It is a generator function that yields its value once, async or not, or a function that
        returns it. Handlers, subscribers and providers ask for the value with
        `Annotated[T, Depends(function)]`. They are closed in reverse, also when the start fails.

        Raises:
            HandlerError: it cannot be one; the text says why.
            UsageError: the service is running.
        """
        # The caller's local types, which postponed annotations may name.
        self._collector.add_lifespan(function, sys._getframe(1).f_locals)
        return function

    def override(
        self, provider: Callable[..., Any], fake: Callable[..., Any]
    ) -> AbstractContextManager[None]:
        """Use `fake` in place of a provider while the block lasts, in every run of the service.

        For a lifespan the block begins before the run does; for others it holds at once.

        Args:
            provider: The function that `Depends()` was given.
            fake: Any function that could be a provider itself.

        Raises:
            HandlerError: no handler depends on `provider`, or `fake` cannot be a provider.
            UsageError: `provider` is a lifespan, and it is open already.
        """
        return self._collector.override(provider, fake, sys._getframe(1).f_locals)

    def start_task(
        self,
        function: Callable[..., Coroutine[Any, Any, object]],
        /,
        *,
        restart: Restart = "on-failure",
        max_restarts: int | None = None,
    ) -> None:
        """Run a coroutine function in the background, until the service has stopped its requests.

        Before a run it declares the task for every run, after the start hooks; in a hook or a
        handler it starts the task at once. A task that fails starts again after a pause of 0.1 s
        to 30 s; one that fails permanently makes the service not ready.

        Args:
            function: What to run; it may depend on lifespans and take a `Client`.
            restart: When to start it again.
            max_restarts: How many times in a row; a minute without failure begins a new row.

        Raises:
            HandlerError: the function or an option cannot be used.
            UsageError: a lifespan that it depends on is not open.
        """
        spec = self._collector.task(function, sys._getframe(1).f_locals, restart, max_restarts)
        if len(self._runs):
            self._runs.current(self.name).tasks.start(spec)
        else:
            self._collector.add_task(spec)

    def config(self, model: type[M], *, prefix: str | None = None) -> OwnSettings[M]:
        """Declare settings of the application: a pydantic model with a prefix of its own.

        With the prefix `points` its field `dsn` is the flag `--points-dsn`, `MICRO_POINTS_DSN`, and
        `dsn` in the table `[points]` of the file; the first of these that has it counts.

        Args:
            model: Its fields are the settings.
            prefix: `points` for a class `PointsSettings` when not given.

        Returns:
            A handle, whose `value` is the model while the service runs.

        Raises:
            ConfigError: another model has the prefix.
            UsageError: the model or the prefix cannot be used, or the service is running.
        """
        return self._collector.add_own_settings(model, prefix)
