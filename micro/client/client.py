"""The client: calls, streams and events, sent to services by their names."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from math import inf
from time import monotonic
from typing import Any, Self, TypeVar, Unpack, overload

from micro.broker.contract import Broker
from micro.client.attempts import CallPolicy, RetryingCaller
from micro.client.directory import Directory
from micro.client.events import EventClient
from micro.client.gather import GatherClient
from micro.client.node import NodeInfo
from micro.client.options import (
    DEFAULT,
    CallOptions,
    ClientOptions,
    StreamOptions,
    UseDefault,
    check_options,
    check_timeout,
    policy_from,
)
from micro.client.plan import CallPlan, PlanCache
from micro.client.pool import ChannelPool
from micro.client.stream import ClientStream
from micro.client.typed import make_proxy
from micro.codec import Codecs
from micro.concurrency.bridge import Bridge
from micro.deadline import Deadline, ambient, enforce, new_deadline
from micro.errors import DeadlineExceeded, MicroError
from micro.events.publisher import Publisher
from micro.handlers.contract import read_contract
from micro.handlers.raises import check_raises
from micro.middleware import Next, Request, Response, fold
from micro.registry.contract import Registry
from micro.scope import open_scope
from micro.transport.contract import Transport
from micro.wire.headers import application_headers

__all__ = ["DEFAULT", "Client", "ClientOptions"]

R = TypeVar("R")
P = TypeVar("P")


class Client(EventClient, GatherClient):
    """Calls services and publishes events. Use it inside `async with`, once; many calls share it.

    Args:
        transport: Dials nodes.
        broker: Publishes events.
        registry: Knows who serves what.
        codecs: Reads and writes bodies.
        options: Defaults for every call.

    Attributes:
        bridge: The way to this client from other threads, for `micro.sync`.
    """

    bridge: Bridge

    def __init__(
        self,
        transport: Transport,
        broker: Broker,
        registry: Registry,
        codecs: Codecs,
        options: ClientOptions | None = None,
    ) -> None:
        options = options or ClientOptions()
        metrics = options.metrics
        publisher = Publisher(
            broker,
            codecs,
            options.content_type,
            options.publish_middleware,
            counters=metrics.publisher,
            kept=options.kept,
        )
        super().__init__(broker, codecs, publisher, metrics)
        self.transport = transport
        self.registry = registry
        self.options = options
        counters = metrics.client
        self._plans = PlanCache(codecs, options.content_type)
        self._pool = ChannelPool(transport, options.compression, counters)
        self._directory = Directory(registry, self._pool, options.strategy, counters=counters)
        self._caller = RetryingCaller(self._directory, counters)
        self._default_policy = CallPolicy(options.retries)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        scope = await self._stack.enter_async_context(open_scope())
        self.bridge = Bridge(scope)
        self._stack.callback(self.bridge.close)
        self._pool.open(scope)
        self._stack.callback(self._pool.close)
        self._directory.open(scope)
        self._stack.callback(self._directory.close)
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._stack.__aexit__(*exc)

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: type[R],
        **options: Unpack[CallOptions[R]],
    ) -> R: ...

    @overload
    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = ...,
        response_type: Any = ...,
        **options: Unpack[CallOptions[Any]],
    ) -> Any: ...

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        response_type: Any = Any,
        **options: Unpack[CallOptions[Any]],
    ) -> Any:
        """Call an endpoint and wait for its answer.

        Inside a handler the handler's own deadline holds as well, whichever is earlier. Leaving
        the call early (cancellation) stops the handler at the other end.

        Args:
            service: The service's name.
            endpoint: The endpoint's name, `Type.Method`.
            request: The request; `None` for an endpoint that takes none.
            response_type: What to read the answer as.
            **options: See `CallOptions`.

        Raises:
            MicroError: the class says what kind, `refused` whether it surely did not run.
        """
        content_type = reply_headers = headers = None
        timeout: float | UseDefault | None = DEFAULT
        policy = self._default_policy
        if options:
            check_options(options, stream=False)
            reply_headers = options.get("reply_headers")
            content_type = options.get("content_type")
            headers = options.get("headers")
            timeout = options.get("timeout", DEFAULT)
            policy = policy_from(policy, options)
        plan = self._plans.get(service, endpoint, type(request), response_type, content_type)
        try:
            deadline = self._deadline(timeout)
            if not self.options.middleware:
                body = plan.encode(request)
                reply = await self._caller.call(plan, body, headers, deadline, policy)
                value = self._plans.decode(plan, reply)
                if reply_headers is not None:
                    reply_headers.update(application_headers(reply.headers))
                return value
            layered = Request("client", service, endpoint, dict(headers or {}), request, deadline)
            response = await fold(self.options.middleware, self._last(plan, policy))(layered)
            if reply_headers is not None:
                reply_headers.update(application_headers(response.headers))
            return response.value
        except MicroError as error:
            fallback = options.get("fallback")
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
        **options: Unpack[StreamOptions],
    ) -> AbstractAsyncContextManager[ClientStream[R]]: ...

    @overload
    def stream(
        self,
        service: str,
        endpoint: str,
        request: Any = ...,
        response_type: Any = ...,
        **options: Unpack[StreamOptions],
    ) -> AbstractAsyncContextManager[ClientStream[Any]]: ...

    @asynccontextmanager
    async def stream(
        self,
        service: str,
        endpoint: str,
        request: Any = None,
        response_type: Any = Any,
        **options: Unpack[StreamOptions],
    ) -> AsyncIterator[ClientStream[Any]]:
        """Open a stream; leaving the block ends it at both ends.

        Args:
            service: The service's name.
            endpoint: The endpoint's name.
            request: The one request of a server stream; an async iterable to send all of, while
                answers arrive; or `None` to send with `ClientStream.send`.
            response_type: What to read each answer as.
            **options: See `StreamOptions`.

        Raises:
            MicroError: the stream could not be opened, or failed.
        """
        check_options(options, stream=True)
        kind = options.get("content_type")
        plan = self._plans.get(service, endpoint, type(request), response_type, kind)
        known = check_raises(options.get("raises", ()))
        deadline = self._deadline(options.get("timeout"))
        headers = dict(options.get("headers") or {})
        layered = Request("client", service, endpoint, headers, request, deadline)
        reached: list[str] = []
        async with (
            self._caller.late.watch(plan, deadline, headers=headers, reached=reached),
            enforce(deadline, "the stream") if deadline else nullcontext(),
            open_scope() as scope,
            AsyncExitStack() as opened,
        ):

            async def last(request: Request) -> Response:
                where = options.get("where")
                call, channel = await self._caller.open_stream(plan, request, where)
                if not channel.native:
                    opened.callback(channel.socket.close)
                opened.callback(call.close)
                reached.append(call.node)
                encode = self._plans.encoder_of_each(plan.content_type)
                stream = ClientStream[Any](call, encode, plan.decode, known)
                if isinstance(request.value, AsyncIterable):
                    scope.start(stream.send_all(request.value))
                return Response(stream, {})

            yield (await fold(self.options.middleware, last)(layered)).value

    def nodes(self, service: str) -> tuple[NodeInfo, ...]:
        """What this client knows of a service's nodes now, sorted by id.

        It asks no one: empty for a service that was not called yet.
        """
        route = self._directory.routes.get(service)
        return () if route is None else tuple(node.info for node in route.nodes)

    def use(self, contract: Callable[..., P], *, service: str, prefix: str | None = None) -> P:
        """A typed client: an object with the methods of a Protocol class, each one a call.

        Args:
            contract: A Protocol class; its coroutine methods are calls, its methods that return an
                `AsyncIterator` are streams. (mypy refuses an abstract class where a `type` is
                expected, so it is declared as something to call.)
            service: The service's name.
            prefix: The first half of the endpoints' names; when not given, what `contract` gave to
                the class, else the class's own name. `Service.implement` names them by the same
                rule.

        Raises:
            HandlerError: a method's signature cannot be called.
        """
        made: P = make_proxy(self, read_contract(contract, prefix=prefix), service=service)
        return made

    def _last(self, plan: CallPlan, policy: CallPolicy) -> Next:
        async def last(request: Request) -> Response:
            body = plan.encode(request.value)
            reply = await self._caller.call(plan, body, request.headers, request.deadline, policy)
            return Response(self._plans.decode(plan, reply), dict(reply.headers))

        return last

    def _deadline(self, timeout: float | UseDefault | None) -> Deadline | None:
        running = ambient.get()
        outer = None if running is None else running.ambient_deadline
        if timeout is DEFAULT:
            timeout = self.options.timeout
        elif timeout is None or check_timeout(timeout) == inf:
            return outer
        now = monotonic()
        at = now + timeout
        if outer is not None and outer.at < at:
            at = outer.at
        if at <= now:
            raise DeadlineExceeded("no time left for the call", id="micro.client", refused=True)
        return new_deadline((at,))
