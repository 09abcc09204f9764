"""Peers with the same id, with too many answers, in too large numbers, or of other versions."""

from __future__ import annotations

import json
import random
from collections import Counter

import msgpack
import pytest

from micro import MicroError
from tests.faults.clock import lasts, until
from tests.faults.load import client_of, run_load
from tests.faults.network import connections
from tests.faults.openings import peer_and_client, points_and_client
from tests.faults.programs.bare import OURS, WATCHES, Frame, record_of, run_peer

GO = {"protocol": "mucp"}
FUTURE = {"native": "2", "envelope": "cbor", "encodings": "none yet"}


async def read(client, number=0, **options):
    return await client.call("points", "Points.Read", {"number": number}, **options)


async def fate(client, number, **options) -> str:
    """A call's answer, or the class of its error."""
    try:
        return str(await read(client, number, **options))
    except MicroError as error:
        return type(error).__name__


async def numbers(server) -> set[object]:
    """The server's connections, by the number that each new one gets."""
    return {each["cid"] for each in await connections(server)}


@pytest.mark.parametrize("first", ["n1", pytest.param("n2", marks=pytest.mark.slow)])
async def test_two_instances_of_one_id_are_both_used_and_stopped_alone(
    server, tmp_path, verdict, first
) -> None:
    which = {"n1": "older", "n2": "newer"}[first]
    row = verdict(
        f"Two instances with the same id, under 150 calls/s; the {which} one stops",
        "both are called; no call fails; the other one is called all the time, also by newcomers",
    )
    other = "n2" if first == "n1" else "n1"
    async with points_and_client(server, tmp_path, 2, "--server-id", "same") as (fleet, client):
        async with run_load(client, rate=150, kinds=("read", "award")) as load:
            await lasts(0.3)
            (record,) = await client.registry.get_service("points")
            await fleet[first].stop()
            await lasts(0.3)
        async with client_of(server.address) as newcomer:
            found = await read(newcomer)

    shares = Counter(call.node for call in load.calls)
    row.measured = (
        f"{shares[first]} and {shares[other]} calls answered, {len(load.failed)} failed, "
        f"{len(record.nodes)} nodes found"
    )
    assert not load.failed, load.errors
    assert min(shares["n1"], shares["n2"]) > 10
    assert len({node.id for node in record.nodes}) == 1
    assert len(record.nodes) == 2
    assert found["node"] == other


async def test_a_second_instance_at_one_address_is_refused(server, tmp_path, verdict) -> None:
    row = verdict(
        "An instance is started with the id and the listening address of one that runs",
        "it ends with a line that names the address; the first one is called as before",
    )
    same = ("--server-id", "same", "--server-address", "points.here")
    async with (
        points_and_client(server, tmp_path, 1, *same) as (fleet, client),
        run_load(client, rate=50, kinds=("read", "award")) as load,
    ):
        with pytest.raises(AssertionError, match=r"address 'points.here' is taken"):
            await fleet.start(*same)
        code = await fleet["n2"].gone()
        await load.stop()

    row.measured = f"exit code {code}; {len(load.failed)} of {len(load.calls)} calls failed"
    assert code != 0
    assert not load.failed, load.errors
    assert {call.node for call in load.calls} == {"n1"}


