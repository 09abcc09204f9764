"""The service: what a program writes handlers on, and what starts and stops everything.

Over 300 lines, most of them docstrings: it is the one class that every program uses.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar, Unpack, overload

from micro.backend import Backend, ConnectionEvent
from micro.broker.contract import Broker
from micro.client.client import Client
from micro.client.selector import Strategy
from micro.codec import Codec, Codecs, default_codecs
from micro.errors import HandlerError
from micro.events.outbox import Outbox
from micro.handlers.collector import SERVICE_QUEUE, Collector, QueueGroup
from micro.handlers.contract import read_contract
from micro.handlers.declarations import Declarations
from micro.handlers.definition import ConnectionHook, Hook, Layers, Runs, ServiceDefinition
from micro.handlers.options import EndpointOptions, SubscriberBounds
from micro.handlers.providers import Providers
from micro.memory import MemoryBackend
from micro.middleware import Layer
from micro.names import check_service
from micro.plugins import Backends
from micro.registry.contract import Registry
from micro.runtime.clients import open_client
from micro.runtime.configuration import load_for
from micro.runtime.lifecycle import ServiceRunner
from micro.runtime.process import open_backends, run_main
from micro.runtime.publisher import ServicePublisher
from micro.settings.load import PARTS, Settings
from micro.telemetry.metrics import Metrics
from micro.topic import Topic
from micro.transport.contract import Transport

__all__ = ["ConnectionHook", "Hook", "Service", "define", "open_client"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
C = TypeVar("C", bound=Callable[[ConnectionEvent], None])


class Service(Declarations, ServicePublisher):
    """A named, versioned program: its handlers, its subscribers, and its client.

    Args:
        name: The name it is called by; `server_name` of the settings when not given.
        version: Its version; `server_version` of the settings when not given.
        metadata: What callers can select its nodes by.
        id: This instance's id; fresh and unique when neither given nor set.
        transport: A plugin's name, an open backend or a transport; from the settings if not given.
        broker: The same for events.
        registry: The same for discovery.
        codecs: Codecs beside JSON, MessagePack, bytes and text, or in their place.
        middleware: Layers round every handler, the first outermost.
        client_middleware: Layers round every call and stream that it makes.
        subscriber_middleware: Layers round every subscriber.
        publish_middleware: Layers round every event that it publishes.
        strategy: Picks the node for each call it makes; the setting `selector` when not given.
        outbox: Its events are published while the service runs.
        settings: Settings by name, stronger than flags, variables and files.

    Raises:
        InvalidName: the name cannot be used.
    """

    def __init__(
        self,
        name: str = "",
        *,
        version: str = "",
        metadata: Mapping[str, str] | None = None,
        id: str = "",
        transport: str | Transport | Backend | None = None,
        broker: str | Broker | Backend | None = None,
        registry: str | Registry | Backend | None = None,
        codecs: Sequence[Codec] = (),
        middleware: Sequence[Layer] = (),
        client_middleware: Sequence[Layer] = (),
        subscriber_middleware: Sequence[Layer] = (),
        publish_middleware: Sequence[Layer] = (),
        strategy: Strategy[Any] | None = None,
        outbox: Outbox[Any] | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> None:
        if name:
            check_service(name)
        self.name = name
        own = {"server_name": name, "server_version": version, "server_id": id}
        overrides = {**(settings or {}), **{key: value for key, value in own.items() if value}}
        if metadata:
            overrides["server_metadata"] = dict(metadata)
        given = {"transport": transport, "broker": broker, "registry": registry}
        overrides.update((part, one) for part, one in given.items() if isinstance(one, str))
        self._runs = Runs[ServiceRunner]()
        self._metrics = Metrics()
        self._collector = Collector(
            ServiceDefinition(
                name=name,
                codecs=Codecs([*default_codecs(), *codecs]),
                runs=self._runs,
                metrics=self._metrics,
                providers=Providers(name, {Client: _client_of}),
                strategy=strategy,
                overrides=overrides,
                parts={
                    part: one
                    for part, one in given.items()
                    if one is not None and not isinstance(one, str)
                },
                layers=Layers(
                    server=tuple(middleware),
                    client=tuple(client_middleware),
                    subscriber=tuple(subscriber_middleware),
                    publisher=tuple(publish_middleware),
                ),
            )
        )
        if outbox is not None:
            self.on_start(outbox.check)
            self.start_task(_relay_of(outbox))

    @overload
    def handler(self, target: F, /) -> F: ...

    @overload
    def handler(
        self, name: str | None = ..., /, **options: Unpack[EndpointOptions]
    ) -> Callable[[F], F]: ...

    def handler(self, target: Any = None, /, **options: Unpack[EndpointOptions]) -> Any:
        """Serve a function, or every public method of a class, as endpoints.

        Use it bare, with a name, or with options:

            @service.handler
            @service.handler("Points.History")
            @service.handler(idempotent=True, max_concurrency=10)

        Raises:
            HandlerError: the signature cannot be served, or the name is taken.
            InvalidName: the name cannot be used.
            UsageError: the service is running.
        """
        # The caller's local types, which postponed annotations may name.
        scope = sys._getframe(1).f_locals
        if target is None or isinstance(target, str):

            def decorate(function: F) -> F:
                self._collector.add_handler(function, target, scope, options)
                return function

            return decorate
        self._collector.add_handler(target, None, scope, options)
        return target

    def implement(
        self,
        contract: Callable[..., Any],
        implementation: object,
        *,
        prefix: str | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        """Serve the methods of a contract, and check the class that implements them.

            service.implement(Catalog, CatalogService())

        The endpoints are named after the contract, as `client.use(Catalog, ...)` calls them. A
        method may take a wider type than the contract's and answer a narrower one; it may take a
        `Context` besides, and be a plain `def`. Other methods of the object are not served.

        Args:
            contract: A Protocol or an abstract class.
            implementation: An object, or a class that can be made without arguments.
            prefix: The first half of the endpoints' names; see `Client.use`.
            **options: See `EndpointOptions`; they hold for every method.

        Raises:
            HandlerError: methods are missing or have other types; the text names file and line.
            UsageError: the service is running.
        """
        # The caller's local types, which postponed annotations may name.
        scope = sys._getframe(1).f_locals
        read = read_contract(contract, prefix=prefix, localns=scope)
        self._collector.add_contract(read, implementation, scope, options)

    def subscriber(
        self,
        topic: str | Topic[Any],
        *,
        queue: QueueGroup = SERVICE_QUEUE,
        **bounds: Unpack[SubscriberBounds],
    ) -> Callable[[F], F]:
        """Handle the events of a topic.

        Args:
            topic: A `Topic`, a topic's name, or a pattern with `*` and `>`.
            queue: The group of which one member gets each event: the service's name when not
                given. With `None` every instance gets every event.
            **bounds: See `SubscriberBounds`; the settings hold for those that are not given. For a
                durable subscriber (`durable=True`), which gets stored events and gets them again
                after a failure, see `DurableOptions`; it has 32 events and 30 s by default.

        Raises:
            HandlerError: the signature cannot be served, a bound makes no sense, the function
                handles another type than the topic's, or the service knows the topic with
                another type.
            InvalidName: the topic or the queue cannot be used.
            UsageError: the service is running.
        """
        if not isinstance(topic, str | Topic):
            raise HandlerError(
                f"subscriber() takes a topic, got {topic!r}: write @service.subscriber('topic')"
            )
        # The caller's local types, which postponed annotations may name.
        scope = sys._getframe(1).f_locals

        def decorate(function: F) -> F:
            self._collector.add_subscriber(function, topic, queue, scope, **bounds)
            return function

        return decorate

    def on_start(self, hook: T) -> T:
        """Run a function at start, before the first request, in the order of the hooks.

        Its error stops the start; the stop hooks run then, too, so that what earlier start hooks
        have opened is closed.

        Raises:
            UsageError: the service is running.
        """
        self._collector.add_start_hook(hook)  # type: ignore[arg-type]  # T keeps the hook's own type
        return hook

    def on_stop(self, hook: T) -> T:
        """Run a function at stop, after the last request; the last hook that was added runs first.

        Its error is logged. Stop hooks run also when a start hook fails.

        Raises:
            UsageError: the service is running.
        """
        self._collector.add_stop_hook(hook)  # type: ignore[arg-type]  # T keeps the hook's own type
        return hook

    def on_connection(self, hook: C) -> C:
        """Call a function with each `ConnectionEvent`: connected, disconnected, denied and so on.

        It is called on the event loop, so it must be a plain function that returns at once; its
        error is logged. All events are logged as well.

        Raises:
            HandlerError: it is a coroutine function.
            UsageError: the service is running.
        """
        self._collector.add_connection_hook(hook)
        return hook

    @property
    def client(self) -> Client:
        """The service's client, for calls and events of its own.

        Inside a handler, a hook or a task that one of them started it is the client of the run
        that executes it; elsewhere the client of the only run.

        Raises:
            UsageError: the service is not running; or it runs several times in this process, and
                this code belongs to none of these runs.
        """
        run: ServiceRunner = self._runs.current(self.name)
        return run.client

    @property
    def metrics(self) -> Metrics:
        """What the service has counted, by name; see "Metrics" in the operations guide."""
        return self._metrics

    def run(self, argv: Sequence[str] | None = None) -> None:
        """Run until SIGINT or SIGTERM, with the settings of the command line; then exit.

        The exit code is 0 after a clean stop, 1 when something had to be cut off, 2 for a setting
        that cannot be used, 3 when no server could be reached. A second signal exits at once.

        Args:
            argv: Flags; those of the process when not given.
        """
        run_main([define(self)], sys.argv[1:] if argv is None else argv)

    @asynccontextmanager
    async def running(
        self,
        backend: Backend | None = None,
        *,
        backends: Backends | None = None,
        settings: Settings | None = None,
        spread: float = 0.0,
    ) -> AsyncIterator[Client]:
        """Run inside a block, for tests and for programs that do other things as well.

        One service can run several times at once: each run has its own client and its own node.

        Args:
            backend: Serves every part that was not given to the constructor; a new in-memory one
                when neither this nor `backends` nor `settings` is given. Services that are to
                find each other share one.
            backends: Open plugins to use instead.
            settings: Settings, the plugins that they name included, unless one of the above is
                given. This service's own arguments are laid over them.
            spread: Seconds to go on serving after the node has left the registry.

        Yields:
            The client of this run.
        """
        definition = define(self)
        runner = ServiceRunner(definition, settings or load_for(definition, (), {}), spread=spread)
        given = dict(definition.parts)
        if backend is not None or settings is None:
            shared = backend or MemoryBackend()
            given = {**dict.fromkeys(PARTS, shared), **given}
        async with AsyncExitStack() as stack:
            if backends is None:
                backends = await stack.enter_async_context(
                    open_backends([runner], runner.settings, given=given)
                )
            yield await stack.enter_async_context(runner.running(backends))


def define(service: Service) -> ServiceDefinition:
    """What a service serves at this moment, as a value for the runtime."""
    return service._collector.definition()


def _client_of(run: ServiceRunner) -> Client:
    return run.client


def _relay_of(outbox: Outbox[Any]) -> Callable[[Client], Coroutine[Any, Any, None]]:
    async def relay(client: Client) -> None:
        await outbox.relay_on(client.broker)

    return relay
