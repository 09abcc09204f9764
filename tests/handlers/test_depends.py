"""What handlers depend on: when it is opened and closed, what its errors do, what is refused."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Annotated, Any

import pytest

from micro import (
    BadRequest,
    Client,
    Context,
    DeadlineExceeded,
    Depends,
    InternalError,
    MemoryBackend,
    Service,
)
from micro.errors import HandlerError, UsageError
from micro.handlers.endpoint import endpoint_from_function
from tests.engine import Gauge, running, until


class CommitFailed(BadRequest):
    """A commit did not go through."""


class Pool:
    def __init__(self) -> None:
        self.log: list[str] = []
        self.open = 0
        self.fails = False


class Bank:
    """A service with a lifespan, a transaction for each call, and a handler of each kind."""

    def __init__(self) -> None:
        self.pool = Pool()
        self.service = service = Service("bank")

        @service.lifespan
        async def database() -> AsyncIterator[Pool]:
            self.pool.log.append("open")
            yield self.pool
            self.pool.log.append("close")

        async def transaction(pool: Annotated[Pool, Depends(database)]) -> AsyncIterator[Pool]:
            pool.open += 1
            try:
                yield pool
                if pool.fails:
                    raise CommitFailed("the commit failed")
                pool.log.append("commit")
            except BaseException as error:
                pool.log.append(f"rollback {type(error).__name__}")
                raise
            finally:
                pool.open -= 1

        Transaction = Annotated[Pool, Depends(transaction)]
        self.database, self.transaction = database, transaction

        @service.handler
        async def unary(value: str, tx: Transaction) -> str:
            if value == "fail":
                raise BadRequest("the handler failed")
            return value + str(tx.open)

        @service.handler
        def plain(value: str, tx: Transaction) -> str:
            return f"{value}{tx.open} {threading.current_thread() is threading.main_thread()}"

        @service.handler
        async def server_stream(value: str, tx: Transaction) -> AsyncIterator[str]:
            yield value + str(tx.open)
            yield value

        @service.handler
        async def client_stream(tx: Transaction, values: AsyncIterator[str]) -> str:
            return "".join([value async for value in values]) + str(tx.open)

        @service.handler
        async def bidirectional(
            values: AsyncIterator[str], *, tx: Transaction
        ) -> AsyncIterator[str]:
            async for value in values:
                yield value + str(tx.open)

        @service.handler
        class Accounts:
            async def get(self, value: str, tx: Transaction) -> str:
                return value + str(tx.open)

        @service.subscriber("paid")
        async def on_paid(event: str, tx: Transaction) -> None:
            tx.log.append(f"event {event}{tx.open}")

        @service.subscriber("paid.plain")
        def on_paid_plain(event: str, tx: Transaction) -> None:
            tx.log.append(f"event {event}{tx.open}")


async def collect(client: Client, endpoint: str, request: Any) -> list[str]:
    async with client.stream("bank", endpoint, request, str) as answers:
        return [answer async for answer in answers]


async def letters() -> AsyncIterator[str]:
    yield "a"


KINDS: dict[str, Callable[[Client], Any]] = {
    "unary": lambda client: client.call("bank", "Bank.Unary", "a", str),
    "plain": lambda client: client.call("bank", "Bank.Plain", "a", str),
    "class": lambda client: client.call("bank", "Accounts.Get", "a", str),
    "server_stream": lambda client: collect(client, "Bank.ServerStream", "a"),
    "client_stream": lambda client: collect(client, "Bank.ClientStream", letters()),
    "bidirectional": lambda client: collect(client, "Bank.Bidirectional", letters()),
}

ANSWERS = {
    "unary": "a1",
    "plain": "a1 False",
    "class": "a1",
    "server_stream": ["a1", "a"],
    "client_stream": ["a1"],
    "bidirectional": ["a1"],
}


@pytest.mark.both_loops
@pytest.mark.parametrize("kind", KINDS)
class TestEveryKindOfHandler:
    async def test_a_dependency_is_open_for_the_call_and_closed_before_its_answer(
        self, kind: str
    ) -> None:
        bank = Bank()
        async with running(bank.service) as client:
            assert await KINDS[kind](client) == ANSWERS[kind]
            assert bank.pool.log == ["open", "commit"]
            assert bank.pool.open == 0

        assert bank.pool.log == ["open", "commit", "close"]

    async def test_a_failed_commit_is_the_calls_failure(self, kind: str) -> None:
        bank = Bank()
        bank.pool.fails = True
        async with running(bank.service) as client:
            with pytest.raises(BadRequest, match="the commit failed"):
                await KINDS[kind](client)

        assert bank.pool.log == ["open", "rollback CommitFailed", "close"]


@pytest.mark.both_loops
@pytest.mark.parametrize("topic", ["paid", "paid.plain"])
class TestSubscribers:
    async def test_a_dependency_is_closed_before_the_event_counts_as_handled(
        self, topic: str
    ) -> None:
        bank = Bank()
        async with running(bank.service) as client:
            await client.publish(topic, "a")
            await until(lambda: "commit" in bank.pool.log)

        assert bank.pool.log == ["open", "event a1", "commit", "close"]

    async def test_a_failed_commit_is_the_events_failure(
        self, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        bank = Bank()
        bank.pool.fails = True
        async with running(bank.service) as client:
            await client.publish(topic, "a")
            await until(lambda: "the commit failed" in caplog.text)

        assert "failed on an event" in caplog.text
        assert bank.pool.log[1:3] == ["event a1", "rollback CommitFailed"]


async def test_the_handlers_error_is_thrown_into_what_was_opened() -> None:
    bank = Bank()
    async with running(bank.service) as client:
        with pytest.raises(BadRequest, match="the handler failed"):
            await client.call("bank", "Bank.Unary", "fail", str)

    assert bank.pool.log == ["open", "rollback BadRequest", "close"]


async def test_a_failing_handler_is_an_error_though_a_provider_swallows_it() -> None:
    service = Service("points")

    async def swallow() -> AsyncIterator[int]:
        try:
            yield 1
        except BadRequest:
            return

    @service.handler
    async def fail(one: Annotated[int, Depends(swallow)]) -> None:
        raise BadRequest("the handler failed")

    async with running(service) as client:
        with pytest.raises(BadRequest, match="the handler failed"):
            await client.call("points", "Points.Fail")


async def test_a_provider_is_called_once_for_each_call() -> None:
    service = Service("points")
    made: list[object] = []

    def one() -> object:
        made.append(object())
        return made[-1]

    async def left(value: Annotated[object, Depends(one)]) -> object:
        return value

    def right(value: Annotated[object, Depends(one)]) -> Iterator[object]:
        yield value

    @service.handler
    async def same(
        a: Annotated[object, Depends(left)], *, b: Annotated[object, Depends(right)]
    ) -> bool:
        return a is b

    async with running(service) as client:
        assert await client.call("points", "Points.Same", None, bool)
        assert await client.call("points", "Points.Same", None, bool)

    assert len(made) == 2


async def test_context_and_client_are_injected_by_annotation() -> None:
    service = Service("points")

    @service.lifespan
    def own(client: Client) -> list[Client]:
        return [client]

    class Zone:
        def __init__(self, ctx: Context, name: str = "none") -> None:
            self.text = ctx.headers.get("Zone", name)

    @service.handler
    async def ask(
        zone: Annotated[Zone, Depends(Zone)],
        client: Client,
        lived: Annotated[list[Client], Depends(own)],
        ctx: Context,
    ) -> str:
        return f"{zone.text} {ctx.endpoint} {lived == [client]}"

    async with running(service) as client:
        answer = await client.call("points", "Points.Ask", None, str, headers={"Zone": "a"})

    assert answer == "a Points.Ask True"


@pytest.mark.both_loops
@pytest.mark.parametrize("streams", [False, True])
async def test_a_cancelled_call_closes_what_it_opened(streams: bool) -> None:
    service, gauge, log = Service("points"), Gauge(), []

    async def resource() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            # Both ends cancel at the deadline; the second time must not interrupt this.
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.1)
            log.append("closed")

    @service.handler
    async def wait(one: Annotated[int, Depends(resource)]) -> None:
        await gauge.wait()

    @service.handler
    async def stream(one: Annotated[int, Depends(resource)]) -> AsyncIterator[int]:
        yield one
        await gauge.wait()

    async with running(service) as client:
        if streams:
            async with client.stream("points", "Points.Stream", None, int) as answers:
                await answers.receive()
                await gauge.until(started=1)
        else:
            with pytest.raises(DeadlineExceeded):
                await client.call("points", "Points.Wait", timeout=1.0)
        await until(lambda: log == ["closed"])


async def test_a_thread_that_outlives_its_call_keeps_what_it_uses() -> None:
    service, log, go = Service("points"), [], threading.Event()

    async def resource() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            log.append("closed")

    @service.handler
    def wait(one: Annotated[int, Depends(resource)]) -> None:
        go.wait(5)
        log.append("thread ended")

    async with running(service) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Wait", timeout=0.5)
        assert log == []
        go.set()
        await until(lambda: log == ["thread ended", "closed"])


async def test_a_provider_that_does_not_close_in_time_holds_no_call(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("micro.handlers.injection.MAX_CLOSE_SECONDS", 0.05)
    service = Service("points")

    async def resource() -> AsyncIterator[int]:
        try:
            yield 1
        except BadRequest:
            await asyncio.Event().wait()

    @service.handler
    async def fail(one: Annotated[int, Depends(resource)]) -> None:
        raise BadRequest("the handler failed")

    async with running(service) as client:
        with pytest.raises(BadRequest, match="the handler failed"):
            await client.call("points", "Points.Fail")

    assert "did not close within 0.05 s" in caplog.text


async def test_ten_thousand_calls_leave_no_dependency_open() -> None:
    bank = Bank()
    async with running(bank.service) as client:

        async def work() -> None:
            for number in range(100):
                try:
                    await client.call("bank", "Bank.Unary", "fail" if number % 10 else "a", str)
                except BadRequest:
                    assert number % 10

        async with asyncio.TaskGroup() as workers:
            for _ in range(100):
                workers.create_task(work())
        assert bank.pool.open == 0
        gc.collect()
        left = [one for one in gc.get_objects() if _is_provider(one, "transaction")]

    assert len(bank.pool.log) == 10_002
    assert left == []


def _is_provider(one: object, name: str) -> bool:
    return type(one).__name__ == "async_generator" and getattr(one, "__name__", "") == name


class TestLifespans:
    async def test_they_open_in_order_and_close_in_reverse(self) -> None:
        service, log = Service("points"), []

        @service.lifespan
        async def first() -> AsyncIterator[str]:
            log.append("open first")
            yield "first"
            log.append("close first")

        @service.lifespan
        @asynccontextmanager
        async def second(one: Annotated[str, Depends(first)]) -> AsyncIterator[str]:
            log.append(f"open second after {one}")
            yield "second"
            log.append("close second")

        @service.lifespan
        @contextmanager
        def third() -> Iterator[str]:
            yield "third"
            log.append("close third")

        service.on_start(lambda: log.append("start hook"))
        service.on_stop(lambda: log.append("stop hook"))

        async with running(service):
            assert log == ["open first", "open second after first", "start hook"]

        assert log[3:] == ["stop hook", "close third", "close second", "close first"]

    async def test_those_that_are_open_are_closed_when_the_start_fails(self) -> None:
        service, log = Service("points"), []

        @service.lifespan
        async def first() -> AsyncIterator[None]:
            yield
            log.append("close first")

        @service.lifespan
        async def second() -> AsyncIterator[None]:
            raise RuntimeError("no database")
            yield

        with pytest.raises(RuntimeError, match="no database"):
            async with running(service):
                log.append("started")

        assert log == ["close first"]

    async def test_one_that_fails_to_close_keeps_no_other_open(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        service, log = Service("points"), []

        @service.lifespan
        async def first() -> AsyncIterator[None]:
            yield
            log.append("close first")

        @service.lifespan
        async def second() -> AsyncIterator[None]:
            yield
            raise RuntimeError("no way out")

        async with running(service):
            assert log == []

        assert log == ["close first"]
        assert "no way out" in caplog.text

    async def test_two_runs_have_a_value_each(self) -> None:
        bank, network = Bank(), MemoryBackend()
        async with bank.service.running(network), bank.service.running(network):
            assert bank.pool.log == ["open", "open"]


class TestOverrides:
    async def test_a_lifespan_is_overridden_for_runs_in_the_block(self) -> None:
        bank, fake = Bank(), Pool()
        with bank.service.override(bank.database, lambda: fake):
            async with running(bank.service) as client:
                await client.call("bank", "Bank.Unary", "a", str)

        assert (fake.log, bank.pool.log) == (["commit"], [])

    async def test_a_provider_for_each_call_is_overridden_at_once(self) -> None:
        bank, fake = Bank(), Pool()
        async with running(bank.service) as client:
            with bank.service.override(bank.transaction, lambda: fake):
                assert await client.call("bank", "Bank.Unary", "a", str) == "a0"
            assert await client.call("bank", "Bank.Unary", "a", str) == "a1"

    async def test_an_open_lifespan_cannot_be_overridden(self) -> None:
        bank = Bank()
        async with running(bank.service):
            with (
                pytest.raises(UsageError, match="open already"),
                bank.service.override(bank.database, Pool),
            ):
                raise AssertionError("it was overridden")

    def test_what_no_handler_depends_on_cannot_be_overridden(self) -> None:
        with (
            pytest.raises(HandlerError, match=r"no handler of 'bank' depends on it"),
            Bank().service.override(letters, Pool),
        ):
            raise AssertionError("it was overridden")


def cycle_a(b: Annotated[int, Depends(lambda: cycle_b)]) -> int:
    return b


def cycle_b(a: Annotated[int, Depends(cycle_a)]) -> int:
    return a


cycle_a.__annotations__["b"] = Annotated[int, Depends(cycle_b)]
elsewhere = Service("elsewhere")


@elsewhere.lifespan
def theirs() -> int:
    return 1


def needy(number: int) -> int:
    return number


async def on_cycle(one: Annotated[int, Depends(cycle_a)]) -> None: ...
async def on_needy(one: Annotated[int, Depends(needy)]) -> None: ...
async def on_theirs(one: Annotated[int, Depends(theirs)]) -> None: ...
async def on_value(one: Annotated[int, Depends(3)]) -> None: ...  # type: ignore[arg-type]
async def on_class(one: Annotated[int, Depends]) -> None: ...
async def on_default(one: int = Depends(needy)) -> None: ...  # type: ignore[assignment]


class TestRefusals:
    @pytest.mark.parametrize(
        ("function", "text"),
        [
            (on_cycle, r"cycle: cycle_a .*test_depends.py:\d+\) -> cycle_b .* -> cycle_a"),
            (on_needy, "nothing gives its parameter 'number'; annotate it"),
            (on_theirs, "is a lifespan of another service, 'elsewhere'"),
            (on_value, r"Depends takes a function, got 3; write Depends\(database\)"),
            (on_class, r"write Depends\(database\)"),
            (on_default, r"write 'one: Annotated\[T, Depends\(needy\)\]'"),
        ],
    )
    def test_a_dependency_that_cannot_work_is_refused_where_it_is_written(
        self, function: Any, text: str
    ) -> None:
        with pytest.raises(HandlerError, match=text) as refused:
            Service("points").handler(function)

        assert "test_depends.py:" in str(refused.value)

    def test_a_lifespan_cannot_depend_on_a_provider_for_each_call(self) -> None:
        def one() -> int:
            return 1

        async def database(value: Annotated[int, Depends(one)]) -> AsyncIterator[int]:
            yield value

        with pytest.raises(HandlerError, match=r"provided for each call by .*one.*test_depends"):
            Service("points").lifespan(database)

    def test_a_lifespan_has_no_context(self) -> None:
        with pytest.raises(HandlerError, match="a Context, which only a call or event has"):
            Service("points").lifespan(headers_count)

    def test_a_lifespan_is_declared_before_its_handlers(self) -> None:
        service = Service("points")

        def database() -> int:
            return 1

        async def ask(one: Annotated[int, Depends(database)]) -> None: ...

        service.handler(ask)
        with pytest.raises(HandlerError, match=r"write @service.lifespan above it"):
            service.lifespan(database)

    async def test_a_handler_outside_of_a_run_has_no_dependencies(self) -> None:
        endpoint = endpoint_from_function(on_context, service="points")

        with pytest.raises(UsageError, match="the service that gives them does not run"):
            await endpoint.bind(None, Context("points", endpoint.name, {}))

    @pytest.mark.parametrize("count", [0, 2])
    async def test_a_provider_yields_once(self, count: int, caplog: Any) -> None:
        service = Service("points")

        async def many() -> AsyncIterator[int]:
            for number in range(count):
                yield number

        @service.handler
        async def ask(one: Annotated[int, Depends(many)]) -> None: ...

        async with running(service) as client:
            with pytest.raises(InternalError):
                await client.call("points", "Points.Ask")

        assert ("without a 'yield'" if not count else "yields a second time") in caplog.text


def headers_count(ctx: Context) -> int:
    return len(ctx.headers)


async def on_context(one: Annotated[int, Depends(headers_count)]) -> None: ...
