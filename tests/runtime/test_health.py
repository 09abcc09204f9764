"""The health server, on both event loops, with polite and impolite clients."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from micro.errors import ConfigError, Unavailable
from micro.runtime import pages
from micro.runtime.health import serve_health
from tests.loops import both_loops, run_on


async def ask(address: str, request: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def well() -> None:
    return None


async def ill() -> None:
    raise Unavailable("no round trip")


def answer_to(loop: str, request: bytes, ready: Callable[[], Coroutine[Any, Any, None]]) -> bytes:
    async def work() -> bytes:
        async with serve_health("127.0.0.1:0", ready) as address:
            return await ask(address, request)

    answer: bytes = run_on(loop, work)
    return answer


@both_loops
def test_a_live_process_answers_livez(loop: str) -> None:
    answer = answer_to(loop, b"GET /livez HTTP/1.1\r\n\r\n", ill)

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@both_loops
@pytest.mark.parametrize(("ready", "status"), [(well, b"200 OK"), (ill, b"503 Service")])
def test_readyz_tells_what_the_check_found(loop: str, ready: Any, status: bytes) -> None:
    answer = answer_to(loop, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", ready)

    assert answer.startswith(b"HTTP/1.1 " + status)


@both_loops
def test_a_head_request_gets_no_body(loop: str) -> None:
    assert answer_to(loop, b"HEAD /livez HTTP/1.1\r\n\r\n", well).endswith(b"\r\n\r\n")


@both_loops
@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\n\r\n", b"400"),
        (b"POST /livez HTTP/1.1\r\n\r\n" + b"x" * 30_000, b"400"),
        (b"\x00\xff nonsense\r\n\r\n", b"400"),
        (b"GET /secrets HTTP/1.1\r\n\r\n", b"404"),
        (b"x" * 10_000, b"400"),
    ],
)
def test_a_bad_request_gets_an_error_status(loop: str, request_: bytes, status: bytes) -> None:
    assert answer_to(loop, request_, well).split(b" ")[1] == status


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:99999", "127.0.0.1:x"])
async def test_an_address_that_cannot_be_bound_is_a_config_error(address: str) -> None:
    with pytest.raises(ConfigError, match="health_address"):
        async with serve_health(address, well):
            pass


async def test_a_check_that_raises_anything_is_a_503_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken() -> None:
        raise KeyError("secret")

    async with serve_health("127.0.0.1:0", broken) as address:
        answers = [await ask(address, b"GET /readyz HTTP/1.1\r\n\r\n") for _ in range(2)]

    assert all(answer.endswith(b"the check failed: KeyError\n") for answer in answers)
    assert "the check of readiness failed" in caplog.text


async def test_probes_that_come_together_share_one_check() -> None:
    checks, go = 0, asyncio.Event()

    async def slow() -> None:
        nonlocal checks
        checks += 1
        await go.wait()

    async with serve_health("127.0.0.1:0", slow) as address, asyncio.TaskGroup() as tasks:
        asked = [
            tasks.create_task(ask(address, b"GET /readyz HTTP/1.1\r\n\r\n")) for _ in range(20)
        ]
        while len(asyncio.all_tasks()) < 20:  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.1, go.set)

    assert {task.result().split(b" ")[1] for task in asked} == {b"200"}
    assert checks <= 2


@both_loops
def test_idle_connections_do_not_keep_a_probe_out(loop: str) -> None:
    async def work() -> tuple[bytes, int]:
        async with serve_health("127.0.0.1:0", well) as address:
            idle = [await connect(address) for _ in range(3 * pages.MAX_CONNECTIONS)]
            answer = await ask(address, b"GET /readyz HTTP/1.1\r\n\r\n")
            dropped = idle[: 2 * pages.MAX_CONNECTIONS]
            ends = await asyncio.gather(
                *(reader.read() for reader, _ in dropped), return_exceptions=True
            )
            for _, writer in idle:
                writer.close()
        return answer, len(ends)

    answer, dropped = run_on(loop, work)

    assert answer.startswith(b"HTTP/1.1 200")
    assert dropped == 2 * pages.MAX_CONNECTIONS


@both_loops
def test_a_body_that_pours_in_is_cut_off_and_not_kept(loop: str) -> None:
    async def pour(address: str) -> int:
        _, writer = await connect(address)
        writer.write(b"GET /readyz HTTP/1.1\r\n\r\n")
        sent = 0
        try:
            for _ in range(256):
                writer.write(b"x" * 65_536)
                sent += 65_536
                await writer.drain()
        except ConnectionError:
            writer.close()
            return sent
        writer.close()
        return sent

    async def work() -> int:
        async with serve_health("127.0.0.1:0", well) as address:
            tracemalloc.start()
            await asyncio.gather(*(pour(address) for _ in range(10)))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return peak

    # 160 MB are on offer; what counts here are the buffers of both ends.
    assert run_on(loop, work) < 20_000_000
