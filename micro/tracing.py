"""Tracing as middleware: W3C headers through OpenTelemetry's API (go-micro `wrapper/trace`).

Spans follow OpenTelemetry's semantic conventions for RPC and messaging. Without an SDK there is
nothing to trace and no layer is mounted, so it costs nothing; install the SDK before the service
starts.
"""

from __future__ import annotations

from collections.abc import Mapping

from opentelemetry import propagate, trace
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import SpanKind, Status, StatusCode

from micro.errors import MicroError
from micro.middleware import Layer, Next, Request, Response

__all__ = ["tracing_layers"]

_KINDS = {
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


class _Tracing:
    def __init__(self, tracer: trace.Tracer) -> None:
        self._tracer = tracer

    async def __call__(self, request: Request, next: Next) -> Response:
        outgoing = request.side in ("client", "publisher")
        parent = None if outgoing else propagate.extract(request.headers, getter=_ANY_CASE)
        with self._tracer.start_as_current_span(
            f"{request.service}/{request.endpoint}" if request.service else request.endpoint,
            context=parent,
            kind=_KINDS[request.side],
            attributes=_attributes(request),
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            if outgoing:
                propagate.inject(request.headers)
            try:
                return await next(request)
            except MicroError as error:
                span.set_attribute("micro.code", error.code)
                span.set_status(Status(StatusCode.ERROR, error.detail))
                raise
            except Exception as error:
                span.record_exception(error)
                span.set_status(Status(StatusCode.ERROR, type(error).__name__))
                raise


def _attributes(request: Request) -> dict[str, str]:
    if request.side in ("subscriber", "publisher"):
        return {"messaging.system": "micro", "messaging.destination.name": request.endpoint}
    return {
        "rpc.system": "micro",
        "rpc.service": request.service,
        "rpc.method": request.endpoint,
    }
