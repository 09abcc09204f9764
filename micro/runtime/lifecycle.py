"""One run of a service: the order in which its parts start, and in which they stop.

Start: open the parts, run the start hooks, listen, subscribe, register. Stop is the reverse: leave
the registry, let that spread, refuse new work, finish what runs, run the stop hooks, flush, close.

Over 300 lines, so that the whole order stands in one place.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager

from pydantic import BaseModel

from micro.backend import ConnectionEvent
from micro.client.client import Client
from micro.concurrency.budget import process_budget
from micro.errors import MicroError, Unavailable
from micro.events.subscribers import Subscribers
from micro.handlers.annotations import location_of
from micro.handlers.definition import ServiceDefinition, ambient_run
from micro.handlers.resolved import ResolvedHandlers
from micro.names import check_service
from micro.plugins import Backends
from micro.registry.contract import Registry
from micro.registry.record import ServiceRecord
from micro.runtime.configuration import (
    client_options,
    server_options,
    service_record,
    settings_over,
    subscriber_options,
)
from micro.runtime.hooks import Hooks
from micro.runtime.lifespans import Lifespans
from micro.runtime.showing import service_view
from micro.runtime.steps import Steps
from micro.runtime.tasks import Tasks
from micro.scope import open_scope
from micro.server.server import Server
from micro.settings.load import Settings
from micro.telemetry.logs import log_as
from micro.telemetry.metrics import MetricKind
from micro.transport.contract import Listener, Transport
from micro.wire.limits import process_body_limit

__all__ = ["ServiceRunner"]

_log = logging.getLogger("micro.service")

NETWORK_STEP_SECONDS = 2.0
MIN_TASK_SECONDS = 2.0
"""What background tasks get to end even when `shutdown_timeout` is over."""


class ServiceRunner:
    """Runs a service once. Runs of one service share nothing but its handlers.

    Args:
        definition: What to serve.
        settings: How; the service's own arguments are laid over them.
        spread: Seconds to go on serving after the node has left the registry.

    Attributes:
        definition: What it serves.
        settings: The settings that hold for this run.
        name: The service's name.
        own_settings: The application's own settings, by prefix.
        tasks: Its background tasks.
        steps: What it does at the moment.
        cut_off: After the stop, what had not ended in time: handlers, subscribers and hooks.

    Raises:
        ConfigError: one of the service's own arguments cannot be used.
        HandlerError: two endpoints have the same name.
        InvalidName: the service has no name, or one that cannot be used.
    """

    def __init__(
        self, definition: ServiceDefinition, settings: Settings, *, spread: float = 0.0
    ) -> None:
        self.definition = definition
        self.settings: Settings = settings_over(definition, settings)
        self.own_settings: dict[str, BaseModel] = {
            one.prefix: one.read(self.settings.own[one.prefix])
            for one in definition.own_models
            if one.prefix not in definition.given_settings
        }
        self.name: str = check_service(self.settings.server_name or definition.name)
        self.node_id: str = f"{self.name}-{self.settings.server_id or uuid.uuid4()}"
        self.steps: Steps = Steps()
        self.cut_off: list[str] = []
        self._endpoints = definition.endpoints_of(self.name)
        self._specs = definition.subscribers_of(self.name)
        self._spread = spread
        self._stack = AsyncExitStack()
        self._registration = AsyncExitStack()
        self._backends: Backends
        self._client: Client
        self._server: Server
        self._subscribers: Subscribers
        self._listener: Listener
        self._hooks = Hooks(definition, self.steps)
        self._lifespans = Lifespans(definition.providers, self.steps)
        self.tasks: Tasks = Tasks(self.name)
        self._started = False
        self._stopping = False

    @property
    def client(self) -> Client:
        """The client of this run."""
        return self._client

    @property
    def unfinished_events(self) -> dict[str, int]:
        """Events that are being handled or wait, by the name of the subscriber."""
        return self._subscribers.unfinished if self._started else {}

    @asynccontextmanager
    async def running(self, backends: Backends) -> AsyncIterator[Client]:
        """Run inside a block; leaving it stops the service in good order.

        Args:
            backends: Where its parts come from; they stay open.

        Yields:
            The client of this run.

        Raises:
            Unavailable: the start took longer than `start_timeout`.
        """
        self._backends = backends
        try:
            with self.identified():
                await self._start_in_time()
            yield self._client
        finally:
            await self.stop()
            with self.identified():
                await self._close()

    async def stop(self) -> None:
        """Stop in good order; a second call does nothing. What is cut off is in `cut_off`."""
        if self._stopping or not self._started:
            return
        self._stopping = True
        with self.identified():
            await self._stop()

    def kill(self) -> None:
        """End as in a crash, for tests: leaving the block cancels what runs, and drains nothing."""
        self._stopping = True
        self.steps.begin_stop(0.0)
        if self._started:
            self._server.kill()
            self._subscribers.kill()

    def identified(self) -> AbstractContextManager[None]:
        """Put this node's identity on the log lines of a block, and of tasks that start in it."""
        return log_as(service=self.name, version=self.settings.server_version, node=self.node_id)

    async def _stop(self) -> None:
        self.steps.begin_stop(self.settings.shutdown_timeout)
        await self.steps.attempt(
            "leaving the registry", self._registration.aclose(), NETWORK_STEP_SECONDS
        )
        if self._spread:
            await asyncio.sleep(self._spread)
        await self._finish_work()
        await self.steps.attempt(
            "draining the listener", self._listener.drain(), NETWORK_STEP_SECONDS
        )
        await self._stop_tasks()
        await self._stop_hooks()
        await self._close_lifespans()
        await self.steps.attempt("flushing events", self._client.flush(), NETWORK_STEP_SECONDS)
        _log.info("%s stopped", self.name)

    async def check(self) -> None:
        """Return if the service is ready for calls, after a round trip to its servers.

        Raises:
            Unavailable: it is starting or stopping, a background task has failed permanently, or a
                server cannot be reached.
        """
        if not self._started:
            raise Unavailable(f"{self.name} is starting: {self.steps.current}", id=self.name)
        if self._stopping:
            raise Unavailable(f"{self.name} is stopping: {self.steps.current}", id=self.name)
        self.tasks.check()
        self._subscribers.check()
        await self._backends.check()

    def tell(self, event: ConnectionEvent) -> None:
        """Tell the service's connection hooks of an event."""
        with self._ambient():
            for hook in self.definition.connection_hooks:
                try:
                    hook(event)
                except Exception:
                    # The boundary of a user's function: the other hooks and the connection go on.
                    _log.exception("%s failed", location_of(hook))

    @contextmanager
    def _ambient(self) -> Iterator[None]:
        """Make this the run that the block belongs to, and every task that it starts."""
        token = ambient_run.set(self)
        try:
            yield
        finally:
            ambient_run.reset(token)

    async def _start_in_time(self) -> None:
        try:
            async with asyncio.timeout(self.settings.start_timeout) as limit:
                with self._ambient():
                    await self._start()
        except TimeoutError:
            if not limit.expired():
                raise
            raise Unavailable(
                f"{self.name} did not start within {self.settings.start_timeout:g} s"
                f" (start_timeout); it was at: {self.steps.current}",
                id=self.name,
            ) from None
        except MicroError:
            raise  # It says itself what failed.
        except BaseException:
            _log.info("the start of %s has ended at: %s", self.name, self.steps.current)
            raise

    async def _start(self) -> None:
        with self.steps.step("opening the plugins"):
            transport, registry = await self._open_parts()
        values = await self._lifespans.open(self)
        resolved = ResolvedHandlers(values, self._endpoints, self._specs)
        self._stack.enter_context(resolved.following_overrides())
        self._server.mount(resolved.endpoints)
        await self.tasks.open(values, self._stack)
        await self._hooks.start()
        for task in self.definition.tasks:
            self.tasks.start(task)
        with self.steps.step("listening"):
            listener = await transport.listen(
                self._server.accept, address=self.settings.server_address
            )
            self._listener = await self._stack.enter_async_context(listener)
        with self.steps.step("subscribing"):
            await self._subscribers.subscribe(
                resolved.subscribers,
                has_other_work=bool(self._endpoints or self.definition.tasks),
            )
        # Register last: a caller may dial the moment the node is visible.
        with self.steps.step("registering"):
            await self._register(registry)
        self.steps.current = "serving"
        self._started = True

    async def _open_parts(self) -> tuple[Transport, Registry]:
        definition, settings = self.definition, self.settings
        codecs, layers, enter = (
            definition.codecs,
            definition.layers,
            self._stack.enter_async_context,
        )
        process_budget().limit = settings.memory_budget
        process_body_limit().bytes = settings.max_body
        transport = await self._backends.transport()
        broker = await self._backends.broker()
        registry = await self._backends.registry()
        metrics = definition.metrics
        options = client_options(
            settings,
            name=self.name,
            layers=layers,
            strategy=definition.strategy,
            metrics=metrics,
        )
        self._client = await enter(Client(transport, broker, registry, codecs, options))
        self._stack.enter_context(definition.runs.enter(self))
        self._stack.enter_context(metrics.observe(self._backends.counters, MetricKind.COUNTER))
        bounds = server_options(settings, layers)
        self._server = await enter(Server(self.name, codecs, bounds, metrics))
        self._stack.enter_context(metrics.observe(self._server.gauges))
        self._subscribers = await enter(
            Subscribers(
                self.name, broker, codecs, subscriber_options(settings, layers), metrics=metrics
            )
        )
        return transport, registry

    async def _register(self, registry: Registry) -> None:
        record = service_record(
            self.name,
            self.settings,
            self._listener,
            node_id=self.node_id,
            endpoints=self._endpoints,
            subscribers=self._specs,
        )
        self._server.named(record.nodes[0].id)
        ttl, interval = self.settings.register_ttl, self.settings.register_interval
        await self._stack.enter_async_context(self._registration)
        await self._registration.enter_async_context(
            registry.register(record, ttl=ttl, interval=interval)
        )
        _log.info("%s %s registered as node %s", self.name, record.version, record.nodes[0].id)
        await self._show(record)

    async def _show(self, record: ServiceRecord) -> None:
        view = service_view(
            self.name,
            record.version,
            record.nodes[0].id,
            metadata=self.settings.server_metadata,
            endpoints=self._endpoints,
            metrics=self.definition.metrics,
            accept=self._server.accept,
        )
        for shown in await self._backends.show(view):
            await self._stack.enter_async_context(shown)
            self._registration.push_async_callback(shown.drain)

    async def _finish_work(self) -> None:
        """Take nothing new, calls and events alike, and wait until what runs has ended."""
        with self.steps.step("calls and events that run"):
            async with open_scope() as scope:
                # Side by side: a call that takes long must not keep events from being handled.
                calls = scope.start(self._server.drain(self.steps.remaining()))
                events = scope.start(self._subscribers.drain(self.steps.remaining()))
                await asyncio.wait((calls, events))
        for name in (*calls.result(), *events.result()):
            _log.error("%s was still running after %gs", name, self.settings.shutdown_timeout)
            self.cut_off.append(name)

    async def _stop_hooks(self) -> None:
        with self._ambient():
            self.cut_off += await self._hooks.stop()

    async def _stop_tasks(self) -> None:
        with self.steps.step("background tasks"):
            self.cut_off += await self.tasks.stop(max(self.steps.remaining(), MIN_TASK_SECONDS))

    async def _close_lifespans(self) -> None:
        with self._ambient():
            self.cut_off += await self._lifespans.close()

    async def _close(self) -> None:
        """Close everything; after a start that failed, what its hooks had opened as well."""
        if not self._stopping:
            self.steps.begin_stop(self.settings.shutdown_timeout)
        await self._stop_tasks()
        if self._hooks.begun:
            await self._stop_hooks()
        await self._close_lifespans()
        await self.steps.attempt("closing", self._stack.aclose(), NETWORK_STEP_SECONDS)
