"""Several calls at once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable
from typing import Any, Literal, TypeVar, overload

from micro.errors import MicroError, UsageError
from micro.scope import open_scope

__all__ = ["GatherClient"]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
R = TypeVar("R")


class GatherClient:
    """The part of a client that makes several calls at once."""

    @overload
    @staticmethod
    async def gather(one: Awaitable[A], /, *, fail_fast: Literal[True] = ...) -> tuple[A]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A], two: Awaitable[B], /, *, fail_fast: Literal[True] = ...
    ) -> tuple[A, B]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A],
        two: Awaitable[B],
        three: Awaitable[C],
        /,
        *,
        fail_fast: Literal[True] = ...,
    ) -> tuple[A, B, C]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A],
        two: Awaitable[B],
        three: Awaitable[C],
        four: Awaitable[D],
        /,
        *,
        fail_fast: Literal[True] = ...,
    ) -> tuple[A, B, C, D]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[R],
        two: Awaitable[R],
        three: Awaitable[R],
        four: Awaitable[R],
        five: Awaitable[R],
        /,
        *calls: Awaitable[R],
        fail_fast: Literal[True] = ...,
    ) -> tuple[R, ...]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A], /, *, fail_fast: Literal[False]
    ) -> tuple[A | MicroError]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A], two: Awaitable[B], /, *, fail_fast: Literal[False]
    ) -> tuple[A | MicroError, B | MicroError]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A],
        two: Awaitable[B],
        three: Awaitable[C],
        /,
        *,
        fail_fast: Literal[False],
    ) -> tuple[A | MicroError, B | MicroError, C | MicroError]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[A],
        two: Awaitable[B],
        three: Awaitable[C],
        four: Awaitable[D],
        /,
        *,
        fail_fast: Literal[False],
    ) -> tuple[A | MicroError, B | MicroError, C | MicroError, D | MicroError]: ...

    @overload
    @staticmethod
    async def gather(
        one: Awaitable[R],
        two: Awaitable[R],
        three: Awaitable[R],
        four: Awaitable[R],
        five: Awaitable[R],
        /,
        *calls: Awaitable[R],
        fail_fast: Literal[False],
    ) -> tuple[R | MicroError, ...]: ...

    @staticmethod
    async def gather(*calls: Awaitable[Any], fail_fast: bool = True) -> tuple[Any, ...]:
        """Make several calls at once and wait for all; the results are in the order of the calls.

            stock, price = await client.gather(inventory.count(sku), catalog.price(sku))

        The caller's deadline holds for each of them.

        Args:
            *calls: Calls that were not awaited; of up to four each keeps its own type.
            fail_fast: Whether the first error cancels the other calls, at their nodes as well, and
                is raised. With `False` every call ends, and a `MicroError` stands in the place of
                its result; an error of another class is raised in any case.

        Raises:
            UsageError: one is nothing to await.
            MicroError: the first error of a call, with `fail_fast`.
        """
        try:
            for call in calls:
                if not inspect.isawaitable(call):
                    raise UsageError(f"gather() takes calls that were not awaited, got {call!r}")
            return await _gather(calls, fail_fast)
        finally:
            # A call that never began would warn that it was not awaited.
            for call in calls:
                if inspect.iscoroutine(call):
                    call.close()


async def _gather(calls: tuple[Awaitable[Any], ...], fail_fast: bool) -> tuple[Any, ...]:
    results: list[Any] = [None] * len(calls)

    async def run(place: int, call: Awaitable[Any]) -> None:
        try:
            results[place] = await call
        except MicroError as error:
            if fail_fast:
                raise
            results[place] = error

    async with open_scope() as scope:
        tasks = [scope.start(run(place, call)) for place, call in enumerate(calls)]
        if tasks:
            await asyncio.wait(tasks)
    return tuple(results)
