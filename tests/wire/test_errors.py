from __future__ import annotations

import json
import logging
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro import errors
from micro.errors import BadRequest, Conflict, InternalError, MicroError, NotFound
from micro.wire.errors import MAX_DETAILS_BYTES, error_from_wire, error_to_wire

CLASSES = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, MicroError)
]
# These have the code of a class above them; the wire says the code only.
REBUILT_AS = {
    "CodecError": "BadRequest",
    "DeliveryLost": "Conflict",
    "InvalidName": "BadRequest",
    "QueueFull": "ResourceExhausted",
    "ServiceUnavailable": "Unavailable",
    "TransportError": "Unavailable",
    "ConnectionLost": "Unavailable",
    "SocketClosed": "Unavailable",
    "NoResponders": "Unavailable",
    "NoSubscribers": "Unavailable",
    "MicroError": "InternalError",
    "Unsupported": "Unimplemented",
    "UsageError": "InternalError",
    "ConfigError": "InternalError",
    "PluginError": "InternalError",
    "HandlerError": "InternalError",
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_crosses_the_wire(cls: type[MicroError]) -> None:
    error = cls("what went wrong: Zoë ☃")
    error.id = "points"
    rebuilt = error_from_wire(error_to_wire(error))

    assert type(rebuilt).__name__ == REBUILT_AS.get(cls.__name__, cls.__name__)
    assert isinstance(rebuilt, MicroError)
    assert (rebuilt.code, rebuilt.detail, rebuilt.id) == (error.code, error.detail, "points")
    assert rebuilt.status == error.status


@pytest.mark.parametrize(
    ("text", "cls", "code", "detail", "id"),
    [
        # Written by go-micro's errors package, v2 to v6.
        (
            '{"id":"go.micro.client","code":408,"detail":"request timeout",'
            '"status":"Request Timeout"}',
            errors.DeadlineExceeded,
            408,
            "request timeout",
            "go.micro.client",
        ),
        (
            '{"id":"go.micro.client","code":500,"detail":"service points: not found",'
            '"status":"Internal Server Error"}',
            InternalError,
            500,
            "service points: not found",
            "go.micro.client",
        ),
        ('{"Id":"x","Code":404}', InternalError, 500, "", ""),
        ('{"detail":"no code"}', InternalError, 500, "no code", ""),
        ('{"id":"x","code":418,"detail":"teapot"}', MicroError, 418, "teapot", "x"),
        ('{"code":404}', NotFound, 404, "", ""),
        ('{"code":0,"detail":"zero"}', InternalError, 500, "zero", ""),
        ('{"code":-5}', InternalError, 500, "", ""),
        ('{"code":"404"}', InternalError, 500, "", ""),
        ('{"code":404.0}', InternalError, 500, "", ""),
        # A handler's plain error is bare text.
        ("boom", InternalError, 500, "boom", ""),
        ("", InternalError, 500, "", ""),
        ("[1]", InternalError, 500, "[1]", ""),
        ('"text"', InternalError, 500, '"text"', ""),
        ("{", InternalError, 500, "{", ""),
        ("404", InternalError, 500, "404", ""),
    ],
)
def test_go_micros_texts_are_read(
    text: str, cls: type[MicroError], code: int, detail: str, id: str
) -> None:
    error = error_from_wire(text)

    assert type(error) is cls
    assert (error.code, error.detail, error.id) == (code, detail, id)


def test_the_text_is_as_go_micro_writes_it() -> None:
    text = error_to_wire(NotFound("no such user", id="points"))

    assert text == '{"id":"points","code":404,"detail":"no such user","status":"Not Found"}'


def test_empty_fields_are_left_out() -> None:
    assert json.loads(error_to_wire(MicroError(code=799))) == {"code": 799}


def test_the_text_is_one_line_of_ascii() -> None:
    text = error_to_wire(BadRequest("a\r\nb\x00 ☃"))

    assert text.isascii()
    assert text.isprintable()


def test_a_code_of_ones_own_travels() -> None:
    error = error_from_wire(error_to_wire(BadRequest("unsupported", code=415)))

    assert error.code == 415
    assert error.status == "Unsupported Media Type"


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    assert isinstance(error_from_wire(text), MicroError)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.sampled_from(["code", "detail", "id", "status"]),
)
def test_no_json_breaks_the_reading(value: object, field: str) -> None:
    error = error_from_wire(json.dumps({field: value}))

    assert isinstance(error.code, int)
    assert error.code > 0
    assert isinstance(error.detail, str)
    assert isinstance(error.status, str)


def test_deep_and_long_texts_are_harmless() -> None:
    assert isinstance(error_from_wire("[" * 200_000), MicroError)
    assert isinstance(error_from_wire('{"code":' + "9" * 10_000 + "}"), MicroError)


class StockError(Conflict):
    """Something about the stock."""


class OutOfStock(StockError):
    """Fewer are left than were ordered."""

    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"only {left} of {sku} left")
        self.sku = sku
        self.left = left
        self.connection = object()


def test_the_fields_and_classes_of_an_applications_error_cross_the_wire() -> None:
    error = error_from_wire(error_to_wire(OutOfStock("A1", 2)))

    assert type(error) is Conflict
    assert error.detail == "only 2 of A1 left"
    assert error.details == {"sku": "A1", "left": 2}
    assert error.kinds == ("OutOfStock", "StockError")


def test_go_micro_finds_its_own_members_where_they_were() -> None:
    fields = json.loads(error_to_wire(OutOfStock("A1", 2)))

    assert list(fields) == ["code", "detail", "status", "kinds", "details"]


def test_details_are_written_as_json_has_them() -> None:
    details = {"due": date(2026, 5, 1), "price": Decimal("1.50"), "codes": (1, 2)}
    error = error_from_wire(error_to_wire(NotFound("gone", details=details)))

    assert error.details == {"due": "2026-05-01", "price": "1.50", "codes": [1, 2]}


@pytest.mark.parametrize(
    "value",
    [object(), float("nan"), float("inf"), "x" * MAX_DETAILS_BYTES],
    ids=["object", "nan", "inf", "large"],
)
def test_details_that_cannot_be_sent_are_left_out_and_logged(
    value: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "micro.errors"):
        error = error_from_wire(error_to_wire(NotFound("gone", details={"value": value})))

    assert (error.detail, error.details) == ("gone", {})
    assert "details of NotFound were left out" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        '{"code":409,"details":[1],"kinds":"OutOfStock"}',
        '{"code":409,"details":"x","kinds":{"a":1}}',
        '{"code":409,"details":null,"kinds":[1,null,["x"]]}',
    ],
)
def test_details_and_kinds_of_other_shapes_are_ignored(text: str) -> None:
    error = error_from_wire(text)

    assert (type(error), error.details, error.kinds) == (Conflict, {}, ())


def test_an_error_that_is_passed_on_keeps_its_details_and_classes() -> None:
    first = error_from_wire(error_to_wire(OutOfStock("A1", 2)))
    second = error_from_wire(error_to_wire(first))

    assert (second.details, second.kinds) == (first.details, first.kinds)
