"""Calls from the client's side, over memory: who gets them, and what is tried again."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from micro import (
    BadRequest,
    Client,
    Conflict,
    Context,
    DeadlineExceeded,
    InternalError,
    MemoryBackend,
    MicroError,
    NotFound,
    ResourceExhausted,
    Service,
    Unavailable,
    Where,
)
from micro.client.selector import strategy_named
from micro.errors import (
    ConnectionLost,
    InvalidName,
    NoResponders,
    ServiceUnavailable,
    UsageError,
)
from micro.registry.record import EndpointRecord, Node, ServiceRecord
from micro.testing import Signal
from tests.engine import ANN, Award, Balance, Gauge, running


class Cluster:
    """Some instances of one service on one network, and a caller."""

    def __init__(self, count: int, **settings: object) -> None:
        self.network = MemoryBackend()
        self.calls: Counter[str] = Counter()
        self.error: MicroError | None = None
        self.failing: set[str] = set()
        self.gauge = Gauge()
        self._names = [chr(ord("a") + number) for number in range(count)]
        self.services = [self._instance(name, settings) for name in self._names]
        self.caller = Service("caller")
        self._stack = AsyncExitStack()
        self._lives: dict[str, AsyncExitStack] = {}

    def _instance(self, name: str, settings: dict[str, object]) -> Service:
        service = Service(
            "points",
            id=name,
            version=f"{1 + (name == 'c')}.0.0",
            metadata={"zone": name},
            settings=settings,
        )

        async def run() -> str:
            self.calls[name] += 1
            if name in self.failing and self.error is not None:
                raise self.error
            return name

        service.handler("Points.Who")(run)
        service.handler("Points.Get", idempotent=True)(run)

        @service.handler("Points.Wait")
        async def wait() -> str:
            self.calls[name] += 1
            await self.gauge.wait()
            return name

        return service

    async def __aenter__(self) -> Client:
        for name, service in zip(self._names, self.services, strict=True):
            stack = self._lives[name] = AsyncExitStack()
            await stack.enter_async_context(service.running(self.network))
            self._stack.push_async_callback(stack.aclose)
        return await self._stack.enter_async_context(self.caller.running(self.network))

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    async def stop(self, name: str) -> None:
        await self._lives[name].aclose()

    def crash(self, name: str) -> None:
        """Take an instance off the network without a close frame."""
        (node,) = [
            node
            for entry in self.network.registry._entries["points"]
            for node in entry.record.nodes
            if node.id == f"points-{name}"
        ]
        listeners = self.network.transport._listeners
        del listeners[node.address]


class Mark:
    """Counts, and can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._signal = Signal()

    def add(self) -> None:
        self.count += 1
        self._signal.set()

    async def reach(self, count: int) -> None:
        await self._signal.until(lambda: self.count >= count, lambda: f"{self.count} of {count}")


async def who(client: Client, **options: object) -> str:
    name: str = await client.call("points", "Points.Who", None, str, **options)  # type: ignore[call-overload]
    return name


async def test_a_call_brings_back_what_the_handler_returned() -> None:
    service = Service("points")

    @service.handler
    async def award(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points + 1)

    async with running(service) as client:
        balance = await client.call("points", "Points.Award", ANN, Balance)

    assert balance == Balance(user="ann", points=6)


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
async def test_any_codec_carries_a_call(content_type: str) -> None:
    service = Service("points")

    @service.handler
    async def award(request: Award, ctx: Context) -> Balance:
        assert ctx.headers["Content-Type"] == content_type
        return Balance(user=request.user, points=request.points)

    async with running(service) as client:
        balance = await client.call(
            "points", "Points.Award", ANN, Balance, content_type=content_type
        )

    assert balance.points == 5


async def test_a_dictionary_does_as_well_as_a_model() -> None:
    service = Service("points")

    @service.handler
    async def award(request: Award) -> Balance:
        return Balance(user=request.user, points=request.points)

    async with running(service) as client:
        answer = await client.call("points", "Points.Award", {"user": "ann", "points": 5})

    assert answer == {"user": "ann", "points": 5}


