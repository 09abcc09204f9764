"""What subscribers of the tests received."""

from __future__ import annotations

from micro.testing import Signal


class Inbox:
    """What subscribers got; it can be waited for."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self._signal = Signal()

    def add(self, event: object) -> None:
        self.events.append(event)
        self._signal.set()

    async def until(self, count: int) -> list[object]:
        await self._signal.until(
            lambda: len(self.events) >= count, lambda: f"{self.events} of {count}"
        )
        return self.events
