"""Running services as a program, inside this one and over memory."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from micro import MemoryBackend, Service, Settings
from micro.errors import (
    ConfigError,
    Conflict,
    ConnectionLost,
    HandlerError,
    MicroError,
    Unavailable,
)
from micro.runtime.process import (
    EXIT_CUT_OFF,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    run_async,
    run_main,
    run_services,
)
from micro.service import define
from tests.engine import Gauge, until

SETTINGS = Settings(transport="memory", broker="memory", registry="memory", stall_threshold=0)


@pytest.fixture(autouse=True)
def _process_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests go on after the program."""
    monkeypatch.setattr("micro.runtime.process.end_process_soon", lambda: None)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("micro")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def stopping(service: Service, lines: list[str]) -> None:
    """Note when a service starts and stops."""

    @service.on_start
    def started() -> None:
        lines.append(f"+{service.name}")

    @service.on_stop
    def stopped() -> None:
        lines.append(f"-{service.name}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_services_run_together_until_a_signal_comes(number: signal.Signals) -> None:
    points, orders, lines = Service("points"), Service("orders"), list[str]()
    for service in (points, orders):
        stopping(service, lines)

    @points.handler
    async def award() -> int:
        return 1

    running = asyncio.ensure_future(run_services([define(points), define(orders)], SETTINGS))
    await _ready(orders)
    answer = await orders.client.call("points", "Points.Award", None, int)
    signal.raise_signal(number)

    assert await running == 0
    assert answer == 1
    assert lines == ["+points", "+orders", "-orders", "-points"]


def interrupted(service: Service) -> None:
    """Handlers and a subscriber that are interrupted, as by Ctrl-C in a debugger."""

    @service.handler
    async def soon() -> int:
        raise KeyboardInterrupt

    @service.handler
    def plain() -> int:
        raise KeyboardInterrupt

    @service.handler
    async def stream() -> AsyncIterator[int]:
        yield 1
        raise KeyboardInterrupt

    @service.subscriber("happened")
    async def on_happened(event: int) -> None:
        raise KeyboardInterrupt


@pytest.mark.parametrize("endpoint", ["Soon", "Plain", "Stream", "event"])
async def test_an_interrupt_in_a_handler_ends_the_program_in_good_order(endpoint: str) -> None:
    service, lines = Service("points"), list[str]()
    stopping(service, lines)
    interrupted(service)
    running = asyncio.ensure_future(run_services([define(service)], SETTINGS))
    await _ready(service)
    client = service.client
    if endpoint == "event":
        await client.publish("happened", 1)
    elif endpoint == "Stream":
        with pytest.raises(Unavailable):
            async with client.stream("points", "Points.Stream") as stream:
                _ = [item async for item in stream]
    else:
        with pytest.raises(Unavailable):
            await client.call("points", f"Points.{endpoint}", retries=0)

    assert await asyncio.wait_for(running, 10) == 0
    assert lines == ["+points", "-points"]


async def test_a_service_that_cannot_start_takes_the_others_down_in_good_order() -> None:
    points, orders, lines = Service("points"), Service("orders"), list[str]()
    stopping(points, lines)

    @orders.on_start
    def fail() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        await run_services([define(points), define(orders)], SETTINGS)

    assert lines == ["+points", "-points"]


async def test_what_has_to_be_cut_off_is_told_by_the_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points", settings={"shutdown_timeout": 0.02})
    gauge = Gauge()

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    running = asyncio.ensure_future(run_services([define(service)], SETTINGS))
    await _ready(service)
    call = asyncio.ensure_future(service.client.call("points", "Points.Wait"))
    await gauge.until(started=1)
    signal.raise_signal(signal.SIGTERM)

    assert await running == EXIT_CUT_OFF
    with pytest.raises(MicroError):
        await call
    assert "Points.Wait was still running" in caplog.text


async def test_parts_given_as_objects_serve_their_service_only() -> None:
    network = MemoryBackend()
    apart = Service("apart", transport=network, broker=network, registry=network)
    points = Service("points")
    running = asyncio.ensure_future(run_services([define(apart), define(points)], SETTINGS))
    await _ready(points)
    with pytest.raises(Unavailable):
        await points.client.call("apart", "Apart.Any")
    records = await network.registry.list_services()
    signal.raise_signal(signal.SIGTERM)

    assert await running == 0
    assert [record.name for record in records] == ["apart"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("a bad setting"), EXIT_USAGE),
        (HandlerError("a bad handler"), EXIT_USAGE),
        (ConnectionLost("no server at a:1"), EXIT_UNREACHABLE),
        (Unavailable("something else"), EXIT_CUT_OFF),
        (Conflict("the address is taken"), EXIT_CUT_OFF),
    ],
)
def test_an_error_that_a_user_can_mend_is_one_line_and_a_code(
    error: MicroError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Service("points", settings={"transport": "memory"})

    @service.on_start
    def fail() -> None:
        raise error

    flags = ["--broker=memory", "--registry=memory", "--log_level=critical"]
    with pytest.raises(SystemExit) as caught:
        run_main([define(service)], flags)

    assert caught.value.code == code
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {error.detail}"


def test_a_setting_that_cannot_be_used_is_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as caught:
        Service("points").run(["--client_retries=many"])

    assert caught.value.code == EXIT_USAGE
    assert "many" in capsys.readouterr().err


def test_a_coroutine_runs_on_a_loop_of_its_own() -> None:
    async def work() -> int:
        return 7

    assert run_async(work()) == 7


async def _ready(service: Service) -> None:
    """Wait until a service has registered."""
    await until(lambda: len(service._runs) > 0)
    registry = service.client.registry
    async with registry.watch(service.name) as changes:
        async for records in changes:
            if records:
                return
