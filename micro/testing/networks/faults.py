"""Faults that a test puts into its network: errors, delays and losses."""

from __future__ import annotations

import asyncio
from typing import Any, Self

from micro.errors import UsageError
from micro.names import topic_matches
from micro.settings.kinds import read_duration

__all__ = ["Fault", "Faults"]


class Fault:
    """One fault in a test network; `Network.fault` makes it.

    As a context manager it is removed at the end of the block.

    Attributes:
        hits: How often it happened.
    """

    def __init__(
        self,
        faults: Faults,
        target: str,
        *,
        error: BaseException | None,
        delay: float,
        drop: bool,
        times: int | None,
        service: str,
    ) -> None:
        self.hits: int = 0
        self.target = target
        self.service = service
        self.delay = delay
        self._faults = faults
        self._error = error
        self._drop = drop
        self._times = times

    def remove(self) -> None:
        """End it; a second call does nothing."""
        self._faults.remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()

    @property
    def is_drop(self) -> bool:
        """Whether what it hits is lost."""
        return self._drop

    def hit(self) -> None:
        """Count one hit; the last of `times` removes it."""
        self.hits += 1
        if self._times is not None and self.hits >= self._times:
            self.remove()

    def fail(self) -> None:
        """Raise the error, if it has one."""
        if self._error is not None:
            raise self._error.with_traceback(None)


class Faults:
    """All faults of one network."""

    def __init__(self) -> None:
        self._active: list[Fault] = []

    def add(
        self,
        target: str,
        *,
        error: object,
        delay: object,
        drop: bool,
        times: object,
        service: str,
    ) -> Fault:
        """Add a fault.

        Raises:
            UsageError: an argument makes no sense; the text says what to write.
        """
        if error is None and delay is None and not drop:
            raise UsageError(f"fault({target!r}) does nothing: give it error=, delay= or drop=True")
        if drop and error is not None:
            raise UsageError(f"fault({target!r}): give it error= or drop=True, not both")
        fault = Fault(
            self,
            target,
            error=_error(error),
            delay=_seconds(delay),
            drop=drop,
            times=_times(times),
            service=service,
        )
        self._active.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """End a fault."""
        if fault in self._active:
            self._active.remove(fault)

    async def hit_call(self, service: str, endpoint: str) -> None:
        """Let a call to a service run into its faults, in the order in which they were added."""
        name = f"{service}.{endpoint}"
        for fault in tuple(self._active):
            if fault.target in (name, service) and not fault.service:
                await _happen(fault)

    async def hit_handling(self, service: str, topic: str) -> None:
        """Let the handling of an event by a service run into its faults."""
        for fault in tuple(self._active):
            if fault.service == service and topic_matches(fault.target, topic):
                await _happen(fault)

    def hit_publishing(self, topic: str) -> tuple[float, bool]:
        """Let an event that is published run into its faults.

        Returns:
            Seconds until it goes on its way, and whether it is lost.
        """
        delay, lost = 0.0, False
        for fault in tuple(self._active):
            if not fault.service and topic_matches(fault.target, topic):
                fault.hit()
                fault.fail()
                delay += fault.delay
                lost = lost or fault.is_drop
        return delay, lost


async def _happen(fault: Fault) -> None:
    fault.hit()
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.is_drop:
        # No answer: the deadline of the call, or the end of the network, cancels this.
        await asyncio.Event().wait()
    fault.fail()


def _error(error: object) -> BaseException | None:
    if isinstance(error, type):
        raise UsageError(f"fault(): error is a value: write error={error.__name__}('...')")
    if error is not None and not isinstance(error, BaseException):
        raise UsageError(f"fault(): error must be an exception, got {error!r}")
    return error


def _seconds(delay: Any) -> float:
    if delay is None:
        return 0.0
    try:
        return read_duration(delay)
    except ValueError as error:
        raise UsageError(f"fault(): delay={delay!r}: {error}; write delay='50ms'") from None


def _times(times: object) -> int | None:
    if times is not None and (type(times) is not int or times < 1):
        raise UsageError(f"fault(): times must be at least 1, or None, got {times!r}")
    return times
