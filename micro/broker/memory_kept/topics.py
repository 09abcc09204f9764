"""All kept topics of one in-memory network."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from dataclasses import fields, replace

from micro.broker.kept_types import Receipt, TopicSpec, TopicState
from micro.broker.memory_kept.log import Memory
from micro.broker.memory_kept.topic import MemoryTopic, NewEvent, subject_of
from micro.concurrency.clock import Clock
from micro.errors import NotFound, PayloadTooLarge, QueueFull, Unsupported
from micro.message import Message
from micro.names import check_topic

__all__ = ["KeptTopics"]

_EVENT_ID = "Micro-Id"
# What a process cannot do is not asked of it: there is one copy, in no server's stream.
_NOT_COMPARED = ("name", "replicas", "place")


class KeptTopics:
    """Topics by name, and the plain topics that are stored in each.

    Args:
        clock: The time.
        max_stored_bytes: What all topics together may hold.
        context: Deliveries run in it.
        route: Gives a stored event to plain subscribers.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_stored_bytes: int,
        context: Context,
        route: Callable[[str, Message], object],
    ) -> None:
        self._clock = clock
        self._memory = Memory(max_stored_bytes)
        self._context = context
        self._route = route
        self._topics: dict[str, MemoryTopic] = {}
        self._subjects: dict[str, tuple[MemoryTopic, int | None]] = {}

    def ensure(self, spec: TopicSpec, *, create: bool) -> TopicState:
        """Create a topic, or compare it; see `KeptBroker.ensure`."""
        found = self._topics.get(check_topic(spec.name))
        if found is not None:
            return found.state(differences=_differences(found.spec, spec))
        if not create:
            raise NotFound(_absent(spec.name))
        subjects = {subject_of(spec, partition): partition for partition in _partitions(spec)}
        for subject in subjects.keys() & self._subjects.keys():
            other = self._subjects[subject][0].spec.name
            raise Unsupported(f"{subject!r} of the topic {spec.name!r} is kept by {other!r}")
        topic = self._topics[spec.name] = MemoryTopic(
            spec, self._clock, memory=self._memory, context=self._context, route=self._route
        )
        self._subjects.update({s: (topic, partition) for s, partition in subjects.items()})
        return topic.state(created=True)

    def get(self, name: str) -> MemoryTopic:
        """A topic.

        Raises:
            NotFound: it is not kept.
        """
        found = self._topics.get(check_topic(name))
        if found is None:
            raise NotFound(_absent(name))
        return found

    def store(self, name: str, event: NewEvent) -> Receipt:
        """Store an event; see `KeptBroker.store`."""
        topic = self.get(name)
        partition = _partition(topic.spec, event.partition)
        event_id = event.message.headers.get(_EVENT_ID) or event.id
        return topic.store(replace(event, partition=partition, event_id=event_id))

    def keeps(self, subject: str) -> bool:
        """Whether a plain publish there is stored."""
        return subject in self._subjects

    def keep(self, subject: str, message: Message, size: int) -> None:
        """Store what was published plainly; a full topic drops it, as a server does."""
        found = self._subjects.get(subject)
        if found is None:
            return
        topic, partition = found[0], _partition(found[0].spec, found[1])
        event_id = message.headers.get(_EVENT_ID, "")
        event = NewEvent(
            message=message, size=size, event_id=event_id, partition=partition, live=False
        )
        try:
            topic.store(event)
        except (QueueFull, PayloadTooLarge):
            return

    def close(self) -> None:
        """End all."""
        for topic in self._topics.values():
            topic.close()


def _absent(name: str) -> str:
    return f"the topic {name!r} is not kept: declare it with Topic(..., keep=...)"


def _partition(spec: TopicSpec, partition: int | None) -> int | None:
    """The partition of an event; one without a key is in the first."""
    if partition is None:
        return 0 if spec.partitions else None
    if not 0 <= partition < spec.partitions:
        raise Unsupported(
            f"the topic {spec.name!r} has {spec.partitions} partitions, and none is {partition}"
        )
    return partition


def _partitions(spec: TopicSpec) -> list[int | None]:
    return [None, *range(spec.partitions)]


def _differences(has: TopicSpec, wanted: TopicSpec) -> tuple[str, ...]:
    return tuple(
        f"{field.name} is {getattr(has, field.name)!r}, not {getattr(wanted, field.name)!r}"
        for field in fields(TopicSpec)
        if field.name not in _NOT_COMPARED
        and getattr(has, field.name) != getattr(wanted, field.name)
    )
