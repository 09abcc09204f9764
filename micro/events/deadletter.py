"""Dead letters: events that a durable has given up, kept until someone decides about them.

All dead letters are in the kept topic `dead`, each with the headers and the body of its event and
with headers that say why. A later record with the same key and a state closes a dead letter, so
that a move that is repeated after a crash does not open it again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from micro.broker.kept import KeptBroker
from micro.broker.kept_types import Receipt, Stored, TopicSpec
from micro.errors import Conflict, MicroError, NotFound
from micro.events.arrival import Arrival, count_in
from micro.handlers.durable import Redact
from micro.message import Message
from micro.wire.headers import ID
from micro.wire.stored import ATTEMPT, COPY, DEAD, NOT_BEFORE, REPLAY, SEQUENCE, STORED

__all__ = [
    "DEAD_LETTERS",
    "Burial",
    "DeadLetter",
    "Reason",
    "bury",
    "dead_letters",
    "drop_dead",
    "find_dead",
    "purge_dead",
    "replay_dead",
]

_log = logging.getLogger("micro.events")

DAY_SECONDS = 86_400.0
DEAD_LETTERS = TopicSpec(
    name="dead", age=30 * DAY_SECONDS, bytes=1 << 30, full="refuse", dedup=30 * DAY_SECONDS
)
"""The topic of dead letters. A full one refuses: an event is given back rather than lost."""

Reason = Literal["undecodable", "rejected", "exhausted", "never", "too late", "killed the process"]
"""Why an event is a dead letter: `never` is an error that `Retry(never=...)` names, `too late` an
event older than `Retry(within=...)`."""

_KEY = f"{DEAD}Key"
_DURABLE = f"{DEAD}Durable"
_TOPIC = f"{DEAD}Topic"
_SEQUENCE = f"{DEAD}Sequence"
_REASON = f"{DEAD}Reason"
_ERROR = f"{DEAD}Error"
_ATTEMPTS = f"{DEAD}Attempts"
_STATE = f"{DEAD}State"
_BODY = f"{DEAD}Body"
_OF_AN_ATTEMPT = (ATTEMPT, NOT_BEFORE, STORED)
_MAX_ERROR_CHARACTERS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One event that a durable has given up.

    Attributes:
        key: Names it for `replay_dead` and the others: `<durable>/<topic>/<sequence>`, and `/r1`
            after it for one that was replayed once.
        topic: The topic.
        durable: The durable that gave it up.
        id: The event's id.
        sequence: The event's sequence in its topic.
        reason: Why, in a word or two; see `Reason`.
        error: The last error, or what the handler said.
        attempts: Attempts that were made.
        died_at: When it became a dead letter, by the broker's clock.
        message: The event's headers and body, as they were stored.
        place: The sequence of the record in the topic `dead`.
    """

    key: str
    topic: str
    durable: str
    id: str
    sequence: int
    reason: str
    error: str
    attempts: int
    died_at: datetime
    message: Message
    place: int


class Burial(NamedTuple):
    """What is noted and kept of a dead letter.

    Attributes:
        attempts: Attempts that were made.
        keep: What is kept of the body; see `DurableOptions`.
    """

    attempts: int
    keep: Literal["full", "metadata"] | Redact = "full"


async def bury(
    broker: KeptBroker, arrival: Arrival, reason: Reason, error: str, note: Burial
) -> None:
    """Store an event as a dead letter; a repeat for the same event adds nothing.

    Args:
        broker: The broker.
        arrival: The event.
        reason: Why.
        error: The last error.
        note: How many attempts were made, and what is kept of the body.

    Raises:
        MicroError: it could not be stored.
    """
    key = f"{arrival.place}/r{arrival.replays}" if arrival.replays else arrival.place
    headers = {
        **arrival.delivery.message.headers,
        ID: arrival.id,
        _KEY: key,
        _DURABLE: arrival.durable,
        _TOPIC: arrival.topic,
        _SEQUENCE: str(arrival.sequence),
        _REASON: reason,
        _ERROR: _one_line(error),
        _ATTEMPTS: str(note.attempts),
    }
    body = arrival.body
    if note.keep == "metadata":
        body, headers[_BODY] = b"", "none"
    elif callable(note.keep):
        body, headers[_BODY] = note.keep(body), "redacted"
    await broker.ensure(DEAD_LETTERS, create=True)
    await broker.store(DEAD_LETTERS.name, Message(headers, body), id=f"dead/{key}")


