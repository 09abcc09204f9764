# ruff: noqa: PT012  a scope raises when its block is left
from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import pytest

from micro.scope import Scope, open_scope

who: ContextVar[str] = ContextVar("who", default="nobody")
Start = Callable[[Scope, Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]
starts = pytest.mark.parametrize("start", [Scope.start, Scope.spawn], ids=["start", "spawn"])


class Boom(Exception):
    pass


async def fail() -> None:
    raise Boom


async def forever() -> None:
    await asyncio.Event().wait()


@starts
async def test_leaving_a_scope_cancels_what_runs(start: Start) -> None:
    async with open_scope() as scope:
        task = start(scope, forever())
        await asyncio.sleep(0)
        assert len(scope) == 1

    assert task.cancelled()
    assert len(scope) == 0


async def test_leaving_a_scope_waits_for_clean_up() -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with open_scope() as scope:
        scope.start(work())
        await asyncio.sleep(0)

    assert cleaned.is_set()


async def test_a_tasks_error_ends_the_block_and_comes_out_bare() -> None:
    with pytest.raises(Boom):
        async with open_scope() as scope:
            scope.start(fail())
            await forever()


async def test_an_error_of_the_block_comes_out_bare() -> None:
    with pytest.raises(Boom):
        async with open_scope() as scope:
            task = scope.start(forever())
            raise Boom

    assert task.cancelled()


async def test_the_blocks_error_wins_over_errors_of_clean_up() -> None:
    class Worse(Exception):
        pass

    async def work() -> None:
        try:
            await forever()
        finally:
            raise Worse

    with pytest.raises(Boom):
        async with open_scope() as scope:
            scope.start(work())
            await asyncio.sleep(0)
            raise Boom


async def test_nested_scopes_do_not_wrap_errors() -> None:
    with pytest.raises(Boom):
        async with open_scope(), open_scope(), open_scope() as scope:
            scope.start(fail())
            await forever()


async def test_a_failed_task_cancels_its_siblings() -> None:
    with pytest.raises(Boom):
        async with open_scope() as scope:
            sibling = scope.start(forever())
            scope.start(fail())
            await forever()

    assert sibling.cancelled()


async def test_the_owner_is_not_left_cancelled_after_an_error() -> None:
    with pytest.raises(Boom):
        async with open_scope() as scope:
            scope.start(fail())
            await forever()
    await asyncio.sleep(0)
    owner = asyncio.current_task()

    assert owner is not None
    assert owner.cancelling() == 0


async def test_an_error_that_comes_while_the_block_ends_is_raised() -> None:
    with pytest.raises(Boom):
        async with open_scope() as scope:
            task = scope.start(fail())
            await asyncio.wait([task])
    owner = asyncio.current_task()
    assert owner is not None

    assert owner.cancelling() == 0


async def test_a_cancellation_from_outside_passes() -> None:
    opened = asyncio.Event()
    inner: list[asyncio.Task[None]] = []

    async def own() -> None:
        async with open_scope() as scope:
            inner.append(scope.start(forever()))
            opened.set()
            await forever()

    async with open_scope() as outer:
        owner = outer.start(own())
        await opened.wait()
        owner.cancel()
        await asyncio.wait([owner])

    assert owner.cancelled()
    assert inner[0].cancelled()


async def test_a_cancelled_task_is_no_error() -> None:
    async with open_scope() as scope:
        task = scope.start(forever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    assert task.cancelled()


async def test_a_timeout_round_a_scope_works() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), open_scope() as scope:
            scope.start(forever())
            await forever()


@starts
async def test_a_task_runs_in_the_context_of_the_scopes_owner(start: Start) -> None:
    seen: list[str] = []

    async def look() -> None:
        seen.append(who.get())
        who.set("task")

    who.set("owner")
    async with open_scope() as scope:
        who.set("caller")
        start(scope, look())
        await scope.settle()
        start(scope, look())
        await scope.settle()

    assert seen == ["owner", "owner"]
    assert who.get() == "caller"


async def test_a_scope_settles_when_its_tasks_have_ended() -> None:
    limiter = asyncio.Event()
    async with open_scope() as scope:
        scope.start(limiter.wait())
        early = await scope.settle(0.01)
        limiter.set()
        late = await scope.settle(10)
        empty = await scope.settle(0)

    assert (early, late, empty) == (False, True, True)


async def test_settling_waits_for_tasks_that_were_started_meanwhile() -> None:
    done: list[int] = []

    async with open_scope() as scope:

        async def work(depth: int) -> None:
            if depth:
                scope.start(work(depth - 1))
            await asyncio.sleep(0)
            done.append(depth)

        scope.start(work(3))
        await scope.settle()

    assert sorted(done) == [0, 1, 2, 3]


async def test_a_scope_can_cancel_its_tasks_and_go_on() -> None:
    async with open_scope() as scope:
        first = scope.start(forever())
        await asyncio.sleep(0)
        scope.cancel()
        await scope.settle()
        second = scope.start(asyncio.sleep(0, "result"))
        await scope.settle()

    assert first.cancelled()
    assert second.result() == "result"


async def test_a_task_can_have_a_name() -> None:
    async with open_scope() as scope:
        assert scope.start(forever(), name="reader").get_name() == "reader"


async def test_a_spawned_task_is_gone_when_it_releases_itself() -> None:
    count = 0

    async def work(scope: Scope) -> None:
        nonlocal count
        count += 1
        task = asyncio.current_task()
        assert task is not None
        scope.release(task)

    async with open_scope() as scope:
        tasks = [scope.spawn(work(scope)) for _ in range(5000)]
        assert len(scope) == 5000
        await tasks[-1]

        assert len(scope) == 0
    assert count == 5000


async def test_a_spawned_task_that_never_began_is_no_obstacle() -> None:
    async with open_scope() as scope:
        task = scope.spawn(forever())
        task.cancel()
        settled = await scope.settle(10)

    assert settled
    assert task.cancelled()