async def test_nothing_goes_and_nothing_comes_back() -> None:
    service, ran = Service("points"), []

    @service.handler
    async def tick() -> None:
        ran.append(1)

    async with running(service) as client:
        assert await client.call("points", "Points.Tick", None, None) is None
        assert ran == [1]


async def test_an_answer_that_does_not_fit_is_told() -> None:
    service = Service("points")

    @service.handler
    async def award() -> Award:
        return ANN

    @service.handler
    async def awards() -> AsyncIterator[Award]:
        yield ANN

    async with running(service) as client:
        with pytest.raises(InternalError, match=r"answer of Points\.Award .* user"):
            await client.call("points", "Points.Award", None, dict[str, int])
        with pytest.raises(InternalError, match=r"answer of the stream .* user"):
            async with client.stream("points", "Points.Awards", None, dict[str, int]) as answers:
                await answers.receive()


async def test_ten_thousand_calls_share_one_connection() -> None:
    service = Service("points")

    @service.handler
    async def double(request: int) -> int:
        return 2 * request

    async with running(service) as client:
        numbers = await asyncio.gather(
            *(client.call("points", "Points.Double", n, int) for n in range(1000))
        )
        assert len(client._pool) == 1

    assert numbers == [2 * n for n in range(1000)]


async def test_calls_that_fill_the_socket_are_made_all_the_same() -> None:
    service, text = Service("points"), "x" * 20_000

    @service.handler
    async def echo(request: str) -> str:
        return request

    async with running(service, backend=MemoryBackend(max_pending_bytes=100_000)) as client:
        answers = await asyncio.gather(
            *(client.call("points", "Points.Echo", text, str) for _ in range(100))
        )

    assert answers == [text] * 100


# Bad input.


async def test_an_unknown_service_is_not_found_at_once() -> None:
    async with running(Service("points")) as client:
        before = time.monotonic()
        for _ in range(2):
            with pytest.raises(ServiceUnavailable, match="nobody") as caught:
                await client.call("nobody", "Points.Award", timeout=30)

    assert time.monotonic() - before < 1
    assert caught.value.refused


async def test_an_unknown_endpoint_is_not_found_at_once() -> None:
    async with running(Service("points")) as client:
        before = time.monotonic()
        with pytest.raises(NotFound, match=r"Points\.Nope"):
            await client.call("points", "Points.Nope", timeout=30)

    assert time.monotonic() - before < 1


async def test_a_node_where_nobody_listens_is_unavailable_at_once() -> None:
    cluster = Cluster(1)
    async with cluster as client:
        cluster.crash("a")
        before = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            await who(client, timeout=30)

    assert time.monotonic() - before < 2
    assert isinstance(caught.value, NoResponders)


@pytest.mark.parametrize("service", ["", "a b", "a..b", "a.*", "a\n", "ä", "x" * 300])
async def test_a_service_name_that_cannot_be_used_is_refused(service: str) -> None:
    async with running(Service("points")) as client:
        with pytest.raises(InvalidName, match="service name"):
            await client.call(service, "Points.Award")


@pytest.mark.parametrize("endpoint", ["", "Award", "Points.", "a.b.c", "Points Award", "P.*"])
async def test_an_endpoint_name_that_cannot_be_used_is_refused(endpoint: str) -> None:
    async with running(Service("points")) as client:
        with pytest.raises(InvalidName, match="endpoint name"):
            await client.call("points", endpoint)


async def test_a_request_that_cannot_be_written_is_not_sent() -> None:
    service = Service("points")

    @service.handler
    async def award(request: Award) -> None: ...

    async with running(service) as client:
        with pytest.raises(BadRequest):
            await client.call("points", "Points.Award", object())
        with pytest.raises(BadRequest):
            await client.call("points", "Points.Award", ANN, content_type="x/unheard-of")


