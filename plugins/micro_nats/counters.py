"""What was passed over, counted and told about once a second at most."""

from __future__ import annotations

import logging
import time

__all__ = ["Counters"]

log = logging.getLogger("micro.nats")


class Counters:
    """Oddities since the start; anyone may read them.

    Attributes:
        garbage: Payloads in neither envelope, or records that are none.
        orphans: Answers to sockets that are gone.
        replyless: Messages to a listener that named no usable reply subject.
        refused: Sockets over the bound.
        expired: Sockets that were idle for too long.
        untaken: Bundles of sockets that were not known, or of which one was lost before.
    """

    __slots__ = ("_told", "expired", "garbage", "orphans", "refused", "replyless", "untaken")

    def __init__(self) -> None:
        self.garbage = 0
        self.orphans = 0
        self.replyless = 0
        self.refused = 0
        self.expired = 0
        self.untaken = 0
        self._told = -1.0

    def as_metrics(self) -> dict[str, int]:
        """Every value, by its name as a metric."""
        return {
            "nats.malformed": self.garbage,
            "nats.orphaned_replies": self.orphans,
            "nats.without_reply": self.replyless,
            "nats.sockets_refused": self.refused,
            "nats.sockets_expired": self.expired,
            "nats.bundles_refused": self.untaken,
        }

    def garbage_from(self, subject: str, error: Exception) -> None:
        """Count a payload that cannot be read."""
        self.garbage += 1
        now = time.monotonic()
        if now - self._told >= 1.0:
            self._told = now
            log.warning("dropped a message on %s (%d so far): %s", subject, self.garbage, error)
