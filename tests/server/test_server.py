"""Requests on their way through a server, over memory."""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time

import pytest

from micro import (
    BadRequest,
    Cancelled,
    Conflict,
    Context,
    Deadline,
    DeadlineExceeded,
    Forbidden,
    InternalError,
    MemoryBackend,
    MethodNotAllowed,
    MicroError,
    NotFound,
    PayloadTooLarge,
    ResourceExhausted,
    Service,
    Unauthorized,
    Unavailable,
)
from micro.errors import (
    ConfigError,
    HandlerError,
    Unimplemented,
)
from micro.wire.errors import error_from_wire
from micro.wire.headers import (
    CONTENT_TYPE,
    CREDIT,
    ENDPOINT,
    ERROR,
    ID,
    METHOD,
    REFUSED,
    SIGNAL,
    STREAM,
    TIMEOUT,
)
from tests.engine import ANN, JSON, Award, Balance, Gauge, raw, running

MS = 1_000_000


@pytest.fixture
def service() -> Service:
    return Service("points")


@pytest.fixture
async def gauge() -> Gauge:
    return Gauge()


@pytest.mark.parametrize(
    "cls",
    [
        BadRequest,
        Unauthorized,
        Forbidden,
        NotFound,
        MethodNotAllowed,
        DeadlineExceeded,
        Conflict,
        PayloadTooLarge,
        ResourceExhausted,
        Cancelled,
        InternalError,
        Unimplemented,
        Unavailable,
    ],
)
async def test_a_handlers_error_reaches_the_caller(service: Service, cls: type[MicroError]) -> None:
    @service.handler
    async def fail() -> None:
        raise cls("because")

    async with running(service) as client:
        with pytest.raises(cls) as caught:
            await client.call("points", "Points.Fail")

    assert type(caught.value) is cls
    assert (caught.value.code, caught.value.detail) == (cls.code, "because")
    assert caught.value.id == "points"


async def test_a_code_of_the_handlers_own_reaches_the_caller(service: Service) -> None:
    @service.handler
    async def fail() -> None:
        raise MicroError("short and stout", code=418, id="kettle")

    async with running(service) as client:
        with pytest.raises(MicroError) as caught:
            await client.call("points", "Points.Fail")

    assert (caught.value.code, caught.value.id) == (418, "kettle")
    assert caught.value.status == "I'm a Teapot"


