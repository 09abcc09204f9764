from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from pydantic import BaseModel

from micro import Client, DeadlineExceeded, MemoryBackend, Message
from micro.client.client import ClientOptions
from micro.codec import Codecs, default_codecs
from micro.errors import TransportError
from micro.registry import Node, ServiceRecord
from micro.transport import Receiver, Socket
from micro.wire.headers import ID


class Answer(BaseModel):
    text: str


class GoNode(Receiver):
    """A node that speaks go-micro's dialect; a mute one never answers, as after a panic."""

    def __init__(self, *, mute: bool) -> None:
        self.mute = mute
        self.asked = 0
        self.socket: Socket | None = None

    def accept(self, socket: Socket) -> Receiver:
        self.socket = socket
        return self

    def received(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.asked += 1
            if not self.mute:
                assert self.socket is not None
                headers = {"Micro-ID": message.headers[ID], "Content-Type": "application/json"}
                self.socket.send(Message(headers, b'{"text":"hello"}\n'))

    def closed(self, error: TransportError) -> None:
        del error


@asynccontextmanager
async def client_of(*nodes: GoNode) -> AsyncIterator[Client]:
    """A client of a service with these nodes, which it asks in this order."""
    backend = MemoryBackend()
    transport, broker, registry = backend.transport, backend.broker, backend.registry
    assert transport is not None
    assert broker is not None
    assert registry is not None
    async with AsyncExitStack() as stack:
        known = []
        for number, node in enumerate(nodes):
            listener = await stack.enter_async_context(await transport.listen(node.accept))
            known.append(Node(id=f"go-{number}", address=listener.address))
        record = ServiceRecord(name="go", version="1", nodes=tuple(known))
        await stack.enter_async_context(registry.register(record, ttl=90, interval=30))
        options = ClientOptions(strategy=lambda candidates: candidates[0])
        codecs = Codecs(default_codecs())
        yield await stack.enter_async_context(Client(transport, broker, registry, codecs, options))


async def test_a_go_node_that_never_answers_costs_one_attempt() -> None:
    mute, well = GoNode(mute=True), GoNode(mute=False)
    async with client_of(mute, well) as client:
        answer = await client.call("go", "Go.Hello", {}, Answer, timeout=0.6, idempotent=True)

    assert answer.text == "hello"
    assert (mute.asked, well.asked) == (1, 1)


async def test_a_go_node_that_never_answers_is_asked_once_if_twice_might_do_harm() -> None:
    mute, well = GoNode(mute=True), GoNode(mute=False)
    async with client_of(mute, well) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("go", "Go.Hello", {}, Answer, timeout=0.2)

    assert (mute.asked, well.asked) == (1, 0)
