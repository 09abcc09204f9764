"""The one value that transports and brokers carry."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Message"]


class Message(NamedTuple):
    """Headers and a body; neither transport nor broker looks inside.

    A message is not changed once it has been sent: whoever sends one gives its headers away.

    Attributes:
        headers: Names to values, both text. Names are compared as they stand, case included.
        body: The payload as a codec wrote it.
    """

    headers: dict[str, str]
    body: bytes
