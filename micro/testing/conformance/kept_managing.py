"""What a kept broker does for operators: change a topic, pause, move and forget a position."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from dataclasses import replace

import pytest

from micro.backend import Backend
from micro.errors import NotFound, Unsupported
from micro.testing.conformance.kept_bench import KeptBench, broker_of, optional
from micro.testing.recorder import KeptMailbox

__all__ = ["ManagingConformance"]


class ManagingConformance(KeptBench):
    """Work of operators; a part of `KeptBrokerConformance`."""

    async def test_a_changed_topic_keeps_its_events(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend, messages=2, full="refuse")
        await self.store(other, topic, b"1", b"2")
        spec = (await broker_of(backend).describe(topic)).spec
        wider = replace(spec, messages=3, age=3600.0)
        with optional():
            changed = await broker_of(backend).change(wider)
        await self.store(other, topic, b"3")

        assert (changed.spec.messages, changed.spec.age) == (3, 3600.0)
        assert (await broker_of(other).ensure(wider, create=False)).differences == ()
        assert [e.message.body for e in await self.all_of(backend, topic)] == [b"1", b"2", b"3"]

    async def test_what_cannot_be_changed_is_refused(self, backend: Backend) -> None:
        topic = await self.topic(backend)
        spec = (await broker_of(backend).describe(topic)).spec
        for other in (replace(spec, work=True), replace(spec, partitions=4)):
            with pytest.raises(Unsupported):
                await broker_of(backend).change(other)

        assert (await broker_of(backend).describe(topic)).spec == spec

    async def test_a_topic_that_is_not_kept_is_not_changed(self, backend: Backend) -> None:
        topic = await self.topic(backend)
        spec = (await broker_of(backend).describe(topic)).spec
        with optional(), pytest.raises(NotFound):
            await broker_of(backend).change(replace(spec, name=f"{topic}.other"))

    async def test_a_paused_durable_gets_nothing_until_it_is_resumed(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await self.store(other, topic, b"1")
            await box.ack(1)
            with optional():
                await broker_of(other).pause(topic, "d", self.after(3600))
            await self.store(other, topic, b"2")
            await self.round_trip(backend)
            paused = await self.position(backend, topic, "d")
        await broker_of(other).pause(topic, "d", None)
        resumed = await self.position(backend, topic, "d")
        # Read anew: a server may tell those who read it of the end of a pause seconds later.
        async with self.consuming(backend, topic, self.durable("d")) as (rest,):
            await rest.ack(1)

        assert (box.bodies, rest.bodies) == ([b"1"], [b"2"])
        assert paused is not None
        assert paused.paused_until is not None
        assert abs((paused.paused_until - self.after(3600)).total_seconds()) < 60
        assert resumed is not None
        assert resumed.paused_until is None

    async def test_a_pause_ends_at_its_time(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        began = self.clock.time()
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            with optional():
                await broker_of(other).pause(topic, "d", self.after(1.0))
            await self.store(other, topic, b"1")
            await self.lapse(1.0)
            await box.ack(1)

        assert self.clock.time() - began >= 0.9

    async def test_a_moved_position_begins_again_from_there(
        self, backend: Backend, other: Backend
    ) -> None:
        topic, box = await self.topic(backend), KeptMailbox()
        receipts = await self.store(other, topic, b"1", b"2", b"3")
        async with await broker_of(backend).consume(topic, box, self.durable("d")):
            await box.ack(3)
            start = receipts[1].sequence
            assert start is not None
            with optional():
                await broker_of(other).reset(topic, "d", start)
            await box.ack(5)
            await broker_of(other).reset(topic, "d", "new")
            await self.store(other, topic, b"4")
            await box.ack(6)

        assert box.bodies == [b"1", b"2", b"3", b"2", b"3", b"4"]

    async def test_a_position_that_is_not_there_is_neither_moved_nor_paused(
        self, backend: Backend
    ) -> None:
        topic = await self.topic(backend)
        with optional(), pytest.raises(NotFound):
            await broker_of(backend).reset(topic, "d", "all")
        with optional(), pytest.raises(NotFound):
            await broker_of(backend).pause(topic, "d", None)

    async def test_a_forgotten_position_begins_anew(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"1", b"2")
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await box.ack(2)
        await broker_of(other).forget(topic, "d")
        assert await self.position(backend, topic, "d") is None
        with pytest.raises(NotFound):
            await broker_of(other).forget(topic, "d")
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await box.ack(2)

        assert box.bodies == [b"1", b"2"]
