"""grpc.aio with protobuf messages, over HTTP/2 on loopback: no broker stands between its ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from benchmarks.peer import Peer, PeerClient
from benchmarks.peers.grpc_messages import Answer, Question, Text

_SERVICE = "bench.Bench"


class Grpc(Peer):
    name = "grpc.aio"

    @asynccontextmanager
    async def serve(self, address: str) -> AsyncIterator[str]:  # noqa: ARG002
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(_SERVICE, _handlers()),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    @asynccontextmanager
    async def connect(self, address: str) -> AsyncIterator[PeerClient]:
        async with grpc.aio.insecure_channel(address) as channel:
            yield _Client(channel)


def _handlers() -> dict[str, Any]:
    def handler(make: Any, behaviour: Any, request: Any, response: Any) -> Any:
        return make(
            behaviour,
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )

    return {
        "Ask": handler(grpc.unary_unary_rpc_method_handler, _ask, Question, Answer),
        "Echo": handler(grpc.unary_unary_rpc_method_handler, _echo, Text, Text),
        "Count": handler(grpc.unary_stream_rpc_method_handler, _count, Question, Answer),
        "Sum": handler(grpc.stream_unary_rpc_method_handler, _sum, Question, Answer),
        "Chat": handler(grpc.stream_stream_rpc_method_handler, _chat, Question, Answer),
    }


async def _ask(question: Any, context: Any) -> Any:
    return Answer(name=question.name, number=question.number + 1)


async def _echo(text: Any, context: Any) -> Any:
    return text


async def _count(question: Any, context: Any) -> AsyncIterator[Any]:
    for number in range(question.number):
        yield Answer(name=question.name, number=number)


async def _sum(questions: AsyncIterator[Any], context: Any) -> Any:
    total = 0
    async for question in questions:
        total += question.number
    return Answer(name="sum", number=total)


async def _chat(questions: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    async for question in questions:
        yield Answer(name=question.name, number=question.number)


class _Client(PeerClient):
    def __init__(self, channel: Any) -> None:
        def method(make: Any, name: str, request: Any, response: Any) -> Any:
            return make(
                f"/{_SERVICE}/{name}",
                request_serializer=request.SerializeToString,
                response_deserializer=response.FromString,
            )

        self._ask = method(channel.unary_unary, "Ask", Question, Answer)
        self._echo = method(channel.unary_unary, "Echo", Text, Text)
        self._count = method(channel.unary_stream, "Count", Question, Answer)
        self._sum = method(channel.stream_unary, "Sum", Question, Answer)
        self._chat = method(channel.stream_stream, "Chat", Question, Answer)
        self._question = Question(name="ann", number=5)

    async def call(self) -> object:
        return await self._ask(self._question, timeout=5)

    async def payload(self, data: str) -> object:
        return await self._echo(Text(text=data), timeout=5)

    async def server_stream(self, count: int) -> None:
        async for _ in self._count(Question(name="ann", number=count)):
            pass

    async def client_stream(self, count: int) -> None:
        await self._sum(_questions(count))

    async def bidirectional(self, count: int) -> None:
        async for _ in self._chat(_questions(count)):
            pass


async def _questions(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield Question(name="ann", number=number)


PEER = Grpc()
