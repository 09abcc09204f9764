"""Endpoints: a user's function, and all that the engine must know to call it.

Signatures are read once, at decoration; a call does no introspection.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import FunctionType, MappingProxyType
from typing import Any, Unpack

from micro.codec import Codecs
from micro.errors import HandlerError, InvalidName, MicroError
from micro.handlers.annotations import location_of
from micro.handlers.injection import Injected, ThreadBind
from micro.handlers.options import EndpointOptions, check_endpoint_options
from micro.handlers.plans import RunValues
from micro.handlers.providers import Providers
from micro.handlers.raises import check_raises, raises_of
from micro.handlers.servable import check_servable
from micro.handlers.signature import Bind, Kind, read_signature
from micro.names import camel_case, check_endpoint

__all__ = [
    "Endpoint",
    "Kind",
    "endpoint_from_function",
    "endpoint_name",
    "endpoints_from_object",
    "instance_of",
    "nested_types",
]

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One callable name.

    Attributes:
        name: `Type.Method`.
        kind: Whether values or streams go each way.
        handler: The user's function, or bound method.
        request_type: What to decode; the type of the items when requests stream; `NoneType` when
            the handler takes no request.
        response_type: What to encode; the type of the items when responses stream.
        bind: Calls the handler with `(request, context)`, leaving out what it does not take. It
            gives an awaitable, an async generator, or, when `blocking`, the response itself. The
            request is an async iterator when requests stream, and ignored without `takes_request`.
        takes_request: Whether the handler has a parameter for the request.
        blocking: A plain `def`: it must run in a thread, not on the event loop.
        metadata: Text for the registry.
        idempotent: Running it twice does no harm.
        max_concurrency: How many calls may run at once; `None` leaves it to the service.
        raises: Errors of the application's own that it raises.
        timeout: Seconds that one call may take; `None` leaves it to the caller.
        injected: Calls a handler that has dependencies; `None` for one that has none.
        bind_thread: For a plain `def` that has dependencies, in place of `bind`.
    """

    name: str
    kind: Kind
    handler: Callable[..., Any]
    request_type: Any
    response_type: Any
    bind: Bind
    takes_request: bool = True
    blocking: bool = False
    metadata: Mapping[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    idempotent: bool = False
    max_concurrency: int | None = None
    raises: tuple[type[MicroError], ...] = ()
    timeout: float | None = None
    injected: Injected | None = None
    bind_thread: ThreadBind | None = None

    def resolve(self, values: RunValues) -> Endpoint:
        """This endpoint with what a run gives its handler.

        Raises:
            UsageError: a lifespan that it depends on is not open.
        """
        if self.injected is None:
            return self
        injected = self.injected.resolve(values)
        stream = self.kind.streams_responses
        return replace(
            self,
            injected=injected,
            bind=injected.stream if stream else injected.unary,
            bind_thread=injected.threaded if self.blocking else None,
        )


def endpoint_from_function(
    function: Callable[..., Any],
    *,
    service: str,
    name: str | None = None,
    localns: Mapping[str, Any] | None = None,
    codecs: Codecs | None = None,
    providers: Providers | None = None,
    **options: Unpack[EndpointOptions],
) -> Endpoint:
    """Make an endpoint of a function or a bound method.

    Args:
        function: An `async def`, an async generator, or a plain `def` (which runs in a thread).
        service: The service's name, for the endpoint's own when `name` is not given.
        name: `Type.Method`.
        localns: The decorating frame's locals, so that postponed annotations may name local types.
        codecs: Must carry the types; not checked when not given.
        providers: What the handler can depend on.
        **options: See `EndpointOptions`.

    Raises:
        HandlerError: the signature cannot be served; the text says where it is and what to write.
        InvalidName: the name cannot be used.
    """
    check_endpoint_options(function, options)
    wanted = _given_name(function, name) if name is not None else _default_name(service, function)
    signature = read_signature(function, localns, providers)
    request, response = signature.request_type, signature.response_type
    if codecs is not None:
        check_servable(codecs, function, request=request, response=response)
    return Endpoint(
        name=wanted,
        kind=signature.kind,
        handler=function,
        request_type=request,
        response_type=response,
        bind=signature.bind,
        injected=signature.injected,
        takes_request=signature.takes_request,
        blocking=signature.blocking,
        metadata=MappingProxyType(dict(options.get("metadata", _NOTHING))),
        idempotent=options.get("idempotent", False),
        max_concurrency=options.get("max_concurrency"),
        raises=check_raises(options.get("raises") or raises_of(function)),
        timeout=options.get("timeout"),
    )


def endpoints_from_object(
    target: object,
    *,
    localns: Mapping[str, Any] | None = None,
    codecs: Codecs | None = None,
    providers: Providers | None = None,
    **options: Unpack[EndpointOptions],
) -> tuple[Endpoint, ...]:
    """Make an endpoint `Class.Method` of every public method of an object.

    Args:
        target: An object, or a class that can be made without arguments. Its functions without a
            leading underscore count, inherited ones too; static and class methods do not.
        localns: The decorating frame's locals, as for `endpoint_from_function`.
        codecs: Must carry the types; not checked when not given.
        providers: What the handler can depend on.
        **options: See `EndpointOptions`; they hold for every method.

    Raises:
        HandlerError: a signature cannot be served, or there are no public methods.
    """
    check_endpoint_options(target if isinstance(target, type) else type(target), options)
    instance = instance_of(target) if isinstance(target, type) else target
    cls = type(instance)
    names = {**(localns or {}), **nested_types(cls)}
    endpoints = tuple(
        endpoint_from_function(
            getattr(instance, method),
            service=cls.__name__,
            localns=names,
            codecs=codecs,
            providers=providers,
            **options,
        )
        for method in _public_methods(cls)
    )
    if not endpoints:
        raise HandlerError(f"class {cls.__qualname__}: it has no public methods to serve")
    return endpoints


def endpoint_name(service: str, method: str) -> str:
    """The endpoint that a service's function has by default: both names in CamelCase.

    Only the last dot-separated part of the service's name counts: `shop.order-items` and
    `find_one` give `OrderItems.FindOne`.

    Raises:
        InvalidName: they make no usable name.
    """
    return check_endpoint(f"{camel_case(service.rpartition('.')[2])}.{camel_case(method)}")


def _given_name(function: Callable[..., Any], name: Any) -> str:
    if not isinstance(name, str):
        raise HandlerError(f"{location_of(function)}: its name must be text, got {name!r}")
    try:
        return check_endpoint(name)
    except InvalidName as error:
        raise InvalidName(f"{location_of(function)}: {error.detail}") from None


def _default_name(service: str, function: Callable[..., Any]) -> str:
    method = getattr(function, "__name__", "")
    try:
        return endpoint_name(service, method)
    except InvalidName as error:
        raise InvalidName(
            f"{location_of(function)}: {error.detail}; give it a name, as in 'Points.Award'"
        ) from None


def instance_of(cls: type) -> object:
    """An object of a class that can be made without arguments.

    Raises:
        HandlerError: it cannot.
    """
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        raise HandlerError(f"class {cls.__qualname__}: it is abstract; pass an instance")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise HandlerError(
            f"class {cls.__qualname__}: it cannot be made without arguments ({error}); "
            "pass an instance"
        ) from None
    return cls()


def _public_methods(cls: type) -> Iterator[str]:
    seen: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        seen.update(vars(base))
    return (
        name
        for name, value in seen.items()
        if not name.startswith("_") and isinstance(value, FunctionType)
    )


def nested_types(cls: type) -> dict[str, Any]:
    """Classes defined in a class's body or its bases', which its methods' annotations may name."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, type) and not name.startswith("__")
    }
