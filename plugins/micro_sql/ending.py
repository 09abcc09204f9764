"""Opening and closing connections that must not be cancelled half-way."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from micro.scope import open_scope

__all__ = ["to_its_end"]

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Run something short to its end, and only then pass on a cancellation.

    When opening or closing is cancelled, aiosqlite leaves a thread behind.
    """
    cancelled: asyncio.CancelledError | None = None
    async with open_scope() as scope:
        task = scope.start(work)
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled
    result: T = task.result()
    return result
