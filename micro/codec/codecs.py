"""Which codec speaks a content type."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from micro.codec.contract import Codec, Decoder, Encoder
from micro.codec.grpc import GrpcCodec
from micro.codec.json import JsonCodec
from micro.codec.msgpack import MsgpackCodec
from micro.codec.protobuf import ProtobufCodec
from micro.codec.raw import BytesCodec, Raw, TextCodec
from micro.errors import BadRequest, CodecError

__all__ = ["Codecs", "default_codecs"]

_MAX_CACHED = 1024
_Built = TypeVar("_Built")


class Codecs:
    """Codecs by content type, with what they built for each type kept.

    Content types are compared without their parameters and without regard to case.

    Args:
        codecs: The later of two for one content type wins.
    """

    __slots__ = ("_codecs", "_decoders", "_encoders")

    def __init__(self, codecs: Iterable[Codec]) -> None:
        self._codecs = {_plain(codec.content_type): codec for codec in codecs}
        self._encoders = _Cache[Encoder]()
        self._decoders = _Cache[Decoder]()

    def get(self, content_type: str) -> Codec:
        """The codec for a content type.

        Raises:
            BadRequest: with code 415, none is known.
        """
        codec = self._codecs.get(_plain(content_type))
        if codec is None:
            known = ", ".join(self._codecs) or "none"
            raise BadRequest(
                f"content type {content_type[:80]!r} is not known here; known: {known}", code=415
            )
        return codec

    def check(self, type_: Any) -> None:
        """Return when some codec carries values of a type.

        Raises:
            IncompleteType: it names a type that is not defined yet.
            CodecError: none does; the text is the first codec's, JSON's as a rule.
        """
        problem: CodecError | None = None
        for content_type in self._codecs:
            try:
                self.encoder_for(content_type, type_)
                self.decoder_for(content_type, type_)
            except CodecError as error:
                problem = problem or error
            else:
                return
        raise problem or CodecError("there is no codec")

    def encoder_for(self, content_type: str, type_: Any) -> Encoder:
        """What writes values of a type under a content type; `Raw` passes under any, known or not.

        What writes `Any` goes by the class of each value.

        Raises:
            BadRequest: with code 415, the content type is not known.
            CodecError: the codec cannot write such values.
        """
        if type_ is Raw:
            return _pass_out
        return self._encoders.get(content_type, type_, self._build_encoder)

    def decoder_for(self, content_type: str, type_: Any) -> Decoder:
        """What reads values of a type under a content type; `Raw` passes under any, known or not.

        Raises:
            BadRequest: with code 415, the content type is not known.
            CodecError: the codec cannot read such values.
        """
        if type_ is Raw:
            return Raw
        return self._decoders.get(content_type, type_, self._build_decoder)

    def _build_encoder(self, content_type: str, type_: Any) -> Encoder:
        codec = self.get(content_type)
        if type_ is not Any and type_ is not object:
            return codec.encoder(type_)

        def encode(value: Any) -> bytes:
            kind = type(value)
            write = codec.encoder(Any) if kind is object else self.encoder_for(content_type, kind)
            return write(value)

        return encode

    def _build_decoder(self, content_type: str, type_: Any) -> Decoder:
        return self.get(content_type).decoder(type_)


def default_codecs() -> tuple[Codec, ...]:
    """JSON, MessagePack, protobuf, bytes and text, and go-micro's `application/grpc` family."""
    json, protobuf = JsonCodec(), ProtobufCodec()
    return (
        json,
        MsgpackCodec(),
        protobuf,
        BytesCodec(),
        TextCodec(),
        GrpcCodec("application/grpc", protobuf),
        GrpcCodec("application/grpc+proto", protobuf),
        GrpcCodec("application/grpc+json", json),
    )


def _plain(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


class _Cache(Generic[_Built]):
    """What was built for each content type and type; the oldest is dropped first."""

    __slots__ = ("_built",)

    def __init__(self) -> None:
        # The type is kept beside what was built: an id is its own only as long as it lives.
        self._built: dict[tuple[str, Any], tuple[Any, _Built]] = {}

    def get(self, content_type: str, type_: Any, build: Callable[[str, Any], _Built]) -> _Built:
        try:
            found = self._built.get((content_type, type_))
            key = type_
        except TypeError:
            # Annotated and Literal can hold what has no hash.
            key = id(type_)
            found = self._built.get((content_type, key))
        if found is not None:
            return found[1]
        plain = _plain(content_type)
        # A peer may vary the case and the parameters; only one form is kept.
        if plain != content_type:
            return self.get(plain, type_, build)
        built = build(plain, type_)
        while len(self._built) >= _MAX_CACHED:
            self._built.pop(next(iter(self._built)), None)
        self._built[(plain, key)] = (type_, built)
        return built


def _pass_out(value: Any) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise CodecError(f"cannot send a {type(value).__name__} as raw bytes")
    return bytes(value)
