from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from micro import Client
from tests.interop.gopeer import GoPeer, GoServer
from tests.interop.greeter import Req, Rsp

GO_CALLS, PYTHON_CALLS = "Go calls Python", "Python calls Go"
cell = pytest.mark.cell


def items(lines: list[dict[str, dict[str, str]]]) -> list[str]:
    return [line["item"]["msg"] for line in lines if "item" in line]


@cell("server stream", GO_CALLS)
async def test_go_reads_a_stream_of_python(go: GoPeer, python_events: object) -> None:
    text = '{"name": "John", "count": 20}'
    lines = await go.run("stream", "--endpoint", "Greeter.Count", "--json", text)

    assert items(lines) == [f"item {number}" for number in range(20)]
    assert lines[-1] == {"event": "end"}


@cell("server stream", PYTHON_CALLS)
async def test_python_reads_a_stream_of_go(client: Client, go_server: GoServer) -> None:
    request = Req(name="John", count=10)
    async with client.stream(go_server.name, "Greeter.CountSlow", request, Rsp) as answers:
        found = [answer.msg async for answer in answers]

    assert found == [f"item {number}" for number in range(10)]


@cell(
    "server stream, items without a pause",
    PYTHON_CALLS,
    fault="W1: items overwritten by later ones",
)
async def test_go_overwrites_items_without_a_pause(client: Client, go_server: GoServer) -> None:
    request = Req(name="John", count=3)
    async with client.stream(go_server.name, "Greeter.Count", request, Rsp) as answers:
        found = [answer.msg async for answer in answers]

    assert len(found) == 3
    assert found[-1] == "item 2"


@cell("server stream, items without a pause", GO_CALLS)
async def test_python_overwrites_no_item(go: GoPeer, python_events: object) -> None:
    text = '{"name": "John", "count": 500}'
    lines = await go.run("stream", "--endpoint", "Greeter.Count", "--json", text)

    assert items(lines) == [f"item {number}" for number in range(500)]


@cell("error in a stream", GO_CALLS)
async def test_go_receives_an_error_in_a_stream(go: GoPeer, python_events: object) -> None:
    lines = await go.run("stream", "--endpoint", "Greeter.BreakOff", "--json", "{}")

    assert items(lines) == ["item 0"]
    assert "broken off" in lines[-1]["error"]["detail"]


@cell("client stream", GO_CALLS)
async def test_go_streams_to_python(go: GoPeer, python_events: object) -> None:
    lines = await go.run(
        *("stream", "--endpoint", "Greeter.Collect", "--mode", "client", "--send", "3"),
        *("--json", '{"name": "n"}'),
    )

    assert items(lines) == ["n 0,n 1,n 2"]


@cell("client stream", PYTHON_CALLS)
async def test_python_streams_to_go(client: Client, go_server: GoServer) -> None:
    async def requests() -> AsyncIterator[Req]:
        for number in range(3):
            yield Req(name=f"n {number}", count=3)

    async with client.stream(go_server.name, "Greeter.Collect", requests(), Rsp) as answers:
        answer = await answers.receive()

    assert answer.msg == "n 0,n 1,n 2"


@cell("bidirectional stream", GO_CALLS)
async def test_go_chats_with_python(go: GoPeer, python_events: object) -> None:
    lines = await go.run(
        *("stream", "--endpoint", "Greeter.Chat", "--mode", "bidi", "--send", "5"),
        *("--json", '{"name": "n"}'),
    )

    assert items(lines) == [f"echo n {number}" for number in range(5)]


@cell("bidirectional stream", PYTHON_CALLS)
async def test_python_chats_with_go(client: Client, go_server: GoServer) -> None:
    found = []
    async with client.stream(go_server.name, "Greeter.Chat", None, Rsp) as answers:
        for number in range(5):
            await answers.send(Req(name=f"n {number}"))
            found.append((await answers.receive()).msg)

    assert found == [f"echo n {number}" for number in range(5)]


@pytest.mark.slow
@pytest.mark.timeout(120)
@cell("a stream quiet for longer than a minute", PYTHON_CALLS)
async def test_a_quiet_stream_survives(client: Client, go_server: GoServer) -> None:
    request = Req(name="John", count=70)
    async with client.stream(go_server.name, "Greeter.Idle", request, Rsp) as answers:
        found = [answer.msg async for answer in answers]

    assert found == ["before", "after"]
