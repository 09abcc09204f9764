from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import pytest

from micro import Client, Conflict, MemoryBackend, NotFound, Service, raises
from micro.errors import ConfigError, HandlerError, MicroError, ResourceExhausted
from micro.handlers.raises import as_raised, check_raises
from micro.wire.errors import error_from_wire, error_to_wire
from tests.engine import JSON, raw, running

CONTENT_TYPES = [JSON, "application/msgpack"]


class StockError(Conflict):
    """Anything about the stock."""


class OutOfStock(StockError):
    def __init__(self, sku: str, left: int, back: date | None = None) -> None:
        super().__init__(f"only {left} of {sku} left")
        self.sku = sku
        self.left = left
        self.back = back


@dataclass(frozen=True)
class UnknownUser(NotFound):
    user: str


@dataclass
class Busy(ResourceExhausted):
    seconds: float = 1.0


class Plain(Conflict):
    reason: str


MAY = date(2026, 5, 1)
RAISED = {
    "constructor": OutOfStock("A1", 2, MAY),
    "frozen dataclass": UnknownUser("ann"),
    "dataclass": Busy(0.5),
    "annotated": Plain("no", details={"reason": "closed"}),
}
KNOWN = (OutOfStock, UnknownUser, Busy, Plain)


def shop() -> Service:
    service = Service("shop")

    @service.handler("Shop.Order", raises=KNOWN)
    async def order(which: str) -> int:
        raise RAISED[which]

    @service.handler("Shop.Watch")
    async def watch(which: str) -> AsyncIterator[int]:
        yield 1
        raise RAISED[which]

    @service.handler("Shop.Collect")
    async def collect(names: AsyncIterator[str]) -> int:
        async for which in names:
            raise RAISED[which]
        return 0

    return service


def same(error: MicroError, other: MicroError) -> bool:
    return type(error) is type(other) and error.details == other.details


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("which", RAISED)
async def test_a_class_that_the_caller_names_arrives_with_its_fields(
    which: str, content_type: str
) -> None:
    options: Any = {"content_type": content_type, "raises": KNOWN, "retries": 0}
    async with running(shop()) as client:
        with pytest.raises(type(RAISED[which])) as caught:
            await client.call("shop", "Shop.Order", which, int, **options)

    assert same(caught.value, RAISED[which])
    assert caught.value.id == "shop"
    assert str(caught.value.detail) == RAISED[which].detail


async def test_a_caller_that_names_no_class_gets_that_of_the_code_with_details() -> None:
    async with running(shop()) as client:
        with pytest.raises(Conflict) as caught:
            await client.call("shop", "Shop.Order", "constructor")

    assert type(caught.value) is Conflict
    assert caught.value.details == {"sku": "A1", "left": 2, "back": "2026-05-01"}
    assert caught.value.kinds == ("OutOfStock", "StockError")


async def test_a_caller_that_names_a_class_above_gets_that() -> None:
    async with running(shop()) as client:
        with pytest.raises(StockError) as caught:
            await client.call("shop", "Shop.Order", "constructor", raises=[StockError])

    assert type(caught.value) is StockError
    assert caught.value.details["sku"] == "A1"


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
async def test_a_stream_ends_in_the_class_that_its_caller_names(content_type: str) -> None:
    async with running(shop()) as client:
        options: Any = {"content_type": content_type, "raises": [OutOfStock]}
        async with client.stream("shop", "Shop.Watch", "constructor", int, **options) as answers:
            assert await answers.receive() == 1
            with pytest.raises(OutOfStock) as caught:
                await answers.receive()

    assert same(caught.value, RAISED["constructor"])


async def test_a_client_stream_ends_in_the_class_that_its_caller_names() -> None:
    async def names() -> AsyncIterator[str]:
        yield "constructor"

    async with running(shop()) as client:
        with pytest.raises(OutOfStock):
            async with client.stream(
                "shop", "Shop.Collect", names(), int, raises=[OutOfStock]
            ) as answers:
                await answers.receive()


class Shop(Protocol):
    @raises(OutOfStock)
    async def order(self, which: str) -> int: ...

    @raises(OutOfStock)
    def watch(self, which: str) -> AsyncIterator[int]: ...

    @raises(OutOfStock)
    async def collect(self, names: AsyncIterator[str]) -> int: ...


async def test_a_contract_names_the_classes_for_all_its_callers() -> None:
    async with running(shop()) as client:
        typed = client.use(Shop, service="shop")
        with pytest.raises(OutOfStock) as caught:
            await typed.order("constructor")
        with pytest.raises(OutOfStock):
            assert [answer async for answer in typed.watch("constructor")]

    assert caught.value.back == MAY


