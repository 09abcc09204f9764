"""Topics, bodies and bare API requests of the tests of stored events."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

from micro.broker.kept_types import Stored, TopicSpec
from micro.message import Message
from micro_nats import NatsBackend
from micro_nats.connection.requests import Requests

__all__ = ["api", "store_many", "stored_in", "topic_on"]


async def topic_on(backend: NatsBackend, **fields: object) -> str:
    """Create a topic that no other test uses."""
    name = f"test.{uuid4().hex}"
    await backend.broker.ensure(TopicSpec(name=name, bytes=1 << 24, **fields), create=True)
    return name


async def store_many(backend: NatsBackend, topic: str, count: int) -> None:
    """Store so many events at once, each with its number as body and id."""
    await asyncio.gather(
        *(
            backend.broker.store(topic, Message({}, b"%d" % number), id=f"{number}")
            for number in range(count)
        )
    )


async def stored_in(backend: NatsBackend, topic: str) -> list[Stored]:
    """Everything that a topic has now."""
    last = (await backend.broker.describe(topic)).last_sequence
    async with backend.broker.read(topic, start="all", end=last) as events:
        return [event async for event in events]


async def api(backend: NatsBackend, subject: str, body: object = None) -> None:
    """Ask JetStream's API as an operator would."""
    data = json.dumps(body).encode() if body is not None else b""
    answer = await Requests(backend.connection).request(f"$JS.API.{subject}", data, timeout=5)
    assert "error" not in json.loads(answer.payload)
