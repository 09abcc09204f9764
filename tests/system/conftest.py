"""Services in processes of their own, on a real nats-server of the test's own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from micro import Client, Settings, open_client
from micro.broker.contract import Delivery
from micro.codec import JsonCodec
from micro.testing import Signal
from micro_nats.devserver import NatsServer, run_server

PROGRAMS = Path(__file__).with_name("programs")


class Program:
    """One process, and the lines it has written on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, text: str, seconds: float = 15) -> str:
        """Wait for a line with a text."""
        assert self.process.stderr is not None
        async with asyncio.timeout(seconds):
            while line := (await self.process.stderr.readline()).decode():
                self.lines.append(line)
                if text in line:
                    return line
        raise AssertionError(f"it ended without {text!r}: {''.join(self.lines)}")

    def signal(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        async with asyncio.timeout(15):
            _, err = await self.process.communicate()
        self.lines += err.decode().splitlines(keepends=True)
        return self.process.returncode or 0

    async def stop(self) -> int:
        """Stop it in good order; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    @property
    def log(self) -> str:
        return "".join(self.lines)


Start = Callable[..., Coroutine[Any, Any, Program]]


@pytest.fixture
async def server() -> AsyncIterator[NatsServer]:
    async with run_server() as server:
        yield server


@pytest.fixture
async def launch() -> AsyncIterator[Start]:
    """Starts a program without waiting for anything; what still runs at the end is killed."""
    async with AsyncExitStack() as stack:

        async def start(name: str, *argv: str) -> Program:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(PROGRAMS / name),
                *argv,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            program = Program(process)
            stack.push_async_callback(_end, program)
            return program

        yield start


@pytest.fixture
async def start(launch: Start, server: NatsServer) -> Start:
    """Starts a program on the server, and waits until it is ready."""

    async def start(name: str, *argv: str) -> Program:
        program = await launch(name, f"--transport_address={server.address}", *argv)
        await program.until("ready: ")
        return program

    return start


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[Client]:
    address = (server.address,)
    settings = Settings(transport_address=address, broker_address=address, registry_address=address)
    async with open_client(settings) as client:
        yield client


class Ear:
    """Hears the events on a topic; each is kept as what it was written from."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._signal = Signal()
        self._decode = JsonCodec().decoder(Any)

    def __call__(self, delivery: Delivery) -> None:
        self.heard.append(self._decode(delivery.message.body))
        self._signal.set()

    async def until(self, count: int) -> list[Any]:
        """Wait for so many events in all."""
        await self._signal.until(lambda: len(self.heard) >= count, lambda: str(self.heard))
        return self.heard


Listen = Callable[[str], Coroutine[Any, Any, Ear]]


@pytest.fixture
async def listen(client: Client) -> AsyncIterator[Listen]:
    async with AsyncExitStack() as stack:

        async def listen(topic: str) -> Ear:
            ear = Ear()
            subscription = await client.broker.subscribe(topic, ear)
            await stack.enter_async_context(subscription)
            return ear

        yield listen


async def _end(program: Program) -> None:
    if program.process.returncode is None:
        program.process.kill()
        await program.process.communicate()
