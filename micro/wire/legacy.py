"""go-micro's oldest dialects, json-rpc and proto-rpc: a second envelope inside the body.

A go-micro client falls back to them for a node without `protocol` in its metadata (go-micro
`client/rpc_codec.go`). Pure functions that take the inner envelope off a request and put it round a
reply; all else of a call stays as it is (go-micro `codec/jsonrpc`, `codec/protorpc`).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

from micro.errors import CodecError
from micro.message import Message
from micro.wire.headers import CONTENT_TYPE, ERROR, ID

__all__ = ["Legacy", "legacy_of"]

_LENGTH = struct.Struct(">I")
_SEQUENCE = struct.Struct("<Q")
_SEQUENCE_FIELD = 0x11
_ERROR_FIELD = 0x1A
_NUMBERS = 0xFFFFFFFFFFFFFFFF


class Legacy(NamedTuple):
    """One old dialect.

    Attributes:
        content_type: Its own content type.
        inner: The content type of what its envelope holds.
        unwrap: Takes the envelope off a request's body; raises CodecError.
        wrap: Puts it round a reply: id, body, and the error's text, empty for none.
    """

    content_type: str
    inner: str
    unwrap: Callable[[bytes], bytes]
    wrap: Callable[[str, bytes, str], bytes]

    def request(self, headers: dict[str, str], body: bytes) -> Message:
        """A request as if it had come in the newer dialect.

        Raises:
            CodecError: the body has no such envelope.
        """
        inner = self.unwrap(body) if body else b""
        return Message({**headers, CONTENT_TYPE: self.inner}, inner)

    def reply(self, message: Message) -> Message:
        """A reply as the old dialect has it."""
        headers, body = message
        wrapped = self.wrap(headers.get(ID, ""), body, headers.get(ERROR, ""))
        return Message({**headers, CONTENT_TYPE: self.content_type}, wrapped)


def legacy_of(headers: Mapping[str, str]) -> Legacy | None:
    """The old dialect that a request is in, if it is in one."""
    return _BY_TYPE.get(headers.get(CONTENT_TYPE, ""))


def _unwrap_json(body: bytes) -> bytes:
    try:
        params = json.loads(body)["params"]
        return json.dumps(params[0]).encode()
    except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
        raise CodecError(f"not a json-rpc request: {error}") from None


def _wrap_json(id: str, body: bytes, error: str) -> bytes:
    if error:
        return json.dumps({"id": "", "result": None, "error": error}).encode() + b"\n"
    result = body.strip() or b"null"
    return b'{"id":%b,"result":%b,"error":null}\n' % (json.dumps(id).encode(), result)


def _unwrap_proto(body: bytes) -> bytes:
    try:
        (size,) = _LENGTH.unpack_from(body)
        (inner,) = _LENGTH.unpack_from(body, 4 + size)
    except struct.error as error:
        raise CodecError(f"not a proto-rpc request: {error}") from None
    start = 8 + size
    if start + inner != len(body):
        raise CodecError("not a proto-rpc request: its lengths do not add up")
    return body[start:]


def _wrap_proto(id: str, body: bytes, error: str) -> bytes:
    head = b""
    if id.isdecimal() and (number := int(id[:20]) & _NUMBERS):
        head = bytes((_SEQUENCE_FIELD,)) + _SEQUENCE.pack(number)
    if error:
        text = error.encode()
        head, body = bytes((_ERROR_FIELD,)) + _varint(len(text)) + text, b""
    return b"".join((_LENGTH.pack(len(head)), head, _LENGTH.pack(len(body)), body))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_BY_TYPE = {
    legacy.content_type: legacy
    for legacy in (
        Legacy("application/json-rpc", "application/json", _unwrap_json, _wrap_json),
        Legacy("application/proto-rpc", "application/protobuf", _unwrap_proto, _wrap_proto),
    )
}
