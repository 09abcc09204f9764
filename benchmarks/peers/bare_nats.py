"""nats-py by itself: request and reply of bytes, without types, errors, deadlines or limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from benchmarks.models import QUESTION
from benchmarks.peer import TOPIC, Peer, PeerClient

SUBJECT = "bare.ask"


class BareNats(Peer):
    name = "nats-py"

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[None]:
        client = await nats.connect(address)

        async def answer(message: Msg) -> None:
            await client.publish(message.reply, message.data)

        await client.subscribe(SUBJECT, queue="bare", cb=answer)
        await client.flush()
        try:
            yield
        finally:
            await client.close()

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[PeerClient]:
        client = await nats.connect(address)
        try:
            yield _Client(client)
        finally:
            await client.close()


class _Client(PeerClient):
    def __init__(self, client: Client) -> None:
        self._client = client

    async def call(self) -> object:
        return (await self._client.request(SUBJECT, QUESTION, timeout=5)).data

    async def payload(self, data: str) -> object:
        return (await self._client.request(SUBJECT, data.encode(), timeout=5)).data

    async def publish(self, count: int) -> None:
        for number in range(count):
            await self._client.publish(TOPIC, QUESTION)
            if not number % 500:
                await self._client.flush()
        await self._client.flush()

    @asynccontextmanager
    async def subscribe(self, count: int) -> AsyncIterator[asyncio.Event]:
        done = asyncio.Event()
        left = count

        async def on_event(message: Msg) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        await self._client.subscribe(TOPIC, cb=on_event)
        await self._client.flush()
        yield done


PEER = BareNats()
