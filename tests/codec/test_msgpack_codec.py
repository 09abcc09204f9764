"""The MessagePack codec: the same values as JSON, bytes as they are."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from micro.codec import MsgpackCodec
from micro.errors import CodecError

CODEC = MsgpackCodec()


class Award(BaseModel):
    user: str
    points: int = Field(alias="pointsGiven")


@dataclass
class Blob:
    data: bytes
    at: datetime.datetime | None = None


class Colour(enum.Enum):
    RED = "red"


def encode(type_: Any, value: Any) -> bytes:
    return CODEC.encoder(type_)(value)


def decode(type_: Any, data: bytes) -> Any:
    return CODEC.decoder(type_)(data)


NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)
SOME_ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("type_", "value", "tree"),
    [
        (Award, Award(user="a", pointsGiven=1), {"user": "a", "pointsGiven": 1}),
        (Blob, Blob(b"\xff"), {"data": b"\xff", "at": None}),
        (Blob, Blob(b"", NOON), {"data": b"", "at": "2026-01-02T12:00:00Z"}),
        (set[int], {1}, [1]),
        (dict[int, str], {1: "a"}, {1: "a"}),
        (dict[uuid.UUID, int], {SOME_ID: 1}, {str(SOME_ID): 1}),
        (Colour, Colour.RED, "red"),
        (decimal.Decimal, decimal.Decimal("1.50"), "1.50"),
        (int, 2**70, str(2**70)),
        (datetime.timedelta, datetime.timedelta(seconds=4), "PT4S"),
        (Award | None, None, None),
    ],
)
def test_a_value_is_written_in_msgpacks_types_or_as_in_json_and_read_back(type_, value, tree):
    data = encode(type_, value)

    assert msgpack.unpackb(data, strict_map_key=False) == tree
    assert decode(type_, data) == value


def test_nothing_is_written_as_nil_and_read_from_anything():
    assert encode(type(None), None) == b"\xc0"
    assert [decode(type(None), data) for data in (b"", b"\xc0", b"\xc1")] == [None] * 3


def test_an_empty_body_is_none_where_the_type_allows_it():
    assert decode(Award | None, b"") is None
    with pytest.raises(CodecError):
        decode(Award, b"")


def test_an_error_does_not_show_a_secret_value():
    assert b"hush" not in encode(SecretStr, SecretStr("hush"))


@pytest.mark.parametrize(
    ("type_", "tree", "detail"),
    [
        (Award, {"user": 1}, "user: Input should be a valid string; pointsGiven: Field required"),
        (list[int], [1, "x"], "1: Input should be a valid integer"),
    ],
)
def test_the_error_names_the_path_of_a_wrong_value(type_, tree, detail):
    with pytest.raises(CodecError) as caught:
        decode(type_, msgpack.packb(tree))

    assert caught.value.detail.startswith(detail)


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",  # never used
        b"\x81\x90\x01",  # a list as a key
        b"\x91" * 5_000,  # deeper than the unpacker's stack
        b"\xdd\xff\xff\xff\xff",  # a list of four thousand million
        b"\xdd\x00\x0f\x00\x00" * 500 + b"\xc0" * 2**20,
        b"\xdb\xff\xff\xff\xff",  # as long a string
        b"\xa1\xff",  # a string that is not UTF-8
        b"\xc7\x00\x05",  # an extension type
        b"\xd6\xff\x00\x00\x00",  # half a timestamp
        b"\x01\x01",  # one value too many
    ],
)
def test_hostile_bytes_are_a_codec_error(data):
    with pytest.raises(CodecError):
        decode(Award, data)


@pytest.mark.parametrize(
    ("type_", "value", "detail"),
    [
        (Award, None, "cannot write None as Award"),
        (Award, {"user": "secret"}, "cannot write a dict as Award"),
        (Any, object(), "cannot write it as Any"),
        (str, "\ud800", "surrogates not allowed"),
    ],
)
def test_a_value_that_cannot_be_written_is_a_codec_error(type_, value, detail):
    with pytest.raises(CodecError) as caught:
        encode(type_, value)

    assert detail in caught.value.detail
    assert "secret" not in caught.value.detail


AWARDS = st.builds(Award, user=st.text(), pointsGiven=st.integers())
VALUES = st.one_of(
    st.tuples(st.just(Award), AWARDS),
    st.tuples(st.just(list[Award]), st.lists(AWARDS)),
    st.tuples(st.just(Blob), st.builds(Blob, st.binary(), st.none() | st.datetimes())),
    st.tuples(st.just(float), st.floats(allow_nan=False)),
    st.tuples(st.just(frozenset[uuid.UUID]), st.frozensets(st.uuids())),
    st.tuples(st.just(dict[int, str]), st.dictionaries(st.integers(0, 2**63), st.text())),
    st.tuples(st.just(tuple[int, str]), st.tuples(st.integers(), st.text())),
)


@given(VALUES)
def test_every_value_comes_back_as_it_went(pair):
    type_, value = pair

    assert decode(type_, encode(type_, value)) == value


TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.binary() | TREES.map(msgpack.packb))
def test_any_bytes_give_a_value_or_a_codec_error(data):
    for type_ in (Award, Blob, list[int] | None, Any, bytes):
        try:
            decode(type_, data)
        except CodecError as error:
            assert error.code == 400  # noqa: PT017 - an error is one of two good outcomes
