"""Queries: answers that come late, silence, and who can forge an answer."""

from __future__ import annotations

import asyncio
import json

import pytest

from micro.backend import Backend
from micro_nats.connection.connection import Connection
from micro_nats.registry.subjects import QUERY_TOPICS
from tests.plugins.micro_nats.helpers import Inbox

pytestmark = pytest.mark.both_loops


def service(name: str, node: str = "x") -> bytes:
    nodes = [{"id": node, "address": f"at.{node}"}]
    return json.dumps({"name": name, "version": "1", "nodes": nodes}).encode()


async def test_an_answer_that_comes_after_the_bound_counts(
    backend: Backend, connection: Connection
) -> None:
    queries = Inbox()
    await connection.subscribe(QUERY_TOPICS[0], queries)
    async with backend.registry.watch("slow") as sets:
        assert await anext(sets) == ()
        connection.publish_now(queries.messages[0][1], "", service("slow"))
        async with asyncio.timeout(0.4):  # before the watch asks again
            [found] = await anext(sets)

    assert [node.id for node in found.nodes] == ["x"]


async def test_a_service_that_missed_the_first_query_is_found_within_two_seconds(
    backend: Backend, connection: Connection
) -> None:
    asked = 0

    def answer_the_second(subject: str, reply: str, data: bytes, headers: object) -> None:
        nonlocal asked
        asked += 1
        if asked > 1:
            connection.publish_now(reply, "", service("slow"))

    await connection.subscribe(QUERY_TOPICS[0], answer_the_second)
    async with backend.registry.watch("slow") as sets:
        assert await anext(sets) == ()
        async with asyncio.timeout(2.0):
            [found] = await anext(sets)

    assert [node.id for node in found.nodes] == ["x"]


async def test_every_query_has_a_random_reply_subject(
    backend: Backend, connection: Connection
) -> None:
    queries = Inbox()
    await connection.subscribe(QUERY_TOPICS[0], queries)
    for name in ("one", "two"):
        await backend.registry.get_service(name)
    first, second = (message[1] for message in queries.messages)

    assert first.rpartition(".")[2] != second.rpartition(".")[2]
    assert min(len(token) for token in first.split(".")[1:] + second.split(".")[1:]) >= 22


async def test_a_process_that_saw_one_query_cannot_answer_another(
    backend: Backend, connection: Connection
) -> None:
    queries = Inbox()
    await connection.subscribe(QUERY_TOPICS[0], queries)
    await backend.registry.get_service("one")
    prefix = queries.messages[0][1].rpartition(".")[0]
    looking = asyncio.ensure_future(backend.registry.get_service("two"))
    await queries.wait_for(2)
    for token in ("0", "1", "2", "a"):
        connection.publish_now(f"{prefix}.{token}", "", service("two"))

    assert await looking == ()


async def test_hundreds_of_answers_are_read(backend: Backend, connection: Connection) -> None:
    def answer(subject: str, reply: str, data: bytes, headers: object) -> None:
        for number in range(500):
            connection.publish_now(reply, "", service("many", f"n{number}"))

    await connection.subscribe(QUERY_TOPICS[0], answer)
    [found] = await backend.registry.get_service("many")

    assert len(found.nodes) == 500


async def test_callers_of_a_query_that_fails_all_learn_why(
    backend: Backend, connection: Connection
) -> None:
    await connection.subscribe(QUERY_TOPICS[0], Inbox())
    looking = [asyncio.ensure_future(backend.registry.get_service("x")) for _ in range(3)]
    await asyncio.sleep(0)
    looking[0].cancel()
    found = await asyncio.gather(*looking, return_exceptions=True)

    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [(), ()]


@pytest.mark.parametrize("topic", QUERY_TOPICS)
async def test_answers_to_a_reply_subject_only(
    backend: Backend, connection: Connection, topic: str
) -> None:
    # A query without a reply subject is dropped without a word.
    connection.publish_now(topic, "", b'{"Service":null,"Action":"list"}')
    await connection.flush()
    await backend.check()
