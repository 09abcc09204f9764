from __future__ import annotations

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from micro import errors
from micro.errors import (
    BadRequest,
    CodecError,
    InternalError,
    MicroError,
    NoResponders,
    NotFound,
    Unavailable,
    error_from_wire,
    error_to_wire,
)

CLASSES = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, MicroError)
]
# These have the code of a class above them; the wire says the code only.
REBUILT_AS = {
    "CodecError": "BadRequest",
    "InvalidName": "BadRequest",
    "TransportError": "Unavailable",
    "ConnectionLost": "Unavailable",
    "SocketClosed": "Unavailable",
    "NoResponders": "Unavailable",
    "MicroError": "InternalError",
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


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_public_documented_and_can_be_copied(cls: type[MicroError]) -> None:
    error = cls("detail")

    assert cls.__doc__
    assert cls.__name__ in errors.__all__
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.detail, twin.code) == (cls, "detail", cls.code)


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


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotFound("no such user"), "404 no such user"),
        (NotFound(), "404 Not Found"),
        (MicroError(code=799), "799 "),
    ],
)
def test_an_error_reads_well(error: MicroError, text: str) -> None:
    assert str(error) == text


def test_nobody_listening_means_that_nothing_ran() -> None:
    error = NoResponders("nobody", bundle=3)

    assert error.refused
    assert error.bundle == 3
    assert isinstance(error, Unavailable)
    assert NoResponders().bundle is None


def test_an_error_is_not_refused_unless_it_says_so() -> None:
    assert not Unavailable("x").refused
    assert Unavailable("x", refused=True).refused
    assert isinstance(CodecError("x"), BadRequest)


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
