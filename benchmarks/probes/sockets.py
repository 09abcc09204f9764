"""What an open, idle socket costs in memory at either end.

    python -m benchmarks.probes.sockets --address ... --server PID --count 10000

Each is a socket with the engine's own ends, a channel at either end, over which one
call was made; memory is what the processes grew by.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from benchmarks.models import QUESTION
from benchmarks.peer import runner
from micro import load_settings
from micro.client.channel import Channel
from micro.client.pending import expire_reply
from micro.concurrency.timers import Timers
from micro.deadline import Deadline
from micro.plugins import Backends
from micro.registry.record import Node
from micro.wire.headers import request_headers

_AT_ONCE = 100
_WARM_UP = 200
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _memory(pid: int | str) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


async def _main(args: argparse.Namespace) -> None:
    settings = load_settings(["--transport_address", args.address], {})
    async with AsyncExitStack() as stack:
        backends = await stack.enter_async_context(Backends(name="sockets", settings=settings))
        transport = await backends.transport()
        registry = await backends.registry()
        (record,) = await registry.get_service("bench")
        opening = Opening(transport, record.nodes[0])
        # What grows only once, pools and buffers for example, grows now.
        kept = await opening.open(_WARM_UP)
        gc.collect()
        before = _memory("self"), _memory(args.server)
        kept += await opening.open(args.count)
        gc.collect()
        after = _memory("self"), _memory(args.server)
        line = {
            "socket_client_bytes": (after[0] - before[0]) / args.count,
            "socket_server_bytes": (after[1] - before[1]) / args.count,
        }
        print(json.dumps(line), flush=True)
        for channel in kept:
            channel.socket.close()
        opening.timers.close()


class Opening:
    """Opens sockets to one node, and makes one call over each."""

    def __init__(self, transport: Any, node: Node) -> None:
        self.timers: Timers[Any] = Timers(expire_reply)
        self._transport = transport
        self._node = node

    async def open(self, count: int) -> list[Channel]:
        found: list[Channel] = []
        for _ in range(0, count, _AT_ONCE):
            async with asyncio.TaskGroup() as tasks:
                opened = [tasks.create_task(self._one()) for _ in range(_AT_ONCE)]
            found += [task.result() for task in opened]
        return found

    async def _one(self) -> Channel:
        channel = Channel(
            timers=self.timers, metadata=self._node.metadata, on_closed=lambda _: None
        )
        channel.attach(
            await self._transport.dial(self._node.address, channel, metadata=self._node.metadata)
        )
        headers = request_headers("bench", "Bench.Ask", "application/json", native=True)
        await channel.call(headers, QUESTION, Deadline.after(30))
        return channel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--address", required=True)
    parser.add_argument("--server", required=True, type=int)
    parser.add_argument("--count", type=int, default=10_000)
    runner()(_main(parser.parse_args()))


if __name__ == "__main__":
    main()
