"""Confirmed publishing: what is lost, late, refused or not there."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from micro.backend import BackendOptions
from micro.broker.kept_types import TopicSpec
from micro.deadline import Ambient, Deadline, ambient
from micro.errors import DeadlineExceeded, Forbidden, NotFound, Unavailable
from micro.message import Message
from micro_nats import NatsBackend, open_nats
from micro_nats.devserver import NatsServer, run_server
from micro_nats.jetstream import window
from micro_nats.jetstream.names import Names
from tests.plugins.micro_nats.helpers import Inbox, until
from tests.plugins.micro_nats.jetstream.helpers import api, store_many, stored_in, topic_on

EVENT = Message({}, b"1")

pytestmark = pytest.mark.both_loops


def at(server: NatsServer) -> BackendOptions:
    return BackendOptions(addresses=(server.address,), name="test")


def is_stopped(server: NatsServer) -> bool:
    state = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


async def test_events_in_flight_survive_the_death_of_the_server(
    own_jetstream_server: NatsServer,
) -> None:
    async with open_nats(at(own_jetstream_server)) as backend:
        topic = await topic_on(backend)
        storing = asyncio.ensure_future(store_many(backend, topic, 2000))
        await until(lambda: backend.connection.buffered > 0 or storing.done())
        await asyncio.to_thread(own_jetstream_server.kill)
        own_jetstream_server.start()
        await own_jetstream_server.wait()
        await storing
        ids = [event.id for event in await stored_in(backend, topic)]

    assert sorted(ids, key=int) == [str(number) for number in range(2000)]


async def test_events_wait_in_order_while_no_stream_takes_them(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    await api(backend, f"STREAM.DELETE.{Names().stream(topic)}")
    storing = asyncio.ensure_future(store_many(backend, topic, 50))
    await until(lambda: len(backend.broker._window._holds) > 0)
    await backend.broker.ensure(TopicSpec(name=topic), create=True)
    await storing

    assert [event.id for event in await stored_in(backend, topic)] == [str(n) for n in range(50)]


async def test_a_topic_whose_stream_was_removed_is_not_kept(backend: NatsBackend) -> None:
    topic = await topic_on(backend)
    await api(backend, f"STREAM.DELETE.{Names().stream(topic)}")
    with pytest.raises(NotFound, match=topic):
        await backend.broker.store(topic, EVENT, id="1")


async def test_the_window_bounds_what_is_in_flight(
    backend: NatsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window, "MAX_IN_FLIGHT", 4)
    topic, most = await topic_on(backend), 0
    await backend.broker.store(topic, EVENT, id="first")
    storing = asyncio.ensure_future(store_many(backend, topic, 100))
    while not storing.done():
        most = max(most, len(backend.broker._window._pending))
        await asyncio.sleep(0)

    assert most == 4
    found = [event.id for event in await stored_in(backend, topic)]
    assert found == ["first", *(str(number) for number in range(100))]


async def test_an_event_without_an_answer_fails_with_its_id(
    own_jetstream_server: NatsServer,
) -> None:
    async with open_nats(at(own_jetstream_server)) as backend:
        topic = await topic_on(backend)
        await store_many(backend, topic, 1)
        own_jetstream_server.signal(signal.SIGSTOP)
        await until(lambda: is_stopped(own_jetstream_server))
        running = Ambient()
        running.ambient_deadline = Deadline.after(0.3)
        ambient.set(running)
        with pytest.raises(DeadlineExceeded) as caught:
            await backend.broker.store(topic, EVENT, id="order-17")
        ambient.set(None)
        own_jetstream_server.signal(signal.SIGCONT)

        assert caught.value.details["event"] == "order-17"
        receipt = await backend.broker.store(topic, EVENT, id="order-17")
        assert receipt.duplicate
        assert [event.id for event in await stored_in(backend, topic)] == ["0", "order-17"]


async def test_another_answer_than_a_receipt_is_told(
    backend: NatsBackend, other: NatsBackend
) -> None:
    topic = await topic_on(backend)
    await api(backend, f"STREAM.DELETE.{Names().stream(topic)}")

    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        other.connection.publish_now(reply, "", b"thanks")

    await other.connection.subscribe(topic, answer)
    with pytest.raises(Unavailable, match="no receipt"):
        await backend.broker.store(topic, EVENT, id="1")


async def test_a_server_without_jetstream_is_told_when_it_is_first_needed() -> None:
    async with run_server() as server, open_nats(at(server)) as backend:
        await backend.broker.publish("plain", EVENT)
        with pytest.raises(Unavailable, match="-js"):
            await backend.broker.ensure(TopicSpec(name="a"), create=True)
        with pytest.raises(Unavailable, match="-js"):
            await backend.broker.store("a", EVENT, id="1")


async def test_nothing_is_asked_of_jetstream_before_a_topic_is_kept(
    own_jetstream_server: NatsServer,
) -> None:
    asked = Inbox()
    async with open_nats(at(own_jetstream_server)) as watching:
        await watching.connection.subscribe("$JS.>", asked)
        async with open_nats(at(own_jetstream_server)) as plain:
            await plain.broker.publish("plain", EVENT)
            assert plain.broker.features.retained
            await plain.connection.flush()
            await watching.connection.flush()
            assert asked.messages == []
            await plain.broker.ensure(TopicSpec(name="a"), create=True)
        await asked.wait_for(1)


async def test_a_user_without_permission_is_told(tmp_path: Path) -> None:
    config = tmp_path / "nats.conf"
    config.write_text(
        'authorization { users = [{ user: a, password: "a", permissions: {'
        ' publish: { deny: ["$JS.API.STREAM.CREATE.>"] } } }] }'
    )
    async with run_server(jetstream=True, config=config) as server:
        address = server.address.replace("//", "//a:a@")
        async with open_nats(BackendOptions(addresses=(address,))) as backend:
            with pytest.raises(Forbidden, match=r"STREAM\.CREATE"):
                await backend.broker.ensure(TopicSpec(name="a"), create=True)
