"""Typed clients: a Protocol class's methods become calls and streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, Unpack

from micro.client.options import CallOptions, StreamOptions
from micro.client.stream import ClientStream
from micro.handlers.contract import Contract, ContractMethod

__all__ = ["Calls", "make_proxy"]


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


def make_proxy(client: Calls, contract: Contract, *, service: str) -> Any:
    """Make an object with the contract's methods, each of which calls its endpoint.

    Keyword arguments, such as `timeout`, are handed to `Client.call` or `Client.stream`, after the
    defaults that the contract gives them.
    """
    methods = {each.name: staticmethod(_method(client, service, each)) for each in contract.methods}
    return type(f"{contract.cls.__name__}Client", (), methods)()


def _method(client: Calls, service: str, method: ContractMethod) -> Callable[..., Any]:
    split = _splitter(method)
    endpoint, answer = method.endpoint, method.response_type
    if method.kind.streams_responses:
        return _stream(client, service, endpoint, answer, split)
    if method.kind.streams_requests:
        return _collect(client, service, endpoint, answer, split)
    return _call(client, service, endpoint, answer, split)


def _splitter(method: ContractMethod) -> _Split:
    """What parts a method's arguments into the request and the options of the call."""
    name, default = method.request_name, method.request_default
    defaults = dict(method.options)
    if method.raises:
        defaults.setdefault("raises", method.raises)

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
