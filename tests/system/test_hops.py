"""Deadlines, cancellation and traces over three processes."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro import Client, DeadlineExceeded
from tests.system.conftest import Listen, Program, Start

pytestmark = pytest.mark.timeout(30)

NAMES = ["first", "middle", "last"]
Span = tuple[str, str, int, int]


@pytest.fixture
async def hops(start: Start) -> list[Program]:
    names = [f"--server_name={name}" for name in NAMES]
    return list(await asyncio.gather(*(start("hop.py", name) for name in names)))


async def test_what_remains_of_a_deadline_shrinks_at_every_hop(
    client: Client, hops: list[Program]
) -> None:
    seen = await client.call("first", "Hop.Go", NAMES[1:], list[float], timeout=5)

    assert len(seen) == 3
    assert 5 >= seen[0] > seen[1] > seen[2] > 3


async def test_a_deadline_ends_the_call_at_every_hop(
    client: Client, hops: list[Program], listen: Listen
) -> None:
    await client.call("first", "Hop.Go", NAMES[1:], list[float])
    waiting, cancelled = await listen("test.waiting"), await listen("test.cancelled")
    before = time.monotonic()
    call = asyncio.ensure_future(client.call("first", "Hop.Wait", NAMES[1:], timeout=0.5))
    await waiting.until(1)
    with pytest.raises(DeadlineExceeded):
        await call
    took = time.monotonic() - before

    assert 0.5 <= took < 1.5
    assert sorted(await cancelled.until(3)) == sorted(NAMES)


async def test_cancellation_reaches_the_last_hop_within_a_tenth_of_a_second(
    client: Client, hops: list[Program], listen: Listen
) -> None:
    waiting, cancelled = await listen("test.waiting"), await listen("test.cancelled")
    took = []
    for times in (1, 2, 3):
        call = asyncio.ensure_future(client.call("first", "Hop.Wait", NAMES[1:], timeout=20))
        await waiting.until(times)
        before = time.monotonic()
        call.cancel()
        await cancelled.until(3 * times)
        took.append(time.monotonic() - before)

    assert sorted(cancelled.heard) == sorted(3 * NAMES)
    assert min(took) < 0.1


async def test_calls_and_events_of_three_processes_are_one_trace(
    client: Client, hops: list[Program], listen: Listen
) -> None:
    arrived = [await listen(f"test.arrived.{name}") for name in NAMES]
    await client.call("first", "Hop.Go", NAMES[1:], list[float])
    for ear in arrived:
        await ear.until(1)
    spans: list[Span] = []
    for name in NAMES:
        spans += await client.call(name, "Hop.Spans", None, list[Span])

    calls = [f"{name}/Hop.Go" for name in NAMES]
    events = [f"{name}/hop.arrived" for name in NAMES]
    assert sorted(name for name, kind, _, _ in spans if kind == "SERVER") == sorted(calls)
    assert sorted(name for name, kind, _, _ in spans if kind == "CLIENT") == sorted(calls[1:])
    assert sorted(name for name, kind, _, _ in spans if kind == "CONSUMER") == sorted(events)
    assert len({trace for _, _, trace, _ in spans}) == 1
    assert [name for name, _, _, parent in spans if not parent] == ["first/Hop.Go"]
