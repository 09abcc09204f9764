"""JSON, as go-micro peers write and read it, checked by pydantic."""

from __future__ import annotations

from functools import partial
from types import NoneType
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json, to_json

from micro.codec._types import TypeModel, unreadable, unwritable
from micro.codec.contract import Codec, Decoder, Encoder
from micro.codec.protobuf import is_protobuf

__all__ = ["JsonCodec"]

_MOST_NULLS = 10_000
_EMPTY: dict[str, Any] = {
    "bytes_type": "",
    "dict_type": {},
    "frozen_set_type": [],
    "list_type": [],
    "mapping_type": {},
    "set_type": [],
    "tuple_type": [],
}


class JsonCodec(Codec):
    r"""`application/json`: one JSON value and a line feed, never an empty body.

    Any type that pydantic knows. Fields are written by alias and read by alias or name; numbers
    may come as strings; bytes are standard base64, as Go's are (in a pydantic model, its own
    configuration decides). Go's `null` for a nil slice, map or byte slice is read as an empty one
    where the type does not allow `None`. An absent value is written as `{}`; an empty body is read
    as `None` where the type allows it.
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
            return _write_protobuf
        model = TypeModel(type_)
        write, check, cls = model.serializer.to_json, model.check, model.cls

        def encode(value: Any) -> bytes:
            try:
                if isinstance(value, cls):
                    return write(value, by_alias=True) + b"\n"
                # Checking costs a microsecond, which values of the very class are spared.
                return write(check(value), by_alias=True, warnings="error") + b"\n"
            # A model's own serializers are the user's code: they may raise anything.
            except Exception as error:
                raise unwritable(model.name, error) from error

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of a type; of `None`'s, it accepts whatever comes."""
        if type_ is NoneType:
            return _read_nothing
        if is_protobuf(type_):
            return partial(_read_protobuf, type_)
        model = TypeModel(type_)
        read = model.validator.validate_json

        def decode(data: bytes) -> Any:
            try:
                return read(data, by_alias=True, by_name=True)
            except ValidationError as error:
                return _read_again(model, data, error)
            # A model's own validators are the user's code: they may raise anything.
            except Exception as error:
                raise unreadable(model.name, error) from error

        return decode


def _write_nothing(_value: Any) -> bytes:
    return b"{}\n"


def _read_nothing(_data: bytes) -> None:
    return None


def _write_protobuf(value: Any) -> bytes:
    from google.protobuf import json_format

    try:
        text: str = json_format.MessageToJson(value, preserving_proto_field_name=True, indent=None)
    except Exception as error:
        raise unwritable(type(value).__name__, error) from error
    return text.encode() + b"\n"


def _read_protobuf(type_: Any, data: bytes) -> Any:
    from google.protobuf import json_format

    try:
        return json_format.Parse(data, type_(), ignore_unknown_fields=True)
    except Exception as error:
        raise unreadable(type_.__name__, error) from error


def _read_again(model: TypeModel, data: bytes, error: ValidationError) -> Any:
    """What a body means to Go, if it means something; raises a CodecError if not."""
    if model.allows_none and not data.strip():
        return None
    try:
        filled = _fill_nulls(data, error)
        if filled is not None:
            return model.validator.validate_json(filled, by_alias=True, by_name=True)
    except Exception as another:
        raise unreadable(model.name, another) from error
    raise unreadable(model.name, error) from error


def _fill_nulls(data: bytes, error: ValidationError) -> bytes | None:
    """The body with empty values for the nulls that were refused; `None` if there were none."""
    if error.error_count() > _MOST_NULLS:
        return None
    holes = [
        (line["loc"], _EMPTY[line["type"]])
        for line in error.errors(include_url=False, include_context=False)
        if line["type"] in _EMPTY and line["input"] is None
    ]
    if not holes:
        return None
    root = [from_json(data)]
    for path, empty in holes:
        _put(root, (0, *path), empty)
    return to_json(root[0])


def _put(place: Any, path: tuple[str | int, ...], value: Any) -> None:
    """Fill one place; a path through a union names its branches too and leads nowhere."""
    for step in path[:-1]:
        if not _has(place, step):
            return
        place = place[step]
    if _has(place, path[-1]) and place[path[-1]] is None:
        place[path[-1]] = value


def _has(place: Any, step: str | int) -> bool:
    if isinstance(place, list):
        return isinstance(step, int) and 0 <= step < len(place)
    return isinstance(place, dict) and step in place
