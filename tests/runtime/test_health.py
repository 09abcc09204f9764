from __future__ import annotations

import asyncio

import pytest

from micro.errors import ConfigError, Unavailable
from micro.runtime.health import serve_health


async def ask(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def well() -> None:
    return None


async def ill() -> None:
    raise Unavailable("no round trip")


async def test_a_live_process_answers_livez() -> None:
    async with serve_health("127.0.0.1:0", ill) as address:
        answer = await ask(address, b"GET /livez HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize(("ready", "status"), [(well, b"200 OK"), (ill, b"503 Service")])
async def test_readyz_tells_what_the_check_found(ready, status: bytes) -> None:
    async with serve_health("127.0.0.1:0", ready) as address:
        answer = await ask(address, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 " + status)


async def test_a_head_request_gets_no_body() -> None:
    async with serve_health("127.0.0.1:0", well) as address:
        answer = await ask(address, b"HEAD /livez HTTP/1.1\r\n\r\n")

    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"\x00\xff garbage\r\n\r\n", b"400"),
        (b"GET /secrets HTTP/1.1\r\n\r\n", b"404"),
        (b"x" * 10_000, b"400"),
    ],
)
async def test_nonsense_is_answered_in_kind(request_: bytes, status: bytes) -> None:
    async with serve_health("127.0.0.1:0", well) as address:
        answer = await ask(address, request_)

    assert answer.split(b" ")[1] == status


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "127.0.0.1:x"])
async def test_an_address_that_cannot_be_bound_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="health_address"):
        async with serve_health(address, well):
            pass
