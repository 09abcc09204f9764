"""What a peer's module offers, and the program round it.

    python -m benchmarks.peer MODULE server --address nats://127.0.0.1:4222
    python -m benchmarks.peer MODULE client --address ... --case unary --concurrency 64

A server prints `ready ADDRESS` when it serves, with the address that its clients are to be given,
and runs until its input ends. A client prints one JSON line. Peers in other languages do the same.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, cast

from benchmarks.load import Result, burst, unary_load

__all__ = ["TOPIC", "Peer", "PeerClient", "runner"]

TOPIC = "bench.event"


class PeerClient(ABC):
    """The client's side of a peer; a case that it lacks raises NotImplementedError."""

    @abstractmethod
    async def call(self) -> object:
        """One request with a name and a number, and its reply."""

    async def payload(self, data: str) -> object:
        """One request with a long text, echoed."""
        raise NotImplementedError

    async def publish(self, count: int) -> None:
        """Publish so many events, then see that the broker has them."""
        raise NotImplementedError

    def subscribe(self, count: int) -> AbstractAsyncContextManager[asyncio.Event]:
        """Subscribe; the event is set when `count` events were handled."""
        raise NotImplementedError

    async def server_stream(self, count: int) -> None:
        """Receive so many items."""
        raise NotImplementedError

    async def client_stream(self, count: int) -> None:
        """Send so many items and wait for the one answer."""
        raise NotImplementedError

    async def bidirectional(self, count: int) -> None:
        """Have so many items echoed."""
        raise NotImplementedError


class Peer(ABC):
    """One library."""

    name: str

    @abstractmethod
    def serve(self, address: str) -> AbstractAsyncContextManager[str | None]:
        """Serve inside a block; gives where clients connect, if that is not the broker."""

    @abstractmethod
    def connect(self, address: str) -> AbstractAsyncContextManager[PeerClient]:
        """A client inside a block."""


async def _serve(peer: Peer, address: str) -> None:
    async with peer.serve(address) as own:
        print("ready", own or address, flush=True)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, sys.stdin.read)


async def _drive(peer: Peer, args: argparse.Namespace) -> Result:
    async with peer.connect(args.address) as client:
        if args.case == "unary":
            return await unary_load(client.call, args.concurrency, args.seconds)
        if args.case == "payload":
            data = "x" * args.size
            return await unary_load(lambda: client.payload(data), args.concurrency, args.seconds)
        if args.case == "events":
            return await _events(peer, client, args)
        many = getattr(client, args.case)
        warm = args.count // 10
        await many(warm)
        return await burst(args.count, lambda: many(args.count), warm=warm)


async def _events(peer: Peer, client: PeerClient, args: argparse.Namespace) -> Result:
    """Publish here, handle in other processes, until each of them has handled everything."""
    subscribers = [await _subscriber(args) for _ in range(args.concurrency)]

    async def all_done() -> None:
        await client.publish(args.count)
        for process in subscribers:
            assert process.stdout is not None
            await process.stdout.readline()

    result = await burst(args.count * args.concurrency, all_done)
    for process in subscribers:
        await process.wait()
    return result


async def _subscriber(args: argparse.Namespace) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.peer", args.module, "subscriber"),
        *("--address", args.address, "--count", str(args.count)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def _subscribe(peer: Peer, args: argparse.Namespace) -> None:
    async with peer.connect(args.address) as client, client.subscribe(args.count) as done:
        print("ready", flush=True)
        async with asyncio.timeout(60):
            await done.wait()
        print("done", flush=True)


async def _main(args: argparse.Namespace) -> None:
    peer: Peer = importlib.import_module(f"benchmarks.peers.{args.module}").PEER
    if args.role == "server":
        await _serve(peer, args.address)
    elif args.role == "subscriber":
        await _subscribe(peer, args)
    else:
        print(json.dumps((await _drive(peer, args)).as_dict()), flush=True)


def runner() -> Callable[[Coroutine[object, object, None]], None]:
    """The event loop that every Python peer runs on: uvloop where it is installed."""
    try:
        return cast(Any, importlib.import_module("uvloop")).run
    except ImportError:
        return asyncio.run


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("role", choices=["server", "client", "subscriber"])
    parser.add_argument("--address", required=True)
    parser.add_argument("--case", default="unary")
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=100)
    return parser.parse_args()


def main() -> None:
    runner()(_main(_arguments()))


if __name__ == "__main__":
    main()
