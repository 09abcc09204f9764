"""Typed clients: a Protocol class's methods become calls and streams."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, Unpack, cast, get_args, get_origin, get_type_hints

from micro.client.options import CallOptions, StreamOptions
from micro.client.stream import ClientStream
from micro.errors import HandlerError, MicroError
from micro.handlers.annotations import location_of
from micro.handlers.raises import raises_of
from micro.names import camel_case, check_endpoint

__all__ = ["Calls", "make_proxy"]

P = TypeVar("P")
_MANY = (AsyncIterator, AsyncIterable, AsyncGenerator)


class Calls(Protocol):
    """What a typed client calls: `Client` has both."""

    async def call(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: Any,
        **options: Unpack[CallOptions[Any]],
    ) -> Any:
        """See `Client.call`."""

    def stream(
        self,
        service: str,
        endpoint: str,
        request: Any,
        response_type: Any,
        **options: Unpack[StreamOptions],
    ) -> AbstractAsyncContextManager[ClientStream[Any]]:
        """See `Client.stream`."""


_Split = Callable[..., tuple[Any, dict[str, Any]]]


def make_proxy(client: Calls, contract: type[P], *, service: str, prefix: str) -> P:
    """Make an object with the contract's public methods, each of which calls its endpoint.

    A method takes the request, if any, as its one argument; keyword-only parameters of the
    contract, such as `timeout`, are handed to `Client.call` or `Client.stream`, their defaults
    included.

    Raises:
        HandlerError: there are no methods, or one has a signature that cannot be called.
    """
    names = {**vars(contract)}
    methods: dict[str, Any] = {}
    for base in reversed(contract.__mro__):
        for name, function in vars(base).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                endpoint = check_endpoint(f"{prefix}.{camel_case(name)}")
                methods[name] = staticmethod(_method(client, service, endpoint, function, names))
    if not methods:
        raise HandlerError(f"class {contract.__qualname__}: it has no public methods to call")
    return cast(P, type(f"{contract.__name__}Client", (), methods)())


def _method(
    client: Calls,
    service: str,
    endpoint: str,
    function: Callable[..., Any],
    names: dict[str, Any],
) -> Callable[..., Any]:
    try:
        types = get_type_hints(function, localns=names)
    except NameError as error:
        raise HandlerError(
            f"{location_of(function)}: its annotations name nothing: {error}"
        ) from None
    if "return" not in types:
        raise HandlerError(f"{location_of(function)}: say what it returns, as in '-> Balance'")
    answer = types.pop("return")
    split = _splitter(function, raises_of(function))
    sends_many = any(get_origin(each) in _MANY for each in types.values())
    if get_origin(answer) in _MANY:
        return _stream(client, service, endpoint, get_args(answer)[0], split)
    if not inspect.iscoroutinefunction(function):
        raise HandlerError(
            f"{location_of(function)}: write 'async def', or return an AsyncIterator"
        )
    if sends_many:
        return _collect(client, service, endpoint, answer, split)
    return _call(client, service, endpoint, answer, split)


def _splitter(function: Callable[..., Any], known: tuple[type[MicroError], ...]) -> _Split:
    """What parts a method's arguments into the request and the options of the call."""
    name, default = "", None
    defaults: dict[str, Any] = {"raises": known} if known else {}
    _, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        given = parameter.default is not inspect.Parameter.empty and parameter.default is not ...
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            if given:
                defaults[parameter.name] = parameter.default
        elif parameter.kind is not inspect.Parameter.VAR_KEYWORD:
            if name:
                raise HandlerError(
                    f"{location_of(function)}: a call takes one request; make {parameter.name!r} "
                    "keyword-only if it is an option, as in '*, timeout: float'"
                )
            name, default = parameter.name, parameter.default if given else None

    def split(request: Any = default, /, **options: Any) -> tuple[Any, dict[str, Any]]:
        if name in options:
            request = options.pop(name)
        return request, {**defaults, **options}

    return split


def _call(
    client: Calls, service: str, endpoint: str, answer: Any, split: _Split
) -> Callable[..., Any]:
    async def call(*args: Any, **given: Any) -> Any:
        request, options = split(*args, **given)
        return await client.call(service, endpoint, request, answer, **options)

    return call


def _stream(
    client: Calls, service: str, endpoint: str, item: Any, split: _Split
) -> Callable[..., Any]:
    async def stream(*args: Any, **given: Any) -> AsyncIterator[Any]:
        request, options = split(*args, **given)
        async with client.stream(service, endpoint, request, item, **options) as answers:
            async for answer in answers:
                yield answer

    return stream


def _collect(
    client: Calls, service: str, endpoint: str, answer: Any, split: _Split
) -> Callable[..., Any]:
    async def collect(*args: Any, **given: Any) -> Any:
        requests, options = split(*args, **given)
        async with client.stream(service, endpoint, requests, answer, **options) as answers:
            return await answers.receive()

    return collect
