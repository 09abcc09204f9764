"""Codecs: values to bytes and back, chosen by content type on both ends."""

from micro.codec._types import IncompleteType
from micro.codec.codecs import Codecs, default_codecs
from micro.codec.contract import Codec, Decoder, Encoder
from micro.codec.json import JsonCodec
from micro.codec.msgpack import MsgpackCodec
from micro.codec.protobuf import ProtobufCodec
from micro.codec.raw import BytesCodec, Raw, TextCodec

__all__ = [
    "BytesCodec",
    "Codec",
    "Codecs",
    "Decoder",
    "Encoder",
    "IncompleteType",
    "JsonCodec",
    "MsgpackCodec",
    "ProtobufCodec",
    "Raw",
    "TextCodec",
    "default_codecs",
]
