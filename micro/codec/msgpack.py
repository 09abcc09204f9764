"""MessagePack: the same values as JSON in fewer bytes, with bytes as they are."""

from __future__ import annotations

import gc
from types import NoneType
from typing import Any

from msgpack import Packer, Unpacker, unpackb
from pydantic_core import to_jsonable_python

from micro.codec._errors import unreadable
from micro.codec._large import LARGE_BYTES, begin_large_msgpack
from micro.codec._types import TypeModel, unwritable
from micro.codec.contract import Codec, Decoder, Encoder
from micro.errors import CodecError

__all__ = ["MsgpackCodec"]

_BUFFER_BYTES = 1024
# Below this an array that declares more items than it has costs little.
_TRUSTED_BYTES = 256
_ARRAY_16, _ARRAY_32 = b"\xdc", b"\xdd"


class MsgpackCodec(Codec):
    """`application/msgpack`: any type that pydantic knows.

    What MessagePack has no type for (times, decimals, UUIDs, sets, integers over 64 bits) is
    written as it would be in JSON. Fields are written by alias and read by alias or name. An
    empty body is read as `None` where the type allows it; where it does not, nil is read as an
    object whose fields all have defaults.
    """

    @property
    def content_type(self) -> str:
        """`application/msgpack`."""
        return "application/msgpack"

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes values of a type; `Any` and `object` go by the value."""
        if type_ is NoneType:
            return _write_nothing
        model = TypeModel(type_)
        simplify, check, cls = model.serializer.to_python, model.check, model.cls
        default = _simplify_untyped if model.untyped else _simplify

        def encode(value: Any) -> bytes:
            try:
                if isinstance(value, cls):
                    tree = simplify(value, by_alias=True)
                else:
                    value = check(value)
                    tree = simplify(value, by_alias=True, warnings="error")
                # A packer of its own for each value: one cannot be shared between threads, and
                # packb() takes twice as long. The buffer grows as needed.
                packed: bytes = Packer(default=default, buf_size=_BUFFER_BYTES).pack(tree)
                return packed
            # A model's own serializers are the user's code: they may raise anything.
            except Exception as error:
                raise unwritable(model, value, error) from error

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of a type; of `None`'s, it accepts whatever comes."""
        if type_ is NoneType:
            return _read_nothing
        model = TypeModel(type_)
        check = model.validator.validate_python

        def decode(data: bytes) -> Any:
            stopped = False
            try:
                if not data and model.allows_none:
                    return None
                if len(data) > _TRUSTED_BYTES and (_ARRAY_16 in data or _ARRAY_32 in data):
                    _check_complete(data)
                stopped = len(data) > LARGE_BYTES and begin_large_msgpack(data)
                value = unpackb(data, strict_map_key=False)
                if value is None and not model.allows_none:
                    value = {}
                return check(value, strict=False, by_alias=True, by_name=True)
            # A model's own validators are the user's code: they may raise anything.
            except Exception as error:
                raise unreadable(model.name, error) from error
            finally:
                if stopped:
                    gc.enable()

        return decode


def _check_complete(data: bytes) -> None:
    """Refuse an array that declares more items than follow, before a list is made for it.

    Skipping makes no objects. Without it each of a thousand nested arrays would get a list as long
    as the body.
    """
    unpacker = Unpacker(max_buffer_size=len(data), strict_map_key=False)
    unpacker.feed(data)
    unpacker.skip()


def _simplify(value: Any) -> Any:
    """What MessagePack cannot hold: as JSON would have it, but an integer as its digits."""
    return str(value) if isinstance(value, int) else to_jsonable_python(value, by_alias=True)


def _simplify_untyped(value: Any) -> Any:
    """The same, where a reader could not tell an integer's digits from text."""
    if isinstance(value, int):
        raise CodecError("MessagePack has no integer over 64 bits; give it the type int")
    return to_jsonable_python(value, by_alias=True)


def _write_nothing(_value: Any) -> bytes:
    return b"\xc0"


def _read_nothing(_data: bytes) -> None:
    return None
