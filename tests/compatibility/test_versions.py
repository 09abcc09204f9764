"""This version beside the one before the modules were reordered, on one nats-server.

The wheel in this folder is the old version. Both must understand each other in both directions, so
that a fleet can be updated one process after the other.
"""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import Process
from importlib.metadata import version

import pytest

from micro_nats.devserver import NatsServer
from tests.compatibility.conftest import Start

VERSIONS = {"old": "0.1.0.dev0", "new": version("micro-rpc")}
PAIRS = [("old", "new"), ("new", "old")]
UNDERSTOOD = {
    "award": ["ann", 6],
    "large": True,
    "unknown user": ["NotFound", 404, "no such user"],
    "own mistake": ["InternalError", 500, "the handler failed"],
    "unknown endpoint": ["NotFound", 404],
    "late": ["DeadlineExceeded", 408],
    "cancelled": [1],
    "count": True,
    "total": 4950,
    "double": [0, 2, 4],
    "left": [1],
    "heard": True,
}


async def line_of(process: Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(50):
        return (await process.stdout.readline()).decode().strip()


@pytest.mark.parametrize(("client", "service"), PAIRS)
async def test_calls_streams_and_events_cross_versions(
    client: str, service: str, start: Start, serve: Start, server: NatsServer
) -> None:
    await serve(service)
    talker = await start(client, "client.py", "talk", server.address)
    told = json.loads(await line_of(talker))

    assert told.pop("versions") == [VERSIONS[client], VERSIONS[service]]
    assert told == UNDERSTOOD


@pytest.mark.parametrize(("client", "stopped"), [*PAIRS, ("old", "old")])
async def test_a_stop_beside_the_other_version_fails_no_call(
    client: str, stopped: str, start: Start, serve: Start, server: NatsServer
) -> None:
    instances = {name: await serve(name) for name in VERSIONS}
    caller = await start(client, "client.py", "load", server.address)
    assert await line_of(caller) == "both"
    instances[stopped].terminate()
    async with asyncio.timeout(40):
        await instances[stopped].communicate()
        out, log = await caller.communicate(b"")
    assert caller.returncode == 0, log.decode()
    told = json.loads(out)

    assert instances[stopped].returncode == 0
    assert told["errors"] == []
    assert set(told["answers"]) == set(VERSIONS)
