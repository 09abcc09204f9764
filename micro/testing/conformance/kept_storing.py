"""What every kept broker must do with events: store them within limits, and let them be read."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from micro.backend import Backend
from micro.broker.kept_types import TopicSpec
from micro.errors import InvalidName, NotFound, PayloadTooLarge, QueueFull
from micro.message import Message
from micro.testing.conformance.kept_bench import KeptBench, broker_of, need
from micro.testing.recorder import Mailbox

__all__ = ["StoringConformance"]


class StoringConformance(KeptBench):
    """Topics and their events; a part of `KeptBrokerConformance`."""

    max_payload: int = 1024 * 1024

    async def test_events_are_stored_whole(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        sent = [
            Message({}, b""),
            Message({"Name": "a", "name": "b"}, bytes(range(256))),
            Message({"Text": "Zoë ☃: x"}, b"\r\n\r\n"),
        ]
        receipts = [
            await broker_of(other).store(topic, message, id=f"{topic}-{number}")
            for number, message in enumerate(sent)
        ]
        found = await self.all_of(backend, topic)

        assert [event.message.body for event in found] == [message.body for message in sent]
        for event, message in zip(found, sent, strict=True):
            assert event.message.headers.items() >= message.headers.items()
        assert [event.id for event in found] == [receipt.id for receipt in receipts]
        assert [event.id for event in found] == [f"{topic}-{number}" for number in range(3)]
        assert [event.sequence for event in found] == [receipt.sequence for receipt in receipts]
        assert all(receipt.stored and not receipt.duplicate for receipt in receipts)
        assert {event.topic for event in found} == {topic}

    async def test_an_event_is_named_by_its_own_header(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await broker_of(other).store(topic, Message({"Micro-Id": "order-17"}, b""), id="copy-2")

        assert [event.id for event in await self.all_of(backend, topic)] == ["order-17"]

    async def test_sequences_and_times_grow(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, *(b"%d" % number for number in range(50)))
        found = await self.all_of(backend, topic)

        assert [event.message.body for event in found] == [b"%d" % n for n in range(50)]
        assert [event.sequence for event in found] == sorted({e.sequence for e in found})
        assert [event.stored_at for event in found] == sorted(e.stored_at for e in found)
        assert abs(found[0].stored_at - self.after(0)) < timedelta(seconds=60)

    async def test_a_topic_that_is_not_kept_is_refused(self, backend: Backend) -> None:
        broker, topic = broker_of(backend), f"conformance.{uuid4().hex}"
        with pytest.raises(NotFound):
            await broker.store(topic, Message({}, b""), id="1")
        with pytest.raises(NotFound):
            await broker.describe(topic)
        with pytest.raises(NotFound):
            await broker.ensure(TopicSpec(name=topic), create=False)
        with pytest.raises(NotFound):
            async with broker.read(topic, start="all"):
                raise AssertionError("it was opened")

    @pytest.mark.parametrize("topic", ["", "a b", "a.*", "a.>", "a..b"])
    async def test_an_unusable_topic_is_refused(self, backend: Backend, topic: str) -> None:
        with pytest.raises(InvalidName):
            await broker_of(backend).ensure(TopicSpec(name=topic, bytes=1000), create=True)

    async def test_a_topic_that_exists_is_compared_and_not_changed(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, age=3600.0)
        wanted = TopicSpec(name=topic, bytes=16 * 1024 * 1024, age=7200.0)
        first = await broker_of(other).ensure(wanted, create=True)
        second = await broker_of(other).ensure(first.spec, create=False)

        assert not first.created
        assert first.spec.age == 3600.0
        assert [line for line in first.differences if "age" in line]
        assert second.differences == ()
        assert second.spec == first.spec

    async def test_an_id_is_stored_once_within_the_window(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, dedup=0.5)
        need(backend, "dedup_window")
        first = await broker_of(backend).store(topic, Message({}, b"1"), id="same")
        again = await broker_of(other).store(topic, Message({}, b"2"), id="same")

        async def is_stored() -> bool:
            receipt = await broker_of(other).store(topic, Message({}, b"3"), id="same")
            return not receipt.duplicate

        assert again.duplicate
        assert again.stored
        assert again.sequence == first.sequence
        await self.eventually(is_stored, 0.5)
        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"1", b"3"]

    async def test_a_full_topic_refuses_and_keeps_what_it_has(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, messages=3, full="refuse")
        need(backend, "refuse_when_full")
        await self.store(other, topic, b"1", b"2", b"3")
        with pytest.raises(QueueFull, match=topic):
            await self.store(other, topic, b"4")

        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"1", b"2", b"3"]

    async def test_a_topic_is_full_at_its_bytes(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend, bytes=16 * 1024, full="refuse")
        need(backend, "refuse_when_full")
        with pytest.raises(QueueFull):
            await self.store(other, topic, *(b"x" * 1024 for _ in range(20)))

        state = await broker_of(backend).describe(topic)
        assert 8 <= state.messages <= 16
        assert 8 * 1024 <= state.bytes <= 16 * 1024

    async def test_a_full_topic_discards_its_oldest(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend, messages=3, full="discard_old")
        need(backend, "retained")
        await self.store(other, topic, b"1", b"2", b"3", b"4", b"5")
        state = await broker_of(backend).describe(topic)

        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"3", b"4", b"5"]
        assert (state.messages, state.first_sequence, state.last_sequence) == (3, 3, 5)

    async def test_events_leave_at_their_age(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend, age=0.5, dedup=0.2)
        await self.store(other, topic, b"1", b"2")

        async def is_empty() -> bool:
            return (await broker_of(backend).describe(topic)).messages == 0

        assert not await is_empty()
        await self.eventually(is_empty, 0.5)
        await self.store(other, topic, b"3")
        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"3"]

    async def test_a_message_over_the_limit_is_refused_and_harms_nothing(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        with pytest.raises(PayloadTooLarge):
            await self.store(other, topic, b"x" * (self.max_payload + 1))
        await self.store(other, topic, b"after")

        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"after"]

    async def test_reading_begins_at_a_sequence_or_a_time(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "replay")
        await self.store(other, topic, b"1", b"2")
        await self.lapse(0.01)
        await self.store(other, topic, b"3", b"4")
        found = await self.all_of(backend, topic)
        third = found[2]

        later = await self.all_of(backend, topic, start=third.sequence)
        since = await self.all_of(backend, topic, start=third.stored_at)
        first = await self.all_of(backend, topic, end=found[1].sequence)
        until = await self.all_of(backend, topic, end=found[1].stored_at)
        none = await self.all_of(backend, topic, start=third.sequence + 100)
        beyond = [
            await self.all_of(backend, topic, end=end)
            for end in (found[3].sequence + 100, self.after(3600))
        ]

        assert [event.message.body for event in later] == [b"3", b"4"]
        assert later == found[2:]
        assert since[-2:] == later
        assert all(event.stored_at >= third.stored_at for event in since)
        assert first == found[:2]
        assert until[:2] == first
        assert third not in until or third.stored_at == found[1].stored_at
        assert none == []
        assert beyond == [found, found]

    async def test_reading_goes_on_as_events_are_stored(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "replay")
        await self.store(other, topic, b"1")
        async with broker_of(backend).read(topic, start="all") as events:
            seen = [await self.next_of(events)]
            for body in (b"2", b"3"):
                await self.store(other, topic, body)
                seen.append(await self.next_of(events))
        async with broker_of(backend).read(topic, start="new") as events:
            await self.store(other, topic, b"4")
            seen.append(await self.next_of(events))

        assert [event.message.body for event in seen] == [b"1", b"2", b"3", b"4"]

    async def test_two_readers_do_not_take_from_each_other(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "replay")
        await self.store(other, topic, *(b"%d" % number for number in range(300)))
        both = await asyncio.gather(self.all_of(backend, topic), self.all_of(other, topic))

        assert both[0] == both[1]
        assert len(both[0]) == 300

    async def test_a_removed_event_is_gone(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        need(backend, "replay")
        receipts = await self.store(other, topic, b"1", b"2", b"3")
        sequence = receipts[1].sequence
        assert sequence is not None
        await broker_of(backend).remove(topic, sequence)

        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"1", b"3"]
        with pytest.raises(NotFound):
            await broker_of(backend).remove(topic, sequence)

    async def test_a_plain_publish_is_stored_as_well(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await broker_of(other).publish(topic, Message({"A": "b"}, b"plain"))
        await broker_of(other).flush()

        async def is_stored() -> bool:
            return (await broker_of(backend).describe(topic)).messages == 1

        await self.eventually(is_stored, 0.0)
        (event,) = await self.all_of(backend, topic)
        assert event.message.body == b"plain"
        assert event.message.headers["A"] == "b"
        assert event.id == f"{topic}:{event.sequence}"

    async def test_plain_subscribers_get_stored_events_live(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"before")
        box = Mailbox()
        async with await broker_of(backend).subscribe(topic, box):
            await self.store(other, topic, b"1", b"2")
            await box.wait_for(2)

        assert box.bodies == [b"1", b"2"]

    async def test_a_delayed_event_comes_at_its_time(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, full="discard_old")
        need(backend, "delay_max")
        broker, began = broker_of(other), self.clock.time()
        await broker.store(topic, Message({}, b"late"), id="1", at=self.after(1.0))
        await broker.store(topic, Message({}, b"past"), id="2", at=self.after(-1.0))
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await box.ack(1)
            await self.lapse(1.0)
            await box.ack(2)

        assert box.bodies == [b"past", b"late"]
        assert box.deliveries[1].stored.id == "1"
        assert self.clock.time() - began >= 0.95

    async def test_events_of_a_keyed_topic_have_their_partition(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend, partitions=4)
        need(backend, "partitions")
        box = Mailbox()
        async with await broker_of(backend).subscribe(f"{topic}.p3", box):
            for partition in (3, 1, 3):
                await self.store(other, topic, b"%d" % partition, partition=partition)
            await box.wait_for(2)
        found = await self.all_of(backend, topic)

        assert [event.partition for event in found] == [3, 1, 3]
        assert {event.topic for event in found} == {topic}
        assert box.bodies == [b"3", b"3"]
