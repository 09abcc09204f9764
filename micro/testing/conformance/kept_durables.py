"""What every kept broker must do for durables: deliver until it is settled, and share out."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from uuid import uuid4

import pytest

from micro.backend import Backend
from micro.errors import InvalidName, NotFound, Unsupported
from micro.message import Message
from micro.testing.conformance.kept_bench import KeptBench, broker_of, need
from micro.testing.recorder import KeptMailbox

__all__ = ["DurableConformance"]


class DurableConformance(KeptBench):
    """Positions; a part of `KeptBrokerConformance`."""

    async def test_each_durable_gets_every_event(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        bodies = [b"%d" % number for number in range(100)]
        durables = (self.durable("a"), self.durable("b"))
        async with self.consuming(backend, topic, *durables) as (one, two):
            await self.store(other, topic, *bodies)
            for box in (one, two):
                await box.ack(100)

        assert one.bodies == two.bodies == bodies
        assert [d.stored.sequence for d in one.deliveries] == list(range(1, 101))

    async def test_consumptions_of_one_durable_share_its_events(
        self, backend: Backend, other: Backend
    ) -> None:
        topic, box = await self.topic(backend), KeptMailbox()
        need(backend, "durable_group")
        durable = self.durable("d", limit=10)
        one = await broker_of(backend).consume(topic, box, durable)
        two = await broker_of(other).consume(topic, box, durable)
        async with one, two:
            await self.store(other, topic, *(b"%d" % number for number in range(100)))
            await box.ack(100)

        assert sorted(box.bodies) == sorted(b"%d" % number for number in range(100))

    async def test_a_busy_consumption_does_not_hold_up_the_others(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "durable_group")
        busy, free = KeptMailbox(), KeptMailbox()
        durable = self.durable("d", limit=1)
        async with (
            await broker_of(backend).consume(topic, busy, durable),
            await broker_of(other).consume(topic, free, durable),
        ):
            await self.store(other, topic, b"1", b"2")
            await busy.wait_for(1)
            await free.ack(1)
            await self.store(other, topic, *(b"%d" % number for number in range(3, 11)))
            await free.ack(9)

        assert len(busy) == 1

    async def test_a_new_position_begins_where_it_is_told(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"1", b"2")
        await self.lapse(0.01)
        await self.store(other, topic, b"3")
        third = (await self.all_of(backend, topic))[2]
        durables = (
            self.durable("all", start="all"),
            self.durable("new", start="new"),
            self.durable("sequence", start=third.sequence),
            self.durable("time", start=third.stored_at),
        )
        async with self.consuming(backend, topic, *durables) as boxes:
            await self.store(other, topic, b"4")
            for box, count in zip(boxes, (4, 1, 2, 2), strict=True):
                await box.ack(count)

        assert [box.bodies for box in boxes[:3]] == [[b"1", b"2", b"3", b"4"], [b"4"], [b"3", b"4"]]
        assert boxes[3].bodies[-2:] == [b"3", b"4"]

    async def test_a_position_outlives_its_consumption(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"1", b"2", b"3", b"4")
        async with self.consuming(backend, topic, self.durable("d", limit=1)) as (first,):
            await first.ack(2)
            await (await first.wait_for(3))[2].nack()
        async with self.consuming(other, topic, self.durable("d", start="new")) as (second,):
            await second.ack(2)

        assert first.bodies[:3] == [b"1", b"2", b"3"]
        assert second.bodies == [b"3", b"4"]

    async def test_a_consumption_reads_its_partitions_in_order(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, partitions=4)
        need(backend, "partitions")
        durable, rest = (self.durable("d", partitions=p) for p in ((1, 3), (0, 2)))
        async with self.consuming(backend, topic, durable, rest) as (odd, even):
            for number in range(40):
                await self.store(other, topic, b"%d" % number, partition=number % 4)
            for box in (odd, even):
                await box.ack(20)

        assert {delivery.stored.partition for delivery in odd.deliveries} == {1, 3}
        for partition in (1, 3):
            came = [d.message.body for d in odd.deliveries if d.stored.partition == partition]
            assert came == [b"%d" % number for number in range(partition, 40, 4)]
        assert {delivery.stored.partition for delivery in even.deliveries} == {0, 2}

    async def test_a_directed_event_reaches_one_durable(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        durables = (self.durable("a"), self.durable("b"))
        async with self.consuming(backend, topic, *durables) as (one, two):
            await broker_of(other).store(topic, Message({}, b"1"), id="same")
            directed = await broker_of(other).store(topic, Message({}, b"2"), id="same", to="a")
            again = await broker_of(other).store(topic, Message({}, b"2"), id="same", to="a")
            await broker_of(other).store(topic, Message({}, b"3"), id="other")
            await one.ack(3)
            await two.ack(2)

        assert (directed.duplicate, again.duplicate) == (False, True)
        assert sorted(one.bodies) == [b"1", b"2", b"3"]
        assert two.bodies == [b"1", b"3"]
        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"1", b"3"]
        assert {delivery.topic for delivery in one.deliveries} == {topic}

    async def test_a_directed_event_waits_for_its_durable(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"not for it")
        await broker_of(other).store(topic, Message({}, b"for it"), id="1", to="d")
        async with self.consuming(backend, topic, self.durable("d", to_only=True)) as (box,):
            await box.ack(1)
            await broker_of(other).store(topic, Message({}, b"too"), id="2", to="d")
            await box.ack(2)

        assert box.bodies == [b"for it", b"too"]

    async def test_a_work_queue_holds_what_is_not_acknowledged(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, work=True)
        need(backend, "work_queue")
        await self.store(other, topic, b"1", b"2", b"3")
        async with self.consuming(backend, topic, self.durable("d", limit=2)) as (box,):
            await box.ack(2)

            async def one_left() -> bool:
                return (await broker_of(other).describe(topic)).messages == 1

            await self.eventually(one_left, 0.0)
            with pytest.raises(Unsupported):
                await broker_of(other).consume(topic, KeptMailbox(), self.durable("e"))

    async def test_a_description_says_how_far_a_durable_is(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, *(b"%d" % number for number in range(10)))
        durable = self.durable("d", limit=3, redeliver_after=60.0)
        async with self.consuming(backend, topic, durable) as (box,):
            await box.ack(1)
            await box.wait_for(4)
            position = await self.position(other, topic, "d")

        assert position is not None
        assert (position.waiting, position.unsettled) == (6, 3)
        second = (await self.all_of(backend, topic))[1]
        assert position.oldest in (None, second.stored_at)
        assert position.members in (None, 1)

    async def test_events_that_expire_unread_are_counted(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, messages=3, full="discard_old")
        async with self.consuming(backend, topic, self.durable("d", limit=0)):
            await self.store(other, topic, b"1", b"2", b"3", b"4", b"5")
            position = await self.position(backend, topic, "d")

        assert position is not None
        assert position.waiting == 3
        assert position.expired_unread in (None, 2)

    async def test_an_idle_position_is_removed(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        async with self.consuming(backend, topic, self.durable("d", idle=0.5)) as (box,):
            await self.store(other, topic, b"1")
            await box.ack(1)
            assert await self.position(backend, topic, "d") is not None

        async def is_gone() -> bool:
            return await self.position(backend, topic, "d") is None

        await self.eventually(is_gone, 0.5)

    @pytest.mark.parametrize("name", ["", "a b", "a.b", "a*", ">"])
    async def test_an_unusable_durable_is_refused(self, backend: Backend, name: str) -> None:
        topic = await self.topic(backend)
        with pytest.raises(InvalidName):
            await broker_of(backend).consume(topic, KeptMailbox(), self.durable(name))

    async def test_a_durable_of_a_topic_that_is_not_kept_is_refused(self, backend: Backend) -> None:
        with pytest.raises(NotFound):
            await broker_of(backend).consume(uuid4().hex, KeptMailbox(), self.durable("d"))
