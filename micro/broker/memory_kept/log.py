"""The events of one kept topic in order, within its limits."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from micro.broker.kept_types import Stored, TopicSpec
from micro.errors import PayloadTooLarge, QueueFull
from micro.message import Message

__all__ = ["Entry", "EventLog", "Memory"]


@dataclass(slots=True, eq=False)
class Entry:
    """One stored event; `partition` is set on topics with partitions, `to` on a directed store."""

    topic: str
    id: str
    sequence: int
    message: Message
    size: int
    time: float
    partition: int | None
    to: str

    def stored(self) -> Stored:
        """The event for one reader, with headers of its own."""
        return Stored(
            topic=self.topic,
            id=self.id,
            sequence=self.sequence,
            message=Message(dict(self.message.headers), self.message.body),
            stored_at=datetime.fromtimestamp(self.time, UTC),
            partition=self.partition,
        )


@dataclass(slots=True)
class Memory:
    """The bytes that all topics of one broker may hold, and those that they hold."""

    limit: int
    used: int = 0


class EventLog:
    """Stored events with sequences that grow, and events that are stored but not due yet.

    Args:
        spec: The limits.
        memory: What all topics together may hold.
        removed: Called for each event that an age or a limit removes.
    """

    def __init__(self, spec: TopicSpec, memory: Memory, removed: Callable[[Entry], None]) -> None:
        self._spec = spec
        self._memory = memory
        self._removed = removed
        self._entries: OrderedDict[int, Entry] = OrderedDict()
        # Sequences in order, those of removed events among them until it is half empty.
        self._sequences: list[int] = []
        self._reserved = 0
        self.bytes: int = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def messages(self) -> int:
        """Events that count for the limit: the stored ones, and those that are not due yet."""
        return len(self._entries) + self._reserved

    @property
    def first(self) -> Entry | None:
        """The oldest event."""
        return next(iter(self._entries.values()), None)

    def limit(self, spec: TopicSpec) -> None:
        """Hold it within other limits; a smaller one that discards removes the oldest at once."""
        self._spec = spec
        while spec.full == "discard_old" and self._full(0, more=0) and (oldest := self.first):
            self.remove(oldest.sequence)
            self._removed(oldest)

    def reserve(self, size: int) -> None:
        """Take the space of one event; `append` or `release` follows.

        Raises:
            PayloadTooLarge: it is larger than the whole topic may be.
            QueueFull: the topic is full and refuses.
        """
        if size > (limit := self._spec.bytes or self._memory.limit):
            name = self._spec.name
            raise PayloadTooLarge(f"an event of {size} bytes; {name!r} may hold {limit}")
        while (full := self._full(size)) is not None:
            oldest = self.first
            if self._spec.full == "refuse" or oldest is None:
                raise QueueFull(f"the topic {self._spec.name!r} is full: {full}")
            self.remove(oldest.sequence)
            self._removed(oldest)
        self._reserved += 1
        self._count(size)

    def release(self, size: int) -> None:
        """Give back the space of an event that was not appended."""
        self._reserved -= 1
        self._count(-size)

    def append(self, entry: Entry) -> None:
        """Add an event in the space that `reserve` took."""
        self._reserved -= 1
        self._entries[entry.sequence] = entry
        self._sequences.append(entry.sequence)

    def remove(self, sequence: int) -> Entry | None:
        """Remove an event; `None` when it is gone already."""
        entry = self._entries.pop(sequence, None)
        if entry is None:
            return None
        self._count(-entry.size)
        if len(self._sequences) > 2 * len(self._entries) + 64:
            self._sequences = list(self._entries)
        return entry

    def expire(self, now: float) -> None:
        """Remove what is older than the topic's age."""
        if self._spec.age <= 0:
            return
        while (oldest := self.first) is not None and oldest.time + self._spec.age <= now:
            self.remove(oldest.sequence)
            self._removed(oldest)

    def after(self, sequence: int) -> Entry | None:
        """The first event with a higher sequence."""
        for place in range(bisect_right(self._sequences, sequence), len(self._sequences)):
            entry = self._entries.get(self._sequences[place])
            if entry is not None:
                return entry
        return None

    def _full(self, size: int, *, more: int = 1) -> str | None:
        spec = self._spec
        if spec.messages and self.messages + more > spec.messages:
            return f"{self.messages} events"
        if spec.bytes and self.bytes + size > spec.bytes:
            return f"{self.bytes} of {spec.bytes} bytes"
        if self._memory.used + size > self._memory.limit:
            return f"the broker holds {self._memory.used} of {self._memory.limit} bytes"
        return None

    def _count(self, size: int) -> None:
        self.bytes += size
        self._memory.used += size
