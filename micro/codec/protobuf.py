"""Protocol buffers: generated message classes, in their own encoding.

The package `protobuf` is optional. A program that has a generated class has imported it, so it is
looked up among the modules that are loaded.
"""

from __future__ import annotations

import gc
import sys
from types import NoneType
from typing import Any

from micro.codec._large import LARGE_BYTES, begin_large_json
from micro.codec.contract import Codec, Decoder, Encoder
from micro.errors import CodecError

__all__ = ["ProtobufCodec", "is_protobuf", "message_from_json", "message_to_json"]

# What the library raises for wrong values, deep nesting and unknown types, beside its own class.
_JSON_ERRORS = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


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


def message_to_json(value: Any) -> bytes:
    """A message in protobuf's JSON, with the names of its fields as they were declared.

    Raises:
        CodecError: it cannot be written.
    """
    from google.protobuf import json_format

    try:
        text: str = json_format.MessageToJson(value, preserving_proto_field_name=True, indent=None)
    except _JSON_ERRORS as error:
        raise CodecError(f"{type(value).__name__} cannot be written: {error}") from error
    return text.encode() + b"\n"


def message_from_json(type_: Any, data: bytes) -> Any:
    """A message from protobuf's JSON; members that the class does not know are ignored.

    Raises:
        CodecError: it cannot be read.
    """
    from google.protobuf import json_format

    text = b"{}" if data.strip() in (b"", b"null") else data
    stopped = len(data) > LARGE_BYTES and begin_large_json(data)
    try:
        return json_format.Parse(text, type_(), ignore_unknown_fields=True)
    except (json_format.Error, *_JSON_ERRORS) as error:
        raise CodecError(f"cannot read it as {type_.__name__}: {error}") from error
    finally:
        if stopped:
            gc.enable()


def _check(type_: Any) -> None:
    if not is_protobuf(type_):
        raise CodecError(f"{type_!r} is not a generated protobuf class")
