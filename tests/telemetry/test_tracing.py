# ruff: noqa: PT012, SIM117  a stream raises when it is read, inside its block
"""Traces over calls, streams and events, with OpenTelemetry's own exporter for tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from micro import Context, InternalError, NotFound, Service
from micro.telemetry.tracing import tracing_layers
from micro.testing import Signal
from tests.engine import running


class Traces:
    """What was exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def spans(self, kind: SpanKind | None = None) -> list[ReadableSpan]:
        spans = self.exporter.get_finished_spans()
        return [span for span in spans if kind in (None, span.kind)]

    def one(self, name: str, kind: SpanKind) -> ReadableSpan:
        (span,) = [span for span in self.spans(kind) if span.name == name]
        return span


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> Traces:
    # There is one global provider in a process and it cannot be replaced, so it is asked for here.
    traces = Traces()
    monkeypatch.setattr(
        "micro.telemetry.tracing.trace.get_tracer_provider", lambda: traces.provider
    )
    return traces


def parent(span: ReadableSpan) -> int | None:
    return span.parent.span_id if span.parent else None


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.trace_id


def test_without_an_sdk_there_is_no_layer() -> None:
    assert tracing_layers() == ()


async def test_a_call_and_the_calls_and_events_it_causes_are_one_trace(traces: Traces) -> None:
    orders, points = Service("orders"), Service("points")
    seen = asyncio.Event()

    @orders.handler
    async def place() -> None:
        await orders.client.call("points", "Points.Check")
        await orders.publish("orders.created", 1)

    @points.handler
    async def check() -> None: ...

    @points.subscriber("orders.*")
    async def on_order(event: int) -> None:
        await points.client.call("points", "Points.Check")
        seen.set()

    async with running(orders, points) as client:
        await client.call("orders", "Orders.Place")
        await asyncio.wait_for(seen.wait(), 5)

    called = traces.one("orders/Orders.Place", SpanKind.CLIENT)
    placed = traces.one("orders/Orders.Place", SpanKind.SERVER)
    published = traces.one("orders.created", SpanKind.PRODUCER)
    handled = traces.one("points/orders.created", SpanKind.CONSUMER)
    checks = traces.spans(SpanKind.CLIENT)
    assert parent(called) is None
    assert parent(placed) == id_of(called)
    assert parent(published) == id_of(placed)
    assert parent(handled) == id_of(published)
    assert {parent(span) for span in checks} == {None, id_of(placed), id_of(handled)}
    assert len({trace_of(span) for span in traces.spans()}) == 1
    assert len(traces.spans()) == 8


async def test_spans_say_what_was_called(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    async def check() -> None: ...

    async with running(service) as client:
        await client.call("points", "Points.Check")

    span = traces.one("points/Points.Check", SpanKind.SERVER)
    assert dict(span.attributes or {}) == {
        "rpc.system": "micro",
        "rpc.service": "points",
        "rpc.method": "Points.Check",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_an_error_marks_the_spans_at_both_ends(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    async def fail(expected: bool) -> None:
        raise NotFound("gone") if expected else ValueError("secret")

    async with running(service) as client:
        with pytest.raises(NotFound):
            await client.call("points", "Points.Fail", True)
        with pytest.raises(InternalError):
            await client.call("points", "Points.Fail", False)

    expected, unexpected = traces.spans(SpanKind.SERVER)
    assert expected.status.description == "gone"
    assert (expected.attributes or {})["micro.code"] == 404
    assert not expected.events
    assert unexpected.status.description == "ValueError"
    assert [event.name for event in unexpected.events] == ["exception"]
    assert all(s.status.status_code is StatusCode.ERROR for s in traces.spans())


@pytest.mark.parametrize("spelling", [str.lower, str.title, str.upper])
async def test_a_trace_is_continued_whatever_the_case_of_its_header(
    traces: Traces, spelling: Callable[[str], str]
) -> None:
    service = Service("points")

    @service.handler
    async def check() -> None: ...

    caller = Service("caller")
    async with running(service, caller) as client:
        client.options = type(client.options)()  # this caller traces nothing itself
        headers = {spelling("traceparent"): f"00-{5:032x}-{7:016x}-01"}
        await client.call("points", "Points.Check", headers=headers)

    (span,) = traces.spans(SpanKind.SERVER)
    assert (trace_of(span), parent(span)) == (5, 7)


async def test_span_active_at_startup_is_not_a_parent(traces: Traces) -> None:
    service, caller = Service("points"), Service("caller")

    @service.handler
    async def check() -> None: ...

    with traces.provider.get_tracer("test").start_as_current_span("start"):
        async with running(service, caller) as client:
            client.options = type(client.options)()
            await client.call("points", "Points.Check")

    (span,) = traces.spans(SpanKind.SERVER)
    assert span.parent is None


async def test_baggage_travels_along(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    async def inner() -> str:
        return str(baggage.get_baggage("tenant"))

    @service.handler
    async def outer() -> str:
        return await service.client.call("points", "Points.Inner", None, str)

    async with running(service) as client:
        token = context.attach(baggage.set_baggage("tenant", "acme"))
        try:
            assert await client.call("points", "Points.Outer", None, str) == "acme"
        finally:
            context.detach(token)


async def test_calls_made_by_a_stream_are_part_of_its_trace(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    async def check() -> None: ...

    @service.handler
    async def history() -> AsyncIterator[int]:
        for number in range(3):
            await service.client.call("points", "Points.Check")
            yield number

    async with running(service) as client:
        async with client.stream("points", "Points.History", None, int) as numbers:
            assert [number async for number in numbers] == [0, 1, 2]

    stream = traces.one("points/Points.History", SpanKind.SERVER)
    calls = [s for s in traces.spans(SpanKind.CLIENT) if s.name == "points/Points.Check"]
    assert [parent(span) for span in calls] == [id_of(stream)] * 3
    assert (stream.end_time or 0) >= (calls[-1].end_time or 1)


async def test_a_stream_that_fails_late_marks_its_span(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    async def history() -> AsyncIterator[int]:
        yield 1
        raise NotFound("no more")

    async with running(service) as client:
        with pytest.raises(NotFound):
            async with client.stream("points", "Points.History", None, int) as numbers:
                await numbers.receive()
                await numbers.receive()

    assert traces.one("points/Points.History", SpanKind.SERVER).status.description == "no more"


async def test_a_stream_that_is_left_ends_its_span(traces: Traces) -> None:
    service, ended = Service("points"), Signal()

    @service.handler
    async def history() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async with running(service) as client:
        async with client.stream("points", "Points.History", None, int) as numbers:
            await numbers.receive()

    assert traces.one("points/Points.History", SpanKind.SERVER).end_time


async def test_a_plain_functions_thread_knows_the_span(traces: Traces) -> None:
    service = Service("points")

    @service.handler
    def check(ctx: Context) -> int:
        return trace.get_current_span().get_span_context().span_id

    async with running(service) as client:
        current = await client.call("points", "Points.Check", None, int)

    assert current == id_of(traces.one("points/Points.Check", SpanKind.SERVER))


async def test_one_span_stands_for_a_call_and_all_its_retries(traces: Traces) -> None:
    service = Service("points", settings={"max_concurrency": 1, "max_queue": 0})
    busy, go = asyncio.Event(), asyncio.Event()

    @service.handler
    async def wait() -> None:
        busy.set()
        await go.wait()

    async with running(service) as client:
        first = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await busy.wait()
        second = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(first, second)

    assert len(traces.spans(SpanKind.CLIENT)) == 2
    assert len(traces.spans(SpanKind.SERVER)) == 2
