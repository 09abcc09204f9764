"""One worker process, as its supervisor sees it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Sequence
from typing import Any, cast

from micro.cli.worker import MAX_MESSAGE_BYTES, SUPERVISOR_FD, encode
from micro.errors import Unavailable
from micro.scope import Scope, open_scope
from micro.telemetry.metrics import MetricKind, Sample

__all__ = ["Worker", "start_worker"]

_log = logging.getLogger("micro.cli")

CHECK_SECONDS = 3.0
MEASURE_SECONDS = 0.2
LAST_MESSAGE_SECONDS = 0.2


class Worker:
    """A process that was started, and the socket to it.

    Attributes:
        exclusive: It cannot run beside another one, because it has a fixed id or address.
        ready: Its services have become ready.
        code: The exit code once it has ended.
        samples: What it counted, as far as it has told.
    """

    def __init__(
        self, process: Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.exclusive: bool = False
        self.ready: bool = False
        self.code: int = 0
        self.samples: list[Sample] = []
        self._process = process
        self._reader = reader
        self._writer = writer
        self._introduced = asyncio.Event()
        self._settled = asyncio.Event()
        self._ended = asyncio.Event()
        self._answers: dict[int, asyncio.Future[str]] = {}
        self._asked = 0

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.returncode is None

    async def introduced(self) -> None:
        """Wait until it has said whether it is exclusive, or has ended."""
        await self._introduced.wait()

    async def settled(self) -> None:
        """Wait until it is ready, or has ended."""
        await self._settled.wait()

    async def ended(self) -> int:
        """Wait for its end; returns the exit code."""
        await self._ended.wait()
        return self.code

    def allow_start(self) -> None:
        """Let its services start."""
        self._write({"start": True})

    def send(self, number: int) -> None:
        """Send a signal, if it runs."""
        if self.alive:
            self._process.send_signal(number)

    async def stop(self, grace: float) -> None:
        """Have it stop in good order; kill it when it has not ended after `grace` seconds."""
        self.send(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                await self._ended.wait()
        except TimeoutError:
            self.send(signal.SIGKILL)
            await self._ended.wait()

    async def check(self) -> None:
        """Return if its services are ready.

        Raises:
            Unavailable: they are not, or the process does not answer.
        """
        if not self.ready or not self.alive:
            raise Unavailable("it has not started")
        if problem := await self._ask("check", CHECK_SECONDS):
            raise Unavailable(problem)

    async def measure(self) -> bool:
        """Renew `samples`; whether it answered within 0.2 s."""
        if not self.alive:
            return False
        try:
            await self._ask("measure", MEASURE_SECONDS)
        except Unavailable:
            return False
        return True

    async def _ask(self, kind: str, seconds: float) -> str:
        self._asked += 1
        number = self._asked
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._write({kind: number})
        try:
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise Unavailable(f"no answer within {seconds:g} s") from None
        finally:
            del self._answers[number]

    async def follow(self) -> None:
        """Take what it says until it ends, and note how it ended."""
        # Not until its socket ends: a child that it has forked may hold that open.
        async with open_scope() as scope:
            reading = scope.start(self._read(), name="micro.supervisor.read")
            self.code = await self._process.wait()
            # Its last message may still wait in the socket.
            await asyncio.wait((reading,), timeout=LAST_MESSAGE_SECONDS)
        self._writer.close()
        for event in (self._introduced, self._settled, self._ended):
            event.set()

    async def _read(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(json.loads(line))
        except (ConnectionError, ValueError) as error:
            _log.warning("a worker cannot be understood and is stopped: %s", error)
            self.send(signal.SIGTERM)

    def _take(self, message: dict[str, object]) -> None:
        if "exclusive" in message:
            self.exclusive = bool(message["exclusive"])
            self._introduced.set()
        elif "ready" in message:
            self.ready = True
            self._settled.set()
        else:
            if "samples" in message:
                self.samples = [_sample(each) for each in cast(list[Any], message["samples"])]
            number = message.get("check", message.get("measure", 0))
            answer = self._answers.get(int(str(number)))
            if answer is not None and not answer.done():
                answer.set_result(str(message.get("problem", "")))

    def _write(self, message: dict[str, object]) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(message))


def _sample(fields: list[Any]) -> Sample:
    name, value, attributes, kind, description, counts, seconds = fields
    return Sample(name, value, attributes, MetricKind(kind), description, tuple(counts), seconds)


async def start_worker(command: Sequence[str], flags: Sequence[str], scope: Scope) -> Worker:
    """Start a process in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Args:
        command: The program and its arguments.
        flags: Settings, which it gets through its socket.
        scope: Owns the task that follows it.
    """
    ours, theirs = socket.socketpair()
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=DEVNULL,
            start_new_session=True,
            pass_fds=(theirs.fileno(),),
            env={**os.environ, SUPERVISOR_FD: str(theirs.fileno())},
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    try:
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
    except BaseException:
        process.kill()
        raise
    writer.write(encode({"flags": list(flags)}))
    worker = Worker(process, reader, writer)
    scope.start(worker.follow(), name="micro.supervisor.worker")
    return worker
