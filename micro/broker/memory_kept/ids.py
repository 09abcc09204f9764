"""Which ids were stored within the window of a topic."""

from __future__ import annotations

from collections import OrderedDict

__all__ = ["MAX_IDS", "RecentIds"]

MAX_IDS = 262_144
"""Ids that one topic remembers; the oldest is forgotten first. About 150 bytes each, 40 MB."""


class RecentIds:
    """Ids with the sequence of their event; ids of directed stores are told apart by durable.

    Args:
        window: Seconds in which an id is remembered; 0 remembers none.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._ids: OrderedDict[tuple[str, str], tuple[float, int | None]] = OrderedDict()

    def limit(self, window: float) -> None:
        """Remember ids for so many seconds from now on."""
        self._window = window

    def __contains__(self, id: tuple[str, str]) -> bool:
        return id in self._ids

    def sequence(self, id: tuple[str, str]) -> int | None:
        """The sequence of the event with this id, once it has one."""
        found = self._ids.get(id)
        return None if found is None else found[1]

    def add(self, id: tuple[str, str], sequence: int | None, now: float) -> None:
        """Remember an id; an id that has no sequence yet gets it later, at its old place."""
        if self._window <= 0:
            return
        began = self._ids[id][0] if id in self._ids else now
        self._ids[id] = (began, sequence)
        if len(self._ids) > MAX_IDS:
            self._ids.popitem(last=False)

    def prune(self, now: float) -> None:
        """Forget what is older than the window."""
        while self._ids:
            id, (began, _) = next(iter(self._ids.items()))
            if began + self._window > now:
                return
            del self._ids[id]
