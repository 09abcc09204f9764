"""Typed clients made of Protocol classes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol

import pytest

from micro import Client, Context, DeadlineExceeded, NotFound, Service, Unavailable, Where
from micro.errors import HandlerError, InvalidName
from tests.engine import ANN, Award, Balance, running


class Points(Protocol):
    async def award(self, request: Award) -> Balance: ...

    async def find_one(self, request: str, *, timeout: float = ...) -> Balance: ...

    async def tick(self) -> None: ...

    def history(self, request: int) -> AsyncIterator[int]: ...

    async def total(self, awards: AsyncIterator[Award]) -> Balance: ...

    def echo(self, awards: AsyncIterator[Award]) -> AsyncIterator[Balance]: ...

    async def zone(self, *, headers: dict[str, str], where: Where | None = None) -> str: ...

    async def slow(self, *, timeout: float = 0.02) -> None: ...


class Served:
    def __init__(self) -> None:
        self.ticks = 0
        self.ended = asyncio.Event()

    async def award(self, request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    async def find_one(self, request: str) -> Balance:
        raise NotFound(request)

    async def tick(self) -> None:
        self.ticks += 1

    async def history(self, request: int) -> AsyncIterator[int]:
        try:
            for number in range(request):
                yield number
        finally:
            self.ended.set()

    async def total(self, awards: AsyncIterator[Award]) -> Balance:
        return Balance(user="all", points=sum([award.points async for award in awards]))

    async def echo(self, awards: AsyncIterator[Award]) -> AsyncIterator[Balance]:
        async for award in awards:
            yield Balance(user=award.user, points=award.points)

    async def zone(self, ctx: Context) -> str:
        return ctx.headers["zone"]

    async def slow(self) -> None:
        await asyncio.Event().wait()


Served.__name__ = "Points"


async def awards(count: int) -> AsyncIterator[Award]:
    for points in range(count):
        yield Award(user="ann", points=points)


class World:
    def __init__(self) -> None:
        self.served = Served()
        self.service = Service("points")
        self.service.handler(self.served)
        self.running = running(self.service)

    async def __aenter__(self) -> Points:
        client = await self.running.__aenter__()
        return client.use(Points, service="points")

    async def __aexit__(self, *exc: Any) -> None:
        await self.running.__aexit__(*exc)


async def test_a_method_is_a_call() -> None:
    async with World() as points:
        assert await points.award(ANN) == Balance(user="ann", points=5)


async def test_a_request_may_be_given_by_its_name() -> None:
    async with World() as points:
        assert (await points.award(request=ANN)).points == 5
        assert [number async for number in points.history(request=2)] == [0, 1]
        assert (await points.total(awards=awards(3))).points == 3


async def test_a_method_without_a_request_is_a_call_too() -> None:
    world = World()
    async with world as points:
        await points.tick()

    assert world.served.ticks == 1


async def test_options_are_handed_on() -> None:
    async with World() as points:
        assert await points.zone(headers={"zone": "a"}) == "a"
        with pytest.raises(Unavailable, match="fits"):
            await points.zone(headers={"zone": "a"}, where=Where(node="nowhere"))
        with pytest.raises(DeadlineExceeded):
            await points.find_one("x", timeout=0)


async def test_defaults_of_the_contract_hold() -> None:
    async with World() as points:
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(points.slow(), 5)


async def test_errors_come_out_as_they_are() -> None:
    async with World() as points:
        with pytest.raises(NotFound, match="x"):
            await points.find_one("x")


async def test_a_method_that_returns_an_iterator_is_a_stream() -> None:
    async with World() as points:
        assert [number async for number in points.history(1000)] == list(range(1000))


async def test_a_method_that_takes_an_iterator_sends_all_of_it() -> None:
    async with World() as points:
        assert (await points.total(awards(10))).points == 45


async def test_a_method_may_do_both() -> None:
    async with World() as points:
        answers = [balance.points async for balance in points.echo(awards(500))]

    assert answers == list(range(500))


async def test_a_stream_that_is_closed_early_ends_at_the_other_end() -> None:
    world = World()
    async with world as points:
        numbers = points.history(10**9)
        assert await anext(numbers) == 0
        await numbers.aclose()  # type: ignore[attr-defined]

        await asyncio.wait_for(world.served.ended.wait(), 5)


async def test_the_first_half_of_the_names_may_be_chosen() -> None:
    class Anything(Protocol):
        async def award(self, request: Award) -> Balance: ...

    async with running(World().service) as client:
        points = client.use(Anything, service="points", prefix="Points")

        assert (await points.award(ANN)).points == 5


async def test_inherited_methods_count() -> None:
    class More(Points, Protocol):
        async def tick(self) -> None: ...

    async with running(World().service) as client:
        points = client.use(More, service="points", prefix="Points")

        assert (await points.award(ANN)).points == 5


class Empty(Protocol):
    _hidden: int


class Unannotated(Protocol):
    async def award(self, request: Award): ...  # type: ignore[no-untyped-def]


class Blocking(Protocol):
    def award(self, request: Award) -> Balance: ...


class Undefined(Protocol):
    async def award(self, request: Award) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821


class TooMany(Protocol):
    async def award(self, request: Award, other: Award) -> Balance: ...


@pytest.mark.parametrize(
    ("contract", "text"),
    [
        (Empty, "no public methods"),
        (Unannotated, "say what it returns"),
        (Blocking, "async def"),
        (Undefined, "Nowhere"),
        (TooMany, "one request"),
    ],
)
async def test_a_contract_that_cannot_be_called_is_refused(contract: type, text: str) -> None:
    async with running(Service("points")) as client:
        with pytest.raises(HandlerError, match=text):
            client.use(contract, service="points")


async def test_a_prefix_that_cannot_be_used_is_refused() -> None:
    async with running(Service("points")) as client:
        with pytest.raises(InvalidName):
            client.use(Points, service="points", prefix="a b")


def test_the_proxy_is_known_by_its_contract() -> None:
    client: Client = object()  # type: ignore[assignment]
    from micro.client.typed import make_proxy
    from micro.handlers.contract import read_contract

    assert type(make_proxy(client, read_contract(Points), service="p")).__name__ == "PointsClient"
