"""What a function's annotations say: its request, its response, and how it wants to be called."""

from __future__ import annotations

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Generator,
    Mapping,
)
from dataclasses import dataclass
from enum import StrEnum
from types import FunctionType, MethodType, NoneType
from typing import Any, Final, Never, NoReturn, TypeVar, get_args, get_origin

from micro.context import Context
from micro.handlers.annotations import (
    bare_type,
    function_error,
    is_context,
    read_annotations,
)
from micro.handlers.depends import REQUEST, Argument
from micro.handlers.injection import Injected
from micro.handlers.providers import Providers

__all__ = ["NO_STREAM", "Bind", "Kind", "Signature", "item_type", "kind_of", "read_signature"]

Bind = Callable[[Any, Context], Any]
"""Calls a function with a request and a context, leaving out what it does not take."""

NO_STREAM: Final = object()
"""What `item_type` says of a type that is no stream."""
_ASYNC_ITERATORS = (AsyncIterator, AsyncIterable, AsyncGenerator)
_ASYNC_RESULTS = (Awaitable, Coroutine)
_Parameter = inspect.Parameter
_STARS = {_Parameter.VAR_POSITIONAL: "*", _Parameter.VAR_KEYWORD: "**"}


class Kind(StrEnum):
    """Whether one value or many go each way."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDIRECTIONAL = "bidirectional"

    @property
    def streams_requests(self) -> bool:
        """Whether the handler is given an async iterator of requests."""
        return self in (Kind.CLIENT_STREAM, Kind.BIDIRECTIONAL)

    @property
    def streams_responses(self) -> bool:
        """Whether the handler is an async generator of responses."""
        return self in (Kind.SERVER_STREAM, Kind.BIDIRECTIONAL)

    @property
    def is_stream(self) -> bool:
        """Whether many values go at least one way."""
        return self is not Kind.UNARY


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What was read from a function; see `micro.endpoint.Endpoint` for the meaning of each."""

    kind: Kind
    request_type: Any
    response_type: Any
    takes_request: bool
    blocking: bool
    bind: Bind
    injected: Injected | None = None


def read_signature(
    function: Callable[..., Any],
    localns: Mapping[str, Any] | None = None,
    providers: Providers | None = None,
) -> Signature:
    """Read a handler's annotations.

    Args:
        function: A function, or a method bound to its object.
        localns: Names to resolve postponed annotations with, beside the function's globals.
        providers: What it can depend on; every `Depends` is a provider for each call if not given.

    Raises:
        HandlerError: the function cannot be served; the text says where it is and what to write.
    """
    kind = _function_kind(function)
    types = read_annotations(function, localns)
    depends = _dependencies(function, types, localns, providers or Providers())
    request, context = _parameters(function, types, depends)
    given = NoneType if request is None else types[request.name]
    item = item_type(function, given, "request")
    streams = item is not NO_STREAM
    if kind == "plain" and streams:
        raise function_error(function, "a stream of requests needs 'async def', not 'def'")
    if kind == "generator":
        response = _yielded_type(function, types)
    else:
        response = _returned_type(function, types, kind)
    injected = _injected(function, depends, request, context) if depends else None
    return Signature(
        kind=kind_of(streams, kind == "generator"),
        request_type=item if streams else given,
        response_type=response,
        takes_request=request is not None,
        blocking=kind == "plain",
        bind=injected.unresolved if injected else _bind(function, request, context),
        injected=injected,
    )


def _function_kind(function: Callable[..., Any]) -> str:
    if not isinstance(function, FunctionType | MethodType):
        raise function_error(function, "it is not a function or method written in Python")
    # A plain wrapper made with functools.wraps hands on what it wraps: an awaitable, mostly.
    for candidate in (function, inspect.unwrap(function)):
        if inspect.isasyncgenfunction(candidate):
            return "generator"
        if inspect.iscoroutinefunction(candidate):
            return "coroutine"
        if inspect.isgeneratorfunction(candidate):
            raise function_error(
                function, "a stream is an async generator: write 'async def', '-> AsyncIterator[T]'"
            )
    return "plain"


def _dependencies(
    function: Callable[..., Any],
    types: Mapping[str, Any],
    localns: Mapping[str, Any] | None,
    providers: Providers,
) -> dict[str, Argument]:
    """The parameters that are given what they depend on."""
    parameters = inspect.signature(function).parameters.values()
    found = (
        providers.argument(function, one, types.get(one.name, Any), localns) for one in parameters
    )
    return {one.name: one for one in found if one is not None}


