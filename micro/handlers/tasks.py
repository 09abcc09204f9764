"""Background tasks of a service: what is run, and when it is started again."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from micro.errors import HandlerError
from micro.handlers.annotations import function_error
from micro.handlers.depends import Argument
from micro.handlers.providers import Providers

__all__ = ["Restart", "TaskSpec", "task_from_function"]

Restart = Literal["on-failure", "always", "never"]
"""When a background task is started again: after an error, whenever it ends, or not at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """A background task.

    Attributes:
        function: The user's coroutine function.
        arguments: What it is called with.
        restart: When it is started again.
        max_restarts: How many times in a row; `None` for no limit.
    """

    function: Callable[..., Coroutine[Any, Any, object]]
    arguments: tuple[Argument, ...]
    restart: Restart
    max_restarts: int | None


def task_from_function(
    function: Callable[..., Coroutine[Any, Any, object]],
    providers: Providers,
    localns: Mapping[str, Any],
    *,
    restart: Restart,
    max_restarts: int | None,
) -> TaskSpec:
    """Make a background task of a coroutine function.

    Args:
        function: What to run; it may depend on lifespans and take a `Client`.
        providers: What it can depend on.
        localns: The decorating frame's locals, for its annotations.
        restart: When it is started again.
        max_restarts: How many times in a row.

    Raises:
        HandlerError: the function or an option cannot be used.
    """
    if not inspect.iscoroutinefunction(function):
        what = "a coroutine function, without calling it"
        raise HandlerError(f"start_task() takes {what}, got {function!r}: write start_task(work)")
    if restart not in get_args(Restart):
        choices = ", ".join(map(repr, get_args(Restart)))
        raise function_error(function, f"restart must be one of {choices}, got {restart!r}")
    if max_restarts is not None and (type(max_restarts) is not int or max_restarts < 0):
        raise function_error(
            function, f"max_restarts must be at least 0, or None, got {max_restarts!r}"
        )
    return TaskSpec(
        function=function,
        arguments=providers.task_arguments(function, localns),
        restart=restart,
        max_restarts=max_restarts,
    )
