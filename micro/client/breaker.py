"""A circuit breaker for one node: after several failures in a row it gets no calls for a while."""

from __future__ import annotations

import random
import time
from enum import StrEnum

from micro.telemetry.metrics import ClientCounters

__all__ = ["Breaker", "BreakerState"]

_FAILURES_TO_OPEN = 5
_COOL_DOWN_SECONDS = 1.0
_MAX_COOL_DOWN_SECONDS = 30.0
_MAX_GONE_COOL_DOWN_SECONDS = 2.0


class BreakerState(StrEnum):
    """Whether a node gets calls."""

    CLOSED = "closed"
    """It gets calls."""
    OPEN = "open"
    """It gets none until its cool-down is over."""
    HALF_OPEN = "half-open"
    """Its cool-down is over: one probe decides."""


class Breaker:
    """Counts failures in a row; the fifth opens it.

    While it is open the node gets no calls. After a cool-down, 1 s at first and doubled up to 30 s
    with jitter, one probe goes through: its success closes the breaker, its failure opens it again.
    For a node that is known to be gone it is 2 s at most.

    Args:
        counters: Where ejections are counted; its own when not given.

    Attributes:
        closed: Whether calls go through freely.
        failures: Failures in a row.
        gone: Whether no one listened there: a call would surely fail, so none is the probe.
    """

    __slots__ = (
        "_cool_down",
        "_counters",
        "_open_until",
        "_probing",
        "closed",
        "failures",
        "gone",
    )

    def __init__(self, counters: ClientCounters | None = None) -> None:
        self._counters = counters or ClientCounters()
        self.closed: bool = True
        self.failures: int = 0
        self.gone: bool = False
        self._open_until = 0.0
        self._cool_down = _COOL_DOWN_SECONDS
        self._probing = False

    @property
    def state(self) -> BreakerState:
        """The present state."""
        if self.closed:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if self._is_cool() else BreakerState.OPEN

    def admits(self) -> bool:
        """Whether a call may go through now; true for an open breaker starts the one probe."""
        if self.closed:
            return True
        if self._probing or not self._is_cool():
            return False
        self._probing = True
        return True

    def success(self) -> None:
        """Close: the node answered, possibly with an error."""
        self.closed = True
        self.failures = 0
        self.gone = False
        self._open_until = 0.0
        self._cool_down = _COOL_DOWN_SECONDS
        self._probing = False

    def failure(self) -> None:
        """Count a failure: the node could not be reached, or did not answer in time."""
        self.failures += 1
        if self._probing or self.failures >= _FAILURES_TO_OPEN:
            self._open()

    def suspend(self) -> None:
        """Open at once, with growing cool-downs: the node has never answered."""
        self.failures += 1
        self._open()

    def eject(self) -> None:
        """Open at once: the node is known to be gone. To look for it costs a ping and no call."""
        self.gone = True
        self._cool_down = min(self._cool_down, _MAX_GONE_COOL_DOWN_SECONDS)
        self._open()

    def release(self) -> None:
        """End a probe without a result: another may go."""
        self._probing = False

    def _is_cool(self) -> bool:
        return time.monotonic() >= self._open_until

    def _open(self) -> None:
        if not self._probing and not self._is_cool():
            return  # the same failure, reported by another of the calls in flight
        if self.closed:
            self._counters.ejections += 1
        self.closed = False
        self._probing = False
        self._open_until = time.monotonic() + self._cool_down * random.uniform(0.8, 1.2)
        self._cool_down = min(self._cool_down * 2, _MAX_COOL_DOWN_SECONDS)
