"""Far more calls than a service can take."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro import Message
from micro.names import camel_case
from micro_nats.wire.envelope import bundle_of, pack_message
from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of, run_load, within
from tests.faults.openings import points_and_client

WORK = 0.05
INSIDE = 10
QUEUE = 4
CAPACITY = INSIDE / WORK


@pytest.mark.parametrize(
    ("seconds", "share"),
    [
        # In company of other tests the machine itself may stand still for longer than a call.
        pytest.param(6, 0.9, id="for seconds"),
        pytest.param(60, 0.99, id="a minute", marks=[pytest.mark.slow, pytest.mark.timeout(150)]),
    ],
)
async def test_a_service_keeps_its_pace_under_four_times_its_capacity(
    server, tmp_path, verdict, seconds, share
) -> None:
    row = verdict(
        f"Four times the capacity ({CAPACITY:g} calls/s) for {seconds} s",
        f"p{share * 100:g} of accepted calls under twice the unloaded one, goodput >= 90 % of "
        f"capacity, refusals typed and in under 10 ms (p{share * 100:g}), memory flat; itself "
        "again within 5 s",
    )
    flags = ("--max-concurrency", str(INSIDE), "--max-queue", str(QUEUE))
    options = {"kinds": ("award",), "retries": 0, "seconds": WORK}
    async with points_and_client(server, tmp_path, 1, *flags) as (fleet, client):
        program = fleet["n1"]
        async with run_load(client, rate=CAPACITY / 4, **options) as calm:
            await lasts(3.0)
        async with run_load(client, rate=CAPACITY * 4, **options) as storm:
            await lasts(seconds / 3)
            memory = program.memory()
            await lasts(seconds * 2 / 3)
            grown = program.memory() - memory
        ended = time.monotonic()
        async with run_load(client, rate=CAPACITY / 4, **options) as after:
            await lasts(2.0)

    accepted = [call for call in storm.calls if not call.error]
    refused = storm.failed
    goodput = len(accepted) / seconds
    again = max([call.ended - ended for call in after.failed], default=0.0)
    loaded, unloaded = within(accepted, share), within(calm.calls, share)
    refusal = within(refused, share)
    row.measured = (
        f"{loaded * 1000:.0f} ms loaded, {unloaded * 1000:.0f} ms unloaded; {len(accepted)} "
        f"accepted ({goodput:.0f}/s), {len(refused)} refused within {refusal * 1000:.1f} ms; "
        f"{grown:+.1f} MiB; itself again after {again:.1f} s"
    )
    assert not calm.failed
    assert {call.error for call in refused} == {"ResourceExhausted"}, storm.errors
    assert len(refused) > 2 * len(accepted)
    assert all(call.refused for call in refused)
    assert loaded < 2 * unloaded
    assert refusal < 0.010
    assert goodput >= 0.9 * CAPACITY
    assert grown < 3.0
    assert again < 5.0
    assert within(after.calls, share) < 1.5 * unloaded


CPU_SECONDS = 0.005
DEADLINE_SECONDS = 1.0


async def call_in_turn(client, kind: str, seconds: float) -> int:
    """Call from eight workers, each call after the last one's answer; how many were answered."""
    done = 0
    end = time.monotonic() + seconds

    async def work() -> None:
        nonlocal done
        while time.monotonic() < end:
            job = {"number": -1, "seconds": CPU_SECONDS}
            await client.call("points", f"Points.{camel_case(kind)}", job)
            done += 1

    await asyncio.gather(*(work() for _ in range(8)))
    return done


@pytest.mark.slow  # it measures the processor, so it needs the machine to itself
@pytest.mark.parametrize("kind", ["burn", "burn_later", "burn_after_wait", "burn_in_thread"])
@pytest.mark.parametrize(("factor", "share"), [(1.5, 0.9), (3.0, 0.9), (10.0, 0.8)])
async def test_handlers_that_use_the_processor_keep_their_pace_under_overload(
    server, tmp_path, verdict, factor, share, kind
) -> None:
    way = kind.replace("burn", "handlers that use it").replace("_", " ")
    row = verdict(
        f"{factor:g} times as many calls as the processor has time for (5 ms each; {way}), default "
        "limits",
        f"answers per second of processor >= {share:.0%} of those without overload, refusals are "
        "429, no handler begins after its deadline (1 s), a light endpoint goes on answering",
    )
    async with (
        points_and_client(server, tmp_path, 1) as (fleet, client),
        client_of(server.address) as other,
    ):
        program = fleet["n1"]
        await call_in_turn(client, kind, 0.3)
        # Per second of its processor: the machine has other things to do, too.
        used = program.cpu()
        done = await call_in_turn(client, kind, 2.0)
        used = program.cpu() - used
        capacity, rate = done / used, done / 2.0 * factor
        options = {"retries": 0, "timeout": DEADLINE_SECONDS}
        before = program.cpu()
        async with (
            run_load(other, rate=10, kinds=("read",), **options) as light,
            run_load(client, rate=rate, kinds=(kind,), seconds=CPU_SECONDS, **options) as load,
        ):
            await lasts(3.0)
        spent = program.cpu() - before
        began = {number: moment for number, _, moment in fleet.journal.entries(kind)}

    answered = [call for call in load.calls if not call.error]
    late = [c for c in load.calls if began.get(c.number, 0.0) > c.started + DEADLINE_SECONDS]
    otherwise = [call for call in load.failed if call.error != "ResourceExhausted"]
    goodput = len(answered) / spent / capacity
    row.measured = (
        f"{goodput:.0%}; {len(answered)} answered, {len(load.failed)} refused, {len(late)} late; "
        f"light calls: {len(light.failed)} of {len(light.calls)} failed, p99 "
        f"{within(light.calls) * 1000:.0f} ms"
    )
    assert goodput >= share
    assert spent >= used / 2, "it was idle while it refused"
    # A call that was let in and is not answered in time is no refusal; there may be hardly any.
    assert len(otherwise) <= len(load.calls) / 200, load.errors
    assert not late
    assert not light.failed, light.errors


