"""Instances stop, one after the other, while they are called."""

from __future__ import annotations

import pytest

from tests.faults.load import run_load
from tests.faults.openings import points_and_client

BOUND = 30.0


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, id="once"),
        pytest.param(20, id="twenty times", marks=[pytest.mark.slow, pytest.mark.timeout(600)]),
    ],
)
async def test_a_rolling_restart_loses_no_call_and_no_event(
    server, tmp_path, verdict, rounds
) -> None:
    row = verdict(
        f"Rolling restart of three instances, {rounds} time(s), under 300 calls and events/s",
        f"0 failed calls, 0 lost events, each process gone within {BOUND:g} s",
    )
    stops = []
    async with (
        points_and_client(server, tmp_path) as (fleet, client),
        run_load(client, rate=300) as load,
    ):
        for _ in range(rounds):
            for name in list(fleet.programs):
                await fleet.start()
                program = fleet.programs.pop(name)
                stops.append(await program.stop())
                assert program.process.returncode == 0, program.log
        await load.stop()
        await client.flush()
        lost = set(load.published) - set(fleet.journal.counts("event"))
        for number in lost:
            await fleet.journal.has("event", number, timeout=2.0)

    row.measured = (
        f"{len(load.failed)} of {len(load.calls)} calls failed, 0 of {len(load.published)} "
        f"events lost, slowest stop {max(stops):.2f} s"
    )
    assert not load.failed, load.errors
    assert not load.unpublished
    assert not fleet.journal.twice("award")
    assert max(stops) < BOUND
    assert len(load.calls) > rounds * 100
