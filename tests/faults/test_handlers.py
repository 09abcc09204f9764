"""Handlers and processes that hang, block or freeze."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from micro import DeadlineExceeded, MicroError, Where
from micro.scope import open_scope
from tests.faults.clock import lasts, succeeds
from tests.faults.openings import points_and_client


def at(name: str) -> Where:
    return Where(metadata={"zone": name})


async def call(client, endpoint, number=0, seconds=0.0, **options):
    job = {"number": number, "seconds": seconds}
    return await client.call("points", f"Points.{endpoint}", job, **options)


async def ends(client, endpoint, number, **options) -> str:
    """The class of the error in which a call ends."""
    try:
        await call(client, endpoint, number, **options)
    except MicroError as error:
        return type(error).__name__
    return ""


async def test_a_stuck_handler_is_named_and_does_not_keep_the_process(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "SIGTERM with a handler that ignores its cancellation (bound 1 s)",
        "gone within the bound and 5 s of last resort, exit code not 0, the handler named",
    )
    async with (
        points_and_client(server, tmp_path, 1, "--shutdown-timeout", "1") as (fleet, client),
        open_scope() as scope,
    ):
        waiting = scope.start(ends(client, "Stuck", 1, timeout=30.0))
        await fleet.journal.has("stuck", 1)
        program = fleet["n1"]
        seconds = await program.stop()
        answered = await asyncio.wait_for(waiting, 5.0)

    code, named = program.process.returncode, program.said("Points.Stuck was still running")
    row.measured = f"gone after {seconds:.1f} s with code {code}, named; the caller got {answered}"
    assert seconds < 7.0
    assert code == 1
    assert named
    assert answered in ("Unavailable", "ConnectionLost", "SocketClosed")


async def test_a_dead_node_costs_a_call_no_more_than_a_moment(server, tmp_path, verdict) -> None:
    row = verdict(
        "An instance died while no one called it; its record is still there",
        "the first call fails over inside the same call in under 50 ms; the node is ejected",
    )
    async with points_and_client(server, tmp_path, 2, selector="round_robin") as (fleet, client):
        for _ in range(4):
            await call(client, "Award")
        fleet["n1"].signal(signal.SIGKILL)
        await fleet["n1"].gone()
        seconds = []
        for number in range(10):
            started = time.monotonic()
            assert (await call(client, "Award", number))["node"] == "n2"
            seconds.append(time.monotonic() - started)

    row.measured = f"slowest of ten calls {max(seconds) * 1000:.1f} ms"
    assert max(seconds) < 0.05


async def test_leaving_a_call_cancels_its_handlers_four_hops_away(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "The caller leaves a call that has gone through four handlers",
        "every one of them is cancelled within 100 ms",
    )
    async with (
        points_and_client(server, tmp_path, 2) as (fleet, client),
        open_scope() as scope,
    ):
        calling = scope.start(call(client, "Forward", 3, timeout=30.0))
        await fleet.journal.has("forward", 0)
        left = time.monotonic()
        calling.cancel()
        last = [await fleet.journal.has("left", number) for number in range(4)]

    slowest = max(moment for _, _, moment in last) - left
    row.measured = f"the last one after {slowest * 1000:.1f} ms"
    assert slowest < 0.1


async def test_a_deadline_ends_handlers_four_hops_away(server, tmp_path, verdict) -> None:
    row = verdict(
        "The deadline of a call (1 s) comes while its fourth handler hangs",
        "caller and handlers end within 50 ms of it, none leaks",
    )
    async with points_and_client(server, tmp_path, 2) as (fleet, client):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await call(client, "Forward", 3, timeout=1.0, retries=0)
        ended = time.monotonic() - started
        last = [await fleet.journal.has("left", number) for number in range(4)]

    worst = max(abs(moment - started - 1.0) for _, _, moment in last)
    row.measured = f"caller {(ended - 1) * 1000:+.0f} ms, handlers {worst * 1000:.0f} ms off"
    assert abs(ended - 1.0) < 0.05
    assert worst < 0.05


async def test_a_blocked_event_loop_is_logged_and_drops_expired_calls(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "A handler blocks the event loop of one of two instances for 3 s",
        "its stack is logged; others do not evict it; what expired in the meantime is not executed",
    )
    async with (
        points_and_client(server, tmp_path, 2) as (fleet, client),
        open_scope() as scope,
    ):
        await call(client, "Read", where=at("n1"))
        blocking = scope.start(call(client, "Block", 1, 3.0, where=at("n1"), timeout=10.0))
        await fleet.journal.has("block", 1)
        missed = await asyncio.gather(
            *(ends(client, "Award", n, where=at("n1"), timeout=0.5) for n in range(100, 200))
        )
        other = await call(client, "Read", 2, timeout=0.5, where=at("n2"))
        await blocking
        back = await call(client, "Award", 3, where=at("n1"))
        executed = [n for n in fleet.journal.counts("award") if n != 3]
        (record,) = await client.registry.get_service("points")
        logged = fleet["n1"].said("time.sleep(job.seconds)")

    row.measured = f"logged; {len(record.nodes)} nodes; {len(executed)} of 100 expired ones ran"
    assert set(missed) == {"DeadlineExceeded"}
    assert (other["node"], back["node"]) == ("n2", "n1")
    assert logged
    assert len(record.nodes) == 2
    assert not executed


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(4, id="seconds"),
        pytest.param(60, id="a minute", marks=[pytest.mark.slow, pytest.mark.timeout(150)]),
    ],
)
async def test_a_frozen_instance_is_passed_over_and_taken_back(
    server, tmp_path, verdict, seconds
) -> None:
    row = verdict(
        f"SIGSTOP of one of two instances for {seconds} s",
        "calls go elsewhere after at most five timeouts; taken back once it goes on (within its "
        "cool-down); what expired in the meantime is not executed",
    )
    async with points_and_client(server, tmp_path, 2, selector="round_robin") as (fleet, client):
        for number in range(4):
            await call(client, "Read", number)
        fleet["n1"].signal(signal.SIGSTOP)
        stopped = time.monotonic()
        failed, number = 0, 100
        while time.monotonic() - stopped < seconds:
            number += 1
            failed += bool(await ends(client, "Award", number, timeout=0.2))
            await lasts(0.01)
        fleet["n1"].signal(signal.SIGCONT)
        back = await succeeds(lambda: call(client, "Read", 1, where=at("n1"), timeout=1.0), 40.0)
        ran = [n for n, node, _ in fleet.journal.entries("award") if node == "n1"]

    row.measured = (
        f"{failed} of {number - 100} calls timed out, taken back after {back:.1f} s, "
        f"{len(ran)} expired ones ran"
    )
    assert failed <= 5 + seconds // 2
    assert back < 35.0
    assert not ran
