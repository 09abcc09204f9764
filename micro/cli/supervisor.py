"""Keeps worker processes running: restarts, replaces and stops them.

A worker is replaced by starting the new one first, and stopping the old one once the new one is
ready. If the new one does not become ready, the old one goes on serving.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from micro.cli.totals import Totals
from micro.cli.workers import Worker, start_worker
from micro.errors import Unavailable
from micro.runtime.ending import EXIT_USAGE
from micro.runtime.health import serve_health
from micro.runtime.measuring import serve_metrics
from micro.runtime.signals import StopSignals, on_signal, stop_signals
from micro.scope import Scope, open_scope
from micro.telemetry.exposition import join
from micro.telemetry.metrics import Sample

__all__ = ["Pauses", "Supervisor"]

_log = logging.getLogger("micro.cli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """How long to wait, in seconds.

    Attributes:
        first: Before the first restart of a worker that ended. Each further pause is twice as
            long, less a random part, so that workers do not start all at once.
        longest: The bound of these pauses.
        healthy: A worker that ran so long counts as new when it ends.
        grace: Until a worker that was told to stop is killed.
        ready: Until a worker that replaces another must be ready.
    """

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 10.0
    grace: float = 35.0
    ready: float = 90.0

    def before(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        pause = min(self.longest, self.first * 2.0 ** min(failures - 1, 16))
        return pause * random.uniform(0.5, 1.0)


class _Place:
    """What one worker does: its command, and the process that does it now."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self.command = command
        self.worker: Worker | None = None
        self.code = 0
        # Held while the worker is replaced, so that an end of the old one starts no third one.
        self.replacing = asyncio.Lock()
        self.wake = asyncio.Event()


