"""Bodies that are too large for one message, or for anything."""

from __future__ import annotations

import base64
import json
import time

import nats
import pytest

from micro import MicroError, PayloadTooLarge
from tests.faults.clock import lasts
from tests.faults.load import client_of, run_load, within
from tests.faults.network import connections
from tests.faults.openings import points_and_client

MIB = 1 << 20
LIMIT = 64 * MIB
LARGE = 10_000_000
SIZES = [
    pytest.param(5 * MIB, 10, 0.1, id="some"),
    # Each codec's work on so much keeps the event loop for a tenth of a second and more.
    pytest.param(60 * MIB, 3, 1.0, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(150)]),
]


async def ask(client, size: int) -> int:
    """Send a request of so many bytes; what its handler answers."""
    job = {"number": LARGE, "padding": "x" * size}
    return (await client.call("points", "Points.Read", job, timeout=60.0))["number"]


async def be_told(client, size: int) -> int:
    """Have so many bytes sent in an answer; how many came."""
    return len(await client.call("points", "Points.Swell", {"number": size}, timeout=60.0))


async def refusal(attempt) -> MicroError:
    with pytest.raises(MicroError) as raised:
        await attempt
    return raised.value


async def ids(server) -> set[tuple[object, object]]:
    """The server's connections, by name and by the number that each new one gets."""
    return {(each["cid"], each.get("name")) for each in await connections(server)}


@pytest.mark.parametrize(("size", "times", "most"), SIZES)
async def test_large_bodies_travel_beside_small_calls(
    server, tmp_path, verdict, size, times, most
) -> None:
    row = verdict(
        f"{times} requests, and as many answers, of {size // MIB} MiB over a server's limit of "
        "1 MiB, under 100 calls/s on the same client",
        f"all arrive whole; no other call fails, p99 under {most:g} s; no connection is closed",
    )
    async with points_and_client(server, tmp_path, 1) as (fleet, client):
        await be_told(client, 1)
        before = await ids(server)
        async with run_load(client, rate=100, kinds=("read",)) as load:
            started = time.monotonic()
            sent = [await ask(client, size) for _ in range(times)]
            between = time.monotonic()
            told = [await be_told(client, size) for _ in range(times)]
            ended = time.monotonic()
        after, alive = await ids(server), fleet["n1"].alive

    row.measured = (
        f"{(between - started) / times:.2f} s a request, {(ended - between) / times:.2f} s an "
        f"answer, "
        f"{len(load.failed)} of {len(load.calls)} others failed, p99 {within(load.calls):.3f} s"
    )
    assert (sent, told) == ([LARGE] * times, [size] * times)
    assert not load.failed, load.errors
    assert within(load.calls) < most
    assert after == before
    assert alive


async def test_a_body_over_every_limit_is_refused_and_harms_no_other(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "A request and an answer over 64 MiB, an event over the server's limit of 1 MiB, under 50 "
        "calls and events/s",
        "each is refused to the end that sent or awaited it as PayloadTooLarge, with size and "
        "limit; no other call or event is lost, no connection is closed",
    )
    async with (
        points_and_client(server, tmp_path, 1) as (fleet, client),
        client_of(server.address) as other,
    ):
        await be_told(client, 1)
        await be_told(other, 1)
        before = await ids(server)
        async with run_load(other, rate=50, kinds=("read", "event")) as load:
            request = await refusal(ask(client, LIMIT + 1))
            answer = await refusal(be_told(client, LIMIT + 1))
            event = await refusal(client.publish("points.happened", {"number": 1, "p": "x" * MIB}))
            edge = await be_told(client, 3 * MIB)
            await client.publish("points.happened", {"number": LARGE})
            await lasts(0.5)
        await fleet.journal.has("event", LARGE)
        heard = fleet.journal.counts("event")
        after, ran = await ids(server), fleet.journal.counts("read")[LARGE]

    refusals = {"request": request, "answer": answer, "event": event}
    texts = ", ".join(f"{name}: {error.detail!r}" for name, error in refusals.items())
    row.measured = f"{texts}; {len(load.failed)} of {len(load.calls)} others failed"
    assert {type(error) for error in refusals.values()} == {PayloadTooLarge}
    assert {error.code for error in refusals.values()} == {413}
    assert str(LIMIT) in request.detail
    assert str(LIMIT) in answer.detail
    assert edge == 3 * MIB
    assert not load.failed, load.errors
    assert not load.unpublished
    assert set(load.published) <= set(heard)
    assert after == before
    assert not ran


async def test_a_peer_that_reads_no_pieces_learns_that_the_answer_is_too_large(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "A go-micro peer asks for an answer of 2 MiB over a server's limit of 1 MiB",
        "it is answered 413 within a second, and its next request well; no connection is closed",
    )
    async with points_and_client(server, tmp_path, 1) as (_, client):
        await be_told(client, 1)
        (record,) = await client.registry.get_service("points")
        address = record.nodes[0].address
        before = await ids(server)
        peer = await nats.connect(server.address)
        try:
            answers = await peer.subscribe("_INBOX.other")
            started = time.monotonic()
            large = await swell(peer, answers, address, 2 * MIB)
            seconds = time.monotonic() - started
            small = await swell(peer, answers, address, 3)
        finally:
            await peer.close()
        after = await ids(server)

    error = json.loads(large[0]["Micro-Error"])
    row.measured = f"{error['code']} after {seconds * 1000:.0f} ms: {error['detail']!r}"
    assert error["code"] == 413
    assert seconds < 1.0
    assert json.loads(small[1]) == "xxx"
    assert before <= after


async def swell(peer, answers, address: str, size: int) -> tuple[dict[str, str], bytes]:
    """Ask in go-micro's dialect and envelope for so many bytes."""
    headers = {
        "Content-Type": "application/json",
        "Micro-Endpoint": "Points.Swell",
        "Micro-Method": "Points.Swell",
        "Micro-Service": "points",
        "Micro-Id": str(size),
    }
    body = base64.b64encode(json.dumps({"number": size}).encode()).decode()
    text = json.dumps({"Header": headers, "Body": body}).encode()
    await peer.publish(address, text, reply="_INBOX.other")
    answer = json.loads((await answers.next_msg(5)).data)
    return answer["Header"], base64.b64decode(answer["Body"] or "")
