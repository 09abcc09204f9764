"""Publishing events."""

from __future__ import annotations

import pytest

from micro import BadRequest, MemoryBackend, PayloadTooLarge, Service
from micro.codec import Codecs, default_codecs
from micro.errors import ConnectionLost, InvalidName, NoSubscribers
from micro.events.publisher import Publisher
from micro.middleware import Next, Request, Response
from micro.testing import Mailbox
from micro.wire.headers import canonical
from tests.engine import ANN, running


@pytest.fixture
def network() -> MemoryBackend:
    return MemoryBackend(max_payload=1000)


def publisher(network: MemoryBackend, *layers: object) -> Publisher:
    codecs = Codecs(default_codecs())
    return Publisher(network.broker, codecs, "application/json", layers)  # type: ignore[arg-type]


async def test_an_event_carries_go_micros_headers_and_its_own(network: MemoryBackend) -> None:
    mailbox = Mailbox()
    async with await network.broker.subscribe("orders.created", mailbox):
        await publisher(network).publish("orders.created", ANN, {"zone": "a"}, None)
        (delivery,) = await mailbox.wait_for(1)

    headers = canonical(delivery.message.headers)
    assert headers.pop("Micro-Id")
    assert headers == {
        "Content-Type": "application/json",
        "Micro-Topic": "orders.created",
        "zone": "a",
    }


async def test_every_event_has_an_id_of_its_own(network: MemoryBackend) -> None:
    mailbox = Mailbox()
    async with await network.broker.subscribe("orders.created", mailbox):
        for one in (publisher(network), publisher(network)):
            for number in range(100):
                await one.publish("orders.created", number, None, None)
        deliveries = await mailbox.wait_for(200)

    ids = {delivery.message.headers["Micro-ID"] for delivery in deliveries}
    assert len(ids) == 200
    assert all(len(id) == 36 for id in ids)


async def test_headers_of_another_event_may_be_handed_on(network: MemoryBackend) -> None:
    mailbox = Mailbox()
    async with await network.broker.subscribe(">", mailbox):
        given = {"Micro-Id": "old", "micro-topic": "old", "Content-Type": "old", "zone": "a"}
        await publisher(network).publish("orders.created", ANN, given, None)
        (delivery,) = await mailbox.wait_for(1)

    headers = canonical(delivery.message.headers)
    assert "old" not in headers.values()
    assert headers["zone"] == "a"


@pytest.mark.parametrize("topic", ["", "a b", "a..b", "orders.*", "orders.>", "a\r\nb"])
async def test_a_topic_that_cannot_be_used_is_refused(network: MemoryBackend, topic: str) -> None:
    with pytest.raises(InvalidName):
        await publisher(network).publish(topic, ANN, None, None)


async def test_an_event_that_cannot_be_written_is_refused(network: MemoryBackend) -> None:
    with pytest.raises(BadRequest):
        await publisher(network).publish("orders.created", object(), None, None)
    with pytest.raises(BadRequest):
        await publisher(network).publish("orders.created", ANN, None, "x/unheard-of")


async def test_an_event_that_is_too_large_is_refused(network: MemoryBackend) -> None:
    with pytest.raises(PayloadTooLarge):
        await publisher(network).publish("orders.created", "x" * 2000, None, None)


async def test_without_a_connection_it_says_so(network: MemoryBackend) -> None:
    network.close()
    with pytest.raises(ConnectionLost):
        await publisher(network).publish("orders.created", ANN, None, None)


async def test_a_layer_may_change_an_event_and_its_headers(network: MemoryBackend) -> None:
    async def layer(request: Request, next: Next) -> Response:
        assert (request.side, request.endpoint) == ("publisher", "orders.created")
        request.headers["zone"] = "a"
        request.value += 1
        return await next(request)

    mailbox = Mailbox()
    async with await network.broker.subscribe("orders.created", mailbox):
        await publisher(network, layer, layer).publish("orders.created", 1, None, None)
        (delivery,) = await mailbox.wait_for(1)

    assert delivery.message.body.strip() == b"3"
    assert delivery.message.headers["zone"] == "a"
    assert delivery.message.headers["Content-Type"] == "application/json"


async def test_a_layer_may_withhold_an_event(network: MemoryBackend) -> None:
    async def layer(request: Request, next: Next) -> Response:
        return Response(None, {}) if request.value == 1 else await next(request)

    mailbox = Mailbox()
    async with await network.broker.subscribe("orders.created", mailbox):
        for number in (1, 2):
            await publisher(network, layer).publish("orders.created", number, None, None)
        await mailbox.wait_for(1)

    assert [body.strip() for body in mailbox.bodies] == [b"2"]


async def test_a_service_publishes_through_its_client() -> None:
    network, mailbox = MemoryBackend(), Mailbox()
    service = Service("points")
    async with (
        running(service, backend=network) as client,
        await network.broker.subscribe("points.awarded", mailbox),
    ):
        await service.publish("points.awarded", ANN, headers={"zone": "a"})
        await client.flush()
        await mailbox.wait_for(1)


@pytest.mark.parametrize("layered", [False, True])
async def test_a_confirmed_event_fails_when_no_one_is_subscribed(
    network: MemoryBackend, layered: bool
) -> None:
    async def layer(request: Request, next: Next) -> Response:
        return await next(request)

    one = publisher(network, layer) if layered else publisher(network)
    with pytest.raises(NoSubscribers, match=r"orders\.created"):
        await one.publish("orders.created", ANN, None, None, confirm=True)
    await one.publish("orders.created", ANN, None, None)
    async with await network.broker.subscribe("orders.*", Mailbox()):
        await one.publish("orders.created", ANN, None, None, confirm=True)


async def test_a_service_may_ask_for_confirmation(network: MemoryBackend) -> None:
    service = Service("points")
    async with running(service, backend=network):
        with pytest.raises(NoSubscribers):
            await service.publish("orders.created", ANN, confirm=True)
