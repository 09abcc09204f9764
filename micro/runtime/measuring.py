"""Metrics over HTTP, as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager

from micro.runtime.lifecycle import ServiceRunner
from micro.runtime.pages import Page, Text, serve_pages
from micro.telemetry.exposition import CONTENT_TYPE, exposition
from micro.telemetry.metrics import MetricKind, Sample

__all__ = ["ReadSamples", "samples_of", "serve_metrics"]

ReadSamples = Callable[[], Awaitable[Iterable[Sample]]]
"""Reads all samples of a program."""


def serve_metrics(address: str, read: ReadSamples) -> AbstractAsyncContextManager[str]:
    """Answer `/metrics` inside a block; see `serve_pages`.

    Args:
        address: `host:port`, or `:port` for every interface; port 0 takes a free one.
        read: Reads what is shown; it has 4.5 s.
    """

    async def page() -> Text:
        return Text(exposition(await read()), content_type=CONTENT_TYPE)

    pages: dict[str, Page] = {"/metrics": page}
    return serve_pages(address, pages, setting="metrics_address")


def samples_of(runners: Iterable[ServiceRunner]) -> Iterator[Sample]:
    """What the services of this process have counted; each sample names its service."""
    for runner in runners:
        identity = {
            "service": runner.name,
            "version": runner.settings.server_version,
            "node": runner.node_id,
        }
        yield Sample(
            "micro.service.info", 1, identity, MetricKind.GAUGE, "A node that runs; always 1."
        )
        for sample in runner.definition.metrics.samples():
            yield sample._replace(attributes=_with(sample.attributes, runner.name))


def _with(attributes: Mapping[str, str], service: str) -> Mapping[str, str]:
    return {"service": service, **attributes}
