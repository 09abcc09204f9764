"""What every registry plugin needs: the newest set of a watch, and the check of its intervals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from micro.errors import ConfigError
from micro.registry.record import ServiceRecord

__all__ = ["LatestRecords", "check_interval"]


class LatestRecords(AsyncIterator[tuple[ServiceRecord, ...]]):
    """Iterates over the sets of a watch; a slow reader skips the sets in between.

    A set that equals the one given last is not given again.

    Args:
        current: The set to give first.
    """

    def __init__(self, current: tuple[ServiceRecord, ...] = ()) -> None:
        self._newest = current
        self._given: tuple[ServiceRecord, ...] | None = None
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, current: tuple[ServiceRecord, ...]) -> None:
        """Replace the newest set."""
        self._newest = current
        self._changed.set()

    def close(self) -> None:
        """End the iteration; a set that was not given yet is dropped."""
        self._closed = True
        self._changed.set()

    async def __anext__(self) -> tuple[ServiceRecord, ...]:
        while not self._closed:
            self._changed.clear()
            if self._newest != self._given:
                self._given = self._newest
                return self._newest
            await self._changed.wait()
        raise StopAsyncIteration


def check_interval(*, ttl: float, interval: float) -> None:
    """Check how often a registration announces itself.

    Args:
        ttl: Seconds after which others forget a node that was not announced again.
        interval: Seconds between announcements.

    Raises:
        ConfigError: not 0 < interval < ttl.
    """
    if not 0 < interval < ttl:
        raise ConfigError(f"interval must be in 0 < interval < ttl={ttl!r}, got {interval!r}")
