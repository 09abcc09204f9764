from __future__ import annotations

import asyncio
import base64
import json
import urllib.request

import pytest

from micro import BadRequest, Client, DeadlineExceeded, InternalError, MicroError
from micro_nats.devserver import NatsServer
from tests.interop.gopeer import GoPeer, GoServer
from tests.interop.greeter import Req, Rsp

GO_CALLS, PYTHON_CALLS = "Go calls Python", "Python calls Go"
cell = pytest.mark.cell


@cell("unary call, JSON", GO_CALLS)
async def test_go_calls_python(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Hello", name="John")

    assert line == {"result": {"msg": "Hello John"}}


@cell("unary call, JSON", PYTHON_CALLS)
async def test_python_calls_go(client: Client, go_server: GoServer) -> None:
    answer = await client.call(go_server.name, "Greeter.Hello", Req(name="John"), Rsp)

    assert answer == Rsp(msg="Hello John")


@cell("error with code and detail", GO_CALLS)
async def test_go_receives_code_and_detail(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Fail", name="John")

    assert line["error"]["code"] == 400
    assert line["error"]["detail"] == "bad name John"
    assert line["error"]["id"] == "greeter"


@cell("error with code and detail", PYTHON_CALLS)
async def test_python_receives_code_and_detail(client: Client, go_server: GoServer) -> None:
    with pytest.raises(BadRequest, match="bad name John") as caught:
        await client.call(go_server.name, "Greeter.Fail", Req(name="John"), Rsp)

    assert caught.value.id == go_server.name


@cell("error with a code of one's own", GO_CALLS)
async def test_go_receives_any_code(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.FailWith", name="teapot", count=418)

    assert (line["error"]["code"], line["error"]["detail"]) == (418, "teapot")


@cell("error with a code of one's own", PYTHON_CALLS)
async def test_python_receives_any_code(client: Client, go_server: GoServer) -> None:
    with pytest.raises(MicroError, match="teapot") as caught:
        await client.call(go_server.name, "Greeter.FailWith", Req(name="teapot", count=418), Rsp)

    assert caught.value.code == 418


@cell("unexpected error", GO_CALLS)
async def test_go_receives_no_secrets(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Plain", name="John")

    assert (line["error"]["code"], line["error"]["detail"]) == (500, "the handler failed")


@cell("unexpected error", PYTHON_CALLS)
async def test_a_plain_go_error_is_a_500_with_its_text(client: Client, go_server: GoServer) -> None:
    with pytest.raises(InternalError, match="plain error for John"):
        await client.call(go_server.name, "Greeter.Plain", Req(name="John"), Rsp)


@cell("a handler that panics", PYTHON_CALLS, fault="W7: no answer; ends at the deadline")
async def test_a_go_panic_ends_at_the_deadline(client: Client, go_server: GoServer) -> None:
    with pytest.raises(DeadlineExceeded):
        await client.call(go_server.name, "Greeter.Panic", Req(name="x"), Rsp, timeout=0.3)


@cell("unknown endpoint", GO_CALLS)
async def test_go_receives_404_for_an_unknown_endpoint(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Nope")

    assert line["error"]["code"] == 404


@cell("unknown endpoint", PYTHON_CALLS)
async def test_python_receives_an_error_for_an_unknown_endpoint(
    client: Client, go_server: GoServer
) -> None:
    with pytest.raises(MicroError, match="can't find method Nope"):
        await client.call(go_server.name, "Greeter.Nope", Req(), Rsp)


@cell("headers of the application", GO_CALLS)
async def test_go_sends_headers(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Headers", "--header", "x-user=bob")

    assert line == {"result": {"msg": "bob"}}


@cell("headers of the application", PYTHON_CALLS)
async def test_python_sends_headers(client: Client, go_server: GoServer) -> None:
    headers = {"x-user": "bob"}
    answer = await client.call(go_server.name, "Greeter.Headers", Req(), Rsp, headers=headers)

    assert answer.msg == "bob"


@cell("bytes", GO_CALLS)
async def test_go_sends_bytes(go: GoPeer, python_events: object) -> None:
    (line,) = await go.run(
        *("call", "--endpoint", "Greeter.Raw", "--json", "raw bytes"),
        *("--content-type", "application/octet-stream"),
    )

    assert base64.b64decode(line["result"]) == b"raw bytes"


@cell("bytes", PYTHON_CALLS)
async def test_python_sends_bytes(client: Client, go_server: GoServer) -> None:
    kind = "application/octet-stream"
    answer = await client.call(go_server.name, "Greeter.Raw", b"\x00\xff", bytes, content_type=kind)

    assert answer == b"\x00\xff"


@cell("json-rpc, the oldest dialect", GO_CALLS)
async def test_go_calls_in_json_rpc(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Hello", "--content-type", "application/json-rpc", name="John")

    assert line == {"result": {"msg": "Hello John"}}


@cell("json-rpc, the oldest dialect", GO_CALLS)
async def test_go_receives_errors_in_json_rpc(go: GoPeer, python_events: object) -> None:
    line = await go.call("Greeter.Fail", "--content-type", "application/json-rpc", name="John")

    assert "bad name John" in line["error"]["detail"]


@cell("many calls at once over one connection", PYTHON_CALLS)
async def test_many_calls_share_one_connection(
    client: Client, go_server: GoServer, nats_server: NatsServer
) -> None:
    before = connections(nats_server)
    requests = [
        client.call(go_server.name, "Greeter.Slow", Req(name=str(number), count=50), Rsp)
        for number in range(200)
    ]
    answers = await asyncio.gather(*requests)

    assert [answer.msg for answer in answers] == [f"Hello {number}" for number in range(200)]
    assert connections(nats_server) == before


@pytest.mark.parametrize(
    "calls",
    [20_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(180)])],
)
@cell("20,000 (slow: 100,000) calls leave nothing behind", PYTHON_CALLS)
async def test_a_go_server_does_not_grow_under_many_calls(
    client: Client, go_server: GoServer, calls: int
) -> None:
    async def work(calls: int) -> None:
        for _ in range(calls):
            await client.call(go_server.name, "Greeter.Hello", Req(name="x"), Rsp, timeout=30)

    await work(10)
    before = await asyncio.to_thread(go_server.goroutines)
    await asyncio.gather(*(work(calls // 50) for _ in range(50)))
    after = await asyncio.to_thread(go_server.goroutines)

    assert after <= before + 10


def connections(server: NatsServer) -> int:
    with urllib.request.urlopen(f"{server.monitor}/connz", timeout=5) as answer:
        return int(json.load(answer)["num_connections"])
