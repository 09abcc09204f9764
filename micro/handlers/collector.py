"""Collects what decorators add to a service, and makes its definition."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from enum import Enum
from typing import Any, Final, Literal, TypeVar, Unpack

from pydantic import BaseModel

from micro.errors import HandlerError, UsageError
from micro.handlers.annotations import location_of
from micro.handlers.contract import Contract
from micro.handlers.definition import ConnectionHook, Hook, ServiceDefinition, add_endpoint
from micro.handlers.endpoint import Endpoint, endpoint_from_function, endpoints_from_object
from micro.handlers.implementation import endpoints_from_contract
from micro.handlers.options import EndpointOptions, SubscriberBounds, check_endpoint_options
from micro.handlers.own_settings import OwnSettings
from micro.handlers.servable import type_name
from micro.handlers.subscriber import SubscriberSpec, subscriber_from_function
from micro.handlers.tasks import Restart, TaskSpec, task_from_function
from micro.settings.own import OwnModel, check_prefixes, prefix_for
from micro.topic import Topic

__all__ = ["SERVICE_QUEUE", "Collector", "QueueGroup"]


M = TypeVar("M", bound=BaseModel)


class _Default(Enum):
    SERVICE_QUEUE = "the service's name"


SERVICE_QUEUE: Final = _Default.SERVICE_QUEUE
"""The queue of a subscriber that names none: the service's name, which the settings may give."""

QueueGroup = str | None | Literal[_Default.SERVICE_QUEUE]
"""A queue group; `None` for every instance."""


