from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from micro.backend import Backend, BackendOptions, ConnectionState
from micro.errors import ConfigError, ConnectionLost, Forbidden
from micro.registry.record import Node, ServiceRecord
from micro_nats import open_nats
from micro_nats.devserver import NatsServer, run_server
from micro_nats.registry import watch as watch_module
from micro_nats.registry.subjects import QUERY_TOPICS, WATCH_TOPICS
from tests.plugins.micro_nats.helpers import Events, Inbox, raw

GET = (
    b'{"Service":{"name":"%b","version":"","metadata":null,"endpoints":null,"nodes":null},'
    b'"Action":"get"}'
)


def record(name: str, *nodes: str, version: str = "1") -> ServiceRecord:
    return ServiceRecord(
        name=name,
        version=version,
        nodes=tuple(Node(id=node, address=f"at.{node}") for node in nodes or ("a",)),
    )


def register(backend: Backend, what: ServiceRecord, ttl: float = 90.0, interval: float = 30.0):
    return backend.registry.register(what, ttl=ttl, interval=interval)


@pytest.mark.parametrize("topic", QUERY_TOPICS)
async def test_a_go_client_of_either_generation_is_answered(
    backend: Backend, connection, topic: str
) -> None:
    answers = Inbox()
    await connection.subscribe("_INBOX.go", answers)
    async with register(backend, record("points")):
        connection.publish_now(topic, "_INBOX.go", GET % b"points")
        connection.publish_now(topic, "_INBOX.go", b'{"Service":null,"Action":"list"}')
        connection.publish_now(topic, "_INBOX.go", GET % b"others")
        await answers.wait_for(2)
        await backend.check()
        await connection.check()

    expected = (
        b'{"name":"points","version":"1","metadata":null,"endpoints":null,'
        b'"nodes":[{"metadata":null,"id":"a","address":"at.a"}]}'
    )
    assert answers.payloads == [expected] * 2


async def test_coming_and_going_is_announced_on_both_topics(backend: Backend, connection) -> None:
    heard = Inbox()
    for topic in WATCH_TOPICS:
        await connection.subscribe(topic, heard)
    async with register(backend, record("points")):
        await heard.wait_for(2)
    await heard.wait_for(4)

    assert sorted(message[0] for message in heard.messages[:2]) == sorted(WATCH_TOPICS)
    assert [json.loads(each)["Action"] for each in heard.payloads] == ["create"] * 2 + [
        "delete"
    ] * 2
    assert heard.payloads[2] == (
        b'{"Service":{"name":"points","version":"1","metadata":null,"endpoints":null,'
        b'"nodes":[{"metadata":null,"id":"a","address":"at.a"}]},"Action":"delete"}'
    )


async def test_it_is_announced_again_every_interval(backend: Backend, connection) -> None:
    heard = Inbox()
    await connection.subscribe(WATCH_TOPICS[0], heard)
    async with register(backend, record("points"), ttl=1, interval=0.02):
        await heard.wait_for(5)


@pytest.mark.parametrize("topic", WATCH_TOPICS)
async def test_announcements_of_either_generation_are_heard(
    backend: Backend, connection, topic: str
) -> None:
    service = b'{"name":"go","version":"1","nodes":[{"id":"x","address":"y"}]}'
    create = b'{"Action":"create","Service":%b}' % service
    delete = create.replace(b"create", b"delete")
    async with backend.registry.watch("go") as sets:
        assert await anext(sets) == ()
        connection.publish_now(topic, "", create)
        [found] = await anext(sets)
        connection.publish_now(topic, "", delete)
        assert await anext(sets) == ()

    assert [node.id for node in found.nodes] == ["x"]


@pytest.mark.parametrize("topic", QUERY_TOPICS)
async def test_a_go_server_of_either_generation_is_found(
    backend: Backend, connection, topic: str
) -> None:
    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        for node in "xy":
            service = {"name": "go", "version": "1", "nodes": [{"id": node, "address": node}]}
            connection.publish_now(reply, "", json.dumps(service).encode())

    await connection.subscribe(topic, answer)
    [found] = await backend.registry.get_service("go")

    assert [node.id for node in found.nodes] == ["x", "y"]


async def test_a_query_that_no_one_listens_to_ends_at_once(own_server: NatsServer) -> None:
    async with open_nats(BackendOptions(addresses=(own_server.address,))) as backend:
        await backend.registry.get_service("warm")
        started = time.monotonic()
        assert await backend.registry.get_service("points") == ()
        assert await backend.registry.list_services() == ()

        assert time.monotonic() - started < 0.1


async def test_a_lookup_ends_soon_after_the_last_answer(backend: Backend, other: Backend) -> None:
    async with register(other, record("points")):
        started = time.monotonic()
        assert await backend.registry.get_service("points") == (record("points"),)

        assert time.monotonic() - started < 0.25


