"""The moment by which an answer is wanted, on the monotonic clock."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import NamedTuple

__all__ = ["Deadline", "ambient_deadline"]


class Deadline(NamedTuple):
    """A point in time; only what remains of it ever crosses the wire.

    Attributes:
        at: Seconds on `time.monotonic()`, so a change of the wall clock does not move it.
    """

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; zero or less once it has passed."""
        return self.at - time.monotonic()

    def tighter(self, other: Deadline | None) -> Deadline:
        """The earlier of the two."""
        return self if other is None or self.at <= other.at else other


ambient_deadline: ContextVar[Deadline | None] = ContextVar("micro_deadline", default=None)
"""The deadline of the call or event that is being handled; nested calls inherit it."""