@pytest.mark.parametrize("metadata", [OURS, GO], ids=["native", "go-micro"])
async def test_answers_may_come_twice_late_and_in_any_order(server, verdict, metadata) -> None:
    row = verdict(
        "A peer answers 200 calls once to three times each, all shuffled, and 20 after their "
        f"deadlines ({'native' if metadata is OURS else 'go-micro'} dialect)",
        "each call gets its own first answer, the rest is counted; no id comes twice; the "
        "connection stays",
    )
    dice = random.Random(29)
    async with peer_and_client(server, record_of(metadata)) as (peer, client, scope):
        calls = [scope.start(fate(client, n, timeout=5.0)) for n in range(200)]
        asked = [await peer.request() for _ in calls]
        before = await numbers(server)
        answers = [(each, k) for each in asked for k in range(dice.randint(1, 3))]
        dice.shuffle(answers)
        firsts = {each.id: k for each, k in reversed(answers)}
        for each, k in answers:
            await peer.reply(each, [json.loads(each.body)["number"], k])
        got = [await call for call in calls]
        gone = [scope.start(fate(client, n, timeout=0.2)) for n in range(20)]
        missed = [await peer.request() for _ in gone]
        ends = {await call for call in gone}
        for each in missed:
            await peer.reply(each, "late")
        last = scope.start(fate(client, 7))
        asked += [*missed, await peer.request()]
        await peer.reply(asked[-1], "well")
        well, after = await last, await numbers(server)
        counted = client.options.metrics.client

    wanted = {json.loads(each.body)["number"]: firsts[each.id] for each in asked[:200]}
    spare = len(answers) - len(calls) + len(missed)
    row.measured = (
        f"{len(answers) + len(missed)} answers, "
        f"{counted.late_replies} of {spare} spare ones counted, "
        f"{len({each.id for each in asked})} ids for {len(asked)} calls"
    )
    assert got == [str([number, wanted[number]]) for number in range(200)]
    assert ends == {"DeadlineExceeded"}
    assert well == "well"
    assert counted.late_replies == spare
    assert len({each.id for each in asked}) == len(asked)
    assert after == before


async def test_answers_without_a_call_are_counted(server, verdict) -> None:
    row = verdict(
        "A peer answers calls that were never made, on sockets that are open, gone, or never were",
        "all are counted and none is taken for another call's; the connection stays",
    )
    async with peer_and_client(server, record_of(OURS)) as (peer, client, scope):
        call = scope.start(fate(client, 1))
        asked = await peer.request()
        before = await numbers(server)
        (channel,) = client._pool._channels
        counted = client.options.metrics.client
        counters = client.transport.counters
        for id in ("", "0", "2", "-1", "1 ", "x" * 300):
            await peer.reply(asked._replace(headers={"Micro-Id": id}), "forged")
        for token in ("zz", "zz.1", "0.1", "0" * 40):
            to = f"{asked.to.rpartition('.')[0]}.{token}"
            await peer.reply(asked._replace(to=to), "forged")
        await peer.reply(asked, "own")
        got = await call
        channel.socket.close()
        await peer.reply(asked, "too late")
        await until(lambda: counters.orphaned_replies == 5)
        after = await numbers(server)

    row.measured = f"{counted.late_replies} on its socket, {counters.orphaned_replies} elsewhere"
    assert got == "own"
    assert counted.late_replies == 6
    assert after == before


@pytest.mark.parametrize("metadata", [None, GO, FUTURE], ids=["oldest", "older", "newer"])
async def test_a_service_of_another_age_is_called_in_the_common_dialect(
    server, verdict, metadata
) -> None:
    row = verdict(
        f"A service registered as {json.dumps(metadata)}, its record and answers full of unknown "
        "fields and headers, its announcements too",
        "it is spoken to in go-micro's dialect; what is unknown is passed over or handed on",
    )
    unknown = {"future": {"deep": [1, {"x": None}]}, "Weight": 3}
    record = record_of(metadata, **unknown)
    async with peer_and_client(server, record) as (peer, client, scope):
        calls = []
        for number in range(2):
            calls.append(scope.start(fate(client, number)))
            asked = await peer.request()
            headers = {"Micro-Id": asked.id, "Micro-Future": "1", "X-Unheard-Of": "ä"}
            frame = Frame(headers, b'{"number":1,"unknown":{}}', binary=asked.binary)
            await peer.say(asked, frame, Trailer=unknown, Version=9)
            for subject in WATCHES:
                news = {"Action": "create", "Service": record, **unknown}
                await peer.nats.publish(subject, json.dumps(news).encode())
        got = [await call for call in calls]
        malformed = client.transport.counters.malformed

    row.measured = f"{got.count(got[0])} of {len(got)} calls answered, {malformed} messages dropped"
    assert got == [str({"number": 1, "unknown": {}})] * 2
    assert not asked.binary
    assert asked.headers["Micro-Method"] == "Points.Read"
    assert malformed == 0


