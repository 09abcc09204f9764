from __future__ import annotations

import random
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from micro.broker.kept import KeptDelivery
from micro.broker.kept_types import Durable, Position, TopicSpec
from micro.broker.memory import MemoryBroker
from micro.broker.memory_kept.backlog import Backlog
from micro.broker.memory_kept.ids import RecentIds
from micro.broker.memory_kept.log import Entry
from micro.concurrency.clock import VirtualClock
from micro.errors import ConnectionLost, QueueFull, Unsupported
from micro.memory import MemoryBackend
from micro.message import Message
from micro.testing import KeptBrokerConformance, KeptMailbox, Mailbox


class _Memory(KeptBrokerConformance):
    @pytest.fixture
    def other(self, backend: MemoryBackend) -> MemoryBackend:
        return backend


class TestMemoryInRealTime(_Memory):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        backend = MemoryBackend()
        yield backend
        backend.close()


class TestMemoryInVirtualTime(_Memory):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        self.clock = VirtualClock()
        backend = MemoryBackend(clock=self.clock)
        yield backend
        backend.close()


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def broker(clock: VirtualClock) -> Iterator[MemoryBroker]:
    broker = MemoryBroker(clock=clock)
    yield broker
    broker.close()


async def keep(broker: MemoryBroker, **fields: Any) -> None:
    await broker.ensure(TopicSpec(name="orders", **fields), create=True)


async def store(broker: MemoryBroker, *bodies: bytes, to: str = "") -> None:
    for body in bodies:
        await broker.store("orders", Message({}, body), id=uuid4().hex, to=to)


async def position(broker: MemoryBroker) -> Position:
    return (await broker.describe("orders")).positions[0]


