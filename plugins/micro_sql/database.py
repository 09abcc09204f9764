"""The seam between outbox or inbox and a driver: sessions, transactions and wake-ups."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from micro.concurrency.units import read_duration
from micro.errors import ConfigError
from micro_sql.dialect import Dialect

__all__ = ["Database", "Session", "database_of", "seconds_of"]


class Session(ABC):
    """Runs statements on one connection. Values are written `$1`, `$2` in a statement."""

    __slots__ = ()

    @abstractmethod
    async def execute(self, sql: str, *values: object) -> int:
        """Run a statement; returns how many rows it changed."""

    @abstractmethod
    async def fetch(self, sql: str, *values: object) -> list[Any]:
        """Run a query; returns its rows."""


class Database(ABC):
    """One database, through one driver.

    Attributes:
        dialect: Its SQL.
        unavailable: What the driver raises when the database cannot be reached or is busy.
    """

    dialect: Dialect
    unavailable: tuple[type[Exception], ...]

    @abstractmethod
    def session(self, tx: Any) -> Session:
        """Statements in a transaction of the user's.

        Raises:
            ConfigError: it is no transaction of this driver.
        """

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Open a transaction as the driver has it; leaving commits it, an error rolls it back."""

    def held_open(self) -> AbstractAsyncContextManager[None]:
        """Hold what makes transactions quick while the block lasts; most drivers need nothing."""
        return nullcontext()

    @abstractmethod
    def relaying(self, wake: Callable[[], None]) -> AbstractAsyncContextManager[Session]:
        """Open a session for a relay, in which each statement is a transaction of its own.

        Where relays cannot claim slots it waits until no other relay of the database runs.

        Args:
            wake: Called on the event loop when events were committed, where the driver tells.
        """


def database_of(engine: Any) -> Database:
    """The database of what the user gave: a URL, a path, a pool, an engine, or what returns one.

    Raises:
        ConfigError: it is none of these, or the driver is not installed.
    """
    if isinstance(engine, str | Path):
        return _from_url(str(engine))
    for module, name, opener in _KINDS:
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(engine, known):
            return _open(opener, engine)
    if callable(engine):
        return database_of(engine())
    raise ConfigError(
        f"got {engine!r}; give a path or URL of SQLite, a URL of PostgreSQL, a pool of asyncpg,"
        " an AsyncEngine of SQLAlchemy, or a function that returns one of these"
    )


def seconds_of(value: float | str | timedelta, what: str) -> float:
    """Read an option that is a duration.

    Raises:
        ConfigError: it is none.
    """
    try:
        return read_duration(value)
    except ValueError as error:
        raise ConfigError(f"{what}: {error}") from None


_SQLITE, _POSTGRESQL, _ALCHEMY = "SqliteDatabase", "PostgresqlDatabase", "AlchemyDatabase"
_HOMES = {
    _SQLITE: ("micro_sql.sqlite", "sqlite"),
    _POSTGRESQL: ("micro_sql.postgresql", "asyncpg"),
    _ALCHEMY: ("micro_sql.alchemy", "sqlalchemy"),
}
# An object of a driver exists only after the driver was imported.
_KINDS = (
    ("asyncpg", "Pool", _POSTGRESQL),
    ("sqlalchemy.ext.asyncio", "AsyncEngine", _ALCHEMY),
)


def _from_url(url: str) -> Database:
    scheme, divided, rest = url.partition("://")
    if not divided:
        return _open(_SQLITE, url)
    if scheme == "sqlite":
        # As SQLAlchemy writes it: three slashes for a relative path, four for an absolute one.
        return _open(_SQLITE, rest.removeprefix("/"))
    if scheme in ("postgresql", "postgres"):
        return _open(_POSTGRESQL, url)
    raise ConfigError(f"a URL begins with sqlite:// or postgresql://, got {scheme}://")


def _open(name: str, engine: Any) -> Database:
    module, extra = _HOMES[name]
    try:
        database: Database = getattr(import_module(module), name)(engine)
    except ImportError as error:
        raise ConfigError(f"{error}: install it with 'micro-rpc[{extra}]'") from error
    return database
