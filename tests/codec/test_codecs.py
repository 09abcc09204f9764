"""The choice of a codec, and what is kept of what it built."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from micro.codec import Codec, Codecs, Decoder, Encoder, JsonCodec, Raw, default_codecs
from micro.errors import BadRequest, CodecError


class Award(BaseModel):
    user: str


class Counting(Codec):
    """Counts what it is asked to build."""

    def __init__(self) -> None:
        self.built = 0

    @property
    def content_type(self) -> str:
        return "Application/JSON"

    def encoder(self, type_: Any) -> Encoder:
        self.built += 1
        return lambda _value: b"mine"

    def decoder(self, type_: Any) -> Decoder:
        self.built += 1
        return lambda _data: "mine"


def test_the_defaults_are_go_micros_content_types_and_msgpack():
    assert tuple(codec.content_type for codec in default_codecs()) == (
        "application/json",
        "application/msgpack",
        "application/protobuf",
        "application/octet-stream",
        "text/plain",
        "application/grpc",
        "application/grpc+proto",
        "application/grpc+json",
    )


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=utf-8"]
)
def test_parameters_and_case_of_a_content_type_do_not_matter(content_type):
    codecs = Codecs(default_codecs())

    assert isinstance(codecs.get(content_type), JsonCodec)
    assert codecs.encoder_for(content_type, int)(5) == b"5\n"
    assert codecs.decoder_for(content_type, int)(b"5") == 5


def test_an_unknown_content_type_is_a_415_that_names_the_known():
    with pytest.raises(BadRequest, match=r"'application/x'.*known: application/json, ") as caught:
        Codecs(default_codecs()).decoder_for("application/x", int)

    assert caught.value.code == 415


def test_a_long_content_type_is_shortened_in_the_error():
    with pytest.raises(BadRequest) as caught:
        Codecs([]).get("x" * 10_000)

    assert len(caught.value.detail) < 200


def test_the_later_codec_for_a_content_type_wins():
    codecs = Codecs([*default_codecs(), Counting()])

    assert codecs.encoder_for("application/json", int)(5) == b"mine"


def test_coders_are_built_once_for_each_type():
    codec = Counting()
    codecs = Codecs([codec])

    for content_type in ("application/json", "application/json;a=b", "APPLICATION/JSON"):
        codecs.encoder_for(content_type, list[Award])
        codecs.decoder_for(content_type, list[Award])

    assert codec.built == 2


def test_coders_of_types_without_a_hash_are_kept_too():
    codec, type_ = Counting(), Annotated[int, []]
    codecs = Codecs([codec])

    codecs.encoder_for("application/json", type_)
    codecs.encoder_for("application/json", type_)

    assert codec.built == 1


def test_the_cache_of_coders_is_bounded_and_drops_the_oldest():
    codec = Counting()
    codecs = Codecs([codec])

    for number in range(1024):
        codecs.encoder_for("application/json", f"type {number}")
    codecs.encoder_for("application/json", "type 0")
    assert codec.built == 1024
    codecs.encoder_for("application/json", "one more")
    codecs.encoder_for("application/json", "type 0")
    assert codec.built == 1026


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/grpc"])
def test_raw_bytes_pass_under_any_content_type(content_type):
    codecs = Codecs(default_codecs())

    assert codecs.encoder_for(content_type, Raw)(Raw(b'{"a":1}')) == b'{"a":1}'
    assert codecs.decoder_for(content_type, Raw)(b"\xff") == Raw(b"\xff")
    assert type(codecs.decoder_for(content_type, Raw)(b"")) is Raw


def test_only_bytes_pass_as_raw():
    with pytest.raises(CodecError, match="a str as raw bytes"):
        Codecs(default_codecs()).encoder_for("application/json", Raw)("text")


@pytest.mark.parametrize(
    ("value", "body"),
    [
        (Raw(b"as it is"), b"as it is"),
        (Award(user="ann"), b'{"user":"ann"}\n'),
        (b"\xff\xfe\xfb", b'"//77"\n'),
        (None, b"null\n"),
        ([Award(user="a"), 1], b'[{"user":"a"},1]\n'),
    ],
)
def test_an_untyped_value_goes_by_its_class(value, body):
    assert Codecs(default_codecs()).encoder_for("application/json", Any)(value) == body


def test_a_bare_object_is_a_codec_error():
    for untyped in (Any, object):
        with pytest.raises(CodecError):
            Codecs(default_codecs()).encoder_for("application/json", untyped)(object())
