"""Types and endpoints as the registry tells them, compared with what go-micro writes."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, Required, TypeVar

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from micro.codec import Raw
from micro.handlers.endpoint import endpoint_from_function
from micro.handlers.schema import endpoint_record, subscriber_record, type_in_go, value_record
from micro.handlers.subscriber import subscriber_from_function
from micro.registry.record import EndpointRecord, ValueRecord

T = TypeVar("T")
UserId = NewType("UserId", str)


class Colour(enum.Enum):
    RED = "red"


class Req(BaseModel):
    name: str
    count: int


class Rsp(BaseModel):
    msg: str


def leaf(name: str, type_: str) -> ValueRecord:
    return ValueRecord(name=name, type=type_)


REQ = ValueRecord(name="Req", type="Req", values=(leaf("name", "string"), leaf("count", "int")))
NEEDS = {"required": "name,count"}
RSP = ValueRecord(name="Rsp", type="Rsp", values=(leaf("msg", "string"),))


@pytest.mark.parametrize(
    ("type_", "name"),
    [
        (int, "int"),
        (bool, "bool"),
        (float, "float64"),
        (str, "string"),
        (bytes, "[]uint8"),
        (Raw, "[]uint8"),
        (datetime.datetime, "Time"),
        (datetime.date, "string"),
        (uuid.UUID, "string"),
        (type(None), "Empty"),
        (Any, "any"),
        (object, "any"),
        (T, "any"),
        (Colour, "Colour"),
        (UserId, "string"),
        (Req, "Req"),
        (Req | None, "Req"),
        (Optional[list[Req]], "[]Req"),  # noqa: UP045
        (Annotated[int, Field(gt=0)], "int"),
        (int | str | None, "int|string"),
        (Literal["a", "b"], "string"),
        (Literal["a", 1], "any"),
        (list[Req], "[]Req"),
        (Sequence[int], "[]int"),
        (frozenset[str], "[]string"),
        (tuple[int, ...], "[]int"),
        (tuple[int, str], "[]any"),
        (list, "[]any"),
        (list[list[int]], "[][]int"),
        (dict[str, Req], "map[string]Req"),
        (Mapping[int, float], "map[int]float64"),
        (dict, "map[string]any"),
    ],
)
def test_a_type_is_named_as_in_go(type_, name):
    assert type_in_go(type_) == name


def test_only_named_types_have_a_name_at_the_root():
    assert value_record(bytes) == ValueRecord(name="", type="[]uint8")
    assert value_record(dict[str, int]) == ValueRecord(name="", type="map[string]int")
    assert value_record(int) == ValueRecord(name="int", type="int")


@dataclasses.dataclass
class Line:
    item: str
    price: float | None = None


class Box(TypedDict):
    lines: list[Line]
    colour: NotRequired[Colour]


class Order(BaseModel):
    full_name: str = Field(alias="fullName")
    secret: str = Field(exclude=True, default="")
    line: Line
    box: Box


class Outer(BaseModel):
    order: Order | None


def test_fields_are_described_by_their_names_on_the_wire():
    box = ValueRecord(
        name="box", type="Box", values=(leaf("lines", "[]Line"), leaf("colour", "Colour"))
    )
    line = ValueRecord(
        name="line", type="Line", values=(leaf("item", "string"), leaf("price", "float64"))
    )

    assert value_record(Order).values == (leaf("fullName", "string"), line, box)


def test_the_tree_ends_at_three_levels():
    (order,) = value_record(Outer).values

    assert [value.name for value in order.values] == ["fullName", "line", "box"]
    assert all(not value.values for value in order.values)


class Tree(BaseModel):
    children: list[Tree]
    parent: Tree | None


def test_a_type_that_holds_itself_ends_too():
    parent = value_record(Tree).values[1]

    assert parent == ValueRecord(
        name="parent", type="Tree", values=(leaf("children", "[]Tree"), leaf("parent", "Tree"))
    )


def test_local_types_that_cannot_be_resolved_are_named_without_theirs():
    class Local:
        pass

    @dataclasses.dataclass
    class Holder:
        local: Local

    assert value_record(Holder).values == (leaf("local", "any"),)


def test_the_record_of_a_unary_endpoint_is_as_go_micros():
    async def hello(request: Req) -> Rsp: ...

    record = endpoint_record(endpoint_from_function(hello, service="greeter"))

    assert record == EndpointRecord(name="Greeter.Hello", request=REQ, response=RSP, metadata=NEEDS)


def test_the_record_of_a_stream_is_as_go_micros_with_its_types_in_metadata():
    async def chat(requests: AsyncIterator[Req]) -> AsyncIterator[list[Rsp]]:
        yield []

    record = endpoint_record(endpoint_from_function(chat, service="greeter"))

    assert record == EndpointRecord(
        name="Greeter.Chat",
        request=leaf("Context", "Context"),
        response=leaf("Stream", "Stream"),
        metadata={
            **NEEDS,
            "stream": "true",
            "kind": "bidirectional",
            "request": "Req",
            "response": "[]Rsp",
        },
    )


def test_metadata_tells_whether_an_endpoint_is_idempotent():
    async def find(request: Req) -> None: ...

    made = endpoint_from_function(
        find, service="greeter", idempotent=True, metadata={"owner": "ann"}
    )

    assert endpoint_record(made).metadata == {"owner": "ann", "idempotent": "true", **NEEDS}


def test_the_record_of_a_subscriber_is_as_go_micros():
    async def on_event(event: Req) -> None: ...

    record = subscriber_record(subscriber_from_function(on_event, "greeter.events"))

    assert record == EndpointRecord(
        name="OnEvent",
        request=REQ,
        response=None,
        metadata={"subscriber": "true", "topic": "greeter.events", **NEEDS},
    )


class Search(BaseModel):
    text: str = Field(alias="q")
    limit: int = 10
    secret: str = Field(exclude=True)
    tags: list[str] = []


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0
    labels: list[str] = dataclasses.field(default_factory=list)


class Address(TypedDict, total=False):
    street: Required[str]
    town: str


@pytest.mark.parametrize(
    ("type_", "required"),
    [
        (Search, "q"),
        (Search | None, "q"),
        (Point, "x"),
        (Address, "street"),
        (Rsp, "msg"),
        (int, None),
        (list[Search], None),
        (dict[str, int], None),
    ],
)
def test_metadata_tells_the_required_fields_of_a_request(type_, required):
    async def find(request) -> None: ...

    find.__annotations__["request"] = type_
    record = endpoint_record(endpoint_from_function(find, service="greeter"))

    assert record.metadata.get("required") == required


@pytest.mark.parametrize(
    ("text", "description"),
    [
        (None, None),
        ("Find a greeting.", "Find a greeting."),
        ("\n    Find it.\n\n    In more words.\n", "Find it."),
        ("x" * 500, "x" * 117 + "..."),
    ],
)
def test_metadata_has_the_first_line_of_the_docstring(text, description):
    async def find() -> None: ...

    find.__doc__ = text
    event = subscriber_record(subscriber_from_function(find, "greeter.events"))
    endpoint = endpoint_record(endpoint_from_function(find, service="greeter"))

    assert endpoint.metadata.get("description") == description
    assert event.metadata.get("description") == description


def test_metadata_of_the_handlers_own_wins():
    async def find() -> None:
        """Find it."""

    made = endpoint_from_function(find, service="greeter", metadata={"description": "mine"})

    assert endpoint_record(made).metadata == {"description": "mine"}
