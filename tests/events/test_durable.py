"""Durable subscribers: attempts, retries, dead letters, suspects, pauses and stops, over memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from micro import (
    Context,
    Depends,
    Later,
    MemoryBackend,
    Message,
    Queue,
    Reject,
    Request,
    Response,
    Retry,
    Service,
    Topic,
    Unavailable,
)
from micro.broker.kept_types import Durable, Position
from micro.client.client import Client
from micro.concurrency.clock import VirtualClock
from micro.errors import Conflict, ConnectionLost, HandlerError, NotFound, TransportError
from micro.events.arrival import Arrival
from micro.events.deadletter import (
    DeadLetter,
    dead_letters,
    drop_dead,
    find_dead,
    purge_dead,
    replay_dead,
)
from micro.events.history import History
from micro.events.kept_topics import KeptTopics
from micro.testing import KeptMailbox
from tests.engine import ANN, Award, Gauge, until
from tests.events.inbox import Inbox
from tests.events.test_kept_publisher import PlainBroker

created = Topic("durable.created", Award, keep="7d")


class Net:
    """A network with a virtual clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.backend = MemoryBackend(clock=self.clock)
        self.broker = self.backend.broker

    async def position(self, durable: str = "points", topic: str = "durable.created") -> Position:
        state = await self.broker.describe(topic)
        return next(each for each in state.positions if each.durable == durable)

    async def is_settled(self, durable: str = "points") -> bool:
        position = await self.position(durable)
        return position.waiting + position.unsettled == 0

    async def settled(self, durable: str = "points") -> None:
        async with asyncio.timeout(5):
            while not await self.is_settled(durable):  # noqa: ASYNC110  nothing tells of it
                await asyncio.sleep(0)

    async def dead(self) -> list[DeadLetter]:
        return await dead_letters(self.broker)

    @asynccontextmanager
    async def running(self, *services: Service) -> AsyncIterator[Client]:
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(s.running(self.backend)) for s in services]
            yield clients[-1]


@pytest.fixture
def net() -> Net:
    return Net()


@pytest.fixture
def service() -> Service:
    return Service("points")


@pytest.fixture
async def inbox() -> Inbox:
    return Inbox()


async def test_an_event_published_before_the_start_is_handled(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add((event, ctx.attempt, ctx.id, ctx.topic))

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN, id="a")
    async with net.running(service):
        assert await inbox.until(1) == [(ANN, 1, "a", "durable.created")]
        await net.settled()

    assert service.metrics["micro.durable.attempts"] == 1


