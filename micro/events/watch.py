"""Looking at the position of a durable: how much waits, and whether events expire unread."""

from __future__ import annotations

import logging

from micro.events.kept_topics import KeptTopics
from micro.telemetry.metrics import DurableCounters

__all__ = ["LOOK_SECONDS", "PositionWatch"]

_log = logging.getLogger("micro.subscriber")

LOOK_SECONDS = 15.0
"""Between two looks."""
LOSS_SECONDS = 60.0
"""How long events that expired unread keep the service from being ready."""


class PositionWatch:
    """Looks at one position. Instances that share it see, and count, the same.

    Args:
        topics: Has the broker.
        topic: The topic's name.
        durable: The position's name.
        tally: Counts events that expired.

    Attributes:
        waiting: Events that no instance was given yet, at the last look.
    """

    def __init__(
        self, topics: KeptTopics, topic: str, durable: str, tally: DurableCounters
    ) -> None:
        self.waiting: int = 0
        self._topics = topics
        self._topic = topic
        self._durable = durable
        self._tally = tally
        self._expired: int | None = None
        self._lost = 0
        self._lost_at = 0.0

    @property
    def losing(self) -> int:
        """Events that expired unread, as a look of the last minute has shown."""
        if not self._lost:
            return 0
        now = self._topics.broker.clock.time()
        return self._lost if now - self._lost_at < LOSS_SECONDS else 0

    async def look(self) -> None:
        """Look once.

        Raises:
            MicroError: the broker cannot be asked.
        """
        broker = self._topics.broker
        positions = (await broker.describe(self._topic)).positions
        position = next((each for each in positions if each.durable == self._durable), None)
        if position is None:
            return
        self.waiting = position.waiting
        known, self._expired = self._expired, position.expired_unread
        lost = 0 if known is None else max(0, (self._expired or 0) - known)
        if lost:
            self._lost, self._lost_at = lost, broker.clock.time()
            self._tally.expired_unread += lost
            _log.error(
                "%d events of %s expired before %s had handled them",
                *(lost, self._topic, self._durable),
            )