@pytest.mark.parametrize("error", [ValueError, TimeoutError, KeyError, RecursionError])
async def test_an_unforeseen_exception_is_logged_and_opaque(
    service: Service, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    @service.handler
    async def fail() -> None:
        raise error("the password is 1234")

    async with running(service) as client:
        with pytest.raises(InternalError) as caught:
            await client.call("points", "Points.Fail")

    assert "1234" not in str(caught.value)
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.name == "micro.server"
    assert "Points.Fail" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is error


@pytest.mark.parametrize("error", [ConfigError("x"), HandlerError("x")])
async def test_a_mistake_of_the_program_is_logged_and_opaque(
    service: Service, error: MicroError, caplog: pytest.LogCaptureFixture
) -> None:
    @service.handler
    async def fail() -> None:
        raise error

    async with running(service) as client:
        with pytest.raises(InternalError, match="the handler failed"):
            await client.call("points", "Points.Fail")
    assert any(record.exc_info for record in caplog.records)


async def test_an_invalid_name_in_a_handler_is_not_the_callers_fault(service: Service) -> None:
    @service.handler
    async def fail(ctx: Context) -> None:
        await service.client.call("no such name!", "A.B")

    async with running(service) as client:
        with pytest.raises(InternalError):
            await client.call("points", "Points.Fail")


async def test_awaiting_what_was_cancelled_answers_500(service: Service) -> None:
    @service.handler
    async def fail() -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with running(service) as client:
        with pytest.raises(InternalError, match="cancelled"):
            await client.call("points", "Points.Fail", timeout=5)


async def test_a_response_that_cannot_be_written_is_the_handlers_fault(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    @service.handler
    async def fail() -> Balance:
        return object()  # type: ignore[return-value]

    async with running(service) as client:
        with pytest.raises(InternalError, match="the handler failed"):
            await client.call("points", "Points.Fail")
    assert any(record.exc_info for record in caplog.records)


async def test_a_response_that_is_too_large_is_told(service: Service) -> None:
    @service.handler
    async def big() -> str:
        return "x" * 5000

    async with running(service, backend=MemoryBackend(max_payload=4000)) as client:
        with pytest.raises(PayloadTooLarge):
            await client.call("points", "Points.Big", timeout=5)


@pytest.mark.parametrize("detail", ["x" * 5000, ValueError("not a text"), object(), b"\xff"])
async def test_an_error_that_cannot_be_sent_becomes_one_that_can(
    service: Service, detail: object
) -> None:
    @service.handler
    async def fail() -> None:
        raise NotFound(detail)  # type: ignore[arg-type]

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service, backend=MemoryBackend(max_payload=4000)) as client:
        with pytest.raises(MicroError):
            await asyncio.wait_for(client.call("points", "Points.Fail", timeout=None), 5)
        assert await client.call("points", "Points.Fine", None, int) == 1


async def test_reply_headers_that_cannot_be_sent_are_the_handlers_fault(service: Service) -> None:
    @service.handler
    async def fail(ctx: Context) -> None:
        ctx.reply_headers["n"] = 5  # type: ignore[assignment]

    async with running(service) as client:
        with pytest.raises(InternalError):
            await asyncio.wait_for(client.call("points", "Points.Fail", timeout=None), 5)


async def test_a_request_that_does_not_fit_is_told_where_and_not_handled(service: Service) -> None:
    ran = []

    @service.handler
    async def award(request: Award) -> None:
        ran.append(request)

    async with running(service) as client:
        with pytest.raises(BadRequest, match="points") as caught:
            await client.call("points", "Points.Award", {"user": "ann", "points": "many"})

    assert caught.value.code == 400
    assert not ran


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[]", b"null", b"[" * 100_000])
async def test_a_body_that_is_no_request_gets_400(service: Service, body: bytes) -> None:
    @service.handler
    async def award(request: Award) -> None: ...

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Award", body)
        error = error_from_wire((await peer.reply()).headers[ERROR])

    assert error.code == 400


async def test_an_unknown_content_type_gets_400(service: Service) -> None:
    @service.handler
    async def award(request: Award) -> None: ...

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Award", b"x", **{CONTENT_TYPE: "application/x-unheard-of"})
        error = error_from_wire((await peer.reply()).headers[ERROR])

    assert 400 <= error.code < 500
    assert "application/x-unheard-of" in error.detail


@pytest.mark.parametrize("name", ["Points.Nope", "", "points.award", "x" * 10_000, "\0"])
async def test_an_unknown_endpoint_gets_404(service: Service, name: str) -> None:
    async with running(service) as client, raw(client) as peer:
        peer.request(name)
        frame = await peer.reply()

    assert error_from_wire(frame.headers[ERROR]).code == 404
    assert REFUSED in frame.headers


async def test_a_stream_is_not_called_and_a_call_not_streamed(service: Service) -> None:
    @service.handler
    async def award(request: Award) -> None: ...

    async with running(service) as client:
        with pytest.raises(MethodNotAllowed, match="not a stream"):
            async with client.stream("points", "Points.Award", ANN) as answers:
                await answers.receive()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {ID: ""},
        {ID: "1"},
        {"": ""},
        {ID: "1", STREAM: ""},
        {STREAM: "9"},
        {ID: "1", SIGNAL: "explode"},
        {ID: "1", SIGNAL: "credit"},
        {ID: "1", SIGNAL: "credit", CREDIT: "²"},
        {ID: "1", ERROR: "EOS"},
        {SIGNAL: "cancel"},
        {ENDPOINT: "", METHOD: ""},
    ],
)
async def test_frames_without_sense_harm_nobody(service: Service, headers: dict[str, str]) -> None:
    @service.handler
    async def echo(request: str) -> str:
        return request

    async with running(service) as client, raw(client) as peer:
        peer.send(dict(headers), b"not json")
        peer.request("Points.Echo", b'"hello"', id="2")

        assert (await peer.reply("2")).body.strip() == b'"hello"'


