"""What dies while events are handled: processes and the server, both real."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest

from micro import Service, Topic, load_settings
from micro.broker.kept import KeptBroker
from micro.events.deadletter import dead_letters
from micro.scope import open_scope
from micro_nats.devserver import NatsServer

KILLER = """
import os, signal, sys
import micro.events.durable
from micro import Context, Service, Topic

micro.events.durable.REDELIVER_SECONDS = 1.0
created = Topic(sys.argv[1], str, keep="1h")
points = Service("points")


@points.subscriber(created, durable=True)
async def on_order(event: str, ctx: Context) -> None:
    sys.stderr.write(f"got {event} {ctx.attempt}\\n")
    sys.stderr.flush()
    if event == "poison":
        os.kill(os.getpid(), signal.SIGKILL)


points.run(["--broker_address", sys.argv[2], "--log_level", "info"])
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_an_event_that_kills_its_process_does_so_three_times_and_no_more(
    jetstream_server: NatsServer, tmp_path: Path
) -> None:
    settings = load_settings(["--broker_address", jetstream_server.address], {})
    topic = Topic(f"durable.{uuid.uuid4().hex}", str, keep="1h")
    program = tmp_path / "killer.py"
    program.write_text(KILLER)
    async with Service("shop").running(settings=settings) as client:
        for event in ("healthy", "poison", "sound"):
            await client.publish(topic, event, id=event)
        log = ""
        for _ in range(4):
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, str(program), topic.name, jetstream_server.address),
                stderr=asyncio.subprocess.PIPE,
            )
            assert process.stderr is not None
            try:
                async with asyncio.timeout(30):
                    while line := (await process.stderr.readline()).decode():
                        log += line
                        if "is a dead letter" in log and "got sound" in log:
                            break
            finally:
                if process.returncode is None:
                    process.terminate()
                await process.communicate()
        assert isinstance(client.broker, KeptBroker)
        letters = await dead_letters(client.broker, topic=topic.name)

    # Not charged for the first death, at which others were in flight; for the two under a mark.
    assert [line for line in log.splitlines() if "got poison" in line] == [
        *("got poison 1", "got poison 1", "got poison 2"),
    ]
    assert {"got healthy 1", "got sound 1"} <= set(log.splitlines())
    assert [(letter.id, letter.reason) for letter in letters] == [("poison", "killed the process")]


@pytest.mark.slow
async def test_a_killed_server_loses_no_event_that_was_published_or_handled(
    own_jetstream_server: NatsServer,
) -> None:
    server, topic = own_jetstream_server, Topic("durable.outage", int, keep="1h")
    settings = load_settings(["--broker_address", server.address], {})
    seen: Counter[int] = Counter()

    def instance() -> Service:
        points = Service("points")

        @points.subscriber(topic, durable=True)
        async def on_number(event: int) -> None:
            seen[event] += 1

        return points

    async def crash() -> None:
        while len(seen) <= 500:  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0)
        server.kill()
        server.start()
        await server.wait()

    async with (
        instance().running(settings=settings),
        instance().running(settings=settings),
        Service("shop").running(settings=settings) as client,
        open_scope() as scope,
    ):
        crashing = scope.start(crash())
        async with client.publisher(topic, window=64) as out:
            for number in range(3000):
                await out.send(number, id=f"number-{number}")
        await crashing
        async with asyncio.timeout(50):
            while len(seen) < 3000:  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0)

    assert out.confirmed == 3000
    # Those whose acknowledgement the crash took come again.
    assert sum(seen.values()) - 3000 <= 200