async def test_a_silent_listener_holds_a_lookup_up_to_the_bound(
    backend: Backend, connection
) -> None:
    await connection.subscribe(QUERY_TOPICS[0], Inbox())
    started = time.monotonic()
    assert await backend.registry.get_service("points") == ()

    assert 0.4 < time.monotonic() - started < 1.5


async def test_lookups_of_one_name_share_a_query(backend: Backend, other, connection) -> None:
    queries = Inbox()
    await connection.subscribe(QUERY_TOPICS[0], queries)
    async with register(other, record("points")):
        found = await asyncio.gather(*[backend.registry.get_service("points") for _ in range(50)])
    await connection.check()

    assert found == [(record("points"),)] * 50
    assert len(queries.messages) == 1


async def test_a_caller_who_leaves_does_not_end_the_others_lookup(
    backend: Backend, other: Backend
) -> None:
    async with register(other, record("points")):
        leaving = asyncio.ensure_future(backend.registry.get_service("points"))
        staying = asyncio.ensure_future(backend.registry.get_service("points"))
        await asyncio.sleep(0)
        leaving.cancel()

        assert await staying == (record("points"),)


async def test_hostile_records_are_counted_and_dropped(
    backend: Backend, server: NatsServer
) -> None:
    hostile = [b"", b"\xff", b"{", b"[]", b'{"Service":[],"Action":"create"}', b'{"Action":1}']
    async with register(backend, record("points")), backend.registry.watch("points") as sets:
        before = await anext(sets)
        async with raw(server) as peer:
            for payload in hostile:
                await peer.publish(WATCH_TOPICS[0].encode(), payload)
                await peer.publish(QUERY_TOPICS[0].encode(), payload, reply=b"_INBOX.some")
        after = await backend.registry.get_service("points")

    assert before == after == (record("points"),)
    assert backend.transport.counters.malformed == 2 * len(hostile)


async def test_a_node_that_still_answers_is_not_forgotten(
    backend: Backend, other: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch_module, "MIN_REFRESH_SECONDS", 0.05)
    queries = Inbox()
    async with register(other, record("points"), ttl=0.2, interval=0.1):
        for entry in other.registry._announcer._registrations:
            entry.timer.cancel()  # it announces itself no more
        async with backend.registry.watch("points") as sets:
            assert await anext(sets) == (record("points"),)
            await backend.connection.subscribe(QUERY_TOPICS[0], queries)
            await queries.wait_for(3)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(sets), 0.05)


async def test_everything_is_there_again_after_a_restart_of_the_server(
    own_server: NatsServer,
) -> None:
    events = Events()
    options = BackendOptions(addresses=(own_server.address,), on_event=events)
    async with (
        open_nats(options) as backend,
        open_nats(options) as other,
        backend.registry.watch("points") as sets,
    ):
        assert await anext(sets) == ()
        async with register(other, record("points", "a")):
            assert await anext(sets) == (record("points", "a"),)
            own_server.kill()
            await events.wait_for(ConnectionState.DISCONNECTED, 2)
            with pytest.raises(ConnectionLost):
                await backend.registry.get_service("points")
            own_server.start()
            await events.wait_for(ConnectionState.RECONNECTED, 2)
            async with register(other, record("points", "b")):
                assert await anext(sets) == (record("points", "a", "b"),)


async def test_a_registration_outside_its_bounds_is_refused(backend: Backend) -> None:
    with pytest.raises(ConfigError):
        register(backend, record("points"), ttl=10, interval=10)


async def test_no_echo_does_not_hide_a_process_from_itself(server: NatsServer) -> None:
    options = BackendOptions(addresses=(server.address,), driver={"no_echo": True})
    async with open_nats(options) as backend, register(backend, record("points")):
        assert await backend.registry.get_service("points") == (record("points"),)


@pytest.mark.parametrize("denied", [QUERY_TOPICS[:1], QUERY_TOPICS[1:], QUERY_TOPICS])
async def test_who_may_not_ask_learns_it_at_once(tmp_path: Path, denied: tuple[str, ...]) -> None:
    config = tmp_path / "server.conf"
    rules = f"permissions: {{ publish: {{ deny: {json.dumps(denied)} }} }}"
    config.write_text(f"authorization {{ users: [ {{ user: ann, password: x, {rules} }} ] }}")
    async with run_server(config=config) as server:
        address = server.address.replace("//", "//ann:x@")
        async with open_nats(BackendOptions(addresses=(address,))) as backend:
            started = time.monotonic()
            if denied == QUERY_TOPICS:
                with pytest.raises(Forbidden, match="asking"):
                    await backend.registry.get_service("points")
            else:
                assert await backend.registry.get_service("points") == ()

    assert time.monotonic() - started < 0.4
