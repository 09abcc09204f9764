"""A circuit breaker for one node: after a run of failures it is left alone for a while."""

from __future__ import annotations

import random
import time

from micro.telemetry.metrics import ClientCounters

__all__ = ["Breaker"]

_TRIP = 5
_COOL_DOWN = 1.0
_LONGEST = 30.0
_LONGEST_GONE = 2.0


class Breaker:
    """Counts failures in a row; the fifth opens it.

    While it is open the node gets no calls. After a cool-down, 1 s at first and doubled up to 30 s
    with jitter, one probe goes through: its success closes the breaker, its failure opens it again.
    For a node that is known to be gone it is 2 s at most.

    Args:
        counters: Where ejections are counted; its own when not given.

    Attributes:
        closed: Whether calls go through freely.
        failures: Failures in a row; the caller sets it to 0 through `success`.
        gone: Whether nobody was there: a call would fail for sure, so none is to be the probe.
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
        self.closed = True
        self.failures = 0
        self.gone = False
        self._open_until = 0.0
        self._cool_down = _COOL_DOWN
        self._probing = False

    def admits(self) -> bool:
        """Whether a call may go through now; a yes while it is open is the one probe."""
        if self.closed:
            return True
        if self._probing or time.monotonic() < self._open_until:
            return False
        self._probing = True
        return True

    def success(self) -> None:
        """A call was answered, be it with an error of the application's."""
        self.closed = True
        self.failures = 0
        self.gone = False
        self._open_until = 0.0
        self._cool_down = _COOL_DOWN
        self._probing = False

    def failure(self) -> None:
        """The node could not be reached, or did not answer in time."""
        self.failures += 1
        if self._probing or self.failures >= _TRIP:
            self._open()

    def eject(self) -> None:
        """Open at once: the node is known to be gone. Looking for it costs a ping and no call."""
        self.gone = True
        self._cool_down = min(self._cool_down, _LONGEST_GONE)
        self._open()

    def release(self) -> None:
        """The probe ended without telling anything: another may go."""
        self._probing = False

    def _open(self) -> None:
        now = time.monotonic()
        if now < self._open_until and not self._probing:
            return  # the same failure, told by another of the calls that were under way
        if self.closed:
            self._counters.ejections += 1
        self.closed = False
        self._probing = False
        self._open_until = now + self._cool_down * random.uniform(0.8, 1.2)
        self._cool_down = min(self._cool_down * 2, _LONGEST)
