"""Durables find their way back after every loss."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from micro.backend import BackendOptions
from micro.broker.kept_types import Durable, TopicSpec
from micro.errors import DeliveryLost, Unsupported
from micro.message import Message
from micro.testing import KeptMailbox
from micro_nats import NatsBackend, open_nats
from micro_nats.devserver import NatsServer, run_server
from micro_nats.jetstream.names import Names
from tests.plugins.micro_nats.helpers import Inbox, until
from tests.plugins.micro_nats.jetstream.helpers import api, store_many, stored_in, topic_on

DURABLE = Durable(name="d")

pytestmark = pytest.mark.both_loops


async def test_a_durable_is_read_again_after_the_server_died(
    own_jetstream_server: NatsServer,
) -> None:
    async with open_nats(BackendOptions(addresses=(own_jetstream_server.address,))) as backend:
        topic, box = await topic_on(backend), KeptMailbox()
        await store_many(backend, topic, 3)
        async with await backend.broker.consume(topic, box, DURABLE):
            await box.ack(2)
            await box.wait_for(3)
            await asyncio.to_thread(own_jetstream_server.kill)
            own_jetstream_server.start()
            await own_jetstream_server.wait()
            # An acknowledgement of a delivery of the old connection counts.
            await box.deliveries[2].ack(confirmed=True)
            await backend.broker.store(topic, Message({}, b"after"), id="after")
            await box.wait_for(4)

    assert box.bodies == [b"0", b"1", b"2", b"after"]


async def test_a_position_that_was_removed_is_made_again(
    backend: NatsBackend, caplog: pytest.LogCaptureFixture
) -> None:
    topic, box = await topic_on(backend), KeptMailbox()
    new = Durable(name="d", start="new")
    async with await backend.broker.consume(topic, box, new):
        await store_many(backend, topic, 1)
        await box.ack(1)
        await api(backend, f"CONSUMER.DELETE.{Names().stream(topic)}.d")
        await backend.broker.store(topic, Message({}, b"after"), id="after")
        await until(lambda: b"after" in box.bodies)

    assert "was removed" in caplog.text


async def test_a_stream_that_was_made_again_is_read(
    backend: NatsBackend, other: NatsBackend
) -> None:
    topic, box = await topic_on(backend), KeptMailbox()
    await store_many(backend, topic, 1)
    async with await backend.broker.consume(topic, box, DURABLE):
        await box.ack(1)
        await api(backend, f"STREAM.DELETE.{Names().stream(topic)}")
        await other.broker.ensure(TopicSpec(name=topic), create=True)
        await other.broker.store(topic, Message({}, b"after"), id="after")
        await box.wait_for(2)

    assert box.bodies == [b"0", b"after"]


async def test_a_durable_that_no_one_can_read_asks_seldom(
    backend: NatsBackend, other: NatsBackend
) -> None:
    topic, box = await topic_on(backend), KeptMailbox()
    stream, asked = Names().stream(topic), Inbox()
    await store_many(backend, topic, 1)
    await other.connection.subscribe(f"$JS.API.CONSUMER.INFO.{stream}.>", asked)
    async with await backend.broker.consume(topic, box, DURABLE):
        await box.ack(1)
        await api(backend, f"STREAM.DELETE.{stream}")
        began = time.monotonic()
        await asked.wait_for(4)

    # Each wait is twice as long as the last one: 0.05 s at least, then 0.1 s.
    assert time.monotonic() - began >= 0.14


async def test_a_position_that_reads_something_else_is_refused(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    stream = Names().stream(topic)
    config = {"durable_name": "d", "ack_policy": "explicit", "filter_subject": "else"}
    body = {"stream_name": stream, "config": config}
    await api(backend, f"CONSUMER.CREATE.{stream}.d", body)
    with pytest.raises(Unsupported, match="choose another name"):
        await backend.broker.consume(topic, KeptMailbox(), DURABLE)


async def test_a_consumer_of_another_kind_is_refused(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    stream = Names().stream(topic)
    config = {"durable_name": "d", "ack_policy": "none", "deliver_subject": "else"}
    body = {"stream_name": stream, "config": config}
    await api(backend, f"CONSUMER.CREATE.{stream}.d", body)
    with pytest.raises(Unsupported, match="push-based"):
        await backend.broker.consume(topic, KeptMailbox(), DURABLE)


async def test_a_position_keeps_its_time_until_redelivery(
    backend: NatsBackend, caplog: pytest.LogCaptureFixture
) -> None:
    topic = await topic_on(backend)
    async with await backend.broker.consume(topic, KeptMailbox(), DURABLE):
        pass
    with caplog.at_level(logging.WARNING):
        changed = Durable(name="d", redeliver_after=7.0)
        async with await backend.broker.consume(topic, KeptMailbox(), changed):
            pass

    assert "redelivers after 30 s, asked for 7 s" in caplog.text


async def test_a_delivery_of_a_removed_position_is_lost(backend: NatsBackend) -> None:
    topic, box = await topic_on(backend), KeptMailbox()
    await store_many(backend, topic, 1)
    async with await backend.broker.consume(topic, box, DURABLE):
        (delivery,) = await box.wait_for(1)
    await backend.broker.forget(topic, "d")
    with pytest.raises(DeliveryLost):
        await delivery.ack(confirmed=True)


async def test_both_generations_of_reply_subjects_work(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text("feature_flags { js_ack_fc_v2: true }")
    async with (
        run_server(jetstream=True, config=config) as server,
        open_nats(BackendOptions(addresses=(server.address,))) as backend,
    ):
        topic, box = await topic_on(backend), KeptMailbox()
        await store_many(backend, topic, 3)
        async with await backend.broker.consume(topic, box, DURABLE):
            await box.ack(3)
        found = await stored_in(backend, topic)

    assert len(box.deliveries[0]._arrival.reply.split(".")) >= 11
    assert [event.id for event in found] == ["0", "1", "2"]
