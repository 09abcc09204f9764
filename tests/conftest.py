"""Fixtures that every test gets."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import pytest

from micro.testing import assert_nothing_left


@pytest.fixture
async def nothing_left() -> AsyncIterator[None]:
    async with assert_nothing_left():
        yield


@pytest.fixture(autouse=True)
def leaks(request: pytest.FixtureRequest) -> None:
    # Asked for before the test's own fixtures, so it looks after they are closed.
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("nothing_left")