@pytest.mark.parametrize("credit", ["²", "-1", "many", ""])
async def test_a_stream_with_credit_without_sense_may_send_nothing(
    service: Service, credit: str
) -> None:
    @service.handler
    async def echo(request: str) -> str:
        return request

    async with running(service) as client, raw(client) as peer:
        peer.open("Points.Echo", credit=credit)
        assert error_from_wire((await peer.reply()).headers[ERROR]).code == 405


@pytest.mark.parametrize("timeout", ["9" * 4000, "9" * 5000, "-1", "soon", "0"])
async def test_a_timeout_without_sense_does_not_keep_a_call_from_running(
    service: Service, timeout: str
) -> None:
    @service.handler
    async def echo(request: str) -> str:
        return request

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Echo", b'"hello"', **{TIMEOUT: timeout})

        assert (await peer.reply()).body.strip() == b'"hello"'


async def test_a_second_request_with_the_id_of_a_running_one_is_dropped(
    service: Service, gauge: Gauge
) -> None:
    @service.handler
    async def wait() -> str:
        await gauge.wait()
        return "done"

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait")
        await gauge.until(started=1)
        peer.request("Points.Wait")
        peer.request("Points.Nope", id="2")
        await peer.reply("2")
        gauge.go.set()

        assert (await peer.reply("1")).body.strip() == b'"done"'
        assert gauge.started == 1


async def test_a_handler_sees_what_remains(service: Service) -> None:
    @service.handler
    async def remaining(ctx: Context) -> float:
        return ctx.remaining() or math.nan

    async with running(service) as client:
        left = await client.call("points", "Points.Remaining", None, float, timeout=3)

    assert 2.5 < left <= 3


async def test_a_call_without_a_limit_gets_the_servers_own(service: Service) -> None:
    @service.handler
    async def remaining(ctx: Context) -> float:
        return ctx.remaining() or math.nan

    async with running(service) as client:
        left = await client.call("points", "Points.Remaining", None, float, timeout=None)

    assert 55 < left <= 60


async def test_a_handler_that_takes_too_long_is_cancelled(service: Service, gauge: Gauge) -> None:
    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait", **{TIMEOUT: str(30 * MS)})
        frame = await peer.reply()

    assert error_from_wire(frame.headers[ERROR]).code == 408
    assert gauge.cancelled == 1


async def test_a_timeout_of_the_handlers_own_is_not_ours(service: Service) -> None:
    @service.handler
    async def fail() -> None:
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()

    async with running(service) as client:
        with pytest.raises(InternalError):
            await client.call("points", "Points.Fail", timeout=5)


async def test_work_that_expired_while_it_waited_is_not_started(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 1})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait", id="first")
        await gauge.until(started=1)
        peer.request("Points.Wait", id="second", **{TIMEOUT: "1"})
        peer.request("Points.Nope", id="third")
        await peer.reply("third")
        gauge.go.set()
        frame = await peer.reply("second")

    assert error_from_wire(frame.headers[ERROR]).code == 408
    assert REFUSED in frame.headers
    assert gauge.started == 1


async def test_waiting_calls_are_answered_at_their_deadlines(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 1, "max_queue": 2000})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait", id="first")
        await gauge.until(started=1)
        for number in range(2000):
            peer.request("Points.Wait", id=f"late{number}", **{TIMEOUT: str(300 * MS)})
        late = (await peer.replies(2000))[:2000]
        gauge.go.set()
        frames = await peer.replies(2001)

    assert {error_from_wire(frame.headers[ERROR]).code for frame in late} == {408}
    assert all(REFUSED in frame.headers for frame in late)
    assert ERROR not in frames[-1].headers
    assert gauge.started == 1


