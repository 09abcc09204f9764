"""Calling handlers with what they depend on, and closing it before their answer is sent.

Everything that was opened is closed in reverse, whatever happens: after the handler's result, after
its error, which is thrown into it, and after a cancellation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from micro.context import Context
from micro.errors import HandlerError, UsageError
from micro.handlers.annotations import function_error, location_of
from micro.handlers.depends import Argument, Provider, Style
from micro.handlers.plans import Call, Plan, Planner, RunValues

__all__ = ["InThread", "Injected", "Opened", "ThreadBind", "close_opened", "open_provider"]

_log = logging.getLogger("micro.dependencies")

MAX_CLOSE_SECONDS = 5.0
"""For all dependencies of a call that failed or was cancelled, and of a stream, to close."""

MAX_THREAD_SECONDS = 10.0
"""How long a cancelled call waits for its thread, which still uses what was opened for it."""

InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in a thread and waits for its result."""

ThreadBind = Callable[[Any, Context, InThread], Awaitable[Any]]
"""Calls a plain `def` handler with `(request, context)`, in a thread."""

Opened = list[tuple[Any, Provider]]
"""Generators that were opened, in order."""


# A member of an enumeration costs ten times as much to look up in Python 3.11.
_FUNCTION, _COROUTINE, _ASYNC_GENERATOR = Style.FUNCTION, Style.COROUTINE, Style.ASYNC_GENERATOR


