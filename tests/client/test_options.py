from __future__ import annotations

import math

import pytest

from micro import Service
from micro.client import DEFAULT, UseDefault
from micro.errors import UsageError
from tests.engine import running


@pytest.fixture
def service() -> Service:
    service = Service("points")

    @service.handler
    async def ping() -> str:
        return "pong"

    return service


async def test_a_timeout_that_is_not_a_number_is_an_error(service: Service) -> None:
    async with running(service) as client:
        with pytest.raises(UsageError, match="nan"):
            await client.call("points", "Points.Ping", timeout=math.nan)


async def test_the_clients_default_timeout_can_be_named(service: Service) -> None:
    assert DEFAULT is UseDefault.DEFAULT
    async with running(service) as client:
        assert await client.call("points", "Points.Ping", None, str, timeout=DEFAULT) == "pong"


async def test_an_unknown_option_is_an_error(service: Service) -> None:
    async with running(service) as client:
        with pytest.raises(TypeError, match="'timeuot'"):
            await client.call("points", "Points.Ping", timeuot=1)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="'retries'"):
            async with client.stream("points", "Points.Ping", retries=1):  # type: ignore[call-overload]
                pass
