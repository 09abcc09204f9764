"""Events on their way to subscribers, over memory."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections import Counter
from collections.abc import Callable

import pytest

from micro import Context, MemoryBackend, Service
from micro.broker.contract import Delivery
from micro.codec import Codecs, default_codecs
from micro.concurrency.budget import process_budget
from micro.errors import ConnectionLost, HandlerError, InvalidName
from micro.events.subscribers import SubscriberOptions, Subscribers, _overlap
from micro.handlers.subscriber import subscriber_from_function
from micro.message import Message
from micro.telemetry.metrics import Metrics
from tests.concurrency.test_work import burn
from tests.engine import ANN, Award, Gauge, running
from tests.events.inbox import Inbox
from tests.faults.clock import lasts


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def service() -> Service:
    return Service("points")


async def test_an_event_reaches_its_subscriber(service: Service, inbox: Inbox) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with running(service) as client:
        await client.publish("orders.created", ANN)

        assert await inbox.until(1) == [ANN]


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
async def test_any_codec_carries_an_event(
    service: Service, inbox: Inbox, content_type: str
) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add((event, ctx.headers["Content-Type"]))

    async with running(service) as client:
        await client.publish("orders.created", ANN, content_type=content_type)

        assert await inbox.until(1) == [(ANN, content_type)]


async def test_events_of_one_publisher_start_in_order(service: Service, inbox: Inbox) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        inbox.add(event)

    async with running(service) as client:
        for number in range(1000):
            await client.publish("orders.created", number)

        assert await inbox.until(1000) == list(range(1000))


async def test_a_subscriber_knows_its_surroundings(service: Service, inbox: Inbox) -> None:
    @service.subscriber("orders.*")
    async def on_order(ctx: Context) -> None:
        assert Context.current() is ctx
        inbox.add((ctx.service, ctx.endpoint, ctx.topic, ctx.headers["zone"], ctx.deadline))
        assert ctx.id

    async with running(service) as client:
        await client.publish("orders.created", 1, headers={"zone": "a"})

        assert await inbox.until(1) == [("points", "OnOrder", "orders.created", "a", None)]


async def test_wildcards_match_topics(service: Service, inbox: Inbox) -> None:
    @service.subscriber("orders.*")
    async def one(ctx: Context) -> None:
        inbox.add(("one", ctx.topic))

    @service.subscriber("orders.>")
    async def all_(ctx: Context) -> None:
        inbox.add(("all", ctx.topic))

    async with running(service) as client:
        for topic in ("orders.created", "orders.created.again", "others.created"):
            await client.publish(topic, 1)
        got = await inbox.until(3)

    assert sorted(map(str, got)) == [
        "('all', 'orders.created')",
        "('all', 'orders.created.again')",
        "('one', 'orders.created')",
    ]


@pytest.mark.parametrize(
    ("queue", "each"), [("own", 10), (None, 30), ("workers", 10)], ids=["own", "none", "named"]
)
async def test_a_queue_group_shares_events_and_no_group_gets_them_all(
    queue: str | None, each: int, inbox: Inbox
) -> None:
    network, services = MemoryBackend(), [Service("points", id=id) for id in "abc"]
    for id, service in zip("abc", services, strict=True):
        options = {} if queue == "own" else {"queue": queue}

        def subscribe(service: Service, name: str, options: dict[str, str | None]) -> None:
            @service.subscriber("orders.created", **options)
            async def on_order(event: int) -> None:
                inbox.add((name, event))

        subscribe(service, id, options)

    async with running(*services, backend=network) as client:
        for number in range(10):
            await client.publish("orders.created", number)
        got = await inbox.until(each)

    assert len(got) == each
    counted = Counter(event for _, event in got)  # type: ignore[misc]
    assert set(counted.values()) == {each // 10}


async def test_two_subscribers_of_one_service_each_get_every_event(inbox: Inbox) -> None:
    services = [Service("points", id=id) for id in "ab"]
    for service in services:

        @service.subscriber("orders.created")
        async def first(event: int) -> None:
            inbox.add(("first", event))

        @service.subscriber("orders.*")
        async def second(event: int) -> None:
            inbox.add(("second", event))

        @service.subscriber("orders.deleted")
        async def third(event: int) -> None:
            inbox.add(("third", event))

    async with running(*services) as client:
        for number in range(10):
            await client.publish("orders.created", number)
        got = await inbox.until(20)

    assert sorted(got) == [(name, n) for name in ("first", "second") for n in range(10)]  # type: ignore[type-var]


@pytest.mark.parametrize(("failing", "told"), [(0, ["ack"]), (1, ["nack"]), (2, ["nack"])])
async def test_an_event_for_several_subscribers_is_acknowledged_once(
    failing: int, told: list[str], inbox: Inbox
) -> None:
    async def on_order(event: int) -> None: ...

    async def also(event: int) -> None: ...

    def fail(event: int) -> None:
        raise ValueError

    class Told(Refusing):
        async def ack(self) -> None:
            inbox.add("ack")

        async def nack(self) -> None:
            inbox.add("nack")

    network = MemoryBackend()
    functions = [fail] * failing + [on_order, also]
    specs = [subscriber_from_function(each, "orders.created", queue="q") for each in functions]
    async with Subscribers("points", network.broker, Codecs(default_codecs())) as subscribers:
        await subscribers.subscribe(specs)
        subscribers._target(subscribers._subscribers[0])(Told(b"1", inbox.add))
        await subscribers.drain(5)

    assert inbox.events == told


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("a.b", "a.b", True),
        ("a.b", "a.c", False),
        ("a.*", "a.b", True),
        ("a.*", "*.b", True),
        ("a.*", "b.*", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a.*", True),
        ("a.b", "a.b.c", False),
        ("*.b.>", "a.*.c", True),
    ],
)
def test_patterns_overlap_when_a_topic_matches_both(one: str, other: str, overlap: bool) -> None:
    assert _overlap(one, other) is overlap
    assert _overlap(other, one) is overlap


async def test_two_services_each_get_every_event(inbox: Inbox) -> None:
    services = [Service("points"), Service("stats")]
    for service in services:

        @service.subscriber("orders.created")
        async def on_order(ctx: Context) -> None:
            inbox.add(ctx.service)

    async with running(*services) as client:
        await client.publish("orders.created", 1)

        assert sorted(map(str, await inbox.until(2))) == ["points", "stats"]


async def test_a_plain_function_runs_in_a_thread_with_its_context(
    service: Service, inbox: Inbox
) -> None:
    loop = asyncio.get_running_loop()

    @service.subscriber("orders.created")
    def on_order(event: int) -> None:
        seen = (event, Context.current().topic, threading.get_ident())
        loop.call_soon_threadsafe(inbox.add, seen)

    async with running(service) as client:
        await client.publish("orders.created", 5)
        ((event, topic, ident),) = await inbox.until(1)  # type: ignore[misc]

    assert (event, topic) == (5, "orders.created")
    assert ident != threading.get_ident()


async def test_a_subscriber_that_fails_is_logged_and_others_go_on(
    service: Service, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    @service.subscriber("orders.created")
    async def fails(event: int) -> None:
        inbox.add(("fails", event))
        raise ValueError("boom")

    @service.subscriber("orders.created")
    async def works(event: int) -> None:
        inbox.add(("works", event))

    async with running(service) as client:
        for number in range(3):
            await client.publish("orders.created", number)
        got = await inbox.until(6)

    assert len(got) == 6
    records = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(records) == 3
    assert all("Fails failed on an event of orders.created" in r.getMessage() for r in records)
    assert all(record.exc_info for record in records)


async def test_an_event_that_does_not_fit_is_logged_and_not_handled(
    service: Service, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with running(service) as client:
        for bad in ({"user": "ann"}, "text", None):
            await client.publish("orders.created", bad)
        await client.publish("orders.created", ANN)

        assert await inbox.until(1) == [ANN]
    assert caplog.text.count("OnOrder failed on an event of orders.created: it cannot be read") == 3
    assert "Traceback" not in caplog.text


class Refusing(Delivery):
    """A delivery whose broker is gone."""

    def __init__(self, body: bytes, told: Callable[[object], None]) -> None:
        self._body = body
        self._told = told

    @property
    def topic(self) -> str:
        return "orders.created"

    @property
    def message(self) -> Message:
        return Message({"Micro-ID": "1", "Content-Type": "application/json"}, self._body)

    async def ack(self) -> None:
        self._told("ack")
        raise ConnectionLost("the broker is gone")

    async def nack(self) -> None:
        self._told("nack")
        raise ConnectionLost("the broker is gone")


async def count(network: MemoryBackend, events: int, **options: int) -> tuple[int, int, int]:
    """Handle events of a subscriber that fails on odd ones; returns its counters."""

    async def on_order(event: int) -> None:
        await asyncio.sleep(0)
        if event % 2:
            raise ValueError

    spec = subscriber_from_function(on_order, "orders.created")
    codecs = Codecs(default_codecs())
    metrics = Metrics()
    subscribers = Subscribers(
        "points", network.broker, codecs, SubscriberOptions(**options), metrics=metrics
    )
    async with subscribers:
        await subscribers.subscribe([spec])
        for number in range(events):
            body = str(number).encode()
            headers = {"Micro-ID": "1", "Content-Type": "application/json"}
            await network.broker.publish("orders.created", Message(headers, body))
        assert await subscribers.drain(5) == []
    counters = metrics.subscriber("OnOrder")
    return counters.handled, counters.failed, counters.dropped


async def test_what_happened_is_counted() -> None:
    assert await count(MemoryBackend(), 10) == (10, 5, 0)


async def test_events_for_which_there_is_no_room_are_dropped_and_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    handled, _, dropped = await count(MemoryBackend(), 100, max_concurrency=1, max_queue=10)

    assert handled == 11
    assert dropped == 89
    assert caplog.text.count("too slow") == 1


async def test_one_at_a_time_ends_one_before_the_next_starts() -> None:
    running, most = 0, 0

    async def on_order(event: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    network = MemoryBackend()
    options = SubscriberOptions(max_concurrency=1)
    async with Subscribers("points", network.broker, Codecs(default_codecs()), options) as all_:
        await all_.subscribe([subscriber_from_function(on_order, "orders.created")])
        for number in range(10):
            await network.broker.publish("orders.created", Message({}, str(number).encode()))
        await all_.drain(5)

    assert most == 1


@pytest.mark.parametrize(("body", "told"), [(b"1", ["ack", "nack"]), (b"x", ["nack"])])
async def test_a_broker_that_is_gone_does_not_take_the_subscriber_with_it(
    body: bytes, told: list[str], inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_order(event: int) -> None: ...

    network = MemoryBackend()
    async with Subscribers("points", network.broker, Codecs(default_codecs())) as subscribers:
        await subscribers.subscribe([subscriber_from_function(on_order, "orders.created")])
        for _ in range(2):
            subscribers._subscribers[0].deliver(Refusing(body, inbox.add))
        await inbox.until(2 * len(told))
        assert await subscribers.drain(5) == []

    assert sorted(map(str, inbox.events)) == sorted(2 * told)
    assert caplog.text.count("could not be given back") == 2


async def test_awaiting_what_was_cancelled_is_a_failure(
    service: Service, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        inbox.add(event)
        if event == 0:
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    async with running(service) as client:
        await client.publish("orders.created", 0)
        await client.publish("orders.created", 1)
        await inbox.until(2)

    assert caplog.text.count("OnOrder failed") == 1


async def test_events_that_came_are_handled_before_the_stop(service: Service) -> None:
    handled = []

    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        handled.append(event)

    async with running(service) as client:
        for number in range(500):
            await client.publish("orders.created", number)

    assert len(handled) == 500


async def test_a_handler_may_publish_and_call_while_the_service_stops(service: Service) -> None:
    network, audit, audited = MemoryBackend(), Service("audit"), Inbox()
    gauge = Gauge()

    @audit.subscriber("points.awarded")
    async def on_award(event: int) -> None:
        audited.add(event)

    @audit.handler
    async def check(request: int) -> int:
        return request + 1

    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        await gauge.wait()
        await service.publish(
            "points.awarded", await service.client.call("audit", "Audit.Check", event, int)
        )

    async with audit.running(network):
        async with service.running(network) as client:
            await client.publish("orders.created", 1)
            await gauge.until(started=1)
            asyncio.get_running_loop().call_later(0.02, gauge.go.set)

        assert await audited.until(1) == [2]


async def test_what_outlasts_the_grace_is_cut_off_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points", settings={"shutdown_timeout": 0.05})
    gauge = Gauge()

    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        await gauge.wait()

    async with running(service) as client:
        await client.publish("orders.created", 1)
        await gauge.until(started=1)

    assert gauge.cancelled == 1
    assert "OnOrder was still running after 0.05s" in caplog.text


async def test_events_that_wait_when_the_grace_is_over_never_start() -> None:
    service = Service("points", settings={"shutdown_timeout": 0.05})
    held, gauge = process_budget().held, Gauge()

    @service.subscriber("orders.created", max_concurrency=1)
    async def on_order(event: int) -> None:
        await gauge.wait()

    async with running(service) as client:
        for number in range(50):
            await client.publish("orders.created", number)
        await gauge.until(started=1)

    assert gauge.started == gauge.cancelled == 1
    assert process_budget().held == held


@pytest.mark.parametrize("waits", [False, True])
async def test_events_that_use_the_processor_leave_turns_for_others(
    service: Service, inbox: Inbox, waits: bool
) -> None:
    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        if waits:
            await lasts(0.005)
        burn(0.003)
        inbox.add(event)

    async with running(service) as client:
        for number in range(300):
            await client.publish("orders.created", number)
        most = before = 0
        async with asyncio.timeout(30):
            while len(inbox.events) < 300:
                await asyncio.sleep(0)
                most, before = max(most, len(inbox.events) - before), len(inbox.events)

    assert most <= 100


async def test_events_that_only_wait_are_soon_handled_all_at_once(service: Service) -> None:
    gauge = Gauge()

    @service.subscriber("orders.created")
    async def on_order(event: int) -> None:
        await gauge.wait()

    async with running(service) as client:
        for number in range(300):
            await client.publish("orders.created", number)
        await gauge.until(started=256)
        gauge.go.set()
        await gauge.until(started=300)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_an_interrupt_in_a_subscriber_stops_the_program_in_good_order(
    service: Service, inbox: Inbox, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[int] = []
    monkeypatch.setattr("micro.events.subscriber.signal.raise_signal", raised.append)

    if kind == "async":

        @service.subscriber("orders.created")
        async def on_order(event: int) -> None:
            if event == 0:
                raise KeyboardInterrupt
            inbox.add(event)

    else:

        @service.subscriber("orders.created")
        def on_order(event: int) -> None:
            if event == 0:
                raise KeyboardInterrupt
            loop.call_soon_threadsafe(inbox.add, event)

    loop = asyncio.get_running_loop()
    async with running(service) as client:
        await client.publish("orders.created", 0)
        await client.publish("orders.created", 1)
        assert await inbox.until(1) == [1]

    assert raised == [signal.SIGINT]


@pytest.mark.parametrize("topic", ["", "a b", "a..b", "a.>.b", ".a", "a\n", "a.#"])
def test_a_topic_that_cannot_be_used_is_refused_at_once(service: Service, topic: str) -> None:
    with pytest.raises(InvalidName):

        @service.subscriber(topic)
        async def on_order(event: int) -> None: ...


def test_a_queue_that_cannot_be_used_is_refused_at_once(service: Service) -> None:
    with pytest.raises(InvalidName):

        @service.subscriber("orders.created", queue="a b")
        async def on_order(event: int) -> None: ...


def test_a_signature_that_cannot_be_used_is_refused_at_once(service: Service) -> None:
    with pytest.raises(HandlerError, match="on_order"):

        @service.subscriber("orders.created")
        async def on_order(event) -> None: ...  # type: ignore[no-untyped-def]
