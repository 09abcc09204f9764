"""Whether a class keeps to a contract, and the endpoints that serve it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Unpack

from micro.codec import Codecs
from micro.errors import HandlerError
from micro.handlers.annotations import location_of
from micro.handlers.contract import Contract, ContractMethod
from micro.handlers.endpoint import Endpoint, endpoint_from_function, instance_of, nested_types
from micro.handlers.options import EndpointOptions, check_endpoint_options
from micro.handlers.providers import Providers
from micro.handlers.raises import raises_of
from micro.handlers.servable import type_name
from micro.handlers.supertype import takes

__all__ = ["endpoints_from_contract"]


def endpoints_from_contract(
    contract: Contract,
    implementation: object,
    *,
    localns: Mapping[str, Any] | None = None,
    codecs: Codecs | None = None,
    providers: Providers | None = None,
    **options: Unpack[EndpointOptions],
) -> tuple[Endpoint, ...]:
    """Make an endpoint of each method of a contract, named after the contract.

    Args:
        contract: The contract.
        implementation: An object with these methods, or a class that can be made without
            arguments. Its other methods are not served.
        localns: The calling frame's locals, as for `endpoint_from_function`.
        codecs: Must carry the types; not checked when not given.
        providers: What the methods can depend on.
        **options: See `EndpointOptions`; they hold for every method.

    Raises:
        HandlerError: methods are missing or differ; the text names each, with its place.
    """
    cls = implementation if isinstance(implementation, type) else type(implementation)
    check_endpoint_options(cls, options)
    missing = [each.name for each in contract.methods if _is_missing(contract, cls, each.name)]
    if missing:
        raise HandlerError(
            f"{location_of(cls)}: it lacks {', '.join(missing)} of {location_of(contract.cls)}"
        )
    instance = instance_of(implementation) if isinstance(implementation, type) else implementation
    names = {**nested_types(contract.cls), **(localns or {}), **nested_types(cls)}
    endpoints = [
        endpoint_from_function(
            getattr(instance, each.name),
            service="",
            name=each.endpoint,
            localns=names,
            codecs=codecs,
            providers=providers,
            **_options_of(each, instance, options),
        )
        for each in contract.methods
    ]
    problems = [
        problem
        for each, endpoint in zip(contract.methods, endpoints, strict=True)
        if (problem := _difference(each, endpoint))
    ]
    if problems:
        raise HandlerError("; ".join(problems))
    return tuple(endpoints)


def _is_missing(contract: Contract, cls: type, name: str) -> bool:
    """Whether a class has no method of that name but the contract's own stub."""
    found = inspect.getattr_static(cls, name, None)
    if found is None:
        return True
    if getattr(found, "__isabstractmethod__", False):
        return True
    # A Protocol's method is a stub, which would answer None; one of an ABC may be a default.
    protocols = (base for base in contract.cls.__mro__ if getattr(base, "_is_protocol", False))
    return any(vars(base).get(name) is found for base in protocols)


def _options_of(
    method: ContractMethod, instance: object, options: EndpointOptions
) -> EndpointOptions:
    """The options of one endpoint: it raises what the contract says unless it says more itself."""
    own = raises_of(getattr(instance, method.name))
    return {**options, "raises": options.get("raises") or own or method.raises}


def _difference(method: ContractMethod, endpoint: Endpoint) -> str:
    where = location_of(endpoint.handler)
    told = f"{method.endpoint} of the contract ({location_of(method.function)})"
    if endpoint.kind is not method.kind:
        return f"{where}: it is {_words(endpoint.kind)}, but {told} is {_words(method.kind)}"
    if endpoint.takes_request is not bool(method.request_name):
        one, other = ("a", "no") if endpoint.takes_request else ("no", "a")
        return f"{where}: it takes {one} request, but {told} has {other} request"
    if not takes(endpoint.request_type, method.request_type):
        got, wanted = type_name(endpoint.request_type), type_name(method.request_type)
        return f"{where}: it takes {got}, but {told} has the request {wanted}"
    if not takes(method.response_type, endpoint.response_type):
        got, wanted = type_name(endpoint.response_type), type_name(method.response_type)
        return f"{where}: it answers {got}, but {told} answers {wanted}"
    return ""


def _words(kind: Any) -> str:
    return "a call" if kind == "unary" else f"a {str(kind).replace('_', ' ')}"
