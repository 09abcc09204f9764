"""The service: what a program writes handlers on, and what starts and stops everything."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, Unpack, overload

from micro.backend import Backend, ConnectionEvent
from micro.broker.contract import Broker
from micro.client.client import Client
from micro.client.selector import Strategy
from micro.codec import Codec, Codecs, default_codecs
from micro.errors import HandlerError, UsageError
from micro.handlers.endpoint import (
    Endpoint,
    EndpointOptions,
    SubscriberBounds,
    SubscriberSpec,
    endpoint_from_function,
    endpoints_from_object,
    subscriber_from_function,
)
from micro.handlers.signature import location_of
from micro.memory import MemoryBackend
from micro.middleware import Layer
from micro.names import check_service
from micro.plugins import Backends
from micro.registry.contract import Registry
from micro.runtime.lifecycle import Life, Middleware, announce, client_options
from micro.settings.load import OPTIONS, Part, Settings, load_settings
from micro.telemetry.metrics import Metrics
from micro.transport.contract import Transport

__all__ = ["ConnectionHook", "Hook", "Service", "open_client"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
C = TypeVar("C", bound=Callable[[ConnectionEvent], None])

Hook = Callable[[], Awaitable[None] | None]
"""What runs at start or stop: a function without arguments, `async` or not."""

ConnectionHook = Callable[[ConnectionEvent], None]
"""What learns of a connection's fate: a plain function that returns at once."""

_OWN_QUEUE = "\0own"
"""Stands for the service's own name as a queue group, which `None` cannot."""


