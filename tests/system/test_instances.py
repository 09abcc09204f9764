"""Three instances of one service, each in a process of its own."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from micro import BadRequest, Client, InternalError, MicroError, NotFound, Unavailable, Where
from tests.engine import Award
from tests.system.conftest import Listen, Program, Start

pytestmark = pytest.mark.timeout(30)


@pytest.fixture
async def three(start: Start) -> list[Program]:
    names = [f"--server_id={name}" for name in "abc"]
    return list(await asyncio.gather(*(start("points.py", name) for name in names)))


async def who(client: Client, endpoint: str = "Points.Who") -> str:
    name: str = await client.call("points", endpoint, None, str)
    return name


async def test_calls_are_shared(client: Client, three: list[Program]) -> None:
    answers = Counter(await asyncio.gather(*(who(client) for _ in range(600))))

    assert set(answers) == {"a", "b", "c"}
    assert min(answers.values()) > 60


async def test_a_filter_reaches_one_of_them(client: Client, three: list[Program]) -> None:
    where = Where(node="points-b")
    answers = [await client.call("points", "Points.Who", None, str, where=where) for _ in range(9)]

    assert answers == ["b"] * 9


async def test_events_are_shared_or_reach_all(
    client: Client, three: list[Program], listen: Listen
) -> None:
    handled, seen = await listen("test.handled"), await listen("test.seen")
    for number in range(60):
        await client.publish("orders.created", number)
    await seen.until(180)
    await handled.until(60)

    assert sorted(number for _, number in handled.heard) == list(range(60))
    assert {name for name, _ in handled.heard} == {"a", "b", "c"}
    assert Counter(name for name, _ in seen.heard) == {"a": 60, "b": 60, "c": 60}


async def test_a_stop_under_load_fails_no_call(
    client: Client, three: list[Program], start: Start
) -> None:
    answers: Counter[str] = Counter()
    over = asyncio.Event()

    async def load() -> None:
        while not over.is_set():
            answers[await who(client)] += 1

    loads = [asyncio.ensure_future(load()) for _ in range(64)]
    codes = [await three[0].stop()]
    three.append(await start("points.py", "--server_id=d"))
    codes.append(await three[1].stop())
    over.set()
    await asyncio.gather(*loads)
    answers.clear()
    answers.update(await asyncio.gather(*(who(client) for _ in range(100))))

    assert codes == [0, 0]
    assert set(answers) == {"c", "d"}


async def test_a_crash_under_load_fails_no_call_that_may_run_twice(
    client: Client, three: list[Program]
) -> None:
    over = asyncio.Event()
    answers: Counter[str] = Counter()

    async def load() -> None:
        while not over.is_set():
            answers[await who(client, "Points.Look")] += 1

    loads = [asyncio.ensure_future(load()) for _ in range(32)]
    three[0].signal(signal.SIGKILL)
    await three[0].ended()
    answers.clear()
    await asyncio.gather(*(who(client, "Points.Look") for _ in range(200)))
    over.set()
    await asyncio.gather(*loads)

    assert set(answers) <= {"b", "c"}


async def test_a_call_under_way_is_cut_off_when_the_grace_is_over(
    client: Client, start: Start, listen: Listen
) -> None:
    program = await start("points.py", "--server_id=a", "--shutdown_timeout=0.2s")
    waiting, cancelled = await listen("test.waiting"), await listen("test.cancelled")
    call = asyncio.ensure_future(client.call("points", "Points.Wait", timeout=20))
    await waiting.until(1)
    code = await program.stop()

    with pytest.raises(MicroError, match="stopped first"):
        await call
    assert await cancelled.until(1) == ["a"]
    assert code == 1
    assert "Points.Wait was still running" in program.log


async def awards(count: int) -> AsyncIterator[Award]:
    for points in range(count):
        yield Award(user="ann", points=points)


async def test_all_kinds_of_call_and_stream_cross_processes(
    client: Client, start: Start, listen: Listen
) -> None:
    await start("points.py", "--server_id=a")
    ended = await listen("test.ended")

    answer = await client.call("points", "Points.Award", Award(user="ann", points=5), Award)
    async with client.stream("points", "Points.Count", 3000, int) as numbers:
        assert [number async for number in numbers] == list(range(3000))
    async with client.stream("points", "Points.Total", awards(3000), int) as totals:
        assert await totals.receive() == sum(range(3000))
    async with client.stream("points", "Points.Echo", awards(3000), Award) as echoes:
        assert [award.points async for award in echoes] == list(range(3000))
    async with client.stream("points", "Points.Count", 10**9, int) as numbers:
        assert await numbers.receive() == 0

    assert answer.points == 6
    assert await ended.until(2) == ["a", "a"]


async def test_errors_cross_processes(client: Client, start: Start) -> None:
    program = await start("points.py", "--server_id=a")
    for code in (400, 401, 403, 405, 408, 409, 413, 429, 499, 501, 503, 418):
        with pytest.raises(MicroError, match="because") as caught:
            await client.call("points", "Points.Fail", code)
        assert caught.value.code == code
    with pytest.raises(NotFound, match="no such user"):
        await client.call("points", "Points.Fail", 404)
    with pytest.raises(InternalError, match="the handler failed"):
        await client.call("points", "Points.Fail", 500)
    with pytest.raises(BadRequest, match="points"):
        await client.call("points", "Points.Award", {"user": "ann", "points": "many"})
    with pytest.raises(NotFound, match=r"Points\.Nope"):
        await client.call("points", "Points.Nope")
    with pytest.raises(Unavailable, match="nobody"):
        await client.call("nobody", "Points.Nope")
    await program.stop()

    assert program.log.count("ValueError: secret") == 1
