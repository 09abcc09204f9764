"""A test network keeps topics on its own clock, with faults, for parts that may be killed."""

from __future__ import annotations

import pytest

from micro import DeadlineExceeded, Message
from micro.broker.kept import KeptBroker
from micro.broker.kept_types import Durable, TopicSpec
from micro.errors import ConnectionLost
from micro.testing import KeptMailbox, network
from tests.testing.networks.services import Points

ORDERS = TopicSpec(name="orders", age=3600.0)
EVENT = Message({"Content-Type": "application/json"}, b'"one"')


def kept(client) -> KeptBroker:
    assert isinstance(client.broker, KeptBroker)
    return client.broker


async def test_a_fault_delays_or_drops_an_event_before_it_is_stored() -> None:
    async with network(clock="virtual") as net:
        broker, box = kept(net.client), KeptMailbox()
        await broker.ensure(ORDERS, create=True)
        heard = net.listen("orders", str)
        net.fault("orders", drop=True, times=1)
        with pytest.raises(DeadlineExceeded, match="perhaps not stored"):
            await broker.store("orders", EVENT, id="1")
        net.fault("orders", delay="1m", times=1)
        async with await broker.consume("orders", box, Durable(name="d")):
            await broker.store("orders", EVENT, id="2")
            await net.advance("59s")
            before = len(box)
            await net.advance("1s")

        assert (before, len(box)) == (0, 1)
        assert heard.events == ["one"]


async def test_what_a_killed_part_left_unsettled_comes_again() -> None:
    async with network(clock="virtual") as net:
        one, two = await net.start(Points().service, replicas=2)
        broker, mine, other = kept(one.client), KeptMailbox(), KeptMailbox()
        await broker.ensure(ORDERS, create=True)
        await broker.consume("orders", mine, Durable(name="d"))
        await broker.store("orders", EVENT, id="1")
        (delivery,) = await mine.wait_for(1)
        await net.kill(one)
        with pytest.raises(ConnectionLost):
            await delivery.ack()
        async with await kept(two.client).consume("orders", other, Durable(name="d")):
            await net.advance("29s")
            before = len(other)
            await net.advance("1s")

        assert (before, len(other)) == (0, 1)
