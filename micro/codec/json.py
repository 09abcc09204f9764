"""JSON, as go-micro peers write and read it, checked by pydantic."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from functools import partial
from types import NoneType
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from micro.codec._errors import path_text, unreadable
from micro.codec._large import LARGE_BYTES, begin_large_json
from micro.codec._types import TypeModel, unwritable
from micro.codec.contract import Codec, Decoder, Encoder
from micro.codec.protobuf import is_protobuf, message_from_json, message_to_json
from micro.errors import CodecError

__all__ = ["JsonCodec"]


class JsonCodec(Codec):
    r"""`application/json`: one JSON value and a line feed, never an empty body.

    Any type that pydantic knows. Fields are written by alias and read by alias or name; numbers
    may come as strings; bytes are standard base64, as Go's are (in a pydantic model, its own
    configuration decides). Infinity and NaN, for which JSON has no numbers, are refused.

    `None` is `null`. An empty body is read as `None` where the type allows it. Where it does not,
    `null` is what a Go peer sends for an empty value: it is read as an empty list, map, byte slice,
    or object whose fields all have defaults.
    """

    @property
    def content_type(self) -> str:
        """`application/json`."""
        return "application/json"

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes values of a type; `Any` and `object` go by the value."""
        if type_ is NoneType:
            return _write_nothing
        if is_protobuf(type_):
            return message_to_json
        model = TypeModel(type_)
        write, check, cls, floats = model.serializer.to_json, model.check, model.cls, model.floats

        def encode(value: Any) -> bytes:
            try:
                if isinstance(value, cls):
                    body = write(value, by_alias=True)
                else:
                    # Checking costs a microsecond, which values of the very class are spared.
                    value = check(value)
                    body = write(value, by_alias=True, warnings="error")
                if floats and b"null" in body:
                    _check_finite(model, value, body)
                return body + b"\n"
            # A model's own serializers are the user's code: they may raise anything.
            except Exception as error:
                raise unwritable(model, value, error) from error

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of a type; of `None`'s, it accepts whatever comes."""
        if type_ is NoneType:
            return _read_nothing
        if is_protobuf(type_):
            return partial(message_from_json, type_)
        model = TypeModel(type_)
        read = model.validator.validate_json

        def decode(data: bytes) -> Any:
            stopped = len(data) > LARGE_BYTES and begin_large_json(data)
            try:
                try:
                    return read(data, by_alias=True, by_name=True)
                except ValidationError as error:
                    return _read_again(model, data, error)
            # A model's own validators are the user's code: they may raise anything.
            except Exception as error:
                raise unreadable(model.name, error) from error
            finally:
                if stopped:
                    gc.enable()

        return decode


def _write_nothing(_value: Any) -> bytes:
    return b"null\n"


def _read_nothing(_data: bytes) -> None:
    return None


def _check_finite(model: TypeModel, value: Any, body: bytes) -> None:
    """Refuse a body in which pydantic wrote `null` for infinity or NaN."""
    tree = model.serializer.to_python(value, by_alias=True, warnings=False)
    lost = next(_lost_floats(tree, from_json(body), ()), None)
    if lost is not None:
        path, number = lost
        raise CodecError(f"cannot write it as {model.name}: {path_text(path, _not_json(number))}")


def _not_json(number: float) -> str:
    return f"JSON has no number for {number}"


def _lost_floats(
    value: Any, written: Any, path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], float]]:
    """The floats of a value that became null, with their paths."""
    if written is None:
        if isinstance(value, float) and not math.isfinite(value):
            yield path, value
    elif isinstance(written, dict) and isinstance(value, dict):
        # Keys become text, in the same order.
        for (key, item), inner in zip(value.items(), written.values(), strict=False):
            yield from _lost_floats(item, inner, (*path, str(key)))
    elif isinstance(written, list) and isinstance(value, list | tuple | set | frozenset):
        for index, (item, inner) in enumerate(zip(value, written, strict=False)):
            yield from _lost_floats(item, inner, (*path, index))


def _read_again(model: TypeModel, data: bytes, error: ValidationError) -> Any:
    """What a body means to Go, if it means something; raises `error` if not."""
    text = data.strip()
    if not text and model.allows_none:
        return None
    if b"null" not in text:
        raise error
    if text == b"null":
        value = model.empty()
        if value is not None:
            return value
    return model.null_reader.validate_json(data, by_alias=True, by_name=True)
