"""Watches: departures, floods of announcements, and nodes that offer different things."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from micro.backend import Backend
from micro.registry.record import EndpointRecord, Node, ServiceRecord
from micro_nats.connection.connection import Connection
from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS
from micro_nats.registry.watch import MAX_UNCONFIRMED
from tests.plugins.micro_nats.helpers import Inbox

TOPIC = WATCH_TOPICS[0]

pytestmark = pytest.mark.both_loops


def record(name: str, node: str = "a", *endpoints: str) -> ServiceRecord:
    return ServiceRecord(
        name=name,
        version="1",
        endpoints=tuple(EndpointRecord(name=each) for each in endpoints),
        nodes=(Node(id=node, address=f"at.{node}"),),
    )


def message(action: str, name: str, *nodes: str) -> bytes:
    listed = [{"id": node, "address": f"at.{node}"} for node in nodes]
    service = {"name": name, "version": "1", "nodes": listed}
    return json.dumps({"Action": action, "Service": service}).encode()


def register(backend: Backend, what: ServiceRecord):
    return backend.registry.register(what, ttl=90, interval=30)


async def settle(*connections: Connection) -> None:
    for connection in connections:
        await connection.flush()


def ids(found: tuple[ServiceRecord, ...]) -> list[str]:
    return [node.id for each in found for node in each.nodes]


async def test_a_departure_that_a_stranger_announces_is_not_believed(
    backend: Backend, other: Backend, connection: Connection
) -> None:
    async with register(other, record("points")), backend.registry.watch("points") as sets:
        assert ids(await anext(sets)) == ["a"]
        for _ in range(100):
            connection.publish_now(TOPIC, "", message("delete", "points", "a"))
        await settle(connection, backend.connection)
        async with register(other, record("points", "b")):
            async with asyncio.timeout(5):
                while (found := ids(await anext(sets))) != ["a", "b"]:
                    assert found in (["a"], ["b"])  # passed over at most


async def test_a_departure_is_believed_when_the_node_does_not_answer(
    backend: Backend, other: Backend
) -> None:
    async with register(other, record("points", "b")), backend.registry.watch("points") as sets:
        assert ids(await anext(sets)) == ["b"]
        async with register(backend, record("points")):
            assert ids(await anext(sets)) == ["a", "b"]
        assert ids(await anext(sets)) == ["b"]
        await backend.registry.get_service("points")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(sets), 0.5)


async def test_a_go_node_that_is_said_to_leave_is_asked(
    backend: Backend, connection: Connection
) -> None:
    answering = True

    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        if answering:
            for node in "ab":
                service = json.loads(message("", "go", node))["Service"]
                connection.publish_now(reply, "", json.dumps(service).encode())

    await connection.subscribe(QUERY_TOPICS[0], answer)
    async with backend.registry.watch("go") as sets:
        assert ids(await anext(sets)) == ["a", "b"]
        connection.publish_now(TOPIC, "", message("delete", "go", "a"))
        assert ids(await anext(sets)) == ["b"]  # passed over while it is asked
        assert ids(await anext(sets)) == ["a", "b"]  # it has answered
        answering = False
        connection.publish_now(TOPIC, "", message("delete", "go", "a", "b"))
        assert await anext(sets) == ()


async def test_the_last_node_is_kept_until_it_was_asked(
    backend: Backend, connection: Connection
) -> None:
    await connection.subscribe(QUERY_TOPICS[0], Inbox())
    async with backend.registry.watch("go") as sets:
        assert await anext(sets) == ()
        connection.publish_now(TOPIC, "", message("create", "go", "a"))
        assert ids(await anext(sets)) == ["a"]
        started = time.monotonic()
        connection.publish_now(TOPIC, "", message("delete", "go", "a"))
        assert await anext(sets) == ()

    assert time.monotonic() - started > 0.4  # the bound of a query that no node answers


async def test_nodes_of_one_version_that_offer_different_endpoints_stay_apart(
    backend: Backend, other: Backend
) -> None:
    old, new = record("points", "old", "Get"), record("points", "new", "Get", "List")
    async with (
        register(other, old),
        register(backend, new),
        backend.registry.watch("points") as sets,
    ):
        watched = await anext(sets)
        asked = await backend.registry.get_service("points")

    assert watched == asked == (new, old)


async def test_a_flood_of_announcements_hides_no_node_that_was_there(
    backend: Backend, other: Backend, connection: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    async with register(other, record("points")), backend.registry.watch("points") as sets:
        await anext(sets)
        for number in range(20_000):
            connection.publish_now(TOPIC, "", message("create", "points", f"fake{number}"))
            if not number % 500:
                await connection.flush()
        await settle(connection, backend.connection)
        async with register(backend, record("points", "last")):
            seen: list[list[str]] = [[]]
            async with asyncio.timeout(5):
                while seen[-1] != ["a", "last"]:
                    seen.append(ids(await anext(sets)))

    assert all("a" in each for each in seen[1:])
    assert max(map(len, seen)) <= MAX_UNCONFIRMED + 2
    assert 1 <= caplog.text.count("new nodes at once") <= 3


async def test_a_node_that_joins_during_a_flood_is_shown_once_it_has_answered(
    backend: Backend, other: Backend, connection: Connection
) -> None:
    async with backend.registry.watch("points") as sets:
        await anext(sets)
        for number in range(MAX_UNCONFIRMED + 1):
            connection.publish_now(TOPIC, "", message("create", "points", f"fake{number}"))
        await settle(connection, backend.connection)
        async with register(other, record("points")), asyncio.timeout(5):
            while ids(await anext(sets)) != ["a"]:
                continue


async def test_announcements_that_change_nothing_show_no_new_set(
    backend: Backend, connection: Connection
) -> None:
    async with backend.registry.watch("go") as sets:
        await anext(sets)
        for _ in range(100):
            connection.publish_now(TOPIC, "", message("create", "go", "a"))
        assert ids(await anext(sets)) == ["a"]
        await settle(connection, backend.connection)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(sets), 0.05)


async def test_thousands_of_nodes_cost_each_announcement_the_same(
    backend: Backend, connection: Connection
) -> None:
    """5,000 nodes that all answer: ten thousand more announcements take seconds, not minutes."""
    names = [f"n{number}" for number in range(5000)]

    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        for at in range(0, len(names), 100):
            service = json.loads(message("", "many", *names[at : at + 100]))["Service"]
            connection.publish_now(reply, "", json.dumps(service).encode())

    await connection.subscribe(QUERY_TOPICS[0], answer)
    async with backend.registry.watch("many") as sets:
        assert len(ids(await anext(sets))) == 5000
        started = time.monotonic()
        for name in names * 2:
            connection.publish_now(TOPIC, "", message("create", "many", name))
            if name.endswith("00"):
                await connection.flush()
        await settle(connection, backend.connection)

    assert time.monotonic() - started < 5
