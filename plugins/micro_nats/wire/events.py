"""Events on NATS: go-micro's envelope, a bundle, or a bare body with NATS headers.

Any NATS client can publish an event. What is in no envelope is taken as the event's own body.
"""

from __future__ import annotations

from collections.abc import Mapping

from micro.errors import CodecError
from micro.message import Message
from micro_nats.wire.envelope import decode_bundle, find_envelope, is_json

__all__ = ["decode_event", "header_block"]

_CONTENT_TYPE = "content-type"
_HEADER_NAME = frozenset(
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)


def decode_event(data: bytes, headers: Mapping[str, str] | None) -> list[Message]:
    """Read an event's payload.

    A NATS header with the content type marks a bare body; envelopes have theirs within.

    Raises:
        CloseFrame: it is the bundle that closes a socket, which is no event.
    """
    if headers is None or all(name.lower() != _CONTENT_TYPE for name in headers):
        if is_json(data):
            found = find_envelope(data)
            if found is not None:
                return [found]
        elif data and _may_be_bundle(data[0]):
            try:
                return decode_bundle(data)
            except CodecError:
                return [_bare(data, headers)]
    return [_bare(data, headers)]


def header_block(headers: Mapping[str, str]) -> bytes:
    """Write headers as a NATS header block.

    Raises:
        CodecError: a name or value cannot be a NATS header.
    """
    lines = ["NATS/1.0"]
    for name, value in headers.items():
        if not name or not _HEADER_NAME.issuperset(name):
            raise CodecError(f"{name!r} cannot be the name of a NATS header")
        if "\r" in value or "\n" in value:
            raise CodecError(f"the header {name!r} has a line end, which NATS headers cannot carry")
        lines.append(f"{name}: {value}")
    try:
        return ("\r\n".join(lines) + "\r\n\r\n").encode()
    except UnicodeEncodeError as error:
        raise CodecError(f"headers must be valid Unicode: {error}") from None


def _bare(data: bytes, headers: Mapping[str, str] | None) -> Message:
    return Message(dict(headers or {}), data)


def _may_be_bundle(first: int) -> bool:
    return first & 0xF0 == 0x90 or first == 0xDC
