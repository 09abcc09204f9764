"""Streams: one request and many answers, many and one, many and many.

python examples/streaming.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from micro import Client, Service

service = Service("numbers")


@service.handler
async def count(last: int) -> AsyncIterator[int]:
    """A server stream: an async generator. The client may leave before its end."""
    for number in range(1, last + 1):
        yield number


@service.handler
async def add(numbers: AsyncIterator[int]) -> int:
    """A client stream: the requests come as an async iterator."""
    return sum([number async for number in numbers])


@service.handler
async def double(numbers: AsyncIterator[int]) -> AsyncIterator[int]:
    """A bidirectional stream: answers go out while requests come in."""
    async for number in numbers:
        yield 2 * number


async def show_server_stream(client: Client) -> None:
    """Read answers; leaving the block early stops the handler at the other end."""
    async with client.stream("numbers", "Numbers.Count", 1_000_000, int) as answers:
        async for number in answers:
            print(f"count: {number}")
            if number == 3:
                break


async def show_client_stream(client: Client) -> None:
    """Hand over an async iterable of requests, and wait for the one answer."""

    async def numbers() -> AsyncIterator[int]:
        for number in (1, 2, 3, 4):
            yield number

    async with client.stream("numbers", "Numbers.Add", numbers(), int) as answers:
        print(f"add: {await answers.receive()}")


async def show_bidirectional(client: Client) -> None:
    """Send by hand, each request after the last one's answer."""
    async with client.stream("numbers", "Numbers.Double", response_type=int) as stream:
        for number in (10, 20, 30):
            await stream.send(number)
            print(f"double: {number} -> {await stream.receive()}")
        stream.finish()
        print(f"double: {len([left async for left in stream])} answers left")


async def main() -> None:
    """Run the service and use all its streams."""
    async with service.running() as client:
        await show_server_stream(client)
        await show_client_stream(client)
        await show_bidirectional(client)


if __name__ == "__main__":
    asyncio.run(main())
