"""A client that runs on either version: it tries everything once, or calls until told to stop."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel

from micro import Client, MicroError, load_settings, open_client

LARGE = "ä" * 2_000_000
CALLERS = 8


class Award(BaseModel):
    user: str
    points: int


async def error_of(call: Awaitable[object]) -> list[object]:
    try:
        await call
    except MicroError as error:
        return [type(error).__name__, error.code, error.detail]
    return []


async def unary(client: Client) -> dict[str, Any]:
    awarded = await client.call("points", "Points.Award", Award(user="ann", points=5), Award)
    large = await client.call("points", "Points.Repeat", LARGE, str)
    late = await error_of(client.call("points", "Points.Wait", timeout=0.2))
    return {
        "award": [awarded.user, awarded.points],
        "large": large == LARGE,
        "unknown user": await error_of(client.call("points", "Points.Fail", "unknown")),
        "own mistake": await error_of(client.call("points", "Points.Fail", "other")),
        "unknown endpoint": (await error_of(client.call("points", "Points.Nope")))[:2],
        "late": late[:2],
        "cancelled": await client.call("points", "Points.Cancellations", 1, list[int]),
    }


async def streams(client: Client) -> dict[str, Any]:
    async def awards() -> AsyncIterator[Award]:
        for points in range(100):
            yield Award(user="ann", points=points)

    async with client.stream("points", "Points.Count", 3000, int) as numbers:
        counted = [number async for number in numbers]
    async with client.stream("points", "Points.Total", awards(), int) as answer:
        total = await answer.receive()
    async with client.stream("points", "Points.Double", None, int) as answers:
        doubled = []
        for number in range(3):
            await answers.send(number)
            doubled.append(await answers.receive())
    async with client.stream("points", "Points.Endless", None, int) as answers:
        await answers.receive()
    return {
        "count": counted == list(range(3000)),
        "total": total,
        "double": doubled,
        "left": await client.call("points", "Points.Departures", 1, list[int]),
    }


async def events(client: Client) -> dict[str, Any]:
    for number in range(20):
        await client.publish("orders.created", number)
    await client.flush()
    heard = await client.call("points", "Points.Heard", 20, list[int], timeout=10)
    return {"heard": heard == list(range(20))}


async def talk(client: Client) -> None:
    """Try all kinds of calls, streams and events, and print what came of it."""
    versions = [version("micro-rpc"), await client.call("points", "Points.VersionOf", None, str)]
    found = {**await unary(client), **await streams(client), **await events(client)}
    print(json.dumps({"versions": versions, **found}), flush=True)


async def load(client: Client) -> None:
    """Call without a pause until standard input ends; tell when two instances have answered."""
    answers: dict[str, int] = {}
    errors: list[str] = []
    over = asyncio.Event()

    async def work() -> None:
        while not over.is_set():
            try:
                name = await client.call("points", "Points.Who", None, str)
            except MicroError as error:
                errors.append(str(error))
                continue
            answers[name] = answers.get(name, 0) + 1
            if len(answers) == 2 and answers[name] == 1:
                print("both", flush=True)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(work())
        await asyncio.to_thread(sys.stdin.read)
        over.set()
    print(json.dumps({"answers": answers, "errors": errors}), flush=True)


async def main(role: str, address: str) -> None:
    settings = load_settings(["--transport_address", address], {})
    async with open_client(settings) as client:
        await {"talk": talk, "load": load}[role](client)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