def _injected(
    function: Callable[..., Any],
    depends: Mapping[str, Argument],
    request: _Parameter | None,
    context: _Parameter | None,
) -> Injected:
    named: dict[str, Argument] = {}
    for parameter, source in ((request, REQUEST), (context, Context)):
        if parameter is not None:
            by_name = parameter.kind is _Parameter.KEYWORD_ONLY
            named[parameter.name] = Argument(name=parameter.name, by_name=by_name, source=source)
    order = inspect.signature(function).parameters
    return Injected(function, tuple({**depends, **named}[name] for name in order))


def _parameters(
    function: Callable[..., Any], types: Mapping[str, Any], depends: Collection[str]
) -> tuple[_Parameter | None, _Parameter | None]:
    """The parameters for the request and for the context."""
    request = context = None
    for parameter in inspect.signature(function).parameters.values():
        name = parameter.name
        if name in depends:
            continue
        if parameter.kind in _STARS:
            starred = _STARS[parameter.kind] + name
            raise function_error(function, f"'{starred}' gets no value; remove it")
        if name not in types:
            raise function_error(function, _unannotated(name))
        if is_context(types[name]):
            if context is not None:
                raise function_error(function, f"{context.name!r} and {name!r} are both a Context")
            context = parameter
            continue
        if request is not None:
            raise function_error(
                function,
                f"{name!r} is one parameter too many after {request.name!r}; a handler takes one "
                "request and at most one Context, so put the values into one model",
            )
        if parameter.default is not _Parameter.empty:
            raise function_error(
                function,
                f"{name!r} has a default that would never be used; give defaults to the fields "
                "of the request's model",
            )
        request = parameter
    return request, context


def _unannotated(name: str) -> str:
    if name == "self":
        return "it is a method without its object; pass a bound method, or the class"
    return f"{name!r} has no annotation; write its type, as in '{name}: Award' or '{name}: Context'"


def item_type(function: Callable[..., Any], type_: Any, what: str) -> Any:
    """The type of a stream's items; `NO_STREAM` when the type is not a stream.

    Raises:
        HandlerError: it is a stream and does not say of what.
    """
    bare = bare_type(type_)
    origin = get_origin(bare) or bare
    if origin not in _ASYNC_ITERATORS:
        return NO_STREAM
    arguments = get_args(bare)
    if not arguments or isinstance(arguments[0], TypeVar):
        raise function_error(
            function, f"the {what}'s {origin.__name__} does not say of what; write AsyncIterator[T]"
        )
    return NoneType if arguments[0] is None else arguments[0]


def _yielded_type(function: Callable[..., Any], types: Mapping[str, Any]) -> Any:
    item = item_type(function, types.get("return", NoneType), "return type")
    if item is NO_STREAM:
        raise function_error(
            function, "an async generator says what it yields: annotate '-> AsyncIterator[T]'"
        )
    return item


def _returned_type(function: Callable[..., Any], types: Mapping[str, Any], kind: str) -> Any:
    type_ = types.get("return", NoneType)
    bare = bare_type(type_)
    origin = get_origin(bare) or bare
    if origin in _ASYNC_ITERATORS:
        raise function_error(
            function,
            f"it returns an {origin.__name__} but has no 'yield'; to stream, write 'async def' "
            "and 'yield' each item, or 'async for item in other: yield item'",
        )
    if kind == "plain" and origin in _ASYNC_RESULTS:
        raise function_error(function, "it returns something to await; write 'async def'")
    if origin in (Generator, *_ASYNC_RESULTS):
        raise function_error(
            function, f"it returns {origin.__name__}, which cannot be sent; return a value"
        )
    return NoneType if bare in (Never, NoReturn) else type_


def kind_of(requests: bool, responses: bool) -> Kind:
    """The kind of which requests, responses or both are streams."""
    if requests:
        return Kind.BIDIRECTIONAL if responses else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if responses else Kind.UNARY


def _bind(
    function: Callable[..., Any], request: _Parameter | None, context: _Parameter | None
) -> Bind:
    places = [p for p in (request, context) if p is not None]
    if any(place.kind is _Parameter.KEYWORD_ONLY for place in places):
        return _bind_by_name(function, request, context)
    if request is None:
        return (lambda _r, _c: function()) if context is None else (lambda _r, c: function(c))
    if context is None:
        return lambda r, _c: function(r)
    if next(iter(inspect.signature(function).parameters)) == context.name:
        return lambda r, c: function(c, r)
    return function


def _bind_by_name(
    function: Callable[..., Any], request: _Parameter | None, context: _Parameter | None
) -> Bind:
    """The rare case of keyword-only parameters, at the cost of a dictionary for each call."""
    positions: list[int] = []
    names: dict[str, int] = {}
    for index, place in enumerate((request, context)):
        if place is not None and place.kind is _Parameter.KEYWORD_ONLY:
            names[place.name] = index
        elif place is not None:
            positions.append(index)

    def call(*given: Any) -> Any:
        named = {name: given[index] for name, index in names.items()}
        return function(*[given[index] for index in positions], **named)

    return call
