"""What every broker must do."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from micro.backend import Backend
from micro.broker.contract import Broker
from micro.errors import InvalidName, PayloadTooLarge
from micro.message import Message
from micro.testing.recorder import Mailbox

__all__ = ["BrokerConformance"]

_BAD_TOPICS = ["", " ", "a b", "a..b", ".a", "a.", "a\r\nb", "a\x00b", "x" * 300]


class BrokerConformance:
    """Subclass it and give two fixtures, `backend` (subscribes) and `other` (publishes).

    Attributes:
        max_payload: The most bytes that the broker under test takes in one message.
    """

    max_payload: int = 1024 * 1024

    pytestmark: pytest.MarkDecorator = pytest.mark.asyncio

    async def test_messages_arrive_whole(self, backend: Backend, other: Backend) -> None:
        sent = [
            Message({}, b""),
            Message({"Name": "a", "name": "b"}, bytes(range(256))),
            Message({"Empty": "", "Text": "Zoë ☃: x"}, b"\r\n\r\n"),
            Message({f"Header-{n}": str(n) for n in range(50)}, b"\x00"),
        ]
        box, topic = Mailbox(), _topic()
        async with await _broker(backend).subscribe(topic, box):
            for message in sent:
                await _broker(other).publish(topic, message)
            await box.wait_for(len(sent))

        assert [delivery.message for delivery in box.deliveries] == sent
        assert set(box.topics) == {topic}

    async def test_one_publishers_order_is_kept(self, backend: Backend, other: Backend) -> None:
        bodies = [b"%d" % number for number in range(1000)]
        box, topic = Mailbox(), _topic()
        async with await _broker(backend).subscribe(topic, box):
            await _publish(other, topic, bodies)
            await box.wait_for(len(bodies))

        assert box.bodies == bodies

    async def test_every_plain_subscription_gets_every_message(
        self, backend: Backend, other: Backend
    ) -> None:
        boxes, topic = [Mailbox() for _ in range(3)], _topic()
        first = await _broker(backend).subscribe(topic, boxes[0])
        second = await _broker(backend).subscribe(topic, boxes[1])
        third = await _broker(other).subscribe(topic, boxes[2])
        async with first, second, third:
            await _publish(other, topic, [b"1", b"2"])
            for box in boxes:
                await box.wait_for(2)

        assert [box.bodies for box in boxes] == [[b"1", b"2"]] * 3

    async def test_a_queue_shares_its_messages_out(self, backend: Backend, other: Backend) -> None:
        bodies = [b"%d" % number for number in range(300)]
        box, topic = Mailbox(), _topic()
        first = await _broker(backend).subscribe(topic, box, queue="q")
        second = await _broker(backend).subscribe(topic, box, queue="q")
        third = await _broker(other).subscribe(topic, box, queue="q")
        async with first, second, third:
            await _publish(other, topic, bodies)
            await box.wait_for(len(bodies))
            await _pass_by(other, backend)

        assert sorted(box.bodies) == sorted(bodies)

    async def test_queues_and_plain_subscriptions_do_not_mix(
        self, backend: Backend, other: Backend
    ) -> None:
        bodies = [b"%d" % number for number in range(50)]
        one, two, plain, topic = Mailbox(), Mailbox(), Mailbox(), _topic()
        broker = _broker(backend)
        async with (
            await broker.subscribe(topic, one, queue="one"),
            await broker.subscribe(topic, one, queue="one"),
            await broker.subscribe(topic, two, queue="two"),
            await broker.subscribe(topic, plain),
        ):
            await _publish(other, topic, bodies)
            for box in (one, two, plain):
                await box.wait_for(len(bodies))
            await _pass_by(other, backend)

        assert sorted(one.bodies) == sorted(bodies)
        assert two.bodies == plain.bodies == bodies

    @pytest.mark.parametrize(
        ("pattern", "wanted"),
        [
            ("*", []),
            ("a", []),
            ("a.b", ["a.b"]),
            ("a.*", ["a.b"]),
            ("*.b", ["a.b", "b.b"]),
            ("*.*", ["a.b", "b.b", "ab.c"]),
            ("a.>", ["a.b", "a.b.c", "a.b.c.d"]),
            (">", ["a.b", "a.b.c", "a.b.c.d", "b.b", "ab.c"]),
            ("a.*.c", ["a.b.c"]),
            ("*.b.>", ["a.b.c", "a.b.c.d"]),
        ],
    )
    async def test_wildcards_stand_for_tokens(
        self, backend: Backend, other: Backend, pattern: str, wanted: list[str]
    ) -> None:
        root, box, end = _topic(), Mailbox(), Mailbox()
        broker = _broker(backend)
        async with (
            await broker.subscribe(f"{root}.{pattern}", box),
            await broker.subscribe(f"{root}-end", end),
        ):
            for name in ("a.b", "a.b.c", "a.b.c.d", "b.b", "ab.c"):
                await _broker(other).publish(f"{root}.{name}", Message({}, b""))
            await _broker(other).publish(f"{root}-end", Message({}, b""))
            await end.wait_for(1)
            await box.wait_for(len(wanted))

        assert box.topics == [f"{root}.{name}" for name in wanted]

    @pytest.mark.parametrize("topic", [*_BAD_TOPICS, "a.*", "a.>", "*", ">"])
    async def test_an_unusable_topic_is_not_published_on(
        self, backend: Backend, topic: str
    ) -> None:
        with pytest.raises(InvalidName):
            await _broker(backend).publish(topic, Message({}, b""))

    @pytest.mark.parametrize("topic", [*_BAD_TOPICS, "a.>.b", "a.#", "a.+"])
    async def test_an_unusable_topic_is_not_subscribed_to(
        self, backend: Backend, topic: str
    ) -> None:
        with pytest.raises(InvalidName):
            await _broker(backend).subscribe(topic, Mailbox())

    @pytest.mark.parametrize("queue", ["", " ", "a b", "a\r\nb", "a.*", ">"])
    async def test_an_unusable_queue_is_refused(self, backend: Backend, queue: str) -> None:
        with pytest.raises(InvalidName):
            await _broker(backend).subscribe(_topic(), Mailbox(), queue=queue)

    async def test_a_message_over_the_limit_is_refused_and_harms_nothing(
        self, backend: Backend, other: Backend
    ) -> None:
        box, topic = Mailbox(), _topic()
        async with await _broker(backend).subscribe(topic, box):
            with pytest.raises(PayloadTooLarge):
                await _broker(other).publish(topic, Message({}, b"x" * (self.max_payload + 1)))
            await _publish(other, topic, [b"x" * (self.max_payload // 2), b"after"])
            await box.wait_for(2)

        assert [len(body) for body in box.bodies] == [self.max_payload // 2, 5]

    async def test_draining_loses_nothing(self, backend: Backend, other: Backend) -> None:
        bodies = [b"%d" % number for number in range(500)]
        box, topic = Mailbox(), _topic()
        subscription = await _broker(backend).subscribe(topic, box)
        await _publish(other, topic, bodies)
        await _broker(other).flush()
        await subscription.drain()
        drained = list(box.bodies)
        await _publish(other, topic, [b"too late"])
        await _pass_by(other, backend)
        await subscription.aclose()

        assert drained == box.bodies == bodies

    async def test_a_member_that_drains_hands_over_to_the_others(
        self, backend: Backend, other: Backend
    ) -> None:
        bodies = [b"%d" % number for number in range(400)]
        box, topic = Mailbox(), _topic()
        stays = await _broker(backend).subscribe(topic, box, queue="q")
        leaves = await _broker(backend).subscribe(topic, box, queue="q")
        async with stays, leaves:
            await asyncio.gather(_publish(other, topic, bodies), leaves.drain())
            await box.wait_for(len(bodies))
            await _pass_by(other, backend)

        assert sorted(box.bodies) == sorted(bodies)

    async def test_who_unsubscribed_gets_nothing(self, backend: Backend, other: Backend) -> None:
        box, topic = Mailbox(), _topic()
        subscription = await _broker(backend).subscribe(topic, box)
        await subscription.aclose()
        await subscription.aclose()
        await _publish(other, topic, [b"too late"])
        await _pass_by(other, backend)

        assert box.bodies == []

    async def test_a_subscription_sees_only_what_comes_after_it(
        self, backend: Backend, other: Backend
    ) -> None:
        box, topic = Mailbox(), _topic()
        await _publish(other, topic, [b"too early"])
        await _broker(other).flush()
        async with await _broker(backend).subscribe(topic, box):
            await _publish(other, topic, [b"in time"])
            await box.wait_for(1)

        assert box.bodies == [b"in time"]

    async def test_acknowledging_is_always_possible(self, backend: Backend, other: Backend) -> None:
        box, topic = Mailbox(), _topic()
        async with await _broker(backend).subscribe(topic, box):
            await _publish(other, topic, [b"1", b"2"])
            first, second = await box.wait_for(2)
            await first.ack()
            await second.nack()


def _broker(backend: Backend) -> Broker:
    assert backend.broker is not None, "the backend offers no broker"
    return backend.broker


def _topic() -> str:
    return f"conformance.{uuid4().hex}"


async def _publish(backend: Backend, topic: str, bodies: list[bytes]) -> None:
    for body in bodies:
        await _broker(backend).publish(topic, Message({}, body))


async def _pass_by(publisher: Backend, subscriber: Backend) -> None:
    """When it is over, what was published before has arrived, if it was to arrive."""
    box, topic = Mailbox(), _topic()
    async with await _broker(subscriber).subscribe(topic, box):
        await _publish(publisher, topic, [b""])
        await box.wait_for(1)