async def test_an_error_keeps_its_class_over_a_service_that_does_not_know_it() -> None:
    between = Service("between")

    @between.handler("Between.Order")
    async def order(which: str) -> int:
        made: int = await between.client.call("shop", "Shop.Order", which, int)
        return made

    async with running(shop(), between) as client:
        with pytest.raises(OutOfStock) as caught:
            await client.call("between", "Between.Order", "constructor", int, raises=[OutOfStock])

    assert same(caught.value, RAISED["constructor"])
    assert caught.value.id == "shop"


async def test_the_users_own_object_is_not_changed() -> None:
    one = Conflict("again", refused=True)
    service = Service("shop")

    @service.handler("Shop.Order")
    async def order() -> int:
        raise one

    async with running(service) as client:
        for _ in range(2):
            with pytest.raises(Conflict) as caught:
                await client.call("shop", "Shop.Order", retries=0)

    assert not caught.value.refused
    assert (one.id, one.refused) == ("", True)


async def test_a_caller_in_the_oldest_dialect_finds_the_details_too() -> None:
    body = b'{"id":"1","method":"Shop.Order","params":["constructor"]}'
    headers = {
        "Micro-Id": "1",
        "Micro-Method": "Shop.Order",
        "Micro-Service": "shop",
        "Content-Type": "application/json-rpc",
    }
    async with running(shop()) as client, raw(client, "shop") as peer:
        peer.send(headers, body)
        (reply,) = await peer.replies(1)

    told = json.loads(reply.body)["error"]
    assert json.loads(told)["details"]["sku"] == "A1"
    assert error_from_wire(reply.headers["Micro-Error"]).details["sku"] == "A1"


async def test_the_registry_tells_what_an_endpoint_raises() -> None:
    network = MemoryBackend()
    async with shop().running(network):
        (record,) = await network.registry.get_service("shop")
    (order,) = [each for each in record.endpoints if each.name == "Shop.Order"]
    told = json.loads(order.metadata["raises"])

    assert told[0] == {
        "name": "OutOfStock",
        "code": 409,
        "fields": {"sku": "string", "left": "int", "back": "string"},
    }
    assert [each["name"] for each in told] == ["OutOfStock", "UnknownUser", "Busy", "Plain"]


@pytest.mark.parametrize(
    "details",
    [{}, {"sku": "A1"}, {"sku": "A1", "left": "many"}, {"sku": ["A1"], "left": 2}],
    ids=["none", "missing", "wrong", "nested"],
)
def test_details_that_do_not_fit_leave_the_error_as_it_was(details: dict[str, object]) -> None:
    error = error_from_wire(
        json.dumps({"code": 409, "detail": "x", "kinds": ["OutOfStock"], "details": details})
    )

    assert as_raised(error, [OutOfStock]) is error


@pytest.mark.parametrize("kind", ["SystemExit", "object", "Conflict", "KeyboardInterrupt"])
def test_the_wire_cannot_choose_a_class_that_the_caller_did_not_name(kind: str) -> None:
    error = error_from_wire(json.dumps({"code": 409, "kinds": [kind]}))

    assert as_raised(error, [OutOfStock]) is error


class Twin:
    class OutOfStock(Conflict):
        pass


class Unknown(Conflict):
    field: Nowhere  # noqa: F821  # type: ignore[name-defined]


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ([ValueError], "not a class under MicroError"),
        (["OutOfStock"], "not a class under MicroError"),
        ([ConfigError], "never sent"),
        ([OutOfStock, Twin.OutOfStock], "two classes 'OutOfStock'"),
        ([Unknown], "class Unknown: a field cannot be read"),
    ],
)
def test_classes_that_cannot_be_known_by_name_are_refused(classes: Any, problem: str) -> None:
    with pytest.raises(HandlerError, match=problem):
        check_raises(classes)


async def test_a_call_with_classes_that_cannot_be_used_is_not_made(client_of_shop: Client) -> None:
    wrong: Any = [ValueError]
    with pytest.raises(HandlerError, match="not a class under MicroError"):
        await client_of_shop.call("shop", "Shop.Order", "constructor", raises=wrong)


@pytest.fixture
async def client_of_shop() -> AsyncIterator[Client]:
    async with running(shop()) as client:
        yield client


@pytest.mark.parametrize("error", RAISED.values(), ids=RAISED)
def test_a_rebuilt_error_can_be_sent_again(error: MicroError) -> None:
    rebuilt = as_raised(error_from_wire(error_to_wire(error)), KNOWN)
    again = as_raised(error_from_wire(error_to_wire(rebuilt)), KNOWN)

    assert same(again, error)
