"""Topics: what they refuse, and what services, clients and subscribers make of their types."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from micro import Service, Topic
from micro.codec import Raw
from micro.errors import CodecError, HandlerError, InvalidName
from tests.engine import ANN, Award, Balance, running
from tests.events.inbox import Inbox


class Bonus(Award):
    reason: str


awarded = Topic("points.awarded", Award)


def test_a_topic_is_its_name_and_its_type() -> None:
    assert (awarded.name, awarded.type, str(awarded)) == ("points.awarded", Award, "points.awarded")
    assert awarded == Topic[Award]("points.awarded", Award)
    assert awarded != Topic("points.awarded", Balance)
    assert len({awarded, Topic("points.awarded", Award)}) == 1
    with pytest.raises(AttributeError):
        awarded.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["", "a.*", "a..b", "a b", ">"])
def test_a_name_that_cannot_be_published_on_is_refused_with_its_line(name: str) -> None:
    with pytest.raises(InvalidName, match=r"test_topic\.py:\d+: topic"):
        Topic(name, Award)


@pytest.mark.parametrize(("name", "type_"), [(5, Award), ("a", type(lambda: 0)), ("a", 5)])
def test_what_cannot_be_a_topic_is_refused_with_its_line(name, type_) -> None:
    with pytest.raises(HandlerError, match=r"test_topic\.py:\d+: "):
        Topic(name, type_)


async def test_a_subscriber_of_a_topic_gets_what_is_published_on_it() -> None:
    service, inbox = Service("points"), Inbox()

    @service.subscriber(awarded)
    async def on_award(event: Award) -> None:
        inbox.add(event)

    async with running(service) as client:
        await client.publish(awarded, ANN)
        await service.publish(awarded, ANN)
        await client.publish("points.awarded", ANN)

        assert await inbox.until(3) == [ANN] * 3


def test_a_handler_of_another_type_is_refused_with_both_types() -> None:
    with pytest.raises(HandlerError, match=r"on_award.*test_topic\.py.*Balance.*carries Award"):

        @Service("points").subscriber(awarded)
        async def on_award(event: Balance) -> None: ...


@pytest.mark.parametrize(
    ("type_", "annotation"),
    [
        (Bonus, Award),
        (Award, Award | None),
        (Award, BaseModel | Award),
        (Award | Balance, Award | Balance),
        (Award, object),
        (Award, Raw),
        (int, int | str),
    ],
)
def test_a_handler_may_take_a_wider_type(type_, annotation) -> None:
    async def on_event(event) -> None: ...

    on_event.__annotations__["event"] = annotation

    assert Service("points").subscriber(Topic("wide", type_))(on_event) is on_event


@pytest.mark.parametrize(
    ("type_", "annotation"),
    [(Award, Bonus), (Award | Balance, Award), (list[Award], list[int]), (Award, Balance | None)],
)
def test_a_handler_may_not_take_a_narrower_type(type_, annotation) -> None:
    async def on_event(event) -> None: ...

    on_event.__annotations__["event"] = annotation

    with pytest.raises(HandlerError, match="carries"):
        Service("points").subscriber(Topic("narrow", type_))(on_event)


def test_a_handler_may_take_no_event() -> None:
    @Service("points").subscriber(awarded)
    async def on_award() -> None: ...


def test_one_name_with_two_types_in_a_service_is_refused_with_both_places() -> None:
    service = Service("points")

    @service.subscriber(awarded)
    async def on_award(event: Award) -> None: ...

    other = Topic("points.awarded", Balance)
    with pytest.raises(HandlerError) as caught:

        @service.subscriber(other)
        async def on_balance(event: Balance) -> None: ...

    assert awarded.place in caught.value.detail
    assert other.place in caught.value.detail


async def test_an_event_of_another_type_is_refused_where_it_is_published() -> None:
    async with running(Service("points")) as client:
        with pytest.raises(CodecError, match="Award"):
            await client.publish(awarded, Balance(user="ann", points=1).user)
        with pytest.raises(CodecError, match="Award"):
            await client.publish(awarded, None)


@pytest.mark.parametrize("layered", [False, True])
async def test_an_event_is_written_as_its_topics_type(layered: bool) -> None:
    async def layer(request, next):
        return await next(request)

    service = Service("points", publish_middleware=[layer] if layered else [])
    async with running(service) as client, client.subscribe("points.awarded", Raw) as events:
        await client.publish(awarded, Bonus(user="ann", points=5, reason="secret"))

        assert json.loads(await anext(events)) == {"user": "ann", "points": 5}


async def test_a_layer_may_put_another_value_in_the_events_place() -> None:
    async def seal(request, next):
        request.value = Raw(b'"sealed"')
        return await next(request)

    service = Service("points", publish_middleware=[seal])
    async with running(service) as client, client.subscribe("points.awarded", str) as events:
        await client.publish(awarded, ANN)

        assert await anext(events) == "sealed"
