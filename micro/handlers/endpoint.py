"""Endpoints and subscribers: a user's function, and all that the engine must know to call it.

Everything is found out once, at decoration; a call does no introspection.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from types import FunctionType, MappingProxyType
from typing import Any, TypedDict, Unpack

from micro.errors import HandlerError, InvalidName, MicroError
from micro.handlers.raises import check_raises, raises_of
from micro.handlers.signature import Bind, Kind, location_of, read_signature
from micro.names import check_endpoint, check_pattern, check_queue

__all__ = [
    "Endpoint",
    "EndpointOptions",
    "Kind",
    "SubscriberBounds",
    "SubscriberSpec",
    "camel_case",
    "endpoint_from_function",
    "endpoint_name",
    "endpoints_from_object",
    "subscriber_from_function",
]

_NOTHING: Mapping[str, str] = MappingProxyType({})


class EndpointOptions(TypedDict, total=False):
    """What a decorator may say of an endpoint beyond its name.

    Attributes:
        idempotent: Running it twice does no harm, so that clients may try again.
        max_concurrency: How many calls may run at once; `None` leaves it to the service.
        timeout: Seconds that one call may take, though its caller would wait for longer; `None`
            leaves it to the caller, and to the service where the caller sets no limit.
        metadata: Text for the registry.
        raises: Errors of the application's own that it raises; the registry tells callers of them.
    """

    idempotent: bool
    max_concurrency: int | None
    timeout: float | None
    metadata: Mapping[str, str]
    raises: Sequence[type[MicroError]]


class SubscriberBounds(TypedDict, total=False):
    """Bounds of one subscriber; `None` leaves each to the service's settings.

    Attributes:
        max_concurrency: Events that are handled at once; with 1, one ends before the next starts.
        max_queue: Further events that may wait; the next one is dropped, counted and logged.
        timeout: Seconds for the handling of one event, 0 for no limit. An event that takes longer
            is cancelled, counted and logged.
    """

    max_concurrency: int | None
    max_queue: int | None
    timeout: float | None


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriberSpec:
    """One function that handles the events of a topic.

    Attributes:
        name: The function's name in CamelCase, after its class's and a dot for a bound method.
        topic: A topic or a pattern with wildcards.
        queue: The group of which one member receives each event; `None` for every instance.
        handler: The user's function, or bound method.
        event_type: What to decode; `NoneType` when the function takes no event.
        bind: Calls it with `(event, context)`, leaving out what it does not take.
        takes_event: Whether it has a parameter for the event.
        blocking: A plain `def`: it must run in a thread, not on the event loop.
        max_concurrency: Events that are handled at once; `None` leaves it to the service.
        max_queue: Further events that may wait; `None` leaves it to the service.
        timeout: Seconds for one event, 0 for no limit; `None` leaves it to the service.
    """

    name: str
    topic: str
    queue: str | None
    handler: Callable[..., Any]
    event_type: Any
    bind: Bind
    takes_event: bool = True
    blocking: bool = False
    max_concurrency: int | None = None
    max_queue: int | None = None
    timeout: float | None = None


def endpoint_from_function(
    function: Callable[..., Any],
    *,
    service: str,
    name: str | None = None,
    localns: Mapping[str, Any] | None = None,
    **options: Unpack[EndpointOptions],
) -> Endpoint:
    """Make an endpoint of a function or a bound method.

    Args:
        function: An `async def`, an async generator, or a plain `def` (which runs in a thread).
        service: The service's name, for the endpoint's own when `name` is not given.
        name: `Type.Method`.
        localns: The decorating frame's locals, so that postponed annotations may name local types.
        **options: See `EndpointOptions`.

    Raises:
        HandlerError: the signature cannot be served; the text says where it is and what to write.
        InvalidName: the name cannot be used.
    """
    wanted = check_endpoint(name) if name is not None else _default_name(service, function)
    signature = read_signature(function, localns)
    most = options.get("max_concurrency")
    if most is not None and most < 1:
        raise HandlerError(
            f"{location_of(function)}: max_concurrency must be at least 1, got {most!r}"
        )
    timeout = options.get("timeout")
    if timeout is not None and not 0 < timeout < inf:
        raise HandlerError(
            f"{location_of(function)}: timeout must be > 0 and finite, got {timeout!r}"
        )
    return Endpoint(
        name=wanted,
        kind=signature.kind,
        handler=function,
        request_type=signature.request_type,
        response_type=signature.response_type,
        bind=signature.bind,
        takes_request=signature.takes_request,
        blocking=signature.blocking,
        metadata=MappingProxyType(dict(options.get("metadata", _NOTHING))),
        idempotent=options.get("idempotent", False),
        max_concurrency=most,
        raises=check_raises(options.get("raises") or raises_of(function)),
        timeout=timeout,
    )


def endpoints_from_object(
    target: object,
    *,
    localns: Mapping[str, Any] | None = None,
    **options: Unpack[EndpointOptions],
) -> tuple[Endpoint, ...]:
    """Make an endpoint `Class.Method` of every public method of an object.

    Args:
        target: An object, or a class that can be made without arguments. Its functions without a
            leading underscore count, inherited ones too; static and class methods do not.
        localns: The decorating frame's locals, as for `endpoint_from_function`.
        **options: See `EndpointOptions`; they hold for every method.

    Raises:
        HandlerError: a signature cannot be served, or there are no public methods.
    """
    instance = _instance(target) if isinstance(target, type) else target
    cls = type(instance)
    names = {**(localns or {}), **_nested_types(cls)}
    endpoints = tuple(
        endpoint_from_function(
            getattr(instance, method), service=cls.__name__, localns=names, **options
        )
        for method in _public_methods(cls)
    )
    if not endpoints:
        raise HandlerError(f"class {cls.__qualname__}: it has no public methods to serve")
    return endpoints


def subscriber_from_function(
    function: Callable[..., Any],
    topic: str,
    *,
    queue: str | None = None,
    localns: Mapping[str, Any] | None = None,
    **bounds: Unpack[SubscriberBounds],
) -> SubscriberSpec:
    """Make a subscriber of a function or a bound method; what it returns is ignored.

    Raises:
        HandlerError: the signature cannot be served, or a bound makes no sense.
        InvalidName: the topic or the queue cannot be used.
    """
    signature = read_signature(function, localns)
    if signature.kind is not Kind.UNARY:
        raise HandlerError(
            f"{location_of(function)}: a subscriber is called once for each event; it takes no "
            "stream and yields none"
        )
    _check_bounds(function, bounds)
    owner = getattr(function, "__self__", None)
    prefix = "" if owner is None else f"{camel_case(type(owner).__name__)}."
    return SubscriberSpec(
        name=prefix + camel_case(function.__name__),
        topic=check_pattern(topic),
        queue=None if queue is None else check_queue(queue),
        handler=function,
        event_type=signature.request_type,
        bind=signature.bind,
        takes_event=signature.takes_request,
        blocking=signature.blocking,
        **bounds,
    )


def _check_bounds(function: Callable[..., Any], bounds: SubscriberBounds) -> None:
    given: Mapping[str, object] = bounds
    least: Mapping[str, int] = {"max_concurrency": 1, "max_queue": 0, "timeout": 0}
    for name, value in given.items():
        if name not in least:
            raise HandlerError(f"{location_of(function)}: a subscriber has no option {name!r}")
        if value is None:
            continue
        if not isinstance(value, int | float) or not least[name] <= value < inf:
            raise HandlerError(
                f"{location_of(function)}: {name} must be >= {least[name]}, got {value!r}"
            )


def endpoint_name(service: str, method: str) -> str:
    """The endpoint that a service's function has by default: both names in CamelCase.

    Only the last dot-separated part of the service's name counts: `shop.order-items` and
    `find_one` give `OrderItems.FindOne`.

    Raises:
        InvalidName: they make no usable name.
    """
    return check_endpoint(f"{camel_case(service.rpartition('.')[2])}.{camel_case(method)}")


def camel_case(name: str) -> str:
    """A name in CamelCase: `order_items` gives `OrderItems`, `getURL` gives `GetURL`."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[_-]+", name))


def _default_name(service: str, function: Callable[..., Any]) -> str:
    method = getattr(function, "__name__", "")
    try:
        return endpoint_name(service, method)
    except InvalidName as error:
        raise InvalidName(
            f"{location_of(function)}: {error.detail}; give it a name, as in 'Points.Award'"
        ) from None


def _instance(cls: type) -> object:
    if inspect.isabstract(cls) or getattr(cls, "_is_protocol", False):
        raise HandlerError(f"class {cls.__qualname__}: it is abstract; hand over an instance")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise HandlerError(
            f"class {cls.__qualname__}: it cannot be made without arguments ({error}); "
            "hand over an instance"
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


def _nested_types(cls: type) -> dict[str, Any]:
    """Classes defined in a class's body or its bases', which its methods' annotations may name."""
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, type) and not name.startswith("__")
    }
