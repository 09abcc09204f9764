"""A service's life: what it serves, how it starts and how it stops, over memory."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from micro import (
    Client,
    Context,
    MemoryBackend,
    NotFound,
    Service,
    Settings,
    Unavailable,
    load_settings,
    open_client,
)
from micro.errors import (
    ConfigError,
    ConnectionLost,
    HandlerError,
    InvalidName,
    ServiceUnavailable,
    UsageError,
)
from micro.plugins import Backends
from micro.registry.contract import Registration
from micro.registry.memory import MemoryRegistry
from micro.registry.record import ServiceRecord
from micro.runtime.configuration import load_for, settings_over
from micro.runtime.lifecycle import ServiceRunner
from micro.service import define
from tests.engine import ANN, Award, Balance, Gauge, raw, running, until


class Log:
    """What happened, in order."""

    def __init__(self, service: Service) -> None:
        self.lines: list[str] = []

        @service.on_start
        async def first() -> None:
            self.lines.append("start 1")

        @service.on_start
        def second() -> None:
            self.lines.append("start 2")

        @service.on_stop
        async def third() -> None:
            self.lines.append("stop 1")

        @service.on_stop
        def fourth() -> None:
            self.lines.append("stop 2")


@pytest.fixture
def service() -> Service:
    return Service("points")


async def test_a_function_is_served_under_both_names(service: Service) -> None:
    @service.handler
    async def find_one(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    async with running(service) as client:
        assert await client.call("points", "Points.FindOne", ANN, Balance)
    assert await find_one(ANN) == Balance(user="ann", points=5)


async def test_only_the_last_part_of_a_services_name_counts() -> None:
    service = Service("shop.order-items")

    @service.handler
    async def count() -> int:
        return 1

    async with running(service) as client:
        assert await client.call("shop.order-items", "OrderItems.Count", None, int) == 1


async def test_a_class_is_served_by_its_methods(service: Service) -> None:
    @service.handler
    class Ledger:
        def __init__(self) -> None:
            self.days = 0

        async def close(self) -> int:
            self.days += 1
            return self.days

        def plain(self) -> str:
            return "thread"

        async def stream(self) -> AsyncIterator[int]:
            yield self.days

        async def _hidden(self) -> None: ...

    async with running(service) as client:
        assert await client.call("points", "Ledger.Close", None, int) == 1
        assert await client.call("points", "Ledger.Close", None, int) == 2
        assert await client.call("points", "Ledger.Plain", None, str) == "thread"
        async with client.stream("points", "Ledger.Stream", None, int) as days:
            assert await days.receive() == 2
        with pytest.raises(NotFound):
            await client.call("points", "Ledger.Hidden")


async def test_a_name_may_come_from_the_settings() -> None:
    service = Service()

    @service.handler
    async def award() -> str:
        return Context.current().service

    network, settings = MemoryBackend(), load_settings(["--server_name", "shop.points"], {})
    async with service.running(network, settings=settings) as client:
        assert await client.call("shop.points", "Points.Award", None, str) == "shop.points"


async def test_a_service_without_any_name_does_not_start() -> None:
    with pytest.raises(InvalidName):
        async with running(Service()):
            pass


@pytest.mark.parametrize("name", [" ", "a b", "a..b", "*", "points.>", "a\0", "x" * 300])
def test_a_name_that_cannot_be_used_is_refused_at_once(name: str) -> None:
    with pytest.raises(InvalidName, match="service name"):
        Service(name)


@pytest.mark.parametrize("name", ["", "Award", "a b.c", "A.*", "A.b.c"])
def test_an_endpoint_name_that_cannot_be_used_is_refused_at_once(
    service: Service, name: str
) -> None:
    with pytest.raises(InvalidName, match="endpoint name"):

        @service.handler(name)
        async def award() -> None: ...


def test_two_endpoints_of_one_name_are_refused_with_both_functions(service: Service) -> None:
    @service.handler("Points.Award")
    async def first() -> None: ...

    with pytest.raises(HandlerError) as caught:

        @service.handler("Points.Award")
        async def second() -> None: ...

    text = str(caught.value)
    assert "first" in text
    assert "second" in text
    assert text.count(__file__) == 2


async def test_two_endpoints_of_one_name_are_refused_at_start_when_the_name_comes_late() -> None:
    service = Service()

    @service.handler
    async def award() -> None: ...

    @service.handler("Points.Award")
    async def other() -> None: ...

    settings = load_settings(["--server_name=points"], {})
    with pytest.raises(HandlerError, match=r"(?s)award.*other|other.*award"):
        async with service.running(MemoryBackend(), settings=settings):
            pass


def test_a_class_takes_no_name(service: Service) -> None:
    with pytest.raises(HandlerError, match="give no name"):

        @service.handler("Points.Award")
        class Ledger:
            async def close(self) -> None: ...


async def test_the_registry_learns_what_is_served() -> None:
    service = Service("points", version="1.2.0", metadata={"zone": "a"}, id="one")

    @service.handler(idempotent=True, metadata={"owner": "ann"})
    async def award(request: Award) -> Balance: ...  # type: ignore[empty-body]

    @service.handler
    async def history(request: int) -> AsyncIterator[Balance]:
        yield Balance(user="ann", points=1)

    @service.subscriber("orders.*")
    async def on_order(event: Award) -> None: ...

    async with running(service) as client:
        (record,) = await client.registry.get_service("points")

    (node,) = record.nodes
    assert (record.version, node.id) == ("1.2.0", "points-one")
    assert node.metadata["zone"] == "a"
    assert node.metadata["protocol"] == "mucp"
    endpoints = {endpoint.name: endpoint.metadata for endpoint in record.endpoints}
    given = {"idempotent": "true", "owner": "ann"}
    assert endpoints["Points.Award"] == {**given, "required": "user,points"}
    assert endpoints["Points.History"]["stream"] == "true"
    assert endpoints["OnOrder"]["subscriber"] == "true"


async def test_a_caller_finds_a_service_with_its_first_call() -> None:
    """Register last: who is in the registry answers."""
    network = MemoryBackend()
    caller, service = Service("caller"), Service("points")

    @service.handler
    async def award() -> int:
        return 1

    async with caller.running(network) as client:
        with pytest.raises(ServiceUnavailable):
            await client.call("points", "Points.Award")
        async with service.running(network):
            await asyncio.sleep(0)
            assert await client.call("points", "Points.Award", None, int) == 1
        await asyncio.sleep(0)
        with pytest.raises(ServiceUnavailable):
            await client.call("points", "Points.Award")


async def test_hooks_run_in_order_around_everything_else(service: Service) -> None:
    log = Log(service)

    @service.handler
    async def award() -> None:
        log.lines.append("call")

    @service.subscriber("orders.*")
    async def on_order(event: int) -> None:
        log.lines.append("event")

    async with running(service) as client:
        assert log.lines == ["start 1", "start 2"]
        await client.call("points", "Points.Award")
        await client.publish("orders.created", 1)

    assert log.lines == ["start 1", "start 2", "call", "event", "stop 2", "stop 1"]


async def test_a_start_hook_may_use_the_client(service: Service) -> None:
    other, answers = Service("other"), []

    @other.handler
    async def load() -> int:
        return 42

    @service.on_start
    async def warm_up() -> None:
        answers.append(await service.client.call("other", "Other.Load", None, int))

    async with running(other, service):
        assert answers == [42]


async def test_a_stop_hook_may_use_the_client(service: Service) -> None:
    other, answers = Service("other"), []

    @other.handler
    async def store() -> int:
        return 42

    @service.on_stop
    async def save() -> None:
        answers.append(await service.client.call("other", "Other.Store", None, int))

    async with running(other, service):
        pass

    assert answers == [42]


async def test_a_start_hook_that_fails_stops_the_start(service: Service) -> None:
    log, network = Log(service), MemoryBackend()

    @service.on_start
    async def fail() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError, match="no database"):
        async with running(service, backend=network):
            raise AssertionError("it started")

    assert log.lines == ["start 1", "start 2", "stop 2", "stop 1"]
    assert await network.registry.list_services() == ()
    assert not network.transport._listeners
    with pytest.raises(UsageError):
        _ = service.client


async def test_nobody_is_called_before_the_start_hooks_are_done(service: Service) -> None:
    network, gauge, caller = MemoryBackend(), Gauge(), Service("caller")

    @service.on_start
    async def wait() -> None:
        await gauge.wait()

    @service.handler
    async def award() -> int:
        return 1

    async with caller.running(network) as client:
        starting = service.running(network)
        start = asyncio.ensure_future(starting.__aenter__())
        await gauge.until(started=1)
        with pytest.raises(ServiceUnavailable):
            await client.call("points", "Points.Award")
        gauge.go.set()
        await start
        assert await client.call("points", "Points.Award", None, int) == 1
        await starting.__aexit__(None, None, None)


async def test_a_stop_hook_that_fails_is_logged_and_the_others_run(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @service.on_stop
    def fail() -> None:
        raise LookupError("boom")

    log = Log(service)
    async with running(service):
        pass

    assert log.lines[-2:] == ["stop 2", "stop 1"]
    assert "stop hook" in caplog.text


async def test_an_error_of_the_block_comes_out_after_a_stop_in_good_order(
    service: Service,
) -> None:
    log = Log(service)
    with pytest.raises(LookupError):
        async with running(service):
            raise LookupError

    assert log.lines[-1] == "stop 1"


async def test_a_service_may_run_again(service: Service) -> None:
    log = Log(service)

    @service.handler
    async def award() -> int:
        return 1

    for _ in range(2):
        async with running(service) as client:
            assert await client.call("points", "Points.Award", None, int) == 1

    assert log.lines == ["start 1", "start 2", "stop 2", "stop 1"] * 2


async def test_while_it_stops_new_calls_are_refused_and_old_ones_finish(service: Service) -> None:
    network, gauge, caller = MemoryBackend(), Gauge(), Service("caller")

    @service.handler
    async def wait() -> int:
        await gauge.wait()
        return 1

    settings = Settings()
    async with caller.running(network) as client:
        given: Any = {"transport": network, "broker": network, "registry": network}
        async with Backends(name="points", settings=settings, given=given) as backends:
            runner = ServiceRunner(define(service), settings)
            async with runner.running(backends):
                old = asyncio.ensure_future(client.call("points", "Points.Wait", None, int))
                await gauge.until(started=1)
                (peer,) = client._directory.routes["points"].nodes
                stopping = asyncio.ensure_future(runner.stop())
                await until(lambda: runner._server._admission.draining)
                connection = await peer.connect()
                reply = await connection.call({"Micro-Endpoint": "Points.Wait"}, b"", None)
                gauge.go.set()
                await stopping
                await runner.stop()
                assert await old == 1

    assert "stopping" in reply.headers["Micro-Error"]
    assert "Micro-Refused" in reply.headers
    assert runner.cut_off == []


async def test_a_spread_lets_the_news_of_the_stop_go_round_first(service: Service) -> None:
    network, caller = MemoryBackend(), Service("caller")

    @service.handler
    async def award() -> int:
        return 1

    async with caller.running(network) as client:
        running = service.running(network, spread=0.05)
        await running.__aenter__()
        await client.call("points", "Points.Award")
        async with raw(client) as late:
            stop = asyncio.ensure_future(running.__aexit__(None, None, None))
            await until(lambda: not client.nodes("points"))
            late.request("Points.Award")
            reply = await late.reply()
            await stop

    assert reply.body.strip() == b"1"


class Broken(MemoryRegistry):
    """A registry that cannot be left."""

    def register(self, record: ServiceRecord, *, ttl: float, interval: float) -> Registration:
        return self._broken(super().register(record, ttl=ttl, interval=interval))

    @asynccontextmanager
    async def _broken(self, registration: Registration) -> AsyncIterator[None]:
        async with registration:
            yield
        raise ConnectionLost("the registry is gone")


async def test_a_registry_that_is_gone_does_not_keep_it_from_stopping(
    caplog: pytest.LogCaptureFixture,
) -> None:
    service = Service("points", registry=Broken())
    log = Log(service)
    async with running(service):
        pass

    assert log.lines[-1] == "stop 1"
    assert "leaving the registry failed" in caplog.text


async def test_a_part_that_cannot_be_opened_stops_the_start(service: Service) -> None:
    network = MemoryBackend()
    network.close()
    log = Log(service)
    with pytest.raises(ConnectionLost):
        async with running(service, backend=network):
            pass

    assert log.lines in ([], ["start 1", "start 2", "stop 2", "stop 1"])


async def test_parts_may_be_given_as_objects() -> None:
    network = MemoryBackend()
    service = Service("points", transport=network.transport, broker=network, registry=network)

    @service.handler
    async def award() -> int:
        return 1

    async with service.running(MemoryBackend()) as client:
        assert await client.call("points", "Points.Award", None, int) == 1
        assert await network.registry.list_services()


async def test_parts_may_be_given_as_names() -> None:
    settings = {"transport": "memory", "broker": "memory", "registry": "memory"}
    service = Service("points", **settings)  # type: ignore[arg-type]

    assert load_for(define(service), (), {}).transport == "memory"
    async with running(service):
        pass


async def test_its_own_arguments_are_stronger_than_flags() -> None:
    service = Service("points", version="2", settings={"client_retries": 7})
    flags = ["--server_name=other", "--server_version=1", "--client_retries=1"]
    settings = load_for(define(service), flags, {})

    assert (settings.server_name, settings.server_version) == ("points", "2")
    assert settings.client_retries == 7


async def test_shared_settings_give_way_to_a_services_own() -> None:
    service = Service("points", settings={"client_retries": 7})
    shared = load_settings(["--client_retries=1", "--log_level=debug"], {})
    settings = settings_over(define(service), shared)

    assert (settings.client_retries, settings.log_level) == (7, "debug")
    assert settings.server_name == "points"


@pytest.mark.parametrize("settings", [{"colour": "red"}, {"client_retries": -1}])
async def test_a_setting_that_cannot_be_used_is_told(settings: dict[str, object]) -> None:
    service = Service("points", settings=settings)
    with pytest.raises(ConfigError):
        async with running(service):
            pass


async def test_a_client_needs_no_service() -> None:
    settings = Settings(transport="memory", broker="memory", registry="memory")
    async with open_client(settings) as client:
        assert isinstance(client, Client)
        with pytest.raises(ServiceUnavailable):
            await client.call("points", "Points.Award")


async def test_a_codec_of_ones_own_is_used() -> None:
    from micro.codec import JsonCodec

    class Loud(JsonCodec):
        @property
        def content_type(self) -> str:
            return "application/loud"

    service = Service("points", codecs=[Loud()])

    @service.handler
    async def echo(request: str, ctx: Context) -> str:
        return request + ctx.headers["Content-Type"]

    async with running(service) as client:
        answer = await client.call(
            "points", "Points.Echo", "a", str, content_type="application/loud"
        )

    assert answer == "aapplication/loud"


async def test_starting_and_stopping_are_logged(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "micro.service"):
        async with running(service):
            pass

    assert "points latest registered as node points-" in caplog.text
    assert "points stopped" in caplog.text


async def test_an_error_inside_a_stopping_service_still_answers(service: Service) -> None:
    gauge, network, caller = Gauge(), MemoryBackend(), Service("caller")

    @service.handler
    async def fail() -> None:
        await gauge.wait()
        raise Unavailable("out of order")

    async with caller.running(network) as client:
        async with service.running(network):
            call = asyncio.ensure_future(client.call("points", "Points.Fail"))
            await gauge.until(started=1)
            asyncio.get_running_loop().call_later(0.01, gauge.go.set)
        with pytest.raises(Unavailable, match="out of order"):
            await call


def echoing_service() -> Service:
    """A service whose handlers, hooks and tasks tell which client they see."""
    service = Service("points")

    @service.handler
    async def node() -> str:
        return str(id(service.client))

    @service.handler
    def plain() -> str:
        return str(id(service.client))

    @service.handler
    async def task() -> str:
        async with asyncio.TaskGroup() as tasks:
            found = tasks.create_task(node())
        return found.result()

    return service


@pytest.mark.parametrize("endpoint", ["Points.Node", "Points.Plain", "Points.Task"])
async def test_two_runs_of_a_service_at_once_have_a_client_each(endpoint: str) -> None:
    service = echoing_service()
    async with running(service) as first, running(service) as second:
        found = [await client.call("points", endpoint, None, str) for client in (first, second)]

    assert found == [str(id(first)), str(id(second))]


async def test_replicas_of_one_service_share_its_calls(service: Service) -> None:
    network, caller, seen = MemoryBackend(), Service("caller"), set()

    @service.handler
    async def award() -> None:
        seen.add(id(service.client))

    async with (
        service.running(network) as first,
        service.running(network) as second,
        caller.running(network) as client,
    ):
        for _ in range(10):
            await client.call("points", "Points.Award")
        (record,) = await client.registry.get_service("points")

    assert seen == {id(first), id(second)}
    assert len(record.nodes) == 2


async def test_a_replica_that_stops_leaves_the_others_running(service: Service) -> None:
    network = MemoryBackend()

    @service.handler
    async def award() -> int:
        return 1

    async with service.running(network) as client:
        async with service.running(network):
            pass
        assert await client.call("points", "Points.Award", None, int) == 1
        assert service.client is client


async def test_hooks_see_the_client_of_their_own_run(service: Service) -> None:
    seen: list[Client] = []

    @service.on_start
    def started() -> None:
        seen.append(service.client)

    @service.on_stop
    def stopped() -> None:
        seen.append(service.client)

    async with running(service) as first, running(service) as second:
        pass

    assert seen == [first, second, second, first]


async def test_the_client_of_several_runs_is_ambiguous_outside_of_them(service: Service) -> None:
    async with running(service) as client:
        assert service.client is client
        async with running(service):
            with pytest.raises(UsageError, match=r"runs 2 times.*running\(\) gives"):
                _ = service.client


@pytest.mark.parametrize(
    "add",
    [
        lambda service: service.handler("Points.Late")(asyncio.sleep),
        lambda service: service.subscriber("orders")(print),
        lambda service: service.on_start(print),
        lambda service: service.on_stop(print),
        lambda service: service.on_connection(print),
    ],
    ids=["handler", "subscriber", "start hook", "stop hook", "connection hook"],
)
async def test_what_is_added_while_it_runs_is_refused(service: Service, add: Any) -> None:
    async with running(service):
        with pytest.raises(UsageError, match=r"is running, and a .* before run\(\) or running\(\)"):
            add(service)


async def test_handlers_may_be_added_between_two_runs(service: Service) -> None:
    async with running(service):
        pass

    @service.handler
    async def award() -> int:
        return 1

    async with running(service) as client:
        assert await client.call("points", "Points.Award", None, int) == 1


def test_a_subscriber_without_a_topic_is_refused_at_decoration(service: Service) -> None:
    with pytest.raises(HandlerError, match="subscriber\\('topic'\\)"):

        @service.subscriber  # type: ignore[arg-type]
        async def on_order(event: int) -> None: ...


async def test_stop_hooks_run_in_reverse_after_a_failed_start(service: Service) -> None:
    log = Log(service)

    @service.on_start
    async def fail() -> None:
        raise LookupError("no database")

    with pytest.raises(LookupError):
        async with running(service):
            pass

    assert log.lines == ["start 1", "start 2", "stop 2", "stop 1"]


async def test_a_start_hook_that_hangs_ends_the_start_and_is_named(service: Service) -> None:
    gauge = Gauge()
    service = Service("points", settings={"start_timeout": 0.05})

    @service.on_start
    async def load_cache() -> None:
        await gauge.wait()

    with pytest.raises(Unavailable, match=r"did not start within 0.05 s.*start hook .*load_cache"):
        async with running(service):
            pass

    assert gauge.cancelled == 1


async def test_a_stop_hook_that_hangs_is_cut_off_and_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("micro.runtime.hooks.MIN_HOOK_SECONDS", 0.05)
    service, gauge = Service("points", settings={"shutdown_timeout": 0}), Gauge()

    @service.on_stop
    async def close_pool() -> None:
        await gauge.wait()

    async with running(service):
        pass

    assert gauge.cancelled == 1
    assert "close_pool" in caplog.text
    assert "was still running after 0.05" in caplog.text
