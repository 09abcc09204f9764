"""The JSON codec: what it writes, what it reads of Go's, and how it says no."""

from __future__ import annotations

import datetime
import decimal
import enum
import uuid
from dataclasses import dataclass
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, create_model, field_serializer, field_validator
from typing_extensions import TypedDict

from micro.codec import JsonCodec
from micro.errors import CodecError

CODEC = JsonCodec()
T = TypeVar("T")
# In standard base64 it holds "+" or "/", which the URL-safe alphabet writes otherwise.
BINARY = b"\xff\xfe\xfb\xef\xbe"


class Award(BaseModel):
    user: str
    points: int


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    full_name: str = Field(alias="fullName", default="")
    lines: list[Award] = []
    by_day: dict[str, list[int]] = {}
    best: Award | None = None


@dataclass
class Blob:
    data: bytes


class Bag(TypedDict):
    data: bytes
    more: list[bytes | None]


class Point(NamedTuple):
    x: int
    y: int


class Colour(enum.Enum):
    RED = "red"


def encode(type_: Any, value: Any) -> bytes:
    return CODEC.encoder(type_)(value)


def decode(type_: Any, data: bytes) -> Any:
    return CODEC.decoder(type_)(data)


@pytest.mark.parametrize(
    ("type_", "value", "text"),
    [
        (Award, Award(user="ann", points=5), b'{"user":"ann","points":5}\n'),
        (list[Award], [Award(user="ann", points=5)], b'[{"user":"ann","points":5}]\n'),
        (Award | None, None, b"null\n"),
        (Order | Award, Award(user="a", points=1), b'{"user":"a","points":1}\n'),
        (str, "é", '"é"\n'.encode()),
        (int, 2**70, b"1180591620717411303424\n"),
        (float, 5, b"5.0\n"),
        (Colour, Colour.RED, b'"red"\n'),
        (Point, Point(1, 2), b"[1,2]\n"),
        (dict[int, str], {1: "a"}, b'{"1":"a"}\n'),
        (Annotated[int, Field(gt=0)], 3, b"3\n"),
        (datetime.date, datetime.date(2026, 1, 2), b'"2026-01-02"\n'),
        (bytes, BINARY, b'"//77774="\n'),
        (bytes | int, BINARY, b'"//77774="\n'),
        (list[bytes | str], [BINARY, "a"], b'["//77774=","a"]\n'),
        (Blob, Blob(BINARY), b'{"data":"//77774="}\n'),
        (list[Blob], [Blob(BINARY)], b'[{"data":"//77774="}]\n'),
        (Bag, {"data": b"", "more": [None, b"a"]}, b'{"data":"","more":[null,"YQ=="]}\n'),
    ],
)
def test_a_value_is_written_as_go_would_and_read_back(type_, value, text):
    assert encode(type_, value) == text
    assert decode(type_, text) == value


def test_nothing_is_written_as_null_and_read_from_anything():
    assert encode(type(None), None) == b"null\n"
    assert [decode(type(None), data) for data in (b"", b"{}", b"\xff", b"[")] == [None] * 4


@pytest.mark.parametrize("untyped", [Any, object])
def test_an_untyped_value_goes_by_its_class(untyped):
    assert encode(untyped, {"a": Award(user="b", points=1)}) == b'{"a":{"user":"b","points":1}}\n'
    assert decode(untyped, b'{"a":[1]}') == {"a": [1]}


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_empty_body_is_none_where_the_type_allows_it(data):
    assert decode(Award | None, data) is None
    with pytest.raises(CodecError, match="EOF"):
        decode(Award, data)


def test_fields_are_written_by_alias_and_read_by_alias_or_name():
    order = Order(fullName="Ann")

    assert b'"fullName":"Ann"' in encode(Order, order)
    assert decode(Order, b'{"fullName":"Ann"}') == order
    assert decode(Order, b'{"full_name":"Ann"}') == order


@pytest.mark.parametrize("text", [b"9007199254740993", b'"9007199254740993"'])
def test_a_64_bit_integer_may_come_as_a_number_or_a_string(text):
    assert decode(Award, b'{"user":"a","points":%s}' % text).points == 2**53 + 1


def test_a_go_time_with_nanoseconds_is_read():
    read = decode(datetime.datetime, b'"2024-01-01T00:00:00.123456789Z"')

    assert read == datetime.datetime(2024, 1, 1, 0, 0, 0, 123456, datetime.UTC)


@pytest.mark.parametrize(
    ("type_", "data", "value"),
    [
        (list[int], b"null", []),
        (set[int], b"null", set()),
        (bytes, b"null", b""),
        (Blob, b'{"data":null}', Blob(b"")),
        (Order, b'{"lines":null,"by_day":null}', Order()),
        (Order, b'{"by_day":{"monday":null}}', Order(by_day={"monday": []})),
        (list[list[int]], b"[null,[1],null]", [[], [1], []]),
        (list[Order], b'[{"lines":null},{"lines":null}]', [Order(), Order()]),
    ],
)
def test_null_for_a_nil_slice_or_map_of_go_is_an_empty_one(type_, data, value):
    assert decode(type_, data) == value


def test_null_is_not_taken_for_a_value_that_go_could_not_mean_so():
    with pytest.raises(CodecError) as caught:
        decode(Order, b'{"lines":[null],"by_day":null,"fullName":null}')

    assert caught.value.detail == (
        "fullName: Input should be a valid string; lines.0: Input should be an object"
    )