async def dead_letters(
    broker: KeptBroker, *, topic: str | None = None, durable: str | None = None
) -> list[DeadLetter]:
    """The dead letters that no one has replayed or dropped, oldest first.

    Args:
        broker: The broker.
        topic: Only those of one topic.
        durable: Only those of one durable.

    Raises:
        MicroError: the broker cannot be asked.
    """
    try:
        last = (await broker.describe(DEAD_LETTERS.name)).last_sequence
    except NotFound:
        return []  # No event has died here yet.
    found: dict[str, DeadLetter] = {}
    closed: set[str] = set()
    async with broker.read(DEAD_LETTERS.name, start="all", end=last) as records:
        async for record in records:
            key = record.message.headers.get(_KEY, "")
            if _STATE in record.message.headers:
                closed.add(key)
                found.pop(key, None)
            elif key and key not in closed:
                found.setdefault(key, _letter(key, record))
    return [
        letter
        for letter in found.values()
        if topic in (None, letter.topic) and durable in (None, letter.durable)
    ]


async def find_dead(broker: KeptBroker, key: str) -> DeadLetter:
    """The dead letter of a key.

    Raises:
        NotFound: there is none, or it was replayed or dropped.
    """
    for letter in await dead_letters(broker):
        if letter.key == key:
            return letter
    raise NotFound(f"no dead letter has the key {key!r}; `micro dead list` shows them")


async def replay_dead(broker: KeptBroker, key: str) -> Receipt:
    """Give a dead letter again to the durable that failed, and to no other, with its own id.

    Its attempts are counted anew.

    Raises:
        NotFound: there is none.
        Conflict: the body was not kept, or only a part of it.
        MicroError: it could not be stored; it stays a dead letter.
    """
    letter = await find_dead(broker, key)
    if _BODY in letter.message.headers:
        raise Conflict(f"dead letter {key} cannot be replayed: its durable does not keep bodies")
    headers = {
        name: value for name, value in letter.message.headers.items() if not name.startswith(DEAD)
    }
    copy = {
        ID: letter.id,
        COPY: str(count_in(headers, COPY) + 1),
        REPLAY: str(count_in(headers, REPLAY) + 1),
        SEQUENCE: str(letter.sequence),
    }
    kept = {name: value for name, value in headers.items() if name not in _OF_AN_ATTEMPT}
    receipt = await broker.store(
        letter.topic,
        Message({**kept, **copy}, letter.message.body),
        id=f"replay/{key}",
        to=letter.durable,
    )
    await _close(broker, letter, "replayed")
    return receipt


async def drop_dead(broker: KeptBroker, key: str) -> None:
    """Remove a dead letter with its payload.

    Raises:
        NotFound: there is none.
        Unsupported: the broker cannot remove it.
    """
    await _close(broker, await find_dead(broker, key), "dropped")


async def purge_dead(
    broker: KeptBroker, *, older: float = 0.0, topic: str | None = None, durable: str | None = None
) -> int:
    """Remove dead letters with their payloads; returns how many.

    Args:
        broker: The broker.
        older: Only those that died more than so many seconds ago.
        topic: Only those of one topic.
        durable: Only those of one durable.

    Raises:
        MicroError: one could not be removed; those before it are.
    """
    before = broker.clock.time() - older
    gone = 0
    for letter in await dead_letters(broker, topic=topic, durable=durable):
        if letter.died_at.timestamp() <= before:
            await _close(broker, letter, "dropped")
            gone += 1
    return gone


async def _close(broker: KeptBroker, letter: DeadLetter, state: str) -> None:
    # The payload goes first: a topic that is full must be able to get emptier.
    await broker.remove(DEAD_LETTERS.name, letter.place)
    headers = {_KEY: letter.key, _STATE: state}
    try:
        await broker.store(DEAD_LETTERS.name, Message(headers, b""), id=f"{state}/{letter.key}")
    except MicroError as error:
        # It is removed; only a move that a crash repeats could open it again.
        _log.warning("dead letter %s was %s without a record: %s", letter.key, state, error)


def _letter(key: str, record: Stored) -> DeadLetter:
    headers = record.message.headers
    return DeadLetter(
        key=key,
        topic=headers.get(_TOPIC, ""),
        durable=headers.get(_DURABLE, ""),
        id=headers.get(ID, record.id),
        sequence=count_in(headers, _SEQUENCE),
        reason=headers.get(_REASON, ""),
        error=headers.get(_ERROR, ""),
        attempts=count_in(headers, _ATTEMPTS),
        died_at=record.stored_at.astimezone(UTC),
        message=record.message,
        place=record.sequence,
    )


def _one_line(text: str) -> str:
    """An error's text as a header can hold it."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return printable[:_MAX_ERROR_CHARACTERS].strip()
