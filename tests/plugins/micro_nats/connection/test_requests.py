from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from micro.backend import BackendOptions
from micro.concurrency.budget import process_budget
from micro.errors import (
    ConnectionLost,
    DeadlineExceeded,
    InvalidName,
    NoResponders,
    ResourceExhausted,
)
from micro.scope import open_scope
from micro_nats.connection.connection import Connection, open_connection
from micro_nats.connection.requests import MAX_PENDING_BYTES, Intake, Requests
from micro_nats.devserver import NatsServer, run_server
from tests.plugins.micro_nats.helpers import Inbox


@pytest.fixture
def requests(connection: Connection) -> Requests:
    return Requests(connection)


@pytest.fixture
async def echo(connection: Connection) -> AsyncIterator[Requests]:
    """Answers each message on `echo` with its payload and headers."""
    answering = Requests(connection)

    def answer(subject: str, reply: str, data: bytes, headers: dict[str, str] | None) -> None:
        answering.publish(reply, data, headers=headers)

    subscription = await connection.subscribe("echo", answer)
    yield answering
    subscription.unsubscribe()


async def test_a_request_gets_its_own_answer(requests: Requests, echo: Requests) -> None:
    async with open_scope() as scope:
        asked = [
            scope.start(requests.request("echo", b"%d" % n, timeout=5, headers={"N": f"{n} é"}))
            for n in range(100)
        ]
        answers = [await each for each in asked]

    assert [answer.payload for answer in answers] == [b"%d" % n for n in range(100)]
    assert [answer.headers for answer in answers] == [{"N": f"{n} é"} for n in range(100)]
    assert answers[0].status == 0


async def test_jetstream_answers_a_request_of_its_api() -> None:
    async with (
        run_server(jetstream=True) as server,
        open_connection(BackendOptions(addresses=(server.address,))) as connection,
    ):
        answer = await Requests(connection).request("$JS.API.INFO", timeout=5)

    info = json.loads(answer.payload)
    assert info["type"] == "io.nats.jetstream.api.v1.account_info_response"
    assert info["streams"] == 0


async def test_no_one_listening_is_an_error_at_once(requests: Requests) -> None:
    with pytest.raises(NoResponders, match=r"no\.one\.here") as told:
        await requests.request("no.one.here", timeout=60)

    assert told.value.refused


async def test_no_answer_is_an_error_in_time(requests: Requests, connection: Connection) -> None:
    await connection.subscribe("silent", Inbox())
    with pytest.raises(DeadlineExceeded, match=r"silent.*0\.05 s"):
        await requests.request("silent", timeout=0.05)

    assert requests._waiting == {}


async def test_a_late_answer_does_no_harm(requests: Requests, connection: Connection) -> None:
    asked = Inbox()
    await connection.subscribe("late", asked)
    with pytest.raises(DeadlineExceeded):
        await requests.request("late", timeout=0.05)
    connection.publish_now(asked.messages[0][1], "", b"late")
    await connection.flush()

    assert connection.connected


async def test_a_lost_connection_ends_a_request(requests: Requests, connection: Connection) -> None:
    await connection.subscribe("silent", Inbox())
    async with open_scope() as scope:
        asked = scope.start(_error_of(requests.request("silent", timeout=60)))
        await asyncio.sleep(0)
        await connection.flush()
        connection._link.fail(ConnectionLost("cut"))

        assert type(await asked) is ConnectionLost


async def _error_of(request) -> Exception | None:
    try:
        await request
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB x 0\r\n", "a..b", ".a", "a.", "a\0"])
async def test_a_subject_that_would_break_the_protocol_is_refused(
    requests: Requests, subject: str
) -> None:
    with pytest.raises(InvalidName):
        requests.publish(subject)
    with pytest.raises(InvalidName):
        await requests.request(subject, timeout=1)


@pytest.mark.parametrize(
    "headers", [{"a b": ""}, {"": ""}, {"a:": ""}, {"a": "x\r\nb: y"}, {"é": ""}, {"a\n": ""}]
)
async def test_a_header_that_would_break_the_protocol_is_refused(
    requests: Requests, headers: dict[str, str]
) -> None:
    with pytest.raises(InvalidName):
        requests.publish("subject", headers=headers)


async def test_a_subscription_is_read_in_order(requests: Requests) -> None:
    async with requests.subscribe("ordered.*") as intake:
        for number in range(500):
            requests.publish(f"ordered.{number}", b"%d" % number, reply="answers")
        got = [await anext(intake) for _ in range(500)]

    assert [message.payload for message in got] == [b"%d" % n for n in range(500)]
    assert (got[7].subject, got[7].reply) == ("ordered.7", "answers")


async def test_a_slow_reader_learns_that_messages_are_lost(
    requests: Requests, connection: Connection
) -> None:
    got = []
    async with requests.subscribe("flood", max_pending=10) as intake:
        for number in range(100):
            requests.publish("flood", b"%d" % number)
        await connection.flush()
        got.extend([(await anext(intake)).payload for _ in range(10)])
        with pytest.raises(ResourceExhausted, match="flood"):
            await anext(intake)

    assert got == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("place", ["payload", "headers"])
async def test_what_waits_to_be_read_is_bounded_in_bytes(
    place: str, connection: Connection
) -> None:
    mebibyte = 1 << 20
    payload = bytes(mebibyte) if place == "payload" else b""
    intake = Intake("large", max_pending=1000)
    for _ in range(100):
        headers = {"X": "x" * mebibyte} if place == "headers" else None
        intake.on_message("large", "", payload, headers)
    # A message of one MiB in headers is a byte larger than that: the header's name.
    kept = 64 if place == "payload" else 63
    for _ in range(kept):
        await anext(intake)
    with pytest.raises(ResourceExhausted, match=f"{MAX_PENDING_BYTES} bytes on 'large'"):
        await anext(intake)
    intake.close()


async def test_bytes_that_were_read_count_no_more() -> None:
    intake = Intake("large", max_pending=1000)
    payload = bytes(MAX_PENDING_BYTES // 2)
    for _ in range(5):
        intake.on_message("large", "", payload, {"X": "x"})
        message = await anext(intake)
        assert len(message.payload) == len(payload)


async def test_all_intakes_share_the_budget_of_the_process(
    requests: Requests, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = process_budget().held
    monkeypatch.setattr(process_budget(), "limit", held + 1500)
    async with requests.subscribe("one") as one, requests.subscribe("two") as two:
        for subject in ("one", "two"):
            requests.publish(subject, bytes(1000))
        await connection.flush()
        with pytest.raises(ResourceExhausted, match="the process held"):
            await anext(two)
        assert process_budget().held == held + 1000
        del one

    assert process_budget().held == held


async def test_leaving_the_block_unsubscribes(server: NatsServer, requests: Requests) -> None:
    async with requests.subscribe("once"):
        assert (await _error_of(requests.request("once", timeout=0.01))).code == 408
    with pytest.raises(NoResponders):
        await requests.request("once", timeout=5)


async def test_answers_have_an_inbox_of_their_own(requests: Requests, echo: Requests) -> None:
    answer = await requests.request("echo", timeout=5)

    assert answer.subject.startswith(requests._prefix)
    assert requests.new_inbox() != requests.new_inbox()
