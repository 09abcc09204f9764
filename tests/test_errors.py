from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import ClassVar

import pytest

from micro import errors
from micro.errors import (
    BadRequest,
    CodecError,
    Conflict,
    MicroError,
    NoResponders,
    NotFound,
    Unavailable,
)

CLASSES = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, MicroError)
]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_error_is_public_documented_and_can_be_copied(cls: type[MicroError]) -> None:
    error = cls("detail")

    assert cls.__doc__
    assert cls.__name__ in errors.__all__
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (type(twin), twin.detail, twin.code) == (cls, "detail", cls.code)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (NotFound("no such user"), "404 no such user"),
        (NotFound(), "404 Not Found"),
        (MicroError(code=799), "799 "),
    ],
)
def test_the_text_of_an_error_is_its_code_and_detail(error: MicroError, text: str) -> None:
    assert str(error) == text


def test_no_responders_means_that_nothing_ran() -> None:
    error = NoResponders("nobody", bundle=3)

    assert error.refused
    assert error.bundle == 3
    assert isinstance(error, Unavailable)
    assert NoResponders().bundle is None


def test_an_error_is_not_refused_unless_it_says_so() -> None:
    assert not Unavailable("x").refused
    assert Unavailable("x", refused=True).refused
    assert isinstance(CodecError("x"), BadRequest)


def test_a_missed_deadline_is_a_timeout_too() -> None:
    with pytest.raises(TimeoutError):
        raise errors.DeadlineExceeded("no answer in time")


class Declared(Conflict):
    limit: int = 5
    sku: str
    shared: ClassVar[int] = 1
    _secret: str = "hidden"


@dataclass(frozen=True)
class Frozen(Conflict):
    sku: str


@dataclass
class Made(Conflict):
    sku: str
    left: int = 0


class Constructed(Made):
    def __init__(self, sku: str, *, reason: str) -> None:
        super().__init__(sku)
        self.reason = reason
        self.internal = object()


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (
            Declared("x", details={"sku": "A1", "more": [1]}),
            {"sku": "A1", "more": [1], "limit": 5},
        ),
        (Made("A1", 2), {"sku": "A1", "left": 2}),
        (Constructed("A1", reason="sold"), {"sku": "A1", "left": 0, "reason": "sold"}),
        (Conflict("x", details={"a": 1}), {"a": 1}),
        (Conflict("x"), {}),
    ],
    ids=["annotated", "dataclass", "constructed", "given", "none"],
)
def test_details_are_what_was_given_and_the_declared_fields(
    error: MicroError, details: dict[str, object]
) -> None:
    assert error.details == details


def test_given_details_fill_the_fields_of_their_names() -> None:
    assert Declared("x", details={"sku": "A1"}).sku == "A1"


@pytest.mark.parametrize("error", [Made("A1", 2), Constructed("A1", reason="sold"), Frozen("A1")])
def test_an_error_with_a_constructor_of_its_own_can_be_copied(error: MicroError) -> None:
    twin = copy.copy(error)

    assert type(twin) is type(error)
    assert (twin.details, twin.code, str(twin)) == (error.details, 409, str(error))


def test_only_the_applications_classes_are_kinds() -> None:
    assert Constructed("A1", reason="sold").kinds == ("Constructed", "Made")
    assert NoResponders("gone").kinds == ()


def test_what_writes_and_reads_errors_can_still_be_imported_from_here() -> None:
    from micro.errors import error_from_wire, error_to_wire

    assert error_from_wire(error_to_wire(NotFound("no such user"))).code == 404
    with pytest.raises(ImportError):
        from micro.errors import error_to_nowhere  # noqa: F401
