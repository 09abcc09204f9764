"""Counts dropped messages, and bounds log lines so that they cannot flood a log."""

from __future__ import annotations

import logging
import time

__all__ = ["Counters", "LogLimit"]

log = logging.getLogger("micro.nats")

_INTERVAL_SECONDS = 1.0
_MAX_SHOWN_CHARS = 200


class Counters:
    """Messages that could not be used since the start.

    Attributes:
        malformed: Payloads in neither envelope, and records that cannot be read.
        orphaned_replies: Answers to sockets that are closed.
        without_reply: Messages to a listener that named no subject for answers.
        sockets_refused: Sockets over the bound.
        sockets_expired: Sockets that were idle for too long.
        bundles_refused: Bundles of unknown sockets, and bundles that follow a lost one.
    """

    __slots__ = (
        "bundles_refused",
        "log_limit",
        "malformed",
        "orphaned_replies",
        "sockets_expired",
        "sockets_refused",
        "without_reply",
    )

    def __init__(self) -> None:
        self.malformed = 0
        self.orphaned_replies = 0
        self.without_reply = 0
        self.sockets_refused = 0
        self.sockets_expired = 0
        self.bundles_refused = 0
        self.log_limit = LogLimit()

    def as_metrics(self) -> dict[str, int]:
        """Every value, by its name as a metric."""
        return {
            "nats.malformed": self.malformed,
            "nats.orphaned_replies": self.orphaned_replies,
            "nats.without_reply": self.without_reply,
            "nats.sockets_refused": self.sockets_refused,
            "nats.sockets_expired": self.sockets_expired,
            "nats.bundles_refused": self.bundles_refused,
        }

    def count_malformed(self, subject: str, error: Exception) -> None:
        """Count a payload that cannot be read, and log it, bounded."""
        self.malformed += 1
        self.log_limit.warning("malformed", "dropped a message on %r: %s", subject, error)

    def count_without_reply(self, subject: str, reply: str) -> None:
        """Count a message that cannot be answered, and log it, bounded."""
        self.without_reply += 1
        text = "dropped a message on %r: its reply subject %r is not an inbox"
        self.log_limit.warning("reply", text, subject, reply[:_MAX_SHOWN_CHARS])

    def count_refused_socket(self, subject: str) -> None:
        """Count a socket over the bound, and log it, bounded."""
        self.sockets_refused += 1
        self.log_limit.warning("socket", "refused a socket on %r: too many are open", subject)


class LogLimit:
    """Writes at most one line a second for each kind, with the number of those left out.

    A peer decides how often a fault happens; without a bound it would decide the log's growth.
    """

    __slots__ = ("_last", "_skipped")

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._skipped: dict[str, int] = {}

    def warning(self, kind: str, text: str, *args: object) -> None:
        """Log a warning, unless one of this kind was logged within the last second."""
        if self._may(kind):
            log.warning(text + self._count(kind), *args)

    def exception(self, kind: str, text: str, *args: object) -> None:
        """Log an error with its traceback, bounded as `warning` is."""
        if self._may(kind):
            log.exception(text + self._count(kind), *args)

    def _may(self, kind: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(kind, -_INTERVAL_SECONDS) < _INTERVAL_SECONDS:
            self._skipped[kind] = self._skipped.get(kind, 0) + 1
            return False
        self._last[kind] = now
        return True

    def _count(self, kind: str) -> str:
        skipped = self._skipped.pop(kind, 0)
        return f" (and {skipped} more before)" if skipped else ""
