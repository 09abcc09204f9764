"""What a codec carries arrives as it was, or is refused where it was written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict
from typing_extensions import TypedDict

from micro.codec import Codec, JsonCodec, MsgpackCodec
from micro.errors import CodecError

JSON, MSGPACK = JsonCodec(), MsgpackCodec()
CODECS = pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])


class Filter(BaseModel):
    limit: int = 10


class Measured(BaseModel):
    name: str | None = None
    value: float | None = None


class Series(BaseModel):
    points: list[Measured] = []
    extra: dict[str, Any] = {}


@dataclass
class Reading:
    at: datetime | None
    value: float


class Typed(TypedDict):
    value: float
    note: str | None


class AsText(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    value: float
    note: str | None = None


def carry(codec: Codec, written: Any, value: Any, read: Any) -> Any:
    return codec.decoder(read)(codec.encoder(written)(value))


@CODECS
@pytest.mark.parametrize("type_", [Filter | None, int | None, list[int] | None, Any, type(None)])
def test_none_arrives_as_none(codec: Codec, type_: Any) -> None:
    assert carry(codec, type(None), None, type_) is None
    assert codec.decoder(type_)(b"") is None


@CODECS
def test_none_is_told_from_an_empty_value(codec: Codec) -> None:
    assert carry(codec, Filter, Filter(), Filter | None) == Filter()
    assert carry(codec, dict, {}, dict[str, int] | None) == {}


@CODECS
def test_none_is_an_object_of_defaults_where_none_is_not_allowed(codec: Codec) -> None:
    assert carry(codec, type(None), None, Filter) == Filter()


@CODECS
@pytest.mark.parametrize("type_", [int, str, Reading])
def test_none_is_refused_where_it_means_nothing(codec: Codec, type_: Any) -> None:
    with pytest.raises(CodecError):
        carry(codec, type(None), None, type_)


LOST = [
    (float, inf, "JSON has no number for inf"),
    (float | None, nan, "JSON has no number for nan"),
    (Any, {"a": [1.0, -inf]}, "a.1: JSON has no number for -inf"),
    (dict[str, Any], {"a": {"b": nan}}, "a.b: "),
    (Measured, Measured(value=inf), "value: "),
    (Series, Series(points=[Measured(), Measured(value=nan)]), "points.1.value: "),
    (Series, Series(extra={"x": (inf,)}), "extra.x.0: "),
    (Reading, Reading(at=None, value=nan), "value: "),
    (Typed, {"value": inf, "note": None}, "value: "),
    (list[float], [1.0, inf], "1: "),
    (tuple[Measured, ...], (Measured(value=-inf),), "0.value: "),
    (dict[str, float], {"x": nan}, "x: "),
]


@pytest.mark.parametrize(("type_", "value", "detail"), LOST)
def test_json_refuses_infinity_and_nan_with_their_path(type_: Any, value: Any, detail: str) -> None:
    for written in (type_, type(value)):
        with pytest.raises(CodecError) as caught:
            JSON.encoder(written)(value)

        assert detail in caught.value.detail


@pytest.mark.parametrize(("type_", "value", "detail"), LOST)
def test_messagepack_carries_infinity_and_nan(type_: Any, value: Any, detail: str) -> None:
    assert repr(carry(MSGPACK, type_, value, type_)) == repr(value).replace("(inf,)", "[inf]")


def test_json_carries_them_where_the_model_writes_them_as_text() -> None:
    assert carry(JSON, AsText, AsText(value=inf), AsText) == AsText(value=inf)


@CODECS
def test_ordinary_floats_beside_none_pass(codec: Codec) -> None:
    series = Series(points=[Measured(value=0.1), Measured()], extra={"a": None, "b": [1e300]})

    assert carry(codec, Series, series, Series) == series


@CODECS
@pytest.mark.parametrize("number", [2**53 + 1, 2**64, -(2**70), 10**40])
def test_large_integers_arrive_as_they_were(codec: Codec, number: int) -> None:
    assert carry(codec, int, number, int) == number
    assert carry(codec, dict[str, int], {"n": number}, dict[str, int]) == {"n": number}


def test_json_carries_large_integers_without_a_type() -> None:
    assert carry(JSON, Any, {"n": 2**70}, Any) == {"n": 2**70}


@pytest.mark.parametrize("type_", [Any, dict, list[Any], Series])
def test_messagepack_refuses_large_integers_without_a_type(type_: Any) -> None:
    values = {Any: 2**70, dict: {"n": 2**70}, Series: Series(extra={"n": -(2**70)})}

    with pytest.raises(CodecError, match="no integer over 64 bits"):
        MSGPACK.encoder(type_)(values.get(type_, [2**70]))


@CODECS
@pytest.mark.parametrize("type_", [str, Any, dict[str, str], Measured])
def test_lone_surrogates_are_refused(codec: Codec, type_: Any) -> None:
    values = {dict[str, str]: {"a": "\udfff"}, Measured: Measured.model_construct(name="\udfff")}

    with pytest.raises(CodecError, match=r"surrogate|utf-8|unicode|Unicode"):
        codec.encoder(type_)(values.get(type_, "\udfff"))


@CODECS
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 5, 1, 12, 30, 15, 123456),
        datetime(2026, 5, 1, 12, tzinfo=UTC),
    ],
)
def test_naive_and_aware_times_stay_so(codec: Codec, moment: datetime) -> None:
    back = carry(codec, datetime, moment, datetime)

    assert (back, back.utcoffset()) == (moment, moment.utcoffset())


@CODECS
@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (bytes, bytes(range(256))),
        (dict[str, bytes], {"b": b"\xfb\xff"}),
        (Decimal, Decimal("0.10")),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (str, "\x00\u2028\U0001f600"),
    ],
)
def test_values_that_json_has_no_type_for_arrive_whole(
    codec: Codec, type_: Any, value: Any
) -> None:
    assert carry(codec, type_, value, type_) == value