async def test_deadlines_shrink_over_three_hops() -> None:
    seen: dict[str, float] = {}

    def note(ctx: Context) -> None:
        seen[ctx.service] = ctx.remaining() or math.nan

    last, middle, first = Service("last"), Service("middle"), Service("first")

    @last.handler
    async def go(ctx: Context) -> None:
        note(ctx)
        await asyncio.Event().wait()

    @middle.handler("Middle.Go")
    async def go_on(ctx: Context) -> None:
        note(ctx)
        await middle.client.call("last", "Last.Go", timeout=60)

    @first.handler("First.Go")
    async def set_out(ctx: Context) -> None:
        note(ctx)
        await first.client.call("middle", "Middle.Go", timeout=None)

    async with running(last, middle, first) as client:
        before = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await client.call("first", "First.Go", timeout=0.2)
        took = time.monotonic() - before

    assert 0.2 >= seen["first"] >= seen["middle"] >= seen["last"] > 0
    assert 0.19 < took < 1


async def test_a_nested_call_may_have_less_time_but_not_more(service: Service) -> None:
    @service.handler
    async def remaining(ctx: Context) -> float:
        return ctx.remaining() or math.nan

    @service.handler
    async def ask(timeout: float) -> float:
        return await service.client.call("points", "Points.Remaining", None, float, timeout=timeout)

    async with running(service) as client:
        less = await client.call("points", "Points.Ask", 1.0, float, timeout=3)
        more = await client.call("points", "Points.Ask", 9.0, float, timeout=3)

    assert less <= 1
    assert more <= 3


async def test_leaving_a_call_early_cancels_the_handler(service: Service, gauge: Gauge) -> None:
    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        call = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await gauge.until(started=1)
        call.cancel()

        await gauge.until(cancelled=1)


async def test_cancellation_crosses_three_hops_at_once(gauge: Gauge) -> None:
    last, middle, first = Service("last"), Service("middle"), Service("first")

    @last.handler
    async def go() -> None:
        await gauge.wait()

    @middle.handler("Middle.Go")
    async def go_on() -> None:
        await middle.client.call("last", "Last.Go")

    @first.handler("First.Go")
    async def set_out() -> None:
        await first.client.call("middle", "Middle.Go")

    async with running(last, middle, first) as client:
        took = []
        for times in (1, 2, 3):
            call = asyncio.ensure_future(client.call("first", "First.Go"))
            await gauge.until(started=times)
            before = time.monotonic()
            call.cancel()
            await gauge.until(cancelled=times)
            took.append(time.monotonic() - before)

    assert min(took) < 0.1


async def test_a_call_that_is_cancelled_in_the_turn_it_came_leaves_no_trace(
    gauge: Gauge,
) -> None:
    service = Service("points", settings={"max_concurrency": 2, "max_queue": 0})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        for number in range(10):
            peer.request("Points.Wait", id=str(number))
            peer.send({ID: str(number), SIGNAL: "cancel"})
            peer.request("Points.Nope", id=f"after{number}")
            await peer.reply(f"after{number}")
        gauge.go.set()
        peer.request("Points.Wait", id="last")

        assert ERROR not in (await peer.reply("last")).headers


async def test_a_client_that_vanishes_takes_its_calls_with_it(
    service: Service, gauge: Gauge
) -> None:
    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        async with raw(client) as peer:
            peer.request("Points.Wait", id="1")
            peer.request("Points.Wait", id="2")
            await gauge.until(started=2)

        await gauge.until(cancelled=2)


async def test_a_call_that_waits_can_be_cancelled(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 1})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client, raw(client) as peer:
        peer.request("Points.Wait", id="1")
        await gauge.until(started=1)
        peer.request("Points.Wait", id="2")
        peer.send({ID: "2", SIGNAL: "cancel"})
        gauge.go.set()
        await peer.reply("1")
        peer.request("Points.Wait", id="3")
        await peer.reply("3")

    assert gauge.started == 2


