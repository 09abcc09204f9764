"""The two envelopes of a message on NATS, told apart by their first byte.

go-micro's is JSON, one message each: `{"Header":{...},"Body":"<base64>"}`, written byte for byte as
Go writes it and read as leniently as Go reads it. Ours is MessagePack and carries several messages:
an array of the version 1 and then headers, body, headers, body and so on. A close frame is such an
array without messages: `[1]`.
"""

from __future__ import annotations

import json
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from typing import Any, cast

import msgpack
from pydantic_core import from_json

from micro.errors import CodecError
from micro.message import Message, new_message
from micro_nats.wire.gojson import go_json

__all__ = [
    "CLOSE_FRAME",
    "MAX_MESSAGES",
    "CloseFrame",
    "bundle_of",
    "decode_any",
    "decode_bundle",
    "decode_json",
    "encode_json",
    "find_envelope",
    "is_json",
    "pack_message",
]

MAX_MESSAGES = 64
"""Messages that one bundle holds; it bounds what a hostile bundle can make the reader allocate."""

_VERSION = 1
_MAX_HEADERS = 1024
_MAX_COMMAS = 4 * _MAX_HEADERS
_SMALL_BYTES = 64 << 10
_packer = msgpack.Packer()
_pack = cast(Callable[[object], bytes], _packer.pack)
_HEADS: tuple[bytes, ...] = tuple(
    _packer.pack_array_header(1 + 2 * number) + _pack(_VERSION)
    for number in range(MAX_MESSAGES + 1)
)
_unpack = partial(
    msgpack.unpackb,
    max_array_len=1 + 2 * MAX_MESSAGES,
    max_map_len=_MAX_HEADERS,
    max_ext_len=0,
)

CLOSE_FRAME = _HEADS[0]
"""The bundle that closes a socket."""


class CloseFrame(Exception):
    """Raised in place of messages: the peer closed the socket."""


def is_json(data: bytes) -> bool:
    """Whether a payload is in go-micro's envelope."""
    return data[:1] == b"{"


# JSON


def encode_json(message: Message) -> bytes:
    """Write go-micro's envelope, the same bytes as Go's.

    Raises:
        CodecError: headers are not text.
    """
    headers, body = message
    try:
        text = go_json(dict(sorted(headers.items())))
        _require_text(headers.values())
        encoded = b2a_base64(body, newline=False)
    except (TypeError, ValueError) as error:
        raise CodecError(f"headers and body must be text and bytes: {error}") from None
    return b'{"Header":%b,"Body":"%b"}' % (text, encoded)


def decode_json(data: bytes) -> Message:
    """Read go-micro's envelope; a missing or null header or body is an empty one.

    Raises:
        CodecError: it is not such an envelope.
    """
    fields = _read_json(data)
    try:
        return _message(fields["Header"], fields["Body"])
    except KeyError:
        return _message(_any_case(fields, "header"), _any_case(fields, "body"))


def find_envelope(data: bytes) -> Message | None:
    """Read go-micro's envelope; `None` for JSON that is an event's own body.

    Go writes both members and no others. An object with other members, or with a body that is not
    base64, belongs to the application.
    """
    try:
        fields = _read_json(data)
        if len(fields) == 2 and "Header" in fields and "Body" in fields:
            return _message(fields["Header"], fields["Body"])
        if "Header" in fields and len(fields) == 1:
            return _message(fields["Header"], None)
        if {key.lower() for key in fields} == {"header", "body"}:
            return _message(_any_case(fields, "header"), _any_case(fields, "body"))
    except CodecError:
        return None
    return None


def _message(headers: Any, body: Any) -> Message:
    if headers is None:
        headers = {}
    if type(headers) is not dict or not (body is None or type(body) is str):
        raise CodecError("an envelope needs an object of headers and a text in base64")
    try:
        _require_text(headers.values())
        return new_message((headers, a2b_base64(body, strict_mode=True) if body else b""))
    except (TypeError, Base64Error, ValueError) as error:
        raise CodecError(f"the envelope cannot be read: {error}") from None


