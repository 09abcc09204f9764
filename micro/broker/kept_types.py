"""The values that a kept broker takes and gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from micro.message import Message

__all__ = [
    "Durable",
    "Features",
    "Full",
    "Position",
    "Receipt",
    "Start",
    "Stored",
    "Survives",
    "TopicSpec",
    "TopicState",
]

Full = Literal["refuse", "discard_old"]
"""What a full topic does with a new event: refuse it, or remove the oldest event."""

Start = Literal["all", "new"] | datetime | int
"""Where a new position begins: the oldest event, the next one, a time, or a sequence."""


class Survives(StrEnum):
    """What a stored event survives at least."""

    PROCESS = "process"
    """Nothing: it is held in this process."""
    DISK = "disk"
    """A restart of the server."""
    QUORUM = "quorum"
    """The loss of a minority of the servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """What a broker can do by itself.

    Attributes:
        retained: Events stay after they were settled, until their age or a limit removes them.
        work_queue: Each event is removed once it was acknowledged.
        start_all: A new position can begin at the oldest event.
        dedup_window: An id is stored once within a window of time.
        delay_max: Seconds that a publish can be delayed for; 0 when it cannot.
        nack_delay: A delivery can be given back with a delay.
        counts_deliveries: It tells how often an event was delivered.
        extend: A delivery can be kept for longer while its handler runs.
        replay: Events can be read again without a position.
        partitions: A topic can have partitions.
        refuse_when_full: A full topic can refuse new events.
        durable_group: Several instances can share one position.
        survives: What a stored event survives at least.
    """

    retained: bool = False
    work_queue: bool = False
    start_all: bool = False
    dedup_window: bool = False
    delay_max: float = 0.0
    nack_delay: bool = False
    counts_deliveries: bool = False
    extend: bool = False
    replay: bool = False
    partitions: bool = False
    refuse_when_full: bool = False
    durable_group: bool = False
    survives: Survives = Survives.PROCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """How a topic is kept.

    Attributes:
        name: The topic, without wildcards.
        age: Seconds after which an event is removed, handled or not; 0 for no limit.
        bytes: The most bytes that are kept; 0 for no limit.
        messages: The most events that are kept; 0 for no limit.
        work: A work queue: an event is removed once it was acknowledged.
        full: What happens to a new event when a limit of bytes or events is reached.
        dedup: Seconds in which an id is stored once.
        partitions: Into how many partitions a keyed topic is divided; 0 for a topic without keys.
        replicas: Copies on different servers; 0 lets the broker choose.
        place: A stream of a platform team that the topic is in, by its name; empty for our own.
    """

    name: str
    age: float = 0.0
    bytes: int = 0
    messages: int = 0
    work: bool = False
    full: Full = "refuse"
    dedup: float = 120.0
    partitions: int = 0
    replicas: int = 0
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Durable:
    """A named position on a kept topic, shared by the instances of a service.

    Attributes:
        name: Unique on the topic: letters, digits, `-` and `_`.
        start: Where it begins when it is created; later it is not looked at.
        redeliver_after: Seconds after which an unsettled delivery is given to another instance.
        limit: How many deliveries of one consumption may be unsettled.
        partitions: The partitions that this consumption reads; empty for all.
        idle: Seconds without a consumption after which the broker may remove it; 0 for never.
        to_only: It gets only what was stored directly for it (`store(to=...)`).
    """

    name: str
    start: Start = "all"
    redeliver_after: float = 30.0
    limit: int = 32
    partitions: tuple[int, ...] = ()
    idle: float = 0.0
    to_only: bool = False


# A tuple, because every publish makes one: that takes a third of the time of a frozen dataclass.
class Receipt(NamedTuple):
    """What a publish returns.

    Attributes:
        id: The event's id.
        stored: Whether the broker holds it; false for a plain topic.
        sequence: Its place in the topic, where the broker tells.
        duplicate: An event with this id was already stored within the window; nothing was added.
    """

    id: str
    stored: bool = False
    sequence: int | None = None
    duplicate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One event as it is stored.

    Attributes:
        topic: The topic that it was stored on.
        id: Its id; `<topic>:<sequence>` for an event that came without one.
        sequence: Its place in the topic; it grows, with gaps.
        message: Headers and body.
        stored_at: When it was stored, by the broker's clock, in UTC.
        partition: Its partition, on a topic that has them.
    """

    topic: str
    id: str
    sequence: int
    message: Message
    stored_at: datetime
    partition: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a durable is.

    Attributes:
        durable: Its name.
        waiting: Events that were not delivered yet.
        unsettled: Events that were delivered and are not acknowledged, with those given back.
        oldest: When the oldest event that is not settled was stored; `None` when there is none or
            the broker does not tell.
        expired_unread: Events that were removed by age or limit before they were settled; `None`
            where the broker does not tell.
        members: Consumptions that read it now; `None` where the broker does not tell.
        paused_until: Nothing is delivered before; `None` when it is not paused.
    """

    durable: str
    waiting: int = 0
    unsettled: int = 0
    oldest: datetime | None = None
    expired_unread: int | None = None
    members: int | None = None
    paused_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """A kept topic as the broker has it.

    Attributes:
        spec: How it is kept now.
        created: Whether this call created it.
        differences: Where it differs from what was asked for, a sentence each.
        messages: Events that it holds.
        bytes: Bytes that it holds.
        first_sequence: The sequence of its oldest event; 0 when it is empty.
        last_sequence: The sequence of its newest event; 0 when it never had one.
        positions: Its durables.
    """

    spec: TopicSpec
    created: bool = False
    differences: tuple[str, ...] = ()
    messages: int = 0
    bytes: int = 0
    first_sequence: int = 0
    last_sequence: int = 0
    positions: tuple[Position, ...] = field(default=())