async def test_unknown_envelopes_and_signals_are_ignored(server, verdict) -> None:
    row = verdict(
        "Before it answers, a peer sends an envelope of version 2, one with a part too many, and "
        "frames with unknown signals, to a call and to a stream",
        "all are passed over, the envelopes counted; the answers come through",
    )
    async with peer_and_client(server, record_of(OURS)) as (peer, client, scope):
        call = scope.start(fate(client, 1))
        asked = await peer.request()
        for bundle in ([2, asked.headers, b"1"], [1, {"Micro-Id": asked.id}, b"1", {}], ["1"], {}):
            await peer.say(asked, msgpack.packb(bundle))
        for signal in ("progress", "", "credit", "Cancel"):
            await peer.reply(asked, "no answer", Micro_Signal=signal)
        await peer.reply(asked, "own")
        async with client.stream("points", "Points.Count", {"number": 2}) as stream:
            asked = await peer.request()
            for item in ("first", "second"):
                await peer.reply(asked, "no item", Micro_Signal="progress")
                await peer.reply(asked, item)
            await peer.reply(asked, "", Micro_Error="EOS")
            items = [item async for item in stream]
        got = await call
        malformed = client.transport.counters.malformed

    row.measured = f"{malformed} envelopes dropped; the call got {got!r}, the stream {items}"
    assert got == "own"
    assert items == ["first", "second"]
    assert malformed == 4


@pytest.mark.parametrize("dialect", ["native", "go-micro"])
async def test_a_caller_of_another_age_is_answered(server, tmp_path, verdict, dialect) -> None:
    row = verdict(
        "A caller sends envelopes of version 2, unknown signals, encodings and content types, and "
        f"requests with unknown headers and fields ({dialect} dialect)",
        "what makes no sense is dropped or refused typed, what does is answered; no error in the "
        "service's log",
    )
    native = dialect == "native"
    own = {"Micro-Endpoint": "Points.Read", "Content-Type": "application/json"}
    own |= {} if native else {"Micro-Method": "Points.Read", "Micro-Service": "points"}
    own |= {"Micro-Future": "1", "Micro-Hops": "x", "X-Unheard-Of": "ä"}
    body = b'{"number":5,"seconds":0,"unknown":{"deep":[]}}'

    def request(id: str, **more: str) -> Frame:
        named = {name.replace("_", "-"): value for name, value in more.items()}
        return Frame({**own, "Micro-Id": id, **named}, body, binary=native)

    async with (
        points_and_client(server, tmp_path, 1) as (fleet, client),
        run_peer(server.address) as peer,
    ):
        (record,) = await client.registry.get_service("points")
        address = record.nodes[0].address
        for bundle in ([2, own, body], [0, {}, b""], [1, {}], {"v": 2}, "text", 7):
            await peer.babble(address, msgpack.packb(bundle))
        if native:
            await peer.ask(address, request("signal", Micro_Signal="pause"))
        await peer.ask(address, request("encoding", Content_Encoding="future"))
        await peer.ask(address, request("kind", Content_Type="application/future"))
        await peer.ask(address, request("good"), Trailer={"deep": []}, Version=9)
        answers = [await peer.answer() for _ in range(3)]
        found = await read(client, 9)
        traces = fleet["n1"].said("Traceback")
        ran = fleet.journal.counts("read")[5]

    told = {each.id: each for each in answers}
    codes = {
        id: json.loads(each.headers["Micro-Error"])["code"]
        for id, each in told.items()
        if "Micro-Error" in each.headers
    }
    row.measured = f"refused with {codes}; {ran} of 1 good request ran"
    assert json.loads(told["good"].body)["number"] == 5
    assert codes == {"encoding": 415, "kind": 415}
    assert ran == 1
    assert found["number"] == 9
    assert not traces
