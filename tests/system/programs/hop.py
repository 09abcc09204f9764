"""One of several services in a row: each calls the next, and says what it saw."""

from __future__ import annotations

import asyncio
import math

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from micro import Context, Service

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

service = Service()


@service.handler("Hop.Go")
async def go(hops: list[str], ctx: Context) -> list[float]:
    remaining = ctx.remaining() or math.nan
    if hops:
        client = service.client
        rest = await client.call(hops[0], "Hop.Go", hops[1:], list[float], timeout=60)
        return [remaining, *rest]
    await service.publish("hop.arrived", ctx.service)
    return [remaining]


@service.handler("Hop.Wait")
async def wait(hops: list[str], ctx: Context) -> None:
    try:
        if hops:
            await service.client.call(hops[0], "Hop.Wait", hops[1:], timeout=60)
        else:
            await service.publish("test.waiting", ctx.service)
            await asyncio.Event().wait()
    except asyncio.CancelledError:
        await service.publish("test.cancelled", ctx.service)
        raise


@service.handler("Hop.Spans")
async def spans() -> list[tuple[str, str, int, int]]:
    """Name, kind, trace and parent of every span that has ended."""
    return [
        (
            span.name,
            span.kind.name,
            span.context.trace_id if span.context else 0,
            span.parent.span_id if span.parent else 0,
        )
        for span in exporter.get_finished_spans()
        if "Spans" not in span.name
    ]


@service.subscriber("hop.arrived")
async def on_arrival(name: str, ctx: Context) -> None:
    await service.publish(f"test.arrived.{ctx.service}", name)


if __name__ == "__main__":
    service.run()
