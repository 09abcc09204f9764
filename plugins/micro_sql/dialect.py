"""What differs between the SQL of SQLite and of PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["DIALECTS", "POSTGRESQL", "SQLITE", "Dialect"]

CHANNEL = "micro_outbox"
"""The channel of PostgreSQL that wakes relays."""

LOCKS = 0x6D6963
"""The first half of the advisory locks' numbers; the second is the slot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One dialect of SQL. Values are written `$1`, `$2`; drivers put their own marks in.

    Attributes:
        name: `sqlite` or `postgresql`.
        now: The present time, of the type of the tables' times.
        ago: The time so many seconds before now.
        has_table: Tells whether the table `$1` exists.
        claims: A condition that claims the slot of a row, or is false when another relay has it.
        release: Gives back all slots that this connection has claimed; empty when there are none.
        insert: Makes a statement that adds an event also wake the relays.
    """

    name: str
    now: str
    ago: Callable[[int], str]
    has_table: str
    claims: str = ""
    release: str = ""
    insert: Callable[[str], str] = str


SQLITE = Dialect(
    name="sqlite",
    now="CAST(strftime('%s', 'now') AS INTEGER)",
    ago=lambda seconds: f"CAST(strftime('%s', 'now') AS INTEGER) - {seconds:d}",
    has_table="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = $1",
)

POSTGRESQL = Dialect(
    name="postgresql",
    now="now()",
    ago=lambda seconds: f"now() - interval '{seconds:d} seconds'",
    has_table="SELECT 1 WHERE to_regclass($1) IS NOT NULL",
    claims=f"pg_try_advisory_lock({LOCKS}, slot)",
    release="SELECT pg_advisory_unlock_all()",
    # One statement, so that it is one round trip; PostgreSQL notifies when the user commits.
    insert=lambda sql: f"WITH added AS ({sql}) SELECT pg_notify('{CHANNEL}', '')",
)

DIALECTS = {one.name: one for one in (SQLITE, POSTGRESQL)}
