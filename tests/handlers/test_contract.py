"""Contracts at both sides: what a service checks, how endpoints are named, how others differ."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Annotated, Protocol

import pytest

from micro import Conflict, Context, Depends, Service, contract, raises
from micro.errors import HandlerError, InvalidName
from micro.handlers.contract import read_contract
from micro.handlers.differences import differences
from tests.engine import ANN, Award, Balance, running


class Empty(Conflict):
    pass


class Points(Protocol):
    @raises(Empty)
    async def award(self, request: Award) -> Balance: ...

    def history(self, user: str) -> AsyncIterator[int]: ...

    async def total(self) -> int: ...


class PointsService:
    async def award(self, request: Award, ctx: Context) -> Balance:
        if not request.points:
            raise Empty("nothing to give")
        return Balance(user=request.user, points=request.points)

    async def history(self, user: str) -> AsyncIterator[int]:
        for number in range(3):
            yield number

    def total(self) -> int:
        return 7

    async def extra(self) -> None: ...


def served(contract, implementation, **options) -> Service:
    service = Service("points")
    service.implement(contract, implementation, **options)
    return service


async def names_of(service: Service) -> list[str]:
    async with running(service) as client:
        (record,) = await client.registry.get_service("points")
    return sorted(each.name for each in record.endpoints)


async def test_both_sides_take_the_names_from_the_contract() -> None:
    service = served(Points, PointsService())
    async with running(service) as client:
        points = client.use(Points, service="points")

        assert (await points.award(ANN)).points == 5
        assert [number async for number in points.history("ann")] == [0, 1, 2]
        assert await points.total() == 7
        with pytest.raises(Empty):
            await points.award(Award(user="ann", points=0))
    assert await names_of(service) == ["Points.Award", "Points.History", "Points.Total"]


async def test_the_name_may_come_with_the_contract_or_be_given() -> None:
    @contract("Ledger")
    class LedgerApi(Protocol):
        async def total(self) -> int: ...

    async with running(served(LedgerApi, PointsService)) as client:
        assert await client.use(LedgerApi, service="points").total() == 7
    assert await names_of(served(LedgerApi, PointsService)) == ["Ledger.Total"]
    assert await names_of(served(LedgerApi, PointsService, prefix="Books")) == ["Books.Total"]
    with pytest.raises(InvalidName):
        contract("no name")


async def test_a_method_may_depend_on_more_than_the_contract_names() -> None:
    def bonus() -> int:
        return 3

    class WithBonus:
        async def total(self, more: Annotated[int, Depends(bonus)]) -> int:
            return more

    class Total(Protocol):
        async def total(self) -> int: ...

    service = Service("points")
    service.implement(Total, WithBonus)
    async with running(service) as client:
        assert await client.use(Total, service="points").total() == 3


async def test_options_hold_for_every_method() -> None:
    service = served(Points, PointsService, idempotent=True)
    async with running(service) as client:
        (record,) = await client.registry.get_service("points")

    assert {each.metadata.get("idempotent") for each in record.endpoints} == {"true"}
    with pytest.raises(HandlerError, match="idempotent"):
        served(Points, PointsService, idempotent="yes")


def test_a_missing_method_is_an_error_with_both_places() -> None:
    class Forgetful:
        async def award(self, request: Award) -> Balance:
            return Balance(user="ann", points=1)

    with pytest.raises(HandlerError, match=r"Forgetful .*\.py:\d+\): it lacks history, total of"):
        served(Points, Forgetful())


def test_a_stub_of_the_protocol_is_a_missing_method() -> None:
    class Half(Points):
        async def award(self, request: Award) -> Balance:
            return Balance(user="ann", points=1)

        async def total(self) -> int:
            return 1

    with pytest.raises(HandlerError, match="it lacks history of"):
        served(Points, Half())


def test_a_method_of_an_abstract_class_may_be_a_default() -> None:
    class Base(ABC):
        @abstractmethod
        async def award(self, request: Award) -> Balance: ...

        async def total(self) -> int:
            return 0

    class Whole(Base):
        async def award(self, request: Award) -> Balance:
            return Balance(user="ann", points=1)

    class Abstract(Base):
        pass

    served(Base, Whole())
    with pytest.raises(HandlerError, match="it lacks award"):
        served(Base, Abstract)


class One(Protocol):
    async def award(self, request: Award) -> Balance: ...


async def other_request(self, request: Balance) -> Balance: ...


async def other_response(self, request: Award) -> Award: ...


async def no_response(self, request: Award) -> None: ...


async def no_request(self) -> Balance: ...


async def many_responses(self, request: Award) -> AsyncIterator[Balance]:
    yield Balance(user="ann", points=1)


async def many_requests(self, request: AsyncIterator[Award]) -> Balance: ...


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (other_request, "it takes Balance, but One.Award .* has the request Award"),
        (other_response, "it answers Award, but One.Award .* answers Balance"),
        (no_response, "it answers NoneType, but"),
        (no_request, "it takes no request, but One.Award .* has a request"),
        (many_responses, "it is a server stream, but One.Award .* is a call"),
        (many_requests, "it is a client stream, but One.Award .* is a call"),
    ],
)
def test_a_method_with_other_types_is_an_error_with_both_places(method, text) -> None:
    cls = type("Different", (), {"award": method})

    with pytest.raises(HandlerError, match=rf"test_contract\.py:\d+\): {text}"):
        served(One, cls())


class Narrow(Balance):
    note: str = ""


def test_a_method_may_take_more_and_answer_less() -> None:
    class Generous:
        async def award(self, request: Award | Balance) -> Narrow:
            return Narrow(user="ann", points=1)

    served(One, Generous())


@pytest.mark.parametrize("wrong", [5, Service("points"), type("Nothing", (), {})])
def test_what_is_no_contract_is_refused(wrong) -> None:
    with pytest.raises(HandlerError, match=r"class|methods"):
        served(wrong, PointsService())


async def differences_of(service: Service, cls: type) -> list[str]:
    async with running(service) as client:
        (record,) = await client.registry.get_service("points")
    return differences(read_contract(cls), record)


async def test_a_service_that_keeps_to_the_contract_has_no_differences() -> None:
    assert await differences_of(served(Points, PointsService()), Points) == []


async def test_every_difference_of_a_running_service_is_told() -> None:
    class Wanted(Protocol):
        async def award(self, request: Balance) -> Balance: ...

        async def history(self, user: str) -> int: ...

        async def total(self) -> str: ...

        async def missing(self) -> None: ...

    assert await differences_of(served(Points, PointsService(), prefix="Wanted"), Wanted) == [
        "Wanted.Award: request is Award at the service, Balance in the contract",
        "Wanted.History: the service has a server stream, the contract a call",
        "Wanted.Total: response is int at the service, string in the contract",
        "Wanted.Missing is missing",
    ]


async def test_fields_are_compared_by_name_type_and_need() -> None:
    old, new = field_contracts()

    class Serves:
        async def put(self, request):
            return request

    Serves.put.__annotations__.update(request=new, **{"return": new})

    class Put(Protocol):
        async def put(self, request): ...

    Put.put.__annotations__.update(request=old, **{"return": old})

    assert await differences_of(served_as(Serves, new), Put) == [
        "Put.Put: request.a is int at the service, string in the contract",
        "Put.Put: request.b is missing at the service",
        "Put.Put: request.c is not in the contract",
        "Put.Put: response.a is int at the service, string in the contract",
        "Put.Put: response.b is missing at the service",
        "Put.Put: response.c is not in the contract",
        "Put.Put: request.c is required by the service, not by the contract",
    ]


def field_contracts() -> tuple[type, type]:
    from pydantic import create_model

    return create_model("Item", a=(str, ...), b=(int, 0)), create_model(
        "Item", a=(int, ...), c=(str, ...)
    )


def served_as(cls: type, type_: type) -> Service:
    service = Service("points")
    service.handler("Put.Put")(cls().put)
    return service
