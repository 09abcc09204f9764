"""Nothing is left of calls, however they ended."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import BaseModel

from micro import Client, DeadlineExceeded, Service
from micro.concurrency.timers import Timers
from micro.scope import open_scope
from micro.settings.load import Settings
from micro_nats.devserver import NatsServer
from tests.faults.clock import until
from tests.faults.load import client_of
from tests.faults.network import connections

LANES = 100
LARGE = 8_000_000
SHARE = 0.05
# The registry's watcher keeps the node that it looked at last; periodic work may have a timer more.
NOT_LEFT = Counter(Node=1, _Seen=1, TimerHandle=2)


class Job(BaseModel):
    number: int
    hangs: bool = False


def hanging() -> Service:
    service = Service("hanging")

    @service.handler
    async def work(job: Job) -> Job:
        if job.hangs:
            await asyncio.Event().wait()
        return job

    @service.handler
    async def swell(job: Job) -> bytes:
        return bytes(job.number)

    return service


async def one(client: Client, number: int, dice: random.Random) -> str:
    """Make one call; how it ended."""
    kind = dice.random()
    job = Job(number=number, hangs=kind < 2 * SHARE)
    seconds = 0.02 if kind < SHARE else 2.0
    try:
        async with asyncio.timeout(0.02 if SHARE <= kind < 2 * SHARE else None):
            answer = await client.call("hanging", "Hanging.Work", job, Job, timeout=seconds)
    except DeadlineExceeded:
        return "timed out"
    except TimeoutError:
        return "cancelled"
    assert answer == job
    return "answered"


async def swell(client: Client, timeout: float) -> float:
    """Get a large answer; the seconds that it took."""
    started = time.monotonic()
    job = Job(number=LARGE)
    answer = await client.call("hanging", "Hanging.Swell", job, bytes, timeout=timeout)
    assert len(answer) == LARGE
    return time.monotonic() - started


async def many(client: Client, count: int) -> Counter[str]:
    """Make so many calls, in lanes; how they ended."""
    ends: Counter[str] = Counter()

    async def lane(number: int) -> None:
        dice = random.Random(number)
        for turn in range(count // LANES):
            ends[await one(client, turn, dice)] += 1

    async with open_scope() as scope:
        await asyncio.gather(*(scope.start(lane(number)) for number in range(LANES)))
    return ends


def census() -> Counter[str]:
    """What is alive of the library's and of the event loop's, by class, and open files."""
    gc.collect()
    kinds = (type(each) for each in gc.get_objects())
    ours = ("micro", "micro_nats", "asyncio", "_asyncio")
    alive = Counter(
        kind.__name__ for kind in kinds if str(kind.__module__).partition(".")[0] in ours
    )
    alive["slots of deadlines"] = timed()
    alive["open files"] = len(os.listdir("/proc/self/fd"))
    return alive


def grown(before: Counter[str]) -> dict[str, int]:
    """What there is more of than before."""
    return dict(census() - before - NOT_LEFT)


async def subscriptions(server: NatsServer) -> int:
    return sum(each["subscriptions"] for each in await connections(server))


def memory() -> float:
    """Resident memory, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


@asynccontextmanager
async def served(server: NatsServer) -> AsyncIterator[Client]:
    """A client of the service, both in this process."""
    # Each announcement renews what is known of a node: one is to come before the first look.
    settings = Settings(transport_address=(server.address,), register_interval=0.5)
    async with hanging().running(settings=settings), client_of(server.address) as client:
        yield client


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(20_000, id="thousands"),
        pytest.param(1_000_000, id="million", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
    ],
)
async def test_nothing_is_left_of_calls_however_they_end(server, verdict, count) -> None:
    row = verdict(
        f"{count:,} calls, 5 % of which run into their deadline and 5 % are cancelled",
        "calls, timers, tasks, subscriptions and files are as before; memory is flat in the "
        "second half (under 4 MiB)",
    )
    async with served(server) as client:
        await many(client, LANES * 10)
        await until(lambda: not timed(), 10.0, 0.05)
        before, subscribed = census(), await subscriptions(server)
        ends = await many(client, count // 2)
        half = memory()
        ends += await many(client, count // 2)
        more = memory() - half
        await until(lambda: not timed(), 10.0, 0.05)
        left, subscribed = grown(before), await subscriptions(server) - subscribed

    row.measured = (
        f"{ends['timed out']:,} timed out, {ends['cancelled']:,} cancelled; left: "
        f"{left or 'nothing'}, {subscribed:+d} subscriptions; memory {more:+.1f} MiB"
    )
    assert ends["timed out"] + ends["cancelled"] > 0.08 * count
    assert not left
    assert not subscribed
    assert more < 4.0


async def test_nothing_is_left_of_large_answers_whose_callers_left(server, verdict) -> None:
    row = verdict(
        "60 answers of 8 MB, most of them left by their callers while they are under way",
        "nothing of them is kept at either end, and a large answer still arrives",
    )
    dice, early = random.Random(3), 0
    async with served(server) as client:
        whole = min([await swell(client, 4.0) for _ in range(3)])
        # The first late answer of an endpoint makes its limit for log lines, which stays.
        with pytest.raises(DeadlineExceeded):
            await swell(client, whole * 0.1)
        await until(lambda: not timed(), 10.0, 0.05)
        before = census()
        for _ in range(60):
            try:
                await swell(client, whole * dice.uniform(0.1, 0.8))
            except DeadlineExceeded:
                early += 1
        await swell(client, 4.0)
        await until(lambda: not timed(), 10.0, 0.05)
        left = grown(before)

    row.measured = f"{early} of 60 left early; left: {left or 'nothing'}"
    assert early >= 10  # on a busy machine more of them arrive in time
    assert not left


def timed() -> int:
    """How many slots of deadlines there are."""
    return sum(len(each._slots) for each in gc.get_objects() if type(each) is Timers)
