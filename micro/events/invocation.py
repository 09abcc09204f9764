"""Calling the handler of a durable subscriber: decoding, middleware, dependencies, threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from micro.concurrency.clock import Clock
from micro.context import Context, DurableContext, ambient_context
from micro.deadline import Deadline
from micro.errors import DeadlineExceeded
from micro.events.arrival import Arrival
from micro.events.evolution import read_event
from micro.events.subscriber import Host, is_running
from micro.handlers.durable import DEFAULT_TIMEOUT_SECONDS
from micro.handlers.subscriber import SubscriberSpec
from micro.middleware import Request, Response, fold
from micro.telemetry.metrics import DurableCounters, SubscriberCounters
from micro.wire.stored import without_control

__all__ = ["Invocation", "Undecodable"]


class Undecodable(Exception):
    """The event cannot be read as the handler's type."""


class Invocation:
    """Calls one handler with events.

    Args:
        spec: The handler.
        durable: How it reads its topic.
        host: What it shares with the service's other subscribers.
        left: Called when a thread ends whose event was given up before.

    Attributes:
        timeout: Seconds that the handler gets for one event.
    """

    def __init__(
        self,
        spec: SubscriberSpec,
        host: Host,
        counters: SubscriberCounters,
        tally: DurableCounters,
        *,
        left: Callable[[], None],
    ) -> None:
        assert spec.durable is not None, "only durable subscribers come here"
        self.timeout: float = spec.timeout or DEFAULT_TIMEOUT_SECONDS
        self._spec = spec
        self._durable = spec.durable
        self._host = host
        self._counters = counters
        self._tally = tally
        self._left = left
        self._in_threads: set[asyncio.Task[Any]] = set()
        layers = host.options.middleware
        self._chain = fold(layers, self._innermost) if layers else None

    def is_in_thread(self, task: asyncio.Task[Any]) -> bool:
        """Whether the handler of this task still runs in its thread."""
        return task in self._in_threads

    async def outcome(self, arrival: Arrival, attempt: int, clock: Clock) -> BaseException | None:
        """Call the handler; returns what it raised. A cancellation by the stop is raised."""
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            task.cancel()

        timer = clock.call_later(self.timeout, expire)
        try:
            if not await self._call(arrival, attempt):
                self._tally.duplicates += 1
        except asyncio.CancelledError as error:
            if expired:
                task.uncancel()
            if task.cancelling():
                raise
            if not expired:
                return error  # The handler awaited something that was cancelled.
            self._counters.expired += 1
            return DeadlineExceeded(f"it was not handled within {self.timeout:g} s")
        except Exception as error:
            # The boundary of a handler: its failure decides what becomes of the event.
            return error
        except (SystemExit, GeneratorExit) as error:
            # Closing this coroutine raises GeneratorExit here, too, but then no task is running.
            if not is_running(task):
                raise
            return error
        finally:
            timer.cancel()
        return None

    async def _call(self, arrival: Arrival, attempt: int) -> bool:
        """Handle an event; false when the inbox knew it, so that the handler was not called."""
        event = self._read(arrival)
        once = self._durable.once
        if once is None:
            await self._handle(arrival, event, attempt)
            return True
        async with once.claim(arrival.durable, arrival.id) as new:
            if new:
                await self._handle(arrival, event, attempt)
        return new

    def _read(self, arrival: Arrival) -> Any:
        if not self._spec.takes_event:
            return None
        content = arrival.content_type, arrival.body
        try:
            return read_event(
                self._host.codecs,
                self._durable.topic,
                self._spec.event_type,
                arrival.headers,
                content,
            )
        except Exception as error:
            # An upcast is the application's own function and may raise anything.
            raise Undecodable(f"{type(error).__name__}: {error}") from error

    async def _handle(self, arrival: Arrival, event: Any, attempt: int) -> None:
        headers = without_control(arrival.headers)
        context = DurableContext(
            Context(
                self._host.service, self._spec.name, headers, id=arrival.id, topic=arrival.topic
            ),
            attempt=attempt,
            durable=arrival.durable,
            sequence=arrival.sequence,
            stored_at=arrival.stored_at,
        )
        context.ambient_deadline = Deadline.after(self.timeout)
        ambient_context.set(context)
        try:
            if self._chain is None:
                await self._run(event, context)
            else:
                service, topic = self._host.service, arrival.topic
                await self._chain(Request("subscriber", service, topic, headers, event, None))
        finally:
            context.ambient_deadline = None

    async def _innermost(self, request: Request) -> Response:
        context = Context.current()
        context.headers = request.headers
        await self._run(request.value, context)
        return Response(None, {})

    async def _run(self, event: Any, context: Context) -> None:
        spec = self._spec
        if not spec.blocking:
            await spec.bind(event, context)
        elif spec.bind_thread is not None:
            await spec.bind_thread(event, context, self._in_thread)
        else:
            await self._in_thread(spec.bind, event, context)

    def _in_thread(self, function: Callable[..., Any], *args: Any) -> Coroutine[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        self._in_threads.add(task)
        ended = partial(self._leave, task)
        return self._host.threads.run(self._spec.name, function, *args, ended=ended)

    def _leave(self, task: asyncio.Task[Any]) -> None:
        self._in_threads.discard(task)
        if task.done():
            self._left()