async def test_instances_share_the_position_of_their_service(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with net.running(service, service) as client:
        for _ in range(20):
            await client.publish(created, ANN)
        await inbox.until(20)
        await net.settled()

    assert len(inbox.events) == 20


async def test_two_durables_of_a_service_get_each_event(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        inbox.add("points")

    @service.subscriber(created, durable="mail")
    async def mail(event: Award) -> None:
        inbox.add("mail")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        assert sorted(map(str, await inbox.until(2))) == ["mail", "points"]
        await net.settled("points_mail")


async def test_an_event_comes_again_after_each_wait_and_then_dies(net, service, inbox) -> None:
    @service.subscriber(created, durable=True, retry=Retry(1, 5, 120, jitter=0))
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add((ctx.attempt, net.clock.time()))
        raise ValueError("no")

    began = net.clock.time()
    async with net.running(service) as client:
        await client.publish(created, ANN, id="a")
        for count, seconds in ((1, 1), (2, 5), (3, 120)):
            await inbox.until(count)
            await net.clock.advance(seconds)
        await inbox.until(4)
        await net.settled()

    assert [(a, round(t - began)) for a, t in inbox.events] == [(1, 0), (2, 1), (3, 6), (4, 126)]
    (letter,) = await net.dead()
    assert (letter.id, letter.reason, letter.attempts, letter.durable) == (
        *("a", "exhausted", 4, "points"),
    )
    assert letter.error == "ValueError: no"
    assert letter.message.body == b'{"user":"ann","points":5}\n'


async def test_another_instance_knows_how_often_an_event_has_failed(net, inbox) -> None:
    def instance() -> Service:
        service = Service("points")

        @service.subscriber(created, durable=True, retry=Retry(1, 1, 1, jitter=0))
        async def on_order(event: Award, ctx: Context) -> None:
            inbox.add(ctx.attempt)
            raise ValueError("no")

        return service

    async with net.running(instance()) as client:
        await client.publish(created, ANN)
        await inbox.until(1)
    async with net.running(instance()):
        await net.clock.advance(1)
        await inbox.until(2)

    assert inbox.events == [1, 2]


async def test_a_delayed_event_is_handled_when_its_time_has_come(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.id)

    async with net.running(service) as client:
        await client.publish(created, ANN, id="delayed", delay="5m")
        await client.publish(created, ANN, id="later", at=net.clock.now() + timedelta(minutes=9))
        await client.publish(created, ANN, id="now")
        await inbox.until(1)
        await net.clock.advance(301)
        await inbox.until(2)
        await net.clock.advance(301)
        await inbox.until(3)

    assert inbox.events == ["now", "delayed", "later"]


async def test_later_is_not_charged(net, service, inbox) -> None:
    @service.subscriber(created, durable=True, retry=Retry())
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)
        if len(inbox.events) < 4:
            raise Later(10 if len(inbox.events) < 3 else "2m", "not yet")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        for count, seconds in ((1, 10), (2, 10), (3, 120)):
            await inbox.until(count)
            await net.clock.advance(seconds)
        await inbox.until(4)
        await net.settled()

    assert inbox.events == [1, 1, 1, 1]
    assert service.metrics["micro.durable.postponed"] == 3
    assert await net.dead() == []


async def test_reject_makes_a_dead_letter_at_once(net, service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        raise Reject("an unknown user")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()

    (letter,) = await net.dead()
    assert (letter.reason, letter.error, letter.attempts) == ("rejected", "an unknown user", 1)


async def test_what_cannot_be_read_is_a_dead_letter(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with net.running(service) as client:
        await client.publish(created, ANN, id="good")
        await net.broker.publish("durable.created", _message(b'{"user": 1}'))
        await inbox.until(1)
        await net.settled()

    (letter,) = await net.dead()
    assert letter.reason == "undecodable"
    assert "points" in letter.error


@pytest.mark.parametrize(
    ("retry", "reason"),
    [
        (Retry(1, never=(ValueError,)), "never"),
        (Retry(1, per={ValueError: Retry()}), "exhausted"),
        (Retry(), "exhausted"),
    ],
)
async def test_a_retry_can_name_errors(net, service, retry, reason) -> None:
    @service.subscriber(created, durable=True, retry=retry)
    async def on_order(event: Award) -> None:
        raise ValueError("no")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()

    assert [letter.reason for letter in await net.dead()] == [reason]


async def test_within_ends_what_is_postponed_again_and_again(net, service, inbox) -> None:
    @service.subscriber(created, durable=True, retry=Retry(within="1m"))
    async def on_order(event: Award) -> None:
        inbox.add(event)
        raise Later(25)

    async with net.running(service) as client:
        await client.publish(created, ANN)
        for count in (1, 2, 3):
            await inbox.until(count)
            await net.clock.advance(25)
        await net.settled()

    assert [letter.reason for letter in await net.dead()] == ["too late"]


async def test_retry_after_wins_over_the_table(net, service, inbox) -> None:
    @service.subscriber(created, durable=True, retry=Retry(100))
    async def on_order(event: Award) -> None:
        inbox.add(event)
        if len(inbox.events) == 1:
            raise Unavailable("busy", retry_after=2)

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await inbox.until(1)
        await net.clock.advance(2)
        await inbox.until(2)
        await net.settled()


async def test_a_handler_that_takes_too_long_is_cancelled_and_charged(net, service, inbox) -> None:
    @service.subscriber(created, durable=True, timeout=10, retry=Retry(1, jitter=0))
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)
        if ctx.attempt == 1:
            await asyncio.Future()

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await inbox.until(1)
        await net.clock.advance(11)
        await inbox.until(2)
        await net.settled()

    assert inbox.events == [1, 2]
    assert service.metrics["micro.subscriber.expired"] == 1


async def test_a_long_handler_keeps_its_event_from_others(net, service) -> None:
    gauge = Gauge()

    @service.subscriber(created, durable=True, timeout=300)
    async def on_order(event: Award) -> None:
        await gauge.wait()

    async with net.running(service, service) as client:
        await client.publish(created, ANN)
        await gauge.until(started=1)
        await net.clock.advance(200)
        gauge.go.set()
        await net.settled()

    assert gauge.started == 1


async def test_no_more_events_are_taken_than_can_run(net, service) -> None:
    gauge = Gauge()

    @service.subscriber(created, durable=True, max_concurrency=2)
    async def on_order(event: Award) -> None:
        await gauge.wait()

    async with net.running(service) as client:
        for _ in range(5):
            await client.publish(created, ANN)
        await gauge.until(started=2)
        position = await net.position()
        gauge.go.set()
        await net.settled()

    assert (position.unsettled, position.waiting) == (2, 3)
    assert gauge.started == 5


async def test_dependencies_are_closed_before_the_event_is_acknowledged(net, service) -> None:
    seen: list[str] = []

    async def transaction() -> AsyncIterator[str]:
        yield "tx"
        seen.append(f"closed with {(await net.position()).unsettled} unsettled")

    @service.subscriber(created, durable=True)
    async def on_order(event: Award, tx: Annotated[str, Depends(transaction)]) -> None:
        seen.append(tx)

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()

    assert seen == ["tx", "closed with 1 unsettled"]


async def test_a_plain_function_runs_in_a_thread_and_layers_see_its_event(net, inbox) -> None:
    async def layer(request: Request, next: Any) -> Response:
        inbox.add((request.side, request.endpoint, request.value))
        return await next(request)

    service = Service("points", subscriber_middleware=[layer])

    @service.subscriber(created, durable=True)
    def on_order(event: Award) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()

    assert inbox.events == [("subscriber", "durable.created", ANN)]
    assert await net.dead() == []


async def test_what_a_handler_publishes_has_the_same_id_in_each_attempt(net, service) -> None:
    awarded = Topic("durable.awarded", Award, keep="7d")
    children: list[str] = []

    @service.subscriber(created, durable=True, retry=Retry(1, jitter=0))
    async def on_order(event: Award, ctx: Context, client: Client) -> None:
        receipts = [await client.publish(awarded, event) for _ in range(2)]
        children.extend([*(receipt.id for receipt in receipts), ctx.child_id("mail")])
        if ctx.attempt == 1:
            raise ValueError("no")

    async with net.running(service) as client:
        await client.publish(created, ANN, id="a")
        await until(lambda: len(children) == 3)
        await net.clock.advance(1)
        await net.settled()

    assert children == 2 * ["a/durable.awarded/1", "a/durable.awarded/2", "a/mail"]
    assert (await net.broker.describe("durable.awarded")).messages == 2


class Marks:
    """An inbox in memory."""

    def __init__(self) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.open = 0

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.open += 1
        yield
        self.open -= 1

    @asynccontextmanager
    async def claim(self, durable: str, id: str) -> AsyncIterator[bool]:
        yield (durable, id) not in self.seen
        self.seen.add((durable, id))


async def test_an_inbox_filters_what_was_applied(net, service, inbox) -> None:
    marks = Marks()

    @service.subscriber(created, durable=True, once=marks, retry=Retry(1, jitter=0))
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("rolled back")

    async with net.running(service) as client:
        assert marks.open == 1
        await client.publish(created, ANN, id="a")
        await inbox.until(1)
        await net.clock.advance(1)
        await inbox.until(2)
        await net.clock.advance(300)
        again = await client.publish(created, ANN, id="a")
        await net.settled()

    assert not again.duplicate
    assert inbox.events == [1, 2]
    assert marks.seen == {("points", "a")}
    assert marks.open == 0
    assert service.metrics["micro.durable.duplicates"] == 1


async def test_a_replay_goes_to_the_durable_that_failed_with_its_own_id(net, inbox) -> None:
    service, other = Service("points"), Service("mail")
    broken = True

    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        if broken:
            raise Reject("no")
        inbox.add(("points", ctx.id, ctx.attempt))

    @other.subscriber(created, durable=True)
    async def on_mail(event: Award, ctx: Context) -> None:
        inbox.add(("mail", ctx.id, ctx.attempt))

    async with net.running(service, other) as client:
        await client.publish(created, ANN, id="a")
        await inbox.until(1)
        await net.settled()
        (letter,) = await net.dead()
        broken = False
        await replay_dead(net.broker, letter.key)
        await inbox.until(2)
        await net.settled()

    assert inbox.events == [("mail", "a", 1), ("points", "a", 1)]
    assert await net.dead() == []
    with pytest.raises(NotFound, match="no dead letter has the key"):
        await replay_dead(net.broker, letter.key)


async def test_a_replayed_event_that_dies_again_is_another_dead_letter(net, service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        raise Reject("no")

    async with net.running(service) as client:
        await client.publish(created, ANN, id="a")
        await net.settled()
        (letter,) = await net.dead()
        await replay_dead(net.broker, letter.key)
        await net.settled()

    (again,) = await net.dead()
    assert (letter.key, again.key) == ("points/durable.created/1", "points/durable.created/1/r1")
    assert again.id == "a"


async def test_a_dropped_dead_letter_stays_dropped_and_leaves_no_payload(net, service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        raise Reject("no")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()
        letter = await find_dead(net.broker, "points/durable.created/1")
        await drop_dead(net.broker, letter.key)
        # A move that a crash repeats much later must not open it again.
        await net.broker.store("dead", letter.message, id="much later")

    assert await net.dead() == []


@pytest.mark.parametrize(
    ("dead", "kept"), [("metadata", b""), (lambda body: body.replace(b"ann", b"***"), b"***")]
)
async def test_a_dead_letter_keeps_no_more_than_its_durable_allows(
    net, service, dead, kept
) -> None:
    @service.subscriber(created, durable=True, dead=dead)
    async def on_order(event: Award) -> None:
        raise Reject("no")

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await net.settled()
        (letter,) = await net.dead()
        with pytest.raises(Conflict, match="cannot be replayed"):
            await replay_dead(net.broker, letter.key)

    assert kept in letter.message.body
    assert b"ann" not in letter.message.body


async def test_old_dead_letters_are_purged(net, service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        raise Reject("no")

    async with net.running(service) as client:
        await client.publish(created, ANN, id="old")
        await net.settled()
        await net.clock.advance(3600)
        await client.publish(created, ANN, id="young")
        await net.settled()

    assert await purge_dead(net.broker, older=1800) == 1
    assert [letter.id for letter in await net.dead()] == ["young"]
    assert await purge_dead(net.broker, topic="durable.created") == 1


async def _die(net: Net, count: int) -> None:
    """Take events as an instance does that is killed: it settles nothing."""
    mailbox = KeptMailbox()
    async with await net.broker.consume("durable.created", mailbox, Durable(name="points")):
        await mailbox.wait_for(count)
    await net.clock.advance(31)


async def test_an_event_that_was_in_flight_in_a_dead_process_is_not_charged(
    net, service, inbox
) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN)
        await client.publish(created, ANN)
    await _die(net, 2)
    async with net.running(service):
        await inbox.until(2)
        await net.settled()

    assert inbox.events == [1, 1]
    assert service.metrics["micro.durable.suspects"] == 2


async def test_suspects_run_one_at_a_time_beside_healthy_events(net, service) -> None:
    gauge = Gauge()

    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        await gauge.wait()

    async with net.running(Service("shop")) as client:
        for _ in range(3):
            await client.publish(created, ANN)
    await _die(net, 3)
    async with net.running(service) as client:
        await client.publish(created, ANN)
        await gauge.until(started=2)
        for _ in range(50):
            await asyncio.sleep(0)
        started = gauge.started
        gauge.go.set()
        await net.settled()

    assert started == 2
    assert gauge.started == 4


async def test_an_event_that_kills_its_process_twice_is_a_dead_letter(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN, id="poison")
        await client.publish(created, ANN, id="healthy")
    await _die(net, 2)
    await _die_of(net, "poison")
    await _die_of(net, "poison")
    async with net.running(service):
        await net.settled()

    (letter,) = await net.dead()
    assert (letter.id, letter.reason, letter.attempts) == ("poison", "killed the process", 2)
    assert len(inbox.events) == 1


async def test_one_death_is_charged_as_one_attempt(net, service, inbox) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN, id="a")
    await _die(net, 1)
    await _die_of(net, "a")
    async with net.running(service):
        await net.settled()

    assert inbox.events == [2]
    assert await net.dead() == []


async def test_a_suspect_that_a_stop_cuts_off_is_not_charged(net, inbox) -> None:
    def instance(**settings: object) -> Service:
        service = Service("points", settings=settings)

        @service.subscriber(created, durable=True)
        async def on_order(event: Award, ctx: Context) -> None:
            inbox.add(ctx.attempt)
            if settings:
                await asyncio.Future()

        return service

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN)
    await _die(net, 1)
    async with net.running(instance(shutdown_timeout=0)):
        await inbox.until(1)
    async with net.running(instance()):
        await net.settled()

    assert inbox.events == [1, 1]


async def test_trouble_with_the_broker_is_no_death(
    net, service, inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, trouble, failures = net.broker.store, True, 0

    async def failing(topic: str, message: Message, **options: Any) -> Any:
        nonlocal failures
        if trouble and inbox.events and topic == "micro.outcomes":
            failures += 1
            raise ConnectionLost("cut")
        return await store(topic, message, **options)

    @service.subscriber(created, durable=True)
    async def on_order(event: Award, ctx: Context) -> None:
        inbox.add(ctx.attempt)

    async with net.running(Service("shop")) as client:
        await client.publish(created, ANN)
    await _die(net, 1)
    monkeypatch.setattr(net.broker, "store", failing)
    async with net.running(service):
        await inbox.until(1)
        await until(lambda: failures == 2)
        trouble = False
        await net.clock.advance(6)
        await inbox.until(2)
        await net.settled()

    assert inbox.events == [1, 1]


async def _die_of(net: Net, id: str) -> None:
    """Mark and start a suspect, and die: all that is left is the mark."""
    mailbox = KeptMailbox()
    history = History(KeptTopics(net.broker))
    async with await net.broker.consume("durable.created", mailbox, Durable(name="points")):
        for delivery in await mailbox.wait_for(1):
            arrival = Arrival(delivery, "points", delivery.message.headers, "application/json")
            if arrival.id == id:
                past = await history.recall(arrival, fresh=True)
                assert past.suspect
                await history.note(arrival, past, marked=True)
    await net.clock.advance(31)


async def test_ten_dead_letters_in_a_row_pause_the_durable(net, service, inbox) -> None:
    broken = True

    @service.subscriber(created, durable=True, retry=Retry(), max_concurrency=1)
    async def on_order(event: Award) -> None:
        if broken:
            raise ValueError("bad release")
        inbox.add(event)

    async with net.running(service) as client:
        for _ in range(30):
            await client.publish(created, ANN)
        await until(lambda: service.metrics["micro.durable.paused"] == 1)
        before = len(await net.dead())
        await net.clock.advance(29)
        after = len(await net.dead())
        run = service._runs.current("points")
        with pytest.raises(Unavailable, match="durable points is paused: 10 events in a row"):
            await run.check()
        broken = False
        await net.clock.advance(31)
        await inbox.until(20)
        await net.settled()
        await run.check()

    assert (before, after) == (10, 10)


async def test_a_fatal_error_pauses_and_makes_no_dead_letter(net, service, inbox) -> None:
    broken = True

    @service.subscriber(created, durable=True, retry=Retry(), fatal=(ImportError,))
    async def on_order(event: Award, ctx: Context) -> None:
        if broken:
            raise ImportError("no module named 'points'")
        inbox.add(ctx.attempt)

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await until(lambda: service.metrics["micro.durable.paused"] == 1)
        broken = False
        await net.clock.advance(61)
        await inbox.until(1)
        await net.settled()

    assert inbox.events == [1]
    assert await net.dead() == []


async def test_events_that_expire_unread_are_counted_and_fail_readiness(net, service) -> None:
    short = Topic("durable.short", Award, keep="1m")
    gauge = Gauge()

    @service.subscriber(short, durable=True, max_concurrency=1, timeout=600)
    async def on_order(event: Award) -> None:
        await gauge.wait()

    async with net.running(service) as client:
        await net.clock.advance(15)
        for _ in range(3):
            await client.publish(short, ANN)
        await gauge.until(started=1)
        await net.clock.advance(15)
        assert service.metrics["micro.durable.waiting"] == 2
        await net.clock.advance(61)
        run = service._runs.current("points")
        with pytest.raises(Unavailable, match="events expired before they were handled"):
            await run.check()
        await net.clock.advance(61)
        await run.check()
        gauge.go.set()

    assert service.metrics["micro.durable.expired_unread"] >= 2


async def test_a_stop_finishes_what_runs_and_hands_back_the_rest(net, service) -> None:
    gauge, again = Gauge(), Inbox()

    @service.subscriber(created, durable=True, max_concurrency=1)
    async def on_order(event: Award) -> None:
        await gauge.wait()

    other = Service("points")

    @other.subscriber(created, durable=True)
    async def on_order_too(event: Award, ctx: Context) -> None:
        again.add((ctx.id, ctx.attempt))

    async with net.running(service) as client:
        for id in ("a", "b", "c"):
            await client.publish(created, ANN, id=id)
        await gauge.until(started=1)
        asyncio.get_running_loop().call_later(0.05, gauge.go.set)
    async with net.running(other):
        await net.settled()

    assert gauge.started == 1
    assert sorted(again.events) == [("b", 1), ("c", 1)]
    assert await net.dead() == []


async def test_a_service_with_only_durables_needs_a_broker_that_stores(service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None: ...

    alone = Service("points", broker=PlainBroker())
    alone.subscriber(created, durable=True)(on_order)
    with pytest.raises(TransportError, match="cannot read its events, and the service has no"):
        async with alone.running():
            raise AssertionError("it must not start")


async def test_a_service_with_other_work_starts_and_readiness_says_what_is_missing() -> None:
    service = Service("points", broker=PlainBroker())

    @service.handler
    async def total() -> int:
        return 1

    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None: ...

    async with service.running() as client:
        assert await client.call("points", "Points.Total", None, int) == 1
        with pytest.raises(Unavailable, match="durable points cannot read its events: this broker"):
            await service._runs.current("points").check()


async def test_an_older_version_goes_through_its_upcast(net, service, inbox) -> None:
    class New(BaseModel):
        user: str
        total: int
        currency: str

    def with_currency(event: Any) -> Any:
        return {"user": event["user"], "total": event["points"], "currency": "EUR"}

    new = Topic("durable.created", New, keep="7d", version=2, upcast={1: with_currency})

    @service.subscriber(new, durable=True)
    async def on_order(event: New) -> None:
        inbox.add((event.total, event.currency))

    async with net.running(service) as client:
        await client.publish(created, ANN)
        await client.publish(new, New(user="bob", total=7, currency="USD"))
        await inbox.until(2)
        await net.settled()

    assert inbox.events == [(5, "EUR"), (7, "USD")]


async def test_an_older_release_reads_a_newer_version(net, service, inbox) -> None:
    class Newer(Award):
        currency: str = "EUR"

    newer = Topic("durable.created", Newer, keep="7d", version=2)

    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None:
        inbox.add(event)

    async with net.running(service) as client:
        await client.publish(newer, Newer(user="ann", points=5))
        assert await inbox.until(1) == [ANN]


plain = Topic("durable.plain", Award)
jobs = Topic("durable.jobs", Award, keep=Queue())


@pytest.mark.parametrize(
    ("topic", "options", "text"),
    [
        (plain, {"durable": True}, "is not kept, so no subscriber of it can be durable"),
        ("orders.*", {"durable": True}, "nothing in this process keeps topic"),
        (created, {"durable": True, "queue": None}, "leave queue out"),
        (created, {"durable": True, "queue": "mail"}, "leave queue out"),
        (created, {"durable": "a b"}, "durable must be True, or a name"),
        (created, {"durable": True, "timeout": 0}, "needs a timeout"),
        (created, {"durable": True, "max_queue": 5}, "leave max_queue out"),
        (created, {"durable": True, "start": "old"}, "start must be 'all', 'new'"),
        (created, {"durable": True, "retry": 5}, "retry must be a Retry"),
        (created, {"durable": True, "once": 5}, "once must be an Inbox"),
        (created, {"durable": True, "dead": "none"}, "dead must be 'full', 'metadata', or a"),
        (created, {"durable": True, "fatal": "x"}, "fatal must be a tuple of exception classes"),
        (created, {"retry": Retry()}, "retry is for durable subscribers: write durable=True"),
        (jobs, {}, "is a work queue: write durable=True"),
        (jobs, {"durable": True, "each_instance": True}, "leave each_instance out"),
    ],
)
def test_an_ambiguous_set_up_is_refused_with_its_line(service, topic, options, text) -> None:
    async def on_order(event: Award) -> None: ...

    with pytest.raises(HandlerError, match=rf"test_durable\.py:\d+.*{text}"):
        service.subscriber(topic, **options)(on_order)


def test_a_second_durable_on_a_topic_needs_a_name(service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None: ...

    with pytest.raises(HandlerError, match=r"have one position on topic 'durable\.created'"):

        @service.subscriber(created, durable=True)
        async def on_order_too(event: Award) -> None: ...


def test_two_ways_to_keep_a_topic_are_refused(service) -> None:
    @service.subscriber(created, durable=True)
    async def on_order(event: Award) -> None: ...

    shorter = Topic("durable.created", Award, keep="1d")
    with pytest.raises(HandlerError, match="is kept in two ways in one service"):
        service.subscriber(shorter, durable="mail")(on_order)


async def test_a_durable_of_each_instance_needs_an_id_and_has_a_position(net, inbox) -> None:
    def instance(id: str) -> Service:
        service = Service("points", id=id)

        @service.subscriber(created, durable=True, each_instance=True)
        async def on_order(event: Award) -> None:
            inbox.add(id)

        return service

    with pytest.raises(HandlerError, match="set server_id"):
        async with net.running(instance("")):
            raise AssertionError("it must not start")
    async with net.running(instance("one"), instance("two")) as client:
        await client.publish(created, ANN)
        assert sorted(map(str, await inbox.until(2))) == ["one", "two"]


@pytest.mark.parametrize("make", [lambda: Retry("soon"), lambda: Retry(1, jitter=2)])
def test_a_retry_that_cannot_be_used_is_refused_with_its_line(make: Callable[[], Retry]) -> None:
    with pytest.raises(HandlerError, match=r"test_durable\.py:\d+: "):
        make()


def _message(body: bytes) -> Message:
    return Message({"Content-Type": "application/json", "Micro-Id": "bad"}, body)
