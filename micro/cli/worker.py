"""A worker's side of its supervisor: flags from it, readiness to it, a stop when it is gone."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from micro.errors import MicroError
from micro.runtime.health import CHECK_SECONDS
from micro.runtime.process import Program
from micro.scope import open_scope

__all__ = ["MAX_MESSAGE_BYTES", "SUPERVISOR_FD", "SupervisorLink", "encode"]

SUPERVISOR_FD = "MICRO_SUPERVISOR_FD"
"""The variable with the number of the descriptor that leads to the supervisor."""

MAX_MESSAGE_BYTES = 4 << 20
LAST_REPORT_SECONDS = 1.0


class SupervisorLink:
    """The socket to the supervisor. Messages are JSON objects, one per line.

    From the supervisor: `{"flags": [...]}` first, `{"start": true}` when the worker may start,
    `{"check": n}` to ask for readiness, `{"measure": n}` to ask for metrics. From the worker:
    `{"exclusive": bool}` before it starts, `{"ready": true}`, `{"check": n, "problem": "..."}`,
    `{"measure": n, "samples": [...]}`, and `{"samples": [...]}` once more when it ends.

    Flags come this way because arguments of a process can be read by every user of the machine.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.set_inheritable(False)
        self._file = self._socket.makefile("rwb", buffering=0)

    @classmethod
    def from_environment(cls) -> SupervisorLink | None:
        """The link of this process, if a supervisor has started it; children do not get it."""
        descriptor = os.environ.pop(SUPERVISOR_FD, "")
        return cls(int(descriptor)) if descriptor else None

    def flags(self) -> Sequence[str]:
        """Wait for the flags; to be called first, and once."""
        flags: list[str] = self._receive().get("flags", [])
        return flags

    def wait_for_start(self, *, exclusive: bool) -> None:
        """Wait until the worker may start.

        Args:
            exclusive: It cannot run beside the worker that it replaces, because both would have
                the same id or address.
        """
        self._file.write(encode({"exclusive": exclusive}))
        self._receive()

    @asynccontextmanager
    async def observe(self, program: Program) -> AsyncIterator[Callable[[], None]]:
        """Answer the supervisor inside a block; see `Observer`."""
        reader, writer = await asyncio.open_unix_connection(sock=self._socket)
        try:
            async with open_scope() as scope:
                scope.start(_answer(reader, writer, program), name="micro.supervisor")
                yield lambda: writer.write(encode({"ready": True}))
            await _report_last(writer, program)
        finally:
            writer.close()

    def _receive(self) -> dict[str, Any]:
        # Unbuffered, byte by byte: what follows the line belongs to the event loop.
        line = b""
        while not line.endswith(b"\n") and len(line) < MAX_MESSAGE_BYTES:
            byte = self._file.read(1)
            if not byte:
                raise SystemExit(0)  # The supervisor is gone.
            line += byte
        message: dict[str, Any] = json.loads(line)
        return message


def encode(message: dict[str, object]) -> bytes:
    """One message as a line."""
    return json.dumps(message).encode() + b"\n"


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, program: Program
) -> None:
    while line := await reader.readline():
        message = json.loads(line)
        if "measure" in message:
            writer.write(encode({**message, "samples": [*await program.samples()]}))
        else:
            writer.write(encode({**message, "problem": await _problem_of(program)}))
    # The supervisor is gone, however it went: stop as if it had said so.
    os.kill(os.getpid(), signal.SIGTERM)


async def _problem_of(program: Program) -> str:
    """Why a program is not ready; empty when it is."""
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await program.check()
    except TimeoutError:
        return "the check did not end in time"
    except MicroError as error:
        return error.detail or error.status
    return ""


async def _report_last(writer: asyncio.StreamWriter, program: Program) -> None:
    """Send what was counted up to the end, so that the totals of all workers keep it."""
    writer.transport.set_write_buffer_limits(0)
    writer.write(encode({"samples": [*await program.samples()]}))
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(LAST_REPORT_SECONDS):
            await writer.drain()
