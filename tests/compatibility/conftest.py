"""Programs on this version and on an older one, side by side on one nats-server."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from micro_nats.devserver import NatsServer, run_server

FOLDER = Path(__file__).parent
OLD = FOLDER / "micro_rpc-0.1.0.dev0-py3-none-any.whl"
ROOT = FOLDER.parents[1]
PATHS = {"old": str(OLD), "new": os.pathsep.join((str(ROOT), str(ROOT / "plugins")))}

Start = Callable[..., Awaitable[Process]]


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with run_server() as server:
        yield server


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start a program on the old or the new version; what still runs at the end is killed."""
    async with AsyncExitStack() as stack:

        async def start(version: str, program: str, *arguments: str) -> Process:
            others = {k: v for k, v in os.environ.items() if not k.startswith("MICRO_")}
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(FOLDER / "programs" / program), *arguments),
                env={**others, "PYTHONPATH": PATHS[version], "PYTHONUNBUFFERED": "1"},
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
            )
            stack.push_async_callback(_end, process)
            return process

        yield start


@pytest.fixture
def serve(start: Start, server: NatsServer) -> Start:
    """Start the service on the old or the new version, and wait until it is ready."""

    async def serve(version: str) -> Process:
        flags = (f"--transport_address={server.address}", f"--server_id={version}")
        process = await start(version, "service.py", *flags)
        assert process.stderr is not None
        async with asyncio.timeout(40):
            while b"ready: points" not in (line := await process.stderr.readline()):
                assert line, f"the {version} service ended"
        return process

    return serve


async def _end(process: Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()
