from __future__ import annotations

import sys
import threading
import typing
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import BaseModel
from typing_extensions import TypedDict

from micro import Codec, Service
from micro.codec import Raw
from micro.codec.contract import Decoder, Encoder
from micro.errors import HandlerError
from tests.engine import running


class Plain:
    def __init__(self, user: str) -> None:
        self.user = user


class Shape(Protocol):
    user: str


class OldTypedDict(typing.TypedDict):
    user: str


class NewTypedDict(TypedDict):
    user: str


@dataclass
class Holder:
    plain: list[Plain]


WRONG: list[Any] = [
    Plain,
    Exception,
    ValueError,
    Shape,
    Plain | None,
    list[Plain],
    dict[str, Plain],
    Holder,
    Callable[[], int],
    type[int],
    threading.Event,
]
GOOD: list[Any] = [
    int,
    Any,
    object,
    None,
    bytes,
    memoryview,
    Raw,
    NewTypedDict,
    StringValue,
    list[NewTypedDict],
]


def serve(kind: str, type_: Any, codecs: tuple[Codec, ...] = ()) -> Service:
    """A service with one function that has the type in one place."""
    service = Service("points", codecs=codecs)

    async def request(value: type_) -> None: ...
    async def response() -> type_: ...
    async def event(value: type_) -> None: ...
    async def collect(values: AsyncIterator[type_]) -> None: ...

    async def produce() -> AsyncIterator[type_]:
        yield

    functions = {each.__name__: each for each in (request, response, event, collect, produce)}
    for function in functions.values():
        function.__annotations__ = {
            name: eval(text, {**globals(), "type_": type_, "AsyncIterator": AsyncIterator})
            for name, text in function.__annotations__.items()
        }
    decorate: Callable[[Any], Any] = service.handler
    if kind == "event":
        decorate = service.subscriber("topic")
    decorate(functions[kind])
    return service


@pytest.mark.parametrize("kind", ["request", "response", "event", "collect", "produce"])
@pytest.mark.parametrize("type_", WRONG, ids=str)
def test_a_type_that_cannot_be_sent_is_refused_where_it_stands(kind: str, type_: Any) -> None:
    with pytest.raises(HandlerError, match=r"test_servable\.py:\d+\): its \w+ type") as caught:
        serve(kind, type_)

    assert "cannot be sent" in caught.value.detail
    assert "a pydantic model, a dataclass, a TypedDict" in caught.value.detail


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="pydantic reads it from 3.12 on")
def test_a_typed_dict_of_the_wrong_module_is_refused_with_the_right_one() -> None:
    with pytest.raises(HandlerError, match=r"use `typing_extensions\.TypedDict`"):
        serve("request", OldTypedDict)


@pytest.mark.parametrize("kind", ["request", "response", "event", "collect", "produce"])
@pytest.mark.parametrize("type_", GOOD, ids=str)
def test_a_type_that_some_codec_carries_is_served(kind: str, type_: Any) -> None:
    serve(kind, type_)


class PlainCodec(Codec):
    @property
    def content_type(self) -> str:
        return "application/x-plain"

    def encoder(self, type_: Any) -> Encoder:
        return lambda value: repr(value).encode()

    def decoder(self, type_: Any) -> Decoder:
        return lambda data: Plain(data.decode())


async def test_a_codec_of_the_services_own_may_carry_what_others_do_not() -> None:
    async with running(serve("request", Plain, (PlainCodec(),))) as client:
        answer = await client.call(
            "points", "Points.Request", Raw(b"ann"), Plain, content_type="application/x-plain"
        )

    assert isinstance(answer, Plain)


class Order(BaseModel):
    items: list[Item]


class Unfinished(BaseModel):
    items: list[Nowhere]  # noqa: F821  # type: ignore[name-defined]


EARLY = Service("early")


@EARLY.handler
async def place(order: Order) -> int:
    return len(order.items)


class Item(BaseModel):
    sku: str


async def test_a_model_may_name_one_that_is_defined_after_the_handler() -> None:
    async with running(EARLY) as client:
        assert await client.call("early", "Early.Place", Order(items=[Item(sku="a")])) == 1


async def test_a_name_that_is_never_defined_stops_the_start() -> None:
    service = serve("request", Unfinished)

    with pytest.raises(HandlerError, match=r"its request type Unfinished .* not defined"):
        async with running(service):
            raise AssertionError("it started")
