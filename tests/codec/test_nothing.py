"""`None` arrives as `None`, whatever carries it; go-micro peers get what they can read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from micro import MemoryBackend, Service
from micro.registry.record import Node, ServiceRecord
from micro.scope import open_scope
from micro.testing import Recorder
from micro.transport.contract import Receiver, Socket
from tests.engine import JSON, raw, running

CONTENT_TYPES = pytest.mark.parametrize("kind", [JSON, "application/msgpack"])


class Filter(BaseModel):
    limit: int = 10


def service() -> Service:
    made = Service("points")

    @made.handler("Points.Find")
    async def find(request: Filter | None) -> Filter | None:
        return request

    @made.handler("Points.Count")
    async def count(request: int | None) -> int | None:
        return request

    @made.handler("Points.List")
    async def list_(request: Filter) -> int:
        return request.limit

    @made.handler("Points.Reset")
    async def reset() -> None: ...

    @made.handler("Points.Ticks")
    async def ticks() -> AsyncIterator[None]:
        yield None

    @made.handler("Points.Echo")
    async def echo(requests: AsyncIterator[int | None]) -> AsyncIterator[int | None]:
        async for request in requests:
            yield request

    return made


@CONTENT_TYPES
@pytest.mark.parametrize("endpoint", ["Points.Find", "Points.Count"])
async def test_a_request_and_a_response_of_none_arrive(kind: str, endpoint: str) -> None:
    async with running(service()) as client:
        answer = await client.call("points", endpoint, None, content_type=kind)

    assert answer is None


@CONTENT_TYPES
async def test_an_empty_model_is_not_taken_for_none(kind: str) -> None:
    async with running(service()) as client:
        answer = await client.call(
            "points", "Points.Find", Filter(), Filter | None, content_type=kind
        )

    assert answer == Filter()


@CONTENT_TYPES
async def test_no_request_gives_a_model_its_defaults(kind: str) -> None:
    async with running(service()) as client:
        assert await client.call("points", "Points.List", content_type=kind) == 10


@CONTENT_TYPES
async def test_an_endpoint_without_request_and_response_answers_none(kind: str) -> None:
    async with running(service()) as client:
        assert await client.call("points", "Points.Reset", content_type=kind) is None


@CONTENT_TYPES
async def test_items_of_none_arrive_both_ways(kind: str) -> None:
    async def items() -> AsyncIterator[int | None]:
        for item in (1, None, 2):
            yield item

    options: Any = {"content_type": kind}
    async with running(service()) as client:
        async with client.stream("points", "Points.Echo", items(), Any, **options) as answers:
            assert [answer async for answer in answers] == [1, None, 2]
        async with client.stream("points", "Points.Ticks", **options) as ticks:
            assert [tick async for tick in ticks] == [None]


@CONTENT_TYPES
async def test_an_event_of_none_arrives(kind: str) -> None:
    made = service()
    received: list[Filter | None] = []

    @made.subscriber("filters")
    async def on_filter(event: Filter | None) -> None:
        received.append(event)

    async with running(made) as client:
        await client.publish("filters", None, content_type=kind)
        await client.publish("filters", Filter(), content_type=kind)

    assert received == [None, Filter()]


GO = {"Micro-Method": "", "Micro-Service": "points", "Content-Type": JSON, "Micro-Id": "1"}


@pytest.mark.parametrize(
    ("endpoint", "body", "answer"),
    [
        ("Points.Reset", b"{}\n", b"{}\n"),
        ("Points.Reset", b"null\n", b"{}\n"),
        ("Points.Find", b"null\n", b"null\n"),
        ("Points.Find", b"{}\n", b'{"limit":10}\n'),
        ("Points.List", b"null\n", b"10\n"),
        ("Points.Count", b"null\n", b"null\n"),
    ],
)
async def test_a_go_micro_client_gets_an_object_where_nothing_is_answered(
    endpoint: str, body: bytes, answer: bytes
) -> None:
    async with running(service()) as client, raw(client) as peer:
        peer.send({**GO, "Micro-Method": endpoint}, body)

        assert (await peer.replies(1))[0].body == answer


@pytest.mark.parametrize(
    ("metadata", "body"),
    [
        ({"protocol": "mucp"}, b"{}\n"),
        ({"native": "1"}, b"{}\n"),
        ({"native": "1", "nulls": "1"}, b"null\n"),
    ],
    ids=["go-micro", "older", "this"],
)
async def test_a_node_gets_null_only_if_it_says_that_it_reads_it(
    metadata: dict[str, str], body: bytes
) -> None:
    network = MemoryBackend()
    recorder = Recorder()

    def accept(_socket: Socket) -> Receiver:
        return recorder

    async with await network.transport.listen(accept, address="") as listener:
        node = Node(id="old-1", address=listener.address, metadata=metadata)
        record = ServiceRecord(name="old", version="1", nodes=(node,))
        async with network.registry.register(record, ttl=90, interval=30):
            sent = await first_request(Service("caller"), network, recorder)

    assert sent == body
    assert json.loads(body) in ({}, None)


async def first_request(caller: Service, network: MemoryBackend, recorder: Recorder) -> bytes:
    """The body of a call without a request, which is left without an answer."""
    async with caller.running(network) as client, open_scope() as scope:
        scope.start(client.call("old", "Old.Find", None, timeout=None))
        message = (await recorder.wait_for(1))[0]
        scope.cancel()
    return message.body
