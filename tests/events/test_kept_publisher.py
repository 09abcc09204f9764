"""Publishing to kept topics: receipts, ids, the stored format, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from micro import (
    Client,
    DeadlineExceeded,
    Keep,
    MemoryBackend,
    Message,
    MicroError,
    Queue,
    Request,
    Response,
    Service,
    Topic,
    load_settings,
)
from micro.broker import Broker, Deliver, Subscription
from micro.broker.kept_types import Stored
from micro.errors import ConfigError, ConnectionLost, QueueFull, Unsupported, UsageError
from tests.engine import ANN, Award, running

created = Topic("kept.created", Award, keep="7d")


async def stored(network: MemoryBackend, topic: str = "kept.created") -> list[Stored]:
    last = (await network.broker.describe(topic)).last_sequence
    async with network.broker.read(topic, start="all", end=last) as events:
        return [event async for event in events]


@pytest.fixture
def network() -> MemoryBackend:
    return MemoryBackend()


async def test_a_publish_returns_a_receipt_when_the_event_is_stored(network) -> None:
    async with running(Service("points"), backend=network) as client:
        receipt = await client.publish(created, ANN, id="order-17")

    assert (receipt.id, receipt.stored, receipt.duplicate) == ("order-17", True, False)
    (event,) = await stored(network)
    assert (event.id, event.message.body) == ("order-17", b'{"user":"ann","points":5}\n')


async def test_a_stored_event_has_the_documented_headers(network) -> None:
    async with running(Service("points"), backend=network) as client:
        await client.publish(created, ANN, id="a", headers={"zone": "z", "Micro-Id": "old"})

    headers = (await stored(network))[0].message.headers
    assert headers.pop("Micro-Published").endswith("Z")
    assert headers.pop("Micro-Schema").startswith("1:")
    assert headers == {
        "Content-Type": "application/json",
        "Micro-Id": "a",
        "Micro-Topic": "kept.created",
        "zone": "z",
    }


async def test_an_id_is_stored_once(network) -> None:
    service = Service("points")
    async with running(service, backend=network) as client:
        await client.publish(created, ANN, id="a")
        again = await client.publish(created, ANN, id="a")

    assert again.duplicate
    assert len(await stored(network)) == 1
    counted = service.metrics
    assert (counted["micro.publisher.stored"], counted["micro.publisher.duplicates"]) == (2, 1)


async def test_events_without_an_id_get_different_ones(network) -> None:
    async with running(Service("points"), backend=network) as client:
        ids = {(await client.publish(created, ANN)).id for _ in range(3)}

    assert len(ids) == 3


async def test_a_publish_by_name_is_one_to_the_topic_of_this_process(network) -> None:
    declared = Topic("kept.created", Award, keep="7d")
    async with running(Service("points"), backend=network) as client:
        receipt = await client.publish(declared.name, ANN)

    assert receipt.stored
    assert len(await stored(network)) == 1


async def test_a_plain_publish_is_not_stored_and_has_an_id(network) -> None:
    async with running(Service("points"), backend=network) as client:
        receipt = await client.publish("plain.created", ANN)
        named = await client.publish("plain.created", ANN, id="a")

    assert not receipt.stored
    assert receipt.id
    assert named.id == "a"


async def test_layers_see_an_event_before_it_is_stored(network) -> None:
    async def layer(request: Request, next: Any) -> Response:
        request.headers["zone"] = request.endpoint
        return await next(request)

    async with running(Service("points", publish_middleware=[layer]), backend=network) as client:
        await client.publish(created, ANN)

    assert (await stored(network))[0].message.headers["zone"] == "kept.created"


@pytest.mark.parametrize("header", ["Nats-Msg-Id", "nats-rollup"])
async def test_control_headers_of_nats_are_refused(network, header) -> None:
    async with running(Service("points"), backend=network) as client:
        with pytest.raises(UsageError, match="control header of NATS"):
            await client.publish(created, ANN, headers={header: "sub"})


@pytest.mark.parametrize(
    "options", [{"id": ""}, {"id": "a\nb"}, {"timeout": 0}, {"delay": "soon"}, {"confirm": True}]
)
async def test_options_that_cannot_be_used_are_refused(network, options) -> None:
    async with running(Service("points"), backend=network) as client:
        with pytest.raises(UsageError):
            await client.publish(created, ANN, **options)


async def test_a_plain_event_cannot_be_delayed(network) -> None:
    async with running(Service("points"), backend=network) as client:
        with pytest.raises(UsageError, match="is not kept, so its events cannot be delayed"):
            await client.publish("plain.created", ANN, delay=5)


async def test_a_full_topic_refuses_and_the_error_names_the_event(network) -> None:
    jobs = Topic("kept.jobs", int, keep=Queue(messages=1))
    async with running(Service("points"), backend=network) as client:
        await client.publish(jobs, 1)
        with pytest.raises(QueueFull) as caught:
            await client.publish(jobs, 2, id="second")

    assert caught.value.details["event_id"] == "second"


async def test_a_broker_that_does_not_confirm_in_time_leaves_it_unknown(
    network, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def store(*_: object, **options: object) -> object:
        return await asyncio.Future()

    monkeypatch.setattr(network.broker, "store", store)
    async with running(Service("points"), backend=network) as client:
        with pytest.raises(DeadlineExceeded, match="it may be stored: repeat") as caught:
            await client.publish(created, ANN, id="a", timeout="20ms")

    assert caught.value.details["event_id"] == "a"


async def test_a_lost_connection_is_tried_again_with_the_same_id(
    network, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, ids = network.broker.store, []

    async def failing(*given: Any, id: str, **options: Any) -> Any:
        ids.append(id)
        if len(ids) < 3:
            raise ConnectionLost("cut")
        return await store(*given, id=id, **options)

    monkeypatch.setattr(network.broker, "store", failing)
    async with running(Service("points"), backend=network) as client:
        assert (await client.publish(created, ANN, id="a")).stored

    assert ids == ["a"] * 3


async def test_a_window_confirms_many_events_in_order(network) -> None:
    service = Service("points")
    numbers = Topic("kept.numbers", int, keep="7d")
    async with (
        running(service, backend=network),
        service.publisher(numbers, window=16) as out,
    ):
        for number in range(100):
            await out.send(number)

    assert out.confirmed == 100
    assert [int(e.message.body) for e in await stored(network, "kept.numbers")] == list(range(100))


async def test_a_window_tells_of_all_failures_with_their_ids(network) -> None:
    jobs = Topic("kept.window", int, keep=Queue(messages=2))

    async def publish_four(client: Client) -> None:
        async with client.publisher(jobs, window=1) as out:
            for number in range(4):
                await out.send(number, id=f"job-{number}")

    async with running(Service("points"), backend=network) as client:
        with pytest.raises(ExceptionGroup, match="2 of 4 events were not confirmed") as caught:
            await publish_four(client)

    failed = [e.details["event_id"] for e in caught.value.exceptions if isinstance(e, MicroError)]
    assert failed == ["job-2", "job-3"]


async def test_a_topic_without_limits_is_refused_unless_a_setting_allows_it(network) -> None:
    endless = Topic("kept.endless", int, keep=Keep(None, bytes=None))
    async with running(Service("points"), backend=network) as client:
        with pytest.raises(ConfigError, match=r"test_kept_publisher\.py:\d+.*allow_unbounded"):
            await client.publish(endless, 1)
    allowed = Service("points", settings={"allow_unbounded": True})
    async with running(allowed, backend=network) as client:
        assert (await client.publish(endless, 1)).stored


async def test_a_topic_that_is_kept_otherwise_is_used_and_told_of(network, caplog) -> None:
    await network.broker.ensure(Topic("kept.created", Award, keep="1d").spec, create=True)
    async with running(Service("points"), backend=network) as client:
        assert (await client.publish(created, ANN)).stored

    assert "is kept in another way than the code says" in caplog.text
    strict = Service("points", settings={"on_drift": "fail"})
    async with running(strict, backend=network) as client:
        with pytest.raises(ConfigError, match="is kept in another way"):
            await client.publish(created, ANN)


async def test_a_broker_that_stores_nothing_is_refused_with_the_reason() -> None:
    settings = load_settings((), {})
    assert settings.on_drift == "warn"
    service = Service("points", broker=PlainBroker())
    async with running(service) as client:
        with pytest.raises(Unsupported, match="this broker stores no events"):
            await client.publish(created, ANN)


async def test_plain_subscribers_hear_what_is_stored(network) -> None:
    async with running(Service("points"), backend=network) as client:
        async with client.subscribe(created) as events:
            await client.publish(created, ANN)
            async with asyncio.timeout(5):
                assert await anext(events) == ANN
        assert isinstance(client, Client)


class PlainBroker(Broker):
    async def publish(self, topic: str, message: Message) -> None:
        raise AssertionError("nothing is published")

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        raise AssertionError("nothing is subscribed")

    async def flush(self) -> None:
        return None
