"""What a test network records, and the services that it fakes."""

from __future__ import annotations

import pytest

from micro import Conflict, Service
from micro.errors import MicroError, Unimplemented, UsageError
from micro.testing import network
from tests.testing.networks.services import Award, Points, PointsApi, awards

ANN = Award(user="ann", points=3)


async def test_calls_are_recorded_with_answer_error_and_headers() -> None:
    points = Points()
    async with network() as net:
        (one,) = await net.start(points.service)
        await net.client.call("points", "Points.Award", ANN, int, headers={"tenant": "t1"})
        net.fault("points.Points.Award", error=Conflict("no"))
        with pytest.raises(Conflict):
            await net.client.call("points", "Points.Award", ANN, int)
        first, second = net.calls("points.Points.Award")

    assert (first.request, first.response, first.node) == (ANN, 3, one.node)
    assert first.headers["tenant"] == "t1"
    assert (second.response, str(second.error)) == (None, "409 no")


async def test_a_listener_hears_what_is_published_after_it() -> None:
    async with network() as net:
        await net.publish(awards, ANN)
        heard = net.listen(awards)
        raw = net.listen("points.>")
        for points in (1, 2, 3):
            await net.publish(awards, Award(user="bob", points=points))

        assert [event.points for event in await heard.wait_for(3)] == [1, 2, 3]
        assert [(await anext(heard)).points for _ in range(3)] == [1, 2, 3]
        assert raw.events[0] == {"user": "bob", "points": 1}


async def test_a_listener_does_not_wait_without_end() -> None:
    async with network() as net:
        heard = net.listen(awards)
        await net.publish("points.awarded", "not an award")

        with pytest.raises(AssertionError, match=r"0 of 1 events .* cannot be read: points\.awa"):
            await heard.wait_for(1, timeout=0.01)


async def test_a_fake_answers_with_values_functions_and_errors() -> None:
    async def award(award: Award) -> int:
        return award.points * 2

    async with network() as net:
        await net.fake(PointsApi, award=award, total=41, history=[1, 2])
        points = net.client.use(PointsApi, service="points")

        assert await points.award(ANN) == 6
        assert await points.total() == 41
        assert [item async for item in points.history("ann")] == [1, 2]
        assert [call.request for call in net.calls("points.Points.Award")] == [ANN]


async def test_a_fake_without_an_answer_says_what_to_pass() -> None:
    async with network() as net:
        await net.fake(PointsApi, service="shop.points", award=Conflict("no"))
        points = net.client.use(PointsApi, service="shop.points")

        with pytest.raises(Conflict, match="no"):
            await points.award(ANN)
        with pytest.raises(Unimplemented, match=r"no 'total': pass total= to fake\(\)"):
            await points.total()
        with pytest.raises(Unimplemented, match="pass history="):
            [item async for item in points.history("ann")]


@pytest.mark.parametrize(
    ("answers", "text"),
    [
        ({"awrd": 1}, "did you mean award="),
        ({"total": "many"}, "the contract answers int, got 'many'"),
        ({"award": lambda: 1}, "the request as its one argument"),
        ({"total": lambda _: 1}, "no argument"),
    ],
)
async def test_an_answer_that_does_not_fit_is_refused(answers, text) -> None:
    async with network() as net:
        with pytest.raises(UsageError, match=text):
            await net.fake(PointsApi, **answers)


async def test_a_fake_is_called_by_a_service_under_test() -> None:
    orders = Service("orders")

    @orders.handler
    async def place(user: str) -> str:
        try:
            total = await orders.client.use(PointsApi, service="points").total()
        except MicroError as error:
            return error.detail
        return f"{user} has {total}"

    async with network() as net:
        await net.fake(PointsApi, total=lambda: 5)
        await net.start(orders)

        assert await net.client.call("orders", "Orders.Place", "ann", str) == "ann has 5"
