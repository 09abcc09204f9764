"""The one value that transports and brokers carry."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Message"]


class Message(NamedTuple):
    """Headers and a body; neither transport nor broker looks inside.

    The sender must not change `headers` after sending.

    Attributes:
        headers: Names to values, both text. Names are compared with their case.
        body: The payload as a codec wrote it.
    """

    headers: dict[str, str]
    body: bytes
