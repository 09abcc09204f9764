"""What is read from a function's annotations, and what is refused."""

from __future__ import annotations

import functools
import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Optional, Protocol

import pytest

from micro.context import Context
from micro.errors import HandlerError, InvalidName
from micro.handlers.endpoint import (
    Endpoint,
    Kind,
    endpoint_from_function,
    endpoint_name,
    endpoints_from_object,
)
from micro.handlers.subscriber import subscriber_from_function
from micro.names import camel_case

if TYPE_CHECKING:
    from micro.message import Message

CONTEXT = Context("points", "Points.Award", {})


class Award:
    pass


class Balance:
    pass


def endpoint(function: Callable[..., Any], **options: Any) -> Endpoint:
    return endpoint_from_function(function, service="points", **options)


async def unary(request: Award) -> Balance: ...
async def unary_context(request: Award, ctx: Context) -> Balance: ...
async def context_first(ctx: Context, request: Award) -> Balance: ...
async def context_only(ctx: Context) -> Balance: ...
async def nothing() -> None: ...
async def no_return(request: Award): ...
async def never(request: Award) -> NoReturn: ...
async def by_name(*, ctx: Context, request: Award) -> Balance: ...
async def optional_context(request: Award, ctx: Context | None = None) -> Balance: ...
async def old_optional_context(request: Award, ctx: Optional[Context] = None) -> Balance: ...  # noqa: UP045
async def annotated_context(request: Award, ctx: Annotated[Context, "x"]) -> Balance: ...
def plain(request: Award) -> Balance: ...
def plain_context(ctx: Context) -> None: ...


async def server_stream(request: Award) -> AsyncIterator[Balance]:
    yield Balance()


async def server_generator(request: Award) -> AsyncGenerator[Balance, None]:
    yield Balance()


async def server_annotated(request: Award) -> Annotated[AsyncIterator[Balance], "doc"]:
    yield Balance()


async def nothing_stream() -> AsyncIterable[None]:
    yield None


async def client_stream(requests: AsyncIterator[Award]) -> Balance: ...
async def client_iterable(requests: AsyncIterable[Award], ctx: Context) -> Balance: ...
async def client_generator(requests: AsyncGenerator[Award, None]) -> Balance: ...


async def chat(requests: AsyncIterator[Award]) -> AsyncIterator[Balance]:
    yield Balance()


NONE = type(None)


@pytest.mark.parametrize(
    ("function", "kind", "request_type", "response_type", "blocking"),
    [
        (unary, Kind.UNARY, Award, Balance, False),
        (unary_context, Kind.UNARY, Award, Balance, False),
        (context_first, Kind.UNARY, Award, Balance, False),
        (context_only, Kind.UNARY, NONE, Balance, False),
        (nothing, Kind.UNARY, NONE, NONE, False),
        (no_return, Kind.UNARY, Award, NONE, False),
        (never, Kind.UNARY, Award, NONE, False),
        (by_name, Kind.UNARY, Award, Balance, False),
        (optional_context, Kind.UNARY, Award, Balance, False),
        (old_optional_context, Kind.UNARY, Award, Balance, False),
        (annotated_context, Kind.UNARY, Award, Balance, False),
        (plain, Kind.UNARY, Award, Balance, True),
        (plain_context, Kind.UNARY, NONE, NONE, True),
        (server_stream, Kind.SERVER_STREAM, Award, Balance, False),
        (server_generator, Kind.SERVER_STREAM, Award, Balance, False),
        (server_annotated, Kind.SERVER_STREAM, Award, Balance, False),
        (nothing_stream, Kind.SERVER_STREAM, NONE, NONE, False),
        (client_stream, Kind.CLIENT_STREAM, Award, Balance, False),
        (client_iterable, Kind.CLIENT_STREAM, Award, Balance, False),
        (client_generator, Kind.CLIENT_STREAM, Award, Balance, False),
        (chat, Kind.BIDIRECTIONAL, Award, Balance, False),
    ],
)
def test_a_function_is_served_according_to_its_annotations(
    function, kind, request_type, response_type, blocking
):
    made = endpoint(function)

    assert (made.kind, made.request_type, made.response_type) == (kind, request_type, response_type)
    assert made.blocking == blocking
    assert made.takes_request == (function.__name__ not in _TAKE_NOTHING)
    assert made.handler is function


