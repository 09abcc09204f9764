"""Tracing as middleware: W3C headers through OpenTelemetry's API (go-micro `wrapper/trace`).

Spans follow OpenTelemetry's semantic conventions for RPC and messaging. Without an SDK there is
nothing to trace and no layer is mounted, so it costs nothing; install the SDK before the service
starts.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, Status, StatusCode

from micro.errors import MicroError
from micro.middleware import Layer, Next, Request, Response, Side

__all__ = ["tracing_layers"]

_KINDS: Mapping[Side, SpanKind] = {
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
    "subscriber": SpanKind.CONSUMER,
    "publisher": SpanKind.PRODUCER,
}


def tracing_layers() -> tuple[Layer, ...]:
    """The tracing layer, or nothing while no OpenTelemetry SDK is installed in this process."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return ()
    return (_Tracing(provider.get_tracer("micro")),)


class _AnyCase(Getter[Mapping[str, str]]):
    """Finds headers whatever their case: go-micro writes `Traceparent`."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        found = [value for name, value in carrier.items() if name.lower() == key.lower()]
        return found or None

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_ANY_CASE = _AnyCase()
_END = object()


class _Tracing:
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    async def __call__(self, request: Request, next: Next) -> Response:
        outgoing = request.side in ("client", "publisher")
        # Start from an empty context, or the span active at startup would become the parent of
        # every request.
        parent = None if outgoing else propagate.extract(request.headers, Context(), _ANY_CASE)
        span = self._tracer.start_span(
            f"{request.service}/{request.endpoint}" if request.service else request.endpoint,
            context=parent,
            kind=_KINDS[request.side],
            attributes=_attributes(request),
        )
        around = trace.set_span_in_context(span, parent)
        streams = False
        try:
            with _current(span, around):
                if outgoing:
                    propagate.inject(request.headers)
                response = await next(request)
            if request.side == "server" and isinstance(response.value, AsyncGenerator):
                streams = True
                response.value = _follow(span, around, response.value)
            return response
        finally:
            if not streams:
                span.end()


async def _follow(
    span: trace.Span, around: Context, items: AsyncGenerator[Any, None]
) -> AsyncGenerator[Any, None]:
    """The items of a handler that streams; its span lasts until the last of them."""
    try:
        async with aclosing(items):
            while True:
                with _current(span, around):
                    item = await anext(items, _END)
                if item is _END:
                    return
                yield item
    finally:
        span.end()


@contextmanager
def _current(span: trace.Span, around: Context) -> Iterator[None]:
    """Make a span the current one, and note the error that ends the block."""
    token = attach(around)
    try:
        yield
    except MicroError as error:
        span.set_attribute("micro.code", error.code)
        span.set_status(Status(StatusCode.ERROR, error.detail))
        raise
    except Exception as error:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, type(error).__name__))
        raise
    finally:
        detach(token)


def _attributes(request: Request) -> dict[str, str]:
    if request.side in ("subscriber", "publisher"):
        return {"messaging.system": "micro", "messaging.destination.name": request.endpoint}
    return {
        "rpc.system": "micro",
        "rpc.service": request.service,
        "rpc.method": request.endpoint,
    }
