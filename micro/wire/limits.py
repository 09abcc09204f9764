"""Bounds of the RPC protocol, in bytes."""

from __future__ import annotations

__all__ = [
    "ALWAYS_FITS_BYTES",
    "MAX_BODY_BYTES",
    "PEER_BUDGET_BYTES",
    "WINDOW_BYTES",
    "BodyLimit",
    "process_body_limit",
]

ALWAYS_FITS_BYTES = 16_384
"""A body of this size fits one message of every transport; `Socket.largest` matters above it."""

MAX_BODY_BYTES = 64 << 20
"""The largest body that is sent, put together from chunks, or decompressed."""

WINDOW_BYTES = 4 << 20
"""Bytes of one stream that wait to be received before its peer must stop; an item may exceed it."""

PEER_BUDGET_BYTES = 128 << 20
"""Bytes of one peer's partial bodies and streams together, within the budget of the process."""


class BodyLimit:
    """The largest body of this process.

    Attributes:
        bytes: For bodies put together from chunks, or decompressed; the setting `max_body`.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes: int = MAX_BODY_BYTES


_process_limit = BodyLimit()


def process_body_limit() -> BodyLimit:
    """The limit that holds for all services and clients of this process."""
    return _process_limit
