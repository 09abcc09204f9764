"""Replacing workers, and stopping instances, under load: nothing fails and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from micro import Client
from micro.scope import open_scope
from micro_nats.devserver import NatsServer
from tests.system.conftest import Listen, Program, Start

CHANGES = 6
SOURCE = """
from micro import Service

service = Service("points")

@service.handler
async def version() -> int:
    return {version}

@service.subscriber("orders.created")
async def on_order(number: int) -> None:
    await service.publish("test.handled", number)
"""


class Load:
    """Calls and events without a pause, and what became of them."""

    def __init__(self, client: Client) -> None:
        self.versions: Counter[int] = Counter()
        self.failed: list[str] = []
        self.published = 0
        self._client = client

    async def call(self) -> None:
        while True:
            try:
                self.versions[await self._client.call("points", "Points.Version", None, int)] += 1
            except Exception as error:
                self.failed.append(repr(error))

    async def publish(self) -> None:
        while True:
            await self._client.publish("orders.created", self.published)
            self.published += 1
            await self._client.call("points", "Points.Version", None, int)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with open_scope() as scope:
            for _ in range(8):
                scope.start(self.call())
            scope.start(self.publish())
            yield


@pytest.fixture
async def workers(server: NatsServer, tmp_path: Path) -> AsyncIterator[Program]:
    """Two workers that are replaced when their source changes."""
    path = tmp_path / "points_service.py"
    path.write_text(SOURCE.format(version=0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "micro.cli", "run", str(path), "--workers=2", "--reload"),
        f"--transport-address={server.address}",
        env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    program = Program(process)
    yield program
    if process.returncode is None:
        process.kill()
    await process.communicate()


@pytest.mark.slow  # Starts fourteen processes.
@pytest.mark.timeout(180)
async def test_six_changes_under_load_fail_no_call_and_lose_no_event(
    workers: Program, client: Client, listen: Listen, tmp_path: Path
) -> None:
    for _ in range(2):
        await workers.until("ready: points", seconds=60)
    handled, load = await listen("test.handled"), Load(client)
    async with load.running():
        for version in range(1, CHANGES + 1):
            (tmp_path / "points_service.py").write_text(SOURCE.format(version=version))
            for _ in range(2):
                await workers.until("is replaced", seconds=60)
    await handled.until(load.published)
    workers.signal(signal.SIGTERM)

    assert await workers.ended() == 0
    assert load.failed == []
    assert sorted(handled.heard) == list(range(load.published))
    assert set(load.versions) == set(range(CHANGES + 1))


@pytest.mark.timeout(60)
async def test_a_stop_with_an_idle_stream_loses_no_event_and_fails_no_call(
    start: Start, client: Client, listen: Listen
) -> None:
    first = await start("points.py", "--server_id=a")
    handled, failed, sent = await listen("test.handled"), list[str](), 0
    await client.call("points", "Points.Who", None, str)
    async with client.stream("points", "Points.Idle", None, int) as idle:
        assert await idle.receive() == 0
        await start("points.py", "--server_id=b")
        first.signal(signal.SIGTERM)
        while first.process.returncode is None:
            await client.publish("orders.created", sent)
            sent += 1
            try:
                await client.call("points", "Points.Who", None, str)
            except Exception as error:
                failed.append(repr(error))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(first.process.wait(), 0.001)
        code = await first.ended()
    await client.flush()
    await handled.until(sent)

    assert code == 0
    assert failed == []
    assert sorted(number for _, number in handled.heard) == list(range(sent))