class Collector:
    """Handlers, subscribers and hooks of one service, in the order they were added.

    Nothing can be added while the service runs: a run would not see it.

    Args:
        configured: All that the constructor of the service was given.
    """

    def __init__(self, configured: ServiceDefinition) -> None:
        self._configured = configured
        self._endpoints: dict[str, Endpoint] = {}
        self._unnamed: list[Callable[[str], Endpoint]] = []
        self._subscribers: list[tuple[SubscriberSpec, bool]] = []
        self._topics: dict[str, Topic[Any]] = {}
        self._start_hooks: list[Hook] = []
        self._stop_hooks: list[Hook] = []
        self._connection_hooks: list[ConnectionHook] = []
        self._tasks: list[TaskSpec] = []
        self._own_models: list[OwnModel] = []
        self._given_settings: dict[str, Any] = {}

    def add_handler(
        self,
        target: Any,
        name: str | None,
        localns: Mapping[str, Any],
        options: EndpointOptions,
    ) -> None:
        """Add a function, or every public method of a class.

        Raises:
            HandlerError: the signature cannot be served, or the name is taken.
            InvalidName: the name cannot be used.
            UsageError: the service is running.
        """
        self._check_not_running("a handler")
        # Before they are passed on as keywords, where an unknown one could hide a parameter.
        check_endpoint_options(target, options)
        known: Any = {"codecs": self._configured.codecs, "providers": self._configured.providers}
        if not inspect.isroutine(target):
            if name is not None:
                raise HandlerError(
                    f"class {target!r}: its methods name its endpoints; give no name"
                )
            for endpoint in endpoints_from_object(target, localns=localns, **known, **options):
                add_endpoint(self._endpoints, endpoint)
            return

        def make(service: str) -> Endpoint:
            return endpoint_from_function(
                target, service=service, name=name, localns=localns, **known, **options
            )

        if self._configured.name or name is not None:
            add_endpoint(self._endpoints, make(self._configured.name))
        else:
            make("service")  # A mistake shows here; the settings will give the name.
            self._unnamed.append(make)

    def add_contract(
        self,
        contract: Contract,
        implementation: object,
        localns: Mapping[str, Any],
        options: EndpointOptions,
    ) -> None:
        """Add the endpoints of a contract.

        Raises:
            HandlerError: the implementation differs from the contract, or a name is taken.
            UsageError: the service is running.
        """
        self._check_not_running("a contract")
        check_endpoint_options(implementation, options)
        known: Any = {"codecs": self._configured.codecs, "providers": self._configured.providers}
        for endpoint in endpoints_from_contract(
            contract, implementation, localns=localns, **known, **options
        ):
            add_endpoint(self._endpoints, endpoint)

    def add_subscriber(
        self,
        function: Callable[..., Any],
        topic: str | Topic[Any],
        queue: QueueGroup,
        localns: Mapping[str, Any],
        **bounds: Unpack[SubscriberBounds],
    ) -> None:
        """Add a subscriber.

        Raises:
            HandlerError: the signature cannot be served, a bound makes no sense, or another topic
                of that name has another type.
            InvalidName: the topic or the queue cannot be used.
            UsageError: the service is running.
        """
        self._check_not_running("a subscriber")

        own = queue is SERVICE_QUEUE
        named = None if queue is SERVICE_QUEUE else queue
        known: Any = {"codecs": self._configured.codecs, "providers": self._configured.providers}
        spec = subscriber_from_function(
            function, topic, queue=named, localns=localns, grouped=not own, **known, **bounds
        )
        self._keep_topic(topic)
        self._check_durable(spec)
        self._subscribers.append((spec, own))

    def add_lifespan(self, function: Callable[..., Any], localns: Mapping[str, Any]) -> None:
        """Add a lifespan.

        Raises:
            HandlerError: it cannot be one.
            UsageError: the service is running.
        """
        self._check_not_running("a lifespan")
        self._configured.providers.add_lifespan(function, localns)

    def override(
        self, provider: Callable[..., Any], fake: Callable[..., Any], localns: Mapping[str, Any]
    ) -> AbstractContextManager[None]:
        """Use `fake` in place of a provider while the block lasts."""
        return self._configured.providers.override(provider, fake, localns)

    def task(
        self,
        function: Callable[..., Coroutine[Any, Any, object]],
        localns: Mapping[str, Any],
        restart: Restart,
        max_restarts: int | None,
    ) -> TaskSpec:
        """Make a background task.

        Raises:
            HandlerError: it cannot be one.
        """
        providers = self._configured.providers
        return task_from_function(
            function, providers, localns, restart=restart, max_restarts=max_restarts
        )

    def add_task(self, spec: TaskSpec) -> None:
        """Start a background task with each run from now on."""
        self._tasks.append(spec)

    def add_own_settings(self, model: type[M], prefix: str | None) -> OwnSettings[M]:
        """Add settings of the application.

        Raises:
            ConfigError: another model has the prefix.
            UsageError: the model or the prefix cannot be used, or the service is running.
        """
        self._check_not_running("a settings model")
        name = self._configured.name
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            raise UsageError(f"config() takes a pydantic model, got {model!r}")
        own = OwnModel(
            model, prefix_for(model, name) if prefix is None else prefix, location_of(model)
        )
        check_prefixes([*self._own_models, own], ())
        self._own_models.append(own)
        return OwnSettings(self._configured.runs, name, own.prefix, self._given_settings)

    def add_start_hook(self, hook: Hook) -> None:
        """Add a start hook.

        Raises:
            UsageError: the service is running.
        """
        self._check_not_running("a start hook")
        self._start_hooks.append(hook)

    def add_stop_hook(self, hook: Hook) -> None:
        """Add a stop hook.

        Raises:
            UsageError: the service is running.
        """
        self._check_not_running("a stop hook")
        self._stop_hooks.append(hook)

    def add_connection_hook(self, hook: ConnectionHook) -> None:
        """Add a connection hook.

        Raises:
            HandlerError: it is a coroutine function.
            UsageError: the service is running.
        """
        if inspect.iscoroutinefunction(hook):
            raise HandlerError(
                f"{location_of(hook)}: on_connection takes a plain function, not a coroutine"
            )
        self._check_not_running("a connection hook")
        self._connection_hooks.append(hook)

    def definition(self) -> ServiceDefinition:
        """All that was added so far, as a value."""
        return replace(
            self._configured,
            endpoints=tuple(self._endpoints.values()),
            unnamed=tuple(self._unnamed),
            subscribers=tuple(self._subscribers),
            topics=tuple(self._topics.values()),
            start_hooks=tuple(self._start_hooks),
            stop_hooks=tuple(self._stop_hooks),
            connection_hooks=tuple(self._connection_hooks),
            tasks=tuple(self._tasks),
            own_models=tuple(self._own_models),
            given_settings=self._given_settings,
        )

    def _keep_topic(self, topic: str | Topic[Any]) -> None:
        if isinstance(topic, str):
            return
        known = self._topics.setdefault(topic.name, topic)
        if known.type != topic.type:
            raise HandlerError(
                f"topic {topic.name!r} has two types in one service: {type_name(known.type)} "
                f"({known.place}) and {type_name(topic.type)} ({topic.place})"
            )

    def _check_durable(self, spec: SubscriberSpec) -> None:
        for other, _ in self._subscribers:
            one, two = other.durable, spec.durable
            if one is None or two is None or one.topic.name != two.topic.name:
                continue
            if one.topic.keep != two.topic.keep:
                raise HandlerError(
                    f"topic {one.topic.name!r} is kept in two ways in one service:"
                    f" {one.topic.place} and {two.topic.place}; make one Topic and import it"
                )
            if one.name == two.name:
                raise HandlerError(
                    f"{location_of(spec.handler)} and {location_of(other.handler)} have one"
                    f" position on topic {one.topic.name!r}: give one of them a name, as in"
                    " durable='mail'"
                )

    def _check_not_running(self, what: str) -> None:
        if len(self._configured.runs):
            raise UsageError(
                f"service {self._configured.name!r} is running, and {what} that is added now would"
                " not be served: add it at import, before run() or running()"
            )
