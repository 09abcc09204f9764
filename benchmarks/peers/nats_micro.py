"""nats-py's own services (`nats.micro`), with the models read and written by hand.

It has no client, so a call is `request`; streams it has none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nats
from nats import micro
from nats.aio.client import Client

from benchmarks.models import Answer, Question, Text
from benchmarks.peer import Peer, PeerClient

_ASK = "bench.ask"
_ECHO = "bench.echo"


class NatsMicro(Peer):
    name = "nats.micro"

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[None]:
        client = await nats.connect(address)
        service = await micro.add_service(client, name="bench", version="1.0.0")
        await service.add_endpoint(name="ask", subject=_ASK, handler=_ask)
        await service.add_endpoint(name="echo", subject=_ECHO, handler=_echo)
        await client.flush()
        try:
            yield
        finally:
            await service.stop()
            await client.close()

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[PeerClient]:
        client = await nats.connect(address)
        try:
            yield _Client(client)
        finally:
            await client.close()


async def _ask(request: micro.Request) -> None:
    question = Question.model_validate_json(request.data)
    answer = Answer(name=question.name, number=question.number + 1)
    await request.respond(answer.model_dump_json().encode())


async def _echo(request: micro.Request) -> None:
    text = Text.model_validate_json(request.data)
    await request.respond(text.model_dump_json().encode())


class _Client(PeerClient):
    def __init__(self, client: Client) -> None:
        self._client = client
        self._question = Question(name="ann", number=5)

    async def call(self) -> object:
        data = self._question.model_dump_json().encode()
        reply = await self._client.request(_ASK, data, timeout=5)
        return Answer.model_validate_json(reply.data)

    async def payload(self, data: str) -> object:
        reply = await self._client.request(
            _ECHO, Text(text=data).model_dump_json().encode(), timeout=5
        )
        return Text.model_validate_json(reply.data)


PEER = NatsMicro()
