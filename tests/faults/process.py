"""Processes under test: started, watched, measured, and gone when the block ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from micro.scope import open_scope
from micro.testing import Signal
from tests.faults.clock import until

ROOT = Path(__file__).parents[2]
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Program:
    """One process, and what it writes on standard error."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log: list[str] = []
        self.ended: float | None = None
        self._news = Signal()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.returncode is None

    def said(self, text: str) -> int:
        """How many lines of its log have this text."""
        return sum(text in line for line in self.log)

    async def says(self, text: str, times: int = 1, timeout: float = 20.0) -> None:
        """Wait until its log had a text so often."""
        await self._news.until(
            lambda: self.said(text) >= times or self.ended is not None,
            lambda: f"no {text!r} in {''.join(self.log[-20:])}",
            timeout,
        )
        assert self.said(text) >= times, f"ended without {text!r}: {''.join(self.log[-20:])}"

    def signal(self, number: int) -> None:
        if self.alive:
            self.process.send_signal(number)

    async def gone(self, timeout: float = 40.0) -> int:
        """Wait for its end; its exit code."""
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def stop(self, timeout: float = 40.0) -> float:
        """End it in good order; the seconds that it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        await self.gone(timeout)
        return time.monotonic() - started

    def cpu(self) -> float:
        """Seconds of a processor that it has used so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    def memory(self) -> float:
        """Resident memory, in MiB."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * _PAGE / (1 << 20)

    async def read(self) -> None:
        """Keep its log; runs beside the process."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.log.append(line.decode(errors="replace"))
            self._news.set()
        await self.process.wait()
        self.ended = time.monotonic()
        self._news.set()


@asynccontextmanager
async def run_program(
    module: str, *arguments: str, environ: Mapping[str, str] | None = None
) -> AsyncIterator[Program]:
    """Run a module of this folder's `programs` as a process that ends with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.faults.programs.{module}",
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **(environ or {})},
    )
    program = Program(process)
    async with open_scope() as scope:
        reading = scope.start(program.read())
        try:
            yield program
        finally:
            if program.alive:
                process.send_signal(signal.SIGCONT)
                process.kill()
            await asyncio.wait([reading], timeout=10)


class Journal:
    """What all instances of the service have written down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def entries(self, kind: str) -> list[tuple[int, str, float]]:
        """Number, node and time of each line of a kind, in the order written."""
        lines = (line.split() for line in self.path.read_text().splitlines())
        return [(int(line[1]), line[2], float(line[3])) for line in lines if line[0] == kind]

    def counts(self, kind: str) -> Counter[int]:
        """How often each number was written."""
        return Counter(number for number, _, _ in self.entries(kind))

    def twice(self, kind: str) -> list[int]:
        """The numbers that were written more than once."""
        return [number for number, times in self.counts(kind).items() if times > 1]

    async def has(self, kind: str, number: int, timeout: float = 10.0) -> tuple[int, str, float]:
        """Wait for a line; a file reports no change, so it is polled."""
        found: list[tuple[int, str, float]] = []

        def look() -> bool:
            found[:] = [entry for entry in self.entries(kind) if entry[0] == number]
            return bool(found)

        await until(look, timeout)
        return found[0]
