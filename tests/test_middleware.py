# ruff: noqa: SIM117  a stream and the service that it needs are two things
"""One shape of middleware on all mounts, over memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from micro import (
    Context,
    Forbidden,
    InternalError,
    NotFound,
    Request,
    Response,
    Service,
    Unauthorized,
)
from micro.middleware import Layer, Next, fold
from micro.testing import Signal
from tests.engine import ANN, Award, Balance, running


def note(name: str, seen: list[str]) -> Layer:
    """A layer that says when it is entered and left."""

    async def layer(request: Request, next: Next) -> Response:
        seen.append(f"{name} {request.side} in")
        try:
            return await next(request)
        finally:
            seen.append(f"{name} {request.side} out")

    return layer


async def double(request: Request, next: Next) -> Response:
    """Doubles what goes in, and adds one to what comes out."""
    request.value *= 2
    response = await next(request)
    if response.value is not None:
        response.value += 1
    return response


def serve(**options: Any) -> Service:
    service = Service("points", **options)

    @service.handler
    async def echo(request: int) -> int:
        return request

    @service.handler
    def plain(request: int) -> int:
        return request

    @service.handler
    async def zone(ctx: Context) -> str:
        ctx.reply_headers["from"] = "handler"
        return ctx.headers.get("zone", "")

    @service.handler
    async def fail() -> None:
        raise NotFound("no")

    @service.handler
    async def count(request: int) -> AsyncIterator[int]:
        for number in range(request):
            yield number

    @service.handler
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    return service


async def test_the_first_layer_is_the_outermost() -> None:
    seen: list[str] = []
    layers = [note("a", seen), note("b", seen)]
    service = serve(middleware=layers, client_middleware=layers)
    async with running(service) as client:
        assert await client.call("points", "Points.Echo", 1, int) == 1

    ways = [f"{name} {side}" for side in ("client", "server") for name in "ab"]
    assert seen == [f"{way} in" for way in ways] + [f"{way} out" for way in reversed(ways)]


@pytest.mark.parametrize("endpoint", ["Points.Echo", "Points.Plain"])
@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
async def test_a_layer_may_change_values_both_ways(mount: str, endpoint: str) -> None:
    async with running(serve(**{mount: [double, double]})) as client:
        assert await client.call("points", endpoint, 5, int) == 22


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
@pytest.mark.parametrize("anew", [True, False])
async def test_a_layer_may_change_headers_on_the_way_in(mount: str, anew: bool) -> None:
    async def layer(request: Request, next: Next) -> Response:
        if anew:
            request.headers = {"zone": "a"}
        else:
            request.headers["zone"] = "a"
        return await next(request)

    async with running(serve(**{mount: [layer]})) as client:
        assert await client.call("points", "Points.Zone", None, str) == "a"


async def test_a_layer_may_clear_all_headers_and_harm_nothing() -> None:
    async def layer(request: Request, next: Next) -> Response:
        request.headers.clear()
        return await next(request)

    service = serve(middleware=[layer], client_middleware=[layer])
    async with running(service) as client:
        assert await client.call("points", "Points.Echo", 5, int) == 5


async def test_a_clients_layer_sees_the_headers_of_the_reply() -> None:
    seen: list[tuple[str | None, str | None]] = []

    async def at_the_client(request: Request, next: Next) -> Response:
        response = await next(request)
        seen.append((response.headers.get("from"), response.headers.get("layer")))
        return response

    async def at_the_server(request: Request, next: Next) -> Response:
        response = await next(request)
        response.headers["layer"] = "server"
        return response

    service = serve(middleware=[at_the_server], client_middleware=[at_the_client])
    async with running(service) as client:
        await client.call("points", "Points.Zone")

    assert seen == [("handler", "server")]


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
async def test_a_layer_may_answer_itself(mount: str) -> None:
    async def layer(request: Request, next: Next) -> Response:
        return Response(42, {})

    async with running(serve(**{mount: [layer]})) as client:
        assert await client.call("points", "Points.Echo", 5, int) == 42


async def test_an_answer_of_a_clients_layer_needs_no_server() -> None:
    async def layer(request: Request, next: Next) -> Response:
        return Response(request.service, {})

    async with running(serve(client_middleware=[layer])) as client:
        assert await client.call("nobody", "Nobody.Home", None, str) == "nobody"


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
async def test_a_layer_may_refuse(mount: str) -> None:
    async def layer(request: Request, next: Next) -> Response:
        raise Unauthorized("who are you?")

    async with running(serve(**{mount: [layer]})) as client:
        with pytest.raises(Unauthorized, match="who are you"):
            await client.call("points", "Points.Echo", 5, int)


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
async def test_a_layer_may_turn_an_error_into_another_or_an_answer(mount: str) -> None:
    async def layer(request: Request, next: Next) -> Response:
        try:
            return await next(request)
        except NotFound:
            if request.headers.get("soft"):
                return Response(None, {})
            raise Forbidden("hidden") from None

    async with running(serve(**{mount: [layer]})) as client:
        with pytest.raises(Forbidden, match="hidden"):
            await client.call("points", "Points.Fail")
        assert await client.call("points", "Points.Fail", None, None, headers={"soft": "1"}) is None


async def test_a_layer_may_ask_more_than_once() -> None:
    async def twice(request: Request, next: Next) -> Response:
        first = await next(request)
        second = await next(request)
        return Response(first.value + second.value, {})

    async with running(serve(client_middleware=[twice])) as client:
        assert await client.call("points", "Points.Echo", 5, int) == 10


async def test_an_unforeseen_exception_of_a_layer_is_opaque_at_the_caller() -> None:
    async def layer(request: Request, next: Next) -> Response:
        raise ValueError("secret")

    async with running(serve(middleware=[layer])) as client:
        with pytest.raises(InternalError) as caught:
            await client.call("points", "Points.Echo", 5, int)

    assert "secret" not in str(caught.value)


async def test_a_layer_is_told_its_side_service_and_endpoint() -> None:
    seen: list[tuple[object, ...]] = []

    async def layer(request: Request, next: Next) -> Response:
        remaining = request.deadline and request.deadline.remaining()
        seen.append((request.side, request.service, request.endpoint, 0 < (remaining or 0) <= 3))
        return await next(request)

    async with running(serve(middleware=[layer], client_middleware=[layer])) as client:
        await client.call("points", "Points.Echo", 5, int, timeout=3)

    assert seen == [
        ("client", "points", "Points.Echo", True),
        ("server", "points", "Points.Echo", True),
    ]


async def test_a_layer_of_the_server_runs_inside_the_context() -> None:
    async def layer(request: Request, next: Next) -> Response:
        assert Context.current().endpoint == request.endpoint
        return await next(request)

    async with running(serve(middleware=[layer])) as client:
        assert await client.call("points", "Points.Echo", 5, int) == 5


async def test_a_layer_is_cancelled_with_its_call() -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def layer(request: Request, next: Next) -> Response:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        raise AssertionError

    async with running(serve(middleware=[layer])) as client:
        call = asyncio.ensure_future(client.call("points", "Points.Echo", 5, int))
        await entered.wait()
        call.cancel()
        await asyncio.wait_for(cancelled.wait(), 5)


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
async def test_a_layer_may_change_the_answers_of_a_stream(mount: str) -> None:
    async def negate(answers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for answer in answers:
            yield -answer

    async def layer(request: Request, next: Next) -> Response:
        response = await next(request)
        response.value = negate(response.value)
        return response

    async with running(serve(**{mount: [layer]})) as client:
        async with client.stream("points", "Points.Count", 3, int) as numbers:
            assert [number async for number in numbers] == [0, -1, -2]


@pytest.mark.parametrize("mount", ["middleware", "client_middleware"])
@pytest.mark.parametrize("anew", [True, False])
async def test_a_layer_may_change_the_requests_of_a_stream(mount: str, anew: bool) -> None:
    async def doubled(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
        async for number in numbers:
            yield 2 * number

    async def numbers() -> AsyncIterator[int]:
        for number in range(4):
            yield number

    async def layer(request: Request, next: Next) -> Response:
        value = doubled(request.value)
        if anew:
            given = (request.side, request.service, request.endpoint, request.headers)
            return await next(Request(*given, value, request.deadline))
        request.value = value
        return await next(request)

    async with running(serve(**{mount: [layer]})) as client:
        async with client.stream("points", "Points.Total", numbers(), int) as answers:
            assert await answers.receive() == 12


async def test_a_stream_that_a_layer_gives_up_is_left_at_both_ends() -> None:
    ended = asyncio.Event()
    service = Service("points")

    @service.handler
    async def forever() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def layer(request: Request, next: Next) -> Response:
        response = await next(request)
        await anext(response.value)
        raise Forbidden("on second thoughts")

    caller = Service("caller", client_middleware=[layer])
    async with running(service, caller) as client:
        with pytest.raises(Forbidden):
            async with client.stream("points", "Points.Forever", None, int):
                pass

        await asyncio.wait_for(ended.wait(), 5)
        (node,) = client.nodes("points")
        assert node.in_flight == 0


async def test_layers_wrap_subscribers_and_publications() -> None:
    seen: list[str] = []
    got: list[tuple[int, str]] = []
    arrived = Signal()

    async def mark(request: Request, next: Next) -> Response:
        request.headers["zone"] = request.headers.get("zone", "") + request.side[0]
        return await double(request, next)

    service = Service(
        "points",
        subscriber_middleware=[note("a", seen), mark],
        publish_middleware=[note("b", seen), mark],
    )

    @service.subscriber("orders.*")
    async def on_order(event: int, ctx: Context) -> None:
        got.append((event, ctx.headers["zone"]))
        arrived.set()

    @service.subscriber("orders.*")
    def in_a_thread(event: int, ctx: Context) -> None:
        got.append((event, ctx.headers["zone"]))

    async with running(service) as client:
        await client.publish("orders.created", 5)
        await arrived.until(lambda: bool(got), lambda: "nothing")

    assert got == [(20, "ps"), (20, "ps")]
    assert seen[:3] == ["b publisher in", "b publisher out", "a subscriber in"]


async def test_a_layer_may_drop_an_event() -> None:
    got: list[int] = []
    arrived = Signal()

    async def odd(request: Request, next: Next) -> Response:
        return await next(request) if request.value % 2 else Response(None, {})

    service = Service("points", subscriber_middleware=[odd])

    @service.subscriber("orders.*")
    async def on_order(event: int) -> None:
        got.append(event)
        arrived.set()

    async with running(service) as client:
        for number in range(4):
            await client.publish("orders.created", number)
        await arrived.until(lambda: len(got) == 2, lambda: str(got))

    assert got == [1, 3]


async def test_values_have_their_types_in_a_layer() -> None:
    seen: list[object] = []

    async def layer(request: Request, next: Next) -> Response:
        response = await next(request)
        seen.extend([request.value, response.value])
        return response

    service = Service("points", middleware=[layer], client_middleware=[layer])

    @service.handler
    async def award(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    async with running(service) as client:
        await client.call("points", "Points.Award", ANN, Balance)

    assert seen == [ANN, Balance(user="ann", points=5)] * 2


async def test_a_folded_chain_without_layers_is_the_innermost() -> None:
    async def innermost(request: Request) -> Response:
        return Response(1, {})

    assert fold([], innermost) is innermost
