"""A peer written from docs/wire.md alone: bare nats-py, msgpack and json, nothing of micro."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import nats
import pytest

from micro import Client, Service, load_settings, open_client
from micro.plugins import Backends
from micro_nats import NatsServer, run_server

QUERIES = ("micro.registry.nats.query", "micro.nats.query")
WATCHES = ("micro.registry.nats.watch", "micro.nats.watch")


def bundle(*frames: tuple[dict[str, str], bytes]) -> bytes:
    return msgpack.packb([1, *(part for frame in frames for part in frame)])


def envelope(headers: dict[str, str], body: bytes) -> bytes:
    text = {"Header": headers, "Body": base64.b64encode(body).decode()}
    return json.dumps(text, sort_keys=True).encode()


class Peer:
    """Somebody else's program."""

    def __init__(self, connection: Any) -> None:
        self.nats = connection
        self.inbox = connection.new_inbox()
        self.number = 0

    async def open(self) -> None:
        self.answers = await self.nats.subscribe(f"{self.inbox}.s.>")

    async def find(self, name: str) -> dict[str, Any]:
        replies = await self.nats.subscribe(f"{self.inbox}.r.0")
        wanted = {"name": name, "version": "", "metadata": None, "endpoints": None, "nodes": None}
        for subject in QUERIES:
            query = json.dumps({"Service": wanted, "Action": "get"}).encode()
            await self.nats.publish(subject, query, reply=f"{self.inbox}.r.0")
        service: dict[str, Any] = json.loads((await replies.next_msg(5)).data)
        await replies.unsubscribe()
        return service["nodes"][0]

    async def send(self, address: str, *frames: tuple[dict[str, str], bytes]) -> None:
        self.number += 1
        reply = f"{self.inbox}.s.0.{self.number}"
        await self.nats.publish(address, bundle(*frames), reply=reply)

    async def receive(self) -> list[Any]:
        """The frames of the next bundle."""
        version, *parts = msgpack.unpackb((await self.answers.next_msg(5)).data)
        assert version == 1
        return list(zip(parts[::2], parts[1::2], strict=True))

    async def frames(self, count: int) -> list[Any]:
        """So many frames, however they were put into bundles."""
        frames: list[Any] = []
        while len(frames) < count:
            frames += await self.receive()
        assert len(frames) == count
        return frames


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with run_server() as server:
        yield server


@pytest.fixture
async def peer(server: NatsServer) -> AsyncIterator[Peer]:
    connection = await nats.connect(server.address)
    peer = Peer(connection)
    await peer.open()
    yield peer
    await connection.close()


@asynccontextmanager
async def running(service: Service, server: NatsServer) -> AsyncIterator[Client]:
    settings = load_settings(["--transport-address", server.address], {})
    async with (
        Backends(name="test", settings=settings) as backends,
        service.running(backends=backends, settings=settings) as client,
    ):
        yield client


