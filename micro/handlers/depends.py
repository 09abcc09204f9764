"""What a handler can ask for beside its request: `Annotated[Pool, Depends(database)]`.

A function that gives a value is a *provider*. The value of a lifespan lives as long as a run of its
service; that of any other provider as long as one call or event.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FunctionType, MethodType
from typing import Annotated, Any, Final, Literal, get_args, get_origin

from typing_inspection.typing_objects import is_typealiastype

from micro.handlers.annotations import function_error

__all__ = [
    "REQUEST",
    "Argument",
    "Depends",
    "Provider",
    "Source",
    "Style",
    "annotated_part",
    "depends_in",
    "parameters_of",
    "style_of",
]


class Depends:
    """Asks for a provider's value: `pool: Annotated[Pool, Depends(database)]`.

    Args:
        provider: A lifespan of the service, or any other function, coroutine function or generator
            function, which is called once for each call or event. Its own parameters are
            dependencies, a `Context` or a `Client`. A generator yields its value once; what
            follows the `yield` runs when the handler has ended, before its answer is sent.
    """

    __slots__ = ("provider",)

    def __init__(self, provider: Callable[..., object], /) -> None:
        self.provider: Callable[..., object] = provider

    def __repr__(self) -> str:
        return f"Depends({getattr(self.provider, '__qualname__', self.provider)})"


class Style(Enum):
    """How a provider gives its value."""

    FUNCTION = "function"
    COROUTINE = "coroutine"
    GENERATOR = "generator"
    ASYNC_GENERATOR = "async generator"


class _Request(Enum):
    REQUEST = "request"


REQUEST: Final = _Request.REQUEST
"""The source of the argument that is the request or the event."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Provider:
    """A function that gives a value.

    Attributes:
        function: What `Depends` was given.
        called: What is called for it.
        style: How it gives its value.
        is_lifespan: Whether the value lives as long as a run of the service.
        arguments: What it is called with.
    """

    function: Callable[..., Any]
    called: Callable[..., Any]
    style: Style
    is_lifespan: bool
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a handler or a provider.

    Attributes:
        name: The parameter.
        by_name: Whether it is keyword-only.
        source: Where the value comes from: a provider, the request, or what is injected by type.
    """

    name: str
    by_name: bool
    source: Source


Source = Provider | type | Literal[_Request.REQUEST]
"""Where an argument comes from."""


def depends_in(type_: Any) -> list[Any]:
    """The `Depends` that a type is annotated with, bare classes included."""
    return [one for one in _metadata(type_) if one is Depends or isinstance(one, Depends)]


def _metadata(type_: Any) -> Iterator[Any]:
    """All that `Annotated` says of a type, through names of a `type` statement."""
    while True:
        if get_origin(type_) is Annotated:
            type_, *metadata = get_args(type_)
            yield from metadata
        elif is_typealiastype(type_):
            type_ = type_.__value__
        else:
            return


def _no_function() -> Iterator[None]:
    yield


_CONTEXT_MANAGERS = (
    contextmanager(_no_function).__code__,
    asynccontextmanager(_no_function).__code__,  # type: ignore[arg-type]  # it is never called
)
"""The code that every function shares which `contextlib` made of a generator function."""


def style_of(function: Callable[..., Any]) -> tuple[Callable[..., Any], Style]:
    """What is to be called in place of a provider, and how it gives its value."""
    if getattr(function, "__code__", None) in _CONTEXT_MANAGERS:
        function = inspect.unwrap(function)
    kinds = (
        function if isinstance(function, FunctionType | MethodType) else annotated_part(function)
    )
    for candidate in (kinds, inspect.unwrap(kinds)):
        if inspect.isasyncgenfunction(candidate):
            return function, Style.ASYNC_GENERATOR
        if inspect.iscoroutinefunction(candidate):
            return function, Style.COROUTINE
        if inspect.isgeneratorfunction(candidate):
            return function, Style.GENERATOR
    return function, Style.FUNCTION


def annotated_part(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the annotations of something callable are."""
    if isinstance(function, FunctionType | MethodType):
        return function
    name = "__init__" if isinstance(function, type) else "__call__"
    owner = function if isinstance(function, type) else type(function)
    part: Callable[..., Any] = getattr(owner, name)
    return part


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters of something callable.

    Raises:
        HandlerError: they cannot be read.
    """
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise function_error(
            function, f"its parameters cannot be read ({error}); write a function that calls it"
        ) from error