@pytest.mark.slow  # it measures the processor, so it needs the machine to itself
async def test_events_that_use_the_processor_leave_time_for_calls(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "Three times as many events as the processor has time for (5 ms each)",
        "calls of a light endpoint of the same service are answered (99 %)",
    )
    async with (
        points_and_client(server, tmp_path, 1) as (_, client),
        client_of(server.address) as other,
    ):
        await other.call("points", "Points.Read", {"number": 0})
        async with run_load(other, rate=20, kinds=("read",), retries=0, timeout=1.0) as light:
            due = time.monotonic()
            ends = due + 3.0
            while due < ends:
                await client.publish("points.burned", {"number": 1, "seconds": CPU_SECONDS})
                due += CPU_SECONDS / 3
                await lasts(max(0.0, due - time.monotonic()))

    row.measured = f"{len(light.failed)} of {len(light.calls)}, p99 {within(light.calls):.3f} s"
    assert len(light.failed) <= len(light.calls) // 100, light.errors


async def test_a_flood_of_events_takes_no_more_memory_than_its_bound(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "200 MB of events for a subscriber that hangs",
        "memory grows by less than its bound of 32 MiB and 32 more; drops are told; calls to the "
        "same process stay under 100 ms (p99)",
    )
    event = b"x" * 10_000
    async with (
        points_and_client(server, tmp_path, 1) as (fleet, client),
        client_of(server.address) as other,
    ):
        program = fleet["n1"]
        await client.call("points", "Points.Read", {"number": 0})
        await other.call("points", "Points.Read", {"number": 0})
        before = program.memory()
        async with run_load(other, rate=50, kinds=("read",)) as load:
            for number in range(20_000):
                await client.publish(
                    "points.flooded", event, content_type="application/octet-stream"
                )
                if number % 20 == 0:
                    await lasts(0.004)
            await client.flush()
            await program.says("is too slow")
            grown = program.memory() - before
        cut = program.said("disconnected")

    row.measured = f"{grown:+.0f} MiB, p99 {within(load.calls) * 1000:.0f} ms, drops told"
    assert grown < 64
    assert not cut
    assert not load.failed, load.errors
    assert within(load.calls) < 0.1


async def test_a_flood_of_requests_takes_no_more_memory_than_its_bound(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "As many requests as fit through the network for 2 s, from a peer that reads no answer",
        "memory grows by less than 96 MiB; the process stays up, and serves others once it is over",
    )
    async with (
        points_and_client(server, tmp_path, 1) as (fleet, client),
        client_of(server.address) as hostile,
    ):
        program = fleet["n1"]
        (record,) = await client.registry.get_service("points")
        address = record.nodes[0].address
        await client.call("points", "Points.Read", {"number": 0})
        headers = {"Micro-Endpoint": "Points.Award", "Content-Type": "application/json"}
        parts = [
            pack_message(Message({**headers, "Micro-Id": str(n)}, b'{"number":1,"seconds":1}'))
            for n in range(64)
        ]
        bundle = bundle_of(parts)
        connection = hostile.transport._connection
        before, peak, sent = program.memory(), 0.0, 0
        ends = time.monotonic() + 2.0
        while time.monotonic() < ends:
            for number in range(50):
                connection.publish_now(address, f"_INBOX.nobody.{number}.1", bundle)
            await connection.flush()
            sent += 50 * 64
            peak = max(peak, program.memory() - before)
        back = await succeeds(
            lambda: client.call("points", "Points.Read", {"number": 0}, timeout=1.0), 25.0
        )
        peak = max(peak, program.memory() - before)
        alive = program.alive

    row.measured = f"{sent} requests, {peak:+.0f} MiB at most, others served {back:.2f} s after"
    assert alive
    assert peak < 96
    assert back < 25.0
