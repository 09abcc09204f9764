"""Streams of every kind under every content type."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from micro import Client, Service
from tests.engine import running

PROTOBUF = "application/protobuf"
NAMES = (PROTOBUF, "application/grpc", "application/grpc+proto")


def wrappers() -> Service:
    service = Service("words")

    @service.handler
    async def repeat(word: StringValue) -> AsyncIterator[StringValue]:
        for _ in range(3):
            yield word

    @service.handler
    async def join(words: AsyncIterator[StringValue]) -> StringValue:
        return StringValue(value="".join([word.value async for word in words]))

    @service.handler
    async def echo(words: AsyncIterator[StringValue]) -> AsyncIterator[StringValue]:
        async for word in words:
            yield word

    return service


async def words() -> AsyncIterator[StringValue]:
    for letter in "abc":
        yield StringValue(value=letter)


async def read(client: Client, endpoint: str, request: object, content_type: str) -> list[str]:
    stream = client.stream("words", endpoint, request, StringValue, content_type=content_type)
    async with stream as answers:
        return [answer.value async for answer in answers]


@pytest.mark.parametrize("content_type", NAMES)
@pytest.mark.parametrize(
    ("endpoint", "many", "answers"),
    [
        ("Words.Repeat", False, ["a", "a", "a"]),
        ("Words.Join", True, ["abc"]),
        ("Words.Echo", True, ["a", "b", "c"]),
    ],
)
async def test_streams_of_every_kind_work_under_every_name_of_protobuf(
    endpoint: str, many: bool, answers: list[str], content_type: str
) -> None:
    request = words() if many else StringValue(value="a")
    async with running(wrappers()) as client:
        assert await read(client, endpoint, request, content_type) == answers


async def test_protobuf_requests_may_be_sent_one_by_one() -> None:
    async with running(wrappers()) as client:
        stream = client.stream("words", "Words.Echo", None, StringValue, content_type=PROTOBUF)
        async with stream as echo:
            await echo.send(StringValue(value="x"))
            assert (await echo.receive()).value == "x"
