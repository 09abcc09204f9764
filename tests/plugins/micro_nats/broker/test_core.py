from __future__ import annotations

import asyncio

import pytest

from micro.backend import Backend, BackendOptions, ConnectionState
from micro.errors import ConnectionLost
from micro.message import Message
from micro.testing import Mailbox
from micro_nats import open_nats
from micro_nats.devserver import NatsServer
from micro_nats.wire.envelope import bundle_of, encode_json, pack_message
from tests.plugins.micro_nats.helpers import Events, Inbox, raw

EVENT = Message({"Content-Type": "application/json", "Micro-Topic": "t"}, b"{}\n")


async def test_an_event_is_written_as_go_writes_it(backend: Backend, connection) -> None:
    inbox = Inbox()
    await connection.subscribe("events.go", inbox)
    await backend.broker.publish("events.go", EVENT)
    await inbox.wait_for(1)

    assert inbox.messages == [("events.go", "", encode_json(EVENT), None)]


async def test_events_in_either_envelope_are_read(backend: Backend, connection) -> None:
    box = Mailbox()
    async with await backend.broker.subscribe("events.both", box):
        connection.publish_now("events.both", "", encode_json(EVENT))
        connection.publish_now("events.both", "", bundle_of([pack_message(EVENT)] * 2))
        await box.wait_for(3)

    assert [delivery.message for delivery in box.deliveries] == [EVENT] * 3


async def test_a_close_frame_is_no_event(backend: Backend, server: NatsServer) -> None:
    box = Mailbox()
    async with await backend.broker.subscribe("events.close", box):
        async with raw(server) as peer:
            await peer.publish(b"events.close", b"\x91\x01")
        await backend.broker.publish("events.close", EVENT)
        await box.wait_for(1)

    assert backend.broker.counters.malformed == 1


async def test_a_target_that_raises_does_not_end_the_subscription(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    box = Mailbox()

    def fail(delivery) -> None:
        box(delivery)
        raise asyncio.InvalidStateError

    async with await backend.broker.subscribe("events.fail", fail):
        await backend.broker.publish("events.fail", EVENT)
        await backend.broker.publish("events.fail", EVENT)
        await box.wait_for(2)


async def test_publishing_waits_for_a_connection_that_is_being_restored(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with open_nats(options) as backend:
        box = Mailbox()
        async with await backend.broker.subscribe("events.wait", box, queue="q"):
            own_server.kill()
            await events.wait_for(ConnectionState.DISCONNECTED)
            publishing = asyncio.ensure_future(backend.broker.publish("events.wait", EVENT))
            own_server.start()
            await publishing
            await box.wait_for(1)


async def test_publishing_gives_up_after_the_bound(own_server: NatsServer) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events, connect_timeout=1.0)
    async with open_nats(options) as backend:
        own_server.kill()
        await events.wait_for(ConnectionState.DISCONNECTED)
        with pytest.raises(ConnectionLost):
            await backend.broker.publish("events.late", EVENT)
        with pytest.raises(ConnectionLost):
            await backend.broker.flush()


async def test_many_events_in_one_go_let_others_run(backend: Backend) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    for _ in range(20_000):
        await backend.broker.publish("events.many", EVENT)
    counting.cancel()
    await backend.broker.flush()

    assert turns > 2
