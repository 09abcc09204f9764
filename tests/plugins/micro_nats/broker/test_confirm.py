"""Publishing with a check for subscribers, and what happens after a lost connection."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro.backend import Backend, BackendOptions, ConnectionState
from micro.errors import ConnectionLost, InvalidName, NoSubscribers
from micro.message import Message
from micro.testing import Mailbox
from micro_nats import open_nats
from micro_nats.connection.connection import Connection
from micro_nats.devserver import NatsServer
from tests.plugins.micro_nats.helpers import Events, Inbox

EVENT = Message({"Content-Type": "application/json"}, b"1")

pytestmark = pytest.mark.both_loops


async def test_an_event_without_a_subscriber_is_an_error(backend: Backend) -> None:
    with pytest.raises(NoSubscribers, match=r"confirm\.none") as caught:
        await backend.broker.publish_confirmed("confirm.none", EVENT)

    assert caught.value.refused


@pytest.mark.parametrize(("pattern", "queue"), [("confirm.a", None), ("confirm.*", "q")])
async def test_an_event_with_a_subscriber_elsewhere_is_delivered_once(
    backend: Backend, other: Backend, pattern: str, queue: str | None
) -> None:
    box = Mailbox()
    async with await other.broker.subscribe(pattern, box, queue=queue):
        await backend.broker.publish_confirmed("confirm.a", EVENT)
        await box.wait_for(1)
        await other.broker.flush()

    assert len(box.deliveries) == 1


async def test_a_subscriber_that_replies_counts_as_one(
    backend: Backend, connection: Connection
) -> None:
    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        connection.publish_now(reply, "", b"")

    await connection.subscribe("confirm.reply", answer)
    await backend.broker.publish_confirmed("confirm.reply", EVENT)


async def test_a_subscriber_that_has_left_counts_no_more(backend: Backend, other: Backend) -> None:
    async with await other.broker.subscribe("confirm.left", Mailbox()):
        await backend.broker.publish_confirmed("confirm.left", EVENT)
    await other.broker.flush()
    with pytest.raises(NoSubscribers):
        await backend.broker.publish_confirmed("confirm.left", EVENT)


async def test_many_confirmations_at_once_are_told_apart(backend: Backend, other: Backend) -> None:
    box = Mailbox()
    async with await other.broker.subscribe("confirm.some", box):
        topics = ["confirm.some", "confirm.other"] * 50
        ends = await asyncio.gather(
            *[backend.broker.publish_confirmed(topic, EVENT) for topic in topics],
            return_exceptions=True,
        )

    assert [type(end) for end in ends] == [type(None), NoSubscribers] * 50


async def test_a_topic_that_cannot_be_used_is_refused(backend: Backend) -> None:
    with pytest.raises(InvalidName):
        await backend.broker.publish_confirmed("confirm.*", EVENT)


async def test_a_connection_that_breaks_leaves_the_outcome_unknown(own_server: NatsServer) -> None:
    options = BackendOptions(addresses=(own_server.address,), connect_timeout=0.5)
    async with open_nats(options) as backend:
        await backend.broker.flush()
        own_server.kill()
        with pytest.raises(ConnectionLost):
            await backend.broker.publish_confirmed("confirm.lost", EVENT)


async def test_after_a_lost_connection_an_event_waits_for_its_subscriber(
    own_server: NatsServer,
) -> None:
    events = Events()
    address = own_server.address
    async with open_nats(BackendOptions(addresses=(address,), on_event=events)) as publisher:
        async with await publisher.broker.subscribe("restore.a", Mailbox()):
            await publisher.broker.publish("restore.a", EVENT)
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        own_server.start()
        await events.wait_for(ConnectionState.RECONNECTED)
        publishing = asyncio.ensure_future(publisher.broker.publish("restore.a", EVENT))
        async with open_nats(BackendOptions(addresses=(address,))) as subscriber:
            box = Mailbox()
            async with await subscriber.broker.subscribe("restore.a", box):
                await publishing
                await box.wait_for(1)


async def test_a_topic_without_a_subscriber_holds_its_publisher_up_once(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_nats(options) as backend:
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        own_server.start()
        await events.wait_for(ConnectionState.RECONNECTED)
        await backend.broker.publish("restore.none", EVENT)
        started = time.monotonic()
        for _ in range(100):
            await backend.broker.publish("restore.none", EVENT)

    assert time.monotonic() - started < 0.5


async def test_events_of_before_the_loss_are_not_repeated_after_it(own_server: NatsServer) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_nats(options) as backend:
        inbox = Inbox()
        await backend.connection.subscribe("restore.once", inbox)
        for _ in range(3):
            await backend.broker.publish("restore.once", EVENT)
        await inbox.wait_for(3)
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        own_server.start()
        await events.wait_for(ConnectionState.RECONNECTED)
        await backend.broker.publish("restore.once", EVENT)
        await inbox.wait_for(4)
        await backend.broker.flush()

    assert len(inbox.messages) == 4
