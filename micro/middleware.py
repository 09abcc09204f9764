"""One shape of middleware, mounted in four places: client, server, subscriber and publisher.

    async def layer(request: Request, next: Next) -> Response: ...

The first layer of a list is the outermost. A chain is folded once, when its endpoint is mounted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import reduce
from typing import Any, Literal

from micro.deadline import Deadline

__all__ = ["Layer", "Next", "Request", "Response", "Side", "fold"]

Side = Literal["client", "server", "subscriber", "publisher"]
"""Where a layer is mounted."""


class Request:
    """What a layer receives before the handler or the call; it may change headers and value.

    Attributes:
        side: Where the layer is mounted.
        service: The service that is called, or that handles.
        endpoint: The endpoint's name; a topic at a subscriber or publisher.
        headers: Headers that go out (client, publisher), or came in (server, subscriber).
        value: The request or event, already a value of its type; for a stream of requests an
            async iterator of them.
        deadline: When the answer is wanted; `None` for an event.
    """

    __slots__ = ("deadline", "endpoint", "headers", "service", "side", "value")

    def __init__(
        self,
        side: Side,
        service: str,
        endpoint: str,
        headers: dict[str, str],
        value: Any,
        deadline: Deadline | None,
    ) -> None:
        self.side = side
        self.service: str = service
        self.endpoint: str = endpoint
        self.headers: dict[str, str] = headers
        self.value: Any = value
        self.deadline: Deadline | None = deadline


class Response:
    """What a layer receives from the rest of the chain.

    Attributes:
        value: The answer as a value; for a stream of answers an async iterator of them; `None`
            from a subscriber.
        headers: The reply's headers: read on the client's side, sent on the server's.
    """

    __slots__ = ("headers", "value")

    def __init__(self, value: Any, headers: dict[str, str]) -> None:
        self.value: Any = value
        self.headers: dict[str, str] = headers


Next = Callable[[Request], Awaitable[Response]]
"""The rest of the chain."""

Layer = Callable[[Request, Next], Awaitable[Response]]
"""One middleware. It calls `next(request)` once, several times or not at all."""


def fold(layers: Sequence[Layer], innermost: Next) -> Next:
    """Fold layers round the innermost step, the first one outermost."""
    return reduce(_wrap, reversed(layers), innermost)


def _wrap(next: Next, layer: Layer) -> Next:
    def call(request: Request) -> Awaitable[Response]:
        return layer(request, next)

    return call
