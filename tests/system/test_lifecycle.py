"""Starts that are cancelled or fail, stops that are slow: as processes, with signals."""

from __future__ import annotations

import json
import signal
import socket
import time

import pytest

from micro import Client
from micro_nats.devserver import NatsServer
from tests.system.conftest import Program
from tests.system.conftest import Start as Launch

pytestmark = pytest.mark.timeout(40)


async def start(launch: Launch, server: NatsServer, way: str, *argv: str) -> Program:
    return await launch("lifecycle.py", way, f"--transport_address={server.address}", *argv)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("way", ["hanging start hook", "blocking start hook"])
async def test_a_signal_during_a_start_hook_cancels_the_start(
    launch: Launch, server: NatsServer, way: str, number: signal.Signals
) -> None:
    program = await start(launch, server, way)
    await program.until("loading")
    program.signal(number)

    assert await program.ended() == 0
    assert "closed" in program.log
    assert "ready" not in program.log
    assert "registered" not in program.log
    assert "the start of points has ended at: start hook " in program.log
    assert "load_" in program.log
    assert f"stopping: points ({number.name})" in program.log


async def test_a_signal_while_no_server_can_be_reached_cancels_the_start(launch: Launch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = "{}:{}".format(*silent.getsockname())
        program = await launch(
            *("lifecycle.py", "connecting", f"--transport_address={address}"),
            *("--connect_timeout=60", "--health_address=127.0.0.1:0"),
        )
        await program.until("health checks at")
        program.signal(signal.SIGTERM)

        assert await program.ended() == 0
    assert "the start of points has ended at: opening the plugins" in program.log


async def test_a_failing_start_hook_is_one_line_and_closes_what_was_opened(
    launch: Launch, server: NatsServer
) -> None:
    program = await start(launch, server, "failing start hook", "--log_level=warning")

    assert await program.ended() == 1
    assert program.log.splitlines()[:2] == ["opened", "closed"]
    assert "Traceback" not in program.log
    assert "error: LookupError: no database" in program.log.splitlines()[-1]


async def test_a_failing_start_is_one_json_object_in_a_json_log(
    launch: Launch, server: NatsServer
) -> None:
    program = await start(launch, server, "failing start hook", "--log_format=json")

    assert await program.ended() == 1
    lines = [line for line in program.log.splitlines() if line not in ("opened", "closed")]
    last = [json.loads(line) for line in lines][-1]
    assert last["level"] == "critical"
    assert "LookupError: no database" in last["message"]
    assert "Traceback" in last["error"]


async def test_children_of_a_handler_do_not_share_its_signals(
    launch: Launch, server: NatsServer, client: Client
) -> None:
    program = await start(launch, server, "forking")
    await program.until("ready: ")
    codes = [await client.call("points", "Points.Fork", None, str, timeout=20) for _ in range(5)]

    assert set(codes) == {f"[{-signal.SIGTERM}, {-signal.SIGTERM}]"}
    assert await client.call("points", "Points.Fork", None, str, timeout=20)
    assert await program.stop() == 0


async def test_a_thread_that_is_left_behind_does_not_keep_the_process(
    launch: Launch, server: NatsServer
) -> None:
    program = await start(launch, server, "thread")
    await program.until("ready: ")
    before = time.monotonic()

    assert await program.stop() == 1
    assert "threads that still run: forgotten" in program.log
    assert time.monotonic() - before < 8


@pytest.mark.parametrize("way", ["hanging stop hook", "blocking stop hook"])
async def test_a_stop_hook_that_does_not_end_is_named(
    launch: Launch, server: NatsServer, way: str
) -> None:
    program = await start(launch, server, way, "--shutdown_timeout=0")
    await program.until("ready: ")

    assert await program.stop() == 1
    assert "stop hook write_back" in program.log


@pytest.mark.parametrize("endpoint", ["Points.Ticks", "Points.Silence"])
async def test_an_endless_stream_does_not_hold_up_the_stop(
    launch: Launch, server: NatsServer, client: Client, endpoint: str
) -> None:
    program = await start(launch, server, "streaming")
    await program.until("ready: ")
    async with client.stream("points", endpoint, None, int) as numbers:
        assert await numbers.receive() == 0
        before = time.monotonic()
        code = await program.stop()

    assert code == 0
    assert time.monotonic() - before < 8


async def test_a_stop_ends_while_the_nats_server_is_frozen(
    launch: Launch, server: NatsServer
) -> None:
    program = await start(launch, server, "frozen")
    await program.until("ready: ")
    assert server.pid is not None
    server.signal(signal.SIGSTOP)
    before = time.monotonic()
    try:
        code = await program.stop()
    finally:
        server.signal(signal.SIGCONT)

    assert code == 0
    assert time.monotonic() - before < 10
    assert "leaving the registry" in program.log or "draining" in program.log
