"""micro itself, with its default settings: validation, deadlines, limits, all switched on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.models import Answer, Question, Text
from benchmarks.peer import TOPIC, Peer, PeerClient
from micro import Client, Service, load_settings, open_client
from micro.plugins import Backends

SERVICE = "bench"


class Ours(Peer):
    name = "micro"

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[None]:
        service = _service()
        settings = load_settings(["--transport_address", address], {})
        async with (
            Backends(name=SERVICE, settings=settings) as backends,
            service.running(backends=backends, settings=settings),
        ):
            yield

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[PeerClient]:
        async with open_client(load_settings(["--transport_address", address], {})) as client:
            yield _Client(client, address)


class _Client(PeerClient):
    def __init__(self, client: Client, address: str) -> None:
        self._client = client
        self._address = address
        self._question = Question(name="ann", number=5)

    async def call(self) -> object:
        return await self._client.call(SERVICE, "Bench.Ask", self._question, Answer)

    async def payload(self, data: str) -> object:
        return await self._client.call(SERVICE, "Bench.Echo", Text(text=data), Text)

    async def publish(self, count: int) -> None:
        for number in range(count):
            await self._client.publish(TOPIC, Question(name="ann", number=number))
            if not number % 500:
                await self._client.flush()  # no faster than the broker takes them
        await self._client.flush()

    @asynccontextmanager
    async def subscribe(self, count: int) -> AsyncIterator[asyncio.Event]:
        done = asyncio.Event()
        left = count
        listener = Service("listener")

        @listener.subscriber(TOPIC, queue=None)
        async def on_event(event: Question) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set()

        settings = load_settings(["--transport_address", self._address], {})
        async with (
            Backends(name="listener", settings=settings) as backends,
            listener.running(backends=backends, settings=settings),
        ):
            yield done

    async def server_stream(self, count: int) -> None:
        question = Question(name="ann", number=count)
        async with self._client.stream(SERVICE, "Bench.Count", question, Answer) as answers:
            async for _ in answers:
                pass

    async def client_stream(self, count: int) -> None:
        async with self._client.stream(SERVICE, "Bench.Sum", _questions(count), Answer) as answers:
            await answers.receive()

    async def bidirectional(self, count: int) -> None:
        async with self._client.stream(SERVICE, "Bench.Chat", _questions(count), Answer) as answers:
            async for _ in answers:
                pass


async def _questions(count: int) -> AsyncIterator[Question]:
    for number in range(count):
        yield Question(name="ann", number=number)


def _service() -> Service:
    service = Service(SERVICE)

    @service.handler
    async def ask(question: Question) -> Answer:
        return Answer(name=question.name, number=question.number + 1)

    @service.handler
    async def echo(text: Text) -> Text:
        return text

    @service.handler
    async def count(question: Question) -> AsyncIterator[Answer]:
        for number in range(question.number):
            yield Answer(name=question.name, number=number)

    @service.handler
    async def sum(questions: AsyncIterator[Question]) -> Answer:
        total = 0
        async for question in questions:
            total += question.number
        return Answer(name="sum", number=total)

    @service.handler
    async def chat(questions: AsyncIterator[Question]) -> AsyncIterator[Answer]:
        async for question in questions:
            yield Answer(name=question.name, number=question.number)

    return service


PEER = Ours()
