"""Reads the server's errors; the NATS protocol has no error codes, only English texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from micro.backend import ConnectionState
from micro_nats.connection.announcer import Announcer
from micro_nats.connection.observer import Observer
from micro_nats.connection.subscriptions import Subscriptions

__all__ = ["ServerErrors"]


class ServerErrors:
    """Reports each error of the server to the parts that it concerns.

    Args:
        announcer: Reports to the application.
        subscriptions: Marked when the server refuses one of them.
        observer: Called with each subject that this user may not publish to.
    """

    def __init__(
        self,
        announcer: Announcer,
        subscriptions: Subscriptions,
        observer: Observer,
    ) -> None:
        self._announcer = announcer
        self._subscriptions = subscriptions
        self._observer = observer
        self._expected: dict[str, set[str]] = {}

    @contextmanager
    def expect(self, subject: str) -> Iterator[set[str]]:
        """Collect refusals to publish to `subject` in a set; they are not reported elsewhere."""
        refused = self._expected[subject] = set()
        try:
            yield refused
        finally:
            del self._expected[subject]

    def handle(self, text: str) -> None:
        """Report an -ERR by its text."""
        lower = text.lower()
        if "permissions violation" not in lower:
            slow = "slow consumer" in lower
            state = ConnectionState.SLOW_CONSUMER if slow else ConnectionState.ERROR
            self._announcer.emit_limited(state, text)
            return
        # Permissions Violation for Publish to "a.b", or for Subscription to "a.b"
        subject = text.partition('"')[2].partition('"')[0]
        publication = "for publish" in lower
        if publication and subject in self._expected:
            self._expected[subject].add(subject)
            return
        kind = "publish" if publication else "subscribe"
        if publication or not self._subscriptions.is_optional(subject):
            self._announcer.emit_limited(ConnectionState.DENIED, text, kind=kind)
        if publication:
            self._observer.on_denied(subject)
        else:
            self._subscriptions.deny(subject, text)