_TAKE_NOTHING = ("context_only", "nothing", "plain_context", "nothing_stream")


def test_a_kind_knows_which_ways_stream():
    ways = {kind: (kind.streams_requests, kind.streams_responses, kind.is_stream) for kind in Kind}

    assert ways == {
        Kind.UNARY: (False, False, False),
        Kind.SERVER_STREAM: (False, True, True),
        Kind.CLIENT_STREAM: (True, False, True),
        Kind.BIDIRECTIONAL: (True, True, True),
    }


def both(request: int, ctx: Context) -> Any:
    return request, ctx


def swapped(ctx: Context, request: int) -> Any:
    return request, ctx


def named(*, request: int, ctx: Context) -> Any:
    return request, ctx


def one_named(request: int, *, ctx: Context) -> Any:
    return request, ctx


def other_named(ctx: Context, *, request: int) -> Any:
    return request, ctx


def positional(ctx: Context, request: int, /) -> Any:
    return request, ctx


def only_request(request: int) -> Any:
    return request


def only_request_named(*, request: int) -> Any:
    return request


def only_context(ctx: Context) -> Any:
    return ctx


def only_context_named(*, ctx: Context) -> Any:
    return ctx


def neither() -> Any:
    return "neither"


@pytest.mark.parametrize(
    ("function", "result"),
    [
        (both, (5, CONTEXT)),
        (swapped, (5, CONTEXT)),
        (named, (5, CONTEXT)),
        (one_named, (5, CONTEXT)),
        (other_named, (5, CONTEXT)),
        (positional, (5, CONTEXT)),
        (only_request, 5),
        (only_request_named, 5),
        (only_context, CONTEXT),
        (only_context_named, CONTEXT),
        (neither, "neither"),
    ],
)
def test_bind_fills_each_parameter_by_its_annotation(function, result):
    assert endpoint(function).bind(5, CONTEXT) == result


def test_binding_the_common_order_costs_nothing():
    assert endpoint(both).bind is both


async def test_bind_gives_an_awaitable_or_an_async_generator():
    assert await endpoint(nothing).bind(None, CONTEXT) is None
    assert inspect.isasyncgen(endpoint(server_stream).bind(Award(), CONTEXT))


class Owner:
    def method(self, request): ...


async def no_annotation(request) -> None: ...
async def two_requests(first: Award, second: Balance) -> None: ...
async def extra_default(request: Award, retries: int = 3) -> None: ...
async def request_default(request: Award | None = None) -> None: ...
async def keyword_only(request: Award, *, retries: int) -> None: ...
async def two_contexts(a: Context, b: Context) -> None: ...
async def star(request: Award, *rest: Award) -> None: ...
async def star_star(request: Award, **rest: Award) -> None: ...
async def returns_iterator(request: Award) -> AsyncIterator[Balance]: ...
async def returns_awaitable(request: Award) -> Awaitable[Balance]: ...
async def returns_generator(request: Award) -> Generator[Balance, None, None]: ...
async def bare_stream(requests: AsyncIterator) -> None: ...
async def hidden_import(request: Message) -> None: ...
async def bad_syntax(request: Award[0]) -> None: ...
async def bad_expression(request: "Award |") -> None: ...  # noqa: F722
def plain_iterator(request: Award) -> AsyncIterator[Balance]: ...
def plain_awaitable(request: Award) -> Awaitable[Balance]: ...
def plain_client_stream(requests: AsyncIterator[Award]) -> Balance: ...


def plain_generator(request: Award) -> Iterator[Balance]:
    yield Balance()


async def unsaid_stream(request: Award):
    yield Balance()


async def wrong_stream(request: Award) -> Balance:
    yield Balance()


