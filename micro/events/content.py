"""What an event's headers say, and what they leave out in events of other NATS clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from micro.codec import Codecs
from micro.errors import MicroError
from micro.message import Message
from micro.wire.headers import CONTENT_TYPE, ID, canonical, own_event_headers

__all__ = ["guess_content_type", "read_headers"]

_JSON = "application/json"
_MSGPACK = "application/msgpack"
_PROTOBUF = "application/protobuf"


def guess_content_type(codecs: Codecs, type_: Any) -> Callable[[bytes], str]:
    """What guesses the content type of a body that should be of a type.

    Bytes, text and protobuf messages go by the type. For other types the first byte tells JSON from
    MessagePack, whose maps and arrays begin with a byte that JSON cannot begin with.
    """
    if type_ in (bytes, bytearray, memoryview):
        return lambda _body: "application/octet-stream"
    if type_ is str:
        return lambda body: _JSON if body[:1] == b'"' else "text/plain"
    if _can_read(codecs, _PROTOBUF, type_):
        return lambda body: _JSON if body[:1] == b"{" else _PROTOBUF
    return lambda body: _MSGPACK if _is_msgpack(body[:1]) else _JSON


def read_headers(message: Message, guess: Callable[[bytes], str]) -> tuple[dict[str, str], str]:
    """An event's headers under their canonical names, and its content type.

    Args:
        message: The event.
        guess: Gives the content type of a body whose headers do not; see `guess_content_type`.
    """
    headers, body = message
    content_type = headers.get(CONTENT_TYPE)
    if content_type is not None and ID in headers:
        return headers, content_type
    headers = own_event_headers(headers) or canonical(headers)
    return headers, headers.get(CONTENT_TYPE) or guess(body)


def _can_read(codecs: Codecs, content_type: str, type_: Any) -> bool:
    try:
        codecs.decoder_for(content_type, type_)
    except MicroError:
        return False
    return True


def _is_msgpack(first: bytes) -> bool:
    return b"\x80" <= first <= b"\x9f" or b"\xdc" <= first <= b"\xdf"
