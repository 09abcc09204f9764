"""Wall clocks that are wrong, or are set right while everything runs."""

from __future__ import annotations

import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from micro import DeadlineExceeded, Where
from micro.scope import open_scope
from tests.faults.clock import lasts, until
from tests.faults.load import client_of, run_load, within
from tests.faults.process import Journal, Program, run_program

HOUR = 3600.0
TTL = 1.0
OFF = 0.05


def at(name: str) -> Where:
    return Where(metadata={"zone": name})


async def call(client, endpoint, number=0, seconds=0.0, **options):
    job = {"number": number, "seconds": seconds}
    return await client.call("points", f"Points.{endpoint}", job, **options)


async def jump(client, name, seconds) -> float:
    return await client.call("points", "Points.Jump", seconds, where=at(name))


class Instances(dict[str, Program]):
    """Instances by name, and what they write down."""

    journal: Journal


@asynccontextmanager
async def run_instances(server, folder, **shifts: float) -> AsyncIterator[Instances]:
    """Run instances of these names on clocks that are wrong by so much."""
    journal = Journal(folder / "journal")
    flags = ("--transport-address", server.address)
    flags += ("--register-ttl", str(TTL), "--register-interval", "0.4")
    instances = Instances()
    instances.journal = journal
    async with AsyncExitStack() as stack:
        for name, shift in shifts.items():
            environ = {"CLOCK_SHIFT": str(shift), "POINTS_NODE": name}
            environ["POINTS_JOURNAL"] = str(journal.path)
            program = run_program("skewed", *flags, environ=environ)
            instances[name] = await stack.enter_async_context(program)
        for program in instances.values():
            await program.says("ready: points")
        yield instances


async def note_nodes(client, sizes: list[int]) -> None:
    """Write down how many nodes there are, each time that changes, without end."""
    async with client.registry.watch("points") as changes:
        async for records in changes:
            size = sum(len(record.nodes) for record in records)
            sizes.append(size)


@asynccontextmanager
async def watching(client) -> AsyncIterator[list[int]]:
    sizes: list[int] = []
    async with open_scope() as scope:
        watch = scope.start(note_nodes(client, sizes))
        try:
            await until(lambda: bool(sizes))
            yield sizes
        finally:
            watch.cancel()


async def ends_at(client, journal, number, timeout, **options) -> tuple[float, float]:
    """When a call ends here, and its handler there: both in seconds from its start."""
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        await call(client, "Cancelled", number, 30.0, timeout=timeout, retries=0, **options)
    ended = time.monotonic() - started
    _, _, cancelled = await journal.has("cancelled", number)
    return ended, cancelled - started


async def test_deadlines_hold_between_clocks_an_hour_apart(server, tmp_path, verdict) -> None:
    row = verdict(
        "The callees' clocks are an hour ahead and an hour behind the caller's",
        "the handler knows the time left to 50 ms; caller and handlers end within 50 ms of the "
        "deadline, also four hops away from clock to clock",
    )
    async with (
        run_instances(server, tmp_path, ahead=HOUR, behind=-HOUR) as instances,
        client_of(server.address, selector="round_robin") as client,
    ):
        wrong = {}
        left, ends = [], []
        for number, name in enumerate(("ahead", "behind")):
            told = await client.call("points", "Points.Clock", where=at(name))
            wrong[name] = told - time.time()
            left.append(await call(client, "Left", where=at(name), timeout=2.0))
            ends += await ends_at(client, instances.journal, 100 + number, 0.5, where=at(name))
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await call(client, "Forward", 3, timeout=0.5, retries=0)
        hops = [await instances.journal.has("left", number) for number in range(4)]

    ends += [moment - started for _, _, moment in hops]
    worst = max(abs(end - 0.5) for end in ends)
    short = max(2.0 - each for each in left)
    row.measured = (
        f"time left told {short * 1000:.1f} ms short at most; ends {worst * 1000:.0f} ms off; the "
        f"call went through {len({node for _, node, _ in hops})} clocks"
    )
    assert wrong == pytest.approx({"ahead": HOUR, "behind": -HOUR}, abs=10.0)
    assert 0.0 <= short < OFF
    assert worst < OFF
    assert {node for _, node, _ in hops} == {"ahead", "behind"}