async def bare_yield(request: Award) -> AsyncIterator:
    yield Balance()


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (no_annotation, "'request' has no annotation; write its type, as in 'request: Award'"),
        (two_requests, "'second' is one parameter too many after 'first'"),
        (extra_default, "'retries' is one parameter too many after 'request'"),
        (keyword_only, "'retries' is one parameter too many"),
        (request_default, "'request' has a default that would never be used"),
        (two_contexts, "'a' and 'b' are both a Context"),
        (star, "'*rest' gets no value; remove it"),
        (star_star, "'**rest' gets no value; remove it"),
        (returns_iterator, "it returns an AsyncIterator but has no 'yield'"),
        (plain_iterator, "it returns an AsyncIterator but has no 'yield'"),
        (returns_awaitable, "it returns Awaitable, which cannot be sent"),
        (returns_generator, "it returns Generator, which cannot be sent"),
        (plain_awaitable, "it returns something to await; write 'async def'"),
        (plain_client_stream, "a stream of requests needs 'async def', not 'def'"),
        (plain_generator, "a stream is an async generator: write 'async def'"),
        (unsaid_stream, "annotate '-> AsyncIterator[T]'"),
        (wrong_stream, "annotate '-> AsyncIterator[T]'"),
        (bare_yield, "the return type's AsyncIterator does not say of what"),
        (bare_stream, "the request's AsyncIterator does not say of what"),
        (hidden_import, "the name 'Message' in its annotations is not defined"),
        (bad_syntax, "its annotations cannot be evaluated"),
        (bad_expression, "its annotations cannot be evaluated"),
        (Owner.method, "it is a method without its object"),
    ],
)
def test_a_bad_signature_is_refused_with_its_line_and_what_to_write(function, text):
    with pytest.raises(HandlerError) as caught:
        endpoint(function)

    line = function.__code__.co_firstlineno
    assert caught.value.detail.startswith(f"{function.__qualname__} ({__file__}:{line}): ")
    assert text in caught.value.detail


@pytest.mark.parametrize("thing", [functools.partial(unary), len, Award()])
def test_only_functions_are_endpoints(thing):
    with pytest.raises(HandlerError, match="not a function or method written in Python"):
        endpoint(thing, name="Points.Award")


def test_local_types_are_found_in_the_decorating_frames_locals():
    class Local:
        pass

    async def handler(request: Local) -> AsyncIterator[Local]:
        yield request

    made = endpoint(handler, localns=locals())

    assert (made.request_type, made.response_type) == (Local, Local)
    with pytest.raises(HandlerError, match="the name 'Local'"):
        endpoint(handler)


def test_metadata_of_types_is_kept():
    async def handler(request: Annotated[int, "positive"]) -> Annotated[str, "short"]: ...

    assert endpoint(handler).request_type == Annotated[int, "positive"]
    assert endpoint(handler).response_type == Annotated[str, "short"]


