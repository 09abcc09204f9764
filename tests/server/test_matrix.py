"""Every kind of call, codec and handler, and every way in which a handler can end.

The caller gets its answer within a second, and a failure that is the service's is in its log once.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from itertools import product
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import BaseModel

from micro import Client, Conflict, Context, MemoryBackend, MicroError, Service

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


class Unary:
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def do(self, request, ctx):
        return await self.behaviour.soon(ctx)


class ServerStream(Unary):
    async def do(self, request, ctx):
        yield await self.behaviour.soon(ctx)


class ClientStream(Unary):
    async def do(self, request, ctx):
        async for _ in request:
            pass
        return await self.behaviour.soon(ctx)


class Bidirectional(Unary):
    async def do(self, request, ctx):
        async for _ in request:
            yield await self.behaviour.soon(ctx)


CLASSES: dict[str, type[Unary]] = {
    "unary": Unary,
    "server_stream": ServerStream,
    "client_stream": ClientStream,
    "bidi": Bidirectional,
}


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


def service_with(kind: str, style: str, codec: str, behaviour: Behaviour) -> Service:
    """A service with the handler of a test, and one more to see that it goes on serving."""
    service = Service("points", settings={"shutdown_timeout": 2})
    type_ = TYPES[codec][1]
    response = type_ | None if behaviour.outcome == "none" else type_
    if style == "class":
        instance = CLASSES[kind](behaviour)
        annotate(CLASSES[kind].do, kind, type_, response)
        service.handler(instance)
    else:
        function = function_of(kind, style, behaviour)
        annotate(function, kind, type_, response)
        service.handler(NAME[kind])(function)

    @service.handler("Points.Fine")
    async def fine() -> int:
        return 1

    return service


NAME = {kind: f"{cls.__name__}.Do" for kind, cls in CLASSES.items()}


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
        return await client.call("points", NAME[kind], value, response, retries=0, **options)
    request = value if kind == "server_stream" else None
    async with client.stream("points", NAME[kind], request, response, **options) as stream:
        if kind != "server_stream":
            await stream.send(value)
            stream.finish()
        items = [item async for item in stream]
    (item,) = items
    return item


def cases() -> Iterator[Any]:
    for kind, style, codec, outcome in product(KINDS, HANDLERS, CODECS, OUTCOMES):
        if (style, kind) not in SKIPPED and (outcome, codec) not in SKIPPED:
            yield pytest.param(kind, style, codec, outcome, id=f"{kind}-{style}-{codec}-{outcome}")


def service_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """What the service wrote for its operator; a thread that goes on is told separately."""
    return [
        record
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("micro.server")
    ]


async def check(client: Client, kind: str, codec: str, behaviour: Behaviour) -> None:
    """Make the call and look at what its caller gets, and when."""
    outcome = behaviour.outcome
    async with asyncio.timeout(WITHIN_SECONDS):
        if outcome == "cancel":
            calling = asyncio.ensure_future(ask(client, kind, codec, outcome))
            await behaviour.started.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        elif outcome in EXPECTED:
            with pytest.raises(MicroError) as raised:
                await ask(client, kind, codec, outcome)
            assert raised.value.code == EXPECTED[outcome][0]
            if outcome == "own error":
                assert (raised.value.sku, raised.value.left) == ("cup", 2)
        else:
            expected = None if outcome == "none" else behaviour.value
            assert await ask(client, kind, codec, outcome) == expected
        assert await client.call("points", "Points.Fine", None, int) == 1


def check_log(
    caplog: pytest.LogCaptureFixture, kind: str, style: str, behaviour: Behaviour
) -> None:
    """A failure of the service's is one line, which names the endpoint and the reason."""
    text = EXPECTED.get(behaviour.outcome, (0, ""))[1]
    lines = [record.getMessage() for record in service_lines(caplog)]

    assert len(lines) == bool(text), lines
    if text:
        assert NAME[kind] in lines[0]
        assert text in lines[0]


@pytest.mark.parametrize(("kind", "style", "codec", "outcome"), [*cases()])
async def test_every_call_is_answered(
    kind: str, style: str, codec: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    behaviour = Behaviour(outcome, codec)
    network = MemoryBackend(max_payload=SMALL_PAYLOAD)
    service = service_with(kind, style, codec, behaviour)
    async with Service("caller").running(network) as client, service.running(network):
        await check(client, kind, codec, behaviour)
        if style != "plain" and outcome in ("deadline", "cancel"):
            async with asyncio.timeout(WITHIN_SECONDS):
                await behaviour.left.wait()
        behaviour.release.set()

    check_log(caplog, kind, style, behaviour)
