"""A peer that says whatever it likes: bare nats-py, msgpack and json, nothing of the framework."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgpack
import nats

QUERIES = ("micro.registry.nats.query", "micro.nats.query")
WATCHES = ("micro.registry.nats.watch", "micro.nats.watch")
OURS = {"native": "1", "envelope": "msgpack"}


class Frame(NamedTuple):
    """Headers, body, and where an answer goes."""

    headers: dict[str, str]
    body: bytes
    to: str = ""
    binary: bool = True

    @property
    def id(self) -> str:
        return self.headers["Micro-Id"]


def pack(frame: Frame, **more: object) -> bytes:
    """A frame in its envelope, with more fields than there should be in one of JSON."""
    if frame.binary:
        return msgpack.packb([1, frame.headers, frame.body])
    body = base64.b64encode(frame.body).decode()
    return json.dumps({"Header": frame.headers, "Body": body, **more}).encode()


class Peer:
    """Serves `points` and calls other peers.

    Args:
        connection: Of nats-py.
        record: What it answers to registry queries, or nothing.
    """

    def __init__(self, connection: Any, record: Mapping[str, object] | None) -> None:
        self.nats = connection
        self.inbox = connection.new_inbox()
        self.requests: asyncio.Queue[Frame] = asyncio.Queue()
        self.answers: asyncio.Queue[Frame] = asyncio.Queue()
        self._record = record
        self._asked = 0

    async def open(self) -> None:
        await self.nats.subscribe("bare.points", cb=self._requested)
        await self.nats.subscribe(f"{self.inbox}.>", cb=self._answered)
        if self._record is not None:
            for subject in QUERIES:
                await self.nats.subscribe(subject, cb=self._queried)
        await self.nats.flush()

    async def request(self) -> Frame:
        """The next request."""
        async with asyncio.timeout(5):
            return await self.requests.get()

    async def reply(self, request: Frame, body: object, **headers: str) -> None:
        """Answer a request, once more if it was answered before."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        own = {"Micro-Id": request.id, "Content-Type": "application/json", **named}
        await self.say(request, Frame(own, json.dumps(body).encode(), binary=request.binary))

    async def say(self, request: Frame, frame: Frame | bytes, **more: object) -> None:
        """Send anything where a request came from."""
        data = frame if isinstance(frame, bytes) else pack(frame, **more)
        await self.nats.publish(request.to, data)
        await self.nats.flush()

    async def ask(self, address: str, frame: Frame, **more: object) -> None:
        """Send a frame to a listener, all of them on one socket."""
        self._asked += 1
        number = f".{self._asked}" if frame.binary else ""
        await self.nats.publish(address, pack(frame, **more), reply=f"{self.inbox}.0{number}")

    async def babble(self, address: str, data: bytes) -> None:
        """Send anything to a listener."""
        await self.nats.publish(address, data, reply=f"{self.inbox}.1.1")

    async def answer(self) -> Frame:
        """The next answer."""
        async with asyncio.timeout(5):
            return await self.answers.get()

    async def _queried(self, message: Any) -> None:
        await self.nats.publish(message.reply, json.dumps(self._record).encode())

    async def _requested(self, message: Any) -> None:
        for frame in _frames(message):
            if "Micro-Endpoint" in frame.headers:
                self.requests.put_nowait(frame)

    async def _answered(self, message: Any) -> None:
        for frame in _frames(message):
            self.answers.put_nowait(frame)


def _frames(message: Any) -> list[Frame]:
    if message.data[:1] == b"{":
        text = json.loads(message.data)
        body = base64.b64decode(text["Body"] or "")
        return [Frame(text["Header"], body, message.reply, binary=False)]
    to = message.reply.rpartition(".")[0]
    _, *parts = msgpack.unpackb(message.data) if message.data else [1]
    return [Frame(*part, to) for part in zip(parts[::2], parts[1::2], strict=False)]


def record_of(metadata: Mapping[str, str] | None, **more: object) -> dict[str, object]:
    """What a registry tells of the peer; `more` has fields that readers do not know."""
    node = {"id": "points-bare", "address": "bare.points", "metadata": metadata, **more}
    return {"name": "points", "version": "1", "metadata": None, "nodes": [node], **more}


@asynccontextmanager
async def run_peer(address: str, record: Mapping[str, object] | None = None) -> AsyncIterator[Peer]:
    """Run a peer for as long as the block lasts."""
    connection = await nats.connect(address)
    try:
        peer = Peer(connection, record)
        await peer.open()
        yield peer
    finally:
        await connection.close()
