"""A node as its backends show it to the tools of their own world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from micro.backend import EndpointStats, EndpointView, ServiceView
from micro.handlers.endpoint import Endpoint
from micro.telemetry.durations import Durations
from micro.telemetry.metrics import Metrics
from micro.transport.contract import Accept

__all__ = ["service_view"]


def service_view(
    name: str,
    version: str,
    node: str,
    *,
    metadata: Mapping[str, str],
    endpoints: Iterable[Endpoint],
    metrics: Metrics,
    accept: Accept,
) -> ServiceView:
    """The view of one node; streams are left out, as one plain request cannot carry them."""
    return ServiceView(
        name=name,
        version=version,
        node=node,
        metadata=metadata,
        endpoints=tuple(
            EndpointView(
                name=each.name,
                metadata=each.metadata,
                read_stats=partial(_stats, metrics.calls_of(each.name)),
            )
            for each in endpoints
            if not each.kind.is_stream
        ),
        accept=accept,
    )


def _stats(durations: Durations) -> EndpointStats:
    histograms = [*durations]
    errors = sum(sum(histogram.counts) for error, histogram in histograms if error)
    return EndpointStats(
        requests=sum(sum(histogram.counts) for _, histogram in histograms),
        errors=errors,
        seconds=sum(histogram.seconds for _, histogram in histograms),
        last_error=durations.last_error,
    )
