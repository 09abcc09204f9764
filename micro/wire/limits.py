"""Bounds of the RPC protocol, in bytes."""

from __future__ import annotations

from micro.errors import PayloadTooLarge

__all__ = [
    "ALWAYS_FITS_BYTES",
    "MAX_BODY_BYTES",
    "PEER_BUDGET_BYTES",
    "WINDOW_BYTES",
    "BodyLimit",
    "process_body_limit",
    "too_large",
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
        bytes: For bodies as they are received, put together from chunks, and decompressed; the
            setting `max_body`.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes: int = MAX_BODY_BYTES


_process_limit = BodyLimit()


def too_large(size: int, *, refused: bool = False) -> PayloadTooLarge:
    """What to tell of a body over the limit of this process."""
    return PayloadTooLarge(
        f"{size} bytes are over the limit of {_process_limit.bytes}", refused=refused
    )


def process_body_limit() -> BodyLimit:
    """The limit that holds for all services and clients of this process."""
    return _process_limit
