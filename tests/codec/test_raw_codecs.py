"""The codecs of bytes and text."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro.codec import BytesCodec, Raw, TextCodec
from micro.errors import CodecError


@pytest.mark.parametrize("type_", [bytes, bytearray, memoryview])
def test_bytes_like_values_are_sent_unchanged(type_):
    data = BytesCodec().encoder(type_)(type_(b"\x00\xff"))
    read = BytesCodec().decoder(type_)(data)

    assert type(data) is bytes
    assert data == b"\x00\xff"
    assert type(read) is type_
    assert read == data


@pytest.mark.parametrize("codec", [BytesCodec(), TextCodec()])
def test_nothing_is_the_empty_body(codec):
    assert codec.encoder(type(None))(None) == b""
    assert codec.decoder(type(None))(b"whatever") is None


@given(st.text())
def test_text_survives_the_round_trip(text):
    assert TextCodec().decoder(str)(TextCodec().encoder(str)(text)) == text


def test_untyped_bodies_are_bytes_and_text():
    assert BytesCodec().decoder(Any)(b"a") == b"a"
    assert TextCodec().decoder(Any)(b"a") == "a"


@pytest.mark.parametrize(
    ("codec", "type_", "detail"),
    [
        (BytesCodec(), str, "application/octet-stream carries bytes, bytearray, memoryview"),
        (TextCodec(), int, "text/plain carries str, not int"),
        (TextCodec(), list[str], "text/plain carries str, not list"),
    ],
)
def test_other_types_are_refused_by_encoder_and_decoder(codec, type_, detail):
    with pytest.raises(CodecError, match=detail):
        codec.encoder(type_)
    with pytest.raises(CodecError, match=detail):
        codec.decoder(type_)


@pytest.mark.parametrize(
    ("codec", "value"), [(BytesCodec(), "text"), (TextCodec(), b"bytes"), (TextCodec(), "\ud800")]
)
def test_other_values_are_a_codec_error(codec, value):
    with pytest.raises(CodecError, match="cannot write"):
        codec.encoder(Any)(value)


def test_text_that_is_not_utf_8_is_a_codec_error():
    with pytest.raises(CodecError, match="cannot read it as text"):
        TextCodec().decoder(str)(b"\xff")


def test_raw_is_bytes():
    assert Raw(b"abc") == b"abc"
    assert isinstance(Raw(b""), bytes)
