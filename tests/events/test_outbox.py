from __future__ import annotations

import asyncio

import pytest
from pydantic import BaseModel

from micro import Context, MemoryBackend, Message, Outbox, OutboxEvent, Service, Topic
from micro.broker.contract import Broker, Deliver, Subscription
from micro.errors import ConfigError, InvalidName, Unsupported
from micro.events.outbox import Send, sender


class Created(BaseModel):
    order: str


created = Topic("orders.created", Created)


class ListOutbox(Outbox[list[OutboxEvent]]):
    """Takes a list for a transaction, and what was committed from a queue."""

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__()
        self.broken = broken
        self.committed = asyncio.Queue[OutboxEvent]()

    async def write(self, tx: list[OutboxEvent], event: OutboxEvent) -> None:
        tx.append(event)

    async def relay(self, send: Send) -> None:
        while True:
            await send(await self.committed.get())

    async def check(self) -> None:
        if self.broken:
            raise ConfigError("the outbox has no table")


class PlainBroker(Broker):
    async def publish(self, topic: str, message: Message) -> None:
        raise AssertionError("nothing is to be published")

    async def subscribe(
        self, topic: str, deliver: Deliver, *, queue: str | None = None
    ) -> Subscription:
        raise AssertionError("nothing is to be subscribed")

    async def flush(self) -> None:
        raise AssertionError("nothing is to be flushed")


async def test_an_event_is_encoded_when_it_is_written_in_the_transaction() -> None:
    tx: list[OutboxEvent] = []
    event = Created(order="a")

    id = await ListOutbox().publish(tx, created, event, key="ann", headers={"zone": "b"})
    event.order = "changed"

    [written] = tx
    assert (written.id, written.topic, written.key) == (id, "orders.created", "ann")
    assert written.body == b'{"order":"a"}\n'
    assert written.headers["zone"] == "b"
    assert written.headers["Content-Type"] == "application/json"


async def test_an_id_that_is_given_is_the_id_of_the_event() -> None:
    tx: list[OutboxEvent] = []

    assert await ListOutbox().publish(tx, "orders", {"a": 1}, id="order-17") == "order-17"
    assert tx[0].id == "order-17"


async def test_a_topic_with_a_wildcard_is_refused_before_anything_is_written() -> None:
    tx: list[OutboxEvent] = []

    with pytest.raises(InvalidName):
        await ListOutbox().publish(tx, "orders.*", {})
    assert tx == []


async def test_a_service_publishes_the_events_of_its_outbox() -> None:
    outbox = ListOutbox()
    seen = asyncio.Queue[tuple[str, str]]()
    service = Service("orders", outbox=outbox)

    @service.subscriber(created)
    async def on_created(event: Created) -> None:
        seen.put_nowait((event.order, Context.current().id))

    async with service.running():
        outbox.committed.put_nowait(outbox.event(created, Created(order="a"), id="order-a"))
        assert await asyncio.wait_for(seen.get(), 5) == ("a", "order-a")


async def test_an_event_of_a_kept_topic_is_not_sent_to_a_broker_that_keeps_none() -> None:
    event = OutboxEvent(id="a", topic="orders", body=b"", kept=True)

    with pytest.raises(Unsupported, match="keeps no events"):
        await sender(PlainBroker())(event)


async def test_a_service_does_not_start_when_its_outbox_is_not_set_up() -> None:
    service = Service("orders", outbox=ListOutbox(broken=True))

    with pytest.raises(ConfigError, match="no table"):
        async with service.running():
            pytest.fail("it has started")


async def test_an_event_of_a_kept_topic_is_stored_once_though_it_is_sent_twice() -> None:
    kept = Topic("orders.kept", Created, keep="1h")
    event = ListOutbox().event(kept, Created(order="a"), id="order-a")

    broker = MemoryBackend().broker
    send = sender(broker)
    await send(event)
    await send(event)
    async with broker.read("orders.kept", start="all") as events:
        first = await anext(events)
    state = await broker.describe("orders.kept")

    assert state.messages == 1
    assert (first.id, first.message.body) == ("order-a", b'{"order":"a"}\n')
    assert first.message.headers["Micro-Schema"].startswith("1:")
