"""The contract with nats-py's private names: a release that changes one must fail here."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from micro.errors import ConnectionLost
from micro.scope import open_scope
from micro_nats.connection.handshake import greet
from micro_nats.devserver import NatsServer

INFO = b'INFO {"max_payload":1048576,"headers":true}\r\n'


class Speaker:
    """A server that answers the greeting as it is told to."""

    def __init__(self, *answer: bytes) -> None:
        self._answer = answer
        self.closed = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        while b"PING" not in await reader.readline():
            pass
        for part in self._answer:
            writer.write(part)
        if not self._answer:
            writer.close()
        with suppress(ConnectionError):
            await reader.read()
        self.closed.set()
        writer.close()


class Pong:
    """Receives bytes until the answer to a ping is among them."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self.errors: list[Exception] = []
        self._data = b""

    def __call__(self, data: bytes) -> None:
        self._data += data
        if b"PONG\r\n" in self._data:
            self.answered.set()


async def start(speaker: Speaker) -> tuple[asyncio.Server, str]:
    server = await asyncio.start_server(speaker, "127.0.0.1", 0)
    return server, f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_open_connection_is_handed_over(server: NatsServer) -> None:
    async with open_scope() as scope:
        before = asyncio.all_tasks()
        greeting = await greet(server.address, {}, scope=scope)
        left = asyncio.all_tasks() - before
        inbox = Pong()
        greeting.stream.start(inbox, inbox.errors.append)
        greeting.stream.write(b"PING\r\n")
        await inbox.answered.wait()
        await greeting.stream.close(1.0)

    assert left == set()
    assert greeting.info["max_payload"] == 1 << 20


async def test_bytes_that_were_read_already_are_handed_over() -> None:
    speaker = Speaker(b"+OK\r\n" + INFO, b"PONG\r\nMSG a 1 1\r\nx\r\n", b"MSG")
    listener, url = await start(speaker)
    async with listener, open_scope() as scope:
        greeting = await greet(url, {}, scope=scope)
        got, errors = [], []
        greeting.stream.start(got.append, errors.append)
        await greeting.stream.close(1.0)
        await speaker.closed.wait()
        listener.close()

    assert b"".join(got).startswith(b"+OK\r\n" + INFO + b"MSG a 1 1\r\nx\r\n")


@pytest.mark.parametrize("answer", [(), (b"-ERR 'Authorization Violation'\r\n",)])
async def test_a_failed_greeting_leaves_nothing_open(answer: tuple[bytes, ...]) -> None:
    speaker = Speaker(*answer)
    listener, url = await start(speaker)
    async with listener, open_scope() as scope:
        with pytest.raises(Exception, match=r"greeting|Authorization|closed|empty"):
            await greet(url, {}, scope=scope)
        await speaker.closed.wait()
        listener.close()


async def test_a_server_that_never_answers_the_greeting_is_left_in_bounds() -> None:
    speaker = Speaker(b"+OK\r\n" * 20_000)
    listener, url = await start(speaker)
    async with listener, open_scope() as scope:
        with pytest.raises(ConnectionLost):
            await greet(url, {"connect_timeout": 5}, scope=scope)
        await speaker.closed.wait()
        listener.close()
