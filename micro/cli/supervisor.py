"""Keeps worker processes running: restarts them with growing pauses, stops and reloads them."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from micro.runtime.signals import on_signal
from micro.scope import open_scope

__all__ = ["Pauses", "Supervisor", "follow_parent"]

_log = logging.getLogger("micro.cli")
_USAGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How long to wait, in seconds.

    Attributes:
        first: Before the first restart of a worker that ended; each further one takes twice as
            long, less some chance, so that workers do not start all at once.
        longest: What no restart exceeds.
        healthy: A worker that ran so long counts as new when it ends.
        grace: Until a worker that was told to stop is killed.
    """

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 10.0
    grace: float = 35.0

    def before(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 16))
        return pause * random.uniform(0.5, 1.0)


class _Worker:
    """One place for a process, and the process that has it now."""

    def __init__(self, command: Sequence[str], name: str) -> None:
        self.command = command
        self.name = name
        self.process: Process | None = None
        self.replaced = False
        self.code = 0

    def send(self, number: int) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(number)


class Supervisor:
    """Runs commands as processes and keeps them running until a signal comes.

    A process that ends is started again, also after code 0; one that ends with code 2 cannot be
    helped by that, and ends all. With `changes` it waits for the next change instead.

    Args:
        commands: For each worker a name and its command.
        pauses: How long to wait.
        changes: Each time it gives something, all processes are replaced.
    """

    def __init__(
        self,
        commands: Iterable[tuple[str, Sequence[str]]],
        *,
        pauses: Pauses | None = None,
        changes: AsyncIterator[set[Path]] | None = None,
    ) -> None:
        self._workers = [_Worker(command, name) for name, command in commands]
        self._pauses = pauses or Pauses()
        self._changes = changes
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._code = 0

    async def run(self) -> int:
        """Run until SIGINT or SIGTERM, and stop all workers; a second signal ends them at once.

        Returns:
            0 if every worker stopped in good order, 1 if one did not, 2 if one cannot run at all.
        """
        with on_signal(self._signalled):
            async with open_scope() as scope:
                keepers = [scope.start(self._keep(worker)) for worker in self._workers]
                if self._changes is not None:
                    scope.start(self._reload(self._changes))
                await self._stopping.wait()
                self._changed.set()
                self._send(signal.SIGTERM)
                _, late = await asyncio.wait(keepers, timeout=self._pauses.grace)
                if late:
                    self._send(signal.SIGKILL)
                    await asyncio.wait(late)
        # A worker that was told to stop before it could listen for that ends by the signal itself.
        return self._code or int(any(one.code not in (0, -signal.SIGTERM) for one in self._workers))

    def _signalled(self, number: signal.Signals) -> None:
        if self._stopping.is_set():
            self._send(signal.SIGKILL)
        else:
            _log.info("%s: stopping %d workers", number.name, len(self._workers))
        self._stopping.set()

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    async def _keep(self, worker: _Worker) -> None:
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping.is_set():
            start = loop.time()
            worker.code = await self._run_once(worker)
            if self._stopping.is_set():
                return
            if worker.replaced:
                worker.replaced, failures = False, 0
                continue
            failures = 1 if loop.time() - start > self._pauses.healthy else failures + 1
            await self._recover(worker, failures)

    async def _run_once(self, worker: _Worker) -> int:
        # Its own session: Ctrl-C reaches this process alone, which then stops the workers in order.
        # The pipe tells the worker when this process is gone, however it went.
        worker.process = await asyncio.create_subprocess_exec(
            *worker.command, stdin=PIPE, start_new_session=True
        )
        if self._stopping.is_set():
            worker.send(signal.SIGTERM)
        return await worker.process.wait()

    async def _recover(self, worker: _Worker, failures: int) -> None:
        """Wait until the worker may start again, or say that it cannot."""
        if self._changes is not None:
            _log.warning("%s ended with code %d: waiting for a change", worker.name, worker.code)
            self._changed.clear()
            await self._changed.wait()
        elif worker.code == _USAGE:
            self._code = _USAGE
            self._stopping.set()
        else:
            pause = self._pauses.before(failures)
            _log.warning(
                "%s ended with code %d: starting again in %.1fs", worker.name, worker.code, pause
            )
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _reload(self, changes: AsyncIterator[set[Path]]) -> None:
        async for changed in changes:
            names = ", ".join(sorted(path.name for path in changed))
            _log.info("%s changed: starting again", names)
            for worker in self._workers:
                if worker.process is not None and worker.process.returncode is None:
                    worker.replaced = True
                    worker.send(signal.SIGTERM)
            self._changed.set()


def follow_parent() -> None:
    """In a worker: stop as if told to when the supervisor is gone, which closes standard input."""

    def wait() -> None:
        while os.read(0, 1):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="micro-parent", daemon=True).start()
