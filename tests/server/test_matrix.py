"""Every kind of call, codec and handler, and every way in which a handler can end.

The caller gets its answer within a second, and a failure that is the service's is in its log once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from itertools import product
from typing import Any

import pytest
import uvloop

from micro import (
    Backends,
    Client,
    Context,
    MemoryBackend,
    MicroError,
    Service,
    load_settings,
    open_client,
)
from micro_nats.devserver import run_server
from tests.engine import until
from tests.server.matrix import (
    CODECS,
    EXPECTED,
    HANDLERS,
    KINDS,
    OUTCOMES,
    OVER_NATS,
    SKIPPED,
    SMALL_PAYLOAD,
    TYPES,
    WITHIN_SECONDS,
    Behaviour,
    ask,
    name_of,
    points_with,
)


def service_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the service wrote for its operator; a thread that goes on is told separately."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.WARNING and record.name.startswith("micro.server")
    ]


async def check_answer(client: Client, kind: str, behaviour: Behaviour) -> None:
    """Make the call and look at what its caller gets, and when."""
    outcome, codec = behaviour.outcome, behaviour.codec
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


def check_log(caplog: pytest.LogCaptureFixture, behaviour: Behaviour) -> None:
    """A failure of the service's is one line, which names the endpoint and the reason."""
    text = EXPECTED.get(behaviour.outcome, (0, ""))[1]
    lines = service_lines(caplog)

    assert len(lines) == bool(text), lines
    if text:
        assert name_of(behaviour.codec) in lines[0]
        assert text in lines[0]


async def check_all(
    client: Client,
    kind: str,
    style: str,
    behaviours: Sequence[Behaviour],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await client.call("points", "Points.Fine")  # from now on the client knows the service
    for behaviour in behaviours:
        caplog.clear()
        await check_answer(client, kind, behaviour)
        if style != "plain" and behaviour.outcome in ("deadline", "cancel"):
            async with asyncio.timeout(WITHIN_SECONDS):
                await behaviour.left.wait()
        behaviour.release.set()
        if behaviour.outcome == "deadline":
            await until(lambda: bool(service_lines(caplog)))
        check_log(caplog, behaviour)


def cases() -> list[Any]:
    return [
        pytest.param(kind, style, outcome, id=f"{kind}-{style}-{outcome}")
        for kind, style, outcome in product(KINDS, HANDLERS, OUTCOMES)
        if (style, kind) not in SKIPPED
    ]


def behaviours_of(outcome: str, codecs: Sequence[str] = CODECS) -> list[Behaviour]:
    return [Behaviour(outcome, codec) for codec in codecs if (outcome, codec) not in SKIPPED]


@pytest.mark.parametrize(("kind", "style", "outcome"), cases())
async def test_every_call_is_answered(
    kind: str, style: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    behaviours = behaviours_of(outcome)
    network = MemoryBackend(max_payload=SMALL_PAYLOAD)
    service = points_with(kind, style, behaviours)
    async with Service("caller").running(network) as client, service.running(network):
        await check_all(client, kind, style, behaviours, caplog)


def on_loop(loop: str, work: Coroutine[Any, Any, None]) -> None:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(work)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("kind", "style"), [("unary", "plain"), ("bidi", "async")])
def test_every_call_over_nats_is_answered(
    loop: str, kind: str, style: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with run_server() as server:
            told = ["--transport-address", server.address]
            settings = load_settings(told, {})
            for outcome in OVER_NATS:
                behaviours = behaviours_of(outcome, ("msgpack",))
                service = points_with(kind, style, behaviours)
                async with (
                    Backends(name="points", settings=settings) as backends,
                    service.running(backends=backends, settings=settings),
                    open_client(settings) as client,
                ):
                    await check_all(client, kind, style, behaviours, caplog)

    on_loop(loop, run())


EVENTS_FAIL = [
    outcome
    for outcome in OUTCOMES
    if EXPECTED.get(outcome, (0, ""))[0] in (409, 500)
    and not outcome.startswith(("header", "value"))
]


@pytest.mark.parametrize("style", HANDLERS)
@pytest.mark.parametrize("outcome", ["value", *EVENTS_FAIL])
async def test_every_event_is_handled_or_logged(
    style: str, outcome: str, caplog: pytest.LogCaptureFixture
) -> None:
    handled: list[Any] = []
    service = Service("points", settings={"subscriber_max_concurrency": 1})
    behaviours = behaviours_of(outcome)
    for behaviour in behaviours:
        subscribe(service, style, behaviour, handled)
    async with service.running() as client:
        for behaviour in behaviours:
            content_type, _, value, _ = TYPES[behaviour.codec]
            for _ in range(2):
                await client.publish(behaviour.codec, value, content_type=content_type)
        async with asyncio.timeout(WITHIN_SECONDS):
            await until(lambda: len(handled) == 2 * len(behaviours))

    failures = [r for r in caplog.records if r.name == "micro.subscriber"]
    assert len(failures) == (0 if outcome == "value" else 2 * len(behaviours))


def subscribe(service: Service, style: str, behaviour: Behaviour, handled: list[Any]) -> None:
    """Add a subscriber that notes the event, and ends as it is told."""

    def plain(event, ctx):
        handled.append(event)
        behaviour.now(ctx)

    async def coroutine(event, ctx):
        handled.append(event)
        await behaviour.soon(ctx)

    class Points:
        async def handle(self, event, ctx):
            await coroutine(event, ctx)

    function = {"plain": plain, "async": coroutine, "class": Points.handle}[style]
    function.__annotations__ = {"event": TYPES[behaviour.codec][1], "ctx": Context}
    service.subscriber(behaviour.codec)(Points().handle if style == "class" else function)