async def test_a_handler_may_clean_up_when_it_is_cancelled(service: Service) -> None:
    started, cleaned = asyncio.Event(), asyncio.Event()

    @service.handler
    async def wait() -> None:
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    async with running(service) as client:
        call = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await started.wait()
        call.cancel()

        await asyncio.wait_for(cleaned.wait(), 5)


async def test_over_the_limit_the_answer_is_an_immediate_typed_refusal(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 2, "max_queue": 1})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        calls = [asyncio.ensure_future(client.call("points", "Points.Wait")) for _ in range(3)]
        await gauge.until(started=2)
        before = time.monotonic()
        with pytest.raises(ResourceExhausted, match="limit") as caught:
            await client.call("points", "Points.Wait", retries=0)
        took = time.monotonic() - before
        gauge.go.set()
        await asyncio.gather(*calls)

    assert took < 0.1
    assert caught.value.refused
    assert caught.value.retry_after
    assert gauge.started == 3


async def test_an_endpoints_own_limit_leaves_room_for_others(
    service: Service, gauge: Gauge
) -> None:
    @service.handler(max_concurrency=1)
    async def wait() -> None:
        await gauge.wait()

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service) as client:
        calls = [asyncio.ensure_future(client.call("points", "Points.Wait")) for _ in range(3)]
        await gauge.until(started=1)
        assert await client.call("points", "Points.Fine", None, int) == 1
        assert gauge.started == 1
        gauge.go.set()
        await asyncio.gather(*calls)

    assert gauge.started == 3


async def test_an_endpoints_queue_has_an_end_too(gauge: Gauge) -> None:
    service = Service("points", settings={"max_queue": 1})

    @service.handler(max_concurrency=1)
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        calls = [asyncio.ensure_future(client.call("points", "Points.Wait")) for _ in range(2)]
        await gauge.until(started=1)
        with pytest.raises(ResourceExhausted):
            await client.call("points", "Points.Wait", retries=0)
        gauge.go.set()
        await asyncio.gather(*calls)


async def test_calls_refused_by_the_service_give_their_endpoints_room_back(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 1, "max_queue": 0})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    @service.handler(max_concurrency=1)
    async def narrow() -> int:
        return 1

    async with running(service) as client:
        call = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await gauge.until(started=1)
        for _ in range(3):
            with pytest.raises(ResourceExhausted):
                await client.call("points", "Points.Narrow", retries=0)
        gauge.go.set()
        await call

        assert await client.call("points", "Points.Narrow", None, int) == 1


async def test_a_refused_call_gets_its_turn_by_a_retry(gauge: Gauge) -> None:
    service = Service("points", settings={"max_concurrency": 1, "max_queue": 0})

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    async with running(service) as client:
        first = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await gauge.until(started=1)
        second = asyncio.ensure_future(client.call("points", "Points.Wait"))
        await asyncio.sleep(0)
        gauge.go.set()
        await asyncio.gather(first, second)

    assert gauge.started == 2


async def test_a_plain_function_runs_in_a_thread_with_its_context(service: Service) -> None:
    @service.handler
    def thread(request: str, ctx: Context) -> tuple[str, int, bool]:
        same = Context.current() is ctx
        return request, threading.get_ident(), same and ctx.endpoint == "Points.Thread"

    async with running(service) as client:
        text, ident, same = await client.call(
            "points", "Points.Thread", "hi", tuple[str, int, bool]
        )

    assert text == "hi"
    assert same
    assert ident != threading.get_ident()


async def test_a_plain_function_does_not_hold_up_the_others(service: Service) -> None:
    release = threading.Event()

    @service.handler
    def block() -> bool:
        return release.wait(5)

    @service.handler
    async def fine() -> int:
        return 1

    async with running(service) as client:
        blocked = asyncio.ensure_future(client.call("points", "Points.Block", None, bool))
        assert await client.call("points", "Points.Fine", None, int) == 1
        release.set()

        assert await blocked


