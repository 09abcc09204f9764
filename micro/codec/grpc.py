"""go-micro's `application/grpc` family over its own transport: another codec in gRPC's framing."""

from __future__ import annotations

from typing import Any

from micro.codec.contract import Codec, Decoder, Encoder

__all__ = ["GrpcCodec"]

_PREFIX_BYTES = 5


class GrpcCodec(Codec):
    """A codec whose bodies have gRPC's five bytes before them (go-micro `codec/grpc`).

    The first byte is 0, for no compression; four have the length, big-endian. A body without them
    is read as it is.

    Args:
        content_type: The name of the combination, such as `application/grpc+proto`.
        inner: What writes and reads the message.
    """

    def __init__(self, content_type: str, inner: Codec) -> None:
        self._content_type = content_type
        self._inner = inner

    @property
    def content_type(self) -> str:  # noqa: D102 - the contract says it
        return self._content_type

    def encoder(self, type_: Any) -> Encoder:
        """A function that writes values of a type with the prefix."""
        write = self._inner.encoder(type_)

        def encode(value: Any) -> bytes:
            body = write(value)
            return b"\0" + len(body).to_bytes(4, "big") + body

        return encode

    def decoder(self, type_: Any) -> Decoder:
        """A function that reads values of a type, with the prefix or without."""
        read = self._inner.decoder(type_)

        def decode(data: bytes) -> Any:
            return read(data[_PREFIX_BYTES:] if _has_prefix(data) else data)

        return decode


def _has_prefix(data: bytes) -> bool:
    length = int.from_bytes(data[1:_PREFIX_BYTES], "big")
    return data[:1] == b"\0" and len(data) == length + _PREFIX_BYTES
