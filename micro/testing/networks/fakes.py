"""Fakes: a service made of a contract, whose methods a test gives as functions or values."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

from micro.codec import Codecs
from micro.context import Context
from micro.errors import Unimplemented, UsageError
from micro.handlers.contract import Contract, ContractMethod
from micro.handlers.definition import Runs, ServiceDefinition
from micro.handlers.endpoint import Endpoint
from micro.settings.hints import nearest

__all__ = ["fake_service", "service_of"]

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def fake_service(
    contract: Contract, service: str, answers: Mapping[str, object], codecs: Codecs
) -> ServiceDefinition:
    """A service with the endpoints of a contract.

    Args:
        contract: What it offers.
        service: Its name.
        answers: By method, a function or a value.
        codecs: Read and write bodies.

    Raises:
        UsageError: an answer is of no method, or does not fit it.
    """
    methods = {method.name: method for method in contract.methods}
    for name, answer in answers.items():
        if name not in methods:
            hint = nearest(name, methods)
            known = f"did you mean {hint}=?" if hint else f"it has {', '.join(sorted(methods))}"
            raise UsageError(f"{contract.cls.__name__} has no method {name!r}: {known}")
        _check(methods[name], answer)
    endpoints = tuple(
        _endpoint(method, answers[method.name])
        if method.name in answers
        else _missing(method, contract.cls.__name__)
        for method in contract.methods
    )
    return ServiceDefinition(name=service, codecs=codecs, runs=Runs(), endpoints=endpoints)


def service_of(contract: Contract) -> str:
    """The name of a contract's service when none is given: `order-items` for `OrderItems`."""
    return _HUMP.sub("-", contract.methods[0].endpoint.partition(".")[0]).lower()


def _check(method: ContractMethod, answer: object) -> None:
    """Refuse an answer that could not be given."""
    if _is_function(answer):
        given = (None,) if method.request_name else ()
        try:
            inspect.signature(answer).bind(*given)  # type: ignore[arg-type]  # it is a function
        except TypeError as error:
            takes = "the request as its one argument" if given else "no argument"
            raise UsageError(f"{method.name}=: the function must take {takes}: {error}") from None
    elif not method.kind.streams_responses and not isinstance(answer, BaseException):
        _check_type(method, answer)


def _check_type(method: ContractMethod, answer: object) -> None:
    wanted = method.response_type
    if isinstance(wanted, type) and wanted is not object and not isinstance(answer, wanted):
        raise UsageError(f"{method.name}=: the contract answers {wanted.__name__}, got {answer!r}")


def _endpoint(method: ContractMethod, answer: object) -> Endpoint:
    bind = _stream(method, answer) if method.kind.streams_responses else _unary(method, answer)
    return replace(method.as_endpoint(), bind=bind)


def _missing(method: ContractMethod, contract: str) -> Endpoint:
    text = f"the fake of {contract} has no {method.name!r}: pass {method.name}= to fake()"
    return _endpoint(method, Unimplemented(text))


def _unary(method: ContractMethod, answer: object) -> Callable[[Any, Context], Any]:
    async def bind(request: Any, context: Context) -> Any:
        del context
        return await _ask(method, answer, request)

    return bind


def _stream(method: ContractMethod, answer: object) -> Callable[[Any, Context], Any]:
    async def bind(request: Any, context: Context) -> AsyncIterator[Any]:
        del context
        items = await _ask(method, answer, request)
        if isinstance(items, AsyncIterable):
            async for item in items:
                yield item
        else:
            for item in items:
                yield item

    return bind


async def _ask(method: ContractMethod, answer: object, request: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer.with_traceback(None)
    if not _is_function(answer):
        return answer
    function: Any = answer
    result = function(request) if method.request_name else function()
    return await result if inspect.isawaitable(result) else result


def _is_function(answer: object) -> bool:
    return callable(answer) and not isinstance(answer, type)
