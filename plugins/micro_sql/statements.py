"""What a relay reads and writes, for both dialects."""

from __future__ import annotations

from collections.abc import Iterable

from micro_sql.dialect import Dialect

__all__ = [
    "INSERT",
    "MAX_DELETED",
    "SLOTS",
    "expired",
    "rows",
    "sent",
    "set_aside",
    "sizes",
    "waiting_slots",
]

SLOTS = 64
"""Keys fall into so many slots; one relay at a time has a slot."""

MAX_DELETED = 1000

_WAITING = "sent_at IS NULL AND failed IS NULL"
_COLUMNS = ("id", "topic", "event_key", "slot", "kept", "part", "headers", "body")
INSERT = f"INSERT INTO micro_outbox ({', '.join(_COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"


def waiting_slots(dialect: Dialect, *, most: int, paused: Iterable[int]) -> str:
    """The slots that have events, the oldest first, claimed where the dialect has claims.

    One look at an index for each slot, however many events wait. The order is made inside, so that
    no more slots are claimed than are taken.
    """
    without = ", ".join(map(str, sorted(paused)))
    conditions = [f"slot NOT IN ({without})"] if without else []
    where = " AND ".join(["first IS NOT NULL", *conditions])
    claim = f"WHERE {dialect.claims}" if dialect.claims else ""
    return (
        "WITH RECURSIVE slots(slot) AS"
        f" (SELECT 0 UNION ALL SELECT slot + 1 FROM slots WHERE slot < {SLOTS - 1})"
        " SELECT slot FROM (SELECT slot FROM (SELECT slot, (SELECT min(seq) FROM micro_outbox"
        f" WHERE micro_outbox.slot = slots.slot AND {_WAITING}) AS first FROM slots) AS heads"
        f" WHERE {where} ORDER BY first LIMIT {SLOTS}) AS waiting {claim} LIMIT {most}"
    )


def sizes(slots: Iterable[int], *, most: int) -> str:
    """The first events of each slot, at most so many: their numbers and the bytes they have."""
    each = [
        "SELECT * FROM (SELECT seq, length(body) AS size FROM micro_outbox"
        f" WHERE slot = {slot} AND {_WAITING} ORDER BY seq LIMIT {most}) AS slot_{slot}"
        for slot in slots
    ]
    return " UNION ALL ".join(each)


def rows(numbers: Iterable[int]) -> str:
    """Whole events, in the order in which they were written."""
    columns = f"seq, {', '.join(_COLUMNS)}"
    return f"SELECT {columns} FROM micro_outbox WHERE seq IN ({_listed(numbers)}) ORDER BY seq"


def sent(dialect: Dialect, numbers: Iterable[int]) -> str:
    """Mark events as sent."""
    return f"UPDATE micro_outbox SET sent_at = {dialect.now} WHERE seq IN ({_listed(numbers)})"


def set_aside(seq: int) -> str:
    """Mark an event as one that can never be sent, with the reason `$1`."""
    return f"UPDATE micro_outbox SET failed = $1 WHERE seq = {seq:d}"


def expired(dialect: Dialect, keep_seconds: int) -> str:
    """Remove events that were sent long ago."""
    return (
        "DELETE FROM micro_outbox WHERE seq IN (SELECT seq FROM micro_outbox"
        f" WHERE sent_at < {dialect.ago(keep_seconds)} ORDER BY sent_at LIMIT {MAX_DELETED})"
    )


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(f"{number:d}" for number in numbers)
