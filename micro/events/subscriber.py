"""One subscriber: from a delivery to its handler, within bounds of number and time."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from micro.broker.contract import Delivery
from micro.codec import Codecs
from micro.concurrency.limiter import MESSAGE_OVERHEAD_BYTES, Admission, Limiter
from micro.concurrency.log_limit import LogLimit
from micro.concurrency.threads import Threads
from micro.concurrency.timers import Timers
from micro.concurrency.turns import TurnLimit
from micro.concurrency.work import Cost
from micro.context import Context, ambient_context
from micro.errors import MicroError
from micro.events.content import guess_content_type, read_headers
from micro.events.kept_topics import KeptPolicy
from micro.handlers.subscriber import SubscriberSpec
from micro.middleware import Layer, Next, Request, Response, fold
from micro.scope import Scope
from micro.telemetry.metrics import SubscriberCounters
from micro.wire.headers import ID
from micro.wire.limits import process_body_limit, too_large

__all__ = ["Host", "Subscriber", "SubscriberOptions", "is_running"]

_log = logging.getLogger("micro.subscriber")
_MAX_FAILURES_LOGGED_PER_SECOND = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberOptions:
    """Bounds and layers of a service's subscribers.

    Attributes:
        max_concurrency: Events of one subscriber that are handled at once. Handlers start in the
            order of arrival; with 1, one ends before the next starts.
        max_queue: Further events that may wait, for each subscriber, as long as they hold no more
            than 32 MiB; the next one is dropped and counted.
        timeout: Seconds for the handling of one event; 0 sets no limit.
        threads: Plain `def` handlers that run at once.
        middleware: Layers round every handler, the first outermost.
        kept: What the settings say of kept topics.
        instance: The id of this instance, where it stays the same after a restart.
    """

    max_concurrency: int = 256
    max_queue: int = 65_536
    timeout: float = 0.0
    threads: int = 32
    middleware: Sequence[Layer] = ()
    kept: KeptPolicy = field(default_factory=KeptPolicy)
    instance: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What the subscribers of one service share.

    Attributes:
        service: The service's name.
        codecs: Reads events.
        scope: Where handlers run.
        threads: Where plain `def` handlers run.
        timers: Ends handlers that take too long.
        options: Bounds and layers.
    """

    service: str
    codecs: Codecs
    scope: Scope
    threads: Threads
    timers: Timers[asyncio.Task[Any]]
    options: SubscriberOptions


_RUN, _REFUSED = Admission.RUN, Admission.REFUSED


class _Unreadable(Exception):
    """The event's bytes are not of the subscriber's type."""


