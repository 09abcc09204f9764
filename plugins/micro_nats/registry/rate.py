"""A bound on the work that messages of others cause in one second."""

from __future__ import annotations

import time

__all__ = ["RateLimit"]

_INTERVAL_SECONDS = 1.0


class RateLimit:
    """Admits so many messages and bytes each second.

    Args:
        messages: Messages in one second.
        size: Bytes in one second.
    """

    __slots__ = ("_bytes_left", "_messages", "_messages_left", "_since", "_size")

    def __init__(self, *, messages: int, size: int) -> None:
        self._messages = self._messages_left = messages
        self._size = self._bytes_left = size
        self._since = time.monotonic()

    def admit(self, size: int) -> bool:
        """Count a message of `size` bytes; false when it is over the limit."""
        now = time.monotonic()
        if now - self._since >= _INTERVAL_SECONDS:
            self._since = now
            self._messages_left, self._bytes_left = self._messages, self._size
        self._messages_left -= 1
        self._bytes_left -= size
        return self._messages_left >= 0 and self._bytes_left >= 0
