from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from micro.broker import Delivery
from micro.broker.memory import MemoryBroker
from micro.errors import ConnectionLost, NoSubscribers
from micro.memory import MemoryBackend
from micro.message import Message
from micro.testing import BrokerConformance, Mailbox


class TestMemoryBroker(BrokerConformance):
    @pytest.fixture
    def backend(self) -> MemoryBackend:
        return MemoryBackend()

    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


async def test_deliveries_come_on_a_later_turn(broker: MemoryBroker) -> None:
    box = Mailbox()
    await broker.subscribe("a", box)
    await broker.publish("a", Message({}, b""))
    before = len(box)
    await box.wait_for(1)

    assert before == 0


async def test_every_member_of_a_queue_has_its_share(broker: MemoryBroker) -> None:
    boxes = [Mailbox() for _ in range(4)]
    subscriptions = [await broker.subscribe("a", box, queue="q") for box in boxes]
    for _ in range(400):
        await broker.publish("a", Message({}, b""))
    for subscription in subscriptions:
        await subscription.drain()

    assert sum(len(box) for box in boxes) == 400
    assert min(len(box) for box in boxes) > 40


async def test_a_queue_is_one_group_over_different_patterns(broker: MemoryBroker) -> None:
    box = Mailbox()
    subscriptions = [await broker.subscribe(p, box, queue="q") for p in ("a.b", "a.*", ">")]
    await broker.publish("a.b", Message({}, b""))
    for subscription in subscriptions:
        await subscription.drain()

    assert len(box) == 1


async def test_a_publisher_waits_for_a_full_subscription() -> None:
    broker, box, most = MemoryBroker(max_pending=10), Mailbox(), 0
    subscription = await broker.subscribe("a", box)
    for number in range(100):
        await broker.publish("a", Message({}, b"%d" % number))
        most = max(most, len(subscription._pending))
    await subscription.drain()

    assert most < 10
    assert box.bodies == [b"%d" % number for number in range(100)]


async def test_deliveries_do_not_run_in_the_publishers_context(broker: MemoryBroker) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    await broker.subscribe("a", lambda _: seen.set_result(who.get()))
    who.set("publisher")
    await broker.publish("a", Message({}, b""))

    assert await seen == "nobody"


async def test_subscriptions_do_not_share_headers(broker: MemoryBroker) -> None:
    box, given = Mailbox(), {"A": "b"}
    for _ in range(2):
        await broker.subscribe("a", box)
    await broker.publish("a", Message(given, b""))
    first, second = await box.wait_for(2)
    first.message.headers["A"] = "changed"

    assert second.message.headers == given == {"A": "b"}


async def test_a_delivery_can_end_its_own_subscription(broker: MemoryBroker) -> None:
    box = Mailbox()

    def once(delivery: Delivery) -> None:
        box(delivery)
        subscription.stop()

    subscription = await broker.subscribe("a", once)
    for _ in range(3):
        await broker.publish("a", Message({}, b""))
    await box.wait_for(1)
    await asyncio.sleep(0)

    assert len(box) == 1


async def test_closing_the_network_ends_everything(broker: MemoryBroker) -> None:
    box = Mailbox()
    await broker.subscribe("a", box)
    await broker.subscribe("a.*", box)
    await broker.publish("a", Message({}, b""))
    broker.close()
    await asyncio.sleep(0)

    assert len(box) == 0
    message = Message({}, b"")
    for attempt in (broker.publish("a", message), broker.subscribe("a", box), broker.flush()):
        with pytest.raises(ConnectionLost):
            await attempt


async def test_nothing_is_kept_of_ended_subscriptions(broker: MemoryBroker) -> None:
    for pattern in ("a", "b.*", "c.>"):
        async with await broker.subscribe(pattern, Mailbox()):
            pass

    assert not broker._plain
    assert not broker._wild


async def test_a_confirmed_event_without_a_subscriber_is_an_error(broker: MemoryBroker) -> None:
    with pytest.raises(NoSubscribers, match="orders"):
        await broker.publish_confirmed("orders", Message({}, b""))


@pytest.mark.parametrize("pattern", ["orders", "*"])
async def test_a_confirmed_event_reaches_its_subscriber(broker: MemoryBroker, pattern: str) -> None:
    box = Mailbox()
    async with await broker.subscribe(pattern, box):
        await broker.publish_confirmed("orders", Message({}, b""))
        await box.wait_for(1)