async def test_a_client_that_is_not_open_refuses_calls() -> None:
    service = Service("points")
    async with running(service) as client:
        pass

    with pytest.raises(Unavailable, match="not open"):
        await client.call("points", "Points.Award")


async def test_a_service_that_does_not_run_has_no_client() -> None:
    service = Service("points")
    with pytest.raises(UsageError, match="'points' is not running"):
        _ = service.client

    async with running(service):
        assert service.client
    with pytest.raises(UsageError):
        await service.publish("x", 1)


# Timeouts.


async def test_a_call_ends_when_its_time_is_up(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(1)
    async with cluster as client:
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            await client.call("points", "Points.Wait", timeout=0.05)
        took = time.monotonic() - before
        await cluster.gauge.until(cancelled=1)

    assert 0.05 <= took < 0.5
    assert not caught.value.refused
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


@pytest.mark.parametrize("timeout", [0, -1, -math.inf])
async def test_a_call_without_time_is_not_sent(timeout: float) -> None:
    cluster = Cluster(1)
    async with cluster as client:
        with pytest.raises(DeadlineExceeded) as caught:
            await who(client, timeout=timeout)

    assert caught.value.refused
    assert not cluster.calls


@pytest.mark.parametrize("timeout", [None, math.inf, 1e9])
async def test_a_call_may_have_all_the_time_in_the_world(timeout: float | None) -> None:
    async with Cluster(1) as client:
        assert await who(client, timeout=timeout) == "a"


async def test_the_usual_timeout_comes_from_the_settings() -> None:
    service = Service("points", settings={"client_request_timeout": 0.05})

    @service.handler
    async def wait() -> None:
        await asyncio.Event().wait()

    async with running(service) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call("points", "Points.Wait")


async def test_a_call_that_nobody_waits_for_leaves_nothing_behind() -> None:
    cluster = Cluster(1)
    async with cluster as client:
        task = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await cluster.gauge.until(started=1)
        task.cancel()
        await cluster.gauge.until(cancelled=1)
        (node,) = client.nodes("points")

        assert node.in_flight == 0


# Which node.


async def test_calls_are_shared_by_all_nodes() -> None:
    cluster = Cluster(3)
    async with cluster as client:
        for _ in range(300):
            await who(client)

    assert set(cluster.calls) == {"a", "b", "c"}
    assert min(cluster.calls.values()) > 30


async def test_the_strategy_is_a_setting() -> None:
    cluster = Cluster(3)
    cluster.caller = Service("caller", settings={"selector": "round_robin"})
    async with cluster as client:
        for _ in range(30):
            await who(client)

    assert set(cluster.calls.values()) == {10}


async def test_a_strategy_of_ones_own_is_taken() -> None:
    cluster = Cluster(3)
    cluster.caller = Service("caller", strategy=lambda peers: peers[-1])
    async with cluster as client:
        assert {await who(client) for _ in range(10)} == {"c"}


async def test_a_busy_node_gets_fewer_calls() -> None:
    cluster = Cluster(2)
    async with cluster as client:
        busy = [
            asyncio.ensure_future(client.call("points", "Points.Wait", where=where, timeout=9))
            for where in [Where(node="points-a")] * 10
        ]
        await cluster.gauge.until(started=10)
        cluster.calls.clear()
        for _ in range(20):
            await who(client)
        cluster.gauge.go.set()
        await asyncio.gather(*busy)

    assert cluster.calls == {"b": 20}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (Where(node="points-b"), {"b"}),
        (Where(version="2.0.0"), {"c"}),
        (Where(version="1.0.0"), {"a", "b"}),
        (Where(metadata={"zone": "a"}), {"a"}),
    ],
)
async def test_only_nodes_that_pass_the_filter_are_called(where: Where, names: set[str]) -> None:
    async with Cluster(3) as client:
        assert {await who(client, where=where) for _ in range(40)} == names