class Injected:
    """A handler with what it depends on; it can be called once `resolve` has been.

    Args:
        function: The user's function, or bound method.
        arguments: What it is called with.
    """

    __slots__ = ("_arguments", "_function", "_plan")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Argument, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._plan: Plan

    def resolve(self, values: RunValues) -> Injected:
        """This handler with the values of a run.

        Raises:
            UsageError: a lifespan is not open.
        """
        resolved = Injected(self._function, self._arguments)
        resolved.refresh(values)
        return resolved

    def refresh(self, values: RunValues) -> None:
        """Plan again, because what overrides a provider has changed."""
        self._plan = Planner(values).plan(self._function, self._arguments)

    async def unary(self, request: Any, context: Context) -> Any:
        """Call a coroutine function."""
        plan = self._plan
        values = plan.fixed.copy()
        values[0], values[1] = request, context
        opened: Opened = []
        generator = None
        try:
            if plan.single is not None:
                # As `_open` and `close_opened` do it; their coroutines cost as much as the rest.
                call, provider = plan.single
                generator = call(values)
                try:
                    values.append(await generator.__anext__())
                except StopAsyncIteration:
                    raise _yielded_nothing(provider) from None
                opened.append((generator, provider))
            elif plan.steps:
                await _open(plan, values, opened)
            result = await plan.call(values)
        except BaseException as error:
            if (failure := await _fail(opened, error)) is error:
                raise
            raise failure  # noqa: B904  the handler's error is its context
        if generator is None:
            if opened:
                await close_opened(opened)
            return result
        try:
            await generator.__anext__()
        except StopAsyncIteration:
            return result
        raise await _yielded_twice(generator, provider)

    async def stream(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """Call an async generator function; dependencies are closed after its last item."""
        plan = self._plan
        values = plan.fixed.copy()
        values[0], values[1] = request, context
        opened: Opened = []
        try:
            await _open(plan, values, opened)
            async with aclosing(plan.call(values)) as items:
                async for item in items:
                    yield item
        except BaseException as error:
            if (failure := await _fail(opened, error)) is error:
                raise
            raise failure  # noqa: B904  the handler's error is its context
        # A stream has no deadline, as a rule, that would bound this.
        async with asyncio.timeout(MAX_CLOSE_SECONDS):
            await close_opened(opened)

    async def threaded(self, request: Any, context: Context, in_thread: InThread) -> Any:
        """Call a plain function in a thread; what it depends on is opened and closed here."""
        plan = self._plan
        values = plan.fixed.copy()
        values[0], values[1] = request, context
        opened: Opened = []
        try:
            await _open(plan, values, opened)
            result = await _run_in_thread(in_thread, partial(plan.call, values))
        except BaseException as error:
            if (failure := await _fail(opened, error)) is error:
                raise
            raise failure  # noqa: B904  the handler's error is its context
        await close_opened(opened)
        return result

    def unresolved(self, *_: object) -> Any:
        """Refuse a call, because no run has given what the handler depends on.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"{location_of(self._function)}: it has dependencies, and the service that gives them"
            " does not run"
        )


async def open_provider(call: Call, provider: Provider, values: list[Any], opened: Opened) -> Any:
    """Call a provider and return its value; a generator that has to be closed is added."""
    style = provider.style
    made = call(values)
    if style is _FUNCTION:
        return made
    if style is _COROUTINE:
        return await made
    return await _first_value(made, provider, opened)


async def _first_value(made: Any, provider: Provider, opened: Opened) -> Any:
    try:
        if provider.style is _ASYNC_GENERATOR:
            value = await made.__anext__()
        else:
            value = next(made)
    except (StopAsyncIteration, StopIteration):
        raise _yielded_nothing(provider) from None
    opened.append((made, provider))
    return value


async def _open(plan: Plan, values: list[Any], opened: Opened) -> None:
    for call, provider in plan.steps:
        style = provider.style
        made = call(values)
        if style is _FUNCTION:
            values.append(made)
        elif style is _COROUTINE:
            values.append(await made)
        elif style is _ASYNC_GENERATOR:
            # As `_first_value`, without a coroutine of its own for each call.
            try:
                values.append(await made.__anext__())
            except StopAsyncIteration:
                raise _yielded_nothing(provider) from None
            opened.append((made, provider))
        else:
            values.append(await _first_value(made, provider, opened))


def _yielded_nothing(provider: Provider) -> HandlerError:
    return function_error(provider.function, "it ended without a 'yield' of its value")


async def close_opened(opened: Opened) -> None:
    """Close what was opened, in reverse; the error of one is thrown into the others and raised."""
    while opened:
        generator, provider = opened.pop()
        try:
            if provider.style is _ASYNC_GENERATOR:
                await generator.__anext__()
            else:
                next(generator)
        except (StopAsyncIteration, StopIteration):
            continue
        except BaseException as error:
            if (failure := await _fail(opened, error)) is error:
                raise
            raise failure  # noqa: B904  the first error is its context
        raise await _fail(opened, await _yielded_twice(generator, provider))


async def _yielded_twice(generator: Any, provider: Provider) -> HandlerError:
    if provider.style is _ASYNC_GENERATOR:
        await generator.aclose()
    else:
        generator.close()
    return function_error(provider.function, "it yields a second time; a provider yields once")


async def _fail(opened: Opened, error: BaseException) -> BaseException:
    """Throw an error into all that was opened, in reverse; returns the error of the call.

    That is the one that was thrown, unless closing raised another. A cancellation stays one.
    """
    if not opened or (isinstance(error, GeneratorExit) and not _loop_runs()):
        return error
    end = asyncio.get_running_loop().time() + MAX_CLOSE_SECONDS
    while opened:
        generator, provider = opened.pop()
        try:
            async with asyncio.timeout_at(end) as limit:
                if provider.style is _ASYNC_GENERATOR:
                    await generator.athrow(error)
                else:
                    generator.throw(error)
                await _yielded_twice(generator, provider)
        except (StopAsyncIteration, StopIteration):
            continue  # It handled the error; the call fails all the same.
        except BaseException as failure:
            error = _worse(error, failure, provider, expired=limit.expired())
    return error


def _worse(
    error: BaseException, failure: BaseException, provider: Provider, *, expired: bool
) -> BaseException:
    """Which of two errors is the call's: the one thrown into a provider, or the one it raised."""
    if failure is error:
        return error
    if expired:
        where = location_of(provider.function)
        _log.error("%s did not close within %g s", where, MAX_CLOSE_SECONDS)
        return error
    if isinstance(failure, Exception) and not isinstance(error, Exception):
        _log.error("%s failed to close", location_of(provider.function), exc_info=failure)
        return error
    return failure


def _loop_runs() -> bool:
    """Whether this code runs in an event loop, and not because its coroutine is discarded."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def _run_in_thread(in_thread: InThread, work: Callable[[], Any]) -> Any:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def work_and_tell() -> Any:
        try:
            return work()
        finally:
            loop.call_soon_threadsafe(ended.set)

    try:
        return await in_thread(work_and_tell)
    except asyncio.CancelledError:
        # A thread cannot be cancelled: it goes on to use what was opened for it.
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_THREAD_SECONDS):
                await ended.wait()
        raise
