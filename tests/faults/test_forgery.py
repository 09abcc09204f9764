"""Forged answers and records."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import nats
from nats.aio.client import Client as Bare

from micro import Client, DeadlineExceeded, Service
from micro.message import Message
from micro.registry.record import Node, ServiceRecord
from micro.scope import open_scope
from micro.settings.load import Settings
from micro_nats.devserver import run_server
from micro_nats.registry.subjects import WATCH_TOPICS
from micro_nats.tokens import fresh_token
from micro_nats.wire.envelope import bundle_of, encode_json, pack_message
from micro_nats.wire.records import encode_result
from tests.engine import ANN, Award, Balance
from tests.faults.clock import until
from tests.faults.load import client_of

RULES = """
authorization {
  users: [
    {user: "service", password: "s"}
    {user: "stranger", password: "s", permissions: {
      publish: {allow: ["_INBOX.>", "micro.registry.nats.query", "micro.nats.query"]}
      subscribe: {allow: ["_STRANGER.>"]}
    }}
  ]
}
"""
WRONG = ["", "0", "-1", "999999", "x", "1 ", "\u0661"]


class Slow:
    """A service that answers when it is let."""

    def __init__(self) -> None:
        self.service = Service("golden")
        self.called, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

        @self.service.handler
        async def award(request: Award) -> Balance:
            self.called.set()
            await self.go.wait()
            return Balance(user=request.user, points=request.points)


@asynccontextmanager
async def bare(address: str, **options: object) -> AsyncIterator[Bare]:
    """A stranger with a bare NATS client."""
    client = await nats.connect(address, **options)
    try:
        yield client
    finally:
        await client.close()


def award(client: Client, **options: object):
    return client.call("golden", "Golden.Award", ANN, Balance, **options)


def record(*nodes: Node) -> ServiceRecord:
    return ServiceRecord(name="golden", version="latest", nodes=nodes)


def forged(address: str) -> Node:
    return Node(id="golden-forged", address=address, metadata={"protocol": "mucp"})


async def announce(stranger: Bare, action: str, *nodes: Node) -> None:
    for topic in WATCH_TOPICS:
        await stranger.publish(topic, encode_result(action, record(*nodes)))
    await stranger.flush()


def known(client: Client) -> set[str]:
    """The nodes that a client would call."""
    return {node.id for node in client.nodes("golden")}


async def test_forged_answers_with_wrong_ids_are_ignored_and_counted(server, verdict) -> None:
    row = verdict(
        "Forged answers to a known inbox, with wrong ids and to wrong sockets, while a call waits",
        "the call gets its own answer; each forged one is counted",
    )
    slow, settings = Slow(), Settings(transport_address=(server.address,))
    async with (
        slow.service.running(settings=settings),
        client_of(server.address) as client,
        bare(server.address) as stranger,
        open_scope() as scope,
    ):
        await award(client)
        slow.called.clear()
        slow.go.clear()
        transport = client.transport
        inbox, (connection,) = transport.inbox, client._pool._channels
        lookup = client.registry._query._prefix.removesuffix(".")
        waiting = scope.start(award(client))
        await slow.called.wait()
        socket = connection.socket.local
        for id in WRONG:
            lie = Message({"Micro-Id": id}, b'{"user":"eve","points":1000000}')
            for payload in (encode_json(lie), bundle_of([pack_message(lie)])):
                await stranger.publish(socket, payload)
                await stranger.publish(f"{inbox}.s.zzz", payload)
        await stranger.publish(f"{inbox}.s.zzz.1", b"", headers={"Status": "503"})
        await stranger.publish(f"{lookup}.zzz", encode_result("create", record(forged("x"))))
        await stranger.flush()
        await transport._connection.check()
        counters = connection.counters
        await until(
            lambda: counters.late_replies + transport.counters.orphaned_replies > 4 * len(WRONG)
        )
        early, late, orphans = (
            waiting.done(),
            counters.late_replies,
            transport.counters.orphaned_replies,
        )
        slow.go.set()
        answer = await waiting

    row.measured = f"{late} with wrong ids and {orphans} to wrong sockets counted; answered well"
    assert not early
    assert answer.points == ANN.points
    assert late == 2 * len(WRONG)
    assert orphans == 2 * len(WRONG) + 1


async def test_an_inbox_cannot_be_guessed(server, verdict) -> None:
    row = verdict("Guessing the inbox of a connection", "at least 96 random bits; no two alike")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client_of(server.address)) for _ in range(30)]
        inboxes = {client.transport.inbox for client in clients}
    random.seed(1)
    tokens = [fresh_token() for _ in range(10_000)]
    random.seed(1)
    tokens += [fresh_token() for _ in range(10_000)]
    bits = sum(entropy(column) for column in zip(*tokens, strict=True))

    row.measured = f"{bits:.0f} bits measured; {len(inboxes)} different inboxes of 30"
    assert len(inboxes) == 30
    assert {len(inbox.removeprefix("_INBOX.")) for inbox in inboxes} == {len(tokens[0])}
    assert len(set(tokens)) == len(tokens)
    assert bits >= 96


def entropy(letters: tuple[str, ...]) -> float:
    """Bits of one place, by how often each letter stands there."""
    shares = [count / len(letters) for count in Counter(letters).values()]
    return -sum(share * math.log2(share) for share in shares)


async def test_with_permissions_the_server_refuses_a_forged_record(tmp_path, verdict) -> None:
    row = verdict(
        "A stranger without permission for the registry's subjects registers a node of another "
        "service, and deregisters its own",
        "the server refuses each; callers know the true node alone, and calls succeed",
    )
    denied: list[str] = []

    async def complain(error: Exception) -> None:
        denied.append(str(error))

    config = tmp_path / "server.conf"
    config.write_text(RULES)
    async with run_server(config=config) as server:
        address = server.address.replace("//", "//service:s@")
        options = {"user": "stranger", "password": "s", "inbox_prefix": b"_STRANGER"}
        async with (
            Slow().service.running(settings=Settings(transport_address=(address,))),
            client_of(address) as client,
            bare(server.address, error_cb=complain, **options) as stranger,
        ):
            await award(client)
            before = known(client)
            (true,) = (await client.registry.get_service("golden"))[0].nodes
            await announce(stranger, "create", forged("_STRANGER.x"))
            await announce(stranger, "delete", true)
            for subject in (">", "_INBOX.>", "micro.nats.query"):
                await stranger.subscribe(subject)
            await stranger.flush()
            await until(lambda: len(denied) >= 7)
            await client.transport._connection.check()
            after = known(client)
            answers = [await award(client) for _ in range(20)]

    row.measured = f"{len(denied)} refusals, {len(after)} node known, {len(answers)} calls made"
    assert after == before == {true.id}
    assert all("permissions violation" in text.lower() for text in denied)


async def test_a_forged_node_costs_one_call_and_a_forged_departure_removes_no_node(
    server, verdict
) -> None:
    row = verdict(
        "A stranger who may publish anything registers a node of another service, and deregisters "
        "the true one",
        "the forged node gets no more calls after the first; both are asked before one is "
        "removed, and the true one stays",
    )
    settings = Settings(transport_address=(server.address,))
    async with (
        Slow().service.running(settings=settings),
        client_of(server.address) as client,
        bare(server.address) as stranger,
    ):
        await stranger.subscribe("stranger.listens")
        await award(client)
        (true,) = (await client.registry.get_service("golden"))[0].nodes
        await announce(stranger, "create", forged("stranger.listens"))
        await until(lambda: len(known(client)) == 2)
        lost = 0
        for _ in range(20):
            try:
                await award(client, timeout=0.1)
            except DeadlineExceeded:
                lost += 1
        await announce(stranger, "delete", true, forged("stranger.listens"))
        seconds = await until(lambda: known(client) == {true.id})
        answers = [await award(client) for _ in range(20)]

    row.measured = f"{lost} of 20 calls lost; forged node gone after {seconds:.2f} s"
    assert lost <= 1
    assert seconds < 3.0
    assert len(answers) == 20
