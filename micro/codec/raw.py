"""Bytes and text without encoding, and a body that passes every codec unchanged."""

from __future__ import annotations

from types import NoneType
from typing import Any

from micro.codec._errors import type_name, unreadable
from micro.codec.contract import Codec, Decoder, Encoder
from micro.errors import CodecError

__all__ = ["BytesCodec", "Raw", "TextCodec"]


class Raw(bytes):
    """A body that is already encoded: every codec sends and receives it unchanged.

    It is what gateways and command lines send, as go-micro's `bytes.Frame` is. A body under
    `application/json` must not be empty: Go's decoder fails on that.
    """

    __slots__ = ()


class BytesCodec(Codec):
    """`application/octet-stream`: bytes, bytearray and memoryview; `None` is the empty body."""

    @property
    def content_type(self) -> str:
        """`application/octet-stream`."""
        return "application/octet-stream"

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes bytes-like values."""
        _check(self, type_, (Any, object, bytes, bytearray, memoryview, NoneType))
        return _write_bytes

    def decoder(self, type_: Any) -> Decoder:
        """A function that gives the body, as bytes unless another type is named."""
        _check(self, type_, (Any, object, bytes, bytearray, memoryview, NoneType))
        if type_ is NoneType:
            return _nothing
        return type_ if type_ in (bytearray, memoryview) else bytes


class TextCodec(Codec):
    """`text/plain`: strings as UTF-8; `None` is the empty body."""

    @property
    def content_type(self) -> str:
        """`text/plain`."""
        return "text/plain"

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes strings."""
        _check(self, type_, (Any, object, str, NoneType))
        return _write_text

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads strings."""
        _check(self, type_, (Any, object, str, NoneType))
        return _nothing if type_ is NoneType else _read_text


def _check(codec: Codec, type_: Any, known: tuple[Any, ...]) -> None:
    if not any(type_ is one for one in known):
        names = ", ".join(type_name(one) for one in known[2:-1])
        raise CodecError(f"{codec.content_type} carries {names}, not {type_name(type_)}")


def _write_bytes(value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, bytes | bytearray | memoryview):
        raise CodecError(f"cannot write a {type(value).__name__} as bytes")
    return bytes(value)


def _write_text(value: Any) -> bytes:
    if value is None:
        return b""
    if not isinstance(value, str):
        raise CodecError(f"cannot write a {type(value).__name__} as text")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise CodecError("cannot write it as text: it is not valid Unicode") from error


def _read_text(data: bytes) -> str:
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise unreadable("text", error) from error


def _nothing(_data: bytes) -> None:
    return None