@pytest.mark.parametrize(
    ("type_", "data", "detail"),
    [
        (Award, b'{"user":1}', "user: Input should be a valid string; points: Field required"),
        (list[Award], b'[{"user":"a","points":{}}]', "0.points: Input should be a valid integer"),
        (int, b'"secret"', "Input should be a valid integer, unable to parse string as an integer"),
        (Award, b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
        (Award, b"[" * 100_000, "Invalid JSON: recursion limit exceeded at line 1 column 202"),
        (Order, b'{"\\u001b[1m":1}', "?[1m: Extra inputs are not permitted"),
        (list[int], b"[" + b"{}," * 1000 + b"{}]", "0: Input should be a valid integer"),
    ],
)
def test_the_error_names_the_path_of_a_wrong_value_and_not_the_value(type_, data, detail):
    with pytest.raises(CodecError) as caught:
        decode(type_, data)

    assert caught.value.detail == detail


def test_bytes_that_are_no_text_are_named():
    # Versions of pydantic-core differ in the column.
    with pytest.raises(CodecError, match=r"Invalid JSON: invalid unicode code point at line 1 "):
        decode(Award, b'"\xff"')


def test_the_text_of_many_errors_is_bounded():
    fields: dict[str, Any] = {f"f{number}": int for number in range(100)}
    with pytest.raises(CodecError, match=r"f7: .*; and 92 more$") as caught:
        decode(create_model("Many", **fields), b"{}")
    assert len(caught.value.detail) < 500
    with pytest.raises(CodecError) as caught:
        decode(Order, b'{"%s":1}' % (b"x" * 10_000))
    assert len(caught.value.detail) < 150


@pytest.mark.parametrize(
    ("type_", "value", "detail"),
    [
        (Award, None, "cannot write None as Award"),
        (Award, {"user": "secret"}, "cannot write a dict as Award"),
        (Award, Order(), "valid dictionary or instance of Award"),
        (Blob, {"data": b""}, "cannot write a dict as Blob"),
        (list[Award], [{"user": "secret"}], "0.points: Field required"),
        (list[Award], [{"user": "secret", "points": 1}], "not of the class that the type names"),
        (float, "secret", "Input should be a valid number"),
        (dict[str, int], {"a": "secret"}, "a: Input should be a valid integer"),
        (Any, object(), "Unable to serialize unknown type: <class 'object'>"),
        (str, "\ud800", "surrogates not allowed"),
    ],
)
def test_a_value_that_cannot_be_written_is_a_codec_error(type_, value, detail):
    with pytest.raises(CodecError) as caught:
        encode(type_, value)

    assert detail in caught.value.detail
    assert "secret" not in caught.value.detail


class Page(BaseModel, Generic[T]):
    items: list[T]


def test_a_generic_model_may_be_made_without_its_parameter():
    assert encode(Page[int], Page(items=[1])) == b'{"items":[1]}\n'
    with pytest.raises(CodecError, match=r"cannot write it as Page\[int\]: items.0: Input should"):
        encode(Page[int], Page(items=["secret"]))


def test_a_value_that_holds_itself_is_a_codec_error():
    value: list[Any] = []
    value.append(value)

    with pytest.raises(CodecError, match="Circular"):
        encode(list[Any], value)


class Picky(BaseModel):
    user: str

    @field_validator("user")
    @classmethod
    def _check(cls, user: str) -> str:
        return {"ann": "Ann"}[user]

    @field_serializer("user")
    def _write(self, user: str) -> str:
        raise LookupError(user)


def test_a_bug_in_a_models_own_code_is_a_codec_error_without_details():
    with pytest.raises(CodecError, match=r"cannot read it as Picky: KeyError$"):
        decode(Picky, b'{"user":"secret"}')
    with pytest.raises(CodecError, match="cannot write it as Picky"):
        encode(Picky, Picky(user="ann"))


class Unserved:
    pass


@pytest.mark.parametrize("type_", [Unserved, list[Unserved], "Unknown", 5])
def test_a_type_that_pydantic_does_not_know_is_refused_by_encoder_and_decoder(type_):
    with pytest.raises(CodecError, match="cannot be carried"):
        CODEC.encoder(type_)
    with pytest.raises(CodecError, match="cannot be carried"):
        CODEC.decoder(type_)


def test_a_pydantic_models_own_way_with_bytes_is_kept():
    class Text(BaseModel):
        data: bytes

    assert encode(Text, Text(data=b"abc")) == b'{"data":"abc"}\n'
    assert decode(list[Text], b'[{"data":"abc"}]') == [Text(data=b"abc")]


AWARDS = st.builds(Award, user=st.text(), points=st.integers(-(2**63), 2**64))
VALUES = st.one_of(
    st.tuples(st.just(Award), AWARDS),
    st.tuples(st.just(list[Award]), st.lists(AWARDS)),
    st.tuples(st.just(bytes), st.binary()),
    st.tuples(
        st.just(dict[str, bytes | None]), st.dictionaries(st.text(), st.binary() | st.none())
    ),
    st.tuples(st.just(float), st.floats(allow_nan=False, allow_infinity=False)),
    st.tuples(st.just(datetime.datetime), st.datetimes()),
    st.tuples(st.just(uuid.UUID), st.uuids()),
    st.tuples(
        st.just(decimal.Decimal), st.decimals(allow_nan=False, allow_infinity=False, places=4)
    ),
    st.tuples(st.just(tuple[int, str]), st.tuples(st.integers(), st.text())),
)


@given(VALUES)
def test_every_value_comes_back_as_it_went(pair):
    type_, value = pair

    assert decode(type_, encode(type_, value)) == value


@given(st.binary() | st.text().map(str.encode))
def test_hostile_bytes_give_a_value_or_a_codec_error(data):
    for type_ in (Award, list[int], Order | None, Any, bytes):
        try:
            decode(type_, data)
        except CodecError as error:
            assert error.detail  # noqa: PT017 - an error is one of two good outcomes
