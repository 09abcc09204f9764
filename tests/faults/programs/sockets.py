"""Sockets in numbers: serves them, or opens them as `sockets dial <address> <count>`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from pydantic import BaseModel

from micro import Message, Service
from micro.backend import BackendOptions
from micro.errors import TransportError
from micro.transport.contract import Receiver
from micro_nats.backend import open_nats

service = Service("points", version="1.0.0")


class Job(BaseModel):
    number: int = 0


@service.handler(idempotent=True)
async def read(job: Job) -> Job:
    return job


@service.handler
async def tick(job: Job) -> AsyncIterator[int]:
    """Send a number, then nothing more."""
    yield job.number
    await asyncio.Event().wait()


@service.handler
async def pour(job: Job) -> AsyncIterator[str]:
    """Say more than anybody reads."""
    while True:
        yield "x" * job.number


@service.handler
async def count() -> dict[str, int]:
    """What is open: sockets, and calls and streams on them."""
    transport = service.client.transport
    sockets = [s for each in transport._listeners.values() for s in each.sockets.values()]
    calls = sum(len(each._receiver.calls) for each in sockets)
    return {"sockets": len(sockets), "calls": calls}


class Deaf(Receiver):
    """A receiver that ignores what it receives."""

    def received(self, messages: Sequence[Message]) -> None:
        """Hear nothing."""

    def closed(self, error: TransportError) -> None:
        """Mind nothing."""


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def dial(address: str, count: int) -> None:
    logging.disable(logging.WARNING)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_nats(BackendOptions(addresses=(address,), name="many")) as backend:
        (record,) = await backend.registry.get_service("points")
        (node,) = record.nodes
        started, memory = time.monotonic(), resident()
        sockets = []
        for _ in range(count):
            socket = await backend.transport.dial(node.address, Deaf(), metadata=node.metadata)
            socket.send(Message({"Micro-Id": "", "Micro-Signal": "ping"}, b""))
            sockets.append(socket)
        await backend.check()
        seconds, each = time.monotonic() - started, (resident() - memory) / count
        print(f"opened {seconds:.3f} {each:.0f}", file=sys.stderr)
        await stop.wait()
        for socket in sockets:
            socket.close()


if __name__ == "__main__":
    if sys.argv[1] == "dial":
        asyncio.run(dial(sys.argv[2], int(sys.argv[3])))
    else:
        service.run()
