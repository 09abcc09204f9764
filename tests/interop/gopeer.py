"""The Go programs of `tests/interop/go`, run as servers and as clients."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import threading
from pathlib import Path
from queue import Queue
from typing import Any

__all__ = ["GoPeer", "GoServer", "end", "next_line"]

_RUN_SECONDS = 40


class GoPeer:
    """One generation's program, for one NATS server."""

    def __init__(self, generation: str, binary: Path, address: str) -> None:
        self.generation = generation
        self._binary = binary
        self._address = address

    def command(self, verb: str, *arguments: str) -> list[str]:
        return [str(self._binary), verb, "--address", self._address, *arguments]

    async def run(self, verb: str, *arguments: str) -> list[dict[str, Any]]:
        """Run it to its end; gives the lines that it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.command(verb, *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(_RUN_SECONDS):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return [json.loads(line) for line in out.splitlines()]

    async def call(self, endpoint: str, *arguments: str, **body: Any) -> Any:
        """Call an endpoint of `greeter`; gives `{"result": ...}` or `{"error": ...}`."""
        text = json.dumps(body)
        (line,) = await self.run("call", "--endpoint", endpoint, "--json", text, *arguments)
        return line

    async def start(self, verb: str, *arguments: str) -> asyncio.subprocess.Process:
        """Start it; its output is read with `next_line`."""
        return await asyncio.create_subprocess_exec(
            *self.command(verb, *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )


async def next_line(process: asyncio.subprocess.Process) -> dict[str, Any]:
    """The next line of a started program."""
    assert process.stdout is not None
    async with asyncio.timeout(_RUN_SECONDS):
        line: dict[str, Any] = json.loads(await process.stdout.readline())
    return line


async def end(process: asyncio.subprocess.Process) -> None:
    """End a started program as an operator would, and wait for it."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
    await process.communicate()


class GoServer:
    """A Go service that runs for the whole session; a thread reads what it prints."""

    def __init__(self, peer: GoPeer, name: str) -> None:
        self.name = name
        self.peer = peer
        self.lines: Queue[dict[str, Any]] = Queue()
        self._process = subprocess.Popen(
            peer.command("serve", "--name", name, "--id", f"{name}-go"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait_for("ready")

    def wait_for(self, event: str) -> dict[str, Any]:
        """The next line about an event; what is printed before it is dropped."""
        while True:
            line = self.lines.get(timeout=_RUN_SECONDS)
            if line.get("event") == event:
                return line

    def goroutines(self) -> int:
        """How many goroutines run in it now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"goroutines\n")
        self._process.stdin.flush()
        return int(self.wait_for("goroutines")["count"])

    def stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(json.loads(line))
