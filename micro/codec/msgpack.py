"""MessagePack: the same values as JSON in fewer bytes, with bytes as they are."""

from __future__ import annotations

from types import NoneType
from typing import Any

from msgpack import Packer, unpackb
from pydantic_core import to_jsonable_python

from micro.codec._types import TypeModel, unreadable, unwritable
from micro.codec.contract import Codec, Decoder, Encoder

__all__ = ["MsgpackCodec"]

_ROOM = 1024


class MsgpackCodec(Codec):
    """`application/msgpack`: any type that pydantic knows.

    What MessagePack has no type for (times, decimals, UUIDs, sets, integers over 64 bits) is
    written as it would be in JSON. Fields are written by alias and read by alias or name. An
    empty body is read as `None` where the type allows it.
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

        def encode(value: Any) -> bytes:
            try:
                if isinstance(value, cls):
                    tree = simplify(value, by_alias=True)
                else:
                    tree = simplify(check(value), by_alias=True, warnings="error")
                # A packer of its own for each value: one cannot be shared between threads, and
                # packb() takes twice as long. The room grows as needed.
                packed: bytes = Packer(default=_simplify, buf_size=_ROOM).pack(tree)
                return packed
            # A model's own serializers are the user's code: they may raise anything.
            except Exception as error:
                raise unwritable(model.name, error) from error

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of a type; of `None`'s, it accepts whatever comes."""
        if type_ is NoneType:
            return _read_nothing
        model = TypeModel(type_)
        check = model.validator.validate_python

        def decode(data: bytes) -> Any:
            try:
                if not data and model.allows_none:
                    return None
                # Lengths are bounded by the body's own, nesting by the unpacker's stack.
                value = unpackb(data, strict_map_key=False)
                return check(value, strict=False, by_alias=True, by_name=True)
            # A model's own validators are the user's code: they may raise anything.
            except Exception as error:
                raise unreadable(model.name, error) from error

        return decode


def _simplify(value: Any) -> Any:
    """What MessagePack cannot hold: as JSON would have it, but an integer as its digits."""
    return str(value) if isinstance(value, int) else to_jsonable_python(value, by_alias=True)


def _write_nothing(_value: Any) -> bytes:
    return b"\xc0"


def _read_nothing(_data: bytes) -> None:
    return None
