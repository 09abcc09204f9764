"""nats-py's JetStream reads what we store, and we read what it stores."""

from __future__ import annotations

import nats

from micro.broker.kept_types import Durable, TopicSpec
from micro.message import Message
from micro.testing import KeptMailbox
from micro_nats import NatsBackend
from micro_nats.devserver import NatsServer
from micro_nats.jetstream.names import Names
from tests.plugins.micro_nats.jetstream.helpers import stored_in, topic_on


async def test_nats_py_reads_what_we_store(
    backend: NatsBackend, jetstream_server: NatsServer
) -> None:
    topic = await topic_on(backend)
    message = Message({"Content-Type": "application/json"}, b'{"id":1}')
    await backend.broker.store(topic, message, id="order-1")
    client = await nats.connect(jetstream_server.address)
    subscription = await client.jetstream().pull_subscribe(topic, durable="theirs")
    (found,) = await subscription.fetch(1, timeout=5)
    await found.ack_sync()
    await client.close()

    assert found.data == b'{"id":1}'
    assert found.headers["Content-Type"] == "application/json"
    assert found.headers["Nats-Msg-Id"] == "order-1"


async def test_we_read_what_nats_py_stores(
    backend: NatsBackend, jetstream_server: NatsServer
) -> None:
    topic, box = await topic_on(backend), KeptMailbox()
    client = await nats.connect(jetstream_server.address)
    jetstream = client.jetstream()
    await jetstream.publish(topic, b"1", headers={"Nats-Msg-Id": "theirs", "A": "b"})
    await jetstream.publish(topic, b'{"id":2}')
    await client.close()
    async with await backend.broker.consume(topic, box, Durable(name="d")):
        await box.ack(2)

    assert box.bodies == [b"1", b'{"id":2}']
    assert [delivery.stored.id for delivery in box.deliveries] == ["theirs", f"{topic}:2"]
    assert box.deliveries[0].message.headers == {"A": "b"}


async def test_a_stream_of_someone_else_is_used_as_it_is(
    backend: NatsBackend, jetstream_server: NatsServer
) -> None:
    client = await nats.connect(jetstream_server.address)
    await client.jetstream().add_stream(name="PLATFORM", subjects=["platform.>"], max_msgs=1000)
    await client.close()
    spec = TopicSpec(name="platform.orders", place="PLATFORM", age=60.0)
    state = await backend.broker.ensure(spec, create=True)
    await backend.broker.store("platform.orders", Message({}, b"1"), id="1")
    found = await stored_in(backend, "platform.orders")

    assert not state.created
    assert any("age is 0 s" in line for line in state.differences)
    assert [event.id for event in found] == ["1"]
    assert Names().stream("platform.orders") == "micro_platform_orders"
