"""Protocol buffers: generated message classes, in their own encoding.

The package `protobuf` is not needed until a handler or call uses such a class, and whoever has one
has the package; so it is looked up among what is imported already.
"""

from __future__ import annotations

import sys
from types import NoneType
from typing import Any

from micro.codec.contract import Codec, Decoder, Encoder
from micro.errors import CodecError

__all__ = ["ProtobufCodec", "is_protobuf"]


class ProtobufCodec(Codec):
    """`application/protobuf`, as go-micro's clients and servers speak it by default up to v2.

    Types are generated message classes. `None` is written as the empty message.
    """

    @property
    def content_type(self) -> str:  # noqa: D102 - the contract says it
        return "application/protobuf"

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes messages of a generated class."""
        if type_ is NoneType:
            return lambda _value: b""
        _check(type_)

        def encode(value: Any) -> bytes:
            try:
                written: bytes = value.SerializeToString()
            except Exception as error:
                # protobuf's own errors have no common class below Exception.
                raise CodecError(f"{type_.__name__} cannot be written: {error}") from error
            return written

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads messages of a generated class."""
        if type_ is NoneType:
            return lambda _data: None
        _check(type_)

        def decode(data: bytes) -> Any:
            try:
                return type_.FromString(data)
            except Exception as error:
                raise CodecError(f"{type_.__name__} cannot be read: {error}") from error

        return decode


def is_protobuf(type_: Any) -> bool:
    """Whether a type is a generated message class."""
    module = sys.modules.get("google.protobuf.message")
    return module is not None and isinstance(type_, type) and issubclass(type_, module.Message)


def _check(type_: Any) -> None:
    if not is_protobuf(type_):
        raise CodecError(f"{type_!r} is not a generated protobuf class")
