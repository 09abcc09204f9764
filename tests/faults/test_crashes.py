"""An instance is killed under load."""

from __future__ import annotations

import signal
import time

from tests.faults.clock import lasts
from tests.faults.load import run_load
from tests.faults.openings import points_and_client


def watch_calls(client) -> list[tuple[float, str]]:
    """Every bundle with a call in it that is sent from now on: when, and where to."""
    sent = []
    outbox = client.transport._outbox
    put = outbox.put

    def noting(subject, reply, payload):
        if b"Points." in payload:
            sent.append((time.monotonic(), subject))
        put(subject, reply, payload)

    outbox.put = noting
    return sent


async def address_of(client, name) -> str:
    """Where an instance of the service listens."""
    (record,) = await client.registry.get_service("points")
    (node,) = (node for node in record.nodes if node.metadata["zone"] == name)
    return node.address


async def test_a_killed_instance_fails_no_idempotent_call_and_runs_no_other_twice(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "kill -9 of one of three instances under 300 calls/s",
        "no idempotent call fails; any other ends typed within its deadline (2 s) and never runs "
        "twice; no call is sent to the dead node after 1 s",
    )
    async with (
        points_and_client(server, tmp_path) as (fleet, client),
        run_load(client, rate=300, kinds=("read", "award"), timeout=2.0, seconds=0.05) as load,
    ):
        sent = watch_calls(client)
        dead = await address_of(client, "n2")
        await lasts(1.0)
        fleet["n2"].signal(signal.SIGKILL)
        killed = time.monotonic()
        await fleet["n2"].gone()
        await lasts(4.0)
        await load.stop()
        late = [at - killed for at, subject in sent if subject == dead and at > killed + 1.0]
        twice = fleet.journal.twice("award")

    lost = [call for call in load.of("award") if call.error]
    slowest = max(call.seconds for call in load.calls)
    idempotent = [call for call in load.failed if call.kind == "read"]
    row.measured = (
        f"{len(idempotent)} of {len(load.of('read'))} idempotent calls failed; {len(lost)} others "
        f"ended as {', '.join(sorted({call.error for call in lost})) or 'nothing'}, "
        f"{len(twice)} ran twice; slowest call {slowest:.2f} s; "
        f"{len(late)} calls sent there after 1 s"
    )
    assert not idempotent, load.errors
    assert all(call.error in ("ConnectionLost", "DeadlineExceeded") for call in lost), load.errors
    assert all(not call.refused for call in lost)
    assert slowest < 2.2
    assert not twice
    assert not late
