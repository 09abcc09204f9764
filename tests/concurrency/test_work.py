"""The processor time of items, and the bound on what those in flight will still use."""

from __future__ import annotations

import asyncio
import time

import pytest

from micro.concurrency.work import CONGESTED_SECONDS, LIGHT_SECONDS, Cost, WorkWindow
from tests.faults.clock import lasts


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        continue


async def measured(cost: Cost, work: object) -> None:
    await cost.meter().run(work)


async def test_a_cost_counts_the_processor_and_not_the_waiting() -> None:
    async def work() -> None:
        burn(0.002)
        await lasts(0.02)
        burn(0.003)

    cost = Cost()
    for _ in range(3):
        await measured(cost, work())

    assert 0.005 <= cost.seconds < 0.015


async def test_an_error_passes_a_meter_and_so_does_a_cancellation() -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise KeyError("mine")

    closed = []

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            closed.append(1)

    cost = Cost()
    with pytest.raises(KeyError, match="mine"):
        await measured(cost, fail())
    task = asyncio.ensure_future(measured(cost, wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [1]


def test_the_first_item_does_not_count_and_later_ones_are_sampled() -> None:
    cost = Cost()
    cost.note(10.0)
    assert cost.seconds == 0.0
    for _ in range(8):
        cost.note(0.004)

    assert cost.seconds == pytest.approx(0.004)
    cost.meter()
    assert cost.due == 32


def test_a_window_shrinks_in_long_turns_and_grows_while_it_holds_items_up() -> None:
    window = WorkWindow()
    before = window.seconds
    window.adapt(2 * CONGESTED_SECONDS, 10.0)
    shrunk = window.seconds
    window.adapt(0.001, 10.1)
    same = window.seconds
    window.blocked = True
    window.adapt(0.001, 10.2)

    assert shrunk < before
    assert same == shrunk
    assert window.seconds > shrunk


def test_work_in_flight_is_bounded_and_what_only_waits_stops_counting() -> None:
    window = WorkWindow()
    window.adapt(0.0, 1.0)
    while window.admits(0.005):
        window.add(0.005)
    assert window.admits(LIGHT_SECONDS)
    for now in (2.0, 3.0):
        window.adapt(0.0, now)

    assert window.admits(0.005)


def test_an_item_may_start_when_none_is_in_flight_whatever_it_costs() -> None:
    assert WorkWindow().admits(60.0)