async def test_no_node_expires_between_clocks_an_hour_apart(server, tmp_path, verdict) -> None:
    row = verdict(
        f"The same for two lifetimes of a registration ({TTL:g} s), under 150 calls and events/s",
        "no node is ever forgotten, no call fails, every event is heard once",
    )
    async with (
        run_instances(server, tmp_path, ahead=HOUR, behind=-HOUR) as instances,
        client_of(server.address) as client,
        watching(client) as sizes,
    ):
        async with run_load(client, rate=150) as load:
            await lasts(2 * TTL)
        journal = instances.journal
        await until(lambda: len(journal.entries("event")) >= len(load.published))
        heard, nodes = journal.counts("event"), {node for _, node, _ in journal.entries("event")}

    row.measured = (
        f"{min(sizes)} nodes at the least, {len(load.failed)} of {len(load.calls)} calls failed, "
        f"{len(heard)} of {len(load.published)} events heard, p99 {within(load.calls):.3f} s"
    )
    assert set(sizes) == {2}
    assert not load.failed, load.errors
    assert not load.unpublished
    assert sorted(heard) == sorted(load.published)
    assert set(heard.values()) == {1}
    assert nodes == {"ahead", "behind"}


async def test_a_clock_that_jumps_moves_no_deadline(server, tmp_path, verdict, monkeypatch) -> None:
    row = verdict(
        "The wall clocks of callee and caller jump an hour ahead and two back, under 100 calls/s",
        "calls under way end within 50 ms of their deadlines, or are answered; no call fails, no "
        "node is forgotten",
    )
    clock = time.time
    async with (
        run_instances(server, tmp_path, one=0.0, two=0.0) as instances,
        client_of(server.address) as client,
        watching(client) as sizes,
        run_load(client, rate=100) as load,
        open_scope() as scope,
    ):
        ending = scope.start(ends_at(client, instances.journal, 10_000, 1.1, where=at("one")))
        answered = scope.start(call(client, "Read", 20_000, 1.1, timeout=1.4, where=at("one")))
        await instances.journal.has("begun", 10_000)
        await instances.journal.has("read", 20_000)
        for here, there in ((0.0, HOUR), (HOUR, -2 * HOUR), (-HOUR, 0.0)):
            monkeypatch.setattr(time, "time", lambda by=here: clock() + by)
            told = await jump(client, "one", there)
            await lasts(0.2)
        moved = told - clock()
        ends = await ending
        late = await answered
        monkeypatch.undo()

    worst = max(abs(end - 1.1) for end in ends)
    row.measured = (
        f"ends {worst * 1000:.0f} ms off, {min(sizes)} nodes at the least, {len(load.failed)} of "
        f"{len(load.calls)} calls failed"
    )
    assert moved == pytest.approx(-HOUR, abs=10.0)
    assert worst < OFF
    assert late["number"] == 20_000
    assert not load.failed, load.errors
    assert set(sizes) == {2}


async def test_a_node_is_forgotten_in_time_although_the_clock_was_put_back(
    server, tmp_path, verdict, monkeypatch
) -> None:
    row = verdict(
        f"A node dies (lifetime {TTL:g} s); the caller's wall clock is put back an hour with it",
        "it is forgotten within its lifetime and 2 s, the other one never",
    )
    clock = time.time
    async with (
        run_instances(server, tmp_path, one=0.0, two=0.0) as instances,
        client_of(server.address) as client,
    ):
        monkeypatch.setattr(time, "time", lambda: clock() + HOUR)
        async with watching(client) as sizes:
            # Until it is announced by this clock, not only found.
            await lasts(0.5)
            instances["two"].signal(signal.SIGKILL)
            monkeypatch.undo()
            seconds = await until(lambda: sizes[-1] == 1)
            await call(client, "Read", where=at("one"))

    row.measured = f"forgotten after {seconds:.1f} s, the other one still called"
    assert sizes == [2, 1]
    assert seconds < TTL + 2.0