async def test_a_filter_that_no_node_passes_is_told_at_once() -> None:
    async with Cluster(1) as client:
        with pytest.raises(Unavailable, match="fits") as caught:
            await who(client, where=Where(metadata={"zone": "moon"}), timeout=30)

    assert caught.value.refused


async def test_nodes_that_come_are_used_and_nodes_that_go_are_not() -> None:
    cluster = Cluster(2)
    async with cluster as client:
        assert {await who(client) for _ in range(40)} == {"a", "b"}
        await cluster.stop("a")

        assert {await who(client) for _ in range(40)} == {"b"}


# Again, elsewhere.


async def test_a_node_that_is_gone_is_passed_over_at_once() -> None:
    cluster = Cluster(3)
    async with cluster as client:
        await who(client)
        cluster.crash("a")
        before = time.monotonic()
        names = {await who(client) for _ in range(100)}

    assert names == {"b", "c"}
    assert time.monotonic() - before < 1


async def test_calls_under_way_when_a_node_dies_go_elsewhere_if_they_cannot_have_run() -> None:
    cluster = Cluster(2)
    async with cluster as client:
        await asyncio.gather(*(who(client) for _ in range(10)))
        cluster.crash("a")

        assert set(await asyncio.gather(*(who(client) for _ in range(200)))) == {"b"}


async def test_a_refused_call_goes_to_another_node() -> None:
    cluster = Cluster(2, max_concurrency=1, max_queue=0)
    async with cluster as client:
        where = Where(node="points-a")
        busy = asyncio.ensure_future(client.call("points", "Points.Wait", where=where))
        await cluster.gauge.until(started=1)
        cluster.caller.client._directory._strategy = lambda peers: peers[0]
        client._directory.routes["points"]._strategy = lambda peers: peers[0]

        assert await who(client) == "b"
        cluster.gauge.go.set()
        await busy


@pytest.mark.parametrize("error", [Unavailable("x"), ResourceExhausted("x"), DeadlineExceeded("x")])
async def test_a_call_that_may_have_run_is_never_run_twice(error: MicroError) -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, error
    async with cluster as client:
        with pytest.raises(type(error)):
            await who(client)

    assert cluster.calls.total() == 1


async def test_a_nested_refusal_does_not_make_the_outer_call_safe_to_repeat() -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, Unavailable("x", refused=True)
    async with cluster as client:
        with pytest.raises(Unavailable) as caught:
            await who(client)

    assert cluster.calls.total() == 1
    assert not caught.value.refused


async def test_the_registry_says_which_endpoints_may_run_twice() -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, Unavailable("x")
    async with cluster as client:
        with pytest.raises(Unavailable):
            await client.call("points", "Points.Get", None, str)

    assert cluster.calls.total() == 3
    assert set(cluster.calls) == {"a", "b"}


async def test_an_idempotent_call_succeeds_at_another_node() -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a"}, Unavailable("x")
    async with cluster as client:
        for _ in range(10):
            assert await client.call("points", "Points.Get", None, str) == "b"


@pytest.mark.parametrize("idempotent", [True, False])
async def test_the_call_itself_may_say_whether_it_may_run_twice(idempotent: bool) -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, Unavailable("x")
    async with cluster as client:
        endpoint = "Points.Who" if idempotent else "Points.Get"
        with pytest.raises(Unavailable):
            await client.call("points", endpoint, idempotent=idempotent)

    assert cluster.calls.total() == (3 if idempotent else 1)


@pytest.mark.parametrize("error", [Conflict("x"), NotFound("x"), InternalError("x")])
async def test_an_error_that_would_come_again_is_not_tried_again(error: MicroError) -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, error
    async with cluster as client:
        with pytest.raises(type(error)):
            await client.call("points", "Points.Get")

    assert cluster.calls.total() == 1


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_the_number_of_retries_is_the_callers_choice(retries: int) -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, Unavailable("x")
    async with cluster as client:
        with pytest.raises(Unavailable):
            await client.call("points", "Points.Get", retries=retries)

    assert cluster.calls.total() == retries + 1