class Supervisor:
    """Runs commands as processes and keeps them running until a signal comes.

    A process that ends is started again, also after code 0. One that ends with code 2 before it
    was ready would fail again: it ends all, or with `changes` waits for the next change. SIGHUP
    and each change replace all processes, one after the other.

    Args:
        commands: For each worker a name and its command.
        flags: Settings for all workers.
        pauses: How long to wait.
        changes: Each item says which files have changed.
        health_address: Where to answer health checks for all workers; empty for nowhere.
        metrics_address: Where to show the metrics of all workers; empty for nowhere.
    """

    def __init__(
        self,
        commands: Iterable[tuple[str, Sequence[str]]],
        *,
        flags: Sequence[str] = (),
        pauses: Pauses | None = None,
        changes: AsyncIterator[set[Path]] | None = None,
        health_address: str = "",
        metrics_address: str = "",
    ) -> None:
        self._places = [_Place(name, command) for name, command in commands]
        self._flags = flags
        self._pauses = pauses or Pauses()
        self._changes = changes
        self._health_address = health_address
        self._metrics_address = metrics_address
        self._totals = Totals()
        self._replace = asyncio.Event()
        self._failed = asyncio.Event()
        self._code = 0
        self._workers: list[Worker] = []
        self._scope: Scope
        self._signals: StopSignals

    async def run(self) -> int:
        """Run until SIGINT or SIGTERM, and stop all workers; a second signal kills them.

        Returns:
            0 if every worker stopped in good order, 1 if one did not, 2 if one cannot run at all.

        Raises:
            ConfigError: an address cannot be bound.
        """
        async with AsyncExitStack() as stack:
            self._signals = stack.enter_context(
                stop_signals(on_first=self._log_stop, on_second=self._kill)
            )
            stack.enter_context(on_signal(self._hang_up, (signal.SIGHUP,)))
            if self._health_address:
                bound = await stack.enter_async_context(
                    serve_health(self._health_address, self.check)
                )
                _log.info("health checks of all workers at http://%s/livez and /readyz", bound)
            if self._metrics_address:
                bound = await stack.enter_async_context(
                    serve_metrics(self._metrics_address, self.samples)
                )
                _log.info("metrics of all workers at http://%s/metrics", bound)
            self._scope = await stack.enter_async_context(open_scope())
            await self._run_workers()
        # A worker that was told to stop before it could listen for that ends by the signal itself.
        fine = (0, -signal.SIGTERM)
        return self._code or int(any(place.code not in fine for place in self._places))

    async def check(self) -> None:
        """Return if all workers are ready.

        Raises:
            Unavailable: one is not.
        """
        if self._signals.first is not None:
            raise Unavailable("the workers are stopping")
        async with open_scope() as scope:
            checks = [scope.start(self._check(place)) for place in self._places]
            await asyncio.wait(checks)

    async def samples(self) -> Iterable[Sample]:
        """What all workers have counted together.

        A worker that does not answer is shown as it was, and its `micro.worker.up` is 0.
        """
        serving = {each.name: each.worker for each in self._places if each.worker is not None}
        answered = await self._totals.renew(serving)
        self._forget_ended()
        alive = (worker.samples for worker in self._workers)
        return join([answered, self._totals.ended, *alive])

    def _forget_ended(self) -> None:
        for worker in self._workers:
            if not worker.alive:
                self._totals.keep(worker)
        self._workers = [worker for worker in self._workers if worker.alive]

    async def _check(self, place: _Place) -> None:
        if place.worker is None:
            raise Unavailable(f"{place.name} is not running")
        try:
            await place.worker.check()
        except Unavailable as error:
            raise Unavailable(f"{place.name}: {error.detail}") from None

    async def _run_workers(self) -> None:
        keepers = [self._scope.start(self._keep(place)) for place in self._places]
        roller = self._scope.start(self._roll_on_request())
        if self._changes is not None:
            self._scope.start(self._watch(self._changes))
        stop = self._scope.start(self._signals.wait())
        failed = self._scope.start(self._failed.wait())
        await asyncio.wait((stop, failed), return_when=asyncio.FIRST_COMPLETED)
        for task in (roller, *keepers):
            task.cancel()
        await asyncio.wait((roller, *keepers))
        async with open_scope() as scope:
            stops = [scope.start(worker.stop(self._pauses.grace)) for worker in self._workers]
            if stops:
                await asyncio.wait(stops)
        for place in self._places:
            if place.worker is not None:
                place.code = place.worker.code

    async def _keep(self, place: _Place) -> None:
        """Keep a place filled."""
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            start = loop.time()
            async with place.replacing:
                place.wake.clear()
                place.worker = await self._launch(place)
                place.worker.allow_start()
            ended = await self._outlive(place)
            failures = 1 if loop.time() - start > self._pauses.healthy else failures + 1
            await self._recover(place, ended, failures)

    async def _outlive(self, place: _Place) -> Worker:
        """Wait until the worker of a place has ended without a replacement."""
        while True:
            worker = place.worker
            assert worker is not None
            place.code = await worker.ended()
            async with place.replacing:
                if place.worker is worker:
                    return worker

    async def _launch(self, place: _Place) -> Worker:
        """Start a process and wait until it has said whether it is exclusive."""
        worker = await start_worker(place.command, self._flags, self._scope)
        self._forget_ended()
        self._workers.append(worker)
        await worker.introduced()
        return worker

    async def _recover(self, place: _Place, worker: Worker, failures: int) -> None:
        """Wait until a place may be filled again, or end all."""
        name, code = place.name, worker.code
        if self._changes is not None and not worker.ready:
            _log.warning("%s ended with code %d: waiting for a change", name, code)
            await place.wake.wait()
        elif code == EXIT_USAGE and not worker.ready:
            self._code = EXIT_USAGE
            self._failed.set()
            await self._signals.wait()
        else:
            pause = self._pauses.before(failures)
            _log.warning("%s ended with code %d: starting again in %.1f s", name, code, pause)
            await _wait(place.wake, pause)

    async def _watch(self, changes: AsyncIterator[set[Path]]) -> None:
        async for changed in changes:
            names = ", ".join(sorted(path.name for path in changed))
            _log.info("%s changed: replacing the workers", names)
            self._replace.set()

    async def _roll_on_request(self) -> None:
        while True:
            await self._replace.wait()
            self._replace.clear()
            for place in self._places:
                if self._replace.is_set():
                    break  # A newer change: begin again.
                await self._renew(place)

    async def _renew(self, place: _Place) -> None:
        """Replace the worker of a place, the new one first."""
        async with place.replacing:
            old = place.worker
            if old is None or not old.alive:
                place.wake.set()
                return
            new = await self._launch(place)
            if new.exclusive and new.alive:
                place.worker = new
                await old.stop(self._pauses.grace)
            new.allow_start()
            await self._wait_ready(new)
            if new.ready and new.alive:
                place.worker = new
                await old.stop(self._pauses.grace)
                _log.info("%s is replaced", place.name)
            elif place.worker is old:
                await self._give_up(place, new)

    async def _give_up(self, place: _Place, new: Worker) -> None:
        """End a new worker that did not become ready."""
        if self._replace.is_set():
            await new.stop(0.0)
            return
        reason = "was not ready in time" if new.alive else f"ended with code {new.code}"
        _log.error("%s: the new version %s; the old one goes on serving", place.name, reason)
        await new.stop(self._pauses.grace)

    async def _wait_ready(self, worker: Worker) -> None:
        """Wait until a new worker is ready, has ended, took too long, or is outdated."""
        async with open_scope() as scope:
            settled = scope.start(worker.settled())
            outdated = scope.start(self._replace.wait())
            await asyncio.wait(
                (settled, outdated),
                timeout=self._pauses.ready,
                return_when=asyncio.FIRST_COMPLETED,
            )

    def _log_stop(self) -> None:
        _log.info("stopping %d workers", len(self._places))

    def _hang_up(self, number: signal.Signals) -> None:
        _log.info("%s: replacing the workers", number.name)
        self._replace.set()

    def _kill(self, number: signal.Signals) -> None:
        _log.warning("%s again: killing the workers", number.name)
        for worker in self._workers:
            worker.send(signal.SIGKILL)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
