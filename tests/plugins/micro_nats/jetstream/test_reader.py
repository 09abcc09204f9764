"""Reading goes on in order, each event once, through losses of all kinds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from micro.backend import BackendOptions
from micro.broker.kept_types import Stored
from micro.errors import NotFound
from micro.message import Message
from micro_nats import NatsBackend, open_nats
from micro_nats.connection.requests import Requests
from micro_nats.devserver import NatsServer
from micro_nats.jetstream.names import Names
from micro_nats.jetstream.reader import OrderedReader
from tests.plugins.micro_nats.jetstream.helpers import api, store_many, topic_on

pytestmark = pytest.mark.both_loops


async def some(events: AsyncIterator[Stored], count: int) -> list[str]:
    async with asyncio.timeout(20):
        return [(await anext(events)).id for _ in range(count)]


def numbers(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last)]


async def test_a_lost_event_is_read_again(
    backend: NatsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic, receive, calls = await topic_on(backend), OrderedReader._receive, 0
    await store_many(backend, topic, 50)

    def lossy(reader: OrderedReader, *message: object) -> None:
        nonlocal calls
        calls += 1
        if calls not in (5, 30):
            receive(reader, *message)

    monkeypatch.setattr(OrderedReader, "_receive", lossy)
    async with backend.broker.read(topic, start="all") as events:
        found = await some(events, 50)

    assert found == numbers(0, 50)
    assert calls > 50


async def test_reading_goes_on_after_the_server_died(own_jetstream_server: NatsServer) -> None:
    async with open_nats(BackendOptions(addresses=(own_jetstream_server.address,))) as backend:
        topic = await topic_on(backend)
        await store_many(backend, topic, 10)
        async with backend.broker.read(topic, start="all") as events:
            found = await some(events, 5)
            await asyncio.to_thread(own_jetstream_server.kill)
            own_jetstream_server.start()
            await own_jetstream_server.wait()
            await backend.broker.store(topic, Message({}, b""), id="10")
            found += await some(events, 6)

    assert found == numbers(0, 11)


async def test_reading_ends_when_the_stream_is_removed(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    await store_many(backend, topic, 2)
    async with backend.broker.read(topic, start="all") as events:
        assert await some(events, 2) == numbers(0, 2)
        await api(backend, f"STREAM.DELETE.{Names().stream(topic)}")
        with pytest.raises(NotFound):
            await some(events, 1)


async def test_a_reader_leaves_nothing_on_the_server(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    await store_many(backend, topic, 2)
    async with backend.broker.read(topic, start="all", end=2) as events:
        assert [event.id async for event in events] == numbers(0, 2)
    await backend.connection.flush()
    subject = f"$JS.API.CONSUMER.NAMES.{Names().stream(topic)}"
    answer = await Requests(backend.connection).request(subject, timeout=5)

    assert b'"total":0' in answer.payload