async def test_retries_stay_within_the_timeout() -> None:
    cluster = Cluster(1)
    cluster.failing, cluster.error = {"a"}, Unavailable("x")
    async with cluster as client:
        before = time.monotonic()
        with pytest.raises(Unavailable):
            await client.call("points", "Points.Get", retries=1000, timeout=0.2)

    assert time.monotonic() - before < 0.5


async def test_a_budget_keeps_retries_from_drowning_a_service() -> None:
    cluster = Cluster(2)
    cluster.failing, cluster.error = {"a", "b"}, Unavailable("x")
    async with cluster as client:
        results = await asyncio.gather(
            *(client.call("points", "Points.Get", retries=1) for _ in range(100)),
            return_exceptions=True,
        )

    assert all(isinstance(result, Unavailable) for result in results)
    assert cluster.calls.total() == 110


async def test_when_the_last_node_leaves_its_own_word_is_the_error() -> None:
    service = Service("points")
    turns = asyncio.Event()

    @service.handler
    async def go() -> None:
        turns.set()
        raise Unavailable("not here")

    async with running(service) as client:
        route = await client._directory.resolve("points", None)
        calling = asyncio.ensure_future(client.call("points", "Points.Go", idempotent=True))
        await turns.wait()
        route.update(())

        with pytest.raises(Unavailable, match="not here"):
            await calling


async def test_a_stop_under_load_loses_no_call() -> None:
    cluster = Cluster(3)
    async with cluster as client:
        answered = Mark()
        over = asyncio.Event()

        async def load() -> None:
            while not over.is_set():
                await who(client)
                answered.add()

        loads = [asyncio.ensure_future(load()) for _ in range(64)]
        await answered.reach(500)
        await cluster.stop("a")
        await cluster.stop("b")
        await answered.reach(answered.count + 500)
        over.set()
        await asyncio.gather(*loads)

    assert cluster.calls.total() == answered.count


async def test_a_node_that_fails_often_is_left_alone_until_a_probe_succeeds() -> None:
    cluster = Cluster(2)
    async with cluster as client:
        await who(client)
        route = client._directory.routes["points"]
        (sick,) = [peer for peer in route.nodes if peer.node.id == "points-a"]
        for _ in range(5):
            sick.on_failure(DeadlineExceeded("late"))
        assert {await who(client) for _ in range(20)} == {"b"}
        sick.breaker._open_until = 1e-9

        assert "a" in {await who(client) for _ in range(100)}
        assert sick.breaker.closed


async def test_a_probe_that_is_given_up_makes_way_for_another() -> None:
    cluster = Cluster(2)
    async with cluster as client:
        await who(client)
        route = client._directory.routes["points"]
        (sick,) = [peer for peer in route.nodes if peer.node.id == "points-a"]
        sick.breaker.eject()
        sick.breaker._open_until = 1e-9
        where = Where(node="points-a")
        probe = asyncio.ensure_future(client.call("points", "Points.Wait", where=where))
        await cluster.gauge.until(started=1)
        assert not sick.breaker.admits()
        probe.cancel()
        await cluster.gauge.until(cancelled=1)

        assert sick.breaker.admits()


async def test_timeouts_open_the_breaker_and_answers_close_it() -> None:
    cluster = Cluster(1)
    async with cluster as client:
        for _ in range(5):
            with pytest.raises(DeadlineExceeded):
                await client.call("points", "Points.Wait", timeout=0.05)
        (peer,) = client._directory.routes["points"].nodes
        assert not peer.breaker.closed
        assert await who(client) == "a"

        assert peer.breaker.closed