class Service:
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
        settings: Mapping[str, object] | None = None,
    ) -> None:
        if name:
            check_service(name)
        self._given = {"server_name": name, "server_version": version, "server_id": id}
        self._overrides = dict(settings or {})
        self._overrides.update((key, value) for key, value in self._given.items() if value)
        if metadata:
            self._overrides["server_metadata"] = dict(metadata)
        self.parts: dict[Part, Transport | Broker | Registry | Backend] = {}
        self._take_part("transport", transport)
        self._take_part("broker", broker)
        self._take_part("registry", registry)
        self.name = name
        self.codecs = Codecs([*default_codecs(), *codecs])
        self.middleware = Middleware(
            server=middleware,
            client=client_middleware,
            subscriber=subscriber_middleware,
            publisher=publish_middleware,
        )
        self.strategy = strategy
        self._endpoints: dict[str, Endpoint] = {}
        self._nameless: list[Callable[[str], Endpoint]] = []
        self.start_hooks: list[Hook] = []
        self.stop_hooks: list[Hook] = []
        self.connection_hooks: list[ConnectionHook] = []
        self._subscribers: list[tuple[SubscriberSpec, bool]] = []
        self._client: Client | None = None
        self._metrics = Metrics()

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
        """
        scope = sys._getframe(1).f_locals
        if target is None or isinstance(target, str):

            def decorate(function: F) -> F:
                self._add(function, target, scope, options)
                return function

            return decorate
        self._add(target, None, scope, options)
        return target

    def subscriber(
        self, topic: str, *, queue: str | None = _OWN_QUEUE, **bounds: Unpack[SubscriberBounds]
    ) -> Callable[[F], F]:
        """Handle the events of a topic.

        Args:
            topic: A topic, or a pattern with `*` and `>`.
            queue: The group of which one member gets each event: the service's name when not
                given. With `None` every instance gets every event.
            **bounds: See `SubscriberBounds`; the settings hold for those that are not given.

        Raises:
            HandlerError: the signature cannot be served, or a bound makes no sense.
            InvalidName: the topic or the queue cannot be used.
        """
        scope = sys._getframe(1).f_locals

        def decorate(function: F) -> F:
            # Read now, so that a mistake shows where it was made.
            own = queue == _OWN_QUEUE
            spec = subscriber_from_function(
                function, topic, queue=None if own else queue, localns=scope, **bounds
            )
            self._subscribers.append((spec, own))
            return function

        return decorate

    def on_start(self, hook: T) -> T:
        """Run a function at start, before the first request; its error stops the start."""
        self.start_hooks.append(hook)  # type: ignore[arg-type]  # T keeps the hook's own type
        return hook

    def on_stop(self, hook: T) -> T:
        """Run a function at stop, after the last request; its error is logged."""
        self.stop_hooks.append(hook)  # type: ignore[arg-type]  # T keeps the hook's own type
        return hook

    def on_connection(self, hook: C) -> C:
        """Call a function with each `ConnectionEvent`: connected, disconnected, denied and so on.

        It is called on the event loop, so it must be a plain function that returns at once; its
        error is logged. All events are logged besides.

        Raises:
            HandlerError: it is a coroutine function.
        """
        if inspect.iscoroutinefunction(hook):
            raise HandlerError(
                f"{location_of(hook)}: on_connection takes a plain function, not a coroutine"
            )
        self.connection_hooks.append(hook)
        return hook

    @property
    def client(self) -> Client:
        """The service's client, for calls and events of its own.

        Raises:
            UsageError: the service is not running.
        """
        if self._client is None:
            raise UsageError(f"service {self.name!r} is not running, so it has no client yet")
        return self._client

    @property
    def metrics(self) -> Metrics:
        """What the service has counted, by name; see "Metrics" in the operations guide."""
        return self._metrics

    def attach(self, client: Client | None) -> None:
        """Give the service its client while it runs."""
        self._client = client

    async def publish(
        self, topic: str, event: Any, *, headers: dict[str, str] | None = None
    ) -> None:
        """Publish an event; see `Client.publish`."""
        await self.client.publish(topic, event, headers=headers)

    def settings(
        self, argv: Sequence[str] = (), environ: Mapping[str, str] | None = None
    ) -> Settings:
        """The settings that hold for this service: its own arguments, then flags, and so on.

        Raises:
            ConfigError: one of them cannot be used.
        """
        return load_settings(argv, environ or {}, overrides=self._overrides)

    def over(self, settings: Settings) -> Settings:
        """Settings that several services share, with this one's own arguments over them.

        Raises:
            ConfigError: one of its arguments cannot be used.
        """
        own = load_settings((), {}, overrides=self._overrides)
        names = [option.name for option in OPTIONS if option.name in self._overrides]
        return replace(settings, **{name: getattr(own, name) for name in names})

    def endpoints(self, name: str) -> tuple[Endpoint, ...]:
        """The endpoints, of a service that goes by `name`.

        Raises:
            HandlerError: two have the same name.
        """
        endpoints = dict(self._endpoints)
        for make in self._nameless:
            _put(endpoints, make(name))
        return tuple(endpoints.values())

    def subscribers(self, queue: str) -> tuple[SubscriberSpec, ...]:
        """The subscribers, with `queue` as the group of those that did not name theirs."""
        return tuple(replace(spec, queue=queue) if own else spec for spec, own in self._subscribers)

    def run(self, argv: Sequence[str] | None = None) -> None:
        """Run until SIGINT or SIGTERM, with the settings of the command line; then exit.

        The exit code is 0 after a clean stop, 1 when something had to be cut off, 2 for a setting
        that cannot be used, 3 when no server could be reached. A second signal exits at once.

        Args:
            argv: Flags; those of the process when not given.
        """
        from micro.runtime.process import run_main

        run_main([self], sys.argv[1:] if argv is None else argv)

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

        Args:
            backend: Serves every part that was not given to the constructor; a new in-memory one
                when neither this nor `backends` nor `settings` is given. Services that are to
                find each other share one.
            backends: Open plugins to use instead.
            settings: Settings, the plugins that they name included, unless one of the above is
                given; this service's own over the defaults when not given.
            spread: Seconds to go on serving after the node has left the registry.

        Yields:
            The service's client.
        """
        chosen = settings or self.settings()
        async with self._backends(settings, backend, backends) as opened:
            life = Life(self, chosen, opened, spread=spread)
            async with life as client:
                try:
                    yield client
                finally:
                    await life.stop()

    @asynccontextmanager
    async def _backends(
        self, settings: Settings | None, backend: Backend | None, backends: Backends | None
    ) -> AsyncIterator[Backends]:
        if backends is not None:
            yield backends
            return
        given: dict[Part, Any] = {}
        if backend is not None or settings is None:
            shared = backend or MemoryBackend()
            given = {"transport": shared, "broker": shared, "registry": shared}
        chosen = settings or self.settings()
        async with Backends(
            name=self.name,
            settings=chosen,
            on_event=partial(announce, [self]),
            given={**given, **self.parts},
        ) as own:
            yield own

    def _add(
        self, target: Any, name: str | None, scope: Mapping[str, Any], options: EndpointOptions
    ) -> None:
        if not inspect.isroutine(target):
            if name is not None:
                raise HandlerError(
                    f"class {target!r}: its methods name its endpoints; give no name"
                )
            for endpoint in endpoints_from_object(target, localns=scope, **options):
                _put(self._endpoints, endpoint)
            return

        def make(service: str) -> Endpoint:
            return endpoint_from_function(
                target, service=service, name=name, localns=scope, **options
            )

        if self.name or name is not None:
            _put(self._endpoints, make(self.name))
        else:
            make("service")  # its signature is judged now, its name when the settings give one
            self._nameless.append(make)

    def _take_part(self, part: Part, given: Any) -> None:
        if isinstance(given, str):
            self._overrides[part] = given
        elif given is not None:
            self.parts[part] = given


@asynccontextmanager
async def open_client(
    settings: Settings, *, codecs: Iterable[Codec] = (), name: str = "micro-client"
) -> AsyncIterator[Client]:
    """A client without a service, for scripts and tools.

    Args:
        settings: Which plugins to use and how.
        codecs: Codecs beside the usual ones.
        name: What its connections are called on their servers.
    """
    known = Codecs([*default_codecs(), *codecs])
    async with (
        Backends(name=name, settings=settings) as backends,
        Client(
            await backends.transport(),
            await backends.broker(),
            await backends.registry(),
            known,
            client_options(settings, "", Middleware(), None),
        ) as client,
    ):
        yield client


def _put(endpoints: dict[str, Endpoint], endpoint: Endpoint) -> None:
    taken = endpoints.get(endpoint.name)
    if taken is not None:
        raise HandlerError(
            f"two handlers are named {endpoint.name!r}: "
            f"{location_of(taken.handler)} and {location_of(endpoint.handler)}"
        )
    endpoints[endpoint.name] = endpoint
