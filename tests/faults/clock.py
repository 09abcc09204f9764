"""Time: a fault lasts, a load has a pace, and some news must be looked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from micro import MicroError

__all__ = ["lasts", "succeeds", "until"]


async def lasts(seconds: float) -> None:
    """Let time pass, for something to last or to keep a pace; never to wait for something."""
    await asyncio.sleep(seconds)


async def until(done: Callable[[], bool], timeout: float = 10.0, every: float = 0.01) -> float:
    """Poll until a condition holds that no event reports; the seconds that it took."""
    started = time.monotonic()
    async with asyncio.timeout(timeout):
        while not done():  # noqa: ASYNC110  no event reports it
            await asyncio.sleep(every)
    return time.monotonic() - started


async def succeeds(attempt: Callable[[], Awaitable[object]], timeout: float = 10.0) -> float:
    """Try until it works; the seconds that it took."""
    started = time.monotonic()
    async with asyncio.timeout(timeout):
        while True:
            try:
                await attempt()
            except MicroError:
                await asyncio.sleep(0.02)
            else:
                return time.monotonic() - started
