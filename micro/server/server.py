"""The server: endpoints on the sockets of a listener, from the first request to the stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Self

from micro.codec import Codecs
from micro.concurrency.limiter import Limiter
from micro.concurrency.threads import Threads
from micro.errors import HandlerError, Unavailable
from micro.handlers.endpoint import Endpoint
from micro.middleware import fold
from micro.scope import open_scope
from micro.server.admission import AdmissionControl
from micro.server.call import Call, Mounted, weight_of
from micro.server.channel import ServerChannel
from micro.server.draining import DRAIN_INTERVAL_SECONDS, StreamDrain
from micro.server.execution import Execution, Host
from micro.server.options import ServerOptions
from micro.server.outcomes import Outcomes
from micro.server.reports import Reports
from micro.telemetry.metrics import Metrics, ServerCounters
from micro.transport.contract import Receiver, Socket

__all__ = ["Server", "ServerOptions"]

_CANCEL_GRACE_SECONDS = 0.1
"""For a cancelled handler to end by itself, before its caller is answered in its place."""

_THREAD_SHARE = 0.75
"""What one plain handler may take of the threads: one that hangs leaves some for the others."""


class Server:
    """Serves endpoints on whatever sockets a listener accepts. Use it inside `async with`.

    Args:
        name: The service's name, the `id` of its errors.
        codecs: Reads requests and writes responses.
        options: Bounds and layers.
        metrics: Where it counts; its own when not given.

    Attributes:
        counters: What happened so far.
    """

    def __init__(
        self,
        name: str,
        codecs: Codecs,
        options: ServerOptions | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.name = name
        self.options: ServerOptions = options or ServerOptions()
        self._metrics = metrics or Metrics()
        self.counters: ServerCounters = self._metrics.server
        self._codecs = codecs
        self._mounted: dict[str, Mounted] = {}
        self._channels: set[ServerChannel] = set()
        self._reports = Reports(name, access_log=self.options.access_log)
        self._outcomes = Outcomes(name, self.counters, self._reports)
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        options = self.options
        scope = await self._stack.enter_async_context(open_scope())
        self._scope = scope
        self._threads = Threads(options.threads, f"{self.name}-handler")
        self._stack.callback(self._threads.close)
        self._admission = AdmissionControl(
            self.name, self._mounted, scope, outcomes=self._outcomes, reports=self._reports
        )
        self._stack.callback(self._admission.close)
        self._execution = Execution(
            Host(
                service=self.name,
                codecs=self._codecs,
                counters=self.counters,
                outcomes=self._outcomes,
                threads=self._threads,
                stopping=self._stopping,
            ),
            began=self._admission.began,
            finished=self._admission.finished,
            thread_ended=self._admission.thread_ended,
        )
        self._admission.runs_with(self._execution.run)
        self._calls = self._limiter(options.max_concurrency)
        self._streams = self._limiter(options.max_streams)
        self._in_threads = self._limiter(options.threads)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for limiter in self._limiters():
            limiter.clear()
        self._scope.cancel()
        await self._stack.aclose()

    def mount(self, endpoints: Iterable[Endpoint]) -> None:
        """Serve endpoints; after the server was entered.

        Raises:
            HandlerError: two have the same name.
        """
        endpoints = tuple(endpoints)
        shared = sum(endpoint.blocking for endpoint in endpoints) > 1
        for endpoint in endpoints:
            if endpoint.name in self._mounted:
                raise HandlerError(f"two endpoints are named {endpoint.name!r}")
            layers = self.options.middleware
            self._mounted[endpoint.name] = Mounted(
                endpoint,
                fold(layers, self._execution.innermost(endpoint)),
                self._limits(endpoint, shared=shared),
                is_bare=not layers and not endpoint.blocking,
                timeout=self.options.timeout,
                durations=self._metrics.calls_of(endpoint.name),
            )

    def named(self, node: str) -> None:
        """Learn the id of the node, for the log."""
        self._reports.node = node

    def accept(self, socket: Socket) -> Receiver:
        """What a listener calls for each new socket."""
        channel = ServerChannel(
            socket,
            self._admission,
            on_closed=self._channels.discard,
            service=self.name,
            counters=self.counters,
        )
        self._channels.add(channel)
        return channel

    def gauges(self) -> dict[str, float]:
        """How many calls run and wait now, by their names as metrics."""
        waiting = sum(each.waiting for each in self._limiters()) + self._admission.waiting
        prefix = "micro.server"
        return {
            f"{prefix}.in_flight": self._admission.open - waiting,
            f"{prefix}.waiting": waiting,
        }

    def kill(self) -> None:
        """Cancel everything that runs, as the end of the process does; for tests."""
        self._scope.cancel()

    async def drain(self, grace: float) -> list[str]:
        """Refuse new requests from now on, and wait for those that run; idle streams are ended.

        Returns:
            The endpoints of what still ran after `grace` seconds and was cancelled.
        """
        end = time.monotonic() + grace
        self._admission.draining = True
        self._stopping.set()
        self._admission.on_idle = self._idle.set
        if not self._admission.open:
            self._idle.set()
        try:
            async with asyncio.timeout(grace):
                await self._wait_until_idle()
        except TimeoutError:
            return await self._cut_off(tuple(self._open_calls()))
        return await self._threads.settle(max(0.0, end - time.monotonic()))

    async def _wait_until_idle(self) -> None:
        streams = StreamDrain()
        while not self._idle.is_set():
            streams.end_idle(tuple(self._open_calls()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), DRAIN_INTERVAL_SECONDS)

    async def _cut_off(self, calls: Iterable[Call]) -> list[str]:
        """End calls that did not end by themselves; returns the endpoints of those that ran."""
        running: dict[asyncio.Task[None], Call] = {}
        for call in calls:
            call.stopped = True
            if call.task is not None:
                running[call.task] = call
            call.cancel()
        if running:
            # Without an answer their clients would take the close frame that follows for a sign
            # that the calls did not run, and make them elsewhere.
            _, deaf = await asyncio.wait(running, timeout=_CANCEL_GRACE_SECONDS)
            for task in deaf:
                self._outcomes.fail(running[task], Unavailable("the service stopped first"))
        return sorted({call.mounted.endpoint.name for call in running.values()})

    def _limiters(self) -> set[Limiter[Call]]:
        return {limiter for each in self._mounted.values() for limiter, _ in each.limits}

    def _open_calls(self) -> Iterator[Call]:
        for channel in self._channels:
            yield from channel.calls.values()

    def _limits(self, endpoint: Endpoint, *, shared: bool) -> list[tuple[Limiter[Call], str]]:
        """Where calls of an endpoint acquire their slots; `shared`: others need threads as well."""
        options, own = self.options, endpoint.max_concurrency
        limits: list[tuple[Limiter[Call], str]] = []
        if endpoint.blocking and shared:
            share = max(1, int(options.threads * _THREAD_SHARE))
            own = min(own or share, share)
        if own:
            limits.append((self._limiter(own), f"{own} calls of {endpoint.name} run"))
        if endpoint.blocking:
            limits.append((self._in_threads, f"all {options.threads} threads are taken"))
        if endpoint.kind.is_stream:
            limits.append((self._streams, f"{options.max_streams} streams are open"))
        else:
            limits.append((self._calls, f"{options.max_concurrency} calls run"))
        return limits

    def _limiter(self, limit: int) -> Limiter[Call]:
        queue, acquired = self.options.max_queue, self._admission.slot_acquired
        return Limiter[Call](limit, queue, acquired, weight_of)
