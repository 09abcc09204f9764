"""An outbox and an inbox in SQL tables, on SQLite and PostgreSQL.

The drivers are extras: `micro-rpc[sqlite]` (aiosqlite), `[asyncpg]`, `[sqlalchemy]`. Each is
imported when it is used.
"""

from micro_sql.inbox import SqlInbox
from micro_sql.outbox import SqlOutbox
from micro_sql.schema import schema

__all__ = ["SqlInbox", "SqlOutbox", "schema"]