def test_a_wrapped_function_is_served_as_what_it_wraps():
    def traced(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    assert endpoint(traced(unary)).blocking is False
    assert endpoint(traced(unary)).name == "Points.Unary"
    assert endpoint(traced(server_stream)).kind is Kind.SERVER_STREAM
    assert endpoint(traced(plain)).blocking is True


@pytest.mark.parametrize(
    ("service", "method", "name"),
    [
        ("points", "award", "Points.Award"),
        ("shop.order-items", "find_one", "OrderItems.FindOne"),
        ("order_items", "order_items", "OrderItems.OrderItems"),
        ("a.b.c", "getURL", "C.GetURL"),
        ("Points", "_hidden", "Points.Hidden"),
        ("points", "v2_", "Points.V2"),
    ],
)
def test_an_endpoint_is_named_after_its_service_and_function(service, method, name):
    assert endpoint_name(service, method) == name


def test_camel_case_keeps_a_name_in_camel_case():
    assert [camel_case(name) for name in ("OrderItems", "order__items", "")] == [
        "OrderItems",
        "OrderItems",
        "",
    ]


def test_an_explicit_name_is_taken_or_refused():
    assert endpoint(unary, name="Ledger.Close").name == "Ledger.Close"
    for name in ("Close", "", "a.b.c", "Ledger.>", "Ledger. Close"):
        with pytest.raises(InvalidName, match="it must look like"):
            endpoint(unary, name=name)


@pytest.mark.parametrize("service", ["4u", "a.1"])
def test_a_default_name_that_cannot_be_used_is_refused(service):
    with pytest.raises(InvalidName, match=r"unary \(.*give it a name, as in 'Points.Award'"):
        endpoint_from_function(unary, service=service)


def test_options_are_kept():
    metadata = {"owner": "ann"}
    made = endpoint(unary, idempotent=True, max_concurrency=3, metadata=metadata)
    metadata["owner"] = "bob"

    assert (made.idempotent, made.max_concurrency) == (True, 3)
    assert made.metadata == {"owner": "ann"}
    assert hash(made) == hash(made)


def test_defaults_are_neither_idempotent_nor_bounded():
    made = endpoint(unary)

    assert (made.idempotent, made.max_concurrency, dict(made.metadata)) == (False, None, {})


@pytest.mark.parametrize("most", [0, -1])
def test_a_bound_below_one_is_refused(most):
    with pytest.raises(HandlerError, match="max_concurrency must be at least 1"):
        endpoint(unary, max_concurrency=most)


class Books:
    class Entry:
        pass

    kept = 5

    async def open(self, request: Award) -> Balance: ...

    async def entries(self, request: Award) -> AsyncIterator[Entry]:
        yield self.Entry()


class Ledger(Books):
    def __init__(self, name: str = "main") -> None:
        self.name = name

    async def close_day(self, request: Award, ctx: Context) -> str:
        return self.name

    def report(self) -> str:
        return self.name

    async def _audit(self, request) -> None: ...

    @property
    def total(self) -> int:
        return 1

    @staticmethod
    def static(x): ...

    @classmethod
    def make(cls, x): ...


def test_each_public_method_of_a_class_is_an_endpoint_inherited_ones_first():
    made = endpoints_from_object(Ledger, idempotent=True)

    assert [(each.name, each.kind, each.blocking) for each in made] == [
        ("Ledger.Open", Kind.UNARY, False),
        ("Ledger.Entries", Kind.SERVER_STREAM, False),
        ("Ledger.CloseDay", Kind.UNARY, False),
        ("Ledger.Report", Kind.UNARY, True),
    ]
    assert all(each.idempotent for each in made)


async def test_the_methods_of_an_object_are_bound_to_it():
    made = {each.name: each for each in endpoints_from_object(Ledger("second"))}

    assert await made["Ledger.CloseDay"].bind(Award(), CONTEXT) == "second"
    assert made["Ledger.Report"].bind(None, CONTEXT) == "second"


def test_classes_in_a_classs_body_can_be_named_by_its_methods():
    class Shop:
        class Item:
            pass

        async def buy(self, request: Item) -> None: ...

    (made,) = endpoints_from_object(Shop, localns=locals())

    assert made.request_type is Shop.Item


class Contract(Protocol):
    async def award(self, request: Award) -> Balance: ...


class NeedsName:
    def __init__(self, name: str) -> None: ...

    async def award(self, request: Award) -> Balance: ...


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (NeedsName, "cannot be made without arguments .*'name'.*; pass an instance"),
        (Contract, "class Contract: it is abstract; pass an instance"),
        (Award, "class Award: it has no public methods to serve"),
        (5, "class int: it has no public methods to serve"),
    ],
)
def test_an_object_that_cannot_be_served_is_refused(target, text):
    with pytest.raises(HandlerError, match=text):
        endpoints_from_object(target)


async def on_order(event: Award, ctx: Context) -> None: ...
def on_paid(event: Award) -> int: ...
async def on_tick() -> None: ...


@pytest.mark.parametrize(
    ("function", "name", "event_type", "takes_event", "blocking"),
    [
        (on_order, "OnOrder", Award, True, False),
        (on_paid, "OnPaid", Award, True, True),
        (on_tick, "OnTick", NONE, False, False),
        (Ledger().open, "Ledger.Open", Award, True, False),
    ],
)
def test_a_subscriber_is_called_according_to_its_annotations(
    function, name, event_type, takes_event, blocking
):
    made = subscriber_from_function(function, "orders.*", queue="points")

    assert (made.name, made.topic, made.queue) == (name, "orders.*", "points")
    assert (made.event_type, made.takes_event) == (event_type, takes_event)
    assert made.blocking == blocking


def test_a_subscriber_without_a_queue_gets_every_event():
    assert subscriber_from_function(on_order, "orders.created").queue is None


@pytest.mark.parametrize("function", [server_stream, client_stream, chat])
def test_a_subscriber_does_not_stream(function):
    with pytest.raises(HandlerError, match="a subscriber is called once for each event"):
        subscriber_from_function(function, "orders.created")


@pytest.mark.parametrize(("topic", "queue"), [("a..b", None), ("", None), ("a", ""), ("a", "b >")])
def test_a_bad_topic_or_queue_is_refused(topic, queue):
    with pytest.raises(InvalidName):
        subscriber_from_function(on_order, topic, queue=queue)
