"""The client: calls, streams and events, sent to services by their names."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import Any, Final, Self, TypeVar, overload

from micro.broker.contract import Broker
from micro.client.attempts import Caller, Wanted
from micro.client.directory import Directory
from micro.client.plan import Plan, Plans
from micro.client.selector import Strategy, Where, least_in_flight
from micro.client.stream import ClientStream
from micro.client.typed import make_proxy
from micro.codec import Codecs
from micro.deadline import Deadline, ambient_deadline, enforce
from micro.errors import DeadlineExceeded, HandlerError, MicroError
from micro.events.publisher import Publisher
from micro.handlers.raises import check_raises
from micro.middleware import Layer, Next, Request, Response, fold
from micro.registry.contract import Registry
from micro.scope import open_scope
from micro.telemetry.metrics import Metrics
from micro.transport.contract import Transport
from micro.wire.compression import Compression

__all__ = ["DEFAULT", "Client", "ClientOptions", "Fallback"]

R = TypeVar("R")
P = TypeVar("P")
Fallback = Callable[[MicroError], R]
"""Gives a value in place of a call's error, or raises."""

DEFAULT: Final = float("nan")
"""The timeout that stands for the client's own default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """How a client behaves where a call does not say otherwise.

    Attributes:
        timeout: Seconds until a call must be answered, retries included.
        retries: How often a call may be tried again where that is safe.
        content_type: How requests and events are written.
        strategy: Picks the node for each call.
        middleware: Layers round every call and stream, the first outermost.
        publish_middleware: Layers round every event that is published.
        compression: How requests are compressed, and answers asked for; `None` for not at all.
        name: The name of the service that owns the client; empty for none.
        metrics: Where the client counts; its own when not given.
    """

    timeout: float = 5.0
    retries: int = 2
    content_type: str = "application/json"
    strategy: Strategy[Any] = least_in_flight
    middleware: Sequence[Layer] = ()
    publish_middleware: Sequence[Layer] = ()
    compression: Compression | None = None
    name: str = ""
    metrics: Metrics = field(default_factory=Metrics, compare=False)


class Client:
    """Calls services and publishes events. Use it inside `async with`; many calls share it.

    Args:
        transport: Dials nodes.
        broker: Publishes events.
        registry: Tells who serves what.
        codecs: Reads and writes bodies.
        options: Defaults for every call.
    """

    def __init__(
        self,
        transport: Transport,
        broker: Broker,
        registry: Registry,
        codecs: Codecs,
        options: ClientOptions | None = None,
    ) -> None:
        self.broker = broker
        self.registry = registry
        self.options = options or ClientOptions()
        self._codecs = codecs
        self._plans = Plans(codecs, self.options.content_type)
        self._directory = Directory(
            transport,
            registry,
            self.options.strategy,
            self.options.compression,
            counters=self.options.metrics.client,
        )
        self._caller = Caller(self._directory)
        self._usual = Wanted(self.options.retries)
        self._publisher = Publisher(
            broker,
            codecs,
            self.options.content_type,
            self.options.publish_middleware,
            counters=self.options.metrics.publisher,
        )
        self._scope_of = open_scope()

    async def __aenter__(self) -> Self:
        self._directory.open(await self._scope_of.__aenter__())
        return self

    async def __aexit__(self, *exc: Any) -> None:
        self._directory.close()
        await self._scope_of.__aexit__(*exc)

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: type[R],
        *,
        timeout: float | None = ...,
        headers: dict[str, str] | None = ...,
        where: Where | None = ...,
        idempotent: bool | None = ...,
        retries: int | None = ...,
        content_type: str | None = ...,
        raises: Sequence[type[MicroError]] = ...,
        fallback: Fallback[R] | None = ...,
    ) -> R: ...

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = ...,
        response_type: Any = ...,
        *,
        timeout: float | None = ...,
        headers: dict[str, str] | None = ...,
        where: Where | None = ...,
        idempotent: bool | None = ...,
        retries: int | None = ...,
        content_type: str | None = ...,
        raises: Sequence[type[MicroError]] = ...,
        fallback: Fallback[Any] | None = ...,
    ) -> Any: ...

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        response_type: Any = Any,
        *,
        timeout: float | None = DEFAULT,
        headers: dict[str, str] | None = None,
        where: Where | None = None,
        idempotent: bool | None = None,
        retries: int | None = None,
        content_type: str | None = None,
        raises: Sequence[type[MicroError]] = (),
        fallback: Fallback[Any] | None = None,
    ) -> Any:
        """Call an endpoint and wait for its answer.

        Inside a handler the handler's own deadline holds as well, whichever comes first. Leaving
        the call early (cancellation) stops the handler at the other end.

        Args:
            service: The service's name.
            endpoint: The endpoint's name, `Type.Method`.
            request: The request; `None` for an endpoint that takes none.
            response_type: What to read the answer as.
            timeout: Seconds until the answer must be here, retries included; the client's default
                when not given, no limit of its own when `None`.
            headers: Headers of the application's own.
            where: Which nodes may answer.
            idempotent: Whether running it twice does no harm; what the registry says of the
                endpoint when not given.
            retries: How often it may be tried again where that is safe.
            content_type: How to write the request.
            raises: Errors of the application's own that it may raise, as classes: they arrive with
                their fields. Others arrive as the class of their code, with `details`.
            fallback: Gives a value in place of the error, should the call fail.

        Raises:
            MicroError: the class says what kind, `refused` whether it surely did not run.
        """
        plan = self._plans.get(service, endpoint, type(request), response_type, content_type)
        wanted = self._usual
        if where is not None or idempotent is not None or retries is not None or raises:
            most = wanted.retries if retries is None else retries
            wanted = Wanted(most, where, idempotent, check_raises(raises))
        try:
            deadline = self._deadline(timeout)
            if not self.options.middleware:
                body = plan.encode(request)
                reply = await self._caller.call(plan, body, headers, deadline, wanted)
                return self._plans.decode(plan, reply)
            layered = Request("client", service, endpoint, dict(headers or {}), request, deadline)
            return (await fold(self.options.middleware, self._last(plan, wanted))(layered)).value
        except MicroError as error:
            if fallback is None:
                raise
            return fallback(error)

    @overload
    def stream(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: type[R],
        *,
        timeout: float | None = ...,
        headers: dict[str, str] | None = ...,
        where: Where | None = ...,
        content_type: str | None = ...,
        raises: Sequence[type[MicroError]] = ...,
    ) -> AbstractAsyncContextManager[ClientStream[R]]: ...

    @overload
    def stream(
        self,
        service: str,
        endpoint: str,
        request: Any = ...,
        response_type: Any = ...,
        *,
        timeout: float | None = ...,
        headers: dict[str, str] | None = ...,
        where: Where | None = ...,
        content_type: str | None = ...,
        raises: Sequence[type[MicroError]] = ...,
    ) -> AbstractAsyncContextManager[ClientStream[Any]]: ...

    @asynccontextmanager
    async def stream(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        response_type: Any = Any,
        *,
        timeout: float | None = None,
        headers: dict[str, str] | None = None,
        where: Where | None = None,
        content_type: str | None = None,
        raises: Sequence[type[MicroError]] = (),
    ) -> AsyncIterator[ClientStream[Any]]:
        """Open a stream; leaving the block ends it at both ends.

        Args:
            service: The service's name.
            endpoint: The endpoint's name.
            request: The one request of a server stream; an async iterable to send all of, while
                answers come; or `None` to send by hand with `ClientStream.send`.
            response_type: What to read each answer as.
            timeout: Seconds for the whole stream. There is no limit when not given: a peer that
                dies is noticed all the same, within half a minute.
            headers: Headers of the application's own.
            where: Which nodes may answer.
            content_type: How to write requests.
            raises: Errors of the application's own that it may raise; see `call`.

        Raises:
            MicroError: the stream could not be opened, or failed.
        """
        plan = self._plans.get(service, endpoint, type(request), response_type, content_type)
        known = check_raises(raises)
        deadline = self._deadline(timeout)
        layered = Request("client", service, endpoint, dict(headers or {}), request, deadline)
        async with (
            enforce(deadline, f"the stream {endpoint}") if deadline else nullcontext(),
            open_scope() as scope,
            AsyncExitStack() as opened,
        ):

            async def last(request: Request) -> Response:
                call, channel = await self._caller.open_stream(plan, request, where)
                if not channel.native:
                    opened.callback(channel.socket.close)
                opened.callback(call.close)
                encode = self._codecs.encoder_for(plan.content_type, Any)
                stream = ClientStream[Any](call, encode, plan.decode, known)
                if isinstance(request.value, AsyncIterable):
                    scope.start(stream.send_all(request.value))
                return Response(stream, {})

            yield (await fold(self.options.middleware, last)(layered)).value

    async def publish(
        self,
        topic: str,
        event: Any,
        *,
        headers: dict[str, str] | None = None,
        content_type: str | None = None,
    ) -> None:
        """Publish an event.

        Returns when it is on its way. Delivery is at most once: a subscriber that is away, and
        with a NATS broker an event in flight when the channel breaks, misses it; `flush` tells
        that the server has taken all that was published before.

        Args:
            topic: Where; no wildcards.
            event: A value that the codec can write.
            headers: Headers of the application's own.
            content_type: How to write it.

        Raises:
            InvalidName: the topic cannot be used.
            ConnectionLost: there was no channel within the broker's bound.
        """
        await self._publisher.publish(topic, event, headers, content_type)

    async def flush(self) -> None:
        """Wait until the broker has taken all that was published before."""
        await self.broker.flush()

    def use(self, contract: Callable[..., P], *, service: str, prefix: str | None = None) -> P:
        """A typed client: an object with the methods of a Protocol class, each one a call.

        Args:
            contract: A Protocol class; its coroutine methods are calls, its methods that return an
                `AsyncIterator` are streams. (mypy refuses an abstract class where a `type` is
                wanted, so it is declared as something to call.)
            service: The service's name.
            prefix: The first half of the endpoints' names; the class's own name when not given.

        Raises:
            HandlerError: a method's signature cannot be called.
        """
        if not isinstance(contract, type):
            raise HandlerError(f"{contract!r} is not a class")
        made: P = make_proxy(self, contract, service=service, prefix=prefix or contract.__name__)
        return made

    def _last(self, plan: Plan, wanted: Wanted) -> Next:
        async def last(request: Request) -> Response:
            body = plan.encode(request.value)
            reply = await self._caller.call(plan, body, request.headers, request.deadline, wanted)
            return Response(self._plans.decode(plan, reply), dict(reply.headers))

        return last

    def _deadline(self, timeout: float | None) -> Deadline | None:
        ambient = ambient_deadline.get()
        if timeout is None or timeout == inf:
            return ambient
        if timeout != timeout:  # not a number: DEFAULT
            timeout = self.options.timeout
        now = monotonic()
        at = now + timeout
        if ambient is not None and ambient.at < at:
            at = ambient.at
        if at <= now:
            raise DeadlineExceeded("no time left for the call", id="micro.client", refused=True)
        return Deadline(at)
