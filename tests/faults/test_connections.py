"""The network between a process and its server: slow, cut, silent, corrupt."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import time
from collections import Counter

import pytest

from micro import MicroError
from tests.faults.clock import lasts, succeeds
from tests.faults.load import client_of, run_load
from tests.faults.network import free_ports, routes, run_cluster, run_fleet
from tests.faults.process import run_program
from tests.faults.proxy import run_proxy
from tests.plugins.micro_nats.helpers import Watch

QUICK = {"ping_interval": 0.5}


def driver(**options: object) -> dict[str, object]:
    return {"plugins": {"nats": options}}


async def read(client, number=0, **options):
    return await client.call("points", "Points.Read", {"number": number}, **options)


async def test_bytes_may_come_one_by_one(server, tmp_path, verdict) -> None:
    row = verdict("Everything split into single bytes by the network", "every call succeeds")
    async with (
        run_fleet([server.address], tmp_path, 1),
        run_proxy(server.address) as proxy,
        client_of(proxy.address) as client,
    ):
        proxy.size = 1
        answers = [await read(client, number) for number in range(20)]

    row.measured = f"{len(answers)} of 20 calls succeeded"
    assert [answer["number"] for answer in answers] == list(range(20))


@pytest.mark.parametrize("fault", ["silent", "deaf"])
async def test_a_connection_that_says_nothing_is_taken_for_lost(
    server, tmp_path, verdict, fault
) -> None:
    name = {"silent": "swallows everything both ways", "deaf": "swallows what the server says"}
    row = verdict(
        f"The network {name[fault]} (pings each 0.5 s, two may be missed)",
        "calls end at their deadline (1 s); detected within 1.5 s + 0.5; served within 5 s after",
    )
    async with (
        run_fleet([server.address], tmp_path, 1),
        run_proxy(server.address) as proxy,
        client_of(proxy.address, **driver(**QUICK)) as client,
    ):
        await read(client)
        connection = client.transport._connection
        lost = []
        connection.observe(Watch(lost=lambda _: lost.append(time.monotonic())))
        setattr(proxy, fault, True)
        started = time.monotonic()
        with pytest.raises(MicroError) as raised:
            await read(client, timeout=1.0)
        ended = time.monotonic() - started
        await succeeds(lambda: _broken(lost), 5.0)
        setattr(proxy, fault, False)
        back = await succeeds(lambda: read(client, timeout=1.0))

    detected = lost[0] - started
    row.measured = (
        f"call ended as {type(raised.value).__name__} after {ended:.2f} s, detected after "
        f"{detected:.2f} s, served {back:.2f} s after"
    )
    assert ended < 1.1
    assert detected < 2.0
    assert back < 5.0


async def _broken(lost: list[float]) -> None:
    if not lost:
        raise MicroError("not yet")


async def test_connections_that_are_cut_again_and_again_recover(server, tmp_path, verdict) -> None:
    row = verdict(
        "The caller's connection cut every 0.4 s for 4 s, under 150 calls/s",
        "every call ends typed and in time; nothing that is not idempotent runs twice; >= 99.9 % "
        "of idempotent calls succeed",
    )
    async with (
        run_fleet([server.address], tmp_path, 2) as fleet,
        run_proxy(server.address) as proxy,
        client_of(proxy.address) as client,
        run_load(client, rate=150, kinds=("read", "award"), seconds=0.01) as load,
    ):
        for _ in range(10):
            await lasts(0.4)
            proxy.cut()
        await lasts(0.5)
        await load.stop()
        twice = fleet.journal.twice("award")

    reads = load.of("read")
    good = sum(not call.error for call in reads) / len(reads)
    slowest = max(call.seconds for call in load.calls)
    kinds = Counter(call.error for call in load.of("award") if call.error)
    row.measured = (
        f"{good:.2%} of {len(reads)} idempotent calls; others ended as {dict(kinds) or 'answers'}; "
        f"{len(twice)} ran twice; slowest {slowest:.2f} s"
    )
    assert good >= 0.999, load.errors
    assert set(kinds) <= {"ConnectionLost", "DeadlineExceeded"}
    assert not twice
    assert slowest < 6.0


async def test_calls_that_a_cut_service_began_are_not_reported_as_refused(
    server, tmp_path, verdict
) -> None:
    row = verdict(
        "A service's connection cut while it works, its caller's not; then it is stopped",
        "calls and streams under way end as ConnectionLost within 1 s, not refused; none of the "
        "calls runs twice",
    )
    async with (
        run_proxy(server.address) as proxy,
        run_fleet([proxy.address], tmp_path, 1) as fleet,
        client_of(server.address) as client,
        client.stream("points", "Points.Beats", {"number": 0}, timeout=None) as stream,
    ):
        beats = aiter(stream)
        await anext(beats)
        jobs = [{"number": number, "seconds": 5.0} for number in range(5)]
        calls = [asyncio.ensure_future(award(client, job)) for job in jobs]
        for job in jobs:
            await fleet.journal.has("award", job["number"])
        fleet.addresses = (server.address,)
        await fleet.start()
        started = time.monotonic()
        proxy.cut()
        ends = await asyncio.gather(*calls, anext(beats), return_exceptions=True)
        seconds = time.monotonic() - started
        await fleet["n1"].stop()
        twice = fleet.journal.twice("award")

    kinds = Counter(type(end).__name__ for end in ends)
    row.measured = f"ended as {dict(kinds)} after {seconds:.2f} s, {len(twice)} ran twice"
    assert set(kinds) == {"ConnectionLost"}
    assert not any(end.refused for end in ends)
    assert seconds < 1.0
    assert not twice


async def award(client, job):
    return await client.call("points", "Points.Award", job, timeout=10.0)


async def test_corrupt_bytes_end_no_process_and_no_call_hangs(server, tmp_path, verdict) -> None:
    row = verdict(
        "One byte in 2,000 from the server flipped for 4 s, under 100 calls/s",
        "every call ends typed by its deadline (1 s); no crash; served again within 5 s",
    )
    dice = random.Random(4)

    def flip(data: bytes) -> bytes:
        bad = bytearray(data)
        for _ in range(len(bad) // 2000 + (dice.random() < len(bad) % 2000 / 2000)):
            bad[dice.randrange(len(bad))] ^= 1 << dice.randrange(8)
        return bytes(bad)

    async with (
        run_proxy(server.address) as far,
        run_proxy(server.address) as near,
        run_fleet([far.address], tmp_path, 2) as fleet,
        client_of(near.address, **driver(**QUICK)) as client,
        run_load(client, rate=100, kinds=("read", "award"), timeout=1.0) as load,
    ):
        await lasts(0.5)
        far.change = near.change = flip
        await lasts(4.0)
        far.change = near.change = None
        back = await succeeds(lambda: read(client, timeout=1.0))
        await load.stop()
        alive = all(program.alive for program in fleet.programs.values())

    slowest = max(call.seconds for call in load.calls)
    row.measured = (
        f"{len(load.failed)} of {len(load.calls)} calls failed, slowest {slowest:.2f} s, "
        f"served {back:.2f} s after"
    )
    assert alive
    assert slowest < 1.3
    assert back < 5.0


async def test_a_server_that_is_about_to_stop_is_left_in_time(tmp_path, verdict) -> None:
    row = verdict(
        "Lame duck mode of each of three servers in turn, under 200 idempotent calls/s",
        "0 failed calls; everybody has left before the eviction",
    )
    settings = tmp_path / "lame.conf"
    settings.write_text('lame_duck_duration: "30s"\nlame_duck_grace_period: "5s"\n')
    async with (
        run_cluster(arguments=["-c", str(settings)]) as servers,
        run_fleet([each.address for each in servers], tmp_path) as fleet,
        client_of(*(each.address for each in servers)) as client,
        run_load(client, rate=200, kinds=("read", "event")) as load,
    ):
        await lasts(0.5)
        servers[0].signal(signal.SIGUSR2)
        await lasts(2.5)
        servers[0].kill()
        servers[0].start()
        await servers[0].wait()
        await lasts(1.0)
        servers[1].signal(signal.SIGUSR2)
        await lasts(2.5)
        servers[1].kill()
        await lasts(0.5)
        await load.stop()
        told = sum(program.said("lame") for program in fleet.programs.values())
        cut = sum(program.said("EOF") for program in fleet.programs.values())

    row.measured = f"{len(load.failed)} of {len(load.calls)} calls failed, {told} were told"
    assert not load.failed, load.errors
    assert told
    assert not cut


async def test_a_partition_heals(tmp_path, verdict) -> None:
    row = verdict(
        "Three servers parted for 8 s into one and two, an instance at each, under 150 calls/s",
        "calls of the minority's side succeed or end typed by their deadline (2 s), served by "
        "their own side after; all nodes known and called within 10 s of the healing",
    )
    ports = free_ports(3)
    async with (
        run_proxy(f"nats://127.0.0.1:{ports[0]}") as one,
        run_proxy(f"nats://127.0.0.1:{ports[0]}") as two,
        run_cluster(ports=ports, routes={(1, 0): one.bound, (2, 0): two.bound}) as servers,
        run_fleet([servers[0].address], tmp_path, 1, "--nats-dont-randomize") as fleet,
    ):
        fleet.addresses = (servers[1].address,)
        await fleet.start()
        async with (
            client_of(servers[0].address, **driver(dont_randomize=True)) as client,
            run_load(client, rate=150, kinds=("read",), timeout=2.0) as load,
        ):
            await lasts(1.0)
            assert {call.node for call in load.calls} == {"n1", "n2"}
            for proxy in (one, two):
                proxy.refusing = True
                proxy.cut()
            await lasts(8.0)
            separated = time.monotonic()
            minority = [call for call in load.calls if call.started > separated - 4.0]
            assert not await routes(servers[0])
            for proxy in (one, two):
                proxy.refusing = False
            healed = await succeeds(lambda: _called(load, "n2", separated), 20.0)
            await load.stop()

    slowest = max(call.seconds for call in load.calls)
    good = sum(not call.error for call in minority)
    row.measured = (
        f"{len(load.failed)} of {len(load.calls)} calls failed, slowest {slowest:.2f} s; "
        f"{good} of {len(minority)} served by their side; whole again after {healed:.1f} s"
    )
    assert slowest < 2.3
    assert {call.node for call in minority if not call.error} == {"n1"}
    assert good == len(minority), load.errors
    assert healed < 10.0


async def _called(load, name: str, since: float) -> None:
    if not any(call.node == name and call.started > since for call in load.calls[-400:]):
        raise MicroError("not yet")


async def test_a_servers_new_address_is_found(server, tmp_path, verdict, monkeypatch) -> None:
    row = verdict(
        "The name of the server points elsewhere, and its old address is dead",
        "the new address is used at the next try",
    )
    home = {"nats.test": "127.0.0.1"}
    resolve = socket.getaddrinfo

    def lookup(host, *rest, **options):
        name = host.decode() if isinstance(host, bytes) else host
        return resolve(home.get(name, host), *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    async with (
        run_fleet([server.address], tmp_path, 1),
        run_proxy(server.address) as old,
        client_of(f"nats://nats.test:{old.bound}") as client,
        run_proxy(server.address, host="127.0.0.2", port=old.bound),
    ):
        await read(client)
        home["nats.test"] = "127.0.0.2"
        old.refusing = True
        old.cut()
        back = await succeeds(lambda: read(client, timeout=1.0))

    row.measured = f"served {back:.2f} s after"
    assert back < 5.0


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(300, id="hundreds"),
        pytest.param(1000, id="thousand", marks=[pytest.mark.slow, pytest.mark.timeout(200)]),
    ],
)
async def test_a_herd_that_lost_its_server_spreads_out(server, tmp_path, verdict, size) -> None:
    row = verdict(
        f"{size} connections cut at once, and refused for 6 s",
        "no 100 ms get more than 5 % of the tries after the first; all are back within 5 s",
    )
    async with (
        run_proxy(server.address) as proxy,
        run_program("herd", proxy.address, str(size)) as herd,
    ):
        await herd.says("all connected", timeout=60)
        proxy.accepted.clear()
        proxy.refusing = True
        proxy.cut()
        await lasts(6.0)
        tries = list(proxy.accepted)
        proxy.refusing = False
        started = time.monotonic()
        await herd.says("all restored", timeout=30)
        back = time.monotonic() - started

    first = min(tries)
    bins = Counter(int((at - first) * 10) for at in sorted(tries)[size:])
    share = max(bins.values()) / len(tries)
    row.measured = f"{len(tries)} tries, busiest 100 ms {share:.1%}, all back after {back:.2f} s"
    assert share < 0.05
    assert back < 5.0
