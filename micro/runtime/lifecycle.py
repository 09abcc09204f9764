"""One service's life: the order in which its parts start, and in which they stop.

Start: open the parts, run the start hooks, listen, subscribe, register. Stop is the reverse, and
bounded: leave the registry, let that spread, refuse new work, finish what runs, flush, close.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from micro.backend import ConnectionEvent, log_event
from micro.client.client import Client, ClientOptions
from micro.client.selector import Strategy, strategy_named
from micro.errors import MicroError, Unavailable
from micro.events.subscribers import SubscriberOptions, Subscribers
from micro.handlers.endpoint import Endpoint, SubscriberSpec
from micro.handlers.schema import endpoint_record, subscriber_record
from micro.handlers.signature import location_of
from micro.middleware import Layer
from micro.names import check_service
from micro.plugins import Backends
from micro.registry.record import Node, ServiceRecord
from micro.server.server import Server, ServerOptions
from micro.settings.load import Settings
from micro.telemetry.metrics import MetricKind
from micro.telemetry.tracing import tracing_layers
from micro.transport.contract import Listener
from micro.wire.compression import Compression, encodings
from micro.wire.headers import NATIVE, READS_NULL

if TYPE_CHECKING:
    from micro.service import Hook, Service

__all__ = ["Life", "Middleware", "announce", "client_options"]

_log = logging.getLogger("micro.service")


@dataclass(frozen=True, slots=True, kw_only=True)
class Middleware:
    """The layers of one service, by where they are mounted; the first of each is the outermost."""

    server: Sequence[Layer] = ()
    client: Sequence[Layer] = ()
    subscriber: Sequence[Layer] = ()
    publisher: Sequence[Layer] = ()


def client_options(
    settings: Settings, name: str, middleware: Middleware, strategy: Strategy[Any] | None
) -> ClientOptions:
    """What the settings say of a client; tracing is its outermost layer."""
    tracing = tracing_layers()
    return ClientOptions(
        timeout=settings.client_request_timeout,
        retries=settings.client_retries,
        content_type=settings.client_content_type,
        strategy=strategy or strategy_named(settings.selector),
        compression=Compression.named(settings.compression, settings.compression_threshold),
        middleware=(*tracing, *middleware.client),
        publish_middleware=(*tracing, *middleware.publisher),
        name=name,
    )


def announce(services: Iterable[Service], event: ConnectionEvent) -> None:
    """Log an event of a connection, and tell the hooks of the services that share it."""
    log_event(event)
    for service in services:
        for hook in service.connection_hooks:
            try:
                hook(event)
            except Exception:
                # The boundary of a user's function: the connection goes on, and so do other hooks.
                _log.exception("%s failed", location_of(hook))


class Life:
    """Starts a service when it is entered; `stop` ends it in good order.

    Args:
        service: What to run.
        settings: How.
        backends: Where its parts come from; they stay open.
        spread: Seconds to go on serving after the node has left the registry.

    Attributes:
        stuck: After `stop`, the handlers and subscribers that had to be cut off.
    """

    def __init__(
        self, service: Service, settings: Settings, backends: Backends, *, spread: float
    ) -> None:
        self.stuck: list[str] = []
        self._service = service
        self._settings = settings
        self._backends = backends
        self._spread = spread
        self._name = check_service(settings.server_name or service.name)
        self._stack = AsyncExitStack()
        self._registration = AsyncExitStack()
        self._client: Client
        self._server: Server
        self._subscribers: Subscribers
        self._listener: Listener | None = None
        self._stopped = False

    async def __aenter__(self) -> Client:
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def _start(self) -> Client:
        service, settings, enter = self._service, self._settings, self._stack.enter_async_context
        transport = await self._backends.transport()
        broker = await self._backends.broker()
        registry = await self._backends.registry()
        options = replace(
            client_options(settings, self._name, service.middleware, service.strategy),
            metrics=service.metrics,
        )
        self._client = await enter(Client(transport, broker, registry, service.codecs, options))
        service.attach(self._client)
        self._stack.callback(service.attach, None)
        metrics = service.metrics
        self._stack.enter_context(metrics.observe(self._backends.counters, MetricKind.COUNTER))
        self._server = await enter(
            Server(self._name, service.codecs, self._server_options(), counters=metrics.server)
        )
        self._stack.enter_context(metrics.observe(self._server.gauges))
        endpoints = service.endpoints(self._name)
        self._server.mount(endpoints)
        self._subscribers = await enter(
            Subscribers(
                self._name, broker, service.codecs, self._subscriber_options(), metrics=metrics
            )
        )
        await _run_hooks(service.start_hooks)
        self._stack.push_async_callback(_run_stop_hooks, service.stop_hooks)
        self._listener = await enter(
            await transport.listen(self._server.accept, address=settings.server_address)
        )
        specs = service.subscribers(self._name)
        await self._subscribers.subscribe(specs)
        record = self._record(self._listener, endpoints, specs)
        self._server.named(record.nodes[0].id)
        await enter(self._registration)
        await self._registration.enter_async_context(
            registry.register(
                record, ttl=settings.register_ttl, interval=settings.register_interval
            )
        )
        _log.info("%s %s serves as %s", self._name, record.version, record.nodes[0].id)
        return self._client

    async def stop(self) -> None:
        """Stop in good order; a second call does nothing. What is cut off is in `stuck`."""
        if self._stopped or self._listener is None:
            return
        self._stopped = True
        end = time.monotonic() + self._settings.shutdown_timeout
        await _tolerate("leaving the registry", self._registration.aclose())
        if self._spread:
            await asyncio.sleep(self._spread)
        self.stuck += await self._server.drain(_left(end))
        self.stuck += await self._subscribers.drain(_left(end))
        await _tolerate("draining the listener", self._listener.drain())
        await _tolerate("flushing events", self._client.flush())
        for name in self.stuck:
            _log.error("%s was still running after %gs", name, self._settings.shutdown_timeout)
        _log.info("%s stopped", self._name)

    async def check(self) -> None:
        """Return if the service is ready for calls, after a round trip to its servers.

        Raises:
            Unavailable: it has not started yet, or is stopping, or a server cannot be reached.
        """
        if self._listener is None or self._stopped:
            raise Unavailable(f"{self._name} takes no calls now", id=self._name)
        await self._backends.check()

    def _server_options(self) -> ServerOptions:
        settings = self._settings
        return ServerOptions(
            max_concurrency=settings.max_concurrency,
            max_streams=settings.max_streams,
            max_queue=settings.max_queue,
            threads=settings.threads,
            timeout=settings.server_timeout,
            access_log=settings.access_log,
            middleware=(*tracing_layers(), *self._service.middleware.server),
        )

    def _subscriber_options(self) -> SubscriberOptions:
        settings = self._settings
        return SubscriberOptions(
            max_concurrency=settings.subscriber_max_concurrency,
            max_queue=settings.subscriber_max_queue,
            timeout=settings.subscriber_timeout,
            threads=settings.threads,
            middleware=(*tracing_layers(), *self._service.middleware.subscriber),
        )

    def _record(
        self, listener: Listener, endpoints: Iterable[Endpoint], specs: Sequence[SubscriberSpec]
    ) -> ServiceRecord:
        settings = self._settings
        # A go-micro client without `protocol` would fall back to its oldest dialect
        # (go-micro `client/rpc_codec.go`).
        metadata = {
            **settings.server_metadata,
            "protocol": "mucp",
            "server": "mucp",
            "transport": settings.transport,
            "broker": settings.broker,
            "registry": settings.registry,
            NATIVE: "1",
            READS_NULL: "1",
            "encodings": ",".join(encodings()),
            **listener.metadata,
        }
        identity = settings.server_id or str(uuid.uuid4())
        node = Node(id=f"{self._name}-{identity}", address=listener.address, metadata=metadata)
        records = (*map(endpoint_record, endpoints), *map(subscriber_record, specs))
        return ServiceRecord(
            name=self._name,
            version=settings.server_version,
            endpoints=tuple(sorted(records, key=lambda record: record.name)),
            nodes=(node,),
        )


def _left(end: float) -> float:
    return max(0.0, end - time.monotonic())


async def _run_hooks(hooks: Iterable[Hook]) -> None:
    for hook in hooks:
        result = hook()
        if inspect.isawaitable(result):
            await result


async def _run_stop_hooks(hooks: Iterable[Hook]) -> None:
    for hook in hooks:
        try:
            await _run_hooks((hook,))
        except Exception:
            # The user's own code at the very end: the parts must be closed all the same.
            _log.exception("a stop hook failed")


async def _tolerate(doing: str, work: Any) -> None:
    """Await a step of the stop; a connection that is gone must not keep the rest from it."""
    try:
        await work
    except MicroError as error:
        _log.warning("%s failed: %s", doing, error)
