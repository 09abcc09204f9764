"""Typed uses of every public name: mypy checks them, nothing runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Coroutine
from typing import Annotated, Any, Protocol, assert_type

from pydantic import BaseModel

import micro
import micro.sync
from micro import (
    Backends,
    BadRequest,
    Cancelled,
    Client,
    ClientStream,
    Codec,
    Conflict,
    ConnectionEvent,
    ConnectionLost,
    ConnectionState,
    Context,
    Deadline,
    DeadlineExceeded,
    Depends,
    EventStream,
    Forbidden,
    Inbox,
    InternalError,
    Keep,
    Later,
    Layer,
    MemoryBackend,
    Message,
    MethodNotAllowed,
    MicroError,
    Next,
    NotFound,
    Outbox,
    OutboxEvent,
    PayloadTooLarge,
    Queue,
    Receipt,
    Reject,
    Request,
    ResourceExhausted,
    Response,
    Retry,
    Service,
    ServiceUnavailable,
    Settings,
    Strategy,
    Topic,
    Unauthorized,
    Unavailable,
    Where,
    contract,
    load_settings,
    open_client,
    raises,
)


class Award(BaseModel):
    user: str
    points: int


class Balance(BaseModel):
    user: str
    points: int


@contract("Books")
class Books(Protocol):
    async def total(self, request: str) -> int: ...


class BooksService:
    async def total(self, request: str) -> int:
        return len(request)


awarded = Topic("points.awarded", Award)
kept = Topic("points.kept", Award, keep="7d")
limited = Topic("points.limited", Award, keep=Keep("1h", bytes="1MiB", full="discard_old"))
jobs = Topic("points.jobs", Award, keep=Queue(messages=1000), version=2, upcast={1: lambda v: v})
assert_type(kept, Topic[Award])
assert_type(Receipt(id="a").sequence, int | None)
either = Topic("points.either", Award | Balance)


class OutOfPoints(Conflict):
    def __init__(self, left: int) -> None:
        super().__init__(f"only {left} left")
        self.left = left


class Points(Protocol):
    @raises(OutOfPoints)
    async def award(self, request: Award, *, timeout: float = ...) -> Balance: ...

    def history(self, request: str) -> AsyncIterator[Balance]: ...

    async def total(self, awards: AsyncIterator[Award]) -> Balance: ...


async def layer(request: Request, next: Next) -> Response:
    request.headers["zone"] = "a"
    assert_type(request.deadline, Deadline | None)
    response = await next(request)
    assert_type(response.headers, dict[str, str])
    return Response(response.value, {})


outermost: Layer = layer


service = Service(
    "points",
    version="1.0.0",
    metadata={"zone": "a"},
    id="one",
    transport="nats",
    broker=MemoryBackend(),
    registry=MemoryBackend().registry,
    middleware=[outermost],
    client_middleware=[layer],
    subscriber_middleware=[layer],
    publish_middleware=[layer],
    settings={"client_retries": 1},
)


class Pool: ...


async def write_down(outbox: Outbox[Pool], inbox: Inbox, tx: Pool) -> None:
    assert_type(await outbox.publish(tx, awarded, Award(user="a", points=1), key="a"), str)
    assert_type(outbox.event("points", 1, id="a", headers={"zone": "a"}), OutboxEvent)
    Service("points", outbox=outbox)
    async with inbox.claim("points_award", "a") as new:
        assert_type(new, bool)


@service.lifespan
async def database(client: Client) -> AsyncIterator[Pool]:
    yield Pool()


async def transaction(pool: Annotated[Pool, Depends(database)], ctx: Context) -> Pool:
    assert_type(pool, Pool)
    return pool


@service.handler
async def spend(request: Award, tx: Annotated[Pool, Depends(transaction)]) -> Balance:
    assert_type(tx, Pool)
    return Balance(user=request.user, points=-request.points)


@service.handler
async def award(request: Award) -> Balance:
    return Balance(user=request.user, points=request.points)


@service.handler("Points.History", idempotent=True, max_concurrency=10, raises=[OutOfPoints])
async def history(request: str, ctx: Context) -> AsyncIterator[Balance]:
    assert_type(ctx.remaining(), float | None)
    assert_type(ctx.deadline, Deadline | None)
    assert_type(Context.current(), Context)
    ctx.reply_headers["zone"] = ctx.headers["zone"] + ctx.peer + ctx.id + ctx.topic
    yield Balance(user=request, points=1)


@service.handler(idempotent=True, metadata={"a": "b"})
def plain(request: Award) -> Balance:
    return Balance(user=request.user, points=request.points)


@service.handler
class Ledger:
    async def close(self, request: Award) -> Balance:
        return await award(request)


@service.subscriber("orders.created")
async def on_order(event: Award) -> None: ...


@service.subscriber("orders.*", queue=None)
def on_any(event: Award, ctx: Context) -> None: ...


@service.subscriber(awarded, queue=None, max_concurrency=1)
async def on_award(event: Award) -> None: ...


settings = service.config(Award, prefix="first-award")
assert_type(settings.value, Award)


async def sweep(pool: Annotated[Pool, Depends(database)]) -> None: ...


service.start_task(sweep, restart="always", max_restarts=3)


@service.subscriber(
    kept,
    durable="mail",
    start="new",
    retry=Retry(1, "5m", jitter=0.2, never=(ValueError,), per={OSError: Retry(60)}, within="1d"),
    fatal=(ImportError,),
    dead="metadata",
    timeout=10,
    max_concurrency=4,
)
async def on_kept(event: Award, ctx: Context) -> None:
    assert_type(ctx.attempt, int)
    assert_type(ctx.child_id("mail"), str)
    if event.points < 0:
        raise Reject("negative")
    raise Later("10m", "not yet")


@service.on_start
async def connect() -> None: ...


@service.on_stop
def disconnect() -> None: ...


@service.on_connection
def changed(event: ConnectionEvent) -> None:
    assert_type(event.state, ConnectionState)


def nobody(error: MicroError) -> Balance:
    return Balance(user=error.detail, points=0)


async def decorators_keep_types() -> None:
    request = Award(user="ann", points=5)
    assert_type(await award(request), Balance)
    assert_type(history("ann", Context("points", "Points.History", {})), AsyncIterator[Balance])
    assert_type(plain(request), Balance)
    assert_type(await Ledger().close(request), Balance)
    assert_type(await on_order(request), None)
    assert_type(await connect(), None)
    assert_type(disconnect(), None)


async def calls(client: Client) -> None:
    request = Award(user="ann", points=5)
    assert_type(await client.call("points", "Points.Award", request, Balance), Balance)
    assert_type(await client.call("points", "Points.Names", None, list[str]), list[str])
    balance = await client.call(
        "points",
        "Points.Award",
        request,
        Balance,
        timeout=2.0,
        headers={"zone": "a"},
        where=Where(version="1.0.0", node="one", metadata={"zone": "a"}),
        idempotent=True,
        retries=3,
        content_type="application/msgpack",
        raises=[OutOfPoints],
        fallback=nobody,
    )
    assert_type(balance, Balance)
    answer = await client.call("points", "Points.Award", request, timeout=None)
    # Never would hide all that follows from the checker.
    assert_type(answer, Any)


async def many_calls(client: Client) -> None:
    def number() -> Coroutine[Any, Any, int]:
        return client.call("points", "Points.Number", None, int)

    def name() -> Coroutine[Any, Any, str]:
        return client.call("points", "Points.Name", None, str)

    assert_type(await client.gather(number(), name()), tuple[int, str])
    assert_type(await client.gather(number(), name(), number()), tuple[int, str, int])
    assert_type(await client.gather(*[number()]), tuple[int, ...])
    assert_type(await client.gather(number()), tuple[int])
    each = await client.gather(number(), name(), fail_fast=False)
    assert_type(each, tuple[int | MicroError, str | MicroError])
    headers: dict[str, str] = {}
    await client.call("points", "Points.Number", None, int, reply_headers=headers)


def scripts() -> None:
    with micro.sync.connect(Settings(), name="script") as client:
        assert_type(client, micro.sync.SyncClient)
        assert_type(client.call("points", "Points.Number", None, int, timeout=1.0), int)
        client.publish(awarded, Award(user="ann", points=5))
        client.flush()
    assert_type(micro.sync.client_of(service), micro.sync.SyncClient)


async def streams(client: Client, awards: AsyncIterator[Award]) -> None:
    async with client.stream("points", "Points.History", "ann", Balance, timeout=5) as answers:
        assert_type(answers, ClientStream[Balance])
        async for answer in answers:
            assert_type(answer, Balance)
    async with client.stream("points", "Points.Total", awards, Balance) as totals:
        assert_type(await totals.receive(), Balance)
    async with client.stream("points", "Points.Echo", None, Balance, where=Where()) as echo:
        await echo.send(Award(user="ann", points=5))
        echo.finish()
    async with client.stream("points", "Points.Any") as anything:
        assert_type(anything, ClientStream[Any])


async def events(client: Client) -> None:
    await client.publish("orders.created", Award(user="ann", points=5), headers={"zone": "a"})
    await client.flush()
    await service.publish("orders.created", Award(user="ann", points=5))
    assert_type(service.client, Client)


async def topics(client: Client) -> None:
    assert_type(awarded, Topic[Award])
    assert_type(either, Topic[Any])
    assert_type(awarded.name, str)
    async with client.publisher(kept, window=100) as out:
        assert_type(out.confirmed, int)
        await out.send(Award(user="ann", points=5), id="a")
    receipt = await client.publish(kept, Award(user="ann", points=5), id="a", timeout="5s")
    await service.publish(kept, Award(user="ann", points=5), delay="5m")
    assert_type(receipt, Receipt)
    award = Award(user="ann", points=5)
    await client.publish(awarded, award, headers={"zone": "a"}, confirm=True)
    await service.publish(awarded, award)
    async with client.subscribe(awarded, queue="desk", max_queue=10) as events:
        assert_type(events, EventStream[Award])
        async for event in events:
            assert_type(event, Award)
        assert_type(events.dropped, int)
        assert_type(events.context, Context | None)
    async with client.subscribe("points.*", Award) as some:
        assert_type(some, EventStream[Award])
    async with client.subscribe("points.*") as anything:
        assert_type(anything, EventStream[Any])


async def proxies(client: Client, awards: AsyncIterator[Award]) -> None:
    points = client.use(Points, service="points")
    assert_type(points, Points)
    assert_type(await points.award(Award(user="ann", points=5), timeout=1.0), Balance)
    assert_type(await points.total(awards), Balance)
    async for entry in points.history("ann"):
        assert_type(entry, Balance)
    client.use(Points, service="points", prefix="Ledger")
    service.implement(Books, BooksService(), idempotent=True)
    service.implement(Books, BooksService, prefix="Accounts")
    assert_type(await client.use(Books, service="points").total("ann"), int)


async def lives() -> None:
    assert_type(database(service.client), AsyncIterator[Pool])
    with service.override(database, Pool):
        assert_type(await spend(Award(user="ann", points=5), Pool()), Balance)
    async with service.running() as client:
        assert_type(client, Client)
    async with service.running(MemoryBackend(max_payload=1024), spread=0.1) as client:
        assert_type(client, Client)
    settings = load_settings(["--client_retries=1"], {"MICRO_TRANSPORT": "memory"})
    assert_type(settings, Settings)
    async with open_client(Settings(transport="memory"), name="tool") as client:
        assert_type(client, Client)
    async with Backends(name="tool", settings=settings) as backends:
        await backends.check()
    service.run(["--transport=memory"])


def values(deadline: Deadline) -> None:
    assert_type(Deadline.after(5), Deadline)
    assert_type(deadline.remaining(), float)
    assert_type(deadline.tighter(None), Deadline)
    message = Message({"zone": "a"}, b"body")
    assert_type(message.headers, dict[str, str])
    assert_type(message.body, bytes)


def extensions(strategy: Strategy[Any], codec: Codec) -> Service:
    assert_type(service.metrics["micro.server.handled"], float)
    return Service("points", strategy=strategy, codecs=[codec])


def errors(error: MicroError) -> tuple[type[MicroError], ...]:
    assert_type(error.code, int)
    assert_type(error.detail, str)
    assert_type(error.id, str)
    assert_type(error.status, str)
    assert_type(error.retry_after, float | None)
    assert_type(error.refused, bool)
    assert_type(error.details, dict[str, object])
    assert_type(error.kinds, tuple[str, ...])
    MicroError("no", code=418, id="kettle", retry_after=1.0, refused=True, details={})
    return (
        BadRequest,
        Cancelled,
        Conflict,
        ConnectionLost,
        DeadlineExceeded,
        Forbidden,
        InternalError,
        MethodNotAllowed,
        NotFound,
        PayloadTooLarge,
        ResourceExhausted,
        ServiceUnavailable,
        Unauthorized,
        Unavailable,
    )


assert_type(micro.__all__, list[str])
