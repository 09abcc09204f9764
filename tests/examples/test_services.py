from __future__ import annotations

import asyncio

import pytest

from micro import load_settings, open_client
from micro_nats import run_server
from tests.examples.programs import run, serving

FOLDER = "examples/config_swap"


async def test_hello_serves_over_nats_until_it_is_told_to_stop() -> None:
    async with run_server() as server:
        flags = ["--transport-address", server.address]
        async with (
            serving("-W", "error", "examples/hello.py", *flags, "--log-level", "warning"),
            open_client(load_settings(flags, {})) as client,
        ):
            async with asyncio.timeout(10), client.registry.watch("greeter") as changes:
                async for records in changes:
                    if records:
                        break
            answer = await client.call("greeter", "Greeter.Hello", "Ann", str)

    assert answer == "Hello, Ann!"


def test_the_same_program_runs_in_memory() -> None:
    done = run("-W", "error", f"{FOLDER}/service.py", "--config", f"{FOLDER}/memory.toml")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "calls by memory, events by memory",
        "Hello, Ann!",
        "Ann was here",
    ]


async def test_the_same_program_runs_over_nats() -> None:
    async with run_server() as server:
        done = await asyncio.to_thread(
            run,
            f"{FOLDER}/service.py",
            *("--config", f"{FOLDER}/nats.toml", "--transport-address", server.address),
        )

    # A busy machine may be slow to import the plugin, and is told what it waits for.
    told = [line for line in done.stderr.splitlines() if not line.startswith("still waiting")]
    assert (done.returncode, told) == (0, [])
    assert done.stdout.splitlines() == [
        "calls by nats, events by nats",
        "Hello, Ann!",
        "Ann was here",
    ]


def test_the_shop_runs_and_its_books_are_right() -> None:
    done = run("-W", "error", "-m", "examples.shop", bound=55)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all is well" in done.stdout.splitlines()[-1]
    assert "FAIL" not in done.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_order_is_lost_or_awarded_twice_while_the_shop_is_killed_piece_by_piece() -> None:
    """Slow: customers go on ordering for ten seconds and more."""
    done = run("-W", "error", "-m", "examples.shop", "--outage", bound=200)

    assert done.returncode == 0, done.stdout + done.stderr
    heads, counts = [line.split() for line in done.stdout.split("\n\n")[1].splitlines()]
    assert dict(zip(heads, counts, strict=True)) == {
        "placed": "200",
        "accepted": "200",
        "awarded": "200",
        "twice": "0",
        "lost": "0",
        "dead": "0",
    }
