"""Frames recorded from live peers, checked where no Go is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from micro import MemoryBackend, Message
from micro.errors import TransportError
from micro.transport import Receiver
from micro_nats.wire.envelope import decode_json, encode_json
from micro_nats.wire.records import decode_result, decode_service
from tests.interop.greeter import greeter

VECTORS = {
    path.stem: [line.split(" ", 1) for line in path.read_text().splitlines()]
    for path in sorted((Path(__file__).parent / "vectors").glob("*.txt"))
}
FRAMES = [
    pytest.param(payload.encode(), id=f"{generation}-{number}")
    for generation, lines in VECTORS.items()
    for number, (kind, payload) in enumerate(lines)
    if kind == "frame"
]
# A unary request as go-micro v6 writes it (v4's has `X-User` in place of `x-user`).
V6_HELLO = (
    b'{"Header":{"Accept":"application/json","Content-Type":"application/json",'
    b'"Micro-Endpoint":"Greeter.Hello","Micro-ID":"0","Micro-Method":"Greeter.Hello",'
    b'"Micro-Service":"greeter","Timeout":"5000000000","x-user":"bob"},'
    b'"Body":"eyJuYW1lIjoiSm9obiIsImNvdW50IjowfQo="}'
)


class Replies(Receiver):
    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    def received(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.messages.put_nowait(message)

    def closed(self, error: TransportError) -> None:
        del error


@pytest.mark.parametrize("frame", FRAMES)
def test_a_recorded_frame_is_written_back_byte_for_byte(frame: bytes) -> None:
    assert encode_json(decode_json(frame)) == frame.replace(b'"Body":null', b'"Body":""')


@pytest.mark.parametrize("generation", VECTORS)
def test_recorded_registry_messages_are_understood(generation: str) -> None:
    actions = []
    for kind, payload in VECTORS[generation]:
        if kind in ("query", "watch"):
            actions.append(decode_result(payload.encode())[0])
        elif kind == "answer":
            assert decode_service(payload.encode()).record.name == "greeter"

    assert {"create", "delete", "get", "list"} <= set(actions)


def hello_of(generation: str) -> bytes:
    if generation == "v6":
        return V6_HELLO
    return next(
        payload.encode()
        for kind, payload in VECTORS[generation]
        if kind == "frame" and '"Micro-Endpoint":"Greeter.Hello"' in payload
    )


@pytest.mark.parametrize("generation", ["v6", *VECTORS])
async def test_a_recorded_request_is_answered_as_go_answers_it(generation: str) -> None:
    request = decode_json(hello_of(generation))
    backend = MemoryBackend()
    service, _ = greeter()
    replies = Replies()
    async with service.running(backend) as client, asyncio.timeout(10):
        (record,) = await client.registry.get_service("greeter")
        assert backend.transport is not None
        async with await backend.transport.dial(record.nodes[0].address, replies) as socket:
            socket.send(request)
            reply = await replies.messages.get()

    name = json.loads(request.body)["name"]
    assert json.loads(reply.body) == {"msg": f"Hello {name}"}
    assert reply.body.endswith(b"\n")
    assert reply.headers["Micro-ID"] == reply.headers["X-Micro-ID"] == "0"
    assert "Micro-Error" not in reply.headers
