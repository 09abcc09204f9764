"""What every kept broker must do with deliveries: repeat them until they are settled."""
# ruff: noqa: D102  the name of a test says what it checks

from __future__ import annotations

from micro.backend import Backend
from micro.testing.conformance.kept_bench import KeptBench, broker_of, need
from micro.testing.recorder import KeptMailbox

__all__ = ["SettlingConformance"]


class SettlingConformance(KeptBench):
    """Deliveries; a part of `KeptBrokerConformance`."""

    async def test_what_is_not_settled_is_delivered_again(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        began = self.clock.time()
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await self.store(other, topic, b"1")
            await box.wait_for(1)
            await self.lapse(self.lease)
            await (await box.wait_for(2))[1].ack(confirmed=True)

        assert self.clock.time() - began >= 0.9 * self.lease
        assert box.bodies == [b"1", b"1"]
        if broker_of(backend).features.counts_deliveries:
            assert [delivery.deliveries for delivery in box.deliveries] == [1, 2]

    async def test_what_a_closed_consumption_did_not_settle_is_given_to_another(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, b"1", b"2")
        async with self.consuming(backend, topic, self.durable("d")) as (first,):
            await first.wait_for(2)
            await first.deliveries[0].ack(confirmed=True)
        async with self.consuming(other, topic, self.durable("d")) as (second,):
            await self.lapse(self.lease)
            await second.ack(1)

        assert second.bodies == [b"2"]

    async def test_a_delivery_can_be_settled_after_its_consumption_was_drained(
        self, backend: Backend, other: Backend
    ) -> None:
        topic, box = await self.topic(backend), KeptMailbox()
        consumption = await broker_of(backend).consume(topic, box, self.durable("d"))
        await self.store(other, topic, b"1")
        await box.wait_for(1)
        await consumption.drain()
        await box.ack(1)
        await consumption.aclose()

        position = await self.position(backend, topic, "d")
        assert position is not None
        assert (position.waiting, position.unsettled) == (0, 0)

    async def test_draining_hands_back_what_was_not_delivered(
        self, backend: Backend, other: Backend
    ) -> None:
        topic, box = await self.topic(backend), KeptMailbox()
        need(backend, "durable_group")
        bodies = [b"%d" % number for number in range(200)]
        await self.store(other, topic, *bodies)
        durable = self.durable("d", limit=100, redeliver_after=60.0)
        consumption = await broker_of(backend).consume(topic, box, durable)
        await box.wait_for(1)
        await consumption.drain()
        drained = len(box)
        await box.ack(drained)
        await consumption.aclose()
        async with self.consuming(other, topic, durable) as (rest,):
            await rest.ack(200 - drained)

        assert len(box) == drained
        assert sorted(box.bodies + rest.bodies) == sorted(bodies)

    async def test_what_is_given_back_comes_again_at_once(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        durable = self.durable("d", redeliver_after=60.0)
        async with self.consuming(backend, topic, durable) as (box,):
            await self.store(other, topic, b"1")
            await (await box.wait_for(1))[0].nack()
            await (await box.wait_for(2))[1].ack(confirmed=True)

        assert box.bodies == [b"1", b"1"]

    async def test_what_is_given_back_for_later_comes_later(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "nack_delay")
        durable = self.durable("d", redeliver_after=60.0)
        async with self.consuming(backend, topic, durable) as (box,):
            await self.store(other, topic, b"1", b"2")
            await box.wait_for(2)
            began = self.clock.time()
            await box.deliveries[0].nack(0.4)
            await box.deliveries[1].ack()
            await self.lapse(0.4)
            await (await box.wait_for(3))[2].ack(confirmed=True)

        assert box.bodies == [b"1", b"2", b"1"]
        assert self.clock.time() - began >= 0.35

    async def test_a_delivery_that_is_extended_stays(
        self, backend: Backend, other: Backend
    ) -> None:
        topic = await self.topic(backend)
        need(backend, "extend")
        lease = self.lease
        async with self.consuming(backend, topic, self.durable("d")) as (box,):
            await self.store(other, topic, b"1")
            (delivery,) = await box.wait_for(1)
            for _ in range(4):
                await self.pause(lease / 2)
                delivery.extend()
            await delivery.ack(confirmed=True)

        assert len(box) == 1

    async def test_who_lost_a_delivery_is_told(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        lost, taken = KeptMailbox(), KeptMailbox()
        consumption = await broker_of(backend).consume(topic, lost, self.durable("d"))
        await self.store(other, topic, b"1")
        await lost.wait_for(1)
        await consumption.aclose()
        async with await broker_of(other).consume(topic, taken, self.durable("d")):
            await self.lapse(self.lease)
            await taken.ack(1)
            await self.expect_lost(lost.deliveries[0])

        assert taken.bodies == [b"1"]

    async def test_settling_twice_is_harmless(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        async with self.consuming(backend, topic, self.durable("d", limit=1)) as (box,):
            await self.store(other, topic, b"1", b"2")
            (first,) = await box.ack(1)
            await first.ack()
            await first.nack()
            await box.ack(2)

        assert box.bodies == [b"1", b"2"]

    async def test_a_limit_bounds_what_is_unsettled(self, backend: Backend, other: Backend) -> None:
        topic = await self.topic(backend)
        await self.store(other, topic, *(b"%d" % number for number in range(20)))
        durable = self.durable("d", limit=3, redeliver_after=60.0)
        async with self.consuming(backend, topic, durable) as (box,):
            for settled in range(10):
                await box.wait_for(min(settled + 3, 20))
                await self.round_trip(backend)
                assert len(box) <= settled + 3
                await box.deliveries[settled].ack(confirmed=True)

    async def test_a_limit_of_zero_pauses(self, backend: Backend, other: Backend) -> None:
        topic, box = await self.topic(backend), KeptMailbox()
        durable = self.durable("d", redeliver_after=60.0)
        async with await broker_of(backend).consume(topic, box, durable) as consumption:
            await self.store(other, topic, b"1")
            await box.ack(1)
            consumption.limit(0)
            await self.round_trip(backend)
            await self.store(other, topic, b"2", b"3")
            await self.round_trip(backend)
            paused = len(box)
            consumption.limit(1)
            await box.ack(2)
            await box.ack(3)

        assert paused == 1
        assert box.bodies == [b"1", b"2", b"3"]
