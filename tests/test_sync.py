"""The synchronous client: in scripts over NATS, and in plain handlers on both event loops."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import micro.sync
from micro import DeadlineExceeded, NotFound, Service, Settings, Topic, load_settings
from micro.errors import Cancelled, UsageError
from micro_nats import run_server
from tests.engine import Gauge, running

pytestmark = pytest.mark.both_loops

noted = Topic("points.noted", int)


def make_service() -> tuple[Service, Gauge]:
    service, gauge = Service("points"), Gauge()

    @service.handler
    async def double(request: int) -> int:
        if request < 0:
            raise NotFound("no such number")
        return 2 * request

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    return service, gauge


def script(settings: Settings) -> list[object]:
    """What a script does, from start to end."""
    with micro.sync.connect(settings) as client:
        found: list[object] = [client.call("points", "Points.Double", 4, int)]
        headers: dict[str, str] = {}
        client.call("points", "Points.Double", 4, int, reply_headers=headers)
        try:
            client.call("points", "Points.Double", -1, int)
        except NotFound as error:
            found.append(error.detail)
        try:
            client.call("points", "Points.Wait", None, None, timeout=0.05)
        except DeadlineExceeded:
            found.append("too late")
        client.publish(noted, 5, confirm=True)
        client.flush()
        with ThreadPoolExecutor(8) as pool:
            calls = [pool.submit(client.call, "points", "Points.Double", n, int) for n in range(64)]
            found.append(sum(call.result() for call in calls))
    return found


async def test_a_script_calls_and_publishes_from_any_thread() -> None:
    service, _ = make_service()
    async with run_server() as server:
        settings = load_settings(["--transport-address", server.address], {})
        async with service.running(settings=settings) as client, client.subscribe(noted) as events:
            found = await asyncio.to_thread(script, settings)

            assert await anext(events) == 5
    assert found == [8, "no such number", "too late", 2 * sum(range(64))]
    assert not [each for each in threading.enumerate() if each.name == "micro-client"]


async def test_a_server_that_is_not_there_is_an_error_at_connect() -> None:
    flags = ["--transport-address", "nats://127.0.0.1:1", "--connect-timeout", "100ms"]

    with pytest.raises(micro.MicroError):
        await asyncio.to_thread(script, load_settings(flags, {}))


async def test_a_plain_handler_uses_the_client_of_its_service() -> None:
    service, gauge = make_service()

    @service.handler
    def quadruple(request: int) -> int:
        client = micro.sync.client_of(service)
        return 2 * client.call("points", "Points.Double", request, int)

    @service.handler
    def wait_plainly() -> None:
        micro.sync.client_of(service).call("points", "Points.Wait", None, None, timeout=None)

    async with running(service) as client:
        assert await client.call("points", "Points.Quadruple", 3, int) == 12
        # The deadline of the handler holds in its thread, and ends what it called.
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.WaitPlainly", None, None, timeout=0.2)
        await gauge.until(cancelled=1)


async def test_a_thread_with_an_event_loop_is_refused() -> None:
    service, _ = make_service()
    async with running(service):
        with pytest.raises(UsageError, match="await"):
            micro.sync.client_of(service).call("points", "Points.Double", 1, int)


async def test_a_call_that_waits_ends_when_the_client_closes() -> None:
    service, gauge = make_service()
    caller = Service("caller")
    async with running(service, caller):
        client = micro.sync.client_of(caller)
        waiting = asyncio.ensure_future(
            asyncio.to_thread(client.call, "points", "Points.Wait", None, None, timeout=None)
        )
        await gauge.until(started=1)

    with pytest.raises((Cancelled, micro.MicroError)):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(UsageError, match="closed"):
        await asyncio.to_thread(client.flush)


def test_a_service_that_does_not_run_has_no_client() -> None:
    with pytest.raises(UsageError, match="not running"):
        micro.sync.client_of(Service("points"))
