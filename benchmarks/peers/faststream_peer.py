"""FastStream over NATS: request with pydantic models, typed publish and subscribe.

As it comes, but for its log of every message, which is switched off.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from faststream.nats import NatsBroker

from benchmarks.models import Answer, Question, Text
from benchmarks.peer import TOPIC, Peer, PeerClient

_ASK = "faststream.ask"
_ECHO = "faststream.echo"


class FastStream(Peer):
    name = "FastStream"

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[None]:
        broker = NatsBroker(address, logger=None)

        @broker.subscriber(_ASK, queue="bench")
        async def ask(question: Question) -> Answer:
            return Answer(name=question.name, number=question.number + 1)

        @broker.subscriber(_ECHO, queue="bench")
        async def echo(text: Text) -> Text:
            return text

        async with broker:
            await broker.start()
            yield

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[PeerClient]:
        async with NatsBroker(address, logger=None) as broker:
            await broker.start()
            yield _Client(broker, address)


class _Client(PeerClient):
    def __init__(self, broker: NatsBroker, address: str) -> None:
        self._broker = broker
        self._address = address
        self._question = Question(name="ann", number=5)

    async def call(self) -> object:
        reply = await self._broker.request(self._question, _ASK, timeout=5)
        return Answer.model_validate_json(reply.body)

    async def payload(self, data: str) -> object:
        reply = await self._broker.request(Text(text=data), _ECHO, timeout=5)
        return Text.model_validate_json(reply.body)

    async def publish(self, count: int) -> None:
        nats = await self._broker.connect()
        for number in range(count):
            await self._broker.publish(Question(name="ann", number=number), TOPIC)
            if not number % 500:
                await nats.flush()  # no faster than the broker takes them
        await nats.flush()

    @asynccontextmanager
    async def subscribe(self, count: int) -> AsyncIterator[asyncio.Event]:
        done = asyncio.Event()
        left = count
        broker = NatsBroker(self._address, logger=None)

        @broker.subscriber(TOPIC)
        async def on_event(event: Question) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        async with broker:
            await broker.start()
            await (await broker.connect()).flush()
            yield done


PEER = FastStream()
