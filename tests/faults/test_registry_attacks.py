"""Attacks on the registry and the broker by a user who may do what a service may.

The stranger has the permissions of docs/operations.md: it publishes and subscribes to the subjects
of the registry, to inboxes and to topics. While it attacks, calls between others go on as before.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from micro import Client, MicroError, Service, Settings
from micro_nats.devserver import run_server
from tests.faults.load import client_of
from tests.faults.programs.registry_attacks import ATTACKS
from tests.faults.verdicts import Verdict

MAX_CALL_SECONDS = 0.25
"""Of this process's processor, which client, service and subscriber share: the machine has other
things to do, so the clock says less."""
# 20,000 events in two seconds: each one is a task, and a call waits for some hundred of them.
MAX_FLOODED_CALL_SECONDS = 0.5
FLOODS = ("publish_unreadable_events",)
MAX_GROWTH_BYTES = 100 << 20
RULES = """
authorization {
  users: [
    {user: "service", password: "s"}
    {user: "stranger", password: "s", permissions: {
      publish: {allow: ["_INBOX.>", "events.>", "micro.registry.nats.>", "micro.nats.>"]}
      subscribe: {allow: ["_STRANGER.>", "events.>", "micro.registry.nats.>", "micro.nats.>"]}
    }}
  ]
}
"""


class Golden:
    """A service that answers at once, and keeps the events it hears."""

    def __init__(self) -> None:
        self.service = Service("golden")
        self.events: list[int] = []

        @self.service.handler
        async def echo(value: int) -> int:
            return value

        @self.service.subscriber("events.orders")
        async def on_order(event: int) -> None:
            self.events.append(event)


@pytest.fixture
async def address(tmp_path: Path) -> AsyncIterator[str]:
    config = tmp_path / "server.conf"
    config.write_text(RULES)
    async with run_server(config=config) as server:
        yield server.address.replace("//", "//service:s@")


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("attack", ATTACKS)
async def test_calls_go_on_while_a_stranger_attacks(
    address: str, attack: str, verdict: Callable[..., Verdict], caplog: pytest.LogCaptureFixture
) -> None:
    most = MAX_FLOODED_CALL_SECONDS if attack in FLOODS else MAX_CALL_SECONDS
    row = verdict(
        f"A stranger with a service's permissions on the registry: {attack.replace('_', ' ')}",
        f"99 % of the calls of others succeed, each within {most:g} s of processor; "
        "less than 100 MB more memory; a bounded log",
    )
    golden, settings = Golden(), Settings(transport_address=(address,))
    async with golden.service.running(settings=settings), client_of(address) as client:
        for _ in range(200):
            await client.call("golden", "Golden.Echo", 0, int)
        before = resident_bytes()
        async with stranger(address, attack, await departure(client)) as program:
            slowest, failed, made = await call_during(client, program)
        grown, lines = resident_bytes() - before, len(caplog.records)

    row.measured = (
        f"{made - failed} of {made} calls, the slowest {slowest * 1000:.0f} ms of processor; "
        f"{grown >> 20} MB more; {lines} lines logged"
    )
    assert made > 50
    assert failed <= made // 100
    assert slowest < most, row.measured
    assert grown < MAX_GROWTH_BYTES
    assert lines < 100


@asynccontextmanager
async def stranger(
    address: str, attack: str, departure: bytes
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the attack as a program; it waits after the attack until its input is closed."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.programs.registry_attacks"),
        *(address.replace("service:", "stranger:"), attack, departure.decode()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stdin is not None
    try:
        assert await program.stdout.readline() == b"ready\n"
        yield program
    finally:
        program.stdin.close()
        await program.wait()


async def departure(client: Client) -> bytes:
    """What says that the genuine node leaves."""
    (record,) = await client.registry.get_service("golden")
    nodes = [{"id": node.id, "address": node.address} for node in record.nodes]
    service = {"name": "golden", "version": "latest", "nodes": nodes}
    return json.dumps({"Service": service, "Action": "delete"}).encode()


async def call_during(
    client: Client, program: asyncio.subprocess.Process
) -> tuple[float, int, int]:
    """Call all the time, until two seconds after the attack; the slowest, failed and all calls."""
    assert program.stdout is not None
    slowest, failed, made = 0.0, 0, 0
    done = asyncio.ensure_future(program.stdout.readline())
    end = time.monotonic() + 30.0
    seen = False
    while time.monotonic() < end:
        if done.done() and not seen:
            assert done.result() == b"done\n"
            seen, end = True, time.monotonic() + 2.0
        started = time.process_time()
        made += 1
        try:
            assert await client.call("golden", "Golden.Echo", made, int, timeout=2) == made
        except MicroError:
            failed += 1
        slowest = max(slowest, time.process_time() - started)
    assert seen, "the attack did not end"
    return slowest, failed, made


def resident_bytes() -> int:
    """Memory of this process that is in use now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
