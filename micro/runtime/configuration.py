"""What settings mean for one service: its own over shared ones, and the options of its parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from micro.client.client import ClientOptions
from micro.client.selector import strategy_named
from micro.errors import HandlerError
from micro.events.kept_topics import KeptPolicy
from micro.events.subscribers import SubscriberOptions
from micro.handlers.definition import Layers, ServiceDefinition
from micro.handlers.endpoint import Endpoint
from micro.handlers.schema import endpoint_record, subscriber_record
from micro.handlers.servable import type_name
from micro.handlers.subscriber import SubscriberSpec
from micro.registry.record import Node, ServiceRecord
from micro.server.server import ServerOptions
from micro.settings.load import OPTIONS, Settings, load_settings
from micro.telemetry.metrics import Metrics
from micro.telemetry.tracing import tracing_layers
from micro.topic import Topic
from micro.transport.contract import Listener
from micro.wire.compression import Compression, encodings
from micro.wire.headers import NATIVE, READS_NULL

__all__ = [
    "client_options",
    "load_all",
    "load_for",
    "server_options",
    "service_record",
    "settings_over",
    "subscriber_options",
]


def load_for(
    definition: ServiceDefinition, argv: Sequence[str], environ: Mapping[str, str]
) -> Settings:
    """Load a service's settings: its own arguments, then flags, variables and so on.

    Raises:
        ConfigError: one of them cannot be used.
    """
    return load_all([definition], argv, environ)


def load_all(
    definitions: Sequence[ServiceDefinition], argv: Sequence[str], environ: Mapping[str, str]
) -> Settings:
    """Load the settings of services that run in one process; the first one's arguments count.

    Raises:
        ConfigError: one of them cannot be used, or two settings models have one prefix.
        HandlerError: one topic has two types; the text names both places.
    """
    _check_topics(definitions)
    own = {(one.prefix, one.model): one for each in definitions for one in each.own_models}
    overrides = definitions[0].overrides
    return load_settings(argv, environ, overrides=overrides, own=list(own.values()))


def _check_topics(definitions: Sequence[ServiceDefinition]) -> None:
    known: dict[str, Topic[Any]] = {}
    for topic in (each for definition in definitions for each in definition.topics):
        other = known.setdefault(topic.name, topic)
        if other.type != topic.type:
            raise HandlerError(
                f"topic {topic.name!r} has two types in one program: {type_name(other.type)}"
                f" ({other.place}) and {type_name(topic.type)} ({topic.place});"
                " make one Topic and import it"
            )


def settings_over(definition: ServiceDefinition, settings: Settings) -> Settings:
    """Lay a service's own arguments over settings that it may share with others.

    Raises:
        ConfigError: one of its arguments cannot be used.
    """
    own = load_settings((), {}, overrides=definition.overrides, own=definition.own_models)
    names = [option.name for option in OPTIONS if option.name in definition.overrides]
    plugins = {
        name: {**settings.plugins.get(name, {}), **table} for name, table in own.plugins.items()
    }
    merged = {**settings.plugins, **plugins}
    tables = {name: {**settings.own.get(name, {}), **table} for name, table in own.own.items()}
    given = {name: getattr(own, name) for name in names}
    return replace(settings, plugins=merged, own=tables, **given)


def client_options(
    settings: Settings,
    *,
    name: str = "",
    layers: Layers | None = None,
    strategy: Callable[[Sequence[Any]], Any] | None = None,
    metrics: Metrics | None = None,
) -> ClientOptions:
    """What the settings say of a client; tracing is its outermost layer."""
    tracing = tracing_layers()
    mounted = layers or Layers()
    return ClientOptions(
        timeout=settings.client_request_timeout,
        retries=settings.client_retries,
        content_type=settings.client_content_type,
        strategy=strategy or strategy_named(settings.selector),
        compression=Compression.named(settings.compression, settings.compression_threshold),
        middleware=(*tracing, *mounted.client),
        publish_middleware=(*tracing, *mounted.publisher),
        name=name,
        metrics=metrics or Metrics(),
        kept=_kept_policy(settings),
    )


def server_options(settings: Settings, layers: Layers) -> ServerOptions:
    """What the settings say of a server; tracing is its outermost layer."""
    return ServerOptions(
        max_concurrency=settings.max_concurrency,
        max_streams=settings.max_streams,
        max_queue=settings.max_queue,
        threads=settings.threads,
        timeout=settings.server_timeout,
        access_log=settings.access_log,
        middleware=(*tracing_layers(), *layers.server),
    )


def subscriber_options(settings: Settings, layers: Layers) -> SubscriberOptions:
    """What the settings say of subscribers; tracing is their outermost layer."""
    return SubscriberOptions(
        max_concurrency=settings.subscriber_max_concurrency,
        max_queue=settings.subscriber_max_queue,
        timeout=settings.subscriber_timeout,
        threads=settings.threads,
        middleware=(*tracing_layers(), *layers.subscriber),
        kept=_kept_policy(settings),
        instance=settings.server_id,
    )


def _kept_policy(settings: Settings) -> KeptPolicy:
    return KeptPolicy(
        timeout=settings.client_request_timeout,
        allow_unbounded=settings.allow_unbounded,
        on_drift=settings.on_drift,
    )


def service_record(
    name: str,
    settings: Settings,
    listener: Listener,
    *,
    node_id: str,
    endpoints: Iterable[Endpoint],
    subscribers: Iterable[SubscriberSpec],
) -> ServiceRecord:
    """The record of one node, as the registry tells it to callers."""
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
    node = Node(id=node_id, address=listener.address, metadata=metadata)
    records = (*map(endpoint_record, endpoints), *map(subscriber_record, subscribers))
    return ServiceRecord(
        name=name,
        version=settings.server_version,
        endpoints=tuple(sorted(records, key=lambda record: record.name)),
        nodes=(node,),
    )
