"""A backend that fails is not drowned by those who try again."""

from __future__ import annotations

import time

import pytest

from tests.faults.clock import lasts
from tests.faults.load import client_of, run_load, within
from tests.faults.process import run_program

RATE = 200
# What docs and code of the budget promise: ten tokens at first, a tenth for each success.
AT_FIRST = 10
EARNED = 0.1


async def fail(client, error: str) -> dict[str, int]:
    """Have the service fail in this way from now on, or not; how often it was tried in each."""
    return await client.call("points", "Points.Fail", error)


@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        pytest.param(1.5, "Unavailable", id="seconds"),
        *(
            pytest.param(60, error, id=name, marks=[pytest.mark.slow, pytest.mark.timeout(150)])
            for error, name in (("Unavailable", "a minute"), ("ResourceExhausted", "busy"))
        ),
    ],
)
async def test_a_failing_backend_gets_few_attempts_more_than_calls(
    server, verdict, seconds, error
) -> None:
    row = verdict(
        f"Every idempotent call fails for {seconds} s as {error}, {RATE} calls/s, two retries each",
        f"attempts <= calls + {AT_FIRST} (the budget when it is full) <= 1.2 x calls; each call "
        "ends typed; once the backend is well no call fails, and retries are earned again",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as calm:
            await lasts(0.5)
        await fail(client, error)
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as storm:
            await lasts(seconds)
        attempts = (await fail(client, ""))[error]
        well = time.monotonic()
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as after:
            await lasts(1.0)
        tokens = client._directory.routes["points"].budget.tokens

    calls = len(storm.calls)
    back = min(call.ended for call in after.calls if not call.error) - well
    row.measured = (
        f"{attempts} attempts for {calls} calls (x {attempts / calls:.3f}), failed calls end "
        f"within {within(storm.calls) * 1000:.0f} ms (p99); served {back * 1000:.0f} ms after, "
        f"{len(after.failed)} of {len(after.calls)} failed, {tokens:.1f} tokens earned"
    )
    assert not calm.failed
    assert {call.error for call in storm.calls} == {error}, storm.errors
    assert calls < attempts <= calls + AT_FIRST
    assert attempts <= 1.2 * calls
    assert not after.failed
    assert back < 0.25
    assert tokens == pytest.approx(min(AT_FIRST, EARNED * len(after.calls)), abs=1.0)


async def test_a_backend_that_fails_now_and_then_gets_a_tenth_of_retries(server, verdict) -> None:
    row = verdict(
        "The backend fails and works in turn, 0.2 s each, for 2 s",
        f"attempts <= calls + {AT_FIRST} + a tenth of the successes",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as load:
            for turn in range(10):
                counts = await fail(client, "" if turn % 2 else "Unavailable")
                await lasts(0.2)
        counts = await fail(client, "")

    attempts, calls = sum(counts.values()), len(load.calls)
    good = calls - len(load.failed)
    row.measured = f"{attempts} attempts for {calls} calls, {good} of them good"
    assert good > calls / 4
    assert attempts > calls
    # The calls that steer the backend earn as well.
    assert attempts <= calls + AT_FIRST + EARNED * (good + 11)


async def test_an_error_that_is_not_passing_is_not_tried_again(server, verdict) -> None:
    row = verdict(
        "Every call fails for 0.5 s with an error that another try would meet again (500)",
        "one attempt for each call, the budget untouched",
    )
    flags = ("--transport-address", server.address)
    async with run_program("failing", *flags) as program, client_of(server.address) as client:
        await program.says("ready: points")
        await fail(client, "InternalError")
        async with run_load(client, rate=RATE, kinds=("read",), retries=2) as load:
            await lasts(0.5)
        attempts = (await fail(client, ""))["InternalError"]
        tokens = client._directory.routes["points"].budget.tokens

    row.measured = f"{attempts} attempts for {len(load.calls)} calls, {tokens:g} tokens left"
    assert attempts == len(load.calls)
    assert tokens == AT_FIRST
