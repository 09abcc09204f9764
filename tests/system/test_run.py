"""How `Service.run()` ends: its exit codes, and what it says."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

import pytest

from micro import Client
from micro_nats.devserver import NatsServer
from tests.system.conftest import Listen, Start

pytestmark = pytest.mark.timeout(30)


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--client_retries=many", ["client", "retries", "many"]),
        ("--no_such_flag=1", ["no_such_flag"]),
        ("--transport=carrier-pigeon", ["carrier-pigeon", "nats", "memory"]),
        ("--transport_address=nats://[", ["address 'nats://...'", "host:port"]),
        ("--config=/no/such/file.toml", ["/no/such/file.toml"]),
        ("--selector=best", ["best", "round_robin"]),
    ],
)
async def test_a_setting_that_cannot_be_used_is_one_line_and_code_2(
    launch: Start, flag: str, words: list[str]
) -> None:
    program = await launch("points.py", "--server_id=a", flag)

    assert await program.ended() == 2
    assert program.log.count("\n") == 1
    assert all(word in program.log.replace("-", "_") or word in program.log for word in words)


async def test_without_a_server_it_says_what_was_tried_and_what_to_do(launch: Start) -> None:
    before = time.monotonic()
    program = await launch(
        "points.py", "--server_id=a", "--transport_address=127.0.0.1:1", "--connect_timeout=300ms"
    )

    assert await program.ended() == 3
    assert time.monotonic() - before < 12  # most of it is the import of the program
    assert "Traceback" not in program.log
    error = program.lines[-1]
    assert error.startswith("error: ")
    for words in ("127.0.0.1:1", "micro server", "--transport=memory"):
        assert words in error


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_in_good_order(start: Start, number: int) -> None:
    program = await start("points.py", "--server_id=a")
    program.signal(number)

    assert await program.ended() == 0
    assert "stopping: points" in program.log
    assert "points stopped" in program.log
    assert "Traceback" not in program.log


async def test_a_second_signal_ends_it_at_once_but_not_within_a_second(
    start: Start, client: Client, listen: Listen
) -> None:
    program = await start("points.py", "--server_id=a")
    waiting = await listen("test.waiting")
    call = asyncio.ensure_future(client.call("points", "Points.Wait", timeout=20))
    await waiting.until(1)
    first = time.monotonic()
    program.signal(signal.SIGTERM)
    await program.until("stopping: ")
    program.signal(signal.SIGTERM)
    await program.until("SIGTERM ignored: it came 0.")
    while program.process.returncode is None:
        program.signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(program.process.wait(), 0.1)

    assert await program.ended() == 130
    assert time.monotonic() - first >= 1
    assert "SIGTERM again" in program.log
    call.cancel()


async def test_settings_may_come_from_the_environment_and_a_file(
    launch: Start, server: NatsServer, tmp_path: object, client: Client
) -> None:
    path = f"{tmp_path}/micro.toml"
    with open(path, "w") as file:  # noqa: ASYNC230  nothing else runs here
        file.write(f'transport_address = "{server.address}"\nserver_version = "9.9.9"\n')
    program = await launch("points.py", "--server_id=a", f"--config={path}")
    await program.until("ready: ")
    (record,) = await client.registry.get_service("points")

    assert record.nodes[0].id == "points-a"
    assert await program.stop() == 0