async def test_a_stream_whose_node_is_gone_tells_the_breaker() -> None:
    cluster = Cluster(1)
    async with cluster as client:
        await who(client)
        (peer,) = client._directory.routes["points"].nodes
        cluster.crash("a")
        with pytest.raises(Unavailable):
            async with client.stream("points", "Points.Any") as stream:
                await stream.receive()

        assert not peer.breaker.closed


# Fallback, headers.


async def test_a_fallback_stands_in_for_an_error() -> None:
    async with Cluster(1) as client:
        name = await client.call("nobody", "Points.Who", None, str, fallback=lambda _: "b")
        late = await client.call("points", "Points.Who", None, str, timeout=0, fallback=str)

    assert name == "b"
    assert late.startswith("408")


async def test_a_fallback_may_raise() -> None:
    def give_up(error: MicroError) -> str:
        raise LookupError from error

    async with Cluster(1) as client:
        with pytest.raises(LookupError):
            await client.call("nobody", "Points.Who", None, str, fallback=give_up)


async def test_a_fallback_is_not_asked_when_the_call_succeeds() -> None:
    async with Cluster(1) as client:
        assert await who(client, fallback=lambda _: "nobody") == "a"


async def test_a_handler_may_hand_on_all_headers_it_was_given() -> None:
    service = Service("points")

    @service.handler
    async def zone(ctx: Context) -> str:
        return ctx.headers["zone"]

    @service.handler
    async def stream(numbers: AsyncIterator[int], ctx: Context) -> AsyncIterator[str]:
        yield await service.client.call(
            "points", "Points.Zone", None, str, headers=dict(ctx.headers)
        )

    async with running(service) as client:
        headers = {"zone": "a", "Micro-Signal": "cancel", "Micro-Error": "x", "Micro-Stream": "1"}
        assert await client.call("points", "Points.Zone", None, str, headers=headers) == "a"
        async with client.stream("points", "Points.Stream", None, str, headers=headers) as answers:
            answers.finish()
            assert await answers.receive() == "a"


async def test_headers_of_a_compressed_request_may_be_handed_on_with_one_that_is_not() -> None:
    service = Service("points", settings={"compression": "gzip"})

    @service.handler
    async def length(request: str, ctx: Context) -> int:
        if len(request) < 10:
            return len(request)
        return await service.client.call(
            "points", "Points.Length", "short", int, headers=dict(ctx.headers)
        )

    async with running(service) as client:
        for size in (50_000, 5_000_000):
            assert await client.call("points", "Points.Length", "x" * size, int) == 5


async def test_a_callers_headers_are_left_as_they_are() -> None:
    headers = {"zone": "a"}
    async with Cluster(1) as client:
        await who(client, headers=headers)

    assert headers == {"zone": "a"}


async def test_records_of_nodes_that_do_not_exist_do_no_harm() -> None:
    cluster = Cluster(1)
    node = Node(id="points-zzz", address="a b c", metadata={"native": "1"})
    record = ServiceRecord(
        name="points", version="9", nodes=(node,), endpoints=(EndpointRecord(name="Points.Who"),)
    )
    async with cluster as client, cluster.network.registry.register(record, ttl=9, interval=3):
        names = {await who(client, idempotent=True) for _ in range(20)}

    assert names == {"a"}


async def test_the_end_of_the_network_ends_every_call() -> None:
    cluster = Cluster(1)
    async with cluster as client:
        calls = [asyncio.ensure_future(client.call("points", "Points.Wait")) for _ in range(3)]
        await cluster.gauge.until(started=3)
        cluster.network.transport.close()
        results = await asyncio.gather(*calls, return_exceptions=True)

        assert all(isinstance(result, ConnectionLost) for result in results)
        assert not any(result.refused for result in results)  # type: ignore[union-attr]


async def test_every_strategy_has_a_name() -> None:
    for name in ("random", "round_robin", "least_in_flight"):
        cluster = Cluster(2)
        cluster.caller = Service("caller", strategy=strategy_named(name))
        async with cluster as client:
            assert {await who(client) for _ in range(40)} == {"a", "b"}
