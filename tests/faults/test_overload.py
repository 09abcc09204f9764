"""Far more calls than a service can take."""

from __future__ import annotations

import time

import pytest

from tests.faults.clock import lasts
from tests.faults.load import client_of, run_load, within
from tests.faults.network import run_fleet

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
    async with (
        run_fleet([server.address], tmp_path, 1, *flags) as fleet,
        client_of(server.address) as client,
    ):
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
