"""The server is gone for a while, and comes back."""

from __future__ import annotations

import time

import pytest

from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of, run_load, within
from tests.faults.network import connections, run_cluster, run_fleet
from tests.faults.openings import points_and_client


@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(10, id="ten seconds"),
        pytest.param(120, id="two minutes", marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
    ],
)
async def test_a_service_outlives_the_servers_absence(server, tmp_path, verdict, seconds) -> None:
    row = verdict(
        f"nats-server killed for {seconds} s",
        "the process stays up, uses under 2 % of a core and no more memory in the meantime, serves "
        "within 5 s of the return; all subscriptions and registrations are back",
    )
    async with points_and_client(server, tmp_path, 1) as (fleet, client):
        program = fleet["n1"]
        await client.call("points", "Points.Read", {"number": 0})
        before = await subjects_of(server, "points")
        server.kill()
        await program.says("connection disconnected")
        cpu, memory, started = program.cpu(), program.memory(), time.monotonic()
        await lasts(seconds)
        share = (program.cpu() - cpu) / (time.monotonic() - started)
        grown = program.memory() - memory
        server.start()
        await server.wait()
        back = time.monotonic()
        await succeeds(lambda: client.call("points", "Points.Read", {"number": 0}, timeout=1.0))
        await client.publish("points.happened", {"number": 7})
        await fleet.journal.has("event", 7)
        served = time.monotonic() - back
        after = await subjects_of(server, "points")
        found = await client.registry.get_service("points")
        alive, said = program.alive, program.said("Traceback")

    row.measured = (
        f"{share:.2%} of a core, {grown:+.1f} MiB, served after {served:.2f} s, "
        f"{len(after)} of {len(before)} subscriptions back"
    )
    assert alive
    assert not said
    assert share < 0.02
    assert grown < 2.0
    assert served < 5.0
    assert after == before
    assert len(found[0].nodes) == 1


async def subjects_of(server, name) -> list[str]:
    """What a connection of this name has subscribed to, as the server tells it."""
    (connection,) = (
        each for each in await connections(server) if each.get("name", "").startswith(name)
    )
    return sorted(connection["subscriptions_list"])


async def test_each_node_of_a_cluster_may_be_lost(tmp_path, verdict) -> None:
    row = verdict(
        "Each node of a three-node cluster killed in turn, under 200 idempotent calls/s",
        "99.9 % of the calls succeed, p99 under 2 s",
    )
    async with (
        run_cluster() as servers,
        run_fleet([each.address for each in servers], tmp_path) as fleet,
        client_of(*(each.address for each in servers)) as client,
        run_load(client, rate=200, kinds=("read",)) as load,
    ):
        for each in servers:
            await lasts(2.0)
            each.kill()
            await lasts(3.0)
            each.start()
            await each.wait()
        await lasts(1.0)
        await load.stop()
        traces = sum(program.said("Traceback") for program in fleet.programs.values())

    done = len(load.calls) - len(load.failed)
    row.measured = (
        f"{done} of {len(load.calls)} calls succeeded ({done / len(load.calls):.3%}), "
        f"p99 {within(load.calls):.3f} s"
    )
    assert done / len(load.calls) >= 0.999, load.errors
    assert within(load.calls) < 2.0
    assert not traces