class Subscriber:
    """Handles the events of one subscription.

    Args:
        spec: The user's function and its own bounds, which win over the service's.
        host: What it shares with the service's other subscribers.
        counters: Where it counts.
    """

    def __init__(self, spec: SubscriberSpec, host: Host, counters: SubscriberCounters) -> None:
        options = host.options
        self.spec = spec
        self._host = host
        self._scope = host.scope
        self._counters = counters
        self._timeout = options.timeout if spec.timeout is None else spec.timeout
        limit = spec.max_concurrency or options.max_concurrency
        self._limiter = Limiter[Delivery](
            min(limit, host.threads.limit) if spec.blocking else limit,
            options.max_queue if spec.max_queue is None else spec.max_queue,
            self._launch,
            _weight_of,
        )
        self._cost = Cost()
        self._turns = TurnLimit(self._limiter, self._cost)
        self._chain: Next | None = None
        if options.middleware:
            self._chain = fold(options.middleware, self._innermost)
        self._guess = guess_content_type(host.codecs, spec.event_type)
        self._in_threads: set[asyncio.Task[Any]] = set()
        self._dropped = LogLimit()
        self._failures = LogLimit(_MAX_FAILURES_LOGGED_PER_SECOND)

    @property
    def busy(self) -> bool:
        """Whether an event is being handled or waits."""
        return bool(self._limiter.inside or self._limiter.waiting)

    @property
    def unfinished(self) -> int:
        """Events that are being handled or wait."""
        return self._limiter.inside + self._limiter.waiting

    def discard_waiting(self) -> None:
        """Drop the events that wait, so that none of them starts any more."""
        self._turns.close()
        self._limiter.clear()

    def deliver(self, delivery: Delivery) -> None:
        """Take a delivery from the broker."""
        admission = self._limiter.admit(delivery)
        if admission is _RUN:
            self._launch(delivery)
        elif admission is _REFUSED:
            self._drop()

    def _launch(self, delivery: Delivery) -> None:
        if not self._turns.launched_at:
            self._turns.launch()
        run, cost = self._run(delivery), self._cost
        if cost.due:
            cost.due -= 1
        else:
            run = cost.meter().run(run)
        self._scope.spawn(run)

    async def _run(self, delivery: Delivery) -> None:
        if self._turns.launched_at:
            self._turns.began()
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        timeout = self._timeout
        slot = self._host.timers.add(time.monotonic() + timeout, task) if timeout else None
        self._counters.handled += 1
        try:
            await self._handle(delivery)
            await delivery.ack()
        except asyncio.CancelledError:
            expired = slot is not None and task not in slot
            if expired:
                task.uncancel()
            if task.cancelling():
                raise
            await self._fail_cancelled(delivery, expired)
        except _Unreadable as error:
            # The sender's fault: a traceback would say nothing about it.
            await self._fail(delivery, f"it cannot be read: {error}")
        except Exception:
            # The boundary of a handler: its failure is told to the broker and the log.
            await self._fail(delivery)
        except (SystemExit, GeneratorExit):
            # Closing this coroutine raises GeneratorExit here, too, but then no task is running.
            if not is_running(task):
                raise
            await self._fail(delivery)
        except KeyboardInterrupt:
            # It ends the process in good order, as if it had come from the terminal.
            await self._fail(delivery, "it was interrupted: the service stops")
            signal.raise_signal(signal.SIGINT)
        finally:
            if slot is not None:
                slot.discard(task)
            self._scope.release(task)
            # A thread that outlives its event keeps the slot: it cannot be cancelled.
            if task not in self._in_threads:
                self._limiter.release()

    async def _fail_cancelled(self, delivery: Delivery, expired: bool) -> None:
        """End an event that ran into its timeout, or whose handler awaited something cancelled."""
        if not expired:
            await self._fail(delivery)
            return
        self._counters.expired += 1
        await self._fail(delivery, f"it was not handled within {self._timeout:g}s")

    async def _fail(self, delivery: Delivery, reason: str = "") -> None:
        self._counters.failed += 1
        more = self._failures.admit()
        if more is not None:
            self._log_failure(delivery, reason, more)
        try:
            await delivery.nack()
        except Exception as error:
            # A broker that is gone must not take the subscriber with it.
            if more is not None:
                _log.warning("an event of %s could not be given back: %s", delivery.topic, error)

    def _log_failure(self, delivery: Delivery, reason: str, more: str) -> None:
        name, topic = self.spec.name, delivery.topic
        if reason:
            _log.error("%s failed on an event of %s: %s%s", name, topic, reason, more)
        else:
            _log.exception("%s failed on an event of %s%s", name, topic, more)

    async def _handle(self, delivery: Delivery) -> None:
        message = delivery.message
        topic = delivery.topic
        spec = self.spec
        host = self._host
        event: Any = None
        headers, content_type = read_headers(message, self._guess)
        if len(message.body) > process_body_limit().bytes:
            raise _Unreadable(too_large(len(message.body)).detail)
        if spec.takes_event:
            try:
                event = host.codecs.decoder_for(content_type, spec.event_type)(message.body)
            except MicroError as error:
                raise _Unreadable(error.detail) from error
        context = Context(host.service, spec.name, headers, id=headers.get(ID, ""), topic=topic)
        ambient_context.set(context)
        if self._chain is not None:
            await self._chain(Request("subscriber", host.service, topic, headers, event, None))
        elif spec.blocking:
            await self._in_thread(event, context)
        else:
            await spec.bind(event, context)

    async def _innermost(self, request: Request) -> Response:
        context = Context.current()
        context.headers = request.headers
        if self.spec.blocking:
            await self._in_thread(request.value, context)
        else:
            await self.spec.bind(request.value, context)
        return Response(None, {})

    async def _in_thread(self, event: Any, context: Context) -> None:
        if self.spec.bind_thread is not None:
            await self.spec.bind_thread(event, context, self._run_in_thread)
        else:
            await self._run_in_thread(self.spec.bind, event, context)

    def _run_in_thread(self, function: Callable[..., Any], *args: Any) -> Coroutine[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None, "it runs in a task of the scope"
        self._in_threads.add(task)
        ended = partial(self._leave_thread, task)
        return self._host.threads.run(self.spec.name, function, *args, ended=ended)

    def _leave_thread(self, task: asyncio.Task[Any]) -> None:
        self._in_threads.discard(task)
        if task.done():
            self._limiter.release()

    def _drop(self) -> None:
        self._counters.dropped += 1
        if self._dropped.admit() is not None:
            count = self._counters.dropped
            _log.warning("%s is too slow: %d events dropped so far", self.spec.name, count)


def is_running(task: asyncio.Task[Any]) -> bool:
    """Whether this code runs in a task, and not because its coroutine is discarded."""
    try:
        return asyncio.current_task() is task
    except RuntimeError:
        return False  # no event loop is running


def _weight_of(delivery: Delivery) -> int:
    return MESSAGE_OVERHEAD_BYTES + len(delivery.message.body)
