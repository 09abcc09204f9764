"""Databases: SQLite always, PostgreSQL where it can be run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.plugins.micro_sql.places import Place, open_place
from tests.plugins.micro_sql.postgres import PostgresMissing, run_postgres

POSTGRESQL = pytest.mark.xdist_group("postgresql")
DIALECTS = ["aiosqlite", pytest.param("asyncpg", marks=POSTGRESQL)]
DRIVERS = [
    *DIALECTS,
    "aiosqlite+sqlalchemy",
    pytest.param("asyncpg+sqlalchemy", marks=POSTGRESQL),
]


every_driver = pytest.mark.parametrize("place", DRIVERS, indirect=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """One server for the session: the group keeps its tests in one process."""
    try:
        with run_postgres() as url:
            yield url
    except PostgresMissing as error:
        pytest.skip(str(error))


@pytest.fixture(params=DIALECTS)
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A database; a test that concerns the drivers, too, is parametrized with `every_driver`."""
    async with AsyncExitStack() as stack:
        if request.param.startswith("aiosqlite"):
            url = f"sqlite:///{tmp_path}/shop.sqlite"
        else:
            url = request.getfixturevalue("postgres_url")
        yield await open_place(request.param, url, stack)
