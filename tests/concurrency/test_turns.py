"""Fewer items at once while the turns of the event loop are long."""

from __future__ import annotations

import asyncio
import time

from micro.concurrency.limiter import Limiter
from micro.concurrency.turns import LONG_SECONDS, TurnLimit
from micro.concurrency.work import Cost
from tests.engine import until


def limited(*costs: float) -> tuple[Limiter[int], TurnLimit[int]]:
    """A limiter of 256 whose items had these costs, and its bound by turns."""
    limiter, cost = Limiter[int](256, 1000, lambda _: None, lambda _: 1), Cost()
    turns = TurnLimit(limiter, cost)
    for seconds in costs:
        cost.note(seconds)
    return limiter, turns


async def test_few_run_at_once_until_their_cost_is_known() -> None:
    limiter, turns = limited()
    before = limiter.limit
    turns.launch()
    turns.close()

    assert before == limiter.limit == 16


async def test_cheap_items_run_all_at_once() -> None:
    limiter, turns = limited(0.0001, 0.0001)
    turns.launch()
    turns.close()

    assert limiter.limit == 256


async def test_costly_items_run_a_few_at_once() -> None:
    limiter, turns = limited(0.01, 0.01)
    turns.launch()
    turns.close()

    assert limiter.limit == 10


async def test_a_long_turn_lowers_the_bound_and_short_ones_raise_it_again() -> None:
    limiter, turns = limited(0.0001, 0.0001)
    turns.launch()
    for number in range(256):
        limiter.admit(number)
    turns.launched_at = time.monotonic() - 10 * LONG_SECONDS
    turns.began()
    lowered = limiter.limit
    async with asyncio.timeout(10):
        await until(lambda: limiter.limit == 256)

    assert lowered <= 16