def make_service() -> Service:
    service = Service("numbers")

    @service.handler
    async def double(number: int) -> int:
        return 2 * number

    @service.handler
    async def count(last: int) -> AsyncIterator[int]:
        for number in range(last):
            yield number

    @service.handler
    async def add(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @service.handler
    async def size(text: str) -> int:
        return len(text)

    return service


def request(endpoint: str, id: str, **more: str) -> dict[str, str]:
    return {
        "Micro-Endpoint": endpoint,
        "Content-Type": "application/json",
        "Micro-Id": id,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


async def test_native_calls_share_a_bundle_and_come_back_by_their_ids(
    peer: Peer, server: NatsServer
) -> None:
    async with running(make_service(), server):
        node = await peer.find("numbers")
        await peer.send(
            node["address"],
            (request("Numbers.Double", "a", Timeout="5000000000"), b"1\n"),
            (request("Numbers.Double", "b"), b"2\n"),
            (request("Numbers.Nothing", "c"), b"{}\n"),
        )
        replies = {headers["Micro-Id"]: (headers, body) for headers, body in await peer.frames(3)}

    assert (node["metadata"]["native"], node["metadata"]["envelope"]) == ("1", "msgpack")
    assert replies["a"] == ({"Micro-Id": "a", "Content-Type": "application/json"}, b"2\n")
    assert replies["b"][1] == b"4\n"
    error = json.loads(replies["c"][0]["Micro-Error"])
    assert (error["code"], error["status"]) == (404, "Not Found")
    assert replies["c"][0]["Micro-Refused"] == "1"


async def test_a_request_with_micro_method_is_answered_in_full(
    peer: Peer, server: NatsServer
) -> None:
    headers = {
        **request("Numbers.Double", "7"),
        "Accept": "application/json",
        "Micro-Method": "Numbers.Double",
        "Micro-Service": "numbers",
        "Micro-ID": "7",
    }
    async with running(make_service(), server):
        node = await peer.find("numbers")
        reply = f"{peer.inbox}.s.1"
        await peer.nats.publish(node["address"], envelope(headers, b"21\n"), reply=reply)
        answer = json.loads((await peer.answers.next_msg(5)).data)

    assert base64.b64decode(answer["Body"]) == b"42\n"
    assert answer["Header"] == {
        "Content-Type": "application/json",
        "Micro-ID": "7",
        "Micro-Id": "7",
        "X-Micro-ID": "7",
    }


async def test_a_server_stream_sends_as_much_as_it_has_credit_for(
    peer: Peer, server: NatsServer
) -> None:
    async with running(make_service(), server):
        address = (await peer.find("numbers"))["address"]
        opening = request("Numbers.Count", "1", Micro_Stream="1", Micro_Credit="2")
        await peer.send(address, (opening, b"3\n"))
        first = await peer.frames(2)
        credit = {"Micro-Id": "1", "Micro-Signal": "credit", "Micro-Credit": "1"}
        await peer.send(address, (credit, b""))
        rest = await peer.frames(2)

    assert [body for _, body in first] == [b"0\n", b"1\n"]
    assert rest[0][1] == b"2\n"
    assert rest[1][0]["Micro-Error"] == "EOS"


async def test_a_client_stream_is_granted_credit_and_ends_with_a_signal(
    peer: Peer, server: NatsServer
) -> None:
    async with running(make_service(), server):
        address = (await peer.find("numbers"))["address"]
        opening = request("Numbers.Add", "1", Micro_Stream="1", Micro_Credit="256")
        await peer.send(address, (opening, b""))
        granted = await peer.frames(1)
        item = {"Micro-Id": "1", "Micro-Stream": "1"}
        end = {"Micro-Id": "1", "Micro-Signal": "end"}
        await peer.send(address, (item, b"1\n"), (item, b"2\n"), (end, b""))
        answer = await peer.frames(2)

    assert granted == [
        ({"Micro-Id": "1", "Micro-Signal": "credit", "Micro-Credit": "256"}, b""),
    ]
    assert (answer[0][1], answer[1][0]["Micro-Error"]) == (b"3\n", "EOS")


async def test_a_large_body_goes_in_pieces(peer: Peer, server: NatsServer) -> None:
    text = json.dumps("x" * 1_500_000).encode()
    half = len(text) // 2
    async with running(make_service(), server):
        address = (await peer.find("numbers"))["address"]
        opening = request("Numbers.Size", "1", Micro_Pieces=str(len(text)))
        await peer.send(address, (opening, text[:half]))
        first = await peer.frames(1)
        await peer.send(address, ({"Micro-Id": "1", "Micro-Signal": "piece"}, text[half:]))
        frames = await peer.frames(2)

    assert first[0][0] == frames[0][0] == {"Micro-Id": "1", "Micro-Signal": "more"}
    assert frames[1][1] == b"1500000\n"


async def test_an_address_says_whether_somebody_listens(peer: Peer, server: NatsServer) -> None:
    async with running(make_service(), server):
        address = (await peer.find("numbers"))["address"]
        await peer.nats.publish(address, b"", reply=f"{peer.inbox}.s.2")

        assert (await peer.answers.next_msg(5)).data == bundle()

        await peer.send(address, (request("Numbers.Double", "1"), b"1\n"))
        await peer.receive()

    close_frame = await peer.answers.next_msg(5)  # when it stopped
    assert close_frame.data == bundle()
    assert close_frame.subject.endswith(f".0.{peer.number + 1}")
    await peer.send(address, (request("Numbers.Double", "2"), b"1\n"))
    refusal = await peer.answers.next_msg(5)
    assert (refusal.headers["Status"], refusal.data) == ("503", b"")
    assert refusal.subject.endswith(f".0.{peer.number}")


async def test_bundles_are_taken_from_the_first_on_without_a_gap(
    peer: Peer, server: NatsServer
) -> None:
    async with running(make_service(), server):
        address = (await peer.find("numbers"))["address"]
        peer.number = 6
        await peer.send(address, (request("Numbers.Double", "1"), b"1\n"))
        unknown = await peer.answers.next_msg(5)
        peer.number = 0
        await peer.send(address, (request("Numbers.Double", "2"), b"1\n"))
        taken = await peer.frames(1)
        peer.number = 2  # the second was lost
        await peer.send(address, (request("Numbers.Double", "3"), b"1\n"))
        lost = await peer.answers.next_msg(5)

    assert unknown.data == lost.data == bundle()
    assert unknown.subject.endswith(".0.7")
    assert lost.subject.endswith(".0.2")
    assert taken[0][1] == b"2\n"


async def test_an_event_in_go_micros_envelope_is_heard(peer: Peer, server: NatsServer) -> None:
    service, heard = make_service(), asyncio.Queue[str]()

    @service.subscriber("orders.*")
    async def hear(item: str) -> None:
        heard.put_nowait(item)

    headers = {"Content-Type": "application/json", "Micro-ID": "1", "Micro-Topic": "orders.created"}
    async with running(service, server):
        await peer.nats.publish("orders.created", envelope(headers, b'"tea"\n'))

        assert await asyncio.wait_for(heard.get(), 5) == "tea"


async def test_a_service_of_another_kind_is_found_and_called(
    peer: Peer, server: NatsServer
) -> None:
    address = peer.nats.new_inbox()
    metadata = {"protocol": "mucp", "native": "1", "envelope": "msgpack"}
    node = {"id": "echo-1", "address": address, "metadata": metadata}
    record = {"name": "echo", "version": "1", "metadata": None, "endpoints": None, "nodes": [node]}

    async def answer(query: Any) -> None:
        if json.loads(query.data)["Service"]["name"] == "echo":
            await query.respond(json.dumps(record).encode())

    async def serve(message: Any) -> None:
        _, *parts = msgpack.unpackb(message.data)
        replies = [
            ({"Micro-Id": headers["Micro-Id"], "Content-Type": headers["Content-Type"]}, body)
            for headers, body in zip(parts[::2], parts[1::2], strict=True)
            if "Micro-Endpoint" in headers
        ]
        await peer.nats.publish(message.reply.rpartition(".")[0], bundle(*replies))

    for subject in QUERIES:
        await peer.nats.subscribe(subject, cb=answer)
    await peer.nats.subscribe(address, cb=serve)
    await peer.nats.flush()
    settings = load_settings(["--transport-address", server.address], {})
    async with open_client(settings) as client:
        assert await client.call("echo", "Echo.Echo", "hello", str) == "hello"


async def test_a_service_says_hello_and_close_frame_to_those_who_watch(
    peer: Peer, server: NatsServer
) -> None:
    watches = [await peer.nats.subscribe(subject) for subject in WATCHES]
    await peer.nats.flush()
    async with running(make_service(), server):
        hello = [json.loads((await watch.next_msg(5)).data) for watch in watches]
    last = [json.loads((await watch.next_msg(5)).data) for watch in watches]

    assert [each["Action"] for each in hello + last] == ["create"] * 2 + ["delete"] * 2
    assert hello[0]["Service"]["nodes"][0]["id"] == last[1]["Service"]["nodes"][0]["id"]
