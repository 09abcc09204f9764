"""Bounds of the RPC protocol, in bytes."""

from __future__ import annotations

__all__ = ["ALWAYS_FITS_BYTES", "MAX_BODY_BYTES", "PEER_BUDGET_BYTES", "WINDOW_BYTES"]

ALWAYS_FITS_BYTES = 16_384
"""A body of this size fits one message of every transport; `Socket.largest` matters above it."""

MAX_BODY_BYTES = 64 << 20
"""The largest body that is sent, put together from chunks, or decompressed."""

WINDOW_BYTES = 4 << 20
"""Bytes of one stream that wait to be received before its peer must stop; an item may exceed it."""

PEER_BUDGET_BYTES = 128 << 20
"""Bytes of one peer's partial bodies and streams together, within the budget of the process."""
