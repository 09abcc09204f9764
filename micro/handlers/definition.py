"""What a service serves, as a value, and the runs of it.

`Service` collects handlers and hooks and makes a ServiceDefinition of them; the runtime takes the
definition. So the runtime knows nothing of decorators, and one service can run several times.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from micro.backend import Backend, ConnectionEvent
from micro.broker.contract import Broker
from micro.codec import Codecs
from micro.errors import HandlerError, UsageError
from micro.handlers.annotations import location_of
from micro.handlers.endpoint import Endpoint
from micro.handlers.providers import Providers
from micro.handlers.servable import check_servable
from micro.handlers.subscriber import SubscriberSpec
from micro.handlers.tasks import TaskSpec
from micro.middleware import Layer
from micro.registry.contract import Registry
from micro.settings.own import OwnModel
from micro.telemetry.metrics import Metrics
from micro.topic import Topic
from micro.transport.contract import Transport

__all__ = [
    "ConnectionHook",
    "Hook",
    "Layers",
    "PartObject",
    "Runs",
    "ServiceDefinition",
    "add_endpoint",
    "ambient_run",
]

R = TypeVar("R")

Hook = Callable[[], Awaitable[None] | None]
"""What runs at start or stop: a function without arguments, `async` or not."""

ConnectionHook = Callable[[ConnectionEvent], None]
"""What is told of each event of a connection: a plain function that returns at once."""

PartObject = Transport | Broker | Registry | Backend
"""What can be given in place of a plugin's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """The middleware of one service, by where it is mounted; the first layer is the outermost."""

    server: Sequence[Layer] = ()
    client: Sequence[Layer] = ()
    subscriber: Sequence[Layer] = ()
    publisher: Sequence[Layer] = ()


ambient_run: ContextVar[object | None] = ContextVar("micro_run", default=None)
"""The run whose handler, hook or task is executing, if any."""


class Runs(Generic[R]):
    """The runs of one service that are going on in this process.

    A run is entered when its client can be used, and left when it stops.
    """

    __slots__ = ("_active",)

    def __init__(self) -> None:
        self._active: list[R] = []

    def __len__(self) -> int:
        return len(self._active)

    @contextmanager
    def enter(self, run: R) -> Iterator[None]:
        """Count a run as going on while the block lasts."""
        self._active.append(run)
        try:
            yield
        finally:
            self._active = [one for one in self._active if one is not run]

    def current(self, name: str) -> R:
        """The run that executes this code; outside of every run, the only one.

        Args:
            name: The service's name, for the error.

        Raises:
            UsageError: the service is not running, or several runs are going on and this code
                belongs to none of them.
        """
        ambient = ambient_run.get()
        for run in self._active:
            if run is ambient:
                return run
        if len(self._active) == 1:
            return self._active[0]
        if not self._active:
            raise UsageError(f"service {name!r} is not running, so it has no client yet")
        raise UsageError(
            f"service {name!r} runs {len(self._active)} times in this process, and this code"
            " belongs to none of these runs: use the client that running() gives"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceDefinition:
    """All that a service serves and how it was configured in code.

    Attributes:
        name: The service's name; empty when the settings give it.
        codecs: Read and write bodies.
        runs: The runs that are going on.
        metrics: What all runs together have counted.
        providers: What handlers can depend on.
        endpoints: Endpoints whose names are known.
        unnamed: Make an endpoint once the service's name is known.
        subscribers: Each subscriber, and whether its queue is the service's name.
        topics: The topics that it subscribes to with a type.
        start_hooks: Run before the first request, in order.
        stop_hooks: Run after the last request, in reverse order.
        connection_hooks: Called with each event of a connection.
        tasks: Background tasks that start with each run.
        own_models: The application's own settings.
        given_settings: Own settings that tests put in the place of what is configured, by prefix.
        layers: Middleware.
        strategy: Picks the node for each call; `None` for the one in the settings.
        overrides: Settings given in code, by name.
        parts: Parts and backends given as objects, by `transport`, `broker` and `registry`.
    """

    name: str
    codecs: Codecs
    # The runtime says what a run is; this package is below it.
    runs: Runs[Any]
    metrics: Metrics = field(default_factory=Metrics)
    providers: Providers = field(default_factory=Providers)
    endpoints: tuple[Endpoint, ...] = ()
    unnamed: tuple[Callable[[str], Endpoint], ...] = ()
    subscribers: tuple[tuple[SubscriberSpec, bool], ...] = ()
    topics: tuple[Topic[Any], ...] = ()
    start_hooks: tuple[Hook, ...] = ()
    stop_hooks: tuple[Hook, ...] = ()
    connection_hooks: tuple[ConnectionHook, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    own_models: tuple[OwnModel, ...] = ()
    given_settings: Mapping[str, object] = field(default_factory=dict)
    layers: Layers = field(default_factory=Layers)
    strategy: Callable[[Sequence[Any]], Any] | None = None
    overrides: Mapping[str, object] = field(default_factory=dict)
    parts: Mapping[str, PartObject] = field(default_factory=dict)

    def endpoints_of(self, service: str) -> tuple[Endpoint, ...]:
        """All endpoints of a run that goes by the name `service`.

        Raises:
            HandlerError: two have the same name, or no codec carries a type.
        """
        endpoints = {endpoint.name: endpoint for endpoint in self.endpoints}
        for make in self.unnamed:
            add_endpoint(endpoints, make(service))
        for each in endpoints.values():
            types = {"request": each.request_type, "response": each.response_type}
            check_servable(self.codecs, each.handler, final=True, **types)
        return tuple(endpoints.values())

    def subscribers_of(self, service: str) -> tuple[SubscriberSpec, ...]:
        """All subscribers; those that named no queue share the queue `service`.

        Raises:
            HandlerError: no codec carries a type.
        """
        for each, _ in self.subscribers:
            check_servable(self.codecs, each.handler, final=True, event=each.event_type)
        return tuple(
            replace(spec, queue=service) if own else spec for spec, own in self.subscribers
        )


def add_endpoint(endpoints: dict[str, Endpoint], endpoint: Endpoint) -> None:
    """Add an endpoint under its name.

    Raises:
        HandlerError: the name is taken; the text names both functions.
    """
    taken = endpoints.get(endpoint.name)
    if taken is not None:
        raise HandlerError(
            f"two handlers are named {endpoint.name!r}: "
            f"{location_of(taken.handler)} and {location_of(endpoint.handler)}"
        )
    endpoints[endpoint.name] = endpoint