async def test_a_plain_functions_error_crosses_as_any_other(service: Service) -> None:
    @service.handler
    def fail(known: bool) -> None:
        if known:
            raise Conflict("taken")
        raise ValueError("secret")

    async with running(service) as client:
        with pytest.raises(Conflict, match="taken"):
            await client.call("points", "Points.Fail", True)
        with pytest.raises(InternalError, match="the handler failed"):
            await client.call("points", "Points.Fail", False)


async def test_a_handler_knows_its_surroundings(service: Service) -> None:
    seen: list[Context] = []

    @service.handler
    async def look(ctx: Context) -> None:
        assert Context.current() is ctx
        seen.append(ctx)

    async with running(service) as client:
        await client.call("points", "Points.Look", headers={"zone": "a"})

    (ctx,) = seen
    assert (ctx.service, ctx.endpoint, ctx.topic) == ("points", "Points.Look", "")
    assert ctx.headers["zone"] == "a"
    assert ctx.peer
    assert ctx.id


async def test_two_calls_at_once_have_each_their_own_context(service: Service) -> None:
    both = asyncio.Barrier(2)

    @service.handler
    async def zone() -> str:
        async with both:
            return Context.current().headers["zone"]

    async with running(service) as client:
        zones = await asyncio.gather(
            *(client.call("points", "Points.Zone", None, str, headers={"zone": z}) for z in "ab")
        )

    assert zones == ["a", "b"]


async def test_a_handlers_headers_do_not_pass_for_the_protocols_own(service: Service) -> None:
    @service.handler
    async def fine(ctx: Context) -> int:
        ctx.reply_headers.update({"Micro-Error": "EOS", "micro-id": "x", ID: "y", "zone": "a"})
        return 1

    async with running(service) as client, raw(client) as peer:
        assert await client.call("points", "Points.Fine", None, int) == 1
        peer.request("Points.Fine")
        headers = (await peer.reply()).headers

    assert headers == {ID: "1", CONTENT_TYPE: JSON, "zone": "a"}


async def test_what_runs_is_finished_before_the_stop(service: Service, gauge: Gauge) -> None:
    @service.handler
    async def wait() -> int:
        await gauge.wait()
        return 1

    caller, network = Service("caller"), MemoryBackend()
    async with caller.running(network) as client:
        async with service.running(network):
            call = asyncio.ensure_future(client.call("points", "Points.Wait", None, int))
            await gauge.until(started=1)
            asyncio.get_running_loop().call_later(0.02, gauge.go.set)

        assert await call == 1


async def test_a_handler_that_ignores_its_cancellation_is_answered_for(gauge: Gauge) -> None:
    service = Service("points", settings={"shutdown_timeout": 0.05})

    @service.handler
    async def hang(request: Award) -> None:
        try:
            await gauge.wait()
        except asyncio.CancelledError:
            await gauge.wait()

    backend = MemoryBackend()
    async with Service("caller").running(backend) as client:
        async with service.running(backend):
            calling = asyncio.ensure_future(client.call("points", "Points.Hang", ANN))
            await gauge.until(started=1)

        with pytest.raises(Unavailable, match="stopped first") as raised:
            await calling
    assert not raised.value.refused


async def test_what_outlasts_the_grace_is_cancelled_and_answered(gauge: Gauge) -> None:
    settings = {"shutdown_timeout": 0.05, "max_concurrency": 1}
    service = Service("points", settings=settings)

    @service.handler
    async def wait() -> None:
        await gauge.wait()

    caller, network = Service("caller"), MemoryBackend()
    async with caller.running(network) as client:
        async with service.running(network):
            calls = [
                asyncio.ensure_future(client.call("points", "Points.Wait", timeout=None))
                for _ in range(2)
            ]
            await gauge.until(started=1)
        results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)

    assert all(isinstance(result, MicroError) for result in results), results
    assert isinstance(results[0], Unavailable)
    assert not results[0].refused
    assert gauge.cancelled == 1


async def test_deadlines_are_public_values() -> None:
    assert Deadline.after(5).remaining() <= 5
