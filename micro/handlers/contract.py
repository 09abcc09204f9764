"""Contracts: what a Protocol or an abstract class says of a service, for both of its sides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

from micro.errors import HandlerError, InvalidName, MicroError
from micro.handlers.annotations import location_of, read_annotations
from micro.handlers.endpoint import Endpoint, Kind, nested_types
from micro.handlers.raises import raises_of
from micro.handlers.signature import NO_STREAM, item_type, kind_of
from micro.names import camel_case, check_endpoint

__all__ = ["Contract", "ContractMethod", "contract", "read_contract"]

C = TypeVar("C", bound=type)

_NAMES: Final[WeakKeyDictionary[type, str]] = WeakKeyDictionary()
_Parameter = inspect.Parameter


def contract(name: str) -> Callable[[C], C]:
    """Give a contract the first half of its endpoints' names, in place of the class's own name.

        @contract("Catalog")
        class CatalogApi(Protocol):
            async def get(self, sku: str) -> Item: ...      # Catalog.Get

    Raises:
        InvalidName: it cannot be the first half of an endpoint's name.
    """
    check_endpoint(f"{name}.X")

    def decorate(cls: C) -> C:
        _NAMES[cls] = name
        return cls

    return decorate


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractMethod:
    """One method of a contract.

    Attributes:
        name: The method's name in Python.
        endpoint: The endpoint's name, `Type.Method`.
        function: The function in the contract's class.
        kind: Whether values or streams go each way.
        request_type: The request's type, or of each item; `NoneType` without a request.
        response_type: The answer's type, or of each item.
        request_name: The parameter for the request; empty without one.
        request_default: The request when none is given.
        options: Defaults of the keyword-only parameters, which are options of the call.
        raises: Errors of the application's own that it raises.
    """

    name: str
    endpoint: str
    function: Callable[..., Any]
    kind: Kind
    request_type: Any
    response_type: Any
    request_name: str
    request_default: Any
    options: Mapping[str, Any]
    raises: tuple[type[MicroError], ...]

    def as_endpoint(self) -> Endpoint:
        """The endpoint that serves it, as the registry describes one; it cannot be called."""
        return Endpoint(
            name=self.endpoint,
            kind=self.kind,
            handler=self.function,
            request_type=self.request_type,
            response_type=self.response_type,
            bind=self.function,
            takes_request=bool(self.request_name),
            raises=self.raises,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What a Protocol or an abstract class says of a service.

    Attributes:
        cls: The class.
        methods: Its public methods, inherited ones included.
    """

    cls: type
    methods: tuple[ContractMethod, ...]


def read_contract(
    cls: object, *, prefix: str | None = None, localns: Mapping[str, Any] | None = None
) -> Contract:
    """Read the public methods of a class.

    A coroutine method is a call, a method that returns an `AsyncIterator` a stream. A method takes
    the request, if any, as its one argument; keyword-only parameters are options of the call.

    Args:
        cls: The class.
        prefix: The first half of the endpoints' names; what `contract` gave to the class when not
            given, else the class's own name.
        localns: Names to resolve postponed annotations with, beside those of the class.

    Raises:
        HandlerError: it is no class, has no methods, or one has a signature that cannot be called.
        InvalidName: an endpoint's name cannot be used.
    """
    if not isinstance(cls, type):
        raise HandlerError(f"{cls!r} is not a class: a contract is a Protocol or an abstract class")
    first = prefix or _NAMES.get(cls, cls.__name__)
    names = {**(localns or {}), **nested_types(cls)}
    found: dict[str, ContractMethod] = {}
    for base in reversed(cls.__mro__):
        for name, function in vars(base).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                found[name] = _read(name, function, first, names)
    if not found:
        raise HandlerError(f"{location_of(cls)}: it has no public methods")
    return Contract(cls=cls, methods=tuple(found.values()))


def _read(
    name: str, function: Callable[..., Any], prefix: str, names: Mapping[str, Any]
) -> ContractMethod:
    types = read_annotations(function, names)
    if "return" not in types:
        raise HandlerError(f"{location_of(function)}: say what it returns, as in '-> Balance'")
    request, options = _parameters(function)
    if request is not None and request.name not in types:
        raise HandlerError(f"{location_of(function)}: {request.name!r} has no annotation")
    given = type(None) if request is None else types[request.name]
    sent = item_type(function, given, "request")
    answered = item_type(function, types["return"], "return type")
    if answered is NO_STREAM and not inspect.iscoroutinefunction(function):
        raise HandlerError(
            f"{location_of(function)}: write 'async def', or return an AsyncIterator"
        )
    return ContractMethod(
        name=name,
        endpoint=_endpoint(function, prefix, name),
        function=function,
        kind=kind_of(sent is not NO_STREAM, answered is not NO_STREAM),
        request_type=given if sent is NO_STREAM else sent,
        response_type=types["return"] if answered is NO_STREAM else answered,
        request_name="" if request is None else request.name,
        request_default=None if request is None else _default(request),
        options=options,
        raises=raises_of(function),
    )


def _endpoint(function: Callable[..., Any], prefix: str, name: str) -> str:
    try:
        return check_endpoint(f"{prefix}.{camel_case(name)}")
    except InvalidName as error:
        raise InvalidName(f"{location_of(function)}: {error.detail}") from None


def _parameters(function: Callable[..., Any]) -> tuple[_Parameter | None, Mapping[str, Any]]:
    """The parameter for the request, and the defaults of the options."""
    request = None
    options: dict[str, Any] = {}
    _, *parameters = inspect.signature(function).parameters.values()
    for parameter in parameters:
        if parameter.kind is _Parameter.KEYWORD_ONLY:
            if _is_given(parameter):
                options[parameter.name] = parameter.default
        elif parameter.kind is not _Parameter.VAR_KEYWORD:
            if request is not None:
                raise HandlerError(
                    f"{location_of(function)}: a call takes one request; make {parameter.name!r} "
                    "keyword-only if it is an option, as in '*, timeout: float'"
                )
            request = parameter
    return request, MappingProxyType(options)


def _default(parameter: _Parameter) -> Any:
    return parameter.default if _is_given(parameter) else None


def _is_given(parameter: _Parameter) -> bool:
    # In a stub `...` stands for a default that the implementation has.
    return parameter.default is not _Parameter.empty and parameter.default is not ...
