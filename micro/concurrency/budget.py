"""A bound on bytes that are held in memory, for one peer or for the whole process."""

from __future__ import annotations

from functools import cache

__all__ = ["PROCESS_BUDGET_BYTES", "ByteBudget", "process_budget"]

PROCESS_BUDGET_BYTES = 256 << 20
"""Bytes that partial, queued and decompressed bodies of one process may hold by default."""


class ByteBudget:
    """Bytes that may be held at once; a budget may stand under a parent.

    It belongs to one event loop's thread and takes no lock.

    Args:
        limit: The bound, in bytes.
        parent: A wider budget that counts the same bytes as well.

    Attributes:
        limit: The bound; what is held already stays when it is lowered.
        held: Bytes acquired and not yet released.
    """

    __slots__ = ("_parent", "held", "limit")

    def __init__(self, limit: int, parent: ByteBudget | None = None) -> None:
        self.limit: int = limit
        self.held: int = 0
        self._parent = parent

    def acquire(self, size: int) -> bool:
        """Count `size` bytes; false when they do not fit, here or at the parent: none is counted.

        The caller releases the same number once.
        """
        if self.held + size > self.limit:
            return False
        if self._parent is not None and not self._parent.acquire(size):
            return False
        self.held += size
        return True

    def release(self, size: int) -> None:
        """Give bytes back."""
        self.held -= size
        if self._parent is not None:
            self._parent.release(size)


@cache
def process_budget() -> ByteBudget:
    """The budget of this process; the setting `memory_budget` sets its limit."""
    return ByteBudget(PROCESS_BUDGET_BYTES)