async def test_what_is_given_back_comes_at_its_time_and_not_before(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    await broker.consume("orders", box, Durable(name="d"))
    await store(broker, b"1")
    await (await box.wait_for(1))[0].nack(60)
    await clock.advance(59.9)
    before = len(box)
    await clock.advance(0.1)

    assert (before, len(box)) == (1, 2)


async def test_an_unsettled_delivery_comes_again_at_its_time_and_not_before(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    await broker.consume("orders", box, Durable(name="d", limit=1, redeliver_after=30))
    await store(broker, b"1")
    await clock.advance(20)
    box.deliveries[0].extend()
    await clock.advance(29.9)
    before = len(box)
    await clock.advance(0.1)

    assert (before, len(box)) == (1, 2)
    assert [delivery.deliveries for delivery in box.deliveries] == [1, 2]


async def test_a_late_settlement_counts_while_no_one_else_has_the_event(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    consumption = await broker.consume("orders", box, Durable(name="d", redeliver_after=30))
    await store(broker, b"1")
    await box.wait_for(1)
    await consumption.drain()
    await clock.advance(31)
    await box.deliveries[0].ack(confirmed=True)

    assert (await position(broker)).unsettled == 0


async def test_a_delayed_event_waits_in_no_position(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box, live, at = KeptMailbox(), Mailbox(), clock.now() + timedelta(days=3)
    await broker.consume("orders", box, Durable(name="d"))
    await broker.subscribe("orders", live)
    await broker.store("orders", Message({}, b"later"), id="1", at=at)
    await store(broker, b"now")
    await box.ack(1)
    await clock.advance(3 * 86_400 - 0.1)
    before, state = box.bodies, await broker.describe("orders")
    await clock.advance(0.1)

    assert before == [b"now"]
    assert state.messages == 2
    assert box.bodies == live.bodies == [b"now", b"later"]
    assert box.deliveries[1].stored.stored_at == at


async def test_a_delayed_event_takes_its_place_in_a_full_topic(broker: MemoryBroker) -> None:
    await keep(broker, messages=1)
    at = broker.clock.now() + timedelta(hours=1)
    await broker.store("orders", Message({}, b"later"), id="1", at=at)
    with pytest.raises(QueueFull, match="'orders' is full: 1 events"):
        await store(broker, b"2")


async def test_all_topics_together_have_a_limit(clock: VirtualClock) -> None:
    broker = MemoryBroker(clock=clock, max_stored_bytes=1000)
    await keep(broker, age=60.0)
    await broker.ensure(TopicSpec(name="other"), create=True)
    await store(broker, b"x" * 900)
    with pytest.raises(QueueFull, match="900 of 1000 bytes"):
        await broker.store("other", Message({}, b"x" * 200), id="1")
    await clock.advance(60)
    await broker.describe("orders")

    assert (await broker.store("other", Message({}, b"x" * 200), id="1")).stored


async def test_a_plain_event_for_a_full_topic_reaches_its_subscribers(
    broker: MemoryBroker,
) -> None:
    await keep(broker, messages=1)
    box = Mailbox()
    await broker.subscribe("orders", box)
    for body in (b"1", b"2"):
        await broker.publish("orders", Message({}, body))
    await box.wait_for(2)

    assert (await broker.describe("orders")).messages == 1


async def test_a_kept_topic_is_enough_for_a_confirmed_event(broker: MemoryBroker) -> None:
    await keep(broker)
    await broker.publish_confirmed("orders", Message({}, b""))

    assert (await broker.describe("orders")).messages == 1


async def test_a_topic_inside_another_is_refused(broker: MemoryBroker) -> None:
    await keep(broker, partitions=4)
    with pytest.raises(Unsupported, match=r"'orders\.p3' .* is kept by 'orders'"):
        await broker.ensure(TopicSpec(name="orders.p3"), create=True)


async def test_differences_are_told_in_words(broker: MemoryBroker) -> None:
    await keep(broker, age=60.0)
    state = await broker.ensure(TopicSpec(name="orders", age=90.0, work=True), create=True)

    assert state.differences == ("age is 60.0, not 90.0", "work is False, not True")


async def test_events_go_to_the_consumption_with_most_free_slots(broker: MemoryBroker) -> None:
    await keep(broker)
    boxes = [KeptMailbox() for _ in range(3)]
    for box, limit in zip(boxes, (10, 10, 4), strict=True):
        await broker.consume("orders", box, Durable(name="d", limit=limit))
    await store(broker, *[b""] * 18)
    for box in boxes:
        await box.wait_for(2)

    assert [len(box) for box in boxes] == [8, 8, 2]


async def test_deliveries_run_in_no_context_of_a_publisher(broker: MemoryBroker) -> None:
    who: ContextVar[str] = ContextVar("who", default="no one")
    seen: list[str] = []
    await keep(broker)
    box = KeptMailbox()

    def deliver(delivery: KeptDelivery) -> None:
        seen.append(who.get())
        box(delivery)

    await broker.consume("orders", deliver, Durable(name="d"))
    who.set("publisher")
    await store(broker, b"1")
    await box.wait_for(1)

    assert seen == ["no one"]


async def test_durables_do_not_share_headers(broker: MemoryBroker) -> None:
    await keep(broker)
    boxes = [KeptMailbox(), KeptMailbox()]
    for name, box in zip("ab", boxes, strict=True):
        await broker.consume("orders", box, Durable(name=name))
    await broker.store("orders", Message({"A": "b"}, b""), id="1")
    for box in boxes:
        await box.wait_for(1)
    boxes[0].deliveries[0].message.headers["A"] = "changed"

    assert boxes[1].deliveries[0].message.headers == {"A": "b"}


async def test_forgetting_removes_what_was_stored_for_the_durable(broker: MemoryBroker) -> None:
    await keep(broker)
    box, at = KeptMailbox(), broker.clock.now() + timedelta(seconds=5)
    await broker.consume("orders", KeptMailbox(), Durable(name="d", limit=0))
    await store(broker, b"now", to="d")
    await broker.store("orders", Message({}, b"later"), id="1", at=at, to="d")
    await broker.forget("orders", "d")
    await broker.consume("orders", box, Durable(name="d"))
    assert isinstance(broker.clock, VirtualClock)
    await broker.clock.advance(10)

    assert len(box) == 0


async def test_a_resumed_durable_delivers_to_those_who_read_it(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    await broker.consume("orders", box, Durable(name="d"))
    await broker.pause("orders", "d", clock.now() + timedelta(hours=1))
    await store(broker, b"1")
    await clock.advance(1800)
    paused = len(box)
    await broker.pause("orders", "d", None)
    await box.wait_for(1)

    assert paused == 0


async def test_moving_a_position_frees_the_slots_of_its_deliveries(broker: MemoryBroker) -> None:
    await keep(broker)
    box = KeptMailbox()
    await broker.consume("orders", box, Durable(name="d", limit=1))
    await store(broker, b"1")
    await box.wait_for(1)
    await broker.reset("orders", "d", "all")
    await box.wait_for(2)
    await box.deliveries[0].ack(confirmed=True)

    assert (await position(broker)).unsettled == 1


async def test_smaller_limits_remove_the_oldest_events_at_once(broker: MemoryBroker) -> None:
    await keep(broker, full="discard_old")
    await broker.consume("orders", KeptMailbox(), Durable(name="d", limit=0))
    await store(broker, b"1", b"2", b"3")
    await broker.change(TopicSpec(name="orders", messages=2, full="discard_old"))
    found = await position(broker)

    assert (found.waiting, found.expired_unread) == (2, 1)


async def test_closing_the_network_ends_readers_and_timers(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    await broker.consume("orders", box, Durable(name="d"))
    at = clock.now() + timedelta(hours=1)
    await broker.store("orders", Message({}, b""), id="1", at=at)
    await store(broker, b"1")
    await box.wait_for(1)
    async with broker.read("orders", start="new") as events:
        broker.close()
        with pytest.raises(ConnectionLost):
            await anext(events)

    assert clock.next_at is None
    with pytest.raises(ConnectionLost):
        await store(broker, b"2")


async def test_a_closed_consumption_leaves_nothing_on_the_clock(
    broker: MemoryBroker, clock: VirtualClock
) -> None:
    await keep(broker)
    box = KeptMailbox()
    async with await broker.consume("orders", box, Durable(name="d")):
        await store(broker, b"1")
        await box.wait_for(1)

    assert clock.next_at is None


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_readers_do_every_event_is_settled(
    broker: MemoryBroker, clock: VirtualClock, seed: int
) -> None:
    chance, box = random.Random(seed), KeptMailbox()
    await keep(broker, partitions=3, work=seed % 2 == 0)
    settled: set[bytes] = set()
    for number in range(60):
        await broker.store(
            "orders", Message({}, b"%d" % number), id=f"{number}", partition=number % 3
        )
        durable = Durable(name="d", limit=chance.randint(1, 9), redeliver_after=5)
        async with await broker.consume("orders", box, durable):
            await clock.advance(chance.choice([0.0, 1.0, 6.0]))
            for delivery in chance.sample(box.deliveries, min(len(box), 5)):
                match chance.choice(["ack", "nack", "later", "extend", "nothing"]):
                    case "ack":
                        await delivery.ack()
                    case "nack":
                        await delivery.nack()
                    case "later":
                        await delivery.nack(chance.uniform(0, 9))
                    case "extend":
                        delivery.extend()
    async with await broker.consume("orders", box, Durable(name="d", limit=100)):
        await clock.advance(60)
        for delivery in box.deliveries[-60:]:
            await delivery.ack()
    settled.update(box.bodies)
    found = await position(broker)

    assert len(settled) == 60
    assert (found.waiting, found.unsettled) == (0, 0)


def test_fresh_events_wait_while_too_many_are_unsettled() -> None:
    backlog = Backlog(2)
    entries = [_entry(sequence) for sequence in (1, 2, 3)]
    for entry in entries:
        backlog.add(entry)
    held = [backlog.take(None, "reader", 10.0) for _ in range(2)]
    full = backlog.ready()
    backlog.give_back(held[1], 0.0, 0.0)
    returned = backlog.ready()
    backlog.settle(held[1])

    assert (full, returned, backlog.ready()) == ([], [(2, None)], [(3, None)])


def test_extending_often_keeps_the_heap_small() -> None:
    backlog = Backlog(10)
    backlog.add(_entry(1))
    held = backlog.take(None, "reader", 10.0)
    for turn in range(10_000):
        backlog.put_off(held, 10.0 + turn)

    assert len(backlog._due) < 100
    assert backlog.next_due == 10_009.0


def test_the_oldest_ids_are_forgotten_above_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.broker.memory_kept.ids.MAX_IDS", 2)
    ids = RecentIds(60.0)
    for number in range(3):
        ids.add(("", str(number)), number, 0.0)

    assert [("", str(number)) in ids for number in range(3)] == [False, True, True]


def _entry(sequence: int) -> Entry:
    return Entry(
        topic="orders",
        id=str(sequence),
        sequence=sequence,
        message=Message({}, b""),
        size=0,
        time=0.0,
        partition=None,
        to="",
    )
