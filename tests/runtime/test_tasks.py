"""Background tasks: when they start and end, when they start again, and what readiness says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest

from micro import Client, Context, Depends, MemoryBackend, Service, Unavailable
from micro.errors import HandlerError
from micro.plugins import Backends
from micro.runtime.configuration import load_for
from micro.runtime.lifecycle import ServiceRunner
from micro.service import define
from tests.engine import Gauge, running, until


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("micro.runtime.tasks.FIRST_PAUSE_SECONDS", 0.001)


@pytest.mark.both_loops
async def test_a_declared_task_runs_in_every_run_until_the_service_stops() -> None:
    service, gauge = Service("points"), Gauge()
    service.start_task(gauge.wait)

    for run in (1, 2):
        async with running(service):
            await gauge.until(started=run)
            assert gauge.cancelled == run - 1
        assert gauge.cancelled == run


async def test_a_task_can_be_started_by_a_handler() -> None:
    service, gauge = Service("points"), Gauge()

    @service.handler
    async def begin() -> None:
        service.start_task(gauge.wait)

    async with running(service) as client:
        await client.call("points", "Points.Begin")
        await gauge.until(started=1)

    assert gauge.cancelled == 1


async def test_a_task_depends_on_lifespans_and_uses_its_runs_client() -> None:
    service, seen = Service("points"), []

    @service.lifespan
    async def database() -> AsyncIterator[str]:
        yield "database"

    async def work(value: Annotated[str, Depends(database)], client: Client) -> None:
        seen.append((value, client, service.client))

    service.start_task(work)
    async with running(service) as client:
        await until(lambda: bool(seen))

    assert seen == [("database", client, client)]


@pytest.mark.parametrize(
    ("restart", "fails", "runs"),
    [("never", False, 1), ("never", True, 1), ("on-failure", False, 1), ("on-failure", True, 3)],
)
async def test_a_task_starts_again_as_its_restart_says(
    restart: Any, fails: bool, runs: int
) -> None:
    service, started = Service("points"), []

    async def work() -> None:
        started.append(1)
        if fails and len(started) < 3:
            raise RuntimeError("no database")

    service.start_task(work, restart=restart)
    async with running(service):
        await until(lambda: len(started) >= runs)

    assert len(started) == runs


async def test_a_task_that_always_restarts_runs_again_after_its_end() -> None:
    service, started = Service("points"), []

    async def work() -> None:
        started.append(1)

    service.start_task(work, restart="always")
    async with running(service):
        await until(lambda: len(started) >= 3)


@pytest.mark.parametrize("options", [{"restart": "never"}, {"max_restarts": 2}])
async def test_a_task_that_fails_permanently_fails_readiness(
    options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service, backend = Service("points"), MemoryBackend()

    async def work() -> None:
        raise RuntimeError("no database")

    service.start_task(work, **options)
    definition = define(service)
    runner = ServiceRunner(definition, load_for(definition, (), {}))
    given = dict.fromkeys(("transport", "broker", "registry"), backend)
    async with (
        Backends(name="points", settings=runner.settings, given=given) as backends,
        runner.running(backends),
    ):
        await until(lambda: "failed permanently" in caplog.text)
        with pytest.raises(Unavailable, match=r"work \(.*failed permanently: RuntimeError: no da"):
            await runner.check()

    assert caplog.text.count("it starts again in") == options.get("max_restarts", 0)


async def test_a_task_that_does_not_end_is_cut_off_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("micro.runtime.lifecycle.MIN_TASK_SECONDS", 0.05)
    service, go = Service("points", settings={"shutdown_timeout": 0.0}), asyncio.Event()

    async def deaf() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await go.wait()

    service.start_task(deaf)
    async with running(service):
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.3, go.set)

    assert "deaf" in caplog.text
    assert "was still running after" in caplog.text


async def work_with_context(ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("function", "options", "text"),
    [
        (print, {}, "takes a coroutine function, without calling it"),
        (work_with_context, {}, "a Context, which only a call or event has"),
        (Gauge().wait, {"restart": "sometimes"}, "restart must be one of 'on-failure'"),
        (Gauge().wait, {"max_restarts": -1}, "max_restarts must be at least 0, or None, got -1"),
    ],
)
def test_a_task_that_cannot_run_is_refused(function: Any, options: Any, text: str) -> None:
    with pytest.raises(HandlerError, match=text):
        Service("points").start_task(function, **options)
