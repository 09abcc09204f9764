"""The table of `test_matrix.py`: kinds of calls, codecs, handlers, and ways in which they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.wrappers_pb2 import StringValue
from pydantic import BaseModel

from micro import (
    Client,
    Conflict,
    Context,
    Service,
)

WITHIN_SECONDS = 1.0
SHORT_SECONDS = 0.05
SMALL_PAYLOAD = 4000

KINDS = ("unary", "server_stream", "client_stream", "bidi")
HANDLERS = ("async", "plain", "class")
CODECS = ("json", "msgpack", "protobuf", "bytes")
OUTCOMES = (
    "value",
    "none",
    "typed error",
    "own error",
    "unexpected error",
    "stop iteration",
    "system exit",
    "generator exit",
    "cancelled error",
    "value not encodable",
    "header not text",
    "header not unicode",
    "too large",
    "deadline",
    "cancel",
)

SKIPPED = {
    ("plain", "server_stream"): "a stream of answers needs an async generator",
    ("plain", "client_stream"): "a stream of requests needs 'async def'",
    ("plain", "bidi"): "both",
    ("none", "protobuf"): "protobuf has no None",
    ("none", "bytes"): "bytes have no None",
}


class Award(BaseModel):
    user: str


class OutOfStock(Conflict):
    def __init__(self, sku: str, left: int) -> None:
        super().__init__(f"only {left} of {sku} left")
        self.sku = sku
        self.left = left


TYPES: dict[str, tuple[str, Any, Any, Any]] = {
    "json": ("application/json", Award, Award(user="ann"), Award(user="x" * 6000)),
    "msgpack": ("application/msgpack", Award, Award(user="ann"), Award(user="x" * 6000)),
    "protobuf": (
        "application/protobuf",
        StringValue,
        StringValue(value="ann"),
        StringValue(value="x" * 6000),
    ),
    "bytes": ("application/octet-stream", bytes, b"ann", b"x" * 6000),
}

# What the caller gets, and a part of the service's one log line; "" where it logs nothing.
EXPECTED: dict[str, tuple[int, str]] = {
    "typed error": (409, ""),
    "own error": (409, ""),
    "unexpected error": (500, "failed"),
    "stop iteration": (500, "failed"),
    "system exit": (500, "failed"),
    "generator exit": (500, "failed"),
    "cancelled error": (500, "failed"),
    "value not encodable": (500, "failed"),
    "header not text": (500, "'x-price'"),
    "header not unicode": (500, "'x-price'"),
    "too large": (413, "the limit is"),
    "deadline": (408, "deadline passed"),
}
OVER_NATS = (
    "value",
    "stop iteration",
    "system exit",
    "value not encodable",
    "header not text",
    "header not unicode",
    "deadline",
    "cancel",
)
RAISED: dict[str, BaseException] = {
    "typed error": Conflict("taken"),
    "own error": OutOfStock("cup", 2),
    "unexpected error": ValueError("secret"),
    "stop iteration": StopIteration(),
    "system exit": SystemExit(3),
    "generator exit": GeneratorExit(),
    "cancelled error": asyncio.CancelledError(),
}


class Behaviour:
    """What the one handler of a test does."""

    def __init__(self, outcome: str, codec: str) -> None:
        self.outcome = outcome
        self.codec = codec
        self.value, self.large = TYPES[codec][2:]
        self.started = asyncio.Event()
        self.left = asyncio.Event()
        self.release = threading.Event()
        self._loop = asyncio.get_running_loop()

    def now(self, context: Context) -> Any:
        """Do it at once; a thread waits until it is released."""
        outcome = self.outcome
        if (error := RAISED.get(outcome)) is not None:
            raise error
        if outcome in ("deadline", "cancel"):
            self._loop.call_soon_threadsafe(self.started.set)
            self.release.wait(10)
        if outcome.startswith("header"):
            wrong: Any = 0.1 if outcome == "header not text" else "\ud800"
            context.reply_headers["x-price"] = wrong
        special = {"none": None, "value not encodable": object(), "too large": self.large}
        return special.get(outcome, self.value)

    async def soon(self, context: Context) -> Any:
        """The same on the event loop."""
        if self.outcome in ("deadline", "cancel"):
            self.started.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        return self.now(context)


def class_of(kind: str, behaviour: Behaviour) -> type:
    """A class with one handler, its method `do`."""

    class Unary:
        async def do(self, request, ctx):
            return await behaviour.soon(ctx)

    class ServerStream:
        async def do(self, request, ctx):
            yield await behaviour.soon(ctx)

    class ClientStream:
        async def do(self, request, ctx):
            async for _ in request:
                pass
            return await behaviour.soon(ctx)

    class Bidi:
        async def do(self, request, ctx):
            async for _ in request:
                yield await behaviour.soon(ctx)

    return locals()[kind.title().replace("_", "")]


def function_of(kind: str, style: str, behaviour: Behaviour) -> Any:
    def plain(request, ctx):
        return behaviour.now(ctx)

    async def unary(request, ctx):
        return await behaviour.soon(ctx)

    async def server_stream(request, ctx):
        yield await behaviour.soon(ctx)

    async def client_stream(request, ctx):
        async for _ in request:
            pass
        return await behaviour.soon(ctx)

    async def bidi(request, ctx):
        async for _ in request:
            yield await behaviour.soon(ctx)

    return plain if style == "plain" else locals()[kind]


def annotate(function: Any, kind: str, type_: Any, response: Any) -> None:
    many_in, many_out = kind in ("client_stream", "bidi"), kind in ("server_stream", "bidi")
    function.__annotations__ = {
        "request": AsyncIterator[type_] if many_in else type_,
        "ctx": Context,
        "return": AsyncIterator[response] if many_out else response,
    }


def serve(service: Service, kind: str, style: str, behaviour: Behaviour) -> None:
    """Add the handler of one codec to a service."""
    codec = behaviour.codec
    type_ = TYPES[codec][1]
    response = type_ | None if behaviour.outcome == "none" else type_
    if style == "class":
        cls = class_of(kind, behaviour)
        cls.__name__ = codec.title()
        annotate(cls.do, kind, type_, response)
        service.handler(cls())
    else:
        function = function_of(kind, style, behaviour)
        annotate(function, kind, type_, response)
        service.handler(name_of(codec))(function)


def points_with(kind: str, style: str, behaviours: Sequence[Behaviour]) -> Service:
    """A service with a handler for each codec, and one to see that it goes on serving."""
    service = Service("points", settings={"shutdown_timeout": 2})
    for behaviour in behaviours:
        serve(service, kind, style, behaviour)

    @service.handler("Points.Fine")
    async def fine() -> int:
        return 1

    return service


def name_of(codec: str) -> str:
    return f"{codec.title()}.Do"


async def ask(client: Client, kind: str, codec: str, outcome: str) -> Any:
    """Make the call of a test, of whatever kind; the first value that is answered."""
    content_type, type_, value, _ = TYPES[codec]
    response = type_ | None if outcome == "none" else type_
    options: dict[str, Any] = {
        "content_type": content_type,
        "timeout": SHORT_SECONDS if outcome == "deadline" else 5.0,
        "raises": [OutOfStock],
    }
    if kind == "unary":
        return await client.call("points", name_of(codec), value, response, retries=0, **options)
    request = value if kind == "server_stream" else None
    async with client.stream("points", name_of(codec), request, response, **options) as stream:
        if kind != "server_stream":
            await stream.send(value)
            stream.finish()
        items = [item async for item in stream]
    (item,) = items
    return item