def _require_text(values: Iterable[Any]) -> None:
    """Raise TypeError unless all values are text."""
    # Half the time of a loop with `type`: the interpreter checks while it joins.
    "".join(values)


def _read_json(data: bytes) -> dict[str, Any]:
    if len(data) > _SMALL_BYTES and data.count(b",") + data.count(b"[") > _MAX_COMMAS:
        raise CodecError("an envelope has more parts than headers could be")
    try:
        fields = from_json(data)
    except ValueError:
        fields = _read_leniently(data)
    if type(fields) is not dict:
        raise CodecError("an envelope must be a JSON object")
    return fields


def _read_leniently(data: bytes) -> object:
    """Read what Go reads and the strict parser refuses: half surrogate pairs, broken UTF-8."""
    try:
        text = json.dumps(json.loads(data.decode("utf-8", "replace")), ensure_ascii=False)
        return json.loads(text.encode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        raise CodecError(f"the envelope is not JSON: {error}") from None


def _any_case(fields: dict[str, Any], name: str) -> Any:
    for key, value in fields.items():
        if key.lower() == name:
            return value
    return None


# MessagePack


def pack_message(message: Message) -> bytes:
    """Write one message as a part of a bundle.

    Raises:
        CodecError: headers are not text, or too many.
    """
    headers, body = message
    try:
        _require_text(headers.values())
        if len(headers) <= _MAX_HEADERS:
            return _pack(headers) + _pack(body)
    except (TypeError, ValueError, OverflowError) as error:
        raise CodecError(f"headers and body must be text and bytes: {error}") from None
    raise CodecError(f"{len(headers)} headers are more than {_MAX_HEADERS}")


def bundle_of(parts: Sequence[bytes]) -> bytes:
    """Put parts together, at most MAX_MESSAGES of them."""
    return _HEADS[len(parts)] + (parts[0] if len(parts) == 1 else b"".join(parts))


def decode_bundle(data: bytes) -> list[Message]:
    """Read a bundle.

    Raises:
        CloseFrame: it has no messages.
        CodecError: it is not a bundle.
    """
    try:
        items = _unpack(data) if len(data) <= _SMALL_BYTES else _unpack_bounded(data)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise CodecError(f"the bundle cannot be read: {error}") from None
    if type(items) is not list or not items or items[0] != _VERSION:
        raise CodecError("a bundle must be an array of version 1")
    if len(items) == 3:
        _, headers, body = items
        _check((headers,), (body,))
        return [new_message((headers, body))]
    if len(items) == 1:
        raise CloseFrame
    if not len(items) % 2:
        raise CodecError("a bundle's last message has no body")
    headers, bodies = items[1::2], items[2::2]
    _check(headers, bodies)
    return list(map(new_message, zip(headers, bodies, strict=True)))


def decode_any(data: bytes) -> list[Message]:
    """Read either envelope.

    Raises:
        CloseFrame: it is a bundle that closes.
        CodecError: it is neither.
    """
    if not data:
        raise CodecError("an empty payload")
    return [decode_json(data)] if is_json(data) else decode_bundle(data)


def _check(headers: Sequence[Any], bodies: Sequence[Any]) -> None:
    if set(map(type, headers)) != {dict} or set(map(type, bodies)) != {bytes}:
        raise CodecError("a message must be a map of headers and bytes")
    try:
        _require_text(chain.from_iterable(headers))
        _require_text(chain.from_iterable(map(dict.values, headers)))
    except TypeError:
        raise CodecError("headers must be text") from None


def _unpack_bounded(data: bytes) -> object:
    """Read a big bundle, giving up at the second array or a map in a map.

    Without that a payload of empty arrays would take sixty times its own size.
    """
    arrays = 0

    def count_array(items: list[object]) -> list[object]:
        nonlocal arrays
        arrays += 1
        if arrays > 1:
            raise ValueError("an array in an array")
        return items

    def check_map(headers: dict[object, object]) -> dict[object, object]:
        _check((headers,), (b"",))
        return headers

    return _unpack(data, list_hook=count_array, object_hook=check_map)
